"""Where the items of a document stand to one another, as far as updates say it: what each was put beside. Floor 0.

Yjs writes of each item what stood left and right of it when it was made, and every replica finds its place by these
two. All find the same one only if the two can have stood side by side, which no honest client gets wrong. A lie leads
replicas apart for ever, and a text that is loaded again is another one. Hence it is refused (`Order.enter`).

An item grows from the one on its left: all that is in a text or a list is a tree, in whose order it stands. What was
right of a place when something was put there grows from its left or from what that grows from, and has not itself led
there. Text that was typed in one go is one node of the tree, so that there are few; each knows a far ancestor, too, so
that all are found in a few steps.
"""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from .lib0 import Unsound
from .links import Run

Place = tuple[int, int]
"""A client and a clock."""

_NOWHERE = 0
"""The list of what was deleted with all that was around it."""


class Item(NamedTuple):
    """What an update says of an item. One without neighbours names its parent: a root, or a type's place."""

    client: int
    clock: int
    length: int
    left: Place | None = None
    right: Place | None = None
    parent: str | Place | None = None
    key: str | None = None
    is_type: bool = False
    is_gone: bool = False


class _Before(NamedTuple):
    """What a client's lists were: how long, mostly."""

    end: int
    right: Place | None
    is_typing: bool
    starts: int
    types: int
    gone: int
    last_gone: int
    values: int


class _Client:
    """Its nodes by the clock that each begins with, its types' clocks, and from where to where what is gone.

    `values`, likewise: a type's keys' values of several parts, which Yjs makes when it undoes what was written twice.
    Of one that is cut in two, pycrdt leaves a part behind when the type is deleted, and its document breaks.
    """

    __slots__ = ("end", "gone", "is_typing", "nodes", "right", "starts", "types", "values")

    def __init__(self) -> None:
        self.end = 0
        self.right: Place | None = None
        """What its newest item has on its right."""
        self.is_typing = False
        """Whether that is not a key's value."""
        self.starts = array("I")
        self.nodes = array("I")
        self.types = array("I")
        self.gone = array("I")
        self.values = array("I")

    def cuts(self, clock: int) -> bool:
        """Whether a clock is within a value, other than its first."""
        at = bisect_right(self.values, clock)
        return at % 2 == 1 and self.values[at - 1] != clock

    def before(self) -> _Before:
        gone = self.gone
        last = gone[-1] if gone else 0
        return _Before(
            self.end, self.right, self.is_typing, len(self.starts), len(self.types), len(gone), last, len(self.values)
        )

    def back(self, was: _Before) -> None:
        self.end, self.right, self.is_typing = was.end, was.right, was.is_typing
        del (
            self.starts[was.starts :],
            self.nodes[was.starts :],
            self.types[was.types :],
            self.gone[was.gone :],
            self.values[was.values :],
        )
        if self.gone:
            self.gone[-1] = was.last_gone


_NOBODY = _Client()


