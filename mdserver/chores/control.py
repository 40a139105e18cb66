"""The control socket of a running server: chores by name, for whoever may open the socket (mode 0600)."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from mdserver import __version__
from mdserver.errors import Invalid, Malformed, NotFound, Problem
from mdserver.store.db import Unusable

from .chore import Chore, House
from .table import CHORES

log = logging.getLogger("mdserver.chores")

_STOP_SECONDS = 3.0  # for chores that are under way


@contextlib.asynccontextmanager
async def listening(house: House, path: Path) -> AsyncIterator[None]:
    """Take chores on the socket `path` until the end of the block. Only the holder of the data directory's lock may."""
    # A command keeps its connection while it asks somebody something, or reads files.
    runner = web.AppRunner(_app(house), access_log=None, shutdown_timeout=_STOP_SECONDS, keepalive_timeout=86_400)
    await runner.setup()
    try:
        await web.SockSite(runner, _bound(path)).start()
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        await runner.cleanup()


def _app(house: House) -> web.Application:
    app = web.Application(client_max_size=0)  # a chore may carry a document; its limit is judged with the document

    async def handle(request: web.Request) -> web.Response:
        try:
            return _answer(await _do(house, request.match_info["name"], await request.read()))
        except Problem as problem:
            return _problem(problem)
        except Exception:
            log.exception("a chore failed", extra={"chore": request.match_info["name"]})
            return _problem(Problem("Something broke in the server; it was logged there."))

    app.router.add_post("/chores/{name}", handle)
    return app


async def _do(house: House, name: str, data: bytes) -> msgspec.Struct:
    chore: Chore[Any, Any] | None = CHORES.get(name)
    if chore is None:
        raise NotFound(f"The running server is mdserver {__version__} and does not know this command: restart it.")
    try:
        ask = msgspec.json.decode(data, type=chore.ask)
    except msgspec.ValidationError as error:
        raise Invalid(f"The running server (mdserver {__version__}) understands this otherwise: {error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed("This is not JSON.") from error
    answer: msgspec.Struct = await chore.do(house, ask)
    return answer


def _answer(value: msgspec.Struct) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def _problem(problem: Problem) -> web.Response:
    body = {"title": problem.title, "status": problem.status, "detail": problem.detail, "slug": problem.slug}
    return web.Response(
        body=msgspec.json.encode({**body, **problem.extra}),
        status=problem.status,
        content_type="application/problem+json",
    )


def _bound(path: Path) -> socket.socket:
    """A listening socket that only its owner can open from its first moment on."""
    path.unlink(missing_ok=True)  # what a server that was killed has left; the lock says that it is gone
    made = socket.socket(socket.AF_UNIX)
    try:
        made.bind(os.fspath(path))
        path.chmod(0o600)  # nobody can connect before it listens
        made.listen(16)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise Unusable(f"The control socket cannot be made at {path}: {error.strerror or error}.") from error
    except BaseException:
        made.close()
        raise
    return made
