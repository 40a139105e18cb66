"""Finding documents again: by path, form, inode and content, and never two at one file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mdserver.folder.matching import Found, match
from mdserver.folder.names import joined, parent
from mdserver.folder.rows import Local, Sig
from mdserver.folder.scanning import Listing, Snapshot


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Shelf:
    """Files as a look finds them: path → (inode, text)."""

    def __init__(self, files: dict[str, tuple[int, str]], directories: dict[str, int] | None = None) -> None:
        self.files = files
        self.snapshot = Snapshot(Path("/nowhere"), lambda path: False)
        for path, inode in (directories or {}).items():
            self._directory(path, inode)
        for path, (inode, text) in files.items():
            self._directory(parent(path), 0)
            self.snapshot.listings[parent(path)].files[path.rpartition("/")[2]] = sig(inode, text)

    def _directory(self, path: str, inode: int) -> None:
        if path in self.snapshot.listings:
            return
        self._directory(parent(path), 0)
        self.snapshot.listings[path] = Listing()
        self.snapshot.listings[parent(path)].directories[path.rpartition("/")[2]] = inode

    def match(self, *rows: Local) -> Found:
        return match(
            rows,
            self.snapshot,
            hash_of=lambda path: sha(self.files[path][1]),
            is_like=lambda id, path: self.files[path][1].startswith("like"),
        )


def sig(inode: int, text: str) -> Sig:
    return Sig(0, 0, len(text), inode)


def row(
    id: str, path: str, inode: int, text: str, *, kind: str = "markdown", directory: str = "", dir_inode: int = 0
) -> Local:
    return Local(
        id=id,
        kind=kind,
        name=path.rpartition("/")[2],
        path=path,
        directory=directory,
        dir_inode=dir_inode,
        hash=sha(text),
        sig=sig(inode, text),
    )


def test_the_path_is_stronger_than_the_inode() -> None:
    found = Shelf({"a.md": (2, "two"), "b.md": (1, "one")}).match(
        row("A", "a.md", 1, "one"), row("B", "b.md", 2, "two")
    )
    assert found.files == {"A": "a.md", "B": "b.md"}


def test_moved_by_inode_and_content_or_likeness() -> None:
    one = row("A", "a.md", 1, "one")
    assert Shelf({"d/b.md": (1, "one")}).match(one).files == {"A": "d/b.md"}
    assert Shelf({"d/b.md": (1, "like one")}).match(one).files == {"A": "d/b.md"}
    again = Shelf({"d/b.md": (1, "something else")}).match(one)
    assert (again.files, again.missing, again.new_files) == ({}, {"A"}, ["d/b.md"])


def test_moved_by_content_alone_if_there_is_no_doubt() -> None:
    one, other = row("A", "a.md", 1, "one"), row("B", "b.md", 2, "one")
    assert Shelf({"c.md": (9, "one")}).match(one).files == {"A": "c.md"}
    assert Shelf({"c.md": (9, "one")}).match(one, other).files == {}
    assert Shelf({"c.md": (9, "one"), "d.md": (8, "one")}).match(one).files == {}
    assert Shelf({"c.md": (9, "")}).match(row("A", "a.md", 1, "")).files == {}


def test_another_unicode_form_is_the_same_file() -> None:
    found = Shelf({"e\u0301.md": (9, "other")}).match(row("A", "\u00e9.md", 1, "one"))
    assert (found.files, found.new_files) == ({"A": "e\u0301.md"}, [])


def test_a_moved_directory_takes_all_below_along() -> None:
    folder = row("D", "d", 0, "", kind="folder", directory="d", dir_inode=7)
    inner = row("E", "d/e", 0, "", kind="folder", directory="d/e", dir_inode=8)
    note = row("N", "d/e/n.md", 1, "one")
    found = Shelf({"x/y/e/n.md": (5, "edited")}, {"x": 3, "x/y": 7, "x/y/e": 8}).match(folder, inner, note)
    assert found.directories == {"D": "x/y", "E": "x/y/e"}
    assert found.files == {"N": "x/y/e/n.md"}
    assert (found.missing, found.new_folders) == (set(), ["x"])


def test_whose_children_are_in_a_directory() -> None:
    plan = row("P", "Plan.md", 1, "plan", directory="Plan", dir_inode=7)
    files = {"Plan.md": (1, "plan"), "Plan/x.md": (2, "x"), "New.md": (3, "new"), "New/y.md": (4, "y")}
    found = Shelf(files, {"Plan": 7}).match(plan)
    assert found.owners == {"": "", "Plan": "P", "New": "New.md"}
    gone = Shelf({"Plan/x.md": (2, "x")}, {"Plan": 7}).match(plan)
    assert (gone.missing, gone.new_folders, gone.owners["Plan"]) == ({"P"}, ["Plan"], "Plan")


def test_directories_of_what_is_left_out_are_no_folders() -> None:
    shelf = Shelf({}, {"pictures": 1, "empty": 2})
    shelf.snapshot.listings["pictures"].left_out["p.png"] = "is no Markdown file"
    assert shelf.match().new_folders == ["empty"]


def test_nothing_is_missing_below_what_cannot_be_seen() -> None:
    shelf = Shelf({})
    shelf.snapshot.listings[""].left_out["d"] = "is a link"
    found = shelf.match(row("A", "d/a.md", 1, "one"), row("D", "d", 0, "", kind="folder", directory="d"))
    assert (found.frozen, found.missing) == ({"A", "D"}, set())


PATHS = st.builds(joined, st.sampled_from(["", "d", "d/e", "f"]), st.sampled_from(["a.md", "b.md", "c.md"]))
FILES = st.dictionaries(PATHS, st.tuples(st.integers(1, 5), st.sampled_from(["one", "two", "like", ""])), max_size=8)


@given(FILES, FILES)
def test_every_file_is_one_thing(before: dict[str, tuple[int, str]], after: dict[str, tuple[int, str]]) -> None:
    rows = [row(f"id-{path}", path, inode, text) for path, (inode, text) in before.items()]
    found = Shelf(after).match(*rows)
    taken = list(found.files.values())
    assert len(set(taken)) == len(taken)
    assert sorted([*taken, *found.new_files]) == sorted(after)
    assert set(found.files) | found.missing == {one.id for one in rows}
    assert all(found.files[f"id-{path}"] == path for path in before if path in after)
