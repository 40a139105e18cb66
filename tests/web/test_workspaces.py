"""Workspaces and their members: who sees, who changes, who stays."""

from __future__ import annotations

from typing import Any

import pytest

from mdserver import clock, ids
from mdserver.config import Rate, Rates
from mdserver.model import users
from mdserver.model.access import ROLES, Role
from tests.conftest import Clock

from .conftest import Answer, Person, Server, Start

NOBODY = "019b76da-a800-7c3e-8f21-5d0c6a1b2e3f"


async def role_in(person: Person, workspace_id: str) -> str:
    answer = await person.get(f"/workspaces/{workspace_id}")
    return str(answer.json["role"]) if answer.status == 200 else ""


async def test_a_new_account_has_a_workspace_of_its_own(server: Server) -> None:
    ada = await server.person("Ada")
    (own,) = (await ada.get("/workspaces")).json["items"]
    assert own == (await ada.get(f"/workspaces/{ada.workspace_id}")).json
    assert set(own) == {"id", "name", "role", "permissions", "member_count", "document_count", "storage_bytes",
                        "created_at", "updated_at"}  # fmt: skip
    assert (own["name"], own["role"], own["member_count"], own["document_count"]) == ("Ada's notes", "owner", 1, 0)
    assert {"read", "edit", "delete", "transfer"} <= set(own["permissions"])


async def test_create(server: Server) -> None:
    ada = await server.person("Ada")
    answer = await ada.post("/workspaces", {"name": "  Work "})
    assert answer.status == 201, answer
    assert (answer.json["name"], answer.json["role"]) == ("Work", "owner")
    assert answer.headers["Location"] == f"/api/v1/workspaces/{answer.json['id']}"
    chosen = ids.new()
    assert (await ada.post("/workspaces", {"name": "Offline", "id": chosen})).json["id"] == chosen
    assert (await ada.post("/workspaces", {"name": "Again", "id": chosen})).status == 409
    names = {one["name"] for one in (await ada.get("/workspaces")).json["items"]}
    assert names == {"Ada's notes", "Work", "Offline"}


async def test_creating_once(server: Server) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    key = {"Idempotency-Key": "k1"}
    first = await ada.post("/workspaces", {"name": "Work"}, headers=key)
    again = await ada.post("/workspaces", {"name": "Work"}, headers=key)
    assert (first.status, first.json) == (again.status, again.json)
    other = await bob.post("/workspaces", {"name": "Work"}, headers=key)
    assert other.json["id"] != first.json["id"]
    assert (await ada.post("/workspaces", {"name": "Play"}, headers=key)).status == 422
    assert (await ada.post("/workspaces", {"name": "x"}, headers={"Idempotency-Key": "é"})).status == 400


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": " "}, "/name"),
        ({"name": "x" * 201}, "/name"),
        ({"name": "a\0b"}, "/name"),
        ({"name": None}, "/name"),
        ({"name": "x", "id": "1"}, "/id"),
        ({"name": "x", "id": NOBODY.upper()}, "/id"),
        ({"name": "x", "owner": "me"}, "/owner"),
        ({}, "/name"),
    ],
)
async def test_bad_workspaces(server: Server, body: dict[str, Any], pointer: str) -> None:
    ada = await server.person("Ada")
    answer = await ada.post("/workspaces", body)
    assert (answer.status, answer.pointers) == (422, [pointer])


async def test_rename(server: Server) -> None:
    ada = await server.person("Ada")
    path = f"/workspaces/{ada.workspace_id}"
    assert (await ada.patch(path, {"name": "Mine"})).json["name"] == "Mine"
    assert (await ada.patch(path, {})).json["name"] == "Mine"
    assert (await ada.patch(path, {"name": ""})).pointers == ["/name"]


async def test_delete(server: Server) -> None:
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "admin")
    path = f"/workspaces/{ada.workspace_id}"
    assert (await bob.delete(path)).status == 403
    assert (await ada.delete(path)).status == 204
    assert (await ada.get(path)).status == (await bob.get(path)).status == 404
    assert ("workspace.delete", ada.workspace_id, ada.id) in await server.audited()


OPERATIONS: list[tuple[str, str, Any, Role]] = [
    ("GET", "", None, "viewer"),
    ("PATCH", "", {"name": "x"}, "admin"),
    ("DELETE", "", None, "owner"),
    ("GET", "/members", None, "viewer"),
    ("PUT", "/members/{other}", {"role": "viewer"}, "admin"),
    ("PATCH", "/members/{other}", {"role": "viewer"}, "admin"),
    ("DELETE", "/members/{other}", None, "admin"),
    ("PUT", "/owner", {"user_id": "{other}"}, "owner"),
    ("GET", "/invitations", None, "admin"),
    ("POST", "/invitations", {"role": "viewer"}, "admin"),
]


