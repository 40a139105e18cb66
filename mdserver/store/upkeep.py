"""What a SQLite file wants now and then; PostgreSQL looks after itself (autovacuum)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

ROWS = 400
"""Rows of an index that its statistics are made of: enough to tell a good index from a bad one, in milliseconds."""


def optimize(connection: sqlite3.Connection) -> None:
    """Renew the statistics that queries are planned with, of tables that have grown since."""
    connection.execute(f"PRAGMA analysis_limit={ROWS}").fetchall()
    connection.execute("PRAGMA optimize").fetchall()


def checkpoint(connection: sqlite3.Connection) -> int:
    """Bring the write-ahead log into the file, as far as no reader is in the way; → pages that stay behind."""
    _, pages, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return max(0, int(pages) - int(moved))
