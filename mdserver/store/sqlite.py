"""SQLite: one writer thread with group commit, a few reader threads, and a bounded glance on the event loop.

Facts behind the shape (see ARCHITECTURE.md): SQLite 3.7.0–3.51.2 can corrupt a WAL database when two connections write
or checkpoint at the same moment, so one connection writes and checkpoints; `synchronous=FULL` makes an acknowledged
commit survive a power cut; commits that wait for the disk are shared by all units that arrive meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import aiosqlite

from mdserver import failpoints
from mdserver.errors import Busy, Problem, StorageFull
from mdserver.figures import UNITS, Family, Histogram, Sample

from .answers import hand_over, run_hooks, settle
from .db import Database, Moved, Process, Reader, TimeUp, Tx, Unusable, Value
from .translate import for_sqlite

if TYPE_CHECKING:
    import sqlite3
else:
    try:
        import pysqlite3 as sqlite3
    except ImportError:  # no wheel for this platform: the interpreter's own SQLite; `doctor` judges its version
        import sqlite3

T = TypeVar("T")
log = logging.getLogger("mdserver.store")

Error = sqlite3.Error
"""What the SQLite in use raises."""

BATCH_UNITS = 256
BATCH_SECONDS = 0.015
GLANCE_SECONDS = 0.002
"""How long a glance may keep the event loop; then it is given up there and asked again on a reader."""

GLANCE_HELD = 0.005
"""How long glances share a snapshot while nothing is committed: entering one anew costs two system calls. It is let go
now and then all the same, since the write-ahead log can only start over while nobody reads in it."""

GLANCE_STEPS = 2_000
"""Virtual machine steps between two looks at the time (about 50 µs)."""

WITHIN_STEPS = 50_000
"""The same for a question with a time limit, off the event loop: each look takes the interpreter's lock."""

# SQLite's primary result codes.
_READ_ONLY, _INTERRUPTED, _FULL = 8, 9, 13
_BUSY = (5, 6)  # SQLITE_BUSY, SQLITE_LOCKED: another program holds the file
_IO_ERROR = 10
_STORAGE = (8, _IO_ERROR, 14)  # SQLITE_READONLY, SQLITE_IOERR, SQLITE_CANTOPEN
_DAMAGED = (11, 26)  # SQLITE_CORRUPT, SQLITE_NOTADB


def corrupts_wal(version: tuple[int, int, int] | None = None) -> bool:
    """Whether a version (by default the one in use) can corrupt a WAL database that two connections write at once."""
    return (3, 7, 0) <= (version or sqlite3.sqlite_version_info) <= (3, 51, 2)


