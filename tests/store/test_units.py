"""Units of work on both engines."""

from __future__ import annotations

from mdserver.store.db import Database, Tx
from tests import engines


async def test_a_written_row_is_read(database: Database) -> None:
    def change(tx: Tx) -> int:
        return tx.run("INSERT INTO workspaces (id, name, created_at, updated_at) VALUES ($1, $2, $3, $3)", "w", "W", 1)

    assert await database.write(change) == 1
    assert await database.read(lambda db: db.rows("SELECT * FROM workspaces")) == [("w", "W", 1, 1)]


async def test_databases_are_apart() -> None:
    for engine in engines.ENGINES:
        async with engines.fresh(engine) as database:
            assert database.engine == engine
            assert await database.read(lambda db: db.value(int, "SELECT COUNT(*) FROM workspaces")) == 0
