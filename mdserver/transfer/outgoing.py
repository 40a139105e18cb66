"""Reading a workspace for its export: the tree first, then the texts, each in pages."""

from __future__ import annotations

import msgspec

from mdserver.store.db import Reader
from mdserver.store.rows import Time


class Leaf(msgspec.Struct, kw_only=True):
    """A live document or folder, without its text."""

    id: str
    path: str
    path_key: str
    kind: str
    title: str
    tags: list[str]
    version: int
    size: int
    content_hash: str
    created_at: Time
    updated_at: Time
    archived_at: Time | None


class Text(msgspec.Struct):
    id: str
    text: str


def leaves(db: Reader, workspace_id: str, *, after: str, limit: int) -> list[Leaf]:
    """Live documents after the folded path `after`, in its order: parents before what stands below them."""
    return db.all(
        Leaf,
        "SELECT id, path, path_key, kind, title, tags, version, size, content_hash, created_at, updated_at, archived_at"
        " FROM documents WHERE workspace_id = $1 AND path_key > $2 AND trashed_at IS NULL ORDER BY path_key LIMIT $3",
        workspace_id,
        after,
        limit,
    )


def texts(db: Reader, workspace_id: str, ids: list[str]) -> list[Text]:
    """The present texts of these documents; those that have gone meanwhile are missing."""
    found: list[Text] = []
    for one in ids:
        found += db.all(
            Text,
            "SELECT t.document_id AS id, t.text FROM document_texts t JOIN documents d ON d.id = t.document_id"
            " WHERE t.document_id = $1 AND d.workspace_id = $2 AND d.trashed_at IS NULL",
            one,
            workspace_id,
        )
    return found
