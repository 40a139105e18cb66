"""Each job by its rule: what it deletes, what it leaves, and that the configuration can switch it off."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from mdserver import clock
from mdserver.backup import schedule
from mdserver.backup.schedule import Scheduled
from mdserver.clock import DAY, HOUR, MINUTE
from mdserver.config import Config, Keep, Retention, Schedule
from mdserver.errors import Busy, Conflict
from mdserver.jobs import table
from mdserver.jobs.timetable import PATIENCE, Timetable
from mdserver.model import audit, codes, documents, idempotency, sessions, tokens, workspaces
from mdserver.model.access import Principal
from mdserver.model.audit import COMMAND_LINE
from mdserver.model.documents import Document
from mdserver.model.sessions import Lifetimes
from mdserver.model.updates import Door
from mdserver.store.db import Database, Reader, Tx
from mdserver.store.sqlite import SQLite
from tests.backup.worlds import filled, taking
from tests.conftest import Clock
from tests.model.invariants import broken
from tests.model.test_updates import MOST, document, person, present


def of(database: Database, **retention: Any) -> Timetable:
    return Timetable(database, table.jobs(Config(retention=Retention(**retention)), database, None))


async def run(database: Database, name: str, **retention: Any) -> str:
    return await of(database, **retention).run(name)


async def count(database: Database, table: str) -> int:
    return await database.read(lambda db: db.value(int, f"SELECT count(*) FROM {table}")) or 0


async def below(database: Database, me: Principal, workspace_id: str, parent: Document | None, title: str) -> Document:
    """A document below another one."""
    return await database.write(
        lambda tx: documents.create(
            tx,
            me,
            workspace_id,
            role=workspaces.enter(tx, me, workspace_id),
            title=title,
            kind="markdown",
            draft=documents.draft("text\n", maximum_bytes=MOST),
            parent_id=parent.id if parent else None,
        )
    )


async def trashed(database: Database, me: Principal, id: str) -> None:
    await database.write(lambda tx: documents.trash(tx, me, documents.find(tx, me, id)))


async def ids(database: Database) -> set[str]:
    return set(await database.read(lambda db: db.column(str, "SELECT id FROM documents")))


def test_the_jobs(database: Database) -> None:
    names = ["purge-trash", "prune-versions", "compact-logs", "forget-expired", "forget-deletions", "forget-audit"]
    names += ["backup", "tidy-search"]
    assert list(of(database).jobs) == names + ["tidy-database"] * (database.engine == "sqlite")
    for job in of(database).jobs.values():
        assert job.what[0].isupper()
        assert job.what.endswith(".")
        assert job.off == ('backup.schedule is "off"' if job.name == "backup" else "")


async def test_the_trash_is_kept_for_its_time(database: Database, frozen: Clock) -> None:
    ada, hers = await person(database, "ada")
    bob, his = await person(database, "bob")
    top = await below(database, ada, hers, None, "Top")
    inner = [await below(database, ada, hers, top, f"Inner {n}") for n in range(30)]
    elsewhere = [await below(database, bob, his, None, f"His {n}") for n in range(3)]
    live = await below(database, ada, hers, None, "Live")
    await trashed(database, ada, inner[0].id)
    frozen.forward(1)
    await trashed(database, bob, elsewhere[0].id)
    await trashed(database, ada, top.id)
    frozen.forward(DAY)
    await trashed(database, bob, elsewhere[1].id)
    frozen.forward(29 * DAY - 1)
    assert await run(database, "purge-trash") == "1 document purged"  # the one that was trashed a moment earlier
    assert inner[0].id not in await ids(database)
    frozen.forward(1)
    assert await run(database, "purge-trash", trash=365 * 86_400) == "0 documents purged"
    assert await run(database, "purge-trash") == "31 documents purged"
    assert await ids(database) == {elsewhere[1].id, elsewhere[2].id, live.id}
    assert await database.read(broken) == []
    told = await database.read(lambda db: db.column(str, "SELECT entity_id FROM changes WHERE action = 'delete'"))
    assert set(told) == {top.id, elsewhere[0].id, *(one.id for one in inner)}
    # What is left of the trash can still be restored.
    await database.write(lambda tx: documents.restore(tx, bob, documents.find(tx, bob, elsewhere[1].id)))
    frozen.forward(400 * DAY)
    assert await run(database, "purge-trash") == "0 documents purged"


async def test_a_set_that_is_purged_in_part_loses_what_stands_below_first(database: Database, frozen: Clock) -> None:
    ada, hers = await person(database, "ada")
    top = await below(database, ada, hers, None, "Top")
    middle = await below(database, ada, hers, top, "Middle")
    bottom = await below(database, ada, hers, middle, "Bottom")
    await trashed(database, ada, top.id)
    frozen.forward(30 * DAY)
    left = {top.id, middle.id, bottom.id}
    for one in (bottom, middle):
        assert await database.write(lambda tx: documents.purge_old(tx, table.HOUSEKEEPING, kept=30 * DAY, limit=1)) == 1
        left -= {one.id}
        assert await ids(database) == left
    await database.write(lambda tx: documents.restore(tx, ada, documents.find(tx, ada, top.id)))
    assert await database.write(lambda tx: documents.purge_old(tx, table.HOUSEKEEPING, kept=30 * DAY)) == 0
    assert await database.read(broken) == []


async def test_histories_are_thinned_out(database: Database, frozen: Clock) -> None:
    ada, hers = await person(database, "ada")
    door = Door(database, maximum_bytes=MOST)
    frozen.now = clock.parse("2026-01-31T12:00:00Z")
    made = [await document(database, ada, hers, "0\n") for _ in range(3)]
    for number in range(1, 10):
        frozen.forward(20 * MINUTE)
        for one in made:
            await door.edit(ada, one.id, base=present, content=f"{number}\n")
    assert await run(database, "prune-versions") == "0 versions deleted"
    frozen.forward(30 * DAY)
    assert await run(database, "prune-versions", versions=31 * 86_400) == "0 versions deleted"
    # From 12:00 to 15:00 every twenty minutes: 12:40, 13:40, 14:40 and the newest at 15:00 stay.
    assert await run(database, "prune-versions") == "18 versions deleted"
    frozen.forward(60 * DAY)
    assert await run(database, "prune-versions") == "9 versions deleted"
    assert await run(database, "prune-versions") == "0 versions deleted"
    assert await count(database, "document_versions") == 3
    assert await database.read(lambda db: broken(db, pruned=True)) == []


async def test_many_versions_in_small_units(database: Database, frozen: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "PRUNED_AT_ONCE", 3)
    await test_histories_are_thinned_out(database, frozen)


async def test_what_is_past_its_time_is_forgotten(database: Database, frozen: Clock) -> None:
    ada, _ = await person(database, "ada")
    life = Lifetimes()

    async def fill() -> None:
        for number in range(3):
            await database.write(lambda tx: sessions.start_app(tx, ada.user_id, origin=COMMAND_LINE, lifetimes=life))
            token = await database.write(
                lambda tx: tokens.create(tx, ada, name="x", scopes=["read"], workspace_id=None, expires_at=None)
            )
            await database.write(lambda tx, id=token.id: tokens.revoke(tx, tokens.find(tx, ada.user_id, id)))  # type: ignore[misc]
            await database.write(
                lambda tx, n=number: codes.issue(tx, "signup", email=f"{n}@example.org", lifetime=HOUR)  # type: ignore[misc]
            )
            await database.write(
                lambda tx, n=number: idempotency.remember(tx, "ada", str(n), b"", result_id="")  # type: ignore[misc]
            )

    await fill()
    held = ("sessions", "tokens", "personal_tokens", "codes", "idempotency_keys")
    assert await run(database, "forget-expired") == "nothing was past its time"
    frozen.forward(DAY)
    said = await run(database, "forget-expired")
    assert said == "3 sessions and tokens, 3 codes, 3 idempotency keys"  # the access tokens
    frozen.forward(400 * DAY)
    await fill()
    await run(database, "forget-expired")
    assert [await count(database, name) for name in held] == [3, 6, 3, 3, 3]


async def test_many_of_them(database: Database, frozen: Clock) -> None:
    """More than one unit of work takes."""

    def fill(tx: Tx) -> None:
        for number in range(1_234):
            idempotency.remember(tx, "ada", str(number), b"", result_id="")

    await database.write(fill)
    frozen.forward(2 * DAY)
    assert await run(database, "forget-expired") == "1,234 idempotency keys"


async def test_the_audit_log_is_kept_for_its_time(database: Database, frozen: Clock) -> None:
    async def note(number: int) -> None:
        def fill(tx: Tx) -> None:
            for one in range(number):
                audit.record(tx, COMMAND_LINE, "test", actor_id=None, obj=str(one))

        await database.write(fill)

    await note(700)
    frozen.forward(1)
    await note(1)
    frozen.forward(365 * DAY - 1)
    assert await run(database, "forget-audit", audit=400 * 86_400) == "0 entries deleted"
    assert await run(database, "forget-audit") == "700 entries deleted"
    assert await count(database, "audit") == 1
    frozen.forward(1)
    assert await run(database, "forget-audit") == "1 entry deleted"


@pytest.mark.parametrize(
    ("name", "key"), [("purge-trash", "trash"), ("prune-versions", "versions"), ("forget-audit", "audit")]
)
async def test_off(name: str, key: str, database: Database, frozen: Clock) -> None:
    ada, hers = await person(database, "ada")
    made = await document(database, ada, hers, "a\n")
    door = Door(database, maximum_bytes=MOST)
    await door.edit(ada, made.id, base=present, content="b\n")
    await database.write(lambda tx: audit.record(tx, COMMAND_LINE, "test", actor_id=None, obj=""))
    await trashed(database, ada, made.id)

    def all_of(db: Reader) -> list[Any]:
        return [
            sorted(db.rows(f"SELECT * FROM {one}"), key=repr) for one in ("documents", "document_versions", "audit")
        ]

    before = await database.read(all_of)
    frozen.forward(4000 * DAY)
    off = of(database, **{key: None})
    assert off.jobs[name].off == f'retention.{key} is "off"'
    with pytest.raises(Conflict, match="is switched off"):
        await off.run(name)
    for other in off.jobs.values():
        if not other.off and other.name not in ("purge-trash", "prune-versions", "forget-audit"):
            await off.run(other.name)
    assert await database.read(all_of) == before
    await off.start_due()
    await off.close()
    assert name not in await off.records()


async def test_a_daily_version_may_have_an_end(database: Database, frozen: Clock) -> None:
    ada, hers = await person(database, "ada")
    made = await document(database, ada, hers, "a\n")
    door = Door(database, maximum_bytes=MOST)
    for word in "bcd":
        frozen.forward(DAY)
        await door.edit(ada, made.id, base=present, content=f"{word}\n")
    frozen.forward(4000 * DAY)
    assert await run(database, "prune-versions") == "0 versions deleted"
    assert await run(database, "prune-versions", versions_daily=365 * 86_400) == "3 versions deleted"


async def test_tidying_brings_the_log_into_the_file(database: Database) -> None:
    if not isinstance(database, SQLite):
        assert "tidy-database" not in of(database).jobs
        return
    await person(database, "ada")
    assert database.path.with_name("mdserver.sqlite3-wal").stat().st_size > 0
    before = database.path.stat().st_mtime_ns
    assert await run(database, "tidy-database") == "all is in the file"
    assert database.path.stat().st_mtime_ns > before


async def test_a_backup_ends_with_the_server(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, leaving nothing behind, and it is due again."""
    monkeypatch.setattr(schedule, "PACE", 1e6)  # it rests for long after each piece
    mine = Scheduled(taking(database), tmp_path, Schedule(seconds=3600), Keep(last=1))
    timetable = Timetable(database, table.jobs(Config(), database, mine))
    await filled(database)
    running = asyncio.create_task(timetable.run("backup"))
    async with asyncio.timeout(30):
        while not [one for one in os.listdir(tmp_path) if one.endswith(".partial")]:  # noqa: ASYNC110 (of a thread)
            await asyncio.sleep(0.01)
    began = time.monotonic()
    await timetable.close()
    assert time.monotonic() - began < PATIENCE
    with pytest.raises(Busy, match="was stopped before it was done"):
        await running
    assert os.listdir(tmp_path) == []
    record = (await timetable.records())["backup"]
    assert (record.failures, record.error, record.runner) == (0, None, None)
    assert record.is_due(clock.now(), HOUR)
