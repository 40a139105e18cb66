"""Who may open a document for live editing, and what they may do there."""

from __future__ import annotations

from mdserver import ids
from mdserver.crdt.forms import SCHEMA
from mdserver.errors import SignedOut
from mdserver.model import documents, sessions, tokens
from mdserver.model.access import EDITOR, Principal, at_least
from mdserver.store.db import Reader


def judged(db: Reader, me: Principal, document_id: str, *, schema: str | None) -> tuple[Principal, bool]:
    """Who somebody is by now, and whether they may only read a document live.

    So may an editor of rich text that announces another schema than ours: it would delete what it does not know.
    SignedOut when their session or token has ended; NotFound, Forbidden, Conflict when they may not even read it.
    """
    if not ids.is_id(document_id):
        raise documents.unknown()
    now = (tokens if me.kind == "token" else sessions).still(db, me.credential_id)
    if now is None:
        raise SignedOut
    document = documents.find(db, now, document_id)
    documents.require_text(document)
    documents.require_live(document)
    is_strange = schema not in (None, SCHEMA) and document.kind == "richtext"
    return now, is_strange or not (at_least(document.role, EDITOR) and "write" in now.scopes)
