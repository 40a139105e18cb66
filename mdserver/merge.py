"""Three-way merge of texts on words: nothing that anybody wrote is lost. Pure and deterministic. Floor 0.

`base` is the text that both sides started from. Their changes are found by `diff.word_hunks`, so a merge costs what
two diffs cost, and gets coarser (lines, then whole regions) when their budget is spent, never unbounded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from . import diff

_NEAR = 32  # code points: overlaps in one line with less than this between them may become one
_REACH = 32  # code points looked at on both sides of a cut to see whether it goes through a word


class Overlap(msgspec.Struct, frozen=True):
    """A passage that both sides changed. The client, who reads this, is "you"; the server's text is "theirs".

    `start` and `end` are the passage's place in the merged text, in UTF-16 code units. One of the two texts is empty
    where one side deleted what the other side edited; the passage then holds the edit.
    """

    start: int
    end: int
    yours: str
    theirs: str


class Merged(msgspec.Struct, frozen=True):
    """The text with both sides' changes, and the passages that a person should look at."""

    text: str
    overlaps: list[Overlap]


class _Change(NamedTuple):
    """`base[start:end]` became `text`."""

    start: int
    end: int
    text: str


class _Place(NamedTuple):
    """Changes that meet: both sides' where both are given."""

    start: int
    end: int
    theirs: list[_Change]
    yours: list[_Change]

    @property
    def rewritten(self) -> bool:
        """Whether both sides wrote something instead of what stood here."""
        return self.start < self.end and all(any(change.text for change in side) for side in (self.theirs, self.yours))


class _Passage(NamedTuple):
    """A piece of the result; `yours` and `theirs` are given where it is an overlap."""

    text: str
    yours: str = ""
    theirs: str = ""
    overlap: bool = False


def merge(base: str, *, server: str, client: str) -> Merged:
    """Carry the client's changes over to the server's text.

    Changes in different places both land. Insertions at the same place both stay, the server's first; the same
    insertion by both is made once, and one that the other side's begins or ends with is not repeated. What one side
    deleted and the other edited is kept as edited, line by line. Where both rewrote the same words both texts stay,
    the server's first. The last two are listed as overlaps.
    """
    if base == server or client == server:
        return Merged(client, [])
    if base == client:
        return Merged(server, [])
    servers, clients = _without_repeats(_changes(base, server), _changes(base, client))
    result = _Result()
    position = 0
    for start, end, theirs, yours in _united(base, _places(servers, clients)):
        two_sided = bool(theirs and yours)
        if position < start:
            result.write(_Passage(base[position:start]))
        else:
            result.part()  # the two sides changed neighbouring words
        if two_sided:
            result.part()
        for passage in _settled(base, start, end, theirs=theirs, yours=yours, at_line_start=result.last[-1] in "\r\n"):
            result.write(passage)
        if two_sided:
            result.part()
        position = end
    result.write(_Passage(base[position:]))
    return Merged("".join(passage.text for passage in result.passages), _overlaps(result.passages))


class _Result:
    """The merged text as it is written. Words of different sides that would run into one another get a blank."""

    def __init__(self) -> None:
        self.passages: list[_Passage] = []
        self.last = "\n"  # the last characters
        self._part = False

    def part(self) -> None:
        """What comes next was not next to what came before in the text of either side."""
        self._part = True

    def write(self, passage: _Passage) -> None:
        if passage.text:
            head = passage.text[:_REACH]
            if self._part and not head[0].isspace() and _cuts_word(self.last + head, len(self.last)):
                self.passages.append(_Passage(" "))
            self._part = False
            self.last = (self.last + passage.text[-_REACH:])[-_REACH:]
        self.passages.append(passage)


def _changes(base: str, text: str) -> list[_Change]:
    return [_Change(a, b, text[c:d]) for a, b, c, d in diff.word_hunks(base, text)]


def _without_repeats(servers: list[_Change], clients: list[_Change]) -> tuple[list[_Change], list[_Change]]:
    """Leave out what one side inserted where the other side's rewriting begins or ends with the very same words."""

    def left(ones: list[_Change], others: list[_Change]) -> list[_Change]:
        starting = {change.start: change.text for change in others if change.start < change.end}
        ending = {change.end: change.text for change in others if change.start < change.end}
        return [
            change
            for change in ones
            if change.start < change.end
            or not (
                _begins(starting.get(change.start, ""), change.text) or _ends(ending.get(change.start, ""), change.text)
            )
        ]

    return left(servers, clients), left(clients, servers)


def _places(servers: list[_Change], clients: list[_Change]) -> Iterable[_Place]:
    """Changes in the order of the base, those that meet put together.

    Changes meet when they share base text, when one is an insertion inside the other, or when both are insertions at
    the same place. An insertion just before or after the other's change does not meet it.
    """
    place: _Place | None = None
    for change, side in sorted(
        [(change, 0) for change in servers] + [(change, 1) for change in clients], key=_by_place
    ):
        met = place is not None and (change.start < place.end or change.start == change.end == place.start)
        if place is None or not met:
            if place is not None:
                yield place
            place = _Place(change.start, change.end, [], [])
        place = place._replace(end=max(place.end, change.end))
        (place.yours if side else place.theirs).append(change)
    if place is not None:
        yield place


def _by_place(item: tuple[_Change, int]) -> tuple[int, int, int]:
    change, side = item
    return change.start, change.end, side


