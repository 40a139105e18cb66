"""Routes with policies, typed bodies, replies: what every handler stands on.

A handler is a coroutine with type hints. Its first parameter is the request; the others are taken by name: `body` (a
Struct read from JSON), `query` (a Struct read from the query string), and the path's own parameters (`str` ids, `int`
numbers). What it returns is encoded: a Struct as JSON, `Reply` with status and headers, None as 204, or a ready
response. The same hints write the OpenAPI document.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

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
from mdserver.model.access import Principal, Role, Scope
from mdserver.store.db import Database, Reader

from .limits import Rates, address
from .reading import decode, read_limited, read_query
from .wire import Answer

T = TypeVar("T")
Handler = Callable[..., Awaitable[Any]]
Authenticate = Callable[[web.Request, bool], Awaitable[Principal | None]]
"""Finds out who asks; the flag says whether the route is open to anonymous callers."""

DB: web.AppKey[Database] = web.AppKey("db", Database)
LIMITS: web.AppKey[Limits] = web.AppKey("limits")
RATES: web.AppKey[Rates] = web.AppKey("rates", Rates)
AUTHENTICATE: web.AppKey[Authenticate] = web.AppKey("authenticate")
ROUTES: web.AppKey[list[Route]] = web.AppKey("routes", list)
BASE_PATH: web.AppKey[str] = web.AppKey("base_path", str)
PUBLIC_URL: web.AppKey[str] = web.AppKey("public_url", str)

ME: web.RequestKey[Principal] = web.RequestKey("me", Principal)

_encode = msgspec.json.Encoder().encode
_RECENT = "recent sign-in"
LONG = 64 << 10
"""Code points of a text from which an answer is encoded in pieces."""


class Limits(msgspec.Struct, frozen=True):
    """What a request may weigh (bytes), how long its body may take (seconds), how old a sign-in is recent (ms)."""

    json_body: int = 1 << 20
    document: int = 20 << 20
    body_seconds: int = 60
    recent_sign_in: int = 600_000


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may come in. `check` raises what a caller who lacks the role hears, before a bad body is complained of.

    `of` names what `{id}` is ("workspace", "document" …) and `need` the role there; the authorisation matrix is
    generated from them.
    """

    name: str
    of: str = ""
    need: Role | None = None
    check: Callable[[Reader, Principal, Mapping[str, str]], object] | None = None


OPEN = Policy("open")
SIGNED_IN = Policy("signed in")
RECENT = Policy(_RECENT)


class Reply(Generic[T]):
    """An answer with more than a body."""

    __slots__ = ("headers", "status", "value")

    def __init__(self, value: T, *, status: int = 0, etag: str | None = None, headers: dict[str, str] | None = None):
        self.value = value
        self.status = status
        self.headers = headers or {}
        if etag is not None:
            self.headers["ETag"] = etag


@dataclass(slots=True)
class Route:
    """One registered handler, with all that the router, the documents and the tests need to know of it."""

    method: str
    path: str
    handler: Handler
    policy: Policy
    status: int
    scope: Scope
    rate: str
    body: type[msgspec.Struct] | None
    markdown: bool
    large: bool
    query: type[msgspec.Struct] | None
    parameters: dict[str, type]
    answer: Any
    produces: tuple[str, ...]
    creates: bool
    condition: bool
    noun: str
    summary: str
    description: str = ""
    operation: str = ""


