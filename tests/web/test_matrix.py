"""The authorisation matrix: every route of the application, for everybody, in every state of what it is about.

What is expected derives from what the route declares (its policy and scope), from who asks and from the state alone. A
route with a policy, a path parameter or a field of its body that is not known here fails: teach the test what it means.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Literal

import msgspec
import pytest
import pytest_asyncio
from aiohttp import DummyCookieJar, web
from aiohttp.test_utils import TestClient, TestServer

from mdserver.app import ROUTES as RESOURCES
from mdserver.app import create_app
from mdserver.config import Accounts, Config, Log, Rates
from mdserver.config import Server as ServerSection
from mdserver.model import sessions, tokens, users
from mdserver.model.access import ADMIN, COMMENTER, EDITOR, OWNER, RANK, SCOPES, VIEWER, Principal, Role, Scope
from mdserver.model.audit import Origin
from mdserver.model.sessions import Lifetimes
from mdserver.store.db import Reader, Tx
from mdserver.web import policies
from mdserver.web.api import OPEN, RECENT, ROUTES, SIGNED_IN, WHOLE_ACCOUNT, Policy, Route, Routes
from mdserver.web.render import assets
from mdserver.web.signin import SIGNIN
from tests import engines

from .conftest import CHEAP, PASSWORD, PUBLIC, Answer, Client, Json, Person, Server, bearer
from .desk import NOWHERE, make

ALL = [route for resource in RESOURCES for route in resource.all]

OPEN_ROUTES = {
    *("POST /setup", "POST /auth/signup", "POST /auth/login", "POST /auth/refresh", "POST /auth/password/forgot"),
    *("POST /auth/password/reset", "POST /auth/email/verify", "POST /auth/email/resend"),
    *("GET /invitations/{token}", "GET /openapi.json"),
}
"""What the API answers to anonymous callers. A route that opens itself by mistake is not expected to."""

VIEWERS_CHANGE = {
    *("PUT /documents/{id}/favourite", "DELETE /documents/{id}/favourite"),
    *("POST /documents/{id}/copies", "DELETE /workspaces/{id}/members/{user}"),
}
"""What a viewer may change: what is their own, their own membership, and places where they are more than that."""

NARROW_TOKENS_MAY = {
    *("GET /me", "GET /workspaces", "GET /search", "POST /collab/tickets"),
    *("GET /sync", "POST /sync", "GET /sync/conflicts", "GET /events"),
}
"""Where a token for one workspace may come in without naming it; a route that is not listed here must refuse it."""

NO_TOKEN_MAY = {"POST /auth/logout"}
"""What only sessions can do."""

CHANGES_NOTHING = {"POST /collab/tickets"}
"""What a token that may only read may POST: a ticket for a socket is good for no more than the token."""

RECENT_ROUTES = {
    *("DELETE /me", "PUT /me/password", "PUT /me/email", "POST /me/tokens", "PUT /workspaces/{id}/owner"),
}
"""What takes a sign-in within the last minutes."""

TAKES_A_SECRET = {"POST /setup", "POST /auth/password/reset", "POST /auth/email/verify"}
"""What nobody can succeed with here: the code comes by mail, or from the first start."""

QUERIES = {"GET /search": {"q": "live"}}
"""What a route has to be asked to answer well."""

LET_IN = {200, 201, 202, 204, 304, 400, 406, 409, 410, 412, 413, 415, 422, 428}

State = Literal["live", "archived", "trashed", "purged"]
Variant = Literal["meant", "bad body", "bad header", "bad query", "no condition", "head", "known"]
STATES: tuple[State, ...] = ("live", "archived", "trashed", "purged")
Verdict = Literal["in", 401, 403, 404]


# Who asks.


@dataclasses.dataclass
class Caller:
    """Somebody at the door. `home` is a workspace where they may create."""

    client: Client
    person: Person | None = None
    home: str = NOWHERE

    @property
    def id(self) -> str:
        return self.person.id if self.person else NOWHERE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Who:
    """A kind of caller: what they may, and how one comes to a workspace. `role` is theirs there, if they see it."""

    name: str
    come: Callable[[Scene], Awaitable[Caller]]
    role: Role | None = None
    scopes: tuple[Scope, ...] = SCOPES
    signed_in: bool = True
    token: bool = False
    narrow: bool = False
    recent: bool = True
    forged: bool = False


class Scene:
    """A workspace with all that the routes can be about, made when it is first asked for."""

    def __init__(self, server: Server, root: Person) -> None:
        self.server, self.root, self.workspace_id = server, root, root.workspace_id
        self._callers: dict[str, Caller] = {}
        self._documents: dict[State, str] = {}
        self._conflicts: dict[State, str] = {}
        self._gone = ""
        self._invitation: Json = None
        self._somebody: Person | None = None

    async def caller(self, who: Who) -> Caller:
        if who.name not in self._callers:
            self._callers[who.name] = await who.come(self)
        return self._callers[who.name]

    async def workspace(self, state: State) -> str:
        if state == "purged" and not self._gone:
            self._gone = await self.server.workspace(self.root)
            await _done(self.root.delete(f"/workspaces/{self._gone}"))
        return self._gone if state == "purged" else self.workspace_id

    async def document(self, state: State) -> str:
        if state not in self._documents:
            id = (await make(self.root, state, content=f"# {state}\n"))["id"]
            if state == "archived":
                await _done(self.root.put(f"/documents/{id}/archive"))
            if state in ("trashed", "purged"):
                await _done(self.root.put(f"/documents/{id}/trash"))
            if state == "purged":
                await _done(self.root.delete(f"/documents/{id}", headers={"If-Match": "*"}))
            self._documents[state] = id
        return self._documents[state]

    async def conflict(self, state: State) -> str:
        """That of two edits of the same words; one that is "purged" is settled."""
        if state not in self._conflicts:
            id = (await make(self.root, f"{state} conflict", content="one two three\n"))["id"]
            for words in ("one 2 three\n", "one zwei three\n"):
                edited = await _done(self.root.patch(f"/documents/{id}/content", {"base_version": 1, "content": words}))
            self._conflicts[state] = edited.json["conflict_id"]
            if state == "purged":
                await _done(self.root.delete(f"/sync/conflicts/{self._conflicts[state]}"))
        return self._conflicts[state]

    async def invitation(self) -> Json:
        if self._invitation is None:
            place = f"/workspaces/{self.workspace_id}/invitations"
            self._invitation = (await _done(self.root.post(place, {"role": "viewer"}))).json
        return self._invitation

    async def somebody(self) -> Person:
        if self._somebody is None:
            self._somebody = await self.server.member(self.root, _name(), VIEWER)
        return self._somebody


_numbers = itertools.count(1)


def _name() -> str:
    return f"Person{next(_numbers)}"


async def _done(asked: Awaitable[Answer]) -> Answer:
    answer = await asked
    assert answer.status in (200, 201, 204), answer
    return answer


async def _scene(server: Server) -> Scene:
    return Scene(server, await server.person(_name()))


async def _anonymous(scene: Scene) -> Caller:
    return Caller(scene.server.anonymous)


def _member(role: Role) -> Callable[[Scene], Awaitable[Caller]]:
    async def come(scene: Scene) -> Caller:
        made = await scene.server.member(scene.root, _name(), role)
        return Caller(made, made, made.workspace_id)

    return come


async def _stranger(scene: Scene) -> Caller:
    made = await scene.server.person(_name())
    return Caller(made, made, made.workspace_id)


async def _invited(scene: Scene) -> Caller:
    made = await scene.server.person(_name())
    place = f"/workspaces/{scene.workspace_id}/invitations"
    await _done(scene.root.post(place, {"role": "admin", "email": made.email}))
    return Caller(made, made, made.workspace_id)


async def _removed(scene: Scene) -> Caller:
    made = await scene.server.member(scene.root, _name(), ADMIN)
    await _done(scene.root.delete(f"/workspaces/{scene.workspace_id}/members/{made.id}"))
    return Caller(made, made, made.workspace_id)


async def _administrator(scene: Scene) -> Caller:
    made = await scene.server.person(_name(), admin=True)
    return Caller(made, made, made.workspace_id)


async def _disabled(scene: Scene) -> Caller:
    made = await scene.server.member(scene.root, _name(), OWNER)
    await scene.server.database.write(lambda tx: users.disable(tx, users.find(tx, made.id)))
    return Caller(made, made, made.workspace_id)


async def _disabled_token(scene: Scene) -> Caller:
    made = await scene.server.member(scene.root, _name(), OWNER)
    client = await scene.server.token(made)
    await scene.server.database.write(lambda tx: users.disable(tx, users.find(tx, made.id)))
    return Caller(client, made, made.workspace_id)


async def _expired(scene: Scene) -> Caller:
    made = await scene.server.member(scene.root, _name(), OWNER)
    pair = await scene.server.database.write(lambda tx: _session(tx, made.id, Lifetimes(access=0)))
    return Caller(Client(scene.server.http, bearer(pair.access_token)), made, made.workspace_id)


async def _ended(scene: Scene) -> Caller:
    made = await scene.server.member(scene.root, _name(), OWNER)
    await _done(made.post("/auth/logout"))
    return Caller(made, made, made.workspace_id)


async def _refresh_token(scene: Scene) -> Caller:
    made = await scene.server.member(scene.root, _name(), OWNER)
    return Caller(Client(scene.server.http, bearer(made.pair.refresh_token)), made, made.workspace_id)


async def _long_ago(scene: Scene) -> Caller:
    made = await scene.server.member(scene.root, _name(), OWNER)

    def change(tx: Tx) -> None:
        session = made.principal.credential_id
        tx.run("UPDATE sessions SET authenticated_at = authenticated_at - $1 WHERE id = $2", 3_600_000, session)
        tx.announce("session", session)

    await scene.server.database.write(change)
    return Caller(made, made, made.workspace_id)


async def _browser(scene: Scene) -> Caller:
    made = await scene.server.member(scene.root, _name(), OWNER)
    return Caller(await scene.server.browser(made), made, made.workspace_id)


async def _forged(scene: Scene) -> Caller:
    made = await scene.server.member(scene.root, _name(), OWNER)
    cookie = (await scene.server.browser(made)).headers["Cookie"]
    headers = {"Cookie": cookie, "Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    return Caller(Client(scene.server.http, headers), made, made.workspace_id)


def _token(role: Role, *scopes: Scope, narrow: bool = False) -> Callable[[Scene], Awaitable[Caller]]:
    async def come(scene: Scene) -> Caller:
        made = await scene.server.member(scene.root, _name(), role)
        only = scene.workspace_id if narrow else None
        client = await scene.server.token(made, *scopes, workspace_id=only)
        return Caller(client, made, scene.workspace_id if narrow else made.workspace_id)

    return come


async def _token_elsewhere(scene: Scene) -> Caller:
    made = await scene.server.member(scene.root, _name(), OWNER)
    client = await scene.server.token(made, workspace_id=made.workspace_id)
    return Caller(client, made, made.workspace_id)


def _personal_token(tx: Tx, principal: Principal) -> tokens.NewToken:
    return tokens.create(tx, principal, name="other", scopes=["read"], workspace_id=None, expires_at=None)


def _session(tx: Tx, user_id: str, lifetimes: Lifetimes) -> sessions.Pair:
    origin = Origin(address="192.0.2.1", request_id="test", device="test")
    return sessions.start_app(tx, user_id, origin=origin, lifetimes=lifetimes)


EVERYBODY = (
    Who(name="anonymous", come=_anonymous, signed_in=False),
    Who(name="owner", come=_member(OWNER), role=OWNER),
    Who(name="admin", come=_member(ADMIN), role=ADMIN),
    Who(name="editor", come=_member(EDITOR), role=EDITOR),
    Who(name="commenter", come=_member(COMMENTER), role=COMMENTER),
    Who(name="viewer", come=_member(VIEWER), role=VIEWER),
    Who(name="owner of another workspace", come=_stranger),
    Who(name="invited, not yet accepted", come=_invited),
    Who(name="removed member", come=_removed),
    Who(name="administrator of the server, no member", come=_administrator),
    Who(name="disabled account", come=_disabled, signed_in=False),
    Who(name="token of a disabled account", come=_disabled_token, signed_in=False),
    Who(name="expired session", come=_expired, signed_in=False),
    Who(name="ended session", come=_ended, signed_in=False),
    Who(name="refresh token", come=_refresh_token, signed_in=False),
    Who(name="owner who signed in long ago", come=_long_ago, role=OWNER, recent=False),
    Who(name="owner in a browser", come=_browser, role=OWNER),
    Who(name="another site in the owner's browser", come=_forged, role=OWNER, forged=True),
    Who(name="token of the owner", come=_token(OWNER), role=OWNER, token=True),
    Who(name="token of a viewer", come=_token(VIEWER), role=VIEWER, token=True),
    Who(name="token to read", come=_token(OWNER, "read"), role=OWNER, token=True, scopes=("read",)),
    Who(name="token to write", come=_token(OWNER, "write"), role=OWNER, token=True, scopes=("write",)),
    Who(
        name="token to read and write",
        come=_token(OWNER, "read", "write"),
        role=OWNER,
        token=True,
        scopes=("read", "write"),
    ),
    Who(name="token for this workspace", come=_token(OWNER, narrow=True), role=OWNER, token=True, narrow=True),
    Who(name="token for another workspace", come=_token_elsewhere, token=True, narrow=True),
)


A_FEW = {
    *("anonymous", "owner", "editor", "viewer", "owner of another workspace", "removed member", "token to read"),
    *("token for this workspace", "token for another workspace"),
}
"""Who asks on the second engine, where the same code decides on other SQL."""


# What is expected.


def name_of(route: Route) -> str:
    return f"{route.method} {route.path.removeprefix('/api/v1')}"


def verdict(route: Route, who: Who, state: State) -> Verdict:
    """What this caller must hear, by what the route declares. Fails for a policy that is not known."""
    policy, name = route.policy, name_of(route)
    known = {OPEN.name, SIGNED_IN.name, WHOLE_ACCOUNT.name} if not policy.of else {f"{policy.of} {policy.need}"}
    assert policy.name in known | {RECENT.name}, f"{name}: what does the policy {policy.name!r} mean?"
    assert policy.of in ("", "workspace", "document", "conflict"), f"{name}: what is a {policy.of!r}?"
    assert bool(policy.of) == (policy.need is not None) == (policy.check is not None), f"{name}: half a policy"
    assert ("{id}" in route.path) == bool(policy.of), f"{name}: who may see this id?"
    assert not policy.of or f"/{policy.of}s/{{id}}" in route.path, f"{name}: its policy is of another noun"
    if policy.name == OPEN.name:
        return "in"
    if not who.signed_in:
        return 401
    if who.forged and route.method != "GET":
        return 403
    if route.scope not in who.scopes:
        return 403
    if policy.name == RECENT.name and (who.token or not who.recent):
        return 403
    if policy.name == WHOLE_ACCOUNT.name and who.narrow:
        return 403
    if not policy.of:
        refused = (who.narrow and name not in NARROW_TOKENS_MAY) or (who.token and name in NO_TOKEN_MAY)
        return 403 if refused else "in"
    if who.role is None or state == "purged":
        return 404
    assert policy.need is not None
    return "in" if RANK[who.role] >= RANK[policy.need] else 403


# How it is asked.


async def address(route: Route, scene: Scene, caller: Caller, state: State, *, missing: bool = False) -> str:
    """The path with its parameters filled in; `missing`: `{id}` is of nothing. Fails for an unknown parameter."""
    parts = route.path.split("/")
    for at, part in enumerate(parts):
        if part.startswith("{"):
            value = await _parameter(route, f"{parts[at - 1]}/{part}", scene, caller, state)
            parts[at] = NOWHERE if missing and part == "{id}" else value
    assert "{" not in "/".join(parts), f"{name_of(route)}: what is to be filled in?"
    return "/".join(parts)


async def _parameter(route: Route, which: str, scene: Scene, caller: Caller, state: State) -> str:
    match which:
        case "workspaces/{id}":
            return await scene.workspace(state)
        case "documents/{id}":
            return await scene.document(state)
        case "conflicts/{id}":
            return await scene.conflict(state)
        case "members/{user}":  # oneself, where anybody may: leaving
            return caller.id if name_of(route) in VIEWERS_CHANGE else (await scene.somebody()).id
        case "invitations/{invitation}":
            return str((await scene.invitation())["id"])
        case "invitations/{token}":
            return str((await scene.invitation())["token"])
        case "versions/{version}" | "log/{seq}":
            return "1"
        case "sessions/{session}" if caller.person is not None:
            user_id = caller.person.id
            return (await scene.server.database.write(lambda tx: _session(tx, user_id, Lifetimes()))).session_id
        case "tokens/{token}" if caller.person is not None:
            principal = caller.person.principal
            return (await scene.server.database.write(lambda tx: _personal_token(tx, principal))).id
        case "sessions/{session}" | "tokens/{token}":
            return NOWHERE
        case "problems/{slug}":
            return "forbidden"
        case "pages/{name}":
            return next(iter(assets().values())).name
    raise AssertionError(f"{name_of(route)}: the test does not know what {which!r} is")


async def body(route: Route, scene: Scene, caller: Caller) -> Json:
    """A body that a caller who is let in can succeed with. Fails for a required field that is not known."""
    if route.body is None:
        return None
    known: dict[str, Json] = {
        "base_version": 1,
        "content": "# Other\n",
        "device_id": "matrix",
        "operations": [],
        "current_password": PASSWORD,
        "display_name": "Other",
        "email": scene.root.email if name_of(route) == "POST /auth/login" else f"{_name()}@example.org",
        "filename": f"Other {next(_numbers)}.md",
        "name": "Other",
        "new_password": "another long and quiet sentence",
        "parent_id": None,
        "password": PASSWORD,
        "refresh_token": scene.root.pair.refresh_token,
        "role": "viewer",
        "scopes": ["read"],
        "tags": ["other"],
        "title": "Other",
        "token": "nobody's",
        "workspace_id": caller.home,
    }
    if any(field.encode_name == "user_id" for field in msgspec.structs.fields(route.body)):
        known["user_id"] = (await scene.somebody()).id
    given: dict[str, Json] = {}
    for field in msgspec.structs.fields(route.body):
        if field.encode_name in known:
            given[field.encode_name] = known[field.encode_name]
        else:
            assert not field.required, f"{name_of(route)}: the test has no {field.encode_name!r} to send"
    return given


async def ask(
    route: Route, scene: Scene, who: Who, state: State, variant: Variant = "meant", *, missing: bool = False
) -> Answer:
    caller = await scene.caller(who)
    path = "/" + await address(route, scene, caller, state, missing=missing)
    if variant == "head":
        return await caller.client.call("HEAD", path)
    if variant == "known":
        return await caller.client.get(path, headers={"If-None-Match": "*"})
    headers = {"If-Match": "nonsense" if variant == "bad header" else "*"} if route.condition else {}
    if variant == "no condition":
        headers = {}
    given = [] if variant == "bad body" else await body(route, scene, caller)
    query = {"nonsense": "1"} if variant == "bad query" else QUERIES.get(name_of(route), {})
    return await caller.client.call(route.method, path, given, headers=headers, params=query)


def told(answer: Answer) -> Any:
    """All of a refusal but what names the request: what strangers must not tell from a missing object."""
    said = answer.json if answer.body else {}
    return answer.status, sorted(answer.headers), {k: v for k, v in said.items() if k not in ("instance", "request_id")}


# The matrix.


class World:
    """A server with a standing scene, where nothing is ever changed, and room for scenes that are used up."""

    def __init__(self, server: Server, scene: Scene, *, full: bool) -> None:
        self.server, self.scene, self.full = server, scene, full


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=engines.ENGINES)
async def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One server on each engine for all routes."""
    async with engines.fresh(request.param) as database:
        config = Config(
            server=ServerSection(data=tmp_path_factory.mktemp("data")),
            accounts=Accounts(signup="open"),
            rates=Rates(enabled=False),
            log=Log(requests="none"),
        )
        app = create_app(config, database, url=PUBLIC, password_profile=CHEAP)
        app[SIGNIN].guesses.pauses = (0.0,)

        async def settle(app: web.Application) -> None:
            await app[SIGNIN].close()

        app.on_shutdown.append(settle)
        async with TestClient(TestServer(app), cookie_jar=DummyCookieJar()) as http:
            server = Server(app, database, http)
            scene = await _standing(server)
            yield World(server, scene, full=request.param == "sqlite")


