"""Setup, sign-up, sign-in, refreshing, reset, verification: the happy paths and everything else."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import pytest

from mdserver import clock, crypto
from mdserver.config import Accounts, Rate, Rates
from mdserver.model import audit, codes, users
from mdserver.model.audit import Origin
from mdserver.store.db import Database, Tx
from mdserver.web.setup import SetupCode
from mdserver.web.signin import SIGNIN
from tests.conftest import Clock

from .conftest import CHEAP, PASSWORD, PUBLIC, Answer, Client, Inbox, Server, Start, bearer

ADA = {"email": "ada@example.org", "password": PASSWORD, "display_name": "Ada"}


def without(answer: Answer) -> Any:
    """A problem's body without what names the request."""
    return {key: value for key, value in answer.json.items() if key != "request_id"}


# Setup


async def test_setup_makes_one_administrator(start: Start) -> None:
    code = SetupCode.new(None)
    server = await start(setup=code)
    body = {**ADA, "token": code.code}
    answer = await server.anonymous.post("/setup", body)
    assert answer.status == 201, answer
    assert answer.json["user"]["is_admin"]
    assert answer.headers["Cache-Control"] == "no-store"
    me = Client(server.http, bearer(answer.json["access_token"]))
    assert (await me.get("/me")).json == answer.json["user"]
    assert [one["name"] for one in (await me.get("/workspaces")).json["items"]] == ["Ada's notes"]
    again = await server.anonymous.post("/setup", {**body, "email": "eve@example.org"})
    assert again.status == 409
    assert ("user.setup", answer.json["user"]["id"], answer.json["user"]["id"]) in await server.audited()


async def test_setup_needs_its_code_in_time(frozen: Clock, start: Start) -> None:
    code = SetupCode.new(None)
    server = await start(setup=code)
    for wrong in ("", "x", code.code + "x", "\0", "é"):
        answer = await server.anonymous.post("/setup", {**ADA, "token": wrong})
        assert (answer.status, answer.problem) == (401, "wrong-credentials")
    frozen.forward(30 * clock.MINUTE)
    assert (await server.anonymous.post("/setup", {**ADA, "token": code.code})).status == 401


async def test_a_server_without_a_code_is_not_set_up_by_nothing(server: Server) -> None:
    assert (await server.anonymous.post("/setup", {**ADA, "token": ""})).status == 401


async def test_a_bad_setup_keeps_the_code_good(start: Start) -> None:
    code = SetupCode.new(None)
    server = await start(setup=code)
    answer = await server.anonymous.post("/setup", {**ADA, "token": code.code, "password": "short"})
    assert (answer.status, answer.pointers) == (422, ["/password"])
    assert (await server.anonymous.post("/setup", {**ADA, "token": code.code})).status == 201


# Sign-up


async def test_sign_up_without_mail(server: Server) -> None:
    answer = await server.anonymous.post("/auth/signup", ADA)
    assert answer.status == 201, answer
    assert set(answer.json) == {"access_token", "refresh_token", "token_type", "expires_in", "user"}
    assert (answer.json["token_type"], answer.json["expires_in"]) == ("Bearer", 600)
    assert not answer.json["user"]["email_verified"]
    assert not answer.json["user"]["is_admin"]
    again = await server.anonymous.post("/auth/signup", {**ADA, "email": " ADA@example.ORG "})
    assert again.status == 409


@pytest.mark.parametrize(
    ("change", "status", "pointer"),
    [
        ({"email": "nobody"}, 422, "/email"),
        ({"email": ""}, 422, "/email"),
        ({"email": "a\0b@example.org"}, 422, "/email"),
        ({"email": "x" * 300 + "@example.org"}, 422, "/email"),
        ({"email": 5}, 422, "/email"),
        ({"email": None}, 422, "/email"),
        ({"display_name": "  "}, 422, "/display_name"),
        ({"display_name": "x" * 101}, 422, "/display_name"),
        ({"display_name": "a\nb"}, 422, "/display_name"),
        ({"display_name": "a\0"}, 422, "/display_name"),
        ({"password": "short"}, 422, "/password"),
        ({"password": "password123"}, 422, "/password"),
        ({"password": "ADA@example.org"}, 422, "/password"),
        ({"password": "x" * 500_000}, 422, "/password"),
        ({"password": ["x"]}, 422, "/password"),
        ({"is_admin": True}, 422, "/is_admin"),
        ({"cookie": 1}, 422, "/cookie"),
        ({"password": "x" * (1 << 20)}, 413, None),
    ],
)
async def test_bad_sign_ups(server: Server, change: dict[str, Any], status: int, pointer: str | None) -> None:
    answer = await server.anonymous.post("/auth/signup", {**ADA, **change})
    assert (answer.status, answer.problem != "") == (status, True), answer
    if pointer:
        assert answer.pointers == [pointer]


