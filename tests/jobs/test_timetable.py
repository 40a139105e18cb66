"""The timetable: what is due is run, by one of many, whatever fails; and it stops between two units."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from mdserver import clock
from mdserver.clock import DAY, HOUR, MINUTE
from mdserver.errors import Busy, Conflict, NotFound, Problem
from mdserver.jobs import timetable
from mdserver.jobs.job import Job, Turn
from mdserver.jobs.timetable import Timetable
from mdserver.model import jobs
from mdserver.model.jobs import Record
from mdserver.store.db import Database
from mdserver.store.postgres import Postgres
from tests import engines
from tests.conftest import Clock

DO = Callable[[Turn], Awaitable[str]]


class Broom:
    """A job's work that says when it is under way, and goes on when it is told to."""

    def __init__(self, units: int = 1, error: Exception | None = None) -> None:
        self.units, self.error = units, error
        self.begun, self.ended, self.done = 0, 0, 0
        self.under_way, self.go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, turn: Turn) -> str:
        self.begun += 1
        for _ in range(self.units):
            self.under_way.set()
            await self.go_on.wait()
            self.done += 1
            await turn.pause()
        if self.error is not None:
            raise self.error
        self.ended += 1
        return f"{self.units} swept"

    @classmethod
    def quick(cls, error: Exception | None = None) -> Broom:
        made = cls(error=error)
        made.go_on.set()
        return made


def line(name: str, do: DO, *, every: int = DAY, off: str = "", longest: int = HOUR) -> Job:
    return Job(name=name, what="Sweep.", every=every, do=do, off=off, longest=longest)


def made(database: Database, *lines: Job) -> Timetable:
    return Timetable(database, lines, first=0, apart=0)


@contextlib.asynccontextmanager
async def kept(table: Timetable) -> AsyncIterator[asyncio.Task[None]]:
    keeping = asyncio.create_task(table.keep())
    try:
        async with asyncio.timeout(30):
            yield keeping
    finally:
        await table.close()
        await keeping


async def state(database: Database, name: str = "sweep") -> Record:
    return (await database.read(jobs.records))[name]


async def until(database: Database, holds: Callable[[Record], bool], name: str = "sweep") -> Record:
    """The record once it is so."""
    while True:
        known = await database.read(jobs.records)
        if name in known and holds(known[name]):
            return known[name]


def is_over(found: Record) -> bool:
    return found.ended_at is not None and found.runner is None


async def test_what_is_due_is_run_once(database: Database) -> None:
    sweep, other = Broom.quick(), Broom.quick()
    table = made(database, line("sweep", sweep), line("other", other, off='retention.other is "off"'))
    async with kept(table):
        found = await until(database, is_over)
        await table.start_due()
    assert (found.outcome, found.error, found.failures) == ("1 swept", None, 0)
    assert found.due_at == (found.ended_at or 0) + DAY
    assert (sweep.begun, other.begun) == (1, 0)
    assert set(await table.records()) == {"sweep"}


async def test_it_is_run_again_when_its_time_has_come(database: Database, frozen: Clock) -> None:
    sweep = Broom.quick()
    table = made(database, line("sweep", sweep, every=MINUTE))
    assert await table.start_due() == timetable.LOOK
    await until(database, is_over)
    assert await table.start_due() == 60
    for jump in (MINUTE, -400 * DAY, 400 * DAY):  # the clock is set back, and right again
        frozen.forward(jump)
        before = await state(database)
        await table.start_due()
        await until(database, lambda found, before=before: is_over(found) and found.ended_at != before.ended_at)  # type: ignore[misc]
    await table.close()
    assert sweep.ended == 4


async def test_a_time_of_the_day(database: Database, frozen: Clock) -> None:
    """A job may say itself when it is due next."""
    job = Job(
        name="sweep", what="Sweep.", every=DAY, do=Broom.quick(), next_due=lambda moment: moment - moment % DAY + DAY
    )
    table = made(database, job)
    assert await table.run("sweep") == "1 swept"
    assert clock.rfc3339((await state(database)).due_at) == "2026-02-01T00:00:00.000Z"


