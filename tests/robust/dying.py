"""Work outside of the server that a failpoint ends: `python -m tests.robust.dying migrate|blob DIRECTORY`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from mdserver.store.blobs_local import LocalBlobs
from mdserver.store.migrate import Migration, known, migrate_sqlite
from mdserver.store.sqlite import SQLite

UPGRADE = [
    Migration(
        9_000,
        "upgrade",
        [
            "CREATE TABLE added (id TEXT NOT NULL PRIMARY KEY) STRICT",
            "INSERT INTO added (id) SELECT id FROM users",
            "UPDATE users SET display_name = 'changed'",
        ],
    )
]
BYTES = b"0123456789abcdef" * 40_000


async def migrate(directory: Path) -> None:
    """Upgrade the directory's database."""
    database = await SQLite.open(directory / "mdserver.sqlite3")
    try:
        await migrate_sqlite(database, backups=directory / "backups", migrations=[*known("sqlite"), *UPGRADE])
    finally:
        await database.close()


async def blob(directory: Path) -> None:
    """Store a blob."""
    blobs = LocalBlobs(directory / "blobs")
    blobs.prepare()
    await blobs.put(_chunks(), maximum=1 << 20)


async def _chunks() -> AsyncIterator[bytes]:
    for start in range(0, len(BYTES), 50_000):
        yield BYTES[start : start + 50_000]


if __name__ == "__main__":
    asyncio.run({"migrate": migrate, "blob": blob}[sys.argv[1]](Path(sys.argv[2])))
