"""Workspaces and their members, as operators manage them."""

from __future__ import annotations

import msgspec

from mdserver.errors import Conflict, NotFound
from mdserver.model import audit, members, workspaces
from mdserver.model.access import OWNER, Actor, Role
from mdserver.model.audit import COMMAND_LINE
from mdserver.model.workspaces import MAXIMUM_NAME
from mdserver.store.db import Reader, Tx
from mdserver.store.rows import Time
from mdserver.text import clean, fold

from .chore import DEVICE, OPERATOR, House, account, chore, principal
from .users import Page


class Place(msgspec.Struct, kw_only=True):
    """A workspace as operators see it: they are no members of it."""

    id: str
    name: str
    member_count: int
    document_count: int
    storage_bytes: int
    created_at: Time


class Inhabitant(msgspec.Struct, kw_only=True):
    """A member as operators see them."""

    id: str
    email: str
    display_name: str
    role: Role


class WorkspaceCreate(msgspec.Struct, kw_only=True):
    name: str
    owner: str


class WorkspaceAsk(msgspec.Struct, kw_only=True):
    """`workspace` is an id, or a name that only one workspace has."""

    workspace: str


class MemberPut(msgspec.Struct, kw_only=True):
    workspace: str
    who: str
    role: Role


class MemberAsk(msgspec.Struct, kw_only=True):
    workspace: str
    who: str


class Places(msgspec.Struct, kw_only=True):
    items: list[Place]


class PlaceShown(msgspec.Struct, kw_only=True):
    workspace: Place
    members: list[Inhabitant]


class MemberPlaced(msgspec.Struct, kw_only=True):
    workspace: Place
    member: Inhabitant
    is_new: bool


_PLACE = (
    "SELECT w.id, w.name, w.created_at,"
    " (SELECT count(*) FROM workspace_members m WHERE m.workspace_id = w.id) AS member_count,"
    " (SELECT count(*) FROM documents d WHERE d.workspace_id = w.id AND d.trashed_at IS NULL) AS document_count,"
    " (SELECT CAST(COALESCE(sum(d.size), 0) AS BIGINT) FROM documents d WHERE d.workspace_id = w.id) AS storage_bytes"
    " FROM workspaces w"
)
_INHABITANT = (
    "SELECT u.id, u.email, u.display_name, m.role FROM workspace_members m JOIN users u ON u.id = m.user_id"
    " WHERE m.workspace_id = $1"
)


def find(db: Reader, which: str) -> Place:
    """The workspace with this id or name. NotFound when there is none, Conflict when several bear the name."""
    found = db.first(Place, f"{_PLACE} WHERE w.id = $1", which)
    if found is not None:
        return found
    ids = db.column(str, "SELECT id FROM workspaces WHERE name = $1 ORDER BY id", which)
    if not ids:  # names are written by people: neither case nor Unicode form should keep one from being found
        key = fold(which.strip())
        ids = [one for one, name in db.rows("SELECT id, name FROM workspaces ORDER BY id") if fold(name) == key]
    if not ids:
        raise NotFound(f"There is no workspace {which!r}: “mdserver workspace list” shows them.")
    if len(ids) > 1:
        shown = ", ".join(ids[:5]) + (" …" if len(ids) > 5 else "")
        raise Conflict(f"{len(ids)} workspaces are called {which!r}: name one by its id ({shown}).")
    return find(db, ids[0])


@chore
async def workspace_create(house: House, ask: WorkspaceCreate) -> Place:
    """Make a workspace for an account."""
    name = clean(ask.name, pointer="/name", minimum=1, maximum=MAXIMUM_NAME)

    def change(tx: Tx) -> Place:
        owner = account(tx, ask.owner)
        made = workspaces.create(tx, Actor(user_id=owner.id, device=DEVICE), name=name)
        audit.record(tx, COMMAND_LINE, "workspace.create", actor_id=None, obj=made, workspace_id=made, owner=owner.id)
        return find(tx, made)

    return await house.database.write(change)


@chore
async def workspace_list(house: House, ask: Page) -> Places:
    """A page of all workspaces, the oldest first."""
    found = await house.database.read(
        lambda db: db.all(Place, f"{_PLACE} WHERE w.id > $1 ORDER BY w.id LIMIT $2", ask.after, ask.limit)
    )
    return Places(items=found)


@chore
async def workspace_show(house: House, ask: WorkspaceAsk) -> PlaceShown:
    """A workspace with its members."""

    def question(db: Reader) -> PlaceShown:
        place = find(db, ask.workspace)
        return PlaceShown(workspace=place, members=db.all(Inhabitant, f"{_INHABITANT} ORDER BY u.id", place.id))

    return await house.database.read(question)


@chore
async def workspace_add_member(house: House, ask: MemberPut) -> MemberPlaced:
    """Add an account to a workspace, or give a member another role. The last owner stays one."""

    def change(tx: Tx) -> MemberPlaced:
        place, user = find(tx, ask.workspace), account(tx, ask.who)
        # The operator acts with an owner's power, whoever the owners are.
        as_owner = workspaces.Workspace(
            id=place.id,
            name=place.name,
            role=OWNER,
            member_count=place.member_count,
            document_count=place.document_count,
            storage_bytes=place.storage_bytes,
            created_at=place.created_at,
            updated_at=place.created_at,
        )
        _, is_new = members.put(tx, principal(user), as_owner, user.id, role=ask.role)
        audit.record(tx, COMMAND_LINE, "member.role", actor_id=None, obj=user.id, workspace_id=place.id, role=ask.role)
        found = tx.all(Inhabitant, f"{_INHABITANT} AND u.id = $2", place.id, user.id)[0]
        return MemberPlaced(workspace=find(tx, place.id), member=found, is_new=is_new)

    return await house.database.write(change)


@chore
async def workspace_remove_member(house: House, ask: MemberAsk) -> Place:
    """End a membership. The last owner stays."""

    def change(tx: Tx) -> Place:
        place, user = find(tx, ask.workspace), account(tx, ask.who)
        members.drop(tx, OPERATOR, place.id, user.id)
        audit.record(tx, COMMAND_LINE, "member.remove", actor_id=None, obj=user.id, workspace_id=place.id)
        return find(tx, place.id)

    return await house.database.write(change)


@chore
async def workspace_delete(house: House, ask: WorkspaceAsk) -> Place:
    """Delete a workspace with everything in it, for ever."""

    def change(tx: Tx) -> Place:
        place = find(tx, ask.workspace)
        workspaces.erase(tx, OPERATOR, place.id)
        audit.record(tx, COMMAND_LINE, "workspace.delete", actor_id=None, obj=place.id, workspace_id=place.id)
        return place

    return await house.database.write(change)
