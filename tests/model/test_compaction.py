"""Merged logs: the same document, the same authors, everything that may be asked for still there."""

from __future__ import annotations

import random
from functools import partial

import pytest
from pycrdt import Text

from mdserver import clock
from mdserver.crdt import text as crdt
from mdserver.model import attribution, compaction, documents, live, log, versions
from mdserver.model.access import Principal
from mdserver.model.updates import Door
from mdserver.store.db import Database, Reader, Tx
from tests.conftest import Clock

from .invariants import broken
from .test_updates import BASE, MOST, document, person, present


async def typed(database: Database, people: list[Principal], id: str, count: int, frozen: Clock, *, seed: int) -> None:
    """Several people type, a row for each edit, a second apart."""
    chance = random.Random(seed)
    known = await database.read(lambda db: log.load(db, id))
    doc = crdt.load(known.snapshot, known.updates)
    text = doc.get(crdt.NAME, type=Text)
    updates: list[bytes] = []
    doc.observe(lambda event: updates.append(event.update))
    for number in range(count):
        size = len(str(text))
        if size > 40 and chance.random() < 0.3:
            at = crdt.to_utf8(str(text), chance.randrange(size - 1))
            end = crdt.to_utf8(str(text), crdt.from_utf8(str(text), at) + 1)
            del text[at:end]
        else:
            text.insert(crdt.to_utf8(str(text), chance.randrange(size + 1)), chance.choice("ab\U0001f389東é"))
        row = live.Row(people[number % len(people)], clock.now(), updates[-1])
        batch = live.Batch(id, known.head + number, [row])
        await database.write(partial(live.append, batch=batch))
        frozen.forward(clock.SECOND)
    made = await database.read(lambda db: live.replayed(db, id))
    assert made is not None
    assert await database.write(lambda tx: live.project(tx, made)) is not None


async def compacted(database: Database, id: str) -> int:
    planned = await database.read(lambda db: compaction.plan(db, id))
    return 0 if planned is None else await database.write(lambda tx: compaction.carry_out(tx, planned))


async def attributed(database: Database, me: Principal, id: str) -> list[tuple[str, str]]:
    def question(db: Reader) -> attribution.Material:
        return attribution.material(db, documents.find(db, me, id))

    found = await database.read(question)
    return [(author, text) for text, author, _ in attribution.spans(found)]


async def test_fewer_rows_and_nothing_else_is_different(database: Database, frozen: Clock) -> None:
    ada, workspace_id = await person(database, "ada")
    bob, _ = await person(database, "bob")
    id = (await document(database, ada, workspace_id)).id
    await typed(database, [ada, bob], id, 300, frozen, seed=1)
    before = await attributed(database, ada, id)
    text = await database.read(lambda db: documents.present_text(db, id))
    assert "".join(part for _, part in before) == text
    assert {author for author, _ in before} == {ada.user_id, bob.user_id}
    assert await compacted(database, id) == 0  # they are of today
    assert (await database.read(partial(compaction.due, after="")))[0] == []

    frozen.forward(2 * clock.DAY)
    assert (await database.read(partial(compaction.due, after="")))[0] == [id]
    assert await compacted(database, id) > 250
    assert await compacted(database, id) == 0
    assert await attributed(database, ada, id) == before
    assert await database.read(broken) == []

    def kept(db: Reader) -> list[str | None]:
        return [versions.text_of(db, documents.find(db, ada, id), version) for version in (1, 2)]

    assert await database.read(kept) == [BASE, text]

    await typed(database, [bob], id, 100, frozen, seed=2)
    frozen.forward(2 * clock.DAY)
    assert await compacted(database, id) > 80
    assert await database.read(broken) == []
    after = await attributed(database, ada, id)
    assert "".join(part for _, part in after) == await database.read(lambda db: documents.present_text(db, id))


async def test_versions_of_the_last_month_can_be_replayed(database: Database, frozen: Clock) -> None:
    ada, workspace_id = await person(database, "ada")
    id = (await document(database, ada, workspace_id)).id
    seqs = []
    for seed in range(3):
        await typed(database, [ada], id, 40, frozen, seed=seed)
        frozen.forward(clock.HOUR)
        head = await database.read(lambda db: log.head(db, id))
        seqs.append((head, await database.read(lambda db: documents.present_text(db, id))))
    frozen.forward(10 * clock.DAY)
    assert await compacted(database, id) == 3 * 39
    for seq, text in seqs:
        found = await database.read(partial(log.load, document_id=id, upto=seq))
        assert found.head == seq
        assert crdt.text_of(crdt.load(found.snapshot, found.updates)) == text
    frozen.forward(30 * clock.DAY)
    assert await compacted(database, id) == 3  # nothing holds them apart any more
    assert await database.read(broken) == []


async def test_a_log_of_many_clients(database: Database, frozen: Clock) -> None:
    ada, workspace_id = await person(database, "ada")
    id = (await document(database, ada, workspace_id)).id
    for seed in range(20):
        await typed(database, [ada], id, 3, frozen, seed=seed)
    frozen.forward(60 * clock.DAY)
    assert await compacted(database, id) > 50
    assert await database.read(broken) == []


async def test_a_log_that_was_changed_meanwhile_is_left_alone(database: Database, frozen: Clock) -> None:
    ada, workspace_id = await person(database, "ada")
    id = (await document(database, ada, workspace_id)).id
    await typed(database, [ada], id, 50, frozen, seed=1)
    frozen.forward(2 * clock.DAY)
    plans = [await database.read(lambda db: compaction.plan(db, id)) for _ in range(2)]
    counts = []
    for one in plans:
        assert one is not None
        counts.append(await database.write(partial(compaction.carry_out, planned=one)))
    assert counts == [49, 0]
    await Door(database, maximum_bytes=MOST).edit(ada, id, base=present, content="Anew\n")
    assert await database.read(broken) == []


async def test_a_merge_that_would_lose_something_is_refused(
    database: Database, frozen: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, workspace_id = await person(database, "ada")
    id = (await document(database, ada, workspace_id)).id
    await typed(database, [ada], id, 50, frozen, seed=1)
    frozen.forward(2 * clock.DAY)
    monkeypatch.setattr("pycrdt.merge_updates", lambda *updates: updates[0])
    with pytest.raises(ValueError, match="another document"):
        await compacted(database, id)


async def test_a_document_that_has_gone(database: Database) -> None:
    """A document that has gone meanwhile is no failure."""

    def change(tx: Tx) -> int:
        return compaction.carry_out(tx, compaction.Plan("none", [compaction.Group(1, 2, 2, b"")], [], 1))

    assert await database.write(change) == 0
