"""Blocks of rich text as the first update of a document, written by hand: time in proportion to their length. Floor 0.

Asking a Doc for it costs a walk over all neighbours before each block and each span. Yjs's v1 encoding: each item says
its content's kind, and its left neighbour or, having none, its parent (`Item.write` of Yjs).
"""

from __future__ import annotations

import json
import struct
from typing import Any

from mdserver.crdt import lib0

from . import build
from .model import (
    CELL,
    CELLS,
    CODE_BLOCK,
    HEADER,
    HEADING,
    ITEMS,
    NONE,
    PARAGRAPH,
    QUOTE,
    TABLE,
    Block,
    Marks,
    Span,
    merged,
)

_STRING, _FORMAT, _TYPE, _ANY = 4, 6, 7, 8
_ORIGIN, _KEY = 0x80, 0x20
_ELEMENT, _TEXT = 3, 6
_NOTHING = b"\x00\x00"


def first_update(blocks: list[Block], client: int, name: str) -> bytes:
    """The update that puts the blocks into an empty fragment of that name."""
    writing = _Writing(client, name)
    writing.blocks(None, blocks)
    if not writing.count:
        return _NOTHING
    head = b"\x01" + lib0.number(writing.count) + writing.client + b"\x00"
    return b"".join((head, *writing.items, b"\x00"))


class _Writing:
    """One client's items, from clock 0 on."""

    def __init__(self, client: int, name: str) -> None:
        self.client = lib0.number(client)
        self.root = b"\x01" + lib0.text(name)
        self.items: list[bytes] = []
        self.count = 0
        self.clock = 0
        self.formats: dict[Marks, dict[str, str]] = {NONE: {}}

    def blocks(self, parent: int | None, blocks: list[Block], *, kind: str = "", header: bool = False) -> None:
        """The children of an element (by its clock) or of the root."""
        last: int | None = None
        if (kind in ITEMS and not (blocks and blocks[0].kind == PARAGRAPH)) or (kind == QUOTE and not blocks):
            last = self.element(parent, last, PARAGRAPH, {})
        for place, block in enumerate(blocks):
            last = self.block(parent, last, block, header=header or (kind == TABLE and not place))

    def block(self, parent: int | None, last: int | None, block: Block, *, header: bool) -> int:
        kind = HEADER if block.kind == CELL and header else block.kind
        made = self.element(parent, last, kind, build.attributes(block))
        if kind in CELLS:
            self.spans(self.element(made, None, PARAGRAPH, {}), block.spans)
        elif kind in (PARAGRAPH, HEADING, CODE_BLOCK):
            self.spans(made, block.spans)
        else:
            self.blocks(made, block.blocks, kind=kind, header=header)
        return made

    def spans(self, parent: int, spans: list[Span]) -> None:
        last: int | None = None
        text: int | None = None
        end: int | None = None
        open_formats: dict[str, str] = {}
        for span in [*merged(spans), None]:
            formats = self._formats(span.marks) if span is not None and span.atom is None else {}
            if text is not None:
                for name in [name for name in open_formats if open_formats[name] != formats.get(name)]:
                    if name not in formats:
                        end = self.item(_FORMAT, text, end, lib0.text(name) + lib0.text("null"))
                        del open_formats[name]
            if span is None:
                break
            if span.atom is not None:
                last, text = self.element(parent, last, span.atom.kind, build.atom_attributes(span.atom)), None
                continue
            if text is None:
                last = text = self.item(_TYPE, parent, last, lib0.number(_TEXT))
                end, open_formats = None, {}
            for name, value in formats.items():
                if open_formats.get(name) != value:
                    end = self.item(_FORMAT, text, end, lib0.text(name) + lib0.text(value))
                    open_formats[name] = value
            size = len(span.text) if span.text.isascii() else len(span.text.encode("utf-16-le")) // 2
            end = self.item(_STRING, text, end, lib0.text(span.text), size) + size - 1

    def element(self, parent: int | None, last: int | None, kind: str, attributes: dict[str, Any]) -> int:
        made = self.item(_TYPE, parent, last, lib0.number(_ELEMENT) + lib0.text(kind))
        for name, value in attributes.items():
            self.item(_ANY, made, None, b"\x01" + _any(value), key=name)
        return made

    def item(
        self, content: int, parent: int | None, last: int | None, body: bytes, size: int = 1, *, key: str = ""
    ) -> int:
        """Write an item behind another, or as a parent's first; its clock."""
        if last is not None:
            lead = bytes([content | _ORIGIN]) + self.client + lib0.number(last)
        else:
            above = self.root if parent is None else b"\x00" + self.client + lib0.number(parent)
            lead = bytes([content | (_KEY if key else 0)]) + above + (lib0.text(key) if key else b"")
        self.items.append(lead + body)
        self.count += 1
        made = self.clock
        self.clock += size
        return made

    def _formats(self, marks: Marks) -> dict[str, str]:
        if marks not in self.formats:
            found = build.formats(marks)
            self.formats[marks] = {
                name: json.dumps(value, ensure_ascii=False, separators=(",", ":")) for name, value in found.items()
            }
        return self.formats[marks]


def _any(value: Any) -> bytes:
    """lib0's `any` of what attributes hold: truth, small whole numbers, texts."""
    if isinstance(value, bool):
        return b"\x78" if value else b"\x79"
    if isinstance(value, int):
        if value < 64:
            return b"\x7d" + bytes([value])
        return b"\x7b" + struct.pack(">d", value)
    return b"\x77" + lib0.text(value)
