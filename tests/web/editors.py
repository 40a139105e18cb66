"""Clients of live editing in Python, frame by frame: for what the real ones never send, and for fast tests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from aiohttp import ClientWebSocketResponse, WSMsgType
from pycrdt import Doc, Text

from mdserver.collab import protocol
from mdserver.crdt import lib0

from .conftest import Client

PATIENCE = 10.0


class Editor:
    """A client with a document of its own. `address` stands before each message: a Hocuspocus provider's name."""

    def __init__(self, ws: ClientWebSocketResponse, *, address: bytes = b"") -> None:
        self.ws, self.address = ws, address
        self.doc: Doc[Any] = Doc()
        self.content = self.doc.get("content", type=Text)
        self.saved = self.refused = 0
        self.synced = False
        self.scope = ""
        self.denied: list[str] = []
        self.closed: list[str] = []
        self.told: list[str] = []
        self.awareness: dict[int, Any] = {}
        self.asked = 0
        self.code: int | None = None
        self.quiet = False
        """Whether what is asked of it goes unanswered."""
        self._heard = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    @property
    def named(self) -> bool:
        return bool(self.address)

    @property
    def text(self) -> str:
        return str(self.content)

    async def send(self, message: bytes) -> None:
        await self.ws.send_bytes(self.address + message)

    async def sign_in(self, token: str) -> None:
        """Say who one is, as a provider does."""
        await self.send(bytes([protocol.AUTH, 0]) + lib0.text(token) + lib0.text("4.8.0"))

    async def sync(self) -> None:
        """Ask for the document, and wait until it is there."""
        await self.send(protocol.step1(self.doc.get_state()))
        await self.until(lambda: self.synced)

    async def edit(self, change: Callable[[Text], object]) -> bytes:
        """Change the text and send the update."""
        made: list[bytes] = []
        subscription = self.doc.observe(lambda event: made.append(event.update))
        with self.doc.transaction():
            change(self.content)
        self.doc.unobserve(subscription)
        await self.send(protocol.change(made[-1]))
        return made[-1]

    async def write(self, words: str, at: int | None = None) -> bytes:
        """Insert words, by default at the end; `at` counts bytes."""
        return await self.edit(lambda text: text.insert(len(text) if at is None else at, words))

    async def announce(self, client: int, clock: int, state: Any) -> None:
        """Say where one is."""
        one = protocol.Presence(client, clock, None if state is None else msgspec.json.encode(state))
        await self.send(protocol.awareness([one]))

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something is so that messages bring about."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._heard.clear()
                await self._heard.wait()

    async def leave(self) -> None:
        await self.ws.close()
        await self._task

    async def _run(self) -> None:
        async for message in self.ws:
            if message.type is WSMsgType.BINARY:
                await self._hear(message.data)
            self._heard.set()
        self.code = self.ws.close_code
        self._heard.set()

    async def _hear(self, data: bytes) -> None:
        if data in (protocol.PING_FRAME, protocol.PONG_FRAME):
            self.told.append("pong")
            return
        reader = lib0.Reader(data)
        if self.named:
            if not data.startswith(self.address):
                return
            reader.at = len(self.address)
        while not reader.finished:
            await self._message(reader)

    async def _message(self, reader: lib0.Reader) -> None:
        kind = reader.number()
        if kind == protocol.SYNC:
            step, body = reader.number(), reader.take()
            if step == 0:
                self.asked += 1
                if not self.quiet:
                    await self.send(protocol.step2(self.doc.get_update(body)))
            else:
                self.doc.apply_update(body)
                self.synced = self.synced or step == 1
        elif kind == protocol.AWARENESS:
            for one in protocol.read_awareness(reader.take()):
                state = None if one.state is None else msgspec.json.decode(one.state)
                self.awareness[one.client] = state
                if state is None:
                    del self.awareness[one.client]
        elif kind == protocol.AUTH:
            what = reader.number()
            if not self.named:
                self.denied.append(reader.text())
            elif what == 0:
                self.told.append("token?")
            elif what == 1:
                self.denied.append(reader.text())
            else:
                self.scope = reader.text()
        elif kind == protocol.SYNC_STATUS:
            if reader.number():
                self.saved += 1
            else:
                self.refused += 1
        elif kind == protocol.STATELESS:
            self.told.append(reader.text())
        elif kind == protocol.CLOSE:
            self.closed.append(reader.text())
        else:
            raise AssertionError(f"a message of kind {kind}")


@contextlib.asynccontextmanager
async def y_websocket(person: Client, document_id: str, **options: Any) -> AsyncIterator[Editor]:
    """A y-websocket client with the person's token in a header; not yet synchronised."""
    headers = {**person.headers, **options.pop("headers", {})}
    async with person.http.ws_connect(f"/collab/{document_id}", headers=headers, **options) as ws:
        editor = Editor(ws)
        try:
            yield editor
        finally:
            await editor.leave()


@contextlib.asynccontextmanager
async def provider(person: Client, *document_ids: str, token: str | None = None) -> AsyncIterator[list[Editor]]:
    """A provider's socket with these documents; each says who it is, and none is synchronised yet."""
    async with person.http.ws_connect("/collab") as ws:
        editor = Editor(ws, address=lib0.text(document_ids[0]))
        given = person.headers["Authorization"].removeprefix("Bearer ") if token is None else token
        await editor.sign_in(given)
        try:
            yield [editor]
        finally:
            await editor.leave()


@contextlib.asynccontextmanager
async def opened(person: Client, document_id: str) -> AsyncIterator[Editor]:
    """A provider's client that has the document."""
    async with provider(person, document_id) as (editor,):
        await editor.until(lambda: editor.scope or editor.denied)
        assert editor.scope, editor.denied
        await editor.sync()
        yield editor