async def _standing(server: Server) -> Scene:
    """A scene with everything made, so that asking changes nothing."""
    scene = await _scene(server)
    for state in STATES:
        await scene.document(state)
        await scene.conflict(state)
        await scene.workspace(state)
    for who in EVERYBODY:
        await scene.caller(who)
    await scene.invitation()
    await scene.somebody()
    return scene


def picture(db: Reader, workspace_id: str) -> Any:
    """What there is in a workspace."""
    return [
        sorted(db.rows(f"SELECT * FROM {table} WHERE {column} = $1", workspace_id), key=repr)
        for table, column in (
            ("workspaces", "id"),
            ("workspace_members", "workspace_id"),
            ("invitations", "workspace_id"),
            ("documents", "workspace_id"),
            ("changes", "workspace_id"),
            ("conflicts", "workspace_id"),
        )
    ]


def cells(route: Route, *, full: bool) -> Iterator[tuple[Who, State, Variant]]:
    """What to try of a route. What differs in form only is tried in the states that differ most."""
    variants: list[Variant] = ["head", "known"] if route.method == "GET" else []
    if route.body is not None:
        variants.append("bad body")
    if route.condition:
        variants += ["bad header", "no condition"]
    if route.query is not None:
        variants.append("bad query")
    states = STATES if route.policy.of == "document" else ("live", "purged") if route.policy.of else STATES[:1]
    for who in EVERYBODY:
        if full or who.name in A_FEW:
            for state in states if who.signed_in else {states[0], states[-1]}:
                if full or state != "archived":
                    yield who, state, "meant"
            for variant in variants if full else []:
                for state in {states[0], states[-1]}:
                    yield who, state, variant


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("route", ALL, ids=name_of)
async def test_matrix(world: World, route: Route) -> None:
    database, standing = world.server.database, world.scene
    missing: dict[tuple[str, Variant], Any] = {}
    wrong: list[str] = []
    let_in, succeeded = set(), set()
    at_once = asyncio.Semaphore(8)

    async def judge(who: Who, state: State, variant: Variant) -> None:
        expected = verdict(route, who, state)
        uses_up = expected == "in" and variant in ("meant", "no condition") and route.method != "GET"
        async with at_once:
            scene = await _scene(world.server) if uses_up else standing
            answer = await ask(route, scene, who, state, variant)
        what = f"{who.name}, {state}, {variant}: {answer}"
        if expected == "in":
            if answer.status not in ({400, 422} if variant.startswith("bad") else LET_IN):
                wrong.append(f"not let in: {what}")
            if variant == "meant":
                let_in.add(who.name)
                if answer.status < 300:
                    succeeded.add(who.name)
            return
        if answer.status != expected:
            wrong.append(f"not {expected}: {what}")
        if route.policy.of and (who.role is None or state == "purged"):
            if (who.name, variant) not in missing:
                missing[who.name, variant] = told(await ask(route, standing, who, state, variant, missing=True))
            if told(answer) != missing[who.name, variant]:
                wrong.append(f"told from a missing one, {missing[who.name, variant]}: {what}")

    before = await database.read(lambda db: picture(db, standing.workspace_id))
    async with asyncio.TaskGroup() as group:
        for one in cells(route, full=world.full):
            group.create_task(judge(*one))
    after = await database.read(lambda db: picture(db, standing.workspace_id))
    if wrong or after != before:
        world.scene = await _standing(world.server)  # the next route shall not fail for this one
    assert not wrong, f"{name_of(route)}:\n" + "\n".join(wrong[:40])
    assert after == before, "who was refused has changed something"
    # In one state or another they can do what they may: else what is sent here proves little.
    assert succeeded == (set() if name_of(route) in TAKES_A_SECRET else let_in)


