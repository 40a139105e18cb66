"""The smallest edit of one text: characters in its Yjs texts, their marks, and the nodes between. Floor 0."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import Any, NamedTuple

from mdserver import diff

from . import build
from .model import CODE_BLOCK, NONE, SAYABLE, Atom, Block, Marks, Span
from .read import mark_name, tag_of

_MOST = 2_000  # changes made within one text
_PRIVATE = 0x100000  # where characters that stand for atoms are looked for


class _Cell(NamedTuple):
    """A character, or an atom, and where it stands."""

    marks: Marks
    atom: Atom | None
    child: int
    start: int
    """The character's place in its text; -1 when its node is one that is kept or goes as a whole."""


class _Operation(NamedTuple):
    """Formats for the characters `start` to `end`, or these spans in their place."""

    start: int
    end: int
    spans: list[Span] | None
    formats: dict[str, Any]


def make(txn: Any, element: Any, old: Block, new: Block) -> None:
    """Make a block's text the other's, within a transaction of pycrdt. `element` holds the old one's nodes."""
    _Text(txn, element, old, new).make(new.spans)


class _Text:
    def __init__(self, txn: Any, element: Any, old: Block, new: Block) -> None:
        self.txn = txn
        self.element = element
        self.nodes = old.inlines
        self.has_marks = old.kind != CODE_BLOCK
        self.before = [_Inner(txn, node) if tag_of(node) is None else None for node in self.nodes]
        self.inner = list(self.before)
        self.signs = _Signs(old.spans, new.spans)
        self.old_text, self.old = self._cells(old.spans)
        self.new_text, self.new = self._cells(new.spans)
        self.moved_nodes = False

    def make(self, spans: list[Span]) -> None:
        operations = self._operations()
        if (
            sum(1 + len(one.spans or ()) for one in operations) > _MOST
        ):  # each walks to its place, so this text is written anew
            self.element.remove_range(self.txn, 0, self.element.len(self.txn))
            build.insert_spans(self.txn, self.element, 0, spans)
            return
        for operation in reversed(operations):
            if operation.spans is None:
                self._format(operation)
            else:
                self._put(operation)
        if self.moved_nodes:
            self._unite()

    def _cells(self, spans: list[Span]) -> tuple[str, list[_Cell]]:
        pieces: list[str] = []
        cells: list[_Cell] = []
        for span in spans:
            if span.atom is not None:
                pieces.append(self.signs.sign(span.atom))
                cells.append(_Cell(NONE, span.atom, span.child, -1))
                continue
            pieces.append(span.text)
            fixed = span.start < 0
            cells += (
                _Cell(span.marks, None, span.child, -1 if fixed else span.start + n) for n in range(len(span.text))
            )
        return "".join(pieces), cells

    def _operations(self) -> list[_Operation]:
        """What is to be done, in the order of the old text."""
        found: list[_Operation] = []
        i = j = 0
        for start, end, text in self._whole_nodes(diff.edits(self.old_text, self.new_text)):
            found += self._formats(i, start, j)
            j += start - i
            found.append(_Operation(start, end, self._spans(j, j + len(text)), {}))
            i, j = end, j + len(text)
        return [*found, *self._formats(i, len(self.old), j)]

    def _whole_nodes(self, edits: list[diff.Edit]) -> list[diff.Edit]:
        """Edits that take nodes whole: one that is known by its words alone goes with all of them."""
        result: list[diff.Edit] = []
        for start, end, text in edits:
            first, last = start, end
            while 0 < first < len(self.old) and self._is_within(first):
                first -= 1
            while 0 < last < len(self.old) and self._is_within(last):
                last += 1
            text = self.old_text[first:start] + text + self.old_text[end:last]
            if result and first < result[-1].end:
                before = result.pop()
                text = before.text + text[before.end - first :]
                first = before.start
            result.append(diff.Edit(first, last, text))
        return result

    def _is_within(self, at: int) -> bool:
        """Whether a node that is taken whole goes on over this place."""
        left, right = self.old[at - 1], self.old[at]
        return (
            left.atom is None
            and right.atom is None
            and left.start < 0
            and right.start < 0
            and left.child == right.child
        )

    def _formats(self, start: int, end: int, new_start: int) -> list[_Operation]:
        """What changes in the marks of the characters that stay."""
        found: list[_Operation] = []
        if not self.has_marks:
            return found
        for at in range(start, end):
            cell, marks = self.old[at], self.new[new_start + at - start].marks
            if cell.marks == marks or cell.start < 0:
                continue
            inner = self.before[cell.child]
            assert inner is not None
            formats: dict[str, Any] = {}
            for mark in cell.marks - marks:
                formats.update(dict.fromkeys(key for key in inner.attrs(cell.start) if mark_name(key) == mark.name))
            formats.update(build.formats(marks - cell.marks))
            last = found[-1] if found else None
            before = self.old[at - 1] if at else None
            if (
                last is not None
                and before is not None
                and last.end == at
                and last.formats == formats
                and (before.child, before.start + 1) == (cell.child, cell.start)
            ):
                found[-1] = last._replace(end=at + 1)
            else:
                found.append(_Operation(at, at + 1, None, formats))
        return found

    def _spans(self, start: int, end: int) -> list[Span]:
        """A part of the new text."""
        spans: list[Span] = []
        for at in range(start, end):
            cell = self.new[at]
            last = spans[-1] if spans else None
            if cell.atom is not None:
                spans.append(Span("", NONE, cell.atom))
            elif last is not None and last.atom is None and last.marks == cell.marks:
                spans[-1] = last._replace(text=last.text + self.new_text[at])
            else:
                spans.append(Span(self.new_text[at], cell.marks))
        return spans

    def _format(self, operation: _Operation) -> None:
        first, last = self.old[operation.start], self.old[operation.end - 1]
        inner = self.before[first.child]
        assert inner is not None
        start, end = inner.offset(first.start), inner.offset(last.start + 1)
        inner.node.format(self.txn, start, end - start, iter(operation.formats.items()))

    def _put(self, operation: _Operation) -> None:
        """Delete what stands there and put spans in its place."""
        start, end, spans, _ = operation
        child, place = self._point(start, end)
        common = self._unsayable(start, end)
        self._delete(start, end)
        for span in spans or []:
            inner = self.inner[child] if child < len(self.inner) else None
            if span.atom is not None:
                child = self._split(child, place)
                build.insert_atom(self.txn, self.element, child, span.atom)
                self.inner.insert(child, None)
                child, place = child + 1, 0
                continue
            if inner is None:
                inner = self._new_text(child)
                place = 0
            formats = {**common, **self._formats_like(span.marks, start, end)} if self.has_marks else {}
            inner.node.insert(self.txn, place, span.text, iter(formats.items()))
            place += len(span.text.encode())

    def _point(self, start: int, end: int) -> tuple[int, int]:
        """Where to write: a child, and a place in it, in bytes, when it is a text."""
        if start < end and self.old[start].start >= 0:
            return self._place(self.old[start], 0)
        if start and self.old[start - 1].start >= 0:
            return self._place(self.old[start - 1], 1)
        if start < len(self.old):
            return self._place(self.old[start], 0)
        return (self.old[start - 1].child + 1, 0) if start else (0, 0)

    def _place(self, cell: _Cell, after: int) -> tuple[int, int]:
        inner = self.before[cell.child]
        return cell.child, 0 if inner is None or cell.start < 0 else inner.offset(cell.start + after)

    def _delete(self, start: int, end: int) -> None:
        at = end
        while at > start:
            cell = self.old[at - 1]
            first = at - 1
            while first > start and self.old[first - 1].child == cell.child:
                first -= 1
            inner = self.before[cell.child]
            if inner is None:
                self.element.remove_range(self.txn, cell.child, 1)
                del self.inner[cell.child]
                self.moved_nodes = True
            else:
                begin = inner.offset(self.old[first].start)
                inner.node.remove_range(self.txn, begin, inner.offset(cell.start + 1) - begin)
            at = first

    def _split(self, child: int, place: int) -> int:
        """Make room for a node at a place: the child before which it goes."""
        inner = self.inner[child] if child < len(self.inner) else None
        self.moved_nodes = True
        if inner is None or place == 0:
            return child
        runs = _runs_after(self.txn, inner.node, place)
        if runs:
            size = sum(1 if value is None else len(value.encode()) for value, _ in runs)
            inner.node.remove_range(self.txn, place, size)
            _append(self.txn, self._new_text(child + 1).node, 0, runs)
        return child + 1

    def _new_text(self, child: int) -> _Inner:
        inner = _Inner(self.txn, self.element.insert_str(self.txn, child, ""))
        self.inner.insert(child, inner)
        self.moved_nodes = True
        return inner

    def _unite(self) -> None:
        """Texts side by side become one, as y-prosemirror has it, and none is empty that is not alone."""
        nodes = self.element.children(self.txn)
        for at in range(len(nodes) - 1, 0, -1):
            left, right = nodes[at - 1], nodes[at]
            if tag_of(left) is None and tag_of(right) is None:
                runs = _runs_after(self.txn, right, 0)
                size = sum(1 if value is None else len(value.encode()) for value, _ in _runs_after(self.txn, left, 0))
                _append(self.txn, left, size, runs)
                self.element.remove_range(self.txn, at, 1)
        nodes = self.element.children(self.txn)
        for at in range(len(nodes) - 1, -1, -1):
            if len(nodes) > 1 and tag_of(nodes[at]) is None and not nodes[at].diff(self.txn):
                self.element.remove_range(self.txn, at, 1)

    def _unsayable(self, start: int, end: int) -> dict[str, Any]:
        """The formats that Markdown cannot say, where both neighbours have them."""
        left = self._attrs(start - 1)
        right = self._attrs(end)
        return {
            key: value
            for key, value in left.items()
            if mark_name(key) not in SAYABLE and value is not None and right.get(key) == value
        }

    def _formats_like(self, marks: Marks, start: int, end: int) -> dict[str, Any]:
        """The formats of marks; a link that a neighbour has is the same to the last attribute."""
        formats = build.formats(marks)
        if "link" in formats:
            for at in (start - 1, start, end):
                if 0 <= at < len(self.old) and any(
                    mark.name == "link" and mark in marks for mark in self.old[at].marks
                ):
                    found = self._attrs(at)
                    formats["link"] = next(
                        (value for key, value in found.items() if mark_name(key) == "link"), formats["link"]
                    )
                    break
        return formats

    def _attrs(self, at: int) -> dict[str, Any]:
        if not 0 <= at < len(self.old) or self.old[at].start < 0:
            return {}
        inner = self.before[self.old[at].child]
        return {} if inner is None else inner.attrs(self.old[at].start)


