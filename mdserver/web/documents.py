"""Documents over HTTP: lists, the tree, making, reading whole, replacing, purging."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

import msgspec
from aiohttp import web

from mdserver import clock, ids, text
from mdserver.errors import Invalid, Malformed, NotFound
from mdserver.model import documents, updates, workspaces
from mdserver.model.access import ADMIN, EDITOR, VIEWER, Principal, Role
from mdserver.model.documents import Document, DocumentWithContent, Filter, TreeItem
from mdserver.outline import derive_title
from mdserver.store.db import Reader, Tx

from . import etags, paging
from .api import DB, LIMITS, Reply, Routes, link, me
from .once import earlier, once
from .policies import document as of_document
from .policies import workspace as of_workspace
from .shelf import SHELF
from .wire import Answer

routes = Routes("documents")

LONG = 64 << 10
"""Code points from which a text is looked at on a thread."""

DOOR: web.AppKey[updates.Door] = web.AppKey("door", updates.Door)


class ListQuery(paging.Paging, frozen=True, kw_only=True):
    """Which documents, in which order. `parent` "root" asks for the top level; `path` for the one at that path."""

    parent: str | None = None
    path: str | None = None
    tag: str | None = None
    kind: documents.Kind | None = None
    author: str | None = None
    changed_since: str | None = None
    trashed: bool = False
    archived: bool | None = None
    template: bool | None = None
    favourite: bool | None = None
    sort: documents.Sort = "-updated_at"


class TreeQuery(msgspec.Struct, frozen=True, kw_only=True):
    """`parent` narrows the tree to one level below it; "root" is the top level."""

    parent: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=5000)] = 1000
    cursor: str | None = None


class NewDocument(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A document to be made. Without a title one is taken from the content; `from` names a template or any document.

    Without a `kind` it is that of the other document, or markdown.
    """

    id: str | None = None
    title: str | None = None
    kind: documents.Kind | None = None
    content: str | None = None
    parent_id: str | None = None
    tags: list[str] | None = None
    filename: str | None = None
    source_id: str | None = msgspec.field(name="from", default=None)


class WholeDocument(msgspec.Struct, forbid_unknown_fields=True):
    """All that can be written of a document at once."""

    title: str
    content: str
    tags: list[str]


