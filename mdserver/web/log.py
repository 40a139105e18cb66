"""The line about each request: gathered for a moment and written in one go, since each write is a system call."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Literal, TextIO

from aiohttp import web

from mdserver import clock
from mdserver.logs import redacted

from .api import ME

FLUSH_AFTER = 0.05
"""Seconds for which lines are gathered."""

_SECRET_PATH = re.compile(r"(/invitations/)[^/]+")


def safe_path(path: str) -> str:
    """The path for logs and problems: secrets that stand in it are cut out."""
    return _SECRET_PATH.sub(r"\1…", path) if "/invitations/" in path else path


class RequestLog:
    """Writes `all` requests, only `errors` (status ≥ 500) or `none`, as JSON or for people. No query, no body."""

    def __init__(self, which: Literal["all", "errors", "none"], *, as_json: bool, out: TextIO | None = None) -> None:
        self._least = {"all": 0, "errors": 500, "none": 1000}[which]
        self._as_json = as_json
        self._out = out or sys.stderr
        self._lines: list[str] = []

    def write(self, request: web.Request, status: int, request_id: str, seconds: float) -> None:
        """Note one request; `seconds` is how long its answer took to make."""
        if status < self._least:
            return
        principal = request.get(ME)
        user = principal.user_id if principal is not None else "-"
        path = request.raw_path.partition("?")[0]  # as sent: still escaped
        if "/invitations/" in path or "%" in path or "mds_" in path:
            path = redacted(safe_path(request.path))
        if not path.isascii() or not path.isprintable() or '"' in path or "\\" in path:
            path = ascii(path)[1:-1].replace("\\", "\\\\").replace('"', '\\"')
        time = clock.rfc3339(clock.now())
        if self._as_json:  # written out: all other values are our own, without quotes or control characters
            line = (
                f'{{"time":"{time}","level":"{"info" if status < 500 else "error"}","event":"request",'
                f'"method":"{request.method}","path":"{path}","status":{status},"ms":{seconds * 1000:.2f},'
                f'"user":"{user}","address":"{request.remote or "-"}","request_id":"{request_id}"}}'
            )
        else:
            line = f"{time} {request.method} {path} {status} {seconds * 1000:.1f}ms user={user} id={request_id}"
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_AFTER, self.flush)
        self._lines.append(line)

    def flush(self) -> None:
        """Write what has been gathered."""
        lines, self._lines = self._lines, []
        if not lines:
            return
        try:
            self._out.write("\n".join(lines) + "\n")
            self._out.flush()
        except (OSError, ValueError):
            pass  # a closed or full log must not stop the server


REQUEST_LOG: web.AppKey[RequestLog] = web.AppKey("request_log", RequestLog)
