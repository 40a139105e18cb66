"""A clock that is set back or forward under the running server: what was said of times and ids stays sane."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from mdserver import clock, ids
from mdserver.store.db import Engine
from tests.conftest import Clock
from tests.web.conftest import PASSWORD

from .served import Served, World, serving

YEAR = 365 * clock.DAY


@pytest.fixture
def served(engine: Engine, frozen: Clock) -> Iterator[Served]:
    with serving(engine) as made:
        yield made


class Asking:
    """An owner who asks."""

    def __init__(self, served: Served, world: World) -> None:
        self._url, self._headers = f"{served.url}/api/v1", dict(world.credentials["owner"])
        self.workspace = world.known["workspaces"][0]

    def __call__(self, method: str, path: str, status: int, body: Any = None, **headers: str) -> Any:
        answer = requests.request(method, self._url + path, json=body, headers={**self._headers, **headers}, timeout=60)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def sign_in(self, email: str) -> None:
        """Another session, from now on."""
        token = self("POST", "/auth/login", 200, {"email": email, "password": PASSWORD})["access_token"]
        self._headers = {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("jump", [-YEAR, -clock.SECOND, clock.SECOND, YEAR])
def test_documents_and_versions_across_a_jump(served: Served, frozen: Clock, jump: int) -> None:
    world = served.world()
    ask = Asking(served, world)
    place = f"/workspaces/{ask.workspace}/documents"
    before = ask("POST", place, 201, {"title": "Before", "content": "one\n"}, **{"Idempotency-Key": "before"})
    frozen.forward(jump)
    if jump == YEAR:
        ask("GET", "/me", 401)  # access tokens live for minutes
        ask.sign_in(served.email)
    after = ask("POST", place, 201, {"title": "After", "content": "two\n"})
    edited = ask("PUT", f"/documents/{before['id']}/content", 200, {"content": "three\n"}, **{"If-Match": "*"})
    assert edited["version"] == 2
    assert edited["created_at"] == before["created_at"]
    assert edited["updated_at"] == after["created_at"]
    versions = ask("GET", f"/documents/{before['id']}/versions", 200)["items"]
    assert [one["version"] for one in versions] == [2, 1]
    assert ask("GET", f"/documents/{before['id']}/versions/1", 200)["content"] == "one\n"
    assert ids.is_id(after["id"])
    for sort in ("-updated_at", "path"):
        listed: list[str] = []
        cursor: str | None = ""
        while cursor is not None:  # pages of one, so that each is found by the position of the one before
            page = ask("GET", f"{place}?limit=1&sort={sort}{cursor and f'&cursor={cursor}'}", 200)
            listed += [one["id"] for one in page["items"]]
            cursor = page["next_cursor"]
        assert len(listed) == len(set(listed)) == 5, sort
    if jump < 0:  # the key was used a moment ago, or in the future: either way the request is the same
        again = ask("POST", place, 201, {"title": "Before", "content": "one\n"}, **{"Idempotency-Key": "before"})
        assert again["id"] == before["id"]
    ask("PUT", f"/documents/{after['id']}/trash", 200)
    assert ask("DELETE", f"/documents/{after['id']}/trash", 200)["trashed_at"] is None


def test_tokens_across_a_jump(served: Served, frozen: Clock) -> None:
    """Set forward, what has expired is refused; set back, it counts again; neither makes a sign-in recent for ever."""
    world = served.world()
    ask = Asking(served, world)
    ask("GET", "/me", 200)
    frozen.forward(YEAR)
    ask("GET", "/me", 401)
    ask("POST", "/auth/refresh", 401, {"refresh_token": world.known["refresh_token"][0]})
    frozen.forward(-YEAR)
    ask("GET", "/me", 200)
    new = {"name": "program", "scopes": ["read"]}
    ask("POST", "/me/tokens", 201, new)
    frozen.forward(-YEAR)
    ask("GET", "/me", 200)
    ask("POST", "/me/tokens", 403, new)  # it was a year ahead when this was signed in: sign in again
    ask.sign_in(served.email)
    made = ask("POST", "/me/tokens", 201, new)
    assert all(one["created_at"] <= "2027" for one in ask("GET", "/me/tokens", 200)["items"])
    assert made["id"] not in world.known.values()
    for one in ask("GET", "/me/sessions", 200)["items"]:
        assert clock.parse(one["created_at"]) <= clock.parse("2026-02-01T00:00:00Z")


@pytest.mark.parametrize("step", [0, -1, -clock.DAY])
def test_ids_are_new_though_time_stands_still_or_goes_back(frozen: Clock, step: int) -> None:
    made = set()
    for _ in range(5_000):
        made.add(ids.new())
        frozen.forward(step)
    assert len(made) == 5_000
    assert all(map(ids.is_id, made))


def test_an_id_from_before_1970_is_still_one(frozen: Clock) -> None:
    frozen.now = -5
    assert ids.is_id(ids.new())