async def test_the_missed_ones_run_soon_and_one_after_the_other(database: Database, frozen: Clock) -> None:
    brooms = [Broom.quick() for _ in range(3)]
    lines = [line(f"sweep-{n}", broom) for n, broom in enumerate(brooms)]
    for name, wait in (("sweep-1", 0), ("sweep-2", 1), ("sweep-0", 2)):
        frozen.forward(wait)
        await made(database, *lines).run(name)
    frozen.forward(40 * DAY)
    table = Timetable(database, lines, first=30, apart=20)
    keeping = asyncio.create_task(table.keep())
    await until(database, lambda found: found.due_at > frozen.now, "sweep-0")
    await table.close()
    await keeping
    waits = {name: found.due_at - frozen.now for name, found in (await table.records()).items()}
    assert waits == {"sweep-1": 30_000, "sweep-2": 50_000, "sweep-0": 70_000}
    assert [broom.begun for broom in brooms] == [1, 1, 1]


async def test_a_job_that_fails_is_kept_and_kills_nobody(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    bad = Broom.quick(ZeroDivisionError("by nought, at postgresql://ada:secret@host/db"))
    good = Broom.quick()
    async with kept(made(database, line("bad", bad), line("good", good))) as keeping:
        failed = await until(database, is_over, "bad")
        await until(database, is_over, "good")
        assert not keeping.done()
    assert failed.error == "ZeroDivisionError: by nought, at postgresql://ada:…@host/db"
    assert (failed.failures, failed.outcome, failed.succeeded_at) == (1, None, None)
    assert failed.due_at == (failed.ended_at or 0) + jobs.FIRST_RETRY
    assert [one.message for one in caplog.records if one.levelno == logging.ERROR] == [
        "the job bad failed: ZeroDivisionError: by nought, at postgresql://ada:…@host/db"
    ]


async def test_a_problem_is_told_in_its_own_words(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    table = made(database, line("sweep", Broom.quick(Busy("The broom is not there."))))
    with pytest.raises(Problem, match=r"^The job sweep failed: The broom is not there\.$"):
        await table.run("sweep")
    assert (await state(database)).error == "The broom is not there."
    assert [one.levelno for one in caplog.records if one.levelno > logging.INFO] == []  # whoever ran it was told


async def test_one_that_takes_too_long_is_given_up(database: Database) -> None:
    sweep = Broom()
    table = made(database, line("sweep", sweep, longest=1))
    with pytest.raises(Problem, match="it was not done within 0 s"):
        await table.run("sweep")
    assert (await state(database)).failures == 1


async def test_a_long_one_holds_up_no_short_one(database: Database) -> None:
    slow, quick = Broom(), Broom.quick()
    async with kept(made(database, line("slow", slow), line("quick", quick), line("last", Broom.quick()))):
        await slow.under_way.wait()
        for name in ("quick", "last"):
            await until(database, is_over, name)
        assert (await state(database, "slow")).is_running(clock.now())
        slow.go_on.set()
        await until(database, is_over, "slow")


async def test_stopped_between_two_units(database: Database) -> None:
    sweep = Broom(units=1000)
    table = made(database, line("sweep", sweep))
    keeping = asyncio.create_task(table.keep())
    await sweep.under_way.wait()
    closing = asyncio.create_task(table.close())
    sweep.go_on.set()  # the unit under way is finished
    await asyncio.gather(closing, keeping)
    assert (sweep.done, sweep.ended) == (1, 0)
    found = await state(database)
    assert (found.runner, found.failures, found.error) == (None, 0, None)
    assert found.is_due(clock.now(), DAY)
    with pytest.raises(Busy):
        await table.run("sweep")
    assert await table.start_due() == 0
    assert sweep.begun == 1


async def test_what_does_not_come_to_an_end_is_cut_off(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timetable, "PATIENCE", 0.01)
    sweep = Broom()  # nobody tells it to go on
    table = made(database, line("sweep", sweep))
    keeping = asyncio.create_task(table.keep())
    await sweep.under_way.wait()
    await table.close()
    await keeping
    found = await state(database)
    assert (found.runner, found.failures) == (None, 0)


async def test_by_hand(database: Database) -> None:
    sweep = Broom(units=2)
    table = made(database, line("sweep", sweep), line("other", Broom.quick(), off='retention.other is "off"'))
    with pytest.raises(NotFound, match=r"^There is no job 'mop'; there are sweep, other\.$"):
        await table.run("mop")
    with pytest.raises(Conflict, match=r'^The job other is switched off: retention\.other is "off" in the conf'):
        await table.run("other")
    first = asyncio.create_task(table.run("sweep"))
    await sweep.under_way.wait()
    with pytest.raises(Conflict, match="is running already"):
        await table.run("sweep")
    with pytest.raises(Conflict, match="is running already"):
        await made(database, line("sweep", sweep)).run("sweep")
    sweep.go_on.set()
    assert await first == "2 swept"
    assert await table.run("sweep") == "2 swept"  # again, due or not


async def test_by_hand_while_the_server_stops(database: Database) -> None:
    sweep = Broom(units=2)
    table = made(database, line("sweep", sweep))
    running = asyncio.create_task(table.run("sweep"))
    await sweep.under_way.wait()
    closing = asyncio.create_task(table.close())
    sweep.go_on.set()
    await closing
    with pytest.raises(Busy, match="was stopped before it was done"):
        await running


async def test_interrupted_by_hand(database: Database) -> None:
    """Ctrl-C: the claim is given back."""
    sweep = Broom()
    running = asyncio.create_task(made(database, line("sweep", sweep)).run("sweep"))
    await sweep.under_way.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    found = await until(database, is_over)
    assert (found.failures, found.is_due(clock.now(), DAY)) == (0, True)


async def test_whoever_loses_the_claim_does_nothing_more(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timetable, "RENEWED", 0)
    sweep = Broom(units=1000)
    running = asyncio.create_task(made(database, line("sweep", sweep)).run("sweep"))
    await sweep.under_way.wait()
    stolen = await state(database)
    await database.write(lambda tx: tx.run("UPDATE jobs SET runner = 'another', lease_until = $1", 0))
    other = Broom()
    taking = asyncio.create_task(made(database, line("sweep", other)).run("sweep"))
    await other.under_way.wait()
    assert (await state(database)).runner != stolen.runner
    sweep.go_on.set()
    with pytest.raises(Problem, match="another process has taken it over"):
        await running
    assert sweep.done < 1000
    other.go_on.set()
    assert await taking == "1 swept"


async def test_a_database_that_cannot_be_read_kills_nobody(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timetable, "LOOK", 0.01)
    table = made(database, line("sweep", Broom.quick()))
    await database.close()
    told = asyncio.Event()

    def note(_: logging.LogRecord) -> bool:
        told.set()
        return True

    timetable.log.addFilter(note)
    async with kept(table) as keeping:
        for _ in range(3):
            told.clear()
            await told.wait()
        assert not keeping.done()
    timetable.log.removeFilter(note)
    assert {one.message for one in caplog.records} == {"the timetable of jobs cannot be read; it is tried again"}


async def test_two_servers_do_it_once() -> None:
    """Real concurrency: two programs' timetables on one database, at the same moment, again and again."""
    with engines.fresh_dsn(migrated=True) as dsn:
        both = [await Postgres.open(dsn, connections=4) for _ in range(2)]
        at_once, most, runs, rounds = 0, 0, 0, 12

        async def sweep(turn: Turn) -> str:
            nonlocal at_once, most, runs
            runs, at_once = runs + 1, at_once + 1
            most = max(most, at_once)
            await asyncio.gather(*(one.read(jobs.records) for one in both))
            at_once -= 1
            return "swept"

        try:
            tables = [made(one, line("sweep", sweep)) for one in both]
            for _ in range(rounds):
                await both[0].write(lambda tx: tx.run("UPDATE jobs SET due_at = 0"))
                await asyncio.gather(*(table.start_due() for table in tables))
                await asyncio.gather(*(table.close() for table in tables))
                assert is_over(await state(both[0]))
                tables = [made(one, line("sweep", sweep)) for one in both]
        finally:
            for one in both:
                await one.close()
        assert (most, runs) == (1, rounds)


async def test_a_run_under_way_has_not_failed(database: Database) -> None:
    """Although its claim says in advance what will be true if it never ends."""
    sweep = Broom()
    table = made(database, line("sweep", sweep))

    async def failures() -> float:
        return {one.name: one for one in await table.figures()}["mdserver_job_failures"].samples[0].value

    for error, before in ((ZeroDivisionError(), 0), (None, 1)):
        sweep.error = error
        sweep.under_way.clear()
        sweep.go_on.clear()
        running = asyncio.create_task(table.run("sweep"))
        await sweep.under_way.wait()
        assert (await failures(), len(await table.failing())) == (before, before)
        sweep.go_on.set()
        with contextlib.suppress(Problem):
            await running
    assert (await failures(), await table.failing()) == (0, [])


async def test_one_that_was_switched_off_fails_no_more(database: Database) -> None:
    bad = Broom.quick(ZeroDivisionError())
    with pytest.raises(Problem):
        await made(database, line("sweep", bad)).run("sweep")
    table = made(database, line("sweep", bad, off='retention.trash is "off"'))
    assert await table.failing() == []
    assert [one.samples for one in await table.figures()] == [[], []]
    assert set(await table.records()) == {"sweep"}
