"""Headings of a document, its title, and the Markdown parser that the outline and the HTML share. Floor 0."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, MutableMapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from . import frontmatter

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

TITLE = 255  # code points
PARSED = 500_000  # code points; the parser takes 1 µs for each, of hostile text 20 µs; longer texts are scanned

_HEADING = 4_000  # code points of a heading's source that are looked at
_NESTING = 100
_NEWLINE = re.compile(r"\r\n?|\n")


class Heading(msgspec.Struct, frozen=True):
    """`level` 1–6, `text` without markup, `line` of the source counted from 1, `id` as GitHub would make it."""

    level: int
    text: str
    line: int
    id: str


class TooMuch(Exception):
    """Parsing takes far more steps than a text of this length should: it was made to be slow."""


def outline(text: str) -> list[Heading]:
    """Every heading in order, those in quotes and lists too.

    A text that is longer than PARSED, or made to be slow, is scanned line by line instead: headings in containers may
    then be missing.
    """
    start, body = split(text)
    first = 1 + sum(1 for _ in _NEWLINE.finditer(text, 0, start))
    try:
        return [
            Heading(level=int(token.tag[1]), text=plain, line=first + (token.map[0] if token.map else 0), id=slug)
            for token, plain, slug in name_headings(_heading_tokens(body))
        ]
    except (TooMuch, RecursionError):
        name = _Slugs()
        return [
            Heading(level=level, text=plain, line=first + line, id=name(plain))
            for level, raw, line in _scan(body)
            for plain in [_collapse(raw[:_HEADING])]
        ]


def first_heading(text: str) -> str | None:
    """The text of the first heading that has one; None without. A scan of lines that stops there, with no parser."""
    return _first_heading(split(text)[1])


def derive_title(text: str, filename: str) -> str:
    """Front matter's title, else the first heading, else the file's name. One line, 1 to TITLE code points."""
    found = frontmatter.read(text)
    title = found.title or _first_heading(_body(text, found.body_start)) or ""
    return _as_title(title) or _as_title(re.sub(r"\.(?:md|markdown)$", "", filename, flags=re.IGNORECASE)) or "Untitled"


def split(text: str) -> tuple[int, str]:
    """Where the body starts, and the body: without front matter and byte order mark."""
    start = frontmatter.read(text).body_start
    return start, _body(text, start)


def new_parser() -> MarkdownIt:
    """CommonMark with GFM's tables, strikethrough and footnotes; raw HTML passes through, so sanitise what is rendered.

    Give `budget(text)` as the environment. Parsing raises TooMuch. To share a parser between threads, use it once
    before: rules are compiled on first use.
    """
    from markdown_it import MarkdownIt
    from mdit_py_plugins.footnote import footnote_plugin

    md = MarkdownIt("commonmark", {"maxNesting": _NESTING, "html": True})
    md.enable(["table", "strikethrough"])
    md.use(footnote_plugin, inline=False)  # `^[…]` is not GFM, and nests without bounds
    # Both run before every other rule, at every place where the parser tries rules.
    md.block.ruler.before("table", "steps", _block_step, {"alt": ["paragraph", "reference", "blockquote", "list"]})
    md.inline.ruler.before("text", "steps", _inline_step)
    skip = md.inline.skipToken

    def counted(state: StateInline) -> None:
        _step(state.env, 1)
        skip(state)

    # The search for the end of a link's text goes over known tokens, without rules but again for each "[".
    md.inline.skipToken = counted  # type: ignore[method-assign]
    return md


def budget(text: str) -> dict[str, Any]:
    """An environment for `parser()`: steps in proportion to the text, and links by reference that cannot swell it."""
    # Usual documents take 0.3 steps for each code point, the densest 3.
    return {"steps": 50_000 + 5 * len(text), "references": _References(len(text))}


def name_headings(tokens: Sequence[Token]) -> Iterator[tuple[Token, str, str]]:
    """Each heading's opening token with its plain text and its id. The headings' inline tokens must be parsed."""
    name = _Slugs()
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            inline = tokens[index + 1]
            long = len(inline.content) > _HEADING
            plain = _collapse(inline.content[:_HEADING] if long else _plain(inline.children or []))
            yield token, plain, name(plain)


class _References(dict[str, Any]):
    """Link definitions whose use ends when it has written several times what the text itself holds.

    Else a text of 1 MB could become 10 GB of HTML (cmark has such a bound too).
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.left = 500_000 + 4 * size

    def get(self, key: str, default: Any = None) -> Any:
        found = super().get(key, default)
        if found is None or self.left < 0:
            return default
        self.left -= len(found["href"]) + len(found["title"])
        return found


