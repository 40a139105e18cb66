"""Invitations: made by admins, shown once, accepted once, by whom they are for, while whoever gave them still may."""

from __future__ import annotations

from typing import Any

import pytest

from mdserver import clock
from mdserver.config import Rate, Rates
from tests.conftest import Clock

from .conftest import Answer, Inbox, Person, Server, Start


async def invite(person: Person, role: str = "editor", place: str | None = None, **more: Any) -> Answer:
    return await person.post(f"/workspaces/{place or person.workspace_id}/invitations", {"role": role, **more})


async def test_invite_look_accept(server: Server) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    made = await invite(ada)
    assert made.status == 201, made
    token = made.json["token"]
    assert token.startswith("mds_in_")
    assert made.headers["Cache-Control"] == "no-store"
    (listed,) = (await ada.get(f"/workspaces/{ada.workspace_id}/invitations")).json["items"]
    assert set(listed) == {"id", "workspace_id", "email", "role", "invited_by", "created_at", "expires_at"}
    assert listed["invited_by"]["id"] == ada.id
    offer = await server.anonymous.get(f"/invitations/{token}")
    assert {**offer.json, "expires_at": ""} == {
        "workspace_name": "Ada's notes",
        "role": "editor",
        "invited_by": "Ada",
        "email_bound": False,
        "expires_at": "",
    }
    assert (await server.anonymous.post(f"/invitations/{token}")).status == 401
    answer = await bob.post(f"/invitations/{token}")
    assert (answer.status, answer.json["id"], answer.json["role"]) == (200, ada.workspace_id, "editor")
    assert (await bob.post(f"/invitations/{token}")).json == answer.json
    assert (await ada.get(f"/workspaces/{ada.workspace_id}/invitations")).json["items"] == []
    assert (await server.anonymous.get(f"/invitations/{token}")).status == 410
    assert (await (await server.person("Cyd")).post(f"/invitations/{token}")).status == 410
    actions = [one[0] for one in await server.audited()]
    assert actions.count("invitation.create") == actions.count("invitation.accept") == 1


@pytest.mark.parametrize("token", ["x", "mds_in_x", "%00", "é", "x" * 2000])
async def test_tokens_that_are_none(server: Server, token: str) -> None:
    ada = await server.person("Ada")
    for answer in (await server.anonymous.get(f"/invitations/{token}"), await ada.post(f"/invitations/{token}")):
        assert answer.status == 404
        assert token not in answer.json["instance"] or token == "x"


async def test_an_invitation_for_an_address(server: Server) -> None:
    ada, bob, cyd = await server.person("Ada"), await server.person("Bob"), await server.person("Cyd")
    token = (await invite(ada, email=" BOB@Example.org ")).json["token"]
    assert (await server.anonymous.get(f"/invitations/{token}")).json["email_bound"]
    answer = await cyd.post(f"/invitations/{token}")
    assert (answer.status, "BOB" in answer.body.decode()) == (403, False)
    assert (await bob.post(f"/invitations/{token}")).status == 200


async def test_an_invitation_is_mailed(start: Start, inbox: Inbox) -> None:
    server = await start(mail=inbox.config)
    ada = await server.person("Ada")
    token = (await invite(ada, email="bob@example.org")).json["token"]
    text = await inbox.wait(server, "bob@example.org")
    assert text.startswith("Ada invites you to Ada's notes\n")
    assert f"\n    {token}\n" in text


async def test_taking_back(server: Server) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    made = (await invite(ada)).json
    path = f"/workspaces/{ada.workspace_id}/invitations/{made['id']}"
    assert (await bob.delete(path)).status == 404
    assert (await bob.delete(path.replace(ada.workspace_id, bob.workspace_id))).status == 404
    assert (await ada.delete(path)).status == 204
    assert (await ada.delete(path)).status == 404
    assert (await ada.delete(f"/workspaces/{ada.workspace_id}/invitations/x")).status == 404
    assert (await bob.post(f"/invitations/{made['token']}")).status == 410


