"""What aiohttp refuses before a request reaches a handler: a problem too, and not told to the log at length.

Its own answer quotes what was sent, and its log line quotes it with a traceback: query strings, and cookies of other
programs, among it.
"""

from __future__ import annotations

import logging
from http import HTTPStatus

import msgspec
from aiohttp import web, web_protocol

from mdserver.errors import SLUGS

log = logging.getLogger("mdserver.web")


class _Protocol(web_protocol.RequestHandler):
    __slots__ = ()

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
        body = {"type": f"/problems/{slug}", "title": SLUGS[slug][0], "status": status, "detail": detail}
        headers = {
            "Content-Type": "application/problem+json",
            "Server": "mdserver",
            "X-Content-Type-Options": "nosniff",
        }
        reason = HTTPStatus(status).phrase
        return web.Response(status=status, reason=reason, headers=headers, body=msgspec.json.encode(body))


class _Server(web.Server):
    def __call__(self) -> web_protocol.RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)


def install(server: web.Server) -> None:
    """Let a server that a runner has made answer so: aiohttp offers no other place for it."""
    server.__class__ = _Server


async def expectation(request: web.Request) -> None:
    """Expect: 100-continue is granted, any other expectation ignored (RFC 9110 §10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
