"""Clients that send too fast, in pieces, or do not read: each holds up nobody but itself."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pycrdt import Doc, Text

from mdserver.collab import protocol
from mdserver.collab.outbox import MOST_WAITING
from mdserver.config import Limits
from mdserver.crdt import lib0
from mdserver.web import pace
from mdserver.web.live import LIVE

from .conftest import Client, Server, Start
from .editors import opened
from .test_live import comes, document, shown
from .test_live_access import token_of
from .test_live_bad_input import wire, world
from .test_live_storage import sound

__all__ = ["wire"]

pytestmark = pytest.mark.usefixtures("hurried")


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_frames_in_pieces(server: Server, wire: str, size: int) -> None:
    async with world(server, wire) as (editor, id):
        ada = await server.person("Cleo")
        mine = await document(ada, "")
        doc = Doc[Any]()
        doc["content"] = content = Text()
        content += "in pieces"
        address = lib0.text(mine) if wire == "provider" else b""
        async with raw(ada, "/collab" if wire == "provider" else f"/collab/{mine}") as (reader, writer):
            if wire == "provider":
                writer.write(pieces(address + b"\x02\x00" + lib0.text(token_of(ada)) + lib0.text(""), size))
            writer.write(pieces(address + protocol.step2(doc.get_update()), size))
            await shown(ada, mine, "in pieces")
            del reader
        assert editor.code is None
        assert id


def pieces(data: bytes, size: int) -> bytes:
    """A masked binary message in frames of so many bytes, with pings between them (RFC 6455 §5.4)."""
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    made = b""
    for at, part in enumerate(parts):
        made += framed(part, opcode=2 if at == 0 else 0, last=at == len(parts) - 1) + framed(b"", opcode=9, last=True)
    return made


def framed(data: bytes, *, opcode: int, last: bool) -> bytes:
    length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return bytes([opcode | (0x80 if last else 0)]) + length + b"\0\0\0\0" + data


@contextlib.asynccontextmanager
async def raw(
    person: Client, path: str, *, buffer: int = 0
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A WebSocket as bytes, after its handshake; `buffer` bounds what the system keeps for one who does not read."""
    sock = socket.socket()
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.setblocking(False)
    assert person.http.port is not None
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", person.http.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=buffer or 65536)
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{person.http.port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        *(f"{name}: {value}" for name, value in person.headers.items()),
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 101"), answer
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_client_that_does_not_read_is_cut_off_and_holds_nobody_up(start: Start) -> None:
    server = await start(limits=Limits(frames_second=1_000_000, frames_burst=1_000_000))
    ada = await server.person("Ada")
    id = await document(ada, "")
    live = server.app[LIVE]
    async with opened(ada, id) as editor, opened(ada, id) as other:
        async with raw(ada, f"/collab/{id}", buffer=4096):
            await comes(lambda: not (len(live) < 3))
            sent = 0
            while len(live) == 3:
                words = "x" * 50_000
                await editor.edit(lambda text: text.insert(0, words))  # noqa: B023
                await editor.edit(lambda text: text.__delitem__(slice(0, 50_000)))
                await editor.until(lambda: editor.saved == 3 + sent)  # noqa: B023
                sent += 2
                assert sent * 25_000 < 20 * MOST_WAITING
        await other.until(lambda: other.text == editor.text)
    await sound(server)


async def test_answers_wait_for_who_does_not_read(start: Start) -> None:
    server = await start(limits=Limits(frames_second=1_000_000, frames_burst=1_000_000))
    ada = await server.person("Ada")
    id = await document(ada, "x" * 1_000_000)
    live = server.app[LIVE]
    async with raw(ada, f"/collab/{id}", buffer=4096) as (_, writer):
        writer.write(framed(protocol.step1(b"\0"), opcode=2, last=True) * 300)
        async with opened(ada, id) as editor:
            (connection,) = [one for one in live._open if b"" in one.held]
            await comes(lambda: not (connection._transport.get_write_buffer_size() < 64 << 10))
            for number in range(20):
                await editor.write("y")
                await editor.until(lambda: editor.saved == number + 2)  # noqa: B023
            assert connection._transport.get_write_buffer_size() < 1_500_000
    await sound(server)


async def test_who_sends_too_fast_is_slowed_down_and_then_closed(
    start: Start, wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start(limits=Limits(frames_second=100, frames_burst=20))
    async with world(server, wire) as (editor, _):
        for _ in range(30):
            await editor.send(b"\x03")
        editor.synced = False
        await editor.send(protocol.step1(b"\0"))
        await editor.until(lambda: editor.synced)
        assert editor.code is None
        monkeypatch.setattr(pace, "PATIENCE", 0.0)
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                await editor.send(b"\x03")
        await editor.until(lambda: editor.code)
        assert editor.code == 1008
