"""Invitations into a workspace, by a link that needs no mail. The only writer of invitations."""

from __future__ import annotations

from typing import Literal, cast

import msgspec

from mdserver import clock, crypto, ids
from mdserver.errors import Forbidden, Gone, NotFound
from mdserver.store.db import Reader, Tx
from mdserver.store.rows import Time
from mdserver.text import check_email, email_key

from . import members
from .access import ADMIN, RANK, Actor, Person, Role
from .workspaces import Workspace

InvitedRole = Literal["admin", "editor", "commenter", "viewer"]
LIFETIME = 7 * clock.DAY


class Invitation(msgspec.Struct, kw_only=True):
    """An open invitation, as the workspace's admins see it. With `email` only that address may accept it."""

    id: str
    workspace_id: str
    email: str | None
    role: InvitedRole
    invited_by: Person | None
    created_at: Time
    expires_at: Time


class NewInvitation(Invitation, kw_only=True):
    """An invitation at its making, the only time that its secret is shown."""

    token: str


class Offer(msgspec.Struct, kw_only=True):
    """What whoever holds the link sees of an invitation."""

    workspace_name: str
    role: InvitedRole
    invited_by: str | None
    email_bound: bool
    expires_at: Time


class Held(msgspec.Struct, kw_only=True):
    """An invitation found by its secret: it stands, and may be accepted by whom it is for."""

    id: str
    workspace_id: str
    workspace_name: str
    email: str | None
    email_key: str | None
    role: InvitedRole
    inviter_name: str | None
    invited_by: str
    inviter_role: Role | None
    expires_at: int
    accepted_by: str | None
    revoked_at: int | None

    @property
    def offer(self) -> Offer:
        return Offer(
            workspace_name=self.workspace_name,
            role=self.role,
            invited_by=self.inviter_name,
            email_bound=self.email is not None,
            expires_at=clock.rfc3339(self.expires_at),
        )


OPERATOR = ""
"""`invited_by` of invitations made on the command line."""

_SELECT = (
    'SELECT i.id, i.workspace_id, i.email, i.role, i.created_at, i.expires_at, u.id AS "invited_by.id",'
    ' u.display_name AS "invited_by.display_name", u.avatar_url AS "invited_by.avatar_url"'
    " FROM invitations i LEFT JOIN users u ON u.id = i.invited_by"
)
_OPEN = "i.accepted_at IS NULL AND i.revoked_at IS NULL"


def invite(
    tx: Tx,
    workspace: Workspace,
    *,
    invited_by: str,
    role: InvitedRole,
    email: str | None = None,
    lifetime: int = LIFETIME,
) -> NewInvitation:
    """Invite into a found workspace; nobody invites above their own role, and owners are made among members only."""
    if RANK[role] > RANK[workspace.role]:
        raise Forbidden(f"Your role here is {workspace.role}; you cannot make somebody {role}.", role=workspace.role)
    email = check_email(email) if email is not None else None
    made, secret, now = ids.new(), crypto.new_token(crypto.INVITATION), clock.now()
    tx.run(
        "INSERT INTO invitations (id, workspace_id, hash, email, email_key, role, invited_by, created_at, expires_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        made,
        workspace.id,
        crypto.token_hash(secret),
        email,
        email_key(email) if email is not None else None,
        role,
        invited_by,
        now,
        now + lifetime,
    )
    return _with_secret(find(tx, workspace, made), secret)


def find(db: Reader, workspace: Workspace, invitation_id: str) -> Invitation:
    """An open invitation of a found workspace. NotFound when there is no such one."""
    found = db.first(
        Invitation, f"{_SELECT} WHERE i.id = $1 AND i.workspace_id = $2 AND {_OPEN}", invitation_id, workspace.id
    )
    if found is None:
        raise NotFound("There is no such open invitation.")
    return found


