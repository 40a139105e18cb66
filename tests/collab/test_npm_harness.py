"""The harness that drives the real clients, on the servers that they come with."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.npm import clients, processes, scenarios
from tests.npm import peers as servers
from tests.npm.clients import Client, Driver, Failed, Kind
from tests.npm.peers import Peers

KINDS: list[Kind] = ["hocuspocus", "hocuspocus3", "y-websocket", "y-websocket2"]


@pytest.fixture
async def node() -> AsyncIterator[Driver]:
    async with clients.running() as driver:
        yield driver


@pytest.fixture
async def peers() -> AsyncIterator[Peers]:
    async with servers.running() as found:
        yield found


@pytest.mark.parametrize("kind", KINDS)
async def test_two_clients(node: Driver, peers: Peers, kind: Kind) -> None:
    ada = await node.open(kind, url=peers[kind], document="plan", token="ada")
    ben = await node.open(kind, url=peers[kind], document="plan", token="ben")
    await ada.insert(0, "one two")
    await ben.reads("one two")
    place = await ada.relative(4)
    await ben.delete(0, 2)
    await ada.reads("e two")
    assert await ada.absolute(place) == 2
    assert await ben.absolute(place) == 2

    await ada.set_awareness("user", {"name": "Ada"})
    await ben.sees("user", {"name": "Ada"})
    assert (await ada.status())["client_id"] in await ben.awareness()

    await ada.disconnect()
    await ben.misses("user", {"name": "Ada"})
    await ada.insert(0, "é😀 ")
    await ben.drop()
    assert {"code": 1006, "reason": ""} in await ben.closed()
    await ben.insert(5, ".")
    await ada.connect()
    await ben.synced()
    await node.same(ada, ben)
    assert await ada.text() == await ben.text() == "é😀 e two."
    assert await ada.state_vector() == await ben.state_vector()

    await ada.reopen()
    await ben.reopen(fresh=True)
    await node.same(ada, ben)
    assert await ben.text() == "é😀 e two."


@pytest.mark.parametrize("kind", ["hocuspocus", "hocuspocus3"])
async def test_what_only_hocuspocus_says(node: Driver, peers: Peers, kind: Kind) -> None:
    stranger = await node.open(kind, url=peers[kind], document="plan", token="wrong", wait=False)
    assert await stranger.refused() == ["permission-denied"]
    assert not (await stranger.status())["synced"]

    ada = await node.open(kind, url=peers[kind], document="plan", token="ada", offline=True)
    await ada.insert(0, "one")
    assert await ada.unsynced() == 1
    with pytest.raises(Failed, match="waited 0 s in vain until client2 is saved"):
        await ada.saved(seconds=0)
    await ada.connect()
    await ada.saved()
    assert (await ada.status())["scope"] == "read-write"
    await ada.stateless("hello")
    assert await ada.told() == ["hello"]

    other = await node.open(kind, url=peers[kind], document="other", token="reader", shares=ada)
    assert (await other.status())["scope"] == "readonly"
    assert await other.text() == ""
    await other.drop()
    assert len(await ada.closed()) == 1
    await asyncio.gather(ada.synced(), other.synced())


async def test_how_they_come_and_go(node: Driver) -> None:
    """What they bring along, and that 3.x stays away when it is told to, as 2.x does not."""
    asked: list[tuple[str, str | None, str | None]] = []

    async def answer(request: web.Request) -> web.WebSocketResponse:
        asked.append((request.path_qs, request.headers.get("Origin"), request.headers.get("X-Test")))
        socket = web.WebSocketResponse(protocols=["mdserver.v1"])
        await socket.prepare(request)
        await socket.close(code=4401, message=b"who are you?")
        return socket

    app = web.Application()
    app.router.add_get("/{any:.*}", answer)
    async with TestServer(app) as server:
        url = str(server.make_url("/collab")).replace("http", "ws", 1)
        headers = {"X-Test": "yes"}
        for kind in ("y-websocket", "y-websocket2"):
            client = await node.open(
                kind,
                url=url,
                document="plan",
                ticket="t1",
                protocols=["mdserver.v1", "bearer.x"],
                headers=headers,
                origin="https://example.org",
                wait=False,
            )
            assert (await client.closed())[0] == {"code": 4401, "reason": "who are you?"}
            if kind == "y-websocket":
                await client.credentials(ticket="t2")
                await client.connect()
            await client.closed(2)
            came = ("https://example.org", "yes")
            again = "t2" if kind == "y-websocket" else "t1"
            assert asked[:2] == [("/collab/plan?ticket=t1", *came), (f"/collab/plan?ticket={again}", *came)]
            await client.destroy()
            asked.clear()
        client = await node.open("hocuspocus", url=url, document="plan", headers=headers, wait=False)
        await client.closed(2)
        assert set(asked) == {("/collab", None, "yes")}
        await client.destroy()


async def test_codemirror_is_bound(node: Driver, peers: Peers) -> None:
    url = peers["hocuspocus"]
    ada = await node.open("hocuspocus", url=url, document="plan", field="codemirror")
    ben = await node.open("hocuspocus", url=url, document="plan")
    await ada.insert(0, "one\ntwo")
    await ben.reads("one\ntwo")
    await ben.insert(3, "😀")
    await ada.reads("one😀\ntwo")
    await ada.delete(0, 3)
    await ben.reads("😀\ntwo")


async def test_tiptap_is_bound(node: Driver, peers: Peers) -> None:
    url = peers["y-websocket"]
    ada = await node.open("y-websocket", url=url, document="plan", field="tiptap")
    ben = await node.open("y-websocket", url=url, document="plan", field="tiptap")
    await ada.command("insertContent", "<h2>Plan</h2><p>one <strong>two</strong></p>")
    await ben.reads("Plan\n\none two")
    await ben.command("setTextSelection", 3)
    await ben.command("toggleTaskList")
    await node.same(ada, ben)
    assert await ada.xml() == await ben.xml()
    assert 'data-type="taskList"' in await ada.html()
    assert "<strong>two</strong>" in await ada.html()
    with pytest.raises(Failed, match="no command"):
        await ada.command("dance")


@pytest.mark.parametrize("field", ["text", "codemirror", "tiptap"])
async def test_they_converge(node: Driver, peers: Peers, field: clients.Field) -> None:
    kinds: list[Kind] = ["y-websocket", "y-websocket2"] if field == "tiptap" else ["hocuspocus", "hocuspocus3"]

    async def opening(number: int) -> Client:
        kind = kinds[number % 2]
        return await node.open(kind, url=peers[kind], document="plan", field=field)

    reader = await node.open(kinds[0], url=peers[kinds[0]], document="plan")
    read = reader.xml if field == "tiptap" else reader.text
    assert await scenarios.converge(node, opening, seed=1, steps=80, read=read) == []


async def test_a_server_that_loses_messages_is_found_out(node: Driver) -> None:
    async with servers.running("--lossy") as lossy:

        async def opening(_number: int) -> Client:
            return await node.open("y-websocket", url=lossy["y-websocket"], document="plan")

        faults = await scenarios.converge(node, opening, seed=1, steps=80, seconds=1)
    assert "all have the same" in "\n".join(faults)


async def test_a_server_that_keeps_nothing_is_found_out(node: Driver, peers: Peers) -> None:
    """Hocuspocus' own acknowledges what it has in memory only."""

    async def opening(_number: int) -> Client:
        return await node.open("hocuspocus", url=peers["hocuspocus"], document="plan")

    async def read() -> str:
        reader = await opening(0)
        try:
            return await reader.text()
        finally:
            await reader.destroy()

    faults = await scenarios.survive(
        node, opening, seed=1, kill=peers.kill, start=peers.start, read=read, acknowledged=10
    )
    assert "acknowledged and lost: (client" in "\n".join(faults)
    assert not [one for one in faults if "lost" not in one]  # the clients brought it all back


