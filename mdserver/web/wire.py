"""Small complete answers written to the connection in one piece.

aiohttp's Response does much in Python that such an answer does not need: compression, chunking, cookies, payloads.
`Written` is a response that is a ready block of bytes; whatever is not a plain answer over a kept-alive HTTP/1.1
connection goes out through aiohttp's own Response.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable
from email.utils import formatdate
from http import HTTPStatus

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

SLOW_READER = 256 << 10
"""Bytes waiting in the transport from which an answer waits for its reader."""

LONG = 256 << 10
"""Bytes from which an answer is written in pieces."""

STALLED = 60.0
"""Seconds after which a client that reads nothing is given up."""

_NO_BODY = (204, 304)
_LINES = {one.value: f"HTTP/1.1 {one.value} {one.phrase}\r\n" for one in HTTPStatus}

_date = (0, "")


class Answer:
    """Status, headers and the whole body of an answer, or the pieces of a long one. Headers may still be added."""

    __slots__ = ("body", "headers", "pieces", "status")

    def __init__(
        self, status: int, headers: dict[str, str], body: bytes = b"", *, pieces: Iterable[bytes] | None = None
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.pieces = pieces


class Written(web.StreamResponse):
    """An answer as the bytes that go onto the connection. Stands where aiohttp expects a response."""

    def __init__(self, request: web.BaseRequest, status: int, data: bytes) -> None:
        # StreamResponse's own state is not set up: everything that aiohttp asks of a response is below.
        self._request = request
        self._code = status
        self._data = data

    @property
    def status(self) -> int:
        return self._code

    @property
    def prepared(self) -> bool:
        return True

    @property
    def keep_alive(self) -> bool:
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        transport.write(self._data)
        if transport.get_write_buffer_size() > SLOW_READER:
            await _unless_stalled(self._request, self._request.writer.drain())


class Pieces(web.StreamResponse):
    """A long answer, made and written piece by piece: others get their turn, and a slow reader fills no memory."""

    def __init__(self, request: web.BaseRequest, answer: Answer, pieces: Iterable[bytes], length: int | None) -> None:
        super().__init__(status=answer.status, headers=answer.headers)
        self._request, self._pieces = request, pieces
        self.content_length = length

    async def write_eof(self, data: bytes = b"") -> None:
        if self._request.method != "HEAD":
            for piece in self._pieces:
                await _unless_stalled(self._request, self.write(piece))
                await asyncio.sleep(0)
        await super().write_eof()


async def _unless_stalled(request: web.BaseRequest, sending: Awaitable[None]) -> None:
    """Wait until there is room for more; give up on a client that does not read."""
    try:
        async with asyncio.timeout(STALLED):
            await sending
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the client does not read") from None


def response(request: web.Request, answer: Answer) -> web.StreamResponse:
    """The answer as a response: in one piece where that is all it takes."""
    if answer.pieces is not None:
        return Pieces(request, answer, answer.pieces, None)
    if len(answer.body) > LONG:
        view = memoryview(answer.body)
        cut = (bytes(view[at : at + LONG]) for at in range(0, len(view), LONG))
        return Pieces(request, answer, cut, len(answer.body))
    if request.version != HttpVersion11 or not request.keep_alive or request.method == "HEAD":
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body or None)
    return Written(request, answer.status, block(answer))


def block(answer: Answer, more: str = "") -> bytes:
    """The answer, with more header lines, as it goes onto a kept-alive HTTP/1.1 connection.

    ValueError for a field that would break out of its line.
    """
    length = "" if answer.status in _NO_BODY else f"Content-Length: {len(answer.body)}\r\n"
    head = f"{_LINES[answer.status]}{length}{lines(answer.headers)}{more}Date: {_now()}\r\n\r\n"
    return head.encode() + answer.body


def lines(headers: dict[str, str]) -> str:
    """Header fields as lines. ValueError for one that would break out of its line."""
    made = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if made.count("\r") + made.count("\n") != 2 * len(headers):
        raise ValueError("a header field holds a line break")
    return made


def _now() -> str:
    """The Date field's value (RFC 9110 §5.6.7), made once a second."""
    global _date
    second = int(time.time())
    if _date[0] != second:
        _date = (second, formatdate(second, usegmt=True))
    return _date[1]
