"""The request boundary: every answer leaves here, with its id and headers, and every failure as an RFC 9457 problem."""

from __future__ import annotations

import itertools
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
from aiohttp import web

from mdserver.errors import SLUGS, MethodNotAllowed, NotFound, Problem, TooLarge
from mdserver.model.access import Principal

from . import wire
from .api import BASE_PATH, ME, PUBLIC_URL
from .limits import PROXIES, RATE, REQUEST_ID, client, from_proxy
from .log import REQUEST_LOG, safe_path
from .traffic import Tally, Traffic
from .wire import Answer

log = logging.getLogger("mdserver.web")

ORIGINS: web.AppKey[frozenset[str]] = web.AppKey("origins", frozenset)
STOPPING: web.AppKey[list[bool]] = web.AppKey("stopping", list)
TRAFFIC: web.AppKey[Traffic] = web.AppKey("traffic")
STREAMED: web.RequestKey[Callable[[web.StreamResponse], None]] = web.RequestKey("streamed")
"""Dresses and notes an answer that is about to begin, and will not end soon (`stream`)."""

UPGRADED: web.RequestKey[Callable[[], None] | None] = web.RequestKey("upgraded")
"""Given to what becomes a WebSocket: to be called when it has, once (`upgraded`)."""

EXPOSED = "ETag, Link, Location, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
ALLOWED_HEADERS = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-MDServer, X-Request-Id"
UNCACHED = "private, no-cache"
RUN = secrets.token_hex(5)
"""This run of the program: request ids begin with it, and `/version` names it."""

_ids = itertools.count(1)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{6,64}")

Handler = Callable[[web.Request], Awaitable[Answer | web.StreamResponse]]


class Boundary:
    """What an answer gets on its way out; what the application knows is read once."""

    def __init__(self, app: web.Application) -> None:
        self._proxies, self._origins, self._log = app[PROXIES], app[ORIGINS], app[REQUEST_LOG]
        self._traffic = app[TRAFFIC]
        self._fixed = {"Server": "mdserver", "X-Content-Type-Options": "nosniff"}
        if app[PUBLIC_URL].startswith("https:"):
            self._fixed["Strict-Transport-Security"] = "max-age=31536000"
        self._plain = wire.lines(self._fixed | {"Cache-Control": UNCACHED})

    def guard(self, handler: Handler, tally: Tally) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The boundary around one handler: nothing passes here but answers."""
        traffic = self._traffic

        async def answer(request: web.Request) -> web.StreamResponse:
            started = time.perf_counter()
            request_id = self.enter(request)
            traffic.under_way += 1
            begun: list[web.StreamResponse] = []

            def begin(response: web.StreamResponse) -> None:
                begun.append(response)
                traffic.under_way -= 1
                self.dress(request, response)
                self.leave(request, request_id, request.get(ME), response.status, started, tally)

            request[STREAMED] = begin
            try:
                made = await handler(request)
            except Problem as problem:
                made = problem_answer(request, problem)
            except web.HTTPException as error:
                made = _from_aiohttp(request, error)
            except Exception as error:
                made = self._broken(request, "a request failed", error)
            finally:
                if not begun:
                    traffic.under_way -= 1
            if begun:
                return begun[0]
            self.dress(request, made)
            try:
                sent = wire.response(request, made) if isinstance(made, Answer) else made
            except ValueError as error:
                sent = wire.response(request, self._broken(request, "an answer could not be written", error))
            self.leave(request, request_id, request.get(ME), sent.status, started, tally)
            return sent

        return answer

    def guard_socket(
        self, handler: Callable[[web.Request], Awaitable[web.StreamResponse]], tally: Tally
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The boundary around what becomes a WebSocket: it ends long after it was answered, and is counted as it opens.

        The handler calls `upgraded` then; until it does, it may raise problems as any other.
        """

        async def answer(request: web.Request) -> web.StreamResponse:
            started = time.perf_counter()
            request_id = self.enter(request)
            request[UPGRADED] = lambda: self.leave(request, request_id, request.get(ME), 101, started, tally)
            try:
                return await handler(request)
            except Problem as problem:
                made = problem_answer(request, problem)
            except Exception as error:
                made = self._broken(request, "a socket failed", error)
            if request.transport is None or request[UPGRADED] is None:
                raise ConnectionError("the socket has failed")
            self.dress(request, made)
            sent = wire.response(request, made)
            self.leave(request, request_id, request.get(ME), sent.status, started, tally)
            return sent

        return answer

    def enter(self, request: web.Request) -> str:
        """Give a request its id: the one that a trusted proxy names, or a new one."""
        request_id = f"{RUN}-{next(_ids):x}"
        if self._proxies:
            given = request.headers.get("X-Request-Id")
            if given is not None and _REQUEST_ID.fullmatch(given) and from_proxy(request):
                request_id = given
        request[REQUEST_ID] = request_id
        return request_id

    def dress(self, request: web.Request, made: Answer | web.StreamResponse) -> None:
        """Add the header fields that every answer has."""
        headers = made.headers
        headers.update(self._fixed)
        headers["X-Request-Id"] = request[REQUEST_ID]
        if "Cache-Control" not in headers:
            headers["Cache-Control"] = UNCACHED
        rate = request.get(RATE)
        if rate is not None:
            headers.update(rate)
        origin = request.headers.get("Origin")
        if origin is not None:
            headers["Vary"] = f"{headers['Vary']}, Origin" if "Vary" in headers else "Origin"
            if origin in self._origins:
                headers["Access-Control-Allow-Origin"] = origin
                headers["Access-Control-Expose-Headers"] = EXPOSED

    def block(self, request: web.Request, request_id: str, made: Answer) -> bytes:
        """An answer that `asker` made, with those fields, as it goes onto a kept-alive connection.

        Most need only what never varies.
        """
        if "Cache-Control" in made.headers or "Origin" in request.headers:
            self.dress(request, made)
            return wire.block(made)
        return wire.block(made, f"{self._plain}X-Request-Id: {request_id}\r\n")

    def leave(
        self,
        request: web.Request,
        request_id: str,
        who: Principal | None,
        status: int,
        started: float,
        tally: Tally,
    ) -> None:
        """Note that the request was answered; `started` is time.perf_counter() at its beginning."""
        seconds = time.perf_counter() - started
        tally.note(status, seconds)
        if status >= self._log.least:
            address = client(request) if self._proxies else request.remote
            self._log.write(request, request_id, who, status, seconds, address)

    def _broken(self, request: web.Request, what: str, error: Exception) -> Answer:
        log.error(what, exc_info=error, extra={"request_id": request[REQUEST_ID], "route": _route(request)})
        return problem_answer(request, Problem("Something broke in the server; it was logged."))


