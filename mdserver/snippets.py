"""The piece of a text that shows why it was found: HTML-escaped, with every hit in <mark>. Floor 0."""

from __future__ import annotations

import bisect
import html
import re
from collections.abc import Iterator, Sequence

from .terms import Term, find, fold, fold_character, lower

LENGTH = 200
"""About how many characters of the text a snippet shows."""

WINDOW, ASCII_WINDOW = 600, 8192
"""Characters that are looked at at once: to know where folded text comes from takes time, but for ASCII."""

PLAIN = 20_000
"""Characters in which a word in ASCII is looked for without folding them."""

OVERLAP = 150
MOST = 2_000_000
"""Characters of a text that are looked through."""

_BEFORE = 50
_SLACK = 30
_HITS = 20
_MARK = "\0"  # stands in no text
_SPACE = re.compile(r"\s+")
# Pieces that fold by themselves: marks are folded with what they stand on when they melt together with it.
_FOLDING = re.compile("[\x00-\x7f]+|[^\x00-\x7f][\u1160-\u11ff\u3099\u309a]*")


def snippet(text: str, terms: Sequence[Term], *, length: int = LENGTH) -> str | None:
    """The part of the text where most of the terms stand together, or None when none is found.

    Long texts are looked at window by window: the first one with all terms is taken, or else the one with the most.
    White space is shown as single spaces; `…` stands where the text was cut.
    """
    hit = _plain(text, terms[0]) if len(terms) == 1 else None
    if hit is None:
        hit = _best(text, terms, length)
        if hit is None:
            return None
    shown_from, shown_to = _cut(text, *hit, length)
    shown = text[shown_from:shown_to]
    return _marked(text, shown_from, shown_to, sorted(_spans(shown, fold(shown), terms)))


def _plain(text: str, term: Term) -> tuple[int, int] | None:
    """The first place of a word in ASCII with nothing but ASCII beside it, if it is such a word and has one soon.

    There folding changes nothing but the case.
    """
    word, dense = term.pieces[0]
    if dense or len(term.pieces) > 1 or not word.isascii():
        return None
    lowered = lower(text[:PLAIN])
    at = lowered.find(word)
    while at >= 0:
        end = at + len(word)
        if not at or _is_between(lowered[at - 1]):
            while term.prefix and end < len(lowered) and lowered[end] < "\x80" and lowered[end].isalnum():
                end += 1
            if (end < len(lowered) and _is_between(lowered[end])) or end == len(text):
                return at, end
        at = lowered.find(word, at + 1)
    return None


def _is_between(character: str) -> bool:
    return character < "\x80" and not character.isalnum()


def _best(text: str, terms: Sequence[Term], length: int) -> tuple[int, int] | None:
    """The hit to show, of the window with most terms."""
    best, most = (0, 0, ""), 0
    hit: tuple[int, int] | None = None
    for start, end in _windows(text):
        folded = fold(text[start:end])
        count = 0
        for term in terms:
            if (found := find(term, folded)) is not None:
                hit = found
                count += 1
        if count > most:
            best, most = (start, end, folded), count
            if count == len(terms):
                break
    if not most:
        return None
    start, end, folded = best
    if len(terms) > 1 or not text.isascii():
        hit = _densest(text[start:end], folded, terms, length)
    return None if hit is None else (start + hit[0], start + hit[1])


def beginning(text: str, *, length: int = LENGTH) -> str:
    """The first part of a text, shown in the same way, without marks."""
    return _marked(text, *_cut(text, 0, 0, length), ())


def _windows(text: str) -> Iterator[tuple[int, int]]:
    """Overlapping parts of the text that begin and end between words where they can."""
    start, size = 0, min(len(text), MOST)
    window = ASCII_WINDOW if text.isascii() else WINDOW
    while True:
        end = min(start + window, size)
        if end < size:
            space = max(text.rfind(" ", end - _SLACK, end), text.rfind("\n", end - _SLACK, end))
            end = space if space > start else end
        yield start, end
        if end >= size:
            return
        following = end - OVERLAP
        space = text.find(" ", following, following + _SLACK)
        start = space if space >= 0 else following


def _is_in_place(text: str, folded: str, hit: tuple[int, int] | None) -> bool:
    """Whether a hit in the folded text stands at the same place in the text: nothing got longer or shorter before."""
    return hit is not None and (
        text.isascii() or (len(text) == len(folded) and fold(text[: hit[1]]) == folded[: hit[1]])
    )


