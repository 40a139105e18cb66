"""Administrators hear by mail that scheduled backups fail and that they work again, of each row of failures once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mdserver import config as sections
from mdserver.app import TIMETABLE
from mdserver.config import Backup, Schedule, Secret
from mdserver.errors import Problem
from mdserver.model import users
from mdserver.store.db import Database
from mdserver.store.postgres import Postgres
from mdserver.store.sqlite import SQLite
from tests.conftest import Clock

from .conftest import Inbox, Server, Start


@pytest.fixture
def places(database: Database, tmp_path: Path) -> dict[str, object]:
    """The sections that name this database, and a directory for its backups."""
    where: dict[str, object] = {"backup": Backup(directory=str(tmp_path / "backups"), schedule=Schedule(seconds=3600))}
    if isinstance(database, SQLite):
        return where | {"server": sections.Server(data=database.path.parent)}
    assert isinstance(database, Postgres)
    return where | {"database": sections.Database(url=Secret(database._dsn)), "server": sections.Server(data=tmp_path)}


async def tried(server: Server, frozen: Clock) -> None:
    """Let the clock come to the next try, and the try to its end."""
    table = server.app[TIMETABLE]
    known = (await table.records()).get("backup")
    frozen.now = max(frozen.now + 1, known.due_at if known else 0)
    while known is None or known.runner is not None or known.ended_at != frozen.now:
        await table.start_due()
        known = (await table.records()).get("backup")
    await asyncio.gather(*[task for task in asyncio.all_tasks() if task.get_name() == "backup"])  # which tells of it
    await asyncio.sleep(0)


async def test_of_each_row_of_failures_once(
    start: Start, inbox: Inbox, places: dict[str, object], tmp_path: Path, frozen: Clock
) -> None:
    server = await start(mail=inbox.config, **places)
    folder = tmp_path / "backups"
    for name, admin in (("Ada", True), ("Bob", False), ("Eve", True), ("Old", True)):
        made = await server.person(name, admin=admin)
        if name == "Old":
            await server.database.write(lambda tx, who=made.user: users.disable(tx, who))  # type: ignore[misc]
    await tried(server, frozen)  # nobody hears of what is well
    for again in range(2):
        folder.rename(tmp_path / "away")
        folder.touch()
        with pytest.raises(Problem, match="Not a directory"):  # nor of what somebody tries by hand
            await server.app[TIMETABLE].run("backup")
        for _ in range(3):
            await tried(server, frozen)
        server = await start(mail=inbox.config, **places)  # a restart is no news
        await tried(server, frozen)
        folder.unlink()
        (tmp_path / "away").rename(folder)
        await tried(server, frozen)
        await tried(server, frozen)
        for to in ("ada@example.org", "eve@example.org"):
            failed = await inbox.wait(server, to, 2 * again + 1)
            assert failed.startswith("The backup failed\n")
            assert f"Backups cannot be kept in {folder} (backup.directory): Not a directory." in failed
            assert (await inbox.wait(server, to, 2 * again + 2)).startswith("Backups are made again\n")
    assert sorted({to for to, _ in inbox.received}) == ["ada@example.org", "eve@example.org"]
    assert len(inbox.received) == 8


async def test_once_there_is_mail(
    start: Start, inbox: Inbox, places: dict[str, object], tmp_path: Path, frozen: Clock
) -> None:
    """Who configures mail while backups fail hears of it."""
    (tmp_path / "backups").touch()
    server = await start(**places)
    await server.person("Ada", admin=True)
    await tried(server, frozen)
    server = await start(mail=inbox.config, **places)
    await tried(server, frozen)
    assert (await inbox.wait(server, "ada@example.org")).startswith("The backup failed\n")
