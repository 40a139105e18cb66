"""Old rows of a log, merged: fewer rows, the same document, the same authors, and what was deleted can be had again.

Neighbouring rows become one row, which keeps what was deleted, as a snapshot would not. It never goes beyond a place
that may be asked for: a version of the last month, a passing state, what the text shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from mdserver import clock
from mdserver.crdt import guard
from mdserver.crdt import text as crdt
from mdserver.store.db import Reader, Tx

from . import attribution, log
from .attribution import Written

AGE = clock.DAY
"""How old rows are before they are merged (ms)."""

VERSIONS = 30 * clock.DAY
"""How old versions are before rows are merged across them."""

MOST_UPDATES = 256
MOST_BYTES = 256 << 10
"""How much one row holds."""

LEAST = 32
"""Rows of a document that can be merged, below which it is left as it is."""


Merge = Callable[..., bytes]
"""pycrdt.merge_updates, which is loaded with the first log that is merged."""


class Group(NamedTuple):
    """Rows that become one: the numbers of the first and last update in them, how many rows, the merged update."""

    first: int
    last: int
    rows: int
    data: bytes


class Plan(msgspec.Struct):
    """What is to be done to one document."""

    document_id: str
    groups: list[Group]
    written: list[Written]
    merged: int
    """How many rows become fewer."""


class _Row(NamedTuple):
    seq: int
    first: int
    author_id: str
    device: str
    at: int
    data: bytes


def due(db: Reader, *, after: str, limit: int = 100) -> tuple[list[str], str | None]:
    """Documents further on (in order of ids, after this one) with rows to merge; where to go on, None at the end."""
    found = db.rows(
        "SELECT document_id, count(*) FROM document_updates WHERE document_id > $1 AND at < $2"
        f" AND first_seq IS NULL GROUP BY document_id ORDER BY document_id LIMIT {limit:d}",
        after,
        clock.now() - AGE,
    )
    ids = [one for one, count in found if count >= LEAST]
    return ids, found[-1][0] if len(found) == limit else None


def plan(db: Reader, document_id: str) -> Plan | None:
    """What can be merged in a document's log, and that the document is the same afterwards; None when nothing can.

    Takes a while: the log is replayed twice. ValueError when the document would be another one.
    """
    from pycrdt import merge_updates

    now = clock.now()
    rows = [
        _Row(seq, first or seq, author, device, at, bytes(data))
        for seq, first, author, device, at, data in db.rows(
            "SELECT seq, first_seq, author_id, device, at, data FROM document_updates WHERE document_id = $1"
            " ORDER BY seq",
            document_id,
        )
    ]
    ends = set(
        db.column(
            int,
            "SELECT seq FROM document_versions WHERE document_id = $1 AND created_at >= $2"
            " UNION SELECT seq FROM document_moments WHERE document_id = $1"
            " UNION SELECT content_seq FROM documents WHERE id = $1",
            document_id,
            now - VERSIONS,
        )
    )
    made = [(group, rows_of) for group, rows_of in _grouped(rows, ends, now - AGE, merge_updates)]
    if not made:
        return None
    kept = {group.last: group.data for group, _ in made}
    covered = {row.seq for _, rows_of in made for row in rows_of}
    after = [kept.get(row.seq, row.data) for row in rows if row.seq not in covered or row.seq in kept]
    if _same([row.data for row in rows], after):
        touched = [row for _, rows_of in made for row in rows_of if row.first == row.seq]
        found = attribution.written((row.author_id, row.device, row.at, row.data) for row in touched)
        return Plan(document_id, [group for group, _ in made], found, len(rows) - len(after))
    raise ValueError("the merged rows make another document")


def carry_out(tx: Tx, planned: Plan) -> int:
    """Do it, as far as the rows are still those that were looked at; how many rows became fewer."""
    tx.gate(f"document:{planned.document_id}")
    attribution.keep(tx, planned.document_id, planned.written)
    return sum(log.merge(tx, planned.document_id, *group) for group in planned.groups)


def _grouped(rows: list[_Row], ends: set[int], before: int, merge: Merge) -> Iterator[tuple[Group, list[_Row]]]:
    gathered: list[_Row] = []
    size = 0
    for row in rows:
        if row.at >= before:
            break
        if gathered and (row.seq - gathered[0].first >= MOST_UPDATES or size + len(row.data) > MOST_BYTES):
            yield from _group(gathered, merge)
            gathered, size = [], 0
        gathered.append(row)
        size += len(row.data)
        if row.seq in ends:
            yield from _group(gathered, merge)
            gathered, size = [], 0
    yield from _group(gathered, merge)


def _group(rows: list[_Row], merge: Merge) -> Iterator[tuple[Group, list[_Row]]]:
    if len(rows) > 1:
        data = merge(*[row.data for row in rows])
        yield Group(rows[0].first, rows[-1].seq, len(rows), data), rows


def _same(rows: list[bytes], merged: list[bytes]) -> bool:
    """Whether two logs make the same document, with all that was deleted in it."""
    one, other = crdt.load(None, rows), crdt.load(None, merged)
    # A state vector's clients come in no order, so it is read; a whole state's are sorted.
    vectors = [guard.read_state(crdt.state_vector(doc)) for doc in (one, other)]
    return vectors[0] == vectors[1] and crdt.state(one) == crdt.state(other)
