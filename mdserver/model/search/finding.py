"""Answering a search: what the index finds and what waits for it, as one list, judged by the live rows."""

from __future__ import annotations

from collections.abc import Iterator

from mdserver import snippets
from mdserver.errors import Busy
from mdserver.model import workspaces
from mdserver.model.access import Principal
from mdserver.model.documents import State
from mdserver.query import Query
from mdserver.store.db import Reader, TimeUp, Value
from mdserver.terms import find as stands
from mdserver.terms import fold

from . import engines, waiting
from .shape import LIVE, LOOKED_AT, Field, Filter, Found, Key, Live, Match, Numbers, Question, Scope
from .waiting import Seen

SECONDS = 2.0
"""How long a search may take."""

RANKED = 1_000
"""Matches in a workspace that are ranked, the newest ones: so a beginning that all documents have costs no more."""

APART = 8
"""Up to so many workspaces are asked for one by one, each in its own range of the index."""

_AT_ONCE = 21  # a page of 20, and whether there is another
_SPARE = 10
_ALL_PARTS = 1_000_000
_TEXT = f"CASE WHEN d.size <= {snippets.MOST:d} THEN t.text ELSE SUBSTR(t.text, 1, {snippets.MOST:d}) END"


def search(
    db: Reader,
    me: Principal,
    query: Query,
    *,
    workspace_id: str | None,
    fields: tuple[Field, ...],
    only: Filter,
    after: Key | None,
    limit: int,
) -> Found:
    """A page of what the asker may read and the query finds, the best first. The query has at least one wanted term.

    NotFound for a workspace that they are not in, Busy when it takes too long.
    """
    try:
        with db.within(SECONDS):
            scopes = _scopes(db, me, workspace_id)
            scan = waiting.scan(db, scopes, query, fields, only)
            found = _Search(db, query, fields, only, scopes, scan).page(after, limit + 1)
    except TimeUp:
        raise Busy("The search took too long: ask for longer or rarer words, or in one workspace.") from None
    following = found[limit - 1][0] if len(found) > limit else None
    return Found([match for _, match in found[:limit]], following, scan.left_out)


def _scopes(db: Reader, me: Principal, workspace_id: str | None) -> list[Scope]:
    """The workspaces that are searched: the asker's, as the members' rows have it now."""
    if workspace_id is not None:
        workspaces.enter(db, me, workspace_id)
    values: list[Value] = [me.user_id]
    where = "m.user_id = $1"
    for narrower in (me.workspace_id, workspace_id):
        if narrower is not None:
            values.append(narrower)
            where += f" AND m.workspace_id = ${len(values)}"
    rows = db.rows(
        "SELECT m.workspace_id, m.role, i.number, COALESCE(i.counter, 0), COALESCE(i.seq, 0),"
        " COALESCE((SELECT max(c.seq) FROM changes c WHERE c.workspace_id = m.workspace_id), 0)"
        f" FROM workspace_members m LEFT JOIN search_workspaces i ON i.workspace_id = m.workspace_id WHERE {where}",
        *values,
    )
    return [Scope(*row) for row in rows]


