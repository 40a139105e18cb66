"""Blocks of rich text as new Yjs elements, written as y-prosemirror writes what TipTap holds. Floor 0.

Its attributes are those that are not null, defaults included, and numbers are numbers; a mark is the object of its
attributes, null ones included. So an editor that opens them finds nothing to set right.
"""

from __future__ import annotations

from typing import Any

from .model import (
    CELL,
    CELLS,
    CODE_BLOCK,
    HEADER,
    HEADING,
    IMAGE,
    ITEMS,
    MENTION,
    NUMBERS,
    PARAGRAPH,
    QUOTE,
    ROW,
    TABLE,
    TASK,
    Atom,
    Block,
    Marks,
    Span,
    merged,
)

_MANY = 500  # spans of one text
_LINK = {"target": "_blank", "rel": "noopener noreferrer nofollow", "class": None}


def insert(txn: Any, parent: Any, index: int, block: Block, *, first_row: bool = False) -> None:
    """Make a block the `index`th child."""
    kind = block.kind
    if kind == CELL and first_row:
        kind = HEADER
    element = parent.insert_element_prelim(txn, index, kind)
    for name, value in attributes(block).items():
        element.insert_attribute(txn, name, value)
    if kind in CELLS:
        insert_spans(txn, element.insert_element_prelim(txn, 0, PARAGRAPH), 0, block.spans)
    elif kind in (PARAGRAPH, HEADING, CODE_BLOCK):
        insert_spans(txn, element, 0, block.spans)
    else:
        insert_all(txn, element, 0, block.blocks, first_row=kind == ROW and first_row, header=kind == TABLE)
        complete(txn, element, kind)


def insert_all(
    txn: Any, parent: Any, index: int, blocks: list[Block], *, first_row: bool = False, header: bool = False
) -> None:
    for place, block in enumerate(blocks):
        insert(txn, parent, index + place, block, first_row=first_row or (header and not place))


def complete(txn: Any, element: Any, kind: str) -> None:
    """Put in the empty paragraph that TipTap's schema wants: first in an item, and where there would be nothing."""
    if kind not in ITEMS and kind != QUOTE:
        return
    children = element.children(txn)
    first = children[0] if children else None
    if first is None or (kind in ITEMS and not (hasattr(first, "tag") and first.tag() == PARAGRAPH)):
        element.insert_element_prelim(txn, 0, PARAGRAPH)


def attributes(block: Block) -> dict[str, Any]:
    """An element's attributes."""
    kind = block.kind
    if kind == HEADING:
        return {"level": block.attrs["level"]}
    if kind == CODE_BLOCK:
        return {"language": block.attrs["language"]} if block.attrs["language"] else {}
    if kind == NUMBERS:
        return {"start": block.attrs["start"]}
    if kind == TASK:
        return {"checked": block.attrs["checked"]}
    if kind in CELLS:
        align = block.attrs.get("align")
        return {"colspan": 1, "rowspan": 1, **({"align": align} if align else {})}
    return {}


def insert_spans(txn: Any, element: Any, index: int, spans: list[Span]) -> None:
    """Put texts and atoms before the `index`th child."""
    rows: list[list[Span]] = []  # the texts between atoms
    for span in merged(spans):
        if span.atom is not None or not rows or rows[-1][0].atom is not None:
            rows.append([span])
        else:
            rows[-1].append(span)
    for row in reversed(rows):
        if row[0].atom is not None:
            insert_atom(txn, element, index, row[0].atom)
        else:
            _insert_text(txn, element.insert_str(txn, index, ""), row)


def _insert_text(txn: Any, text: Any, spans: list[Span]) -> None:
    if len(spans) > _MANY:  # each insertion walks to its place, so these go in front; some formats are then told twice
        for span in reversed(spans):
            text.insert(txn, 0, span.text, iter(formats(span.marks).items()))
        return
    size = 0
    for span in spans:
        text.insert(txn, size, span.text, iter(formats(span.marks).items()))
        size += len(span.text.encode())


def insert_atom(txn: Any, element: Any, index: int, atom: Atom) -> None:
    made = element.insert_element_prelim(txn, index, atom.kind)
    for name, value in atom_attributes(atom).items():
        made.insert_attribute(txn, name, value)


def atom_attributes(atom: Atom) -> dict[str, str]:
    """The attributes of a node between texts."""
    attrs: dict[str, str] = {}
    if atom.kind == IMAGE:
        attrs = {"src": atom.target, "alt": atom.label, "title": atom.title}
    elif atom.kind == MENTION:
        attrs = {"id": atom.target, "label": atom.label, "mentionSuggestionChar": "@"}
    return {name: value for name, value in attrs.items() if value}


def formats(marks: Marks) -> dict[str, Any]:
    """A text's formats."""
    return {
        mark.name: {"href": mark.href, **_LINK, "title": mark.title or None} if mark.name == "link" else {}
        for mark in sorted(marks)
    }
