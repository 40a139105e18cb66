"""One's own account: profile, password, address, sessions, personal tokens, leaving for good."""

from __future__ import annotations

from typing import Any

import pytest

from mdserver import clock
from mdserver.config import Accounts
from mdserver.model import codes, users
from tests.conftest import Clock

from .conftest import PASSWORD, Answer, Client, Inbox, Person, Server, Start, bearer
from .test_auth import mailed, mailed_text

NEW = "another long sentence"


async def signs_in(server: Server, email: str, password: str) -> bool:
    answer = await server.anonymous.post("/auth/login", {"email": email, "password": password})
    return answer.status == 200


async def test_show(server: Server) -> None:
    ada = await server.person("Ada")
    answer = await ada.get("/me")
    assert answer.status == 200
    assert set(answer.json) == {
        *("id", "email", "display_name", "avatar_url", "is_admin", "email_verified", "created_at"),
    }
    assert (await ada.call("HEAD", "/me")).status == 200
    assert (await server.anonymous.get("/me")).status == 401


async def test_rename(server: Server) -> None:
    ada = await server.person("Ada")
    answer = await ada.patch("/me", {"display_name": "  Ada Lovelace "})
    assert answer.json["display_name"] == "Ada Lovelace"
    assert (await ada.get("/me")).json == answer.json
    assert (await ada.patch("/me", {})).json == answer.json
    for wrong in ("", " ", "x" * 101, "a\nb", "a\0b", None, 5, ["x"]):
        refused = await ada.patch("/me", {"display_name": wrong})
        assert (refused.status, refused.pointers) == (422, ["/display_name"])
    for field in ("email", "is_admin", "id"):
        assert (await ada.patch("/me", {field: "x"})).pointers == [f"/{field}"]


# What protects the account


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/me/password", {"current_password": PASSWORD, "new_password": NEW}),
        ("PUT", "/me/email", {"password": PASSWORD, "email": "new@example.org"}),
        ("DELETE", "/me", {"password": PASSWORD}),
        ("POST", "/me/tokens", {"name": "x", "scopes": ["read"]}),
    ],
)
async def test_what_needs_a_recent_sign_in(
    frozen: Clock, server: Server, method: str, path: str, body: dict[str, Any]
) -> None:
    ada = await server.person("Ada")
    program = await server.token(ada)
    answer = await program.call(method, path, body)
    assert (answer.status, answer.problem) == (403, "recent-sign-in-required")
    browser = await server.browser(ada)
    frozen.forward(10 * clock.MINUTE + 1)
    answer = await browser.call(method, path, body)
    assert (answer.status, answer.problem) == (403, "recent-sign-in-required")


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("PUT", "/me/password", {"new_password": NEW}, "current_password"),
        ("PUT", "/me/email", {"email": "new@example.org"}, "password"),
        ("DELETE", "/me", {}, "password"),
    ],
)
async def test_what_needs_the_password_again(
    server: Server, method: str, path: str, body: dict[str, Any], field: str
) -> None:
    ada = await server.person("Ada")
    for given in ({}, {field: "wrong wrong"}, {field: ""}):
        answer = await ada.call(method, path, {**body, **given})
        assert (answer.status, answer.problem) == (403, "wrong-credentials")
    assert len([one for one in await server.audited() if one[0] == "session.failure"]) == 3


async def test_change_password(server: Server) -> None:
    ada = await server.person("Ada")
    browser, program = await server.browser(ada), await server.token(ada)
    code = await server.database.write(
        lambda tx: codes.issue(tx, "reset", email=ada.email, user_id=ada.id, lifetime=clock.HOUR)
    )
    body = {"current_password": PASSWORD, "new_password": NEW}
    assert (await browser.put("/me/password", body)).status == 204
    assert (await browser.get("/me")).status == 200
    assert (await ada.get("/me")).status == 401
    assert (await program.get("/me")).status == 200
    assert not await signs_in(server, ada.email, PASSWORD)
    assert await signs_in(server, ada.email, NEW)
    reset = await server.anonymous.post("/auth/password/reset", {"token": code, "password": "yet another sentence"})
    assert reset.status == 410


@pytest.mark.parametrize("new", ["short", "password123", "ada@example.org", "x" * 129])
async def test_bad_new_passwords(server: Server, new: str) -> None:
    ada = await server.person("Ada")
    answer = await ada.put("/me/password", {"current_password": PASSWORD, "new_password": new})
    assert (answer.status, answer.pointers) == (422, ["/new_password"])


