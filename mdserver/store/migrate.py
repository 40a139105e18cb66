"""Numbered migrations, each once: all pending ones in one transaction, after a copy of the SQLite file.

`NNNN_name.sql` is for both engines and written for SQLite (translate.py tells PostgreSQL); `NNNN_name.sqlite.sql` and
`.postgres.sql` stand where the engines truly differ, and run as they are after the common file of that number.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mdserver import clock, failpoints

from .db import Unusable
from .translate import for_postgres, tokens

if TYPE_CHECKING:
    from .db import Engine
    from .postgres import Postgres
    from .sqlite import SQLite

LEDGER = (
    "CREATE TABLE IF NOT EXISTS schema_migrations "
    "(number INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL)"
)
_NAME = re.compile(r"(\d{4})_([a-z0-9_]+?)(?:\.(sqlite|postgres))?\.sql")


class Migration(NamedTuple):
    """One numbered step: its statements for one engine, in order."""

    number: int
    name: str
    statements: list[str]


class SchemaError(Unusable):
    """The database cannot be brought to this program's schema; the text says what to do."""


def known(engine: Engine) -> list[Migration]:
    """Every migration that this program carries for the engine, in order of number."""
    found: dict[int, list[tuple[str, str, str]]] = {}
    for entry in resources.files("mdserver.store").joinpath("migrations").iterdir():
        matched = _NAME.fullmatch(entry.name)
        if matched is None or matched[3] not in (None, engine):
            continue
        found.setdefault(int(matched[1]), []).append((matched[3] or "", matched[2], entry.read_text(encoding="utf-8")))
    made: list[Migration] = []
    for number, files in sorted(found.items()):
        parts: list[str] = []
        for own, _, text in sorted(files):  # the common file has no engine in its name and comes first
            split = statements(text, own or "sqlite")
            parts += map(for_postgres, split) if engine == "postgres" and not own else split
        made.append(Migration(number, files[0][1], parts))
    return made


def statements(script: str, engine: str = "sqlite") -> Iterator[str]:
    """The single statements of a script; strings, comments, triggers and function bodies stay whole."""
    held = ""
    silent = True
    for token in tokens(script):
        held += token.text
        if token.text == ";":
            # SQLite's triggers hold statements; PostgreSQL's functions hold them between dollar quotes, one token here.
            if silent or engine == "postgres" or sqlite3.complete_statement(held):
                if not silent:
                    yield held.strip().removesuffix(";").rstrip()
                held, silent = "", True
        elif silent and token.silent:
            held = ""
        else:
            silent = False
    if held.strip():
        raise SchemaError(f"a migration ends inside a statement: {held.strip()[:80]}")


def pending(applied: dict[int, str], migrations: list[Migration]) -> list[Migration]:
    """What is still to be applied. SchemaError when the database is newer than this program."""
    newest = migrations[-1].number if migrations else 0
    ahead = [number for number in applied if number > newest]
    if ahead:
        raise SchemaError(
            f"The database has schema {max(ahead)}, this program knows up to {newest}. It was used by a newer "
            "mdserver: install that version again, or restore a backup made before the upgrade. Nothing was changed."
        )
    return [one for one in migrations if one.number not in applied]


async def migrate_sqlite(
    database: SQLite, *, backups: Path, migrations: list[Migration] | None = None
) -> tuple[list[Migration], Path | None]:
    """Bring a SQLite database up to date; → what was applied and the copy made before (None for a new database).

    All pending migrations are one transaction: a failing one leaves everything as it was. SchemaError says why.
    """
    steps = known("sqlite") if migrations is None else migrations

    def work(connection: sqlite3.Connection) -> tuple[list[Migration], Path | None]:
        applied = _applied(connection)
        todo = pending(applied, steps)
        if not todo:
            return [], None
        copy = _copy(connection, backups, max(applied)) if applied else None
        # A table that is rebuilt is dropped first: enforced foreign keys would delete what refers to it. (No effect
        # inside a transaction, therefore here.)
        connection.execute("PRAGMA foreign_keys=OFF")
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(LEDGER)
            apply(todo, lambda sql: connection.execute(sql).fetchall())
            broken = connection.execute("PRAGMA foreign_key_check").fetchall()
            if broken:
                raise SchemaError(
                    f"A migration left {len(broken)} broken references. The database is as it was before."
                )
            failpoints.hit("migration-done")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.execute("PRAGMA foreign_keys=ON")
        return todo, copy

    return await database.raw(work)


async def migrate_postgres(database: Postgres, *, migrations: list[Migration] | None = None) -> list[Migration]:
    """Bring a PostgreSQL database up to date; → what was applied.

    All pending migrations are one transaction: a failing one leaves everything as it was. SchemaError says why. A
    second process that migrates at the same time waits for the first and finds nothing to do.
    """
    from . import postgres_connection as pg

    steps = known("postgres") if migrations is None else migrations

    def work(connection: pg.Connection) -> list[Migration]:
        connection.execute("SET lock_timeout = '60s'")
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock($1)", (pg.lock_key("mdserver: migrations"),))
            exists = connection.execute("SELECT to_regclass('schema_migrations') IS NOT NULL").fetchone()
            applied: dict[int, str] = {}
            if exists and exists[0]:
                applied = dict(connection.execute("SELECT number, name FROM schema_migrations").fetchall())
            todo = pending(applied, steps)
            if todo:
                connection.execute(for_postgres(LEDGER).encode())
                apply(todo, lambda sql: connection.execute(sql.encode()))
        return todo

    return await database.raw(work)


def apply(todo: list[Migration], run: Callable[[str], Any]) -> None:
    """Run the migrations' statements and enter them in the ledger. SchemaError names the one that failed."""
    for step in todo:
        try:
            for statement in step.statements:
                run(statement)
                failpoints.hit("migration-statement")
            run(
                "INSERT INTO schema_migrations (number, name, applied_at) "
                f"VALUES ({step.number}, '{step.name}', {clock.now()})"
            )
        except Exception as error:
            raise SchemaError(
                f"Migration {step.number:04d}_{step.name} failed: {error}. The database is as it was before."
            ) from error


def _applied(connection: sqlite3.Connection) -> dict[int, str]:
    exists = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'schema_migrations'").fetchall()
    return dict(connection.execute("SELECT number, name FROM schema_migrations").fetchall()) if exists else {}


def _copy(connection: sqlite3.Connection, backups: Path, schema: int) -> Path:
    """A durable copy of the database file as it is before the upgrade."""
    backups.mkdir(mode=0o700, parents=True, exist_ok=True)
    stamp = clock.rfc3339(clock.now()).replace(":", "").replace("-", "")[:15]
    target = backups / f"before-upgrade-from-schema-{schema:04d}-{stamp}.sqlite3"
    partial = target.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # closed to others from its first byte on
    connection.execute("VACUUM INTO ?", (str(partial),))
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    failpoints.hit("migration-copied")
    partial.replace(target)
    directory = os.open(backups, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return target
