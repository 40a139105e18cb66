"""How the history thins out: the law by random histories, and what it does to a database that keeps changing."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdserver import clock
from mdserver.clock import DAY, HOUR, MINUTE
from mdserver.model import documents, texts, versions
from mdserver.model.access import Actor
from mdserver.model.updates import Door
from mdserver.model.versions import Moment, Retention, surplus
from mdserver.store.db import Database, Reader
from tests.conftest import Clock

from .invariants import broken
from .test_updates import MOST, document, person, present

USUAL = Retention(everything=30 * DAY, hourly=90 * DAY, daily=None)
SHORT = Retention(everything=HOUR, hourly=2 * DAY, daily=10 * DAY)
OPERATOR = Actor(user_id="", device="test")
NOW = clock.parse("2026-01-31T12:00:00Z")

ages = st.integers(-DAY, 400 * DAY)  # a clock may have been ahead
retentions = st.builds(
    lambda everything, hourly, daily: Retention(
        everything=everything, hourly=everything + hourly, daily=None if daily is None else everything + hourly + daily
    ),
    st.integers(0, 60 * DAY),
    st.integers(0, 60 * DAY),
    st.none() | st.integers(0, 200 * DAY),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Moment]:
    """Versions in order; their times mostly are, too."""
    when = draw(st.lists(ages, min_size=1, max_size=60))
    if draw(st.booleans()):
        when.sort(reverse=True)
    return [Moment(n, NOW - age, draw(st.integers(0, 9)) == 0) for n, age in enumerate(when, 1)]


def without(history: list[Moment], numbers: list[int]) -> list[Moment]:
    return [one for one in history if one.version not in numbers]


@settings(derandomize=True, deadline=None, max_examples=400)
@given(histories(), retentions)
def test_the_law(history: list[Moment], retention: Retention) -> None:
    gone = set(surplus(history, retention, now=NOW))
    assert history[-1].version not in gone
    for one in history:
        age, is_gone = NOW - one.created_at, one.version in gone
        if one.is_named or age < retention.everything:
            assert not is_gone
            continue
        span = HOUR if age < retention.hourly else DAY
        later = [
            other.version
            for other in history
            if other.version > one.version and other.created_at // span == one.created_at // span
        ]
        is_old = retention.daily is not None and age >= max(retention.hourly, retention.daily)
        assert is_gone == ((bool(later) or is_old) and one is not history[-1])


@settings(derandomize=True, deadline=None, max_examples=400)
@given(histories(), retentions, st.lists(st.integers(0, 100 * DAY), max_size=4))
def test_again_and_again_is_as_once(history: list[Moment], retention: Retention, pauses: list[int]) -> None:
    left, now = history, NOW
    for pause in (0, *pauses):
        now += pause
        left = without(left, surplus(left, retention, now=now))
        assert surplus(left, retention, now=now) == []
    assert left == without(history, surplus(history, retention, now=now))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(histories())
def test_what_is_never_surplus(history: list[Moment]) -> None:
    """Each day that somebody wrote on keeps its last word, by the usual rule for ever."""
    left = without(history, surplus(history, USUAL, now=NOW + 10_000 * DAY))
    last = {one.created_at // DAY: one for one in history}
    assert set(left) >= set(last.values())
    assert [one for one in history if one.is_named] == [one for one in left if one.is_named]


def test_by_example() -> None:
    def at(*moments: str) -> list[Moment]:
        return [Moment(n, clock.parse(one), False) for n, one in enumerate(moments, 1)]

    history = at(
        "2025-06-01T08:00:00Z",  # 1: not the last of its day
        "2025-06-01T23:59:59Z",
        "2025-06-02T00:00:00Z",
        "2025-12-01T10:00:00Z",  # 4: not the last of its hour
        "2025-12-01T10:59:59Z",
        "2025-12-01T11:00:00Z",
        "2026-01-30T10:00:00Z",
        "2026-01-30T10:00:01Z",
    )
    assert surplus(history, USUAL, now=NOW) == [1, 4]
    assert surplus(history, USUAL, now=NOW + 365 * DAY) == [1, 4, 5, 7]
    assert surplus(history, SHORT, now=NOW + 365 * DAY) == [1, 2, 3, 4, 5, 6, 7]


async def versions_of(database: Database, id: str) -> list[int]:
    return await database.read(
        lambda db: db.column(int, "SELECT version FROM document_versions WHERE document_id = $1 ORDER BY version", id)
    )


async def swept(database: Database, retention: Retention, *, rows: int = 7) -> int:
    """Look all histories through in small steps and prune them; how many versions went."""
    after: str | None = ""
    count = 0
    while after is not None:
        found, after = await database.read(
            lambda db, after=after: versions.look_through(db, retention, after=after, rows=rows)  # type: ignore[misc]
        )
        count += await database.write(lambda tx, found=found: versions.prune(tx, OPERATOR, found))  # type: ignore[misc]
    return count


@pytest.mark.parametrize("seed", range(3))
async def test_random_histories_keep_what_they_must(seed: int, database: Database, frozen: Clock) -> None:
    """Few texts, that come back; edits, names and sweeps mixed: every version that is left still has its text."""
    chance = random.Random(seed)
    me, workspace_id = await person(database, "ada")
    door = Door(database, maximum_bytes=MOST)
    ids = [(await document(database, me, workspace_id, "0")).id for _ in range(4)]
    named: set[tuple[str, int]] = set()
    for _ in range(60):
        frozen.forward(chance.choice((MINUTE, 40 * MINUTE, 7 * HOUR, 3 * DAY)))
        id = chance.choice(ids)
        edited = await door.edit(me, id, base=present, content=chance.choice("0123"))
        if chance.random() < 0.15:
            found = edited.document
            await database.write(lambda tx, found=found: versions.rename(tx, me, found, found.version, "kept"))  # type: ignore[misc]
            named.add((id, found.version))
        if chance.random() < 0.2:
            await swept(database, SHORT)
            assert await database.read(lambda db: broken(db, pruned=True)) == []
    frozen.forward(100 * DAY)
    await swept(database, SHORT)
    assert await swept(database, SHORT) == 0
    assert await database.read(lambda db: broken(db, pruned=True)) == []
    newest = {(id, (await versions_of(database, id))[-1]) for id in ids}
    left = {(id, number) for id in ids for number in await versions_of(database, id)}
    assert left == named | newest


async def test_a_text_goes_with_the_last_version_that_names_it(database: Database, frozen: Clock) -> None:
    me, workspace_id = await person(database, "ada")
    door = Door(database, maximum_bytes=MOST)
    made = await document(database, me, workspace_id, "a\n")
    for word in ("b", "a", "c", "d", "a"):
        frozen.forward(1)
        await door.edit(me, made.id, base=present, content=f"{word}\n")
    found = await database.read(lambda db: documents.find(db, me, made.id))
    await database.write(lambda tx: versions.rename(tx, me, found, 4, "the c"))

    async def kept() -> set[str]:
        hashes = await database.read(lambda db: db.column(str, "SELECT hash FROM texts"))
        return {word for word in "abcd" if texts.named(f"{word}\n").hash in hashes}

    assert await kept() == {"a", "b", "c", "d"}
    frozen.forward(DAY)
    assert await swept(database, SHORT) == 4
    assert await versions_of(database, made.id) == [4, 6]
    assert await kept() == {"a", "c"}
    assert await database.read(lambda db: versions.text_of(db, found, 4)) == "c\n"
    assert await database.read(lambda db: versions.text_of(db, found, 6)) == "a\n"
    assert await database.read(lambda db: versions.text_of(db, found, 5)) is None


async def test_what_gets_a_name_meanwhile_stays(database: Database, frozen: Clock) -> None:
    me, workspace_id = await person(database, "ada")
    door = Door(database, maximum_bytes=MOST)
    made = await document(database, me, workspace_id, "a\n")
    await door.edit(me, made.id, base=present, content="b\n")
    frozen.forward(20 * DAY)
    await door.edit(me, made.id, base=present, content="c\n")
    found = await database.read(lambda db: documents.find(db, me, made.id))
    judged, _ = await database.read(lambda db: versions.look_through(db, SHORT, after=""))
    assert judged == {made.id: [1, 2]}
    await database.write(lambda tx: versions.rename(tx, me, found, 1, "the first"))
    assert await database.write(lambda tx: versions.prune(tx, OPERATOR, judged)) == 1
    assert await database.write(lambda tx: versions.prune(tx, OPERATOR, judged)) == 0
    # Even if somebody asked for it: not the newest.
    assert await database.write(lambda tx: versions.prune(tx, OPERATOR, {made.id: [3]})) == 0
    assert await database.write(lambda tx: versions.prune(tx, OPERATOR, {"no such document": [1]})) == 0
    assert await versions_of(database, made.id) == [1, 3]
    assert await database.read(lambda db: broken(db, pruned=True)) == []


async def test_who_was_told_of_a_version_is_told_that_it_went(database: Database, frozen: Clock) -> None:
    me, workspace_id = await person(database, "ada")
    door = Door(database, maximum_bytes=MOST)
    made = await document(database, me, workspace_id, "a\n")
    for word in ("b", "c"):
        await door.edit(me, made.id, base=present, content=f"{word}\n")
    found = await database.read(lambda db: documents.find(db, me, made.id))
    await database.write(lambda tx: versions.rename(tx, me, found, 1, "for a while"))
    await database.write(lambda tx: versions.rename(tx, me, found, 1, None))
    frozen.forward(20 * DAY)
    assert await swept(database, SHORT) == 2

    def told(db: Reader) -> list[tuple[str, str]]:
        return [
            (one[0], one[1])
            for one in db.rows("SELECT entity_id, action FROM changes WHERE entity = 'version' ORDER BY entity_id")
        ]

    assert await database.read(told) == [(f"{made.id}/1", "delete")]


async def test_sweeping_beside_writers(database: Database, frozen: Clock) -> None:
    """Two sweepers and a writer on each document, all at once."""
    me, workspace_id = await person(database, "ada")
    door = Door(database, maximum_bytes=MOST)
    ids = [(await document(database, me, workspace_id, "0")).id for _ in range(3)]
    for id, word in itertools.product(ids, "0123401234"):
        frozen.forward(MINUTE)
        await door.edit(me, id, base=present, content=word)
    frozen.forward(20 * DAY)

    async def writing(id: str) -> None:
        for word in "43210432104321":
            await door.edit(me, id, base=present, content=word)

    async def sweeping() -> None:
        for _ in range(4):
            await swept(database, SHORT)

    await asyncio.gather(*map(writing, ids), sweeping(), sweeping())
    assert await database.read(lambda db: broken(db, pruned=True)) == []