class SomeFields(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The fields to change; those left out stay."""

    title: str | None = None
    filename: str | None = None
    tags: list[str] | None = None


class Tag(msgspec.Struct):
    """A tag of a workspace and how many live documents bear it."""

    tag: str
    count: int


class Tags(msgspec.Struct):
    """Every tag of a workspace."""

    items: list[Tag]


@routes.get("/workspaces/{id}/documents", policy=of_workspace(VIEWER))
def listing(
    request: web.Request, db: Reader, id: str, query: ListQuery
) -> Reply[paging.Page[Document]] | Reply[paging.Page[msgspec.Raw]]:
    """List the documents of a workspace, filtered and sorted."""
    only = _filter(query)
    who = me(request)
    start = (0 if query.sort.endswith("updated_at") else "", "")
    after = paging.after(query, start) if query.cursor is not None else None
    role = workspaces.enter(db, who, id)
    if query.path is not None:
        found = documents.by_path(db, who, id, text.fold(query.path.strip("/")), role=role)
        return paging.paged(request, found, None)
    states, following = documents.page(db, who, id, only=only, sort=query.sort, after=after, limit=query.limit)
    return paging.paged(request, request.app[SHELF].listed(db, who, id, states, role=role), following)


@routes.get("/workspaces/{id}/tree", policy=of_workspace(VIEWER))
def tree(request: web.Request, db: Reader, id: str, query: TreeQuery) -> Reply[paging.Page[TreeItem]]:
    """Show the tree: every live document, siblings together in their order."""
    after = paging.after(query, ("", "", "")) if query.cursor is not None else None
    parent = _parent(query.parent)
    workspaces.enter(db, me(request), id)
    items, following = documents.tree(db, id, parent_id=parent, after=after, limit=query.limit)
    return paging.paged(request, items, following)


@routes.get("/workspaces/{id}/tags", policy=of_workspace(VIEWER))
def tags(request: web.Request, db: Reader, id: str) -> Tags:
    """List the tags of a workspace."""
    workspaces.enter(db, me(request), id)
    return Tags([Tag(*one) for one in documents.workspace_tags(db, id)])


@routes.post("/workspaces/{id}/documents", policy=of_workspace(EDITOR), status=201, large=True, creates=True)
async def create(request: web.Request, id: str, body: NewDocument) -> Reply[Document]:
    """Make a document, from a title, a text, or another document."""
    who, app = me(request), request.app
    given_id = documents.check_id(body.id)
    if body.filename is not None:
        text.check_filename(body.filename)
    content, title, labels, kind = body.content, body.title, body.tags, body.kind
    if body.source_id is not None:
        repeated = await earlier(request, lambda db, known: documents.find(db, who, known, need=EDITOR), body=body)
        if repeated is not None:
            return shown(request, repeated, created=True)
        source_id = check_source(body.source_id)
        source = await app[DB].read(lambda db: documents.find_with_content(db, who, source_id))
        content = source.content if content is None else content
        if kind is None and source.kind in ("richtext", "mindmap"):
            kind = source.kind  # type: ignore[assignment] # one of these two
        title, labels = source.title if title is None else title, source.tags if labels is None else labels
    content, kind = content or "", kind or "markdown"
    if kind == "folder" and content:
        raise Invalid("A folder has no content.", pointer="/kind" if body.content is None else "/content")
    title = documents.check_title(title if title is not None else derive_title(content, body.filename or "Untitled.md"))
    labels = documents.check_tags(labels or [])
    draft = await prepared(request, content, kind)

    def unit(tx: Tx) -> Document:
        role = workspaces.enter(tx, who, id, need=EDITOR)
        return documents.create(
            tx,
            who,
            id,
            role=role,
            title=title,
            kind=kind,
            draft=draft,
            parent_id=body.parent_id,
            tags=labels,
            document_id=given_id,
            filename=body.filename,
        )

    made = await once(
        request,
        unit,
        again=lambda tx, known: documents.find(tx, who, known, need=EDITOR),
        result=lambda document: document.id,
        body=body,
        gates=(f"changes:{id}",),
    )
    return shown(request, made, created=True)


@routes.get("/documents/{id}", policy=of_document(VIEWER))
def read(request: web.Request, db: Reader, id: str) -> Reply[DocumentWithContent] | Answer:
    """Read a document with its text."""
    who = me(request)
    if db.glancing or "If-None-Match" in request.headers:
        head = documents.find_head(db, who, id)
        tag = f'"{documents.full_tag(head, who)}"'
        if etags.matches(request, tag):
            return etags.not_modified(tag)
        if db.glancing:
            data = request.app[SHELF].whole(db, who, id, head)
            return Answer(200, {"ETag": tag, "Content-Type": "application/json"}, data)
    found = documents.find_with_content(db, who, id)
    return Reply(found, etag=f'"{documents.full_tag(found, who)}"')


@routes.put("/documents/{id}", policy=of_document(EDITOR), large=True, condition=True)
async def replace(request: web.Request, id: str, body: WholeDocument) -> Reply[Document]:
    """Replace title, tags and content of the state that If-Match names."""
    who, wanted = me(request), etags.expected(request, required=False)
    title, labels = documents.check_title(body.title), documents.check_tags(body.tags)
    await checked(request, body.content)

    def also(tx: Tx, document: Document) -> None:
        document = documents.retitle(tx, who, document, title)
        documents.set_tags(tx, who, document, labels)

    edited = await request.app[DOOR].edit(who, id, base=judged(request, wanted), content=body.content, also=also)
    return shown(request, edited.document)


@routes.patch("/documents/{id}", policy=of_document(EDITOR), condition=True)
async def amend(request: web.Request, id: str, body: SomeFields) -> Reply[Document]:
    """Change title, file name or tags."""
    title = documents.check_title(body.title) if body.title is not None else None
    labels = documents.check_tags(body.tags) if body.tags is not None else None
    if body.filename is not None:
        text.check_filename(body.filename)

    def do(tx: Tx, who: Principal, document: Document) -> Document:
        if title is not None:
            document = documents.retitle(tx, who, document, title)
        if body.filename is not None:
            document = documents.rename_file(tx, who, document, body.filename)
        if labels is not None:
            document = documents.set_tags(tx, who, document, labels)
        return document

    return await change(request, id, EDITOR, do)


@routes.delete("/documents/{id}", policy=of_document(ADMIN), condition=True)
async def purge(request: web.Request, id: str) -> None:
    """Delete a document in the trash for ever, with what was trashed below it."""
    who = me(request)
    wanted = etags.expected(request, required=False)

    def unit(tx: Tx) -> None:
        document = documents.find(tx, who, id, need=ADMIN)
        etags.expected(request, required=True)
        judge(document, who, wanted)
        documents.purge(tx, who, document)

    await request.app[DB].write(unit)


@routes.delete("/workspaces/{id}/trash", policy=of_workspace(ADMIN))
async def empty_trash(request: web.Request, id: str) -> None:
    """Empty the trash of a workspace: all in it is deleted for ever."""
    who = me(request)

    def unit(tx: Tx) -> int:
        workspaces.enter(tx, who, id, need=ADMIN)
        return documents.empty(tx, who, id)

    while await request.app[DB].write(unit):
        pass  # some hundreds at a time, so that other writers are not kept waiting


async def change(
    request: web.Request, id: str, need: Role, do: Callable[[Tx, Principal, Document], Document]
) -> Reply[Document]:
    """Find a document, honour If-Match when it was sent, do something to it in one unit, show it."""
    who = me(request)
    wanted = etags.expected(request, required=False)

    def unit(tx: Tx) -> Document:
        document = documents.find(tx, who, id, need=need)
        judge(document, who, wanted)
        return do(tx, who, document)

    return shown(request, await request.app[DB].write(unit))


def judge(document: Document, who: Principal, wanted: list[str] | None) -> None:
    """Stale unless If-Match names the document's present state."""
    etags.require(
        wanted,
        version=document.version,
        content_tag=documents.content_tag(document),
        full_tag=documents.full_tag(document, who),
    )


def judged(request: web.Request, wanted: list[str] | None) -> Callable[[Reader, Document], None]:
    """For the door: require If-Match and judge it once the document is found; the edit starts from the present text."""

    def base(_: Reader, document: Document) -> None:
        etags.expected(request, required=True)
        judge(document, me(request), wanted)

    return base


async def checked(request: web.Request, content: str) -> None:
    """Judge a content before the state that it is to replace; a long one on a thread."""
    maximum = request.app[LIMITS].document
    if len(content) < LONG:
        text.check_content(content, maximum_bytes=maximum)
    else:
        await asyncio.to_thread(text.check_content, content, maximum_bytes=maximum)


async def prepared(request: web.Request, content: str, kind: documents.Kind) -> documents.Draft:
    """A draft of the content; a long one is made on a thread, so that others do not wait for it."""
    maximum = request.app[LIMITS].document
    if len(content) < LONG and kind != "richtext":
        return documents.draft(content, maximum_bytes=maximum)
    return await asyncio.to_thread(documents.draft, content, maximum_bytes=maximum, kind=kind)


def shown(request: web.Request, document: Document, *, created: bool = False) -> Reply[Document]:
    """A document as an answer, with its ETag; a new one with its address."""
    reply = Reply(document, etag=f'"{documents.full_tag(document, me(request))}"', status=201 if created else 0)
    if created:
        reply.headers["Location"] = link(request, f"/api/v1/documents/{document.id}")
    return reply


def check_source(source_id: str) -> str:
    """The id of a document to start from. NotFound at once for what cannot be one: not every engine takes any text."""
    if not ids.is_id(source_id):
        raise NotFound("There is no such document, or you cannot see it.")
    return source_id


def _parent(given: str | None) -> str | None:
    if given is None or ids.is_id(given):
        return given
    if given == "root":
        return ""
    raise Malformed("The parameter 'parent' is a document's id or root.")


def _filter(query: ListQuery) -> Filter:
    since = None
    if query.changed_since is not None:
        try:
            since = clock.parse(query.changed_since)
        except (ValueError, OverflowError) as error:
            raise Malformed(f"The parameter 'changed_since' is not an RFC 3339 time: {error}.") from error
    if query.path is not None and not query.path.strip("/"):
        raise NotFound("There is no document at the root itself.")
    return Filter(
        parent_id=_parent(query.parent),
        tag=query.tag,
        kind=query.kind,
        author_id=query.author,
        since=since,
        trashed=query.trashed,
        archived=query.archived,
        template=query.template,
        favourite=query.favourite,
    )
