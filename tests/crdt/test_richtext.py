"""Rich text: Markdown in and out, edits that touch only what changed, and what TipTap itself writes."""

from __future__ import annotations

import base64
import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from pycrdt import Doc, XmlElement, XmlFragment, XmlText

from mdserver import outline
from mdserver.crdt import guard, lib0, richtext
from mdserver.crdt import text as ytext
from mdserver.crdt.rich import build, texts
from mdserver.html import _finish

RECORDED: dict[str, list[bytes]] = {
    name: [base64.b64decode(update) for update in updates]
    for name, updates in json.loads(Path(__file__).with_name("richtext.json").read_text())["updates"].items()
}
"""Updates that TipTap and y-tiptap have written; their versions stand in the file."""

fixed = settings(deadline=None, derandomize=True, max_examples=300)

WORDS = [
    "word",
    "b*c",
    "snake_case",
    "_x_",
    "1.",
    "- ",
    "# ",
    "é",
    "漢字",
    "😀",
    "[a]",
    "(b)",
    "<b>",
    "&amp;",
    "`",
    "\\",
    "!",
    "|",
]
WORDS += [
    "~~",
    "**",
    "***",
    "a]",
    "\\*",
    "http://x.y",
    "> ",
    "+",
    "=",
    "===",
    "---",
    "x  y",
    "]:",
    "\u00a0",
    "~",
]
plain = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)
inlines = st.recursive(
    plain,
    lambda inner: st.one_of(
        inner.map(lambda text: f"*{text}*"),
        inner.map(lambda text: f"**{text}**"),
        inner.map(lambda text: f"~~{text}~~"),
        plain.map(lambda text: f"[{text}](/u)"),
        plain.map(lambda text: f'![{text}](<a b> "t")'),
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("\\\n".join),
        st.tuples(inner, inner).map("\n".join),
        st.sampled_from(
            ["`code`", "`` a`b ``", "<kbd>k</kbd>", "[@Ann](mention:u1)", "<http://a.b/c>", "a<br>b", "[^n]"]
        ),
    ),
    max_leaves=5,
)


def _indented(text: str, first: str, rest: str) -> str:
    return first + text.replace("\n", "\n" + rest)


blocks = st.recursive(
    st.one_of(
        inlines,
        inlines.map(lambda text: "## " + text.replace("\n", " ")),
        st.sampled_from(["---", "***", "```js\nlet a\n\n~~~\n```", "    indented", "<div>\nx\n</div>", "<!-- c -->"]),
        st.sampled_from(
            ["[r]: /used", "see [r]", "[^n]: a note", "| a | b |\n|--|:-:|\n| 1 | `x` |", "a | b\n-|-\n1 | 2"]
        ),
    ),
    lambda inner: st.one_of(
        inner.map(lambda text: _indented(text, "> ", "> ")),
        inner.map(lambda text: _indented(text, "- ", "  ")),
        inner.map(lambda text: _indented(text, "7. ", "   ")),
        inner.map(lambda text: _indented(text, "- [x] ", "  ")),
        st.lists(inner, min_size=2, max_size=3).map(lambda all: "\n".join(_indented(one, "- ", "  ") for one in all)),
        st.lists(inner, min_size=2, max_size=3).map("\n\n".join),
    ),
    max_leaves=6,
)
documents = st.lists(blocks, max_size=4).map("\n\n".join)


@seed(1)
@fixed
@given(markdown=documents)
def test_markdown_has_a_normal_form_that_means_the_same(markdown: str) -> None:
    update = richtext.first_update(markdown)
    guard.read_update(update)
    normal = richtext.text_of(ytext.load(update, []))
    assert normal == richtext.normal(markdown)
    assert richtext.normal(normal) == normal
    assert _meaning(normal) == _meaning(markdown)
    doc: ytext.Scratch = Doc(client_id=5)
    richtext.edit(doc, markdown)
    assert _tree(doc.get("default", type=XmlFragment)) == _tree(
        ytext.load(update, []).get("default", type=XmlFragment)
    ), "written by hand as pycrdt writes it"


