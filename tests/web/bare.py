"""An application with its real boundary and the pages that need no account, for looking at those alone."""

from __future__ import annotations

import io
from pathlib import Path

from aiohttp import web

from mdserver.model.access import Principal
from mdserver.store.db import Database
from mdserver.web import api, docs, edge, health, limits, pages, router
from mdserver.web.api import Route
from mdserver.web.log import REQUEST_LOG, RequestLog
from mdserver.web.traffic import Traffic


class Nobody:
    """Knows nobody."""

    async def __call__(self, request: web.Request, is_open: bool, /) -> Principal | None:
        return None

    def digest(self, header: str) -> bytes | None:
        return None

    def known(self, digest: bytes) -> Principal | None:
        return None


def bare(
    database: Database, *, base: str = "", more: list[Route] | None = None, data: Path | None = None
) -> web.Application:
    """Nobody can sign in here; `more` routes are described, not used."""

    app = web.Application()
    app[api.DB] = database
    app[api.BASE_PATH] = base
    app[api.PUBLIC_URL] = "http://notes.example.org"
    app[api.LIMITS] = api.Limits()
    app[api.RATES] = limits.Rates({"reads": limits.Rate(600, 60)})
    app[api.AUTHENTICATE] = Nobody()
    app[limits.PROXIES] = ()
    app[edge.ORIGINS] = frozenset()
    app[edge.STOPPING] = []
    app[edge.TRAFFIC] = Traffic()
    app[REQUEST_LOG] = RequestLog("none", as_json=False, out=io.StringIO())
    if data is not None:
        app[health.DATA] = data
    pages.mount(app)
    router.mount(app, [*(more or []), *docs.routes.all, *pages.routes.all, *health.routes.all])
    return app
