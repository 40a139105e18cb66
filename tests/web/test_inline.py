"""Small reads answered as their bytes arrive: alike whichever way they go, and in order whatever arrives with them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aiohttp import web

from mdserver.config import Rates
from mdserver.config_values import Rate
from mdserver.web.api import ROUTES
from mdserver.web.inline import INLINE
from mdserver.web.shelf import SHELF, Shelf

from .conftest import Person, Server, Start


class Wire:
    """A connection on which bytes are written as a test wants them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, person: Person) -> None:
        self.reader, self.writer, self._person = reader, writer, person

    def request(self, method: str, path: str, *fields: str, body: bytes = b"", version: str = "1.1") -> bytes:
        lines = [
            f"{method} /api/v1{path} HTTP/{version}",
            "Host: x",
            f"Authorization: {self._person.headers['Authorization']}",
            *fields,
        ]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join((*lines, "", "")).encode() + body

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = await self.reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 100 "):
            head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode().removesuffix("\r\n\r\n").split("\r\n")
        fields = dict(one.split(": ", 1) for one in lines)
        body = await self.reader.readexactly(int(fields.get("Content-Length", "0")))
        return int(first.split()[1]), fields, body

    async def ask(self, method: str, path: str, *fields: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        self.writer.write(self.request(method, path, *fields, body=body))
        return await self.answer()


Dial = Callable[[Person], Awaitable[Wire]]


@pytest.fixture
async def dial() -> AsyncIterator[Dial]:
    """Connections to the server of a person; closed in the end."""
    opened: list[Wire] = []

    async def dial(person: Person) -> Wire:
        server = person.http.server
        assert server.port is not None
        opened.append(Wire(*await asyncio.open_connection(server.host, server.port), person))
        return opened[-1]

    yield dial
    for one in opened:
        one.writer.close()
        await one.writer.wait_closed()


@contextmanager
def counted(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """For each request that could be answered at once: whether it was."""
    seen: list[bool] = []
    inline = server.app[INLINE]
    real = inline.answer

    def answer(*arguments: Any) -> bytes | None:
        made = real(*arguments)
        seen.append(made is not None)
        return made

    with monkeypatch.context() as patch:
        patch.setattr(inline, "answer", answer)
        yield seen


async def document(person: Person, content: str = "# Plan\n", **more: Any) -> dict[str, Any]:
    body = {"title": "Plan", "content": content, **more}
    made = await person.post(f"/workspaces/{person.workspace_id}/documents", body)
    assert made.status == 201, made
    found: dict[str, Any] = made.json
    return found


def same(fields: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if name not in ("Date", "X-Request-Id", "Connection")}


async def test_both_ways_answer_alike(server: Server, dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = await server.person("Ada")
    made = await document(ada)
    for words in ("# Scheme\n", "# Schedule\n"):
        edited = await ada.patch(f"/documents/{made['id']}/content", {"base_version": 1, "content": words})
    here = {"workspace": ada.workspace_id, "document": made["id"], "conflict": edited.json["conflict_id"]}
    routes = [one for one in server.app[ROUTES] if one.asks]
    assert len(routes) >= 6
    on_sqlite = server.database.engine == "sqlite"
    for route in routes:
        path = re.sub(r"{\w+}", here.get(route.policy.of, ""), route.path).removeprefix("/api/v1")
        for fields in ([], ["Origin: tauri://localhost"], ["Accept: application/json"], [f"If-None-Match: {'*'}"]):
            wire = await dial(ada)
            await wire.ask("GET", "/me")  # the token is remembered from here on
            with counted(server, monkeypatch) as seen:
                at_once = await wire.ask("GET", path, *fields)
            assert seen == [on_sqlite], (path, fields)
            with counted(server, monkeypatch) as seen:
                usual = await wire.ask("GET", path, *fields, "Connection: close")
            assert seen == []
            assert (at_once[0], same(at_once[1]), at_once[2]) == (usual[0], same(usual[1]), usual[2])
            assert at_once[0] in (200, 304)


async def test_what_is_no_plain_read_goes_the_usual_way(server: Server, dial: Dial) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    made = await document(ada)
    path = f"/documents/{made['id']}"
    mine, others = await dial(ada), await dial(bob)
    for _ in range(2):
        assert (await others.ask("GET", path))[0] == 404
        assert (await mine.ask("GET", f"/workspaces/{ada.workspace_id}/documents?limit=0"))[0] == 400
        assert (await mine.ask("GET", path, "If-None-Match: nonsense"))[0] == 400
        assert (await mine.ask("GET", f"{path}/content", "Accept: image/png"))[0] == 406
        assert (await mine.ask("GET", f"/documents/{made['id'].upper()}"))[0] == 404
        assert (await mine.ask("GET", path, body=b"{}"))[0] == 200
        assert (await mine.ask("GET", path, "Expect: 100-continue"))[0] == 200
        assert (await mine.ask("GET", path))[0] == 200


async def test_order_is_kept(server: Server, dial: Dial) -> None:
    ada = await server.person("Ada")
    made = await document(ada)
    path = f"/documents/{made['id']}"
    wire = await dial(ada)
    assert (await wire.ask("GET", path))[0] == 200
    one, other = wire.request("GET", path), wire.request("GET", f"/workspaces/{ada.workspace_id}/documents")
    edit = wire.request("PUT", f"{path}/title", body=b'{"title": "New"}')

    wire.writer.write(one + other + one)  # several at once
    assert [(await wire.answer())[0] for _ in range(3)] == [200] * 3
    wire.writer.write(edit + one)  # what is read after a change shows it
    assert (await wire.answer())[0] == 200
    assert b'"title":"New"' in (await wire.answer())[2]
    wire.writer.write(one + edit + one)
    assert b'"title":"New"' in (await wire.answer())[2]
    assert [(await wire.answer())[0] for _ in range(2)] == [200] * 2
    for cut in (1, 20, len(one) - 1):  # a request in two pieces, then a whole one
        wire.writer.write(one[:cut])
        await wire.writer.drain()
        await asyncio.sleep(0.01)
        wire.writer.write(one[cut:])
        assert (await wire.answer())[0] == 200
    wire.writer.write(one + one[:30])
    assert (await wire.answer())[0] == 200
    wire.writer.write(one[30:])
    assert (await wire.answer())[0] == 200
    wire.writer.write(wire.request("GET", path, version="1.0"))
    assert (await wire.reader.read()).startswith(b"HTTP/1.")


async def test_a_change_is_seen_at_once(server: Server, dial: Dial) -> None:
    ada = await server.person("Ada")
    made = await document(ada)
    path = f"/documents/{made['id']}"
    wire = await dial(ada)
    for number in range(50):
        content = f"# {number}\n"
        changed = await ada.put(f"{path}/content", {"content": content}, headers={"If-Match": "*"})
        assert changed.status == 200
        _, fields, body = await wire.ask("GET", path)
        assert f'"content":"# {number}\\n"'.encode() in body
        assert fields["ETag"] == changed.headers["ETag"]
        listed = (await wire.ask("GET", f"/workspaces/{ada.workspace_id}/documents"))[2]
        assert changed.json["content_hash"].encode() in listed


async def test_a_role_that_ends_ends_at_once(server: Server, dial: Dial) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    made = await document(ada)
    member = f"/workspaces/{ada.workspace_id}/members/{bob.id}"
    assert (await ada.put(member, {"role": "viewer"})).status == 201
    wire = await dial(bob)
    for path in (f"/documents/{made['id']}", f"/workspaces/{ada.workspace_id}/documents"):
        assert (await wire.ask("GET", path))[0] == 200
    assert b'"role":"viewer"' in (await wire.ask("GET", f"/documents/{made['id']}"))[2]
    assert (await ada.patch(member, {"role": "editor"})).status == 200
    assert b'"role":"editor"' in (await wire.ask("GET", f"/documents/{made['id']}"))[2]
    assert (await ada.delete(member)).status == 204
    for path in (f"/documents/{made['id']}", f"/workspaces/{ada.workspace_id}/documents"):
        assert (await wire.ask("GET", path))[0] == 404


async def test_a_new_name_is_shown_at_once(server: Server, dial: Dial) -> None:
    ada = await server.person("Ada")
    made = await document(ada)
    wire = await dial(ada)
    paths = (f"/documents/{made['id']}", f"/workspaces/{ada.workspace_id}/documents")
    for path in paths:
        assert b'"display_name":"Ada"' in (await wire.ask("GET", path))[2]
    assert (await ada.patch("/me", {"display_name": "Countess"})).status == 200
    for path in paths:
        body = (await wire.ask("GET", path))[2]
        assert b'"display_name":"Countess"' in body
        assert b'"display_name":"Ada"' not in body


async def test_favourites_are_everybodys_own(server: Server, dial: Dial) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    made = await document(ada)
    assert (await ada.put(f"/workspaces/{ada.workspace_id}/members/{bob.id}", {"role": "owner"})).status == 201
    assert (await bob.put(f"/documents/{made['id']}/favourite")).status == 200
    mine, others = await dial(ada), await dial(bob)
    for path in (f"/documents/{made['id']}", f"/workspaces/{ada.workspace_id}/documents"):
        for _ in range(2):
            assert b'"favourite":false' in (await mine.ask("GET", path))[2]
            assert b'"favourite":true' in (await others.ask("GET", path))[2]


async def test_reads_are_counted_once(start: Start, dial: Dial) -> None:
    server = await start(rates=Rates(reads=Rate(5, 60)))
    ada = await server.person("Ada")
    wire = await dial(ada)
    left = []
    for _ in range(5):
        status, fields, _ = await wire.ask("GET", "/me")
        assert status == 200
        left.append(fields["RateLimit"].split(";")[1])
    assert left == ["r=4", "r=3", "r=2", "r=1", "r=0"]
    status, fields, _ = await wire.ask("GET", "/me")
    assert (status, fields["Content-Type"]) == (429, "application/problem+json")


async def test_a_handler_that_breaks_is_logged(
    server: Server, dial: Dial, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ada = await server.person("Ada")
    wire = await dial(ada)
    assert (await wire.ask("GET", "/me"))[0] == 200

    def broken(*_: Any, **__: Any) -> web.Response:
        raise RuntimeError("broken for a test")

    monkeypatch.setattr(server.app[SHELF], "listed", broken)
    status, fields, _ = await wire.ask("GET", f"/workspaces/{ada.workspace_id}/documents")
    assert (status, fields["Content-Type"]) == (500, "application/problem+json")
    assert "broken for a test" in caplog.text
    assert (await wire.ask("GET", "/me"))[0] == 200


async def test_the_shelf_stays_small(server: Server, dial: Dial) -> None:
    ada = await server.person("Ada")
    server.app[SHELF]._most = most = 20_000
    ids = [(await document(ada, title=f"{number}"))["id"] for number in range(30)]
    wire = await dial(ada)
    for sort in ("path", "updated_at", "position", "-updated_at"):
        _, _, body = await wire.ask("GET", f"/workspaces/{ada.workspace_id}/documents?sort={sort}")
        assert all(id.encode() in body for id in ids)
    for id in ids:
        for _ in range(2):
            assert f'"id":"{id}"'.encode() in (await wire.ask("GET", f"/documents/{id}"))[2]
    shelf: Shelf = server.app[SHELF]
    assert sum(len(one) for one in shelf._kept.values()) <= shelf._size <= most
    assert bool(shelf._kept) == (server.database.engine == "sqlite")
