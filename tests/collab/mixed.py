"""Every kind of client and REST in one document: what they do together, and what has to come of it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
from collections.abc import Awaitable, Callable
from itertools import count

from mdserver.crdt import richtext
from mdserver.crdt import text as ytext
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

RICH: list[tuple[Kind, Field]] = [
    ("hocuspocus", "tiptap"),
    ("y-websocket", "tiptap"),
    ("hocuspocus3", "tiptap"),
    ("y-websocket2", "tiptap"),
]

BEGUN = "begun\n"
"""What a document begins with: clients' words come before it."""

RICHLY_BEGUN = "# Plan\n\n- one\n- two\n\nbegun here\n\n> said\n"
"""What rich text begins with: clients' words come between its blocks."""


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
        word = f"{{rest.{number}{'東京😀' if number % 3 == 0 else ''}}}"
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


class RestWithin(Rest):
    """The same for rich text, into the paragraph `begun here`: clients strike nothing out there."""

    def _with(self, text: str, word: str) -> str:
        before, begun, after = text.partition("begun ")
        words = after.partition(" here")[0].split()
        place = " ".join(words[: self._random.randint(0, len(words))])
        place += " " if place else ""
        return f"{before}{begun}{place}{word} {after.removeprefix(place)}"


class RestBetween(Rest):
    """The same for rich text, as a block of its own, or an item of the list."""

    def _with(self, text: str, word: str) -> str:
        if self._random.random() < 0.3:
            return text.replace("- one\n", f"- one\n- {word}\n")
        blocks = text.removesuffix("\n").split("\n\n")
        blocks.insert(self._random.randint(0, len(blocks)), word)
        return "\n\n".join(blocks) + "\n"


def opening(
    house: House, node: Driver, document: str, *, sorts: list[tuple[Kind, Field]] = SORTS
) -> Callable[[int], Awaitable[Client]]:
    """Opens clients of every kind: Ada's and Ben's in turn."""

    async def made(number: int) -> Client:
        kind, field = sorts[number % len(sorts)]
        return await house.open(node, kind, document, ("Ada", "Ben")[number % 2], field=field)

    return made


async def follows(house: House, document: str, one: Client) -> None:
    """Wait until REST and a client have the same: each may have to hear something of the other."""
    said = found = ""

    async def same() -> bool:
        nonlocal said, found
        if one.field == "tiptap":
            said = richtext.text_of(ytext.load(base64.b64decode(await one.update()), []))
        else:
            said = await one.seen()
        found = await house.text(document)
        return said == found

    with contextlib.suppress(TimeoutError):
        await until(same)
    assert found == said


async def converge(house: House, node: Driver, *, seed: int, steps: int, rest: bool, rich: bool = False) -> list[str]:
    """Random edits, departures and lost connections of four clients, with REST's edits beside them or without."""
    document = await _begun(house, rich=rich)
    opened = opening(house, node, document, sorts=RICH if rich else SORTS)
    all_of_them: list[Client] = []

    async def made(number: int) -> Client:
        all_of_them.append(await opened(number))
        return all_of_them[-1]

    async def read() -> str:
        return await house.text(document)

    edit = (RestWithin if rich else Rest)(house, document, seed=seed).edit if rest else None
    faults = await scenarios.converge(node, made, seed=seed, steps=steps, edit=edit, read=read)
    if not faults:
        await follows(house, document, all_of_them[0])
    for one in all_of_them:
        await one.destroy()
    return faults


async def type_on(house: House, node: Driver, *, seed: int, clients: int, edits: int, rich: bool = False) -> list[str]:
    """Clients that type as fast as they can while REST edits; what is wrong when they have stopped."""
    document = await _begun(house, rich=rich)
    opened = opening(house, node, document, sorts=RICH if rich else SORTS)
    all_of_them = [await opened(number) for number in range(clients)]
    rest = (RestBetween if rich else Rest)(house, document, seed=seed)
    for number, one in enumerate(all_of_them):
        await one.type(seed=seed * 100 + number, words=100_000, every_ms=10)
    for number in range(edits):
        await asyncio.gather(*(one.has_typed(2 * number) for one in all_of_them))
        await rest.edit()
    typed = [await one.stop_typing() for one in all_of_them]
    await asyncio.gather(*(one.saved() for one in all_of_them if one.kind in ("hocuspocus", "hocuspocus3")))
    await rest.edit()  # after all that was typed and is not yet in any text
    await asyncio.gather(*(one.shows(*rest.words) for one in all_of_them))
    await node.same(*all_of_them)
    text = await all_of_them[0].seen()
    await follows(house, document, all_of_them[0])
    words = [word for one in typed for word in one.words] + rest.words
    faults = [f"{text.count(word)} times there: {word}" for word in words if text.count(word) != 1]
    return faults + [f"{one.name} shows another text" for one in all_of_them if await one.seen() != text]


async def _begun(house: House, *, rich: bool) -> str:
    return await (house.document(RICHLY_BEGUN, kind="richtext") if rich else house.document(BEGUN))
