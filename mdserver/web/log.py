"""The line about each request: gathered for a moment and written in one go, since each write is a system call."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Literal, TextIO
from urllib.parse import unquote

from aiohttp import web

from mdserver import clock
from mdserver.logs import redacted
from mdserver.model.access import Principal

FLUSH_AFTER = 0.05
"""Seconds for which lines are gathered."""

_SECRET_PATH = re.compile(r"(/invitations/)[^/]+")


def safe_path(path: str) -> str:
    """The path for logs and problems: secrets that stand in it are cut out."""
    return _SECRET_PATH.sub(r"\1…", path) if "/invitations/" in path else path


_Line = tuple[int, str, str, int, float, str, str, str]
"""Moment (ms), method, path, status, seconds that the answer took to make, user, address, request id."""


class RequestLog:
    """Writes `all` requests, only `errors` (status ≥ 500) or `none`, as JSON or for people. No query, no body.

    A request only leaves behind what its line tells; lines are made and written together.
    """

    def __init__(self, which: Literal["all", "errors", "none"], *, as_json: bool, out: TextIO | None = None) -> None:
        self.least = {"all": 0, "errors": 500, "none": 1000}[which]
        self._line = _json if as_json else _human
        self._out = out or sys.stderr
        self._noted: list[_Line] = []

    def write(
        self,
        request: web.Request,
        request_id: str,
        who: Principal | None,
        status: int,
        seconds: float,
        address: str | None,
    ) -> None:
        """Note one request, whose status is at least `least`, and which came from this address."""
        if not self._noted:
            asyncio.get_running_loop().call_later(FLUSH_AFTER, self.flush)
        user = "-" if who is None else who.user_id
        self._noted.append(
            (clock.now(), request.method, request.raw_path, status, seconds, user, address or "-", request_id)
        )

    def flush(self) -> None:
        """Write what has been gathered."""
        noted, self._noted = self._noted, []
        if not noted:
            return
        try:
            self._out.write("".join([self._line(*one) for one in noted]))
            self._out.flush()
        except (OSError, ValueError):
            pass  # a closed or full log must not stop the server


def _json(
    moment: int, method: str, path: str, status: int, seconds: float, user: str, address: str, request_id: str
) -> str:
    """Written out: all values but the path are our own, without quotes or control characters."""
    return (
        f'{{"time":"{clock.rfc3339(moment)}","level":"{"info" if status < 500 else "error"}",'
        f'"event":"request","method":"{method}","path":"{_path(path)}","status":{status},'
        f'"ms":{seconds * 1000:.2f},"user":"{user}","address":"{address}","request_id":"{request_id}"}}\n'
    )


def _human(moment: int, method: str, path: str, status: int, seconds: float, user: str, _: str, request_id: str) -> str:
    return (
        f"{clock.rfc3339(moment)} {method} {_path(path)} {status} {seconds * 1000:.1f}ms user={user} id={request_id}\n"
    )


def _path(raw: str) -> str:
    """The path of a request target, without its query and its secrets, as plain ASCII."""
    path = raw.partition("?")[0]
    if "/invitations/" in path or "%" in path or "mds_" in path:
        path = redacted(safe_path(unquote(path)))
    if not path.isascii() or not path.isprintable() or '"' in path or "\\" in path:
        path = ascii(path)[1:-1].replace("\\", "\\\\").replace('"', '\\"')
    return path


REQUEST_LOG: web.AppKey[RequestLog] = web.AppKey("request_log", RequestLog)
