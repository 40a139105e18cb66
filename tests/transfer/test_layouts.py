"""Which file becomes which document, and which document which file; the one undoes the other."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from mdserver.text import fold
from mdserver.transfer.layout import lay_out
from mdserver.transfer.outgoing import Leaf
from mdserver.transfer.planning import Plan, plan
from mdserver.transfer.source import Note


def planned(*paths: str, below_key: str = "") -> Plan:
    return plan([Note(tuple(path.split("/")), "", 0) for path in paths], below_key=below_key)


def items(made: Plan) -> list[tuple[str, str]]:
    return [(one.path, one.kind) for one in made.items]


def leaf(path: str, kind: str = "markdown") -> Leaf:
    moment = "2026-01-31T12:00:00.000Z"
    return Leaf(
        id=path,
        path=path,
        path_key=fold(path),
        kind=kind,
        title=path,
        tags=[],
        version=1,
        size=0,
        content_hash="",
        created_at=moment,
        updated_at=moment,
        archived_at=None,
    )


def test_folders_and_documents_with_children() -> None:
    made = planned("a.md", "b/c.md", "b/d/e.md", "b/d.md", "Plan.MD", "Plan/x.md", "Two.md", "Two.markdown", "Two/y.md")
    assert items(made) == [
        ("a.md", "markdown"),
        ("b", "folder"),
        ("b/c.md", "markdown"),
        ("b/d.md", "markdown"),
        ("b/d.md/e.md", "markdown"),
        ("Plan.MD", "markdown"),
        ("Plan.MD/x.md", "markdown"),
        ("Two.markdown", "markdown"),
        ("Two.md", "markdown"),
        ("Two.md/y.md", "markdown"),
    ]
    assert made.renamed == []
    assert made.left_out == []
    assert {one.path: one.source for one in made.items}["b/d.md/e.md"] == ("b", "d", "e.md")


def test_names_alike_but_for_case_or_form() -> None:
    made = planned("README.md", "readme.md", "Readme.MD", "readme (2).md", "Caf\u00e9/a.md", "cafe\u0301/b.md")
    assert items(made) == [
        ("Caf\u00e9", "folder"),
        ("Caf\u00e9/a.md", "markdown"),
        ("cafe\u0301 (2)", "folder"),
        ("cafe\u0301 (2)/b.md", "markdown"),
        ("readme (2).md", "markdown"),
        ("README.md", "markdown"),
        ("Readme (3).MD", "markdown"),
        ("readme (4).md", "markdown"),
    ]
    assert [(one.path, one.name) for one in made.renamed] == [
        ("cafe\u0301", "cafe\u0301 (2)"),
        ("Readme.MD", "Readme (3).MD"),
        ("readme.md", "readme (4).md"),
    ]


def test_a_file_and_a_folder_of_one_name() -> None:
    assert items(planned("a.md/b.md", "a.md")) == [
        ("a.md", "markdown"),
        ("a (2).md", "folder"),
        ("a (2).md/b.md", "markdown"),
    ]
    assert items(planned("a.md/b.md")) == [("a.md", "folder"), ("a.md/b.md", "markdown")]


def test_places_too_deep_or_long() -> None:
    deep = "/".join(["d"] * 98)
    made = planned(f"{deep}/a.md", f"{deep}/b/c.md", below_key="parent/")
    assert items(made)[-1] == (f"{deep}/a.md", "markdown")
    assert [one.path for one in made.left_out] == [f"{deep}/b/c.md"]
    assert made.left_out[0].why == "cannot stand there: Documents can stand 100 deep at most."
    long = "/".join(["n" * 200] * 11)
    made = planned(f"{long}/{'n' * 197}.md", f"{long}/m.md")
    assert [one.why for one in made.left_out] == ["cannot stand there: The path may have 2400 bytes at most."]


def test_children_of_a_document_beside_a_folder_of_the_same_name() -> None:
    placed, renamed = lay_out(
        [
            leaf("Plan", "folder"),
            leaf("Plan/a.md"),
            leaf("Plan.md"),
            leaf("Plan.md/b.md"),
            leaf("empty", "folder"),
            leaf("notes"),
            leaf("notes/c.md"),
        ]
    )
    found = {one.leaf.path: (one.file, one.directory) for one in placed}
    assert found == {
        "Plan": (None, ("Plan",)),
        "Plan/a.md": (("Plan", "a.md"), None),
        "Plan.md": (("Plan.md",), ("Plan (2)",)),
        "Plan.md/b.md": (("Plan (2)", "b.md"), None),
        "empty": (None, ("empty",)),
        "notes": (("notes",), ("notes (2)",)),
        "notes/c.md": (("notes (2)", "c.md"), None),
    }
    assert [(one.path, one.name) for one in renamed] == [("Plan.md/", "Plan (2)/"), ("notes/", "notes (2)/")]


def test_a_tree_that_changed_while_it_was_read() -> None:
    placed, _ = lay_out([leaf("a", "folder"), leaf("a/gone/b.md"), leaf("a/b.md"), leaf("nowhere/c.md")])
    files = sorted("/".join(one.file) for one in placed if one.file)
    assert files == ["a/b (2).md", "a/b.md", "c.md"]


NAMES = st.sampled_from(["a", "A", "b", "é", "e\u0301", "a (2)", "b.md", "Plan", "plan"])
FILES = st.lists(NAMES, min_size=0, max_size=3).flatmap(
    lambda folders: st.builds(
        lambda name, extension: (*folders, name + extension), NAMES, st.sampled_from([".md", ".MD", ".markdown"])
    )
)


@given(st.sets(FILES, max_size=25))
def test_every_file_gets_a_place_of_its_own_always_the_same(paths: set[tuple[str, ...]]) -> None:
    # On a real file system a name is a file or a folder.
    files = [one for one in paths if not any(other[: len(one)] == one for other in paths - {one})]
    notes = [Note(one, "", 0) for one in files]
    made = plan(notes)
    keys = [fold(one.path) for one in made.items]
    assert len(set(keys)) == len(keys)
    assert sorted(one.source for one in made.items if one.source) == sorted(files)
    seen = {""}
    for one in made.items:
        assert fold(one.path).rpartition("/")[0] in seen
        seen.add(fold(one.path))
    assert plan(list(reversed(notes))) == made


@given(st.sets(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map(tuple), max_size=20))
def test_what_was_planned_is_laid_out_as_it_was(stems: set[tuple[str, ...]]) -> None:
    files = {(*stem[:-1], stem[-1] + ".md") for stem in stems}
    made = plan([Note(one, "", 0) for one in files])
    placed, renamed = lay_out(leaf(one.path, one.kind) for one in sorted(made.items, key=lambda one: one.path))
    assert {one.file for one in placed if one.file} == files
    assert renamed == []


TREES = st.dictionaries(
    st.lists(st.sampled_from(["Plan.md", "Plan", "plan (2)", "x.markdown", "X"]), min_size=1, max_size=3).map(tuple),
    st.sampled_from(["markdown", "folder"]),
    max_size=15,
)


@given(TREES)
def test_no_two_files_meet(tree: dict[tuple[str, ...], str]) -> None:
    leaves = {"/".join(path): kind for path, kind in tree.items()}
    placed, _ = lay_out(leaf(path, leaves[path]) for path in sorted(leaves, key=fold))
    every = [one for place in placed for one in (place.file, place.directory) if one is not None]
    keys = [tuple(map(fold, one)) for one in every]
    assert len(set(keys)) == len(keys)
    assert len(placed) == len(leaves)
    directories = {one.directory for one in placed if one.directory}
    assert all(len(one) == 1 or one[:-1] in directories for one in every)
    assert set(string.whitespace) & set("".join("".join(one) for one in every)) <= {" "}
