"""`/metrics`: what the server does, for Prometheus. Others add what they know through SOURCES."""

from __future__ import annotations

import asyncio
import hmac
import logging
import platform
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web

from mdserver import __version__, figures
from mdserver.errors import NotFound, SignedOut
from mdserver.figures import Family, Sample

from .api import DB, OPEN, RATES, Routes
from .edge import TRAFFIC
from .limits import is_loopback
from .wire import Answer

log = logging.getLogger("mdserver.web")
routes = Routes("health", prefix="")

Source = Callable[[], Awaitable[Iterable[Family]]]

TOKEN: web.AppKey[str] = web.AppKey("metrics_token", str)
SOURCES: web.AppKey[list[Source]] = web.AppKey("metrics_sources", list)
"""Asked at each scrape; one that fails or takes long is left out, and the others are told all the same."""

PATIENCE = 5.0


@routes.get("/metrics", policy=OPEN, rate="none", produces=("text/plain",), refuses=(SignedOut, NotFound))
async def metrics(request: web.Request) -> Answer:
    """The server's figures in Prometheus' text format 0.0.4.

    Takes the token of the configuration (`metrics.token`) as a bearer token. Without one it is open to programs on the
    same machine that ask directly, not through a proxy; to everybody else there is nothing at this address.
    """
    _admit(request)
    app = request.app
    found = [*_program(app), *app[TRAFFIC].families(), _refused(app)]
    sources = [app[DB].figures, _process, *app[SOURCES]]
    for families in await asyncio.gather(*[_asked(source) for source in sources]):
        found += families
    headers = {"Content-Type": figures.CONTENT_TYPE, "Cache-Control": "no-store"}
    return Answer(200, headers, figures.text(found).encode())


def _admit(request: web.Request) -> None:
    """NotFound for strangers where no token is set, SignedOut for those without it where one is."""
    token = request.app[TOKEN]
    if not token:
        if not is_loopback(request):
            raise NotFound("There is nothing at this address.")
        return
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    fits = hmac.compare_digest(given.strip().encode("utf-8", "surrogatepass"), token.encode())
    if not (scheme.lower() == "bearer" and fits):
        raise SignedOut("The token of the configuration's metrics.token is needed.")


async def _asked(source: Source) -> list[Family]:
    try:
        async with asyncio.timeout(PATIENCE):
            return list(await source())
    except Exception as error:  # whatever a source meets, it is a figure that is missing and not a server that is down
        log.warning("some figures could not be had: %s %s", type(error).__name__, error)
        return []


async def _process() -> list[Family]:
    return await asyncio.to_thread(figures.process)


def _program(app: web.Application) -> list[Family]:
    labels = {
        "version": __version__,
        "python": platform.python_version(),
        "database": app[DB].library_version,
    }
    return [Family("mdserver_build_info", "gauge", "Which program this is; always 1.", [Sample(1, labels)])]


def _refused(app: web.Application) -> Family:
    samples = [Sample(count, {"class": name}) for name, count in app[RATES].refused.items()]
    return Family("mdserver_rate_limited_total", "counter", "Refused because there were too many, by limit.", samples)