@pytest.mark.parametrize(
    ("markdown", "normal"),
    [
        ("", ""),
        ("a\nb", "a b\n"),
        ("a  \nb\\\nc", "a\\\nb\\\nc\n"),
        ("__a__ _b_ ***c***", "**a** *b* ***c***\n"),
        ("Title\n=====\n\n## x ##", "# Title\n\n## x\n"),
        ("* a\n* b\n\n+ c", "- a\n- b\n\n* c\n"),
        ("- a\n\n- b", "- a\n- b\n"),
        ("- a\n\n  b\n- c", "- a\n\n  b\n\n- c\n"),
        ("3) a\n4) b", "3. a\n4. b\n"),
        ("- [ ] a\n- [X] b\n- c", "- [ ] a\n- [x] b\n- c\n"),
        ("- [ ]\n- [x] a", "- [ ]\n- [x] a\n"),
        ("- \\[ ] a", "- \\[ ] a\n"),
        ("* * *\n\n* * *", "***\n\n---\n"),
        ("    code\n\n~~~ js {1}\nx\n~~~", "```\ncode\n```\n\n```js {1}\nx\n```\n"),
        ("````\n```\n````", "````\n```\n````\n"),
        ("a|b\n:-|-:\n1|2\\|3", "| a | b |\n| :-- | --: |\n| 1 | 2\\|3 |\n"),
        ("[a][r]\n\n[r]: /u 'T'", '[a](/u "T")\n'),
        ("[un]: /u\n\ntext [x]", "[un]: /u\n\ntext \\[x]\n"),
        ("<http://a.b> <me@a.b>", "<http://a.b> <me@a.b>\n"),
        ("[ä](/ä b) [ä](/ä)", "\\[ä](/ä b) [ä](/ä)\n"),
        ('![a](</b c> "d")', '![a](</b c> "d")\n'),
        ("[![a](b)](c)", "[![a](b)](c)\n"),
        ("<small>`a`</small> `b`[![a](b)](c)", "<small>`a`</small> `b`[![a](b)](c)\n"),
        ("[@Ann Lee](mention:u%2F1)", "[@Ann Lee](mention:u%2F1)\n"),
        ("a <kbd>b</kbd> `x`{=html}", "a <kbd>b</kbd> `x`{=html}\n"),
        (
            "<details>\n<summary>s</summary>\n\n*x*\n\n</details>",
            "<details>\n<summary>s</summary>\n\n*x*\n\n</details>\n",
        ),
        ("```{=html}\n<b>\n```", "```{=html}\n<b>\n```\n"),
        ("a[^1]\n\n[^1]: note *x*", "a[^1]\n\n[^1]: note *x*\n"),
        ("a[^1]\n\n[^1]: note\n\n    more", "a[^1]\n\n[^1]: note\n\n    more\n"),
        ("&#x78;**“y”**&#x7A;", "&#x78;**“y”**&#x7A;\n"),
        ("snake_case _a_b 2*3 * 4", "snake_case \\_a_b 2\\*3 * 4\n"),
        ("\\# a\\\n\\- b\\\n1\\. c", "\\# a\\\n\\- b\\\n1\\. c\n"),
        ("a & b &amp;lt; < c &copy;", "a & b \\&lt; < c ©\n"),
        ("---\r\na: [b\r\n---\r\n# x", "---\r\na: [b\r\n---\r\n\n# x\n"),
        ("\ufeff---\ntitle: x\n...\n", "\ufeff---\ntitle: x\n...\n"),
    ],
)
def test_the_normal_form(markdown: str, normal: str) -> None:
    assert richtext.text_of(ytext.load(richtext.first_update(markdown), [])) == normal
    assert richtext.normal(normal) == normal


def test_texts_that_the_parser_gives_up_on_are_kept_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outline, "PARSED", 500)
    for markdown in (">" * 300 + " deep\n", "- " * 26 + "deep\n", "# long\n*text*  \n" * 50):
        doc = ytext.load(richtext.first_update(markdown), [])
        assert richtext.text_of(doc) == markdown
        assert richtext.edit(doc, markdown + "more\n") is not None
        assert richtext.text_of(doc) == markdown + "more\n"
        assert richtext.edit(doc, "other\n") is not None
        assert richtext.text_of(doc) == "other\n"


@pytest.mark.parametrize("markdown", ["> " * 50 + "deep\n", "- " * 25 + "deep\n", "> " * 49 + "- deep\n"])
def test_what_is_nested_deeply_is_within_the_guard_s_bounds(markdown: str) -> None:
    update = richtext.first_update(markdown)
    guard.read_update(update)
    doc = ytext.load(update, [])
    assert richtext.text_of(doc) == richtext.normal(markdown)
    assert richtext.text_of(doc).count(markdown[0]) == markdown.count(markdown[0])
    change = richtext.edit(doc, richtext.text_of(doc).replace("deep", "deeper") + "\nmore\n")
    assert change is not None
    guard.read_update(change)
    assert "deeper" in richtext.text_of(doc)


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogate"):
        richtext.first_update("half \ud83d")
    doc = ytext.load(richtext.first_update("text"), [])
    with pytest.raises(ValueError, match="surrogate"):
        richtext.edit(doc, "half \ud83d")
    assert richtext.text_of(doc) == "text\n"


