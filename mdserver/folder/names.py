"""Names on both sides: which local name stands for a document's file name, and which no document can bear. Pure."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable

from mdserver.text import FILENAME_BYTES, unreserved
from mdserver.transfer.source import MARKDOWN

OWN = ".mdserver"
"""The directory in which the client keeps what it knows."""
IGNORE = ".mdserverignore"

_UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_WINDOWS = re.compile(r'[<>:"|?*]')


def local_name(filename: str, *, windows: bool = sys.platform == "win32") -> str:
    """The name that a file may have here, whatever the server says: one step down, visible, taken by the system.

    It is the file name itself but for names that a document should not have, or that Windows refuses.
    """
    name = _UNSAFE.sub("_", filename)
    if name in ("", "."):
        name = "_"
    elif name.startswith("."):  # hidden files are not ours; `..` and `.mdserver` least of all
        name = f"_{name}"
    if windows:
        name = _WINDOWS.sub("_", name)
        name = unreserved(name)
        if name.endswith((".", " ")):
            name = f"{name[:-1]}_"
    return name.encode()[:FILENAME_BYTES].decode(errors="ignore")


def below_name(name: str) -> str:
    """The directory for what stands below the document in this file: `Plan.md` → `Plan`."""
    return MARKDOWN.sub("", name) or name


def owner_of(directory: str, files: Iterable[str]) -> str | None:
    """The file beside a directory that bears its name, among Markdown files: `Plan.md` for `Plan`."""
    fitting = [one for one in files if MARKDOWN.search(one) and MARKDOWN.sub("", one) == directory]
    for extension in (".md", ".markdown"):
        if directory + extension in fitting:
            return directory + extension
    return min(fitting, default=None)


def same_form(one: str, other: str) -> bool:
    """Whether two names differ in their Unicode form alone, as they may once a file system has normalised them."""
    return unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)


def parent(path: str) -> str:
    """The directory of a path; the root is the empty text."""
    return path.rpartition("/")[0]


def last(path: str) -> str:
    """The last name of a path."""
    return path.rpartition("/")[2]


def joined(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name


def within(path: str, directory: str) -> bool:
    """Whether the path stands below the directory, at whatever depth."""
    return not directory or path.startswith(f"{directory}/")


def rebased(path: str, old: str, new: str) -> str:
    """The path after a directory was moved."""
    return new + path[len(old) :] if path == old or within(path, old) else path