class _Search:
    """One search under way."""

    def __init__(
        self,
        db: Reader,
        query: Query,
        fields: tuple[Field, ...],
        only: Filter,
        scopes: list[Scope],
        scan: waiting.Scan,
    ) -> None:
        self.db, self.query, self.fields, self.only, self.scan = db, query, fields, only, scan
        self.scopes = {scope.workspace_id: scope for scope in scopes}
        self.ranges = [scope.numbers for scope in scopes if scope.numbers is not None]

    def page(self, after: Key | None, wanted: int) -> list[tuple[Key, Match]]:
        """So many matches after the key, or fewer when there are no more."""
        is_narrow = not self.only.is_empty or len(self.ranges) > APART
        # First the very best; then all that are ranked, when too many of those are out of the question; and then, when
        # too many of the newest are, those that are not.
        steps = [(self.only if is_narrow else None, RANKED)]
        if after is None and wanted + _SPARE < RANKED:
            steps.insert(0, (steps[0][0], wanted + _SPARE))
        if not is_narrow:
            steps.append((self.only, RANKED))
        found: list[tuple[Key, Seen]] = []
        for only, best in steps:
            ranked, is_cut = self._ranked(only, best)
            found = self._live(ranked, after, wanted)
            if len(found) >= wanted or not is_cut:
                break
        return [(key, self._match(key, seen.document, seen.text)) for key, seen in found]

    def _ranked(self, only: Filter | None, best: int) -> tuple[list[Key], bool]:
        """The best candidates, the best first; and whether there are more."""
        keys, is_cut = list(self.scan.found), False
        index = engines.of(self.db)
        ranges = self.ranges
        if len(ranges) > APART:
            ranges = [Numbers(min(one.low for one in ranges), max(one.high for one in ranges))]
        for numbers in ranges:
            rows = index.matches(self.db, Question(self.query, self.fields, numbers, RANKED, best), only)
            is_cut = is_cut or len(rows) == best
            keys += [Key(score, n) for n, score in rows]
            keys += self._long(numbers)
        if len(ranges) != 1 or len(keys) > len(rows):
            keys.sort(key=lambda key: (-key.score, -key.tie))
        return keys, is_cut

    def _long(self, numbers: Numbers) -> list[Key]:
        """Long documents, each wanted term in some part of them and no unwanted one in any."""
        known = self.db.rows("SELECT n, owner FROM search_parts WHERE n >= $1 AND n <= $2", *numbers.of_parts)
        if not known:
            return []
        owners = dict(known)
        index = engines.of(self.db)

        def scores(wanted: Query) -> dict[int, float]:
            best: dict[int, float] = {}
            question = Question(wanted, self.fields, numbers.of_parts, _ALL_PARTS, _ALL_PARTS)
            for n, score in index.matches(self.db, question, None):
                owner = owners[n]
                best[owner] = max(score, best.get(owner, 0.0))
            return best

        found = [scores(Query((term,), ())) for term in self.query.wanted]
        kept = set.intersection(*(set(one) for one in found))
        for term in self.query.unwanted:
            kept -= set(scores(Query((term,), ())))
        return [Key(sum(one[owner] for one in found), owner) for owner in kept]

    def _live(self, ranked: list[Key], after: Key | None, wanted: int) -> list[tuple[Key, Seen]]:
        """The first of the candidates after the key that are what they were, and may be read."""
        if after is not None:
            ranked = [key for key in ranked if (-key.score, -key.tie) > (-after.score, -after.tie)]
        found: list[tuple[Key, Seen]] = []
        for some in _chunks(ranked, _AT_ONCE):
            indexed = self._indexed([key.tie for key in some if key not in self.scan.found])
            for key in some:
                seen = self.scan.found.get(key) or indexed.get(key.tie)
                if seen is not None and seen.document.workspace_id in self.scopes:
                    found.append((key, seen))
            if len(found) >= wanted:
                break
        return found[:wanted]

    def _indexed(self, numbers: list[int]) -> dict[int, Seen]:
        """The live documents with these numbers."""
        if not numbers:
            return {}
        asked = numbers + numbers[-1:] * (_AT_ONCE - len(numbers))  # always as many, so that it is prepared once
        values: list[Value] = list(asked)
        places = ", ".join(f"${place + 1}" for place in range(_AT_ONCE))
        rows = self.db.rows(
            f"SELECT s.n, {_TEXT}, {LOOKED_AT} FROM search_documents s{LIVE}"
            f" LEFT JOIN document_texts t ON t.document_id = d.id WHERE s.n IN ({places}){self.only.sql(values)}",
            *values,
        )
        return {n: Seen(Live(*row), text or "") for n, text, *row in rows}

    def _match(self, key: Key, document: Live, text: str) -> Match:
        shown: str | None = None
        where: list[Field] = []
        if "title" in self.fields:
            title = fold(document.title)
            for term in self.query.wanted:
                if stands(term, title) is not None:
                    where.append("title")
                    break
        if "content" in self.fields:
            shown = snippets.snippet(text, self.query.wanted)
            if shown is not None:
                where.append("content")
        if shown is None:  # what was found is in the title, or too far behind in a long text
            shown = snippets.snippet(document.title, self.query.wanted) if "title" in where else None
        return Match(
            State(document.id, document.version, document.revision),
            document.workspace_id,
            self.scopes[document.workspace_id].role,
            document.title,
            shown or snippets.beginning(text),
            key.score,
            where,
        )


def _chunks(keys: list[Key], size: int) -> Iterator[list[Key]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]
