"""Live editing as clients meet it: two wires, one room, and what the log and REST say of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from mdserver.web import quick
from mdserver.web.sockets import Connection

from .conftest import Person, Server
from .editors import opened, y_websocket


async def document(person: Person, content: str = "Hello") -> str:
    """A document in the person's own workspace."""
    path = f"/workspaces/{person.workspace_id}/documents"
    answer = await person.post(path, {"title": "Notes", "content": content})
    assert answer.status == 201, answer
    return str(answer.json["id"])


async def text_of(person: Person, id: str) -> str:
    return str((await person.get(f"/documents/{id}")).json["content"])


async def shown(person: Person, id: str, text: str) -> None:
    """Wait until REST shows this text."""
    async with asyncio.timeout(10):
        while await text_of(person, id) != text:  # noqa: ASYNC110 (only REST tells)
            await asyncio.sleep(0.02)


async def comes(condition: Callable[[], object]) -> None:
    """Wait until something is so that no message tells."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.005)


async def test_two_wires_one_document(server: Server) -> None:
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "editor")
    id = await document(ada)
    async with opened(ada, id) as first, y_websocket(bob, id) as second:
        await second.sync()
        assert (first.text, second.text, first.scope) == ("Hello", "Hello", "read-write")
        await first.write(", world")
        await first.until(lambda: first.saved == 2)  # its answer to the server's question, and the edit
        await second.until(lambda: second.text == "Hello, world")
        await second.write("Oh: ", 0)
        await first.until(lambda: first.text == "Oh: Hello, world")
        await shown(ada, id, "Oh: Hello, world")


async def test_what_rest_writes_appears_at_once(server: Server) -> None:
    ada = await server.person("Ada")
    id = await document(ada, "One two three")
    async with opened(ada, id) as editor, y_websocket(ada, id) as other:
        await other.sync()
        await editor.write("!")
        answer = await ada.put(f"/documents/{id}/content", {"content": "One two four"}, headers={"If-Match": "*"})
        assert answer.status == 200, answer
        for one in (editor, other):
            await one.until(lambda one=one: "four" in one.text)  # type: ignore[misc]
        await shown(ada, id, editor.text)
        assert editor.text == other.text


async def test_keystrokes_are_heard_as_they_arrive(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the shorter way, which is tried with the aiohttp that is installed; and by the longer one all the same."""
    ada = await server.person("Ada")
    id = await document(ada)
    heard: list[bool] = []
    hear = Connection.hear_at_once

    def noted(self: Connection, data: bytes) -> bool:
        heard.append(hear(self, data))
        return heard[-1]

    monkeypatch.setattr(Connection, "hear_at_once", noted)
    async with opened(ada, id) as editor, y_websocket(ada, id) as other:
        await other.sync()
        for one, reader in ((editor, other), (other, editor)):
            heard.clear()
            await one.write("!")
            await reader.until(lambda: editor.text == other.text)
            assert True in heard

    def made_otherwise(*_: object, **__: object) -> None:
        raise TypeError("it takes something else")

    monkeypatch.setattr(quick, "WebSocketReader", made_otherwise)
    async with opened(ada, id) as editor:
        heard.clear()
        await editor.write("?")
        await editor.until(lambda: editor.saved == 2)
        assert heard == []