async def stream(request: web.Request, response: web.StreamResponse) -> None:
    """Begin an answer that goes on for long: it is noted now. Problems are none of its client's business any more."""
    request[STREAMED](response)
    await response.prepare(request)


def upgraded(request: web.Request) -> None:
    """Say that the request has become a WebSocket, for which there is no other answer any more."""
    note = request[UPGRADED]
    request[UPGRADED] = None
    if note is not None:
        note()


def problem_body(request: web.Request, problem: Problem) -> dict[str, Any]:
    """The members of a problem (RFC 9457 §3)."""
    return {
        "type": f"{request.app[PUBLIC_URL]}{request.app[BASE_PATH]}/problems/{problem.slug}",
        "title": SLUGS[problem.slug][0],
        "status": problem.status,
        "detail": problem.detail,
        "instance": safe_path(request.path),
        "request_id": request[REQUEST_ID],
        **problem.extra,
    }


def problem_answer(request: web.Request, problem: Problem) -> Answer:
    """The problem as application/problem+json."""
    body = problem_body(request, problem)
    headers = {**problem.headers, "Content-Type": "application/problem+json", "Cache-Control": "no-store"}
    try:
        data = msgspec.json.encode(body)
    except UnicodeEncodeError:  # it quotes what a client wrote, which was no text
        data = msgspec.json.encode(
            {**body, "detail": ascii(problem.detail), "errors": [], "instance": ascii(request.path)}
        )
    return Answer(problem.status, headers, data)


def _from_aiohttp(request: web.Request, error: web.HTTPException) -> Answer | web.Response:
    """What aiohttp itself answers with, as ours."""
    if error.status < 400:
        response = web.Response(status=error.status, headers=error.headers)
        response.headers.pop("Content-Type", None)
        return response
    if error.status == 413:
        return problem_answer(request, TooLarge("The body is too large."))
    log.warning("aiohttp answered %s for %s", error.status, _route(request))
    return problem_answer(request, NotFound("There is nothing at this address."))


def unmatched(app: web.Application) -> Handler:
    """The handler of everything that no route took: OPTIONS and CORS preflight, 405 for a known address, else 404."""
    resources = [one for one in app.router.resources() if one.canonical != "/{tail}"]

    async def answer(request: web.Request) -> Answer:
        allowed: set[str] = set()
        for resource in resources:
            allowed |= (await resource.resolve(request))[1]
        if not allowed:
            raise NotFound("There is nothing at this address.")
        if request.method == "OPTIONS":
            return _options(request, allowed | {"OPTIONS"})
        problem = MethodNotAllowed(f"{request.method} is not taken here.")
        problem.headers["Allow"] = ", ".join(sorted(allowed | {"OPTIONS"}))
        raise problem

    return answer


def _options(request: web.Request, allowed: Iterable[str]) -> Answer:
    """OPTIONS of a known address, CORS preflight included (Fetch §3.2.2)."""
    methods = ", ".join(sorted(allowed))
    headers = {"Allow": methods}
    if request.headers.get("Origin") in request.app[ORIGINS] and "Access-Control-Request-Method" in request.headers:
        headers["Access-Control-Allow-Methods"] = methods
        headers["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
        headers["Access-Control-Max-Age"] = "7200"
    return Answer(204, headers)


def _route(request: web.Request) -> str:
    """Method and route pattern: enough to find the handler, without what the client wrote."""
    resource = request.match_info.route.resource
    return f"{request.method} {resource.canonical if resource else '?'}"
