"""A document's history over HTTP: versions, what lies between two of them, and going back."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

import msgspec
from aiohttp import web

from mdserver import diff, text
from mdserver.errors import NotFound
from mdserver.model import documents, versions
from mdserver.model.access import EDITOR, VIEWER
from mdserver.model.documents import Document
from mdserver.model.versions import Version
from mdserver.store.db import Reader, Tx

from . import paging
from .api import DB, Reply, Routes, me
from .contents import READING, accepted, markdown
from .documents import DOOR, shown
from .policies import document as of_document
from .wire import Answer

routes = Routes("versions")


class VersionWithContent(Version, kw_only=True):
    """A version with its text."""

    content: str


class Name(msgspec.Struct, forbid_unknown_fields=True):
    """A name that keeps a version for ever; null takes it away."""

    name: Annotated[str, msgspec.Meta(max_length=versions.MAXIMUM_NAME)] | None


class Against(msgspec.Struct, frozen=True):
    """The version to compare with: a number, "previous" (the default) or "current"."""

    against: str = "previous"


class Diff(msgspec.Struct):
    """What was done to get from `against` to `version`, in runs of lines."""

    version: int
    against: int
    hunks: list[diff.LineHunk]
    format: Literal["lines"] = "lines"


class _Pair(msgspec.Struct):
    name: str
    old: str
    old_version: int
    new: str


@routes.get("/documents/{id}/versions", policy=of_document(VIEWER))
async def listing(request: web.Request, id: str, query: paging.Paging) -> Reply[paging.Page[Version]]:
    """List the versions of a document, newest first."""
    who = me(request)
    (before,) = paging.after(query, (2**62,))

    def question(db: Reader) -> list[Version]:
        document = documents.find(db, who, id)
        return versions.of_document(db, who, document, before=before, limit=query.limit + 1)

    found = await request.app[DB].glance(question)
    return paging.page(request, query, found, key=lambda one: (one.version,))


@routes.get(
    "/documents/{id}/versions/{version}", policy=of_document(VIEWER), produces=("application/json", "text/markdown")
)
async def read(request: web.Request, id: str, version: int) -> VersionWithContent | Answer:
    """Read a version with its text: as JSON, or as Markdown when that is accepted."""
    who = me(request)

    def question(db: Reader) -> tuple[str, VersionWithContent]:
        document = documents.find(db, who, id)
        found = versions.find(db, who, document, version)
        content = versions.text_of(db, document, version) or ""
        return document.filename, VersionWithContent(content=content, **msgspec.structs.asdict(found))

    filename, found = await request.app[DB].read(question)
    tag = f"{version}-{found.content_hash[:16]}"
    if accepted(request, "application/json", "text/markdown") == "text/markdown":
        return markdown(found.content, tag, filename)
    return found


@routes.patch("/documents/{id}/versions/{version}", policy=of_document(EDITOR))
async def rename(request: web.Request, id: str, version: int, body: Name) -> Version:
    """Name a version, which keeps it for ever."""
    who = me(request)
    name = (
        None if body.name is None else text.clean(body.name, pointer="/name", maximum=versions.MAXIMUM_NAME, minimum=1)
    )

    def change(tx: Tx) -> Version:
        document = documents.find(tx, who, id, need=EDITOR)
        versions.rename(tx, who, document, version, name)
        return versions.find(tx, who, document, version)

    return await request.app[DB].write(change)


@routes.get(
    "/documents/{id}/versions/{version}/diff", policy=of_document(VIEWER), produces=("application/json", "text/x-diff")
)
async def compare(request: web.Request, id: str, version: int, query: Against) -> Diff | Answer:
    """Compare a version with another: as runs of lines, or as a unified diff when text/x-diff is accepted."""
    who = me(request)

    def question(db: Reader) -> _Pair:
        document = documents.find(db, who, id)
        new = _text(db, document, version)
        other = _other(db, document, version, query.against)
        return _Pair(document.filename, _text(db, document, other) if other else "", other, new)

    pair = await request.app[DB].read(question)
    as_text = accepted(request, "application/json", "text/x-diff") == "text/x-diff"
    async with request.app[READING]:
        if not as_text:
            return Diff(version, pair.old_version, await asyncio.to_thread(diff.line_hunks, pair.old, pair.new))
        names = f"{pair.name}@{pair.old_version}", f"{pair.name}@{version}"
        made = await asyncio.to_thread(diff.unified, pair.old, pair.new, *names)
    return Answer(200, {"Content-Type": "text/x-diff; charset=utf-8", "Vary": "Accept"}, made.encode())


@routes.post("/documents/{id}/versions/{version}/restore", policy=of_document(EDITOR))
async def restore(request: web.Request, id: str, version: int) -> Reply[Document]:
    """Make the text of a version the present one again, as a new version; nothing is lost."""
    edited = await request.app[DOOR].edit(
        me(request),
        id,
        base=lambda db, document: None,
        content=lambda db, document: _text(db, document, version),
        reason="restore",
        replaces=True,  # what is typed just now is kept as a version, and no reason to restore something else
    )
    return shown(request, edited.document)


def _text(db: Reader, document: Document, version: int) -> str:
    found = versions.text_of(db, document, version)
    if found is None:
        raise NotFound(f"The document has no version {version} in its history.")
    return found


def _other(db: Reader, document: Document, version: int, against: str) -> int:
    """The number that `against` means; 0 stands for the empty text before the first version."""
    if against == "previous":
        return versions.previous(db, document, version) or 0
    if against == "current":
        return document.version
    if against.isascii() and against.isdigit() and len(against) < 16:
        return int(against)
    raise NotFound(f"The document has no version {against[:40]!r} in its history.")