# ---- edits


@seed(2)
@fixed
@given(versions=st.lists(documents, min_size=2, max_size=4))
def test_the_log_alone_gives_every_version_again(versions: list[str]) -> None:
    log = [richtext.first_update(versions[0])]
    doc = ytext.load(None, log)
    for version in versions[1:]:
        update = richtext.edit(doc, version)
        if update is not None:
            guard.read_update(update)
            log.append(update)
        assert richtext.text_of(doc) == richtext.normal(version)
        assert richtext.text_of(ytext.load(None, log)) == richtext.normal(version)
        assert richtext.edit(doc, version) is None
        assert richtext.edit(doc, richtext.text_of(doc)) is None


@seed(3)
@fixed
@given(base=documents, one=documents, other=documents)
def test_concurrent_edits_converge(base: str, one: str, other: str) -> None:
    first = richtext.first_update(base)
    left, right = ytext.load(first, []), ytext.load(first, [])
    from_left, from_right = richtext.edit(left, one), richtext.edit(right, other)
    for doc, update in ((left, from_right), (right, from_left)):
        if update is not None:
            doc.apply_update(update)
    assert richtext.text_of(left) == richtext.text_of(right)


@pytest.mark.parametrize(
    ("before", "after", "inserted", "deleted"),
    [
        ("one two three", "one 2 three", 1, 3),
        ("# a\n\nb", "## a\n\nb", 1, 1),
        ("a\n\nb\n\nc", "a\n\nb\n\nnew\n\nc", 5, 0),
        ("a\n\nb\n\nc", "a\n\nc", 0, 3),
        ("- a\n- b\n- c", "- a\n- bee\n- c", 2, 0),
        ("- [ ] a\n- [ ] b", "- [ ] a\n- [x] b", 1, 1),
        ("> a\n>\n> b\n\nc", "> a\n>\n> bx\n\nc", 1, 0),
        ("| a | b |\n|--|--|\n| 1 | 2 |", "| a | b |\n|--|--|\n| 1 | 23 |", 1, 0),
        ("a b c", "a **b** c", 2, 0),
        ("1. a\n2. b", "5. a\n6. b", 1, 1),
        ("```js\na\nb\n```", "```ts\na\nb\nc\n```", 3, 1),
        ("a\\\nb", "a\\\nbc", 1, 0),
        ("para *x*", "para *xy*", 1, 0),
    ],
)
def test_an_edit_writes_only_what_changed(before: str, after: str, inserted: int, deleted: int) -> None:
    doc = ytext.load(richtext.first_update(before), [])
    update = richtext.edit(doc, after)
    assert update is not None
    found = guard.read_update(update)
    assert sum(run.length for run in found.runs) == inserted
    assert sum(run.length for run in found.deletes) == deleted
    assert richtext.text_of(doc) == richtext.normal(after)


def test_each_edit_has_a_client_of_its_own() -> None:
    doc = ytext.load(richtext.first_update("one"), [])
    updates = [richtext.edit(doc, text) for text in ("one two", "one two three", "two three")]
    clients = [run.client for update in updates if update for run in guard.read_update(update).runs]
    assert len(set(clients)) == len(clients) == 2
    assert all(update is not None for update in updates)


def test_words_typed_meanwhile_elsewhere_stay() -> None:
    first = richtext.first_update("# Tïtle\n\n- one\n- two\n\nlast 😀 line")
    ours, theirs = ytext.load(first, []), ytext.load(first, [])
    update = richtext.edit(ours, "# Tïtle\n\n- one and more\n- two\n\nnew\n\nlast 😀 line!")
    richtext.edit(theirs, "# Títle\n\n- one\n- second\n\nthe last 😀 line")
    assert update is not None
    theirs.apply_update(update)
    assert richtext.text_of(theirs) == "# Títle\n\n- one and more\n- second\n\nnew\n\nthe last 😀 line!\n"


