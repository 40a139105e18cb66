"""What somebody types into a search box: words, "phrases", beginnings* and -exclusions. Floor 0.

Any text is understood somehow: what cannot be part of a word separates words, and nothing is left that an engine could
take for syntax.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .terms import Term, fold, pieces

_ITEM = re.compile(
    r"""
    (?P<minus> (?<!\S) [-－])?
    (?: ["“”„‟«»＂] (?P<phrase> [^"“”„‟«»＂]*) (?: ["“”„‟«»＂] | \Z) (?P<star> [*＊])?
      | (?P<word> [^\s"“”„‟«»＂]+) )
    """,
    re.VERBOSE,
)


class Query(NamedTuple):
    """What has to stand in a document, all of it, and what must not."""

    wanted: tuple[Term, ...]
    unwanted: tuple[Term, ...]

    @property
    def size(self) -> int:
        """How many tokens an index is asked for."""
        return sum(len(term.tokens) for term in (*self.wanted, *self.unwanted))


def parse(text: str) -> Query:
    """The query that a text means. Never fails; `wanted` is empty when there is nothing to look for.

    Words that are joined by other signs (`foo-bar`, `3.14`, `user@host`) are a phrase.
    """
    wanted: dict[Term, None] = {}
    unwanted: dict[Term, None] = {}
    for item in _ITEM.finditer(text):
        word, phrase = item["word"], item["phrase"]
        starred = (item["star"] or "") if word is None else word.endswith(("*", "＊"))
        found = pieces(fold(word if phrase is None else phrase))
        if found:
            term = Term(found, bool(starred) and not found[-1].dense)
            (unwanted if item["minus"] else wanted)[term] = None
    return Query(tuple(wanted), tuple(unwanted))
