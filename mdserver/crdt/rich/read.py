"""A Yjs document's rich text as blocks, each with its place. Floor 0.

Never raises for what the guard let in, and nothing that people see is left out: what is of no known kind is read as
what it holds. Nesting is bounded, as it is in the parser; below the bound, only the words are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .model import (
    BREAK,
    CELL,
    CELLS,
    CODE_BLOCK,
    DEEP,
    HEADER,
    HEADING,
    IMAGE,
    ITEM,
    ITEMS,
    LISTS,
    MENTION,
    NONE,
    NUMBERS,
    PARAGRAPH,
    QUOTE,
    ROW,
    RULE,
    SAYABLE,
    TABLE,
    TASK,
    Atom,
    Block,
    Mark,
    Marks,
    Span,
    is_good_link,
    link,
    normal,
)

if TYPE_CHECKING:
    from mdserver.crdt.text import Scratch

NAME = "default"

_MOST_NUMBER = 999_999_999  # the longest number that begins a list
_MOST_SPAN = 64  # columns that a cell may take
_INLINE = frozenset([BREAK, IMAGE, MENTION])
_BLOCKS = frozenset([PARAGRAPH, HEADING, CODE_BLOCK, RULE, QUOTE, TABLE, ROW, *LISTS, *ITEMS, *CELLS])
_ALIGNS = frozenset(["left", "center", "right"])
_OBJECT = "\ufffc"


def read(doc: Scratch, txn: Any) -> Block:
    """The document as one block of no kind, within a transaction of pycrdt."""
    from pycrdt import XmlFragment

    fragment = doc.get(NAME, type=XmlFragment).integrated
    root = Block("", node=fragment)
    _Reading(txn).fill(root, 0)
    return root


def tag_of(node: Any) -> str | None:
    """An element's name; "" for a fragment, None for a text."""
    if hasattr(node, "tag"):
        return str(node.tag() or "")
    return None if hasattr(node, "diff") else ""


def mark_name(name: str) -> str:
    """A mark's name without the hash that y-prosemirror gives marks that may overlap themselves."""
    return name[:-10] if len(name) > 10 and name[-10:-8] == "--" else name


def marks_of(attrs: Mapping[str, Any] | None) -> Marks:
    """What Markdown can say of a text's formats."""
    if not attrs:
        return NONE
    found: set[Mark] = set()
    for key, value in attrs.items():
        name = mark_name(key)
        if name not in SAYABLE or value is None:
            continue
        if name != "link":
            found.add(Mark(name))
        elif isinstance(value, dict) and isinstance(value.get("href"), str):
            found.add(link(value["href"], _text(value.get("title"))))
    links = [mark for mark in found if mark.name == "link"]
    return frozenset(found.difference(sorted(links)[1:]))


