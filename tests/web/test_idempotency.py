"""Idempotency-Key: what is sent twice is made once, for a day, by each person alone."""

from __future__ import annotations

import asyncio

import pytest

from mdserver import clock, ids
from mdserver.app import ROUTES
from mdserver.model import idempotency
from tests.conftest import Clock

from .conftest import Answer, Json, Person, Server
from .desk import make, paths, refused, unchanged, whole


async def create(who: Person, value: str, body: Json, workspace_id: str = "") -> Answer:
    path = f"/workspaces/{workspace_id or who.workspace_id}/documents"
    return await who.post(path, body, headers={"Idempotency-Key": value})


def test_every_post_that_creates_takes_a_key() -> None:
    """The list is short enough to be looked at when it grows."""
    found = {one.path for resource in ROUTES for one in resource.all if one.creates}
    assert found == {
        "/api/v1/workspaces",
        "/api/v1/workspaces/{id}/documents",
        "/api/v1/workspaces/{id}/invitations",
        "/api/v1/documents/{id}/copies",
        "/api/v1/me/tokens",
    }
    without = {
        one.path
        for resource in ROUTES
        for one in resource.all
        if one.method == "POST" and not one.creates and one.path.startswith("/api/v1/") and "/auth/" not in one.path
    }
    # Setup and an accepted invitation answer themselves; going back twice is one version; operations have names.
    assert without == {
        "/api/v1/setup",
        "/api/v1/sync",
        "/api/v1/invitations/{token}",
        "/api/v1/documents/{id}/versions/{version}/restore",
    }


async def test_made_once_and_answered_alike(server: Server) -> None:
    ada = await server.person("Ada")
    first = await create(ada, "k1", {"title": "Plan", "content": "x"})
    assert first.status == 201
    async with unchanged(server.database):
        again = await create(ada, "k1", {"title": "Plan", "content": "x"})
    assert (again.status, again.json) == (201, first.json)
    for name in ("ETag", "Location", "Content-Type"):
        assert again.headers[name] == first.headers[name]
    # The order of the fields and the way of writing them are not the request.
    same = b'{ "content":"\\u0078","title" : "Plan" }'
    assert (await create(ada, "k1", same)).json == first.json
    other = await create(ada, "k2", {"title": "Plan", "content": "x"})
    assert other.json["id"] != first.json["id"]
    assert await paths(ada) == ["Plan (2).md", "Plan.md"]
    await whole(server)


async def test_the_present_state_is_answered(server: Server) -> None:
    ada = await server.person("Ada")
    made = (await create(ada, "k", {"title": "Plan"})).json
    await ada.put(f"/documents/{made['id']}/title", {"title": "New"})
    again = await create(ada, "k", {"title": "Plan"})
    assert (again.status, again.json["title"]) == (201, "New")
    await ada.put(f"/documents/{made['id']}/trash")
    assert (await create(ada, "k", {"title": "Plan"})).json["trashed_at"] is not None
    await ada.delete(f"/documents/{made['id']}", headers={"If-Match": "*"})
    async with unchanged(server.database):
        refused(await create(ada, "k", {"title": "Plan"}), 404)


async def test_another_request_with_the_same_key(server: Server) -> None:
    ada = await server.person("Ada")
    other = await server.workspace(ada, "Other")
    made = (await create(ada, "k", {"title": "Plan"})).json
    async with unchanged(server.database):
        for answer in (
            await create(ada, "k", {"title": "Plan "}),
            await create(ada, "k", {"title": "Plan", "tags": []}),
            await create(ada, "k", {"title": "Plan"}, other),
            await ada.post("/workspaces", {"name": "x"}, headers={"Idempotency-Key": "k"}),
            await ada.post(f"/documents/{made['id']}/copies", {}, headers={"Idempotency-Key": "k"}),
        ):
            refused(answer, 422, problem="idempotency-mismatch")


async def test_a_key_is_ones_own(server: Server) -> None:
    ada, bea = await server.person("Ada"), await server.person("Bea")
    await server.join(ada, bea, "editor")
    first = await create(ada, "k", {"title": "Plan"})
    second = await create(bea, "k", {"title": "Plan"}, ada.workspace_id)
    assert second.status == 201
    assert second.json["id"] != first.json["id"]
    # A program of hers is she.
    token = await server.token(ada, "read", "write")
    path = f"/workspaces/{ada.workspace_id}/documents"
    again = await token.post(path, {"title": "Plan"}, headers={"Idempotency-Key": "k"})
    assert again.json["id"] == first.json["id"]
    await whole(server)