@pytest.mark.parametrize("path", ["/setup", "/auth/signup", "/auth/login", "/auth/refresh", "/auth/password/forgot",
                                  "/auth/password/reset", "/auth/email/verify", "/auth/email/resend"])  # fmt: skip
async def test_bodies_that_are_none(server: Server, path: str) -> None:
    nobody = server.anonymous
    assert (await nobody.post(path, b"{")).status == 400
    assert (await nobody.post(path, b'{"email": "\\ud800"}')).status in (400, 422)
    assert (await nobody.post(path, b"\xff")).status == 400
    assert (await nobody.post(path, b"[" * 100_000)).status in (400, 422)
    assert (await nobody.post(path, [])).status == 422
    assert (await nobody.post(path, {})).status == 422
    assert (await nobody.post(path)).status == 415
    assert (await nobody.post(path, b"email=x", headers={"Content-Type": "text/plain"})).status == 415
    assert (await nobody.get(path)).status == 405


async def test_sign_up_can_be_closed(start: Start) -> None:
    server = await start(accounts=Accounts(signup="closed"))
    ada = await server.person("Bob")
    token = (await ada.post(f"/workspaces/{ada.workspace_id}/invitations", {"role": "viewer"})).json["token"]
    for body in (ADA, {**ADA, "invitation": token}):
        answer = await server.anonymous.post("/auth/signup", body)
        assert (answer.status, answer.problem) == (403, "forbidden")


async def test_sign_up_by_invitation(start: Start) -> None:
    server = await start(accounts=Accounts(signup="invite"))
    bob = await server.person("Bob")
    path = f"/workspaces/{bob.workspace_id}/invitations"
    assert (await server.anonymous.post("/auth/signup", ADA)).status == 403
    assert (await server.anonymous.post("/auth/signup", {**ADA, "invitation": "mds_in_x"})).status == 404
    bound = (await bob.post(path, {"role": "viewer", "email": "eve@example.org"})).json["token"]
    assert (await server.anonymous.post("/auth/signup", {**ADA, "invitation": bound})).status == 403
    token = (await bob.post(path, {"role": "editor"})).json["token"]
    answer = await server.anonymous.post("/auth/signup", {**ADA, "invitation": token})
    assert answer.status == 201, answer
    ada = Client(server.http, bearer(answer.json["access_token"]))
    roles = {one["name"]: one["role"] for one in (await ada.get("/workspaces")).json["items"]}
    assert roles == {"Bob's notes": "editor", "Ada's notes": "owner"}
    used = await server.anonymous.post("/auth/signup", {**ADA, "email": "eve@example.org", "invitation": token})
    assert used.status == 410


async def test_sign_up_with_mail(start: Start, inbox: Inbox) -> None:
    server = await start(mail=inbox.config)
    await server.person("Bob")
    new = await server.anonymous.post("/auth/signup", ADA)
    known = await server.anonymous.post("/auth/signup", {**ADA, "email": "BOB@example.org", "display_name": "Bob"})
    assert new.status == known.status == 202
    assert new.body == known.body
    code, told = await mailed(server, inbox, "ada@example.org"), await mailed_text(server, inbox, "BOB@example.org")
    assert "have an account already" in told
    assert "#code" not in told
    assert (await login(server)).status == 401
    answer = await server.anonymous.post("/auth/email/verify", {"token": code})
    assert answer.status == 200, answer
    assert answer.json["email_verified"]
    assert (await login(server)).status == 200
    again = await server.anonymous.post("/auth/email/verify", {"token": code})
    assert (again.status, again.problem) == (410, "gone")


