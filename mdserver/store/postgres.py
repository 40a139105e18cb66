"""PostgreSQL: two lanes of threads, each with a connection of its own; serializable writes, run again on conflict.

Facts behind the shape (see ARCHITECTURE.md): a hot row makes serializable transactions fail each other, and a lock
taken inside the transaction comes too late, so gates are session advisory locks taken before BEGIN. Units that wait for
the same gate wait without a connection; reads have connections that no writer can occupy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeVar, cast

import psycopg

from mdserver.errors import Busy, Problem, StorageFull
from mdserver.figures import Family, Sample, counter

from .db import Database, GateNeeded, Process, Reader, TimeUp, Tx, Unusable, Value
from .postgres_connection import (
    BROKEN_CONSTRAINT,
    CONFLICT,
    UNABLE,
    Connection,
    Session,
    connect,
    gone,
    is_lost,
    lock_key,
    passing,
)
from .postgres_keeper import Keeper
from .postgres_lane import Lane, Unit
from .translate import without_nulls

T = TypeVar("T")
log = logging.getLogger("mdserver.store")

OLDEST = 140000
"""PostgreSQL 14: older ones are out of their own support."""
OUTCOME_SECONDS = 20.0
"""How long a unit asks what became of its COMMIT."""
CONFLICTS_BESIDE_OTHERS = 3
"""Serialization failures after which a unit runs with no other writer of this process beside it."""
CONFLICTS = 12
GATES = 64
"""Gates that one unit may close; more of them is a mistake, such as a name that is another one at each run."""
LOSSES = 3
"""Connections that one unit may lose."""
REPEATS = 2
"""Further runs after a broken constraint: a transaction beside it may be the cause, which the check then sees."""


class PostgresReader(Reader):
    engine = "postgres"

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _fetch(self, sql: str, values: tuple[Value, ...]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        cursor = self._execute(sql, values)
        if cursor.description is None:
            return (), []
        return tuple([one.name for one in cursor.description]), cursor.fetchall()

    def _execute(self, sql: str, values: tuple[Value, ...]) -> psycopg.Cursor[tuple[Any, ...]]:
        given = tuple([value is not None for value in values])
        if not all(given):
            sql = without_nulls(sql, given)
            values = tuple([value for value in values if value is not None])
        return self._connection.execute(sql.encode(), values, binary=True)

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        # For the rest of the transaction: a `read` is one.
        self._execute("SELECT set_config('statement_timeout', $1, true)", (str(int(seconds * 1000)),))
        try:
            yield
        except psycopg.errors.QueryCanceled as error:
            raise TimeUp from error


class PostgresTx(PostgresReader, Tx):
    """One attempt of one unit."""

    def __init__(
        self,
        connection: Connection,
        *,
        gates: set[str],
        enter: Callable[[str], bool],
        tell: Callable[[str, str], None],
        process: Process,
    ) -> None:
        super().__init__(connection)
        self._gates = gates
        self._enter = enter
        self._tell, self.process = tell, process
        self.hooks: list[Callable[[], None]] = []
        self.needed: str | None = None
        self.failure: psycopg.Error | None = None
        self.ended = False

    def run(self, sql: str, *values: Value) -> int:
        return self._execute(sql, values).rowcount

    def after_commit(self, hook: Callable[[], None]) -> None:
        self.hooks.append(hook)

    def gate(self, name: str) -> None:
        if name in self._gates:
            return
        # One that nobody is behind is closed in passing. What was committed between our snapshot and now is no danger:
        # a unit that depends on it fails to serialize, and runs again with this gate closed beforehand.
        if self._enter(name) and self.value(bool, "SELECT pg_try_advisory_lock($1)", lock_key(name)):
            self._gates.add(name)
            return
        self.needed = self.needed or name  # kept: a unit that swallows the exception must not commit
        raise GateNeeded(name)

    def _execute(self, sql: str, values: tuple[Value, ...]) -> psycopg.Cursor[tuple[Any, ...]]:
        if self.ended:
            raise RuntimeError("a unit's tx was used after the unit's end")
        if self.failure is not None:  # PostgreSQL would refuse with less to say
            raise self.failure
        try:
            return super()._execute(sql, values)
        except psycopg.Error as error:
            self.failure = error
            raise


class _OutcomeUnknown(Exception):
    """The connection was lost while COMMIT was under way."""

    def __init__(self, transaction: str, backend: int) -> None:
        super().__init__(transaction)
        self.transaction = transaction
        self.backend = backend


class Postgres(Database):
    """The engine on one PostgreSQL database."""

    engine = "postgres"
    _writing: ClassVar[bytes] = b"BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT pg_current_xact_id()::text"
    _reading: ClassVar[bytes] = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

    def __init__(self, dsn: str, *, connections: int, version: str) -> None:
        super().__init__()
        self._dsn = dsn
        self._version = version
        self._keeper: Keeper | None = None
        self.conflicts = 0
        writers = max(1, connections // 2)
        self._writers = Lane("writer", dsn, writers, self._write)
        self._readers = Lane("reader", dsn, max(1, connections - writers), self._read)

    @classmethod
    async def open(cls, dsn: str, *, connections: int = 8) -> Postgres:
        """Connect to an existing database. `connections` is shared by writers and readers, half each.

        Unusable says why when the server cannot be reached, is too old or does not store UTF-8.
        """

        def look() -> str:
            try:
                with connect(dsn) as connection:
                    encoding = connection.info.parameter_status("server_encoding")
                    if connection.info.server_version < OLDEST:
                        raise Unusable("mdserver needs PostgreSQL 14 or newer.")
                    if encoding != "UTF8":
                        raise Unusable(f"The database has the encoding {encoding}; create one with ENCODING 'UTF8'.")
                    return connection.info.parameter_status("server_version") or "?"
            except psycopg.Error as error:
                raise Unusable(f"PostgreSQL cannot be used: {error}") from error

        return cls(dsn, connections=connections, version=await asyncio.to_thread(look))

    async def read(self, question: Callable[[Reader], T]) -> T:
        return cast(T, await self._readers.submit(Unit(question)))

    async def glance(self, question: Callable[[Reader], T]) -> T:
        return await self.read(question)

    async def write(self, change: Callable[[Tx], T], *gates: str) -> T:
        if self._keeper is not None and self._keeper.usurped:
            raise Busy("Another server has taken this database over: nothing was changed.", retry_after=30)
        return cast(T, await self._writers.submit(Unit(change, gates)))

    async def raw(self, function: Callable[[Connection], T]) -> T:
        """Call a function with a connection of its own (migrations, backup, checks)."""

        def work() -> T:
            with connect(self._dsn) as connection:
                return function(connection)

        return await asyncio.to_thread(work)

    async def figures(self) -> list[Family]:
        def size(db: Reader) -> int:
            return db.value(int, "SELECT pg_database_size(current_database())") or 0

        lanes = {"writer": self._writers, "readers": self._readers}
        waiting = [Sample(one.queued, {"for": name}) for name, one in lanes.items()]
        busy = [Sample(one.busy, {"for": name}) for name, one in lanes.items()]
        times = self._writers.times.samples()
        return [
            Family(
                "mdserver_commit_seconds",
                "histogram",
                "Time of a change and its commit, runs after conflicts too.",
                times,
            ),
            Family("mdserver_database_waiting", "gauge", "Work that waits for a connection or a gate.", waiting),
            Family("mdserver_database_connections_busy", "gauge", "Connections at work.", busy),
            counter("mdserver_database_conflicts_total", "Changes run again: others were faster.", self.conflicts),
            Family(
                "mdserver_database_bytes",
                "gauge",
                "Size of the database's files.",
                [Sample(await self.read(size), {"file": "database"})],
            ),
        ]

    async def hold_instance(self) -> None:
        """Be the only server on this database until it is closed. Unusable when another one is."""
        keeper = Keeper(self._dsn)
        await asyncio.to_thread(keeper.start)
        self._keeper = keeper

    async def close(self) -> None:
        def work() -> None:
            self._writers.close()
            self._readers.close()
            if self._keeper is not None:
                self._keeper.close()

        await asyncio.to_thread(work)

    @property
    def library_version(self) -> str:
        return f"PostgreSQL {self._version}"

    def _read(self, session: Session, unit: Unit) -> bool:
        """Answer a question; whether to queue it again (never)."""
        while not unit.future.cancelled():
            connection: Connection | None = None
            try:
                connection = session.connection()
                connection.execute(self._reading, prepare=False)
                unit.result = unit.change(PostgresReader(connection))
                connection.execute(b"COMMIT", prepare=False)
                return False
            except BaseException as error:
                unit.error = _for_caller(error, reading=True)
                lost = connection is not None and is_lost(connection, error)
                _rollback(session, connection)
                if lost and unit.losses < LOSSES:
                    unit.losses += 1
                    unit.error = None
                    continue
                return False
        return False

    def _write(self, session: Session, unit: Unit) -> bool:
        """Run a unit until it has committed or failed; whether to queue it again, since it needs other company."""
        while True:
            try:
                self._attempt(session, unit)
                return False
            except GateNeeded as needed:
                unit.gates.add(needed.name)
                if len(unit.gates) <= GATES:
                    return True
                step, failure = "give up", cast(BaseException, needed)
            except _OutcomeUnknown as unknown:
                committed = _outcome(session, unknown)
                if committed:
                    return False
                failure = _Lost() if committed is False else _unknown(unknown)
                failure.__cause__ = unknown.__cause__
                step = _after(failure, unit)
            except BaseException as error:
                step, failure = _after(error, unit), error
            if step != "give up":
                self.conflicts += 1
            if step == "again":
                continue
            if step == "alone":
                return True
            unit.error = _for_caller(failure)
            return False

    def _attempt(self, session: Session, unit: Unit) -> None:
        """One transaction. The unit's own error, a psycopg.Error, GateNeeded, _Lost or _OutcomeUnknown on failure.

        Its gates stay closed after a commit: the lane opens them when the answer is on its way.
        """
        connection = session.connection()

        def enter(name: str) -> bool:
            session.locked = True
            return self._writers.enter(unit, name)

        try:
            session.lock(unit.gates)
            begun = connection.execute(self._writing, prepare=False)
            begun.nextset()
            transaction = str(cast(tuple[Any, ...], begun.fetchone())[0])
            tx = PostgresTx(connection, gates=unit.gates, enter=enter, tell=self.tell, process=self.process)
            unit.result = _run(tx, unit.change)
            unit.hooks = tx.hooks
            _commit(connection, transaction)
        except _OutcomeUnknown:
            session.drop()
            raise
        except BaseException as error:
            lost = is_lost(connection, error)
            _rollback(session, connection)
            session.unlock()
            if lost:
                raise _Lost from error
            raise


def _after(error: BaseException, unit: Unit) -> str:
    """What follows a failed attempt: again, alone, or give up."""
    code = error.sqlstate if isinstance(error, psycopg.Error) else None
    if isinstance(error, _Lost):
        unit.losses += 1
        return "again" if unit.losses <= LOSSES else "give up"
    if code in BROKEN_CONSTRAINT:
        unit.repeats += 1
        return "again" if unit.repeats <= REPEATS else "give up"
    if code not in CONFLICT:
        return "give up"
    unit.conflicts += 1
    if unit.conflicts > CONFLICTS:
        return "give up"
    if unit.conflicts > CONFLICTS_BESIDE_OTHERS and not unit.alone:
        unit.alone = True
        return "alone"
    time.sleep(random.uniform(0, 0.001 * 2 ** min(unit.conflicts, 7)))  # noqa: S311 (not a secret)
    return "again"


class _Lost(Exception):
    """The connection was lost before COMMIT was sent: nothing was changed."""


def _run(tx: PostgresTx, change: Callable[[Tx], T]) -> T:
    """Run the change. What made its transaction unusable goes before what the unit says of it."""
    try:
        result = change(tx)
    except BaseException as error:
        if tx.needed is not None:
            raise GateNeeded(tx.needed) from error
        if tx.failure is not None and not isinstance(error, psycopg.Error) and passing(tx.failure):
            raise tx.failure from error
        raise
    finally:
        tx.ended = True
    if tx.needed is not None:
        raise GateNeeded(tx.needed)
    if tx.failure is not None:
        raise tx.failure
    return result


def _commit(connection: Connection, transaction: str) -> None:
    backend = connection.info.backend_pid
    try:
        done = connection.execute(b"COMMIT", prepare=False)
    except psycopg.Error as error:
        if is_lost(connection, error):
            raise _OutcomeUnknown(transaction, backend) from error
        raise
    if done.statusmessage != "COMMIT":
        raise RuntimeError(f"PostgreSQL answered COMMIT with {done.statusmessage}")


def _rollback(session: Session, connection: Connection | None) -> None:
    if connection is None:
        return
    try:
        if not connection.closed and connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            connection.execute(b"ROLLBACK", prepare=False)
    except psycopg.Error:
        session.drop()
    if connection.closed:
        session.drop()


def _unknown(unknown: _OutcomeUnknown) -> Busy:
    log.error("the outcome of transaction %s is unknown", unknown.transaction)
    return Busy("The database was lost while saving: look whether the change is there before you repeat it.")


def _outcome(session: Session, unknown: _OutcomeUnknown) -> bool | None:
    """Whether the transaction has committed, asked on a new connection; None when nobody can tell."""
    end = time.monotonic() + OUTCOME_SECONDS
    while time.monotonic() < end:
        try:
            connection = session.connection()
            found = connection.execute("SELECT pg_xact_status($1::text::xid8)", (unknown.transaction,)).fetchone()
            status = found[0] if found else None
            if status in ("committed", "aborted"):
                return bool(status == "committed")
            # Its session has not noticed yet that we are gone: end it, then the answer is final.
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid = $1 AND backend_xid = $2::text::xid8::xid",
                (unknown.backend, unknown.transaction),
            )
        except (psycopg.Error, Busy) as error:
            if isinstance(error, psycopg.Error) and error.sqlstate is not None and not gone(error):
                log.error("PostgreSQL does not tell a transaction's outcome: %s", error)
                return None
            session.drop()
        time.sleep(0.05)
    return None


def _for_caller(error: BaseException, *, reading: bool = False) -> BaseException:
    """What trouble of the database means to the person who asked; everything else as it is."""
    if reading and isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        return error  # a question that tries to write is a mistake of ours
    cause = error.__cause__ if isinstance(error, _Lost) else error
    if isinstance(error, Problem) or not isinstance(cause, psycopg.Error):
        return error
    made: Problem
    if cause.sqlstate == "53100":
        made = StorageFull("The database's disk is full: nothing was changed.")
    elif cause.sqlstate in CONFLICT:
        made = Busy("Others are changing the same thing just now: nothing was changed.")
    elif isinstance(error, _Lost) or gone(cause) or cause.sqlstate in UNABLE:
        log.error("PostgreSQL cannot be used: %s", cause)
        made = Busy("The database does not answer as it should: nothing was changed.", retry_after=5)
    else:
        return cause
    made.__cause__ = cause
    return made
