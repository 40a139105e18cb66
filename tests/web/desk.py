"""What the tests of documents do again and again: make some, and see that a refusal has changed nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from mdserver.store.db import Database
from tests.model.invariants import broken, picture

from .conftest import Answer, Client, Json, Person, Server

NOWHERE = "0190163d-8694-739b-aea5-966c26f8ad91"
"""The id of nothing."""


async def make(who: Person, title: str | None = "Plan", /, *, workspace_id: str | None = None, **fields: Any) -> Json:
    """A fresh document in one's own workspace."""
    given = fields if title is None else {"title": title, **fields}
    answer = await who.post(f"/workspaces/{workspace_id or who.workspace_id}/documents", given)
    assert answer.status == 201, answer
    return answer.json


async def paths(who: Person, **query: str) -> list[str]:
    """The paths of every document in one's own workspace."""
    answer = await who.get(
        f"/workspaces/{who.workspace_id}/documents", params={"limit": "200", "sort": "path", **query}
    )
    assert answer.status == 200, answer
    return [one["path"] for one in answer.json["items"]]


async def content(who: Client, id: str) -> str:
    """A document's text."""
    answer = await who.get(f"/documents/{id}/content")
    assert answer.status == 200, answer
    return answer.body.decode()


async def every_page(who: Client, path: str, *, limit: int = 2, **query: str) -> list[Json]:
    """A list to its end, by way of its Link headers."""
    found: list[Json] = []
    answer = await who.get(path, params={"limit": str(limit), **query})
    while True:
        assert answer.status == 200, answer
        assert len(answer.json["items"]) <= limit
        found += answer.json["items"]
        cursor = answer.json["next_cursor"]
        if cursor is None:
            assert "Link" not in answer.headers
            return found
        assert len(answer.json["items"]) == limit
        address, _, relation = answer.headers["Link"].partition(">; ")
        assert relation == 'rel="next"'
        assert f"cursor={cursor}" in address
        answer = await who.get("/" + address.removeprefix("<"))


@contextlib.asynccontextmanager
async def unchanged(database: Database) -> AsyncIterator[None]:
    """Nothing that has to do with documents is changed in here."""
    before = await database.read(picture)
    yield
    assert await database.read(picture) == before


async def whole(server: Server) -> None:
    """All that must be true is true."""
    assert await server.database.read(broken) == []


def refused(answer: Answer, status: int, *pointers: str, problem: str = "") -> None:
    """The answer is a problem of that status, about these places of the body."""
    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/problem+json", answer
    assert answer.json["status"] == status
    assert answer.json["detail"], answer
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]
    if pointers:
        assert answer.pointers == list(pointers), answer
    if problem:
        assert answer.problem == problem, answer