class _Reading:
    """One walk through a document."""

    def __init__(self, txn: Any) -> None:
        self.txn = txn

    def fill(self, block: Block, level: int) -> None:
        """Read the blocks within a container."""
        block.blocks, block.empties = [], []
        self._gather(block.node, block, level)

    def _gather(self, node: Any, into: Block, level: int) -> None:
        row: list[Any] = []
        children = node.children(self.txn)
        for index, child in enumerate(children):
            tag = tag_of(child)
            if tag is None or tag in _INLINE:
                row.append(child)
                continue
            self._loose_text(node, index - len(row), row, into)
            row = []
            self._child(node, index, child, tag, into, level)
        self._loose_text(node, len(children) - len(row), row, into)

    def _loose_text(self, node: Any, index: int, row: list[Any], into: Block) -> None:
        """Texts that stand where only blocks belong are read as a paragraph."""
        spans = normal(self._spans(row)) if row else []
        if spans:
            into.blocks.append(
                Block(PARAGRAPH, spans=spans, parent=node, index=index, count=len(row), inlines=row, foreign=True)
            )

    def _child(self, node: Any, index: int, child: Any, tag: str, into: Block, level: int) -> None:
        if tag in _BLOCKS and tag not in CELLS and tag not in ITEMS and tag != ROW:
            block = Block(tag, node=child, parent=node, index=index)
            self._known(block, level, into)
            return
        children = child.children(self.txn)
        if level >= DEEP or not children or all(tag_of(one) is None or tag_of(one) in _INLINE for one in children):
            block = Block(PARAGRAPH, node=child, parent=node, index=index, foreign=True)
            self._texts(block)
            if block.spans:
                into.blocks.append(block)
            return
        self._gather(child, into, level + 1)

    def _known(self, block: Block, level: int, into: Block) -> None:
        kind = block.kind
        attrs = _attributes(block.node, self.txn)
        if kind in (PARAGRAPH, HEADING, CODE_BLOCK):
            if kind == HEADING:
                block.attrs = {"level": _number(attrs.get("level"), 1, 1, 6)}
            elif kind == CODE_BLOCK:
                block.attrs = {"language": " ".join(_text(attrs.get("language")).splitlines()).strip()}
            self._texts(block)
            if kind == PARAGRAPH and not block.spans:
                into.empties.append(block)
                return
        elif kind != RULE:
            if level >= DEEP:
                block.kind, block.foreign = PARAGRAPH, True
                self._texts(block)
                if not block.spans:
                    return
            elif kind in LISTS:
                self._list(block, attrs, level)
                if not block.blocks:
                    return
            elif kind == TABLE:
                self._table(block)
                if not block.blocks:
                    return
            else:
                self.fill(block, level + 1)
        into.blocks.append(block)

    def _list(self, block: Block, attrs: dict[str, Any], level: int) -> None:
        if block.kind == NUMBERS:
            block.attrs = {"start": _number(attrs.get("start"), 1, 0, _MOST_NUMBER)}
        own = TASK if block.kind == "taskList" else ITEM
        block.blocks = []
        for index, child in enumerate(block.node.children(self.txn)):
            item = Block(own, node=child, parent=block.node, index=index)
            if own == TASK:
                item.attrs = {"checked": tag_of(child) == TASK and _attributes(child, self.txn).get("checked") is True}
            if tag_of(child) in ITEMS:
                self.fill(item, level + 2)
            else:
                item.foreign = True
                if tag_of(child) is None or tag_of(child) in _INLINE:
                    self._loose_text(block.node, index, [child], item)
                else:
                    self._child(block.node, index, child, str(tag_of(child)), item, level + 2)
                if not item.blocks:
                    continue
            block.blocks.append(item)

    def _table(self, block: Block) -> None:
        block.blocks = []
        held: dict[int, int] = {}  # of columns that a cell above takes, how many rows it still does
        for index, child in enumerate(block.node.children(self.txn)):
            row = Block(ROW, node=child, parent=block.node, index=index, blocks=[])
            is_row = tag_of(child) == ROW
            row.foreign = not is_row
            cells = child.children(self.txn) if is_row else [child]
            for place, one in enumerate(cells):
                self._fill_held(row, held)
                cell = Block(HEADER if tag_of(one) == HEADER else CELL, node=one, parent=child, index=place)
                attrs = _attributes(one, self.txn) if tag_of(one) is not None else {}
                align = attrs.get("align")
                cell.attrs = {"align": align if isinstance(align, str) and align in _ALIGNS else ""}
                self._cell(cell)
                width = _number(attrs.get("colspan"), 1, 1, _MOST_SPAN)
                height = _number(attrs.get("rowspan"), 1, 1, _MOST_SPAN)
                first = len(row.blocks)
                row.blocks.append(cell)
                row.blocks += [Block(CELL, attrs={"align": ""}) for _ in range(width - 1)]
                if height > 1:
                    held.update(dict.fromkeys(range(first, first + width), height))
            self._fill_held(row, held)
            held = {column: rows - 1 for column, rows in held.items() if rows > 1}
            if row.blocks or is_row:
                block.blocks.append(row)
        width = max((len(row.blocks) for row in block.blocks), default=0)
        if not width:
            block.blocks = []
        for row in block.blocks:
            row.blocks += [Block(CELL, attrs={"align": ""}) for _ in range(width - len(row.blocks))]

    def _fill_held(self, row: Block, held: dict[int, int]) -> None:
        while held.get(len(row.blocks), 0) > 0 and row.node is not None:
            column = len(row.blocks)
            if held[column] == 0:
                break
            row.blocks.append(Block(CELL, attrs={"align": ""}))

    def _cell(self, cell: Block) -> None:
        """A cell's text; that of several blocks in one line, with breaks between."""
        if tag_of(cell.node) is None:
            cell.foreign = True
            cell.spans = normal(self._spans([cell.node]))
            return
        children = cell.node.children(self.txn)
        if len(children) == 1 and tag_of(children[0]) == PARAGRAPH:
            cell.inlines = children[0].children(self.txn)
            cell.spans = normal(self._spans(cell.inlines))
            cell.empties = [Block(PARAGRAPH, node=children[0], parent=cell.node)]
            return
        cell.foreign = True
        spans: list[Span] = []
        for child in children:
            if spans and tag_of(child) is not None and tag_of(child) not in _INLINE:
                spans.append(Span("", NONE, Atom(BREAK), -1))
            if tag_of(child) in (PARAGRAPH, HEADING):
                spans += self._spans(child.children(self.txn))
            elif tag_of(child) is None or tag_of(child) in _INLINE:
                spans += self._spans([child])
            else:
                spans.append(Span(self.words(child)))
        cell.spans = normal(spans)

    def _texts(self, block: Block) -> None:
        block.inlines = block.node.children(self.txn)
        spans = self._spans(block.inlines)
        if block.kind != CODE_BLOCK:
            block.spans = normal(spans)
            return
        raw = str(block.attrs["language"]) == "{=yaml}"  # which is kept to the byte
        block.spans = [
            span._replace(text=span.text if raw else span.text.replace("\r", "\n"), marks=NONE)
            if span.atom is None
            else Span("\n" if span.atom.kind == BREAK else span.atom.label, NONE, None, span.child, -1)
            for span in spans
        ]
        block.spans = [span for span in block.spans if span.text]

    def _spans(self, nodes: list[Any]) -> list[Span]:
        spans: list[Span] = []
        for child, node in enumerate(nodes):
            tag = tag_of(node)
            if tag is None:
                start = 0
                for value, attrs in node.diff(self.txn):
                    if isinstance(value, str):
                        spans.append(Span(value, marks_of(attrs), None, child, start))
                    start += len(value) if isinstance(value, str) else 1
            elif tag in _INLINE:
                spans.append(_atom(tag, _attributes(node, self.txn), child))
            else:
                words = self.words(node)
                if words:
                    spans.append(Span(words, NONE, None, child, -1))
        return spans

    def words(self, node: Any) -> str:
        """All text within a node, however deep it stands."""
        found: list[str] = []
        stack = [node]
        while stack:
            one = stack.pop()
            tag = tag_of(one)
            if tag is None:
                text = "".join(value for value, _ in one.diff(self.txn) if isinstance(value, str))
                found.append(text)
                continue
            if tag == MENTION:
                found.append("@" + _atom(tag, _attributes(one, self.txn), 0).atom.label)  # type: ignore[union-attr]
            if tag in _BLOCKS or tag == BREAK:
                found.append(" ")
            stack += reversed(one.children(self.txn))
        return "".join(found).strip()


def _attributes(node: Any, txn: Any) -> dict[str, Any]:
    return dict(node.attributes(txn)) if hasattr(node, "attributes") else {}


def _atom(tag: str, attrs: dict[str, Any], child: int) -> Span:
    if tag == BREAK:
        return Span("", NONE, Atom(BREAK), child)
    if tag == IMAGE:
        src, alt, title = (_text(attrs.get(name)) for name in ("src", "alt", "title"))
        if not is_good_link(src):  # the parser takes it for no image
            return Span(alt, NONE, None, child, -1)
        return Span("", NONE, Atom(IMAGE, src, " ".join(alt.split()), title), child)
    name = _text(attrs.get("id"))
    label = _text(attrs.get("label")) or name
    return Span("", NONE, Atom(MENTION, name, " ".join(label.split())), child)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _number(value: Any, default: int, least: int, most: int) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return default
    return int(min(max(value, least), most))
