"""The verifier notices what checksums cannot: rows that were changed by somebody who knew how to seal them again."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import tracemalloc
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mdserver.backup import restoring
from mdserver.backup.reading import Archive
from mdserver.backup.restoring import Mismatched
from mdserver.backup.verifying import verify
from mdserver.crdt.text import first_update
from mdserver.model import search
from mdserver.store.blobs_local import LocalBlobs
from mdserver.store.datadir import DataDirectory
from mdserver.store.db import Database
from tests import engines

from .damage import changed
from .worlds import EXTENDED, FILES, backed_up, filled

Rows = list[list[Any]]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    target = tmp_path_factory.mktemp("good") / "good.tar"

    async def make() -> None:
        async with engines.fresh("sqlite") as database:
            await filled(database)
            await backed_up(database, target)

    asyncio.run(make())
    return target.read_bytes()


def edited(rows: Rows) -> str:
    """The id of the document with most updates: the one that has a snapshot."""
    ids = [one[0] for one in rows]
    return str(max(ids, key=ids.count))


def another_update(rows: Rows) -> None:
    """The newest update of a document says something else."""
    row = max((one for one in rows if one[0] == edited(rows)), key=lambda one: one[1])
    row[5] = first_update("somebody was here")


def an_old_update(rows: Rows) -> None:
    """One below the snapshot, which loading never reads."""
    row = next(one for one in rows if one[0] == edited(rows) and one[1] == 3)
    row[5] = first_update("somebody was here")


def no_update(rows: Rows) -> None:
    rows[0][5] = b"\x07 this is no update"


def a_lost_update(rows: Rows) -> None:
    rows.remove(next(one for one in rows if one[0] == edited(rows) and one[1] == 30))


def the_newest_lost(rows: Rows) -> None:
    rows.remove(max((one for one in rows if one[0] == edited(rows)), key=lambda one: one[1]))


def another_snapshot(rows: Rows) -> None:
    rows[0][2] = first_update("somebody was here")


def another_text(rows: Rows) -> None:
    rows[0][1] += "!"


def another_hash(rows: Rows) -> None:
    rows[0][12] = hashlib.sha256(b"!").hexdigest()


def another_size(rows: Rows) -> None:
    rows[0][14] += 1


def another_content_seq(rows: Rows) -> None:
    max(rows, key=lambda one: one[13])[13] += 1


def another_version_text(rows: Rows) -> None:
    row = next(one for one in rows if one[2] == "zlib")
    row[3] = zlib.compress(b"somebody was here")


def no_version_text(rows: Rows) -> None:
    row = next(one for one in rows if one[2] == "zlib")
    row[3] = b"\x00"


def a_lost_version_text(rows: Rows) -> None:
    del rows[0]


def another_version_size(rows: Rows) -> None:
    next(one for one in rows if one[0] == edited(rows) and one[1] == 7)[8] += 1


def another_newest_size(rows: Rows) -> None:
    max((one for one in rows if one[0] == edited(rows)), key=lambda one: one[1])[8] += 1


def a_lost_document(rows: Rows) -> None:
    del rows[0]


@pytest.mark.parametrize(
    ("piece", "mutate", "said"),
    [
        ("document_updates", another_update, "its log gives another text than the one stored"),
        ("document_updates", an_old_update, "its log from the beginning gives another text"),
        ("document_updates", no_update, "gives another text than the one stored"),
        ("document_updates", a_lost_update, "updates are missing in its log"),
        ("document_updates", the_newest_lost, "updates are missing in its log"),
        ("document_snapshots", another_snapshot, "its log gives another text than the one stored"),
        ("document_texts", another_text, "its text is not the one that its hash and size tell of"),
        ("documents", another_hash, "its text is not the one that its hash and size tell of"),
        ("documents", another_size, "its text is not the one that its hash and size tell of"),
        ("documents", another_content_seq, "updates are missing in its log"),
        ("texts", another_version_text, "a text of its history is not the one that its hash tells of"),
        ("texts", no_version_text, "a text of its history is not the one that its hash tells of"),
        ("texts", a_lost_version_text, "is not there"),
        ("document_versions", another_version_size, "a version tells of another size than its text has"),
        ("document_versions", another_newest_size, "version 71 tells of another size than its text has"),
        ("documents", a_lost_document, "document_texts: rows that refer to documents that are not there: 1"),
    ],
)
def test_a_mutant_is_noticed(
    good: bytes, tmp_path: Path, piece: str, mutate: Callable[[Rows], None], said: str
) -> None:
    archive = tmp_path / "mutant.tar"
    archive.write_bytes(changed(good, f"tables/{piece}/000001", mutate))
    directory = DataDirectory(tmp_path / "data")
    directory.prepare()
    blobs = LocalBlobs(directory.blobs)
    with contextlib.closing(Archive(archive)) as opened:
        with pytest.raises(Mismatched) as found:
            restoring.into_sqlite(opened, directory, blobs)
        assert any(said in one for one in found.value.report.told), found.value.report.told
        assert found.value.detail.endswith("Nothing was changed.")
        assert os.listdir(directory.path) == []
        done = restoring.into_sqlite(opened, directory, blobs, accept=True)  # better than nothing, for who says so
        assert done.report.mismatches == found.value.report.mismatches
        assert directory.database.exists()


@pytest.mark.parametrize("mutate", [another_text, lambda rows: None])
def test_on_postgres_too(good: bytes, tmp_path: Path, mutate: Callable[[Rows], None]) -> None:
    archive = tmp_path / "mutant.tar"
    archive.write_bytes(changed(good, "tables/document_texts/000001", mutate))
    blobs = LocalBlobs(tmp_path / "blobs")
    with engines.fresh_dsn() as dsn, contextlib.closing(Archive(archive)) as opened:
        if mutate is another_text:
            with pytest.raises(Mismatched, match="its text is not the one"):
                restoring.into_postgres(opened, dsn, blobs, aside=False)
        assert restoring.into_postgres(opened, dsn, blobs, aside=False, accept=True).target


async def test_an_index_that_changed_meanwhile_is_not_damaged() -> None:
    async with engines.fresh("sqlite") as database:
        await filled(database)
        for _ in range(3):
            await search.bring_up(database)
            assert (await database.read(verify)).told == []
            await database.write(
                lambda tx: tx.run("UPDATE search_documents SET content_hash = '' WHERE content_hash <> ''")
            )
            await database.write(lambda tx: tx.run("UPDATE search_workspaces SET seq = 0"))


async def test_files_are_judged_where_there_are_some_to_judge(database: Database) -> None:
    """A server's own are looked for by who knows where they are: none of them came with a backup."""
    await engines.create(database, FILES)
    await database.write(lambda tx: tx.run("INSERT INTO files (sha256) VALUES ($1)", "ab" * 32))
    judged = partial(verify, contents=EXTENDED)
    assert (await database.read(judged)).told == []
    (told,) = (await database.read(partial(judged, blobs=()))).told
    assert told == f"files: the file {'ab' * 32} is not there"
    assert (await database.read(partial(judged, blobs=["ab" * 32]))).told == []


async def test_a_text_that_unpacks_to_more_than_memory_holds() -> None:
    packing = zlib.compressobj()
    bomb = b"".join([packing.compress(bytes(1 << 20)) for _ in range(200)]) + packing.flush()
    async with engines.fresh("sqlite") as database:
        await filled(database)
        assert (await database.read(verify)).told == []
        one = "(document_id, hash) = (SELECT document_id, hash FROM texts LIMIT 1)"
        await database.write(lambda tx: tx.run(f"UPDATE texts SET encoding = 'zlib', data = $1 WHERE {one}", bomb))
        tracemalloc.start()
        try:
            report = await database.read(verify)
            assert tracemalloc.get_traced_memory()[1] < 50 << 20
        finally:
            tracemalloc.stop()
    (told,) = report.told
    assert told.endswith(": a text of its history is not the one that its hash tells of")