async def test_invitations_expire(frozen: Clock, server: Server) -> None:
    ada = await server.person("Ada")
    token = (await invite(ada)).json["token"]
    frozen.forward(7 * clock.DAY - 1)
    assert (await server.anonymous.get(f"/invitations/{token}")).status == 200
    frozen.forward(1)
    bob = await server.person("Bob")
    assert (await server.anonymous.get(f"/invitations/{token}")).status == 410
    assert (await bob.post(f"/invitations/{token}")).status == 410


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"role": "owner"}, "/role"),
        ({"role": "king"}, "/role"),
        ({}, "/role"),
        ({"role": "viewer", "email": "x"}, "/email"),
        ({"role": "viewer", "email": ""}, "/email"),
        ({"role": "viewer", "email": "a\0@b"}, "/email"),
        ({"role": "viewer", "days": 7}, "/days"),
    ],
)
async def test_bad_invitations(server: Server, body: dict[str, Any], pointer: str) -> None:
    ada = await server.person("Ada")
    answer = await ada.post(f"/workspaces/{ada.workspace_id}/invitations", body)
    assert (answer.status, answer.pointers) == (422, [pointer])


async def test_nobody_gives_more_than_they_have(server: Server) -> None:
    ada = await server.person("Ada")
    bob, cyd = await server.member(ada, "Bob", "admin"), await server.member(ada, "Cyd", "editor")
    assert (await invite(bob, "admin", ada.workspace_id)).status == 201
    assert (await invite(cyd, "viewer", ada.workspace_id)).status == 403


@pytest.mark.parametrize("role", ["editor", None])
async def test_an_invitation_falls_with_the_role_of_whoever_gave_it(server: Server, role: str | None) -> None:
    ada, eve = await server.person("Ada"), await server.person("Eve")
    bob = await server.member(ada, "Bob", "admin")
    token = (await invite(bob, "admin", ada.workspace_id)).json["token"]
    path = f"/workspaces/{ada.workspace_id}/members/{bob.id}"
    await (ada.patch(path, {"role": role}) if role else ada.delete(path))
    assert (await server.anonymous.get(f"/invitations/{token}")).status == 410
    assert (await eve.post(f"/invitations/{token}")).status == 410


async def test_members_keep_a_higher_role(server: Server) -> None:
    ada = await server.person("Ada")
    low, high = (await invite(ada, "viewer")).json["token"], (await invite(ada, "admin")).json["token"]
    bob = await server.member(ada, "Bob", "editor")
    assert (await bob.post(f"/invitations/{low}")).json["role"] == "editor"
    assert (await bob.post(f"/invitations/{high}")).json["role"] == "admin"
    own = (await invite(ada, "viewer")).json["token"]
    assert (await ada.post(f"/invitations/{own}")).json["role"] == "owner"


async def test_who_has_left_does_not_come_back_by_an_old_link(server: Server) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    token = (await invite(ada)).json["token"]
    await bob.post(f"/invitations/{token}")
    await ada.delete(f"/workspaces/{ada.workspace_id}/members/{bob.id}")
    assert (await bob.post(f"/invitations/{token}")).status in (404, 410)


async def test_a_narrow_token_does_not_accept(server: Server) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    token = (await invite(ada)).json["token"]
    program = await server.token(bob, workspace_id=bob.workspace_id)
    assert (await program.post(f"/invitations/{token}")).status == 403


async def test_a_secret_is_not_shown_twice(server: Server) -> None:
    ada, key = await server.person("Ada"), {"Idempotency-Key": "once"}
    path = f"/workspaces/{ada.workspace_id}/invitations"
    first = await ada.post(path, {"role": "viewer"}, headers=key)
    again = await ada.post(path, {"role": "viewer"}, headers=key)
    assert (first.status, again.status, again.problem) == (201, 409, "idempotency-secret")
    assert len((await ada.get(path)).json["items"]) == 1


async def test_invitations_are_limited(start: Start) -> None:
    server = await start(rates=Rates(account_mail=Rate(2, 3600), writes=None))
    ada = await server.person("Ada")
    assert [(await invite(ada)).status for _ in range(3)] == [201, 201, 429]