@pytest.mark.asyncio(loop_scope="module")
async def test_anonymous_callers_are_sent_away(world: World) -> None:
    assert world.server.app[ROUTES] == ALL
    anonymous, open_routes = world.server.anonymous, set()
    for route in ALL:
        path = "/" + await address(route, world.scene, Caller(anonymous), "live", missing=True)
        for given in (None, b"", b"{"):
            answer = await anonymous.call(route.method, path, given)
            if route.policy is OPEN:
                open_routes.add(name_of(route))
                assert answer.problem != "signed-out", (route.path, answer)
            else:
                assert (answer.status, answer.problem) == (401, "signed-out"), (route.path, answer)
                assert answer.headers["WWW-Authenticate"].startswith("Bearer "), route.path
    in_api = {name_of(one) for one in ALL if one.path.startswith("/api/")}
    assert open_routes & in_api == OPEN_ROUTES


@pytest.mark.asyncio(loop_scope="module")
async def test_things_of_others_are_as_missing(world: World) -> None:
    """Ids below the first one: of another person, or of a workspace other than the path's."""
    ada, eve = await _scene(world.server), await _scene(world.server)
    owner = Who(name="owner", come=_member(OWNER), role=OWNER)
    mine, theirs = await ada.caller(owner), await eve.caller(owner)
    tried = set()
    for route in ALL:
        last = route.path.split("/")[-1]
        if last in ("{session}", "{token}", "{invitation}", "{user}") and route.policy is not OPEN:
            tried.add(name_of(route))
            if name_of(route) in ("PUT /workspaces/{id}/members/{user}", "POST /invitations/{token}"):
                continue  # whom one may add has an account; whoever holds the link may accept
            path = await address(route, ada, mine, "live")
            foreign = await address(route, eve, theirs, "live")
            below = path.rpartition("/")[0]
            given, headers = await body(route, ada, mine), {"If-Match": "*"}
            wanted = await mine.client.call(route.method, f"/{below}/{NOWHERE}", given, headers=headers)
            answer = await mine.client.call(
                route.method, f"/{below}/{foreign.rpartition('/')[2]}", given, headers=headers
            )
            assert (answer.status, told(answer)) == (404, told(wanted)), route.path
    assert len(tried) == 7, tried