async def test_an_account_without_a_password_may_choose_one(server: Server) -> None:
    ada = await server.person("Ada", password=False)
    assert (await ada.put("/me/password", {"new_password": NEW})).status == 204
    assert await signs_in(server, ada.email, NEW)


async def test_change_email_without_mail(server: Server) -> None:
    ada, _ = await server.person("Ada"), await server.person("Bob")
    answer = await ada.put("/me/email", {"password": PASSWORD, "email": " Lovelace@example.org "})
    assert (answer.json["email"], answer.json["email_verified"]) == ("Lovelace@example.org", False)
    assert (await ada.put("/me/email", {"password": PASSWORD, "email": "BOB@example.org"})).status == 409
    for wrong in ("x", "", "a\0@example.org", None):
        assert (await ada.put("/me/email", {"password": PASSWORD, "email": wrong})).pointers == ["/email"]
    assert await signs_in(server, "lovelace@example.org", PASSWORD)
    assert not await signs_in(server, "ada@example.org", PASSWORD)


async def test_another_spelling_of_an_address_stays_verified(server: Server) -> None:
    ada = await server.person("Ada")
    await server.database.write(lambda tx: users.set_email(tx, ada.user, email=ada.email, verified=True))
    answer = await ada.put("/me/email", {"password": PASSWORD, "email": "Ada@Example.org"})
    assert (answer.json["email"], answer.json["email_verified"]) == ("Ada@Example.org", True)


async def test_change_email_with_mail(start: Start, inbox: Inbox) -> None:
    server = await start(mail=inbox.config)
    ada = await server.person("Ada")
    answer = await ada.put("/me/email", {"password": PASSWORD, "email": "new@example.org"})
    assert (answer.status, answer.json["email"]) == (200, "ada@example.org")
    assert "another e-mail address" in await mailed_text(server, inbox, "ada@example.org")
    code = await mailed(server, inbox, "new@example.org")
    answer = await server.anonymous.post("/auth/email/verify", {"token": code})
    assert (answer.json["email"], answer.json["email_verified"]) == ("new@example.org", True)
    assert (await ada.get("/me")).json["email"] == "new@example.org"


async def test_an_address_that_somebody_else_took_meanwhile(start: Start, inbox: Inbox) -> None:
    server = await start(mail=inbox.config)
    ada = await server.person("Ada")
    await ada.put("/me/email", {"password": PASSWORD, "email": "bob@example.org"})
    code = await mailed(server, inbox, "bob@example.org")
    await server.person("Bob")
    assert (await server.anonymous.post("/auth/email/verify", {"token": code})).status == 409


# Sessions


async def test_sessions(server: Server) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    browser = await server.browser(ada)
    items = sorted((await ada.get("/me/sessions")).json["items"], key=lambda one: str(one["kind"]))
    assert [(one["kind"], one["current"]) for one in items] == [("app", True), ("web", False)]
    assert set(items[0]) == {"id", "kind", "device", "address", "current", "created_at", "used_at", "expires_at"}
    assert (await bob.delete(f"/me/sessions/{items[1]['id']}")).status == 404
    assert (await ada.delete(f"/me/sessions/{items[1]['id']}")).status == 204
    assert (await ada.delete(f"/me/sessions/{items[1]['id']}")).status == 404
    assert (await ada.delete("/me/sessions/x")).status == 404
    assert (await ada.delete("/me/sessions/x%00")).status == 404
    assert (await browser.get("/me")).status == 401
    assert len((await ada.get("/me/sessions")).json["items"]) == 1


async def test_ending_all_sessions_but_this(server: Server) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    browser, other = await server.browser(ada), await server.browser(ada)
    assert (await browser.delete("/me/sessions")).status == 204
    statuses = [(await one.get("/me")).status for one in (ada, browser, other, bob)]
    assert statuses == [401, 200, 401, 200]


async def test_sessions_come_in_pages(server: Server) -> None:
    ada = await server.person("Ada")
    for _ in range(4):
        await server.browser(ada)
    everything = [one["id"] for one in (await ada.get("/me/sessions")).json["items"]]
    assert len(everything) == 5
    found, path = [], "//api/v1/me/sessions?limit=2"
    while path:
        answer = await ada.get(path)
        found.append([one["id"] for one in answer.json["items"]])
        link = answer.headers.get("Link", "")
        assert bool(link) == bool(answer.json["next_cursor"])
        path = "/" + link.removesuffix('>; rel="next"').removeprefix("<") if link else ""
    assert [len(one) for one in found] == [2, 2, 1]
    assert [one for part in found for one in part] == everything


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "limit=x", "limit=-1", "limit=", "cursor=", "cursor=x", "cursor=é", "cursor=W10",
     "cursor=WyIAIl0", "cursor=WzFd", "cursor=WyJcdTAwMDAiXQ", "limit=1&limit=2", "page=2", "limit=1%00"],
)  # fmt: skip
async def test_bad_pages(server: Server, query: str) -> None:
    ada = await server.person("Ada")
    for path in ("/me/sessions", "/me/tokens", "/workspaces", f"/workspaces/{ada.workspace_id}/members",
                 f"/workspaces/{ada.workspace_id}/invitations"):  # fmt: skip
        assert (await ada.get(f"{path}?{query}")).status == 400, path