def of_workspace(db: Reader, workspace_id: str, *, after: str, limit: int) -> list[Invitation]:
    """Invitations that still stand, in order of id (the oldest first), `limit` of them after the id `after`."""
    return db.all(
        Invitation,
        f"{_SELECT} WHERE i.workspace_id = $1 AND i.id > $2 AND {_OPEN} AND i.expires_at > $3 ORDER BY i.id LIMIT $4",
        workspace_id,
        after,
        clock.now(),
        limit,
    )


def revoke(tx: Tx, invitation: Invitation) -> None:
    """Take a found invitation back."""
    tx.run("UPDATE invitations SET revoked_at = $1 WHERE id = $2", clock.now(), invitation.id)


def held(db: Reader, token: str) -> Held:
    """The invitation that this secret opens, whatever has become of it. NotFound when the secret is nobody's."""
    found = db.first(
        Held,
        "SELECT i.id, i.workspace_id, w.name AS workspace_name, i.email, i.email_key, i.role, i.invited_by,"
        " u.display_name AS inviter_name, m.role AS inviter_role, i.expires_at, i.accepted_by, i.revoked_at"
        " FROM invitations i JOIN workspaces w ON w.id = i.workspace_id LEFT JOIN users u ON u.id = i.invited_by"
        " LEFT JOIN workspace_members m ON m.workspace_id = i.workspace_id AND m.user_id = i.invited_by"
        " WHERE i.hash = $1",
        crypto.token_hash(token),
    )
    if found is None:
        raise NotFound("There is no such invitation.")
    return found


def standing(db: Reader, token: str) -> Held:
    """The same while it can be accepted. Gone once it was accepted, taken back or has expired.

    An invitation falls with the role of whoever gave it: those who could not invite so today have not invited.
    """
    found = held(db, token)
    fallen = found.invited_by != OPERATOR and (
        found.inviter_role is None or RANK[found.inviter_role] < max(RANK[ADMIN], RANK[found.role])
    )
    if found.accepted_by is not None or found.revoked_at is not None or found.expires_at <= clock.now() or fallen:
        raise Gone("This invitation has been used, was taken back or has expired: ask for a new one.")
    return found


def check_for(invitation: Held, *, email: str) -> None:
    """Forbidden when the invitation is for another address than this."""
    if invitation.email_key is not None and invitation.email_key != email_key(email):
        raise Forbidden("This invitation is for another e-mail address.")


def accept(tx: Tx, me: Actor, invitation: Held, *, email: str) -> None:
    """Join by an invitation that stands. Members keep a higher role that they have already."""
    check_for(invitation, email=email)
    present = _role(tx, invitation.workspace_id, me.user_id)
    if present is None or RANK[present] < RANK[invitation.role]:
        members.set_role(tx, me, invitation.workspace_id, me.user_id, role=invitation.role)
    tx.run(
        "UPDATE invitations SET accepted_at = $1, accepted_by = $2 WHERE id = $3",
        clock.now(),
        me.user_id,
        invitation.id,
    )


def forget_old(tx: Tx, *, kept: int = 90 * clock.DAY, limit: int = 500) -> int:
    """Delete invitations that expired `kept` ms ago; how many, at most `limit`."""
    return tx.run(
        f"DELETE FROM invitations WHERE id IN (SELECT id FROM invitations WHERE expires_at <= $1 LIMIT {limit:d})",
        clock.now() - kept,
    )


def _with_secret(one: Invitation, secret: str) -> NewInvitation:
    return NewInvitation(
        id=one.id,
        workspace_id=one.workspace_id,
        email=one.email,
        role=one.role,
        invited_by=one.invited_by,
        created_at=one.created_at,
        expires_at=one.expires_at,
        token=secret,
    )


def _role(db: Reader, workspace_id: str, user_id: str) -> Role | None:
    found = db.value(
        str, "SELECT role FROM workspace_members WHERE workspace_id = $1 AND user_id = $2", workspace_id, user_id
    )
    return cast("Role | None", found)  # the table's CHECK lists the roles
