"""What a search is given and gives back, and the numbers under which documents stand in the index."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from mdserver.model.access import Role
from mdserver.model.documents import State
from mdserver.query import Query
from mdserver.store.db import Value
from mdserver.text import fold

Field = Literal["title", "content"]
FIELDS: tuple[Field, ...] = ("title", "content")


class Match(NamedTuple):
    """A document that was found, in the state in which it was, and what of it shows that.

    `snippet` is HTML: escaped text with `<mark>` around what was asked for. A greater `score` is better; scores are
    comparable within one answer only. `matched_in` says where the words stand.
    """

    state: State
    workspace_id: str
    role: Role
    title: str
    snippet: str
    score: float
    matched_in: list[Field]


class Found(NamedTuple):
    """A page of matches, the key after which the next one begins, how many documents wait for the index unseen."""

    matches: list[Match]
    following: Key | None
    indexing: int


class Live(NamedTuple):
    """What of a live document a search looks at: the columns LOOKED_AT, in their order."""

    id: str
    workspace_id: str
    version: int
    revision: int
    title: str
    size: int


LOOKED_AT = "d.id, d.workspace_id, d.version, d.revision, d.title, d.size"


class Filter(msgspec.Struct, kw_only=True):
    """Which documents: None asks for nothing."""

    kind: str | None = None
    tag: str | None = None
    author_id: str | None = None

    @property
    def is_empty(self) -> bool:
        return self.kind is None and self.tag is None and self.author_id is None

    def sql(self, values: list[Value]) -> str:
        """Conditions on `documents d`, each with AND before it; the values are appended to those there are."""
        made = ""
        if self.kind is not None:
            values.append(self.kind)
            made += f" AND d.kind = ${len(values)}"
        if self.author_id is not None:
            values.append(self.author_id)
            made += f" AND d.author_id = ${len(values)}"
        if self.tag is not None:
            values.append(fold(self.tag))
            made += (
                " AND EXISTS (SELECT 1 FROM document_tags g WHERE g.workspace_id = d.workspace_id"
                f" AND g.document_id = d.id AND g.tag_key = ${len(values)})"
            )
        return made


class Key(NamedTuple):
    """Where a hit stands in the order: by score, then by what decides between equal ones."""

    score: float
    tie: int


class Scope(NamedTuple):
    """A workspace that the asker may read, and how far the index has come in it."""

    workspace_id: str
    role: Role
    number: int | None
    counter: int
    seq: int
    newest: int

    @property
    def numbers(self) -> Numbers | None:
        """Where its documents stand in the index; None when none does."""
        return None if self.number is None else Numbers.of(self.number)

    @property
    def lags(self) -> bool:
        """Whether something was changed that the index may not know."""
        return self.newest > self.seq


class Numbers(NamedTuple):
    """A range of numbers in the index, both ends included."""

    low: int
    high: int

    @classmethod
    def of(cls, number: int) -> Numbers:
        """The range of the workspace with that number."""
        return cls(number << 32, (number + 1 << 32) - 1)

    @property
    def of_parts(self) -> Numbers:
        """The range of the parts of long documents."""
        return Numbers(-self.high, -self.low)


class Question(NamedTuple):
    """What an engine's index is asked: the query, in which fields, among which numbers.

    The newest `most` matches are ranked, and of these the best `best` are given, the best first.
    """

    query: Query
    fields: tuple[Field, ...]
    numbers: Numbers
    most: int
    best: int


# Joins `search_documents s` to the live document. Whoever uses it sees what holds now: an entry for another title or
# text, or of a document in the trash, is none.
LIVE = (
    " JOIN documents d ON d.id = s.document_id AND d.title = s.title AND d.content_hash = s.content_hash"
    " AND d.trashed_at IS NULL"
)
