"""SQLite's own side: group commit, a full or failing disk in mid-batch, pragmas, glances, the dangerous versions."""

from __future__ import annotations

import asyncio
import re
import resource
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mdserver.errors import Busy, Conflict, StorageFull
from mdserver.store import sqlite
from mdserver.store.db import Reader, Tx, Unusable
from mdserver.store.sqlite import SQLite

if TYPE_CHECKING:
    import sqlite3
else:
    sqlite3 = sqlite.sqlite3  # the library in use, which may not be the interpreter's

PADDING = "x" * 200_000


@pytest.fixture
async def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SQLite]:
    """A database with an empty table `t`, and batches that end with the queue, however slow the machine is."""
    monkeypatch.setattr(sqlite, "BATCH_SECONDS", 60)
    made = await SQLite.open(tmp_path / "test.sqlite3", synchronous="OFF")
    await made.raw(lambda raw: raw.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, pad TEXT NOT NULL) STRICT"))
    yield made
    await made.close()


def put(number: int, pad: str = "") -> Callable[[Tx], int]:
    def change(tx: Tx) -> int:
        tx.run("INSERT INTO t (n, pad) VALUES ($1, $2)", number, pad)
        return number

    return change


def numbers(db: Reader) -> list[int]:
    return db.column(int, "SELECT n FROM t ORDER BY n")


async def as_one_batch(database: SQLite, *units: Callable[[Tx], Any]) -> tuple[list[Any], list[str]]:
    """Run the units as one batch; → their results and errors, and the transaction statements the writer ran."""
    statements: list[str] = []

    def trace(statement: str) -> None:
        if re.match(r"(?i)begin|commit|rollback(?! to)", statement):
            statements.append(statement.split()[0])

    go_on = threading.Event()
    await database.raw(lambda raw: raw.set_trace_callback(trace))
    blocked = asyncio.create_task(database.raw(lambda raw: go_on.wait(30)))
    waiting = [asyncio.create_task(database.write(unit)) for unit in units]
    await asyncio.sleep(0)
    go_on.set()
    assert await blocked
    done = await asyncio.gather(*waiting, return_exceptions=True)
    await database.raw(lambda raw: raw.set_trace_callback(None))
    return list(done), statements


async def test_units_that_wait_share_one_commit(database: SQLite) -> None:
    done, statements = await as_one_batch(database, *map(put, range(200)))
    assert done == list(range(200))
    assert statements == ["BEGIN", "COMMIT"]
    assert await database.read(numbers) == list(range(200))


async def test_a_batch_has_an_end(database: SQLite) -> None:
    done, statements = await as_one_batch(database, *map(put, range(sqlite.BATCH_UNITS + 1)))
    assert done == list(range(sqlite.BATCH_UNITS + 1))
    assert statements == ["BEGIN", "COMMIT"] * 2