async def test_a_sign_up_can_be_mailed_again_and_ends_the_first_code(start: Start, inbox: Inbox) -> None:
    server = await start(mail=inbox.config)
    await server.anonymous.post("/auth/signup", ADA)
    first = await mailed(server, inbox, "ada@example.org")
    answers = [await server.anonymous.post("/auth/email/resend", {"email": one}) for one in ("ada@example.org", "x@y")]
    assert [one.status for one in answers] == [202, 202]
    assert answers[0].body == answers[1].body
    second = await mailed(server, inbox, "ada@example.org", 2)
    assert (await server.anonymous.post("/auth/email/verify", {"token": first})).status == 410
    assert (await server.anonymous.post("/auth/email/verify", {"token": second})).status == 200
    assert not [to for to, _ in inbox.received if to == "x@y"]


async def test_codes_expire(frozen: Clock, start: Start, inbox: Inbox) -> None:
    server = await start(mail=inbox.config)
    await server.anonymous.post("/auth/signup", ADA)
    code = await mailed(server, inbox, "ada@example.org")
    frozen.forward(clock.DAY)
    assert (await server.anonymous.post("/auth/email/verify", {"token": code})).status == 410


async def test_an_invitation_that_falls_while_the_mail_travels(start: Start, inbox: Inbox) -> None:
    server = await start(mail=inbox.config, accounts=Accounts(signup="invite"))
    bob = await server.person("Bob")
    made = (await bob.post(f"/workspaces/{bob.workspace_id}/invitations", {"role": "editor"})).json
    assert (await server.anonymous.post("/auth/signup", {**ADA, "invitation": made["token"]})).status == 202
    code = await mailed(server, inbox, "ada@example.org")
    await bob.delete(f"/workspaces/{bob.workspace_id}/invitations/{made['id']}")
    assert (await server.anonymous.post("/auth/email/verify", {"token": code})).status == 410
    with pytest.raises(Exception, match="no account"):
        await server.database.read(lambda db: users.find_by_email(db, "ada@example.org"))


# Sign-in


async def login(server: Server, email: str = "ada@example.org", password: str = PASSWORD, **more: Any) -> Answer:
    return await server.anonymous.post("/auth/login", {"email": email, "password": password, **more})


async def test_login(server: Server) -> None:
    ada = await server.person("Ada")
    answer = await login(server, " ADA@Example.org")
    assert answer.status == 200, answer
    assert answer.json["user"]["id"] == ada.id
    assert answer.json["access_token"].startswith("mds_at_")
    assert answer.json["refresh_token"].startswith("mds_rt_")
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["Cache-Control"] == "no-store"
    assert (await Client(server.http, bearer(answer.json["access_token"])).get("/me")).status == 200


async def test_every_failure_looks_alike(server: Server) -> None:
    await server.person("Ada")
    bob, _ = await server.person("Bob"), await server.person("Oidc", password=False)
    await server.person("Root", admin=True)
    await server.database.write(lambda tx: users.disable(tx, bob.user))
    answers = [
        await login(server, password="wrong wrong"),
        await login(server, email="nobody@example.org"),
        await login(server, email="bob@example.org"),
        await login(server, email="oidc@example.org"),
        await login(server, email="oidc@example.org", password=""),
        await login(server, password="x" * 100_000),
    ]
    assert {one.status for one in answers} == {401}
    assert all(without(one) == without(answers[0]) for one in answers)
    assert answers[0].problem == "wrong-credentials"
    assert len([one for one in await server.audited() if one[0] == "session.failure"]) == len(answers)


async def test_passwords_never_reach_the_audit_log(server: Server) -> None:
    await login(server, email="nobody@example.org", password="my secret sentence")
    rows = await server.database.read(lambda db: db.rows("SELECT * FROM audit"))
    assert rows
    assert "secret sentence" not in str(rows)
    assert "nobody@" not in str(rows)


async def test_attempts_are_limited_and_a_right_one_forgives(start: Start) -> None:
    server = await start(rates=Rates(sign_in_account=Rate(3, 900), writes=None))
    await server.person("Ada")
    for _ in range(2):
        assert (await login(server, password="wrong wrong")).status == 401
    assert (await login(server)).status == 200
    for _ in range(3):
        assert (await login(server, password="wrong wrong")).status == 401
    stopped = await login(server)
    assert (stopped.status, stopped.problem) == (429, "too-many-requests")
    assert int(stopped.headers["Retry-After"]) > 0
    unknown = [await login(server, email="nobody@example.org") for _ in range(4)]
    assert [one.status for one in unknown] == [401, 401, 401, 429]
    assert without(unknown[3])["detail"] == without(stopped)["detail"]


