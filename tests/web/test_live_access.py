"""Who may open a document live: said in every way, refused in every way, and judged again while it is open."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mdserver import clock
from mdserver.collab import protocol
from mdserver.config import Limits
from mdserver.crdt import lib0
from mdserver.model import sessions
from mdserver.web.judging import look_after
from mdserver.web.live import LIVE
from mdserver.web.tickets import LIFETIME
from tests.conftest import Clock

from .conftest import PUBLIC, Client, Person, Server, Start
from .editors import Editor, opened, provider, y_websocket
from .test_live import comes, document
from .test_live_storage import logged, rows, sound

pytestmark = pytest.mark.usefixtures("hurried")

WIRES = ("provider", "y-websocket")


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@contextlib.asynccontextmanager
async def editing(wire: str, person: Client, id: str) -> AsyncIterator[Editor]:
    """A synchronised client of that kind."""
    if wire == "provider":
        async with opened(person, id) as editor:
            yield editor
    else:
        async with y_websocket(person, id) as editor:
            await editor.sync()
            yield editor


async def closed_with(person: Client, address: str, **options: Any) -> tuple[int | None, str | None]:
    """Open a socket that is closed again at once; → the code, and the subprotocol that was agreed on."""
    async with person.http.ws_connect(address, **options) as ws:
        async for _ in ws:
            pass
        return ws.close_code, ws.protocol


async def ticket(person: Client) -> str:
    answer = await person.post("//collab/tickets")
    assert (answer.status, answer.json["expires_in"]) == (201, 30), answer
    return str(answer.json["ticket"])


def token_of(person: Client) -> str:
    return person.headers["Authorization"].removeprefix("Bearer ")


async def test_without_credentials(server: Server) -> None:
    ada = await server.person("Ada")
    id = await document(ada)
    nobody = server.anonymous
    assert await closed_with(nobody, f"/collab/{id}") == (4401, None)
    for bad in ("nonsense", "mds_pat_nonsense", ""):
        assert await closed_with(nobody, f"/collab/{id}?ticket={bad}") == (4401, None)
        assert await closed_with(nobody, f"/collab?ticket={bad}") == (4401, None)
        assert await closed_with(nobody, "/collab", headers={"Authorization": f"Bearer {bad or 'x'}"}) == (4401, None)
    assert (await nobody.post("//collab/tickets")).status == 401
    assert (await nobody.get("//collab")).problem == "malformed"
    assert (await ada.get(f"//collab/{id}")).problem == "malformed"


async def test_a_ticket_opens_one_socket_within_its_time(server: Server, frozen: Clock) -> None:
    ada = await server.person("Ada")
    id = await document(ada)
    given = await ticket(ada)
    async with y_websocket(server.anonymous, f"{id}?ticket={given}") as editor:
        await editor.sync()
        assert editor.text == "Hello"
    assert await closed_with(server.anonymous, f"/collab/{id}?ticket={given}") == (4401, None)
    given = await ticket(ada)
    frozen.forward(LIFETIME * 1000)
    assert await closed_with(server.anonymous, f"/collab/{id}?ticket={given}") == (4401, None)


async def test_a_ticket_is_no_good_once_its_session_has_ended(server: Server) -> None:
    ada = await server.person("Ada")
    id = await document(ada)
    given = [await ticket(ada) for _ in range(3)]
    await server.database.write(lambda tx: sessions.end(tx, ada.pair.session_id))
    assert await closed_with(server.anonymous, f"/collab/{id}?ticket={given[0]}") == (4401, None)
    async with provider(server.anonymous, id, token=given[1]) as (editor,):
        await editor.until(lambda: editor.denied == ["signed-out"])
    async with server.http.ws_connect(f"/collab?ticket={given[2]}") as ws:
        editor = Editor(ws, address=lib0.text(id))
        await editor.sign_in("")
        await editor.until(lambda: editor.denied == ["signed-out"])
        await editor.leave()


async def test_a_token_as_subprotocol(server: Server) -> None:
    ada = await server.person("Ada")
    id = await document(ada)
    given = {"protocols": ("mdserver.v1", f"bearer.{token_of(ada)}")}
    async with y_websocket(server.anonymous, id, **given) as editor:
        await editor.sync()
        assert (editor.text, editor.ws.protocol) == ("Hello", "mdserver.v1")
    bad = ("mdserver.v1", "bearer.mds_nonsense")
    assert await closed_with(server.anonymous, f"/collab/{id}", protocols=bad) == (4401, "mdserver.v1")


async def test_a_cookie_needs_the_servers_own_origin(server: Server) -> None:
    ada = await server.person("Ada")
    id = await document(ada)
    browser = await server.browser(ada)
    cookie = {"Cookie": browser.headers["Cookie"]}
    async with y_websocket(server.anonymous, id, headers={**cookie, "Origin": PUBLIC}) as editor:
        await editor.sync()
        assert editor.text == "Hello"
    for origin in ({"Origin": "http://evil.test"}, {"Origin": "null"}, {}):
        assert await closed_with(server.anonymous, f"/collab/{id}", headers={**cookie, **origin}) == (4401, None)
    value = cookie["Cookie"].partition("=")[2]
    assert await closed_with(server.anonymous, f"/collab/{id}", headers={"Authorization": f"Bearer {value}"}) == (
        4401,
        None,
    )
    async with provider(server.anonymous, id, token=value) as (refused,):
        await refused.until(lambda: refused.denied == ["signed-out"])


async def test_who_a_provider_says_it_is(server: Server) -> None:
    ada = await server.person("Ada")
    id = await document(ada)
    program = await server.token(ada)
    for token in (token_of(ada), token_of(program), await ticket(ada)):
        async with provider(server.anonymous, id, token=token) as (editor,):
            await editor.until(lambda: editor.scope == "read-write")
            await editor.sync()
    for token in ("", "nonsense", token_of(ada)[:-1] + "x"):
        async with provider(server.anonymous, id, token=token) as (editor,):
            await editor.until(lambda: editor.denied == ["signed-out"])
            await editor.send(protocol.step1(b"\0"))
            await editor.ws.send_bytes(protocol.PING_FRAME)
            await editor.until(lambda: "pong" in editor.told)
            assert not editor.synced
    async with server.http.ws_connect("/collab", headers=ada.headers) as ws:
        signed_in = Editor(ws, address=lib0.text(id))
        await signed_in.sign_in("")
        await signed_in.until(lambda: signed_in.scope == "read-write")
        await signed_in.leave()


async def test_what_nobody_may_open(server: Server) -> None:
    ada, eve = await server.person("Ada"), await server.person("Eve")
    id, gone = await document(ada), await document(ada)
    folder = await ada.post(f"/workspaces/{ada.workspace_id}/documents", {"title": "F", "kind": "folder"})
    assert folder.status == 201
    assert (await ada.put(f"/documents/{gone}/trash", headers={"If-Match": "*"})).status == 200
    elsewhere = await server.token(ada, workspace_id=await server.workspace(ada))
    unknown = id[:-4] + "0000"
    for who, what, why in (
        (eve, id, "not-found"),
        (ada, unknown, "not-found"),
        (ada, "no-id", "not-found"),
        (ada, "%00", "not-found"),
        (elsewhere, id, "not-found"),
        (ada, folder.json["id"], None),
        (ada, gone, None),
    ):
        async with provider(who, what) as (editor,):
            await editor.until(lambda: editor.denied)
            assert editor.denied[0] == why or (why is None and editor.denied[0] != "internal")
            await editor.sign_in(token_of(who))
            await editor.until(lambda: len(editor.denied) == 2)
        assert await closed_with(who, f"/collab/{what}", headers=who.headers) == (4403, None)
    assert len(server.app[LIVE].rooms) == 0


async def read_only(server: Server, ada: Person) -> list[Client]:
    viewer = await server.member(ada, "Val", "viewer")
    return [viewer, await server.member(ada, "Col", "commenter"), await server.token(ada, "read")]


async def test_who_may_only_read(server: Server) -> None:
    ada = await server.person("Ada")
    id = await document(ada, "Hello world")
    async with opened(ada, id) as owner:
        await owner.edit(lambda text: text.__delitem__(slice(5, 11)))
        await owner.until(lambda: owner.saved == 2)
        before = await rows(server, id)
        for who in await read_only(server, ada):
            async with opened(who, id) as editor, y_websocket(who, id) as other:
                await other.sync()
                assert (editor.scope, editor.text) == ("readonly", "Hello")
                await editor.until(lambda: editor.saved == 1)  # its answer brought nothing, deletions too
                made = await editor.write("!")
                await editor.until(lambda: editor.refused == 1)
                await editor.send(protocol.step2(made))
                await editor.until(lambda: editor.refused == 2)
                await editor.send(protocol.step2(owner.doc.get_update()))
                await editor.until(lambda: editor.saved == 2 and editor.refused == 2)
                await other.send(protocol.change(made) * 3 + protocol.step2(made) + protocol.step1(b"\0"))
                await other.edit(lambda text: text.__delitem__(slice(0, 2)))
                await other.sync()
        await owner.write("?")
        await owner.until(lambda: owner.saved == 3)
        assert owner.text == await logged(server, id) == "Hello?"
        assert await rows(server, id) == before + 1
    await sound(server)


async def test_an_access_token_that_expires_is_asked_for_again(
    server: Server, frozen: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await server.person("Ada")
    id = await document(ada, "")
    live = server.app[LIVE]
    async with opened(ada, id) as editor:
        (connection,) = live._open
        frozen.forward(11 * clock.MINUTE)
        look_after(connection, 100.0)
        await editor.until(lambda: "token?" in editor.told)
        look_after(connection, 101.0)
        await editor.sign_in(await refreshed(server, ada))
        editor.scope = ""
        await editor.until(lambda: editor.scope == "read-write")
        look_after(connection, 200.0)
        await editor.write("kept")
        await editor.until(lambda: editor.saved == 2)
        assert (editor.told, editor.denied) == (["token?"], [])
        frozen.forward(11 * clock.MINUTE)
        look_after(connection, 300.0)
        look_after(connection, 331.0)
        await editor.until(lambda: editor.closed == ["signed-out"] and editor.denied == ["signed-out"])


async def refreshed(server: Server, ada: Person) -> str:
    from mdserver.model.audit import Origin
    from mdserver.model.sessions import Lifetimes

    where = Origin(address="192.0.2.1", request_id="test", device="test")
    pair = await server.database.write(
        lambda tx: sessions.refresh(tx, ada.pair.refresh_token, origin=where, lifetimes=Lifetimes())
    )
    assert pair is not None
    return pair.access_token


async def test_another_person_on_the_same_socket(server: Server) -> None:
    ada = await server.person("Ada")
    val = await server.member(ada, "Val", "viewer")
    id = await document(ada, "")
    async with opened(ada, id) as editor:
        await editor.sign_in(token_of(val))
        await editor.until(lambda: editor.scope == "readonly")
        await editor.write("x")
        await editor.until(lambda: editor.refused == 1)
        presence = (await ada.get(f"/documents/{id}/presence")).json["items"]
        assert [(one["user"]["display_name"], one["sessions"]) for one in presence] == [("Val", 1)]


async def test_a_socket_that_says_nobody_is_closed(server: Server) -> None:
    async with server.http.ws_connect("/collab") as ws:
        await ws.send_bytes(protocol.PING_FRAME)
        await ws.receive_bytes()
        (connection,) = server.app[LIVE]._open
        look_after(connection, connection.opened + 31)
        async for _ in ws:
            pass
        assert ws.close_code == 4408


async def test_so_many_sockets_and_documents(start: Start) -> None:
    server = await start(limits=Limits(user_sockets=2, socket_documents=2))
    ada = await server.person("Ada")
    ids = [await document(ada) for _ in range(3)]
    async with opened(ada, ids[0]) as editor:
        for id in ids[1:]:
            await editor.ws.send_bytes(lib0.text(id) + bytes([2, 0]) + lib0.text(token_of(ada)) + lib0.text(""))
        (connection,) = server.app[LIVE]._open
        await editor.ws.send_bytes(protocol.PING_FRAME)
        await editor.until(lambda: "pong" in editor.told)
        assert len(connection.held) == 2
        async with y_websocket(ada, ids[0]):  # the provider's is counted as hers since she said so
            answer = await ada.get(f"//collab/{ids[0]}", headers=HANDSHAKE)
            assert answer.problem == "too-many-requests"
        assert (await server.anonymous.get("//collab", headers=HANDSHAKE)).status == 101


async def test_sockets_that_come_at_once_are_counted(start: Start) -> None:
    server = await start(limits=Limits(user_sockets=3))
    ada = await server.person("Ada")
    id = await document(ada)
    answers = await asyncio.gather(
        *[server.http.get(f"/collab/{id}", headers={**HANDSHAKE, **ada.headers}) for _ in range(20)]
    )
    assert sorted(one.status for one in answers) == [101] * 3 + [429] * 17
    for one in answers:
        one.close()
    await comes(lambda: not server.app[LIVE]._sockets)


HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