@pytest.mark.asyncio(loop_scope="module")
async def test_ids_of_another_kind_are_as_missing(world: World) -> None:
    scene = world.scene
    owner = next(who for who in EVERYBODY if who.role == OWNER)
    caller = await scene.caller(owner)
    for route in ALL:
        if route.policy.of:
            right = await address(route, scene, caller, "live")
            of_a_document, of_a_workspace = await scene.document("live"), scene.workspace_id
            given, headers = await body(route, scene, caller), {"If-Match": "*"} if route.condition else {}
            wanted = told(await ask(route, scene, owner, "live", missing=True))
            place = route.path.split("/").index("{id}")
            for other in {of_a_document, of_a_workspace, caller.id} - set(right.split("/")[place : place + 1]):
                path = "/".join(other if at == place else one for at, one in enumerate(right.split("/")))
                answer = await caller.client.call(route.method, "/" + path, given, headers=headers)
                assert (answer.status, told(answer)) == (404, wanted), (path, answer)


def test_who_may_change_something() -> None:
    """Changing takes an editor at least, and members and what is for ever an admin, but for what is listed here."""
    for route in ALL:
        if route.policy.need is not None and route.method != "GET" and name_of(route) not in VIEWERS_CHANGE:
            assert RANK[route.policy.need] >= RANK[EDITOR], name_of(route)
            if route.policy.of == "workspace" and name_of(route) != "POST /workspaces/{id}/documents":
                assert RANK[route.policy.need] >= RANK[ADMIN], name_of(route)
                assert route.scope == "admin", name_of(route)
        if route.method != "GET" and route.policy is not OPEN and name_of(route) not in NO_TOKEN_MAY | CHANGES_NOTHING:
            assert route.scope != "read", name_of(route)
    assert {name_of(one) for one in ALL if one.policy.name == RECENT.name} == RECENT_ROUTES


