"""Yjs text: what is written is read back, from the log alone, in any order of arrival, in any script."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from pycrdt import Doc, Map, Text

from mdserver.crdt import text as ytext

PIECES = [
    "a",
    "word ",
    "\n",
    "\r\n",
    "\n\n",
    "é",
    "e\u0301",
    "😀",
    "👩‍💻",
    "👍🏽",
    "漢字",
    "\ufeff",
    "\x00",
    "हिन्दी ",
    "- [ ] ",
]
texts = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=25).map("".join),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30),
)
fixed = settings(deadline=None, derandomize=True, max_examples=100)


@seed(1)
@fixed
@given(text=texts)
def test_the_first_update_makes_the_text(text: str) -> None:
    update = ytext.first_update(text)
    doc = ytext.load(update, [])
    assert ytext.text_of(doc) == text
    assert ytext.text_of(ytext.load(None, [update])) == text
    assert list(_vector(doc).values()) == ([ytext.utf16_length(text)] if text else []), "Yjs counts UTF-16 units"


def test_the_first_update_is_what_pycrdt_writes() -> None:
    text = "# Überschrift\r\n\r\n😀 text " + "long " * 100
    update = ytext.first_update(text)
    (client_id,) = _client_ids(update)
    doc: Doc[Any] = Doc(client_id=client_id)
    doc.get("content", type=Text).insert(0, text)
    assert doc.get_update() == update


def test_an_empty_first_update_leaves_an_empty_document() -> None:
    update = ytext.first_update("")
    doc = ytext.load(None, [update])
    assert ytext.text_of(doc) == ""
    assert ytext.state(doc) == update
    written = ytext.edit(doc, "hello")
    assert written is not None
    assert ytext.text_of(ytext.load(update, [written])) == "hello"


@seed(2)
@fixed
@given(versions=st.lists(texts, min_size=1, max_size=6))
def test_the_log_alone_gives_every_version_again(versions: list[str]) -> None:
    log = [ytext.first_update(versions[0])]
    doc = ytext.load(None, log)
    for version in versions[1:]:
        update = ytext.edit(doc, version)
        assert (update is None) == (ytext.text_of(ytext.load(None, log)) == version)
        if update is not None:
            log.append(update)
        assert ytext.text_of(doc) == version
        assert ytext.text_of(ytext.load(None, log)) == version
    full = ytext.load(None, log)
    for cut in range(len(log) + 1):
        snapshot = ytext.state(ytext.load(None, log[:cut]))
        replayed = ytext.load(snapshot, log[cut:])
        assert ytext.text_of(replayed) == versions[-1]
        assert _vector(replayed) == _vector(full), "the order of clients in a vector is no matter"


@seed(3)
@fixed
@given(base=texts, one=texts, other=texts)
def test_concurrent_edits_converge(base: str, one: str, other: str) -> None:
    first = ytext.first_update(base)
    left, right = ytext.load(first, []), ytext.load(first, [])
    from_left, from_right = ytext.edit(left, one), ytext.edit(right, other)
    for doc, update in ((left, from_right), (right, from_left)):
        if update is not None:
            doc.apply_update(update)
    assert ytext.text_of(left) == ytext.text_of(right)
    both = [update for update in (from_right, from_left) if update is not None]
    assert ytext.text_of(ytext.load(first, both)) == ytext.text_of(left)


def test_an_edit_is_exactly_one_edit_under_its_own_client_id() -> None:
    doc = ytext.load(ytext.first_update("one two three\n"), [])
    updates = [ytext.edit(doc, text) for text in ("one 2 three\n", "one 2 3\n", "1 2 3\n", "1 2 3\n")]
    assert updates[3] is None
    written = [update for update in updates if update is not None]
    assert [_structs(update) for update in written] == [1, 1, 1]
    seen = [_client_ids(update) for update in written]
    assert len({client_id for ids in seen for client_id in ids}) == 3
    assert all(client_id < 2**32 for ids in seen for client_id in ids)
    assert all(len(update) < 60 for update in written), "older deletions are not told again"


def test_an_edit_leaves_the_rest_of_the_document_alone() -> None:
    doc = ytext.load(ytext.first_update("text"), [])
    doc.get("mindmap", type=Map)["node"] = "red"
    update = ytext.edit(doc, "texts")
    assert update is not None
    again = ytext.load(ytext.state(doc), [])
    assert ytext.text_of(again) == "texts"
    assert again.get("mindmap", type=Map).to_py() == {"node": "red"}


def test_words_typed_meanwhile_elsewhere_stay() -> None:
    doc = ytext.load(ytext.first_update("# Tïtle 😀\r\n\r\none\r\n\r\ntwo\r\n"), [])
    theirs = ytext.load(ytext.state(doc), [])
    update = ytext.edit(doc, "# Tïtle 😀\r\n\r\none and a half\r\n\r\ntwo\r\n")
    ytext.edit(theirs, "# Títle 😀\r\n\r\none\r\n\r\ntwo\r\nthree\r\n")
    assert update is not None
    theirs.apply_update(update)
    assert ytext.text_of(theirs) == "# Títle 😀\r\n\r\none and a half\r\n\r\ntwo\r\nthree\r\n"


def test_very_many_edits_are_united(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ytext, "_MOST", 10)
    old = "".join(f"line {n}\n" for n in range(300))
    new = old.replace("\n", "\r\n")
    doc = ytext.load(ytext.first_update(old), [])
    update = ytext.edit(doc, new)
    assert update is not None
    assert _structs(update) <= 10
    assert ytext.text_of(ytext.load(ytext.first_update(old), [])) == old
    assert ytext.text_of(doc) == new


def test_what_is_not_text_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogate"):
        ytext.first_update("half \ud83d")
    doc = ytext.load(ytext.first_update("text"), [])
    with pytest.raises(ValueError, match="surrogate"):
        ytext.edit(doc, "half \ud83d")
    assert ytext.text_of(doc) == "text"
    doc.get("content", type=Text).insert_embed(2, {"image": "x.png"})
    with pytest.raises(ValueError, match="embedded"):
        ytext.edit(doc, "other")
    with pytest.raises(ValueError, match="decode"):
        ytext.load(b"\xff\xff", [])


def test_long_logs_load_in_batches() -> None:
    doc: Doc[Any] = Doc(client_id=7)
    log: list[bytes] = []
    text = doc.get("content", type=Text)
    for n in range(1_201):
        before = doc.get_state()
        text.insert(n, "x")
        log.append(doc.get_update(before))
    assert ytext.text_of(ytext.load(None, iter(log))) == "x" * 1_201


@seed(4)
@fixed
@given(text=texts)
def test_offsets_go_there_and_back(text: str) -> None:
    ends = [(ytext.to_utf8(text, at), ytext.to_utf16(text, at)) for at in range(len(text) + 1)]
    assert ends[-1] == (ytext.utf8_length(text), ytext.utf16_length(text))
    for at, (utf8, utf16) in enumerate(ends):
        assert ytext.from_utf8(text, utf8) == ytext.from_utf16(text, utf16) == at
    for (_, first), (_, last) in pairwise(ends):
        for cut in range(first + 1, last):
            with pytest.raises(ValueError, match="decode"):
                ytext.from_utf16(text, cut)


@pytest.mark.parametrize("text", ["", "abc", "a😀"])
@pytest.mark.parametrize("convert", [ytext.to_utf8, ytext.to_utf16, ytext.from_utf8, ytext.from_utf16])
def test_offsets_outside_are_refused(convert: object, text: str) -> None:
    assert callable(convert)
    for offset in (-1, 10):
        with pytest.raises(ValueError, match="outside"):
            convert(text, offset)


def _vector(doc: ytext.Scratch) -> dict[int, int]:
    count, *pairs = _numbers(ytext.state_vector(doc))
    assert len(pairs) == 2 * count
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def _client_ids(update: bytes) -> list[int]:
    """Whose structs are in an update of one client at most: clients, structs, client, clock, …"""
    return [_numbers(update)[2]] if update[0] else []


def _structs(update: bytes) -> int:
    """How many structs are in an update of one client at most."""
    return _numbers(update)[1] if update[0] else 0


def _numbers(data: bytes) -> list[int]:
    """What lib0's variable-length integers say, read one after the other."""
    numbers: list[int] = []
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(value)
            value = shift = 0
    return numbers
