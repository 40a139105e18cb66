"""What an attacker or bad luck once got past: long answers, readers that do not read, odd bytes, addresses."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable

import pytest
from aiohttp.test_utils import make_mocked_request

from mdserver.model.documents import copying
from mdserver.web import wire
from mdserver.web.log import RequestLog

from .conftest import Server


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 (what is waited for is aiohttp's own state)
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("text", ["x" * 70_000, '\x01"\\é😀\n' * 40_000, "a" * 300_000])
async def test_long_texts_arrive_whole(server: Server, text: str) -> None:
    ada = await server.person("Ada")
    home = (await ada.call("GET", "/workspaces")).json["items"][0]["id"]
    made = await ada.call("POST", f"/workspaces/{home}/documents", {"title": "long", "content": text})
    assert made.status == 201, made
    path = f"/documents/{made.json['id']}"
    whole = await ada.call("GET", path)
    assert whole.json["content"] == text
    assert whole.json["id"] == made.json["id"]
    assert (await ada.call("GET", f"{path}/versions/1")).json["content"] == text
    raw = await ada.call("GET", f"{path}/content", headers={"Accept": "text/markdown"})
    assert raw.body.decode() == text
    as_json = await ada.call("GET", f"{path}/content", headers={"Accept": "application/json"})
    assert as_json.json["content"] == text
    head = await ada.call("HEAD", path)
    assert (head.status, head.body) == (200, b"")


async def test_a_reader_that_does_not_read_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "STALLED", 0.2)
    ada = await server.person("Ada")
    home = (await ada.call("GET", "/workspaces")).json["items"][0]["id"]
    text = "x" * 12_000_000
    made = await ada.call("POST", f"/workspaces/{home}/documents", {"title": "long", "content": text})
    address = ada.http.server
    assert address.port is not None
    runner = ada.http.server.runner
    assert runner is not None
    assert runner.server is not None
    server_side = runner.server
    before = len(server_side.connections)
    _, writer = await asyncio.open_connection(address.host, address.port, limit=1024)
    token = ada.headers["Authorization"]
    request = f"GET /api/v1/documents/{made.json['id']} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n"
    writer.write(request.encode())
    async with asyncio.timeout(30):
        await until(lambda: len(server_side.connections) > before)
        await until(lambda: len(server_side.connections) == before)  # nothing is read: the server has to let go
    writer.transport.abort()
    assert (await ada.call("GET", "/me")).status == 200


async def test_a_cookie_is_no_bearer_token_however_it_is_written(server: Server) -> None:
    ada = await server.person("Ada")
    browser = await server.browser(ada)
    cookie = browser.headers["Cookie"].partition("=")[2].partition(";")[0]
    assert cookie.startswith("mds_ws_")
    for spaces in (" ", "  ", " \t"):
        answer = await ada.call("GET", "/me", headers={"Authorization": f"Bearer{spaces}{cookie}"})
        assert answer.status == 401


async def test_a_content_type_that_is_no_text(server: Server) -> None:
    ada = await server.person("Ada")
    address = ada.http.server
    assert address.port is not None
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(
        b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Content-Type: a\xff\r\nContent-Length: 2\r\n\r\n{}"
    )
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 415 ")
    assert b"application/problem+json" in answer


async def test_so_much_is_not_copied_at_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "MOST_BYTES", 1000)
    ada = await server.person("Ada")
    home = (await ada.call("GET", "/workspaces")).json["items"][0]["id"]
    folder = (await ada.call("POST", f"/workspaces/{home}/documents", {"title": "f", "kind": "folder"})).json["id"]
    for title in ("one", "two"):
        body = {"title": title, "content": "x" * 600, "parent_id": folder}
        assert (await ada.call("POST", f"/workspaces/{home}/documents", body)).status == 201
    refused = await ada.call("POST", f"/documents/{folder}/copies", {"children": True})
    assert (refused.status, refused.problem) == (409, "conflict")
    assert (await ada.call("POST", f"/documents/{folder}/copies", {})).status == 201


@pytest.mark.parametrize("path", ["/api/v1/invitations/mds_in_SECRET", "/api/v1/%69nvitations/mds_in_SECRET?a=b"])
async def test_an_invitations_secret_stays_out_of_the_log(path: str) -> None:
    out = io.StringIO()
    log = RequestLog("all", as_json=True, out=out)
    log.write(make_mocked_request("GET", path), "id", None, 404, 0.1, "127.0.0.1")
    log.flush()
    assert "SECRET" not in out.getvalue()
    assert '"status":404' in out.getvalue()
