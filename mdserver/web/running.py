"""What runs a route: who may come in, path, query and body as the handler's hints say, the handler, its answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
from aiohttp import web

from mdserver import clock, ids
from mdserver.errors import (
    Forbidden,
    Invalid,
    Malformed,
    NotFound,
    PreconditionRequired,
    Problem,
    SignedOut,
    TooLarge,
    UnsupportedMediaType,
)
from mdserver.model.access import Principal

from . import etags
from .api import AUTHENTICATE, DB, LIMITS, ME, OPEN, RATES, RECENT, WHOLE_ACCOUNT, Policy, Reply, Route
from .limits import address
from .reading import decode, read_limited, read_query
from .wire import Answer

_encode = msgspec.json.Encoder().encode

LONG = 64 << 10
"""Code points of a text from which an answer is encoded in pieces."""


def runner(route: Route, app: web.Application) -> Callable[[web.Request], Awaitable[Answer | web.StreamResponse]]:
    """One coroutine per route that does all that does not depend on the handler; what the app knows is read here."""
    handler, policy, status = route.handler, route.policy, route.status
    converters = [(name, kind is int) for name, kind in route.parameters.items()]
    body, query, asks = route.body, route.query, route.asks
    is_open, rate = policy is OPEN, route.rate
    admit = _admission(route, app)
    authenticate, rates, database = app[AUTHENTICATE], app[RATES], app[DB]

    async def run(request: web.Request) -> Answer | web.StreamResponse:
        principal = await authenticate(request, is_open)
        if principal is not None:
            request[ME] = principal
            admit(principal)
        elif not is_open:
            raise SignedOut
        if rate in rates:
            rates.spend(request, rate, address(request) if principal is None else principal.user_id)
        arguments: dict[str, Any] = {}
        for name, is_number in converters:
            arguments[name] = _parameter(request.match_info[name], name, is_number)
        if body is not None:
            arguments["body"] = await _body(request, route, principal)
        try:
            if query is not None:
                arguments["query"] = read_query(request, query)
            if asks:
                made = await database.glance(lambda db: handler(request, db=db, **arguments))
            else:
                made = await handler(request, **arguments)
        except (Invalid, Malformed, PreconditionRequired, TooLarge):
            await _judge(request, policy, principal)
            raise
        return respond(made, status)

    return run


def asker(route: Route, app: web.Application) -> Callable[..., Answer | web.StreamResponse]:
    """A plain function that answers a route which only asks, for a request, who makes it, and the path's ids.

    It answers what goes well. Whatever it raises means that nothing has happened yet: `runner` says it better.
    """
    handler, query, status, rate = route.handler, route.query, route.status, route.rate
    admit = _admission(route, app)
    rates, at_once = app[RATES], app[DB].at_once

    def ask(request: web.Request, principal: Principal, *parameters: str) -> Answer | web.StreamResponse:
        admit(principal)
        request[ME] = principal
        arguments: tuple[Any, ...] = parameters if query is None else (*parameters, read_query(request, query))
        answer = respond(at_once(lambda db: handler(request, db, *arguments)), status)
        if rate in rates:
            answer.headers.update(rates.spend(request, rate, principal.user_id))
        return answer

    return ask


def _admission(route: Route, app: web.Application) -> Callable[[Principal], None]:
    """What the credential itself must be good for."""
    is_open, is_recent, scope = route.policy is OPEN, route.policy.name == RECENT.name, route.scope
    is_whole, window = route.policy is WHOLE_ACCOUNT, app[LIMITS].recent_sign_in

    def admit(principal: Principal) -> None:
        if not is_open and scope not in principal.scopes:
            raise Forbidden(f"This token lacks the scope {scope!r}.", needed_scope=scope)
        if is_whole and principal.workspace_id is not None:
            raise Forbidden("This token is for one workspace only.")
        if is_recent:
            _require_recent(principal, window)

    return admit


def _require_recent(principal: Principal, window: int) -> None:
    if principal.kind == "token":
        raise Forbidden("A personal token cannot do this: sign in.", slug="recent-sign-in-required")
    if abs(clock.now() - principal.authenticated_at) > window:  # nor when the clock was set back since
        raise Forbidden("Sign in again first.", slug="recent-sign-in-required")


def _parameter(text: str, name: str, is_number: bool) -> str | int:
    if is_number:
        if not text.isascii() or not text.isdigit() or len(text) > 15:
            raise NotFound(f"There is no {name} {text[:40]!r}.")
        return int(text)
    if name == "id" and not ids.is_id(text):
        raise NotFound("There is no such object, or you cannot see it.")
    if "\0" in text:
        raise NotFound("There is no such object.")
    return text


def respond(value: Any, status: int = 200) -> Answer | web.StreamResponse:
    """A handler's value as an answer."""
    headers: dict[str, str]
    if type(value) is Reply:
        headers, status, value = value.headers, value.status or status, value.value
    elif isinstance(value, Answer | web.StreamResponse):
        return value
    else:
        headers = {}
    if value is None:
        return Answer(204 if status == 200 else status, headers)
    headers["Content-Type"] = "application/json"
    content = getattr(value, "content", None)
    if type(content) is str and len(content) > LONG:
        return Answer(status, headers, pieces=_encode_long(value, content))
    return Answer(status, headers, _encode(value))


def _encode_long(value: Any, content: str) -> Iterator[bytes]:
    """The JSON of a Struct with a long `content`, piece by piece: encoding it at once would hold the event loop."""
    mark = b'"content":""'
    whole = _encode(msgspec.structs.replace(value, content=""))
    at = whole.rindex(mark) + len(mark) - 1  # no text holds the mark: its quotes would be escaped there
    yield whole[:at]
    for start in range(0, len(content), LONG):
        yield _encode(content[start : start + LONG])[1:-1]
    yield whole[at:]


async def _body(request: web.Request, route: Route, principal: Principal | None) -> msgspec.Struct:
    """The body as its Struct. A caller without the role hears of that rather than of the body's faults."""
    assert route.body_read is not None
    small = request.app[LIMITS].json_body
    if route.large and (request.content_length or small + 1) > small:  # before so much is taken in
        await _judge(request, route.policy, principal)
    try:
        return await _read_body(request, route, route.body_read)
    except Problem:
        await _judge(request, route.policy, principal)
        raise


async def _judge(request: web.Request, policy: Policy, principal: Principal | None) -> None:
    """Raise what a caller without the role hears, before anything is said about what they sent."""
    check = policy.check
    if check is not None and principal is not None:
        await request.app[DB].glance(lambda db: check(db, principal, request.match_info))


async def _read_body(request: web.Request, route: Route, kind: type[msgspec.Struct]) -> msgspec.Struct:
    limits = request.app[LIMITS]
    limit = limits.document + limits.json_body if route.large else limits.json_body
    media = request.content_type
    as_markdown = route.markdown and media in ("text/markdown", "text/plain")
    if (request.content_length or 0) > limit:
        raise TooLarge(f"The body may have {limit} bytes.", limit=limit)
    if not as_markdown and media != "application/json" and not media.endswith("+json"):
        given = request.headers.get("Content-Type", "none")[:80]
        wanted = "application/json" + (" or text/markdown" if route.markdown else "")
        raise UnsupportedMediaType(f"The body must be {wanted}; its Content-Type is {given}.")
    data = await read_limited(request, limit, seconds=limits.body_seconds)
    if route.condition:
        etags.expected(request, required=False)  # a malformed header is complained of before a body that is not valid
    if not as_markdown:
        return decode(data, kind)
    try:
        return kind(content=data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Malformed(f"The text is not valid UTF-8 (byte {error.start}).") from error