@pytest.mark.parametrize(("method", "path", "body", "need"), OPERATIONS)
async def test_who_may(server: Server, method: str, path: str, body: Any, need: Role) -> None:
    ada = await server.person("Ada")
    other, stranger = await server.member(ada, "Other", "viewer"), await server.person("Stranger")
    if isinstance(body, dict) and "user_id" in body:
        body = {"user_id": other.id}
    place = f"/workspaces/{ada.workspace_id}{path}".replace("{other}", other.id)
    assert (await server.anonymous.call(method, place, body)).status == 401
    foreign = await stranger.call(method, place, body)
    missing = await stranger.call(method, place.replace(ada.workspace_id, ids.new()), body)
    assert (foreign.status, missing.status) == (404, 404)
    assert foreign.json["detail"] == missing.json["detail"]
    if body is not None:  # strangers do not hear what is wrong with what they sent, members of too low a role neither
        assert (await stranger.call(method, place, {"wrong": 1})).status == 404
        assert (await other.call(method, place, {"wrong": 1})).status == (422 if need == "viewer" else 403)
    for role in reversed(ROLES):
        asking = await server.member(ada, role.title(), role)
        answer = await asking.call(method, place, body)
        allowed = ROLES.index(role) <= ROLES.index(need)
        assert (answer.status < 300) == allowed, (role, answer)
        if not allowed:
            assert (answer.status, answer.problem) == (403, "forbidden")
        elif method == "DELETE":
            return


@pytest.mark.parametrize("id", ["x", "00000000-0000-0000-0000-000000000000", "%00", "a%2Fb", "..", "'"])
async def test_ids_that_are_none(server: Server, id: str) -> None:
    ada = await server.person("Ada")
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/members"), ("GET", "/invitations")):
        assert (await ada.call(method, f"/workspaces/{id}{path}")).status in (404, 405)


# Members


async def put(person: Person, workspace_id: str, user: str, role: str) -> Answer:
    return await person.put(f"/workspaces/{workspace_id}/members/{user}", {"role": role})


async def test_adding_by_id_and_by_address(server: Server) -> None:
    ada, bob, cyd = await server.person("Ada"), await server.person("Bob"), await server.person("Cyd")
    answer = await put(ada, ada.workspace_id, bob.id, "editor")
    assert answer.status == 201, answer
    assert set(answer.json) == {"user", "role", "joined_at"}
    assert answer.json["user"] == {"id": bob.id, "display_name": "Bob", "avatar_url": None}
    assert (await put(ada, ada.workspace_id, "CYD@example.org", "viewer")).json["user"]["id"] == cyd.id
    again = await put(ada, ada.workspace_id, bob.id, "admin")
    assert (again.status, again.json["role"]) == (200, "admin")
    members = (await ada.get(f"/workspaces/{ada.workspace_id}/members")).json["items"]
    assert {one["user"]["id"]: one["role"] for one in members} == {ada.id: "owner", bob.id: "admin", cyd.id: "viewer"}
    assert await role_in(cyd, ada.workspace_id) == "viewer"
    audited = await server.audited()
    assert ("member.add", bob.id, ada.id) in audited
    assert ("member.role", bob.id, ada.id) in audited


@pytest.mark.parametrize("user", ["x", NOBODY, "nobody@example.org", "@", "a%00@example.org", "%00", "x" * 3000 + "@y"])
async def test_accounts_that_are_none(server: Server, user: str) -> None:
    ada = await server.person("Ada")
    path = f"/workspaces/{ada.workspace_id}/members/{user}"
    for method in ("PUT", "PATCH"):
        assert (await ada.call(method, path, {"role": "viewer"})).status == 404
    assert (await ada.delete(path)).status == 404


async def test_addresses_of_nobody_are_counted(start: Start) -> None:
    server = await start(rates=Rates(account_mail=Rate(2, 3600), writes=None))
    ada, bob = await server.person("Ada"), await server.person("Bob")
    statuses = [(await put(ada, ada.workspace_id, f"{n}@example.org", "viewer")).status for n in range(3)]
    assert statuses == [404, 404, 429]
    assert (await put(ada, ada.workspace_id, bob.email, "viewer")).status == 201


@pytest.mark.parametrize("body", [{"role": "king"}, {"role": None}, {}, {"role": "viewer", "x": 1}, {"role": 1}])
async def test_roles_that_are_none(server: Server, body: dict[str, Any]) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    assert (await ada.put(f"/workspaces/{ada.workspace_id}/members/{bob.id}", body)).status == 422


