"""One moment of a database, read row by row from a connection of its own while others write."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdserver.errors import Busy, Conflict
from mdserver.store.db import Reader, Unusable

from .contents import Contents, columns_of, tables_of
from .format import Table

if TYPE_CHECKING:
    import sqlite3

    from mdserver.store.postgres_connection import Connection

WAL_MOST = 8 << 30
"""Bytes of SQLite's write-ahead log at which a backup gives up: while it reads, the log cannot start anew."""


class Snapshot(ABC):
    """A moment of the database; `db` asks it what is small, `rows` gives a table of any size."""

    db: Reader

    @abstractmethod
    def rows(self, table: Table) -> Iterator[tuple[Any, ...]]:
        """Every row of the table, one at a time."""

    @abstractmethod
    def estimate(self) -> int:
        """About how many bytes there are."""

    @abstractmethod
    def check(self) -> None:
        """Whether it may go on being read. Busy when the database would suffer from it."""

    def migrations(self) -> dict[int, str]:
        """What has been applied: number → name."""
        return dict(self.db.rows("SELECT number, name FROM schema_migrations"))

    def tables(self, contents: Contents) -> list[Table]:
        """The tables to back up, with their columns. Conflict when there is one that nobody has decided about."""
        found = set(tables_of(self.db))
        if unknown := sorted(one for one in found - set(contents.tables) if not contents.is_derived(one)):
            raise Conflict(
                f"The database has tables that are not mdserver's ({', '.join(unknown)}): a backup would leave them"
                " out. Move them into a database of their own."
            )
        if lacking := sorted(set(contents.tables) - found):
            raise Conflict(
                f"The database lacks tables ({', '.join(lacking)}): bring it up to date with “mdserver migrate”."
            )
        return [Table(one, columns_of(self.db, one)) for one in contents.tables]

    def blobs(self, contents: Contents) -> Iterator[str]:
        """The names of all blobs that a row names, in order, each once."""
        if contents.blobs:
            named = " UNION ALL ".join(
                f"SELECT {column} AS name FROM {table} WHERE {column} IS NOT NULL" for table, column in contents.blobs
            )
            yield from self.db.column(str, f"SELECT DISTINCT name FROM ({named}) AS named ORDER BY name")


Taking = Callable[[], AbstractContextManager[Snapshot]]
"""Takes a snapshot, on the thread that calls it."""


class _OfSQLite(Snapshot):
    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        from mdserver.store.sqlite import SQLiteReader

        self.db = SQLiteReader(connection)
        self._connection = connection
        self._wal = Path(f"{path}-wal")

    def rows(self, table: Table) -> Iterator[tuple[Any, ...]]:
        return iter(self._connection.execute(_select(table)))

    def estimate(self) -> int:
        (pages,), (free,), (size,) = (
            self._connection.execute(f"PRAGMA {one}").fetchone()
            for one in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def check(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self._wal).st_size > WAL_MOST:
                raise Busy(
                    f"While the backup read, {WAL_MOST >> 30} GiB were written to the database, and the room for them"
                    " is given back only when it ends: no backup was made. Choose a quieter hour or a faster disk."
                )


class _OfPostgres(Snapshot):
    def __init__(self, connection: Connection) -> None:
        from mdserver.store.postgres import PostgresReader

        self.db = PostgresReader(connection)
        self._connection = connection

    def rows(self, table: Table) -> Iterator[tuple[Any, ...]]:
        # Row by row from the socket: a page of rows may be any size.
        with self._connection.cursor() as cursor:
            yield from cursor.stream(_select(table).encode(), binary=True)

    def estimate(self) -> int:
        return (
            self.db.value(
                int,
                "SELECT CAST(sum(pg_table_size(oid)) AS BIGINT) FROM pg_class"
                " WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'",
            )
            or 0
        )

    def check(self) -> None:
        """What is kept for a reader is vacuumed later, and does no harm before."""


@contextlib.contextmanager
def of_sqlite(path: Path) -> Iterator[Snapshot]:
    """The present moment of a SQLite file that a writer of this or another process has open."""
    from mdserver.store.sqlite import Error, connect

    try:
        with contextlib.closing(connect(path, read_only=True)) as connection:
            connection.execute("PRAGMA mmap_size=0")  # a mapping of a large file would count as our memory
            connection.execute("BEGIN")
            connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()  # the snapshot is taken by reading
            yield _OfSQLite(connection, path)
            connection.execute("COMMIT")
    except Error as error:
        raise Unusable(f"The database {path} cannot be read: {error}.") from error


@contextlib.contextmanager
def of_postgres(dsn: str) -> Iterator[Snapshot]:
    """The present moment of a PostgreSQL database."""
    import psycopg

    from mdserver.store.postgres_connection import connect

    try:
        with connect(dsn) as connection:
            connection.execute(
                "SELECT set_config('idle_in_transaction_session_timeout', '0', false),"
                " set_config('statement_timeout', '0', false)"
            )
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield _OfPostgres(connection)
            connection.execute("COMMIT")
    except psycopg.Error as error:
        raise Unusable(f"PostgreSQL cannot be read: {error}") from error


def _select(table: Table) -> str:
    """A statement for every row. The names come from the database's own catalogue."""
    return f"SELECT {', '.join(_quoted(one) for one in table.columns)} FROM {_quoted(table.name)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