async def test_what_goes_wrong_is_said(node: Driver) -> None:
    with pytest.raises(Failed, match="there is no client nobody"):
        await node.do("text", client="nobody")
    with pytest.raises(Failed, match="there is no command fly"):
        await node.do("fly", client="nobody")
    ada = await node.open("hocuspocus", url="ws://127.0.0.1:1", document="plan", wait=False)
    assert (await ada.closed())[0]["code"] == 1006
    assert "ECONNREFUSED" in "".join((await ada.status())["errors"])


async def test_an_error_that_escapes_fails_the_block() -> None:
    with pytest.raises(AssertionError, match="unhandledRejection"):
        async with clients.running() as driver:
            await driver.do("let_escape")


async def test_the_process_dies_with_the_block() -> None:
    with pytest.raises(RuntimeError):
        async with clients.running() as driver:
            raise RuntimeError
    with pytest.raises(Failed, match="has ended"):
        await driver.do("let_escape")


def test_what_is_installed_is_certain() -> None:
    """Exact versions with their hashes, and from no particular registry."""
    wanted = json.loads((processes.HERE / "package.json").read_text())["dependencies"].values()
    assert [version for version in wanted if not re.fullmatch(r"(npm:@?[\w/-]+@)?\d+\.\d+\.\d+", version)] == []
    locked = json.loads((processes.HERE / "package-lock.json").read_text())["packages"]
    assert [name for name, one in locked.items() if name and ("resolved" in one or "integrity" not in one)] == []
