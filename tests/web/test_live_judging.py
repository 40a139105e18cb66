"""Rights that change while a document is open: they change at once, for each document of a socket by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mdserver.collab import protocol
from mdserver.collab.room import Room
from mdserver.model import sessions, tokens, users, workspaces
from mdserver.web.live import LIVE

from .conftest import Person, Server
from .editors import opened, provider, y_websocket
from .test_live import document, shown
from .test_live_access import editing, wire
from .test_live_storage import logged, sound

__all__ = ["wire"]

pytestmark = pytest.mark.usefixtures("hurried")

Change = Callable[[Server, Person, Person, str], Awaitable[object]]


async def _remove(server: Server, ada: Person, bob: Person, id: str) -> None:
    answer = await ada.delete(f"/workspaces/{ada.workspace_id}/members/{bob.id}")
    assert answer.status == 204, answer


async def _end(server: Server, ada: Person, bob: Person, id: str) -> None:
    await server.database.write(lambda tx: sessions.end(tx, bob.pair.session_id))


async def _disable(server: Server, ada: Person, bob: Person, id: str) -> None:
    await server.database.write(lambda tx: users.disable(tx, users.find(tx, bob.id)))


async def _reset(server: Server, ada: Person, bob: Person, id: str) -> None:
    await server.database.write(lambda tx: sessions.end_all(tx, bob.id))


async def _trash(server: Server, ada: Person, bob: Person, id: str) -> None:
    assert (await ada.put(f"/documents/{id}/trash", headers={"If-Match": "*"})).status == 200


async def _purge(server: Server, ada: Person, bob: Person, id: str) -> None:
    await _trash(server, ada, bob, id)
    assert (await ada.delete(f"/documents/{id}", headers={"If-Match": "*"})).status == 204


async def _delete_workspace(server: Server, ada: Person, bob: Person, id: str) -> None:
    def change(tx: Any) -> None:
        workspaces.delete(tx, ada.principal, workspaces.find(tx, ada.principal, ada.workspace_id))

    await server.database.write(change)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_remove, 4403),
        (_end, 4401),
        (_disable, 4401),
        (_reset, 4401),
        (_trash, 4403),
        (_purge, 4403),
        (_delete_workspace, 4403),
    ],
)
async def test_who_may_no_longer_is_turned_out_at_once(server: Server, wire: str, change: Change, code: int) -> None:
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "editor")
    id, mine = await document(ada, ""), await document(bob, "")
    async with editing(wire, bob, id) as editor, opened(bob, mine) as other:
        await editor.write("before ")
        await shown(ada, id, "before ")
        await change(server, ada, bob, id)
        await editor.until(lambda: editor.closed if wire == "provider" else editor.code)
        assert editor.denied == ["signed-out" if code == 4401 else editor.denied[0]]
        if wire == "provider":
            await editor.write("after")
            await editor.ws.send_bytes(protocol.PING_FRAME)
            await editor.until(lambda: "pong" in editor.told)
        else:
            assert editor.code == code
        if code == 4403:  # one socket's documents are judged one by one
            await other.write("mine")
            await other.until(lambda: other.saved == 2)
        else:
            await other.until(lambda: other.closed)
    if change is not _purge and change is not _delete_workspace:
        assert await logged(server, id) == "before "
    if change is not _delete_workspace:  # whose log of changes goes on naming what it had
        await sound(server)


async def test_a_revoked_token(server: Server, wire: str) -> None:
    ada = await server.person("Ada")
    id = await document(ada, "")
    program = await server.token(ada)
    async with editing(wire, program, id) as editor, editing(wire, ada, id) as other:
        found = await server.database.read(lambda db: db.column(str, "SELECT id FROM personal_tokens"))
        await server.database.write(lambda tx: tokens.revoke(tx, tokens.find(tx, ada.id, found[0])))
        await editor.until(lambda: editor.denied == ["signed-out"])
        await other.write("still here")
        await shown(ada, id, "still here")


async def test_a_role_that_changes(server: Server, wire: str) -> None:
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "editor")
    id = await document(ada, "")
    async with editing(wire, bob, id) as editor, opened(ada, id) as owner:
        await editor.write("one ")
        await owner.until(lambda: owner.text == "one ")
        await editor.until(lambda: editor.saved == 2 or wire != "provider")
        await server.join(ada, bob, "viewer")
        if wire == "provider":
            await editor.until(lambda: editor.scope == "readonly")
            saved = editor.saved
            await editor.write("two ")
            await editor.write("three ")
            await editor.until(lambda: editor.refused == 2)
        else:
            (connection,) = [one for one in server.app[LIVE]._open if bob.id in one.people]
            async with asyncio.timeout(10):
                while not all(one.seat.read_only for one in connection.held.values()):  # noqa: ASYNC110 (it is not told)
                    await asyncio.sleep(0.005)
            await editor.write("two ")
            await editor.write("three ")
        await owner.write("Ada's ")
        await owner.until(lambda: owner.saved == 2)
        assert "two" not in owner.text
        await server.join(ada, bob, "editor")
        await owner.until(lambda: "two three" in owner.text)
        if wire == "provider":
            await editor.until(lambda: editor.saved == saved + 2)
        await editor.write("four")
        await owner.until(lambda: "four" in owner.text)
        await shown(ada, id, owner.text)
    await sound(server)


async def test_a_document_comes_back_from_the_trash(server: Server, wire: str) -> None:
    ada = await server.person("Ada")
    id = await document(ada, "kept")
    async with editing(wire, ada, id) as editor:
        await _trash(server, ada, ada, id)
        await editor.until(lambda: editor.denied)
    assert (await ada.delete(f"/documents/{id}/trash", headers={"If-Match": "*"})).status == 200
    async with editing(wire, ada, id) as editor:
        assert editor.text == "kept"
        await editor.write("!")
        await shown(ada, id, "kept!")


async def test_rights_that_change_while_a_document_is_loaded(
    server: Server, wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "editor")
    first, second = await document(ada, ""), await document(ada, "")
    rooms = server.app[LIVE].rooms
    enter = rooms.enter
    changes: dict[str, Callable[[], Awaitable[None]]] = {
        first: lambda: server.join(ada, bob, "viewer"),
        second: lambda: _remove(server, ada, bob, second),
    }

    async def slow(document_id: str) -> Room:
        await enter(document_id)
        if document_id in changes:
            await changes.pop(document_id)()
        return await enter(document_id)

    monkeypatch.setattr(rooms, "enter", slow)
    async with editing(wire, bob, first) as editor:
        await editor.write("x")
        editor.synced = False
        await editor.send(protocol.step1(b"\0"))
        await editor.until(lambda: editor.synced)
        assert await logged(server, first) == ""
    if wire == "provider":
        async with provider(bob, second) as (refused,):
            await refused.until(lambda: refused.denied == ["not-found"])
    else:
        async with y_websocket(bob, second) as refused:
            await refused.until(lambda: refused.code == 4403)


async def test_a_session_that_ends_while_a_document_is_loaded(
    server: Server, wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "editor")
    id = await document(ada, "")
    rooms = server.app[LIVE].rooms
    enter = rooms.enter

    async def slow(document_id: str) -> Room:
        await _end(server, ada, bob, id)
        return await enter(document_id)

    monkeypatch.setattr(rooms, "enter", slow)
    async with provider(bob, id) if wire == "provider" else y_websocket(bob, id) as given:
        (editor,) = given if isinstance(given, list) else [given]
        await editor.until(lambda: editor.denied == ["signed-out"] or editor.code == 4401)
