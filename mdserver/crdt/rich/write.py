"""Blocks of rich text as Markdown, in one normal form. Floor 0."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from mdserver import frontmatter

from . import inline, parse
from .model import (
    BULLETS,
    CELLS,
    CODE_BLOCK,
    FRONT_MATTER,
    HEADING,
    LISTS,
    NUMBERS,
    PARAGRAPH,
    QUOTE,
    RAW_HTML,
    RAW_LANGUAGE,
    RAW_MARKDOWN,
    RULE,
    TABLE,
    TASK,
    TASKS,
    Block,
)

_FENCE = re.compile(r"^[ ]*(`{3,}|~{3,})", re.MULTILINE)
_RULES = {"left": ":--", "right": "--:", "center": ":-:"}
_CLOSING = re.compile(r"(^|[ \t])(#+)$")


def document(blocks: list[Block]) -> str:
    """The whole Markdown, with a line end after it; "" when nothing is said."""
    strict = is_strict(blocks)
    head = ""
    if blocks and is_front_matter(blocks[0]):
        head = text_of(blocks[0]) + "\n"
        blocks = blocks[1:]
    body = joined(blocks, strict, first_rule="---" if head else "***")
    return f"{head}\n{body}\n" if head and body else f"{head}{body}\n" if body else head


def joined(blocks: list[Block], strict: bool, *, first_rule: str = "---", gap: str = "\n\n") -> str:
    """Blocks one after the other; `first_rule` is how a rule is written that comes first."""
    parts: list[str] = []
    before: Block | None = None
    marker = ""
    for at, block in enumerate(blocks):
        if block.kind in LISTS:
            marker = _marker(before, block, marker)
            together = before is not None and _is_mixed(before, block)
            if together:
                parts.append("\n\n" if any(_is_loose(one) for one in _around(blocks, at)) else "\n")
            elif parts:
                parts.append(gap)
            loose = any(_is_loose(one) for one in _around(blocks, at))
            parts.append(_list(block, strict, marker=marker, loose=loose))
        else:
            if parts:
                parts.append(gap)
            parts.append(first_rule if block.kind == RULE and not at else _block(block, strict))
        before = block
    return "".join(parts)


def leaf(block: Block, strict: bool) -> str:
    """The Markdown of a block that holds no other."""
    return _cell(block, strict) if block.kind in CELLS else _block(block, strict)


def is_strict(blocks: list[Block]) -> bool:
    """Whether the document may define references, so that text in brackets must not look like one."""
    return any(block.kind == CODE_BLOCK and block.attrs.get("language") == RAW_MARKDOWN for block in blocks)


def is_front_matter(block: Block) -> bool:
    """Whether a first block is front matter, and reads as such."""
    if block.kind != CODE_BLOCK or block.attrs.get("language") != FRONT_MATTER:
        return False
    text = text_of(block) + "\n"
    return frontmatter.read(text).body_start == len(text)


def text_of(block: Block) -> str:
    """The text of a block of code."""
    return "".join(span.text for span in block.spans)


def width_of(table: Block) -> int:
    """How many columns a table has."""
    return max((len(row.blocks) for row in table.blocks), default=0)


def _is_mixed(before: Block, block: Block) -> bool:
    """Tasks and bullets beside one another are one list in Markdown."""
    return {before.kind, block.kind} == {BULLETS, TASKS}


def _marker(before: Block | None, block: Block, marker: str) -> str:
    """Lists of one kind beside one another are told apart by their markers."""
    ways = ".)" if block.kind == NUMBERS else "-*"
    if before is None or before.kind not in LISTS or (before.kind == NUMBERS) != (block.kind == NUMBERS):
        return ways[0]
    if before.kind == block.kind:
        return ways[1] if marker == ways[0] else ways[0]
    return marker


def _around(blocks: list[Block], at: int) -> list[Block]:
    """The lists that are one list with this one."""
    start, end = at, at + 1
    while start and blocks[start - 1].kind in LISTS and _is_mixed(blocks[start - 1], blocks[start]):
        start -= 1
    while end < len(blocks) and blocks[end].kind in LISTS and _is_mixed(blocks[end - 1], blocks[end]):
        end += 1
    return blocks[start:end]


def _block(block: Block, strict: bool) -> str:
    kind = block.kind
    if kind == PARAGRAPH:
        return inline.inline(block.spans, strict=strict)
    if kind == HEADING:
        text = inline.inline(block.spans, line_break="<br>", strict=strict, paragraph=False)
        text = _CLOSING.sub(lambda found: f"{found[1]}\\{found[2]}", text)
        return f"{'#' * block.attrs['level']} {text}".rstrip(" ")
    if kind == CODE_BLOCK:
        return _code(block)
    if kind == QUOTE:
        return "\n".join(f"> {line}" if line else ">" for line in joined(block.blocks, strict).split("\n"))
    if kind in LISTS:
        return _list(block, strict, marker="." if kind == NUMBERS else "-", loose=_is_loose(block))
    if kind == TABLE:
        return _table(block, strict)
    return "---"


def _code(block: Block) -> str:
    text = text_of(block)
    language = str(block.attrs.get("language", ""))
    if language == RAW_MARKDOWN and text.strip():
        return text
    if language == RAW_HTML and parse.is_one_html_block(text):
        return text
    if language.startswith("\\") and RAW_LANGUAGE.fullmatch(language):
        language = language[1:]
    fence = "~" if "`" in language else "`"
    size = max((len(found) for found in _FENCE.findall(text) if found[0] == fence), default=2) + 1
    fence *= max(size, 3)
    return f"{fence}{language}\n{text}\n{fence}" if text else f"{fence}{language}\n{fence}"


def _is_loose(block: Block) -> bool:
    return any(not _is_tight(item) for item in block.blocks)


def _is_tight(item: Block) -> bool:
    """A paragraph and lists that can follow it at once, or a single block of any kind."""
    blocks = item.blocks
    if len(blocks) <= 1:
        return True
    if blocks[0].kind != PARAGRAPH:
        return False
    for before, block in pairwise(blocks):
        if block.kind not in LISTS or not block.blocks or not block.blocks[0].blocks or _is_loose(block):
            return False
        if before.kind == PARAGRAPH and block.kind == NUMBERS and block.attrs.get("start", 1) != 1:
            return False
    return True


def _list(block: Block, strict: bool, *, marker: str, loose: bool) -> str:
    items: list[str] = []
    number = block.attrs.get("start", 1)
    for item in block.blocks:
        items.append(_item(f"{number}{marker}" if block.kind == NUMBERS else marker, item, strict, tight=not loose))
        number += 1
    return ("\n\n" if loose else "\n").join(items)


def _item(marker: str, item: Block, strict: bool, *, tight: bool | None = None) -> str:
    if _is_tight(item) if tight is None else tight:
        text = _tight(item.blocks, strict)
    else:
        text = joined(item.blocks, strict, first_rule="___")
    if item.kind == TASK:
        box = "[x]" if item.attrs.get("checked") else "[ ]"
        if item.blocks and item.blocks[0].kind == PARAGRAPH:
            text = f"{box} {text}"
        else:
            text = f"{box}\n\n{text}" if text else box
    pad = " " * (len(marker) + 1)
    first, *rest = text.split("\n")
    lines = [f"{marker} {first}" if first else marker, *(pad + line if line else "" for line in rest)]
    return "\n".join(lines)


def _tight(blocks: list[Block], strict: bool) -> str:
    return joined(blocks, strict, first_rule="___", gap="\n")


def _table(block: Block, strict: bool) -> str:
    width = width_of(block)
    rows = [[_cell(cell, strict) for cell in row.blocks] for row in block.blocks]
    if not width:
        return ""
    aligns = [_RULES.get(align, "---") for align in aligns_of(block)]
    lines = [_row(row + [""] * (width - len(row))) for row in rows]
    lines.insert(1, _row(aligns))
    return "\n".join(lines)


def aligns_of(table: Block) -> list[Any]:
    """The alignment of each column, which is its first cell's: left, center, right or ""."""
    first = [cell.attrs.get("align", "") for cell in table.blocks[0].blocks]
    return first + [""] * (width_of(table) - len(first))


def _row(cells: list[str]) -> str:
    return "|" + "".join(f" {cell} |" if cell else "  |" for cell in cells)


def _cell(block: Block, strict: bool) -> str:
    text = inline.inline(block.spans, line_break="<br>", strict=strict, paragraph=False)
    return text.replace("|", "\\|")
