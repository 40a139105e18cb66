"""Which document links to which: raw targets, resolved when asked. The only writer of document_links."""

from __future__ import annotations

import posixpath

from mdserver import links
from mdserver.store.db import Reader, Tx

from .access import Principal, Role
from .documents.shape import LISTED, Document, listed

MOST = 1_000


def index(tx: Tx, workspace_id: str, document_id: str, found: list[links.Link], *, new: bool) -> None:
    """Replace what is known of the document's links. `new`: nothing is known yet."""
    if not new:
        tx.run("DELETE FROM document_links WHERE document_id = $1", document_id)
    for one in found:
        tx.run(
            "INSERT INTO document_links (document_id, workspace_id, target_key, kind, target)"
            " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (document_id, kind, target) DO NOTHING",
            document_id,
            workspace_id,
            one.key,
            one.kind,
            one.target,
        )


def of(db: Reader, me: Principal, document: Document, *, role: Role) -> list[Document]:
    """The live documents of the workspace whose text links to this one, by title, path or id; at most 1,000.

    Targets are kept as written and resolved here, so moving either document needs no rewriting.
    """
    keys = {document.id, links.key_of(document.filename), links.key_of(document.title)}
    hits: list[str] = []
    for key in sorted(keys):
        for source_id, kind, target, source_path in db.rows(
            "SELECT l.document_id, l.kind, l.target, d.path FROM document_links l"
            " JOIN documents d ON d.id = l.document_id AND d.trashed_at IS NULL"
            " WHERE l.workspace_id = $1 AND l.target_key = $2 AND l.document_id <> $3 LIMIT 5000",
            document.workspace_id,
            key,
            document.id,
        ):
            link = links.Link(kind=kind, target=target, key=key)
            if source_id not in hits and links.resolves(
                link,
                source_folder=posixpath.dirname(source_path),
                path=document.path,
                title=document.title,
                id=document.id,
            ):
                hits.append(source_id)
    found: list[Document] = []
    for one in hits[:MOST]:
        found += listed(db, me, role, db.rows(f"{LISTED} AND d.id = $2", document.workspace_id, one))
    return sorted(found, key=lambda one: one.path)