def test_what_markdown_cannot_say_survives_edits_around_it() -> None:
    doc = ytext.load(None, RECORDED["marks"])
    assert richtext.edit(doc, richtext.text_of(doc).replace("Plain", "Plainer").replace("under `", "under it `"))
    (paragraph,) = _children(doc)
    text = next(iter(paragraph.children))
    assert isinstance(text, XmlText)
    runs = {str(value): attrs for value, attrs in text.diff()}
    assert runs["under"] == {"underline": {}}
    assert runs["link"]["link"]["target"] == "_blank"  # type: ignore[index]

    doc = ytext.load(None, RECORDED["table"])
    assert richtext.edit(doc, richtext.text_of(doc).replace("| x |", "| X |") + "\nmore\n")
    assert 'colspan="2"' in _xml(doc)
    assert "colwidth" in _xml(doc)
    assert "| tall | X | y\\|z |" in richtext.text_of(doc)

    doc = ytext.load(None, RECORDED["others"])
    assert richtext.edit(doc, richtext.text_of(doc).replace("item", "thing"))
    assert _xml(doc).startswith('<callout kind="warn"><paragraph>in a callout')
    assert "thing" in _xml(doc)

    doc = ytext.load(None, RECORDED["empties"])
    before = len(_children(doc))
    assert richtext.edit(doc, richtext.text_of(doc).replace("> q", "> Q"))
    assert len(_children(doc)) == before


def test_an_empty_paragraph_is_filled_rather_than_joined_by_another() -> None:
    doc: ytext.Scratch = Doc(client_id=5)
    fragment = doc.get("default", type=XmlFragment)
    fragment.children.append(XmlElement("paragraph", None, [XmlText("a")]))
    fragment.children.append(XmlElement("paragraph"))
    assert richtext.edit(doc, "a\n\nb\n")
    assert [str(one) for one in fragment.children] == ["<paragraph>a</paragraph>", "<paragraph>b</paragraph>"]


def test_very_many_changes_of_one_text_write_it_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "_MOST", 5)
    monkeypatch.setattr(build, "_MANY", 5)
    markdown = " ".join(f"**w{n}** *x* y\\\nz" for n in range(20))
    doc = ytext.load(richtext.first_update(markdown), [])
    assert richtext.edit(doc, markdown.replace("**", "*").replace("y", "**é**")) is not None
    assert richtext.text_of(doc) == richtext.normal(markdown.replace("**", "*").replace("y", "**é**"))


# ---- what the real packages write


@pytest.mark.parametrize(
    ("name", "markdown"),
    [
        ("marks", 'Plain **bold *both*** ~~gone~~ under `code` [link](https://a.example/x "T")!\n'),
        ("nodes", 'a\\\nb ![An \\[image\\]](<x y.png> "t") [@Ann B](mention:u%2F1) end\n'),
        ("lists", "- one\n\n  4. four\n\n  5. five\n\n     more\n\n-\n\n* other list\n* [x] done\n* [ ]\n"),
        ("empties", "a\n\n---\n\n> q\n\n````js\nlet a\n\n```\n\n````\n"),
        ("table", "| wide |  | c |\n| --- | --- | --- |\n| tall | x | y\\|z |\n|  | u | two<br>blocks |\n"),
        ("others", "in a callout\n\n- item\n\ncom**mented** text\n"),
        ("signs", "Grüße 😀 👩‍💻 **漢字**。ك\n\n## &#xA0;é<br>x\n"),
        ("block_image", "a\n\n![alt](x.png)\n\nb\n"),
        ("typed", "He\\\nllo **wörld**\n\n## **second**\n\n-\n- gonelast\n"),
    ],
)
def test_what_tiptap_writes_is_read(name: str, markdown: str) -> None:
    for update in RECORDED[name]:
        guard.read_update(update)
    doc = ytext.load(None, RECORDED[name])
    assert richtext.text_of(doc) == markdown
    assert richtext.normal(markdown) == markdown
    assert richtext.edit(doc, markdown) is None


def test_text_that_looks_like_markup_stays_text() -> None:
    markdown = richtext.text_of(ytext.load(None, RECORDED["looks_like_markup"]))
    shown = html.unescape(re.sub(r"<[^>]*>", "", outline.new_parser().render(markdown, outline.budget(markdown))))
    assert shown == (
        "# not a heading\n1. no list *nor* _emphasis_ in snake_case\n"
        "<b>text</b> & &amp; [a](b) `x` a|b \\* ~~no~~\nC #\n"
    )


