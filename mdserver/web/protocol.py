"""The connection: small reads answered as their bytes arrive, and aiohttp's own refusals as problems.

aiohttp wakes a task for each request, which starts another for its handler: much of what a small read costs. A
whole request that `Inline` can answer at once is answered in `data_received` itself, and the tasks sleep on.

What aiohttp refuses before a request reaches a handler is a problem too, and not told to the log at length: its own
answer quotes what was sent, and its log line quotes it with a traceback, query strings and other programs' cookies
among it.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import HttpVersion11, web, web_protocol
from aiohttp.http import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD

from mdserver.errors import SLUGS

from .api import BASE_PATH, PUBLIC_URL
from .inline import INLINE, Inline
from .wire import SLOW_READER

log = logging.getLogger("mdserver.web")

_NO_WRITER: Any = None  # an answer in one block goes past it


_data_received = web_protocol.RequestHandler.data_received


class _Protocol(web_protocol.RequestHandler):
    __slots__ = ("credential", "digest", "inline", "problems")

    inline: Inline
    problems: str
    credential: str
    """The last Authorization field on this connection, and the hash of its token, which takes time."""
    digest: bytes | None

    def data_received(self, data: bytes) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done() or self._messages or self._upgraded or self._payload_parser is not None:
            _data_received(self, data)
            return
        self._waiter = None  # or aiohttp would wake its task for what may need none
        try:
            _data_received(self, data)
        finally:
            self._waiter = waiter
        if len(self._messages) == 1 and self._answered(*self._messages[0]):
            self._messages.clear()
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        elif self._messages and not waiter.done():
            waiter.set_result(None)

    def _answered(self, message: Any, payload: Any) -> bool:
        """Answer a request at once, if it can be: a bare GET of HTTP/1.1 whose client reads what it is sent."""
        transport, parser, manager, factory = self.transport, self._parser, self._manager, self._request_factory
        if (
            type(message) is not RawRequestMessage
            or message.method != "GET"
            or message.version != HttpVersion11
            or message.should_close
            or message.upgrade
            or payload is not EMPTY_PAYLOAD
            or transport is None
            or transport.is_closing()
            or transport.get_write_buffer_size() > SLOW_READER
            or parser is None
            or manager is None
            or factory is None
            or self._task_handler is None
        ):
            return False
        found = self.inline.find(message.path)
        if found is None:
            return False
        header = message.headers.get("Authorization")
        if header is not None and header != self.credential:
            self.credential, self.digest = header, self.inline.digest(header)
        principal = self.inline.known(self.digest) if header is not None and self.digest is not None else None
        if principal is None:
            return False
        request: Any = factory(message, payload, self, _NO_WRITER, self._task_handler)
        data = self.inline.answer(request, principal, *found)
        if data is None:
            return False
        parser.message_consumed()
        manager.requests_count += 1
        transport.write(data)
        return True

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun: no other one can be given")
        if status >= 500:
            log.error("aiohttp failed with %s", status, exc_info=exc)
            slug, detail = "internal", "Something broke in the server; it was logged."
        else:
            log.info("a request that is no valid HTTP was refused with %s", status)
            slug, detail = "malformed", "This is not a valid HTTP request, or its head is too long."
        body = {"type": f"{self.problems}/{slug}", "title": SLUGS[slug][0], "status": status, "detail": detail}
        headers = {
            "Content-Type": "application/problem+json",
            "Server": "mdserver",
            "X-Content-Type-Options": "nosniff",
        }
        reason = HTTPStatus(status).phrase
        return web.Response(status=status, reason=reason, headers=headers, body=msgspec.json.encode(body))


class _Server(web.Server):
    inline: Inline
    problems: str

    def __call__(self) -> web_protocol.RequestHandler:
        made = _Protocol(self, loop=self._loop, **self._kwargs)
        made.inline, made.problems = self.inline, self.problems
        made.credential, made.digest = "", None
        return made


def install(server: web.Server, app: web.Application) -> None:
    """Let a server that a runner has made for this application speak so: aiohttp offers no other place for it."""
    server.__class__ = _Server
    assert isinstance(server, _Server)
    server.inline = app[INLINE]
    server.problems = f"{app[PUBLIC_URL]}{app[BASE_PATH]}/problems"


async def expectation(request: web.Request) -> None:
    """Expect: 100-continue is granted, any other expectation ignored (RFC 9110 §10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
