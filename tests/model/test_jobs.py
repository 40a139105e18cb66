"""The record of a job: when it is due whatever the clock did, who may run it, and what is left when that one dies."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdserver import clock
from mdserver.model import jobs
from mdserver.model.jobs import Claim, Record
from mdserver.store.db import Database, Tx
from mdserver.store.postgres import Postgres
from tests import engines
from tests.conftest import Clock

EVERY = clock.DAY
NAME = "sweep"


def record(due_at: int, **known: Any) -> Record:
    empty: dict[str, Any] = dict.fromkeys(Record.__struct_fields__)
    return Record(**{**empty, "name": NAME, "failures": 0, "due_at": due_at, **known})


async def claimed(database: Database, *, by_hand: bool = False) -> Claim | None:
    return await database.write(lambda tx: jobs.claim(tx, NAME, every=EVERY, by_hand=by_hand))


async def taken(database: Database) -> Claim:
    mine = await claimed(database, by_hand=True)
    assert mine is not None
    return mine


def succeed(tx: Tx, mine: Claim, outcome: str, *, every: int = EVERY) -> None:
    now = clock.now()
    jobs.succeed(tx, mine, outcome, ended_at=now, due_at=now + every)


async def state(database: Database) -> Record:
    return (await database.read(jobs.records))[NAME]


@pytest.mark.parametrize(
    ("ahead", "due"),
    [
        (-400 * clock.DAY, True),
        (-1, True),
        (0, True),
        (1, False),
        (EVERY, False),
        (EVERY + jobs.SLACK, False),
        (EVERY + jobs.SLACK + 1, True),
        (400 * clock.DAY, True),
    ],
)
def test_due_when_it_says_so_or_says_what_cannot_be(ahead: int, due: bool) -> None:
    now = clock.parse("2026-01-31T12:00:00Z")
    assert record(now + ahead).is_due(now, EVERY) is due


@settings(derandomize=True, deadline=None, max_examples=500)
@given(st.integers(1, 400 * clock.DAY), st.integers(-(10**13), 10**13), st.integers(0, 10**13))
def test_no_jump_of_the_clock_silences_a_job_for_longer_than_its_interval(every: int, jump: int, now: int) -> None:
    """It ran just now; then the clock is set. By then at the latest, as the new clock counts, it is due again."""
    found = record(now + every)
    there = now + jump
    assert found.is_due(there, every) or found.is_due(there + every + jobs.SLACK, every)


@pytest.mark.parametrize(
    ("ahead", "stands"), [(-1, False), (0, False), (1, True), (jobs.LEASE, True), (jobs.LEASE + 1, False)]
)
def test_a_claim_stands_for_a_lease_and_no_clock_makes_it_longer(ahead: int, stands: bool) -> None:
    now = clock.parse("2026-01-31T12:00:00Z")
    assert record(now, runner="somebody", lease_until=now + ahead).is_running(now) is stands
    assert not record(now).is_running(now)


@pytest.mark.parametrize(
    ("failures", "minutes"), [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (6, 60), (1_000_000, 60)]
)
def test_after_failures_it_waits_ever_longer(failures: int, minutes: int) -> None:
    assert jobs.retry_after(failures, EVERY) == minutes * clock.MINUTE
    assert jobs.retry_after(failures, clock.MINUTE) == clock.MINUTE


async def test_a_run_that_succeeds(database: Database, frozen: Clock) -> None:
    assert await database.read(jobs.records) == {}
    begun = frozen.now
    mine = await claimed(database)
    assert mine is not None
    assert (await state(database)).is_running(frozen.now)
    frozen.forward(clock.MINUTE)
    await database.write(lambda tx: succeed(tx, mine, "3 things swept"))
    found = await state(database)
    assert found == record(
        frozen.now + EVERY,
        started_at=begun,
        ended_at=frozen.now,
        succeeded_at=frozen.now,
        outcome="3 things swept",
    )
    assert await claimed(database) is None
    assert await claimed(database, by_hand=True) is not None


async def test_failures_are_kept_until_it_succeeds(database: Database, frozen: Clock) -> None:
    for count in (1, 2, 3):
        mine = await taken(database)
        await database.write(lambda tx, mine=mine: jobs.fail(tx, mine, "no broom", every=EVERY))  # type: ignore[misc]
        found = await state(database)
        assert (found.failures, found.error, found.succeeded_at) == (count, "no broom", None)
        assert found.due_at == frozen.now + jobs.retry_after(count, EVERY)
        assert await claimed(database) is None
        frozen.now = found.due_at
    mine = await taken(database)
    await database.write(lambda tx: succeed(tx, mine, "swept"))
    found = await state(database)
    assert (found.failures, found.error, found.outcome) == (0, None, "swept")


async def test_a_run_that_was_stopped_is_due_and_no_failure(database: Database, frozen: Clock) -> None:
    mine = await taken(database)
    await database.write(lambda tx: jobs.fail(tx, mine, "no broom", every=EVERY))
    again = await taken(database)
    frozen.forward(1)
    await database.write(lambda tx: jobs.stop(tx, again))
    found = await state(database)
    assert (found.failures, found.error, found.due_at) == (1, "no broom", frozen.now)
    assert not found.is_running(frozen.now)


async def test_whoever_dies_at_it_leaves_a_failure_that_waits(database: Database, frozen: Clock) -> None:
    """A job that kills its process must not do so again at every start."""
    for count in (1, 2, 3):
        assert await claimed(database) is not None  # and nothing more is heard
        assert await claimed(database, by_hand=True) is None
        frozen.forward(jobs.LEASE)
        found = await state(database)
        assert not found.is_running(frozen.now)
        assert (found.failures, found.error) == (count, jobs.CUT_OFF)
        assert await claimed(database) is None
        frozen.forward(jobs.retry_after(count, EVERY) - jobs.LEASE)
    assert await claimed(database) is not None


async def test_a_claim_is_renewed_until_it_is_lost(database: Database, frozen: Clock) -> None:
    mine = await taken(database)
    for _ in range(5):
        frozen.forward(jobs.LEASE - 1)
        assert await database.write(lambda tx: jobs.renew(tx, mine))
    frozen.forward(jobs.LEASE)
    other = await taken(database)
    assert not await database.write(lambda tx: jobs.renew(tx, mine))

    def late(tx: Tx) -> None:
        succeed(tx, mine, "too late")
        jobs.fail(tx, mine, "too late", every=EVERY)
        jobs.stop(tx, mine)

    before = await state(database)
    await database.write(late)
    assert await state(database) == before
    assert before.runner == other.runner


async def test_a_clock_that_goes_back_frees_what_was_claimed_in_its_future(database: Database, frozen: Clock) -> None:
    await taken(database)
    frozen.forward(-30 * clock.DAY)
    assert not (await state(database)).is_running(frozen.now)
    assert await claimed(database) is not None


async def test_those_that_were_missed_are_put_off_and_the_others_left(database: Database, frozen: Clock) -> None:
    soon = frozen.now + clock.MINUTE

    def entered(tx: Tx) -> bool:
        return jobs.enter(tx, NAME, every=EVERY, due_at=soon)

    assert await database.write(entered)
    assert (await state(database)).due_at == soon
    assert not await database.write(entered)
    frozen.forward(clock.DAY)
    soon = frozen.now + clock.MINUTE
    assert await database.write(entered)
    assert (await state(database)).due_at == soon
    frozen.forward(-10 * clock.DAY)
    soon = frozen.now + clock.MINUTE
    assert await database.write(entered)
    assert (await state(database)).due_at == soon


async def test_of_many_who_reach_for_it_one_gets_it(database: Database) -> None:
    for _ in range(5):
        got = [one for one in await asyncio.gather(*(claimed(database) for _ in range(16))) if one is not None]
        assert len(got) == 1
        await database.write(lambda tx, mine=got[0]: succeed(tx, mine, "swept", every=0))  # type: ignore[misc]


async def test_of_two_servers_on_one_database_one_gets_it() -> None:
    with engines.fresh_dsn(migrated=True) as dsn:
        both = [await Postgres.open(dsn, connections=4) for _ in range(2)]
        try:
            for _ in range(10):
                reaching = (claimed(database) for database in both for _ in range(4))
                got = [one for one in await asyncio.gather(*reaching) if one is not None]
                assert len(got) == 1
                await both[0].write(lambda tx, mine=got[0]: succeed(tx, mine, "swept", every=0))  # type: ignore[misc]
        finally:
            for database in both:
                await database.close()