# Personal tokens


async def new_token(ada: Person, **more: Any) -> Answer:
    return await ada.post("/me/tokens", {"name": "backup", "scopes": ["read"], **more})


async def test_personal_tokens(server: Server) -> None:
    ada = await server.person("Ada")
    answer = await new_token(ada)
    assert answer.status == 201, answer
    assert answer.json["token"].startswith("mds_pat_")
    assert answer.json["hint"] == answer.json["token"][-4:]
    assert answer.headers["Location"] == f"/api/v1/me/tokens/{answer.json['id']}"
    program = Client(server.http, bearer(answer.json["token"]))
    assert (await program.get("/me")).json["id"] == ada.id
    refused = await program.patch("/me", {})
    assert (refused.status, refused.json["needed_scope"]) == (403, "write")
    await server.settled()
    (listed,) = (await ada.get("/me/tokens")).json["items"]
    assert "token" not in listed
    assert listed["used_at"] is not None
    assert (await ada.delete(f"/me/tokens/{listed['id']}")).status == 204
    assert (await ada.delete(f"/me/tokens/{listed['id']}")).status == 404
    assert (await program.get("/me")).status == 401
    assert (await ada.get("/me/tokens")).json["items"] == []


async def test_tokens_of_others_are_not_there(server: Server) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    made = (await new_token(ada)).json["id"]
    assert (await bob.get("/me/tokens")).json["items"] == []
    foreign, missing = await bob.delete(f"/me/tokens/{made}"), await bob.delete("/me/tokens/x")
    assert foreign.status == missing.status == 404
    assert foreign.json["detail"] == missing.json["detail"]


async def test_tokens_expire(frozen: Clock, server: Server) -> None:
    ada = await server.person("Ada")
    answer = await new_token(ada, expires_at="2026-01-31T14:00:00+01:00")
    assert answer.json["expires_at"] == "2026-01-31T13:00:00.000Z"
    program = Client(server.http, bearer(answer.json["token"]))
    assert (await program.get("/me")).status == 200
    frozen.forward(clock.HOUR)
    assert (await program.get("/me")).status == 401


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "a\0"}, "/name"),
        ({"name": "x" * 101}, "/name"),
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["all"]}, "/scopes/0"),
        ({"scopes": "read"}, "/scopes"),
        ({"expires_at": "tomorrow"}, "/expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"expires_at": "2099-01-01T00:00:00"}, "/expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-23:59"}, "/expires_at"),
        ({"expires_at": "0001-01-01T00:00:00+23:59"}, "/expires_at"),
        ({"expires_at": 5}, "/expires_at"),
        ({"workspace": "x"}, "/workspace"),
    ],
)
async def test_bad_tokens(server: Server, more: dict[str, Any], pointer: str) -> None:
    ada = await server.person("Ada")
    answer = await new_token(ada, **more)
    assert answer.status == 422, answer
    assert answer.pointers == [pointer]


async def test_a_secret_is_not_shown_twice(server: Server) -> None:
    ada = await server.person("Ada")
    body, key = {"name": "backup", "scopes": ["read"]}, {"Idempotency-Key": "once"}
    first = await ada.post("/me/tokens", body, headers=key)
    again = await ada.post("/me/tokens", body, headers=key)
    assert (first.status, again.status, again.problem) == (201, 409, "idempotency-secret")
    assert again.json["id"] == first.json["id"]
    other = await ada.post("/me/tokens", {**body, "name": "x"}, headers=key)
    assert (other.status, other.problem) == (422, "idempotency-mismatch")