def _spans(text: str, folded: str, terms: Sequence[Term]) -> list[tuple[int, int, int]]:
    """(start, end, which term) of the first hits of each term in a text."""
    hits = _hits(folded, terms)
    if text.isascii() or not hits:
        return hits
    if not _is_in_place(text, folded, max(hits, key=lambda hit: hit[1])[:2]):
        return _mapped_spans(text, terms)
    placed = []
    for start, end, which in hits:
        while end < len(text) and not fold_character(text[end]):  # an accent belongs to the letter before it
            end += 1
        placed.append((start, end, which))
    return placed


def _hits(folded: str, terms: Sequence[Term]) -> list[tuple[int, int, int]]:
    hits = []
    for which, term in enumerate(terms):
        at = 0
        for _ in range(_HITS):
            if (found := find(term, folded, at)) is None:
                break
            hits.append((*found, which))
            at = found[1]
    return hits


def _mapped_spans(text: str, terms: Sequence[Term]) -> list[tuple[int, int, int]]:
    folded, begins, ends = _mapped(text)
    return [(begins[start], ends[end - 1], which) for start, end, which in _hits(folded, terms)]


def _mapped(text: str) -> tuple[str, list[int], list[int]]:
    """The folded text, and for each of its characters where the piece it was made of begins and ends."""
    parts: list[str] = []
    begins: list[int] = []
    ends: list[int] = []
    for piece in _FOLDING.finditer(text):
        start, end = piece.span()
        if piece[0].isascii():
            parts.append(piece[0].lower())
            begins += range(start, end)
            ends += range(start + 1, end + 1)
        else:
            made = fold_character(piece[0])
            parts.append(made)
            begins += [start] * len(made)
            if made:
                ends += [end] * len(made)
            elif ends:  # a mark belongs to the letter before it
                ends[-1] = end
    return "".join(parts), begins, ends


def _densest(text: str, folded: str, terms: Sequence[Term], length: int) -> tuple[int, int] | None:
    """The hit from which on the most different terms stand within the length."""
    spans = sorted(_spans(text, folded, terms))
    if len(terms) == 1:
        return spans[0][:2] if spans else None
    starts = [one[0] for one in spans]
    best, most = None, 0
    for place, one in enumerate(spans):
        reach = bisect.bisect_left(starts, one[0] + max(length - _BEFORE, 1), place)
        different = len({other[2] for other in spans[place:reach]})
        if different > most:
            best, most = (one[0], one[1]), different
    return best


def _cut(text: str, hit_start: int, hit_end: int, length: int) -> tuple[int, int]:
    """What is shown around a hit: between words where there are spaces, never inside one character."""
    start = max(0, hit_start - _BEFORE)
    if start:
        space = _SPACE.search(text, start, hit_start)
        start = space.end() if space else _whole(text, start)
    end = max(start + length, hit_end)
    if end < len(text):
        place = text.rfind(" ", max(hit_end, end - _SLACK), end)
        end = place if place > start else _whole(text, end)
    return start, min(end, len(text))


def _whole(text: str, at: int) -> int:
    """The offset, or the one before it at which no character is cut in two."""
    for _ in range(16):
        if at <= 0 or at >= len(text) or _FOLDING.match(text, at - 1) is None:
            break
        if fold_character(text[at]) and not "\u1160" <= text[at] <= "\u11ff" and text[at] not in "\u3099\u309a":
            break
        at -= 1
    return at


def _marked(text: str, start: int, end: int, hits: Sequence[tuple[int, int, int]]) -> str:
    """The part of the text between the offsets, escaped, with the hits in it marked: they count from its start."""
    shown = text[start:end].replace(_MARK, " ")
    pieces, at = [], 0
    for hit_start, hit_end, _ in hits:
        if hit_start >= at:
            pieces += [shown[at:hit_start], shown[hit_start:hit_end]]
            at = hit_end
    pieces.append(shown[at:])
    # Escaped and brought onto one line as a whole, around marks that are replaced afterwards.
    texts = html.escape(" ".join(_MARK.join(pieces).split())).split(_MARK)
    made = "".join([f"{plain}<mark>{hit}</mark>" for plain, hit in zip(texts[0::2], texts[1::2], strict=False)])
    return f"{'…' if start else ''}{made}{texts[-1]}{'…' if end < len(text) else ''}"
