"""Markdown as sanitised HTML. Floor 0."""

from __future__ import annotations

import re
from functools import cache
from html import escape
from typing import TYPE_CHECKING

from . import outline

if TYPE_CHECKING:
    from collections.abc import Callable

    from markdown_it import MarkdownIt
    from markdown_it.rules_core import StateCore
    from markdown_it.token import Token

PREFIX = "user-content-"

_DEPTH = 256  # of nested elements
_FORMATS = 16  # of nested elements that the HTML parser opens again in every block that follows
# fmt: off  (lists of words, read as lines)
_TAGS = frozenset(
    [
        "a",
        "abbr",
        "b",
        "bdi",
        "bdo",
        "blockquote",
        "br",
        "caption",
        "cite",
        "code",
        "col",
        "colgroup",
        "dd",
        "del",
        "details",
        "dfn",
        "div",
        "dl",
        "dt",
        "em",
        "figcaption",
        "figure",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "i",
        "img",
        "input",
        "ins",
        "kbd",
        "li",
        "mark",
        "ol",
        "p",
        "pre",
        "q",
        "rp",
        "rt",
        "ruby",
        "s",
        "samp",
        "section",
        "small",
        "span",
        "strike",
        "strong",
        "sub",
        "summary",
        "sup",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "time",
        "tr",
        "tt",
        "u",
        "ul",
        "var",
        "wbr",
    ]
)
# Elements whose content is no text of the document either.
_WITH_CONTENT = frozenset(
    [
        "applet",
        "audio",
        "canvas",
        "embed",
        "frame",
        "frameset",
        "iframe",
        "math",
        "noembed",
        "noframes",
        "noscript",
        "object",
        "plaintext",
        "script",
        "select",
        "style",
        "svg",
        "template",
        "textarea",
        "title",
        "video",
        "xmp",
    ]
)
_FORMATTING = frozenset(
    ["a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"]
)
_ENDS_ITSELF = frozenset(["dd", "dt", "li", "option", "p", "tbody", "td", "th", "thead", "tr"])
_VOID = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"]
)
# fmt: on
# No `cite`: it shows nowhere, and the sanitiser does not look at the schemes of its addresses.
_ATTRIBUTES = {
    "*": frozenset(["dir", "lang", "title"]),
    "a": frozenset(["href", "id", "class"]),
    "code": frozenset(["class"]),
    "col": frozenset(["span"]),
    "colgroup": frozenset(["span"]),
    "del": frozenset(["datetime"]),
    "details": frozenset(["open"]),
    **{f"h{level}": frozenset(["id"]) for level in range(1, 7)},
    "hr": frozenset(["class"]),
    "img": frozenset(["alt", "height", "src", "width"]),
    "input": frozenset(["checked", "class", "disabled", "type"]),  # always a disabled checkbox, see below
    "ins": frozenset(["datetime"]),
    "li": frozenset(["class", "id", "value"]),
    "ol": frozenset(["class", "reversed", "start"]),
    "section": frozenset(["class"]),
    "sup": frozenset(["class"]),
    "td": frozenset(["align", "colspan", "rowspan"]),
    "th": frozenset(["align", "colspan", "rowspan", "scope"]),
    "time": frozenset(["datetime"]),
    "ul": frozenset(["class"]),
}
_CLASSES = {
    ("a", "footnote-backref"),
    ("hr", "footnotes-sep"),
    ("input", "task-list-item-checkbox"),
    ("li", "footnote-item"),
    ("li", "task-list-item"),
    ("ol", "contains-task-list"),
    ("ol", "footnotes-list"),
    ("section", "footnotes"),
    ("sup", "footnote-ref"),
    ("ul", "contains-task-list"),
}
_SCHEMES = frozenset(["http", "https", "mailto", "tel"])
_LANGUAGE = re.compile(r"language-[\w+#.-]{1,50}")
_TASK = re.compile(r"\[([ xX])\](?=[ \t\n])")
_TAG = re.compile(
    r"<(?:(/?)([A-Za-z][A-Za-z0-9-]*+)((?:\s++[^\s\"'<>/=]++(?:\s*+=\s*+(?:[^\s\"'=<>`]++|'[^']*+'|\"[^\"]*+\"))?+)*+)\s*+/?>)?"
)


def render(text: str) -> str:
    """The document's HTML, without front matter: safe to show in any page.

    Ids (of headings as `outline` gives them, of footnotes, of authors' raw HTML) carry PREFIX, so that no name in a
    document can shadow a name of the page's scripts; links to `#id` are rewritten likewise. A text that is longer than
    `outline.PARSED`, or made to be slow or deep, is given as it is in one `<pre>`.
    """
    _, body = outline.split(text)
    body = body.encode(errors="replace").decode()  # the sanitiser takes no lone surrogates
    try:
        if len(body) > outline.PARSED:
            raise outline.TooMuch
        html = _balanced(_parser().render(body, outline.budget(body)))
    except (outline.TooMuch, RecursionError):
        return f"<pre>{escape(body, quote=False)}</pre>\n"
    clean: str = _cleaner()(html)
    return clean


