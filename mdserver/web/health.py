"""Whether the server is alive, and whether it can work: for supervisors, proxies and people."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

import msgspec
from aiohttp import web

from mdserver import __version__
from mdserver.errors import Busy
from mdserver.store.db import Reader

from .api import DB, OPEN, Routes
from .edge import RUN, STOPPING

DATA: web.AppKey[Path] = web.AppKey("data", Path)
"""The data directory, where there is one to look after."""

NOTICES: web.AppKey[dict[str, Callable[[], Awaitable[str]]]] = web.AppKey("notices", dict)
"""What is told beside the checks, and makes nobody think that the server cannot work: name → how it stands.
It may ask the database, and is left out where that does not answer.
"""

CHECKS: web.AppKey[dict[str, Callable[[], str]]] = web.AppKey("checks", dict)
"""Further checks: name → `ok`, or in a few words why the server cannot do its work."""

LEAST_FREE = 64 << 20
PATIENCE = 2.0

log = logging.getLogger("mdserver.health")
routes = Routes("health", prefix="")


class Alive(msgspec.Struct):
    status: Literal["ok"] = "ok"


class Ready(msgspec.Struct):
    """Each check by name; on 503 the problem holds the same `checks`, with a sentence in place of each failed `ok`.

    `backup` tells of scheduled backups, where there are any; one that failed is no reason for 503.
    """

    status: Literal["ready"]
    checks: dict[str, str]


class Program(msgspec.Struct):
    """`run` is another one after each start: by it one can tell whether an address leads to this very server."""

    name: str
    version: str
    run: str


@routes.get("/healthz", policy=OPEN, rate="none")
async def healthz(request: web.Request) -> Alive:
    """Whether the process answers. It asks nothing of the database."""
    return Alive()


@routes.get("/readyz", policy=OPEN, rate="none", refuses=(Busy,))
async def readyz(request: web.Request) -> Ready:
    """Whether the server can do its work: database, disk, not stopping; 503 when not."""
    checks = {
        "database": await _database(request.app),
        "disk": _disk(request.app.get(DATA)),
        "process": "stopping" if True in request.app[STOPPING] else "ok",
        **{name: state() for name, state in request.app.get(CHECKS, {}).items()},
    }
    failed = [name for name, state in checks.items() if state != "ok"]
    if checks["database"] == "ok":
        checks |= await _notices(request.app)
    if failed:
        raise Busy(f"Not ready: {', '.join(failed)}.", retry_after=5, checks=checks)
    return Ready("ready", checks)


@routes.get("/version", policy=OPEN, rate="none")
async def version(request: web.Request) -> Program:
    """Which program this is."""
    return Program("mdserver", __version__, RUN)


async def _database(app: web.Application) -> str:
    def question(db: Reader) -> int | None:
        return db.value(int, "SELECT 1")

    try:
        async with asyncio.timeout(PATIENCE):
            await app[DB].read(question)
    except TimeoutError:
        return f"does not answer within {PATIENCE:g} s"
    except Exception:  # whatever an engine may raise means the same here
        log.exception("the database cannot be read")
        return "cannot be read"
    return "ok"


async def _notices(app: web.Application) -> dict[str, str]:
    found = {}
    try:
        async with asyncio.timeout(PATIENCE):
            for name, state in app.get(NOTICES, {}).items():
                found[name] = await state()
    except Exception as error:  # what is told beside the checks spoils none of them
        log.warning("a notice could not be had: %s %s", type(error).__name__, error)
    return found


def _disk(data: Path | None) -> str:
    if data is None:
        return "ok"
    try:
        space = os.statvfs(data)
    except OSError:
        return "the data directory cannot be reached"
    if space.f_bavail * space.f_frsize < LEAST_FREE:
        return "the disk is full"
    return "ok" if os.access(data, os.W_OK | os.X_OK) else "the data directory cannot be written"
