"""A document's text over HTTP: raw, replaced, merged; and what is read out of it: HTML, outline, backlinks."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated
from urllib.parse import quote

import msgspec
from aiohttp import web

from mdserver import html, outline
from mdserver.errors import Conflict, NotAcceptable
from mdserver.model import backlinks, documents, updates
from mdserver.model.access import EDITOR, VIEWER, Principal
from mdserver.model.documents import Document
from mdserver.model.updates import Edited
from mdserver.store.db import Reader

from . import etags
from .api import DB, Reply, Routes, me
from .documents import DOOR, checked, judged, shown
from .policies import document as of_document
from .wire import Answer

routes = Routes("documents")

READING: web.AppKey[asyncio.Semaphore] = web.AppKey("reading", asyncio.Semaphore)
"""How many documents are parsed at once: hostile Markdown takes seconds, on threads that others need too."""

SANDBOX = "default-src 'none'; img-src 'self' data:; style-src 'none'; sandbox"


class Content(msgspec.Struct, forbid_unknown_fields=True):
    """A whole text."""

    content: str


class ContentState(msgspec.Struct):
    """A text with the state that it is of."""

    content: str
    version: int
    content_hash: str


class Edit(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A text and the version it started from; `base_content` is that version's text, if it may be forgotten by now.

    `base_hash` is its `content_hash`: a server that was restored from a backup gives numbers of versions out again.
    """

    content: str
    base_version: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    base_hash: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")] | None = None
    base_content: str | None = None


class Outline(msgspec.Struct):
    """The headings of a document in order."""

    items: list[outline.Heading]


class Backlinks(msgspec.Struct):
    """The documents that link to one, in order of path."""

    items: list[Document]


@routes.get(
    "/documents/{id}/content",
    policy=of_document(VIEWER),
    produces=("text/markdown", "application/json"),
    refuses=(Conflict,),
)
def read_content(request: web.Request, db: Reader, id: str) -> Reply[ContentState] | Answer:
    """Read a document's text: as Markdown, byte for byte, or as JSON when that is accepted."""
    who = me(request)
    head = documents.find_head(db, who, id)
    tag = documents.content_tag(head)
    if etags.matches(request, f'"{tag}"'):
        unchanged = etags.not_modified(f'"{tag}"')
        unchanged.headers["Vary"] = "Accept"
        return unchanged
    found = documents.find_with_content(db, who, id)
    documents.require_text(found)
    if accepted(request, "text/markdown", "application/json") == "application/json":
        state = ContentState(found.content, found.version, found.content_hash)
        return Reply(state, etag=f'"{tag}"', headers={"Vary": "Accept"})
    return markdown(found.content, tag, found.filename)


@routes.put("/documents/{id}/content", policy=of_document(EDITOR), markdown=True, large=True, condition=True)
async def write_content(request: web.Request, id: str, body: Content) -> Reply[Document]:
    """Replace the text of the state that If-Match names; what is being typed meanwhile is merged, not lost."""
    wanted = etags.expected(request, required=False)
    await checked(request, body.content)
    edited = await request.app[DOOR].edit(me(request), id, base=judged(request, wanted), content=body.content)
    return shown(request, edited.document)


@routes.patch("/documents/{id}/content", policy=of_document(EDITOR), large=True)
async def merge_content(request: web.Request, id: str, body: Edit) -> Reply[Edited]:
    """Merge an edited text with what was written since the version that it started from."""
    base = updates.started_from(body.base_version, body.base_content, content_hash=body.base_hash)
    edited = await request.app[DOOR].edit(me(request), id, base=base, content=body.content)
    return Reply(edited, etag=f'"{documents.full_tag(edited.document, me(request))}"')


@routes.get("/documents/{id}/html", policy=of_document(VIEWER), produces=("text/html",), refuses=(Conflict,))
async def as_html(request: web.Request, id: str) -> str | Answer:
    """Read a document as HTML, sanitised."""
    found = await _text(request, me(request), id)
    tag = f'"{documents.content_tag(found)}-html"'
    if etags.matches(request, tag):
        return etags.not_modified(tag)
    async with request.app[READING]:
        rendered = await asyncio.to_thread(html.render, found.content)
    headers = {"ETag": tag, "Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": SANDBOX}
    return Answer(200, headers, rendered.encode())


@routes.get("/documents/{id}/outline", policy=of_document(VIEWER), refuses=(Conflict,))
async def read_outline(request: web.Request, id: str) -> Outline:
    """List a document's headings."""
    found = await _text(request, me(request), id)
    async with request.app[READING]:
        return Outline(await asyncio.to_thread(outline.outline, found.content))


@routes.get("/documents/{id}/backlinks", policy=of_document(VIEWER))
async def read_backlinks(request: web.Request, id: str) -> Backlinks:
    """List the documents that link to this one."""
    who = me(request)

    def question(db: Reader) -> Backlinks:
        document = documents.find(db, who, id)
        return Backlinks(backlinks.of(db, who, document, role=document.role))

    return await request.app[DB].read(question)


async def _text(request: web.Request, who: Principal, id: str) -> documents.DocumentWithContent:
    found = await request.app[DB].glance(lambda db: documents.find_with_content(db, who, id))
    documents.require_text(found)
    return found


def accepted(request: web.Request, *offered: str) -> str:
    """The offered media type that the client likes best; the first when it does not say (RFC 9110 §12.5.1)."""
    header = request.headers.get("Accept")
    if not header:
        return offered[0]
    best, best_quality = "", 0.0
    for one in offered:
        quality = max((_quality(part, one) for part in header.split(",")), default=(0, 0.0), key=lambda it: it[0])[1]
        if quality > best_quality:
            best, best_quality = one, quality
    if not best:
        raise NotAcceptable(f"This can be given as {' or '.join(offered)}.")
    return best


def _quality(part: str, offered: str) -> tuple[int, float]:
    """(how exactly this part of an Accept field names the type, its weight)."""
    media, *parameters = [one.strip().lower() for one in part.split(";")]
    weight = next((one[2:] for one in parameters if one.startswith("q=")), "1")
    quality = float(weight) if re.fullmatch(r"[01](\.\d{0,3})?", weight) else 0.0
    if media == offered:
        return 3, quality
    if media == offered.partition("/")[0] + "/*":
        return 2, quality
    return (1, quality) if media == "*/*" else (0, 0.0)


def markdown(content: str, tag: str, filename: str) -> Answer:
    """A text as it is, with a name to save it under (RFC 6266)."""
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", filename)
    return Answer(
        200,
        {
            "ETag": f'"{tag}"',
            "Content-Type": "text/markdown; charset=utf-8",
            "Content-Disposition": f"inline; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}",
            "Content-Security-Policy": SANDBOX,
            "Vary": "Accept",
        },
        content.encode(),
    )
