"""The trash: a document goes with all below it, comes back as the same set, or is purged for ever."""

from __future__ import annotations

from mdserver import clock, text
from mdserver.errors import Conflict
from mdserver.model import changes
from mdserver.model.access import Actor, Principal
from mdserver.store.db import Reader, Tx

from .places import DEPTH, check_path, free_filename, last_position, parent_for
from .shape import Document, by_ids, find, require_live


def trash(tx: Tx, me: Principal, document: Document) -> Document:
    """Move a found document to the trash with everything below it."""
    require_live(document)
    key = _path_key(tx, document.id)
    now = clock.now()
    went = tx.rows(
        "UPDATE documents SET trashed_at = $1, trash_id = $2, revision = revision + 1, updated_at = $1, updated_by = $3"
        " WHERE workspace_id = $4 AND trashed_at IS NULL AND (path_key = $5 OR path_key >= $6 AND path_key < $7)"
        " RETURNING id, version",
        now,
        document.id,
        me.user_id,
        document.workspace_id,
        key,
        f"{key}/",
        f"{key}0",
    )
    _recorded(tx, me, document.workspace_id, went)
    return find(tx, me, document.id)


def restore(tx: Tx, me: Principal, document: Document) -> Document:
    """Bring a found document back with what went into the trash with it.

    It returns to its parent, or to the root when that is gone, and is numbered when its file name is taken by now.
    """
    if document.trashed_at is None:
        raise Conflict("The document is not in the trash.")
    key, trash_id = tx.rows("SELECT path_key, trash_id FROM documents WHERE id = $1", document.id)[0]
    parent_id = document.parent_id if _is_live(tx, document.parent_id, document.workspace_id) else None
    below, below_key = parent_for(tx, me, document.workspace_id, parent_id)
    filename = free_filename(tx, document.workspace_id, below_key, document.filename)
    path, path_key = below + filename, below_key + text.fold(filename)
    check_path(path_key)
    position = document.position
    if parent_id != document.parent_id:
        position = last_position(tx, document.workspace_id, parent_id or "")
    for (one,) in tx.rows(
        "SELECT path_key FROM documents WHERE workspace_id = $1 AND trash_id = $2 AND trashed_at IS NOT NULL"
        " AND path_key >= $3 AND path_key < $4",
        document.workspace_id,
        trash_id,
        f"{key}/",
        f"{key}0",
    ):
        check_path(path_key + one[len(key) :])
    tx.run(
        "UPDATE documents SET parent_id = $1, position = $2, filename = $3 WHERE id = $4",
        parent_id or "",
        position,
        filename,
        document.id,
    )
    back = tx.rows(
        "UPDATE documents SET trashed_at = NULL, trash_id = NULL, revision = revision + 1, updated_at = $1,"
        " updated_by = $2, path = $3 || substr(path, CAST($4 AS INTEGER)),"
        " path_key = $5 || substr(path_key, CAST($6 AS INTEGER))"
        " WHERE workspace_id = $7 AND trash_id = $8 AND trashed_at IS NOT NULL"
        " AND (id = $9 OR path_key >= $10 AND path_key < $11) RETURNING id, version",
        clock.now(),
        me.user_id,
        path,
        len(document.path) + 1,
        path_key,
        len(key) + 1,
        document.workspace_id,
        trash_id,
        document.id,
        f"{key}/",
        f"{key}0",
    )
    _recorded(tx, me, document.workspace_id, back)
    return find(tx, me, document.id)


def bring_back(tx: Tx, me: Principal, document: Document) -> Document:
    """Bring a found document back to its place, as somebody has written in it: folders and documents above it that lie
    in the trash come back alone, and what else went there with them stays, under trash sets of its own.
    """
    above: list[Document] = []
    parent_id = document.parent_id
    while parent_id is not None and len(above) < DEPTH:
        found = by_ids(tx, me, document.workspace_id, [parent_id], role=document.role)
        if not found or found[0].trashed_at is None:
            break
        above.append(found[0])
        parent_id = found[0].parent_id
    for one in reversed(above):
        _let_go(tx, one)
        restore(tx, me, one)
    if above:
        _let_go(tx, document, with_below=True)
    return restore(tx, me, document)


