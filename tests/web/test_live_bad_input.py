"""What clients should not send: it is refused, and hurts neither the document nor anybody else."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pycrdt import Doc, Text

from mdserver.collab import protocol
from mdserver.config import Limits
from mdserver.crdt import lib0
from mdserver.crdt.lib0 import counted, number
from mdserver.web.live import LIVE
from tests.crdt.test_guard import text, update

from .conftest import Server, Start
from .editors import Editor, opened, y_websocket
from .test_live import comes, document, shown, text_of
from .test_live_access import editing
from .test_live_storage import logged, sound
from .test_live_storage import rows as rows_of

pytestmark = pytest.mark.usefixtures("hurried")

WIRES = ("provider", "y-websocket")


@contextlib.asynccontextmanager
async def world(server: Server, wire: str) -> AsyncIterator[tuple[Editor, str]]:
    """A client that may write; at the end another one is served as before, and all else is untouched."""
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "editor")
    id, other = await document(ada, "Hello 😀"), await document(ada, "untouched")
    server.bob = bob  # type: ignore[attr-defined]
    async with opened(ada, id) as healthy, editing(wire, bob, id) as editor:
        before = await rows_of(server, id)
        yield editor, id
        await healthy.edit(lambda text: text.insert(0, "healthy "))
        await healthy.until(lambda: healthy.saved == 2)
        assert healthy.code is None
        assert "healthy " in healthy.text
        assert await logged(server, id) == healthy.text
        assert await rows_of(server, id) > before
        await shown(ada, id, healthy.text)
    assert await text_of(ada, other) == "untouched"
    await sound(server)


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def again(server: Server, wire: str, id: str) -> contextlib.AbstractAsyncContextManager[Editor]:
    """Another client of the same person's."""
    return editing(wire, server.bob, id)  # type: ignore[attr-defined]


def presence(client: int, clock: int, state: bytes) -> bytes:
    return b"\x01" + counted(b"\x01" + number(client) + number(clock) + counted(state))


NO_MESSAGES = [
    b"\x0b",
    b"\x7f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x00",
    b"\x00\x00",
    b"\x00\x03\x00",
    b"\x00\x02\x05ab",
    b"\x00\x02\xff\xff\xff\xff\x0fab",
    b"\x04\x00",
    b"\x06\x00",
    b"\x02\x01\x00",
    b"\x02\x02\x00",
    b"\x08\x01",
    b"\x01\x00",
    b"\x01\x01\xff",
    presence(1, 1, b"{"),
    presence(1, 1, b"[]"),
    presence(1, 1, b'"text"'),
    presence(1, 1, b"\xff\xfe"),
    presence(1, 1, b'{"a":"' + b"x" * 9000 + b'"}'),
    presence(1, 1 << 31, b"{}"),
    presence(1 << 53, 1, b"{}"),
    presence(1, 1, b"[" * 4000 + b"]" * 4000),
]


NO_FRAMES: list[str | bytes] = ["words", "", b"", b"\x05name", b"\x09\x09", b"\xff" * 300, b"\x01x\x07\x00"]


async def test_what_is_no_message_closes_the_socket(server: Server, wire: str) -> None:
    async with world(server, wire) as (_, id):
        for bad in NO_MESSAGES:
            async with again(server, wire, id) as editor:
                await editor.send(bad)
                await editor.until(lambda: editor.code)
                assert editor.code == 4400, bad


async def test_what_is_no_frame_closes_the_socket(server: Server, wire: str) -> None:
    async with world(server, wire) as (_, id):
        for bad in NO_FRAMES:
            async with again(server, wire, id) as editor:
                await (editor.ws.send_str(bad) if isinstance(bad, str) else editor.ws.send_bytes(bad))
                await editor.until(lambda: editor.code)
                assert editor.code == 4400, bad


async def test_what_is_no_state_vector(server: Server, wire: str) -> None:
    async with world(server, wire) as (_, id):
        for bad in (b"", b"\x01\x01", b"\xff\xff\xff", b"\x02\x01\x01\x01\x01", b"\x00\x00"):
            async with again(server, wire, id) as editor:
                await editor.send(protocol.step1(bad))
                await editor.until(lambda: editor.closed or editor.code)


BAD_UPDATES = [
    b"",
    b"\x00",
    b"\x01\x01\x01\x00",
    b"\x00\x00\x00",
    update((1, 0, [text("a", origin=(1, 0))])),
    update((1, 0, [text("a", origin=(2, 0))]), (2, 0, [text("b", origin=(1, 0))])),
    update((1, 0, [text("nul\0")])),
    update((1, 0, [text("a")]), (1, 1, [text("b")])),
    update((1, 0, [b"\x09\x01\x07content\x00"])),
    update((1, (1 << 31) - 1, [text("ab")])),
    update((1, 0, [text("a")]), deletes=b"\x01\x01\x01\x00\x00"),
]


async def test_an_update_that_is_not_sound(server: Server, wire: str) -> None:
    async with world(server, wire) as (_, id):
        for bad in BAD_UPDATES:
            for message in (protocol.change(bad), protocol.step2(bad)):
                async with again(server, wire, id) as editor:
                    await editor.send(message)
                    if wire == "provider":
                        await editor.until(lambda: editor.closed and editor.refused)
                        assert editor.code is None
                    else:
                        await editor.until(lambda: editor.code)
                        assert editor.code == 4400


async def test_half_a_character_is_refused(server: Server, wire: str) -> None:
    async with world(server, wire) as (editor, _):
        whole = editor.doc.get_update()
        (client,) = [one for one in state_of(editor.doc) if one]
        assert whole
        await editor.send(protocol.change(update((9, 0, [text("x", origin=(client, 6))]))))
        await editor.until(lambda: editor.closed or editor.code)


