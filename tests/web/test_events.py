"""Word of changes as they happen, by server-sent events and WebSocket, for as long as their listener may hear it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import ClientResponse

from mdserver.model import sessions
from mdserver.web import events

from .conftest import Client, Server
from .desk import make
from .editors import opened
from .pocket import applied, creation

PATIENCE = 10.0


class Radio:
    """Hears server-sent events. `heard` holds (event, data) as they came, `last` the newest id."""

    def __init__(self, response: ClientResponse) -> None:
        self.response = response
        self.heard: list[tuple[str, Any]] = []
        self.last = ""
        self.comments = 0

    async def one(self) -> tuple[str, Any]:
        """The next event."""
        async with asyncio.timeout(PATIENCE):
            fields: dict[str, str] = {}
            while True:
                line = (await self.response.content.readline()).decode()
                assert line, "the stream has ended"
                if line == "\n" and "data" in fields:
                    self.last = fields.get("id", self.last)
                    self.heard.append((fields["event"], msgspec.json.decode(fields["data"])))
                    return self.heard[-1]
                if line.startswith(":"):
                    self.comments += 1
                elif line != "\n":
                    name, _, value = line.rstrip("\n").partition(": ")
                    fields[name] = value

    async def until(self, name: str, **data: Any) -> Any:
        """Hear until such an event comes."""
        while True:
            event, found = await self.one()
            if event == name and data.items() <= found.items():
                return found

    async def ends(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while await self.response.content.readline():
                pass


@contextlib.asynccontextmanager
async def listening(who: Client, headers: dict[str, str] | None = None, **query: str) -> AsyncIterator[Radio]:
    path = "/api/v1/events"
    async with who.http.get(path, headers={**who.headers, **(headers or {})}, params=query) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        assert response.headers["X-Accel-Buffering"] == "no"
        yield Radio(response)


async def head(who: Client, workspace_id: str) -> int:
    """The position that a fresh stream begins with."""
    async with listening(who, workspace=workspace_id) as radio:
        return int((await radio.until("change"))["position"])


async def test_changes_are_told(server: Server) -> None:
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "viewer")
    async with listening(bob) as radio:
        first = {(await radio.until("change"))["workspace_id"] for _ in range(2)}
        assert first == {ada.workspace_id, bob.workspace_id}
        await make(ada)
        found = await radio.until("change", workspace_id=ada.workspace_id)
        assert found["position"] == await head(bob, ada.workspace_id)
        await applied(ada, *(creation(ada, f"{number}") for number in range(100)))
        last = await head(bob, ada.workspace_id)
        count = len(radio.heard)
        await radio.until("change", position=last)
        assert len(radio.heard) - count < 60  # they are gathered
        positions = [data["position"] for _, data in radio.heard if data["workspace_id"] == ada.workspace_id]
        assert positions == sorted(set(positions))


async def test_going_on_where_one_was(server: Server) -> None:
    ada = await server.person("Ada")
    async with listening(ada) as radio:
        await radio.until("change")
        last = radio.last
    async with listening(ada, {"Last-Event-ID": last}) as radio:
        await make(ada)
        (event, found) = await radio.one()  # nothing before it
        assert (event, found["position"]) == ("change", await head(ada, ada.workspace_id))
    async with listening(ada, last_event_id=last) as radio:
        assert (await radio.one())[1]["position"] > 2
    ahead = events.write_id({ada.workspace_id: 10_000})  # of what a restore has undone
    async with listening(ada, {"Last-Event-ID": ahead}) as radio:
        assert (await radio.one())[1]["position"] < 10_000


async def test_what_is_typed_is_told_too(server: Server) -> None:
    ada = await server.person("Ada")
    id = (await make(ada))["id"]
    async with listening(ada) as radio:
        before = (await radio.until("change"))["position"]
        async with opened(ada, id) as editor:
            await editor.write("!")
            assert (await radio.until("change"))["position"] > before


async def test_who_has_a_document_open(server: Server) -> None:
    ada = await server.person("Ada")
    bob, eve = await server.member(ada, "Bob", "viewer"), await server.person("Eve")
    id = (await make(ada))["id"]
    async with listening(bob) as radio, listening(eve) as other:
        for _ in range(2):
            await radio.until("change")
        await other.until("change")
        async with opened(ada, id):
            assert await radio.until("presence") == {
                "workspace_id": ada.workspace_id,
                "document_id": id,
                "people": [{"id": ada.id, "display_name": "Ada", "avatar_url": None}],
            }
        assert (await radio.until("presence", document_id=id))["people"] == []
        await make(eve)
        assert await other.one() == ("change", {"workspace_id": eve.workspace_id, "position": 3})


async def test_joining_and_leaving(server: Server) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    async with listening(bob) as radio:
        await radio.until("change", workspace_id=bob.workspace_id)
        await server.join(ada, bob, "viewer")
        await radio.until("change", workspace_id=ada.workspace_id)
        await ada.delete(f"/workspaces/{ada.workspace_id}/members/{bob.id}")
        await radio.until("revoked", workspace_id=ada.workspace_id)
        count = len(radio.heard)
        await make(ada)
        await make(bob)
        await radio.until("change", workspace_id=bob.workspace_id)
        assert all(data["workspace_id"] == bob.workspace_id for _, data in radio.heard[count:])
        await server.join(ada, bob, "viewer")
        await radio.until("change", workspace_id=ada.workspace_id)
        await ada.delete(f"/workspaces/{ada.workspace_id}")
        await radio.until("revoked", workspace_id=ada.workspace_id)


async def test_a_session_that_ends(server: Server) -> None:
    ada = await server.person("Ada")
    async with listening(ada) as radio:
        await radio.until("change")
        await server.database.write(lambda tx: sessions.end(tx, ada.principal.credential_id))
        await radio.ends()


async def test_a_silent_stream_breathes(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "BREATH", 0.02)
    ada = await server.person("Ada")
    async with listening(ada) as radio:
        await radio.until("change")
        await asyncio.sleep(0.2)
        await make(ada)
        await radio.until("change")
        assert radio.comments > 3
    async with asyncio.timeout(PATIENCE):
        while server.app[events.EVENTS]._streams:  # noqa: ASYNC110 (only the next breath tells that nobody is there)
            await asyncio.sleep(0.01)


async def test_a_server_that_stops(server: Server) -> None:
    ada = await server.person("Ada")
    async with listening(ada) as radio:
        await radio.until("change")
        await server.app.shutdown()
        await radio.ends()


async def test_over_a_socket(server: Server) -> None:
    ada = await server.person("Ada")
    bob = await server.person("Bob")
    await server.join(bob, ada, "viewer")
    browser = await server.browser(ada)
    ticket = (await ada.post("//collab/tickets")).json["ticket"]
    for headers, query in ((ada.headers, {}), (browser.headers, {}), ({}, {"ticket": ticket})):
        async with server.http.ws_connect("/events", headers=headers, params=query) as ws:
            async with asyncio.timeout(PATIENCE):
                told = [msgspec.json.decode(await ws.receive_str()) for _ in range(2)]
                assert {one["event"] for one in told} == {"change"}
                await make(bob)
                one = msgspec.json.decode(await ws.receive_str())
                assert one["data"]["workspace_id"] == bob.workspace_id
                last = one["id"]
    async with server.http.ws_connect(
        "/events", headers=ada.headers, params={"workspace": bob.workspace_id, "last_event_id": last}
    ) as ws:
        async with asyncio.timeout(PATIENCE):
            await make(ada)
            await make(bob)
            assert msgspec.json.decode(await ws.receive_str())["data"]["workspace_id"] == bob.workspace_id
            await server.database.write(lambda tx: sessions.end(tx, ada.principal.credential_id))
            await ws.receive()
            assert ws.close_code == 4401
    elsewhere = {**browser.headers, "Origin": "https://elsewhere.example"}
    refusals: list[dict[str, str]] = [elsewhere, {}, {"Authorization": "Bearer nonsense"}]
    for headers in refusals:
        async with server.http.ws_connect("/events", headers=headers) as ws:
            await ws.receive()
            assert ws.close_code == 4401


async def test_what_is_refused(server: Server) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    assert (await server.anonymous.get("/events")).status == 401
    assert (await ada.get("/events", params={"workspace": bob.workspace_id})).status == 404
    assert (await ada.get("/events", params={"workspace": "x"})).status == 404
    for wrong in ("x", "AAAA", "gaQ", "A" * 30_000):
        assert (await ada.get("/events", headers={"Last-Event-ID": wrong})).status in (400, 431), wrong[:10]
    assert (await ada.get("/events", params={"since": "1"})).status == 400
    answer = await ada.call("HEAD", "/events")
    assert (answer.status, answer.headers["Content-Type"], answer.body) == (200, "text/event-stream", b"")
    assert (await ada.get("//events")).status == 400  # no WebSocket
    narrow = await server.token(ada, workspace_id=ada.workspace_id)
    await server.join(bob, ada, "viewer")
    async with listening(narrow) as radio:
        await radio.until("change", workspace_id=ada.workspace_id)
        await make(bob)
        await make(ada)
        await radio.until("change")
        assert {data["workspace_id"] for _, data in radio.heard} == {ada.workspace_id}


async def test_too_many(start: Any) -> None:
    from mdserver.config import Limits

    server = await start(limits=Limits(user_sockets=2))
    ada = await server.person("Ada")
    async with listening(ada), listening(ada):
        assert (await ada.get("/events")).status == 429
    async with asyncio.timeout(PATIENCE + 20):
        while (await ada.get("/events")).status != 200:  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.05)
