"""What a document is to those who see it, and finding it: which is permission."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from mdserver.clock import rfc3339
from mdserver.errors import Conflict, NotFound
from mdserver.model.access import SCOPES_CODE, VIEWER, Person, Principal, Role, Scope, document_permissions, require
from mdserver.store.db import Reader
from mdserver.store.rows import Time

SHORT = 64 << 10
"""Bytes up to which a text is read at a glance."""

D = TypeVar("D", bound="Document")
Kind = Literal["markdown", "richtext", "mindmap", "folder"]
"""`richtext` is edited in TipTap and says its Markdown in a normal form; a `mindmap` is a Markdown outline."""


class Document(msgspec.Struct):
    """A document or folder as the asker sees it, without its text.

    `version` counts changes of the content, `revision` those of everything else that members share. `content_hash` is
    SHA-256 in hex, `size` the bytes of the text in UTF-8. `author` and `updated_by` are null once the account is gone.
    """

    id: str
    workspace_id: str
    parent_id: str | None
    position: str
    kind: str
    title: str
    filename: str
    path: str
    tags: list[str]
    version: int
    revision: int
    content_hash: str
    size: int
    author: Person | None
    updated_by: Person | None
    created_at: Time
    updated_at: Time
    trashed_at: Time | None
    archived_at: Time | None
    template: bool
    favourite: bool
    role: Role
    permissions: list[str]


class DocumentWithContent(Document):
    """A document with its Markdown text."""

    content: str


class State(NamedTuple):
    """A state of a document. What members share of it is the same whenever all three are the same."""

    id: str
    version: int
    revision: int


class Head(NamedTuple):
    """A state with the hash of its text, and what of the document differs between askers."""

    version: int
    revision: int
    content_hash: str
    role: Role
    favourite: bool


class TreeItem(msgspec.Struct):
    """A document as a line of the tree, in the order in which siblings stand."""

    id: str
    parent_id: str | None
    position: str
    kind: str
    title: str
    filename: str
    has_children: bool
    archived: bool


COLUMNS = (
    "d.id, d.workspace_id, d.parent_id, d.position, d.kind, d.title, d.filename, d.path, d.tags, d.version, d.revision,"
    " d.content_hash, d.size, d.author_id, d.updated_by, d.created_at, d.updated_at, d.trashed_at, d.archived_at,"
    " d.template_at"
)
_FAVOURITE = (
    "CASE WHEN EXISTS (SELECT 1 FROM favourites f WHERE f.user_id = $1 AND f.document_id = d.id) THEN 1 ELSE 0 END"
)

_FIND = (
    f"SELECT {COLUMNS}, {_FAVOURITE}, m.role"
    " FROM documents d JOIN workspace_members m ON m.workspace_id = d.workspace_id AND m.user_id = $1 WHERE d.id = $2"
)
_FIND_WITH_CONTENT = (
    f"SELECT {COLUMNS}, {_FAVOURITE}, m.role, t.text"
    " FROM documents d JOIN workspace_members m ON m.workspace_id = d.workspace_id AND m.user_id = $1"
    " LEFT JOIN document_texts t ON t.document_id = d.id AND d.size <= CAST($3 AS BIGINT) WHERE d.id = $2"
)
_HEAD = (
    f"SELECT d.id, d.workspace_id, d.version, d.revision, d.content_hash, m.role, {_FAVOURITE} FROM documents d"
    " JOIN workspace_members m ON m.workspace_id = d.workspace_id AND m.user_id = $1 WHERE d.id = $2"
)


def find(db: Reader, me: Principal, document_id: str, *, need: Role = VIEWER) -> Document:
    """The document, if the asker's role in its workspace is high enough.

    NotFound for strangers and for tokens of another workspace, Forbidden for members of too low a role.
    """
    found = db.rows(_FIND, me.user_id, document_id)
    row = _visible(me, found)[0]
    document = _made(Document, row, _people(db, me, [row]), me.scopes)
    require(document.role, need)
    return document


def find_with_content(db: Reader, me: Principal, document_id: str) -> DocumentWithContent:
    """The same with its text (empty for a folder)."""
    row = _visible(me, db.rows(_FIND_WITH_CONTENT, me.user_id, document_id, SHORT if db.glancing else 1 << 62))[0]
    if row[12] > SHORT:
        db.more_than_a_glance()
    return _made(DocumentWithContent, row[:22], _people(db, me, [row]), me.scopes, row[22] or "")


def present_text(db: Reader, document_id: str) -> str:
    """The stored text of a found document: what every reading answers from."""
    return db.value(str, "SELECT text FROM document_texts WHERE document_id = $1", document_id) or ""


def workspace_of(db: Reader, document_id: str) -> str | None:
    """The workspace of a document, for what is told to its members; None when there is no such document."""
    return db.value(str, "SELECT workspace_id FROM documents WHERE id = $1", document_id)


def states_of(db: Reader, ids: list[str]) -> dict[str, tuple[State, int]]:
    """State and size (bytes) of those of the documents that exist, in a workspace that was entered."""
    if not ids:
        return {}
    found = db.rows(f"SELECT id, version, revision, size FROM documents WHERE id IN ({_numbers(ids)})", *ids)
    return {id: (State(id, version, revision), size) for id, version, revision, size in found}


def texts_of(db: Reader, ids: list[str]) -> dict[str, str]:
    """The stored texts of those of the documents that have one, in a workspace that was entered."""
    if not ids:
        return {}
    return dict(db.rows(f"SELECT document_id, text FROM document_texts WHERE document_id IN ({_numbers(ids)})", *ids))


def find_head(db: Reader, me: Principal, document_id: str) -> Head:
    """The document's present state without reading it: for conditional requests, and for what is known already."""
    row = _visible(me, db.rows(_HEAD, me.user_id, document_id))[0]
    return Head(row[2], row[3], row[4], row[5], row[6] == 1)


