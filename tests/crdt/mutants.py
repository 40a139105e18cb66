"""Sound updates with a few bytes changed, and what becomes of them: `python -m tests.crdt.mutants COUNT SEED`.

Those that the guard lets through are applied to documents. They may be refused there, cleanly; a panic, a document that
has not taken in what the guard read, or one that cannot be read any more is told under `broken`.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from typing import Any

from pycrdt import Doc, Map, Text, XmlFragment

from mdserver.crdt.guard import Unsound, Update, read_state, read_update

from .test_guard import typed

_TELLING = (0, 1, 2, 3, 4, 5, 6, 7, 8, 0x0A, 0x24, 0x28, 0x44, 0x84, 0xA8, 0xC4)


def parents(chance: random.Random) -> tuple[bytes, list[bytes]]:
    """The state of a document that three clients have edited, and the updates that it consists of."""
    docs: list[Doc[Any]] = [Doc(client_id=client) for client in (1, 2, 300)]
    updates: list[bytes] = []
    for doc in docs:
        doc.observe(lambda event: updates.append(event.update))
    for _ in range(chance.randint(3, 15)):
        typed(chance.choice(docs), chance)
        if chance.random() < 0.2:
            for doc in docs:
                doc.apply_update(docs[0].get_update(doc.get_state()))
    for doc in docs[1:]:
        docs[0].apply_update(doc.get_update(docs[0].get_state()))
    return docs[0].get_update(), updates


def mutant(parent: bytes, chance: random.Random) -> bytes:
    """The bytes with up to four changes."""
    made = bytearray(parent)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(made) + 1)
        kind = chance.randrange(10)
        if kind < 6 and at < len(made):
            made[at] = chance.choice((*_TELLING, chance.randrange(256)))
        elif kind < 8:
            del made[at : at + chance.randint(1, 3)]
        elif kind == 8:
            made[at:at] = chance.randbytes(chance.randint(1, 3))
        else:
            start = chance.randrange(len(made) + 1)
            made[at:at] = made[start : start + chance.randint(1, 12)]
    return bytes(made)


def trouble(doc: Doc[Any], made: bytes, found: Update) -> str | None:
    """What goes wrong when a document takes in what the guard let through."""
    try:
        doc.apply_update(made)
    except RuntimeError as error:  # its parent, outside of it, is no type; only the document could tell
        return None if "block parent" in str(error) else f"refused: {error}"
    except BaseException as error:  # a panic is one, and a ValueError means that the guard reads otherwise
        return f"{type(error).__name__}: {error}"
    str(doc.get("content", type=Text))
    str(doc.get("default", type=XmlFragment))
    doc.get("mindmap", type=Map).keys()  # not its values: arrays within are not read, since that may never end
    known = read_state(doc.get_state())
    if any(known.get(run.client, 0) < run.end for run in found.runs):
        return "it was not taken in"
    read_update(doc.get_update())
    return None


def main() -> int:
    count, chance = int(sys.argv[1]), random.Random(int(sys.argv[2]))
    told: Counter[str] = Counter()
    broken: list[tuple[str, str]] = []
    state, updates = parents(chance)
    for turn in range(count):
        if turn % 200 == 0:
            state, updates = parents(chance)
        made = mutant(chance.choice([state, *updates]), chance)
        doc: Doc[Any] = Doc()
        if chance.random() < 0.7:
            doc.apply_update(state)
        known = read_state(doc.get_state())
        try:
            found = read_update(made)
        except Unsound:
            told["refused"] += 1
            continue
        if not found.fits(known) or found.cuts(read_update(doc.get_update()).pairs, known):
            told["unfit"] += 1
            continue
        told["applied"] += 1
        if (wrong := trouble(doc, made, found)) is not None:
            broken.append((wrong, made.hex()))
    print(json.dumps({**told, "broken": broken[:10]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
