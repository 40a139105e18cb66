"""PostgreSQL: two lanes of threads, each with a connection of its own; serializable writes, run again on conflict.

Facts behind the shape (see ARCHITECTURE.md): a hot row makes serializable transactions fail each other, and a lock
taken inside the transaction comes too late, so gates are session advisory locks taken before BEGIN. Units that wait for
the same gate wait without a connection; reads have connections that no writer can occupy.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, cast

import psycopg
from psycopg import RawCursor
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.numeric import Int8BinaryDumper, NumericBinaryLoader, NumericLoader
from psycopg.types.string import StrBinaryDumper

from mdserver.errors import Busy, Problem, StorageFull

from .answers import hand_over, run_hooks, settle
from .db import Database, GateNeeded, Reader, Tx, Unusable, Value
from .translate import without_nulls

T = TypeVar("T")
Connection = psycopg.Connection[tuple[Any, ...]]
log = logging.getLogger("mdserver.store")

OLDEST = 140000
"""PostgreSQL 14: older ones are out of their own support."""
RECONNECT_SECONDS = 5.0
"""How long a unit waits for a server that was there a moment ago: a restart takes less."""
OUTCOME_SECONDS = 20.0
"""How long a unit asks what became of its COMMIT."""
CONFLICTS_BESIDE_OTHERS = 3
"""Serialization failures after which a unit runs with no other writer of this process beside it."""
CONFLICTS = 12
LOSSES = 3
"""Connections that one unit may lose."""
REPEATS = 2
"""Further runs after a broken constraint: a transaction beside it may be the cause, which the check then sees."""
INSTANCE_SECONDS = 5.0

CONNECTION = {
    "connect_timeout": "5",
    "application_name": "mdserver",
    "client_encoding": "UTF8",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""Connection parameters for what the address leaves open: a peer that vanished is noticed within a minute."""

# A server whose default gives durability away does not decide for us: acknowledged is durable.
SESSION = (
    "SELECT set_config('lock_timeout', '10s', false), set_config('idle_in_transaction_session_timeout', '60s', false), "
    "set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' "
    "ELSE current_setting('synchronous_commit') END, false)"
)

CONFLICT = {"40001", "40P01"}
BROKEN_CONSTRAINT = {"23503", "23505", "23P01"}
# 25006 read-only (a standby), 53200 memory, 53300 connections, 53400 limits, 55P03 lock and 57014 statement timeout
UNABLE = {"25006", "53200", "53300", "53400", "55P03", "57014"}


def connect(dsn: str) -> Connection:
    """Open one connection with the settings that every connection has."""
    parameters = conninfo_to_dict(dsn)
    address = make_conninfo(dsn, **{name: value for name, value in CONNECTION.items() if name not in parameters})
    connection: Connection = psycopg.connect(address, autocommit=True, cursor_factory=RawCursor)
    try:
        connection.prepared_max = 500
        # One type per Python type, whatever the value: so a statement is prepared once and `$1 + 1` does not overflow.
        for kind in (int, bool):
            connection.adapters.register_dumper(kind, Int8BinaryDumper)
        connection.adapters.register_dumper(str, StrBinaryDumper)
        connection.adapters.register_loader("numeric", _NumberLoader)
        connection.adapters.register_loader("numeric", _NumberBinaryLoader)
        connection.execute(SESSION)
    except BaseException:
        connection.close()
        raise
    return connection


class _NumberLoader(NumericLoader):
    """sum() of BIGINT is NUMERIC: a whole number, as SQLite gives it."""

    def load(self, data: Any) -> Any:
        return _number(super().load(data))


class _NumberBinaryLoader(NumericBinaryLoader):
    def load(self, data: Any) -> Any:
        return _number(super().load(data))


def _number(found: Any) -> int | float:
    return int(found) if found.is_finite() and found == found.to_integral_value() else float(found)


