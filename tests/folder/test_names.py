"""Which local name stands for a file name: always one step down, visible, taken by the system."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdserver.folder.names import below_name, local_name, owner_of, rebased
from mdserver.text import FILENAME_BYTES, fold, free

ANY = st.text(st.characters(), max_size=300)


@pytest.mark.parametrize(
    ("filename", "plain", "windows"),
    [
        ("Plan.md", "Plan.md", "Plan.md"),
        ("..", "_..", "_._"),
        (".", "_", "_"),
        ("", "_", "_"),
        ("../../etc/passwd.md", "_.._.._etc_passwd.md", "_.._.._etc_passwd.md"),
        ("a/b\\c\0.md", "a_b_c_.md", "a_b_c_.md"),
        (".mdserver", "_.mdserver", "_.mdserver"),
        (".hidden.md", "_.hidden.md", "_.hidden.md"),
        ("con.md", "con.md", "con_.md"),
        ("AUX", "AUX", "AUX_"),
        ("what?.md", "what?.md", "what_.md"),
        ("C:evil.md", "C:evil.md", "C_evil.md"),
        ("dot.", "dot.", "dot_"),
        ("space ", "space ", "space_"),
        ("nul.tar.md", "nul.tar.md", "nul_.tar.md"),
    ],
)
def test_names_that_a_file_should_not_have(filename: str, plain: str, windows: str) -> None:
    assert local_name(filename, windows=False) == plain
    assert local_name(filename, windows=True) == windows


@given(ANY, st.booleans())
def test_a_local_name_is_one_visible_step_down(filename: str, windows: bool) -> None:
    name = local_name(filename, windows=windows)
    assert name not in ("", ".", "..")
    assert not name.startswith(".")
    assert not set(name) & set("/\\\0")
    assert len(name.encode()) <= FILENAME_BYTES
    assert local_name(name, windows=windows) == name


@given(st.lists(ANY, max_size=20))
def test_given_names_are_never_alike(names: list[str]) -> None:
    taken: set[str] = set()
    found = [free(local_name(one, windows=False), taken) for one in names]
    assert len({fold(one) for one in found}) == len(found)


def test_whose_directory_it_is() -> None:
    assert owner_of("Plan", ["Plan.markdown", "Plan.md", "Plan.txt"]) == "Plan.md"
    assert owner_of("Plan", ["Plan.MD"]) == "Plan.MD"
    assert owner_of("Plan", ["plan.md", "Plan"]) is None
    assert (below_name("Plan.md"), below_name("Plan"), below_name("a.b.markdown")) == ("Plan", "Plan", "a.b")


def test_paths_after_a_move() -> None:
    assert rebased("a/b/c.md", "a/b", "x") == "x/c.md"
    assert rebased("a/b", "a/b", "x/y") == "x/y"
    assert rebased("a/bc", "a/b", "x") == "a/bc"
