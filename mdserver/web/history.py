"""A document's log over HTTP: who wrote which part of it, its single updates, and its text after any of them."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from mdserver.errors import Conflict, Gone, NotFound
from mdserver.model import attribution, documents, log
from mdserver.model.access import VIEWER
from mdserver.model.attribution import Span
from mdserver.model.log import Entry
from mdserver.store.db import Reader

from . import paging
from .api import DB, Reply, Routes, me
from .contents import READING
from .policies import document as of_document

routes = Routes("history")


class Attribution(msgspec.Struct):
    """Who wrote what of a version of a document: runs of its text in order, which together are the text."""

    version: int
    items: list[Span]


class Position(msgspec.Struct):
    """A document's text after one update of its log."""

    seq: int
    content: str


@routes.get("/documents/{id}/attribution", policy=of_document(VIEWER), refuses=(Conflict,))
async def attribute(request: web.Request, id: str) -> Attribution:
    """List who wrote which part of a document, and when."""
    who, database = me(request), request.app[DB]

    def question(db: Reader) -> tuple[int, attribution.Material]:
        document = documents.find(db, who, id)
        documents.require_text(document)
        return document.version, attribution.material(db, document)

    async with request.app[READING]:
        version, material = await database.read(question)
        found = await asyncio.to_thread(lambda: list(attribution.spans(material)))
    return Attribution(version, await database.read(lambda db: attribution.named(db, who, found)))


@routes.get("/documents/{id}/log", policy=of_document(VIEWER))
async def listing(request: web.Request, id: str, query: paging.Paging) -> Reply[paging.Page[Entry]]:
    """List the updates of a document's log, newest first; old ones are merged to fewer."""
    who = me(request)
    (before,) = paging.after(query, (2**62,))

    def question(db: Reader) -> list[Entry]:
        document = documents.find(db, who, id)
        return log.entries(db, who, document.id, before=before, limit=query.limit + 1)

    found = await request.app[DB].glance(question)
    return paging.page(request, query, found, key=lambda one: (one.seq,))


@routes.get("/documents/{id}/log/{seq}", policy=of_document(VIEWER), refuses=(Conflict, Gone))
async def read(request: web.Request, id: str, seq: int) -> Position:
    """Read a document's text as it was after an update of its log."""
    who = me(request)

    def question(db: Reader) -> log.Log:
        document = documents.find(db, who, id)
        documents.require_text(document)
        if not 1 <= seq <= log.head(db, id):
            raise NotFound(f"The log has no update {seq}.")
        found = log.load(db, id, upto=seq)
        if found.head != seq:
            raise Gone(f"Update {seq} was merged with later ones.")
        return found

    async with request.app[READING]:
        found = await request.app[DB].read(question)
        return Position(seq, await asyncio.to_thread(found.text))