def connect(path: Path, *, read_only: bool, synchronous: str = "FULL") -> sqlite3.Connection:
    """Open one connection with the pragmas that every connection has."""
    # check_same_thread: each connection is used by one thread at a time; closing may come from another.
    connection = sqlite3.connect(
        f"file:{_uri_path(path)}?mode={'ro' if read_only else 'rwc'}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
    )
    pragmas = ["busy_timeout=10000", "foreign_keys=ON", "temp_store=MEMORY", "trusted_schema=OFF"]
    if read_only:
        pragmas += ["query_only=ON", "cache_size=-8192"]
    else:
        pragmas += ["journal_mode=WAL", "journal_size_limit=67108864", "cache_size=-16384"]
    pragmas += [f"synchronous={synchronous}", "mmap_size=268435456"]
    try:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _uri_path(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


class SQLiteReader(Reader):
    engine = "sqlite"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()  # one for all statements, since each is read to its end

    def _fetch(self, sql: str, values: tuple[Value, ...]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        cursor = self._cursor.execute(for_sqlite(sql), values)
        found = cursor.fetchall()
        return tuple([one[0] for one in cursor.description or ()]), found

    def rows(self, sql: str, *values: Value) -> list[tuple[Any, ...]]:
        return self._cursor.execute(for_sqlite(sql), values).fetchall()

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        end = time.monotonic() + seconds
        self._connection.set_progress_handler(lambda: time.monotonic() > end, WITHIN_STEPS)
        try:
            yield
        except sqlite3.Error as error:
            if _code(error) == _INTERRUPTED:
                raise TimeUp from error
            raise
        finally:
            self._connection.set_progress_handler(None, 0)


class SQLiteTx(SQLiteReader, Tx):
    """One attempt of one unit; refuses statements once one has failed or the transaction is gone."""

    def __init__(self, connection: sqlite3.Connection, tell: Callable[[str, str], None], process: Process) -> None:
        super().__init__(connection)
        self._tell, self.process = tell, process
        self.hooks: list[Callable[[], None]] = []
        self.failure: sqlite3.Error | None = None
        self.ended = False
        self.ran = False

    def _fetch(self, sql: str, values: tuple[Value, ...]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        self._check()
        try:
            return super()._fetch(sql, values)
        except sqlite3.Error as error:
            self.failure = error
            raise

    def rows(self, sql: str, *values: Value) -> list[tuple[Any, ...]]:
        self._check()
        try:
            return self._cursor.execute(for_sqlite(sql), values).fetchall()
        except sqlite3.Error as error:
            self.failure = error
            raise

    def run(self, sql: str, *values: Value) -> int:
        self._check()
        self.ran = True
        try:
            return self._cursor.execute(for_sqlite(sql), values).rowcount
        except sqlite3.Error as error:
            self.failure = error
            raise

    def after_commit(self, hook: Callable[[], None]) -> None:
        self.hooks.append(hook)

    def gate(self, name: str) -> None:
        """There is one writer: every unit is alone."""

    def _check(self) -> None:
        if self.ended:  # the connection belongs to the next unit
            raise RuntimeError("a unit's tx was used after the unit's end")
        if self.failure is not None:  # SQLite could go on after most failures, PostgreSQL cannot: one rule for both
            raise self.failure
        # SQLITE_FULL, SQLITE_IOERR and their like roll the whole transaction back under the unit's feet.
        if not self._connection.in_transaction:
            raise _TransactionLost


class _TransactionLost(Exception):
    """SQLite ended the transaction by itself; every unit of the batch has to run again."""


class _Spoiled(Exception):
    """A unit failed with something written; what the batch wrote is rolled back and its units run again, guarded."""


class _InDoubt(Exception):
    """COMMIT failed, perhaps at its fsync: then it is whole in the log, and found there if the server dies now."""


class _Unit:
    """A change on its way through the writer."""

    __slots__ = ("change", "error", "result", "tx")

    def __init__(self, change: Callable[[Tx], Any]) -> None:
        self.change = change
        self.tx: SQLiteTx | None = None
        self.result: Any = None
        self.error: BaseException | None = None


_Item = tuple[asyncio.Future[Any] | None, Callable[[], Any] | _Unit]


class _Connection(aiosqlite.Connection):
    """aiosqlite's thread and queue, with our loop on the thread: plain functions as before, units in batches."""

    def __init__(
        self,
        connector: Callable[[], sqlite3.Connection],
        name: str,
        tell: Callable[[str, str], None] | None = None,
        process: Process | None = None,
        *,
        committed: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(connector, iter_chunk_size=64)
        self._tell, self._process = tell or (lambda topic, key: None), process or Process()
        self._reading = tell is None
        self._committed = committed
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._held: _Item | None = None
        self.waiting = 0
        self.times, self.sizes = Histogram(), Histogram(UNITS)

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Call the function with the connection, on its thread."""
        self.waiting += 1
        try:
            return cast(T, await self._queue(lambda: function(self._conn)))
        except sqlite3.Error as error:
            if (trouble := _for_caller(error, reading=self._reading)) is not error:
                raise trouble from error
            raise
        finally:
            self.waiting -= 1

    async def unit(self, change: Callable[[Tx], T]) -> T:
        """Run the change in the next batch; returns after its commit."""
        return cast(T, await self._queue(_Unit(change)))

    @property
    def queued(self) -> int:
        """How much waits for the thread."""
        return self._tx.qsize()

    async def close(self) -> None:
        """Finish what is queued, then end the thread and close the connection."""
        if not self._running or self._connection is None:
            return
        self._running = False
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._tx.put_nowait((future, self._last))
        await future
        self._thread.join()

    def _last(self) -> Any:
        connection, self._connection = self._conn, None
        try:
            connection.close()
        except sqlite3.Error:
            log.exception("closing the database failed")
        return aiosqlite.core._STOP_RUNNING_SENTINEL

    def _queue(self, what: Callable[[], Any] | _Unit) -> asyncio.Future[Any]:
        if not self._running or self._connection is None:
            raise Busy("The server is shutting down.")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._tx.put_nowait((future, cast(Any, what)))
        return future

    def _work(self) -> None:
        while True:
            future, what = self._take()
            if isinstance(what, _Unit):
                self._batch(future, what)
                continue
            result, error = _outcome(what)
            if future is not None:
                hand_over(future.get_loop(), settle, future, result, error)
            if _is_stop(result):
                return

    def _take(self) -> _Item:
        held, self._held = self._held, None
        return held or cast(_Item, self._tx.get())

    def _next_unit(self) -> tuple[asyncio.Future[Any] | None, _Unit] | None:
        """Another unit that waits already, if the next thing in the queue is one."""
        if self._tx.empty():
            return None
        future, what = cast(_Item, self._tx.get())
        if isinstance(what, _Unit):
            return future, what
        self._held = (future, what)
        return None

    def _batch(self, future: asyncio.Future[Any] | None, unit: _Unit) -> None:
        """Run this unit and those that wait, commit them together, then answer them in order."""
        started = time.monotonic()
        end = started + BATCH_SECONDS
        batch = []
        arrived: tuple[asyncio.Future[Any] | None, _Unit] | None = (future, unit)
        guarded = False
        try:
            while arrived is not None:
                batch.append(arrived)
                try:
                    self._run(arrived[1], guarded=guarded)
                except _Spoiled:
                    self._conn.execute("ROLLBACK")
                    if guarded := len(batch) > 1:
                        for _, one in batch:
                            self._run(one, guarded=True)
                arrived = self._next_unit() if len(batch) < BATCH_UNITS and time.monotonic() < end else None
            self._commit()
        except BaseException as error:  # the transaction is lost, not one unit
            self._rollback()
            if len(batch) == 1:
                unit.error = _cause(error)
            else:  # also those that had failed: what made them fail may be undone
                for _, one in batch:
                    self._alone(one, lost=error)
        self.times.note(time.monotonic() - started)
        self.sizes.note(len(batch))
        self._answer(batch)

    def _answer(self, batch: list[tuple[asyncio.Future[Any] | None, _Unit]]) -> None:
        """Hand the units to the loop (one call for all: a batch has one loop, but in tests)."""
        waiting = [(future, unit) for future, unit in batch if future is not None]
        for loop in dict.fromkeys(future.get_loop() for future, _ in waiting):
            hand_over(loop, self._deliver, [(future, unit) for future, unit in waiting if future.get_loop() is loop])

    def _deliver(self, batch: list[tuple[asyncio.Future[Any], _Unit]]) -> None:
        """On the loop, after the commit: hooks and answers, in the order in which the units ran."""
        run_hooks([self._committed])
        for future, unit in batch:
            if unit.error is None and unit.tx is not None:
                run_hooks(unit.tx.hooks)
            settle(future, unit.result, unit.error and _for_caller(unit.error))

    def _alone(self, unit: _Unit, *, lost: BaseException) -> None:
        """Run a unit of a batch that was lost for this reason."""
        try:
            self._run(unit)
            self._commit()
        except BaseException as error:
            self._rollback()
            unit.error = lost if isinstance(lost, _InDoubt) else _cause(error)  # the batch may still be in the log

    def _begin(self) -> None:
        if not self._conn.in_transaction:
            self._conn.execute("BEGIN IMMEDIATE")

    def _commit(self) -> None:
        if self._conn.in_transaction:
            failpoints.hit("before-commit")
            try:
                self._conn.execute("COMMIT")
            except sqlite3.Error as error:
                if _code(error) == _IO_ERROR:
                    raise _InDoubt from error
                raise
            failpoints.hit("after-commit")

    def _rollback(self) -> None:
        try:
            if self._conn.in_transaction:
                self._conn.execute("ROLLBACK")
        except sqlite3.Error:  # the thread must live to answer; the next BEGIN tells whether the file can be used
            log.exception("a rollback failed")

    def _run(self, unit: _Unit, *, guarded: bool = False) -> None:
        """Run one unit; one that fails before it wrote anything leaves the others as they are.

        One that fails later raises _Spoiled, unless it is guarded by a savepoint. Those are not for free: SQLite copies
        every page that is changed behind one, which made a document's creation a sixth dearer. Raises _TransactionLost
        when SQLite has ended the transaction.
        """
        connection = self._conn
        self._begin()
        if guarded:
            connection.execute("SAVEPOINT unit")
        written = connection.total_changes
        unit.error = unit.result = None
        unit.tx = tx = SQLiteTx(connection, self._tell, self._process)
        try:
            unit.result = unit.change(tx)
            if tx.failure is not None:
                raise tx.failure
        except BaseException as error:
            # Trouble with the storage goes before what the unit says of it.
            unit.error = tx.failure if tx.failure is not None and _code(tx.failure) in (_FULL, *_STORAGE) else error
            if not connection.in_transaction:
                raise _TransactionLost from unit.error
            if guarded:
                connection.execute("ROLLBACK TO unit")
                connection.execute("RELEASE unit")
            elif tx.ran or connection.total_changes != written:
                raise _Spoiled from unit.error
            return
        finally:
            tx.ended = True
        if not connection.in_transaction:
            raise _TransactionLost
        if guarded:
            connection.execute("RELEASE unit")
        failpoints.hit("unit-done")


def _cause(error: BaseException) -> BaseException:
    return (error.__cause__ or error) if isinstance(error, _TransactionLost | _Spoiled) else error


def _outcome(function: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return function(), None
    except BaseException as error:
        return None, error


def _is_stop(result: Any) -> bool:
    return result is aiosqlite.core._STOP_RUNNING_SENTINEL


def _code(error: BaseException) -> int:
    return cast(int, getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _for_caller(error: BaseException, *, reading: bool = False) -> BaseException:
    """What storage trouble means to the person who asked; everything else as it is."""
    code = _code(error.__cause__ if isinstance(error, _InDoubt) and error.__cause__ else error)
    if reading and code == _READ_ONLY:  # a question that tries to write is a mistake of ours
        return error
    made: Problem
    if code == _FULL:
        made = StorageFull("The server's disk is full: nothing was changed.")
    elif isinstance(error, _InDoubt):
        log.error("the database cannot be made durable: %s", error.__cause__)
        made = Busy("The server's storage failed at saving this: whether it was kept is not certain.", retry_after=5)
    elif code in _STORAGE:
        log.error("the database cannot be used: %s", error)
        made = Busy("The server's storage does not answer as it should: nothing was changed.", retry_after=5)
    elif code in _BUSY:
        log.error("another program holds the database: %s", error)
        made = Busy("Another program is using the server's database: nothing was changed.")
    else:
        return error
    made.__cause__ = error
    return made


class SQLite(Database):
    """The engine on one database file."""

    engine = "sqlite"
    in_order = True

    def __init__(self, path: Path, *, readers: int, synchronous: str) -> None:
        super().__init__()
        self.path = path
        self._writer = _Connection(
            lambda: connect(path, read_only=False, synchronous=synchronous),
            "mdserver-writer",
            self.tell,
            self.process,
            committed=self._let_go,
        )
        self._readers = [
            _Connection(lambda: connect(path, read_only=True), f"mdserver-reader-{n}") for n in range(readers)
        ]
        self._glance: sqlite3.Connection | None = None
        self._glance_reader: SQLiteReader | None = None
        self._glance_ends = math.inf

    @classmethod
    async def open(cls, path: Path, *, readers: int = 2, synchronous: str = "FULL") -> SQLite:
        """Open (and create) the database file. `synchronous` is FULL but for tests of what NORMAL loses."""
        self = cls(path, readers=readers, synchronous=synchronous)
        try:
            for connection in (self._writer, *self._readers):
                await connection
            self._glance = connect(path, read_only=True)
            self._glance_reader = SQLiteReader(self._glance)
            self._glance_reader.glancing = True
        except BaseException as error:
            await self.close()
            if isinstance(error, sqlite3.Error):
                hint = ""
                if _code(error) in _DAMAGED:
                    hint = ". “mdserver restore” puts a backup in its place and keeps this file aside"
                raise Unusable(f"The database {path} cannot be opened: {error}{hint}.") from error
            raise
        # Its only purpose is to cut a glance off: returning non-zero aborts the running statement. It has to look at
        # the time, since SQLite counts the steps of a prepared statement over all its runs, short ones too.
        self._glance.set_progress_handler(lambda: time.monotonic() > self._glance_ends, GLANCE_STEPS)
        return self

    async def read(self, question: Callable[[Reader], T]) -> T:
        connection = min(self._readers, key=lambda one: one.waiting)
        try:
            return await connection.run(lambda raw: _snapshot(raw, question))
        finally:
            self._let_go()  # it may have seen more than the glances' snapshot holds: time does not run backwards

    def at_once(self, question: Callable[[Reader], T]) -> T:
        reader = self._glance_reader
        if reader is None:
            raise Busy("The server is shutting down.")
        self._glance_ends = time.monotonic() + GLANCE_SECONDS
        self._hold()
        try:
            return question(reader)
        except sqlite3.Error as error:
            if _code(error) == _INTERRUPTED:
                raise Moved from None
            if (trouble := _for_caller(error, reading=True)) is not error:
                raise trouble from error
            raise

    def _hold(self) -> None:
        """See to it that glances have a snapshot, which holds all that anybody has been told of."""
        glance = self._glance
        if glance is not None and not glance.in_transaction:
            glance.execute("BEGIN")
            asyncio.get_running_loop().call_later(GLANCE_HELD, self._let_go)

    def _let_go(self) -> None:
        glance = self._glance
        if glance is not None and glance.in_transaction:
            self._glance_ends = math.inf  # the last glance's time may be over, and this must not be cut off
            glance.execute("COMMIT")

    async def write(self, change: Callable[[Tx], T], *gates: str) -> T:
        return await self._writer.unit(change)

    async def raw(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Call a function with the writer's own connection between two batches (migrations, backup, checks)."""
        try:
            return await self._writer.run(function)
        finally:
            self._let_go()

    async def figures(self) -> list[Family]:
        def look() -> list[Family]:
            sizes = []
            for kind, suffix in (("database", ""), ("wal", "-wal")):
                with contextlib.suppress(FileNotFoundError):
                    sizes.append(Sample(self.path.with_name(self.path.name + suffix).stat().st_size, {"file": kind}))
            return [Family("mdserver_database_bytes", "gauge", "Size of the database's files.", sizes)]

        waiting = [
            Sample(self._writer.queued, {"for": "writer"}),
            Sample(sum(one.waiting for one in self._readers), {"for": "readers"}),
        ]
        batches, units = self._writer.times.samples(), self._writer.sizes.samples()
        return [
            Family("mdserver_commit_seconds", "histogram", "Time of a batch of changes and its commit.", batches),
            Family("mdserver_commit_units", "histogram", "Changes that shared a commit.", units),
            Family("mdserver_database_waiting", "gauge", "Work that waits for a thread of the database.", waiting),
            *await asyncio.to_thread(look),
        ]

    async def close(self) -> None:
        if self._glance is not None:
            self._glance.close()
            self._glance = self._glance_reader = None
        for connection in self._readers:
            await connection.close()
        await self._writer.close()

    @property
    def library_version(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}"


def _snapshot(connection: sqlite3.Connection, question: Callable[[Reader], T]) -> T:
    connection.execute("BEGIN")
    try:
        return question(SQLiteReader(connection))
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")
