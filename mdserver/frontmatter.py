"""YAML front matter at the start of a file: where it ends, and the title and tags in it. Floor 0."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import msgspec

from .text import fold

MAXIMUM = 64 * 1024  # code points between the two fences
TAGS = 100
TAG_LENGTH = 100

_TAG_KEYS = ("tags", "tag", "keywords")
_DEPTH = 16  # of nested YAML collections; what we read stands at depth 2
_EVENTS = 20_000
_OPEN = re.compile(r"\ufeff?---[ \t]*\r?\n")
_CLOSE = re.compile(r"^(?:---|\.\.\.)[ \t]*(?:\r?\n|\r?\Z)", re.MULTILINE)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# Plain scalars that are no strings in YAML 1.2's core schema (§10.3.2). Under YAML 1.1 `no` and dates were none either.
_NO_STRING = re.compile(
    r"|~|null|Null|NULL|true|True|TRUE|false|False|FALSE"
    r"|[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"
    r"|[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
# One scalar on a line of its own: quoted and whole, or plain without anything that could be more than it seems.
_TITLE = re.compile(
    r"""^title[ \t]*:[ \t]+(?P<value>"""
    r""""(?:[^"\\\r\n]|\\["\\])*"|'(?:[^'\r\n]|'')*'|[^\s"'#&*!|>%@`{}\[\],?:-][^\r\n]*?)"""
    r"[ \t]*\r?$(?!\n[ \t])",
    re.MULTILINE | re.IGNORECASE,
)
_COMMENT = re.compile(r"[ \t]#")
_ODD = re.compile(r"""^[\s"'#&*!|>%@`{}\[\],?:-]|: |:$| #|^[0-9]|^(?:y|n|yes|no|on|off)$""", re.IGNORECASE)
_NULL = re.compile(r"|~|null|Null|NULL")


class FrontMatter(msgspec.Struct, frozen=True):
    """What a file says about itself. `body_start` is the offset in code points at which the body begins; 0 = none."""

    title: str | None = None
    tags: list[str] = []
    body_start: int = 0


class _Bad(Exception):
    """The block is not YAML that we read."""


_NONE = FrontMatter()


def read(text: str) -> FrontMatter:
    """The title, the tags and the place of the body. Never raises.

    A block that is not valid YAML still ends where it ends. A block that *is* YAML but no mapping is no front matter:
    it is text between two thematic breaks, which nobody meant to hide.
    """
    if not text.startswith(("---", "\ufeff---")):
        return _NONE
    opening = _OPEN.match(text)
    if opening is None:
        return _NONE
    start = opening.end()
    window = text[start : start + MAXIMUM + 8]  # room for the closing fence
    closing = _CLOSE.search(window)
    if closing is None or closing.start() > MAXIMUM:
        return _NONE
    body_start = start + closing.end()
    if closing.end() == len(window) and body_start < len(text) and closing[0][-1] != "\n":
        return _NONE  # the line goes on beyond the window, so it is no fence
    try:
        values = _values(window[: closing.start()])
    except _Bad:
        return FrontMatter(body_start=body_start)
    if values is None:
        return _NONE
    title, tags = values
    return FrontMatter(title=title, tags=tags, body_start=body_start)


def retitled(text: str, title: str) -> str | None:
    """The text with another title in its front matter; None where that does not stand alone on its line.

    Nothing but the value changes: it stays in its quotes, or gets some when it needs them.
    """
    before = read(text)
    lines = list(_TITLE.finditer(text, 0, before.body_start))
    if before.title is None or len(lines) != 1:
        return None
    value = lines[0]["value"]
    quote = value[0] if value[0] in "\"'" else ""
    if not quote and _COMMENT.search(value):
        return None
    given = [_quoted(title, quote)] if quote else [title, _quoted(title, '"')]
    if not quote and (_NO_STRING.fullmatch(title) or _ODD.search(title)):
        given = given[1:]
    start, end = lines[0].span("value")
    for one in given:
        made = text[:start] + one + text[end:]
        found = read(made)
        # What does not say the same without its old value was more than one scalar on one line.
        moved = found.body_start - before.body_start
        if (found.title, found.tags, moved) == (title, before.tags, len(made) - len(text)):
            return made
    return None


def _quoted(text: str, quote: str) -> str:
    """A scalar on one line in these quotes (YAML 1.2 §7.3)."""
    if quote == "'":
        return "'" + text.replace("'", "''") + "'"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _values(block: str) -> tuple[str | None, list[str]] | None:
    """The title and the tags; None when the block is no mapping. Raises _Bad when it is not YAML within the bounds.

    Works on the parser's events and builds no objects, so aliases are never followed ("YAML bombs"), tags of types
    never obeyed, and nesting costs nothing but a counter.
    """
    import yaml

    title: str | None = None
    tags: dict[str, str] = {}
    key: str | None = None  # the top-level key whose value comes next
    depth = 0
    count = 0
    is_mapping = True
    in_list = False  # the value at the top level is a sequence
    try:
        for event in yaml.parse(block, Loader=_loader()):
            count += 1
            if count > _EVENTS:
                raise _Bad
            if isinstance(event, yaml.CollectionStartEvent):
                if depth == 0:
                    is_mapping = isinstance(event, yaml.MappingStartEvent)
                elif depth == 1 and key is None:
                    raise _Bad  # a collection as a key
                elif depth == 1:
                    in_list = isinstance(event, yaml.SequenceStartEvent)
                depth += 1
                if depth > _DEPTH:
                    raise _Bad
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
                if depth == 1:
                    key = None
            elif isinstance(event, yaml.NodeEvent):  # a scalar or an alias
                value = event.value if isinstance(event, yaml.ScalarEvent) else ""
                plain = isinstance(event, yaml.ScalarEvent) and event.implicit[0]
                is_text = not (plain and _NO_STRING.fullmatch(value))
                if depth == 0:
                    is_mapping = plain and _NULL.fullmatch(value) is not None  # an empty block is front matter too
                elif depth == 1 and key is None:
                    key = value.lower()
                elif depth == 1:
                    if key == "title" and not (plain and _NULL.fullmatch(value)):
                        title = _line(value) or None
                    elif key in _TAG_KEYS and is_text:
                        for tag in value.split(",") if "," in value else value.split():
                            _add(tags, tag)
                    key = None
                elif depth == 2 and in_list and key in _TAG_KEYS and is_text:
                    _add(tags, value)
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError):
        raise _Bad from None
    return (title, list(tags.values())) if is_mapping else None


@cache
def _loader() -> Any:
    import yaml

    # libyaml is thirty times as fast; a wheel without it is rare but legal.
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _line(value: str) -> str:
    return " ".join(_UNPRINTABLE.sub(" ", value).split())


def _add(tags: dict[str, str], value: str) -> None:
    tag = _line(value).lstrip("#").strip()
    if tag and len(tag) <= TAG_LENGTH and len(tags) < TAGS:
        tags.setdefault(fold(tag), tag)
