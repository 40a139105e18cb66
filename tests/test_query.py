"""What a text in the search box means, and that no text whatever breaks it."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mdserver.query import Query, parse
from mdserver.terms import Term, find, fold, pieces, tokens

ANY = st.text(st.characters(categories=None), max_size=60) | st.text("ab -\"*'()^:{}+\0\ud800東京한ß", max_size=40)


def words(query: Query) -> tuple[list[str], list[str]]:
    """The query written short: tokens joined by spaces, `*` where the last one is a beginning."""

    def short(term: Term) -> str:
        return " ".join(term.tokens) + ("*" if term.is_open else "")

    return [short(one) for one in query.wanted], [short(one) for one in query.unwanted]


@pytest.mark.parametrize(
    ("text", "wanted", "unwanted"),
    [
        ("Hello world", ["hello", "world"], []),
        ("hello hello HELLO", ["hello"], []),
        ('"New York" times', ["new york", "times"], []),
        ('"never closed', ["never closed"], []),
        ('a"b c"d', ["a", "b c", "d"], []),
        ("“New York” „alte Stadt“", ["new york", "alte stadt"], []),
        ("pre* mid*dle *post", ["pre*", "mid dle", "post"], []),
        ('"new yo"*', ["new yo*"], []),
        ('yes -no -"not this" - -- -"" ""', ["yes"], ["no", "not this"]),
        ("foo-bar 3.14 user@host don't", ["foo bar", "3 14", "user host", "don t"], []),
        ("Straße CAFÉ Ölpreis Søren Łódź", ["strasse", "cafe", "olpreis", "soren", "lodz"], []),
        ("cafe\u0301 ﬁne ①", ["cafe", "fine", "1"], []),
        ("AND OR NOT NEAR(a, b) {title}: x", ["and", "or", "not", "near a", "b", "title", "x"], []),
        ("東京", ["東京"], []),
        ("東京都庁", ["東京 京都 都庁"], []),
        ("京", ["京*"], []),
        ("東京 tower", ["東京", "tower"], []),
        ("東京tower a型 a型b", ["東京 京 tower", "a 型*", "a 型 b"], []),
        ("か\u3099く ﾀﾜｰ", ["がく", "タワ ワー"], []),
        ("학교 대한민국", ["학교", "대한 한민 민국"], []),
        ("－東京 东京", ["东京"], ["東京"]),
        ("हिन्दी", ["हिन्दी"], []),
        ("שָׁלוֹם", ["שלום"], []),
        ("!?% ... \0 \ud800", [], []),
        ("", [], []),
        ("-only", [], ["only"]),
    ],
)
def test_a_text_means(text: str, wanted: list[str], unwanted: list[str]) -> None:
    assert words(parse(text)) == (wanted, unwanted)


@given(ANY)
@example('"' * 5000)
@example("-*" * 5000)
@example("東" * 10_000)
@example("a\0" * 5000)
def test_no_text_breaks_the_parser_or_leaves_syntax(text: str) -> None:
    query = parse(text)
    for term in (*query.wanted, *query.unwanted):
        assert term.tokens
        for token in term.tokens:
            assert re.search(r"[\s\x00-\x2f\x3a-\x60\x7b-\x7f\ud800-\udfff]", token) is None
            assert 0 < len(token) <= 256


@given(ANY)
def test_folding_again_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(st.text(max_size=60) | st.text("ab東京都한국 .-", max_size=30))
def test_tokens_are_what_the_index_would_split_them_into(text: str) -> None:
    found = tokens(fold(text))
    assert " ".join(found).split(" ") == (found or [""])
    assert not any(re.search(r"[^a-z0-9\u0080-\U0010ffff]", one) for one in found)


WRITING = st.text("ab東京都 -.", min_size=1, max_size=8)


@given(WRITING, st.text("ab東京都 -.", max_size=30), st.booleans())
def test_a_term_stands_in_a_text_exactly_where_its_tokens_do(wanted: str, text: str, prefix: bool) -> None:
    """Two ways of looking, one in the folded text and one among the tokens as the engines do it, agree."""
    found = pieces(fold(wanted))
    if not found:
        return
    term = Term(found, prefix and not found[-1].dense)
    asked, there = term.tokens, tokens(fold(text))
    last = asked[-1]

    def matches(at: int) -> bool:
        if there[at : at + len(asked) - 1] != asked[:-1]:
            return False
        token = there[at + len(asked) - 1]
        return token.startswith(last) if term.is_open else token == last

    among_tokens = any(matches(at) for at in range(len(there) - len(asked) + 1))
    assert (find(term, fold(text)) is not None) == among_tokens


def test_a_beginning_takes_the_whole_word() -> None:
    (term,) = parse("wor*").wanted
    text = "word, worse; no sword"
    first = find(term, text)
    assert first is not None
    second = find(term, text, first[1])
    assert second is not None
    assert [text[slice(*first)], text[slice(*second)]] == ["word", "worse"]
    assert find(term, text, second[1]) is None
