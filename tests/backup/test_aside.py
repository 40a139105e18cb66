"""What a restore moves out of its way, and what it must not: PostgreSQL's extensions, functions and other schemas."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mdserver.backup import restoring, snapshot
from mdserver.backup.contents import ALL
from mdserver.backup.reading import Archive
from mdserver.errors import Busy, Conflict, StorageFull
from mdserver.store.blobs_local import LocalBlobs
from mdserver.store.datadir import DataDirectory
from mdserver.store.db import Unusable
from tests import engines

from .worlds import backed_up, filled


@pytest.fixture
async def archive(tmp_path: Path) -> Path:
    async with engines.fresh("sqlite") as database:
        await filled(database)
        await backed_up(database, tmp_path / "a.tar")
    return tmp_path / "a.tar"


def bring_back(archive: Path, dsn: str, *, aside: bool) -> restoring.Restored:
    with contextlib.closing(Archive(archive)) as opened:
        return restoring.into_postgres(opened, dsn, LocalBlobs(archive.parent / "blobs"), aside=aside)


def ask(dsn: str, *statements: str) -> Any:
    """Run the statements; the rows of the last one."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else None


OWN = (
    "CREATE EXTENSION pg_trgm",
    "CREATE FUNCTION words(text) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$ SELECT string_to_array($1, ' ') $$",
    "CREATE TYPE mood AS ENUM ('good', 'bad')",
    "CREATE SEQUENCE counter",
    "CREATE VIEW titles AS SELECT title FROM documents",
    "CREATE TEXT SEARCH CONFIGURATION plain (COPY = simple)",
    "CREATE INDEX titles_trgm ON documents USING gin (title gin_trgm_ops)",
    "CREATE SCHEMA shop",
    "CREATE TABLE shop.goods (id int)",
)


async def test_everything_of_ours_but_extensions(archive: Path) -> None:
    with engines.fresh_dsn(migrated=True) as dsn:
        ask(dsn, *OWN)
        with pytest.raises(Conflict, match="There is data in the database"):
            await asyncio.to_thread(bring_back, archive, dsn, aside=False)
        done = await asyncio.to_thread(bring_back, archive, dsn, aside=True)
        assert done.aside is not None
        name = done.aside.removeprefix("schema ")
        for kind, table, column in (
            ("tables", "pg_class WHERE relkind IN ('r', 'v', 'S')", "relname, relnamespace"),
            ("functions", "pg_proc WHERE proname = 'words'", "proname, pronamespace"),
            ("types", "pg_type WHERE typname = 'mood'", "typname, typnamespace"),
            ("configurations", "pg_ts_config WHERE cfgname = 'plain'", "cfgname, cfgnamespace"),
        ):
            one, namespace = column.split(", ")
            found = {
                (row[0], row[1])
                for row in ask(dsn, f"SELECT {one}::text, {namespace}::regnamespace::text FROM {table}")
            }
            moved = {row[0] for row in found if row[1] == name}
            here = {row[0] for row in found if row[1] == "public"}
            if kind == "tables":
                moved, here = ({one for one in place if not ALL.is_derived(one)} for place in (moved, here))
                assert moved == {*ALL.tables, "counter", "titles"}
                assert here == {*ALL.tables}
                assert ("goods", "shop") in found
            else:
                assert (len(moved), here) == (1, set())
        assert ask(dsn, "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'pg_trgm'") == [
            ("public",)
        ]
        assert ask(dsn, f"SELECT count(*) FROM {name}.documents") == [(0,)]
        assert ask(dsn, "SELECT count(*) > 3 FROM documents") == [(True,)]
        again = await asyncio.to_thread(bring_back, archive, dsn, aside=True)
        assert again.aside != done.aside


async def test_who_may_not_is_told_and_nothing_is_changed(archive: Path) -> None:
    with engines.fresh_dsn() as dsn:
        ask(dsn, "DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN")
        try:
            with pytest.raises(Unusable, match=r"PostgreSQL refuses: permission denied .* Nothing was changed\."):
                await asyncio.to_thread(bring_back, archive, dsn.replace("//mdserver@", "//guest@"), aside=True)
            assert ask(dsn, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == [(0,)]
        finally:
            ask(dsn, "DROP ROLE guest")


async def test_a_log_that_grows_too_long_ends_the_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "WAL_MOST", 0)
    async with engines.fresh("sqlite") as database:
        await filled(database)
        with pytest.raises(Busy, match="Choose a quieter hour or a faster disk"):
            await backed_up(database, tmp_path / "a.tar")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("trouble", ["no room", "left by one that was killed"])
async def test_scratch_directories(
    archive: Path, tmp_path: Path, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = DataDirectory(tmp_path / "data")
    directory.prepare()

    def restore() -> restoring.Restored:
        with contextlib.closing(Archive(archive)) as opened:
            return restoring.into_sqlite(opened, directory, LocalBlobs(directory.blobs))

    if trouble == "no room":
        monkeypatch.setattr(restoring, "_ROOM", 1e15)
        with pytest.raises(StorageFull, match=r"About [0-9,]+ bytes are needed in .*, and [0-9,]+ are free"):
            await asyncio.to_thread(restore)
        assert os.listdir(directory.path) == []
        return
    (directory.path / "restoring-x").mkdir()
    (directory.path / "restoring-x" / "mdserver.sqlite3").write_text("half")
    await asyncio.to_thread(restore)
    assert os.listdir(directory.path) == ["mdserver.sqlite3"]
