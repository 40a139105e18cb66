"""What files come from: a folder, an archive; and the pass over them that finds out what can become a document."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from mdserver.errors import Invalid
from mdserver.text import check_filename

Parts = tuple[str, ...]
"""A path as its names, from the source's root."""

MARKDOWN = re.compile(r"\.(?:md|markdown)\Z", re.IGNORECASE)
DEPTH = 100  # of folders that are looked into; documents cannot stand deeper


class LeftOut(msgspec.Struct, frozen=True):
    """Something that does not come along. `why` completes "it …"."""

    path: str
    why: str


class Unreadable(Exception):
    """A file that cannot be read or is too large; the text completes "it …"."""


class Refused(Exception):
    """A source that is not read at all; the text is a sentence."""


class Source(Protocol):
    """A folder or archive. `files` are its Markdown files in order; scanning has listed what is no candidate."""

    files: list[Parts]
    left_out: list[LeftOut]

    def read(self, parts: Parts) -> bytes:
        """A file's bytes. Unreadable for this one, Refused for the whole source."""
        ...

    def close(self) -> None: ...


class Note(msgspec.Struct, frozen=True):
    """A file that can become a document, with the SHA-256 of its bytes in hex."""

    parts: Parts
    hash: str
    size: int


def examine(source: Source, tick: Callable[[int], None] = lambda steps: None) -> tuple[list[Note], list[LeftOut]]:
    """Read every file once, keeping none: → what can become documents, and what cannot, with the reason."""
    notes: list[Note] = []
    left_out = list(source.left_out)
    for parts in source.files:
        try:
            data = source.read(parts)
            text_of(data)
        except Unreadable as error:
            left_out.append(LeftOut(shown(parts), str(error)))
        else:
            notes.append(Note(parts, hashlib.sha256(data).hexdigest(), len(data)))
        tick(1)
    return notes, sorted(left_out, key=lambda one: one.path)


def text_of(data: bytes) -> str:
    """The bytes as text, byte order mark and line ends included. Unreadable when a document cannot hold it."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Unreadable(f"is not valid UTF-8 (byte {error.start:,})") from None
    if "\0" in text:
        raise Unreadable("holds NUL, so it is not text")
    return text


def why_not(name: str) -> str | None:
    """Why no document can bear this file name; None when one can."""
    try:
        check_filename(name)
    except Invalid as problem:
        return f"has a name that is not taken: {problem.detail[0].lower()}{problem.detail[1:].rstrip('.')}"
    return None


def is_markdown(name: str) -> bool:
    """Whether it is a Markdown file by its name."""
    return MARKDOWN.search(name) is not None


def is_passed_over(name: str) -> bool:
    """Whether a folder is hidden (.git, .obsidian …): these hold what programs keep, not what people write."""
    return name.startswith(".")


def shown(parts: Iterable[str]) -> str:
    """A path for people: one line, whatever its names hold."""
    path = "/".join(parts)
    return "".join(one if one.isprintable() else "�" for one in path)
