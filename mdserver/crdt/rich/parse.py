"""Markdown as blocks of rich text, by the parser that the server renders with. Floor 0."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from mdserver import outline

from . import inline
from .model import (
    BOLD,
    BREAK,
    BULLETS,
    CELL,
    CODE,
    CODE_BLOCK,
    DEEP,
    FRONT_MATTER,
    HEADER,
    HEADING,
    IMAGE,
    ITALIC,
    ITEM,
    MENTION,
    NUMBERS,
    PARAGRAPH,
    QUOTE,
    RAW_HTML,
    RAW_LANGUAGE,
    RAW_MARKDOWN,
    RAW_SUFFIX,
    ROW,
    RULE,
    STRIKE,
    TABLE,
    TASK,
    TASKS,
    Atom,
    Block,
    Mark,
    Marks,
    Span,
    link,
    normal,
)

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_NEWLINE = re.compile(r"\r\n?|\n")
_TASK = re.compile(r"\[([ xX])\](?:[ \t\n]|$)")
_BR = re.compile(r"<br\s*/?>", re.IGNORECASE)
_MARKS = {"strong_open": BOLD, "em_open": ITALIC, "s_open": STRIKE}
_ENDS = {"strong_close": BOLD, "em_close": ITALIC, "s_close": STRIKE}
_FOOTNOTE = "footnote"
_CONTAINERS = {
    "blockquote_open": QUOTE,
    "bullet_list_open": BULLETS,
    "ordered_list_open": NUMBERS,
    "list_item_open": ITEM,
    "table_open": TABLE,
    "tr_open": ROW,
    "footnote_reference_open": _FOOTNOTE,
}
_DEFINED = re.compile(r"\[(?:[^\[\]\\]|\\.)+\]:")
_CLOSED = frozenset(name.replace("_open", "_close") for name in _CONTAINERS)


def blocks_of(text: str) -> list[Block]:
    """The blocks of a document, front matter first.

    A text that the parser would take too long for, or that nests deeper than it reads, is one raw block.
    """
    start, body = outline.split(text)
    found: list[Block] = []
    if start:
        found.append(_code(text[:start].removesuffix("\n"), FRONT_MATTER))
    try:
        if len(body) > outline.PARSED:
            raise outline.TooMuch
        found += _Parsing(body).blocks()
    except (outline.TooMuch, RecursionError):
        found.append(_code(_NEWLINE.sub("\n", body).strip("\n"), RAW_MARKDOWN))
    return found


def spans_of(text: str) -> list[Span]:
    """The normal spans of an inline text."""
    try:
        (token,) = _parser().parseInline(text, {**outline.budget(text), "references": _References()})
    except (outline.TooMuch, RecursionError):
        return [Span(text)]
    return normal(_spans(token.children or []))


def is_one_html_block(text: str) -> bool:
    """Whether a text is an HTML block, and ends where it ends whatever follows."""
    source = f"{text}\n\nx"
    try:
        tokens = _parser().parse(source, {**outline.budget(source), "references": _References()})
    except (outline.TooMuch, RecursionError):
        return False
    return (
        len(tokens) == 4
        and tokens[0].type == "html_block"
        and tokens[0].content.rstrip("\n") == text
        and tokens[2].content == "x"
    )


class _References(dict[str, Any]):
    """Definitions of references, which remembers those that were used."""

    def __init__(self) -> None:
        super().__init__()
        self.used: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        if key in self:
            self.used.add(key)
        return super().get(key, default)


@cache
def _parser() -> MarkdownIt:
    md = outline.new_parser()
    md.core.ruler.disable("footnote_tail")  # footnotes stay where they are
    md.normalizeLink = lambda url: url  # type: ignore[method-assign]  # as their authors wrote them
    md.normalizeLinkText = lambda link: link  # type: ignore[method-assign]
    md.render("*warm*", outline.budget(""))
    return md


class _Parsing:
    """One document being parsed."""

    def __init__(self, body: str) -> None:
        self.lines = _NEWLINE.sub("\n", body).split("\n")
        self.references = _References()
        env = {**outline.budget(body), "references": self.references}
        self.tokens = _parser().parse(body, env)
        if any(token.level >= DEEP and token.type in _CONTAINERS for token in self.tokens):
            raise outline.TooMuch

    def blocks(self) -> list[Block]:
        used = self.references.used
        unused = sorted((found for key, found in self.references.items() if key not in used), key=_first_line)
        unused.reverse()
        stack: list[list[Block]] = [[]]
        held: list[Block] = []
        at = 0
        while at < len(self.tokens):
            token = self.tokens[at]
            if token.level == 0 and token.nesting >= 0 and token.map:
                while unused and _first_line(unused[-1]) < token.map[0]:
                    self._keep_definition(stack[0], unused.pop())
            if token.type in _CONTAINERS:
                held.append(Block(_CONTAINERS[token.type], attrs=_attrs(token), blocks=[]))
                stack.append(held[-1].blocks)
            elif token.type in _CLOSED:
                stack.pop()
                stack[-1] += _finished(held.pop())
            else:
                stack[-1] += self._leaf(at)
            at += 1
        while unused:
            self._keep_definition(stack[0], unused.pop())
        return stack[0]

    def _keep_definition(self, blocks: list[Block], found: dict[str, Any]) -> None:
        """A definition that nothing refers to, wherever it stood."""
        first, last = found["map"]
        label = _DEFINED.search("\n".join(self.lines[first:last]))
        if label is None:
            return
        name = re.sub(r"\s*\n[\s>]*", " ", label[0])
        text = f"{name} {inline.destination(found['href'])}{inline.quoted(found['title'])}"
        before = blocks[-1] if blocks else None
        if before is not None and before.attrs.get("language") == RAW_MARKDOWN:
            text = f"{before.spans[0].text}\n{text}"
            blocks.pop()
        blocks.append(_code(text, RAW_MARKDOWN))

    def _leaf(self, at: int) -> list[Block]:
        token = self.tokens[at]
        if token.type in ("paragraph_open", "heading_open", "th_open", "td_open"):
            spans = normal(_spans(self.tokens[at + 1].children or []))
            if token.type == "heading_open":
                return [Block(HEADING, attrs={"level": int(token.tag[1])}, spans=spans)]
            if token.type == "paragraph_open":
                task = (
                    _TASK.match(self.tokens[at + 1].content) if self.tokens[at - 1].type == "list_item_open" else None
                )
                return [Block(PARAGRAPH, attrs={"task": task[1] != " "} if task else {}, spans=spans)] if spans else []
            align = str(token.attrs.get("style", "")).removeprefix("text-align:")
            return [Block(HEADER if token.type == "th_open" else CELL, attrs={"align": align}, spans=spans)]
        if token.type in ("fence", "code_block"):
            language = token.info.strip()
            if RAW_LANGUAGE.fullmatch(language):
                language = "\\" + language
            return [_code(token.content.removesuffix("\n"), language)]
        if token.type == "html_block":
            return [_code(token.content.strip("\n"), RAW_HTML)]
        return [Block(RULE)] if token.type == "hr" else []


def _first_line(definition: dict[str, Any]) -> int:
    return int(definition["map"][0])


def _attrs(token: Token) -> dict[str, Any]:
    if token.type == "footnote_reference_open":
        return {"label": token.meta.get("label", "")}
    if token.type == "ordered_list_open":
        return {"start": int(token.attrs.get("start", 1))}
    return {}


def _code(text: str, language: str) -> Block:
    return Block(CODE_BLOCK, attrs={"language": language}, spans=[Span(text)] if text else [])


def _finished(block: Block) -> list[Block]:
    """A list whose items are partly tasks is several lists."""
    if block.kind == ITEM:
        _find_task(block)
    if block.kind == _FOOTNOTE:
        return [_footnote(block)]
    if block.kind != BULLETS and block.kind != NUMBERS:
        return [block]
    lists: list[Block] = []
    start = block.attrs.get("start", 1)
    for number, item in enumerate(block.blocks):
        kind = TASKS if item.kind == TASK else block.kind
        if not lists or lists[-1].kind != kind:
            lists.append(Block(kind, attrs={"start": start + number} if kind == NUMBERS else {}, blocks=[]))
        lists[-1].blocks.append(item)
    return lists


def _footnote(block: Block) -> Block:
    """A footnote of one paragraph is a paragraph that begins as it does in Markdown; a longer one stays source."""
    label = f"[^{block.attrs['label']}]:"
    if not block.blocks:
        return Block(PARAGRAPH, spans=[Span(label)])
    if len(block.blocks) == 1 and block.blocks[0].kind == PARAGRAPH:
        return Block(PARAGRAPH, spans=normal([Span(f"{label} "), *block.blocks[0].spans]))
    from . import write

    first, *rest = write.joined(block.blocks, strict=True).split("\n")
    return _code("\n".join([f"{label} {first}", *(f"    {line}" if line else "" for line in rest)]), RAW_MARKDOWN)


def _find_task(item: Block) -> None:
    first = item.blocks[0] if item.blocks else None
    if first is None or first.kind != PARAGRAPH or "task" not in first.attrs:
        return
    item.kind, item.attrs = TASK, {"checked": first.attrs.pop("task")}
    head = first.spans[0]
    found = _TASK.match(head.text)
    assert found is not None
    first.spans = normal([head._replace(text=head.text[found.end() :]), *first.spans[1:]])
    if not first.spans:
        item.blocks.pop(0)


def _spans(tokens: list[Token]) -> list[Span]:
    """The spans of inline tokens."""
    spans: list[Span] = []
    marks: list[Mark] = []
    links: list[tuple[Mark, int]] = []
    for token in tokens:
        kind = token.type
        present = frozenset(marks)
        if kind in ("text", "text_special"):
            text = token.content
            if spans and CODE in spans[-1].marks and RAW_SUFFIX.match(text.lstrip("\\")):
                text = "\\" + text
            if text:
                spans.append(Span(text, present))
        elif kind == "softbreak":
            spans.append(Span(" ", present))
        elif kind == "hardbreak":
            spans.append(Span("", present, Atom(BREAK)))
        elif kind == "code_inline":
            spans.append(Span(token.content, present | {CODE}))
        elif kind == "html_inline":
            if _BR.fullmatch(token.content):
                spans.append(Span("", present, Atom(BREAK)))
            else:
                _add_raw(spans, token.content, RAW_HTML, present)
        elif kind == "footnote_ref":
            spans.append(Span(f"[^{token.meta.get('label', '')}]", present))
        elif kind == "image":
            alt = _plain(token.children or [])
            spans.append(
                Span("", present, Atom(IMAGE, str(token.attrs["src"]), alt, str(token.attrs.get("title", ""))))
            )
        elif kind in _MARKS:
            marks.append(_MARKS[kind])
        elif kind in _ENDS:
            marks.remove(_ENDS[kind])
        elif kind == "link_open":
            mark = link(str(token.attrs["href"]), str(token.attrs.get("title", "")))
            marks = [other for other in marks if other.name != "link"]  # an address within a link is one of its own
            links.append((mark, len(spans)))
            marks.append(mark)
        elif kind == "link_close":
            mark, start = links.pop()
            if mark in marks:
                marks.remove(mark)
            linked = spans[start:]
            del spans[start:]
            _add_linked(spans, linked, mark, frozenset(marks))
    return spans


def _add_raw(spans: list[Span], source: str, suffix: str, marks: Marks) -> None:
    """Add a piece of source that has no node of its own: inline code, and what says that it is more."""
    source = source.replace("\n", " ")
    if spans and spans[-1].marks == marks | {CODE}:  # the two would be one piece of code
        source, suffix = inline.code(spans.pop().text) + source, RAW_MARKDOWN
    spans += (Span(source, marks | {CODE}), Span(suffix, marks))


def _add_linked(spans: list[Span], linked: list[Span], mark: Mark, marks: Marks) -> None:
    """Add what stands in a link. Nodes have no marks, so a link that begins or ends with one is kept as source."""
    if linked and not mark.title and mark.href.startswith("mention:") and all(not span.atom for span in linked):
        label = "".join(span.text for span in linked)
        if label.startswith("@") and all(CODE not in span.marks for span in linked):
            spans.append(Span("", marks, Atom(MENTION, unquote(mark.href.removeprefix("mention:")), label[1:])))
            return
    if mark.href and linked and linked[0].atom is None and linked[-1].atom is None:
        spans += linked
        return
    inner = [span._replace(marks=span.marks - {mark}) for span in linked]
    source = inline.inline(normal(inner), line_break=" ", strict=True, paragraph=False)
    _add_raw(spans, f"[{source}]{inline.target(mark.href, mark.title)}", RAW_MARKDOWN, marks)


def _plain(tokens: list[Token]) -> str:
    parts = []
    for token in tokens:
        if token.type in ("text", "text_special", "code_inline", "html_inline"):
            parts.append(token.content)
        elif token.type in ("softbreak", "hardbreak"):
            parts.append(" ")
        elif token.type == "image":
            parts.append(_plain(token.children or []))
    return "".join(parts)
