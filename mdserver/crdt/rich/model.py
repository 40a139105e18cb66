"""What a rich text document says, wherever it stands: blocks, and spans of text with their marks. Floor 0.

Names of kinds, marks and attributes are those of TipTap's nodes and marks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

QUOTE, BULLETS, NUMBERS, TASKS = "blockquote", "bulletList", "orderedList", "taskList"
ITEM, TASK = "listItem", "taskItem"
PARAGRAPH, HEADING, CODE_BLOCK, RULE = "paragraph", "heading", "codeBlock", "horizontalRule"
TABLE, ROW, HEADER, CELL = "table", "tableRow", "tableHeader", "tableCell"
LISTS = frozenset([BULLETS, NUMBERS, TASKS])
ITEMS = frozenset([ITEM, TASK])
CELLS = frozenset([HEADER, CELL])
TEXTS = frozenset([PARAGRAPH, HEADING, CODE_BLOCK, *CELLS])
"""Kinds that hold spans; the others hold blocks, but for the rule."""

RAW_HTML, RAW_MARKDOWN, FRONT_MATTER = "{=html}", "{=markdown}", "{=yaml}"
"""Languages of code blocks that stand for what they hold, as Pandoc marks it, instead of showing it."""

RAW_LANGUAGE = re.compile(r"\\*\{=(?:html|markdown|yaml)\}")
RAW_SUFFIX = re.compile(r"\{=(?:html|markdown)\}")
"""What follows a piece of inline code that stands for what it holds."""

BREAK, IMAGE, MENTION = "hardBreak", "image", "mention"

DEEP = 50
"""Levels at which no container begins; a list takes two. An update holds 64 levels of types, the parser reads 100."""

# What Python and markdown-it take away at the ends of a paragraph, and Markdown has no way to write.
_BLANK = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85"
_LINES = str.maketrans("\n\r", "  ")
_BAD_LINK = re.compile(r"\s*(?:vbscript|javascript|file|data):", re.IGNORECASE)
_GOOD_DATA = re.compile(r"\s*data:image/(?:gif|png|jpeg|webp);", re.IGNORECASE)


class Mark(NamedTuple):
    """A mark that Markdown can say. `href` and `title` are a link's."""

    name: str
    href: str = ""
    title: str = ""


Marks = frozenset[Mark]

NONE: Marks = frozenset()
BOLD, ITALIC, STRIKE, CODE = Mark("bold"), Mark("italic"), Mark("strike"), Mark("code")
SAYABLE = frozenset(["bold", "italic", "strike", "code", "link"])
_TRIMMED = (BOLD, ITALIC, STRIKE)


class Atom(NamedTuple):
    """A node between texts: a hard break, an image (src, alt, title) or a mention (id, label)."""

    kind: str
    target: str = ""
    label: str = ""
    title: str = ""


class Span(NamedTuple):
    """Text, or an atom, in which case the text is empty.

    Where it was read from a document, `child` counts the block's inline nodes and `start` the characters within;
    -1 when the text is all that is known of a node of another kind.
    """

    text: str
    marks: Marks = NONE
    atom: Atom | None = None
    child: int = 0
    start: int = 0


class Block(msgspec.Struct, eq=False):
    """A block. What was read from a document also has its place there.

    `node` is its Yjs element, None for a cell that only fills a row; it is the `index`th of `count` children of
    `parent`. `inlines` are the Yjs nodes of its text. `foreign`: it is not what it is read as, so it is replaced
    rather than edited. `empties` are the empty paragraphs among a block's children, of which Markdown says nothing.
    `key` is a number that an edit gives to what says the same.
    """

    kind: str
    attrs: dict[str, Any] = {}
    blocks: list[Block] = []
    spans: list[Span] = []
    node: Any = None
    parent: Any = None
    index: int = 0
    count: int = 1
    inlines: list[Any] = []
    foreign: bool = False
    empties: list[Block] = []
    key: int = 0


def link(href: str, title: str = "") -> Mark:
    return Mark("link", href, title)


def link_of(marks: Marks) -> Mark | None:
    return next((mark for mark in marks if mark.name == "link"), None)


def is_good_link(href: str) -> bool:
    """Whether the parser takes it for the target of a link or an image."""
    return not _BAD_LINK.match(href) or _GOOD_DATA.match(href) is not None