def test_attributes_and_marks_are_those_of_tiptap() -> None:
    doc = ytext.load(richtext.first_update('## *a* [b](/c "d")\n\n3. x\n\n| a |\n|:-:|'), [])
    heading, numbers, table = _children(doc)
    assert dict(heading.attributes) == {"level": 2}  # type: ignore[call-overload]
    assert dict(numbers.attributes) == {"start": 3}  # type: ignore[call-overload]
    link = {"href": "/c", "target": "_blank", "rel": "noopener noreferrer nofollow", "class": None, "title": "d"}
    text = next(iter(heading.children))
    assert isinstance(text, XmlText)
    assert text.diff() == [("a", {"italic": {}}), (" ", None), ("b", {"link": link})]
    cell = table.children[0].children[0]  # type: ignore[union-attr]
    assert isinstance(cell, XmlElement)
    assert cell.tag == "tableHeader"
    assert dict(cell.attributes) == {"colspan": 1, "rowspan": 1, "align": "center"}  # type: ignore[call-overload]


# ---- what nobody writes


def test_hostile_documents_are_read() -> None:
    for structs in _odd_structs():
        update = b"\x01" + lib0.number(len(structs)) + b"\x07\x00" + b"".join(structs) + b"\x00"
        guard.read_update(update)
        doc = ytext.load(None, [update])
        markdown = richtext.text_of(doc)
        assert richtext.edit(doc, f"before\n\n{markdown}\n\nafter") is not None
        assert richtext.text_of(doc).startswith("before\n")


def test_odd_attributes_are_read() -> None:
    doc: ytext.Scratch = Doc(client_id=5)
    fragment = doc.get("default", type=XmlFragment)
    odd: list[Any] = [None, True, "7", -3, 1e300, float("nan"), [1], {"a": 1}, "x\n`y`"]
    for tag in ("heading", "codeBlock", "orderedList", "taskItem", "image", "mention", "tableCell", "unknown"):
        for value in odd:
            element = XmlElement(tag, None, [XmlElement("paragraph", None, [XmlText("words")])])
            fragment.children.append(element)
            for name in ("level", "language", "start", "checked", "src", "alt", "id", "label", "colspan", "rowspan"):
                element.attributes[name] = value
    text = XmlText("marked")
    fragment.children.append(XmlElement("paragraph", None, [text]))
    text.format(0, 3, {"bold": False, "link": {"href": 5}, "odd--12345678": [1]})
    text.format(2, 5, {"link": {"href": "javascript:x"}, "italic": "yes"})
    text.insert_embed(1, {"image": "x.png"})
    markdown = richtext.text_of(doc)
    assert markdown.count("words") >= 6 * len(odd)
    assert richtext.edit(doc, markdown + "\nmore\n") is not None
    assert richtext.text_of(doc) == richtext.normal(richtext.text_of(doc))


@pytest.mark.parametrize("tag", ["blockquote", "bulletList", "listItem", "table", "strange", "paragraph"])
def test_deep_nesting_is_bounded_and_keeps_the_words(tag: str) -> None:
    doc: ytext.Scratch = Doc(client_id=5)
    here: Any = doc.get("default", type=XmlFragment)
    for level in range(600):
        here.children.append(XmlElement("paragraph", None, [XmlText(f"w{level}")]))
        element = XmlElement(tag)
        here.children.append(element)
        here = element
    here.children.append(XmlText("the bottom"))
    markdown = richtext.text_of(doc)
    assert all(f"w{level}" in markdown for level in range(600))
    assert "the bottom" in markdown
    assert richtext.edit(doc, "gone\n") is not None
    assert richtext.text_of(doc) == "gone\n"


# ---- helpers


def _children(doc: ytext.Scratch) -> list[XmlElement]:
    return [one for one in doc.get("default", type=XmlFragment).children if isinstance(one, XmlElement)]


def _tree(node: Any) -> Any:
    if isinstance(node, XmlText):
        return node.diff()
    attributes = dict(node.attributes) if isinstance(node, XmlElement) else {}  # type: ignore[call-overload]
    return getattr(node, "tag", ""), attributes, [_tree(one) for one in node.children]


def _xml(doc: ytext.Scratch) -> str:
    return str(doc.get("default", type=XmlFragment))


