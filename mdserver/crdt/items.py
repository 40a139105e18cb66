"""The items of a whole document in the order in which they stand: what pycrdt knows and does not tell.

Read from a full state (`text.state`), whose bytes must have been judged before: this trusts them. Order is that of
Yjs's own integration (YATA): an item stands behind its origin, before its right origin, and what was inserted at the
same place by several clients is ordered by their ids. Source: Nicolaescu et al., 2016; Yjs 13, `Item.integrate`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from . import guard
from .guard import Run

_GC, _SKIP, _DELETED, _STRING, _TYPE = 0, 10, 1, 4, 7
_ORIGIN, _RIGHT, _KEY, _CONTENT = 0x80, 0x40, 0x20, 0x1F

Place = tuple[int, int]
"""A client and a clock."""


class Item:
    """A run of clocks that stands in one place. `text` is None for all but texts, `type` names a shared type in it."""

    __slots__ = ("client", "clock", "is_deleted", "key", "length", "next", "origin", "parent", "previous", "right",
                 "text", "type")  # fmt: skip

    def __init__(
        self,
        client: int,
        clock: int,
        length: int,
        *,
        origin: Place | None,
        right: Place | None,
        parent: str | Place | None,
        key: str | None,
        text: str | None,
        type: str | None,
        is_deleted: bool,
    ) -> None:
        self.client, self.clock, self.length = client, clock, length
        self.origin, self.right, self.parent, self.key = origin, right, parent, key
        self.text, self.type, self.is_deleted = text, type, is_deleted
        self.previous: Item | None = None
        self.next: Item | None = None

    @property
    def end(self) -> int:
        return self.clock + self.length


class Sequences:
    """Every list of items of a document: by the name of a root, or by the place of the item that holds the type."""

    def __init__(self, state: bytes) -> None:
        reader = _Items(state)
        update = reader.update()
        self._items: dict[int, list[Item]] = {}
        self._firsts: dict[str | Place, Item] = {}
        self._left: dict[int, list[Item]] = reader.items_by_client
        self._integrate()
        self._delete(update.deletes)

    def of(self, parent: str | Place) -> Iterator[Item]:
        """The items of a list in order, deleted ones too."""
        item = self._firsts.get(parent)
        while item is not None:
            yield item
            item = item.next

    def _integrate(self) -> None:
        """Put every item into its place, each after what it points to."""
        places = dict.fromkeys(self._left, 0)
        waiting = list(self._left)
        while waiting:
            client = waiting[-1]
            items = self._left[client]
            at = places[client]
            while at < len(items):
                missing = self._missing(items[at], client, places)
                if missing is not None:
                    waiting.append(missing)
                    break
                self._place(items[at])
                at += 1
                places[client] = at
            else:
                waiting.pop()

    def _missing(self, item: Item, client: int, places: dict[int, int]) -> int | None:
        """The client whose items must come first, if one must."""
        for to in (item.origin, item.right, item.parent if isinstance(item.parent, tuple) else None):
            if to is not None and to[0] != client:
                done = self._items.get(to[0])
                if (done is None or done[-1].end <= to[1]) and places.get(to[0], 0) < len(self._left.get(to[0], ())):
                    return to[0]
        return None

    def _place(self, item: Item) -> None:
        self._items.setdefault(item.client, []).append(item)
        left = None if item.origin is None else self._ending(item.origin)
        right = None if item.right is None else self._starting(item.right)
        if item.parent is None:
            near = left or right
            if near is None or near.parent is None:
                return  # a tombstone of what has gone with its parent
            item.parent, item.key = near.parent, near.key
        if item.key is not None:
            return  # an entry of a map has no order
        self._insert(item, left, right)

    def _insert(self, item: Item, left: Item | None, right: Item | None) -> None:
        parent = item.parent
        assert parent is not None
        other = left.next if left is not None else self._firsts.get(parent)
        if other is not right:
            conflicting: set[int] = set()
            before: set[int] = set()
            while other is not None and other is not right:
                before.add(id(other))
                conflicting.add(id(other))
                if other.origin == item.origin:
                    if other.client < item.client:
                        left = other
                        conflicting.clear()
                    elif other.right == item.right:
                        break
                elif other.origin is not None and id(origin := self._holding(other.origin)) in before:
                    if id(origin) not in conflicting:
                        left = other
                        conflicting.clear()
                else:
                    break
                other = other.next
        following = left.next if left is not None else self._firsts.get(parent)
        item.previous, item.next = left, following
        if left is not None:
            left.next = item
        else:
            self._firsts[parent] = item
        if following is not None:
            following.previous = item

    def _holding(self, place: Place) -> Item | None:
        """The item that a clock is in."""
        items = self._items.get(place[0], [])
        at = bisect_right(items, place[1], key=_clock) - 1
        return items[at] if at >= 0 and place[1] < items[at].end else None

    def _ending(self, place: Place) -> Item | None:
        """The item that ends with a clock, cut there if need be."""
        item = self._holding(place)
        if item is not None and place[1] + 1 < item.end:
            self._cut(item, place[1] + 1)
        return item

    def _starting(self, place: Place) -> Item | None:
        """The item that begins with a clock, cut there if need be."""
        item = self._holding(place)
        return self._cut(item, place[1]) if item is not None and item.clock < place[1] else item

    def _cut(self, item: Item, clock: int) -> Item:
        """Make two of an item; the second one."""
        at = clock - item.clock
        text = item.text
        second_text = None
        if text is not None:
            if text.isascii():
                item.text, second_text = text[:at], text[at:]
            else:
                units = text.encode("utf-16-le", "surrogatepass")
                item.text = units[: 2 * at].decode("utf-16-le", "surrogatepass")
                second_text = units[2 * at :].decode("utf-16-le", "surrogatepass")
        second = Item(
            item.client,
            clock,
            item.length - at,
            origin=(item.client, clock - 1),
            right=item.right,
            parent=item.parent,
            key=item.key,
            text=second_text,
            type=item.type,
            is_deleted=item.is_deleted,
        )
        item.length = at
        items = self._items[item.client]
        items.insert(bisect_right(items, item.clock, key=_clock), second)
        if item.parent is not None and item.key is None:
            second.previous, second.next = item, item.next
            if item.next is not None:
                item.next.previous = second
            item.next = second
        return second

    def _delete(self, deletes: list[Run]) -> None:
        for run in deletes:
            clock = run.clock
            while clock < run.end:
                item = self._holding((run.client, clock))
                if item is None:
                    break
                if item.clock < clock:
                    item = self._cut(item, clock)
                if item.end > run.end:
                    self._cut(item, run.end)
                item.is_deleted = True
                clock = item.end


def _clock(item: Item) -> int:
    return item.clock


_NAMES = {0: "array", 1: "map", 2: "text", 3: "element", 4: "fragment", 6: "xmltext"}


class _Items(guard.Items):
    """Keeps what the guard only judges."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data, 1 << 31)
        self.items_by_client: dict[int, list[Item]] = {}
        self._text: str | None = None
        self._type: str | None = None

    def collected(self, client: int, clock: int) -> int:
        size = super().collected(client, clock)
        nowhere = Item(
            client, clock, size, origin=None, right=None, parent=None, key=None, text=None, type=None, is_deleted=True
        )
        self.items_by_client.setdefault(client, []).append(nowhere)
        return size

    def item(self, info: int, client: int, clock: int) -> int:
        kind = info & _CONTENT
        origin = (self.client(), self.number()) if info & _ORIGIN else None
        right = (self.client(), self.number()) if info & _RIGHT else None
        parent: str | Place | None = None
        key = None
        if origin is None and right is None:
            parent = self.text() if self.number() == 1 else (self.client(), self.number())
            if info & _KEY:
                key = self.text()
        text = type = None
        if kind == _STRING:
            raw = self.take()
            text = raw.decode()
            size = len(text) if raw.isascii() else len(text.encode("utf-16-le")) // 2
        elif kind == _TYPE:
            size, number = 1, self.number()
            type = _NAMES[number]
            if type == "element":
                self.text()
        else:
            size = self.content(kind)
        self.items_by_client.setdefault(client, []).append(
            Item(
                client,
                clock,
                size,
                origin=origin,
                right=right,
                parent=parent,
                key=key,
                text=text,
                type=type,
                is_deleted=kind == _DELETED,
            )
        )
        return size
