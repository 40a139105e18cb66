"""Reads Yjs v1 updates and state vectors from outside, before pycrdt sees them, and refuses what is not sound. Floor 0.

pycrdt trusts what it is given: a well-formed lie makes it panic, overflow its stack, allocate gigabytes or never return
(hence this module). Every byte is read here first, by the format's own rules and narrower ones: each client once,
nothing empty, counts that the remaining bytes can hold, bounded depths and clocks, known kinds of content, no rings,
nothing left over. What is read is kept, too: which clocks an update brings, and which it builds on (`Update.needs`);
one whose predecessors are missing would otherwise wait inside the document, unseen by whoever loads it later.

The format is that of Yjs 13 (`UpdateEncoderV1`, `lib0/encoding`); clocks count UTF-16 code units.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Mapping
from typing import NamedTuple

from .lib0 import Reader, Unsound
from .links import MOST_DEPTH, Link, Run, check_depths, check_order
from .order import Item
from .values import Values

__all__ = ["MOST_DEPTH", "MOST_ITEMS", "Items", "Pairs", "Run", "Unsound", "Update", "read_state", "read_update"]

MOST_ITEMS = 200_000
"""Items and deletions in one update from outside: each takes a hundred times its bytes while it is read, and 5 µs."""

MOST_CLOCK = 1 << 31
MOST_CLIENT = 1 << 53
MOST_NAME = 256
"""Bytes in the name of a root, a key, an element or a format."""

_GC, _DELETED, _BINARY, _STRING, _EMBED, _FORMAT, _TYPE, _ANY, _SKIP = 0, 1, 3, 4, 5, 6, 7, 8, 10
_ELEMENT = 3
_TYPES = (0, 1, 2, _ELEMENT, 4, 6)  # YArray, YMap, YText, YXmlElement, YXmlFragment, YXmlText
_ORIGIN, _RIGHT, _KEY, _CONTENT = 0x80, 0x40, 0x20, 0x1F
_BEYOND = re.compile("[\U00010000-\U0010ffff]")  # two UTF-16 code units each
_SHORT = 64
"""Bytes below which an update may be a keystroke."""


Pairs = Mapping[int, "array[int]"]
"""The second halves of surrogate pairs: of each client, their clocks in ascending order."""


class Update(NamedTuple):
    """What an update brings (`runs`, in its order, without gaps' fillers), deletes, and builds on.

    `needs`: of each client, how many clocks must be known already. `pairs`: those in its texts. `seams`: in front of
    what it takes text apart, as client and clock, for something new or at a deletion's end. `items`: what `runs` count.
    """

    runs: list[Run]
    deletes: list[Run]
    needs: dict[int, int]
    pairs: Pairs
    seams: set[tuple[int, int]]
    items: list[Item]

    def fits(self, known: dict[int, int]) -> bool:
        """Whether everything it builds on is known; `known` is a state vector, a document's or a room's."""
        for client, clock in self.needs.items():  # noqa: SIM110 (as `brought`, asked of each keystroke)
            if known.get(client, 0) < clock:
                return False
        return True

    def cuts(self, pairs: Pairs, known: dict[int, int]) -> bool:
        """Whether it takes a surrogate pair apart, its own or one of `pairs`: Yjs and pycrdt then see other texts."""
        if not self.pairs and not pairs:
            return False
        seams = self.seams | {(run.client, known[run.client]) for run in self.runs if run.client in known}
        return any(_holds(self.pairs, *seam) or _holds(pairs, *seam) for seam in seams)

    def brought(self, known: dict[int, int]) -> int:
        """How many clocks it holds beyond a state vector. Deletions are not told by one."""
        count = 0
        for client, clock, length in self.runs:
            there = known.get(client, 0)
            if clock + length > there:
                count += clock + length - (there if there > clock else clock)
        return count


def _holds(pairs: Pairs, client: int, clock: int) -> bool:
    clocks = pairs.get(client)
    if clocks is None:
        return False
    at = bisect_left(clocks, clock)
    return at < len(clocks) and clocks[at] == clock


def read_update(data: bytes, *, most: int = MOST_ITEMS) -> Update:
    """What an update of at most so many items and deletions says. Unsound when it must not reach a document."""
    if data[:2] == b"\1\1" and len(data) < _SHORT:
        typed = _typed(data)
        if typed is not None:
            return typed
    reader = Items(data, most)
    try:
        found = reader.update()
    except IndexError:
        raise Unsound("it ends too early") from None
    if not reader.finished:
        raise Unsound("something follows the end")
    return found


def _typed(data: bytes) -> Update | None:
    """The same of what most updates are, in half the time: some letters of ASCII by one client beside something else.

    None for everything else, and for what is not sound.
    """
    reader = Reader(data)
    reader.at = 2
    try:
        client, clock = reader.number(), reader.number()
        info = data[reader.at]
        reader.at += 1
        if info & ~(_ORIGIN | _RIGHT) != _STRING or info == _STRING or client >= MOST_CLIENT:
            return None
        needs = {client: clock} if clock else {}
        seams = set()
        left = right = None
        for flag, after in ((_ORIGIN, 1), (_RIGHT, 0)):
            if info & flag:
                other, at = reader.number(), reader.number()
                if other >= MOST_CLIENT or at >= MOST_CLOCK or (other == client and at >= clock):
                    return None
                seams.add((other, at + after))
                if at >= needs.get(other, 0):
                    needs[other] = at + 1
                if after:
                    left = other, at
                else:
                    right = other, at
        text = reader.take()
    except (IndexError, Unsound):
        return None
    size = len(text)
    if not size or not text.isascii() or b"\0" in text or data[reader.at :] != b"\0" or clock + size > MOST_CLOCK:
        return None
    return Update([Run(client, clock, size)], [], needs, {}, seams, [Item(client, clock, size, left, right)])


def read_state(data: bytes) -> dict[int, int]:
    """A state vector: of each client, how many clocks are known. Unsound when it is none."""
    reader = Items(data, 0)
    known: dict[int, int] = {}
    try:
        for _ in range(reader.count(2)):
            client, clock = reader.client(), reader.number()
            if client in known:
                raise Unsound("a client comes twice")
            if clock >= MOST_CLOCK:
                raise Unsound("a clock is out of bounds")
            known[client] = clock
    except IndexError:
        raise Unsound("it ends too early") from None
    if not reader.finished:
        raise Unsound("something follows the end")
    return known


class Items(Values):
    """Goes through an update's bytes once. IndexError at their end."""

    __slots__ = ("brought", "ends", "left", "links", "needs", "pairs", "seams", "starts", "types")

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self.left = most
        self.starts: dict[int, int] = {}
        self.ends: dict[int, int] = {}
        self.needs: dict[int, int] = {}
        self.links: list[Link] = []
        self.brought: list[Item] = []
        self.types: set[tuple[int, int]] = set()
        self.pairs: dict[int, array[int]] = {}
        self.seams: set[tuple[int, int]] = set()

    def items(self) -> int:
        """How many items or deletions follow."""
        found = self.count(2)
        self.left -= found
        if self.left < 0:
            raise Unsound("more items than are taken in at once")
        return found

    def client(self) -> int:
        found = self.number()
        if found >= MOST_CLIENT:
            raise Unsound("a client id is out of bounds")
        return found

    def length(self) -> int:
        found = self.number()
        if not 0 < found < MOST_CLOCK:
            raise Unsound("a length is out of bounds")
        return found

    def update(self) -> Update:
        runs: list[Run] = []
        for _ in range(self.count(4)):
            structs, client, clock = self.items(), self.client(), self.number()
            if client in self.ends:
                raise Unsound("a client comes twice")
            if not structs:
                raise Unsound("a client without anything")
            self.starts[client] = start = clock
            for _ in range(structs):
                info = self.data[self.at]
                self.at += 1
                if info == _SKIP:
                    clock += self.length()
                    start = clock
                else:
                    size = self.collected(client, clock) if info == _GC else self.item(info, client, clock)
                    runs.append(Run(client, clock, size))
                    clock += size
                if clock > MOST_CLOCK:
                    raise Unsound("a clock is out of bounds")
            self.ends[client] = clock
            if start:
                self.needs[client] = start
        for link in self.links:
            self.refer(link.to[0], link.to[1] + 1)
        if self.links:
            self.check_links(runs)
        return Update(runs, self.deletions(), self.needs, self.pairs, self.seams, self.brought)

    def check_links(self, runs: list[Run]) -> None:
        """What points to something within this update must be able to come after it, and no type stands too deep."""
        across: dict[int, list[Link]] = {}
        for link in self.links:
            (client, clock), (other, at) = link.own, link.to
            if client == other and at >= clock:
                raise Unsound("something builds on what comes after it")
            if self.starts.get(other, MOST_CLOCK) <= at < self.ends.get(other, 0):
                if link.is_parent and link.to not in self.types:
                    raise Unsound("a parent is no type")
                if client != other:
                    across.setdefault(client, []).append(link)
        if across:
            check_order(across, self.ends)
        if len(self.types) > MOST_DEPTH:
            check_depths(runs, self.links, self.types)

    def refer(self, client: int, end: int) -> None:
        """The clocks of a client below `end` are to be there: here, or before."""
        if end > self.ends.get(client, 0) and end > self.needs.get(client, 0):
            self.needs[client] = end

    def deletions(self) -> list[Run]:
        found: list[Run] = []
        seen: set[int] = set()
        for _ in range(self.count(4)):
            client, ranges = self.client(), self.items()
            if client in seen:
                raise Unsound("a client's deletions come twice")
            if not ranges:
                raise Unsound("a client without deletions")
            seen.add(client)
            for _ in range(ranges):
                run = Run(client, self.number(), self.length())
                if run.end > MOST_CLOCK:
                    raise Unsound("a clock is out of bounds")
                self.refer(client, run.end)
                self.seams.update(((client, run.clock), (client, run.end)))
                found.append(run)
        return found

    def collected(self, client: int, clock: int) -> int:
        """What was deleted with the type that it stood in; how many clocks it took."""
        size = self.length()
        self.brought.append(Item(client, clock, size, is_gone=True))
        return size

    def item(self, info: int, client: int, clock: int) -> int:
        """One item; how many clocks it takes."""
        kind = info & _CONTENT
        left = right = key = None
        parent: str | tuple[int, int] | None = None
        if info & _ORIGIN:
            left = self.link(client, clock)
            self.seams.add((left[0], left[1] + 1))
        if info & _RIGHT:
            right = self.link(client, clock)
            self.seams.add(right)
        if not info & (_ORIGIN | _RIGHT):
            named = self.number()
            if named == 1:
                parent = self.text(MOST_NAME)
            elif named == 0:
                parent = self.link(client, clock, is_parent=True)
            else:
                raise Unsound("a parent is neither named nor pointed to")
            if info & _KEY:
                key = self.text(MOST_NAME)
        if kind == _STRING:
            size = self.string(client, clock)
        elif kind == _TYPE:
            self.type()
            self.types.add((client, clock))
            size = 1
        else:
            size = self.content(kind)
        self.brought.append(Item(client, clock, size, left, right, parent, key, kind == _TYPE, kind == _DELETED))
        return size

    def link(self, client: int, clock: int, *, is_parent: bool = False) -> tuple[int, int]:
        """Read and note what an item points to."""
        to = (self.client(), self.number())
        self.links.append(Link((client, clock), to, is_parent))
        return to

    def string(self, client: int, clock: int) -> int:
        """A piece of text; its length in UTF-16 code units."""
        raw = self.take()
        if not raw:
            raise Unsound("a text is empty")
        if b"\0" in raw:  # which PostgreSQL's texts cannot hold, nor any other door lets in
            raise Unsound("a text holds NUL")
        if raw.isascii():
            return len(raw)
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise Unsound("a text is not UTF-8") from None
        size = len(text) + sum(1 for one in raw if one >= 0xF0)
        if size > MOST_CLOCK - clock:
            raise Unsound("a clock is out of bounds")
        if size > len(text):
            clocks = self.pairs.setdefault(client, array("I"))
            clocks.extend(clock + found.start() + nth for nth, found in enumerate(_BEYOND.finditer(text), 1))
        return size

    def type(self) -> None:
        kind = self.number()
        if kind not in _TYPES:  # YXmlHook, which nobody uses, is read otherwise by pycrdt than by Yjs
            raise Unsound("a type that is not known")
        if kind == _ELEMENT:
            self.text(MOST_NAME)

    def content(self, kind: int) -> int:
        if kind == _DELETED:
            return self.length()
        if kind == _BINARY:
            self.take()
            return 1
        if kind == _FORMAT:
            self.text(MOST_NAME)
            self.json()
            return 1
        if kind == _EMBED:
            self.json()
            return 1
        if kind == _ANY:
            size = self.count(1)
            if not size:
                raise Unsound("a list of values is empty")
            for _ in range(size):
                self.any(0)
            return size
        # Documents within, and ContentJSON, which Yjs has long ceased to write and pycrdt reads one string too far.
        raise Unsound("a kind of content that is not known")