def by_path(db: Reader, me: Principal, workspace_id: str, path_key: str, *, role: Role) -> list[Document]:
    """The live document at that folded path in a workspace that was entered: a list of one or none."""
    return listed(
        db, me, role, db.rows(f"{LISTED} AND d.path_key = $2 AND d.trashed_at IS NULL", workspace_id, path_key)
    )


LISTED = f"SELECT {COLUMNS} FROM documents d WHERE d.workspace_id = $1"
"""Start of a SELECT over a workspace that was entered; further parameters begin at $2. For `listed`."""


def listed(db: Reader, me: Principal, role: Role, rows: list[tuple[Any, ...]]) -> list[Document]:
    """Rows of LISTED (and of whatever stands behind its columns) as Documents, for an asker with that role."""
    if not rows:
        return []
    people, scopes = _people(db, me, rows), me.scopes
    favourites = favoured(db, me, [row[0] for row in rows])
    return [_made(Document, (*row[:20], row[0] in favourites, role), people, scopes) for row in rows]


def by_ids(db: Reader, me: Principal, workspace_id: str, ids: list[str], *, role: Role) -> list[Document]:
    """Those of the documents that are in a workspace which was entered, in no order."""
    if not ids:
        return []
    # The workspace is judged here: as a condition, it has SQLite look through all of the workspace instead.
    found = db.rows(f"SELECT {COLUMNS} FROM documents d WHERE d.id IN ({_numbers(ids)})", *ids)
    return listed(db, me, role, [row for row in found if row[1] == workspace_id])


def favoured(db: Reader, me: Principal, ids: list[str]) -> set[str]:
    """Which documents between the first and the last of these ids are the asker's favourites."""
    return set(
        db.column(
            str,
            "SELECT document_id FROM favourites WHERE user_id = $1 AND document_id >= $2 AND document_id <= $3",
            me.user_id,
            min(ids),
            max(ids),
        )
    )


def content_tag(document: Document | Head) -> str:
    """The opaque part of the content's ETag: `<version>-<16 hex digits of the text's hash>`."""
    return f"{document.version}-{document.content_hash[:16]}"


def full_tag(document: Document | Head, me: Principal) -> str:
    """The opaque part of the document's ETag: the content's, the revision, and what differs between askers."""
    return (
        f"{content_tag(document)}.{document.revision}."
        f"{document.role[0]}{SCOPES_CODE.get(me.scopes, 8)}{1 if document.favourite else 0}"
    )


def require_live(document: Document) -> None:
    """Conflict when the document lies in the trash."""
    if document.trashed_at is not None:
        raise Conflict("The document is in the trash: restore it first.")


def require_text(document: Document) -> None:
    """Conflict when it is of a kind that has no text."""
    if document.kind == "folder":
        raise Conflict("A folder has no content.")


def _made(
    kind: Callable[..., D], row: tuple[Any, ...], people: dict[str, Person], scopes: tuple[Scope, ...], *more: str
) -> D:
    # Lists are the busiest answers: unpacked and passed by position, which takes a third of the time of keywords.
    (
        id,
        workspace_id,
        parent_id,
        position,
        kind_,
        title,
        filename,
        path,
        tags,
        version,
        revision,
        content_hash,
        size,
        author,
        editor,
        created,
        updated,
        trashed,
        archived,
        template,
        favourite,
        role,
    ) = row
    return kind(
        id,
        workspace_id,
        parent_id or None,
        position,
        kind_,
        title,
        filename,
        path,
        [] if tags == "[]" else msgspec.json.decode(tags, type=list[str]),
        version,
        revision,
        content_hash,
        size,
        people.get(author),
        people.get(editor),
        rfc3339(created),
        rfc3339(updated),
        None if trashed is None else rfc3339(trashed),
        None if archived is None else rfc3339(archived),
        template is not None,
        favourite == 1,  # also True
        role,
        document_permissions(role, scopes),
        *more,
    )


def _people(db: Reader, me: Principal, rows: list[tuple[Any, ...]]) -> dict[str, Person]:
    """The authors and editors in rows of COLUMNS; nearly always the asker alone."""
    mine = me.user_id
    others = {one for row in rows for one in (row[13], row[14]) if one != mine}
    return persons(db, others, me) if others else {mine: me.person}


def persons(db: Reader, ids: Iterable[str], me: Principal) -> dict[str, Person]:
    """People by id; those whose account is gone are missing."""
    found = {me.user_id: me.person}
    for one in ids:
        if one not in found:
            row = db.first(Person, "SELECT id, display_name, avatar_url FROM users WHERE id = $1", one)
            if row is not None:
                found[one] = row
    return found


def _visible(me: Principal, found: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    if not found or (me.workspace_id is not None and me.workspace_id != found[0][1]):
        raise unknown()
    return found


def _numbers(values: list[str]) -> str:
    return ", ".join(f"${at}" for at in range(1, len(values) + 1))


def unknown() -> NotFound:
    """What strangers hear, and those who ask for what there is not."""
    return NotFound("There is no such document, or you cannot see it.")
