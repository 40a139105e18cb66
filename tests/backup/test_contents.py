"""Every table of the schema is either backed up or named as derived, in an order in which it can come back."""

from __future__ import annotations

from mdserver.backup.contents import ALL, columns_of, tables_of
from mdserver.store.db import Database
from tests import engines


async def test_every_table_is_decided_about(database: Database) -> None:
    found = set(await database.read(tables_of))
    undecided = {one for one in found - set(ALL.tables) if not ALL.is_derived(one)}
    assert undecided == set(), "say in backup/contents.py whether these are backed up or derived"
    assert set(ALL.tables) - found == set(), "these are no more"
    assert len(set(ALL.tables)) == len(ALL.tables)


async def test_what_is_referred_to_comes_first(database: Database) -> None:
    if database.engine == "sqlite":
        question = (
            "SELECT m.name, f.\"table\" FROM sqlite_schema m, pragma_foreign_key_list(m.name) f WHERE m.type = 'table'"
        )
    else:
        question = "SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint WHERE contype = 'f'"
    references = await database.read(lambda db: db.rows(question))
    assert len(references) > 10
    place = {one: number for number, one in enumerate(ALL.tables)}
    assert [(child, parent) for child, parent in references if place[parent] >= place[child]] == []


async def test_both_engines_have_the_same_columns() -> None:
    """So that a backup of one goes into the other."""
    seen = []
    for engine in engines.ENGINES:
        async with engines.fresh(engine) as database:
            seen.append(await database.read(lambda db: {one: columns_of(db, one) for one in ALL.tables}))
    assert seen[0] == seen[1]
    assert seen[0]["texts"] == ["document_id", "hash", "encoding", "data"]


async def test_a_column_that_names_blobs_is_known(database: Database) -> None:
    """By its name: a hash of a file is called sha256 or blob here."""
    columns = await database.read(lambda db: {one: columns_of(db, one) for one in ALL.tables})
    named = {(table, one) for table, found in columns.items() for one in found if "sha256" in one or "blob" in one}
    assert named == set(ALL.blobs)
