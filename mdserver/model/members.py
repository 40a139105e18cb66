"""Who belongs to a workspace, in which role. The only writer of workspace_members."""

from __future__ import annotations

from typing import NamedTuple, cast

import msgspec

from mdserver import clock
from mdserver.errors import Conflict, Forbidden, NotFound
from mdserver.store.db import Reader, Tx
from mdserver.store.rows import Time

from . import changes
from .access import OWNER, RANK, Actor, Person, Principal, Role
from .workspaces import Workspace, enter


class Member(msgspec.Struct):
    """Somebody's place in a workspace."""

    user: Person
    role: Role
    joined_at: Time


_SELECT = (
    'SELECT u.id AS "user.id", u.display_name AS "user.display_name", u.avatar_url AS "user.avatar_url",'
    " m.role, m.joined_at FROM workspace_members m JOIN users u ON u.id = m.user_id"
)


def find(db: Reader, workspace_id: str, user_id: str) -> Member:
    """The member. NotFound when the account does not belong to the workspace."""
    found = maybe(db, workspace_id, user_id)
    if found is None:
        raise NotFound("This person is not a member of the workspace.")
    return found


def maybe(db: Reader, workspace_id: str, user_id: str) -> Member | None:
    """The member, or None."""
    return db.first(Member, f"{_SELECT} WHERE m.workspace_id = $1 AND m.user_id = $2", workspace_id, user_id)


class Grant(NamedTuple):
    """A membership as sync looks at it: `granted` is the position at which it began, `head` the log's newest."""

    workspace_id: str
    role: Role
    granted: int
    head: int


def grants(db: Reader, me: Principal, *, only: str | None = None) -> list[Grant]:
    """The asker's memberships (or the one in the workspace `only`) in order of the workspaces' ids."""
    return [
        Grant(*one)
        for one in db.rows(
            "SELECT m.workspace_id, m.role, m.granted_seq,"
            " COALESCE((SELECT max(c.seq) FROM changes c WHERE c.workspace_id = m.workspace_id), 0)"
            " FROM workspace_members m WHERE m.user_id = $1 AND ($2 = '' OR m.workspace_id = $2)"
            " AND ($3 = '' OR m.workspace_id = $3) ORDER BY m.workspace_id",
            me.user_id,
            me.readable_workspace,
            only or "",
        )
    ]


def of_workspace(db: Reader, workspace_id: str, *, after: str, limit: int) -> list[Member]:
    """Members in order of their account's id, `limit` of them after the id `after`."""
    return db.all(
        Member,
        f"{_SELECT} WHERE m.workspace_id = $1 AND m.user_id > $2 ORDER BY m.user_id LIMIT $3",
        workspace_id,
        after,
        limit,
    )


def put(tx: Tx, me: Principal, workspace: Workspace, user_id: str, *, role: Role) -> tuple[Member, bool]:
    """Add an existing account, or give a member another role; → the member and whether they are new.

    Admins manage everybody but owners, and nobody gives a role above their own.
    """
    _may_give(workspace.role, role)
    before = _role(tx, workspace.id, user_id)
    if before is not None:
        _may_manage(workspace.role, before)
        if before == OWNER and role != OWNER:
            _keep_an_owner(tx, workspace.id, user_id)
    set_role(tx, me, workspace.id, user_id, role=role)
    return find(tx, workspace.id, user_id), before is None


def set_role(tx: Tx, me: Actor, workspace_id: str, user_id: str, *, role: Role) -> None:
    """Write the row: for operators and accepted invitations. NotFound when there is no such account."""
    if not tx.value(int, "SELECT 1 FROM users WHERE id = $1", user_id):
        raise NotFound("There is no account with this id.")
    seq = _told(tx, me, workspace_id, user_id)
    tx.run(
        "INSERT INTO workspace_members (workspace_id, user_id, role, joined_at, granted_seq)"
        " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (workspace_id, user_id) DO UPDATE SET role = excluded.role",
        workspace_id,
        user_id,
        role,
        clock.now(),
        seq,
    )


