"""Who wrote which part of a document, and when: the present text looked up in what its log says of clocks.

No replay and no observers: the state holds each item's client and clock, and the log's rows say who sent these. The
only writer of document_authors, which says it for rows that were merged (compaction.py).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from mdserver import clock
from mdserver.crdt import guard
from mdserver.crdt import text as crdt
from mdserver.crdt.items import Item, Place, Sequences
from mdserver.store.db import Reader, Tx
from mdserver.store.rows import Time

from . import log
from .access import Person, Principal
from .documents.shape import Document, persons

TOGETHER = 5 * clock.MINUTE
"""What one author wrote within so much time is one span, where it stands together."""


class Span(msgspec.Struct):
    """A run of text by one author, null when the account is gone; `at` is when the last part of it was written."""

    text: str
    author: Person | None
    at: Time


class Written(NamedTuple):
    """Clocks of one client, from `clock` on, that an account wrote at a moment (ms)."""

    client: int
    clock: int
    length: int
    author_id: str
    device: str
    at: int


class Material(NamedTuple):
    """What attribution is computed from, off the event loop."""

    log: log.Log
    written: list[Written]
    rows: list[tuple[str, str, int, bytes]]


def material(db: Reader, document: Document) -> Material:
    """What is known of a found document's authors, and its log up to what its text shows."""
    seq = db.value(int, "SELECT content_seq FROM documents WHERE id = $1", document.id) or 0
    merged = db.rows(
        "SELECT client, clock, length, author_id, device, at FROM document_authors WHERE document_id = $1"
        " ORDER BY client, clock",
        document.id,
    )
    return Material(log.load(db, document.id, upto=seq), [Written(*one) for one in merged], log.rows(db, document.id))


def spans(found: Material) -> Iterator[tuple[str, str, int]]:
    """The text in order, as (text, account, ms). Takes a while for a long document.

    Of rich text these are the words, each block's on a line.
    """
    state = crdt.state(found.log.replayed())
    authors = _Authors(found)
    text: list[str] = []
    author, at = "", 0
    for item in _shown(Sequences(state), found.log.form.root):
        if item is None:
            if text and text[-1] != "\n":
                text.append("\n")
            continue
        for part, by, when in authors.of(item):
            if text and (by != author or abs(when - at) > TOGETHER):
                yield "".join(text), author, at
                text, at = [], 0
            text.append(part)
            author, at = by, max(at, when)
    if text:
        yield "".join(text), author, at


def named(db: Reader, me: Principal, found: Iterable[tuple[str, str, int]]) -> list[Span]:
    """The same with the people's names."""
    rows = list(found)
    people = persons(db, {one[1] for one in rows}, me)
    return [Span(text, people.get(author), clock.rfc3339(at)) for text, author, at in rows]


def written(rows: Iterable[tuple[str, str, int, bytes]]) -> list[Written]:
    """What rows of a log (account, device, ms, update) say of clocks, in their order; each clock once."""
    known: dict[int, int] = defaultdict(int)
    made: list[Written] = []
    for author_id, device, at, data in rows:
        for run in guard.read_update(data, most=1 << 31).runs:
            start = max(run.clock, known[run.client])
            if start >= run.end:
                continue
            known[run.client] = run.end
            last = made[-1] if made else None
            if (
                last is not None
                and (last.client, last.clock + last.length) == (run.client, start)
                and (last.author_id, last.device) == (author_id, device)
                and at - last.at < clock.MINUTE
            ):
                made[-1] = last._replace(length=run.end - last.clock)
            else:
                made.append(Written(run.client, start, run.end - start, author_id, device, at))
    return made


def keep(tx: Tx, document_id: str, found: Iterable[Written]) -> None:
    """Keep what rows said that are about to be merged."""
    for one in found:
        tx.run(
            "INSERT INTO document_authors (document_id, client, clock, length, author_id, device, at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (document_id, client, clock) DO NOTHING",
            document_id,
            *one,
        )


def _shown(sequences: Sequences, root: str) -> Iterator[Item | None]:
    """The texts that are seen, in order, those of elements within included; None where an element ends."""
    stack: list[Iterator[Item]] = [sequences.of(root)]
    while stack:
        item = next(stack[-1], None)
        if item is None:
            stack.pop()
            if stack:
                yield None
        elif item.is_deleted:
            continue
        elif item.text is not None:
            yield item
        elif item.type is not None:
            within: Place = (item.client, item.clock)
            stack.append(sequences.of(within))


class _Authors:
    """Who wrote a clock."""

    def __init__(self, found: Material) -> None:
        by_client: dict[int, list[Written]] = defaultdict(list)
        for one in (*found.written, *written(found.rows)):
            by_client[one.client].append(one)
        self._by_client = {client: sorted(runs, key=_start) for client, runs in by_client.items()}

    def of(self, item: Item) -> Iterator[tuple[str, str, int]]:
        """A text in the pieces that its authors wrote: (text, account, ms)."""
        assert item.text is not None
        runs = self._by_client.get(item.client, [])
        at = bisect_right(runs, item.clock, key=_start) - 1
        if at < 0:
            yield item.text, "", 0
            return
        if at + 1 == len(runs) or runs[at + 1].clock >= item.end:
            yield item.text, runs[at].author_id, runs[at].at
            return
        units, place = item.text.encode("utf-16-le", "surrogatepass"), item.clock
        while place < item.end:
            end = min(runs[at + 1].clock if at + 1 < len(runs) else item.end, item.end)
            piece = units[2 * (place - item.clock) : 2 * (end - item.clock)].decode("utf-16-le", "surrogatepass")
            yield piece, runs[at].author_id, runs[at].at
            place, at = end, at + 1


def _start(one: Written) -> int:
    return one.clock
