"""A small world with something in every table, backups of it, and archives that are made by hand."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

from mdserver import clock
from mdserver.backup import snapshot
from mdserver.backup.contents import ALL, Contents
from mdserver.backup.making import Made, make
from mdserver.backup.snapshot import Taking
from mdserver.crdt import text as crdt
from mdserver.merge import Overlap
from mdserver.model import (
    attribution,
    audit,
    changes,
    codes,
    conflicts,
    documents,
    idempotency,
    invitations,
    live,
    log,
    operations,
    quarantine,
    sessions,
    tokens,
    workspaces,
)
from mdserver.model.access import Principal
from mdserver.model.attribution import Written
from mdserver.model.audit import COMMAND_LINE, Origin
from mdserver.model.documents import Document
from mdserver.model.sessions import Lifetimes
from mdserver.model.updates import Door
from mdserver.store.blobs_local import LocalBlobs
from mdserver.store.db import Database, Reader, Tx
from mdserver.store.migrate import Migration, known
from mdserver.store.postgres import Postgres
from mdserver.store.sqlite import SQLite
from mdserver.store.translate import for_postgres
from tests import engines
from tests.model.test_updates import person, present

MOST = 1 << 20
TEXTS = (
    "",
    "# Plan\n\n[[Straße]] and [a link](other.md)\r\n",
    "\ufeff\U0001f389\U0001f468\u200d\U0001f469\u200d\U0001f467 \ufffe\uffff\U0010ffff \u202e e\u0301 \u2028",
    "0123456789abcdef" * 20_000,  # compresses a hundredfold and more
    "\x01\x02\x7f\x85 controls",
)

FILES = "CREATE TABLE files (id INTEGER PRIMARY KEY, sha256 TEXT, weight REAL, note BLOB, big INTEGER) STRICT"
"""What a later version may bring: rows that number themselves, floats, and names of blobs."""

EXTENDED = Contents(tables=(*ALL.tables, "files"), derived=ALL.derived, blobs=(("files", "sha256"),))


def steps(engine: str) -> list[Migration]:
    """Every migration that there is, and one more that makes FILES."""
    there = known("sqlite" if engine == "sqlite" else "postgres")
    return [*there, Migration(9001, "files", [FILES if engine == "sqlite" else for_postgres(FILES)])]


def taking(database: Database) -> Taking:
    """Takes snapshots of a database of a test."""
    if isinstance(database, SQLite):
        return partial(snapshot.of_sqlite, database.path)
    assert isinstance(database, Postgres)
    return partial(snapshot.of_postgres, database._dsn)


async def backed_up(database: Database, target: Path, **options: Any) -> Made:
    """A backup of everything in the database."""
    return await make(taking(database), target, **options)


def rows(db: Reader, contents: Contents = ALL) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table that is backed up; two equal ones, and nothing was lost."""
    return {one: sorted(db.rows(f"SELECT * FROM {one}"), key=repr) for one in contents.tables}