class Order:
    """What is known of a document's items: some thirty bytes for each time that somebody began to write elsewhere."""

    __slots__ = ("_at", "_clients", "_dead", "_depth", "_jump", "_keyed", "_names", "_parents", "_space", "_up")

    def __init__(self) -> None:
        self._clients: dict[int, _Client] = {}
        self._up = array("I")  # of each node, the one that it grows from; a root is its own
        self._at = array("I")  # from which clock in that
        self._depth = array("I")
        self._jump = array("I")  # some node farther up
        self._space = array("I")  # the list that it is in
        self._names: dict[tuple[str | Place, str | None], int] = {}
        self._keyed = bytearray(1)
        self._parents: list[str | Place] = [""]
        self._dead: set[Place] = set()  # types that were deleted

    def enter(self, items: list[Item], deletes: list[Run]) -> None:
        """Take in what an update brings, of which nothing may be known. Unsound when it lies; then nothing changes."""
        if len(items) == 1 and not deletes:  # a keystroke goes on where the last one ended, between the same two
            client, clock, length, left, right, _, _, is_type, is_gone = items[0]
            known = self._clients.get(client)
            if (
                known is not None
                and known.is_typing
                and known.end == clock
                and known.right == right
                and left is not None
                and left[1] + 1 == clock
                and left[0] == client
                and not is_type
                and not is_gone
            ):
                known.end += length
                return
        count, lists, before = len(self._up), len(self._keyed), dict[int, _Before]()
        try:
            for item in _ordered(items):
                if item.client not in before:
                    before[item.client] = self._client(item.client).before()
                self._put(item, is_trusted=False)
            for run in deletes:
                known = self._clients.get(run.client)
                if known is not None and known.values and known.cuts(run.clock):  # its first parts alone may be
                    raise Unsound("of a key's value the last is deleted")
        except Unsound:
            for nodes in (self._up, self._at, self._depth, self._jump, self._space):
                del nodes[count:]
            del self._keyed[lists:], self._parents[lists:]
            while len(self._names) >= lists:
                self._names.popitem()
            for client, was in before.items():
                self._clients[client].back(was)
                if not was.end:
                    del self._clients[client]
            raise
        self._delete(deletes)

    def learn(self, items: list[Item], deletes: list[Run]) -> None:
        """Take in what a log says, whatever that is; some of it may be known."""
        for item in _ordered(items):
            known = self._client(item.client)
            end = item.clock + item.length
            if item.clock < known.end < end:
                left = (item.client, known.end - 1)
                item = item._replace(clock=known.end, length=end - known.end, left=left, parent=None)
            if item.clock >= known.end:
                try:
                    self._put(item, is_trusted=True)
                except Unsound:  # it points to what is not there
                    self._put(Item(item.client, item.clock, item.length, is_gone=True), is_trusted=True)
        self._delete(deletes)

    def _delete(self, runs: list[Run]) -> None:
        for run in runs:
            known = self._clients.get(run.client)
            if known is not None and known.cuts(run.end) and not known.cuts(run.clock):
                known.values[bisect_right(known.values, run.end) - 1] = run.end
            if known is not None and known.types:
                types = known.types
                found = types[bisect_left(types, run.clock) : bisect_left(types, run.end)]
                self._dead.update((run.client, clock) for clock in found)

    def _is_dead(self, space: int) -> bool:
        """Whether a list was deleted with the type that it belongs to."""
        parent = self._parents[space]
        return isinstance(parent, tuple) and parent in self._dead

    def _client(self, client: int) -> _Client:
        known = self._clients.get(client)
        if known is None:
            self._clients[client] = known = _Client()
        return known

    def _put(self, item: Item, *, is_trusted: bool) -> None:
        client, clock, length, left, right, parent, key, is_type, is_gone = item
        known = self._clients[client]
        grows = -1
        if left is not None:
            grows, _ = self._find(left)
            space = self._space[grows]
        elif right is not None:
            space = self._space[self._find(right)[0]]
        else:
            space = self._list(parent, key, is_trusted=is_trusted)
        if right is not None and not is_trusted:
            self._check(space, left, right)
        last = known.nodes[-1] if known.end == clock and known.nodes else -1
        if grows < 0:
            is_new = last < 0 or space != _NOWHERE or self._space[last] != _NOWHERE
        else:
            is_new = last != grows or left != (client, clock - 1)
        if is_new:
            known.starts.append(clock)
            known.nodes.append(self._grow(grows, left, space))
        known.end, known.right, known.is_typing = clock + length, right, not self._keyed[space]
        if not known.is_typing:
            if left is not None and not is_trusted and self._clients[left[0]].cuts(left[1] + 1):
                raise Unsound("a key's value is cut")
            if length > 1 and not is_gone and isinstance(self._parents[space], tuple):
                known.values.extend((clock, clock + length))
        if is_type:
            known.types.append(clock)
        if is_gone:
            if known.gone and known.gone[-1] == clock:
                known.gone[-1] += length
            else:
                known.gone.extend((clock, clock + length))

    def _grow(self, grows: int, left: Place | None, space: int) -> int:
        node = len(self._up)
        self._space.append(space)
        if left is None:
            self._up.append(node)
            self._at.append(0)
            self._depth.append(0)
            self._jump.append(node)
        else:
            depth, far = self._depth, self._jump[grows]
            farther = self._jump[far]
            self._up.append(grows)
            self._at.append(left[1])
            self._jump.append(farther if depth[grows] - depth[far] == depth[far] - depth[farther] else grows)
            depth.append(depth[grows] + 1)
        return node

    def _find(self, place: Place) -> tuple[int, bool]:
        """The node that a place is in, and whether it is its first."""
        known = self._clients.get(place[0])
        at = -1 if known is None else bisect_right(known.starts, place[1]) - 1
        if known is None or at < 0:
            raise Unsound("it points to what is not there")
        return known.nodes[at], known.starts[at] == place[1]

    def _list(self, parent: str | Place | None, key: str | None, *, is_trusted: bool) -> int:
        """The list that is called so: a root or a type as such, or what is written under a key of it."""
        if parent is None:
            return _NOWHERE
        if not isinstance(parent, str):
            known = self._clients.get(parent[0], _NOBODY)
            at = bisect_left(known.types, parent[1])
            if at == len(known.types) or known.types[at] != parent[1]:
                if not is_trusted and not bisect_right(known.gone, parent[1]) % 2:
                    raise Unsound("a parent is no type")
                return _NOWHERE
        name = (parent, key)
        space = self._names.get(name)
        if space is None:
            self._names[name] = space = len(self._keyed)
            self._keyed.append(key is not None)
            self._parents.append(parent)
        return space

    def _check(self, space: int, left: Place | None, right: Place) -> None:
        """Unsound when an item's neighbours cannot ever have stood side by side."""
        node, is_first = self._find(right)
        other = self._space[node]
        if (
            other != space
            and not (space == _NOWHERE and self._is_dead(other))
            and not (other == _NOWHERE and self._is_dead(space))
        ):
            raise Unsound("an item stands in two lists")
        if not space or not other:
            return
        if self._keyed[space]:
            raise Unsound("an item stands before a key's value")
        up = self._up[node]
        if left is None:
            if not is_first or up != node:
                raise Unsound("an item stands first before what came after something")
            return
        origin = (node, right[1] - 1) if not is_first else (up, self._at[node])
        place = (self._find(left)[0], left[1])
        if origin == place and up != node:
            return
        is_root = is_first and up == node
        if (not is_root and not self._leads(origin, place)) or self._leads((node, right[1]), place):
            raise Unsound("an item stands between what never stood side by side")

    def _leads(self, one: tuple[int, int], other: tuple[int, int]) -> bool:
        """Whether something (a node, and a clock in it) is another, or that grows from it."""
        node, clock = other
        up, depth, jump = self._up, self._depth, self._jump
        level = depth[one[0]]
        if depth[node] > level:
            while depth[node] > level + 1:
                node = jump[node] if depth[jump[node]] > level else up[node]
            node, clock = up[node], self._at[node]
        return node == one[0] and clock >= one[1]


