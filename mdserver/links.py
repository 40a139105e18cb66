"""Links between documents, found by a scan that is linear in the text and needs no parser. Floor 0."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Literal
from urllib.parse import unquote

import msgspec

from .text import fold

LINKS = 1_000  # in one document; those beyond are not indexed
TARGET = 1_000  # code points; longer targets are no links between documents

_LABEL = 2_000  # code points looked back for the "[" of a link
_CODE = "\0"  # stands where code was

_MARK = re.compile(r"\[\[(?!\[)|\]\(|\]:")
# What may be a link between documents: not `](https://…` or `](#…`. Begins with one literal, which `re` finds fast.
_MAYBE = re.compile(r"\][(:]\s{0,9}+<?+(?!#|//|[A-Za-z][A-Za-z0-9+.-]{0,31}:)")
_WIKI = re.compile(rf"\[\[([^\[\]\n]{{1,{TARGET + 200}}}+)\]\]")
# `<…>`, or no white space and balanced parentheses (one level); then `)` or a title. Possessive: it never tries twice.
_DESTINATION = rf"(?:<([^<>\n]{{0,{TARGET}}}+)>|((?:[^\s()<\\]|\\.|\([^\s()]{{0,200}}+\)){{1,{TARGET}}}+))"
_INLINE = re.compile(rf"\]\(\s{{0,9}}+{_DESTINATION}(?:\s{{0,9}}+\)|\s{{1,9}}+[\"'(])")
_DEFINITION = re.compile(
    rf"[ \t>]{{0,20}}+\[(?!\^)[^\[\]\n]{{1,999}}+\]:[ \t]{{0,9}}+\n?[ \t]{{0,9}}+{_DESTINATION}(?=\s|\Z)"
)
_ID = re.compile(
    r"(?<![0-9a-fA-F])[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-7[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}(?![0-9a-fA-F])"
)
_BARE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>]*\Z")  # what stands before an id in an autolink
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}:|//")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_EXTENSION = re.compile(r"\.(?:md|markdown)$", re.IGNORECASE)

# Where a paragraph ends at the latest, for code spans do not go further.
_BOUNDARY = re.compile(r"\n(?=[ \t>]*+(?:\n|```|~~~|#{1,6}[ \t]|[-+*][ \t]|[0-9]{1,9}[.)][ \t]))")
_RUN = re.compile(r"`+")
_CONTAINER = re.compile(r"(?:[ \t]|>|(?:[-+*]|[0-9]{1,9}[.)])[ \t])*")
_CLOSING_FENCE = re.compile(r"^[ \t>]*+(`{3,}|~{3,})[ \t]*$", re.MULTILINE)
_NOT_QUOTED = re.compile(r"\n(?![ \t]*+>)")


class Link(msgspec.Struct, frozen=True):
    """A link as it is written. `target` is decoded, without fragment; `key` is what the database indexes.

    `wiki` and `path`: the folded last segment of the target without `.md`; `id`: the document's id.
    """

    kind: Literal["wiki", "path", "id"]
    target: str
    key: str


def links(text: str) -> list[Link]:
    """The links of a document in the order of the text, each once, at most LINKS. Links in code are none."""
    if "[[" not in text and "-7" not in text and "&#" not in text and not _MAYBE.search(text):
        return []  # nothing here can be one: no need to look for code
    text = _without_code(text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text)
    found: dict[Link, None] = {}
    for link in _links(text):
        found[link] = None
        if len(found) >= LINKS:
            break
    return list(found)


def key_of(name: str) -> str:
    """The key that a link to this file name or title has."""
    return fold(_EXTENSION.sub("", name.rstrip("/").rpartition("/")[2].strip()))


def resolves(link: Link, *, source_folder: str, path: str, title: str, id: str) -> bool:
    """Whether the link, written in a document that stands in `source_folder`, means the document with these names.

    Paths are from the root without a leading slash, "" is the root. A wiki link means by title, or by the end of the
    path; another link by its path from the source folder, or from the root when it starts with "/".
    """
    if link.kind == "id":
        return link.key == id.lower()
    if link.kind == "wiki":
        if fold(link.target) == fold(title):
            return True
        if not link.target.startswith(("/", "./", "../")):
            wanted, there = _segments(link.target), _segments(path)
            return _is(wanted, there[-len(wanted) :])
    wanted = _segments(link.target)
    stand = [] if link.target.startswith("/") else _segments(source_folder, is_folder=True)
    for segment in wanted:
        if segment == "..":
            if not stand:
                return False  # above the root stands nothing of ours
            stand.pop()
        elif segment != ".":
            stand.append(segment)
    return _is(stand, _segments(path))


def _links(text: str) -> Iterator[Link]:
    for mark in _MARK.finditer(text):
        start = mark.start()
        if start and text[start - 1] == "\\":
            continue
        if mark[0] == "[[":
            wiki = _WIKI.match(text, start)
            if wiki:
                yield from _wiki(wiki[1])
        elif mark[0] == "](":
            inline = _INLINE.match(text, start)
            if inline and text.rfind("[", max(0, start - _LABEL), start) >= 0:
                yield from _target(inline[1] or inline[2] or "")
        else:
            line = text.rfind("\n", max(0, start - 1_024), start) + 1
            definition = _DEFINITION.match(text, line) if line or start < 1_024 else None
            if definition and definition.end() > start:
                yield from _target(definition[1] or definition[2] or "")
    # Autolinks and bare addresses are links only when they hold an id; others found here were found above already.
    at = text.find("-7")
    while at >= 0:
        id = _ID.match(text, at - 13) if at >= 13 else None
        if id and _BARE.search(text, max(0, id.start() - 200), id.start()):
            yield Link(kind="id", target=id[0].lower(), key=id[0].lower())
        at = text.find("-7", at + 2)


def _wiki(content: str) -> Iterator[Link]:
    # In tables the bar is written "\|".
    target = content.partition("|")[0].removesuffix("\\").partition("#")[0].strip()
    ids = _ID.findall(target)
    for id in ids:
        yield Link(kind="id", target=id.lower(), key=id.lower())
    if not ids and "://" not in target:
        yield from _named("wiki", target)


def _target(written: str) -> Iterator[Link]:
    target = _ESCAPE.sub(r"\1", written) if "\\" in written else written
    target = unescape(target) if "&" in target else target
    for id in _ID.findall(target):
        yield Link(kind="id", target=id.lower(), key=id.lower())
    target = target.partition("#")[0].partition("?")[0]
    if _SCHEME.match(target):
        return
    # A file may be named by an id; then the path means it too.
    if not _ID.search(target) or _EXTENSION.search(target):
        yield from _named("path", unquote(target) if "%" in target else target)


def _named(kind: Literal["wiki", "path"], target: str) -> Iterator[Link]:
    key = key_of(target)
    if key not in ("", ".", "..") and len(target) <= TARGET and not _CONTROL.search(target):
        yield Link(kind=kind, target=target, key=key)


def _segments(path: str, *, is_folder: bool = False) -> list[str]:
    """Folded segments, folders without `.md`: a document's children stand in `Name/` beside `Name.md`."""
    segments = [fold(segment.strip()) for segment in path.split("/") if segment.strip()]
    if is_folder:
        return [_EXTENSION.sub("", segment) for segment in segments]
    return [_EXTENSION.sub("", segment) for segment in segments[:-1]] + segments[-1:]