def _odd_structs() -> list[list[bytes]]:
    """Items that no editor makes: other types among the elements, values that are no attributes, texts in the root."""
    root = b"\x01" + lib0.text("default")

    def first(content: int, body: bytes) -> bytes:
        return bytes([content]) + root + body

    def after(content: int, clock: int, body: bytes) -> bytes:
        return bytes([content | 0x80]) + b"\x07" + lib0.number(clock) + body

    def within(content: int, body: bytes, key: str = "") -> bytes:
        return bytes([content | (0x20 if key else 0)]) + b"\x00\x07\x00" + (lib0.text(key) if key else b"") + body

    element = b"\x03" + lib0.text("heading")
    kinds = [bytes([kind]) + (lib0.text("x") if kind == 3 else b"") for kind in (0, 1, 2, 3, 4, 6)]
    return [
        *([first(7, kind), after(7, 0, element)] for kind in kinds),
        *([first(7, element), within(7, kind, "level")] for kind in kinds),
        *([first(7, b"\x06"), within(4, lib0.text("abc")), after(7, 1, kind)] for kind in kinds),
        [first(4, lib0.text("text")), after(7, 3, element)],
        [first(8, b"\x01\x77\x03abc"), after(7, 0, element)],
        [first(5, lib0.text('{"a":1}')), after(7, 0, element)],
        [first(3, b"\x01a"), after(7, 0, element)],
        [first(6, lib0.text("bold") + lib0.text("{}")), after(7, 0, element)],
        [first(7, element), within(8, b"\x01\x7f", "level"), within(8, b"\x01\x7c\x7f\xc0\x00\x00", "start")],
        [first(7, element), within(3, b"\x01a", "level")],
        [first(7, b"\x06"), within(4, lib0.text("words in the root"))],
        [first(7, b"\x06"), within(6, lib0.text("bold") + lib0.text("[1,2]")), after(4, 1, lib0.text("abc"))],
        [first(7, b"\x06"), within(8, b"\x01\x77\x03abc"), within(3, b"\x01a")],
        [first(7, b"\x04"), within(7, element)],
    ]


_MARKDOWN = outline.new_parser()
_MARKDOWN.core.ruler.after("inline", "mdserver", _finish)


def _meaning(markdown: str) -> str:
    """The HTML that the server renders, but for what rich text does not hold (see the module's docstring)."""
    _, body = outline.split(markdown)
    found = _MARKDOWN.render(body, outline.budget(body))
    pieces = re.split(r"(<pre>.*?</pre>)", found, flags=re.DOTALL)
    for at in range(0, len(pieces), 2):
        piece = re.sub(r"</?p>", " ", re.sub(r"<br\s*/?>\s*", "<br>", pieces[at]))
        piece = re.sub(r'<ul class="contains-task-list">', "<ul>", piece)
        pieces[at] = piece
    found = re.sub(r"\n</code></pre>", "</code></pre>", "".join(pieces))
    found = re.sub(r'alt="[^"]*"', "", found)  # the renderer leaves code and escapes out of it
    found = re.sub(r'(<h[1-6]) id="[^"]*"', r"\1", found)  # which is made of it
    return _emphasis_as_sets(found)


def _emphasis_as_sets(found: str) -> str:
    """Each piece of text with the names around it, in no order; blanks count once, and never at ends."""
    marks: list[str] = []
    result: list[tuple[str, str]] = []
    in_code = False
    for piece in re.split(r"(<!--.*?-->|<[^>]*>)", found, flags=re.DOTALL):
        name = re.match(r"<(/?)(em|strong|s|a)\b", piece)
        if name and not in_code:
            if name[1]:
                open_at = max(n for n, mark in enumerate(marks) if re.match(rf"<{name[2]}\b", mark))
                del marks[open_at]
            else:
                marks.append(piece)
            continue
        in_code = (in_code or piece.startswith("<pre")) and piece != "</pre>"
        is_tag = piece.startswith("<")
        mention = [mark for mark in marks if "mention:" in mark]
        around = "" if is_tag or in_code else " ".join(mention or sorted(set(marks)))
        for part in [piece] if is_tag or in_code else re.split(r"(\s+)", piece):
            if part:
                blank = not is_tag and not in_code and part.isspace()
                result.append((" " if blank else part, "" if blank else around))
    text = ""
    last = ""
    for part, around in result:
        if around != last:
            text, last = text + (f"{{{around}}}" if part != " " else ""), around if part != " " else last
        text += part
    text = re.sub(r" +", " ", text)
    text = re.sub(
        r"\s*(?:\{\})?\s*(</?(?:ul|ol|li|blockquote|h[1-6]|table|thead|tbody|tr|td|th|hr|section|div|pre)\b[^>]*>)\s*",
        r"\1",
        text,
    )
    return re.sub(r"(?:<br>)+(?=</?(?:ul|ol|li|blockquote|h[1-6]|td|th|hr|section)\b|$)", "", text).strip()