async def test_a_repetition_is_authorised_anew(server: Server) -> None:
    ada = await server.person("Ada")
    bea = await server.member(ada, "Bea", "editor")
    place = ada.workspace_id
    made = await create(bea, "k", {"title": "Plan"}, place)
    copied = await bea.post(f"/documents/{made.json['id']}/copies", {}, headers={"Idempotency-Key": "c"})
    assert copied.status == 201
    await ada.put(f"/workspaces/{place}/members/{bea.id}", {"role": "viewer"})
    async with unchanged(server.database):
        refused(await create(bea, "k", {"title": "Plan"}, place), 403)
        refused(await create(bea, "k", {"title": ""}, place), 403)
    await ada.delete(f"/workspaces/{place}/members/{bea.id}")
    async with unchanged(server.database):
        refused(await create(bea, "k", {"title": "Plan"}, place), 404)
        refused(await create(bea, "k", {"title": "Other"}, place), 404)
        again = await bea.post(f"/documents/{made.json['id']}/copies", {}, headers={"Idempotency-Key": "c"})
        refused(again, 404)
    narrow = await server.token(ada, workspace_id=await server.workspace(ada))
    mine = await create(ada, "n", {"title": "Mine"})
    refused(
        await narrow.post(f"/workspaces/{place}/documents", {"title": "Mine"}, headers={"Idempotency-Key": "n"}), 404
    )
    assert mine.status == 201


async def test_what_failed_can_be_tried_again(server: Server) -> None:
    ada = await server.person("Ada")
    parent = ids.new()
    body = {"title": "Child", "parent_id": parent}
    async with unchanged(server.database):
        refused(await create(ada, "k", body), 422)
        refused(await create(ada, "k", {"title": ""}), 422)
    await make(ada, "Parent", id=parent)
    assert (await create(ada, "k", body)).status == 201


async def test_when_the_source_is_gone(server: Server) -> None:
    """A repetition asks for what was made, not for what it was made from."""
    ada = await server.person("Ada")
    source = await make(ada, "Source", content="x")
    path = f"/documents/{source['id']}"
    made = await create(ada, "k", {"from": source["id"]})
    copied = await ada.post(f"{path}/copies", {}, headers={"Idempotency-Key": "c"})
    assert (made.status, copied.status) == (201, 201)
    await ada.put(f"{path}/trash")
    async with unchanged(server.database):
        assert (await ada.post(f"{path}/copies", {}, headers={"Idempotency-Key": "c"})).json == copied.json
        refused(await ada.post(f"{path}/copies", {}, headers={"Idempotency-Key": "d"}), 409)
    await ada.delete(path, headers={"If-Match": "*"})
    async with unchanged(server.database):
        assert (await create(ada, "k", {"from": source["id"]})).json == made.json
        assert (await ada.post(f"{path}/copies", {}, headers={"Idempotency-Key": "c"})).json == copied.json
        refused(await create(ada, "l", {"from": source["id"]}), 404)


async def test_secrets_are_not_shown_twice(server: Server) -> None:
    ada = await server.person("Ada")
    for path, body in [
        ("/me/tokens", {"name": "x", "scopes": ["read"]}),
        (f"/workspaces/{ada.workspace_id}/invitations", {"role": "viewer"}),
    ]:
        value = path.rpartition("/")[2]
        first = await ada.post(path, body, headers={"Idempotency-Key": value})
        assert first.status == 201, first
        again = await ada.post(path, body, headers={"Idempotency-Key": value})
        refused(again, 409, problem="idempotency-secret")
        assert again.json["id"] == first.json["id"]
        assert first.json["token"] not in again.body.decode()


async def test_workspaces(server: Server) -> None:
    ada = await server.person("Ada")
    answers = [await ada.post("/workspaces", {"name": "x"}, headers={"Idempotency-Key": "w"}) for _ in range(3)]
    assert {(one.status, one.json["id"]) for one in answers} == {(201, answers[0].json["id"])}
    assert len((await ada.get("/workspaces")).json["items"]) == 2


async def test_at_the_same_moment(server: Server) -> None:
    ada = await server.person("Ada")
    answers = await asyncio.gather(*[create(ada, "k", {"title": "Plan"}) for _ in range(8)])
    assert {(one.status, one.json["id"]) for one in answers} == {(201, answers[0].json["id"])}
    assert await paths(ada) == ["Plan.md"]
    await whole(server)


async def test_for_a_day(frozen: Clock, server: Server) -> None:
    ada = await server.person("Ada")
    first = await create(ada, "k", {"title": "Plan"})
    frozen.forward(clock.DAY - 1)
    ada.headers = (await server.token(ada, "read", "write")).headers
    assert (await create(ada, "k", {"title": "Plan"})).json["id"] == first.json["id"]
    frozen.forward(1)
    second = await create(ada, "k", {"title": "Plan"})
    assert second.json["id"] != first.json["id"]
    assert (await create(ada, "k", {"title": "Plan"})).json["id"] == second.json["id"]
    assert await server.database.write(idempotency.forget_old) == 0
    frozen.forward(clock.DAY)
    assert await server.database.write(idempotency.forget_old) == 1


@pytest.mark.parametrize("value", ["", '""', "x" * 201, "é", "a\tb"])
async def test_keys_that_are_none(server: Server, value: str) -> None:
    ada = await server.person("Ada")
    async with unchanged(server.database):
        refused(await create(ada, value, {"title": "x"}), 400)


async def test_keys_of_every_form(server: Server) -> None:
    ada = await server.person("Ada")
    for value in ("x", '"quoted"', "x" * 200, "a b c", "8e03978e-40d5-43e8-bc93-6894a57f9324", "'; DROP TABLE x --"):
        first = await create(ada, value, {"title": "x"})
        assert first.status == 201
        assert (await create(ada, value, {"title": "x"})).json["id"] == first.json["id"]
