"""Every kind of client and REST in one document: what they do together, and what has to come of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from itertools import count

from tests.npm import scenarios
from tests.npm.clients import Client, Driver, Field, Kind
from tests.robust.program import Answer

from .houses import House, until

SORTS: list[tuple[Kind, Field]] = [
    ("hocuspocus", "codemirror"),
    ("y-websocket", "text"),
    ("hocuspocus3", "text"),
    ("y-websocket2", "codemirror"),
]

BEGUN = "begun\n"
"""What a document begins with: clients' words come before it."""


class Rest:
    """Somebody who edits a document by PUT and PATCH in turn, each time by a line more below what clients write.

    On a line of its own, since a merge keeps what one side struck out where the other side has edited beside it.
    """

    def __init__(self, house: House, document: str, *, seed: int) -> None:
        self.words: list[str] = []
        self._house, self._document = house, document
        self._random = random.Random(seed)
        self._numbers = count(1)

    async def edit(self) -> str:
        """Put a word somewhere, as seen in what was read a moment ago; who comes too late reads again."""
        number = next(self._numbers)
        word = f"[rest.{number}{'東京😀' if number % 3 == 0 else ''}]"
        while not await self._sent(word, merges=number % 2 == 0):
            pass
        self.words.append(word)
        return word

    async def _sent(self, word: str, *, merges: bool) -> bool:
        path = f"/documents/{self._document}"
        if merges:
            read = (await self._house.ask("GET", path)).json
            body = {"base_version": read["version"], "content": self._with(read["content"], word)}
            await self._house.ask("PATCH", f"{path}/content", body)
            return True
        read_now = await self._house.ask("GET", f"{path}/content")
        etag, text = read_now.headers["ETag"], read_now.body.decode()
        body = {"content": self._with(text, word)}
        answer: Answer = await self._house.ask("PUT", f"{path}/content", body, headers={"If-Match": etag}, status=None)
        assert answer.status in (200, 412), answer
        return answer.status == 200

    def _with(self, text: str, word: str) -> str:
        lines = text.splitlines(keepends=True)
        lines.insert(self._random.randint(1, len(lines)), f"{word}\n")
        return "".join(lines)


def opening(house: House, node: Driver, document: str) -> Callable[[int], Awaitable[Client]]:
    """Opens clients of every kind: Ada's and Ben's in turn."""

    async def made(number: int) -> Client:
        kind, field = SORTS[number % len(SORTS)]
        return await house.open(node, kind, document, ("Ada", "Ben")[number % 2], field=field)

    return made


async def converge(house: House, node: Driver, *, seed: int, steps: int, rest: bool) -> list[str]:
    """Random edits, departures and lost connections of four clients, with REST's edits beside them or without."""
    document = await house.document(BEGUN)

    async def read() -> str:
        return await house.text(document)

    edit = Rest(house, document, seed=seed).edit if rest else None
    return await scenarios.converge(node, opening(house, node, document), seed=seed, steps=steps, edit=edit, read=read)


async def type_on(house: House, node: Driver, *, seed: int, clients: int, edits: int) -> list[str]:
    """Clients that type as fast as they can while REST edits; what is wrong when they have stopped."""
    document = await house.document(BEGUN)
    opened = opening(house, node, document)
    all_of_them = [await opened(number) for number in range(clients)]
    rest = Rest(house, document, seed=seed)
    for number, one in enumerate(all_of_them):
        await one.type(seed=seed * 100 + number, words=100_000, every_ms=10)
    for _ in range(edits):
        await rest.edit()
    typed = [await one.stop_typing() for one in all_of_them]
    await asyncio.gather(*(one.saved() for one in all_of_them if one.kind in ("hocuspocus", "hocuspocus3")))
    await rest.edit()  # after all that was typed and is not yet in any text
    last = rest.words[-1]

    async def followed() -> bool:
        return all([last in await one.text() for one in all_of_them])

    await until(followed)
    await node.same(*all_of_them)
    text = await all_of_them[0].seen()
    await house.reads(document, text)
    words = [word for one in typed for word in one.words] + rest.words
    faults = [f"{text.count(word)} times there: {word}" for word in words if text.count(word) != 1]
    return faults + [f"{one.name} shows another text" for one in all_of_them if await one.seen() != text]