def lock_key(name: str) -> int:
    """The advisory lock of a name: 64 bits of its hash."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, person=b"mdserver").digest(), signed=True)


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


class PostgresTx(PostgresReader, Tx):
    """One attempt of one unit."""

    def __init__(self, connection: Connection, gates: set[str], tell: Callable[[str, str], None]) -> None:
        super().__init__(connection)
        self._tell = tell
        self.hooks: list[Callable[[], None]] = []
        self.needed: str | None = None
        self.failure: psycopg.Error | None = None
        self.ended = False
        self._gates = gates

    def run(self, sql: str, *values: Value) -> int:
        return self._execute(sql, values).rowcount

    def after_commit(self, hook: Callable[[], None]) -> None:
        self.hooks.append(hook)

    def gate(self, name: str) -> None:
        if name not in self._gates:
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


class _Unit:
    """A question or a change on its way through a lane."""

    def __init__(self, change: Callable[[Any], Any], gates: tuple[str, ...] = ()) -> None:
        self.change = change
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.gates = set(gates)
        self.taken: frozenset[str] = frozenset()
        self.alone = False
        self.conflicts = self.losses = self.repeats = 0
        self.hooks: list[Callable[[], None]] = []
        self.result: Any = None
        self.error: BaseException | None = None

    def answer(self) -> None:
        """On the loop: the hooks, then the waiter."""
        if self.error is None:
            run_hooks(self.hooks)
        settle(self.future, self.result, self.error)


class _Session:
    """The connection of one thread: opened when needed, thrown away when in doubt."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._raw: Connection | None = None
        self._was_there = True

    def connection(self) -> Connection:
        """The open connection. Busy when there is no server; one that was there a moment ago is waited for."""
        if self._raw is not None and not self._raw.closed:
            return self._raw
        self.drop()
        end = time.monotonic() + (RECONNECT_SECONDS if self._was_there else 0)
        while True:
            try:
                self._raw = connect(self._dsn)
            except psycopg.Error as error:
                if time.monotonic() < end:
                    time.sleep(0.1)
                    continue
                self._was_there = False
                log.error("cannot connect to PostgreSQL: %s", error)
                raise Busy("The database does not answer: nothing was changed.", retry_after=5) from error
            self._was_there = True
            return self._raw

    def drop(self) -> None:
        """Close the connection, whatever its state; the next unit gets a new one."""
        raw, self._raw = self._raw, None
        if raw is not None:
            try:
                raw.close()
            except psycopg.Error:
                log.debug("closing a connection failed", exc_info=True)


