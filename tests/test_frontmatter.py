"""Front matter: where it ends, what it says, and that no YAML can hurt."""

from __future__ import annotations

import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mdserver import frontmatter
from mdserver.frontmatter import FrontMatter, read, retitled
from mdserver.text import fold

steady = settings(derandomize=True, deadline=None, max_examples=120)


def test_title_tags_and_the_place_of_the_body() -> None:
    text = "---\ntitle: My plan\ntags: [home, garden]\n---\n# Body"
    found = read(text)
    assert found == FrontMatter(title="My plan", tags=["home", "garden"], body_start=44)
    assert text[found.body_start :] == "# Body"


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff---\ntitle: x\n---\nBODY",
        "---\r\ntitle: x\r\n---\r\nBODY",
        "--- \t\ntitle: x\n--- \nBODY",
        "---\ntitle: x\n...\nBODY",
        "\ufeff---\r\n# a comment\r\n\r\ntitle: x\r\n...\r\nBODY",
    ],
)
def test_fences(text: str) -> None:
    found = read(text)
    assert found.title == "x"
    assert text[found.body_start :] == "BODY"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "---",
        "----\ntitle: x\n----\n",
        "---\ntitle: x\n",
        "---\ntitle: x\n ---\n",
        "---\ntitle: x\n----\n",
        "--- title: x\n---\n",
        "\n---\ntitle: x\n---\n",
        " ---\ntitle: x\n---\n",
        "***\ntitle: x\n***\n",
        "\ufeff# Title",
        "---\n\nWords between two rules.\n\n---\n",
        "---\n- a list\n---\n",
        "---\n'quoted'\n---\n",
    ],
)
def test_what_is_no_front_matter(text: str) -> None:
    assert read(text) == FrontMatter()


@pytest.mark.parametrize("block", ["", "# only a comment\n", "null\n", "{}\n"])
def test_empty_front_matter_is_front_matter(block: str) -> None:
    text = f"---\n{block}---\n"
    assert read(text) == FrontMatter(body_start=len(text))
    assert read(text[:-1]).body_start == len(text) - 1  # the file ends with the fence


@pytest.mark.parametrize(
    ("block", "tags"),
    [
        ("tags: [a, b]", ["a", "b"]),
        ("tags:\n  - a\n  - b c", ["a", "b c"]),
        ("tags:\n- a\n- b", ["a", "b"]),
        ("tags: a, b c ,d", ["a", "b c", "d"]),
        ("tags: a b\tc", ["a", "b", "c"]),
        ("tag: a", ["a"]),
        ("keywords: a, b", ["a", "b"]),
        ("Tags: a", ["a"]),
        ("tags: [b]\ntag: a\nkeywords: [B, c]", ["b", "a", "c"]),
        ("tags: ['#a', '##b', ' c ', '', '#']", ["a", "b", "c"]),
        ("tags: [Ünit, u\u0308nit, ÜNIT]", ["Ünit"]),
        ("tags: [1, 2.5, true, null, ~, 0x1f, .inf, a]", ["a"]),
        ("tags: ['1', \"true\", no, on, 2024-01-31, v1]", ["1", "true", "no", "on", "2024-01-31", "v1"]),
        ("tags: [a, [b], {c: d}, e]", ["a", "e"]),
        ("tags: {a: b}", []),
        ("tags:", []),
        ("tags: 7", []),
        ("tags: &x [a]\nkeywords: *x", ["a"]),
        ("other: {tags: [a]}", []),
        ("tags: ['" + "x" * 100 + "', '" + "y" * 101 + "']", ["x" * 100]),
        ('tags: ["a\\nb", "c\\0d"]', ["a b", "c d"]),
    ],
)
def test_tags(block: str, tags: list[str]) -> None:
    assert read(f"---\n{block}\n---\n").tags == tags


def test_at_most_a_hundred_tags() -> None:
    assert read("---\ntags: [" + ", ".join(f"t{n}" for n in range(150)) + "]\n---\n").tags == [
        f"t{n}" for n in range(100)
    ]


@pytest.mark.parametrize(
    ("block", "title"),
    [
        ("title: Plain words", "Plain words"),
        ("title: 'It''s'", "It's"),
        ('title: "a: b"', "a: b"),
        ("title: >\n  folded\n  lines\n", "folded lines"),
        ('title: "a\\0b\\u2028c\\ttab"', "a b c tab"),
        ("title: 2024", "2024"),
        ("title: 2024-01-31", "2024-01-31"),
        ("title: yes", "yes"),
        ("title: ~", None),
        ("title:", None),
        ("title: ''", None),
        ("title: '  '", None),
        ("title: [a]", None),
        ("title: {a: b}", None),
        ("title: *gone", None),
        ("TITLE: x", "x"),
        ("sub:\n  title: x", None),
        ("? [a]\n: b\ntitle: x", None),
    ],
)
def test_title(block: str, title: str | None) -> None:
    assert read(f"---\n{block}\n---\n").title == title


@pytest.mark.parametrize(
    "block", ["title: [a", "a: b: c", "\ttitle: x", "title: 'x", "a\n b: [}", "title: x\n\x07", "@x"]
)
def test_bad_yaml_says_nothing_but_ends_where_it_ends(block: str) -> None:
    text = f"---\n{block}\n---\n"
    assert read(text + "body") == FrontMatter(body_start=len(text))


