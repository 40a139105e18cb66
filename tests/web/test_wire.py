"""Answers as bytes: what goes over a raw connection, kept alive or not, and header fields that must not break out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mdserver.store.db import Database
from mdserver.web.api import OPEN, Reply, Routes

from .bare import bare

routes = Routes("probe", prefix="")


@routes.get("/probe/{text}", policy=OPEN, rate="none")
async def probe(request: web.Request, text: str) -> Reply[list[str]]:
    """Answer with a header field made from the path."""
    return Reply(["ä", text], headers={"X-Probe": text})


@routes.delete("/probe/{text}", policy=OPEN, rate="none")
async def nothing(request: web.Request, text: str) -> None:
    """Answer without a body."""


@pytest.fixture
async def server(database: Database) -> AsyncIterator[TestServer]:
    made = TestServer(bare(database, more=routes.all))
    async with made:
        yield made


async def said(server: TestServer, *requests: str) -> bytes:
    """What the server says to these requests on one connection, until it closes or is told that no more comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write("".join(requests).encode())
    writer.write(b"GET /probe/last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_answers_follow_each_other_on_one_connection(server: TestServer) -> None:
    one = "GET /probe/a HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = await said(server, one, one, "DELETE /probe/a HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 3
    assert answer.count('["ä","a"]'.encode()) == 2
    assert answer.count(b"Content-Length: 10\r\n") == 2
    head = answer.partition(b"HTTP/1.1 204 No Content\r\n")[2].partition(b"\r\n\r\n")[0]
    assert b"Content-Length" not in head
    assert b"Date: " in head
    assert answer.rstrip().endswith('["ä","last"]'.encode())


async def test_head_has_the_length_and_no_body(server: TestServer) -> None:
    answer = await said(server, "HEAD /probe/a HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert b"content-length: 10" in head.lower()
    assert rest.startswith(b"HTTP/1.1 200 OK")


async def test_http_1_0_is_answered_and_closed(server: TestServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /probe/a HTTP/1.0\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert answer.endswith('["ä","a"]'.encode())


async def test_a_header_field_cannot_break_out(server: TestServer, caplog: pytest.LogCaptureFixture) -> None:
    answer = await said(server, "GET /probe/a%0d%0aSet-Cookie:%20stolen=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"Set-Cookie" not in answer.partition(b"\r\n\r\n")[0]
    assert "an answer could not be written" in caplog.text
