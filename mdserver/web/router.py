"""Puts routes into an application, each behind the request boundary."""

from __future__ import annotations

from aiohttp import web

from . import edge
from .api import BASE_PATH, ROUTES, Route
from .inline import INLINE, Inline
from .protocol import expectation
from .running import asker, runner

_BUSY = ("documents", "search")


def mount(app: web.Application, routes: list[Route]) -> None:
    """Register every route under the application's base path, HEAD wherever GET stands, and an answer to all else.

    The boundary is wrapped around handlers rather than being a middleware, which would cost each request two more
    coroutines. Call it last: it reads what the application holds.
    """
    base = app[BASE_PATH]
    boundary = edge.Boundary(app)
    app[INLINE] = inline = Inline(app, boundary)
    seen: set[tuple[str, str]] = set()
    for route in sorted(routes, key=lambda one: one.noun not in _BUSY):  # aiohttp tries one after the other
        if (route.method, route.path) in seen:
            raise TypeError(f"{route.method} {route.path} is registered twice")
        seen.add((route.method, route.path))
        tally = app[edge.TRAFFIC].tally(route.method, route.path, of=route.rate)
        handler = boundary.guard(runner(route, app), tally)
        if route.method == "GET":
            added = app.router.add_get(base + route.path, handler, allow_head=True, expect_handler=expectation)
            if route.asks:
                inline.add(base + route.path, asker(route, app), added, tally)
        else:
            app.router.add_route(route.method, base + route.path, handler, expect_handler=expectation)
    app[ROUTES] = routes
    nowhere = boundary.guard(edge.unmatched(app), app[edge.TRAFFIC].tally("*", "*", of="none"))
    app.router.add_route("*", "/{tail:.*}", nowhere, expect_handler=expectation)