def merged(spans: Iterable[Span]) -> list[Span]:
    """Neighbours with the same marks as one. Their places are lost."""
    result: list[Span] = []
    for span in spans:
        last = result[-1] if result else None
        if last is not None and last.atom is None and span.atom is None and last.marks == span.marks:
            result[-1] = last._replace(text=last.text + span.text)
        elif span.text or span.atom is not None:
            result.append(span)
    return result


def normal(spans: Iterable[Span]) -> list[Span]:
    """What Markdown can say of a text: nothing is added, and characters are only left out at ends, or are line ends.

    Blanks at the ends of lines go, breaks at the end of a block, and marks on blanks at their ends. Nodes between
    texts have the marks that both sides share.
    """
    result: list[Span] = []
    line_start = True
    for span in spans:
        if span.atom is not None:
            result.append(span)
            line_start = span.atom.kind == BREAK
            continue
        text = span.text
        if "\n" in text or "\r" in text:
            span = span._replace(text=text.translate(_LINES))
        if span.marks:
            target = link_of(span.marks)
            if target is not None and not (target.href and is_good_link(target.href)):
                span = span._replace(marks=span.marks - {target})
        if line_start and CODE not in span.marks:
            text = span.text.lstrip(_BLANK)
            span = _cut(span, len(span.text) - len(text), len(span.text))
        if span.text:
            line_start = False
            result.append(span)
    _trim_end(result)
    _share_marks(result)
    for mark in _TRIMMED:
        if any(mark in span.marks for span in result):
            result = _trimmed(result, mark)
    return result


def _cut(span: Span, start: int, end: int) -> Span:
    if start == 0 and end == len(span.text):
        return span
    return span._replace(text=span.text[start:end], start=span.start if span.start < 0 else span.start + start)


def _trim_end(spans: list[Span]) -> None:
    while spans:
        last = spans[-1]
        if last.atom is not None:
            if last.atom.kind != BREAK:
                return
            spans.pop()
            continue
        if CODE in last.marks:
            return
        size = len(last.text.rstrip(_BLANK))
        if size:
            spans[-1] = _cut(last, 0, size)
            return
        spans.pop()


def _share_marks(spans: list[Span]) -> None:
    """Give atoms the marks that both neighbours have; y-prosemirror stores none on them."""
    at = 0
    while at < len(spans):
        if spans[at].atom is None:
            at += 1
            continue
        end = at
        while end < len(spans) and spans[end].atom is not None:
            end += 1
        shared = spans[at - 1].marks & spans[end].marks - {CODE} if at and end < len(spans) else NONE
        for each in range(at, end):
            atom = spans[each].atom
            marks = shared if atom is None or atom.kind != MENTION else _without_link(shared)
            spans[each] = spans[each]._replace(marks=marks)
        at = end


def _without_link(marks: Marks) -> Marks:
    return frozenset(mark for mark in marks if mark.name != "link")


def _trimmed(spans: list[Span], mark: Mark) -> list[Span]:
    """Take the mark off the blanks at the ends of what it marks."""
    result: list[Span] = []
    at = 0
    while at < len(spans):
        if mark not in spans[at].marks:
            result.append(spans[at])
            at += 1
            continue
        end = at
        while end < len(spans) and mark in spans[end].marks:
            end += 1
        row = spans[at:end]
        before: list[Span] = []
        after: list[Span] = []
        while row and (size := _blanks(row[0], first=True)) is not None:
            head = row.pop(0)
            before.append(_cut(head, 0, size)._replace(marks=head.marks - {mark}))
            if size < len(head.text):
                row.insert(0, _cut(head, size, len(head.text)))
                break
        while row and (size := _blanks(row[-1], first=False)) is not None:
            tail = row.pop()
            cut = len(tail.text) - size
            after.insert(0, _cut(tail, cut, len(tail.text))._replace(marks=tail.marks - {mark}))
            if cut:
                row.append(_cut(tail, 0, cut))
                break
        result += (*before, *row, *after)
        at = end
    return result


def _blanks(span: Span, *, first: bool) -> int | None:
    """How many blanks it begins or ends with; None for none, 0 for an atom that is at the end of what is marked."""
    if span.atom is not None:
        return 0
    if CODE in span.marks:
        return None
    rest = span.text.lstrip() if first else span.text.rstrip()
    return len(span.text) - len(rest) or None