class _Lane:
    """Threads that run units; one behind a gate that is held waits here and occupies no connection."""

    def __init__(self, name: str, dsn: str, threads: int, run: Callable[[_Session, _Unit], bool]) -> None:
        self._run = run
        self._changed = threading.Condition()
        self._waiting: deque[_Unit] = deque()
        self._held: set[str] = set()
        self._running = 0
        self._alone = False
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, args=(_Session(dsn),), name=f"mdserver-{name}-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    async def submit(self, unit: _Unit) -> Any:
        with self._changed:
            if self._closing:
                raise Busy("The server is shutting down.")
            self._waiting.append(unit)
            self._changed.notify()
        return await unit.future

    def close(self) -> None:
        """Finish what waits, then end the threads and their connections; blocks."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self, session: _Session) -> None:
        while (unit := self._next()) is not None:
            again = False
            try:
                again = self._run(session, unit)
            except BaseException as error:  # a mistake of ours; the thread is needed
                session.drop()
                unit.error = error
            if not again:  # before the gates open, so that the hooks behind one gate keep the order of their commits
                hand_over(unit.loop, unit.answer)
            self._finish(unit, again=again)
        session.drop()

    def _next(self) -> _Unit | None:
        with self._changed:
            while True:
                unit = self._pick()
                if unit is not None:
                    unit.taken = frozenset(unit.gates)
                    self._held |= unit.taken
                    self._alone = unit.alone
                    self._running += 1
                    return unit
                if self._closing and not self._waiting:
                    return None
                self._changed.wait()

    def _pick(self) -> _Unit | None:
        """The first unit that may run now. Nobody overtakes one that waits for the same gate."""
        if self._alone:
            return None
        blocked = set(self._held)
        for place, unit in enumerate(self._waiting):
            if unit.alone and self._running:
                return None
            if blocked.isdisjoint(unit.gates):
                del self._waiting[place]
                return unit
            blocked |= unit.gates
        return None

    def _finish(self, unit: _Unit, *, again: bool) -> None:
        with self._changed:
            self._held -= unit.taken
            self._running -= 1
            self._alone = False
            if again:
                self._waiting.appendleft(unit)
            self._changed.notify_all()


class Postgres(Database):
    """The engine on one PostgreSQL database."""

    engine = "postgres"
    _writing: ClassVar[bytes] = b"BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT pg_current_xact_id()::text"
    _reading: ClassVar[bytes] = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

    def __init__(self, dsn: str, *, connections: int, version: str) -> None:
        super().__init__()
        self._dsn = dsn
        self._version = version
        self._keeper: _Keeper | None = None
        writers = max(1, connections // 2)
        self._writers = _Lane("writer", dsn, writers, self._write)
        self._readers = _Lane("reader", dsn, max(1, connections - writers), self._read)

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
        return cast(T, await self._readers.submit(_Unit(question)))

    async def glance(self, question: Callable[[Reader], T]) -> T:
        return await self.read(question)

    async def write(self, change: Callable[[Tx], T], *gates: str) -> T:
        if self._keeper is not None and self._keeper.usurped:
            raise Busy("Another server has taken this database over: nothing was changed.", retry_after=30)
        return cast(T, await self._writers.submit(_Unit(change, gates)))

    async def raw(self, function: Callable[[Connection], T]) -> T:
        """Call a function with a connection of its own (migrations, backup, checks)."""

        def work() -> T:
            with connect(self._dsn) as connection:
                return function(connection)

        return await asyncio.to_thread(work)

    async def hold_instance(self) -> None:
        """Be the only server on this database until it is closed. Unusable when another one is."""
        keeper = _Keeper(self._dsn)
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

    def _read(self, session: _Session, unit: _Unit) -> bool:
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
                unit.error = _for_caller(error)
                lost = connection is not None and _lost(connection, error)
                _rollback(session, connection)
                if lost and unit.losses < LOSSES:
                    unit.losses += 1
                    unit.error = None
                    continue
                return False
        return False

    def _write(self, session: _Session, unit: _Unit) -> bool:
        """Run a unit until it has committed or failed; whether to queue it again, since it needs other company."""
        while True:
            try:
                self._attempt(session, unit)
                return False
            except GateNeeded as needed:
                if needed.name not in unit.gates:
                    unit.gates.add(needed.name)
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
            if step == "again":
                continue
            if step == "alone":
                return True
            unit.error = _for_caller(failure)
            return False

    def _attempt(self, session: _Session, unit: _Unit) -> None:
        """One transaction. The unit's own error, a psycopg.Error, GateNeeded, _Lost or _OutcomeUnknown on failure."""
        connection = session.connection()
        try:
            for key in sorted(lock_key(name) for name in unit.gates):
                connection.execute("SELECT pg_advisory_lock($1)", (key,))
            begun = connection.execute(self._writing, prepare=False)
            begun.nextset()
            transaction = str(cast(tuple[Any, ...], begun.fetchone())[0])
            tx = PostgresTx(connection, unit.gates, self.tell)
            unit.result = _run(tx, unit.change)
            unit.hooks = tx.hooks
            _commit(connection, transaction)
        except _OutcomeUnknown:
            session.drop()
            raise
        except BaseException as error:
            lost = _lost(connection, error)
            _rollback(session, connection)
            if lost:
                raise _Lost from error
            raise
        finally:
            if unit.gates and not connection.closed:
                try:
                    connection.execute("SELECT pg_advisory_unlock_all()")
                except psycopg.Error:
                    session.drop()


def _after(error: BaseException, unit: _Unit) -> str:
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
        if tx.failure is not None and not isinstance(error, psycopg.Error) and _passing(tx.failure):
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
        if _lost(connection, error):
            raise _OutcomeUnknown(transaction, backend) from error
        raise
    if done.statusmessage != "COMMIT":
        raise RuntimeError(f"PostgreSQL answered COMMIT with {done.statusmessage}")


