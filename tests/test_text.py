"""Text checks, keys and file names."""

from __future__ import annotations

import hashlib
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdserver.errors import Invalid, TooLarge
from mdserver.text import (
    FILENAME_BYTES,
    check_content,
    check_email,
    check_filename,
    clean,
    email_key,
    filename_for,
    fold,
    numbered,
    sha256_hex,
)

steady = settings(derandomize=True, deadline=None, max_examples=200)
no_surrogates = st.text(st.characters(codec="utf-8"))
# Letters whose folding or composition is known to be odd, so that random text meets them often.
odd = st.text(st.sampled_from("aAßẞİıſKÅµΣςσ\u0345\u0308\u0301\u0307ΐᾳᾼﬁǰŉᏣꭳ가ᄀ\u1161\u11a8①Ⅳ＠．ﷺ"), max_size=12)


@steady
@given(no_surrogates | odd)
def test_fold_is_idempotent_and_blind_to_form_and_case(text: str) -> None:
    key = fold(text)
    assert fold(key) == key
    assert unicodedata.is_normalized("NFC", key)
    for form in ("NFC", "NFD"):
        assert fold(unicodedata.normalize(form, text)) == key
    if "\u0345" not in unicodedata.normalize("NFD", text):  # a mark that folds to a letter, so its place matters
        assert fold(text.casefold()) == key


def test_fold_of_every_letter_with_case() -> None:
    for code in range(0x80, 0x20000):
        character = chr(code)
        key = fold(character)
        assert fold(key) == key
        assert fold(unicodedata.normalize("NFD", character)) == key


def test_fold_joins_what_people_see_as_one() -> None:
    assert fold("Straße") == fold("STRASSE")
    assert fold("Café.md") == fold("CAFE\u0301.MD")
    assert fold("ΣΑΣ") == fold("σας")
    assert fold("a") != fold("á")


@steady
@given(no_surrogates | odd)
def test_email_key_is_idempotent(text: str) -> None:
    assert email_key(email_key(text)) == email_key(text)


def test_email_key() -> None:
    assert email_key("Ann@Example.ORG") == "ann@example.org"
    assert email_key("ｊｏｅ@example.org") == "joe@example.org"
    assert email_key("№@x") == "no@x"


@pytest.mark.parametrize(
    "email",
    [
        "ann@example.org",
        "a.b+tag@sub.example.co.uk",
        "o'neil@example.org",
        "josé@bücher.example",
        "me@nas",
        "x" * 64 + "@example.org",
    ],
)
def test_emails_that_are_taken(email: str) -> None:
    assert check_email(f"  {email}\n") == email