def _ordered(items: list[Item]) -> Iterator[Item]:
    """Each after those of this update that it points to; the guard has seen to it that this can be."""
    if not items or items[0].client == items[-1].client:
        yield from items
        return
    queues: dict[int, list[Item]] = {}
    for item in items:
        queues.setdefault(item.client, []).append(item)
    ends = {client: of_it[0].clock for client, of_it in queues.items()}
    done = dict.fromkeys(queues, 0)
    waiting: dict[int, list[tuple[int, int]]] = {}  # by who is waited for: from which clock on, and who waits
    ready = list(queues)
    while ready:
        client = ready.pop()
        queue, place = queues[client], done[client]
        while place < len(queue):
            item = queue[place]
            missing = _missing(item, ends, queues)
            if missing is not None:
                heapq.heappush(waiting.setdefault(missing[0], []), (missing[1], client))
                break
            yield item
            ends[client] = item.clock + item.length
            place += 1
        done[client] = place
        mine = waiting.get(client, [])
        while mine and mine[0][0] < ends[client]:
            ready.append(heapq.heappop(mine)[1])


def _missing(item: Item, ends: dict[int, int], queues: dict[int, list[Item]]) -> Place | None:
    for place in (item.left, item.right, item.parent):
        if isinstance(place, tuple) and place[0] != item.client and place[0] in ends:
            client, clock = place
            if ends[client] <= clock < queues[client][-1].clock + queues[client][-1].length:
                return place
    return None