async def test_a_restart_forgives_nobody(start: Start) -> None:
    limited = Rates(sign_in_account=Rate(3, 900), sign_in_address=Rate(10, 900), writes=None)
    before = await start(rates=limited)
    await before.person("Ada")
    await before.person("Bob")
    assert (await login(before, password="wrong wrong")).status == 401
    assert (await login(before)).status == 200  # forgives the one before it
    await before.database.write(lambda tx: tx.run("DELETE FROM sessions"))  # known here: it would count apart
    for _ in range(3):
        assert (await login(before, password="wrong wrong")).status == 401
    for number in range(3):
        assert (await login(before, email=f"{number}@example.org")).status == 401

    after = await start(rates=limited)
    assert (await login(after)).status == 429  # three wrong ones before the restart
    assert (await login(after, email="bob@example.org", password="wrong wrong")).status == 401
    assert (await login(after, email="bob@example.org")).status == 429  # and too many from this address: 10 in all

    clock.set_source(lambda: time.time_ns() // 1_000_000 + 16 * clock.MINUTE)
    try:
        later = await start(rates=limited)
        assert (await login(later)).status == 200
    finally:
        clock.set_source(None)


async def test_attempts_of_one_millisecond(database: Database, frozen: Clock) -> None:
    """Their ids say nothing of their order."""
    origin = Origin(address="192.0.2.1", request_id="test", device="test")

    def note(tx: Tx) -> None:
        for action in ("session.failure", "session.start", "session.failure"):
            audit.record(tx, origin, action, actor_id=None, obj="somebody")

    for _ in range(10):
        await database.write(note)
        frozen.forward(1)
    found = await database.read(lambda db: audit.attempts(db, since=frozen.now - clock.MINUTE))
    assert [one.is_right for one in found] == [True, False, False] * 10


async def test_strangers_do_not_lock_anybody_out(start: Start) -> None:
    server = await start(rates=Rates(sign_in_account=Rate(2, 900), writes=None))
    ada = await server.person("Ada")
    for _ in range(2):
        await login(server, password="wrong wrong")
    assert (await login(server)).status == 429
    await server.database.write(
        lambda tx: tx.run("UPDATE sessions SET address = '127.0.0.1' WHERE user_id = $1", ada.id)
    )
    assert (await login(server)).status == 200


async def test_an_address_is_limited_over_all_accounts(start: Start) -> None:
    server = await start(rates=Rates(sign_in_address=Rate(3, 900), writes=None))
    statuses = [(await login(server, email=f"{n}@example.org")).status for n in range(4)]
    assert statuses == [401, 401, 401, 429]


async def test_wrong_passwords_wait_longer_and_longer(server: Server) -> None:
    await server.person("Ada")
    server.app[SIGNIN].guesses.pauses = (0.0, 0.1, 0.3)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        await login(server, password="wrong wrong")
        times.append(time.perf_counter() - started)
    assert times[0] < 0.1 <= times[1] < 0.3 <= times[2]


async def test_sign_up_and_reset_are_limited(start: Start) -> None:
    server = await start(rates=Rates(account_mail=Rate(2, 3600), writes=None))
    statuses = [
        (await server.anonymous.post("/auth/signup", ADA)).status,
        (await server.anonymous.post("/auth/password/forgot", {"email": "a@b"})).status,
        (await server.anonymous.post("/auth/password/forgot", {"email": "a@b"})).status,
        (await server.anonymous.post("/auth/email/resend", {"email": "a@b"})).status,
    ]
    assert statuses == [201, 202, 429, 429]


async def test_a_hash_of_other_parameters_is_renewed(server: Server) -> None:
    ada = await server.person("Ada")
    other = crypto.Passwords(CHEAP._replace(memory=16))
    old = await other.hash(PASSWORD)
    other.close()
    await server.database.write(lambda tx: users.set_password(tx, ada.user, password_hash=old))
    assert (await login(server)).status == 200
    renewed = await server.database.read(lambda db: users.login_of(db, ada.id))
    assert renewed.password_hash is not None
    assert "m=8," in renewed.password_hash
    assert (await login(server)).status == 200


# Browsers


async def test_a_browser_gets_a_cookie_and_no_token(server: Server) -> None:
    await server.person("Ada")
    answer = await login(server, cookie=True)
    assert set(answer.json) == {"user"}
    given = answer.headers["Set-Cookie"]
    assert re.fullmatch(r"mdserver=mds_ws_[\w-]{43}; Path=/; Max-Age=15552000; HttpOnly; SameSite=Lax", given)
    browser = Client(server.http, {"Cookie": given.partition(";")[0]})
    assert (await browser.get("/me")).status == 200


async def test_a_cookie_changes_nothing_on_behalf_of_other_pages(server: Server) -> None:
    ada = await server.person("Ada")
    cookie = (await server.browser(ada)).headers["Cookie"]
    allowed: list[dict[str, str]] = [
        {"X-MDServer": "1", "Origin": PUBLIC},
        {"X-MDServer": "1", "Sec-Fetch-Site": "same-origin"},
        {"X-MDServer": "1", "Sec-Fetch-Site": "none"},
    ]
    refused: list[dict[str, str]] = [
        {},
        {"X-MDServer": "1"},
        {"Origin": PUBLIC},
        {"Sec-Fetch-Site": "same-origin"},
        {"X-MDServer": "0", "Origin": PUBLIC},
        {"X-MDServer": "1", "Origin": "https://evil.example"},
        {"X-MDServer": "1", "Origin": PUBLIC + ".evil.example"},
        {"X-MDServer": "1", "Origin": "null"},
        {"X-MDServer": "1", "Sec-Fetch-Site": "cross-site"},
        {"X-MDServer": "1", "Sec-Fetch-Site": "same-site"},
    ]
    for headers in allowed:
        assert (await Client(server.http, {"Cookie": cookie, **headers}).patch("/me", {})).status == 200, headers
    for headers in refused:
        browser = Client(server.http, {"Cookie": cookie, **headers})
        assert (await browser.patch("/me", {})).status == 403, headers
        assert (await browser.get("/me")).status == 200


async def test_tokens_stay_in_their_place(server: Server) -> None:
    ada = await server.person("Ada")
    cookie = (await server.browser(ada)).headers["Cookie"].partition("=")[2]
    assert (await Client(server.http, bearer(cookie)).get("/me")).status == 401
    for token in (ada.pair.access_token, ada.pair.refresh_token):
        assert (await Client(server.http, {"Cookie": f"mdserver={token}"}).get("/me")).status == 401
    assert (await Client(server.http, bearer(ada.pair.refresh_token)).get("/me")).status == 401


async def test_a_dead_cookie_does_not_stand_in_the_way(server: Server) -> None:
    await server.person("Ada")
    dead = Client(server.http, {"Cookie": "other=1; mdserver=mds_ws_dead"})
    assert (await dead.get("/me")).status == 401
    answer = await dead.post("/auth/login", {"email": "ada@example.org", "password": PASSWORD, "cookie": True})
    assert answer.status == 200


async def test_signing_in_again_in_a_browser_replaces_its_session(server: Server) -> None:
    ada = await server.person("Ada")
    browser = await server.browser(ada)
    body = {"email": ada.email, "password": PASSWORD, "cookie": True}
    assert (await browser.post("/auth/login", body)).status == 200
    assert (await browser.get("/me")).status == 401


async def test_credentials_that_are_none(server: Server) -> None:
    for header in ("Bearer mds_at_x", "Bearer", "Bearer ", "bearer mds_pat_x", "Bearer x y", "Bearer é", "Bearer \x80"):
        answer = await Client(server.http, {"Authorization": header}).get("/me")
        assert (answer.status, answer.problem) == (401, "signed-out")
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    answer = await Client(server.http, {"Authorization": "Basic eDp5"}).get("/me")
    assert answer.status == 401
    answer = await server.anonymous.get("/me")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="mdserver"'


async def test_logout(server: Server) -> None:
    ada = await server.person("Ada")
    browser = await server.browser(ada)
    assert (await browser.post("/auth/logout", headers={"X-MDServer": "0"})).status == 403
    answer = await browser.post("/auth/logout")
    assert answer.status == 204
    assert answer.headers["Set-Cookie"].startswith("mdserver=; Path=/; Max-Age=0;")
    assert (await browser.get("/me")).status == 401
    program = await server.token(ada)
    assert (await program.post("/auth/logout")).status == 403
    assert (await ada.post("/auth/logout")).status == 204
    assert (await ada.get("/me")).status == 401
    assert (await server.anonymous.post("/auth/logout")).status == 401
    refreshed = await server.anonymous.post("/auth/refresh", {"refresh_token": ada.pair.refresh_token})
    assert refreshed.status == 401


# Refreshing


async def refresh(server: Server, token: str, agent: str = "app/1") -> Answer:
    return await server.anonymous.post("/auth/refresh", {"refresh_token": token}, headers={"User-Agent": agent})


async def test_refresh_rotates(frozen: Clock, server: Server) -> None:
    ada = await server.person("Ada")
    frozen.forward(10 * clock.MINUTE)
    assert (await ada.get("/me")).status == 401
    answer = await refresh(server, ada.pair.refresh_token)
    assert answer.status == 200, answer
    assert answer.json["user"]["id"] == ada.id
    assert (await Client(server.http, bearer(answer.json["access_token"])).get("/me")).status == 200
    assert (await refresh(server, answer.json["refresh_token"])).status == 200


async def test_a_stale_access_token_does_not_stand_in_the_way(frozen: Clock, server: Server) -> None:
    ada = await server.person("Ada")
    frozen.forward(10 * clock.MINUTE)
    assert (await ada.post("/auth/refresh", {"refresh_token": ada.pair.refresh_token})).status == 200


async def test_the_same_client_may_repeat_a_refresh_whose_answer_was_lost(frozen: Clock, server: Server) -> None:
    ada = await server.person("Ada")
    first = await refresh(server, ada.pair.refresh_token)
    frozen.forward(30 * clock.SECOND)
    again = await refresh(server, ada.pair.refresh_token)
    assert again.status == 200
    assert again.json["access_token"] == first.json["access_token"]
    assert again.json["refresh_token"] == first.json["refresh_token"]
    assert again.json["expires_in"] == 570


@pytest.mark.parametrize(("wait", "agent"), [(30_001, "app/1"), (1, "thief/1")])
async def test_a_token_that_two_have_ends_the_session(frozen: Clock, server: Server, wait: int, agent: str) -> None:
    ada = await server.person("Ada")
    first = (await refresh(server, ada.pair.refresh_token)).json
    frozen.forward(wait)
    answer = await refresh(server, ada.pair.refresh_token, agent)
    assert (answer.status, answer.problem) == (401, "signed-out")
    assert (await Client(server.http, bearer(first["access_token"])).get("/me")).status == 401
    assert (await refresh(server, first["refresh_token"])).status == 401
    assert ("session.reuse", ada.principal.credential_id, ada.id) in await server.audited()


async def test_sessions_expire(frozen: Clock, server: Server) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    frozen.forward(29 * clock.DAY)
    token = (await refresh(server, ada.pair.refresh_token)).json["refresh_token"]
    frozen.forward(29 * clock.DAY)
    assert (await refresh(server, bob.pair.refresh_token)).status == 401  # idle for 30 days
    for _ in range(5):
        answer = await refresh(server, token)
        assert answer.status == 200
        token = answer.json["refresh_token"]
        frozen.forward(29 * clock.DAY)
    assert (await refresh(server, token)).status == 401  # 180 days after signing in


async def test_disabled_accounts_do_not_refresh(server: Server) -> None:
    ada, _ = await server.person("Ada"), await server.person("Root", admin=True)
    await server.database.write(lambda tx: users.disable(tx, ada.user))
    assert (await ada.get("/me")).status == 401
    assert (await refresh(server, ada.pair.refresh_token)).status == 401


@pytest.mark.parametrize("token", ["", "x", "mds_rt_x", "\0", "mds_at_"])
async def test_refresh_tokens_that_are_none(server: Server, token: str) -> None:
    assert (await refresh(server, token)).status == 401


# Forgotten passwords


async def test_reset(start: Start, inbox: Inbox) -> None:
    server = await start(mail=inbox.config)
    ada = await server.person("Ada")
    answers = [
        await server.anonymous.post("/auth/password/forgot", {"email": one})
        for one in ("ADA@example.org", "nobody@example.org")
    ]
    assert [one.status for one in answers] == [202, 202]
    assert answers[0].body == answers[1].body
    code = await mailed(server, inbox, "ada@example.org")
    body = {"token": code, "password": "another long sentence"}
    weak = await server.anonymous.post("/auth/password/reset", {**body, "password": "ada@example.org"})
    assert (weak.status, weak.pointers) == (422, ["/password"])
    assert (await server.anonymous.post("/auth/password/reset", body)).status == 204
    assert (await server.anonymous.post("/auth/password/reset", body)).status == 410
    assert (await ada.get("/me")).status == 401
    assert (await login(server)).status == 401
    answer = await login(server, password="another long sentence")
    assert answer.status == 200
    assert answer.json["user"]["email_verified"]
    assert "was changed" in await mailed_text(server, inbox, "ada@example.org", 2)
    assert [to for to, _ in inbox.received] == ["ada@example.org"] * 2


async def test_a_later_reset_ends_the_earlier_one(start: Start, inbox: Inbox) -> None:
    server = await start(mail=inbox.config)
    await server.person("Ada")
    await server.anonymous.post("/auth/password/forgot", {"email": "ada@example.org"})
    first = await mailed(server, inbox, "ada@example.org")
    await server.anonymous.post("/auth/password/forgot", {"email": "ada@example.org"})
    second = await mailed(server, inbox, "ada@example.org", 2)
    body = {"password": "another long sentence"}
    assert (await server.anonymous.post("/auth/password/reset", {**body, "token": first})).status == 410
    assert (await server.anonymous.post("/auth/password/reset", {**body, "token": second})).status == 204


async def test_reset_links_expire_and_are_for_resetting(frozen: Clock, server: Server) -> None:
    ada = await server.person("Ada")

    async def code(purpose: codes.Purpose) -> str:
        return await server.database.write(
            lambda tx: codes.issue(tx, purpose, email=ada.email, user_id=ada.id, lifetime=30 * clock.MINUTE)
        )

    body = {"password": "another long sentence"}
    for token in (await code("email"), "x", "", "\0"):
        assert (await server.anonymous.post("/auth/password/reset", {**body, "token": token})).status == 410
    assert (await server.anonymous.post("/auth/email/verify", {"token": await code("reset")})).status == 410
    expiring = await code("reset")
    frozen.forward(30 * clock.MINUTE)
    assert (await server.anonymous.post("/auth/password/reset", {**body, "token": expiring})).status == 410


async def test_the_disabled_get_no_reset(start: Start, inbox: Inbox) -> None:
    server = await start(mail=inbox.config)
    ada, _ = await server.person("Ada"), await server.person("Root", admin=True)
    await server.anonymous.post("/auth/password/forgot", {"email": "ada@example.org"})
    code = await mailed(server, inbox, "ada@example.org")
    await server.database.write(lambda tx: users.disable(tx, ada.user))
    await server.anonymous.post("/auth/password/forgot", {"email": "ada@example.org"})
    await server.settled()
    assert len(inbox.received) == 1
    body = {"token": code, "password": "another long sentence"}
    assert (await server.anonymous.post("/auth/password/reset", body)).status == 410


async def test_without_mail_forgetting_answers_alike(server: Server) -> None:
    await server.person("Ada")
    for email in ("ada@example.org", "nobody@example.org"):
        assert (await server.anonymous.post("/auth/password/forgot", {"email": email})).status == 202
        assert (await server.anonymous.post("/auth/email/resend", {"email": email})).status == 202
    assert await server.database.read(lambda db: db.value(int, "SELECT count(*) FROM codes")) == 0


# All at once


async def test_one_of_many_setups_wins(start: Start) -> None:
    code = SetupCode.new(None)
    server = await start(setup=code)
    answers = await asyncio.gather(
        *(server.anonymous.post("/setup", {**ADA, "email": f"{n}@example.org", "token": code.code}) for n in range(5))
    )
    assert sorted(one.status for one in answers) == [201, 409, 409, 409, 409]


async def test_one_of_many_sign_ups_wins(server: Server) -> None:
    answers = await asyncio.gather(*(server.anonymous.post("/auth/signup", ADA) for _ in range(5)))
    assert sorted(one.status for one in answers) == [201, 409, 409, 409, 409]


async def test_a_client_that_refreshes_twice_at_once_gets_one_pair(server: Server) -> None:
    ada = await server.person("Ada")
    answers = await asyncio.gather(*(refresh(server, ada.pair.refresh_token) for _ in range(5)))
    assert {one.status for one in answers} == {200}
    assert len({one.json["refresh_token"] for one in answers}) == 1


async def test_a_code_is_used_once_by_many(server: Server) -> None:
    ada = await server.person("Ada")
    code = await server.database.write(
        lambda tx: codes.issue(tx, "reset", email=ada.email, user_id=ada.id, lifetime=clock.HOUR)
    )
    answers = await asyncio.gather(
        *(
            server.anonymous.post("/auth/password/reset", {"token": code, "password": f"a long sentence {n}"})
            for n in range(5)
        )
    )
    assert sorted(one.status for one in answers) == [204, 410, 410, 410, 410]


async def test_a_sign_in_that_a_password_change_overtakes(server: Server) -> None:
    ada = await server.person("Ada")
    server.app[SIGNIN].guesses.pauses = (0.2,)
    signing_in = asyncio.ensure_future(login(server))
    await asyncio.sleep(0.1)  # the account has been read, the password waits to be evaluated
    await server.database.write(lambda tx: users.set_password(tx, ada.user, password_hash="$argon2id$other"))
    assert (await signing_in).status == 401


# Remembering who asks


async def test_what_is_remembered_is_bounded(server: Server) -> None:
    authenticator = server.app[SIGNIN]
    authenticator._most = 3
    people = [await server.person(name) for name in ("Ada", "Bob", "Cyd", "Dan", "Eve")]
    for one in people:
        assert (await one.get("/me")).json["id"] == one.id
    assert len(authenticator._known) == 3
    assert len(authenticator._of) == 6


async def test_names_and_administration_change_at_once(server: Server) -> None:
    ada = await server.person("Ada")
    assert (await ada.get("/me")).status == 200
    await server.database.write(lambda tx: users.promote(tx, ada.user))
    principal = await server.app[SIGNIN].principal(ada.pair.access_token)
    assert principal is not None
    assert principal.is_admin


async def test_use_is_noted_once_a_minute(frozen: Clock, server: Server) -> None:
    ada = await server.person("Ada")
    browser = await server.browser(ada)

    async def used() -> tuple[int, int]:
        await server.settled()
        rows = await server.database.read(
            lambda db: db.rows("SELECT used_at, expires_at FROM sessions WHERE kind = 'web'")
        )
        return rows[0][0], rows[0][1]

    begun, ends = await used()
    frozen.forward(59 * clock.SECOND)
    await browser.get("/me")
    assert await used() == (begun, ends)
    frozen.forward(clock.MINUTE)
    await browser.get("/me")
    assert await used() == (frozen.now, ends + 119 * clock.SECOND)
    frozen.forward(14 * clock.DAY - 1)
    assert (await browser.get("/me")).status == 200
    await server.settled()
    frozen.forward(14 * clock.DAY)
    assert (await browser.get("/me")).status == 401


async def test_a_browser_session_ends_after_all(frozen: Clock, server: Server) -> None:
    ada = await server.person("Ada")
    browser = await server.browser(ada)
    for _ in range(13):
        frozen.forward(13 * clock.DAY)
        assert (await browser.get("/me")).status == 200
        await server.settled()
    frozen.forward(11 * clock.DAY)
    assert (await browser.get("/me")).status == 401


async def mailed_text(server: Server, inbox: Inbox, to: str, number: int = 1) -> str:
    """The n-th mail to this address."""
    return await inbox.wait(server, to, number)


async def mailed(server: Server, inbox: Inbox, to: str, number: int = 1) -> str:
    """The code in the n-th mail to this address."""
    found = re.search(r"#code=(mds_ot_\S+)", await mailed_text(server, inbox, to, number))
    assert found
    return found[1]