def test_no_route_without_a_policy() -> None:
    async def handler(request: web.Request) -> None:
        """Do nothing."""

    routes = Routes("things")
    with pytest.raises(TypeError, match="policy"):
        routes.add("GET", "/things")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="needs a Policy"):
        routes.post("/things", policy=None)
    with pytest.raises(TypeError, match="needs a Policy"):
        routes.get("/things", policy="open")
    assert routes.all == []
    routes.get("/things", policy=OPEN)(handler)
    assert [one.policy for one in routes.all] == [OPEN]


@pytest.mark.parametrize(
    ("path", "policy"),
    [
        ("/things", Policy("moon")),
        ("/documents/{id}", SIGNED_IN),
        ("/documents/{id}", OPEN),
        ("/documents/{id}", policies.workspace(VIEWER)),
        ("/documents/{id}", Policy("document viewer", of="document", need=VIEWER)),
        ("/documents/{id}", Policy("document owner", of="document", need=VIEWER, check=lambda *_: None)),
        ("/documents/{id}", Policy("comment viewer", of="comment", need=VIEWER, check=lambda *_: None)),
        ("/things", policies.document(VIEWER)),
    ],
)
def test_unknown_policies_fail(path: str, policy: Policy) -> None:
    route = dataclasses.replace(ALL[0], path="/api/v1" + path, policy=policy)
    with pytest.raises(AssertionError):
        verdict(route, EVERYBODY[0], "live")


@pytest.mark.asyncio(loop_scope="module")
async def test_unknown_parameters_and_fields_fail(world: World) -> None:
    class Strange(msgspec.Struct):
        colour: str

    caller = Caller(world.server.anonymous)
    for path in ("/api/v1/comments/{comment}", "/api/v1/comments/{id}", "/api/v1/files/x{name}"):
        route = dataclasses.replace(ALL[0], path=path, body=Strange)
        with pytest.raises(AssertionError):
            await address(route, world.scene, caller, "live")
        with pytest.raises(AssertionError):
            await body(route, world.scene, caller)
