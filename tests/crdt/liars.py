"""Updates that are well-formed, and say of their items whatever comes to mind: beside what they stand, and in what."""

from __future__ import annotations

import random
from typing import NamedTuple

from mdserver.crdt.lib0 import number

from .test_guard import named, update

Place = tuple[int, int]


class Told(NamedTuple):
    """An update, what is known when it is taken in, and which types there are then."""

    data: bytes
    known: dict[int, int]
    types: list[Place]


def lie(chance: random.Random, known: dict[int, int], types: list[Place]) -> Told:
    """An update by one or two clients, which may delete something."""
    known, types = dict(known), list(types)
    clients = []
    for client in chance.sample([1, 2, 3, 9], chance.choice([1, 1, 1, 2])):
        start = known.get(client, 0)
        structs = []
        for _ in range(chance.randint(1, 3)):
            made, length = _item(chance, client, known, types)
            structs.append(made)
            known[client] = known.get(client, 0) + length
        clients.append((client, start, structs))
    deletes = b"\x00"
    if chance.random() < 0.2:
        client = chance.choice(list(known))
        at = chance.randrange(known[client])
        length = min(known[client] - at, chance.randint(1, 3))
        deletes = b"\x01" + number(client) + b"\x01" + number(at) + number(length)
    return Told(update(*clients, deletes=deletes), known, types)


def _item(chance: random.Random, client: int, known: dict[int, int], types: list[Place]) -> tuple[bytes, int]:
    """One item, and how many clocks it takes."""
    kind = chance.choice([4, 4, 4, 4, 4, 4, 7, 7, 1, 6, 0])
    clock = known.get(client, 0)
    if kind == 0:
        length = chance.randint(1, 3)
        return b"\x00" + number(length), length
    left = _place(chance, known) if known and chance.random() < 0.45 else None
    right = _place(chance, known) if known and chance.random() < 0.4 else None
    if clock and chance.random() < 0.3:
        left = (client, clock - 1)
    if left == right:
        right = None
    info = kind | (0x80 if left else 0) | (0x40 if right else 0)
    made = b"".join(number(one[0]) + number(one[1]) for one in (left, right) if one)
    if not left and not right:
        if types and chance.random() < 0.5:
            made += b"\x00" + b"".join(map(number, chance.choice(types)))
        elif known and chance.random() < 0.02:
            made += b"\x00" + b"".join(map(number, _place(chance, known)))
        else:
            made += b"\x01" + named(chance.choice(["content", "content", "default"]))
        if chance.random() < 0.15:
            info |= 0x20
            made += named(chance.choice("ab"))
    length = 1
    if kind == 4:
        words = "".join(chance.choice("abcdefgh") for _ in range(chance.randint(1, 4)))
        made, length = made + named(words), len(words)
    elif kind == 7:
        made += chance.choice([b"\x03" + named("p"), b"\x06"])
        types.append((client, clock))
    elif kind == 1:
        length = chance.randint(1, 3)
        made += number(length)
    else:
        made += named("bold") + named("true")
    return bytes([info]) + made, length


def _place(chance: random.Random, known: dict[int, int]) -> Place:
    client = chance.choice(list(known))
    end = known[client]
    return client, max(0, end - 1 - chance.randrange(4)) if chance.random() < 0.5 else chance.randrange(end)
