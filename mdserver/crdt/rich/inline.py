"""Spans of text as Markdown: marks that nest, and escapes where text would look like markup. Floor 0."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple
from urllib.parse import quote

from .model import BOLD, BREAK, CODE, IMAGE, ITALIC, NONE, RAW_HTML, RAW_SUFFIX, STRIKE, Atom, Mark, Marks, Span, merged

_SPECIAL = re.compile(r"[\\`*_~\[\]<&!]")
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_ENTITY = re.compile(r"&(?:#x[0-9a-f]{1,6}|#[0-9]{1,7}|[a-z][a-z0-9]{1,31});", re.IGNORECASE)
_FOOTNOTE = re.compile(r"\[\^[^\[\]\s]+\]")
_BACKTICKS = re.compile(r"`+")
_LINE_START = re.compile(
    r"#{1,6}(?=[ \t]|$)|[-+*](?=[ \t]|$)|[0-9]{1,9}(?=[.)](?:[ \t]|$))|>|-[ \t-]*$|_[ \t]*(?:_[ \t]*){2,}$"
)
_LATER_LINE = re.compile(r"=+[ \t]*$|[|:-][|: \t-]*$")
_DEFINITION = re.compile(r"\[(?:[^\[\]\\]|\\.)*\]:")
_TASK = re.compile(r"\[[ xX]\](?=\s|$)")
_AUTOLINK = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]{1,31}:[^<>\x00-\x20]*")
_EMAIL = re.compile(
    r"[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
    r"(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*"
)
_TAG = re.compile(r"<(?:[A-Za-z/!?])")
_SOURCE = re.compile(r"!?\[[^\n]*[\])]|`[^\n]*[>)]")
_OPEN, _CLOSE, _TEXT, _FIXED = range(4)
_DELIMITERS = ({"italic": "*", "bold": "**"}, {"italic": "_", "bold": "**"}, {"italic": "*", "bold": "__"})
_EDGE_SPACE = re.compile(r"^[^\S\x00-\x20\x85]|[^\S\x00-\x20\x85]$|^\ufeff")


class _Piece(NamedTuple):
    """What is written: a delimiter, text that may be written as references, or what stays as it is."""

    kind: int
    text: str


def inline(spans: list[Span], *, line_break: str = "\\\n", strict: bool = False, paragraph: bool = True) -> str:
    """The Markdown of normal spans (`model.normal`).

    `strict`: the document defines references, so that any text in brackets could be a link. `paragraph`: it stands
    at the beginning of a line, where a number or a dash can begin a list.
    """
    spans = merged(spans)
    if len(spans) == 1 and spans[0].atom is None and not spans[0].marks:  # most texts
        return _Writer(spans, line_break, strict, paragraph, _DELIMITERS[0]).text(spans[0], first=True, last=True)
    for delimiters in _DELIMITERS:
        writer = _Writer(spans, line_break, strict, paragraph, delimiters)
        written = writer.write()
        if not writer.doubtful or _reads_as(written, spans):
            return written
    # Markdown has no way to say it: the words stay, the emphasis goes.
    marks = frozenset(mark for span in spans for mark in span.marks)
    less = next((mark for mark in (ITALIC, BOLD, STRIKE) if mark in marks), None)
    if less is None:
        return written
    spans = [span._replace(marks=span.marks - {less}) for span in spans]
    return inline(spans, line_break=line_break, strict=strict, paragraph=paragraph)


def destination(url: str) -> str:
    """A link's target as it stands in parentheses."""
    if not url:
        return "<>"
    url = url.replace("\n", "%0A").replace("\r", "%0D")
    escaped = re.sub(r"\\(?=[!-/:-@\[-`{-~])", r"\\\\", _ENTITY.sub(lambda found: "&amp;" + found[0][1:], url))
    if re.search(r"[\x00-\x20\x7f<>]", url):
        return "<" + re.sub(r"[<>]", r"\\\g<0>", escaped) + ">"
    if not _is_balanced(url):
        escaped = re.sub(r"[()]", r"\\\g<0>", escaped)
    return escaped


