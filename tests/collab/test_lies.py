"""What no honest client says of where its items stand is refused, what Yjs says never is, and all copies stay alike.

`MDSERVER_LIES=100000` tries as many documents. `yjs.json` was written by `node tests/npm/authors.mjs 21 4`.
"""

from __future__ import annotations

import base64
import json
import os
import random
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from pycrdt import Doc, Text, XmlFragment

from mdserver.collab.replica import Effect, Replica
from mdserver.crdt import text as crdt
from mdserver.crdt.guard import Unsound, read_state
from tests.crdt.liars import Place, lie
from tests.crdt.mutants import mutant, parents
from tests.crdt.test_guard import named, text, update

DOCUMENTS = int(os.environ.get("MDSERVER_LIES", "3000"))
MOST = 1 << 20
_TAG = re.compile(r"<(\w+)((?: \w+=\"[^\"]*\")+)>")


def shown(doc: Doc[Any]) -> tuple[str, str, dict[int, int]]:
    """All that is in a document; attributes come in any order."""
    rich = _TAG.sub(lambda tag: f"<{tag[1]} {sorted(tag[2].split())}>", str(doc.get("default", type=XmlFragment)))
    return str(doc.get("content", type=Text)), rich, read_state(doc.get_state())


def all_alike(replica: Replica, rows: list[bytes]) -> None:
    """The replica is what its log gives, at once or by a snapshot, and what a newcomer gets."""
    live = shown(replica._doc)
    assert live[2] == replica.known
    half = len(rows) // 2
    whole = crdt.load(None, rows).get_update()
    again = crdt.load(whole, [])
    for copy in (
        crdt.load(None, rows),
        crdt.load(crdt.load(None, rows[:half]).get_update(), rows[half:]),
        again,
        crdt.load(again.get_update(), []),
        crdt.load(replica.missing(b"\x00"), []),
    ):
        assert shown(copy) == live


