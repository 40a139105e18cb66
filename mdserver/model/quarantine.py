"""What has brought a server down, and is kept from doing it again: documents, and single updates.

The only writer of quarantined_documents and refused_updates.
"""

from __future__ import annotations

from mdserver import clock
from mdserver.errors import Conflict
from mdserver.store.db import Reader, Tx

from . import audit
from .audit import Origin

MOST_REFUSED = 10_000
"""Updates that are remembered; the oldest are forgotten."""

SERVER = Origin(address="", request_id="", device="mdserver")


def check(db: Reader, document_id: str) -> None:
    """Conflict when the document must not be loaded."""
    if db.rows("SELECT 1 FROM quarantined_documents WHERE document_id = $1", document_id):
        raise Conflict(
            "This document has made the server fail, and is closed until it can be read without harm.",
            slug="quarantined",
        )


def close(tx: Tx, document_id: str, why: str) -> None:
    """Keep a document from being loaded. Nothing happens when it is gone."""
    workspace_id = tx.value(str, "SELECT workspace_id FROM documents WHERE id = $1", document_id)
    if workspace_id is None:
        return
    tx.run(
        "INSERT INTO quarantined_documents (document_id, at, why) VALUES ($1, $2, $3)"
        " ON CONFLICT (document_id) DO UPDATE SET why = excluded.why",
        document_id,
        clock.now(),
        why,
    )
    audit.record(tx, SERVER, "document.quarantine", actor_id=None, obj=document_id, workspace_id=workspace_id, why=why)


def release(tx: Tx, document_id: str) -> None:
    """Let a document be loaded again."""
    if tx.run("DELETE FROM quarantined_documents WHERE document_id = $1", document_id):
        audit.record(tx, SERVER, "document.release", actor_id=None, obj=document_id)


def closed(db: Reader) -> list[str]:
    """The documents that must not be loaded."""
    return db.column(str, "SELECT document_id FROM quarantined_documents ORDER BY document_id")


def refuse(tx: Tx, document_id: str, update_hash: bytes) -> None:
    """Remember an update that must not be taken in again."""
    tx.run(
        "INSERT INTO refused_updates (hash, document_id, at) VALUES ($1, $2, $3) ON CONFLICT (hash) DO NOTHING",
        update_hash,
        document_id,
        clock.now(),
    )
    tx.run(
        "DELETE FROM refused_updates WHERE hash IN"
        f" (SELECT hash FROM refused_updates ORDER BY at DESC LIMIT 1000 OFFSET {MOST_REFUSED:d})"
    )
    audit.record(tx, SERVER, "update.refuse", actor_id=None, obj=document_id)


def refused(db: Reader) -> set[bytes]:
    """The hashes of the updates that must not be taken in."""
    return {bytes(one) for one in db.column(bytes, "SELECT hash FROM refused_updates")}
