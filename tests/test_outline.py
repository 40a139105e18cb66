"""Headings, ids and titles; the scanner and the parser must see the same."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdserver import outline as module
from mdserver.outline import PARSED, TITLE, Heading, derive_title, first_heading, outline

steady = settings(derandomize=True, deadline=None, max_examples=150)


def parsed(text: str) -> str | None:
    """What the first heading is to the parser."""
    return next((heading.text for heading in outline(text) if heading.text), None)


def test_outline() -> None:
    text = "# One\n\nText\n\nTwo\n---\n\n### Three *em* `code` [link](x) ![alt](y) &amp; <b>raw</b> \\* ###\n"
    assert outline(text) == [
        Heading(level=1, text="One", line=1, id="one"),
        Heading(level=2, text="Two", line=5, id="two"),
        Heading(level=3, text="Three em code link alt & raw *", line=8, id="three-em-code-link-alt--raw-"),
    ]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_count_front_matter(newline: str) -> None:
    text = newline.join(["\ufeff---", "title: x", "---", "", "# A", "b", "===", "c"])
    if newline == "\r":
        text = text.removeprefix("\ufeff---\rtitle: x\r---\r")  # the front of a file has LF or CRLF
        assert [heading.line for heading in outline(text)] == [2, 3]
    else:
        assert [heading.line for heading in outline(text)] == [5, 6]


def test_headings_in_quotes_lists_and_footnotes_count() -> None:
    text = "> # Quote\n\n- # List\n\nx[^1]\n\n[^1]: note\n\n    # Footnote\n"
    assert [heading.text for heading in outline(text)] == ["Quote", "List", "Footnote"]


def test_what_is_no_heading() -> None:
    text = "#tag\n\n    # indented\n\n```\n# fenced\n```\n\n<!--\n# comment\n-->\n\n####### seven\n\n\\# escaped\n"
    assert outline(text) == []
    assert first_heading(text) is None


@pytest.mark.parametrize(
    ("heading", "slug"),
    [
        ("Hello, World!", "hello-world"),
        ("C++ & C#", "c--c"),
        ("snake_case and-dash", "snake_case-and-dash"),
        ("Über Äpfel", "über-äpfel"),
        ("日本語 の 見出し", "日本語-の-見出し"),
        ("हिन्दी शीर्षक", "हिन्दी-शीर्षक"),
        ("1. First", "1-first"),
        ("🎉", "section"),
        ("🎉 Party", "-party"),
    ],
)
def test_slugs(heading: str, slug: str) -> None:
    assert outline(f"# {heading}")[0].id == slug


def test_slugs_are_unique() -> None:
    text = "# a\n# a\n# a-1\n# A\n# a-1\n"
    assert [heading.id for heading in outline(text)] == ["a", "a-1", "a-1-1", "a-2", "a-1-2"]


def test_an_outline_of_many_equal_headings_is_linear() -> None:
    started = time.perf_counter()
    assert len({heading.id for heading in outline("# a\n" * 20_000)}) == 20_000
    assert time.perf_counter() - started < 20  # about a second


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# Title", "Title"),
        ("\ufeff# Title\r\ntext", "Title"),
        ("text\n\n## Later ##\n", "Later"),
        ("   # Three spaces", "Three spaces"),
        ("#\tTab", "Tab"),
        ("#\n# Second", "Second"),
        ("# <!-- nothing -->\n# Second", "Second"),
        ("Title\n=====", "Title"),
        ("Two\nlines\n---\n", "Two lines"),
        ("---\ntitle: no\n---\n# Yes", "Yes"),
        ("# **Bold** and [link](x) `code`", "Bold and link code"),
        ("# snake_case", "snake_case"),
        ("# A &amp; B", "A & B"),
        ("# foo#", "foo#"),
        ("# foo #bar", "foo #bar"),
        ("```\n# no\n```\n# yes", "yes"),
        ("~~~~\n# no\n~~~\n# no\n~~~~\n# yes", "yes"),
        ("``` a`b\n# yes", "yes"),
        ("- ```\n  # no\n  ```\n\n# yes", "yes"),
        ("- ```\n  # no\n\n# yes", "yes"),
        ("> ```\n> # no\n> ```\n# yes", "yes"),
        ("> ```\n> # no\n\n# yes", "yes"),
        ("1. a\n\n   ```sh\n   # no\n   ```\n# yes", "yes"),
        ("<!-- # no\n# no -->\n# yes", "yes"),
        ("<!-- one line -->\n# yes", "yes"),
        ("<div>\n# no\n\n# yes", "yes"),
        ("<pre>\n\n# no\n</pre>\n# yes", "yes"),
        ("<custom-tag>\n# no\n\n# yes", "yes"),
        ("<https://example.org>\n# yes", "yes"),
        ("* * *\n# yes", "yes"),
        ("- item\n---\n# yes", "yes"),
        ("> quote\nlazy\n---\n# yes", "yes"),
        ("- item\n\n  more\n---\n# yes", "yes"),
        ("| a | b |\n|---|---|\n| c | d |\n---\n# yes", "yes"),
        ("a | b\n--- | ---\nc | d\n---\n# yes", "yes"),
        ("[a]: /url\n---\n# yes", "yes"),
        ("text\n    # no\n# yes", "yes"),
        ("\t# no\n# yes", "yes"),
        ("a\n2. b\n===", "a 2. b"),
        ("text\n- \n# no", "text"),
        ("text\n*\n===", "text *"),
        ("10. a\n\n        # no\n\n    # yes", "yes"),
        ("", None),
        ("just text", None),
        ("===", None),
        ("---", None),
        ("#", None),
    ],
)
def test_first_heading(text: str, title: str | None) -> None:
    assert first_heading(text) == title
    assert parsed(text) == title


words = st.sampled_from(
    ["alpha", "Béta", "gamma delta", "snake_case", "a *b* c", "`code` x", "C# too", "1 < 2", "[l](u)"]
)
block = st.one_of(
    words,
    st.builds("{} {}".format, st.sampled_from(["#", "##", "###### "]), words),
    st.builds("{}\n{}".format, words, st.sampled_from(["===", "---", "-", "=  "])),
    st.builds("{}\n{}\n---".format, words, words),
    st.builds("- {}\n- {}\n  {}".format, words, words, words),
    st.builds("1. {}\n\n   {}".format, words, words),
    st.builds("> {}\n> {}".format, words, words),
    st.builds("```\n# {}\n{}\n```".format, words, words),
    st.builds("~~~ sh\n# {}\n\n---\n~~~".format, words),
    st.builds("- x\n\n  ```\n  # {}\n  ```".format, words),
    st.builds("<!-- {}\n# {} -->".format, words, words),
    st.builds("<div>\n# {}\n</div>".format, words),
    st.builds("    # {}".format, words),
    st.builds("| {} | b |\n|---|---|\n| c | d |".format, words),
    st.sampled_from(
        ["---", "***", "- - -", "[id]: /target", "[^1]: note", "#tag", "", "<br>", "![i](u)", "- [ ] todo"]
    ),
)
documents = st.builds(
    lambda blocks, between: between.join(blocks),
    st.lists(block, max_size=8),
    st.sampled_from(["\n\n", "\n\n\n", "\r\n\r\n"]),
)


@steady
@given(documents)
def test_the_scanner_agrees_with_the_parser(text: str) -> None:
    assert first_heading(text) == parsed(text)


@steady
@given(documents)
def test_the_scanner_finds_all_headings_of_usual_documents(text: str) -> None:
    _, body = module.split(text)
    scanned = [(level, line) for level, _, line in module._scan(body)]
    first = text[: len(text) - len(body)].count("\n") + 1
    assert [(level, line + first) for level, line in scanned] == [(h.level, h.line) for h in outline(text)]


@steady
@given(st.text(st.sampled_from("#=-*_ \t\n\r>`~<!-a1.)[]|:\ufeff"), max_size=60))
def test_nothing_raises_and_ids_are_unique(text: str) -> None:
    headings = outline(text)
    assert len({heading.id for heading in headings}) == len(headings)
    assert all(1 <= heading.level <= 6 and heading.id and "\n" not in heading.text for heading in headings)
    assert [heading.line for heading in headings] == sorted(heading.line for heading in headings)
    first_heading(text)
    assert 1 <= len(derive_title(text, "x.md")) <= TITLE


HOSTILE = {
    "brackets": "# " + "[" * 30_000,
    "quotes": ">" * 30_000 + " # a",
    "lists": "- " * 15_000 + "# a",
    "lazy": ">" * 50 + "a\n" + "a\n" * 15_000,
    "hashes": "#" * 30_000,
    "spaces": "# a" + " " * 30_000 + "b #",
    "closers": "# a" + " #" * 15_000,
    "underline": "a\n" * 15_000 + "=" * 1000,
    "fences": "```\n~~~\n" * 20_000,
    "html": "<!-- a\n" * 20_000,
    "tags": "<a\n" * 30_000,
    "tables": "|a\n|-\n" * 20_000,
    "definitions": "[a\n" * 30_000,
    "stars": "*a_ " * 8_000,
    "large": "text\n" * 215_000 + "# End\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_takes_bounded_time(name: str) -> None:
    started = time.perf_counter()
    outline(HOSTILE[name])
    first_heading(HOSTILE[name])
    derive_title(HOSTILE[name], "x.md")
    assert time.perf_counter() - started < 10  # the slowest takes about a second


def test_a_text_that_is_too_long_to_parse_is_scanned() -> None:
    text = "# *One*\r\n\r\n" + "words\r\n" * (PARSED // 7) + "\r\nTwo\r\n---\r\n"
    assert [(h.level, h.text, h.id) for h in outline(text)] == [(1, "*One*", "one"), (2, "Two", "two")]
    assert outline(text)[1].line == PARSED // 7 + 4


@pytest.mark.parametrize(
    ("text", "filename", "title"),
    [
        ("---\ntitle: Front\n---\n# Head", "file.md", "Front"),
        ("# Head", "file.md", "Head"),
        ("text", "file.md", "file"),
        ("text", "File.Markdown", "File"),
        ("text", "v1.2", "v1.2"),
        ("text", ".md", "Untitled"),
        ("text", "", "Untitled"),
        ("# " + "x" * 300, "file.md", "x" * 255),
        ("---\ntitle: " + "x" * 300 + "\n---\n", "file.md", "x" * 255),
        ("text", "a\nb\x00c.md", "a b c"),
        ("# a\x00\x07b\ud800", "file.md", "a b"),
    ],
)
def test_derive_title(text: str, filename: str, title: str) -> None:
    assert derive_title(text, filename) == title
