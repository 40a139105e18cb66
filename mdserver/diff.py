"""One diff for everything: edits of a text, hunks for versions and merges, unified diffs. Pure. Floor 0.

Regions are cut down step by step: the common beginning and end, then lines, then words within changed lines. What is
left is aligned by bit-parallel dynamic programming (Hyyrö 2004, by rapidfuzz). All work is counted, not timed, so a
diff is the same on every machine; when the budget is spent the hunks get coarser, never wrong.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

if TYPE_CHECKING:  # a tenth of the server's start; loaded with the first text that needs it
    from rapidfuzz.distance import MatchingBlock

BUDGET = 600_000_000  # cells of alignment in one diff: about 0.1 s
_REGION = 100_000_000  # cells of one alignment, which holds the GIL for about 20 ms
_EXACT = 8_000_000  # cells (a bit of memory each) up to which a longest common subsequence is found
_ALWAYS = 4_096  # cells of one alignment that is made even when the budget is spent
_WORDY = 1_000_000  # characters of a region up to which it is cut into words
_SNAP = 256  # characters to look back or ahead for a blank before cutting just anywhere
_ANCHORED = 20_000  # lines of both sides up to which those that each has once are paired before all others
_ALPHABET = 0x110000  # different tokens that can be written as characters

# Scripts written without blanks are compared sign by sign; combining marks and joiners stay with their base.
_SINGLE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_MARK = (
    "\u0300-\u036f\u0483-\u0489\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u06d6-\u06ed\u1ab0-\u1aff\u1dc0-\u1dff"
    "\u200c\u200d\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f\U0001f3fb-\U0001f3ff"
)
_INDIC = "\u0900-\u109f\u1780-\u17ff"  # vowel signs there are no \w
_WORD = rf"[^\W{_SINGLE}](?:[^\W{_SINGLE}]+|[{_MARK}{_INDIC}])*"
_TOKEN = (  # compiled with the first text: 6 ms, a part of the server's start
    rf"{_WORD}(?:['’]{_WORD})*"
    r"|[^\S\r\n]+"  # blanks
    r"|\r\n|[\r\n]"  # one line end
    rf"|\S(?:[{_MARK}]|(?<=\u200d)\S)*"  # any other sign, with what is joined to it
)
_WORD_CHARACTER = re.compile(r"\w")
_BLANK = re.compile(r"\s")
_LINE_END = re.compile(r"[\r\n]")
_SPECIAL = re.compile(r'[\x00-\x1f\x7f"\\]')
_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


class Hunk(NamedTuple):
    """A changed region: `old[old_start:old_end]` became `new[new_start:new_end]`. Equal tokens stand between hunks."""

    old_start: int
    old_end: int
    new_start: int
    new_end: int


class Edit(NamedTuple):
    """Replace the code points `start` to `end` of the old text by `text`."""

    start: int
    end: int
    text: str


class LineHunk(msgspec.Struct, frozen=True):
    """Whole lines that both texts have, or only the new one (insert) or only the old one (delete)."""

    op: Literal["equal", "insert", "delete"]
    text: str


def hunks(old: Sequence[str], new: Sequence[str]) -> list[Hunk]:
    """The changed regions between two sequences of tokens, in order and not touching one another."""
    return _token_hunks(old, new, _Budget())


def words(text: str) -> list[str]:
    """The tokens that texts are compared by: words, runs of blanks, single line ends and other signs."""
    return re.findall(_TOKEN, text)


def word_hunks(old: str, new: str) -> list[Hunk]:
    """The changed regions between two texts, in code points, at the edges of words (see `words`).

    Words rewritten in a row are one hunk, the blanks between them included, as a person would see it.
    """
    return _merged(_text_hunks(old, new, _Budget()))


def edits(old: str, new: str) -> list[Edit]:
    """The smallest sensible edits, sorted and apart: `apply(old, edits(old, new)) == new`.

    Found word by word, then trimmed at both ends to the characters that differ.
    """
    return [_trimmed(old, new, hunk) for hunk in word_hunks(old, new)]


def apply(old: str, changes: Sequence[Edit]) -> str:
    """The text after the edits, which are sorted and do not overlap."""
    pieces: list[str] = []
    position = 0
    for start, end, text in changes:
        pieces += (old[position:start], text)
        position = end
    pieces.append(old[position:])
    return "".join(pieces)


def line_hunks(old: str, new: str) -> list[LineHunk]:
    """The whole of both texts in order: equal + delete is `old`, equal + insert is `new`. A line ends after "\\n"."""
    start, end, new_end = _changed_lines(old, new, *_changed(old, new))
    before, after = _lines(old[start:end]), _lines(new[start:new_end])
    found: list[LineHunk] = []
    pending = old[:start]  # equal text that the next hunk closes
    position = 0
    for hunk in hunks(before, after):
        pending += "".join(before[position : hunk.old_start])
        position = hunk.old_end
        deleted = "".join(before[hunk.old_start : hunk.old_end])
        inserted = "".join(after[hunk.new_start : hunk.new_end])
        found += [LineHunk("equal", pending), LineHunk("delete", deleted), LineHunk("insert", inserted)]
        pending = ""
    found.append(LineHunk("equal", "".join([pending, *before[position:], old[end:]])))
    return [hunk for hunk in found if hunk.text]


def unified(old: str, new: str, old_name: str, new_name: str, *, context: int = 3) -> str:
    """A unified diff that patch and `git apply` take (POSIX.1-2017 diff -u); "" when the texts are equal.

    The names are written as given (git wants `a/…` and `b/…`), quoted as git does where they hold special characters.
    """
    before, after = _lines(old), _lines(new)
    pieces: list[str] = []
    for group in _groups(hunks(before, after), 2 * context):
        start = max(group[0].old_start - context, 0)
        end = min(group[-1].old_end + context, len(before))
        lead = group[0].old_start - start
        tail = end - group[-1].old_end
        pieces.append(f"@@ -{_range(start, end)} +{_range(group[0].new_start - lead, group[-1].new_end + tail)} @@\n")
        position = start
        for hunk in group:
            pieces += _marked(" ", before[position : hunk.old_start])
            pieces += _marked("-", before[hunk.old_start : hunk.old_end])
            pieces += _marked("+", after[hunk.new_start : hunk.new_end])
            position = hunk.old_end
        pieces += _marked(" ", before[position:end])
    if not pieces:
        return ""
    return f"--- {_file_name(old_name)}\n+++ {_file_name(new_name)}\n" + "".join(pieces)


class _Budget:
    """Cells of alignment that may still be computed in this diff."""

    def __init__(self) -> None:
        self.left = BUDGET


# ---- texts


def _text_hunks(old: str, new: str, budget: _Budget) -> list[Hunk]:
    """Cut the common ends, compare the lines between, then the words of changed lines."""
    if old == new:
        return []
    start, end, new_end = _changed(old, new)
    if "\n" not in old[start:end] or "\n" not in new[start:new_end]:
        return _word_hunks(old, new, Hunk(start, end, start, new_end), budget)
    start, end, new_end = _changed_lines(old, new, start, end, new_end)
    before, after = _lines(old[start:end]), _lines(new[start:new_end])
    old_at, new_at = _offsets(before, start), _offsets(after, start)
    found: list[Hunk] = []
    # Blank lines, which are alike everywhere, must not outweigh a paragraph.
    for hunk in _token_hunks(before, after, budget, anchored=len(before) + len(after) <= _ANCHORED):
        region = _placed(hunk, old_at, new_at)
        if region.old_end - region.old_start + region.new_end - region.new_start <= _WORDY:
            found += _word_hunks(old, new, region, budget)
            continue
        for part in _loose_regions(before, after, hunk, budget):
            found += _word_hunks(old, new, _placed(part, old_at, new_at), budget)
    return found


def _changed(old: str, new: str) -> tuple[int, int, int]:
    """(start, end, new_end): `old[start:end]` became `new[start:new_end]`, all else is alike. Cuts at blanks."""
    prefix = _common_prefix(old, new)
    suffix = _common_suffix(old, new, min(len(old), len(new)) - prefix)
    start, end = _blank_before(old, prefix), _blank_after(old, len(old) - suffix)
    return start, end, len(new) - (len(old) - end)


def _changed_lines(old: str, new: str, start: int, end: int, new_end: int) -> tuple[int, int, int]:
    """The same region grown to whole lines."""
    last = end if old.endswith("\n", 0, end) and new.endswith("\n", 0, new_end) else old.find("\n", end) + 1 or len(old)
    return old.rfind("\n", 0, start) + 1, last, new_end + last - end


def _word_hunks(old: str, new: str, region: Hunk, budget: _Budget) -> list[Hunk]:
    """The changed words of one region; the whole region where the words would be too many."""
    old_start, old_end, new_start, new_end = region
    if old_start == old_end or new_start == new_end or old_end - old_start + new_end - new_start > _WORDY:
        return [region]
    before, after = words(old[old_start:old_end]), words(new[new_start:new_end])
    old_at, new_at = _offsets(before, old_start), _offsets(after, new_start)
    return _joined([_placed(hunk, old_at, new_at) for hunk in _token_hunks(before, after, budget)], old)


def _loose_regions(before: list[str], after: list[str], hunk: Hunk, budget: _Budget) -> list[Hunk]:
    """Smaller regions of a large one: lines that differ only in blanks and line ends are paired one to one.

    This keeps a document recognisable whose every line end or indentation was changed.
    """
    old_start, old_end, new_start, new_end = hunk
    stripped_old = [line.strip() for line in before[old_start:old_end]]
    stripped_new = [line.strip() for line in after[new_start:new_end]]
    regions: list[Hunk] = []
    i, j = old_start, new_start
    last = Hunk(len(stripped_old), len(stripped_old), len(stripped_new), len(stripped_new))
    for a, b, c, d in [*_token_hunks(stripped_old, stripped_new, budget), last]:
        while i < old_start + a:
            if before[i] != after[j]:
                regions.append(Hunk(i, i + 1, j, j + 1))
            i, j = i + 1, j + 1
        if a < b or c < d:
            regions.append(Hunk(i, old_start + b, j, new_start + d))
        i, j = old_start + b, new_start + d
    return regions


def _joined(found: list[Hunk], old: str) -> list[Hunk]:
    """Unite changes between which only blanks or signs happened to stay the same: together they are one rewriting.

    Words and line ends part hunks, and so does anything that is longer than what changed beside it.
    """
    result: list[Hunk] = []
    for hunk in found:
        while result and _belong(result[-1], hunk, old):
            last = result.pop()
            hunk = Hunk(last.old_start, hunk.old_end, last.new_start, hunk.new_end)
        result.append(hunk)
    return result


def _belong(left: Hunk, right: Hunk, old: str) -> bool:
    size = right.old_start - left.old_end
    if size > _size(left) or size > _size(right) or not (_replaces(left) or _replaces(right)):
        return False
    between = old[left.old_end : right.old_start]
    beside = old[max(left.old_end - 1, left.old_start) : min(right.old_start + 1, right.old_end)]
    return not _WORD_CHARACTER.search(between) and not _LINE_END.search(beside)


def _size(hunk: Hunk) -> int:
    return max(hunk.old_end - hunk.old_start, hunk.new_end - hunk.new_start)


def _replaces(hunk: Hunk) -> bool:
    return hunk.old_start < hunk.old_end and hunk.new_start < hunk.new_end


def _merged(found: list[Hunk]) -> list[Hunk]:
    """Hunks of neighbouring regions may touch: make each such row one."""
    result: list[Hunk] = []
    for hunk in found:
        if result and result[-1].old_end == hunk.old_start and result[-1].new_end == hunk.new_start:
            last = result.pop()
            hunk = Hunk(last.old_start, hunk.old_end, last.new_start, hunk.new_end)
        result.append(hunk)
    return result


def _trimmed(old: str, new: str, hunk: Hunk) -> Edit:
    """The hunk without what is alike at its ends. One that goes over several words cuts none of them.

    Else what somebody writes live between these words would come to stand in the middle of one.
    """
    before, after = old[hunk.old_start : hunk.old_end], new[hunk.new_start : hunk.new_end]
    prefix = _common_prefix(before, after)
    suffix = _common_suffix(before, after, min(len(before), len(after)) - prefix)
    if any(_BLANK.search(text, prefix, len(text) - suffix) for text in (before, after)):
        if any(_cuts_word(text, prefix) for text in (before, after)):
            prefix = _blank_before(before, prefix)
        if any(_cuts_word(text, len(text) - suffix) for text in (before, after)):
            suffix = len(before) - _blank_after(before, len(before) - suffix)
    return Edit(hunk.old_start + prefix, hunk.old_end - suffix, after[prefix : len(after) - suffix])


def _cuts_word(text: str, at: int) -> bool:
    return 0 < at < len(text) and text[at - 1].isalnum() and text[at].isalnum()


def _lines(text: str) -> list[str]:
    """Split after each "\\n" and nowhere else: the lines that diff, patch and git know."""
    *whole, rest = text.split("\n")
    lines = [line + "\n" for line in whole]
    if rest:
        lines.append(rest)
    return lines


def _offsets(tokens: Sequence[str], start: int) -> list[int]:
    """Where each token begins, and where the last one ends."""
    return list(accumulate(map(len, tokens), initial=start))


def _placed(hunk: Hunk, old_at: list[int], new_at: list[int]) -> Hunk:
    """A hunk of tokens as a hunk of characters."""
    return Hunk(old_at[hunk.old_start], old_at[hunk.old_end], new_at[hunk.new_start], new_at[hunk.new_end])


def _blank_before(text: str, position: int) -> int:
    """The nearest place at or before the position, just after a blank, so that no word is cut (nor a CR LF)."""
    for at in range(position, max(position - _SNAP, 0), -1):
        if text[at - 1].isspace() and text[at - 1] != "\r":
            return at
    return max(position - _SNAP, 0)


def _blank_after(text: str, position: int) -> int:
    """The nearest place at or after the position, just before a blank."""
    for at in range(position, min(position + _SNAP, len(text))):
        if text[at].isspace() and (text[at] != "\n" or text[at - 1] != "\r"):
            return at
    return min(position + _SNAP, len(text))


def _common_prefix(a: str, b: str) -> int:
    """How many characters two texts begin with alike; compares slices, so it runs at the speed of memory."""
    limit = min(len(a), len(b))
    same, step = 0, 64
    while same + step <= limit and a[same : same + step] == b[same : same + step]:
        same, step = same + step, 2 * step
    above = min(same + step, limit) + 1  # a[:same] is alike, a[:above] is not (or is past the end)
    while above - same > 1:
        middle = (same + above) // 2
        if a[same:middle] == b[same:middle]:
            same = middle
        else:
            above = middle
    return same


def _common_suffix(a: str, b: str, limit: int) -> int:
    """How many characters, at most `limit`, two texts end with alike."""
    same, step = 0, 64
    end_a, end_b = len(a), len(b)
    while same + step <= limit and a[end_a - same - step : end_a - same] == b[end_b - same - step : end_b - same]:
        same, step = same + step, 2 * step
    above = min(same + step, limit) + 1
    while above - same > 1:
        middle = (same + above) // 2
        if a[end_a - middle : end_a - same] == b[end_b - middle : end_b - same]:
            same = middle
        else:
            above = middle
    return same


# ---- tokens


def _token_hunks(old: Sequence[str], new: Sequence[str], budget: _Budget, *, anchored: bool = False) -> list[Hunk]:
    numbers: dict[str, int] = {}
    old_numbers = [numbers.setdefault(token, len(numbers)) for token in old]
    new_numbers = [numbers.setdefault(token, len(numbers)) for token in new]
    if len(numbers) > _ALPHABET:
        return [Hunk(0, len(old), 0, len(new))]
    # One character for each different token: rapidfuzz compares strings exactly, other sequences by hash.
    x, y = "".join(map(chr, old_numbers)), "".join(map(chr, new_numbers))
    found: list[Hunk] = []
    i = j = 0
    for p, q in _anchors(x, y) if anchored else []:
        found += _trim_and_align(x, y, Hunk(i, p, j, q), budget)
        i, j = p + 1, q + 1
    return _slid(found + _trim_and_align(x, y, Hunk(i, len(x), j, len(y)), budget), x, y)


def _trim_and_align(x: str, y: str, region: Hunk, budget: _Budget) -> list[Hunk]:
    a, b = x[region.old_start : region.old_end], y[region.new_start : region.new_end]
    prefix = _common_prefix(a, b)
    suffix = _common_suffix(a, b, min(len(a), len(b)) - prefix)
    a, b = a[prefix : len(a) - suffix], b[prefix : len(b) - suffix]
    i, j = region.old_start + prefix, region.new_start + prefix
    if a and b:
        return [Hunk(p + i, q + i, r + j, s + j) for p, q, r, s in _aligned(a, b, budget)]
    return [Hunk(i, i + len(a), j, j + len(b))] if a or b else []


def _aligned(x: str, y: str, budget: _Budget) -> list[Hunk]:
    """Hunks of two strings without common ends: exactly if that is cheap, else in a band, else between anchors."""
    from rapidfuzz.distance import Indel, Levenshtein

    cells, longer = len(x) * len(y), max(len(x), len(y))
    allowed = min(_REGION, budget.left)
    if cells <= max(min(_EXACT, allowed), _ALWAYS):
        budget.left -= cells
        return _between(Indel.editops(x, y).as_matching_blocks())
    if cells <= allowed:
        budget.left -= cells
        return _between(Levenshtein.editops(x, y).as_matching_blocks())
    band = allowed // (4 * longer)
    if band > 0:
        # Long and much alike: only a band around the diagonal is computed, once to measure and once to align.
        budget.left -= 2 * band * longer
        distance = Levenshtein.distance(x, y, score_cutoff=band)
        if distance <= band:
            budget.left -= 2 * distance * longer
            return _between(Levenshtein.editops(x, y, score_hint=distance).as_matching_blocks())
    found: list[Hunk] = []
    i = j = 0
    if allowed > 0:
        budget.left -= 64 * (len(x) + len(y))
        for p, q in _anchors(x, y):
            found += _trim_and_align(x, y, Hunk(i, p, j, q), budget)
            i, j = p + 1, q + 1
    if (i, j) == (0, 0):
        return [Hunk(0, len(x), 0, len(y))]
    return found + _trim_and_align(x, y, Hunk(i, len(x), j, len(y)), budget)


def _anchors(x: str, y: str) -> list[tuple[int, int]]:
    """Patience diff (Bram Cohen): the longest rising row of tokens that each side has exactly once."""
    x_counts, y_counts = Counter(x), Counter(y)
    place = {token: j for j, token in enumerate(y)}
    pairs = [(i, place[token]) for i, token in enumerate(x) if x_counts[token] == 1 and y_counts[token] == 1]
    lowest: list[int] = []  # for each length, the smallest end of a rising row of that length …
    ends: list[int] = []  # … and which pair that is
    before = [-1] * len(pairs)
    for at, (_, j) in enumerate(pairs):
        length = bisect_left(lowest, j)
        before[at] = ends[length - 1] if length else -1
        lowest[length : length + 1] = [j]
        ends[length : length + 1] = [at]
    chain: list[tuple[int, int]] = []
    at = ends[-1] if ends else -1
    while at >= 0:
        chain.append(pairs[at])
        at = before[at]
    return chain[::-1]


def _between(blocks: Sequence[MatchingBlock]) -> list[Hunk]:
    """The hunks between matching blocks; the last block is the empty one at both ends."""
    found: list[Hunk] = []
    i = j = 0
    for a, b, size in blocks:
        if i < a or j < b:
            found.append(Hunk(i, a, j, b))
        i, j = a + size, b + size
    return found


def _slid(found: list[Hunk], x: str, y: str) -> list[Hunk]:
    """Where an insertion or deletion could stand in several places, take the last: after the blank, before the word.

    So both sides of a merge, who may have been aligned differently, mean the same place.
    """
    result: list[Hunk] = []
    limit = len(x)
    for a, b, c, d in reversed(found):
        if a == b:
            while b < limit and y[c] == y[d]:
                a, b, c, d = a + 1, b + 1, c + 1, d + 1
        elif c == d:
            while b < limit and x[a] == x[b]:
                a, b, c, d = a + 1, b + 1, c + 1, d + 1
        if result and b == limit:
            after = result.pop()
            b, d = after.old_end, after.new_end
        result.append(Hunk(a, b, c, d))
        limit = a
    return result[::-1]


# ---- unified


def _groups(found: list[Hunk], near: int) -> list[list[Hunk]]:
    """Hunks whose context would meet stand under one header."""
    groups: list[list[Hunk]] = []
    for hunk in found:
        if groups and hunk.old_start - groups[-1][-1].old_end <= near:
            groups[-1].append(hunk)
        else:
            groups.append([hunk])
    return groups


def _range(start: int, end: int) -> str:
    """Lines counted from 1; an empty range names the line before it."""
    if end - start == 1:
        return str(start + 1)
    return f"{start + 1 if end > start else start},{end - start}"


def _marked(sign: str, lines: list[str]) -> list[str]:
    marked = [sign + line for line in lines]
    if marked and not marked[-1].endswith("\n"):
        marked[-1] += "\n\\ No newline at end of file\n"
    return marked


def _file_name(name: str) -> str:
    if _SPECIAL.search(name):
        return '"' + _SPECIAL.sub(lambda found: _ESCAPES.get(found[0]) or f"\\{ord(found[0]):03o}", name) + '"'
    return name + "\t" if " " in name else name  # the tab tells patch where the name ends
