"""An archive's rows into an empty database: its own schema first, then the rows by name, then later migrations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mdserver.errors import StorageFull
from mdserver.store.db import Process, Tx
from mdserver.store.migrate import LEDGER, Migration, apply
from mdserver.store.translate import for_postgres

from .contents import Contents, columns_of, tables_of
from .format import BadArchive, Table

if TYPE_CHECKING:
    import sqlite3

    from mdserver.store.postgres_connection import Connection

    from .reading import Archive

Tick = Callable[[int], object]


class Loader(ABC):
    """An open transaction on an empty database; committing it is the caller's."""

    tx: Tx

    def __init__(self, migrations: list[Migration], contents: Contents) -> None:
        self._migrations = migrations
        self._contents = contents

    def load(self, archive: Archive, tick: Tick = lambda rows: None) -> None:
        """Make the archive's schema, bring its rows in, and migrate to the newest. `tick` hears of rows.

        BadArchive when they do not go together, SchemaError when a migration fails.
        """
        header = archive.header
        judge_schema(archive, self._migrations)
        self._run(LEDGER)
        apply([one for one in self._migrations if one.number <= header.schema], self._run)
        there = set(tables_of(self.tx))
        self._clear([one.name for one in header.tables if one.name in there])
        for table, rows in zip(header.tables, archive.manifest.tables, strict=True):
            if table.name not in there or not set(table.columns) <= set(columns_of(self.tx, table.name)):
                raise BadArchive(
                    f"The backup {archive.path} is damaged or was tampered with: it has a table “{table.name}” that"
                    f" schema {header.schema} does not have so. Nothing was changed."
                )
            for piece in archive.rows(rows):
                try:
                    self._insert(table, piece)
                except self._errors as error:
                    judge_storage(error)
                    raise BadArchive(
                        f"The rows of “{table.name}” in the backup {archive.path} do not fit into this database"
                        f" ({_first_line(error)}). Nothing was changed."
                    ) from error
                tick(len(piece))
            if self.tx.value(int, f'SELECT count(*) FROM "{table.name}"') != rows.rows:
                raise RuntimeError(f"of the rows of {table.name}, some did not stay")
        self._settle()
        apply([one for one in self._migrations if one.number > header.schema], self._run)
        for one in self._contents.afterwards:
            one(self.tx)

    _errors: tuple[type[Exception], ...]

    @abstractmethod
    def _run(self, statement: str) -> Any: ...

    @abstractmethod
    def _clear(self, tables: list[str]) -> None:
        """Remove rows that migrations have written: the archive has its own."""

    @abstractmethod
    def _insert(self, table: Table, rows: list[list[Any]]) -> None: ...

    @abstractmethod
    def _settle(self) -> None:
        """What is to be done between the rows and later migrations."""


class SQLiteLoader(Loader):
    """On a connection that enforces no foreign keys: the caller checks them in the end."""

    def __init__(self, connection: sqlite3.Connection, migrations: list[Migration], contents: Contents) -> None:
        from mdserver.store.sqlite import Error, SQLiteTx

        super().__init__(migrations, contents)
        self._connection = connection
        self._errors = (Error, OverflowError, ValueError, TypeError)
        self.tx = SQLiteTx(connection, lambda topic, key: None, Process())

    def _run(self, statement: str) -> Any:
        return self._connection.execute(statement).fetchall()

    def _clear(self, tables: list[str]) -> None:
        for table in tables:
            self._connection.execute(f'DELETE FROM "{table}"')

    def _insert(self, table: Table, rows: list[list[Any]]) -> None:
        places = ", ".join("?" * len(table.columns))
        self._connection.executemany(f'INSERT INTO "{table.name}" ({_names(table)}) VALUES ({places})', rows)

    def _settle(self) -> None:
        """Its counters follow the rows by themselves."""


class PostgresLoader(Loader):
    """On a connection within a transaction, whose schema is empty of tables."""

    def __init__(self, connection: Connection, migrations: list[Migration], contents: Contents) -> None:
        import psycopg

        from mdserver.store.postgres import PostgresTx

        super().__init__(migrations, contents)
        self._connection = connection
        self._errors = (psycopg.Error, OverflowError, ValueError, TypeError)
        self.tx = PostgresTx(
            connection, gates=set(), enter=lambda name: True, tell=lambda topic, key: None, process=Process()
        )

    def _run(self, statement: str) -> Any:
        return self._connection.execute((for_postgres(statement) if statement == LEDGER else statement).encode())

    def _clear(self, tables: list[str]) -> None:
        for table in reversed(tables):
            self._connection.execute(f'DELETE FROM "{table}"'.encode())

    def _insert(self, table: Table, rows: list[list[Any]]) -> None:
        types = self._types(table)  # asked before: nothing else can be said while a COPY is under way
        statement = f'COPY "{table.name}" ({_names(table)}) FROM STDIN (FORMAT BINARY)'
        with self._connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)

    def _types(self, table: Table) -> list[str]:
        found = dict(
            self.tx.rows(
                "SELECT a.attname::text, t.typname::text FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid"
                " WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped",
                f'"{table.name}"',
            )
        )
        return [found[one] for one in table.columns]

    def _settle(self) -> None:
        """Let what numbers itself go on after the highest number."""
        for table, column in self.tx.rows(
            "SELECT c.relname::text, a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
            " WHERE c.relnamespace = current_schema()::regnamespace AND a.attidentity <> ''"
        ):
            self._connection.execute(
                f"SELECT setval(pg_get_serial_sequence('\"{table}\"', '{column}'), max(\"{column}\"))"
                f' FROM "{table}" HAVING max("{column}") IS NOT NULL'.encode()
            )


def judge_schema(archive: Archive, migrations: list[Migration]) -> None:
    """Whether this program knows every migration that the archive's database had. BadArchive when it does not."""
    known = {one.number: one.name for one in migrations}
    header = archive.header
    if header.schema > max(known, default=0):
        raise BadArchive(
            f"{archive.path} has schema {header.schema} of mdserver {header.mdserver}, and this program knows up to"
            f" {max(known, default=0)}: install that version or a newer one. Nothing was changed."
        )
    if any(known.get(number, name) != name for number, name in header.migrations.items()):
        raise BadArchive(
            f"{archive.path} was made by a program whose migrations have other names than this one's, so that nobody"
            " can tell what its rows mean. Nothing was changed."
        )


def _names(table: Table) -> str:
    return ", ".join(f'"{one}"' for one in table.columns)


def judge_storage(error: Exception) -> None:
    """StorageFull when it is the disk that refused: SQLite's READONLY, IOERR, FULL and CANTOPEN, PostgreSQL's 53100."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (8, 10, 13, 14) or getattr(error, "sqlstate", "") == "53100":
        raise StorageFull(
            f"The database cannot be written ({_first_line(error)}): its disk may be full. Nothing was changed."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].strip()
