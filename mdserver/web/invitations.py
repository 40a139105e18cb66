"""Invitations: made and taken back by a workspace's admins, looked at and accepted by whoever holds the link."""

from __future__ import annotations

import msgspec
from aiohttp import web

from mdserver import clock
from mdserver.model import audit, invitations, users, workspaces
from mdserver.model.access import ADMIN
from mdserver.model.invitations import Invitation, InvitedRole, NewInvitation, Offer
from mdserver.model.workspaces import Workspace
from mdserver.store.db import Reader, Tx

from . import letters, policies
from .accounts import ACCOUNTS
from .api import DB, OPEN, RATES, WHOLE_ACCOUNT, Reply, Routes, link, me
from .limits import address
from .once import once
from .paging import Page, Paging, after, page
from .signin import SIGNIN, origin

routes = Routes("invitations")


class InvitationWanted(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """With `email` only that address may accept; where the server sends mail, the link is mailed to it too."""

    role: InvitedRole
    email: str | None = None


@routes.get("/workspaces/{id}/invitations", policy=policies.workspace(ADMIN))
async def listing(request: web.Request, id: str, query: Paging) -> Reply[Page[Invitation]]:
    """List a workspace's open invitations."""
    (start,) = after(query, ("",))

    def question(db: Reader) -> list[Invitation]:
        workspaces.enter(db, me(request), id, need=ADMIN)
        return invitations.of_workspace(db, id, after=start, limit=query.limit + 1)

    found = await request.app[DB].read(question)
    return page(request, query, found, lambda one: (one.id,))


@routes.post("/workspaces/{id}/invitations", policy=policies.workspace(ADMIN), status=201, creates=True)
async def create(request: web.Request, id: str, body: InvitationWanted) -> Reply[NewInvitation]:
    """Invite into a workspace.

    The secret of the link is shown in this answer only.
    """
    principal, where, lifetime = me(request), origin(request), request.app[ACCOUNTS].invitation * clock.SECOND
    request.app[RATES].check("account-mail", principal.user_id)

    def change(tx: Tx) -> tuple[NewInvitation, str]:
        workspace = workspaces.find(tx, principal, id, need=ADMIN)
        made = invitations.invite(
            tx, workspace, invited_by=principal.user_id, role=body.role, email=body.email, lifetime=lifetime
        )
        audit.record(
            tx, where, "invitation.create", actor_id=principal.user_id, obj=made.id, workspace_id=id, role=made.role
        )
        return made, workspace.name

    made, name = await once(request, change, again=None, result=lambda one: one[0].id, body=body)
    if made.email is not None:
        inviter = principal.display_name
        request.app[SIGNIN].later.soon(
            letters.invitation(request.app, made.email, made.token, workspace=name, inviter=inviter)
        )
    headers = {"Location": link(request, f"/api/v1/workspaces/{id}/invitations/{made.id}")}
    return Reply(made, headers=headers | {"Cache-Control": "no-store"})


@routes.delete("/workspaces/{id}/invitations/{invitation}", policy=policies.workspace(ADMIN))
async def revoke(request: web.Request, id: str, invitation: str) -> None:
    """Take an invitation back."""
    principal, where = me(request), origin(request)

    def change(tx: Tx) -> None:
        workspace = workspaces.find(tx, principal, id, need=ADMIN)
        found = invitations.find(tx, workspace, invitation)
        invitations.revoke(tx, found)
        audit.record(tx, where, "invitation.revoke", actor_id=principal.user_id, obj=found.id, workspace_id=id)

    await request.app[DB].write(change)


@routes.get("/invitations/{token}", policy=OPEN)
async def look(request: web.Request, token: str) -> Offer:
    """Look at the invitation that a link holds."""
    request.app[RATES].check("sign-in-address", address(request))
    return await request.app[DB].read(lambda db: invitations.standing(db, token).offer)


@routes.post("/invitations/{token}", policy=WHOLE_ACCOUNT)
async def accept(request: web.Request, token: str) -> Workspace:
    """Accept the invitation that a link holds: one joins its workspace.

    Accepting again, by whoever accepted it, answers alike.
    """
    principal, where = me(request), origin(request)

    def change(tx: Tx) -> Workspace:
        found = invitations.held(tx, token)
        if found.accepted_by != principal.user_id:
            found = invitations.standing(tx, token)
            invitations.accept(tx, principal, found, email=users.find(tx, principal.user_id).email)
            audit.record(
                tx,
                where,
                "invitation.accept",
                actor_id=principal.user_id,
                obj=found.id,
                workspace_id=found.workspace_id,
                role=found.role,
            )
        return workspaces.find(tx, principal, found.workspace_id)

    return await request.app[DB].write(change)
