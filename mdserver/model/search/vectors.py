"""The index on PostgreSQL: tsvectors that we make ourselves, so that its parser has no say; ranked by cover density."""

from __future__ import annotations

from collections.abc import Callable

from mdserver.store.db import Reader, Tx, Value
from mdserver.terms import Term, fold, tokens

from .shape import FIELDS, LIVE, Field, Filter, Question

_WEIGHTS: dict[Field, str] = {"title": "A", "content": "D"}
_COLUMNS: dict[Field, str] = {"title": "title", "content": "words"}
_RANK = "ts_rank_cd(CAST('{0.1, 0.1, 0.1, 1.0}' AS real[]), %s, CAST($1 AS tsquery), 1)"
_MOST_POSITION = 16_383
_MOST_POSITIONS = 255


def words(text: str) -> str:
    """What `put` takes of a text: its tokens."""
    return " ".join(tokens(fold(text)))


def put(tx: Tx, n: int, title: str, words: str) -> None:
    """Enter words under a number that is free."""
    tx.run(
        "INSERT INTO search_vectors (n, title, words, vector) VALUES ($1, $2, $3, CAST($4 AS tsvector))",
        n,
        f" {title} ",
        f" {words} ",
        _vector(title.split(), words.split()),
    )


def drop(tx: Tx, n: int) -> None:
    """Take out what stands under a number, if anything does."""
    tx.run("DELETE FROM search_vectors WHERE n = $1", n)


def clear(tx: Tx) -> None:
    """Take everything out."""
    tx.run("DELETE FROM search_vectors")


def tidy(tx: Tx, pages: int) -> bool:
    """Move what waits in the index's list of pending entries to its place; autovacuum does the rest."""
    tx.value(int, "SELECT gin_clean_pending_list(CAST('search_vectors_vector' AS regclass))")
    return False


def size(db: Reader) -> int:
    """How many entries there are, parts of long documents included."""
    return db.value(int, "SELECT count(*) FROM search_vectors") or 0


def check(db: Reader) -> list[str]:
    """Nothing: PostgreSQL keeps its index equal to its table by itself."""
    return []


def matches(db: Reader, question: Question, only: Filter | None) -> list[tuple[int, float]]:
    """(number, score) of the best of the newest matching entries; with `only`, of live documents that pass it."""
    values: list[Value] = [_expression(question), *question.numbers]
    where = f"e.vector @@ CAST($1 AS tsquery) AND e.n >= $2 AND e.n <= $3{_phrases(question, values)}"
    live = ""
    if only is not None:
        live = f" JOIN search_documents s ON s.n = e.n{LIVE}"
        where += only.sql(values)
    return db.rows(
        f"SELECT f.n, CAST({_RANK % 'f.vector'} AS double precision) AS score FROM"
        f" (SELECT e.n, e.vector FROM search_vectors e{live} WHERE {where} ORDER BY e.n DESC LIMIT {question.most:d}) f"
        f" ORDER BY score DESC, n DESC LIMIT {question.best:d}",
        *values,
    )


def weigher(db: Reader, question: Question) -> Callable[[list[str], list[str]], float]:
    """Scores for what is not in the index yet, from the tokens of title and text."""
    expression = _expression(question)

    def weigh(title: list[str], words: list[str]) -> float:
        sql = f"SELECT CAST({_RANK % 'CAST($2 AS tsvector)'} AS double precision)"
        return db.value(float, sql, expression, _vector(title, words)) or 0.0

    return weigh


def _vector(title: list[str], words: list[str]) -> str:
    """The text form of a tsvector: each token with its first positions, those in the title with weight A."""
    places: dict[str, list[str]] = {}
    for at, token in enumerate(title, 1):
        places.setdefault(token, []).append(f"{min(at, _MOST_POSITION)}A")
    for at, token in enumerate(words, len(title) + 2):
        known = places.setdefault(token, [])
        if len(known) < _MOST_POSITIONS:
            known.append(str(min(at, _MOST_POSITION)))
    return " ".join([f"'{token}':{','.join(known)}" for token, known in places.items()])


def _expression(question: Question) -> str:
    """The query in PostgreSQL's language: the tokens of phrases in any order. Tokens hold letters and digits only."""
    where = "" if question.fields == FIELDS else "".join(_WEIGHTS[one] for one in question.fields)
    made = [_token(term, at, where) for term in question.query.wanted for at in range(len(term.tokens))]
    made += [f"!{_token(term, 0, where)}" for term in question.query.unwanted if len(term.tokens) == 1]
    return " & ".join(made)


def _token(term: Term, at: int, where: str) -> str:
    tokens = term.tokens
    flags = ("*" if term.is_open and at == len(tokens) - 1 else "") + where
    return f"'{tokens[at]}'{':' if flags else ''}{flags}"


def _phrases(question: Question, values: list[Value]) -> str:
    """Conditions that phrases stand as they are, or do not."""
    made = ""
    for terms, negation in ((question.query.wanted, ""), (question.query.unwanted, "NOT ")):
        for term in terms:
            if len(term.tokens) > 1:
                values.append(f"% {' '.join(term.tokens)}{'' if term.is_open else ' '}%")
                places = " OR ".join(f"e.{_COLUMNS[one]} LIKE ${len(values)}" for one in question.fields)
                made += f" AND {negation}({places})"
    return made