def add_first_owner(tx: Tx, actor: Actor, workspace_id: str) -> None:
    """Make the actor the owner of the workspace that they have just created."""
    set_role(tx, actor, workspace_id, actor.user_id, role=OWNER)


def remove(tx: Tx, me: Principal, workspace_id: str, user_id: str) -> None:
    """End a membership: one's own (leaving), or as an admin somebody else's. The last owner stays."""
    mine = enter(tx, me, workspace_id)
    role = _role(tx, workspace_id, user_id)
    if user_id != me.user_id:
        if RANK[mine] < RANK["admin"]:
            raise Forbidden(f"Your role here is {mine}; removing others needs an admin.", role=mine)
        if role is None:
            raise NotFound("This person is not a member of the workspace.")
        _may_manage(mine, role)
    drop(tx, me, workspace_id, user_id)


def drop(tx: Tx, me: Actor, workspace_id: str, user_id: str) -> None:
    """End a membership: for operators. Conflict for the last owner."""
    if _role(tx, workspace_id, user_id) == OWNER:
        _keep_an_owner(tx, workspace_id, user_id)
    if not tx.run("DELETE FROM workspace_members WHERE workspace_id = $1 AND user_id = $2", workspace_id, user_id):
        raise NotFound("This person is not a member of the workspace.")
    _told(tx, me, workspace_id, user_id, deleted=True)


def hand_over(tx: Tx, me: Principal, workspace: Workspace, user_id: str) -> Member:
    """Make a member an owner and oneself an admin."""
    find(tx, workspace.id, user_id)
    if user_id == me.user_id:
        raise Conflict("You are an owner already: name somebody else.")
    set_role(tx, me, workspace.id, user_id, role=OWNER)
    set_role(tx, me, workspace.id, me.user_id, role="admin")
    return find(tx, workspace.id, user_id)


def workspaces_without_other_owner(db: Reader, user_id: str) -> list[tuple[str, str, int]]:
    """(id, name, number of other members) of the workspaces whose only owner this account is."""
    return [
        (row[0], row[1], row[2])
        for row in db.rows(
            "SELECT w.id, w.name,"
            " (SELECT count(*) FROM workspace_members o WHERE o.workspace_id = w.id AND o.user_id <> $1)"
            " FROM workspaces w JOIN workspace_members m ON m.workspace_id = w.id"
            " WHERE m.user_id = $1 AND m.role = 'owner' AND NOT EXISTS (SELECT 1 FROM workspace_members o"
            " WHERE o.workspace_id = w.id AND o.user_id <> $1 AND o.role = 'owner') ORDER BY w.id",
            user_id,
        )
    ]


def _role(db: Reader, workspace_id: str, user_id: str) -> Role | None:
    found = db.value(
        str, "SELECT role FROM workspace_members WHERE workspace_id = $1 AND user_id = $2", workspace_id, user_id
    )
    return cast("Role | None", found)  # the table's CHECK lists the roles


def _may_give(mine: Role, given: Role) -> None:
    if RANK[given] > RANK[mine]:
        raise Forbidden(f"Your role here is {mine}; you cannot make somebody {given}.", role=mine)


def _may_manage(mine: Role, theirs: Role) -> None:
    if theirs == OWNER and mine != OWNER:
        raise Forbidden("Owners are managed by owners only.", role=mine)


def _keep_an_owner(tx: Tx, workspace_id: str, leaving: str) -> None:
    others = tx.value(
        int,
        "SELECT count(*) FROM workspace_members WHERE workspace_id = $1 AND role = 'owner' AND user_id <> $2",
        workspace_id,
        leaving,
    )
    if not others:
        raise Conflict("This is the last owner: make somebody else an owner first.", slug="last-owner")


def _told(tx: Tx, me: Actor, workspace_id: str, user_id: str, *, deleted: bool = False) -> int:
    seq = changes.record(tx, me, workspace_id, "membership", user_id, deleted=deleted)
    tx.announce("member", f"{workspace_id} {user_id}")
    return seq