class _Signs:
    """Characters of no text that stand for atoms, so that texts with atoms can be compared."""

    def __init__(self, old: list[Span], new: list[Span]) -> None:
        self.used = {one for span in (*old, *new) for one in span.text if ord(one) >= _PRIVATE}
        self.known: dict[Atom, str] = {}
        self.next = _PRIVATE

    def sign(self, atom: Atom) -> str:
        if atom not in self.known:
            while chr(self.next) in self.used:
                self.next += 1
            self.known[atom] = chr(self.next)
            self.next = min(self.next + 1, 0x10FFFF)
        return self.known[atom]


class _Inner:
    """A Yjs text with what it held when it was read: places in characters, an embedded object being one."""

    def __init__(self, txn: Any, node: Any) -> None:
        self.node = node
        self._runs = [(value if isinstance(value, str) else None, attrs or {}) for value, attrs in node.diff(txn)]
        self._starts = list(accumulate((1 if value is None else len(value) for value, _ in self._runs), initial=0))
        self._bytes: list[int] | None = None

    def attrs(self, at: int) -> dict[str, Any]:
        run = bisect_right(self._starts, at) - 1
        return self._runs[run][1] if 0 <= run < len(self._runs) else {}

    def offset(self, at: int) -> int:
        """A place in UTF-8 bytes, as pycrdt counts."""
        if self._bytes is None:
            sizes = (size for value, _ in self._runs for size in ((1,) if value is None else map(_size, value)))
            self._bytes = list(accumulate(sizes, initial=0))
        return self._bytes[at]


def _size(one: str) -> int:
    return 1 if one < "\x80" else len(one.encode())


def _runs_after(txn: Any, node: Any, place: int) -> list[tuple[str | None, dict[str, Any]]]:
    """What a Yjs text holds from a place on, in bytes; None for an embedded object, which takes one."""
    found: list[tuple[str | None, dict[str, Any]]] = []
    at = 0
    for value, attrs in node.diff(txn):
        written = value.encode() if isinstance(value, str) else b"?"
        if at + len(written) > place:
            rest = written[max(place - at, 0) :].decode()
            found.append((rest if isinstance(value, str) else None, attrs or {}))
        at += len(written)
    return found


def _append(txn: Any, node: Any, place: int, runs: list[tuple[str | None, dict[str, Any]]]) -> None:
    for value, attrs in runs:
        if value is not None:  # an embedded object, of which TipTap has none, cannot move
            node.insert(txn, place, value, iter(attrs.items()))
            place += len(value.encode())