class _Slugs:
    """Ids as GitHub makes them, each once: `a`, `a-1`, `a-2`."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}

    def __call__(self, text: str) -> str:
        base = slug = "".join(filter(_in_slug, text.lower())).replace(" ", "-") or "section"
        while slug in self.seen:
            self.seen[base] += 1
            slug = f"{base}-{self.seen[base]}"
        self.seen[slug] = 0
        return slug


def _in_slug(character: str) -> bool:
    if character.isascii():
        return character.isalnum() or character in " -_"
    return unicodedata.category(character)[0] in "LMN"


def _block_step(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    return _step(state.env, 3)  # trying the rules for blocks takes that much longer


def _inline_step(state: StateInline, silent: bool) -> bool:
    # To find the end of a comment or the like, the parser's own rule searches the rest of the paragraph.
    far = state.src.startswith(("<!", "<?"), state.pos)
    return _step(state.env, 1 + (state.posMax - state.pos) // 100 if far else 1)


def _step(env: MutableMapping[str, Any], steps: int) -> bool:
    env["steps"] -= steps
    if env["steps"] < 0:
        raise TooMuch
    return False


def _heading_tokens(body: str) -> list[Token]:
    """The document's blocks, with inline content parsed in headings only. Raises TooMuch."""
    if len(body) > PARSED:
        raise TooMuch
    md = _parser()
    env = budget(body)
    tokens: list[Token] = []
    md.block.parse(_NEWLINE.sub("\n", body).replace("\0", "\ufffd"), md, env, tokens)
    for index, token in enumerate(tokens):
        if token.type == "heading_open" and len(tokens[index + 1].content) <= _HEADING:
            children: list[Token] = []
            tokens[index + 1].children = md.inline.parse(tokens[index + 1].content, md, env, children)
    return tokens


@cache
def _parser() -> MarkdownIt:
    md = new_parser()
    md.render("*warm*", budget(""))
    return md


def _plain(tokens: Sequence[Token]) -> str:
    parts = []
    for token in tokens:
        if token.type in ("text", "text_special", "code_inline"):
            parts.append(token.content)
        elif token.type in ("softbreak", "hardbreak"):
            parts.append(" ")
        elif token.type == "image":
            parts.append(_plain(token.children or []))
    return "".join(parts)


def _collapse(text: str) -> str:
    return " ".join(text.split())