async def test_admins_manage_everybody_but_owners(server: Server) -> None:
    ada = await server.person("Ada")
    bob, cyd = await server.member(ada, "Bob", "admin"), await server.member(ada, "Cyd", "editor")
    place = ada.workspace_id
    assert (await put(bob, place, cyd.id, "owner")).status == 403
    assert (await put(bob, place, bob.id, "owner")).status == 403
    assert (await put(bob, place, ada.id, "viewer")).status == 403
    assert (await bob.delete(f"/workspaces/{place}/members/{ada.id}")).status == 403
    assert (await put(bob, place, cyd.id, "admin")).status == 200
    assert (await bob.delete(f"/workspaces/{place}/members/{cyd.id}")).status == 204
    assert await role_in(cyd, place) == ""
    assert (await put(bob, place, bob.id, "viewer")).status == 200
    assert (await put(bob, place, bob.id, "admin")).status == 403


async def test_the_last_owner_stays(server: Server) -> None:
    ada = await server.person("Ada")
    bob, place = await server.member(ada, "Bob", "admin"), f"/workspaces/{ada.workspace_id}/members"
    for answer in (
        await ada.patch(f"{place}/{ada.id}", {"role": "editor"}),
        await ada.put(f"{place}/{ada.email}", {"role": "editor"}),
        await ada.delete(f"{place}/{ada.id}"),
    ):
        assert (answer.status, answer.problem) == (409, "last-owner")
    assert (await ada.patch(f"{place}/{bob.id}", {"role": "owner"})).status == 200
    assert (await ada.patch(f"{place}/{ada.id}", {"role": "editor"})).status == 200
    assert (await bob.delete(f"{place}/{bob.id}")).status == 409


async def test_anyone_may_leave(server: Server) -> None:
    ada = await server.person("Ada")
    bob, cyd = await server.member(ada, "Bob", "viewer"), await server.member(ada, "Cyd", "viewer")
    place = f"/workspaces/{ada.workspace_id}/members"
    assert (await bob.delete(f"{place}/{cyd.id}")).status == 403
    assert (await bob.delete(f"{place}/{bob.id}")).status == 204
    assert (await bob.get(place)).status == 404
    assert (await bob.delete(f"{place}/{bob.id}")).status == 404


async def test_changing_who_is_no_member(server: Server) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    path = f"/workspaces/{ada.workspace_id}/members/{bob.id}"
    assert (await ada.patch(path, {"role": "viewer"})).status == 404
    assert (await ada.delete(path)).status == 404


async def test_handing_over(server: Server) -> None:
    ada, stranger = await server.person("Ada"), await server.person("Stranger")
    bob, path = await server.member(ada, "Bob", "viewer"), f"/workspaces/{ada.workspace_id}/owner"
    for other in (stranger.id, ids.new(), "x", "\0"):
        assert (await ada.put(path, {"user_id": other})).status == 404
    assert (await ada.put(path, {"user_id": ada.id})).status == 409
    answer = await ada.put(path, {"user_id": bob.id})
    assert (answer.json["user"]["id"], answer.json["role"]) == (bob.id, "owner")
    assert await role_in(ada, ada.workspace_id) == "admin"
    assert (await ada.put(path, {"user_id": ada.id})).status == 403


async def test_handing_over_takes_a_recent_sign_in(frozen: Clock, server: Server) -> None:
    ada = await server.person("Ada")
    bob, browser = await server.member(ada, "Bob", "viewer"), await server.browser(ada)
    frozen.forward(10 * clock.MINUTE + 1)
    answer = await browser.put(f"/workspaces/{ada.workspace_id}/owner", {"user_id": bob.id})
    assert (answer.status, answer.problem) == (403, "recent-sign-in-required")


async def test_members_come_in_pages_and_disabled_ones_stay_members(server: Server) -> None:
    ada, _ = await server.person("Ada"), await server.person("Root", admin=True)
    bob = await server.member(ada, "Bob", "viewer")
    await server.member(ada, "Cyd", "viewer")
    await server.database.write(lambda tx: users.disable(tx, bob.user))
    path = f"/workspaces/{ada.workspace_id}/members?limit=2"
    first = await ada.get(path)
    rest = await ada.get(f"{path}&cursor={first.json['next_cursor']}")
    names = [one["user"]["display_name"] for answer in (first, rest) for one in answer.json["items"]]
    assert sorted(names) == ["Ada", "Bob", "Cyd"]
    assert rest.json["next_cursor"] is None
    assert "Link" not in rest.headers
