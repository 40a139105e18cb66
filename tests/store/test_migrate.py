"""Migrations on both engines: fresh, again, newer, failing, with a copy, by two at once; and how scripts are split."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mdserver.store.db import Database, Engine
from mdserver.store.migrate import Migration, SchemaError, known, migrate_postgres, migrate_sqlite, statements
from mdserver.store.postgres import Postgres
from mdserver.store.sqlite import SQLite
from tests import engines
from tests.conftest import Clock

FIRST = Migration(1, "first", ["CREATE TABLE a (n BIGINT NOT NULL PRIMARY KEY)", "INSERT INTO a (n) VALUES (1)"])
SECOND = Migration(2, "second", ["ALTER TABLE a ADD COLUMN m BIGINT", "UPDATE a SET m = n + 1"])
BROKEN = Migration(3, "broken", ["CREATE TABLE b (n BIGINT)", "DELETE FROM a", "INSERT INTO nowhere VALUES (1)"])


@pytest.fixture
async def empty(engine: Engine, tmp_path: Path) -> AsyncIterator[Database]:
    """An open database without any table."""
    if engine == "sqlite":
        database: Database = await SQLite.open(tmp_path / "test.sqlite3", synchronous="OFF")
        yield database
        await database.close()
    else:
        with engines.fresh_dsn() as dsn:
            database = await Postgres.open(dsn, connections=2)
            yield database
            await database.close()


async def bring(database: Database, backups: Path, *migrations: Migration) -> list[int]:
    """Migrate on whichever engine; → the numbers applied."""
    if isinstance(database, SQLite):
        applied, _ = await migrate_sqlite(database, backups=backups, migrations=list(migrations))
    else:
        assert isinstance(database, Postgres)
        applied = await migrate_postgres(database, migrations=list(migrations))
    return [one.number for one in applied]


async def ledger(database: Database) -> list[tuple[object, ...]]:
    return await database.read(lambda db: db.rows("SELECT number, name FROM schema_migrations ORDER BY number"))


async def test_everything_known_is_applied_once(empty: Database, tmp_path: Path, frozen: Clock) -> None:
    steps = known(empty.engine)
    assert await bring(empty, tmp_path / "backups", *steps) == [one.number for one in steps]
    assert await bring(empty, tmp_path / "backups", *steps) == []
    found = await empty.read(
        lambda db: db.rows("SELECT number, name, applied_at FROM schema_migrations ORDER BY number")
    )
    assert found == [(one.number, one.name, frozen.now) for one in steps]
    assert not (tmp_path / "backups").exists()  # a new database has nothing to copy


async def test_both_engines_have_the_same_tables_and_columns(tmp_path: Path) -> None:
    async with engines.fresh("sqlite") as one, engines.fresh("postgres") as two:
        sqlite = await one.read(
            lambda db: db.rows(
                "SELECT t.name, c.name, c.type FROM sqlite_schema t, pragma_table_info(t.name) c "
                "WHERE t.type = 'table' AND t.sql NOT LIKE 'CREATE VIRTUAL%' AND t.name NOT IN "
                "(SELECT s.name FROM pragma_table_list s WHERE s.type IN ('shadow', 'virtual')) "
                "AND t.name <> 'sqlite_sequence'"
            )
        )
        postgres = await two.read(
            lambda db: db.rows(
                "SELECT c.table_name::text, c.column_name::text, c.data_type::text, c.collation_name::text "
                "FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name) "
                "WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.data_type <> 'tsvector'"
            )
        )
    types = {"INTEGER": "bigint", "TEXT": "text", "BLOB": "bytea", "REAL": "double precision"}
    shared = {table for table, *_ in sqlite} & {table for table, *_ in postgres}
    assert {"users", "documents", "changes", "schema_migrations"} <= shared
    assert {(table, column, types[kind]) for table, column, kind in sqlite if table in shared} == {
        (table, column, kind) for table, column, kind, _ in postgres if table in shared
    }
    loose = [(table, column) for table, column, kind, collation in postgres if kind == "text" and collation != "C"]
    assert loose == []  # text is ordered alike on both engines


async def test_what_is_pending_is_applied_to_what_is_there(empty: Database, tmp_path: Path) -> None:
    assert await bring(empty, tmp_path, FIRST) == [1]
    assert await bring(empty, tmp_path, FIRST, SECOND) == [2]
    assert await ledger(empty) == [(1, "first"), (2, "second")]
    assert await empty.read(lambda db: db.rows("SELECT n, m FROM a")) == [(1, 2)]


async def test_a_newer_database_is_refused(empty: Database, tmp_path: Path) -> None:
    await bring(empty, tmp_path, FIRST, SECOND)
    with pytest.raises(SchemaError, match="has schema 2, this program knows up to 1"):
        await bring(empty, tmp_path, FIRST)
    assert await ledger(empty) == [(1, "first"), (2, "second")]


async def test_a_failing_migration_leaves_everything_as_it_was(empty: Database, tmp_path: Path) -> None:
    await bring(empty, tmp_path, FIRST)
    with pytest.raises(SchemaError, match=r"0003_broken failed: .*nowhere"):
        await bring(empty, tmp_path, FIRST, SECOND, BROKEN)
    assert await ledger(empty) == [(1, "first")]
    assert await empty.read(lambda db: db.rows("SELECT * FROM a")) == [(1,)]
    assert await bring(empty, tmp_path, FIRST, SECOND) == [2]


async def test_a_failing_first_migration_leaves_nothing(empty: Database, tmp_path: Path) -> None:
    wrong = Migration(1, "wrong", ["CREATE TABLE c (n BIGINT)", "CREATE TABLE c (n BIGINT)"])
    with pytest.raises(SchemaError, match="0001_wrong failed"):
        await bring(empty, tmp_path, wrong)
    assert await bring(empty, tmp_path, FIRST) == [1]
    with pytest.raises(Exception, match=r"(?i)no such table|does not exist"):
        await empty.read(lambda db: db.rows("SELECT * FROM c"))


async def test_the_copy_before_an_upgrade(tmp_path: Path, frozen: Clock) -> None:
    database = await SQLite.open(tmp_path / "test.sqlite3", synchronous="OFF")
    backups = tmp_path / "deep" / "backups"
    try:
        assert (await migrate_sqlite(database, backups=backups, migrations=[FIRST]))[1] is None
        (backups.parent).mkdir()
        backups.mkdir(mode=0o700)
        stale = backups / "before-upgrade-from-schema-0001-20260131T120000.partial"
        stale.write_bytes(b"left by a crash")
        applied, copy = await migrate_sqlite(database, backups=backups, migrations=[FIRST, SECOND])
        assert applied == [SECOND]
        assert copy == backups / "before-upgrade-from-schema-0001-20260131T120000.sqlite3"
        assert list(backups.iterdir()) == [copy]
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        frozen.forward(1000)
        with pytest.raises(SchemaError):
            await migrate_sqlite(database, backups=backups, migrations=[FIRST, SECOND, BROKEN])
        assert len(list(backups.iterdir())) == 2
    finally:
        await database.close()
    readable = await SQLite.open(copy)
    try:
        assert await readable.read(lambda db: db.rows("SELECT * FROM a")) == [(1,)]
        assert await ledger(readable) == [(1, "first")]
        assert await bring(readable, tmp_path / "again", FIRST, SECOND) == [2]
    finally:
        await readable.close()


async def test_a_table_can_be_rebuilt_without_losing_what_refers_to_it(tmp_path: Path) -> None:
    tables = Migration(
        1,
        "tables",
        [
            "CREATE TABLE parents (id TEXT NOT NULL PRIMARY KEY) STRICT",
            "CREATE TABLE children (id TEXT NOT NULL REFERENCES parents (id) ON DELETE CASCADE) STRICT",
            "INSERT INTO parents VALUES ('p')",
            "INSERT INTO children VALUES ('p')",
        ],
    )
    rebuild = Migration(
        2,
        "rebuild",
        [
            "CREATE TABLE parents_new (id TEXT NOT NULL PRIMARY KEY, name TEXT) STRICT",
            "INSERT INTO parents_new (id) SELECT id FROM parents",
            "DROP TABLE parents",
            "ALTER TABLE parents_new RENAME TO parents",
        ],
    )
    orphan = Migration(3, "orphan", ["DELETE FROM parents"])
    database = await SQLite.open(tmp_path / "test.sqlite3", synchronous="OFF")
    try:
        await bring(database, tmp_path, tables, rebuild)
        assert await database.read(lambda db: db.column(str, "SELECT id FROM children")) == ["p"]
        with pytest.raises(SchemaError, match="left 1 broken references"):
            await bring(database, tmp_path, tables, rebuild, orphan)
        assert await database.read(lambda db: db.column(str, "SELECT id FROM parents")) == ["p"]
        assert await database.raw(lambda raw: raw.execute("PRAGMA foreign_keys").fetchone()) == (1,)
        assert await database.write(lambda tx: tx.run("DELETE FROM parents")) == 1
        assert await database.read(lambda db: db.column(str, "SELECT id FROM children")) == []
    finally:
        await database.close()


async def test_two_processes_that_migrate_at_once() -> None:
    with engines.fresh_dsn() as dsn:
        several = [await Postgres.open(dsn, connections=2) for _ in range(4)]
        try:
            slow = Migration(1, "slow", [*FIRST.statements, "SELECT pg_sleep(0.1)"])
            applied = await asyncio.gather(*(bring(one, Path(), slow, SECOND) for one in several))
            assert sorted(applied) == [[], [], [], [1, 2]]
            assert await several[0].read(lambda db: db.rows("SELECT n, m FROM a")) == [(1, 2)]
        finally:
            for one in several:
                await one.close()


# Scripts


def test_a_script_is_split_into_statements() -> None:
    script = """
