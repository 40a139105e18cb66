"""From documents to files: which stands where. A document with children is `Name.md` beside `Name`."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mdserver.text import fold, free

from .outgoing import Leaf
from .planning import Renamed
from .source import MARKDOWN, Parts


class Written(msgspec.Struct):
    """Where a document goes: its file (a folder has none) and its directory (None: it needs none)."""

    leaf: Leaf
    file: Parts | None
    directory: Parts | None


def lay_out(leaves: Iterable[Leaf]) -> tuple[list[Written], list[Renamed]]:
    """Every document's place, directories before what is in them; and what could not have the name it should.

    No two names in a directory differ in case or Unicode form only, so that every file system can hold them.
    """
    below: dict[str, list[Leaf]] = {}
    known = {""}
    for leaf in leaves:
        parent = leaf.path.rpartition("/")[0]
        while parent not in known:  # it was moved or trashed while the tree was read
            parent = parent.rpartition("/")[0]
        known.add(leaf.path)
        below.setdefault(parent, []).append(leaf)
    placed: list[Written] = []
    renamed: list[Renamed] = []
    waiting: list[tuple[str, Parts]] = [("", ())]
    while waiting:
        path, directory = waiting.pop()
        siblings = sorted(below.get(path, ()), key=lambda one: (fold(one.path), one.path))
        taken: set[str] = set()
        own = {one.id: free(one.path.rpartition("/")[2], taken) for one in siblings}
        for leaf in siblings:
            name = own[leaf.id]
            if name != leaf.path.rpartition("/")[2]:
                renamed.append(Renamed(leaf.path, "/".join((*directory, name))))
            inside: Parts | None = None
            if leaf.kind == "folder":
                inside = (*directory, name)
            elif leaf.path in below:
                wanted = MARKDOWN.sub("", name) or name
                inside = (*directory, free(wanted, taken))
                if inside[-1] != wanted:
                    renamed.append(Renamed(f"{leaf.path}/", "/".join(inside) + "/"))
            placed.append(Written(leaf, None if leaf.kind == "folder" else (*directory, name), inside))
            if inside is not None:
                waiting.append((leaf.path, inside))
    return placed, sorted(renamed, key=lambda one: one.path)
