"""`mdserver migrate`: the schema brought up to date, or rehearsed on a copy."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import Settings, show
from .common import command as new_command

if TYPE_CHECKING:
    from mdserver.config import Config
    from mdserver.store.datadir import DataDirectory
    from mdserver.store.migrate import Migration


@new_command("migrate", example="mdserver migrate --data /srv/notes --dry-run")
@click.option("--dry-run", is_flag=True, help="Try it on a copy, and change nothing.")
def command(settings: Settings, dry_run: bool) -> None:
    """Bring the database up to this version's schema, after a copy of it.

    “mdserver serve” does the same when it starts. The dry run works while the server runs.
    """
    from mdserver.store.datadir import DataDirectory

    config = settings.load()
    os.umask(0o077)
    directory = DataDirectory(config.server.data)
    directory.prepare()
    copy = None
    if dry_run:
        applied = asyncio.run(rehearsed(config, directory))
    else:
        directory.lock()
        try:
            applied, copy = asyncio.run(_migrated(config, directory))
        finally:
            directory.unlock()
    names = [f"{one.number:04d}_{one.name}" for one in applied]
    done = "applied well to a copy; nothing was changed" if dry_run else "applied"
    lines = [f"{', '.join(names)}: {done}."] if names else ["The database is up to date."]
    if copy is not None:
        lines.append(f"The copy from before is {copy}.")
    show(settings, {"applied": names, "copy": copy and str(copy), "dry_run": dry_run}, *lines)


async def _migrated(config: Config, directory: DataDirectory) -> tuple[list[Migration], Path | None]:
    from mdserver.app import open_database

    database, applied, copy = await open_database(config, directory)
    await database.close()
    return applied, copy


async def rehearsed(config: Config, directory: DataDirectory) -> list[Migration]:
    """What would be applied, after it has been: to a copy of the SQLite file, or to PostgreSQL and rolled back."""
    if config.database.url:
        return await _rehearsed_on_postgres(config.database.url.reveal())
    from mdserver.store.migrate import migrate_sqlite
    from mdserver.store.sqlite import SQLite

    with tempfile.TemporaryDirectory(prefix="rehearsal-", dir=directory.path) as scratch:
        copy = Path(scratch) / "copy.sqlite3"
        if directory.database.exists():
            await asyncio.to_thread(_copy, directory.database, copy)
        database = await SQLite.open(copy, synchronous="OFF")
        try:
            applied, _ = await migrate_sqlite(database, backups=Path(scratch))
        finally:
            await database.close()
    return applied


def _copy(source: Path, target: Path) -> None:
    """A consistent copy; reading is all that this connection may do, so it is no second writer."""
    from mdserver.store.sqlite import connect

    reading = connect(source, read_only=True)
    writing = connect(target, read_only=False, synchronous="OFF")
    try:
        reading.backup(writing)
    finally:
        writing.close()
        reading.close()


async def _rehearsed_on_postgres(url: str) -> list[Migration]:
    from mdserver.store.migrate import LEDGER, apply, known, pending
    from mdserver.store.postgres import Postgres
    from mdserver.store.translate import for_postgres

    def work(connection: Any) -> list[Migration]:
        connection.execute("SET lock_timeout = '10s'")
        with connection.transaction(force_rollback=True):
            exists = connection.execute("SELECT to_regclass('schema_migrations') IS NOT NULL").fetchone()[0]
            rows = connection.execute("SELECT number, name FROM schema_migrations").fetchall() if exists else []
            todo = pending(dict(rows), known("postgres"))
            if todo:
                connection.execute(for_postgres(LEDGER).encode())
                apply(todo, lambda sql: connection.execute(sql.encode()))
        return todo

    database = await Postgres.open(url, connections=1)
    try:
        return await database.raw(work)
    finally:
        await database.close()
