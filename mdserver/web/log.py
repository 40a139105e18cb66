"""The line about each request: gathered during one turn of the event loop and written at its end, in one go."""

from __future__ import annotations

import asyncio
import sys
from typing import Literal, TextIO

import msgspec
from aiohttp import web

from mdserver import clock

from .api import ME


class RequestLog:
    """Writes `all` requests, only `errors` (status ≥ 500) or `none`, as JSON or for people. No query, no body."""

    def __init__(self, which: Literal["all", "errors", "none"], *, as_json: bool, out: TextIO | None = None) -> None:
        self._least = {"all": 0, "errors": 500, "none": 1000}[which]
        self._as_json = as_json
        self._out = out or sys.stderr
        self._lines: list[str] = []

    def write(
        self, request: web.Request, response: web.StreamResponse, request_id: str, seconds: float, path: str
    ) -> None:
        if response.status < self._least:
            return
        principal = request.get(ME)
        user = principal.user_id if principal is not None else "-"
        if self._as_json:
            line = msgspec.json.encode(
                {
                    "time": clock.rfc3339(clock.now()),
                    "level": "info" if response.status < 500 else "error",
                    "event": "request",
                    "method": request.method,
                    "path": path,
                    "status": response.status,
                    "ms": round(seconds * 1000, 2),
                    "user": user,
                    "address": request.remote or "-",
                    "request_id": request_id,
                }
            ).decode()
        else:
            safe = path if path.isprintable() else ascii(path)
            line = (
                f"{clock.rfc3339(clock.now())} {request.method} {safe} {response.status} {seconds * 1000:.1f}ms "
                f"user={user} id={request_id}"
            )
        if not self._lines:
            asyncio.get_running_loop().call_soon(self.flush)
        self._lines.append(line)

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        try:
            self._out.write("\n".join(lines) + "\n")
            self._out.flush()
        except (OSError, ValueError):
            pass  # a closed or full log must not stop the server


REQUEST_LOG: web.AppKey[RequestLog] = web.AppKey("request_log", RequestLog)
