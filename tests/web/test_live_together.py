"""Several editors on both wires and REST beside them, each on a way of its own: in the end all have the same text.

`MDSERVER_LIVE_SEEDS=200` has more of each, and `MDSERVER_LIVE_FRAMES=100000` more of what is no frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pycrdt import Doc, Text

from mdserver.collab import protocol
from mdserver.config import Limits
from mdserver.crdt import lib0
from mdserver.web.live import LIVE
from tests.crdt.mutants import mutant, parents

from .conftest import Person, Start
from .editors import Editor, opened, y_websocket
from .test_live import comes, document, shown, text_of
from .test_live_access import editing, wire
from .test_live_storage import logged, rows, sound

__all__ = ["wire"]

pytestmark = pytest.mark.usefixtures("hurried")

SEEDS = int(os.environ.get("MDSERVER_LIVE_SEEDS", "3"))
FRAMES = int(os.environ.get("MDSERVER_LIVE_FRAMES", "600"))
WORDS = ("a", "words ", "é", "東京都", "😀", "👩‍👩‍👧", "\n", "# Title\n", "- item\n")
FAST = Limits(frames_second=1_000_000, frames_burst=1_000_000, user_sockets=1000)


class Writer:
    """Somebody who writes, deletes, goes and comes back with what they wrote meanwhile."""

    def __init__(self, person: Person, id: str, kind: str, chance: random.Random) -> None:
        self.person, self.id, self.kind, self.chance = person, id, kind, chance
        self.doc: Doc[Any] = Doc()
        self.text = self.doc.get("content", type=Text)
        self.tokens: list[str] = []
        self.name = chance.randbytes(4).hex()

    async def write(self, sessions: int) -> None:
        for _ in range(sessions):
            for _ in range(self.chance.randrange(3)):
                self.change()  # offline
            async with self.connected() as editor:
                for _ in range(self.chance.randint(1, 8)):
                    made: list[bytes] = []
                    subscription = self.doc.observe(lambda event: made.append(event.update))  # noqa: B023
                    self.change()
                    self.doc.unobserve(subscription)
                    for one in made:
                        await editor.send(protocol.change(one))
                    await asyncio.sleep(0)
                if self.chance.random() < 0.5:
                    continue  # what was sent may be lost on the way: it is still here
                await self.settled(editor)

    def change(self) -> None:
        there = str(self.text)
        at = len(there[: self.chance.randint(0, len(there))].encode())
        if self.chance.random() < 0.3 and there:
            start = self.chance.randrange(len(there))
            if not any(mark in there[max(0, start - 30) : start + 30] for mark in "<>"):
                end = min(len(there), start + self.chance.randint(1, 3))
                del self.text[len(there[:start].encode()) : len(there[:end].encode())]
                return
        if self.chance.random() < 0.3:
            token = f"<{self.name}{len(self.tokens)}>"
            if inside(there, len(there.encode()[:at].decode())):
                at = len(there.encode())
            self.tokens.append(token)
            self.text.insert(at, token)
        elif not inside(there, len(there.encode()[:at].decode())):
            self.text.insert(at, self.chance.choice(WORDS))

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Editor]:
        async with editing_with(self.person, self.id, self.kind, self.doc) as editor:
            yield editor

    async def settled(self, editor: Editor) -> None:
        """Wait until all that was sent has been heard."""
        editor.synced = False
        await editor.send(protocol.step1(self.doc.get_state()))
        await editor.until(lambda: editor.synced)


def inside(text: str, at: int) -> bool:
    """Whether that is within a token."""
    return text[:at].count("<") > text[:at].count(">")


@contextlib.asynccontextmanager
async def editing_with(person: Person, id: str, kind: str, doc: Doc[Any]) -> AsyncIterator[Editor]:
    """A client that comes with a document of its own."""
    headers = person.headers
    async with person.http.ws_connect("/collab" if kind == "provider" else f"/collab/{id}", headers=headers) as ws:
        editor = Editor(ws, address=lib0.text(id) if kind == "provider" else b"")
        editor.doc, editor.content = doc, doc.get("content", type=Text)
        if kind == "provider":
            await editor.sign_in("")
        await editor.sync()
        try:
            yield editor
        finally:
            await editor.leave()


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_all_come_to_the_same_text(start: Start, seed: int) -> None:
    chance = random.Random(seed)
    server = await start(limits=FAST)
    ada = await server.person("Ada")
    people = [ada, *[await server.member(ada, name, "editor") for name in ("Bob", "Cleo", "Dan")]]
    id = await document(ada, "Start.\n")
    writers = [
        Writer(person, id, chance.choice(["provider", "y-websocket"]), random.Random(chance.random()))
        for person in people
    ]

    overlaps: list[Any] = []

    async def rest() -> None:
        for number in range(6):
            there = (await ada.get(f"/documents/{id}")).json
            lines = there["content"].split("\n")
            lines.insert(chance.randint(0, len(lines)), f"rest {number}")
            changed = {"content": "\n".join(lines), "base_version": there["version"]}
            answer = await ada.patch(f"/documents/{id}/content", changed)
            assert answer.status == 200, answer
            overlaps.extend(answer.json["overlaps"])

    await asyncio.gather(rest(), *[one.write(8) for one in writers])
    head = await rows(server, id)
    await comes(lambda: server.app[LIVE].rooms.found(id).seq >= head)  # type: ignore[union-attr]
    for _ in range(2):
        for one in writers:
            async with one.connected() as editor:
                await one.settled(editor)
                await one.settled(editor)
    text = str(writers[0].text)
    assert [str(one.text) for one in writers] == [text] * len(writers)
    await comes(lambda: server.app[LIVE].rooms.found(id).is_settled)  # type: ignore[union-attr]
    assert await logged(server, id) == text
    await shown(ada, id, text)
    for one in writers:
        for token in one.tokens:
            assert text.count(token) == 1 or (overlaps and token in text), token  # of an overlap, both sides are kept
    await sound(server)


def damaged(chance: random.Random, editor: Editor, updates: list[bytes]) -> bytes:
    """Something like a message: most of them an update that is nearly one."""
    kind = chance.randrange(10)
    if kind < 5:
        data = mutant(chance.choice(updates), chance)
        return protocol.change(data) if chance.random() < 0.7 else protocol.step2(data)
    if kind == 5:
        return protocol.step1(mutant(editor.doc.get_state(), chance))
    if kind == 6:
        state = b'{"user":{"name":"x"},"cursor":[1,2]}'
        return mutant(protocol.awareness([protocol.Presence(chance.randrange(5), chance.randrange(9), state)]), chance)
    if kind == 7:
        return chance.randbytes(chance.randint(0, 40))
    return mutant(protocol.change(chance.choice(updates)), chance)


@pytest.mark.parametrize("seed", range(max(1, SEEDS // 3)))
async def test_frames_that_are_nearly_some(start: Start, wire: str, seed: int) -> None:
    server = await start(limits=FAST)
    chance = random.Random(seed)
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "editor")
    id, other = await document(ada, "Fuzzed.\n"), await document(ada, "untouched")
    left, count = FRAMES, 0
    async with opened(ada, other) as healthy:
        while left > 0:
            state, updates = parents(chance)
            async with editing(wire, bob, id) as editor:
                editor.quiet = True
                await editor.send(protocol.step2(state))
                with contextlib.suppress(ConnectionError):
                    for _ in range(chance.randint(1, 40)):
                        left -= 1
                        address = editor.address if chance.random() < 0.95 else mutant(editor.address + b"x", chance)
                        await editor.ws.send_bytes(address + damaged(chance, editor, [state, *updates]))
                    if editor.ws.closed:
                        continue
            count += 1
            await healthy.write(f"{count} ")
            await healthy.until(lambda: healthy.saved == count + 1)  # noqa: B023 (awaited here)
            assert healthy.code is None
    rooms = server.app[LIVE].rooms
    await comes(lambda: (room := rooms.found(id)) is not None and room.is_settled)  # else it is being loaded anew
    text = await logged(server, id)
    async with opened(ada, id) as editor, y_websocket(ada, id) as second:
        await second.sync()
        assert editor.text == second.text == text
        await editor.write("!")
        await second.until(lambda: second.text == editor.text)
        await shown(ada, id, editor.text)
    assert (await text_of(ada, other)).startswith("untouched1 2 ")
    await sound(server)