@pytest.mark.parametrize("part", range(6))
def test_lies_leave_all_copies_alike(part: int) -> None:
    for seed in range(part * DOCUMENTS // 6, (part + 1) * DOCUMENTS // 6):
        chance = random.Random(seed)
        replica, rows = Replica.load(None, [], most=MOST), list[bytes]()
        known: dict[int, int] = {}
        types: list[Place] = []
        for _ in range(chance.randint(3, 25)):
            told = lie(chance, known, types)
            try:
                taken = replica.take(told.data)
            except Unsound:
                continue
            if taken.effect is Effect.NEW:
                rows.append(taken.data)
                known, types = told.known, told.types
        all_alike(replica, rows)


@pytest.mark.parametrize("part", range(6))
def test_damaged_updates_leave_all_copies_alike(part: int) -> None:
    for seed in range(part * DOCUMENTS // 60, (part + 1) * DOCUMENTS // 60):
        chance = random.Random(seed)
        rows = [crdt.first_update("hello")]
        replica = Replica.load(None, rows, most=MOST)
        for _ in range(3):
            state, updates = parents(chance)
            made = [state, *(mutant(chance.choice([state, *updates]), chance) for _ in range(50)), *updates]
            for data in made:
                try:
                    taken = replica.take(data, is_answer=data is state)
                except Unsound:
                    continue
                if taken.effect is Effect.NEW:
                    rows.append(taken.data)
        all_alike(replica, rows)


HELLO = update((1, 0, [text("hello")]))
ROOT = b"\x01" + named("content")
TYPE = update((1, 0, [b"\x07\x01" + named("default") + b"\x03" + named("p")]))


def keyed(value: bytes, parent: bytes = ROOT) -> bytes:
    return bytes([value[0] | 0x20]) + parent + named("a") + value[1:]


@pytest.mark.parametrize(
    ("rows", "told", "why"),
    [
        ([HELLO], update((2, 0, [text("x", right=(1, 2))])), "stands first"),
        ([HELLO], update((2, 0, [text("x", origin=(1, 3), right=(1, 1))])), "never stood"),
        ([HELLO], update((2, 0, [text("x", origin=(1, 0), right=(1, 3))])), "never stood"),
        (
            [HELLO, update((2, 0, [text("x", origin=(1, 4))]))],
            update((3, 0, [text("y", origin=(2, 0), right=(1, 0))])),
            "never stood",
        ),
        (
            [HELLO, update((2, 0, [b"\x04\x01" + named("other") + named("x")]))],
            update((3, 0, [text("y", origin=(1, 4), right=(2, 0))])),
            "two lists",
        ),
        ([HELLO, update((2, 0, [b"\x00\x02"]))], update((3, 0, [text("y", origin=(2, 1), right=(1, 0))])), "two lists"),
        ([update((1, 0, [keyed(b"\x04" + named("x"))]))], update((2, 0, [text("y", right=(1, 0))])), "a key's value"),
        ([HELLO], update((2, 0, [b"\x04\x00\x01\x02" + named("x")])), "no type"),
        ([HELLO], update((1, 5, [text("x", origin=(1, 4))]), (2, 0, [text("y", right=(1, 5))])), "stands first"),
        (
            [TYPE, update((2, 0, [keyed(b"\x04" + named("abc"), b"\x00\x01\x00")]))],
            b"\x00\x01\x02\x01\x02\x01",
            "the last is deleted",
        ),
        (
            [TYPE, update((2, 0, [keyed(b"\x04" + named("abc"), b"\x00\x01\x00")]))],
            update((3, 0, [text("x", origin=(2, 1))])),
            "is cut",
        ),
    ],
)
def test_a_lie_is_refused_and_leaves_nothing_behind(rows: list[bytes], told: bytes, why: str) -> None:
    replica = Replica.load(None, [], most=MOST)
    for row in rows:
        assert replica.take(row).effect is Effect.NEW
    before = replica.snapshot()
    for _ in range(2):
        with pytest.raises(Unsound, match=why):
            replica.take(told)
    with pytest.raises(Unsound, match=why):
        Replica.load(before, [], most=MOST).take(told)
    assert replica.snapshot() == before
    after = update((1, replica.known[1], [text("!", origin=(1, replica.known[1] - 1))]))
    assert replica.take(after).effect is Effect.NEW
    all_alike(replica, [*rows, after])


def test_what_was_refused_is_forgotten() -> None:
    replica = Replica.load(None, [HELLO], most=MOST)
    values = [keyed(b"\x04" + named("x"), b"\x01" + named(f"{n} {'long' * 40}")) for n in range(2_000)]
    told = update((2, 0, values), *[(n, 0, [text("x")]) for n in range(10, 500)], (3, 0, [text("y", right=(1, 2))]))
    with pytest.raises(Unsound):
        replica.take(told)
    tracemalloc.start()
    try:
        for _ in range(3):
            with pytest.raises(Unsound):
                replica.take(told)
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()


def test_text_at_the_end_of_a_long_chain_is_judged_at_once() -> None:
    """Many who write in turns; each piece grows from the one before it."""
    replica = Replica.load(None, [HELLO], most=MOST)
    last, clocks = (1, 4), {2: 0, 3: 0}
    for n in range(3_000):
        client = 2 + n % 2
        sent = update((client, clocks[client], [text("x", origin=last)]))
        assert replica.take(sent).effect is Effect.NEW
        last = (client, clocks[client])
        clocks[client] += 1
    with pytest.raises(Unsound, match="never stood"):
        replica.take(update((9, 0, [text("y", origin=last, right=(1, 1))])))
    assert replica.take(update((9, 0, [text("y", origin=(1, 4), right=(2, 0))]))).effect is Effect.NEW


def test_what_yjs_writes_is_never_refused() -> None:
    """Texts with formats, maps, XML, and lists; undone and done again, merged, offline, and met without the server."""
    cases = json.loads((Path(__file__).parent / "yjs.json").read_text())
    assert len(cases) == 4
    for case in cases:
        rows: list[bytes] = []
        replica = Replica.load(None, rows, most=MOST)
        for nth, (written, is_answer) in enumerate(case["log"]):
            taken = replica.take(base64.b64decode(written), is_answer=is_answer)
            if taken.effect is Effect.NEW:
                rows.append(taken.data)
            if nth % 17 == 16:
                replica = Replica.load(None, rows, most=MOST)
            elif nth % 17 == 8:
                replica = Replica.load(replica.snapshot(), [], most=MOST)
        assert replica.text() == case["text"]


def test_a_log_that_points_to_nothing_can_be_loaded() -> None:
    waiting = update((1, 0, [text("x", origin=(5, 9))]), (2, 0, [text("y", right=(7, 1))]))
    replica = Replica.load(None, [waiting, b"\x00\x01\x09\x01\x00\x01", HELLO], most=MOST)
    assert replica.text() == "hello"
