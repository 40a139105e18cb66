"""The parts of a document that are resources of their own, from its title to its copies."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from mdserver import ids
from mdserver.errors import Malformed, NotFound
from mdserver.model import documents, workspaces
from mdserver.model.access import EDITOR, VIEWER
from mdserver.model.documents import Document
from mdserver.store.db import Reader, Tx
from mdserver.text import check_filename

from .api import DB, LIMITS, Reply, Routes, me
from .documents import change, shown
from .once import earlier, once
from .policies import document as of_document

routes = Routes("documents")


class Title(msgspec.Struct, forbid_unknown_fields=True):
    """A title: one line of 1 to 255 characters."""

    title: str


class Filename(msgspec.Struct, forbid_unknown_fields=True):
    """A file name, unique among siblings without regard to case or Unicode form."""

    filename: str


class Labels(msgspec.Struct, forbid_unknown_fields=True):
    """All tags of a document."""

    tags: list[str]


class Place(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A parent (null is the root) and a sibling there to stand before or after; without one, last."""

    parent_id: str | None
    before: str | None = None
    after: str | None = None


class Copy(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Where a copy goes and what it is called; `children` takes along what stands below."""

    title: str | None = None
    workspace_id: str | None = None
    parent_id: str | None = None
    children: bool = False


@routes.put("/documents/{id}/title", policy=of_document(EDITOR), condition=True)
async def retitle(request: web.Request, id: str, body: Title) -> Reply[Document]:
    """Give a document another title; its file name stays."""
    title = documents.check_title(body.title)
    return await change(request, id, EDITOR, lambda tx, who, found: documents.retitle(tx, who, found, title))


@routes.put("/documents/{id}/filename", policy=of_document(EDITOR), condition=True)
async def rename_file(request: web.Request, id: str, body: Filename) -> Reply[Document]:
    """Give a document another file name in its place."""
    check_filename(body.filename)
    return await change(
        request, id, EDITOR, lambda tx, who, found: documents.rename_file(tx, who, found, body.filename)
    )


@routes.put("/documents/{id}/tags", policy=of_document(EDITOR), condition=True)
async def set_tags(request: web.Request, id: str, body: Labels) -> Reply[Document]:
    """Replace a document's tags."""
    tags = documents.check_tags(body.tags)
    return await change(request, id, EDITOR, lambda tx, who, found: documents.set_tags(tx, who, found, tags))


@routes.put("/documents/{id}/place", policy=of_document(EDITOR), condition=True)
async def move(request: web.Request, id: str, body: Place) -> Reply[Document]:
    """Move a document, with all below it, to another parent or another place among its siblings."""
    if body.before is not None and body.after is not None:
        raise Malformed("Name a sibling to stand before, or one to stand after, not both.")

    return await change(
        request,
        id,
        EDITOR,
        lambda tx, who, found: documents.move(
            tx, who, found, parent_id=body.parent_id, before=body.before, after=body.after
        ),
    )


@routes.put("/documents/{id}/trash", policy=of_document(EDITOR), condition=True)
async def trash(request: web.Request, id: str) -> Reply[Document]:
    """Move a document to the trash with everything below it."""
    return await change(request, id, EDITOR, documents.trash)


@routes.delete("/documents/{id}/trash", policy=of_document(EDITOR), status=200, condition=True)
async def restore(request: web.Request, id: str) -> Reply[Document]:
    """Bring a document back from the trash with what went there with it."""
    return await change(request, id, EDITOR, documents.restore)


@routes.put("/documents/{id}/archive", policy=of_document(EDITOR), condition=True)
async def archive(request: web.Request, id: str) -> Reply[Document]:
    """Put a document away."""
    return await change(request, id, EDITOR, lambda tx, who, found: documents.archive(tx, who, found, archived=True))


@routes.delete("/documents/{id}/archive", policy=of_document(EDITOR), status=200, condition=True)
async def unarchive(request: web.Request, id: str) -> Reply[Document]:
    """Bring a document back from the archive."""
    return await change(request, id, EDITOR, lambda tx, who, found: documents.archive(tx, who, found, archived=False))


@routes.put("/documents/{id}/template", policy=of_document(EDITOR), condition=True)
async def make_template(request: web.Request, id: str) -> Reply[Document]:
    """Offer a document as a template."""
    return await change(
        request, id, EDITOR, lambda tx, who, found: documents.make_template(tx, who, found, template=True)
    )


@routes.delete("/documents/{id}/template", policy=of_document(EDITOR), status=200, condition=True)
async def unmake_template(request: web.Request, id: str) -> Reply[Document]:
    """Offer a document as a template no longer."""
    return await change(
        request, id, EDITOR, lambda tx, who, found: documents.make_template(tx, who, found, template=False)
    )


@routes.put("/documents/{id}/favourite", policy=of_document(VIEWER), condition=True)
async def favour(request: web.Request, id: str) -> Reply[Document]:
    """Make a document one's own favourite."""
    return await change(request, id, VIEWER, lambda tx, who, found: documents.favour(tx, who, found, favourite=True))


@routes.delete("/documents/{id}/favourite", policy=of_document(VIEWER), status=200, condition=True)
async def unfavour(request: web.Request, id: str) -> Reply[Document]:
    """Make a document one's own favourite no longer."""
    return await change(request, id, VIEWER, lambda tx, who, found: documents.favour(tx, who, found, favourite=False))


@routes.post("/documents/{id}/copies", policy=of_document(VIEWER), status=201, creates=True)
async def copy(request: web.Request, id: str, body: Copy) -> Reply[Document]:
    """Copy a document, beside itself or to another place or workspace where one may create."""
    who, maximum = me(request), request.app[LIMITS].document
    title = documents.check_title(body.title) if body.title is not None else None
    if body.workspace_id is not None and not ids.is_id(body.workspace_id):
        raise NotFound("There is no such workspace, or you cannot see it.")

    repeated = await earlier(request, lambda db, known: documents.find(db, who, known), body=body)
    if repeated is not None:
        return shown(request, repeated, created=True)

    def load(db: Reader) -> documents.Source:
        return documents.source(db, who, documents.find(db, who, id), children=body.children)

    source = await request.app[DB].read(load)
    drafts = await asyncio.to_thread(documents.drafts, source, maximum_bytes=maximum)
    target = body.workspace_id or source.documents[0].workspace_id
    parent_id = body.parent_id
    if parent_id is None and body.workspace_id is None:
        parent_id = source.documents[0].parent_id

    def unit(tx: Tx) -> Document:
        documents.find(tx, who, id)
        role = workspaces.enter(tx, who, target, need=EDITOR)
        return documents.copy(tx, who, target, source, drafts, role=role, parent_id=parent_id, title=title)

    made = await once(
        request,
        unit,
        again=lambda tx, known: documents.find(tx, who, known),
        result=lambda document: document.id,
        body=body,
    )
    return shown(request, made, created=True)