def _is_balanced(url: str) -> bool:
    depth = 0
    for one in url:
        depth += (one == "(") - (one == ")")
        if not 0 <= depth < 30:
            return False
    return depth == 0


def code(text: str) -> str:
    """Inline code."""
    runs = {len(run) for run in _BACKTICKS.findall(text)}
    size = next(size for size in range(1, len(runs) + 2) if size not in runs)
    padded = text[:1] == "`" or text[-1:] == "`" or (text[:1] == text[-1:] == " " and text.strip(" ") != "")
    pad = " " if padded else ""
    return "`" * size + pad + text + pad + "`" * size


def target(url: str, title: str) -> str:
    """A link's target and title in their parentheses."""
    return f"({destination(url) if url or title else ''}{quoted(title)})"


def quoted(title: str) -> str:
    """A title behind a blank; "" for none."""
    if not title:
        return ""
    text = re.sub(r"\s*\n\s*", " ", title.replace("\r", "\n"))
    text = _ENTITY.sub(lambda found: "&amp;" + found[0][1:], re.sub(r'["\\]', r"\\\g<0>", text))
    return f' "{text}"'


def _label(text: str) -> str:
    """A text between brackets, where nothing is markup."""
    return re.sub(r"[\\`*_~\[\]<&!]", r"\\\g<0>", " ".join(text.split()))


def atom(one: Atom, line_break: str) -> str:
    """The Markdown of what stands between texts."""
    if one.kind == BREAK:
        return line_break
    if one.kind == IMAGE:
        return f"![{_label(one.label)}]{target(one.target, one.title)}"
    return f"[@{_label(one.label)}](mention:{quote(one.target, safe='')})"


def raw_content(span: Span, following: Span | None) -> str | None:
    """What inline code stands for, when what follows says so (see `model.RAW_SUFFIX`)."""
    if CODE not in span.marks or following is None or following.atom is not None or CODE in following.marks:
        return None
    found = RAW_SUFFIX.match(following.text)
    if found is None or "\n" in span.text:
        return None
    if found[0] == RAW_HTML:
        from markdown_it.common.html_re import HTML_TAG_RE

        whole = HTML_TAG_RE.match(span.text)
        return span.text if whole is not None and whole.end() == len(span.text) else None
    return span.text if _SOURCE.fullmatch(span.text) else None


