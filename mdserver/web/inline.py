"""Small reads answered as their bytes arrive: no task is woken for them.

What is answered here goes well, for somebody whose token is remembered, from a glance at the database. Everything else
(a problem, a long answer, a token to look up) is answered by the usual way, from the start and as if nothing had been
tried: nothing has happened then. Both ways run the same handlers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from aiohttp import web

from mdserver.errors import Problem
from mdserver.model.access import Principal
from mdserver.store.db import Moved

from . import wire
from .api import AUTHENTICATE
from .edge import Boundary
from .traffic import Tally
from .wire import Answer

log = logging.getLogger("mdserver.web")

INLINE: web.AppKey[Inline] = web.AppKey("inline")

_ID = 36  # characters of an id; whether it is one, the database tells

Ask = Callable[..., Answer | web.StreamResponse]
"""Answers a request for a principal, given the ids in its path; raises for all that is not plain (running.asker)."""


class Small(NamedTuple):
    """A route that can be answered at once. `match` leads its requests to their application; it has no parameters."""

    ask: Ask
    match: web.UrlMappingMatchInfo
    tally: Tally


class Inline:
    """The routes that can be answered at once, by their paths."""

    def __init__(self, app: web.Application, boundary: Boundary) -> None:
        self._app, self._boundary = app, boundary
        self.digest, self.known = app[AUTHENTICATE].digest, app[AUTHENTICATE].known
        self._fixed: dict[str, Small] = {}
        self._with_id: dict[str, Small] = {}

    def add(self, path: str, ask: Ask, route: web.AbstractRoute, tally: Tally) -> None:
        """Take a route in, if its path has no parameter, or an id before its last word or at its end."""
        match = web.UrlMappingMatchInfo({}, route)
        match.add_app(self._app)
        match.freeze()
        before, _, rest = path.partition("{")
        if not rest:
            self._fixed[path] = Small(ask, match, tally)
        elif rest.startswith("id}") and "{" not in rest:
            self._with_id[before + rest.removeprefix("id}")] = Small(ask, match, tally)

    def find(self, path: str) -> tuple[Small, tuple[str, ...]] | None:
        """What answers a GET of this path (with its query), and the ids in it; None if it is not one of those."""
        path = path.partition("?")[0]
        small = self._fixed.get(path)
        if small is not None:
            return small, ()
        before, slash, last = path.rpartition("/")
        if len(last) == _ID:
            small = self._with_id.get(before + slash)
            id = last
        else:
            before, slash, id = before.rpartition("/")
            small = self._with_id.get(f"{before}//{last}") if len(id) == _ID else None
        return None if small is None or not id.isascii() else (small, (id,))

    def answer(self, request: web.Request, principal: Principal, small: Small, ids: tuple[str, ...]) -> bytes | None:
        """The whole answer as it goes onto the connection; None to have it answered by the usual way."""
        started = time.perf_counter()
        request._match_info = small.match
        boundary = self._boundary
        try:
            made = small.ask(request, principal, *ids)
            if not isinstance(made, Answer) or made.pieces is not None or len(made.body) > wire.LONG:
                return None
            request_id = boundary.enter(request)
            data = boundary.block(request, request_id, made)
        except (Problem, Moved):
            return None
        except Exception:  # the usual way may not meet it again, so it must not pass unseen
            log.exception("a request could not be answered at once")
            return None
        boundary.leave(request, request_id, principal, made.status, started, small.tally)
        return data