def state_of(doc: Doc[Any]) -> dict[int, int]:
    reader = lib0.Reader(doc.get_state())
    return {reader.number(): reader.number() for _ in range(reader.number())}


async def test_what_comes_early_is_asked_for_and_not_logged_before(server: Server, wire: str) -> None:
    async with world(server, wire) as (editor, id):
        before, asked = await rows_of(server, id), editor.asked
        editor.quiet = True
        lost = await editor_edit(editor, "a")
        assert lost
        await editor.write("b")  # builds on what was lost
        await editor.until(lambda: editor.asked == asked + 1)
        assert await rows_of(server, id) == before
        saved = editor.saved
        await editor.send(protocol.step2(editor.doc.get_update()))
        if wire == "provider":
            await editor.until(lambda: editor.saved == saved + 1)
        editor.quiet = False
        await editor.write("c")
        await comes(lambda: server.app[LIVE].rooms.found(id).replica.text().endswith("abc"))  # type: ignore[union-attr]
        await comes(lambda: server.app[LIVE].rooms.found(id).is_settled)  # type: ignore[union-attr]
        assert "abc" in await logged(server, id)


async def editor_edit(editor: Editor, words: str) -> bytes:
    """Write something and do not send it."""
    made: list[bytes] = []
    subscription = editor.doc.observe(lambda event: made.append(event.update))
    editor.content.insert(len(editor.content), words)
    editor.doc.unobserve(subscription)
    return made[0]


async def test_an_answer_that_is_early_is_not_asked_for_again(server: Server, wire: str) -> None:
    async with world(server, wire) as (editor, id):
        asked = editor.asked
        before = await rows_of(server, id)
        for _ in range(3):
            await editor.send(protocol.step2(update((77, 5, [text("x")]))))
        await editor.send(protocol.step1(b"\0"))
        editor.synced = False
        await editor.until(lambda: editor.synced)
        assert editor.asked <= asked + 1
        assert await rows_of(server, id) == before


async def test_documents_that_were_not_opened(server: Server) -> None:
    async with world(server, "provider") as (editor, id):
        ada = await server.person("Eve")
        others = await document(ada, "Eve's")
        made = Doc[Any]()
        made.get("content", type=Text)
        made["content"] += "x"
        for name in (others, id + "x", id[:-1], "", "a" * 250, f"{id}\0session"):
            address = lib0.text(name)
            for message in (protocol.change(made.get_update()), protocol.step1(b"\0"), presence(3, 1, b"{}"), b"\x03"):
                await editor.ws.send_bytes(address + message)
        await editor.ws.send_bytes(protocol.PING_FRAME)
        await editor.until(lambda: "pong" in editor.told)
        assert editor.code is None
        assert await logged(server, others) == "Eve's"


async def test_what_is_too_large(start: Start, wire: str) -> None:
    server = await start(limits=Limits(frame=2048, document=4096))
    async with world(server, wire) as (editor, id):
        await editor.write("a" * 3000)
        await editor.until(lambda: editor.code)
        assert editor.code == 1009
        assert await logged(server, id) == "Hello 😀"
    async with world_of(server, wire) as editor:
        await editor.ws.send_bytes(b"x" * 9000)
        await editor.until(lambda: editor.code)
        assert editor.code == 1009


@contextlib.asynccontextmanager
async def world_of(server: Server, wire: str) -> AsyncIterator[Editor]:
    cleo = await server.person("Cleo")
    async with editing(wire, cleo, await document(cleo, "x")) as editor:
        yield editor


async def test_a_document_that_becomes_too_large(start: Start, wire: str) -> None:
    server = await start(limits=Limits(frame=2048, document=4096))
    async with world(server, wire) as (editor, _):
        for count in range(1, 7):
            await editor.write("a" * 1000)
            await editor.until(lambda: editor.closed or editor.code or editor.saved > count or wire != "provider")  # noqa: B023
        await editor.until(lambda: editor.closed or editor.code)


async def test_too_many_messages_in_a_frame(server: Server) -> None:
    async with world(server, "y-websocket") as (editor, _):
        await editor.send(b"\x03" * 65)
        await editor.until(lambda: editor.code)
        assert editor.code == 4400


async def test_a_state_vector_that_is_long(start: Start, wire: str) -> None:
    server = await start(limits=Limits(frame=1 << 20))
    async with world(server, wire) as (editor, _):
        many = 40_000
        state = number(many) + b"".join(number(1 << 40 | one) + b"\x01" for one in range(many))
        editor.synced = False
        await editor.send(protocol.step1(state))
        await editor.until(lambda: editor.synced)
        too_many = number(1) + b"\x01\x01" + b"\0" * (1 << 20)
        await editor.send(protocol.step1(too_many))
        await editor.until(lambda: editor.code)
        assert editor.code == 1009


async def test_y_websocket_waits_for_nobody_who_is_read_only(server: Server) -> None:
    """Deletions are compared with all that was deleted, once for as long as nothing is written."""
    ada = await server.person("Ada")
    val = await server.member(ada, "Val", "viewer")
    id = await document(ada, "abc" * 1000)
    async with opened(ada, id) as owner, opened(val, id) as viewer, y_websocket(val, id):
        for _ in range(100):
            await owner.edit(lambda text: text.__delitem__(slice(0, 3)))
        await owner.until(lambda: owner.saved == 101)
        await viewer.until(lambda: viewer.text == owner.text)
        saved = viewer.saved
        for number in range(20):
            await viewer.send(protocol.step1(viewer.doc.get_state()))
            await viewer.until(lambda: viewer.saved == saved + number + 1)  # noqa: B023
        assert viewer.refused == 0