def _rollback(session: _Session, connection: Connection | None) -> None:
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


def _outcome(session: _Session, unknown: _OutcomeUnknown) -> bool | None:
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
            if isinstance(error, psycopg.Error) and error.sqlstate is not None and not _gone(error):
                log.error("PostgreSQL does not tell a transaction's outcome: %s", error)
                return None
            session.drop()
        time.sleep(0.05)
    return None


def _lost(connection: Connection, error: BaseException) -> bool:
    return connection.closed or (isinstance(error, psycopg.Error) and _gone(error))


def _gone(error: psycopg.Error) -> bool:
    """Whether the error means that the connection is no more."""
    code = error.sqlstate
    if code is None:
        return isinstance(error, psycopg.OperationalError)
    return code.startswith(("08", "57P")) or code == "25P03"


def _passing(error: psycopg.Error) -> bool:
    return _gone(error) or error.sqlstate in CONFLICT


def _for_caller(error: BaseException) -> BaseException:
    """What trouble of the database means to the person who asked; everything else as it is."""
    cause = error.__cause__ if isinstance(error, _Lost) else error
    if isinstance(error, Problem) or not isinstance(cause, psycopg.Error):
        return error
    made: Problem
    if cause.sqlstate == "53100":
        made = StorageFull("The database's disk is full: nothing was changed.")
    elif cause.sqlstate in CONFLICT:
        made = Busy("Others are changing the same thing just now: nothing was changed.")
    elif isinstance(error, _Lost) or _gone(cause) or cause.sqlstate in UNABLE:
        log.error("PostgreSQL cannot be used: %s", cause)
        made = Busy("The database does not answer as it should: nothing was changed.", retry_after=5)
    else:
        return cause
    made.__cause__ = cause
    return made


class _Keeper:
    """Holds the advisory lock that makes this the only server, and takes it again after a lost connection."""

    KEY: ClassVar[int] = lock_key("mdserver: the server")

    def __init__(self, dsn: str) -> None:
        self.usurped = False
        self._dsn = dsn
        self._raw: Connection | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mdserver-keeper", daemon=True)

    def start(self) -> None:
        """Take the lock (a server that has just ended may need a moment to let go). Unusable when it is held."""
        end = time.monotonic() + 2
        while not self._take():
            if time.monotonic() > end:
                holder = self._holder()
                self._drop()
                raise Unusable(
                    f"Another mdserver is running on this database{holder}. Stop it first: several servers on one "
                    "database are not supported yet."
                )
            time.sleep(0.1)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._drop()

    def _work(self) -> None:
        while not self._stop.wait(INSTANCE_SECONDS):
            try:
                if self._raw is not None and not self._raw.closed and not self.usurped:
                    self._raw.execute("SELECT 1")
                elif self._take():
                    if self.usurped:
                        log.warning("this server has its database for itself again")
                    self.usurped = False
                elif not self.usurped:
                    self.usurped = True
                    log.critical("another server has taken the database over; this one refuses to write")
            except (psycopg.Error, Unusable):
                self._drop()

    def _take(self) -> bool:
        try:
            if self._raw is None or self._raw.closed:
                self._raw = connect(self._dsn)
            found = self._raw.execute("SELECT pg_try_advisory_lock($1)", (self.KEY,)).fetchone()
        except psycopg.Error as error:
            self._drop()
            raise Unusable(f"PostgreSQL cannot be used: {error}") from error
        return bool(found and found[0])

    def _holder(self) -> str:
        found = None
        if self._raw is not None:
            found = self._raw.execute(
                "SELECT coalesce(host(a.client_addr), 'this machine'), to_char(a.backend_start, 'YYYY-MM-DD HH24:MI') "
                "FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.locktype = 'advisory' AND l.granted "
                "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
                "AND l.classid = ($1 >> 32 & 4294967295)::oid AND l.objid = ($1 & 4294967295)::oid",
                (self.KEY,),
            ).fetchone()
        return f" (from {found[0]}, since {found[1]})" if found else ""

    def _drop(self) -> None:
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.close()
