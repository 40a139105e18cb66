"""Positions become visible in their order on PostgreSQL, whoever commits when: a puller never passes one by."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

import psycopg
import pytest

from mdserver.model import changes
from mdserver.model.access import Actor
from mdserver.store.db import Tx
from mdserver.store.postgres import Postgres, PostgresTx
from tests import engines

ME = Actor(user_id="", device="test")
WORKSPACE = "w"


@pytest.fixture
def dsn() -> Iterator[str]:
    with engines.fresh_dsn(migrated=True) as made:
        yield made


class Puller:
    """Asks again and again what is new beyond its position, and keeps the newest version that it was told of."""

    def __init__(self, database: Postgres) -> None:
        self._database = database
        self.place = 0
        self.told: dict[str, int] = {}

    async def pull(self) -> None:
        for one in await self._database.read(lambda db: changes.after(db, WORKSPACE, self.place, limit=3)):
            assert one.seq > self.place
            self.place = one.seq
            self.told[one.entity_id] = one.version

    async def until(self, id: str) -> None:
        """Wait until it was told of."""
        async with asyncio.timeout(20):
            while True:
                if id in self.told:
                    return
                await asyncio.sleep(0.001)

    async def run(self) -> None:
        while True:
            await self.pull()
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def pulling(database: Postgres) -> AsyncIterator[Puller]:
    """A puller that polls all the while, and at the end to the end."""
    puller = Puller(database)
    task = asyncio.create_task(puller.run())
    yield puller
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    head = await database.read(lambda db: changes.head(db, WORKSPACE))
    while puller.place < head:
        await puller.pull()


def note(id: str, version: int = 1) -> Callable[[Tx], int]:
    return lambda tx: changes.record(tx, ME, WORKSPACE, "document", id, version=version)


async def a_slow_one_and_a_fast_one(dsn: str, *, known: bool) -> tuple[dict[str, int], bool]:
    """What a puller was told of when a fast unit overtakes a slow one, and whether it could.

    `known`: whether the units name their gate beforehand, or come to it on their way.
    """
    one, two = await Postgres.open(dsn), await Postgres.open(dsn)
    has_position, may_commit = threading.Event(), threading.Event()

    def slow(tx: Tx) -> None:
        note("slow")(tx)
        has_position.set()
        may_commit.wait(20)

    gates = (f"changes:{WORKSPACE}",) if known else ()
    try:
        await one.write(note("first"))
        async with pulling(two) as puller:
            waiting = asyncio.create_task(one.write(slow, *gates))
            await asyncio.to_thread(has_position.wait, 20)
            overtaking = asyncio.create_task(two.write(note("fast"), *gates))
            done, _ = await asyncio.wait([overtaking], timeout=0.3)
            if done:
                await puller.until("fast")
            assert "slow" not in puller.told, "told before it was committed"
            may_commit.set()
            await asyncio.gather(waiting, overtaking)
        return puller.told, bool(done)
    finally:
        may_commit.set()
        await one.close()
        await two.close()


@pytest.mark.parametrize("known", [True, False])
async def test_a_slow_transaction_is_not_overtaken(dsn: str, known: bool) -> None:
    told, has_overtaken = await a_slow_one_and_a_fast_one(dsn, known=known)
    assert set(told) == {"first", "slow", "fast"}
    assert not has_overtaken


async def two_processes(
    dsn: str, *, seed: int, gated: bool = True, units: int = 120
) -> tuple[dict[str, int], dict[str, int], int]:
    """Two processes that write at once, each unit some things in an order of its own, slowly: what a puller was told,
    what is so, and how often units ran.
    """
    chance = random.Random(seed)
    one, two = await Postgres.open(dsn), await Postgres.open(dsn)
    runs: list[int] = []

    def unit(number: int) -> Callable[[Tx], None]:
        names = chance.sample("abcdefgh", chance.choice((1, 1, 2, 3)))
        pauses = [chance.choice((0.0, 0.0, 0.001, 0.01)) for _ in names]

        def change(tx: Tx) -> None:
            runs.append(number)
            for name, pause in zip(names, pauses, strict=True):
                note(name, number)(tx)
                time.sleep(pause)

        return change

    try:
        async with pulling(one) as puller, pulling(two) as other:
            writes = []
            for number in range(1, units + 1):
                gates = (f"changes:{WORKSPACE}",) if gated and chance.random() < 0.7 else ()
                writes.append(asyncio.create_task(chance.choice((one, two)).write(unit(number), *gates)))
                await asyncio.sleep(chance.choice((0, 0, 0.002)))
            await asyncio.gather(*writes)
        rows = await one.read(lambda db: db.rows("SELECT entity_id, version FROM changes"))
        assert not gated or other.told == puller.told
        return puller.told, dict(rows), len(runs)
    finally:
        await one.close()
        await two.close()


async def test_two_processes_write_at_once(dsn: str) -> None:
    told, there, runs = await two_processes(dsn, seed=1)
    assert told == there
    assert runs < 120 * 1.6  # those that met the gate on their way ran again; those that knew it did not


def positions_of_a_sequence(dsn: str, patch: pytest.MonkeyPatch) -> None:
    """Positions are given without a gate, by what databases have for it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE SEQUENCE positions")

    def record(tx: Tx, me: Actor, workspace_id: str, entity: str, entity_id: str, *, version: int = 0) -> int:
        seq = tx.value(int, "SELECT nextval('positions')") or 0
        tx.run(
            "INSERT INTO changes (workspace_id, entity, entity_id, seq, action, version, actor_id, device, at)"
            " VALUES ($1, $2, $3, $4, 'upsert', $5, '', '', 0) ON CONFLICT (workspace_id, entity, entity_id)"
            " DO UPDATE SET seq = excluded.seq, version = excluded.version",
            workspace_id,
            entity,
            entity_id,
            seq,
            version,
        )
        return seq

    patch.setattr(changes, "record", record)


async def test_positions_of_a_sequence_would_be_passed_by(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests above are worth."""
    positions_of_a_sequence(dsn, monkeypatch)
    told, has_overtaken = await a_slow_one_and_a_fast_one(dsn, known=False)
    assert has_overtaken
    assert set(told) == {"first", "fast"}


async def test_behind_the_gate_a_sequence_would_do(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the gate that keeps the order."""
    positions_of_a_sequence(dsn, monkeypatch)
    told, has_overtaken = await a_slow_one_and_a_fast_one(dsn, known=True)
    assert not has_overtaken
    assert set(told) == {"first", "slow", "fast"}


async def test_without_the_gate(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then only the index keeps two from having one position: they fail each other, and run again and again."""
    monkeypatch.setattr(PostgresTx, "gate", lambda self, name: None)
    runs: list[int] = []
    one, two = await Postgres.open(dsn), await Postgres.open(dsn)

    def unit(number: int) -> Callable[[Tx], None]:
        def change(tx: Tx) -> None:
            runs.append(number)
            note(str(number))(tx)
            time.sleep(0.002)

        return change

    try:
        await asyncio.gather(*((one, two)[number % 2].write(unit(number)) for number in range(20)))
    finally:
        await one.close()
        await two.close()
    assert len(runs) > 20
