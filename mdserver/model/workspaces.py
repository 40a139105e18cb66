"""Workspaces. The only writer of workspaces."""

from __future__ import annotations

from typing import cast

import msgspec

from mdserver import clock, ids
from mdserver.errors import Conflict, NotFound
from mdserver.store.db import Reader, Tx
from mdserver.store.rows import Time

from . import changes
from .access import VIEWER, Actor, Principal, Role, require, workspace_permissions

MAXIMUM_NAME = 200


class Workspace(msgspec.Struct, kw_only=True):
    """A workspace as one of its members sees it. `storage_bytes` is UTF-8 bytes of its documents' present texts."""

    id: str
    name: str
    role: Role
    permissions: list[str] = []
    member_count: int
    document_count: int
    storage_bytes: int
    created_at: Time
    updated_at: Time


_SELECT = (
    "SELECT w.id, w.name, m.role, w.created_at, w.updated_at,"
    " (SELECT count(*) FROM workspace_members o WHERE o.workspace_id = w.id) AS member_count,"
    " (SELECT count(*) FROM documents d WHERE d.workspace_id = w.id AND d.trashed_at IS NULL) AS document_count,"
    " (SELECT CAST(COALESCE(sum(d.size), 0) AS BIGINT) FROM documents d WHERE d.workspace_id = w.id) AS storage_bytes"
    " FROM workspaces w JOIN workspace_members m ON m.workspace_id = w.id AND m.user_id = $1"
)


def role_of(db: Reader, me: Principal, workspace_id: str) -> Role:
    """The asker's role there. NotFound for strangers, and for tokens of another workspace."""
    if me.workspace_id is not None and me.workspace_id != workspace_id:
        raise _unknown()
    role = db.value(
        str, "SELECT role FROM workspace_members WHERE workspace_id = $1 AND user_id = $2", workspace_id, me.user_id
    )
    if role is None:
        raise _unknown()
    return cast(Role, role)  # the table's CHECK lists the roles


def enter(db: Reader, me: Principal, workspace_id: str, *, need: Role = VIEWER) -> Role:
    """The asker's role in a workspace that they may use so: the shortest form of finding it."""
    role = role_of(db, me, workspace_id)
    require(role, need)
    return role


def find(db: Reader, me: Principal, workspace_id: str, *, need: Role = VIEWER) -> Workspace:
    """The workspace, if the asker's role is high enough. NotFound for strangers, Forbidden for too low a role."""
    enter(db, me, workspace_id, need=need)
    found = db.first(Workspace, f"{_SELECT} WHERE w.id = $2", me.user_id, workspace_id)
    if found is None:
        raise _unknown()
    return _seen(found, me)


def mine(db: Reader, me: Principal, *, after: str, limit: int) -> list[Workspace]:
    """The asker's workspaces in order of id (the oldest first), `limit` of them after the id `after`."""
    found = db.all(
        Workspace,
        f"{_SELECT} WHERE w.id > $2 AND (CAST($3 AS TEXT) = '' OR w.id = $3) ORDER BY w.id LIMIT $4",
        me.user_id,
        after,
        me.readable_workspace,
        limit,
    )
    return [_seen(one, me) for one in found]


def create(tx: Tx, actor: Actor, *, name: str, workspace_id: str | None = None) -> str:
    """A new workspace, owned by the actor; its id. Conflict when the id is taken."""
    from . import members  # members.py stands on this file

    made, now = workspace_id or ids.new(), clock.now()
    added = tx.run(
        "INSERT INTO workspaces (id, name, created_at, updated_at) VALUES ($1, $2, $3, $3) ON CONFLICT (id) DO NOTHING",
        made,
        name,
        now,
    )
    if not added:
        raise Conflict("A workspace with this id exists already.")
    changes.record(tx, actor, made, "workspace", made)
    members.add_first_owner(tx, actor, made)
    return made


def rename(tx: Tx, me: Actor, workspace: Workspace, *, name: str) -> None:
    """Give a found workspace another name."""
    tx.run("UPDATE workspaces SET name = $1, updated_at = $2 WHERE id = $3", name, clock.now(), workspace.id)
    changes.record(tx, me, workspace.id, "workspace", workspace.id)


def delete(tx: Tx, me: Actor, workspace: Workspace) -> None:
    """Delete a found workspace with everything in it, for ever."""
    erase(tx, me, workspace.id)


def erase(tx: Tx, me: Actor, workspace_id: str) -> None:
    """Delete a workspace that the caller answers for (an operator, or its last member leaving the server)."""
    changes.record(tx, me, workspace_id, "workspace", workspace_id, deleted=True)
    for one in tx.column(str, "SELECT user_id FROM workspace_members WHERE workspace_id = $1", workspace_id):
        tx.announce("member", f"{workspace_id} {one}")
    tx.run("DELETE FROM workspaces WHERE id = $1", workspace_id)


def _seen(workspace: Workspace, me: Principal) -> Workspace:
    workspace.permissions = workspace_permissions(workspace.role, me.scopes)
    return workspace


def _unknown() -> NotFound:
    return NotFound("There is no such workspace, or you cannot see it.")
