"""The change log: positions, epochs that tell a restored database, and what is forgotten of deletions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from mdserver import clock
from mdserver.model import changes
from mdserver.model.access import Actor
from mdserver.store.db import Database, Process, Reader, Tx
from tests.conftest import Clock

T = TypeVar("T")

ME = Actor(user_id="ada", device="test")


def record(id: str, *, workspace: str = "w", deleted: bool = False, version: int = 1) -> Callable[[Tx], int]:
    return lambda tx: changes.record(tx, ME, workspace, "document", id, deleted=deleted, version=version)


def listed(db: Reader, *, after: int = 0, floor: int = 0, limit: int = 100) -> list[tuple[str, int, bool]]:
    return [(one.entity_id, one.seq, one.is_deleted) for one in changes.after(db, "w", after, floor=floor, limit=limit)]


def another_process(database: Database) -> None:
    """What comes now is done by a process that begins an epoch of its own."""
    database.process = process = Process()
    for part in vars(database).values():  # SQLite's writer was given the first one
        if hasattr(part, "_process"):
            part._process = process


async def epochs(database: Database) -> list[tuple[int, str]]:
    return await database.read(lambda db: [(a, b) for a, b in db.rows("SELECT number, id FROM epochs ORDER BY number")])


async def starts(database: Database) -> list[tuple[str, int, int]]:
    rows = await database.read(
        lambda db: db.rows("SELECT workspace_id, number, seq FROM epoch_starts ORDER BY workspace_id, number")
    )
    return [(a, b, c) for a, b, c in rows]


# Positions


async def test_a_thing_moves_on_at_each_change(database: Database) -> None:
    assert await database.read(partial(changes.head, workspace_id="w")) == 0
    assert [await database.write(record(one)) for one in "abca"] == [1, 2, 3, 4]
    assert await database.read(listed) == [("b", 2, False), ("c", 3, False), ("a", 4, False)]
    assert await database.read(partial(changes.head, workspace_id="w")) == 4
    assert await database.write(record("x", workspace="v")) == 1
    assert await database.read(partial(changes.head, workspace_id="w")) == 4


async def test_what_a_row_says(database: Database, frozen: Clock) -> None:
    await database.write(record("a", version=1))
    frozen.forward(5)
    other = Actor(user_id="bob", device="phone")
    await database.write(lambda tx: changes.record(tx, other, "w", "document", "a", version=7, deleted=True))
    rows = await database.read(lambda db: db.rows("SELECT seq, action, version, actor_id, device, at FROM changes"))
    assert rows == [(2, "delete", 7, "bob", "phone", frozen.now)]


async def test_kinds_of_things_are_apart(database: Database) -> None:
    await database.write(record("a"))
    await database.write(lambda tx: changes.record(tx, ME, "w", "membership", "a"))
    assert await database.read(listed) == [("a", 1, False), ("a", 2, False)]
    assert await database.read(lambda db: changes.is_known(db, "w", "membership", "a"))
    assert not await database.read(lambda db: changes.is_known(db, "w", "version", "a"))
    assert not await database.read(lambda db: changes.is_known(db, "v", "document", "a"))


async def test_pages_and_the_floor(database: Database) -> None:
    for one in "abcd":
        await database.write(record(one))
    for one in "ab":
        await database.write(record(one, deleted=True))
    assert await database.read(partial(listed, limit=2)) == [("c", 3, False), ("d", 4, False)]
    assert await database.read(partial(listed, after=3, limit=2)) == [("d", 4, False), ("a", 5, True)]
    assert await database.read(partial(listed, floor=5)) == [("c", 3, False), ("d", 4, False), ("b", 6, True)]
    assert await database.read(partial(listed, after=6)) == []


async def test_who_listens_hears_of_the_position(database: Database) -> None:
    heard: list[tuple[str, str]] = []
    for topic in ("change", "workspace"):
        database.listen(topic, lambda key, topic=topic: heard.append((topic, key)))  # type: ignore[misc]
    await database.write(record("a"))
    await database.write(lambda tx: changes.record(tx, ME, "w", "document", "a", is_passing=True))
    assert heard == [("change", "w 1"), ("workspace", "w"), ("change", "w 2")]


async def test_a_unit_that_fails_takes_no_position(database: Database) -> None:
    def change(tx: Tx) -> None:
        record("a")(tx)
        raise LookupError

    for _ in range(2):
        await _failing(database.write(change))
    assert await database.read(listed) == []
    assert await database.write(record("b")) == 1
    assert await starts(database) == [("w", 1, 0)]  # noted with what did not fail


async def test_versions_below_a_document(database: Database) -> None:
    for id in ("d/1", "d/2", "d/10", "e/1", "d"):
        await database.write(lambda tx, id=id: changes.record(tx, ME, "w", "version", id))  # type: ignore[misc]
    await database.write(lambda tx: changes.record(tx, ME, "w", "version", "d/2", deleted=True))
    found = await database.read(lambda db: changes.known_below(db, "w", "version", "d/"))
    assert sorted(found) == ["d/1", "d/10"]


# Epochs


async def test_a_process_begins_one_epoch(database: Database) -> None:
    assert await database.read(changes.epoch) == ""
    await database.write(changes.begin)
    first = database.process.id
    await database.write(changes.begin)
    await database.write(record("a"))
    await database.write(record("b", workspace="v"))
    assert await epochs(database) == [(1, first)]
    assert await database.read(changes.epoch) == first
    assert await starts(database) == [("v", 1, 0), ("w", 1, 0)]


async def test_an_epoch_begins_with_the_first_change(database: Database) -> None:
    """Commands that change something begin one, too; those that do not, do not."""
    await database.write(lambda tx: None)
    assert await epochs(database) == []
    await database.write(record("a"))
    assert await epochs(database) == [(1, database.process.id)]


async def test_where_an_epoch_reaches(database: Database) -> None:
    await database.write(record("a"))
    first = database.process.id
    await database.write(record("b"))
    assert await database.read(lambda db: changes.reach(db, "w", epoch=1)) is None  # nothing has followed
    another_process(database)
    await database.write(changes.begin)
    assert await database.read(lambda db: changes.reach(db, "w", epoch=1)) is None  # nor has it done anything here
    assert await database.read(changes.epoch) == database.process.id
    await database.write(record("x", workspace="v"))
    assert await database.read(lambda db: changes.reach(db, "w", epoch=1)) is None
    await database.write(record("c"))
    assert await starts(database) == [("v", 2, 0), ("w", 1, 0), ("w", 2, 2)]
    assert await database.read(lambda db: changes.reach(db, "w", epoch=1)) == 2
    assert await database.read(lambda db: changes.reach(db, "w", epoch=2)) is None
    another_process(database)
    await database.write(record("d"))
    assert await database.read(lambda db: changes.reach(db, "w", epoch=1)) == 2  # the nearest one counts
    assert await database.read(lambda db: changes.reach(db, "w", epoch=2)) == 3
    assert await database.read(lambda db: changes.epoch_number(db, first)) == 1
    assert await database.read(lambda db: changes.epoch_number(db, "0123456789abcdef")) is None
    assert await database.read(lambda db: changes.epoch_number(db, "")) == 0  # before the first


async def test_a_first_change_that_fails_begins_the_epoch_later(database: Database) -> None:
    """What a process knows of itself it knows from what was committed."""
    await database.write(record("a"))
    another_process(database)

    def change(tx: Tx) -> None:
        record("b")(tx)
        raise LookupError

    await _failing(database.write(change))
    assert len(await epochs(database)) == 1
    await database.write(record("c"))
    assert (await epochs(database))[1] == (2, database.process.id)
    assert await starts(database) == [("w", 1, 0), ("w", 2, 1)]


# What is forgotten


async def test_old_deletions_are_forgotten(database: Database, frozen: Clock) -> None:
    for one in "abc":
        await database.write(record(one))
    await database.write(record("a", deleted=True))
    frozen.forward(1_000)
    await database.write(record("b", deleted=True))
    await database.write(record("c"))
    forget = partial(changes.forget_deletions, kept=500)
    assert await database.read(partial(changes.horizon, workspace_id="w")) == 0
    assert await database.write(forget) == 1
    assert await database.read(listed) == [("b", 5, True), ("c", 6, False)]
    assert await database.read(partial(changes.horizon, workspace_id="w")) == 4
    assert await database.write(forget) == 0
    frozen.forward(1_000)
    assert await database.write(forget) == 1
    assert await database.read(listed) == [("c", 6, False)]  # what there is stays, however old
    assert await database.read(partial(changes.horizon, workspace_id="w")) == 5
    assert await database.read(partial(changes.horizon, workspace_id="v")) == 0


async def test_the_newest_row_stays(database: Database, frozen: Clock) -> None:
    """The next position is counted from it: none is given twice."""
    for workspace in "wv":
        await database.write(record("a", workspace=workspace))
        await database.write(record("b", workspace=workspace))
    await database.write(record("b", deleted=True))
    await database.write(record("a", deleted=True))
    frozen.forward(1_000)
    assert await database.write(partial(changes.forget_deletions, kept=0)) == 1
    assert await database.read(listed) == [("a", 4, True)]
    assert await database.write(record("c")) == 5
    assert await database.write(partial(changes.forget_deletions, kept=0)) == 1
    assert await database.read(listed) == [("c", 5, False)]
    assert await database.read(partial(changes.horizon, workspace_id="w")) == 4
    assert await database.write(record("c", deleted=True)) == 6


async def test_the_log_of_a_deleted_workspace(database: Database, frozen: Clock) -> None:
    """All of it is forgotten, some rows at a time, and nothing of others."""
    for workspace in "wv":
        await database.write(lambda tx, one=workspace: changes.record(tx, ME, one, "workspace", one))  # type: ignore[misc]
        for number in range(4):
            await database.write(record(str(number), workspace=workspace))
    await database.write(record("0", deleted=True))
    await database.write(record("1"))
    frozen.forward(1_000)
    assert await database.write(partial(changes.forget_deletions, kept=500)) == 1
    await database.write(lambda tx: changes.record(tx, ME, "w", "workspace", "w", deleted=True))
    forget = partial(changes.forget_deletions, kept=500, limit=2)
    assert await database.write(forget) == 0  # its members' devices may still be told
    assert len(await database.read(listed)) == 4
    frozen.forward(1_000)
    assert [await database.write(forget) for _ in range(3)] == [2, 2, 0]
    assert await database.read(listed) == []
    assert await starts(database) == [("v", 1, 0)]
    assert await database.read(partial(changes.horizon, workspace_id="w")) == 0
    assert await database.read(partial(changes.head, workspace_id="v")) == 5


async def test_so_many_at_once(database: Database, frozen: Clock) -> None:
    for number in range(5):
        await database.write(record(str(number), deleted=True))
        frozen.forward(1)
    await database.write(record("last"))
    frozen.forward(clock.DAY)
    counts = [await database.write(partial(changes.forget_deletions, kept=0, limit=2)) for _ in range(4)]
    assert counts == [2, 2, 1, 0]
    assert await database.read(partial(changes.horizon, workspace_id="w")) == 5


async def test_the_horizon_never_goes_back(database: Database, frozen: Clock) -> None:
    """Also where the clock did, so that what was deleted later looks older."""
    for one in "abc":
        await database.write(record(one))
    await database.write(record("a", deleted=True))
    frozen.now -= 1_000
    await database.write(record("b", deleted=True))
    await database.write(record("c"))
    frozen.now += 600
    assert await database.write(partial(changes.forget_deletions, kept=500)) == 1
    assert await database.read(partial(changes.horizon, workspace_id="w")) == 5
    frozen.now += 10_000
    assert await database.write(partial(changes.forget_deletions, kept=500)) == 1
    assert await database.read(partial(changes.horizon, workspace_id="w")) == 5


async def test_old_epochs_are_forgotten_with_their_starts(database: Database, frozen: Clock) -> None:
    known: list[str] = []
    for one in "abcd":
        await database.write(record(one))
        known.append(database.process.id)
        frozen.forward(1_000)
        another_process(database)
    assert await starts(database) == [("w", 1, 0), ("w", 2, 1), ("w", 3, 2), ("w", 4, 3)]
    assert await database.write(partial(changes.forget_epochs, kept=1_500)) == 2
    assert [one for _, one in await epochs(database)] == known[2:]
    assert await starts(database) == [("w", 3, 2), ("w", 4, 3)]
    assert await database.read(lambda db: changes.epoch_number(db, known[0])) is None
    assert await database.read(lambda db: changes.reach(db, "w", epoch=3)) == 3
    frozen.forward(clock.DAY)
    assert await database.write(partial(changes.forget_epochs, kept=0)) == 1
    assert await epochs(database) == [(4, known[3])]  # the newest one stays, however old
    assert await database.write(partial(changes.forget_epochs, kept=0)) == 0
    await database.write(record("e"))
    assert (await epochs(database))[1] == (5, database.process.id)
    assert await database.read(lambda db: changes.reach(db, "w", epoch=4)) == 4


async def test_an_epoch_is_kept_for_as_long_as_it_was_the_newest(database: Database, frozen: Clock) -> None:
    """A server may run for years: its cursors are from the day when the next one started."""
    await database.write(record("a"))
    frozen.forward(1_000 * clock.DAY)
    another_process(database)
    await database.write(record("b"))
    frozen.forward(10 * clock.DAY)
    assert await database.write(partial(changes.forget_epochs, kept=20 * clock.DAY)) == 0
    assert await database.write(partial(changes.forget_epochs, kept=5 * clock.DAY)) == 1


async def _failing(write: Awaitable[object]) -> None:
    try:
        await write
    except LookupError:
        return
    raise AssertionError("it was let through")
