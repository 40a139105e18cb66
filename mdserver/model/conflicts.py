"""Passages that two sides rewrote, kept until somebody settles them. The only writer of conflicts.

Both texts stand in the document, one behind the other: a record says where, and who should look.
"""

from __future__ import annotations

import msgspec

from mdserver import clock, ids
from mdserver.errors import NotFound
from mdserver.merge import Overlap
from mdserver.store.db import Reader, Tx
from mdserver.store.rows import Time

from .access import EDITOR, VIEWER, Actor, Person, Principal, Role, require
from .documents.shape import persons

MOST = 200
"""Overlaps that a record holds; of further ones it says nothing, but the text does."""

MOST_TEXT = 20_000
"""Code points that a record quotes, of all overlaps and both sides; of what is beyond it says only where it is."""


class Conflict(msgspec.Struct):
    """An edit that met another one. `start` and `end` of its overlaps are places in the document's `version`.

    `yours` in an overlap is what `author` wrote, `theirs` what stood there already. `path` is the document's by now.
    """

    id: str
    workspace_id: str
    document_id: str
    path: str
    version: int
    author: Person | None
    device: str
    overlaps: list[Overlap]
    created_at: Time


class _Row(msgspec.Struct):
    id: str
    workspace_id: str
    document_id: str
    path: str
    version: int
    author_id: str
    device: str
    passages: str
    created_at: Time
    role: Role


_SELECT = (
    "SELECT c.id, c.workspace_id, c.document_id, d.path, c.version, c.author_id, c.device, c.passages, c.created_at,"
    " m.role FROM conflicts c JOIN documents d ON d.id = c.document_id"
    " JOIN workspace_members m ON m.workspace_id = d.workspace_id AND m.user_id = $1"
)


def record(tx: Tx, me: Actor, *, workspace_id: str, document_id: str, version: int, overlaps: list[Overlap]) -> str:
    """Keep what an edit that was merged has met, in the transaction of the edit; → the record's id."""
    kept, left = [], MOST_TEXT
    for one in overlaps[:MOST]:
        yours, theirs = one.yours[: left // 2], one.theirs[: left // 2]
        kept.append(Overlap(one.start, one.end, yours, theirs))
        left -= len(yours) + len(theirs)
    made = ids.new()
    tx.run(
        "INSERT INTO conflicts (id, workspace_id, document_id, version, author_id, device, passages, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        made,
        workspace_id,
        document_id,
        version,
        me.user_id,
        me.device,
        msgspec.json.encode(kept).decode(),
        clock.now(),
    )
    return made


def page(
    db: Reader, me: Principal, *, workspace_id: str = "", document_id: str = "", after: str, limit: int
) -> list[Conflict]:
    """Records that the asker can see, `limit` of them after the id `after`, the oldest first."""
    rows = db.all(
        _Row,
        f"{_SELECT} WHERE c.id > $2 AND ($3 = '' OR c.workspace_id = $3) AND ($4 = '' OR c.workspace_id = $4)"
        f" AND ($5 = '' OR c.document_id = $5) ORDER BY c.id LIMIT {limit:d}",
        me.user_id,
        after,
        me.readable_workspace,
        workspace_id,
        document_id,
    )
    people = persons(db, {one.author_id for one in rows}, me)
    return [_seen(one, people) for one in rows]


def find(db: Reader, me: Principal, id: str, *, need: Role = VIEWER) -> Conflict:
    """One record. NotFound for strangers and once it is settled, Forbidden for too low a role."""
    row = db.first(_Row, f"{_SELECT} WHERE c.id = $2", me.user_id, id)
    if row is None or me.workspace_id not in (None, row.workspace_id):
        raise NotFound("There is no such conflict, or it is settled, or you cannot see it.")
    require(row.role, need)
    return _seen(row, persons(db, {row.author_id}, me))


def settle(tx: Tx, me: Principal, id: str) -> None:
    """Say that somebody has looked at it: the record goes. As `find` for editors."""
    find(tx, me, id, need=EDITOR)
    tx.run("DELETE FROM conflicts WHERE id = $1", id)


def _seen(row: _Row, people: dict[str, Person]) -> Conflict:
    return Conflict(
        id=row.id,
        workspace_id=row.workspace_id,
        document_id=row.document_id,
        path=row.path,
        version=row.version,
        author=people.get(row.author_id),
        device=row.device,
        overlaps=msgspec.json.decode(row.passages, type=list[Overlap]),
        created_at=row.created_at,
    )