class _Writer:
    """Writes one text. `doubtful` afterwards: delimiters stand so that only reading them tells what they mean."""

    def __init__(
        self, spans: list[Span], line_break: str, strict: bool, paragraph: bool, delimiters: dict[str, str]
    ) -> None:
        self.spans = spans
        self.line_break = line_break
        self.strict = strict
        self.paragraph = paragraph
        self.delimiters = {**delimiters, "strike": "~~"}
        self.doubtful = delimiters is not _DELIMITERS[0]
        self.pieces: list[_Piece] = []
        self.brackets = False
        if any("]" in span.text for span in spans):
            plain = "".join(span.text if span.atom is None else "\0" for span in spans)
            self.brackets = "](" in plain or "][" in plain

    def write(self) -> str:
        ends = self._ends()
        open_marks: list[Mark] = []
        for at, span in enumerate(self.spans):
            marks = span.marks - {CODE}
            self._close(open_marks, next((n for n, mark in enumerate(open_marks) if mark not in marks), None))
            # The longest first, so that they nest. A link that emphasis ends in is written as two: blanks at its ends
            # do no harm.
            opening = sorted(
                marks.difference(open_marks), key=lambda mark: (-ends[at][mark], mark.name == "link", mark.name)
            )
            for mark in opening:
                open_marks.append(mark)
                if mark.name == "link":
                    self._add(_FIXED, "[")
                else:
                    self._add(_OPEN, self.delimiters[mark.name])
            self._span(at, span)
        self._close(open_marks, 0 if open_marks else None)
        self._flank()
        return "".join(piece.text for piece in self.pieces)

    def _ends(self) -> list[dict[Mark, int]]:
        """Of each span, where its marks end."""
        ends: list[dict[Mark, int]] = [{} for _ in self.spans]
        for at in range(len(self.spans) - 1, -1, -1):
            following = ends[at + 1] if at + 1 < len(self.spans) else {}
            ends[at] = {mark: following.get(mark, at + 1) for mark in self.spans[at].marks}
        return ends

    def _add(self, kind: int, text: str) -> None:
        self.pieces.append(_Piece(kind, text))

    def _close(self, open_marks: list[Mark], first: int | None) -> None:
        while first is not None and len(open_marks) > first:
            mark = open_marks.pop()
            if mark.name == "link":
                self._close_link(mark)
            else:
                self._add(_CLOSE, self.delimiters[mark.name])

    def _close_link(self, mark: Mark) -> None:
        if not mark.title and len(self.pieces) > 1 and self.pieces[-2] == _Piece(_FIXED, "["):
            text = self.spans_text
            if text == mark.href and _AUTOLINK.fullmatch(text):
                self.pieces[-2:] = [_Piece(_FIXED, f"<{text}>")]
                return
            if "mailto:" + text == mark.href and _EMAIL.fullmatch(text):
                self.pieces[-2:] = [_Piece(_FIXED, f"<{text}>")]
                return
        self._add(_FIXED, f"]{target(mark.href, mark.title)}")

    def _span(self, at: int, span: Span) -> None:
        self.spans_text = span.text if CODE not in span.marks else ""
        if span.atom is not None:
            self._add(_FIXED, atom(span.atom, self.line_break))
            return
        following = self.spans[at + 1] if at + 1 < len(self.spans) else None
        if CODE in span.marks:
            raw = raw_content(span, following)
            self._add(_FIXED, code(span.text) if raw is None else raw)
            return
        before = self.spans[at - 1] if at else None
        if before is not None and CODE in before.marks and (suffix := RAW_SUFFIX.match(span.text.lstrip("\\"))):
            if not span.text.startswith("\\"):
                if raw_content(before, span) is not None:
                    rest = span.text[suffix.end() :]
                    if rest:
                        self._add(_TEXT, self.text(span._replace(text=rest), first=False, last=following is None))
                    return
            else:
                span = span._replace(text=span.text[1:])
        first = at == 0 or self._at_line_start()
        self._add(_TEXT, self.text(span, first=first, last=following is None))

    def _at_line_start(self) -> bool:
        return bool(self.pieces) and self.pieces[-1] == _Piece(_FIXED, "\\\n")

    def text(self, span: Span, *, first: bool, last: bool) -> str:
        """A text escaped. `first`: at the beginning of a line; `last`: at the end of the block."""
        text = span.text
        first, last = first and not span.marks, last and not span.marks
        later = first and bool(self.pieces)
        in_link = any(mark.name == "link" for mark in span.marks)
        lead = ""
        if first and self.paragraph and text[:1] in "#-+*>_=|:[0123456789" and text:
            lead, text = self._line_start(text, later)
        if _SPECIAL.search(text):
            text = _SPECIAL.sub(
                lambda found: self._escaped(text, found.start(), first and not lead, last, in_link), text
            )
        if (first or last) and not (lead or text).isascii() and _EDGE_SPACE.search(lead + text):
            text = _EDGE_SPACE.sub(lambda found: f"&#x{ord(found[0]):X};", lead + text)
            lead = ""
        return lead + text

    def _line_start(self, text: str, later: bool) -> tuple[str, str]:
        """What has to be written otherwise at the beginning of a line, and the rest."""
        found = _LINE_START.match(text) or (_LATER_LINE.match(text) if later else None)
        if found is not None:
            if text[0].isdigit():
                return f"{found[0]}\\{text[found.end()]}", text[found.end() + 1 :]
            return f"\\{text[0]}", text[1:]
        if text[0] == "[":
            if not later and _FOOTNOTE.match(text) and _FOOTNOTE.sub("", text, count=1).startswith(":"):
                return "", text  # a footnote is written as a paragraph that begins so
            if _DEFINITION.match(text) or (not later and _TASK.match(text)):
                return "\\[", text[1:]
        return "", text

    def _escaped(self, text: str, at: int, first: bool, last: bool, in_link: bool) -> str:
        one = text[at]
        before = text[at - 1] if at else (" " if first else "")
        after = text[at + 1] if at + 1 < len(text) else (" " if last else "")
        if one == "\\":
            return "\\\\" if not after or after in _PUNCTUATION or at + 1 == len(text) else one
        if one == "*":
            return one if before.isspace() and after.isspace() else "\\*"
        if one == "_":
            return one if _in_word(text, at) or (before.isspace() and after.isspace()) else "\\_"
        if one == "~":
            return "\\~" if not before or not after or before == "~" or after == "~" else one
        if one == "[":
            if in_link:
                return "\\["
            footnote = _FOOTNOTE.match(text, at)
            if footnote is not None and text[footnote.end() : footnote.end() + 1] != "(":
                return one
            return "\\[" if self.strict or self.brackets else one
        if one == "]":
            return "\\]" if in_link else one
        if one == "<":
            return "\\<" if _TAG.match(text, at) else one
        if one == "&":
            return "\\&" if _ENTITY.match(text, at) else one
        if one == "!":
            return "\\!" if not after else one
        return "\\`"

    def _flank(self) -> None:
        """Where a delimiter would not open or close beside a letter, write the letter as a reference."""
        pieces = self.pieces
        at = 0
        while at < len(pieces):
            if pieces[at].kind > _CLOSE:
                at += 1
                continue
            sign = pieces[at].text[0]
            end = at
            while end < len(pieces) and pieces[end].kind <= _CLOSE and pieces[end].text[0] == sign:
                end += 1
            self.doubtful |= end - at > 1
            before = pieces[at - 1].text[-1:] if at else " "
            after = pieces[end].text[0] if end < len(pieces) else " "
            kinds = {piece.kind for piece in pieces[at:end]}
            if _OPEN in kinds and _is_punctuation(after) and _is_letter(before) and pieces[at - 1].kind == _TEXT:
                pieces[at - 1] = _Piece(_TEXT, _last_as_reference(pieces[at - 1].text))
            if _CLOSE in kinds and _is_punctuation(before) and _is_letter(after) and pieces[end].kind == _TEXT:
                pieces[end] = _Piece(_TEXT, f"&#x{ord(after):X};{pieces[end].text[1:]}")
            at = end


def _in_word(text: str, at: int) -> bool:
    start, end = at, at + 1
    while start and text[start - 1] == "_":
        start -= 1
    while end < len(text) and text[end] == "_":
        end += 1
    return start > 0 and end < len(text) and _is_letter(text[start - 1]) and _is_letter(text[end])


def _is_punctuation(one: str) -> bool:
    return one in _PUNCTUATION or unicodedata.category(one).startswith(("P", "S"))


def _is_letter(one: str) -> bool:
    return not one.isspace() and not _is_punctuation(one)


def _last_as_reference(text: str) -> str:
    rest = text[:-1]
    if (len(rest) - len(rest.rstrip("\\"))) % 2:  # a backslash that stood before a letter
        rest += "\\"
    return f"{rest}&#x{ord(text[-1]):X};"


def _reads_as(written: str, spans: list[Span]) -> bool:
    from .parse import spans_of

    return _said(spans_of(written)) == _said(spans)


def _said(spans: list[Span]) -> list[tuple[str, Marks, Atom | None]]:
    return [(span.text, span.marks if span.atom is None else NONE, span.atom) for span in merged(spans)]
