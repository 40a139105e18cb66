"""Search over HTTP."""

from __future__ import annotations

import asyncio
from typing import Annotated, Generic, TypeVar

import msgspec
from aiohttp import web

from mdserver import ids, query
from mdserver.errors import Busy, Malformed, NotFound
from mdserver.model import documents, search
from mdserver.model.documents import Document
from mdserver.model.search import FIELDS, Field, Filter, Found, Key
from mdserver.store.db import Reader

from . import paging
from .api import DB, SIGNED_IN, Reply, Routes, me
from .shelf import SHELF, Shown

D = TypeVar("D")

routes = Routes("search")

SEARCHING: web.AppKey[Turns] = web.AppKey("searching")

LONGEST = 1_000
"""Characters that may be searched for."""

MOST_WORDS = 64

QUEUE = 64
"""Searches that may wait for their turn."""


class SearchQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for, and where.

    `q`: words that all have to be there, `"a phrase"`, `beginning*`, `-without`, `-"without this"`. `in` names where to
    look: `title`, `content` or both, with a comma between them. `workspace` is an id, `author` that of a person.
    """

    q: str
    workspace: str | None = None
    kind: documents.Kind | None = None
    tag: str | None = None
    author: str | None = None
    fields: str = msgspec.field(name="in", default="title,content")
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    cursor: str | None = None


class Hit(msgspec.Struct, Generic[D]):
    """A document that was found. `snippet` is HTML: escaped text with `<mark>` around what was asked for.

    A greater `score` is better; scores are comparable within one answer only. `matched_in` says where the words stand.
    """

    document: D
    snippet: str
    score: float
    matched_in: list[Field]


class Hits(msgspec.Struct, Generic[D]):
    """Hits, the best first; `next_cursor` is null at their end.

    `indexing` is how many changed documents this answer did not look at, because so many were changed at once: 0 when
    it is complete.
    """

    items: list[Hit[D]]
    next_cursor: str | None
    indexing: int


class Turns:
    """Lets few searches run at a time, so that they leave readers and processor to others. Busy past the queue."""

    def __init__(self, at_once: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._waiting = 0

    async def __aenter__(self) -> None:
        if self._waiting >= QUEUE:
            raise Busy("Too many searches are waiting.", retry_after=2)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1

    async def __aexit__(self, *_: object) -> None:
        self._free.release()


@routes.get("/search", policy=SIGNED_IN, rate="search", refuses=(NotFound,))
async def find(request: web.Request, query: SearchQuery) -> Reply[Hits[Document]] | Reply[Hits[msgspec.Raw]]:
    """Search titles and texts of all documents that you may read.

    Case and accents do not matter. Chinese, Japanese and Korean are found by any part of a word. Snippets are HTML:
    escaped text with `<mark>` around what was found. The newest 1,000 matches of a workspace are ranked. Pages follow
    the ranking of their moment: when documents change between two of them, a hit may come twice or be missed.
    """
    who, asked, fields = me(request), _asked(query.q), _fields(query.fields)
    if query.workspace is not None and not ids.is_id(query.workspace):
        raise NotFound("There is no such workspace, or you cannot see it.")
    after = _after(query)
    only = Filter(kind=query.kind, tag=query.tag, author_id=query.author)
    shelf = request.app[SHELF]

    def question(db: Reader) -> tuple[Found, Shown]:
        found = search.search(
            db,
            who,
            asked,
            workspace_id=query.workspace,
            fields=fields,
            only=only,
            after=after,
            limit=query.limit,
        )
        return found, shelf.found(db, who, [(one.state, one.workspace_id, one.role) for one in found.matches])

    async with request.app[SEARCHING]:
        since = shelf.generation
        found, shown = await request.app[DB].read(question)
    shelf.keep(shown, since=since)
    hits = [Hit(shown.items[one.state.id], one.snippet, one.score, one.matched_in) for one in found.matches]
    if found.following is None:
        return Reply(Hits(hits, None, found.indexing))
    opaque = paging.cursor((found.following.score.hex(), found.following.tie))
    address = request.rel_url.update_query(cursor=opaque)
    return Reply(Hits(hits, opaque, found.indexing), headers={"Link": f'<{address}>; rel="next"'})


def _asked(text: str) -> query.Query:
    if len(text) > LONGEST:
        raise Malformed(f"The parameter 'q' may have {LONGEST:,} characters; these are {len(text):,}.")
    asked = query.parse(text)
    if not asked.wanted:
        if asked.unwanted:
            raise Malformed("The parameter 'q' only says what must not be there: add a word to look for.")
        raise Malformed("The parameter 'q' holds no word to look for.")
    if asked.size > MOST_WORDS:
        raise Malformed(f"The parameter 'q' holds too many words: at most {MOST_WORDS}.")
    return asked


def _fields(text: str) -> tuple[Field, ...]:
    names = {one.strip() for one in text.split(",")}
    if unknown := names - set(FIELDS):
        raise Malformed(f"The parameter 'in' takes {' and '.join(FIELDS)}, not {sorted(unknown)[0][:40]!r}.")
    return tuple(one for one in FIELDS if one in names)


def _after(query: SearchQuery) -> Key | None:
    if query.cursor is None:
        return None
    score, tie = paging.after(query, ("", 0))
    try:
        return Key(float.fromhex(score), tie)
    except (ValueError, OverflowError):
        raise Malformed("The cursor is not one that this list gave.") from None
