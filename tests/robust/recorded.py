"""Work whose writes are recorded: `python -m tests.robust.recorded documents|blobs DATA MUTANT`.

Prints, after each thing that was acknowledged, a line of JSON with how much of the log was written by then.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from mdserver import crypto
from mdserver.model import documents, tokens
from mdserver.model.access import OWNER, Principal
from mdserver.model.updates import Door
from mdserver.store import blobs_local
from mdserver.store.blobs_local import LocalBlobs
from mdserver.store.db import Tx
from mdserver.store.sqlite import SQLite

from .program import furnish

WRITERS = 4
ROUNDS = 12
CHECKPOINT = 60
"""Pages of the write-ahead log from which SQLite moves it into the database: often, so that images fall into it."""


def told(**what: object) -> None:
    """Say that something is acknowledged."""
    print(json.dumps({"at": os.stat(os.environ["ROBUST_LOG"]).st_size, **what}), flush=True)


async def write_documents(data: Path, synchronous: str) -> None:
    """Writers make and edit documents at the same time, on the real store."""
    home = await furnish(data, synchronous=synchronous)
    database = await SQLite.open(home.database, synchronous=synchronous)
    await database.raw(lambda connection: connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT}").fetchall())
    known = await database.read(lambda db: tokens.look_up(db, crypto.token_hash(home.token)))
    assert known is not None
    told(account=known.principal.user_id)
    door = Door(database, maximum_bytes=1 << 20)
    async with asyncio.TaskGroup() as group:
        for number in range(WRITERS):
            group.create_task(_write(number, database, door, known.principal, home.workspace))
    await database.close()


async def _write(number: int, database: SQLite, door: Door, me: Principal, workspace: str) -> None:
    chance, made = random.Random(number), list[str]()
    for turn in range(ROUNDS):
        if turn % 3 == 0:
            draft = documents.draft(_text(chance), maximum_bytes=1 << 20)

            def create(tx: Tx, draft: documents.Draft = draft, title: str = f"{number} {turn}") -> documents.Document:
                return documents.create(tx, me, workspace, role=OWNER, title=title, kind="markdown", draft=draft)

            document = await database.write(create)
            made.append(document.id)
        else:
            text = _text(chance)
            document = (await door.edit(me, chance.choice(made), base=lambda db, found: None, content=text)).document
        told(id=document.id, version=document.version, hash=document.content_hash)


def _text(chance: random.Random) -> str:
    return "".join(f"{chance.random()}\n" for _ in range(chance.choice((2, 40, 600))))


async def write_blobs(data: Path, mutant: str) -> None:
    """Store blobs of several sizes."""
    if mutant == "no-name":  # the directory's fsync is forgotten
        blobs_local._sync = lambda folder: None
    elif mutant == "no-bytes":  # the file's
        blobs_local.os = _Careless()  # type: ignore[assignment, attr-defined]
    store = LocalBlobs(data / "blobs")
    store.prepare()
    chance = random.Random(0)
    for size in (10, 5_000, 300_000, 70_000):
        content = chance.randbytes(size)

        async def chunks(content: bytes = content) -> AsyncIterator[bytes]:
            for start in range(0, len(content), 40_000):
                yield content[start : start + 40_000]

        told(sha256=(await store.put(chunks(), maximum=1 << 20)).sha256)


class _Careless:
    """The module `os` whose fsync does nothing for files."""

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    @staticmethod
    def fsync(handle: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            os.fsync(handle)


if __name__ == "__main__":
    work = {"documents": write_documents, "blobs": write_blobs}[sys.argv[1]]
    asyncio.run(work(Path(sys.argv[2]), sys.argv[3]))