-- A comment; with a semicolon.
CREATE TABLE t (s TEXT DEFAULT ';', -- inside; too
    "odd;name" TEXT /* and;
    here */);  -- after one; on its line
INSERT INTO t VALUES ('it''s; -- not a comment', ''); INSERT INTO t (s) VALUES (';');
CREATE TRIGGER tr AFTER INSERT ON t BEGIN
    UPDATE t SET s = 'END;';
    DELETE FROM t WHERE s = '';
END;
;
CREATE TEMP TRIGGER tt AFTER DELETE ON t BEGIN SELECT CASE WHEN 1 THEN 2 END; END;
-- the last; word
"""
    split = list(statements(script))
    assert [one.split("(")[0].split()[:3] for one in split] == [
        ["CREATE", "TABLE", "t"],
        ["INSERT", "INTO", "t"],
        ["INSERT", "INTO", "t"],
        ["CREATE", "TRIGGER", "tr"],
        ["CREATE", "TEMP", "TRIGGER"],
    ]
    assert not any(one.endswith(";") for one in split)
    connection = sqlite3.connect(":memory:")
    for one in split:
        connection.execute(one)
    connection.execute("INSERT INTO t (s) VALUES ('fires the trigger')")
    assert connection.execute("SELECT DISTINCT s FROM t").fetchall() == [("END;",)]
    connection.close()


def test_a_script_for_postgres_is_split_at_every_semicolon_outside_of_quotes() -> None:
    script = """
