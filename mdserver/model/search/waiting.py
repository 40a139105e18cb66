"""What the index has not seen yet: found in the change log, looked through directly until the indexer has been there.

The change log is the queue. It is written anyway, in the transaction of every change, has one row per document, and its
positions become visible in order; so making and changing documents costs nothing more, and a crash loses nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from mdserver.query import Query
from mdserver.store.db import Reader, Value
from mdserver.terms import Term, find, fold, tokens

from . import engines
from .shape import LOOKED_AT, Field, Filter, Key, Live, Numbers, Question, Scope

MOST = 500
"""Documents that are looked through for one search, the last changed ones first."""

MOST_BYTES = 16 << 20
"""And the size of their texts together."""

_COUNTED = 10_000

_WAITING = (
    " FROM changes c JOIN documents d ON d.id = c.entity_id"
    " LEFT JOIN search_documents s ON s.document_id = d.id AND s.title = d.title AND s.content_hash = d.content_hash"
    " WHERE c.workspace_id = $1 AND c.seq > $2 AND c.entity = 'document' AND d.trashed_at IS NULL AND s.n IS NULL"
)


class Seen(NamedTuple):
    """A waiting document that matches, and its text."""

    document: Live
    text: str


class Scan(NamedTuple):
    """What looking through the waiting documents gave: the matching ones, and how many were left out."""

    found: dict[Key, Seen]
    left_out: int


def scan(db: Reader, scopes: list[Scope], query: Query, fields: tuple[Field, ...], only: Filter) -> Scan:
    """Look through what waits in these workspaces; what goes beyond the bounds is counted only."""
    seen: list[tuple[Scope, Seen]] = []
    looked, waiting, room = 0, 0, MOST_BYTES
    for scope in scopes:
        if not scope.lags:
            continue
        values: list[Value] = [scope.workspace_id, scope.seq]
        where = _WAITING + only.sql(values)
        rows = db.rows(f"SELECT {LOOKED_AT}{where} ORDER BY c.seq DESC LIMIT {MOST + 1:d}", *values)
        if len(rows) > MOST:
            waiting += db.value(int, f"SELECT count(*) FROM (SELECT 1{where} LIMIT {_COUNTED:d}) w", *values) or 0
        else:
            waiting += len(rows)
        for document in map(Live._make, rows):
            if looked == MOST:
                break
            if document.size > room:
                continue
            looked, room = looked + 1, room - document.size
            text = db.value(str, "SELECT text FROM document_texts WHERE document_id = $1", document.id) or ""
            if fits(query, fields, fold(document.title), fold(text)):
                seen.append((scope, Seen(document, text)))
    return Scan(_weighed(db, seen, query, fields), waiting - looked)


def fits(query: Query, fields: tuple[Field, ...], title: str, text: str) -> bool:
    """Whether a document is found: every wanted term stands in one of the fields, no unwanted one does."""
    places = [folded for field, folded in (("title", title), ("content", text)) if field in fields]

    def stands(term: Term) -> bool:
        return any(find(term, folded) is not None for folded in places)

    return all(map(stands, query.wanted)) and not any(map(stands, query.unwanted))


def _weighed(db: Reader, seen: list[tuple[Scope, Seen]], query: Query, fields: tuple[Field, ...]) -> dict[Key, Seen]:
    if not seen:
        return {}
    # Rarity is judged by the workspace of the first: this only has to do until the indexer has been there.
    numbers = seen[0][0].numbers or Numbers(0, 0)
    weigh = engines.of(db).weigher(db, Question(query, fields, numbers, 0, 0))
    made: dict[Key, Seen] = {}
    for _, one in seen:
        key = Key(weigh(tokens(fold(one.document.title)), tokens(fold(one.text))), _tie(one.document.id))
        while key in made:  # made in the same millisecond, one of 2,000 such pairs
            key = Key(key.score, key.tie + 1)
        made[key] = one
    return made


def _tie(document_id: str) -> int:
    """A number for an id, later ones greater (UUIDv7); far above the numbers in the index."""
    return int(document_id.replace("-", "")[:16], 16) >> 1