def _let_go(tx: Tx, document: Document, *, with_below: bool = False) -> None:
    """Make a document in the trash a set of its own, or with all below it; what it leaves behind become sets, too."""
    key, trash_id = tx.rows("SELECT path_key, trash_id FROM documents WHERE id = $1", document.id)[0]
    below = (
        "workspace_id = $1 AND trash_id = $2 AND trashed_at IS NOT NULL AND path_key >= $3 AND path_key < $4",
        document.workspace_id,
        trash_id,
        f"{key}/",
        f"{key}0",
    )
    if with_below:
        tx.run(f"UPDATE documents SET trash_id = $5 WHERE {below[0]}", *below[1:], document.id)
    else:
        for child, child_key in tx.rows(
            f"SELECT id, path_key FROM documents WHERE {below[0]} AND parent_id = $5", *below[1:], document.id
        ):
            tx.run(
                "UPDATE documents SET trash_id = $1 WHERE workspace_id = $2 AND trash_id = $3"
                " AND trashed_at IS NOT NULL AND (id = $1 OR path_key >= $4 AND path_key < $5)",
                child,
                document.workspace_id,
                trash_id,
                f"{child_key}/",
                f"{child_key}0",
            )
    tx.run("UPDATE documents SET trash_id = $1 WHERE id = $1", document.id)


def purge(tx: Tx, me: Actor, document: Document) -> int:
    """Delete a found document for ever, with what went into the trash below it; how many. Only from the trash."""
    if document.trashed_at is None:
        raise Conflict("Only what is in the trash can be purged: trash it first.")
    key, trash_id = tx.rows("SELECT path_key, trash_id FROM documents WHERE id = $1", document.id)[0]
    ids = tx.column(
        str,
        "SELECT id FROM documents WHERE workspace_id = $1 AND trash_id = $2 AND trashed_at IS NOT NULL"
        " AND (id = $3 OR path_key >= $4 AND path_key < $5)",
        document.workspace_id,
        trash_id,
        document.id,
        f"{key}/",
        f"{key}0",
    )
    return _erase(tx, me, document.workspace_id, ids)


def empty(tx: Tx, me: Actor, workspace_id: str, *, limit: int = 500) -> int:
    """Purge up to `limit` documents from the trash of a workspace that was entered; how many. 0: it is empty.

    What stands below goes first, so that a set which is purged in part can still be restored.
    """
    ids = tx.column(
        str,
        "SELECT id FROM documents WHERE workspace_id = $1 AND trashed_at IS NOT NULL ORDER BY trash_id, path_key DESC"
        " LIMIT $2",
        workspace_id,
        limit,
    )
    return _erase(tx, me, workspace_id, ids)


def purge_old(tx: Tx, me: Actor, *, kept: int, limit: int = 20) -> int:
    """Purge up to `limit` documents that were trashed `kept` ms ago; how many. 0: there are no more.

    Of one workspace at a time, the longest trashed first, and of a set what stands below.
    """
    rows = tx.rows(
        "SELECT id, workspace_id FROM documents WHERE trashed_at <= $1"
        f" ORDER BY trashed_at, workspace_id, trash_id, path_key DESC LIMIT {limit:d}",
        clock.now() - kept,
    )
    if not rows:
        return 0
    first = rows[0][1]
    return _erase(tx, me, first, [id for id, workspace_id in rows if workspace_id == first])


def _erase(tx: Tx, me: Actor, workspace_id: str, ids: list[str]) -> int:
    for one in ids:
        tx.run("DELETE FROM documents WHERE id = $1", one)
        changes.record(tx, me, workspace_id, "document", one, deleted=True)
        tx.announce("document", one)
    return len(ids)


def _recorded(tx: Tx, me: Actor, workspace_id: str, moved: list[tuple[str, int]]) -> None:
    for one, version in sorted(moved):
        changes.record(tx, me, workspace_id, "document", one, version=version)
        tx.announce("document", one)


def _path_key(db: Reader, document_id: str) -> str:
    return db.value(str, "SELECT path_key FROM documents WHERE id = $1", document_id) or ""


def _is_live(db: Reader, document_id: str | None, workspace_id: str) -> bool:
    return document_id is not None and bool(
        db.value(
            int,
            "SELECT 1 FROM documents WHERE id = $1 AND workspace_id = $2 AND trashed_at IS NULL",
            document_id,
            workspace_id,
        )
    )
