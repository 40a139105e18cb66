"""Making documents: from a title, a text, a template or a copy, each seeded with its first update."""

from __future__ import annotations

import msgspec

from mdserver import clock, failpoints, ids, links
from mdserver import text as words
from mdserver.crdt import forms
from mdserver.errors import Conflict, Invalid
from mdserver.model import backlinks, changes, log, texts, versions
from mdserver.model.access import Actor, Principal, Role, document_permissions
from mdserver.store.db import Tx

from .marks import index_tags
from .places import EXTENSIONS, candidates, check_path, last_position, parent_for
from .shape import Document, Kind

MAXIMUM_TITLE = 255


class Draft(msgspec.Struct):
    """A document's content made ready to be stored: hash, first update and links take time."""

    text: texts.Text
    update: bytes
    links: list[links.Link]


def draft(content: str, *, maximum_bytes: int, kind: str = "markdown") -> Draft:
    """Check and prepare a text; rich text in its normal form. Invalid for NUL and lone surrogates, TooLarge past the
    limit.
    """
    data: bytes | None = words.check_content(content, maximum_bytes=maximum_bytes)
    form = forms.of(kind)
    if not form.is_plain:
        content, data = form.normal(content), None
    return Draft(texts.named(content, data), form.first_update(content), links.links(content))


def create(
    tx: Tx,
    me: Principal,
    workspace_id: str,
    *,
    role: Role,
    title: str,
    kind: Kind,
    draft: Draft,
    parent_id: str | None = None,
    tags: list[str] | None = None,
    document_id: str | None = None,
    filename: str | None = None,
    reason: str = "create",
) -> Document:
    """A new document at the end of its siblings, in a workspace that was entered with `role`.

    Without a `filename` one is made from the title; a taken one is numbered. Conflict when the id was ever used.
    """
    made_id = document_id or ids.new()
    below, below_key = parent_for(tx, me, workspace_id, parent_id)
    wanted = filename or words.filename_for(title, extension=EXTENSIONS[kind])
    tags = tags or []
    now = clock.now()
    position = last_position(tx, workspace_id, parent_id or "")
    if document_id is not None and _was_used(tx, workspace_id, document_id):
        raise Conflict("A document with this id exists, or existed, already.")
    for name in candidates(tx, workspace_id, below_key, wanted):
        path_key = below_key + words.fold(name)
        check_path(path_key)
        added = tx.run(
            "INSERT INTO documents (id, workspace_id, parent_id, position, kind, title, filename, path, path_key, tags,"
            " version, revision, content_hash, content_seq, size, author_id, updated_by, created_at, updated_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1, 1, $11, 1, $12, $13, $13, $14, $14)"
            " ON CONFLICT (workspace_id, path_key) WHERE trashed_at IS NULL DO NOTHING",
            made_id,
            workspace_id,
            parent_id or "",
            position,
            kind,
            title,
            name,
            below + name,
            path_key,
            msgspec.json.encode(tags).decode(),
            draft.text.hash,
            draft.text.size,
            me.user_id,
            now,
        )
        if added:
            break
    else:
        raise Conflict(f"There is a {wanted!r} in this place already.")
    _seed(tx, me, made_id, workspace_id, title, draft, reason, now, has_text=kind != "folder")
    if tags:
        index_tags(tx, workspace_id, made_id, tags)
    changes.record(tx, me, workspace_id, "document", made_id, version=1)
    moment = clock.rfc3339(now)
    return Document(
        id=made_id,
        workspace_id=workspace_id,
        parent_id=parent_id or None,
        position=position,
        kind=kind,
        title=title,
        filename=name,
        path=below + name,
        tags=tags,
        version=1,
        revision=1,
        content_hash=draft.text.hash,
        size=draft.text.size,
        author=me.person,
        updated_by=me.person,
        created_at=moment,
        updated_at=moment,
        trashed_at=None,
        archived_at=None,
        template=False,
        favourite=False,
        role=role,
        permissions=document_permissions(role, me.scopes),
    )


def _seed(
    tx: Tx,
    actor: Actor,
    document_id: str,
    workspace_id: str,
    title: str,
    draft: Draft,
    reason: str,
    now: int,
    *,
    has_text: bool,
) -> None:
    """The first update, its projection and version 1: a document never starts without its one lineage."""
    if not has_text:
        return
    log.append(tx, actor, document_id, 1, draft.update, at=now)
    failpoints.hit("create-logged")
    tx.run("INSERT INTO document_texts (document_id, text) VALUES ($1, $2)", document_id, draft.text.content)
    versions.add(
        tx, document_id, 1, seq=1, title=title, text=draft.text, reason=reason, authors=[actor.user_id], at=now
    )
    if draft.links:
        backlinks.index(tx, workspace_id, document_id, draft.links, new=True)


def check_title(title: str, pointer: str = "/title") -> str:
    """A title as it is kept: one line, stripped, 1 to 255 characters."""
    return words.clean(title, pointer=pointer, maximum=MAXIMUM_TITLE, minimum=1)


def check_id(document_id: str | None) -> str | None:
    """An id that a client made offline. Invalid unless it is a UUIDv7."""
    if document_id is not None and not ids.is_id(document_id):
        raise Invalid("An id is a UUID of version 7 in lower case.", pointer="/id")
    return document_id


def _was_used(tx: Tx, workspace_id: str, document_id: str) -> bool:
    return bool(
        tx.value(int, "SELECT 1 FROM documents WHERE id = $1", document_id)
        or changes.is_known(tx, workspace_id, "document", document_id)
    )


def project(
    tx: Tx,
    actor: Actor,
    document_id: str,
    *,
    version: int,
    seq: int,
    text: texts.Text,
    before: texts.Packed | None,
    at: int,
) -> int:
    """Bring the projection from `version` up to the log's update `seq`, forward only; the new version's number.

    `before` is the present text if the history has to keep it.
    """
    moved = tx.run(
        "UPDATE documents SET version = $1, content_hash = $2, size = $3, content_seq = $4, updated_at = $5,"
        " updated_by = $6 WHERE id = $7 AND content_seq < $4",
        version + 1,
        text.hash,
        text.size,
        seq,
        at,
        actor.user_id,
        document_id,
    )
    if moved:
        if before is not None:
            texts.keep(tx, document_id, before)
        tx.run("UPDATE document_texts SET text = $1 WHERE document_id = $2", text.content, document_id)
    return version + 1


def catch_up(tx: Tx, document_id: str, *, seq: int) -> None:
    """Say that the projection is that of the log's update `seq`, which has left the text as it was."""
    tx.run("UPDATE documents SET content_seq = $1 WHERE id = $2 AND content_seq < $1", seq, document_id)
