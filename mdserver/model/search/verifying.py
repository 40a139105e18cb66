"""Whether the index is what it should be: for `doctor`."""

from __future__ import annotations

from mdserver.store.db import Reader

from . import engines


def verify(db: Reader) -> list[str]:
    """What is wrong with the index, in sentences; empty when nothing is. `rebuild` mends all of it.

    May raise the database's own error when the index's structure is broken.
    """
    index = engines.of(db)
    found = index.check(db)
    unknown = db.value(
        int,
        "SELECT count(*) FROM documents d LEFT JOIN search_workspaces i ON i.workspace_id = d.workspace_id"
        " LEFT JOIN changes c ON c.workspace_id = d.workspace_id AND c.entity = 'document' AND c.entity_id = d.id"
        " WHERE COALESCE(c.seq, 0) <= COALESCE(i.seq, 0) AND NOT EXISTS (SELECT 1 FROM search_documents s"
        " WHERE s.document_id = d.id AND s.title = d.title AND s.content_hash = d.content_hash)",
    )
    if unknown:
        found.append(f"Documents that the search index lacks, or has with an older text: {unknown:,}.")
    entries = db.value(
        int,
        "SELECT (SELECT count(*) FROM search_documents s WHERE s.content_hash <> '' AND NOT EXISTS"
        " (SELECT 1 FROM search_parts p WHERE p.owner = s.n)) + (SELECT count(*) FROM search_parts)",
    )
    if entries != (there := index.size(db)):
        found.append(f"The search index has {there} entries where {entries} are noted.")
    return found
