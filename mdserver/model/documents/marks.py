"""What is noted on a document: title, tags, favourite, archive, template. Writes document_tags and favourites."""

from __future__ import annotations

import msgspec

from mdserver import clock, text
from mdserver.errors import Invalid
from mdserver.model import changes
from mdserver.model.access import Principal
from mdserver.store.db import Reader, Tx

from .places import touch
from .shape import Document, find, require_live

MAXIMUM_TAGS = 100
MAXIMUM_TAG = 100


def check_tags(tags: list[str]) -> list[str]:
    """Tags as they are kept: stripped, without a leading `#`, each once however it is written, at most 100."""
    if len(tags) > MAXIMUM_TAGS:
        raise Invalid(f"A document takes {MAXIMUM_TAGS} tags at most.", pointer="/tags")
    kept: dict[str, str] = {}
    for index, tag in enumerate(tags):
        cleaned = text.clean(tag, pointer=f"/tags/{index}", maximum=MAXIMUM_TAG, minimum=1).lstrip("#").strip()
        if not cleaned:
            raise Invalid("A tag needs a letter or digit.", pointer=f"/tags/{index}")
        kept.setdefault(text.fold(cleaned), cleaned)
    return list(kept.values())


def retitle(tx: Tx, me: Principal, document: Document, title: str) -> Document:
    """Give a found document another title; its file name stays."""
    require_live(document)
    if title != document.title:
        tx.run("UPDATE documents SET title = $1 WHERE id = $2", title, document.id)
        _changed(tx, me, document)
    return find(tx, me, document.id)


def set_tags(tx: Tx, me: Principal, document: Document, tags: list[str]) -> Document:
    """Replace a found document's tags."""
    require_live(document)
    if tags != document.tags:
        tx.run("UPDATE documents SET tags = $1 WHERE id = $2", msgspec.json.encode(tags).decode(), document.id)
        tx.run("DELETE FROM document_tags WHERE document_id = $1", document.id)
        index_tags(tx, document.workspace_id, document.id, tags)
        _changed(tx, me, document)
    return find(tx, me, document.id)


def index_tags(tx: Tx, workspace_id: str, document_id: str, tags: list[str]) -> None:
    """Make a document findable by its tags."""
    for tag in tags:
        tx.run(
            "INSERT INTO document_tags (workspace_id, tag_key, document_id, tag) VALUES ($1, $2, $3, $4)",
            workspace_id,
            text.fold(tag),
            document_id,
            tag,
        )


def workspace_tags(db: Reader, workspace_id: str) -> list[tuple[str, int]]:
    """(tag, number of live documents) of a workspace, in order of the folded tag."""
    return [
        (one[0], one[1])
        for one in db.rows(
            "SELECT min(t.tag), count(*) FROM document_tags t JOIN documents d ON d.id = t.document_id"
            " WHERE t.workspace_id = $1 AND d.trashed_at IS NULL GROUP BY t.tag_key ORDER BY t.tag_key",
            workspace_id,
        )
    ]


def archive(tx: Tx, me: Principal, document: Document, *, archived: bool) -> Document:
    """Put a found document away, or bring it back."""
    return _mark(tx, me, document, "archived_at", archived, document.archived_at is not None)


def make_template(tx: Tx, me: Principal, document: Document, *, template: bool) -> Document:
    """Offer a found document as a template, or stop that."""
    return _mark(tx, me, document, "template_at", template, document.template)


def favour(tx: Tx, me: Principal, document: Document, *, favourite: bool) -> Document:
    """Make a found document one's own favourite, or not; nobody else sees it."""
    if favourite:
        tx.run(
            "INSERT INTO favourites (user_id, document_id, created_at) VALUES ($1, $2, $3)"
            " ON CONFLICT (user_id, document_id) DO NOTHING",
            me.user_id,
            document.id,
            clock.now(),
        )
    else:
        tx.run("DELETE FROM favourites WHERE user_id = $1 AND document_id = $2", me.user_id, document.id)
    return find(tx, me, document.id)


def _mark(tx: Tx, me: Principal, document: Document, column: str, wanted: bool, is_so: bool) -> Document:
    require_live(document)
    if wanted != is_so:
        tx.run(f"UPDATE documents SET {column} = $1 WHERE id = $2", clock.now() if wanted else None, document.id)
        _changed(tx, me, document)
    return find(tx, me, document.id)


def _changed(tx: Tx, me: Principal, document: Document) -> None:
    touch(tx, me, document.id)
    changes.record(tx, me, document.workspace_id, "document", document.id, version=document.version)
