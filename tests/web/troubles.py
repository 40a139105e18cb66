"""Logs that cannot be written: the engines' own refusals, for tests of live editing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from mdserver.store.db import Database
from mdserver.store.postgres import Postgres
from mdserver.store.sqlite import SQLite

_SQLITE = "CREATE TRIGGER refused BEFORE INSERT ON document_updates {when} BEGIN SELECT RAISE(ABORT, 'refused'); END"
_POSTGRES = (
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$",
    "CREATE TRIGGER refused BEFORE INSERT ON document_updates FOR EACH ROW {when} EXECUTE FUNCTION refuse()",
)


@contextlib.asynccontextmanager
async def unwritable(database: Database, document_id: str = "") -> AsyncIterator[None]:
    """No row of this document's log, or of any, can be written."""
    when = f"WHEN (NEW.document_id = '{document_id}')" if document_id else ""
    if isinstance(database, SQLite):
        await _run(database, _SQLITE.format(when=when))
        yield
        await _run(database, "DROP TRIGGER refused")
    else:
        await _run(database, *(one.format(when=when) for one in _POSTGRES))
        yield
        await _run(database, "DROP FUNCTION refuse CASCADE")


async def _run(database: Database, *statements: str) -> None:
    def work(connection: Any) -> None:
        for one in statements:
            connection.execute(one if isinstance(database, SQLite) else one.encode())

    assert isinstance(database, SQLite | Postgres)
    await database.raw(work)