def _united(base: str, places: Iterable[_Place]) -> list[_Place]:
    """Make passages of one line that both sides rewrote, and that have little between them, one: two sentences read
    better one after the other than word by word in turns."""
    result: list[_Place] = []
    latest = -1  # where in the result the latest rewritten place is
    for place in places:
        result.append(place)
        if not place.rewritten:
            continue
        if latest >= 0:
            between = base[result[latest].end : place.start]
            if len(between) <= _NEAR and not ("\n" in between or "\r" in between):
                row = result[latest:]
                del result[latest:]
                theirs = [change for part in row for change in part.theirs]
                yours = [change for part in row for change in part.yours]
                result.append(_Place(row[0].start, place.end, theirs, yours))
        latest = len(result) - 1
    return result


def _settled(
    base: str, start: int, end: int, *, theirs: list[_Change], yours: list[_Change], at_line_start: bool
) -> list[_Passage]:
    """What becomes of one place."""
    server, client = _changed(base, start, end, theirs), _changed(base, start, end, yours)
    if not theirs or server == client:
        return [_Passage(client)]
    if not yours:
        return [_Passage(server)]
    server_deletes = not any(change.text for change in theirs)
    client_deletes = not any(change.text for change in yours)
    if server_deletes and client_deletes:
        return [_Passage(_without(base, start, end, theirs + yours))]
    if server_deletes or client_deletes:
        deletions, edits = (theirs, yours) if server_deletes else (yours, theirs)
        return _kept(base, start, end, deletions=deletions, edits=edits, edited_by_client=server_deletes)
    line_end = "\r\n" if "\r\n" in base or "\r\n" in server + client else "\n"
    whole_lines = at_line_start and (end == len(base) or base[end] in "\r\n")
    both = _side_by_side(server, client, line_end=line_end, at_line_start=at_line_start, whole_lines=whole_lines)
    return [_Passage(both, yours=client, theirs=server, overlap=start < end)]


def _kept(
    base: str, start: int, end: int, *, deletions: list[_Change], edits: list[_Change], edited_by_client: bool
) -> list[_Passage]:
    """One side deleted, the other edited inside: the edited lines stay, as far as they were deleted; the rest goes."""
    ranges: list[tuple[int, int]] = []
    for edit in edits:
        if edit.text:
            first, last = _surroundings(base, edit, deletions)
            if ranges and first <= ranges[-1][1]:
                first, last = ranges[-1][0], max(last, ranges[-1][1])
                ranges.pop()
            ranges.append((first, last))
    gone = deletions + [edit for edit in edits if not edit.text]
    passages: list[_Passage] = []
    position = start
    for first, last in ranges:
        text = _changed(base, first, last, edits)
        passages.append(_Passage(_without(base, position, first, gone)))
        passages.append(
            _Passage(
                text,
                yours=text if edited_by_client else "",
                theirs="" if edited_by_client else text,
                # Whole new lines among deleted ones bring nothing back, so there is nothing to look at.
                overlap=first < last,
            )
        )
        position = last
    return [*passages, _Passage(_without(base, position, end, gone))]


def _surroundings(base: str, edit: _Change, deletions: list[_Change]) -> tuple[int, int]:
    """The edit's own range, and the rest of its lines as far as the other side deleted them."""
    first, last = edit.start, edit.end
    starts_line = first == 0 or base[first - 1] == "\n"
    whole = edit.text.endswith("\n") and (starts_line if first == last else base[last - 1] == "\n")
    for deletion in deletions:
        if deletion.start < edit.start < deletion.end:
            first = max(deletion.start, base.rfind("\n", 0, edit.start) + 1)
        if deletion.start < edit.end < deletion.end and not whole:
            last = min(deletion.end, base.find("\n", edit.end) + 1 or len(base))
    return first, last


def _changed(base: str, start: int, end: int, changes: list[_Change]) -> str:
    """One side's text of a passage. A deletion may reach beyond it, changes with text do not."""
    pieces: list[str] = []
    position = start
    for change in changes:
        if change.end < start or change.start > end:
            continue
        pieces += (base[position : max(change.start, position)], change.text)
        position = max(position, min(change.end, end))
    pieces.append(base[position:end])
    return "".join(pieces)


def _without(base: str, start: int, end: int, deletions: list[_Change]) -> str:
    return _changed(base, start, end, sorted(change for change in deletions if not change.text))


def _side_by_side(server: str, client: str, *, line_end: str, at_line_start: bool, whole_lines: bool) -> str:
    """The server's text, then the client's, so that neither words nor lines run into one another."""
    if _begins(server, client) or _ends(server, client):
        return server
    if _begins(client, server) or _ends(client, server):
        return client
    if server.endswith(line_end) and client.startswith(line_end) and not at_line_start:
        return server + client[len(line_end) :]  # both end the open line: once is enough
    if server[-1] in "\r\n" or client[0] in "\r\n":
        return server + client
    if whole_lines:
        return server + line_end + client
    if server[-1].isspace() or client[0].isspace():
        return server + client
    return server + (line_end if "\n" in server or "\n" in client else " ") + client


def _begins(longer: str, shorter: str) -> bool:
    """Whether the text begins with the other, not in the middle of a word."""
    return longer.startswith(shorter) and not _cuts_word(longer, len(shorter))


def _ends(longer: str, shorter: str) -> bool:
    return longer.endswith(shorter) and not _cuts_word(longer, len(longer) - len(shorter))


def _cuts_word(text: str, at: int) -> bool:
    position = max(at - _REACH, 0)
    for word in diff.words(text[position : at + _REACH]):
        if position >= at:
            break
        position += len(word)
    return position > at


def _overlaps(passages: list[_Passage]) -> list[Overlap]:
    """The overlaps with their places in the result, counted in UTF-16 code units."""
    found: list[Overlap] = []
    position = 0
    for passage in passages:
        end = position + len(passage.text.encode("utf-16-le", "surrogatepass")) // 2
        if passage.overlap:
            found.append(Overlap(position, end, yours=passage.yours, theirs=passage.theirs))
        position = end
    return found
