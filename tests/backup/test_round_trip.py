"""A backup restored is what was backed up: on both engines and across them, row for row, blobs too."""

from __future__ import annotations

import asyncio
import contextlib
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mdserver.backup import restoring
from mdserver.backup.contents import ALL, Contents
from mdserver.backup.format import BadArchive
from mdserver.backup.reading import Archive
from mdserver.backup.restoring import Restored
from mdserver.errors import Conflict
from mdserver.model import search
from mdserver.query import parse
from mdserver.store.blobs_local import LocalBlobs
from mdserver.store.datadir import DataDirectory
from mdserver.store.db import Database, Engine
from mdserver.store.migrate import Migration
from mdserver.store.postgres import Postgres
from mdserver.store.sqlite import SQLite
from tests import engines
from tests.model.invariants import broken

from .worlds import EXTENDED, backed_up, filled, rows, steps, with_files


async def restored(archive: Path, engine: Engine, folder: Path, dsn: str, contents: Contents = ALL) -> Restored:
    """Restore into a fresh data directory, or into an empty PostgreSQL database."""
    migrations = steps(engine) if contents is EXTENDED else None
    return await asyncio.to_thread(bring_back, archive, engine, folder, dsn, contents=contents, migrations=migrations)


def bring_back(archive: Path, engine: Engine, folder: Path, dsn: str, **options: Any) -> Restored:
    directory = DataDirectory(folder)
    directory.prepare()
    blobs = LocalBlobs(directory.blobs)
    blobs.prepare()
    with contextlib.closing(Archive(archive)) as opened:
        if engine == "sqlite":
            return restoring.into_sqlite(opened, directory, blobs, **options)
        return restoring.into_postgres(opened, dsn, blobs, aside=False, **options)


async def opened(engine: Engine, folder: Path, dsn: str) -> Database:
    if engine == "sqlite":
        return await SQLite.open(folder / "mdserver.sqlite3")
    return await Postgres.open(dsn)


@pytest.mark.parametrize("there", engines.ENGINES)
async def test_every_row_comes_back(database: Database, there: Engine, tmp_path: Path) -> None:
    await filled(database)
    before = await database.read(rows)
    made = await backed_up(database, tmp_path / "a.tar")
    assert made.rows == sum(map(len, before.values()))
    assert made.documents == len(before["documents"])
    assert (tmp_path / "a.tar").stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["a.tar"]
    with engines.fresh_dsn() as dsn:
        report = (await restored(tmp_path / "a.tar", there, tmp_path / "data", dsn)).report
        assert (report.mismatches, report.told) == (0, [])
        assert report.rows == made.rows
        assert (report.documents, report.texts) == (len(before["documents"]), len(before["texts"]))
        assert (report.updates, report.versions) == (len(before["document_updates"]), len(before["document_versions"]))
        again = await opened(there, tmp_path / "data", dsn)
        try:
            assert await again.read(rows) == before
            assert await again.read(broken) == []
            await backed_up(again, tmp_path / "b.tar")  # and back
        finally:
            await again.close()
    home: Engine = "sqlite" if there == "postgres" else "postgres"
    with engines.fresh_dsn() as dsn:
        await restored(tmp_path / "b.tar", home, tmp_path / "home", dsn)
        again = await opened(home, tmp_path / "home", dsn)
        try:
            assert await again.read(rows) == before
        finally:
            await again.close()


@pytest.mark.parametrize("there", engines.ENGINES)
async def test_blobs_numbers_and_floats_come_back(database: Database, there: Engine, tmp_path: Path) -> None:
    """With the tables of a later version, whose rows number themselves and name blobs."""
    await filled(database)
    blobs = await with_files(database, tmp_path / "blobs")
    before = await database.read(lambda db: rows(db, EXTENDED))
    made = await backed_up(database, tmp_path / "a.tar", blobs=blobs, contents=EXTENDED)
    assert (made.blobs, made.missing) == (3, [])
    with engines.fresh_dsn() as dsn:
        report = (await restored(tmp_path / "a.tar", there, tmp_path / "data", dsn, EXTENDED)).report
        assert (report.mismatches, report.told, report.blobs) == (0, [], 3)
        again = await opened(there, tmp_path / "data", dsn)
        try:
            assert await again.read(lambda db: rows(db, EXTENDED)) == before
            number = await again.write(lambda tx: tx.value(int, "INSERT INTO files (big) VALUES (1) RETURNING id"))
            assert number == 6
        finally:
            await again.close()
    there_now = LocalBlobs(tmp_path / "data" / "blobs")
    for one in {row[1] for row in before["files"] if row[1] is not None}:
        assert b"".join([chunk async for chunk in there_now.read(one)]) == b"".join(
            [chunk async for chunk in blobs.read(one)]
        )


async def test_blobs_that_are_gone_or_damaged_are_told(database: Database, tmp_path: Path) -> None:
    await filled(database)
    blobs = await with_files(database, tmp_path / "blobs")
    files = sorted(one for one in (tmp_path / "blobs").rglob("*") if one.is_file())
    files[0].unlink()
    files[1].write_bytes(b"rotten")
    made = await backed_up(database, tmp_path / "a.tar", blobs=blobs, contents=EXTENDED)
    assert (made.blobs, made.missing) == (1, sorted([files[0].name, files[1].name]))
    with (
        engines.fresh_dsn() as dsn,
        pytest.raises(restoring.Mismatched, match=r"has 2 mismatches, the first: files: the file [0-9a-f]{64} is not"),
    ):
        await restored(tmp_path / "a.tar", "sqlite", tmp_path / "data", dsn, EXTENDED)
    assert not (tmp_path / "data" / "mdserver.sqlite3").exists()


