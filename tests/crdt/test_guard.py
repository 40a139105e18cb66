"""What reaches pycrdt is sound: what real documents write passes, and no bytes that pass hurt."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
from array import array
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from mdserver.crdt import guard
from mdserver.crdt.guard import MOST_DEPTH, MOST_ITEMS, Run, Unsound, read_state, read_update
from mdserver.crdt.lib0 import counted, number


def named(text: str | bytes) -> bytes:
    return counted(text.encode() if isinstance(text, str) else text)


ROOT = b"\x01" + named("content")


def update(*clients: tuple[int, int, list[bytes]], deletes: bytes = b"\x00") -> bytes:
    """An update of clients, each with its first clock and its structs."""
    made = number(len(clients))
    for client, clock, structs in clients:
        made += number(len(structs)) + number(client) + number(clock) + b"".join(structs)
    return made + deletes


def text(content: str, *, origin: tuple[int, int] | None = None, right: tuple[int, int] | None = None) -> bytes:
    info = 4 | (0x80 if origin else 0) | (0x40 if right else 0)
    links = b"".join(number(one[0]) + number(one[1]) for one in (origin, right) if one)
    return bytes([info]) + (links or ROOT) + named(content)


def value(content: bytes) -> bytes:
    return b"\x08" + ROOT + b"\x01" + content


def paragraph(parent: bytes) -> bytes:
    return b"\x07" + parent + b"\x03" + named("p")


# --- what real documents write


def typed(doc: Doc[Any], chance: random.Random) -> None:
    """One change of some kind."""
    content = doc.get("content", type=Text)
    there = str(content)
    kind = chance.randrange(6)
    if kind == 0 or not there:
        content += chance.choice(["hello", "é😀", "x" * 40])
    elif kind == 1:
        content.insert(0, chance.choice(["a", "😀"]))
    elif kind == 2:
        del content[0 : len(there[: chance.randint(1, 3)].encode())]
    elif kind == 3:
        looks = doc.get("mindmap", type=Map)
        looks[chance.choice("ab")] = chance.choice([1, -70, 2.5, None, True, "x", b"raw", [1, {"a": [None]}]])
        looks["list"] = Array([1, "two"])
    elif kind == 4:
        element = doc.get("default", type=XmlFragment).children.append(XmlElement("p", {"level": "1"}))
        element.children.append(XmlText("words"))
    else:
        content.format(0, len(there[0].encode()), {"bold": True})


@pytest.mark.parametrize("seed", range(20))
def test_what_documents_write_is_read(seed: int) -> None:
    chance = random.Random(seed)
    docs: list[Doc[Any]] = [Doc(client_id=client) for client in (7, 300, 2**32 - 1)]
    for doc in docs:
        updates: list[bytes] = []
        known: dict[int, int] = {}
        doc.observe(lambda event, updates=updates: updates.append(event.update))
        for _ in range(30):
            typed(doc, chance)
        for one in updates:
            found = read_update(one)
            assert found.fits(known)
            for run in found.runs:
                known[run.client] = run.end
        assert known == read_state(doc.get_state())
    for doc in docs:
        for other in docs:
            doc.apply_update(other.get_update(doc.get_state()))
    whole = read_update(docs[0].get_update())
    assert whole.needs == {}
    assert not whole.cuts({}, {})
    assert {run.client: run.end for run in whole.runs} == read_state(docs[0].get_state())


@pytest.mark.parametrize("name", ["content", "default"])
def test_large_documents_are_read(name: str) -> None:
    doc: Doc[Any] = Doc()
    if name == "content":
        doc.get("content", type=Text).insert(0, "Zeile mit 😀\n" * 100_000)
    else:
        children = doc.get("default", type=XmlFragment).children
        for n in range(3_000):
            children.append(XmlElement("p")).children.append(XmlText(f"paragraph {n}"))
    found = read_update(doc.get_update())
    assert found.needs == {}
    assert sum(run.length for run in found.runs) == read_state(doc.get_state())[doc.client_id]
    assert sum(map(len, found.pairs.values())) == (100_000 if name == "content" else 0)


# --- what an update tells


def test_what_an_update_brings_and_needs() -> None:
    found = read_update(update((1, 5, [text("ab", origin=(1, 4)), b"\x00\x03"]), (2, 0, [text("c", right=(3, 8))])))
    assert found.runs == [Run(1, 5, 2), Run(1, 7, 3), Run(2, 0, 1)]
    assert found.needs == {1: 5, 3: 9}
    assert not found.fits({1: 5, 3: 8})
    assert found.fits({1: 5, 3: 9})
    assert found.brought({}) == 6
    assert found.brought({1: 9, 2: 1}) == 1
    assert found.brought({1: 10, 2: 1}) == 0


def test_a_gap_has_to_be_known() -> None:
    found = read_update(update((1, 0, [text("a"), b"\x0a\x04", text("b", origin=(1, 0))])))
    assert found.runs == [Run(1, 0, 1), Run(1, 5, 1)]
    assert found.needs == {1: 5}


def test_deletions_have_to_be_known() -> None:
    deletes = b"\x01" + number(9) + b"\x02" + number(3) + number(2) + number(10) + number(1)
    found = read_update(update(deletes=deletes))
    assert found.deletes == [Run(9, 3, 2), Run(9, 10, 1)]
    assert found.needs == {9: 11}
    assert found.brought({}) == 0


@pytest.mark.parametrize(
    ("made", "pairs", "known", "cut"),
    [
        (update((1, 0, [text("a😀b")])), {}, {}, False),
        (update((1, 0, [text("a😀b"), text("x", origin=(1, 1))])), {}, {}, True),
        (update((1, 0, [text("a😀b"), text("x", origin=(1, 2))])), {}, {}, False),
        (update((1, 0, [text("a😀b"), text("x", right=(1, 2))])), {}, {}, True),
        (update((2, 0, [text("x", origin=(1, 1))])), {1: array("I", [2])}, {1: 4}, True),
        (update((2, 0, [text("x", origin=(1, 2))])), {1: array("I", [2])}, {1: 4}, False),
        (update((1, 0, [text("a😀b")])), {}, {1: 2}, True),
        (update((1, 0, [text("a😀b")])), {}, {1: 3}, False),
        (update(deletes=b"\x01\x01\x01\x02\x02"), {1: array("I", [2])}, {1: 4}, True),
        (update(deletes=b"\x01\x01\x01\x01\x01"), {1: array("I", [2])}, {1: 4}, True),
        (update(deletes=b"\x01\x01\x01\x01\x02"), {1: array("I", [2])}, {1: 4}, False),
    ],
)
def test_surrogate_pairs_that_are_cut(
    made: bytes, pairs: dict[int, array[int]], known: dict[int, int], cut: bool
) -> None:
    assert read_update(made).cuts(pairs, known) is cut


# --- what is refused

NESTED_ANY = b"\x75\x01" * (MOST_DEPTH + 2) + b"\x7e"
NESTED_JSON = b"[" * (MOST_DEPTH + 1) + b"]" * (MOST_DEPTH + 1)
TOWER = [paragraph(ROOT)] + [paragraph(b"\x00\x01" + number(n)) for n in range(MOST_DEPTH + 4)]

BAD: dict[str, bytes] = {
    "nothing": b"",
    "too short": b"\x01\x01\x01",
    "trailing": update() + b"\x00",
    "no deletions": b"\x00",
    "clients it does not hold": number(2**29) + b"\x00",
    "structs it does not hold": b"\x01" + number(2**29) + b"\x01\x00\x00",
    "a client twice": update((1, 0, [text("a")]), (1, 1, [text("b", origin=(1, 0))])),
    "a client without structs": update((1, 0, [])),
    "a huge client": update((2**53, 0, [text("a")])),
    "a huge clock": update((1, 2**31, [text("a")])),
    "a huge length": update((1, 0, [b"\x00" + number(2**31)])),
    "a long number": update((1, 0, [b"\x00" + b"\xff" * 9 + b"\x01"])),
    "a padded number": update((1, 0, [b"\x00\x81\x00"])),
    "an empty gap": update((1, 0, [b"\x0a\x00"])),
    "an empty filler": update((1, 0, [b"\x00\x00"])),
    "a filler with flags": update((1, 0, [b"\x80\x01"])),
    "an empty text": update((1, 0, [text("")])),
    "a text that is not UTF-8": update((1, 0, [b"\x04" + ROOT + named(b"\xff")])),
    "a text with NUL": update((1, 0, [text("a\0b")])),
    "half a surrogate pair": update((1, 0, [b"\x04" + ROOT + named(b"\xed\xa0\x80")])),
    "a text it does not hold": update((1, 0, [b"\x04" + ROOT + number(2**30)])),
    "a parent of a third kind": update((1, 0, [b"\x04\x02" + named("a")])),
    "a long name": update((1, 0, [b"\x04\x01" + named("n" * 257) + named("a")])),
    "an unknown content": update((1, 0, [b"\x0b" + ROOT + b"\x01"])),
    "a subdocument": update((1, 0, [b"\x09" + ROOT + named("guid") + b"\x76\x00"])),
    "an unknown flag": update((1, 0, [b"\x14" + ROOT + named("a")])),
    "an unknown type": update((1, 0, [b"\x07" + ROOT + b"\x07"])),
    "a hook": update((1, 0, [b"\x07" + ROOT + b"\x05" + named("h")])),
    "no values": update((1, 0, [b"\x08" + ROOT + b"\x00"])),
    "an unknown value": update((1, 0, [value(b"\x10")])),
    "a value it does not hold": update((1, 0, [value(b"\x7b\x00\x00")])),
    "a list it does not hold": update((1, 0, [value(b"\x75" + number(2**29))])),
    "a deep value": update((1, 0, [value(NESTED_ANY)])),
    "a long integer": update((1, 0, [value(b"\x7d" + b"\xff" * 12 + b"\x01")])),
    "deep JSON": update((1, 0, [b"\x05" + ROOT + named(NESTED_JSON)])),
    "an undefined object": update((1, 0, [b"\x05" + ROOT + named("undefined")])),
    "a list of JSON texts": update((1, 0, [b"\x02" + ROOT + b"\x01" + named("1")])),
    "no JSON": update((1, 0, [b"\x05" + ROOT + named("{")])),
    "a format without a value": update((1, 0, [b"\x06" + ROOT + named("bold") + named("x")])),
    "an item that follows itself": update((1, 0, [text("a", origin=(1, 0))])),
    "an item that follows a later one": update((1, 0, [text("a", origin=(1, 1)), text("b")])),
    "items that wait for one another": update((1, 0, [text("a", origin=(2, 0))]), (2, 0, [text("b", origin=(1, 0))])),
    "a ring of three": update(
        (1, 0, [text("a", origin=(2, 0))]), (2, 0, [text("b", right=(3, 0))]), (3, 0, [text("c", origin=(1, 0))])
    ),
    "a text for a parent": update((1, 0, [text("a"), paragraph(b"\x00\x01\x00")])),
    "a tower": update((1, 0, TOWER)),
    "too many items": update((1, 0, [b"\x00\x01"] * (MOST_ITEMS + 1))),
    "too many deletions": update(deletes=b"\x01\x01" + number(MOST_ITEMS + 1) + b"\x00\x01" * (MOST_ITEMS + 1)),
    "deletions twice": update(deletes=b"\x02" + b"\x01\x01\x00\x01" * 2),
    "a client that deletes nothing": update(deletes=b"\x01\x01\x00\x00"),
    "an empty deletion": update(deletes=b"\x01\x01\x01\x00\x00"),
    "a deletion of all there is": update(deletes=b"\x01\x01\x01" + number(2**31 - 1) + number(2)),
}


@pytest.mark.parametrize("made", BAD.values(), ids=BAD.keys())
def test_what_is_unsound_is_refused(made: bytes) -> None:
    with pytest.raises(Unsound):
        read_update(made)


@pytest.mark.parametrize(
    "made",
    [
        update((1, 0, [text("a", origin=(2, 0)), text("b", origin=(1, 0))]), (2, 0, [text("c")])),
        update((2, 0, [text("c"), text("d", origin=(1, 0))]), (1, 0, [text("a", origin=(2, 0))])),
        update((1, 0, TOWER[:MOST_DEPTH])),
        update((1, 0, [paragraph(ROOT)] * 200)),
        update((1, 0, [b"\x05" + ROOT + named('{"src":"a"}'), value(b"\x75\x01" * 60 + b"\x7e")])),
    ],
)
def test_what_only_looks_unsound_passes(made: bytes) -> None:
    doc: Doc[Any] = Doc()
    found = read_update(made)
    doc.apply_update(made)
    assert read_state(doc.get_state()) == {run.client: run.end for run in found.runs}


@pytest.mark.parametrize(
    "made",
    [b"", b"\x01", number(2**29), b"\x01\x01", b"\x00\x00", b"\x02\x01\x01\x01\x02", b"\x01\x01" + number(2**31)],
)
def test_state_vectors_that_are_refused(made: bytes) -> None:
    with pytest.raises(Unsound):
        read_state(made)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(made: bytes) -> None:
    for read in (read_update, read_state):
        function: Callable[[bytes], object] = read
        with contextlib.suppress(Unsound):
            function(made)


def test_no_mutant_that_passes_hurts() -> None:
    """In a process of its own, which would die of what is looked for."""
    made = subprocess.run(
        [sys.executable, "-m", "tests.crdt.mutants", "4000", "1"], capture_output=True, text=True, timeout=300
    )
    assert made.returncode == 0, made.stderr[-2000:]
    told = json.loads(made.stdout)
    assert told["applied"] > 100
    assert told["refused"] > 1000
    assert told["broken"] == []


@given(st.data())
def test_the_short_way_reads_what_the_long_one_reads(data: st.DataObject) -> None:
    """Of every update that is a keystroke, or nearly one."""
    small = st.integers(0, 300)
    client, clock = data.draw(small), data.draw(small)
    sides = data.draw(st.sampled_from([0x80, 0x40, 0xC0, 0x00, 0x20]))
    parts = [b"\1\1", number(client), number(clock), bytes([sides | data.draw(st.sampled_from([4, 4, 4, 1, 8]))])]
    for _ in range((sides >> 7) + (sides >> 6 & 1)):
        parts += [number(data.draw(st.sampled_from([client, 7]))), number(data.draw(small))]
    parts += [counted(data.draw(st.sampled_from([b"x", b"xyz", b"", b"\0", "é".encode(), b"\xff"])))]
    parts += [data.draw(st.sampled_from([b"\0", b"\0", b"", b"\0\0", b"\1\7\1\0\1"]))]
    made = b"".join(parts)
    short = guard._typed(made)
    if short is None:
        return
    reader = guard.Items(made, 10)
    assert reader.update() == short
    assert reader.finished
