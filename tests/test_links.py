"""Links between documents: what counts as one, what it means, and that no text makes the scan slow."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdserver.links import LINKS, key_of, links, resolves

steady = settings(derandomize=True, deadline=None, max_examples=150)
ID = "01890a5d-ac96-774b-bcce-b302099a8057"
OTHER = "01890a5d-ac96-774b-8cce-b302099a8058"


def found(text: str) -> list[tuple[str, str]]:
    return [(link.kind, link.target) for link in links(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[Title]]", [("wiki", "Title")]),
        ("[[path/to/Note|alias]]", [("wiki", "path/to/Note")]),
        ("[[Note#heading]] [[Note#^block|x]]", [("wiki", "Note")]),
        ("![[picture.png]]", [("wiki", "picture.png")]),
        ("| [[Note\\|alias]] |", [("wiki", "Note")]),
        ("[[ Spaces ]]", [("wiki", "Spaces")]),
        ("[[Note: with colon]]", [("wiki", "Note: with colon")]),
        ("[[[Inner]]]", [("wiki", "Inner")]),
        ("[[Open [[Closed]]", [("wiki", "Closed")]),
        ("[[#here]] [[]] [[ ]] [[a\nb]] [[https://x.org]] \\[[no]]", []),
        ("[x](relative/path.md)", [("path", "relative/path.md")]),
        ("[x](path.md#frag) [y](path.md?q=1)", [("path", "path.md")]),
        ("[x](a.md \"title\") [x](b.md 't') [x](c.md (t))", [("path", "a.md"), ("path", "b.md"), ("path", "c.md")]),
        ("[x](<path with spaces.md>)", [("path", "path with spaces.md")]),
        ("[x](path%20with%20spaces.md)", [("path", "path with spaces.md")]),
        ("[x](caf%C3%A9.md) [x](a%00b.md) [x](a%0Ab.md)", [("path", "café.md")]),
        ("[x](a_(b).md)", [("path", "a_(b).md")]),
        ("[x](a\\(b.md)", [("path", "a(b.md")]),
        ("[x](a&amp;b.md)", [("path", "a&b.md")]),
        ("[x]( ../up.md )", [("path", "../up.md")]),
        ("[x](/from/root.md)", [("path", "/from/root.md")]),
        ("[x](\nnext.md)", [("path", "next.md")]),
        ("![alt](pic.png)", [("path", "pic.png")]),
        ("[![alt](pic.png)](page.md)", [("path", "pic.png"), ("path", "page.md")]),
        ("[`code`](a.md)", [("path", "a.md")]),
        ("[x](folder/)", [("path", "folder/")]),
        ("[x](#only) [x]() [x](<>) [x](.) [x](..) [x](?q)", []),
        ("[x](https://example.org/a.md) [x](mailto:a@b.c) [x](//host/a.md) [x](c:/a.md)", []),
        ("[x](javascript:alert) [x](data:text/plain,x)", []),
        ("[x](two words.md) [x] (a.md)", []),
        ("no](a.md)", []),
        ("\\[x\\](a.md)", []),
        ("[id]: target.md", [("path", "target.md")]),
        ("> [id]: <a b.md> 'title'", [("path", "a b.md")]),
        ("[id]:\n   next.md", [("path", "next.md")]),
        ("[^1]: note.md\n\ntext [id]: inside.md", []),
        (f"[x](/documents/{ID})", [("id", ID)]),
        (f"[x](mdserver:{ID})", [("id", ID)]),
        (f"[x](https://host.example/documents/{ID.upper()}?a#b)", [("id", ID)]),
        (f"[x](/w/{ID}/documents/{OTHER})", [("id", ID), ("id", OTHER)]),
        (f"[x]({ID}.md)", [("id", ID), ("path", f"{ID}.md")]),
        (f"[[{ID}|name]]", [("id", ID)]),
        (f"[d]: mdserver:{ID}", [("id", ID)]),
        (f"<mdserver:{ID}> https://host.example/documents/{OTHER}", [("id", ID), ("id", OTHER)]),
        (f"Just {ID} in text, and 11890a5d-ac96-474b-bcce-b302099a8057.", []),
        (f"[x](0{ID})", [("path", f"0{ID}")]),
        ("", []),
        ("no links at all, a[0] and f(x)", []),
    ],
)
def test_links(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected
    assert found(text.replace("\n", "\r\n")) == expected


@pytest.mark.parametrize(
    "text",
    [
        "`[[no]]`",
        "``a ` [[no]]``",
        "`[x](no.md)`",
        "```\n[[no]]\n```",
        "~~~ sh\n[[no]]\n```\n[[no]]\n~~~",
        "````\n```\n[[no]]\n````",
        "- ```\n  [[no]]\n  ```",
        "1. > ```\n   > [[no]]\n   > ```",
        "```\n[[no]] to the end",
        "> ```\n> [[no]]",
    ],
)
def test_links_in_code_are_none(text: str) -> None:
    assert found(text) == []
    assert found(f"[[before]]\n\n{text}\n\n\n" + ("" if "to the end" in text else "[[after]]")) == [
        ("wiki", name) for name in (["before"] if "to the end" in text else ["before", "after"])
    ]


@pytest.mark.parametrize(
    "text",
    [
        "stray ` tick [[yes]]",
        "stray ` tick\n\n[[yes]] and ` again",
        "- stray `\n- [[yes]] `",
        "stray `\n```\ncode ` here\n```\n[[yes]]",
        "``` not a `fence`\n[[yes]]",
        "`` a ` [[yes]]",
        "\\` [[yes]] `",
        "text ``` in the line\n[[yes]]",
        "~~struck~~ [[yes]]",
    ],
)
def test_what_is_no_code(text: str) -> None:
    assert found(text) == [("wiki", "yes")]


def test_keys() -> None:
    assert [link.key for link in links("[[A/B/Straße]] [x](../Cafe\u0301.MD) [x](a/b.markdown) [x](pic.PNG)")] == [
        "strasse",
        "café",
        "b",
        "pic.png",
    ]
    assert key_of("Notes/Plan.md") == key_of("plan") == "plan"
    assert key_of("v1.2") == "v1.2"


def test_each_once_and_at_most_a_thousand() -> None:
    assert len(links("[[a]] [[a]] [[a|b]] [[a#c]]")) == 1
    many = links(" ".join(f"[[n{n}]]" for n in range(1_500)))
    assert [link.target for link in many] == [f"n{n}" for n in range(LINKS)]
    assert links(f"[[{'x' * 1_001}]] [x]({'y' * 1_001}) [x](<{'z' * 1_001}>)") == []


def means(text: str, *, path: str = "Notes/2024/Plan.md", title: str = "The plan", folder: str = "Notes") -> bool:
    (link,) = links(text)
    return resolves(link, source_folder=folder, path=path, title=title, id=ID)


@pytest.mark.parametrize(
    "text",
    [
        "[[The plan]]",
        "[[the PLAN]]",
        "[[Plan]]",
        "[[plan.md]]",
        "[[2024/Plan]]",
        "[[notes/2024/plan.md|alias]]",
        "[[/Notes/2024/Plan]]",
        "[[./2024/Plan]]",
        "[[../Notes/2024/Plan]]",
        "[x](2024/Plan.md)",
        "[x](2024/plan)",
        "[x](./2024/../2024/./Plan.md)",
        "[x](../Notes/2024/Plan.md#there)",
        "[x](/Notes/2024/Plan.md)",
        "[x](2024//Plan.md)",
        f"[x](mdserver:{ID})",
        f"[x](/documents/{ID.upper()})",
    ],
)
def test_links_that_mean_it(text: str) -> None:
    assert means(text)


@pytest.mark.parametrize(
    "text",
    [
        "[[Plans]]",
        "[[an]]",
        "[[2023/Plan]]",
        "[[24/Plan]]",
        "[[x/Notes/2024/Plan]]",
        "[[/Plan]]",
        "[[/2024/Plan]]",
        "[x](Plan.md)",
        "[x](Notes/2024/Plan.md)",
        "[x](../../Notes/2024/Plan.md)",
        "[x](/../Notes/2024/Plan.md)",
        "[x](2024/Plan.txt)",
        "[x](2024/Plan.md.md)",
        "[x](2024)",
        "[x](The%20plan)",
        f"[x](mdserver:{OTHER})",
    ],
)
def test_links_that_mean_something_else(text: str) -> None:
    assert not means(text)


def test_resolving_in_other_places() -> None:
    assert means("[x](Plan.md)", path="Plan.md", folder="")
    assert not means("[x](../Plan.md)", path="Plan.md", folder="")
    assert means("[x](../Plan.md)", path="Plan.md", folder="Deep")
    # Children of a document stand in its folder, which is written with or without the document's extension.
    assert means("[x](Parent/Plan.md)", path="Parent.md/Plan.md", folder="")
    assert means("[x](Plan.md)", path="Parent.md/Plan.md", folder="Parent")
    assert means("[[Parent/Plan]]", path="Parent.md/Plan.md")
    assert means("[x](Cafe%CC%81.md)", path="Café.md", folder="")
    assert means("[x](Folder)", path="Folder", folder="")
    assert not means("[x](Folder.md)", path="Folder", folder="")
    assert means("[[AC/DC]]", title="AC/DC")


@steady
@given(st.text(st.sampled_from("[]()<>`~!|#:/\\\n \t'\"ab.%-7^>&\r\ud800"), max_size=100))
def test_links_never_raise_and_keep_their_form(text: str) -> None:
    for link in links(text):
        assert 0 < len(link.target) <= 1_000
        assert link.key
        assert link.target == link.target.strip() or link.kind == "path"
        assert link.kind == "id" or link.key == key_of(link.target)
        resolves(link, source_folder="a/b", path="a/b/c.md", title="t", id=ID)


names = (
    st.text(st.sampled_from("abÄé ß日-_."), min_size=1, max_size=8).map(str.strip).filter(lambda name: name.strip("."))
)


@steady
@given(st.lists(names, min_size=1, max_size=4), st.lists(names, max_size=3))
def test_a_path_written_from_anywhere_is_found_again(parts: list[str], folders: list[str]) -> None:
    from urllib.parse import quote

    path = "/".join(parts) + ".md"
    relative = "../" * len(folders) + path
    for text in (f"[x]({quote(relative)})", f"[x](<{relative}>)", f"[x](/{quote(path)})", f"[[{path}]]"):
        (link,) = links(text)
        assert link.key == key_of(path)
        assert resolves(link, source_folder="/".join(folders), path=path, title="?", id=ID)


HOSTILE = {
    "wiki": "[[",
    "wiki text": "[[aaaa ",
    "inline": "](",
    "nested": "[a](",
    "angle": "[a](<",
    "parentheses": "[a](b(",
    "escapes": "[a](\\",
    "title": '[a](b "',
    "spaces": "[a](" + " " * 8,
    "definitions": "[a]:",
    "definition lines": "[a]:\n",
    "labels": "]:",
    "ticks": "`",
    "apart": "` ",
    "fences": "```\n~~~\n",
    "fences inline": "a ``` ",
    "containers": "- ",
    "quotes": "> ",
    "tildes": "~~~ ",
    "ids": "-7",
    "id words": "aaaaaaaa-aaaa-7",
    "urls": f"x:{ID}",
    "percent": "[a](%ff)",
    "backslashes": "\\",
    "lines": "\n",
    "blank": "\n ",
    "bars": "[[a|",
}


@pytest.mark.parametrize("name", [*HOSTILE, "growing"])
def test_hostile_text_is_scanned_in_linear_time(name: str) -> None:
    if name == "growing":  # runs of backticks none of which has a partner
        text = "".join("`" * n + " " for n in range(1, 900))
    else:
        text = HOSTILE[name] * (150_000 // len(HOSTILE[name]))
    started = time.perf_counter()
    links(text)
    links("[[" + text + " [a](")
    assert time.perf_counter() - started < 5  # the slowest takes about half a second


_PIECES = st.sampled_from(
    [
        *("[", "]", "(", ")", "[[", "]]", "](", "]:", "`", "``", "~~~", "\\", "<", ">", "#", "| ", "\n", "\r", " "),
        *("a.md", "b", "https://", "HTTPS://x.org/", "mailto:", f"https://x.org/{ID}", ID, "[^1]: ", "\n[x]: "),
        *("[x](https://x.org/a.md)", "[x](", ")", "//", "?", "c:", "\t", "&amp;", "&#45;", "&#58;", "%20"),
        *("https://x.org/", ID[:13], ID[14:]),  # with "&#45;" between them: an id in a target without "-7" in the text
    ]
)


@settings(steady, max_examples=1500)
@given(st.lists(_PIECES, max_size=40).map("".join))
def test_a_quick_look_misses_nothing(text: str) -> None:
    quick = links(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mdserver.links._MAYBE", re.compile(""))
        assert links(text) == quick
