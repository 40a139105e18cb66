"""From files to documents: which becomes what, where, and under which name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from mdserver.errors import Problem
from mdserver.model.documents.places import check_path
from mdserver.text import fold, numbered

from .source import LeftOut, Note, Parts, is_markdown, shown


class Renamed(msgspec.Struct, frozen=True):
    """A file or folder that gets another name, since one beside it has the same but for case or Unicode form."""

    path: str
    name: str


class Item(msgspec.Struct, frozen=True):
    """A document to be: its path below the place of the import, and the file that it comes from (a folder has none)."""

    path: str
    kind: Literal["markdown", "folder"]
    source: Parts | None = None
    hash: str = ""
    size: int = 0


class Plan(msgspec.Struct):
    """`items` with parents before their children."""

    items: list[Item] = []
    renamed: list[Renamed] = []
    left_out: list[LeftOut] = []


class _Directory:
    __slots__ = ("files", "folders")

    def __init__(self) -> None:
        self.files: dict[str, Note] = {}
        self.folders: dict[str, _Directory] = {}


def plan(notes: list[Note], *, below_key: str = "") -> Plan:
    """Lay out the files below a place whose folded path, with a trailing slash, is `below_key`.

    A folder that holds anything becomes a folder, unless `Name.md` stands beside `Name`: then what is in it stands
    below that document. The same files always give the same plan, so an import can be repeated.
    """
    root = _Directory()
    for note in notes:
        at = root
        for name in note.parts[:-1]:
            at = at.folders.setdefault(name, _Directory())
        at.files[note.parts[-1]] = note
    made = Plan()
    _lay_out(made, root, source=(), path="", key=below_key)
    return made


def _lay_out(made: Plan, directory: _Directory, *, source: Parts, path: str, key: str) -> None:
    below = {owner: name for name in directory.folders if (owner := _document_for(name, directory.files))}
    owned = set(below.values())
    names = [(one, False) for one in directory.files]
    names += [(one, True) for one in directory.folders if one not in owned]
    for name, is_folder, given in _distinct(names):
        own_source, own_path, own_key = (*source, name), path + given, key + fold(given)
        try:
            check_path(own_key)
        except Problem as problem:
            made.left_out.append(LeftOut(shown(own_source), f"cannot stand there: {problem.detail}"))
            continue
        if given != name:
            made.renamed.append(Renamed(shown(own_source), given))
        inside: str | None = name
        before = len(made.items)
        if is_folder:
            made.items.append(Item(own_path, "folder"))
        else:
            note = directory.files[name]
            made.items.append(Item(own_path, "markdown", note.parts, note.hash, note.size))
            inside = below.get(name)
        if inside is not None:
            folder = directory.folders[inside]
            _lay_out(made, folder, source=(*source, inside), path=f"{own_path}/", key=f"{own_key}/")
        if is_folder and len(made.items) == before + 1:  # all that is in it was left out
            made.items.pop()


def _document_for(folder: str, files: dict[str, Note]) -> str | None:
    """The document beside a folder that bears its name: `Plan.md` for `Plan`."""
    for extension in (".md", ".markdown"):
        if folder + extension in files:
            return folder + extension
    upper = [one for one in files if one.rpartition(".")[0] == folder and is_markdown(one)]
    return min(upper, default=None)


def _distinct(names: list[tuple[str, bool]]) -> Iterator[tuple[str, bool, str]]:
    """(name, is folder, name that no sibling has whatever its case), in order; the first of those alike keeps its own.

    A file comes before a folder of the same name, which an archive may hold.
    """
    ordered = sorted(names, key=lambda one: (fold(one[0]), one))
    taken = {fold(name) for name, _ in ordered}
    seen: set[str] = set()
    for name, is_folder in ordered:
        given = name
        if fold(name) in seen:
            number = 2
            while fold(given := numbered(name, number)) in taken:
                number += 1
            taken.add(fold(given))
        seen.add(fold(given))
        yield name, is_folder, given