CREATE FUNCTION f() RETURNS TRIGGER LANGUAGE plpgsql AS $body$
BEGIN
    NEW.s := $$;$$;
    RETURN NEW;
END; $body$;
CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();
SELECT ';';
"""
    split = list(statements(script, "postgres"))
    assert [one.split()[1] for one in split] == ["FUNCTION", "TRIGGER", "';'"]
    assert split[0].endswith("$body$")


@pytest.mark.parametrize(
    "script", ["CREATE TABLE t (n INTEGER)", "SELECT ';", "SELECT 1; CREATE TRIGGER x BEGIN SELECT 1;"]
)
def test_a_script_that_ends_too_early(script: str) -> None:
    with pytest.raises(SchemaError, match="ends inside a statement"):
        list(statements(script))


def test_files_for_one_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "migrations"
    folder.mkdir()
    for name, text in {
        "0001_base.sql": "CREATE TABLE a (n INTEGER) STRICT;",
        "0002_search.sqlite.sql": "CREATE VIRTUAL TABLE s USING fts5 (x);",
        "0002_search.postgres.sql": "CREATE TABLE s (x TEXT, y TSVECTOR);",
        "0002_search.sql": "CREATE TABLE both (n INTEGER);",
        "README.md": "not a migration",
    }.items():
        (folder / name).write_text(text)
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path)
    assert known("sqlite") == [
        Migration(1, "base", ["CREATE TABLE a (n INTEGER) STRICT"]),
        Migration(2, "search", ["CREATE TABLE both (n INTEGER)", "CREATE VIRTUAL TABLE s USING fts5 (x)"]),
    ]
    assert known("postgres") == [
        Migration(1, "base", ["CREATE TABLE a (n BIGINT)"]),
        Migration(2, "search", ["CREATE TABLE both (n BIGINT)", "CREATE TABLE s (x TEXT, y TSVECTOR)"]),
    ]
