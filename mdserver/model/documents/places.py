"""Where documents stand: file names, paths, order among siblings, moving without loops.

`path_key` is the path under text.fold. Among documents that are not in the trash it is unique in the workspace, and the
range from `key/` to `key0` (the character after `/`) is exactly what lies below.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from mdserver import clock, failpoints, ids, order, text
from mdserver.errors import Conflict, Invalid
from mdserver.model import changes
from mdserver.model.access import Actor, Principal
from mdserver.store.db import Reader, Tx

from .shape import LISTED, Document, find, listed, require_live

DEPTH = 100
PATH_KEY_BYTES = 2_400  # PostgreSQL's B-tree takes keys of about 2,700 bytes
EXTENSIONS = {"markdown": ".md", "richtext": ".md", "mindmap": ".md", "folder": ""}
LONGEST_POSITION = 100
MOST_DIGITS = 6
_NUMBER = re.compile(rf"([0-9]{{1,{MOST_DIGITS}}})\)")


def parent_for(db: Reader, me: Principal, workspace_id: str, parent_id: str | None) -> tuple[str, str]:
    """(path, path_key) with a trailing slash of the place below this parent, or two empty texts for the root.

    Invalid when the parent is not a live document of the same workspace.
    """
    if not parent_id:
        return "", ""
    found = (
        db.rows("SELECT workspace_id, path, path_key, trashed_at FROM documents WHERE id = $1", parent_id)
        if ids.is_id(parent_id)
        else []
    )
    if not found or found[0][0] != workspace_id:
        raise Invalid("The parent is not a document of this workspace.", pointer="/parent_id")
    _, path, key, trashed_at = found[0]
    if trashed_at is not None:
        raise Conflict("The parent is in the trash: restore it first.")
    return f"{path}/", f"{key}/"


def check_path(path_key: str) -> None:
    """Invalid when the place is too deep or its path too long."""
    if path_key.count("/") >= DEPTH:
        raise Invalid(f"Documents can stand {DEPTH} deep at most.", pointer="/parent_id")
    if len(path_key.encode()) > PATH_KEY_BYTES:
        raise Invalid(f"The path may have {PATH_KEY_BYTES} bytes at most.", pointer="/parent_id")


def candidates(db: Reader, workspace_id: str, below_key: str, filename: str) -> Iterator[str]:
    """File names to try in this place, best first: the wanted one, then free numbered ones."""
    yield filename
    yield from _numbered(db, workspace_id, below_key, filename)


def _numbered(db: Reader, workspace_id: str, below_key: str, filename: str) -> list[str]:
    """Numbered file names that are free in this place, the lowest first."""
    numbers: dict[str, set[int]] = {}
    for width in range(1, MOST_DIGITS + 1):
        # Names of as many digits begin alike; a long name is cut shorter for each further digit.
        smallest = max(2, 10 ** (width - 1))
        stem = below_key + text.fold(text.numbered(filename, smallest)).rpartition(" (")[0] + " ("
        if stem not in numbers:
            numbers[stem] = _numbers(db, workspace_id, stem)
        free = (n for n in range(smallest, 10**width) if n not in numbers[stem])
        if found := list(itertools.islice(free, 5)):
            return [text.numbered(filename, n) for n in found]
    raise Conflict(f"There are too many documents of the name {filename!r} in this place.")


def _numbers(db: Reader, workspace_id: str, stem: str) -> set[int]:
    """The numbers that follow this beginning of a path: the range "plan (" to "plan )" holds every "plan (2).md"."""
    found = db.column(
        str,
        "SELECT DISTINCT substr(path_key, CAST($4 AS INTEGER), CAST($5 AS INTEGER)) FROM documents"
        " WHERE workspace_id = $1 AND path_key >= $2 AND path_key < $3 AND trashed_at IS NULL",
        workspace_id,
        stem,
        f"{stem[:-1]})",
        len(stem) + 1,
        MOST_DIGITS + 1,
    )
    return {int(matched[1]) for one in found if (matched := _NUMBER.match(one))}


def free_filename(db: Reader, workspace_id: str, below_key: str, filename: str) -> str:
    """The wanted file name, or the first numbered one that is free in this place."""
    taken = db.value(
        int,
        "SELECT 1 FROM documents WHERE workspace_id = $1 AND path_key = $2 AND trashed_at IS NULL",
        workspace_id,
        below_key + text.fold(filename),
    )
    return _numbered(db, workspace_id, below_key, filename)[0] if taken else filename


def last_position(db: Reader, workspace_id: str, parent_id: str) -> str:
    """A position after every sibling, those in the trash included."""
    last = db.value(
        str,
        "SELECT max(position) FROM documents WHERE workspace_id = $1 AND parent_id = $2",
        workspace_id,
        parent_id,
    )
    return order.between(last, None)


def position_beside(
    tx: Tx,
    me: Actor,
    workspace_id: str,
    parent_id: str,
    document_id: str,
    *,
    before: str | None,
    after: str | None,
) -> str:
    """A position just before or just after a named sibling, or the last one. Invalid when it is no sibling there."""
    anchor = before or after
    if anchor is None:
        return last_position(tx, workspace_id, parent_id)
    pointer = "/before" if before else "/after"
    if anchor == document_id:
        raise Invalid("A document cannot stand beside itself.", pointer=pointer)
    for attempt in (1, 2):
        siblings = tx.rows(
            "SELECT id, position FROM documents WHERE workspace_id = $1 AND parent_id = $2 AND id <> $3"
            " ORDER BY position, id",
            workspace_id,
            parent_id,
            document_id,
        )
        at = next((index for index, one in enumerate(siblings) if one[0] == anchor), None)
        if at is None:
            raise Invalid("This is not a sibling in that place.", pointer=pointer)
        if after:
            at += 1
        low = siblings[at - 1][1] if at else None
        high = siblings[at][1] if at < len(siblings) else None
        if low is None or high is None or low < high:
            made = order.between(low, high)
            if len(made) <= LONGEST_POSITION:
                return made
        if attempt == 1:  # two share a position, or it grows too long: space all of them out anew, in their order
            _space_out(tx, me, workspace_id, [one[0] for one in siblings])
    raise AssertionError("siblings keep equal or long positions")


def _space_out(tx: Tx, me: Actor, workspace_id: str, ids: list[str]) -> None:
    position: str | None = None
    for one in ids:
        position = order.between(position, None)
        version = tx.value(
            int,
            "UPDATE documents SET position = $1, revision = revision + 1 WHERE id = $2 RETURNING version",
            position,
            one,
        )
        changes.record(tx, me, workspace_id, "document", one, version=version or 0)


def move(
    tx: Tx,
    me: Principal,
    document: Document,
    *,
    parent_id: str | None,
    before: str | None = None,
    after: str | None = None,
    filename: str | None = None,
) -> Document:
    """Put a found document, with all below it, into another place. Conflict for a loop.

    A `filename` that is given must be free there (Conflict); else it keeps its own, numbered if that is taken.
    """
    require_live(document)
    target = parent_id or ""
    below, below_key = parent_for(tx, me, document.workspace_id, parent_id)
    key = _path_key(tx, document.id)
    if target == document.id or below_key.startswith(f"{key}/"):
        raise Conflict("A document cannot be moved below itself.")
    position = position_beside(tx, me, document.workspace_id, target, document.id, before=before, after=after)
    if filename is not None:
        _require_free(tx, document, below_key, filename)
    else:
        filename = document.filename
        if target != (document.parent_id or ""):
            filename = free_filename(tx, document.workspace_id, below_key, filename)
    tx.run(
        "UPDATE documents SET parent_id = $1, position = $2 WHERE id = $3",
        target,
        position,
        document.id,
    )
    failpoints.hit("move-begun")
    settle(tx, document, key, below=below, below_key=below_key, filename=filename)
    touch(tx, me, document.id)
    changes.record(tx, me, document.workspace_id, "document", document.id, version=document.version)
    return find(tx, me, document.id)


def rename_file(tx: Tx, me: Principal, document: Document, filename: str) -> Document:
    """Give a found document another file name in its place. Conflict when a sibling bears it."""
    require_live(document)
    text.check_filename(filename)
    key = _path_key(tx, document.id)
    below, below_key = parent_for(tx, me, document.workspace_id, document.parent_id)
    _require_free(tx, document, below_key, filename)
    settle(tx, document, key, below=below, below_key=below_key, filename=filename)
    touch(tx, me, document.id)
    changes.record(tx, me, document.workspace_id, "document", document.id, version=document.version)
    return find(tx, me, document.id)


def has_children(db: Reader, document: Document) -> bool:
    """Whether live documents stand below a found one."""
    return bool(
        db.rows(
            "SELECT 1 FROM documents WHERE workspace_id = $1 AND parent_id = $2 AND trashed_at IS NULL LIMIT 1",
            document.workspace_id,
            document.id,
        )
    )


def _require_free(db: Reader, document: Document, below_key: str, filename: str) -> None:
    taken = db.value(
        str,
        "SELECT id FROM documents WHERE workspace_id = $1 AND path_key = $2 AND trashed_at IS NULL",
        document.workspace_id,
        below_key + text.fold(filename),
    )
    if taken not in (None, document.id):
        raise Conflict(f"There is a {filename!r} in this place already.")


def settle(tx: Tx, document: Document, key: str, *, below: str, below_key: str, filename: str) -> None:
    """Write the document's path, and those of everything that stands below its old key `key`."""
    path, path_key = below + filename, below_key + text.fold(filename)
    check_path(path_key)
    if path == document.path:
        return
    _settle_below(tx, document, key, path=path, path_key=path_key)
    tx.run(
        "UPDATE documents SET filename = $1, path = $2, path_key = $3 WHERE id = $4",
        filename,
        path,
        path_key,
        document.id,
    )


