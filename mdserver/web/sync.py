"""Sync over HTTP: what has changed since a cursor, what devices bring, and passages that both sides rewrote."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar, cast

import msgspec
from aiohttp import web
from msgspec import Meta

from mdserver import ids
from mdserver.errors import Conflict, Gone, NotFound, Problem
from mdserver.model import conflicts
from mdserver.model.access import EDITOR, VIEWER
from mdserver.model.conflicts import Conflict as KeptConflict
from mdserver.model.documents import Document, State
from mdserver.model.members import Member
from mdserver.model.versions import Version
from mdserver.model.workspaces import Workspace
from mdserver.store.db import Reader
from mdserver.sync import cursors
from mdserver.sync.operations import MOST, Operation, Result
from mdserver.sync.pulling import News, Pulled, pull
from mdserver.sync.pushing import Pusher, Unread

from . import edge, paging
from .api import DB, SIGNED_IN, Reply, Routes, me
from .policies import conflict as of_conflict
from .reading import decode
from .shelf import SHELF

T = TypeVar("T")

routes = Routes("sync")

PUSHER: web.AppKey[Pusher] = web.AppKey("pusher", Pusher)

Device = Annotated[str, Meta(min_length=1, max_length=100, pattern="^[^\\x00-\\x1f\\x7f]+$")]
"""What a device calls itself, in one line."""

_OPERATION: type[Operation] = cast(Any, Operation)  # a union, which is no type to mypy
_encode = msgspec.json.Encoder().encode


class PullQuery(msgspec.Struct, frozen=True, kw_only=True):
    """`workspace` narrows what is told to one, which has cursors of its own; `include=content` brings short texts."""

    cursor: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 200
    workspace: str | None = None
    include: Literal["content"] | None = None


class DocumentAndContent(Document):
    """A document, with its text where that was asked for and is short."""

    content: str | msgspec.UnsetType = msgspec.UNSET


class _Changed(msgspec.Struct, tag_field="entity"):
    """Something in its newest state; `object` is null when it is gone. `version` counts a document's contents."""

    id: str
    action: Literal["upsert", "delete", "access_revoked"]
    workspace_id: str
    version: int


class ChangedWorkspace(_Changed, tag="workspace"):
    """A workspace, or that it cannot be seen any more (`access_revoked`): what was kept of it is to be forgotten."""

    object: Workspace | None


class ChangedMembership(_Changed, tag="membership"):
    """A member of the workspace, whose `id` is that of their account."""

    object: Member | None


class ChangedDocument(_Changed, tag="document"):
    """A document. One in the trash is an upsert, too; `delete` is for ever."""

    object: DocumentAndContent | None


class ChangedVersion(_Changed, tag="version"):
    """A version that has a name, or had one. Its id is the document's, a slash, and its number."""

    object: Version | None


class _MadeChange(_Changed, tag="document"):
    object: msgspec.Raw


Change = ChangedWorkspace | ChangedMembership | ChangedDocument | ChangedVersion


class Changes(msgspec.Struct):
    """A page of what has changed. Children may come before their parents. The last page has a `next_cursor`, too."""

    changes: list[Change]
    next_cursor: str
    has_more: bool


class _Made(msgspec.Struct, Generic[T]):
    """The same whose entries are JSON already."""

    changes: list[T]
    next_cursor: str
    has_more: bool


class Push(msgspec.Struct, forbid_unknown_fields=True):
    """What a device brings. Its name goes into the history of what it changes."""

    device_id: Device
    operations: Annotated[list[Operation], Meta(max_length=MOST)]


class _Push(msgspec.Struct, forbid_unknown_fields=True):
    device_id: Device
    operations: Annotated[list[msgspec.Raw], Meta(max_length=MOST)]


class Results(msgspec.Struct):
    """What came of each operation, in the order in which they were brought."""

    results: list[Result]


class ConflictQuery(paging.Paging, frozen=True, kw_only=True):
    """Of one workspace or document, if named."""

    workspace: str | None = None
    document: str | None = None


