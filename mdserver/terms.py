"""Words as the search knows them: folded text, the tokens that an index holds, and where a term stands. Floor 0.

Two kinds of writing are told apart. *Sparse* scripts separate words by spaces: a run of letters and digits is a token.
*Dense* scripts (Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese) do not, or hang endings on words: a run becomes
its overlapping pairs of characters and then its last character alone, so that 東京都 is 東京, 京都, 都. Any part of a
run is found: of two characters as a token, of more as a phrase, of one as a prefix. Every engine gets the same tokens.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from typing import NamedTuple

LONGEST = 256
"""Characters of a token: a longer run of letters is split into several."""

_DENSE = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3021-\u3029\u3041-\u309a\u309d-\u309f"
    "\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u3131-\u318e\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\ua960-\ua97c\uac00-\ud7fb\uf900-\ufaff\U00016fe0-\U0001b2ff\U00020000-\U0003ffff"
)
# Vowel signs and the like, which Python does not count as letters though words consist of them (India, Tibet).
_MARKS = "\u0900-\u0963\u0966-\u0dff\u0f18\u0f19\u0f35\u0f37\u0f39\u0f71-\u0f84\u0f90-\u0fbc"
# Left out of words: accents, the points of Hebrew and Arabic, the tatweel, and characters that are not seen.
_LEFT_OUT = re.compile(
    "[\u00ad\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u065f"
    "\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u1ab0-\u1aff\u1dc0-\u1dff\u200c-\u200f\u20d0-\u20ff"
    "\u2060-\u2064\ufe00-\ufe0f\ufe20-\ufe2f\ufeff]+"
)
# Letters that Unicode does not take apart.
_AS_ASCII = {
    "æ": "ae",
    "œ": "oe",
    "ø": "o",
    "đ": "d",
    "ð": "d",
    "þ": "th",
    "ħ": "h",
    "ı": "i",
    "ł": "l",
    "ŋ": "n",
    "ŧ": "t",
}
_WHOLE = re.compile(f"[{''.join(_AS_ASCII)}]")
# Folds by itself: nothing in ASCII melts together with what follows or stands before it, once accents are left out.
_BEYOND_ASCII = re.compile("[^\x00-\x7f]+")
_SHORT_RUN = 4

_ASCII_TOKENS = re.compile(f"[a-z0-9]{{1,{LONGEST}}}")
_ASCII_REST = re.compile("[a-z0-9]*")
_ASCII_BETWEEN = re.compile("[^a-z0-9]*")


class _Patterns(NamedTuple):
    """How runs are told apart outside of ASCII."""

    runs: re.Pattern[str]
    dense: re.Pattern[str]
    sparse: re.Pattern[str]
    rest: re.Pattern[str]
    between: re.Pattern[str]


@cache
def _patterns() -> _Patterns:
    """Compiled with their first use: over such ranges that takes 35 ms, which a start would wait for."""
    sparse = rf"(?:[^\W_{_DENSE}]|[{_MARKS}])"
    return _Patterns(
        runs=re.compile(rf"([{_DENSE}]+)|({sparse}{{1,{LONGEST}}})"),
        dense=re.compile(f"[{_DENSE}]"),
        sparse=re.compile(sparse),
        rest=re.compile(f"{sparse}*"),
        between=re.compile(rf"(?:(?![{_DENSE}{_MARKS}])[\W_])*"),
    )


class Piece(NamedTuple):
    """A run of one kind of writing within a term."""

    text: str
    dense: bool


class Term(NamedTuple):
    """Pieces that have to follow one another. With `prefix` the last word may go on."""

    pieces: tuple[Piece, ...]
    prefix: bool = False

    @property
    def is_open(self) -> bool:
        """Whether the last token is the beginning of one."""
        last = self.pieces[-1]
        return len(last.text) == 1 if last.dense else self.prefix

    @property
    def tokens(self) -> list[str]:
        """What an index is asked for: these tokens in a row, the last one perhaps a beginning (`is_open`)."""
        found: list[str] = []
        for piece in self.pieces:
            found += _pairs(piece.text) if piece.dense else [piece.text]
        last = self.pieces[-1]
        if last.dense and len(last.text) > 1:  # the run may go on
            found.pop()
        return found


def fold(text: str) -> str:
    """The text as it is compared: without case, accents and compatibility forms. Words keep their order."""
    if text.isascii():
        return text.lower()
    return _BEYOND_ASCII.sub(_folded, lower(text))


def lower(text: str) -> str:
    """The text with its ASCII letters in lower case; a third of the time of `str.lower` for what is not all ASCII."""
    if text.isascii():
        return text.lower()
    return text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


def _folded(run: re.Match[str]) -> str:
    return fold_character(run[0]) if run.end() - run.start() <= _SHORT_RUN else _fold(run[0])


def _fold(text: str) -> str:
    bare = _LEFT_OUT.sub("", unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold()))
    return unicodedata.normalize("NFC", _WHOLE.sub(lambda found: _AS_ASCII[found[0]], bare))


def tokens(folded: str) -> list[str]:
    """The tokens of a folded text in their order: letters and digits only, so that they can be joined by spaces."""
    if folded.isascii():
        return _ASCII_TOKENS.findall(folded)
    found: list[str] = []
    for dense, sparse in _patterns().runs.findall(folded):
        if dense:
            found += _pairs(dense)
        else:
            found.append(sparse)
    return found


def spaced(text: str) -> str:
    """A text in which the tokens of the given one, folded, stand in their order between other ASCII characters.

    Not all of it is folded: ASCII letters keep their case and what separates them, so that what splits at everything
    but ASCII letters, ASCII digits and characters beyond ASCII, as FTS5's `ascii` does, makes the same tokens of it. It
    takes a quarter of the time of `tokens`, since words in ASCII stay as they are.
    """
    words = text.split()
    if text.isascii() and max(map(len, words), default=0) <= LONGEST:
        return text
    # No token and no accent reaches over white space, so words can be folded one by one.
    return " ".join([one if len(one) <= LONGEST and one.isascii() else _spaced(one) for one in words])


def _spaced(word: str) -> str:
    return _spaced_often(word) if len(word) <= 40 else " ".join(tokens(fold(word)))


@lru_cache(maxsize=4096)
def _spaced_often(word: str) -> str:
    return " ".join(tokens(fold(word)))


def pieces(folded: str) -> tuple[Piece, ...]:
    """The runs of a folded text."""
    if folded.isascii():
        return tuple(Piece(one, False) for one in _ASCII_TOKENS.findall(folded))
    return tuple(Piece(dense or sparse, bool(dense)) for dense, sparse in _patterns().runs.findall(folded))


def find(term: Term, folded: str, start: int = 0) -> tuple[int, int] | None:
    """Where the term stands first in a folded text from `start` on: (start, end), a beginning with its whole word."""
    first = term.pieces[0].text
    at = folded.find(first, start)
    if at < 0:
        return None
    if len(term.pieces) == 1 and folded.isascii():
        return _find_word(first, folded, at, prefix=term.prefix)
    while at >= 0:
        end = _end(term, folded, at)
        if end >= 0:
            return at, end
        at = folded.find(first, at + 1)
    return None


def _find_word(word: str, folded: str, at: int, *, prefix: bool) -> tuple[int, int] | None:
    """The same for one word in ASCII, which is most of what is looked for."""
    size, length = len(folded), len(word)
    while at >= 0:
        end = at + length
        if at == 0 or not folded[at - 1].isalnum():
            if end == size or not folded[end].isalnum():
                return at, end
            if prefix:
                return at, _after(folded, end, between=False)
        at = folded.find(word, at + 1)
    return None


@lru_cache(maxsize=4096)
def fold_character(character: str) -> str:
    """`fold` of one character (with the marks that follow it), or of a few."""
    return _fold(character)


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run))]


def _end(term: Term, folded: str, at: int) -> int:
    """Where the term ends when it begins at this offset, or -1."""
    last = len(term.pieces) - 1
    for place, (text, dense) in enumerate(term.pieces):
        if place:
            at = _after(folded, at, between=True)
            if not folded.startswith(text, at):
                return -1
        if at and not (dense and place == 0) and _belongs(folded[at - 1], dense):
            return -1
        at += len(text)
        if place == last and (dense or term.prefix):
            return at if dense else _after(folded, at, between=False)
        if at < len(folded) and _belongs(folded[at], dense):
            return -1
    return at


def _belongs(character: str, dense: bool) -> bool:
    """Whether a run of this kind of writing would go on with the character."""
    if character.isascii():
        return not dense and character.isalnum()
    patterns = _patterns()
    return (patterns.dense if dense else patterns.sparse).match(character) is not None


def _after(folded: str, at: int, *, between: bool) -> int:
    """The end of what stands between words at this offset, or of the word."""
    if folded.isascii():
        pattern = _ASCII_BETWEEN if between else _ASCII_REST
    else:
        pattern = _patterns().between if between else _patterns().rest
    found = pattern.match(folded, at)
    return found.end() if found else at