@cache
def _parser() -> MarkdownIt:
    md = outline.new_parser()
    # After "inline" and so before footnotes are moved to the end: ids are given in the order of the text.
    md.core.ruler.after("inline", "mdserver", _finish)
    md.render("*warm*", outline.budget(""))
    return md


@cache
def _cleaner() -> Callable[[str], str]:
    import nh3

    return nh3.Cleaner(
        tags=set(_TAGS),
        clean_content_tags=set(_WITH_CONTENT),
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        attribute_filter=_attribute,
        set_tag_attribute_values={"input": {"type": "checkbox", "disabled": ""}},
        url_schemes=set(_SCHEMES),
        link_rel="noopener noreferrer nofollow",
        id_prefix=PREFIX,
    ).clean


def _attribute(tag: str, name: str, value: str) -> str | None:
    if name == "class":
        kept = [
            word
            for word in value.split()
            if (tag, word) in _CLASSES or (tag == "code" and _LANGUAGE.fullmatch(word) is not None)
        ]
        return " ".join(kept) or None
    if name == "id":
        return value if value and not any(character.isspace() for character in value) else None
    if name == "href" and value.startswith("#") and len(value) > 1:
        return "#" + PREFIX + value[1:].removeprefix(PREFIX)
    return value


def _finish(state: StateCore) -> None:
    """Ids of headings, check boxes of task lists, alignment of cells."""
    for token, _, slug in outline.name_headings(state.tokens):
        token.attrs["id"] = slug
    lists: list[Token] = []
    tokens = state.tokens
    for index, token in enumerate(tokens):
        if token.type in ("bullet_list_open", "ordered_list_open"):
            lists.append(token)
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            lists.pop()
        elif token.type in ("th_open", "td_open") and "style" in token.attrs:
            # The sanitiser lets no style through; the parser writes only text-align.
            token.attrs = {"align": str(token.attrs["style"]).removeprefix("text-align:")}
        elif token.type == "list_item_open" and index + 2 < len(tokens) and tokens[index + 1].type == "paragraph_open":
            _task(token, lists[-1], tokens[index + 2])


def _task(item: Token, list_: Token, inline: Token) -> None:
    from markdown_it.token import Token

    children = inline.children or []
    task = _TASK.match(inline.content)
    if not task or not children or children[0].type != "text":
        return
    checked = ' checked=""' if task[1] in "xX" else ""
    # The sanitiser sets type and disabled too, but in an order that changes from one rendering to the next.
    content = f'<input type="checkbox" class="task-list-item-checkbox" disabled=""{checked}>'
    box = Token("html_inline", "", 0, content=content)
    children[0].content = children[0].content.removeprefix(task[0])
    inline.children = [box, *children]
    item.attrs["class"] = "task-list-item"
    list_.attrs["class"] = "contains-task-list"


def _balanced(html: str) -> str:
    """The HTML with every element closed in order, none nested too deep, no comments and no stray "<".

    Not for safety, which is the sanitiser's task, but for its time: it repairs unbalanced tags as browsers do, which
    is quadratic in deep nesting and copies unclosed <b>, <i> … into every block that follows.
    """
    parts = []
    stack: list[str] = []
    formats = 0
    done = 0
    for match in _TAG.finditer(html):
        start = match.start()
        if start < done:  # inside a comment
            continue
        parts.append(html[done:start])
        done = match.end()
        name = (match[2] or "").lower()
        if not name:
            if html.startswith(("<!", "<?"), start):
                mark = "-->" if html.startswith("<!--", start) else ">"
                end = html.find(mark, done)
                done = end + len(mark) if end >= 0 else len(html)
            else:
                parts.append("&lt;")
        elif name in _VOID:
            if not match[1]:
                parts.append(match[0])
        elif not match[1]:
            if stack and stack[-1] == name and name in _ENDS_ITSELF:
                parts.append(f"</{stack.pop()}>")
            if len(stack) < _DEPTH and (name not in _FORMATTING or formats < _FORMATS):
                stack.append(name)
                formats += name in _FORMATTING
                parts.append(match[0])
        elif name in stack:
            top = ""
            while top != name:
                top = stack.pop()
                formats -= top in _FORMATTING
                parts.append(f"</{top}>")
    parts.append(html[done:])
    parts.extend(f"</{name}>" for name in reversed(stack))
    return "".join(parts)
