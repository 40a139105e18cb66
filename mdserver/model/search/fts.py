"""The index on SQLite: an FTS5 table, ranked by bm25. Its terms are quoted, so no text is taken for syntax."""

from __future__ import annotations

import math
from collections.abc import Callable

from mdserver.query import Query
from mdserver.store.db import Reader, Tx, Value
from mdserver.terms import Term, spaced

from .shape import FIELDS, LIVE, Field, Filter, Numbers, Question

TITLE_WEIGHT = 10.0
_BM25 = f"bm25(search_fts, {TITLE_WEIGHT}, 1.0)"
_COLUMNS: dict[Field, str] = {"title": "title", "content": "words"}
MERGING = {"usermerge": 2, "automerge": 0, "crisismerge": 64}
"""How the index merges its segments (see the migration)."""

_COMMON = 1_000
_K1 = 1.2


words = spaced
"""What `put` takes of a text: FTS5 splits it into the tokens."""


def put(tx: Tx, n: int, title: str, words: str) -> None:
    """Enter words under a number that is free."""
    tx.run("INSERT INTO search_fts (rowid, title, words) VALUES ($1, $2, $3)", n, title, words)


def drop(tx: Tx, n: int) -> None:
    """Take out what stands under a number, if anything does."""
    tx.run("DELETE FROM search_fts WHERE rowid = $1", n)


def clear(tx: Tx) -> None:
    """Take everything out."""
    tx.run("DROP TABLE search_fts")
    tx.run("CREATE VIRTUAL TABLE search_fts USING fts5(title, words, tokenize = 'ascii', prefix = '2')")
    for name, value in MERGING.items():
        tx.run("INSERT INTO search_fts (search_fts, rank) VALUES ($1, $2)", name, value)


def tidy(tx: Tx, pages: int) -> bool:
    """Merge a bounded part of the index's segments; whether there may be more to do."""
    before = tx.value(int, "SELECT total_changes()") or 0
    tx.run("INSERT INTO search_fts (search_fts, rank) VALUES ('merge', $1)", pages)
    return (tx.value(int, "SELECT total_changes()") or 0) - before >= 2  # as FTS5's documentation tells it


def size(db: Reader) -> int:
    """How many entries there are, parts of long documents included."""
    return db.value(int, "SELECT count(*) FROM search_fts") or 0


def check(db: Reader) -> list[str]:
    """What FTS5 finds wrong when it compares its index with its own copy of the tokens; reading, so nobody waits."""
    db.rows("SELECT rowid FROM search_fts LIMIT 1")  # without, it may judge by what it remembers (see backup/verifying)
    return [one for one in db.column(str, "PRAGMA integrity_check(search_fts)") if one != "ok"]


def matches(db: Reader, question: Question, only: Filter | None) -> list[tuple[int, float]]:
    """(number, score) of the best of the newest matching entries; with `only`, of live documents that pass it."""
    values: list[Value] = [_expression(question.query, question.fields), *question.numbers]
    if only is None:
        sql = (
            f"SELECT rowid AS n, {_BM25} AS cost FROM search_fts WHERE search_fts MATCH $1"
            f" AND rowid >= $2 AND rowid <= $3 ORDER BY rowid DESC LIMIT {question.most:d}"
        )
    else:
        sql = (
            f"SELECT search_fts.rowid AS n, {_BM25} AS cost FROM search_fts"
            f" CROSS JOIN search_documents s ON s.n = search_fts.rowid{LIVE} WHERE search_fts MATCH $1"
            f" AND search_fts.rowid >= $2 AND search_fts.rowid <= $3{only.sql(values)}"
            f" ORDER BY search_fts.rowid DESC LIMIT {question.most:d}"
        )
    return db.rows(f"SELECT n, -cost FROM ({sql}) ORDER BY cost, n DESC LIMIT {question.best:d}", *values)


def weigher(db: Reader, question: Question) -> Callable[[list[str], list[str]], float]:
    """Scores for what is not in the index yet, from the tokens of title and text: bm25 for a text of middle length."""
    total = _count(db, None, question.fields, question.numbers)
    rarities = []
    for term in question.query.wanted:
        known = _count(db, term, question.fields, question.numbers)
        rarities.append(max(math.log((total - known + 0.5) / (known + 0.5)), 1e-6))

    def weigh(title: list[str], words: list[str]) -> float:
        score = 0.0
        there = (("title", TITLE_WEIGHT, _joined(title)), ("content", 1.0, _joined(words)))
        for term, rarity in zip(question.query.wanted, rarities, strict=True):
            wanted = f" {' '.join(term.tokens)}{'' if term.is_open else ' '}"
            often = sum(weight * text.count(wanted) for field, weight, text in there if field in question.fields)
            score += rarity * often * (_K1 + 1) / (often + _K1)
        return score

    return weigh


def _joined(tokens: list[str]) -> str:
    return f" {' '.join(tokens)} "


def _count(db: Reader, term: Term | None, fields: tuple[Field, ...], numbers: Numbers) -> int:
    """How many entries hold the term, or are there; no more than a common word needs."""
    if term is None:
        among = "SELECT 1 FROM search_documents WHERE n >= $1 AND n <= $2 LIMIT 100000"
        return db.value(int, f"SELECT count(*) FROM ({among})", *numbers) or 0
    among = f"SELECT 1 FROM search_fts WHERE search_fts MATCH $1 AND rowid >= $2 AND rowid <= $3 LIMIT {_COMMON:d}"
    return db.value(int, f"SELECT count(*) FROM ({among})", _expression(Query((term,), ()), fields), *numbers) or 0


def _expression(query: Query, fields: tuple[Field, ...]) -> str:
    """The query in FTS5's language. Tokens hold letters and digits only."""
    made = " AND ".join(map(_quoted, query.wanted))
    if query.unwanted:
        made = f"({made}) NOT ({' OR '.join(map(_quoted, query.unwanted))})"
    if fields != FIELDS:
        made = f"{{{' '.join(_COLUMNS[one] for one in fields)}}} : ({made})"
    return made


def _quoted(term: Term) -> str:
    return f'"{" ".join(term.tokens)}"{" *" if term.is_open else ""}'
