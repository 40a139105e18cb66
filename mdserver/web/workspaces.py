"""Workspaces and who belongs to them."""

from __future__ import annotations

import msgspec
from aiohttp import web

from mdserver import ids
from mdserver.errors import Invalid, NotFound
from mdserver.model import audit, members, users, workspaces
from mdserver.model.access import ADMIN, OWNER, VIEWER, Role
from mdserver.model.members import Member
from mdserver.model.workspaces import MAXIMUM_NAME, Workspace
from mdserver.store.db import Reader, Tx
from mdserver.text import EMAIL_BYTES, clean

from . import policies
from .api import DB, RATES, SIGNED_IN, WHOLE_ACCOUNT, Reply, Routes, link, me
from .once import once
from .paging import Page, Paging, after, page
from .signin import origin

routes = Routes("workspaces")


class NewWorkspace(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """`id` may be made by the client, so that a workspace can be created offline."""

    name: str
    id: str | None = None


class WorkspaceChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    name: str | msgspec.UnsetType = msgspec.UNSET


class Membership(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    role: Role


class NewOwner(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    user_id: str


@routes.get("/workspaces", policy=SIGNED_IN)
async def listing(request: web.Request, query: Paging) -> Reply[Page[Workspace]]:
    """List one's workspaces."""
    (start,) = after(query, ("",))
    found = await request.app[DB].read(lambda db: workspaces.mine(db, me(request), after=start, limit=query.limit + 1))
    return page(request, query, found, lambda one: (one.id,))


@routes.post("/workspaces", policy=WHOLE_ACCOUNT, status=201, creates=True)
async def create(request: web.Request, body: NewWorkspace) -> Reply[Workspace]:
    """Make a workspace, owned by oneself."""
    principal, name = me(request), _name(body.name)
    if body.id is not None and not ids.is_id(body.id):
        raise Invalid("An id is a UUID version 7 in lower case.", pointer="/id")

    def change(tx: Tx) -> Workspace:
        made = workspaces.create(tx, principal, name=name, workspace_id=body.id)
        return workspaces.find(tx, principal, made)

    made = await once(
        request,
        change,
        again=lambda tx, known: workspaces.find(tx, principal, known),
        result=lambda one: one.id,
        body=body,
    )
    return Reply(made, headers={"Location": link(request, f"/api/v1/workspaces/{made.id}")})


@routes.get("/workspaces/{id}", policy=policies.workspace(VIEWER))
async def show(request: web.Request, id: str) -> Workspace:
    """Show a workspace."""
    return await request.app[DB].read(lambda db: workspaces.find(db, me(request), id))


@routes.patch("/workspaces/{id}", policy=policies.workspace(ADMIN))
async def change(request: web.Request, id: str, body: WorkspaceChange) -> Workspace:
    """Give a workspace another name."""
    principal = me(request)

    def write(tx: Tx) -> Workspace:
        found = workspaces.find(tx, principal, id, need=ADMIN)
        if body.name is not msgspec.UNSET:
            workspaces.rename(tx, principal, found, name=_name(body.name))
        return workspaces.find(tx, principal, id)

    return await request.app[DB].write(write)


@routes.delete("/workspaces/{id}", policy=policies.workspace(OWNER))
async def delete(request: web.Request, id: str) -> None:
    """Delete a workspace with everything in it, for ever."""
    principal = me(request)

    def write(tx: Tx) -> None:
        found = workspaces.find(tx, principal, id, need=OWNER)
        workspaces.delete(tx, principal, found)
        audit.record(tx, origin(request), "workspace.delete", actor_id=principal.user_id, obj=id, workspace_id=id)

    await request.app[DB].write(write)


@routes.get("/workspaces/{id}/members", policy=policies.workspace(VIEWER))
async def list_members(request: web.Request, id: str, query: Paging) -> Reply[Page[Member]]:
    """List a workspace's members."""
    (start,) = after(query, ("",))

    def question(db: Reader) -> list[Member]:
        workspaces.enter(db, me(request), id)
        return members.of_workspace(db, id, after=start, limit=query.limit + 1)

    found = await request.app[DB].read(question)
    return page(request, query, found, lambda one: (one.user.id,))


@routes.put("/workspaces/{id}/members/{user}", policy=policies.workspace(ADMIN))
async def put_member(request: web.Request, id: str, user: str, body: Membership) -> Reply[Member]:
    """Add somebody who has an account, or give a member another role.

    `user` is the id of an account, or its e-mail address.
    """
    principal, user_id = me(request), await _account(request, id, user, need=ADMIN)

    def write(tx: Tx) -> tuple[Member, bool]:
        workspace = workspaces.find(tx, principal, id, need=ADMIN)
        member, is_new = members.put(tx, principal, workspace, user_id, role=body.role)
        _note(tx, request, "member.add" if is_new else "member.role", id, user_id, body.role)
        return member, is_new

    member, is_new = await request.app[DB].write(write)
    return Reply(member, status=201 if is_new else 200)


@routes.patch("/workspaces/{id}/members/{user}", policy=policies.workspace(ADMIN))
async def change_member(request: web.Request, id: str, user: str, body: Membership) -> Member:
    """Give a member another role."""
    principal, user_id = me(request), await _account(request, id, user, need=ADMIN)

    def write(tx: Tx) -> Member:
        workspace = workspaces.find(tx, principal, id, need=ADMIN)
        members.find(tx, id, user_id)
        member, _ = members.put(tx, principal, workspace, user_id, role=body.role)
        _note(tx, request, "member.role", id, user_id, body.role)
        return member

    return await request.app[DB].write(write)


@routes.delete("/workspaces/{id}/members/{user}", policy=policies.workspace(VIEWER), scope="admin")
async def remove_member(request: web.Request, id: str, user: str) -> None:
    """Remove a member, or leave oneself. The last owner stays."""
    principal, user_id = me(request), await _account(request, id, user, need=VIEWER)

    def write(tx: Tx) -> None:
        members.remove(tx, principal, id, user_id)
        _note(tx, request, "member.remove", id, user_id, None)

    await request.app[DB].write(write)


@routes.put("/workspaces/{id}/owner", policy=policies.recent_workspace(OWNER))
async def hand_over(request: web.Request, id: str, body: NewOwner) -> Member:
    """Make another member the owner, and oneself an admin."""
    principal = me(request)

    def write(tx: Tx) -> Member:
        workspace = workspaces.find(tx, principal, id, need=OWNER)
        if not ids.is_id(body.user_id):
            raise NotFound("This person is not a member of the workspace.")
        member = members.hand_over(tx, principal, workspace, body.user_id)
        _note(tx, request, "workspace.owner", id, body.user_id, OWNER)
        return member

    return await request.app[DB].write(write)


async def _account(request: web.Request, workspace_id: str, user: str, *, need: Role) -> str:
    """The account's id, which may be given as its e-mail address.

    Addresses that are nobody's are counted: this must not be a way to find out whose there are.
    """
    if "@" not in user:
        return user

    def question(db: Reader) -> str:
        workspaces.enter(db, me(request), workspace_id, need=need)
        return users.find_by_email(db, user[: EMAIL_BYTES + 1]).id

    try:
        return await request.app[DB].read(question)
    except NotFound:
        request.app[RATES].check("account-mail", me(request).user_id)
        raise


def _note(tx: Tx, request: web.Request, action: str, workspace_id: str, user_id: str, role: Role | None) -> None:
    audit.record(
        tx,
        origin(request),
        action,
        actor_id=me(request).user_id,
        obj=user_id,
        workspace_id=workspace_id,
        role=role,
    )


def _name(text: str) -> str:
    return clean(text, pointer="/name", minimum=1, maximum=MAXIMUM_NAME)