async def test_a_long_batch_is_cut(database: SQLite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BATCH_SECONDS", 0)
    done, statements = await as_one_batch(database, *map(put, range(5)))
    assert done == list(range(5))
    assert statements == ["BEGIN", "COMMIT"] * 5


async def test_a_unit_that_raises_in_a_batch_spoils_no_other(database: SQLite) -> None:
    def failing(tx: Tx) -> None:
        put(1000)(tx)
        raise Conflict("no")

    for units in ([failing, put(1), failing, put(2)], [put(3), failing, failing], [failing]):
        done, _ = await as_one_batch(database, *units)
        assert [isinstance(one, Conflict) for one in done] == [unit is failing for unit in units]
    assert await database.read(numbers) == [1, 2, 3]


@pytest.mark.parametrize("asks", [True, False])
async def test_only_a_unit_that_fails_after_writing_makes_others_run_again(database: SQLite, asks: bool) -> None:
    """Each behind a savepoint then, those that come later too; all in one commit."""
    ran: list[int] = []

    def unit(number: int) -> Callable[[Tx], int]:
        def change(tx: Tx) -> int:
            ran.append(number)
            if number % 3:
                return put(number)(tx)
            if asks:
                tx.value(int, "SELECT count(*) FROM t")
            else:
                tx.column(int, "INSERT INTO t (n, pad) VALUES ($1, '') RETURNING n", 1000 + number)
            raise Conflict("no")

        return change

    done, statements = await as_one_batch(database, *map(unit, range(1, 8)))
    assert [isinstance(one, Conflict) for one in done] == [number % 3 == 0 for number in range(1, 8)]
    assert await database.read(numbers) == [1, 2, 4, 5, 7]
    if asks:
        assert ran == [1, 2, 3, 4, 5, 6, 7]
        assert statements == ["BEGIN", "COMMIT"]
    else:
        assert ran == [1, 2, 3, 1, 2, 3, 4, 5, 6, 7]
        assert statements == ["BEGIN", "ROLLBACK", "BEGIN", "COMMIT"]


async def test_what_was_queued_between_units_keeps_its_place(database: SQLite) -> None:
    go_on = threading.Event()
    blocked = asyncio.create_task(database.raw(lambda raw: go_on.wait(30)))
    first = asyncio.create_task(database.write(put(1)))
    seen = asyncio.create_task(database.raw(lambda raw: raw.execute("SELECT count(*) FROM t").fetchone()[0]))
    second = asyncio.create_task(database.write(put(2)))
    await asyncio.sleep(0)
    go_on.set()
    assert list(await asyncio.gather(blocked, first, seen, second)) == [True, 1, 1, 2]


@pytest.mark.parametrize("big", ["one row", "many rows"])
async def test_a_full_disk_in_mid_batch(database: SQLite, big: str) -> None:
    """One row: SQLite ends the transaction by itself. Many rows: it undoes the statement only."""
    told: list[int] = []

    def small(number: int) -> Callable[[Tx], int]:
        def change(tx: Tx) -> int:
            tx.after_commit(lambda: told.append(number))
            return put(number)(tx)

        return change

    def large(tx: Tx) -> None:
        tx.after_commit(lambda: told.append(-1))
        if big == "one row":
            put(1000, PADDING)(tx)
        else:
            tx.run(
                "INSERT INTO t (n, pad) WITH RECURSIVE c (n) AS "
                "(SELECT 1000 UNION ALL SELECT n + 1 FROM c WHERE n < 2000) SELECT n, $1 FROM c",
                PADDING[:4000],
            )

    def denying(tx: Tx) -> str:
        try:
            large(tx)
        except sqlite3.Error:
            return "nothing happened"
        return "it fitted"

    def limit(raw: sqlite3.Connection) -> None:
        pages = raw.execute("PRAGMA page_count").fetchone()[0]
        raw.execute(f"PRAGMA max_page_count = {pages + 5}").fetchone()

    await database.raw(limit)
    done, _ = await as_one_batch(database, small(1), small(2), large, small(3), denying, small(4))
    assert [one for one in done if isinstance(one, int)] == [1, 2, 3, 4]
    assert isinstance(done[2], StorageFull)
    assert isinstance(done[4], StorageFull)
    assert told == [1, 2, 3, 4]

    # the first of a batch, and alone
    done, _ = await as_one_batch(database, large, small(5))
    assert isinstance(done[0], StorageFull)
    done, _ = await as_one_batch(database, large)
    assert isinstance(done[0], StorageFull)
    assert await database.read(numbers) == [1, 2, 3, 4, 5]

    await database.raw(lambda raw: raw.execute("PRAGMA max_page_count = 1000000").fetchone())
    done, _ = await as_one_batch(database, large, small(6))
    assert done == [None, 6]
    assert told == [1, 2, 3, 4, 5, -1, 6]


@contextmanager
def no_file_grows_beyond(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_commit_that_fails_is_run_again_unit_by_unit(database: SQLite, tmp_path: Path) -> None:
    runs: list[int] = []

    def counted(number: int, pad: str = "") -> Callable[[Tx], int]:
        def change(tx: Tx) -> int:
            runs.append(number)
            return put(number, pad)(tx)

        return change

    await database.raw(lambda raw: raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    # Room in the log for a few pages: the large unit fits into the cache, so that only COMMIT writes it.
    with no_file_grows_beyond(60_000):
        done, statements = await as_one_batch(database, counted(1), counted(2, PADDING), counted(3))
    assert runs == [1, 2, 3, 1, 2, 3]
    assert (done[0], done[2]) == (1, 3)
    assert isinstance(done[1], Busy)
    assert statements == ["BEGIN", "COMMIT"] * 4
    assert await database.read(numbers) == [1, 3]
    assert await database.write(put(4, PADDING)) == 4
    assert await database.raw(lambda raw: raw.execute("PRAGMA integrity_check").fetchone()) == ("ok",)


async def test_another_program_that_holds_the_file(database: SQLite) -> None:
    await database.raw(lambda raw: raw.execute("PRAGMA busy_timeout = 0").fetchone())
    other = sqlite3.connect(database.path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy):
            await database.write(put(1))
        other.execute("COMMIT")
    finally:
        other.close()
    assert await database.write(put(2)) == 2


async def test_a_unit_that_ends_the_transaction_itself(database: SQLite) -> None:
    def rude(tx: Tx) -> None:
        put(1000)(tx)
        tx.run("ROLLBACK")
        put(1001)(tx)

    done, _ = await as_one_batch(database, put(1), rude, put(2))
    assert done[0] == 1
    assert isinstance(done[1], Exception)
    assert done[2] == 2
    assert await database.read(numbers) == [1, 2]


async def test_the_writer_outlives_a_loop(database: SQLite, caplog: pytest.LogCaptureFixture) -> None:
    gone = asyncio.new_event_loop()
    future: asyncio.Future[Any] = gone.create_future()
    plain: asyncio.Future[Any] = gone.create_future()
    gone.close()
    writer = database._writer
    writer._tx.put((future, sqlite._Unit(put(1))))  # type: ignore[arg-type] # our queue holds units, too
    writer._tx.put((plain, lambda: None))
    assert await database.write(put(2)) == 2
    assert await database.read(numbers) == [1, 2]
    assert len(caplog.records) == 2


async def test_every_connection_has_its_pragmas(tmp_path: Path) -> None:
    database = await SQLite.open(tmp_path / "with?odd#name%20.sqlite3")
    try:

        def pragmas(raw: sqlite3.Connection) -> dict[str, object]:
            return {name: raw.execute(f"PRAGMA {name}").fetchone()[0] for name in (*every, "query_only", "cache_size")}

        every = {
            "journal_mode": "wal",
            "synchronous": 2,  # FULL
            "foreign_keys": 1,
            "busy_timeout": 10_000,
            "temp_store": 2,  # MEMORY
            "trusted_schema": 0,
            "mmap_size": 268_435_456,
        }
        assert await database.raw(pragmas) == {**every, "query_only": 0, "cache_size": -16_384}
        assert await database.raw(lambda raw: raw.execute("PRAGMA journal_size_limit").fetchone()) == (67_108_864,)
        assert len(database._readers) == 2
        for reader in database._readers:
            assert await reader.run(pragmas) == {**every, "query_only": 1, "cache_size": -8_192}
        assert database._glance is not None
        assert pragmas(database._glance) == {**every, "query_only": 1, "cache_size": -8_192}
        assert database.path.exists()
    finally:
        await database.close()


async def test_a_long_glance_is_moved_to_a_reader(database: SQLite) -> None:
    ran: list[str] = []

    def question(steps: int) -> Callable[[Reader], int | None]:
        def ask(db: Reader) -> int | None:
            ran.append(threading.current_thread().name)
            return db.value(
                int,
                "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < $1) SELECT COUNT(*) FROM c",
                steps,
            )

        return ask

    await database.write(put(1))
    assert await database.glance(question(10)) == 10
    assert ran == [threading.current_thread().name]
    assert await database.glance(question(100_000)) == 100_000
    assert ran[1:] == [threading.current_thread().name, "mdserver-reader-0"]
    assert await database.glance(numbers) == [1]  # and it sees what is written after it was cut off
    await database.write(put(2))
    assert await database.glance(numbers) == [1, 2]


async def test_a_snapshot_is_let_go_however_late(database: SQLite, caplog: pytest.LogCaptureFixture) -> None:
    """What cuts long glances off counts the steps of all statements, those that end a snapshot among them."""
    await database.write(lambda tx: tx.run("CREATE TABLE numbers (n INTEGER NOT NULL)"))
    for number in range(3_000):
        assert await database.glance(lambda db: db.value(int, "SELECT count(*) FROM numbers")) == number
        database._glance_ends = 0.0  # long ago
        await database.write(lambda tx, number=number: tx.run("INSERT INTO numbers VALUES ($1)", number))  # type: ignore[misc]
    assert "hook" not in caplog.text


async def test_glances_share_a_snapshot_for_a_moment_only(database: SQLite) -> None:
    await database.write(lambda tx: tx.run("CREATE TABLE numbers (n INTEGER NOT NULL)"))
    await database.glance(lambda db: db.value(int, "SELECT count(*) FROM numbers"))
    assert database._glance is not None
    assert database._glance.in_transaction
    async with asyncio.timeout(10):
        while database._glance.in_transaction:  # noqa: ASYNC110 (a timer of the database's own)
            await asyncio.sleep(0.001)


async def test_many_short_glances_are_never_cut_off(database: SQLite, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite counts a prepared statement's steps over all its runs: 20,000 of them were enough to end in an error."""

    async def refuse(_: object) -> None:
        raise AssertionError("a short glance went to a reader")

    monkeypatch.setattr(database, "read", refuse)
    monkeypatch.setattr("mdserver.store.sqlite.GLANCE_SECONDS", 60.0)
    for _ in range(10_000):
        assert await database.glance(lambda db: db.value(int, "SELECT 1 + 1")) == 2


async def test_closed_means_written_to_the_one_file(database: SQLite) -> None:
    await asyncio.gather(*(database.write(put(number)) for number in range(10)))
    await database.close()
    assert [one.name for one in database.path.parent.iterdir()] == ["test.sqlite3"]
    again = sqlite3.connect(database.path)
    assert again.execute("SELECT count(*) FROM t").fetchone() == (10,)
    again.close()


async def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    for path in (tmp_path / "missing" / "test.sqlite3", tmp_path):
        with pytest.raises(Unusable, match="cannot be opened"):
            await SQLite.open(path)
    (tmp_path / "text").write_text("This is no database. " * 100)
    with pytest.raises(Unusable, match="not a database"):
        await SQLite.open(tmp_path / "text")
    for thread in threading.enumerate():
        if thread.name.startswith("mdserver-"):
            thread.join(30)
            assert not thread.is_alive()


def test_the_versions_that_can_corrupt_a_wal_are_known() -> None:
    assert not sqlite.corrupts_wal((3, 6, 23))
    assert sqlite.corrupts_wal((3, 7, 0))
    assert sqlite.corrupts_wal((3, 40, 1))
    assert sqlite.corrupts_wal((3, 51, 2))
    assert not sqlite.corrupts_wal((3, 51, 3))
    assert not sqlite.corrupts_wal((3, 53, 0))
    assert sqlite.corrupts_wal() == sqlite.corrupts_wal(sqlite3.sqlite_version_info)


async def test_library_version(database: SQLite) -> None:
    assert database.library_version == f"SQLite {sqlite3.sqlite_version}"
