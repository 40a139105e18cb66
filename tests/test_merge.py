"""The laws of merging: what anybody wrote stays, apart from what was rewritten twice nothing is said twice."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from mdserver import diff
from mdserver.merge import Overlap, merge

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
    "- ",
    "é",
    "e\u0301",
    "😀",
    "漢字",
    ".",
    "-",
    "\u2028",
]
texts = st.one_of(
    st.text(alphabet="ab \n", max_size=40),
    st.text(alphabet="abc-.\n", max_size=40),
    st.lists(st.sampled_from(PIECES), max_size=25).map("".join),
    st.lists(st.sampled_from(["one two\n", "three\n", "\n", "four five six\n", "end"]), max_size=8).map("".join),
    st.text(max_size=20),
)
fixed = settings(deadline=None, derandomize=True, max_examples=100)


@st.composite
def threes(draw: st.DrawFn) -> tuple[str, str, str]:
    """(base, server, client): both sides are the base with some pieces taken out, put in or changed."""
    base = draw(st.lists(st.sampled_from(PIECES), max_size=30))

    def side() -> str:
        pieces = base.copy()
        for _ in range(draw(st.integers(0, 4))):
            at = draw(st.integers(0, len(pieces)))
            gone = draw(st.integers(0, 5))
            pieces[at : at + gone] = draw(st.lists(st.sampled_from([*PIECES, "new", "more"]), max_size=3))
        return "".join(pieces)

    return "".join(base), side(), side()


@seed(1)
@fixed
@given(base=texts, text=texts)
def test_only_one_side_changed_or_both_alike(base: str, text: str) -> None:
    for server, client in ((base, text), (text, base), (text, text)):
        merged = merge(base, server=server, client=client)
        assert merged.text == text
        assert merged.overlaps == []


def _inserted(base: str, text: str) -> list[str]:
    return [text[hunk.new_start : hunk.new_end] for hunk in diff.word_hunks(base, text)]


@seed(2)
@fixed
@given(texts=st.one_of(st.tuples(texts, texts, texts), threes()))
def test_everything_written_is_there_in_one_piece(texts: tuple[str, str, str]) -> None:
    base, server, client = texts
    merged = merge(base, server=server, client=client)
    found = set(diff.words(merged.text))
    for text in (server, client):
        for piece in _inserted(base, text):
            assert piece in merged.text
            assert {word for word in diff.words(piece) if word.isalnum()} <= found, "no word ran into another"


@seed(3)
@fixed
@given(texts=st.one_of(st.tuples(texts, texts, texts), threes()))
def test_overlaps_name_their_place_in_utf16_units(texts: tuple[str, str, str]) -> None:
    base, server, client = texts
    merged = merge(base, server=server, client=client)
    units = merged.text.encode("utf-16-le", "surrogatepass")
    position = 0
    for overlap in merged.overlaps:
        assert position <= overlap.start <= overlap.end
        passage = units[2 * overlap.start : 2 * overlap.end].decode("utf-16-le", "surrogatepass")
        assert overlap.yours.strip() in passage
        assert overlap.theirs.strip() in passage
        assert overlap.yours in client
        assert overlap.theirs in server
        position = overlap.end
    assert 2 * position <= len(units)


@seed(4)
@fixed
@given(texts=st.one_of(st.tuples(texts, texts, texts), threes()))
def test_both_sides_may_be_swapped_without_losing_an_overlap(texts: tuple[str, str, str]) -> None:
    base, server, client = texts
    here, there = merge(base, server=server, client=client), merge(base, server=client, client=server)
    assert [(o.yours, o.theirs) for o in here.overlaps] == [(o.theirs, o.yours) for o in there.overlaps]


_words = st.lists(st.sampled_from(["red", "green", "blue", "", "two words", "1. x"]), min_size=12, max_size=12)


@seed(5)
@fixed
@given(
    new=_words,
    mine=st.lists(st.booleans(), min_size=12, max_size=12),
    between=st.sampled_from([" ", "\n", ", ", "\r\n"]),
)
def test_edits_in_different_places_both_land_exactly(new: list[str], mine: list[bool], between: str) -> None:
    # Every place stands between words that nobody touches.
    def text(places: list[str]) -> str:
        return "".join(f"k{n}{between}{place}{between}" for n, place in enumerate(places)) + "end"

    old = [f"old{n}" for n in range(12)]
    server = [old[n] if mine[n] else new[n] for n in range(12)]
    client = [new[n] if mine[n] else old[n] for n in range(12)]
    merged = merge(text(old), server=text(server), client=text(client))
    assert merged.text == text(new)
    assert merged.overlaps == []


@seed(6)
@fixed
@given(texts=st.one_of(st.tuples(texts, texts, texts), threes()))
def test_a_merge_is_the_same_every_time(texts: tuple[str, str, str]) -> None:
    base, server, client = texts
    merged = merge(base, server=server, client=client)
    assert merge(base, server=server, client=client) == merged
    assert merge(server, server=server, client=merged.text).text == merged.text


@pytest.mark.parametrize(
    ("base", "server", "client", "expected"),
    [
        pytest.param("the cat sat", "the black cat sat", "the cat sat down", "the black cat sat down", id="two places"),
        pytest.param("the cat", "the big cat", "the fat cat", "the big fat cat", id="insertions at one place"),
        pytest.param("the cat", "the big cat", "the big cat", "the big cat", id="the same insertion"),
        pytest.param("- a\n", "- a\n- b\n", "- a\n- c\n", "- a\n- b\n- c\n", id="list items"),
        pytest.param("- a\n", "- a\n- b\n", "- a\n- b\n- c\n", "- a\n- b\n- c\n", id="a lost answer, then more typed"),
        pytest.param("a", "a\nb\n", "a\nc\n", "a\nb\nc\n", id="lines after an open end"),
        pytest.param("a", "a\n\nb", "a\n\nc", "a\n\nb\n\nc", id="paragraphs after an open end"),
        pytest.param("# T\n", "# T\n\nb\n", "# T\n\nc\n", "# T\n\nb\n\nc\n", id="paragraphs"),
        pytest.param("", "hello", "world", "hello\nworld", id="first words"),
        pytest.param("a b c", "a c", "a x b c", "a x c", id="insertion before the other's deletion"),
        pytest.param("a b c", "a c", "a b x c", "a x c", id="insertion after the other's deletion"),
        pytest.param("a b c", "a B c", "a x b c", "a x B c", id="insertion before the other's rewriting"),
        pytest.param(
            "a cat c", "a big cat c", "a big dog c", "a big dog c", id="the rewriting begins with the insertion"
        ),
        pytest.param("a -- b", "a- b", "a -b", "a b", id="deletions that meet part the words"),
        pytest.param("- b", "x b", "-y b", "x y b", id="neighbouring words are parted"),
        pytest.param("a b c d\n", "a d\n", "a b d\n", "a d\n", id="deletions unite"),
        pytest.param("1\n2\n3\n4\n", "1\n4\n", "1\n2\nnew\n3\n4\n", "1\nnew\n4\n", id="a new line among deleted ones"),
        pytest.param(
            "one\n\ntwo\n\nstay here\n",
            "stay here\n\nthree\n\nfour\n",
            "one\n\ntwo\n\nstay right here\n",
            "stay right here\n\nthree\n\nfour\n",
            id="blank lines do not outweigh a paragraph",
        ),
    ],
)
def test_merges_without_overlap(base: str, server: str, client: str, expected: str) -> None:
    merged = merge(base, server=server, client=client)
    assert merged.text == expected
    assert merged.overlaps == []


@pytest.mark.parametrize(
    ("base", "server", "client", "expected", "overlaps"),
    [
        pytest.param(
            "the cat sat", "the dog sat", "the cow sat", "the dog cow sat", [Overlap(4, 11, "cow", "dog")], id="a word"
        ),
        pytest.param("😀 cat", "😀 dog", "😀 cow", "😀 dog cow", [Overlap(3, 10, "cow", "dog")], id="utf-16 places"),
        pytest.param(
            "x\none two three\ny\n",
            "x\nalpha beta gamma\ny\n",
            "x\nuno dos tres\ny\n",
            "x\nalpha beta gamma\nuno dos tres\ny\n",
            [Overlap(2, 31, "uno dos tres", "alpha beta gamma")],
            id="a line",
        ),
        pytest.param(
            "one two three\r\n",
            "alpha beta gamma\r\n",
            "uno dos tres\r\n",
            "alpha beta gamma\r\nuno dos tres\r\n",
            [Overlap(0, 30, "uno dos tres", "alpha beta gamma")],
            id="a line with CR LF",
        ),
        pytest.param(
            "1\nthe cat sat\n3\n4\n",
            "1\n4\n",
            "1\nthe dog sat\n3\n4\n",
            "1\nthe dog sat\n4\n",
            [Overlap(2, 14, "the dog sat\n", "")],
            id="the server deleted what the client edited",
        ),
        pytest.param(
            "1\nthe cat sat\n3\n4\n",
            "1\nthe cat sat\n3 more\n4\n",
            "1\n4\n",
            "1\n3 more\n4\n",
            [Overlap(2, 9, "", "3 more\n")],
            id="the client deleted what the server edited",
        ),
        pytest.param(
            "cat",
            "dog",
            "dog house",
            "dog house",
            [Overlap(0, 9, "dog house", "dog")],
            id="one rewriting holds the other",
        ),
    ],
)
def test_merges_with_overlaps(base: str, server: str, client: str, expected: str, overlaps: list[Overlap]) -> None:
    merged = merge(base, server=server, client=client)
    assert merged.text == expected
    assert merged.overlaps == overlaps


def test_a_client_that_rewrites_every_line_end_disturbs_nobody() -> None:
    base = "".join(f"line {n} of the text\r\n" for n in range(500))
    merged = merge(base, server=base.replace("line 250", "row 250"), client=base.replace("\r\n", "\n"))
    assert merged.text == base.replace("line 250", "row 250").replace("\r\n", "\n")
    assert merged.overlaps == []


def test_a_spent_budget_merges_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff, "BUDGET", 0)
    monkeypatch.setattr(diff, "_ALWAYS", 0)
    merged = merge("top\none two three\n", server="Top\none 2 three\n", client="top\none two 3\n")
    assert set(diff.words(merged.text)) >= {"Top", "2", "3"}


def test_long_texts_merge_in_bounded_time() -> None:
    base = "".join(f"line {n * 7 % 1009} of {n}\n" for n in range(6_000))
    server = base.replace("of 77\n", "of 77, says the server\n")
    client = "".join(f"{n} other {n * 31 % 977}\n" for n in range(6_000))
    start = time.process_time()
    merged = merge(base, server=server, client=client)
    assert time.process_time() - start < 10, "seconds are the wrong order of magnitude"
    assert "says the server" in merged.text
    assert all(line in merged.text for line in client.splitlines())
