"""The history people see: moments of a document's text. The only writer of document_versions."""

from __future__ import annotations

from typing import Literal

import msgspec

from mdserver.errors import NotFound
from mdserver.store.db import Reader, Tx
from mdserver.store.rows import Time

from . import changes, texts
from .access import Actor, Person, Principal
from .documents.shape import Document, persons, present_text

Reason = Literal["create", "edit", "merge", "restore", "import", "copy"]
MAXIMUM_NAME = 200


class Version(msgspec.Struct, kw_only=True):
    """A moment of a document. `content_hash` is SHA-256 in hex, `size` bytes of UTF-8; `name` is set by people."""

    version: int
    title: str
    name: str | None
    authors: list[Person]
    size: int
    content_hash: str
    reason: str
    created_at: Time


class _Row(msgspec.Struct, kw_only=True):
    version: int
    title: str
    name: str | None
    authors: list[str]
    size: int
    content_hash: str
    reason: str
    created_at: Time


_SELECT = (
    "SELECT version, title, name, authors, size, content_hash, reason, created_at"
    " FROM document_versions WHERE document_id = $1"
)


def add(
    tx: Tx,
    document_id: str,
    version: int,
    *,
    seq: int,
    title: str,
    text: texts.Text,
    reason: str,
    authors: list[str],
    at: int,
) -> None:
    """Enter a moment into the history. Its text is the present one; texts.keep keeps it when the document moves on."""
    tx.run(
        "INSERT INTO document_versions (document_id, version, seq, title, reason, authors, content_hash, size,"
        " created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        document_id,
        version,
        seq,
        title,
        reason,
        msgspec.json.encode(authors).decode(),
        text.hash,
        text.size,
        at,
    )


def of_document(db: Reader, me: Principal, document: Document, *, before: int, limit: int) -> list[Version]:
    """The history of a found document, newest first: `limit` versions below the number `before`."""
    rows = db.all(_Row, f"{_SELECT} AND version < $2 ORDER BY version DESC LIMIT {limit:d}", document.id, before)
    return _seen(db, me, rows)


def find(db: Reader, me: Principal, document: Document, version: int) -> Version:
    """One version of a found document. NotFound when there is none of that number."""
    row = db.first(_Row, f"{_SELECT} AND version = $2", document.id, version)
    if row is None:
        raise NotFound(f"The document has no version {version} in its history.")
    return _seen(db, me, [row])[0]


def text_of(db: Reader, document: Document, version: int) -> str | None:
    """The text of a version of a found document; None when the history does not hold it."""
    found = db.value(
        str,
        "SELECT content_hash FROM document_versions WHERE document_id = $1 AND version = $2",
        document.id,
        version,
    )
    if found is None:
        return None
    return present_text(db, document.id) if found == document.content_hash else texts.read(db, document.id, found)


def previous(db: Reader, document: Document, version: int) -> int | None:
    """The version before this one in the history, or None for the first."""
    return db.value(
        int, "SELECT max(version) FROM document_versions WHERE document_id = $1 AND version < $2", document.id, version
    )


def rename(tx: Tx, me: Actor, document: Document, version: int, name: str | None) -> None:
    """Name a version of a found document, which keeps it for ever, or take its name away."""
    if not tx.run(
        "UPDATE document_versions SET name = $1 WHERE document_id = $2 AND version = $3", name, document.id, version
    ):
        raise NotFound(f"The document has no version {version} in its history.")
    changes.record(tx, me, document.workspace_id, "version", f"{document.id}/{version}", version=version)


def _seen(db: Reader, me: Principal, rows: list[_Row]) -> list[Version]:
    people = persons(db, {one for row in rows for one in row.authors}, me)
    return [
        Version(
            version=row.version,
            title=row.title,
            name=row.name,
            authors=[people[one] for one in row.authors if one in people],
            size=row.size,
            content_hash=row.content_hash,
            reason=row.reason,
            created_at=row.created_at,
        )
        for row in rows
    ]