class Routes:
    """The routes of one resource. `prefix` stands before every path; `/api/v1` unless said otherwise."""

    def __init__(self, noun: str, prefix: str = "/api/v1") -> None:
        self.noun = noun
        self.prefix = prefix
        self.all: list[Route] = []

    def add(
        self,
        method: str,
        path: str,
        *,
        policy: Policy,
        status: int = 200,
        scope: Scope | None = None,
        rate: str | None = None,
        markdown: bool = False,
        large: bool = False,
        produces: tuple[str, ...] = ("application/json",),
        creates: bool = False,
        condition: bool = False,
    ) -> Callable[[Handler], Handler]:
        """Register a handler. There is no default policy: a route without one cannot exist.

        `markdown`: the body may also be text/markdown (its Struct then has `content`); `large`: up to the document
        limit; `creates`: takes an Idempotency-Key; `condition`: takes If-Match; `scope`, `rate`: when other than the
        method says.
        """
        if not isinstance(policy, Policy):
            raise TypeError(f"{method} {path} needs a Policy")
        reads = method == "GET"
        if scope is None:
            scope = "read" if reads else "admin" if policy.need in ("admin", "owner") else "write"

        def register(handler: Handler) -> Handler:
            hints = typing.get_type_hints(handler, include_extras=True)
            names = re.findall(r"{(\w+)[^}]*}", self.prefix + path)
            taken = list(inspect.signature(handler).parameters)[1:]
            if unknown := [one for one in taken if one not in (*names, "body", "query")]:
                raise TypeError(f"{handler.__name__} takes {unknown}, which {path} does not give")
            doc = inspect.getdoc(handler) or ""
            if not doc:
                raise TypeError(f"{handler.__name__} has no docstring: it is the route's description")
            summary, _, description = doc.partition("\n")
            self.all.append(
                Route(
                    method=method,
                    path=self.prefix + path,
                    handler=handler,
                    policy=policy,
                    status=status,
                    scope=scope,
                    rate=rate or ("reads" if reads else "writes"),
                    body=hints.get("body"),
                    markdown=markdown,
                    large=large,
                    query=hints.get("query"),
                    parameters={one: hints[one] for one in names},
                    answer=hints.get("return"),
                    produces=produces,
                    creates=creates,
                    condition=condition,
                    noun=self.noun,
                    summary=summary.rstrip("."),
                    description=description.strip(),
                    operation=f"{self.noun}.{handler.__name__}",
                )
            )
            return handler

        return register

    def get(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        return self.add("GET", path, **options)

    def post(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        return self.add("POST", path, **options)

    def put(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        return self.add("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        return self.add("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        return self.add("DELETE", path, **{"status": 204, **options})


def me(request: web.Request) -> Principal:
    """Who asks. Only behind a policy other than OPEN."""
    return request[ME]


def maybe_me(request: web.Request) -> Principal | None:
    """Who asks, where anonymous callers are welcome too."""
    return request.get(ME)


def link(request: web.Request, path: str) -> str:
    """The path as clients of this server see it, base path included."""
    return request.app[BASE_PATH] + path


def runner(route: Route, app: web.Application) -> Callable[[web.Request], Awaitable[Answer | web.StreamResponse]]:
    """One coroutine per route that does all that does not depend on the handler; what the app knows is read here."""
    handler, policy, status = route.handler, route.policy, route.status
    converters = [(name, kind is int) for name, kind in route.parameters.items()]
    body, query = route.body, route.query
    is_open, is_recent, scope, rate = policy is OPEN, policy.name == _RECENT, route.scope, route.rate
    authenticate, rates, limits = app[AUTHENTICATE], app[RATES], app[LIMITS]

    async def run(request: web.Request) -> Answer | web.StreamResponse:
        principal = await authenticate(request, is_open)
        if principal is None:
            if not is_open:
                raise SignedOut
            if rate in rates:
                rates.spend(request, rate, address(request))
        else:
            request[ME] = principal
            if not is_open and scope not in principal.scopes:
                raise Forbidden(f"This token lacks the scope {scope!r}.", needed_scope=scope)
            if is_recent:
                _require_recent(principal, limits.recent_sign_in)
            if rate in rates:
                rates.spend(request, rate, principal.user_id)
        arguments: dict[str, Any] = {}
        for name, is_number in converters:
            arguments[name] = _parameter(request.match_info[name], name, is_number)
        if body is not None:
            arguments["body"] = await _body(request, route, principal)
        try:
            if query is not None:
                arguments["query"] = read_query(request, query)
            return respond(await handler(request, **arguments), status)
        except (Invalid, Malformed, PreconditionRequired, TooLarge):
            await _judge(request, policy, principal)
            raise

    return run


def _require_recent(principal: Principal, window: int) -> None:
    if principal.kind == "token":
        raise Forbidden("A personal token cannot do this: sign in.", slug="recent-sign-in-required")
    if clock.now() - principal.authenticated_at > window:
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
    assert route.body is not None
    small = request.app[LIMITS].json_body
    if route.large and (request.content_length or small + 1) > small:  # before so much is taken in
        await _judge(request, route.policy, principal)
    try:
        return await _read_body(request, route, route.body)
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
    if not as_markdown and media != "application/json" and not media.endswith("+json"):
        given = request.headers.get("Content-Type", "none")[:80]
        wanted = "application/json" + (" or text/markdown" if route.markdown else "")
        raise UnsupportedMediaType(f"The body must be {wanted}; its Content-Type is {given}.")
    data = await read_limited(request, limit, seconds=limits.body_seconds)
    if not as_markdown:
        return decode(data, kind)
    try:
        return kind(content=data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Malformed(f"The text is not valid UTF-8 (byte {error.start}).") from error