def _settle_below(tx: Tx, document: Document, key: str, *, path: str, path_key: str) -> None:
    keys = tx.rows(
        "SELECT path_key FROM documents WHERE workspace_id = $1 AND path_key >= $2 AND path_key < $3"
        " AND trashed_at IS NULL",
        document.workspace_id,
        f"{key}/",
        f"{key}0",
    )
    for (one,) in keys:
        check_path(path_key + one[len(key) :])
    if path_key == key:  # only the spelling changes: the keys stay
        tx.run(
            "UPDATE documents SET path = $1 || substr(path, CAST($2 AS INTEGER)), revision = revision + 1"
            " WHERE workspace_id = $3 AND path_key >= $4 AND path_key < $5 AND trashed_at IS NULL",
            path,
            len(document.path) + 1,
            document.workspace_id,
            f"{key}/",
            f"{key}0",
        )
        return
    tx.run(
        "UPDATE documents SET path = $1 || substr(path, CAST($2 AS INTEGER)),"
        " path_key = $3 || substr(path_key, CAST($4 AS INTEGER)),"
        " revision = revision + 1"
        " WHERE workspace_id = $5 AND path_key >= $6 AND path_key < $7 AND trashed_at IS NULL",
        path,
        len(document.path) + 1,
        path_key,
        len(key) + 1,
        document.workspace_id,
        f"{key}/",
        f"{key}0",
    )


def subtree(db: Reader, me: Principal, document: Document, *, limit: int) -> list[Document]:
    """The live documents below a found one, parents before their children, siblings in order."""
    key = _path_key(db, document.id)
    rows = db.rows(
        f"{LISTED} AND d.path_key >= $2 AND d.path_key < $3 AND d.trashed_at IS NULL LIMIT {limit:d}",
        document.workspace_id,
        f"{key}/",
        f"{key}0",
    )
    found = listed(db, me, document.role, rows)
    return sorted(found, key=lambda one: (one.path.count("/"), one.position, one.id))


def touch(tx: Tx, me: Principal, document_id: str) -> None:
    """Count a change of what members share besides the content."""
    tx.run(
        "UPDATE documents SET revision = revision + 1, updated_at = $1, updated_by = $2 WHERE id = $3",
        clock.now(),
        me.user_id,
        document_id,
    )


def _path_key(db: Reader, document_id: str) -> str:
    return db.value(str, "SELECT path_key FROM documents WHERE id = $1", document_id) or ""
