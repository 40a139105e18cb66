"""What a backup holds: every table of the schema stands here, to be backed up or to be made anew."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mdserver.store.db import Reader, Tx


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """`tables` stand in the order of their references: what a row refers to is restored before it.

    `derived` are the first letters of tables that are left out, since they are made from others, or tell of this server
    rather than of what it keeps. `blobs` are the
    columns, as (table, column), whose values name blobs by SHA-256; a row with one is backed up with its blob.
    `afterwards` is run in the restored database, in the transaction that fills it and before it is verified.
    """

    tables: tuple[str, ...]
    derived: tuple[str, ...] = ()
    blobs: tuple[tuple[str, str], ...] = ()
    afterwards: tuple[Callable[[Tx], object], ...] = ()

    def is_derived(self, table: str) -> bool:
        """Whether the table is made from others. The ledger of migrations is written by applying them."""
        return table == "schema_migrations" or table.startswith(self.derived)


# The search index starts empty and is filled by the server's indexer, which follows the change log. The process that
# opens what was restored begins a new epoch by itself, so clients that were further on are told to begin anew.
ALL = Contents(
    tables=(
        "users",
        "sessions",
        "tokens",
        "personal_tokens",
        "codes",
        "workspaces",
        "workspace_members",
        "invitations",
        "documents",
        "document_texts",
        "document_updates",
        "document_snapshots",
        "document_versions",
        "texts",
        "document_tags",
        "document_links",
        "unsettled_documents",
        "document_moments",
        "document_authors",
        "quarantined_documents",
        "refused_updates",
        "favourites",
        "changes",
        "epochs",
        "epoch_starts",
        "change_horizons",
        "conflicts",
        "idempotency_keys",
        "operations",
        "audit",
    ),
    derived=("search_", "jobs"),
)


def tables_of(db: Reader) -> list[str]:
    """The tables that a database has; of a virtual one, its own name and its shadows."""
    if db.engine == "sqlite":
        return db.column(
            str, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        )
    return db.column(
        str,
        "SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace"
        " AND c.relkind IN ('r', 'p')",
    )


def columns_of(db: Reader, table: str) -> list[str]:
    """The columns of a table that hold what was written there, in their order; computed ones are left out."""
    if db.engine == "sqlite":
        return db.column(str, "SELECT name FROM pragma_table_info($1) ORDER BY cid", table)
    return db.column(
        str,
        "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped"
        " AND attgenerated = '' ORDER BY attnum",
        f'"{table}"',
    )
