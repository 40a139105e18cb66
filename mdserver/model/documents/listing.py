"""Lists of documents: filtered and sorted pages by keyset, and the tree. A page names states; `by_ids` shows them."""

from __future__ import annotations

from typing import Literal

import msgspec

from mdserver import text
from mdserver.model.access import Principal
from mdserver.store.db import Reader, Value

from .shape import State, TreeItem

Sort = Literal["-updated_at", "updated_at", "path", "position"]

# sort → (the key's columns, their direction)
_ORDERS: dict[Sort, tuple[tuple[str, str], str]] = {
    "-updated_at": (("d.updated_at", "d.id"), "DESC"),
    "updated_at": (("d.updated_at", "d.id"), "ASC"),
    "path": (("d.path_key", "d.id"), "ASC"),
    "position": (("d.position", "d.id"), "ASC"),
}


class Filter(msgspec.Struct, kw_only=True):
    """Which documents: None asks for nothing. `parent_id` "" is the root; `since` is in ms."""

    parent_id: str | None = None
    tag: str | None = None
    kind: str | None = None
    author_id: str | None = None
    since: int | None = None
    trashed: bool = False
    archived: bool | None = None
    template: bool | None = None
    favourite: bool | None = None


def page(
    db: Reader,
    me: Principal,
    workspace_id: str,
    *,
    only: Filter,
    sort: Sort,
    after: tuple[str | int, str] | None,
    limit: int,
) -> tuple[list[State], tuple[str | int, str] | None]:
    """A page of a workspace that was entered, and the key after which the next one begins (None: this is the last)."""
    values: list[Value] = [workspace_id]

    def number(value: Value) -> str:
        values.append(value)
        return f"${len(values)}"

    where = [f"d.trashed_at IS {'NOT ' if only.trashed else ''}NULL"]
    if only.parent_id is not None:
        where.append(f"d.parent_id = {number(only.parent_id)}")
    if only.kind is not None:
        where.append(f"d.kind = {number(only.kind)}")
    if only.author_id is not None:
        where.append(f"d.author_id = {number(only.author_id)}")
    if only.since is not None:
        where.append(f"d.updated_at >= {number(only.since)}")
    if only.archived is not None:
        where.append(f"d.archived_at IS {'NOT ' if only.archived else ''}NULL")
    if only.template is not None:
        where.append(f"d.template_at IS {'NOT ' if only.template else ''}NULL")
    if only.favourite is not None:
        where.append(
            f"{'' if only.favourite else 'NOT '}EXISTS"
            f" (SELECT 1 FROM favourites v WHERE v.user_id = {number(me.user_id)} AND v.document_id = d.id)"
        )
    if only.tag is not None:
        where.append(
            "EXISTS (SELECT 1 FROM document_tags g WHERE g.workspace_id = d.workspace_id AND g.document_id = d.id"
            f" AND g.tag_key = {number(text.fold(only.tag))})"
        )
    (key, tie), direction = _ORDERS[sort]
    if after is not None:
        sign = "<" if direction == "DESC" else ">"
        where.append(f"({key}, {tie}) {sign} ({number(after[0])}, {number(after[1])})")
    sql = (
        f"SELECT d.id, d.version, d.revision, {key} FROM documents d"
        f" WHERE d.workspace_id = $1 AND {' AND '.join(where)}"
        f" ORDER BY {key} {direction}, {tie} {direction} LIMIT {limit + 1:d}"  # bound, it is prepared anew each time
    )
    rows = db.rows(sql, *values)
    following = (rows[limit - 1][3], rows[limit - 1][0]) if len(rows) > limit else None
    return [State(*one[:3]) for one in rows[:limit]], following


def tree(
    db: Reader, workspace_id: str, *, parent_id: str | None, after: tuple[str, str, str] | None, limit: int
) -> tuple[list[TreeItem], tuple[str, str, str] | None]:
    """Live documents of a workspace that was entered, siblings together in their order; and the next page's key.

    `parent_id` None asks for the whole tree, "" for the top level.
    """
    start = after or ("", "", "")
    rows = db.rows(
        "SELECT d.id, d.parent_id, d.position, d.kind, d.title, d.filename, CASE WHEN EXISTS"
        " (SELECT 1 FROM documents c WHERE c.workspace_id = d.workspace_id AND c.parent_id = d.id"
        "  AND c.trashed_at IS NULL) THEN 1 ELSE 0 END, d.archived_at"
        " FROM documents d WHERE d.workspace_id = $1 AND d.trashed_at IS NULL"
        " AND (d.parent_id, d.position, d.id) > ($2, $3, $4) AND (CAST($5 AS TEXT) IS NULL OR d.parent_id = $5)"
        f" ORDER BY d.parent_id, d.position, d.id LIMIT {limit + 1:d}",
        workspace_id,
        *start,
        parent_id,
    )
    items = [
        TreeItem(
            id=one[0],
            parent_id=one[1] or None,
            position=one[2],
            kind=one[3],
            title=one[4],
            filename=one[5],
            has_children=one[6] == 1,
            archived=one[7] is not None,
        )
        for one in rows[:limit]
    ]
    last = rows[limit - 1] if len(rows) > limit else None
    return items, (last[1], last[2], last[0]) if last else None