@pytest.mark.parametrize("there", engines.ENGINES)
async def test_an_older_schema_is_migrated_up(there: Engine, tmp_path: Path) -> None:
    async with engines.fresh("sqlite") as database:
        await filled(database)
        before = await database.read(rows)
        await backed_up(database, tmp_path / "a.tar")
    seeded = Migration(9002, "seeded", ["INSERT INTO files (id, big) VALUES (1, 2)"])
    with engines.fresh_dsn() as dsn:
        done = await asyncio.to_thread(
            bring_back, tmp_path / "a.tar", there, tmp_path / "data", dsn, migrations=[*steps(there), seeded]
        )
        assert done.migrated == ["9001_files", "9002_seeded"]
        again = await opened(there, tmp_path / "data", dsn)
        try:
            assert await again.read(rows) == before
            assert await again.read(lambda db: db.rows("SELECT id, big FROM files")) == [(1, 2)]
            assert await again.read(lambda db: db.value(int, "SELECT max(number) FROM schema_migrations")) == 9002
            await backed_up(again, tmp_path / "b.tar", contents=EXTENDED)
        finally:
            await again.close()
    # What a migration has written is not there twice when the archive brings it.
    both = {"migrations": [*steps("sqlite"), seeded], "contents": EXTENDED}
    second = partial(bring_back, tmp_path / "b.tar", "sqlite", tmp_path / "second", "")
    assert (await asyncio.to_thread(second, **both)).migrated == []
    # And whoever does not know these migrations says so.
    with pytest.raises(BadArchive, match=r"has schema 9002 of mdserver .*, and this program knows up to"):
        await asyncio.to_thread(second)


async def test_a_table_that_nobody_decided_about(database: Database, tmp_path: Path) -> None:
    await engines.create(database, "CREATE TABLE plans (id TEXT NOT NULL PRIMARY KEY) STRICT")
    with pytest.raises(Conflict, match=r"tables that are not mdserver's \(plans\)"):
        await backed_up(database, tmp_path / "a.tar")
    assert os.listdir(tmp_path) == []


async def test_derived_tables_are_left_out_and_made_anew(tmp_path: Path) -> None:
    index = Migration(9001, "index", ["CREATE TABLE search_titles (title TEXT NOT NULL PRIMARY KEY) STRICT"])
    contents = Contents(
        tables=ALL.tables,
        derived=ALL.derived,
        afterwards=(lambda tx: tx.run("INSERT INTO search_titles SELECT DISTINCT title FROM documents"),),
    )
    async with engines.fresh("sqlite") as database:
        await filled(database)
        await engines.create(database, index.statements[0])
        await database.write(lambda tx: tx.run("INSERT INTO search_titles VALUES ('stale')"))
        await database.write(lambda tx: tx.run("INSERT INTO schema_migrations VALUES (9001, 'index', 0)"))
        titles = await database.read(lambda db: db.column(str, "SELECT DISTINCT title FROM documents ORDER BY title"))
        await backed_up(database, tmp_path / "a.tar", contents=contents)
    options = {"contents": contents, "migrations": [*steps("sqlite")[:-1], index]}
    await asyncio.to_thread(bring_back, tmp_path / "a.tar", "sqlite", tmp_path / "data", "", **options)
    again = await SQLite.open(tmp_path / "data" / "mdserver.sqlite3")
    try:
        assert await again.read(lambda db: db.column(str, "SELECT title FROM search_titles ORDER BY title")) == titles
    finally:
        await again.close()


async def test_any_tar_program_reads_it(tmp_path: Path) -> None:
    async with engines.fresh("sqlite") as database:
        await filled(database)
        await backed_up(database, tmp_path / "a.tar")
    out = tmp_path / "out"
    out.mkdir()
    for command in (f"tar xf {tmp_path}/a.tar", "sha256sum --check --quiet manifest.sha256"):
        process = await asyncio.create_subprocess_exec(*command.split(), cwd=out)
        assert await process.wait() == 0
    assert (out / "tables" / "documents" / "000001.msgpack.gz").exists()


@pytest.mark.parametrize("there", engines.ENGINES)
async def test_the_search_index_fills_itself(database: Database, there: Engine, tmp_path: Path) -> None:
    me = await filled(database)
    await search.bring_up(database)
    await backed_up(database, tmp_path / "a.tar")
    with engines.fresh_dsn() as dsn:
        await restored(tmp_path / "a.tar", there, tmp_path / "data", dsn)
        again = await opened(there, tmp_path / "data", dsn)
        try:
            asked = partial(
                search.search,
                me=me,
                query=parse("strasse"),
                workspace_id=None,
                fields=search.FIELDS,
                only=search.Filter(),
                after=None,
                limit=10,
            )
            waiting = await again.read(asked)
            assert waiting.matches
            await search.bring_up(again)
            indexed = await again.read(asked)
            assert [one.state for one in indexed.matches] == [one.state for one in waiting.matches]
            assert await again.write(search.verify) == []
            assert await again.read(lambda db: db.value(int, "SELECT count(*) FROM search_documents")) == (
                await database.read(lambda db: db.value(int, "SELECT count(*) FROM search_documents"))
            )
        finally:
            await again.close()
