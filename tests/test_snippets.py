"""Snippets: what is shown of a text, that it is escaped wherever it is cut, and that the marks stand on the hits."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdserver.query import parse
from mdserver.snippets import MOST, PLAIN, beginning, snippet
from mdserver.terms import find, fold


def shown(query: str, text: str, **options: int) -> str | None:
    return snippet(text, parse(query).wanted, **options)


def unmarked(made: str) -> str:
    """The text that a snippet shows. Fails when it holds any other markup than pairs of marks."""
    bare = re.sub(r"<mark>([^<>]*)</mark>", r"\1", made)
    assert not set(bare) & set("<>\"'"), made
    return html.unescape(bare)


@pytest.mark.parametrize(
    ("query", "text", "expected"),
    [
        ("world", "Hello World, worlds", "Hello <mark>World</mark>, worlds"),
        ("wor*", "Hello World, worlds", "Hello <mark>World</mark>, <mark>worlds</mark>"),
        ('"new york"', "New\n  York, new and York", "<mark>New York</mark>, new and York"),
        ("strasse ol*", "Die Straße, der Ölpreis", "Die <mark>Straße</mark>, der <mark>Ölpreis</mark>"),
        ("resume", "re\u0301sume\u0301 und résumé", "<mark>re\u0301sume\u0301</mark> und <mark>résumé</mark>"),
        ("京都", "東京都の京都", "東<mark>京都</mark>の<mark>京都</mark>"),
        ("都 タワー", "東京都のﾀﾜｰ", "東京<mark>都</mark>の<mark>ﾀﾜｰ</mark>"),
        ("학교", "학교에서 배운다", "<mark>학교</mark>에서 배운다"),
        ("が", "か\u3099く", "<mark>か\u3099</mark>く"),
        ("b", "<b>&amp;</b>", "&lt;<mark>b</mark>&gt;&amp;amp;&lt;/<mark>b</mark>&gt;"),
        ("script", "<script>alert('x')</script>", None),
        ("a b", "a x b", "<mark>a</mark> x <mark>b</mark>"),
    ],
)
def test_a_snippet(query: str, text: str, expected: str | None) -> None:
    made = shown(query, text)
    if expected is None:
        assert made is not None
        assert unmarked(made) == text
    else:
        assert made == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("“caf” and caf\u0301, caf.", "“<mark>caf</mark>” and <mark>caf\u0301</mark>, <mark>caf</mark>."),
        ("caf\u00e9, cafs, caf—", "caf\u00e9, cafs, <mark>caf</mark>—"),
        ("caf", "<mark>caf</mark>"),
    ],
)
def test_a_word_in_ascii_beside_other_characters(text: str, expected: str) -> None:
    assert shown("caf", text) == expected


def test_a_word_that_goes_on_past_what_is_looked_at_plainly() -> None:
    text = "é " + "x " * ((PLAIN - 6) // 2) + "goal" + "s" * 40 + " and the goal"
    assert text.find("goal") < PLAIN < text.find(" and")
    made = shown("goal", text)
    assert made is not None
    assert made.endswith("and the <mark>goal</mark>")
    made = shown("goal*", text)
    assert made is not None
    assert "<mark>goal" in made


def test_nothing_is_shown_of_what_is_not_there() -> None:
    assert shown("nowhere", "some words") is None
    assert shown("wor", "word") is None
    assert shown("x", "") is None


def test_long_texts_are_cut_between_words_around_the_hit() -> None:
    made = shown("needle", "hay " * 2000 + "needle " + "straw " * 2000)
    assert made is not None
    assert made.startswith("…hay hay")
    assert made.endswith("straw…")
    assert "<mark>needle</mark>" in made
    assert len(unmarked(made)) < 230


def test_the_place_with_the_most_terms_is_shown() -> None:
    text = "alpha " + "x " * 1000 + "beta gamma " + "y " * 1000 + "alpha and beta and gamma"
    assert shown("alpha beta gamma", text) is not None
    assert (shown("alpha beta gamma", text) or "").endswith(
        "<mark>alpha</mark> and <mark>beta</mark> and <mark>gamma</mark>"
    )


def test_a_hit_far_behind_is_found_and_one_too_far_is_not() -> None:
    assert "<mark>needle</mark>" in (shown("needle", "hay " * 100_000 + "needle") or "")
    assert "<mark>针线</mark>" in (shown("针线", "草" * 100_000 + "针线") or "")
    assert shown("needle", "x" * MOST + " needle") is None


@pytest.mark.parametrize("length", range(20, 60))
def test_markup_is_never_cut_in_two(length: int) -> None:
    text = "<&>\"'" * 20 + " hit " + "&<" * 100
    made = shown("hit", text, length=length)
    assert made is not None
    assert unmarked(made).strip("…") in text
    assert unmarked(beginning(text, length=length)).strip("…") in text


def test_a_character_is_never_cut_in_two() -> None:
    text = "e\u0301" * 300
    for length in (50, 51):
        made = beginning(text, length=length)
        assert made.strip("…") == "e\u0301" * (len(made.strip("…")) // 2)


@given(
    st.text(
        st.sampled_from(list("ab <>&\"'\nßéÅ東京都한국か\u3099\u0301")) | st.characters(exclude_characters="\0"),
        max_size=120,
    ),
    st.text("ab東京ß é*", min_size=1, max_size=6),
    st.integers(20, 80),
)
def test_a_snippet_is_a_piece_of_the_text_with_marks_on_what_was_asked_for(text: str, query: str, length: int) -> None:
    terms = parse(query).wanted
    made = snippet(text, terms, length=length)
    if made is None:
        assert len(terms) == 0 or not all(find(term, fold(text)) for term in terms) or not fold(text).isascii()
        return
    plain = " ".join(re.sub(r"\s", " ", text).split())
    assert " ".join(unmarked(made).strip("…").split()) in plain or "…" in text
    for mark in re.findall(r"<mark>([^<>]*)</mark>", made):
        assert any(find(term, fold(html.unescape(mark))) for term in terms)
