"""Copies: a document, alone or with all below it, made anew with its own lineage."""

from __future__ import annotations

from typing import cast

import msgspec

from mdserver.crdt import text as crdt
from mdserver.errors import Conflict
from mdserver.model import log
from mdserver.model.access import Principal, Role
from mdserver.store.db import Reader, Tx

from .making import Draft, create, draft
from .places import subtree
from .shape import Document, Kind, present_text, require_live

MOST = 1_000
MOST_BYTES = 64 << 20
"""Of all texts together: they are written in one unit of work, and other writers wait for it."""


class Source(msgspec.Struct):
    """What is copied: the document first, then what stands below it, parents before children; and their texts."""

    documents: list[Document]
    contents: list[str]
    states: dict[str, bytes]
    """Whole Yjs states by id, of those whose Markdown does not say all."""


def source(db: Reader, me: Principal, document: Document, *, children: bool) -> Source:
    """Read a found document, with what stands below it if asked. Conflict past 1,000 documents or 64 MiB."""
    require_live(document)
    found = [document, *(subtree(db, me, document, limit=MOST + 1) if children else [])]
    if len(found) > MOST:
        raise Conflict(f"At most {MOST} documents are copied at once; there are more below this one.")
    if sum(one.size for one in found) > max(MOST_BYTES, document.size):
        raise Conflict(f"At most {MOST_BYTES >> 20} MiB of text are copied at once: copy parts of it.")
    contents = [present_text(db, one.id) for one in found]
    states = {one.id: crdt.state(log.load(db, one.id).replayed()) for one in found if one.kind == "richtext"}
    return Source(found, contents, states)


def drafts(source: Source, *, maximum_bytes: int) -> list[Draft]:
    """Prepare the texts; off the event loop."""
    made = []
    for document, content in zip(source.documents, source.contents, strict=True):
        prepared = draft(content, maximum_bytes=maximum_bytes)
        if document.id in source.states:
            prepared.update = source.states[document.id]
        made.append(prepared)
    return made


def copy(
    tx: Tx,
    me: Principal,
    workspace_id: str,
    source: Source,
    drafts: list[Draft],
    *,
    role: Role,
    parent_id: str | None,
    title: str | None,
) -> Document:
    """Make the copies in a workspace that was entered with `role`; the copy of the first document."""
    made: dict[str, Document] = {}
    for original, prepared in zip(source.documents, drafts, strict=True):
        first = not made
        made[original.id] = create(
            tx,
            me,
            workspace_id,
            role=role,
            title=title if first and title else original.title,
            kind=cast(Kind, original.kind),
            draft=prepared,
            parent_id=parent_id if first else made[original.parent_id or ""].id,
            tags=original.tags,
            filename=None if first and title else original.filename,
            reason="copy",
        )
    return made[source.documents[0].id]
