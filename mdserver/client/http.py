"""The client: one method for each thing it asks, retries that have no second effect, time bounds everywhere."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import msgspec

from mdserver import __version__

from . import stream
from .problems import ApiProblem, Unreachable, from_answer
from .shapes import ConflictRecord, Content, Document, Event, Operation, Page, Person, Problem, Result, Workspace

MOST_OPERATIONS = 500
MOST_BYTES = 8 << 20
ATTEMPTS = 5
LONGEST_WAIT = 60.0
TIMEOUT = aiohttp.ClientTimeout(total=180, sock_connect=10, sock_read=60)

T = TypeVar("T")


class _List(msgspec.Struct):
    items: list[Any]
    next_cursor: str | None = None


class _Results(msgspec.Struct):
    results: list[Result]


class Client:
    """A signed-in caller of one server. `device_id` is what this device calls itself: it stands in the history.

    `async with Client(url, token) as client:`; every method may raise ApiProblem.
    """

    def __init__(self, url: str, token: str, *, device_id: str = "", attempts: int = ATTEMPTS) -> None:
        self.url = url.rstrip("/")
        self.device_id = device_id or "a program"
        self._attempts = attempts
        self._headers = {"Authorization": f"Bearer {token}", "User-Agent": f"mdserver-client/{__version__}"}
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"<Client of {self.url}>"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers=self._headers, timeout=TIMEOUT, cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def me(self) -> Person:
        """Whose token it is."""
        return await self._ask(Person, "GET", "/me")

    async def workspaces(self) -> list[Workspace]:
        """Every workspace that the token sees."""
        return [one async for one in self._all(Workspace, "/workspaces", {})]

    async def pull(
        self, cursor: str | None = None, *, workspace: str = "", limit: int = 200, include_content: bool = False
    ) -> Page:
        """The changes after the cursor, or everything from the start. ResyncRequired: pull without one."""
        query = {"limit": str(limit)}
        if cursor:
            query["cursor"] = cursor
        if workspace:
            query["workspace"] = workspace
        if include_content:
            query["include"] = "content"
        return await self._ask(Page, "GET", "/sync", query=query)

    async def push(self, operations: Sequence[Operation]) -> list[Result]:
        """Send the operations in as few requests as the limits allow: → one result for each, in order.

        What fails on the way is tried again with the same op_ids. When it fails for good, some may have had their
        effect: send the same operations again, or use `push_parts` to learn of each part.
        """
        return [result async for part in self.push_parts(operations) for result in part]

    async def push_parts(self, operations: Sequence[Operation]) -> AsyncIterator[list[Result]]:
        """The same, a list of results for each request; all lists together have one for each operation, in order."""
        for part, body in parts(operations, self.device_id):
            if len(body) > MOST_BYTES:  # alone too large for any request
                problem = Problem(status=413, type="too-large", detail="The text is too large to be sent.")
                yield [Result(op_id=one.op_id, status="refused", id=one.id, problem=problem) for one in part]
                continue
            answer = await self._ask(_Results, "POST", "/sync", body=body)
            if [one.op_id for one in answer.results] != [one.op_id for one in part]:
                raise ApiProblem(502, "", "The server's results are not those of the operations sent.")
            yield answer.results

    async def content(self, document_id: str) -> Content:
        """A document's text as it is now, exactly, and its version."""
        return await self._ask(Content, "GET", f"/documents/{document_id}/content")

    async def document(self, document_id: str) -> Document:
        return await self._ask(Document, "GET", f"/documents/{document_id}")

    async def conflicts(self, *, workspace: str = "", document: str = "") -> list[ConflictRecord]:
        """What waits for somebody to settle it."""
        query = {name: value for name, value in (("workspace", workspace), ("document", document)) if value}
        return [one async for one in self._all(ConflictRecord, "/sync/conflicts", query)]

    async def settle(self, conflict_id: str) -> None:
        """Say that a conflict has been looked at."""
        await self._send("DELETE", f"/sync/conflicts/{conflict_id}")

    async def events(self, *, workspace: str = "") -> AsyncIterator[Event]:
        """Hints that there is something to pull, for ever: reconnects by itself. SignedOut and refusals end it."""
        assert self._session is not None, "the client is used as a context manager"
        query = {"workspace": workspace} if workspace else {}
        async for event in stream.events(self._session, f"{self.url}/api/v1/events", query):
            yield event

    async def _all(self, kind: type[T], path: str, query: dict[str, str]) -> AsyncIterator[T]:
        cursor: str | None = None
        while True:
            found = await self._ask(_List, "GET", path, query={**query, **({"cursor": cursor} if cursor else {})})
            for one in found.items:
                yield msgspec.convert(one, kind)
            cursor = found.next_cursor
            if not cursor:
                return

    async def _ask(
        self, kind: type[T], method: str, path: str, *, query: dict[str, str] | None = None, body: bytes | None = None
    ) -> T:
        data = await self._send(method, path, query=query, body=body)
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.DecodeError as error:
            raise ApiProblem(502, "", f"The server's answer to {method} {path} is not understood: {error}") from None

    async def _send(
        self, method: str, path: str, *, query: dict[str, str] | None = None, body: bytes | None = None
    ) -> bytes:
        """One request, tried again while the server is busy or out of reach, a bounded number of times."""
        for attempt in range(1, self._attempts + 1):
            try:
                return await self._once(method, path, query=query, body=body)
            except ApiProblem as problem:
                passing = isinstance(problem, Unreachable) or problem.status in (429, 502, 503, 504)
                if not passing or attempt == self._attempts:
                    raise
                await asyncio.sleep(wait(problem, attempt))
        raise AssertionError("there is at least one attempt")

    async def _once(self, method: str, path: str, *, query: dict[str, str] | None, body: bytes | None) -> bytes:
        assert self._session is not None, "the client is used as a context manager"
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with self._session.request(
                method,
                f"{self.url}/api/v1{path}",
                params=query or {},
                data=io.BytesIO(body) if body is not None else None,
                headers=headers,
                allow_redirects=False,  # the token is for this server alone
            ) as response:
                data = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{self.url} cannot be reached: {_reason(error)}.") from None
        if 200 <= response.status < 300:
            return data
        raise from_answer(response.status, _problem(data), retry_after=_seconds(response.headers.get("Retry-After")))