def _is(wanted: list[str], there: list[str]) -> bool:
    """Whether the segments are those of a document, whose extension may be left out."""
    if not wanted or not there or wanted[:-1] != there[:-1]:
        return False
    return wanted[-1] in (there[-1], _EXTENSION.sub("", there[-1]))


def _without_code(text: str) -> str:
    """The text with each code span and fenced block replaced by one _CODE; linear in the text."""
    tick, tilde = text.find("`"), text.find("~~~")
    if tick < 0 and tilde < 0:
        return text
    parts: list[str] = []
    done = 0  # everything before is in `parts`
    boundary = -1  # end of the paragraph whose runs of backticks are known
    closers: dict[int, int] = {}  # start of a run → start of the next of the same length in the paragraph
    while tick >= 0 or tilde >= 0:
        at = tick if tilde < 0 or 0 <= tick < tilde else tilde
        character = text[at]
        end = at + 1
        while text.startswith(character, end):
            end += 1
        stop = _fence_end(text, at, end) if end - at >= 3 else 0
        if not stop and character == "`":
            if at >= boundary:
                found = _BOUNDARY.search(text, end)
                boundary = found.start() if found else len(text)
                closers = _closers(text, at, boundary)
            # A run after a backslash opens nothing, but its rest would: too rare to matter here.
            closer = closers.get(at, -1) if not at or text[at - 1] != "\\" else -1
            stop = closer + end - at if closer >= 0 else 0
        if stop:
            parts += (text[done:at], _CODE)
            done = end = stop
        if 0 <= tick < end:
            tick = text.find("`", end)
        if 0 <= tilde < end:
            tilde = text.find("~~~", end)
    parts.append(text[done:])
    return "".join(parts)


def _fence_end(text: str, at: int, end: int) -> int:
    """Where the fenced block ends that the run from `at` to `end` opens; 0 when it opens none."""
    line = text.rfind("\n", max(0, at - 100), at) + 1
    prefix = _CONTAINER.match(text, line if line or at < 100 else at, at)
    if prefix is None or prefix.end() != at or (at >= 100 and not line):
        return 0
    newline = text.find("\n", end)
    if newline < 0:
        newline = len(text)
    if text[at] == "`" and text.find("`", end, newline) >= 0:
        return 0
    limit = len(text)
    if ">" in prefix[0]:  # the quote's end is the fence's too
        left = _NOT_QUOTED.search(text, newline)
        limit = left.start() if left else limit
    for closing in _CLOSING_FENCE.finditer(text, newline + 1, limit):
        if closing[1][0] == text[at] and len(closing[1]) >= end - at:
            return closing.end()
    return limit


def _closers(text: str, start: int, end: int) -> dict[int, int]:
    last: dict[int, int] = {}
    closers = {}
    for run in reversed([(found.start(), len(found[0])) for found in _RUN.finditer(text, start, end)]):
        if run[1] in last:
            closers[run[0]] = last[run[1]]
        last[run[1]] = run[0]
    return closers