def _as_title(text: str) -> str:
    # Twice a title's length is enough to look at, unless somebody writes hundreds of spaces.
    return _collapse(re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", " ", text[:_HEADING]))[:TITLE].rstrip()


def _body(text: str, start: int) -> str:
    return text[start:] if start else text.removeprefix("\ufeff")


def _first_heading(body: str) -> str | None:
    for _, raw, _ in _scan(body):
        if title := _without_markup(raw[:_HEADING]):
            return title
    return None


def _without_markup(raw: str) -> str:
    if not re.search(r"[\\`*_\[<&~]", raw):
        return _collapse(raw)
    try:
        return _collapse(_plain(_parser().parseInline(raw, budget(raw))[0].children or []))
    except (TooMuch, RecursionError):
        return _collapse(raw)


# The scanner. It knows which lines are text of the top level, and no more.

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_CONTAINER = re.compile(r"(?:[ \t]+|>|(?:[-+*]|[0-9]{1,9}[.)])(?=[ \t]))*")
_ITEM = re.compile(r"(?:[-+*]|([0-9]{1,9})[.)])(?:[ \t]+(\S)?|$)")
_RULE = re.compile(r"(?:\*[ \t]*){3,}$|(?:-[ \t]*){3,}$|(?:_[ \t]*){3,}$")
_DEFINITION = re.compile(r"\[(\^?)[^\]]+\]:")
_TABLE = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_CLOSING_FENCE = re.compile(r"[ \t>]*(`{3,}|~{3,})[ \t]*$")
# The seven kinds of HTML blocks (CommonMark §4.6); each with what ends it. None: a blank line.
_HTML: list[tuple[re.Pattern[str], re.Pattern[str] | None]] = [
    (
        re.compile(r"<(?:script|pre|style|textarea)(?:\s|>|$)", re.I),
        re.compile(r"</(?:script|pre|style|textarea)>", re.I),
    ),
    (re.compile(r"<!--"), re.compile(r"-->")),
    (re.compile(r"<\?"), re.compile(r"\?>")),
    (re.compile(r"<![A-Za-z]"), re.compile(r">")),
    (re.compile(r"<!\[CDATA\["), re.compile(r"\]\]>")),
    (
        re.compile(
            r"</?(?:address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir"
            r"|div|dl|dt|fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend"
            r"|li|link|main|menu|menuitem|nav|noframes|ol|optgroup|option|p|param|search|section|summary|table|tbody|td"
            r"|tfoot|th|thead|title|tr|track|ul)(?:\s|/?>|$)",
            re.IGNORECASE,
        ),
        None,
    ),
    (re.compile(r"</?[A-Za-z][A-Za-z0-9-]*(?:\s[^<>]*|/)?>\s*$"), None),
]


def _scan(body: str) -> Iterator[tuple[int, str, int]]:
    """(level, source of the heading's content, line from 0) of headings at the top level; linear in the text."""
    if "\r" in body:
        body = _NEWLINE.sub("\n", body)
    paragraph: list[str] = []  # the lines that an underline would make a heading
    closed = False  # the text of the present lines belongs to a quote, a list item or a table
    in_list = False
    list_indent = 0  # columns before the text of the last list item
    fence = ""
    fence_in_quote = False
    fence_indent = 0
    html_end: re.Pattern[str] | None = None
    html_until_blank = False

    for number, match in enumerate(_LINE.finditer(body)):
        line = match[0].rstrip("\n")
        if fence:
            closing = _CLOSING_FENCE.match(line)
            if closing and closing[1][0] == fence[0] and len(closing[1]) >= len(fence):
                fence = ""
                continue
            inside = line.lstrip().startswith(">") if fence_in_quote else not line[:fence_indent].strip()
            if inside:
                continue
            fence = ""
        if html_end:
            if html_end.search(line):
                html_end = None
            continue
        content = line.strip(" \t")
        if not content:
            paragraph = []
            closed = html_until_blank = False
            continue
        if html_until_blank:
            continue
        indent = _indent(line)
        if indent >= 4 and not (in_list and not paragraph and list_indent <= indent < list_indent + 4):
            if paragraph:
                paragraph.append(content)
            continue
        first = content[0]
        still_in_list = in_list and indent >= 2
        if first == "#":
            level = len(content) - len(content.lstrip("#"))
            rest = content[level:]
            if level <= 6 and (not rest or rest[0] in " \t"):
                paragraph = []
                closed = False
                in_list = still_in_list
                opened = rest.rstrip("#")
                yield level, (opened if not opened or opened[-1] in " \t" else rest).strip(" \t"), number
                continue
        elif first in "=-" and paragraph and not content.strip(first):
            yield (1 if first == "=" else 2), "\n".join(paragraph), number - len(paragraph)
            paragraph = []
            continue
        elif first == "<" and (block := _html_block(content, interrupts=bool(paragraph or closed))):
            paragraph = []
            in_list = still_in_list
            html_until_blank = block[1] is None
            html_end = block[1] if block[1] and not block[1].search(content) else None
            continue
        if first in "*-_" and _RULE.match(content):
            paragraph = []
            closed = in_list = False
            continue
        prefix = _CONTAINER.match(line)
        marker = content[len(prefix[0]) - (len(line) - len(line.lstrip(" \t"))) :] if prefix else content
        if marker.startswith(("```", "~~~")):
            run = len(marker) - len(marker.lstrip(marker[0]))
            if marker[0] == "~" or "`" not in marker[run:]:
                fence = marker[:run]
                fence_in_quote = prefix is not None and ">" in prefix[0]
                fence_indent = len(prefix[0]) if prefix and prefix[0].strip() and not fence_in_quote else 0
                paragraph = []
                closed = False
                in_list = still_in_list or fence_indent > indent
                continue
        item = _ITEM.match(content)
        if item and not (paragraph and (item[1] not in (None, "1") or item[2] is None)):
            paragraph = []
            closed = in_list = True
            list_indent = indent + (item.start(2) if item[2] else len(content) + 1)
        elif first == ">":
            paragraph = []
            closed = True
        elif closed:
            pass
        elif in_list and indent >= 2 and not paragraph:
            closed = True
        elif paragraph and _TABLE.match(content) and ("|" in content or "|" in paragraph[-1]):
            paragraph = []
            closed = True
        elif not paragraph and (definition := _DEFINITION.match(content)):
            closed = bool(definition[1])
            in_list = False
        else:
            if not paragraph:
                in_list = False
            paragraph.append(content)


def _html_block(content: str, *, interrupts: bool) -> tuple[re.Pattern[str], re.Pattern[str] | None] | None:
    """The kind of HTML block that the line begins; a lone tag of no special name does not interrupt a paragraph."""
    return next((kind for kind in (_HTML[:-1] if interrupts else _HTML) if kind[0].match(content)), None)


def _indent(line: str) -> int:
    """Columns of white space before the text, with tab stops of four."""
    width = 0
    for character in line:
        if character == " ":
            width += 1
        elif character == "\t":
            width += 4 - width % 4
        else:
            break
    return width
