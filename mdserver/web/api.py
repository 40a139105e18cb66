"""Routes with policies, typed bodies, replies: what every handler stands on.

A handler is a coroutine with type hints. Its first parameter is the request; the others are taken by name: `body` (a
Struct read from JSON), `query` (a Struct read from the query string), and the path's own parameters (`str` ids, `int`
numbers). What it returns is encoded: a Struct as JSON, `Reply` with status and headers, None as 204, or a ready
response. The same hints write the OpenAPI document.

A handler that only asks the database something small is a plain function instead, and takes a `db` to ask: it runs on
the event loop, at a glance, and again on a reader's thread where a glance does not suffice.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from aiohttp import web

from mdserver.errors import Problem
from mdserver.model.access import Principal, Role, Scope
from mdserver.store.db import Database, Reader

from .limits import Rates

T = TypeVar("T")
Handler = Callable[..., Any]
"""A coroutine function, or a plain one that takes a `db`."""


class Authenticate(Protocol):
    """Finds out who asks."""

    async def __call__(self, request: web.Request, is_open: bool, /) -> Principal | None:
        """The flag says whether the route is open to anonymous callers; SignedOut where it is not."""

    def digest(self, header: str) -> bytes | None:
        """What `known` takes for an Authorization field; None when that holds no bearer token."""

    def known(self, digest: bytes) -> Principal | None:
        """Who asks, where that is known without waiting for anything; else None."""


DB: web.AppKey[Database] = web.AppKey("db", Database)
LIMITS: web.AppKey[Limits] = web.AppKey("limits")
RATES: web.AppKey[Rates] = web.AppKey("rates", Rates)
AUTHENTICATE: web.AppKey[Authenticate] = web.AppKey("authenticate")
ROUTES: web.AppKey[list[Route]] = web.AppKey("routes", list)
BASE_PATH: web.AppKey[str] = web.AppKey("base_path", str)
PUBLIC_URL: web.AppKey[str] = web.AppKey("public_url", str)

ME: web.RequestKey[Principal] = web.RequestKey("me", Principal)


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
WHOLE_ACCOUNT = Policy("whole account")
"""Signed in, and not with a token that is for one workspace only."""

RECENT = Policy("recent sign-in")
"""Signed in with a password within the last minutes."""


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
    body_read: type[msgspec.Struct] | None
    markdown: bool
    large: bool
    query: type[msgspec.Struct] | None
    parameters: dict[str, type]
    answer: Any
    produces: tuple[str, ...]
    asks: bool
    creates: bool
    condition: bool
    refuses: tuple[type[Problem], ...]
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
        refuses: tuple[type[Problem], ...] = (),
        body_read: type[msgspec.Struct] | None = None,
    ) -> Callable[[Handler], Handler]:
        """Register a handler. There is no default policy: a route without one cannot exist.

        `markdown`: the body may also be text/markdown (its Struct then has `content`); `large`: up to the document
        limit; `creates`: takes an Idempotency-Key; `condition`: takes If-Match; `scope`, `rate`: when other than the
        method says; `refuses`: problems to describe that do not follow from all this;
        `body_read`: what a body is read as whose parts the handler judges one by one, where the hint describes them.
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
            asks = not inspect.iscoroutinefunction(handler)
            if unknown := [one for one in taken if one not in (*names, "query", "db" if asks else "body")]:
                raise TypeError(f"{handler.__name__} takes {unknown}, which {path} does not give")
            if asks and not (reads and taken == ["db", *names, *["query"][: "query" in taken]]):
                raise TypeError(
                    f"{handler.__name__} is no coroutine: it has to answer GET and to take db, {names}, query"
                )
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
                    body_read=body_read or hints.get("body"),
                    markdown=markdown,
                    large=large,
                    query=hints.get("query"),
                    parameters={one: hints[one] for one in names},
                    answer=hints.get("return"),
                    produces=produces,
                    asks=asks,
                    creates=creates,
                    condition=condition,
                    refuses=refuses,
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
