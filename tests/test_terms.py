"""Words that FTS5 splits by itself: into the tokens that the other engine is given."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdserver.store.sqlite import connect
from mdserver.terms import LONGEST, _fold, fold, spaced, tokens

Split = Callable[[str], list[str]]

ANYTHING = st.text(st.one_of(st.sampled_from("aZ09 _-.\n\u0301\u00e9ß東京"), st.characters(exclude_categories=["Cs"])))


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Split]:
    """What FTS5's tokenizer makes of a text, as the index is made."""
    directory: Path = tmp_path_factory.mktemp("fts")
    connection = connect(directory / "words.sqlite3", read_only=False, synchronous="OFF")
    connection.execute("CREATE VIRTUAL TABLE index_ USING fts5(words, tokenize = 'ascii', prefix = '2')")
    connection.execute("CREATE VIRTUAL TABLE found USING fts5vocab(index_, instance)")

    def split(text: str) -> list[str]:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO index_ (words) VALUES (?)", (text,))
        made = [one for (one,) in connection.execute('SELECT term FROM found ORDER BY "offset"')]
        connection.execute("ROLLBACK")
        return made

    yield split
    connection.close()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Plain ASCII, with_underscores and 3.14 (of course).",
        "Straße und GRÜSSE – “naïve” cafe\u0301s…",
        "東京都に行く and back",
        "Ἀθῆναι ΣΊΣΥΦΟΣ İstanbul ıssız",
        "שָׁלוֹם العَرَبِيَّة हिन्दी ไทย",
        "full\u3000width\u00a0spaces\u2028here 🎉party🎉 ½ ﬁne ⅷ",
        "a\u00adb c\u200dd e\ufeffff",
        "x" * (LONGEST + 3) + " é" + "y" * (2 * LONGEST) + " zero\u00e9" + "0" * LONGEST,
        "line\nbreaks\r\nand\ttabs\x00nul\x1funit",
    ],
)
def test_the_same_tokens(split: Split, text: str) -> None:
    assert split(spaced(text)) == tokens(fold(text))


@settings(deadline=None)
@given(ANYTHING)
def test_the_same_tokens_of_anything(split: Split, text: str) -> None:
    assert split(spaced(text)) == tokens(fold(text))


def test_plain_text_stays_as_it_is() -> None:
    assert spaced("Plain, ASCII.") == "Plain, ASCII."


@given(ANYTHING)
def test_folding_run_by_run_is_folding_the_whole(text: str) -> None:
    assert fold(text) == _fold(text)


def test_no_ascii_letter_melts_together_with_a_character_that_stays() -> None:
    """What folding run by run stands on, seen over all of Unicode."""
    for number in range(0x110000):
        first, _, second = unicodedata.decomposition(chr(number)).partition(" ")
        if second and not first.startswith("<") and int(first, 16) < 0x80:
            assert _fold(chr(int(second, 16))) == "", hex(number)
