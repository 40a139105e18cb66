"""Server-sent events: read line by line, connected again whenever the line breaks."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec

from .problems import ApiProblem, from_answer
from .shapes import Event, Problem

SILENCE = 45.0
"""Seconds without a byte after which the connection is given up: the server comments every 15."""
LONGEST_PAUSE = 30.0

_KNOWN = ("change", "revoked")


async def events(session: aiohttp.ClientSession, url: str, query: dict[str, str]) -> AsyncIterator[Event]:
    """Events as they come; `connected` first, and again after each interruption. Refusals are raised."""
    last_id = ""
    failures = 0
    while True:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        pause: float | None = None
        try:
            async with session.get(
                url,
                params=query,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=SILENCE),
            ) as response:
                if response.status != 200:
                    problem = await _refusal(response)
                    if problem.status not in (429, 500, 502, 503, 504):
                        raise problem
                    pause = problem.retry_after
                else:
                    failures = 0
                    yield Event(kind="connected")
                    async for one_id, event in _parsed(response.content):
                        last_id = one_id or last_id
                        if event is not None:
                            yield event
        except (aiohttp.ClientError, TimeoutError, OSError):
            pass
        failures += 1
        if pause is None:
            pause = min(0.25 * 2.0 ** min(failures, 10), LONGEST_PAUSE) * random.uniform(0.5, 1.0)  # noqa: S311
        await asyncio.sleep(min(pause, LONGEST_PAUSE))


async def _parsed(lines: aiohttp.StreamReader) -> AsyncIterator[tuple[str, Event | None]]:
    """(id, event) for each block of the stream (WHATWG HTML §9.2.6); None for an event that is not known."""
    name, data, one_id = "", list[str](), ""
    async for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if line:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data.append(value)
            elif field == "id":
                one_id = value
            continue
        if data or name:
            yield one_id, _event(name, "\n".join(data))
        name, data = "", []


def _event(name: str, data: str) -> Event | None:
    if name not in _KNOWN:
        return None
    try:
        said = msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.DecodeError:
        said = {}
    return Event(kind=name, workspace_id=str(said.get("workspace_id", "")), position=said.get("position"))


async def _refusal(response: aiohttp.ClientResponse) -> ApiProblem:
    try:
        problem = msgspec.json.decode(await response.read(), type=Problem)
    except msgspec.DecodeError:
        problem = None
    after = response.headers.get("Retry-After", "")
    return from_answer(response.status, problem, retry_after=float(after) if after.isdigit() else None)