def parts(operations: Sequence[Operation], device_id: str) -> Iterator[tuple[list[Operation], bytes]]:
    """The operations in order, in groups that one request may carry, each with its body. One too large stands alone."""
    head = b'{"device_id":' + msgspec.json.encode(device_id) + b',"operations":['
    group: list[Operation] = []
    bodies: list[bytes] = []
    size = 0
    for one in operations:
        body = msgspec.json.encode(one)
        if group and (len(group) == MOST_OPERATIONS or len(head) + size + len(body) + 2 > MOST_BYTES):
            yield group, head + b",".join(bodies) + b"]}"
            group, bodies, size = [], [], 0
        group.append(one)
        bodies.append(body)
        size += len(body) + 1
    if group:
        yield group, head + b",".join(bodies) + b"]}"


def wait(problem: ApiProblem, attempt: int) -> float:
    """Seconds before the next attempt: as the server says, else longer each time, and never all clients at once."""
    if problem.retry_after is not None:
        return min(problem.retry_after, LONGEST_WAIT)
    return min(0.25 * 2.0**attempt, 8.0) * random.uniform(0.5, 1.0)  # noqa: S311 (spreads load, guards nothing)


def _problem(data: bytes) -> Problem | None:
    try:
        return msgspec.json.decode(data, type=Problem)
    except msgspec.DecodeError:
        return None


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:  # a date (RFC 9110 §10.2.3), which our server does not send
        return None


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
