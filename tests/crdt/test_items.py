"""The order of items, as pycrdt has it: random documents of several clients who did not always see each other."""

from __future__ import annotations

import random
from typing import Any

import pytest
from pycrdt import Doc, Text

from mdserver.crdt import text as crdt
from mdserver.crdt.items import Sequences

WORDS = ["a", "bc", "def ", "\U0001f389", "東京", "ß\n", "e\u0301"]


def text_of(state: bytes) -> str:
    return "".join(one.text for one in Sequences(state).of(crdt.NAME) if one.text is not None and not one.is_deleted)


@pytest.mark.parametrize("seed", range(60))
def test_the_order_is_that_of_the_document(seed: int) -> None:
    chance = random.Random(seed)
    docs: list[Doc[Any]] = [Doc(client_id=chance.randrange(1, 1 << 32)) for _ in range(4)]
    texts = [doc.get(crdt.NAME, type=Text) for doc in docs]
    docs[0].apply_update(crdt.first_update("Begin \U0001f389 here"))
    for _ in range(150):
        at = chance.randrange(4)
        text, size = texts[at], len(str(texts[at]))
        if size and chance.random() < 0.3:
            start = chance.randrange(size)
            end = min(size, start + chance.randrange(1, 5))
            first, last = (crdt.to_utf8(str(text), one) for one in (start, end))
            del text[first:last]
        else:
            place = crdt.to_utf8(str(text), chance.randrange(size + 1))
            text.insert(place, "".join(chance.choices(WORDS, k=chance.randrange(1, 4))))
        if chance.random() < 0.25:
            other = docs[chance.randrange(4)]
            other.apply_update(docs[at].get_update(other.get_state()))
    for one in docs:
        for other in docs:
            one.apply_update(other.get_update(one.get_state()))
    for doc, text in zip(docs, texts, strict=True):
        assert text_of(crdt.state(doc)) == str(text)


def test_an_empty_document() -> None:
    assert text_of(b"\0\0") == ""