def test_the_block_is_bounded() -> None:
    line = "k: " + "x" * 60 + "\n"
    fits = "---\n" + "title: x\n" + line * 1023 + "---\n"
    assert read(fits).title == "x"
    over = "---\n" + "title: x\n" + line * 1024 + "---\n"
    assert read(over) == FrontMatter()
    # The closing fence must be a whole line also where the window of the search ends.
    for extra in range(8):
        edge = "---\n" + "x: y\n" + "#" * (frontmatter.MAXIMUM - 6 - extra) + "\n---" + "-" * 100
        assert read(edge) == FrontMatter()


HOSTILE = {
    "bomb": "a: &a [x, x]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(20)),
    "brackets": "a: " + "[" * 60_000,
    "braces": "{" * 60_000,
    "dashes": "- " * 30_000,
    "questions": "? " * 30_000,
    "anchors": "&a " * 20_000,
    "commas": "tags: [" + "a," * 30_000 + "]",
    "keys": "a: b\n" * 13_000,
    "merges": "<<: *x\n" * 8_000,
    "object": "title: !!python/object/apply:os.system ['true']",
    "surrogate": 'title: "\ud800"',
    "blank": "\n" * 65_000,
}


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_yaml_is_harmless(name: str, loader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontmatter, "_loader", lambda: getattr(yaml, loader))
    text = f"---\n{HOSTILE[name]}\n---\n"
    started = time.perf_counter()
    found = read(text + "body")
    assert time.perf_counter() - started < 5  # the slowest takes half a second in pure Python, a bomb would take years
    assert found.title is None
    assert found.body_start == len(text)
    assert len(found.tags) <= 100


@steady
@given(st.text(st.sampled_from("abT:-[]{}&*!|>'\"#%@,. \n\r\t\ufeff\ud800titleags"), max_size=80))
def test_read_never_raises_and_stays_in_bounds(block: str) -> None:
    for text in (block, f"---\n{block}", f"---\n{block}\n---\nbody"):
        found = read(text)
        assert 0 <= found.body_start <= len(text)
        assert found.title is None or found.title.strip()
        assert len({fold(tag) for tag in found.tags}) == len(found.tags)


@steady
@given(st.text(st.characters(codec="utf-8"), max_size=40), st.lists(st.text(st.characters(codec="utf-8"), max_size=20)))
def test_what_a_yaml_writer_writes_is_read(title: str, tags: list[str]) -> None:
    block = yaml.safe_dump({"title": title, "tags": tags}, allow_unicode=True)
    text = f"---\n{block}---\nbody"
    found = read(text)
    printable = title.isprintable()
    if printable and "\ufeff" not in title:
        assert text[found.body_start :] == "body"
        assert found.title == (" ".join(title.split()) or None)


@pytest.mark.parametrize(
    ("line", "title", "expected"),
    [
        ("title: Old", "New", "title: New"),
        ("Title :  Old  ", "New one", "Title :  New one  "),
        ("title: Old", "a: b", 'title: "a: b"'),
        ("title: Old", "2026", 'title: "2026"'),
        ("title: Old", "no", 'title: "no"'),
        ("title: Old", "- x #y", 'title: "- x #y"'),
        ("title: Old", '"q" \\', 'title: "\\"q\\" \\\\"'),
        ('title: "Old \\" \\\\"', "it's", 'title: "it\'s"'),
        ("title: 'it''s'", 'it\'s "new"', "title: 'it''s \"new\"'"),
        ("title: 2026", "日本", "title: 日本"),
    ],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_another_title_changes_its_value_alone(line: str, title: str, expected: str, ending: str) -> None:
    text = ending.join(["---", "tags: [a]", line, "x:", "  title: y", "---", "title: body", ""])
    assert retitled(text, title) == text.replace(line, expected)
    assert yaml.safe_load(expected.lower())["title"] == title.lower()


@pytest.mark.parametrize(
    "block",
    [
        "title: Old # c",
        "title: Old\n  more",
        "title: Old\n\n  more",
        "title: |\n  Old",
        "title: &x Old\nb: *x",
        "title: a\ntitle: b",
        "title: !!str Old",
        "title:\n  Old",
        'title: "Old\n  more"',
        'title: "\\x41"',
        "{title: x}",
        "title:",
        "tags: [a]",
        '"title": Old',
        "title: Old\nbad: [",
        'text: "\ntitle: a\n"',
    ],
)
def test_what_is_more_than_one_scalar_on_a_line_is_left_alone(block: str) -> None:
    assert retitled(f"---\n{block}\n---\nbody", "New") is None
    assert retitled(f"{block}\n", "New") is None


@steady
@given(
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40), st.sampled_from(["", "'", '"'])
)
def test_any_title_can_be_written(title: str, quote: str) -> None:
    title = " ".join(title.split())
    made = retitled(f"---\ntitle: {quote}Old{quote}\ntags: [a]\n---\nbody", title)
    if made is not None:
        assert read(made).title == title
        assert made.endswith("\ntags: [a]\n---\nbody")
    else:  # what YAML does not take as it is
        assert not title or not title.isprintable()