@pytest.mark.parametrize(
    "email",
    [
        "",
        "ann",
        "ann@",
        "@example.org",
        "a@b@c.org",
        "a b@example.org",
        "a@exa mple.org",
        "a@.org",
        "a@example..org",
        "a@example.org.",
        "a@-x.org",
        "a@x-.org",
        "a@x_y.org",
        "a\x00@example.org",
        "a\r\nBcc: b@example.org",
        "a@example.org\x85b",
        "Ann <ann@example.org>",
        "a,b@example.org",
        '"a b"@example.org',
        "a＠b@example.org",
        "a\u202e@example.org",
        "a\u3000b@example.org",
        "\ud800@example.org",
        "a@[127.0.0.1]",
        "x" * 65 + "@example.org",
        "a@" + ".".join(["x" * 60] * 5),
        "a@" + "x" * 64 + ".org",
    ],
)
def test_emails_that_are_refused(email: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_email(email)
    assert caught.value.extra["errors"][0]["pointer"] == "/email"


def test_clean() -> None:
    assert clean("  A title\n", pointer="/title", maximum=20) == "A title"
    assert clean("a\r\nb\tc\n\n", pointer="/bio", maximum=20, lines=True) == "a\nb\tc"
    assert clean("", pointer="/title", maximum=5) == ""
    assert clean("😀" * 5, pointer="/title", maximum=5) == "😀" * 5


@pytest.mark.parametrize(
    "text", ["a\0b", "a\nb", "a\tb", "a\x1bb", "a\x7fb", "a\u2028b", "\ud800", "a\udfffb", "x" * 21]
)
def test_clean_refuses(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        clean(text, pointer="/title", maximum=20)
    assert caught.value.extra["errors"] == [{"pointer": "/title", "detail": caught.value.detail}]


def test_clean_refuses_what_is_too_short_and_returns_inside_lines() -> None:
    with pytest.raises(Invalid, match="must not be empty"):
        clean(" \n ", pointer="/title", maximum=20, minimum=1)
    with pytest.raises(Invalid, match="at least 8"):
        clean("short", pointer="/password", maximum=128, minimum=8)
    with pytest.raises(Invalid, match="Control"):
        clean("a\rb", pointer="/bio", maximum=20, lines=True)


def test_check_content() -> None:
    text = "\ufeff---\r\ntitle: ü\r\n---\r\n\x0c tabs\t and form feeds stay"
    assert check_content(text, maximum_bytes=1000) == text.encode()
    assert check_content("ü" * 5, maximum_bytes=10) == b"\xc3\xbc" * 5
    with pytest.raises(Invalid, match="NUL"):
        check_content("a\0", maximum_bytes=10)
    with pytest.raises(Invalid, match="surrogate"):
        check_content("a\udc80", maximum_bytes=10)
    for large in ("a" * 11, "ü" * 6):
        with pytest.raises(TooLarge, match="10 bytes"):
            check_content(large, maximum_bytes=10)


def test_check_content_is_fast_on_the_largest_document() -> None:
    text = "words and ümlauts " * (20 * 1024 * 1024 // 19)
    started = time.perf_counter()
    check_content(text, maximum_bytes=20 * 1024 * 1024)
    assert time.perf_counter() - started < 1  # about 20 ms; a loop over the characters would take seconds


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Plan", "Plan.md"),
        ("", "Untitled.md"),
        (" . ", "Untitled.md"),
        ("..", "Untitled.md"),
        ("???", "Untitled.md"),
        (".hidden", "hidden.md"),
        ("and so on...", "and so on.md"),
        ("AC/DC", "AC-DC.md"),
        ("either / or", "either-or.md"),
        ("12:30", "12-30.md"),
        ("Note: this", "Note this.md"),
        ('What "is" <this>?', "What is this.md"),
        ("a\tb\nc\0d", "a b c d.md"),
        ("CON", "CON_.md"),
        ("nul", "nul_.md"),
        ("com1.backup", "com1_.backup.md"),
        ("LPT³", "LPT³_.md"),
        ("Console", "Console.md"),
        ("Con artist", "Con artist.md"),
        ("Cafe\u0301", "Café.md"),
        ("日本語のノート", "日本語のノート.md"),
        ("exe\u202egpj", "exegpj.md"),
        ("a\ud800b", "ab.md"),
    ],
)
def test_filename_for(title: str, name: str) -> None:
    assert filename_for(title, extension=".md") == name


def test_filename_for_cuts_between_characters() -> None:
    family = "👨‍👩‍👧‍👦"
    assert filename_for(family * 20, extension=".md") == family * (236 // len(family.encode())) + ".md"
    flags = filename_for("x" + "🇨🇭" * 60, extension=".md")
    assert flags == "x" + "🇨🇭" * 29 + ".md"
    assert filename_for("a" + "e\u0323\u0302" * 200, extension="").count("\u0323") == 0  # ệ is one code point in NFC
    assert filename_for("x" * 300, extension=".md") == "x" * 236 + ".md"
    assert len(filename_for("a" + "\u0316" * 400, extension=".md").encode()) <= FILENAME_BYTES


@steady
@given(st.text(max_size=300) | st.text('/\\:*?"<>|. \x00conNUL1\u0301\ud800👨\u200d', max_size=300))
def test_filename_for_is_always_portable(title: str) -> None:
    for extension in (".md", ""):
        name = filename_for(title, extension=extension)
        assert check_filename(name) == name
        assert not set(name) & set('/\\:*?"<>|')
        assert not name.startswith((".", " "))
        assert not name.endswith((".", " "))
        assert name.endswith(extension)
        assert unicodedata.is_normalized("NFC", name)
        assert name.split(".")[0].strip().upper() not in {"CON", "NUL", "PRN", "AUX", "COM1", "LPT1"}
        assert filename_for(name, extension="") == name


@pytest.mark.parametrize("name", ["a.md", ".github.md", "a: b?.md", "...", " a ", "CON", "x" * 240, "ü" * 120])
def test_filenames_of_real_files_are_taken(name: str) -> None:
    assert check_filename(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\0", "a\nb", "a\x9f", "\ud800", "x" * 241, "ü" * 121])
def test_filenames_that_are_refused(name: str) -> None:
    with pytest.raises(Invalid):
        check_filename(name)


def test_numbered() -> None:
    assert numbered("Name.md", 2) == "Name (2).md"
    assert numbered("Name", 3) == "Name (3)"
    assert numbered(".github.md", 2) == ".github (2).md"
    assert numbered(".gitignore", 2) == ".gitignore (2)"
    assert numbered("v1.2 notes", 2) == "v1.2 notes (2)"
    assert numbered("Version 1.2", 2) == "Version 1.2 (2)"
    assert numbered("a.mp4", 2) == "a (2).mp4"
    assert numbered("x" * 237 + ".md", 10) == "x" * 232 + " (10).md"


@steady
@given(st.text(min_size=1, max_size=300), st.integers(2, 10_000))
def test_numbered_names_are_names_and_differ(title: str, n: int) -> None:
    name = filename_for(title, extension=".md")
    other = numbered(name, n)
    assert check_filename(other) == other
    assert len({fold(name), fold(other), fold(numbered(name, n + 1))}) == 3


def test_sha256_hex() -> None:
    assert sha256_hex(b"abc") == hashlib.sha256(b"abc").hexdigest()
