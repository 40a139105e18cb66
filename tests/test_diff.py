"""Diffs: exact on any text, small where a person would expect it, bounded on hostile text, taken by patch and git."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from mdserver import diff
from mdserver.diff import Edit, Hunk, LineHunk

PIECES = [
    "a",
    "b",
    "cat",
    "cats",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\r",
    "\n\n",
    "- [ ] ",
    "é",
    "e\u0301",
    "😀",
    "👩‍💻",
    "漢字",
    ".",
    "\u2028",
    "\ufeff",
]
texts = st.one_of(
    st.text(alphabet="ab \n", max_size=60),
    st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
    st.text(max_size=40),
)
fixed = settings(deadline=None, derandomize=True, max_examples=100)


@seed(1)
@fixed
@given(old=texts, new=texts)
def test_applying_the_edits_gives_the_new_text(old: str, new: str) -> None:
    changes = diff.edits(old, new)
    assert diff.apply(old, changes) == new
    position = -1
    for change in changes:
        assert position < change.start <= change.end <= len(old), "sorted, and at least a character between two edits"
        assert old[change.start : change.end] != change.text
        position = change.end


@seed(2)
@fixed
@given(old=texts, new=texts)
def test_word_hunks_stand_apart_and_everything_else_is_equal(old: str, new: str) -> None:
    at = (0, 0)
    for hunk in [*diff.word_hunks(old, new), Hunk(len(old), len(old), len(new), len(new))]:
        assert old[at[0] : hunk.old_start] == new[at[1] : hunk.new_start]
        at = (hunk.old_end, hunk.new_end)


@seed(3)
@fixed
@given(old=st.lists(st.sampled_from("abcd"), max_size=30), new=st.lists(st.sampled_from("abcd"), max_size=30))
def test_hunks_of_tokens(old: list[str], new: list[str]) -> None:
    at = (0, 0)
    for hunk in [*diff.hunks(old, new), Hunk(len(old), len(old), len(new), len(new))]:
        assert old[at[0] : hunk.old_start] == new[at[1] : hunk.new_start]
        at = (hunk.old_end, hunk.new_end)


@seed(4)
@fixed
@given(old=texts, new=texts)
def test_line_hunks_hold_both_texts(old: str, new: str) -> None:
    found = diff.line_hunks(old, new)
    assert "".join(hunk.text for hunk in found if hunk.op != "insert") == old
    assert "".join(hunk.text for hunk in found if hunk.op != "delete") == new
    assert all(hunk.text for hunk in found)
    assert all(hunk.text.endswith("\n") for hunk in found[:-2]), "only the last lines may lack their end"


@seed(5)
@fixed
@given(text=texts)
def test_words_lose_nothing(text: str) -> None:
    assert "".join(diff.words(text)) == text


def test_words() -> None:
    assert diff.words("don't stop, now\r\n") == ["don't", " ", "stop", ",", " ", "now", "\r\n"]
    assert diff.words("see漢字かな ok") == ["see", "漢", "字", "か", "な", " ", "ok"]
    assert diff.words("cafe\u0301 👩‍💻👍🏽 हिन्दी") == ["cafe\u0301", " ", "👩‍💻", "👍🏽", " ", "हिन्दी"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", []),
        ("same", "same", []),
        ("", "new", [Edit(0, 0, "new")]),
        ("old", "", [Edit(0, 3, "")]),
        ("the cat", "the big cat", [Edit(4, 4, "big ")]),
        ("a cat", "a car cat", [Edit(2, 2, "car ")]),
        ("foo, bar, baz", "foo, baz", [Edit(5, 10, "")]),
        ("one cat", "one cats", [Edit(7, 7, "s")]),
        ("red or blue", "green or gray", [Edit(0, 3, "green"), Edit(7, 11, "gray")]),
        ("red blue", "green gray", [Edit(0, 8, "green gray")]),
        ("alpha x beta y gamma", "alpha xx beta yy gamma", [Edit(7, 7, "x"), Edit(14, 14, "y")]),
        ("# Title\n\ntext\n", "# Title\n\nmore\n\ntext\n", [Edit(9, 9, "more\n\n")]),
        ("beta theta t15x", "beta t15x t25x", [Edit(5, 15, "t15x t25x")]),
        ("a\r\nb\r\n", "a\nb\n", [Edit(1, 2, ""), Edit(4, 5, "")]),
        ("👍 yes", "👍🏽 yes", [Edit(1, 1, "🏽")]),
    ],
)
def test_edits_are_what_a_person_would_see(old: str, new: str, expected: list[Edit]) -> None:
    assert diff.edits(old, new) == expected


def test_a_rewritten_sentence_is_one_edit() -> None:
    old = "Start here. The quick brown fox jumps over it. The end of it.\n"
    new = "Start here. Some slow green dogs creep under me. The end of it.\n"
    assert len(diff.edits(old, new)) == 1


def test_line_hunks() -> None:
    assert diff.line_hunks("a\nb\nc", "a\nB\nc") == [
        LineHunk("equal", "a\n"),
        LineHunk("delete", "b\n"),
        LineHunk("insert", "B\n"),
        LineHunk("equal", "c"),
    ]
    assert diff.line_hunks("", "") == []
    assert diff.line_hunks("a", "a\n") == [LineHunk("delete", "a"), LineHunk("insert", "a\n")]


def _long(count: int, step: int = 7) -> str:
    return "".join(f"line {n * step % 1009} of {n}\n" for n in range(count))


def test_scattered_edits_in_a_long_text_stay_small() -> None:
    lines = _long(30_000).splitlines(keepends=True)
    changed = lines.copy()
    for n in range(0, 30_000, 300):
        changed[n] = changed[n].replace("line", "row")
    del changed[15_001]
    changes = diff.edits("".join(lines), "".join(changed))
    assert len(changes) == 101
    assert diff.apply("".join(lines), changes) == "".join(changed)


def test_other_line_ends_and_indentation_leave_the_words_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff, "_WORDY", 50_000)  # too much for words at once
    old = _long(4_000)
    for new in (old.replace("\n", "\r\n"), "".join("  " + line for line in old.splitlines(keepends=True))):
        changes = diff.edits(old, new)
        assert diff.apply(old, changes) == new
        assert sum(len(change.text) for change in changes) <= 2 * 4_000


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a\n" * 100_000, "b\na\n" * 50_000),
        ("a " * 100_000, "b a " * 50_000),
        (_long(8_000), "".join(f"{n} other {n * 31 % 977}\n" for n in range(8_000))),
        ("x" * 300_000, "y" + "x" * 300_000 + "y"),
    ],
    ids=["lines", "words", "different", "one word"],
)
def test_hostile_texts_get_coarse_but_right_edits(old: str, new: str) -> None:
    assert diff.apply(old, diff.edits(old, new)) == new


def test_a_spent_budget_gives_coarser_hunks(monkeypatch: pytest.MonkeyPatch) -> None:
    old = "one two three four\n" * 200 + "tail\n"
    new = "two one four three\n" * 150 + "end\n"
    fine = diff.edits(old, new)
    monkeypatch.setattr(diff, "BUDGET", 0)
    monkeypatch.setattr(diff, "_ALWAYS", 0)
    coarse = diff.edits(old, new)
    assert diff.apply(old, coarse) == new
    assert len(coarse) < len(fine)


def test_more_different_lines_than_there_are_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff, "_ALPHABET", 3)
    assert diff.hunks(list("abcd"), list("abce")) == [Hunk(0, 4, 0, 4)]


UNIFIED = [
    ("", "new\n"),
    ("old\n", ""),
    ("a\nb\nc\n", "a\nB\nc\n"),
    ("a\nb", "a\nb\n"),
    ("a\nb\n", "a\nb"),
    ("a\nb", "a\nc"),
    ("a\r\nb\r\n", "a\r\nc\r\n"),
    ("x\u2028y\n\x0cz\n", "x\u2028y\n\x0cw\n"),
    (_long(60), _long(60).replace("of 5\n", "of five\n").replace("of 14\n", "").replace("of 50\n", "of 50\nmore\n")),
]


@pytest.mark.parametrize(("old", "new"), UNIFIED)
@pytest.mark.parametrize("name", ["note.md", "a note.md", 'odd "name"\t.md'])
def test_git_and_patch_take_the_unified_diff(old: str, new: str, name: str, tmp_path: Path) -> None:
    text = diff.unified(old, new, f"a/{name}", f"b/{name}").encode()
    file = tmp_path / name
    for tool in (["git", "apply", "--whitespace=nowarn", "-"], ["patch", "--binary", "-s", "-p1"]):
        if shutil.which(tool[0]) is None:
            pytest.skip(f"{tool[0]} is not installed")
        file.write_bytes(old.encode())
        done = subprocess.run(tool, cwd=tmp_path, input=text, capture_output=True, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr).decode() + text.decode()
        assert (file.read_bytes() if file.exists() else b"") == new.encode()


def test_unified_looks_like_any_other() -> None:
    assert diff.unified("same\n", "same\n", "a", "b") == ""
    assert diff.unified("a\nb", "a\nc\n", "a/n.md", "b/n.md") == (
        "--- a/n.md\n+++ b/n.md\n@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+c\n"
    )