async def filled(database: Database) -> Principal:
    """Put something into every table."""
    me, workspace_id = await person(database, "ada")
    await person(database, "bob")
    origin = Origin(address="192.0.2.1", request_id="test", device="test")
    door = Door(database, maximum_bytes=MOST)

    def begin(tx: Tx) -> list[Document]:
        role = workspaces.enter(tx, me, workspace_id)
        sessions.start_app(tx, me.user_id, origin=origin, lifetimes=Lifetimes())
        tokens.create(tx, me, name="t", scopes=["read"], workspace_id=None, expires_at=None)
        codes.issue(tx, "reset", user_id=me.user_id, email="ada@example.org", lifetime=clock.HOUR)
        workspace = workspaces.find(tx, me, workspace_id)
        invitations.invite(tx, workspace, invited_by=me.user_id, email="eve@example.org", role="viewer")
        audit.record(tx, COMMAND_LINE, "test", actor_id=None, obj="\U0001f389 \x7f", n=2**63 - 1)
        made = [
            documents.create(
                tx,
                me,
                workspace_id,
                role=role,
                title=f"Document {number} ß",
                kind="markdown",
                draft=documents.draft(text, maximum_bytes=MOST),
                tags=["one", "Zwei"],
            )
            for number, text in enumerate(TEXTS)
        ]
        documents.create(
            tx,
            me,
            workspace_id,
            role=role,
            title="Folder",
            kind="folder",
            draft=documents.draft("", maximum_bytes=MOST),
        )
        documents.favour(tx, me, made[0], favourite=True)
        idempotency.remember(tx, me.user_id, "key", b"\x00\xff", result_id=made[0].id)
        operations.remember(tx, me.user_id, "op", b"\xff\x00", operations.Effect("applied", made[0].id, 1))
        overlaps = [Overlap(0, 3, "wer", "who")]
        conflicts.record(tx, me, workspace_id=workspace_id, document_id=made[0].id, version=1, overlaps=overlaps)
        changes.record(tx, me, workspace_id, "version", f"{made[0].id}/9", deleted=True)
        changes.record(tx, me, workspace_id, "workspace", workspace_id)
        assert changes.forget_deletions(tx, kept=-clock.DAY)
        workspaces.erase(tx, me, workspaces.create(tx, me, name="Gone"))
        return made

    made = await database.write(begin)
    text = ""
    for number in range(70):  # enough for a snapshot
        text += f"Line {number} \U0001f389\n"
        await door.edit(me, made[0].id, base=present, content=text)
    await database.write(lambda tx: documents.trash(tx, me, documents.find(tx, me, made[2].id)))
    await database.write(lambda tx: quarantine.close(tx, made[4].id, "a test"))
    await written_live(database, me, made[1].id)
    empty = [one for one, found in (await database.read(rows)).items() if not found]
    assert not empty, f"put something into {empty}"
    return me


async def written_live(database: Database, me: Principal, document_id: str) -> None:
    """Leave a document as a server leaves it that ends while somebody writes: one row is projected, one is not."""

    def write(tx: Tx, update: bytes) -> None:
        live.append(tx, live.Batch(document_id, 1, [live.Row(me, clock.now(), update)]))

    def project(tx: Tx) -> int | None:
        ground = live.ground(tx, document_id)
        assert ground is not None
        found = log.load(tx, document_id)
        text = crdt.text_of(crdt.load(found.snapshot, found.updates))
        return live.project(tx, live.prepared(document_id, found.head, ground, text))

    known = await database.read(lambda db: log.load(db, document_id))
    doc = crdt.load(known.snapshot, known.updates)
    for words in ("Written live.\n", "Not projected yet.\n"):
        update = crdt.edit(doc, words + crdt.text_of(doc))
        assert update is not None
        await database.write(partial(write, update=update))
        if words.startswith("Written"):
            assert await database.write(project) is not None
    hashed = hashlib.sha256(b"harm").digest()
    await database.write(partial(quarantine.refuse, document_id=document_id, update_hash=hashed))
    author = Written(1, 0, 2**53, me.user_id, me.device, clock.now())
    await database.write(lambda tx: attribution.keep(tx, document_id, [author]))


async def with_files(database: Database, folder: Path, *, repeat: int = 5_000) -> LocalBlobs:
    """Add FILES to a database, with blobs that it names; the largest has 256 bytes so many times."""
    await engines.create(database, FILES)
    blobs = LocalBlobs(folder)
    blobs.prepare()
    hashes = [await _put(blobs, data) for data in (b"", b"one", bytes(range(256)) * repeat)]

    def change(tx: Tx) -> None:
        tx.run("INSERT INTO schema_migrations (number, name, applied_at) VALUES (9001, 'files', 0)")
        for number, one in enumerate((*hashes, hashes[0], None)):
            tx.run(
                "INSERT INTO files (sha256, weight, note, big) VALUES (CAST($1 AS TEXT), $2, $3, $4)",
                one,
                number / 3,
                bytes([number]) * number,
                (-1) ** number * (2**63 - 1),
            )

    await database.write(change)
    return blobs


async def _put(blobs: LocalBlobs, data: bytes) -> str:
    async def chunks() -> AsyncIterator[bytes]:
        yield data

    made = await blobs.put(chunks(), maximum=MOST * 8)
    assert made.sha256 == hashlib.sha256(data).hexdigest()
    return made.sha256