async def test_a_token_for_one_workspace(server: Server) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    other = await server.workspace(ada)
    answer = await new_token(ada, scopes=["read", "write", "admin"], workspace_id=other)
    program = Client(server.http, bearer(answer.json["token"]))
    assert [one["id"] for one in (await program.get("/workspaces")).json["items"]] == [other]
    assert (await program.get(f"/workspaces/{other}")).status == 200
    assert (await program.get(f"/workspaces/{ada.workspace_id}")).status == 404
    assert (await program.patch(f"/workspaces/{ada.workspace_id}", {"name": "x"})).status == 404
    for method, path in (
        ("PATCH", "/me"),
        ("GET", "/me/sessions"),
        ("DELETE", "/me/sessions"),
        ("DELETE", f"/me/sessions/{ada.principal.credential_id}"),
        ("GET", "/me/tokens"),
        ("DELETE", f"/me/tokens/{answer.json['id']}"),
        ("POST", "/workspaces"),
    ):
        body = {"name": "x"} if method == "POST" else {} if method == "PATCH" else None
        assert (await program.call(method, path, body)).status == 403, path
    foreign = await new_token(ada, workspace_id=bob.workspace_id)
    missing = await new_token(ada, workspace_id="x\0")
    assert (foreign.status, missing.status) == (404, 404)


@pytest.mark.parametrize(("scopes", "statuses"), [(["read"], [200, 403, 403]), (["write"], [403, 200, 403]),
                                                  (["admin"], [403, 403, 200])])  # fmt: skip
async def test_scopes(server: Server, scopes: list[Any], statuses: list[int]) -> None:
    ada = await server.person("Ada")
    program = await server.token(ada, *scopes)
    found = [await program.get("/workspaces"), await program.patch("/me", {}), await program.get("/me/sessions")]
    assert [one.status for one in found] == statuses


# Leaving for good


async def test_delete(server: Server) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    browser, program = await server.browser(ada), await server.token(ada)
    await server.join(bob, ada, "editor")
    answer = await browser.delete("/me", {"password": PASSWORD})
    assert answer.status == 204
    assert answer.headers["Set-Cookie"].startswith("mdserver=;")
    for one in (ada, browser, program):
        assert (await one.get("/me")).status == 401
    assert not await signs_in(server, ada.email, PASSWORD)
    members = (await bob.get(f"/workspaces/{bob.workspace_id}/members")).json["items"]
    assert [one["user"]["id"] for one in members] == [bob.id]
    assert await server.database.read(lambda db: db.value(int, "SELECT count(*) FROM workspaces")) == 1
    assert (await server.anonymous.post("/auth/signup", {
        "email": ada.email, "password": NEW, "display_name": "Ada"})).status == 201  # fmt: skip


async def test_the_only_owner_of_a_shared_workspace_stays(server: Server) -> None:
    ada = await server.person("Ada")
    await server.member(ada, "Bob", "admin")
    answer = await ada.delete("/me", {"password": PASSWORD})
    assert (answer.status, answer.problem) == (409, "last-owner")
    assert "Ada's notes" in answer.json["detail"]
    assert answer.json["workspaces"] == [{"id": ada.workspace_id, "name": "Ada's notes"}]


async def test_the_last_administrator_stays(server: Server) -> None:
    ada, bob = await server.person("Ada", admin=True), await server.person("Bob", admin=True)
    await server.database.write(lambda tx: users.disable(tx, bob.user))
    assert (await ada.delete("/me", {"password": PASSWORD})).status == 409
    await server.database.write(lambda tx: users.enable(tx, bob.user))
    assert (await ada.delete("/me", {"password": PASSWORD})).status == 204


async def test_a_cookie_over_https(start: Start) -> None:
    import ipaddress

    from mdserver.config import Server as ServerSection

    trusted = ServerSection(trusted_proxies=(ipaddress.ip_network("127.0.0.1/32"),))
    server = await start(url="https://notes.example.org", server=trusted, accounts=Accounts(signup="open"))
    ada = await server.person("Ada")
    https = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}
    answer = await server.anonymous.post(
        "/auth/login", {"email": ada.email, "password": PASSWORD, "cookie": True}, headers=https
    )
    given = answer.headers["Set-Cookie"]
    assert given.startswith("__Host-mdserver=mds_ws_")
    assert given.endswith("; Path=/; Max-Age=15552000; HttpOnly; SameSite=Lax; Secure")
    cookie = {"Cookie": given.partition(";")[0], **https}
    browser = Client(server.http, cookie)
    assert (await browser.get("/me")).status == 200
    plain = cookie["Cookie"].removeprefix("__Host-")
    assert (await Client(server.http, {**https, "Cookie": plain}).get("/me")).status == 401
    own = {"X-MDServer": "1", "Origin": "https://notes.example.org"}
    assert (await browser.patch("/me", {}, headers=own)).status == 200
    assert (await browser.patch("/me", {}, headers={**own, "Origin": "http://notes.example.org"})).status == 403
    (session,) = [one for one in (await browser.get("/me/sessions")).json["items"] if one["current"]]
    assert session["address"] == "203.0.113.9"