@routes.get("/sync", policy=SIGNED_IN, refuses=(Gone, NotFound, Conflict))
def changed(request: web.Request, db: Reader, query: PullQuery) -> Reply[Changes] | Reply[_Made[msgspec.Raw]]:
    """Tell what has changed since a cursor in all workspaces that one belongs to; without one, everything there is.

    Each thing comes once, in its newest state. Gone (`resync-required`) when the cursor leads nowhere any more: pull
    without one.
    """
    who = me(request)
    only = _id(query.workspace, "workspace")
    since = None if query.cursor is None else cursors.read(query.cursor, who, only)
    pulled = pull(db, who, since, only=only, limit=query.limit, with_content=query.include == "content")
    following = cursors.write(pulled.cursor, who, only)
    headers = {}
    if pulled.has_more:
        headers["Link"] = f'<{request.rel_url.update_query(cursor=following)}>; rel="next"'
    return Reply(_Made(_shown(request, db, pulled), following, pulled.has_more), headers=headers)


@routes.post("/sync", policy=SIGNED_IN, large=True, body_read=_Push)
async def bring(request: web.Request, body: Push) -> Results:
    """Carry out what a device did offline: up to 500 operations, each in a transaction of its own, whatever others do.

    An operation that is sent again has no second effect. Those on the same document happen in their order.
    """
    given: Any = body  # read as _Push
    read = [_operation(request, one) for one in given.operations]
    who = msgspec.structs.replace(me(request), device=given.device_id)
    results = await request.app[PUSHER].push(who, read, said=lambda problem: edge.problem_body(request, problem))
    return Results(results)


@routes.get("/sync/conflicts", policy=SIGNED_IN, refuses=(NotFound,))
def conflicting(request: web.Request, db: Reader, query: ConflictQuery) -> Reply[paging.Page[KeptConflict]]:
    """List passages that two sides rewrote: both texts stand in the document until somebody looks."""
    (after,) = paging.after(query, ("",))
    found = conflicts.page(
        db,
        me(request),
        workspace_id=_id(query.workspace, "workspace") or "",
        document_id=_id(query.document, "document") or "",
        after=after,
        limit=query.limit + 1,
    )
    return paging.page(request, query, found, lambda one: (one.id,))


@routes.get("/sync/conflicts/{id}", policy=of_conflict(VIEWER))
def conflict(request: web.Request, db: Reader, id: str) -> KeptConflict:
    """Read one of them."""
    return conflicts.find(db, me(request), id)


@routes.delete("/sync/conflicts/{id}", policy=of_conflict(EDITOR))
async def settle(request: web.Request, id: str) -> None:
    """Say that somebody has looked at it: it is forgotten, and the text stays as it is."""
    await request.app[DB].write(lambda tx: conflicts.settle(tx, me(request), id))


def _operation(request: web.Request, raw: msgspec.Raw) -> Operation | Unread:
    """One operation, or why it cannot be read."""
    try:
        return decode(bytes(raw), _OPERATION)
    except Problem as problem:
        return Unread(_name(raw), problem)


def _name(raw: msgspec.Raw) -> str | None:
    """The op_id in what is no operation, so that its sender finds it again."""
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    name = found.get("op_id") if isinstance(found, dict) else None
    return name if isinstance(name, str) and len(name) <= 64 else None


def _shown(request: web.Request, db: Reader, pulled: Pulled) -> list[msgspec.Raw]:
    """The news as JSON, documents from the shelf."""
    shelf, who = request.app[SHELF], me(request)
    since = shelf.generation
    places = [
        (one.found, one.workspace_id, pulled.roles[one.workspace_id])
        for one in pulled.news
        if isinstance(one.found, State)
    ]
    shown = shelf.found(db, who, places)
    if db.glancing:
        shelf.keep(shown, since=since)
    return [msgspec.Raw(_encode(_entry(one, shown.items))) for one in pulled.news]


def _entry(one: News, documents: dict[str, msgspec.Raw]) -> msgspec.Struct:
    if isinstance(one.found, State):
        made = documents[one.id]
        if one.content is not None:
            made = msgspec.Raw(b'%b,"content":%b}' % (bytes(made)[:-1], _encode(one.content)))
        return _MadeChange(one.id, "upsert", one.workspace_id, one.version, made)
    kind: Any = _KINDS[one.entity]
    return cast(msgspec.Struct, kind(one.id, one.action, one.workspace_id, one.version, one.found))


_KINDS = {
    "workspace": ChangedWorkspace,
    "membership": ChangedMembership,
    "document": ChangedDocument,
    "version": ChangedVersion,
}


def _id(given: str | None, what: str) -> str | None:
    if given is not None and not ids.is_id(given):
        raise NotFound(f"There is no such {what}, or you cannot see it.")
    return given
