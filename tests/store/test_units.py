"""Units of work, the same on both engines."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

import pytest

from mdserver.errors import Busy, Conflict, Problem
from mdserver.store.db import Database, Engine, Reader, Tx
from tests import engines


@pytest.fixture
async def counters(database: Database) -> Database:
    """A database with one counter at 0 and an empty log of our own."""
    await engines.create(
        database,
        "CREATE TABLE counters (name TEXT NOT NULL PRIMARY KEY, n INTEGER NOT NULL) STRICT, WITHOUT ROWID",
        "CREATE TABLE entries (id INTEGER PRIMARY KEY, who TEXT NOT NULL) STRICT",
        "INSERT INTO counters (name, n) VALUES ('c', 0)",
    )
    return database


def entry(who: str) -> Callable[[Tx], int]:
    def change(tx: Tx) -> int:
        return tx.run("INSERT INTO entries (who) VALUES ($1)", who)

    return change


def entered(db: Reader) -> list[str]:
    return db.column(str, "SELECT who FROM entries ORDER BY id")


def increment(tx: Tx) -> int:
    """Check, then write: right only when nobody comes between."""
    n = tx.value(int, "SELECT n FROM counters WHERE name = $1", "c")
    assert n is not None
    tx.run("UPDATE counters SET n = $1 WHERE name = $2", n + 1, "c")
    return n + 1


def count(db: Reader) -> int | None:
    return db.value(int, "SELECT n FROM counters WHERE name = 'c'")


async def test_a_unit_that_raises_is_undone_alone(counters: Database) -> None:
    def change(number: int) -> Callable[[Tx], int]:
        def unit(tx: Tx) -> int:
            tx.run("INSERT INTO entries (who) VALUES ($1)", str(number))
            if number % 3 == 0:
                raise Conflict(f"not {number}")
            return number

        return unit

    done = await asyncio.gather(*(counters.write(change(number)) for number in range(30)), return_exceptions=True)
    for number, result in enumerate(done):
        if number % 3 == 0:
            assert isinstance(result, Conflict)
            assert result.detail == f"not {number}"
        else:
            assert result == number
    left = sorted(int(who) for who in await counters.read(entered))
    assert left == [number for number in range(30) if number % 3]


async def test_check_then_write_is_safe_without_a_gate(counters: Database) -> None:
    numbers = await asyncio.gather(*(counters.write(increment) for _ in range(200)))
    assert sorted(numbers) == list(range(1, 201))
    assert await counters.read(count) == 200


async def test_units_behind_one_gate_run_in_the_order_of_their_calls(counters: Database) -> None:
    heard: list[str] = []

    def change(who: str) -> Callable[[Tx], None]:
        def unit(tx: Tx) -> None:
            tx.gate("log")
            entry(who)(tx)
            tx.after_commit(lambda: heard.append(who))

        return unit

    names = [f"{number:02d}" for number in range(50)]
    await asyncio.gather(*(counters.write(change(name), "log") for name in names))
    assert await counters.read(entered) == names
    assert heard == names


async def test_a_gate_that_was_not_announced(counters: Database) -> None:
    def change(tx: Tx) -> None:
        tx.gate("b")
        tx.gate("a")
        increment(tx)

    await asyncio.gather(*(counters.write(change) for _ in range(20)))
    assert await counters.read(count) == 20


async def test_hooks_run_on_the_loop_in_order_before_the_answer(counters: Database) -> None:
    told: list[object] = []

    def change(tx: Tx) -> str:
        for number in range(3):
            tx.after_commit(lambda number=number: told.append((number, threading.current_thread())))  # type: ignore[misc]
        return "answer"

    told.append(await counters.write(change))
    here = threading.current_thread()
    assert told == [(0, here), (1, here), (2, here), "answer"]


async def test_a_failing_hook_fails_nobody(counters: Database, caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    def broken() -> None:
        raise asyncio.CancelledError("a hook is no place for this")

    def change(tx: Tx) -> str:
        tx.after_commit(broken)
        tx.after_commit(lambda: told.append("second"))
        return "done"

    with caplog.at_level(logging.ERROR, "mdserver.store"):
        done = await asyncio.gather(counters.write(change), counters.write(change))
        assert list(done) == ["done", "done"]
    assert told == ["second", "second"]
    assert [record.message for record in caplog.records] == ["a hook after a commit failed"] * 2


async def test_a_unit_that_raised_has_no_hooks(counters: Database) -> None:
    told: list[str] = []

    def change(tx: Tx) -> None:
        tx.after_commit(lambda: told.append("never"))
        raise Conflict("no")

    with pytest.raises(Conflict):
        await counters.write(change)
    await counters.write(entry("later"))
    assert told == []


async def test_announcements_reach_every_listener(counters: Database, caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    def broken(key: str) -> None:
        raise RuntimeError(key)

    counters.listen("documents", broken)
    counters.listen("documents", told.append)
    counters.listen("others", told.append)

    def change(tx: Tx) -> None:
        tx.announce("documents", "d1")

    await counters.write(change)
    assert told == ["d1"]
    assert len(caplog.records) == 1


async def test_a_cancelled_waiter_does_not_lose_the_commit(counters: Database) -> None:
    begun, go_on = threading.Event(), threading.Event()
    told = asyncio.Event()

    def change(tx: Tx) -> None:
        begun.set()
        assert go_on.wait(30)
        entry("kept")(tx)
        tx.after_commit(told.set)

    waiter = asyncio.create_task(counters.write(change))
    await asyncio.to_thread(begun.wait, 30)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    go_on.set()
    await asyncio.wait_for(told.wait(), 30)
    assert await counters.read(entered) == ["kept"]


async def test_a_reader_sees_one_moment(counters: Database) -> None:
    looked, written = threading.Event(), threading.Event()

    def question(db: Reader) -> tuple[int | None, int | None]:
        before = count(db)
        looked.set()
        assert written.wait(30)
        return before, count(db)

    asked = asyncio.create_task(counters.read(question))
    await asyncio.to_thread(looked.wait, 30)
    await counters.write(increment)
    written.set()
    assert await asked == (0, 0)
    assert await counters.read(count) == 1


async def test_readers_cannot_write(counters: Database) -> None:
    def question(db: Reader) -> object:
        return db.rows("INSERT INTO entries (who) VALUES ('reader') RETURNING id")

    for ask in (counters.read, counters.glance):
        with pytest.raises(Exception, match=r"(?i)read.?only") as raised:
            await ask(question)
        assert not isinstance(raised.value, Problem)  # our mistake, not the caller's
    assert await counters.read(entered) == []
    assert await counters.glance(entered) == []


async def test_a_unit_that_swallows_a_failed_statement_does_not_commit(counters: Database) -> None:
    def change(tx: Tx) -> str:
        entry("before")(tx)
        try:
            tx.run("INSERT INTO counters (name, n) VALUES ('c', 1)")
        except Exception:
            return "all is well"
        return "inserted"

    with pytest.raises(Exception, match=r"(?i)unique"):
        await counters.write(change)
    assert await counters.read(entered) == []


async def test_a_unit_cannot_go_on_after_a_failed_statement(counters: Database) -> None:
    def change(tx: Tx) -> None:
        try:
            tx.run("INSERT INTO counters (name, n) VALUES ('c', 1)")
        except Exception:
            entry("after")(tx)

    with pytest.raises(Exception, match=r"(?i)unique"):
        await counters.write(change)
    await counters.write(entry("next"))
    assert await counters.read(entered) == ["next"]


async def test_tx_ends_with_its_unit(counters: Database) -> None:
    kept: list[Tx] = []
    await counters.write(kept.append)
    with pytest.raises(RuntimeError, match="after the unit's end"):
        kept[0].run("DELETE FROM counters")
    with pytest.raises(RuntimeError, match="after the unit's end"):
        kept[0].rows("SELECT 1")


async def test_stop_iteration_reaches_the_waiter(counters: Database) -> None:
    def change(tx: Tx) -> object:
        return next(iter(tx.rows("SELECT 1 WHERE 1 = 0")))

    def question(db: Reader) -> object:
        return next(iter(db.rows("SELECT 1 WHERE 1 = 0")))

    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(counters.write(change), 30)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(counters.read(question), 30)


async def test_what_is_not_an_exception_reaches_the_waiter_too(counters: Database) -> None:
    class Panic(BaseException):
        """As pycrdt raises it."""

    def change(tx: Tx) -> None:
        entry("half")(tx)
        raise Panic("no")

    with pytest.raises(Panic):
        await counters.write(change)
    assert await counters.read(entered) == []


async def test_closing_finishes_what_is_queued(engine: Engine) -> None:
    async with engines.fresh(engine) as database:
        await engines.create(database, "CREATE TABLE entries (id INTEGER PRIMARY KEY, who TEXT NOT NULL) STRICT")
        begun, go_on = threading.Event(), threading.Event()

        def slow(tx: Tx) -> int:
            begun.set()
            assert go_on.wait(30)
            return entry("slow")(tx)

        first = asyncio.create_task(database.write(slow))
        await asyncio.to_thread(begun.wait, 30)
        others = [asyncio.create_task(database.write(entry(str(number)))) for number in range(20)]
        asked = asyncio.create_task(database.read(lambda db: db.value(int, "SELECT 1")))
        await asyncio.sleep(0)
        closing = asyncio.create_task(database.close())
        await asyncio.sleep(0)
        go_on.set()
        await closing
        assert await asyncio.gather(first, *others) == [1] * 21
        assert await asked == 1
        for late in (database.write(entry("late")), database.read(entered), database.glance(entered)):
            with pytest.raises(Busy):
                await late
        await database.close()
