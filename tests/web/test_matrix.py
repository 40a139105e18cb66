"""Who may do what: every route, asked by everybody, about things in every state.

The expectation is derived from what each route declares (its policy and scope), never from what its handler does. Those
who must be refused send what is right, so that nothing but the refusal stands in their way; those who are let in get
objects of their own to change.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec
import pytest
from aiohttp import web

from mdserver import crypto
from mdserver.app import ROUTES as RESOURCES
from mdserver.clock import DAY
from mdserver.model import documents, members, sessions, tokens, users, workspaces
from mdserver.model.access import RANK, ROLES, SCOPES, Role, Scope
from mdserver.model.audit import Origin
from mdserver.model.sessions import Lifetimes
from mdserver.store.db import Tx
from mdserver.web.api import OPEN, RECENT, ROUTES, SIGNED_IN, Policy, Route, Routes

from .conftest import Answer, Client, Json, Person, Server, bearer
from .desk import NOWHERE

State = Literal["live", "trashed", "archived", "purged"]
STATES: tuple[State, ...] = ("live", "trashed", "archived", "purged")
LET_IN = {400, 409, 412, 415, 422, 428, 304}
ORIGIN = Origin(address="192.0.2.1", request_id="test", device="test")

# What each route about one's own account is asked with; a body that is not here is one that no Struct takes.
HARMLESS: dict[str, Json] = {"Profile": {"display_name": "x"}, "NewWorkspace": {"name": "x"}}

# A token for one workspace is not its owner: of the account it sees only these.
FOR_NARROW_TOKENS = {("GET", "/api/v1/me"), ("GET", "/api/v1/workspaces")}
# Only a session can be ended by itself.
FOR_SESSIONS = {("POST", "/api/v1/auth/logout")}


class Caller(msgspec.Struct, kw_only=True):
    """Somebody who asks: what they are to the workspace that is asked about, and how they have signed in."""

    name: str
    client: Client
    fresh: Callable[[str], Awaitable[Client]]
    """The same caller anew, for a workspace (which narrows a token to it)."""
    person: Person | None = None
    role: Role | None = None
    scopes: tuple[Scope, ...] = SCOPES
    is_token: bool = False
    narrow: bool = False
    recent: bool = True
    signed_in: bool = True


class World:
    """A workspace with a member of each role, another one with the same, and everybody around them."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.callers: list[Caller] = []
        self.members: dict[str, Role] = {}
        self.workspace_id = self.deleted_id = self.elsewhere_id = ""
        self.shared: dict[State, str] = {}
        self._numbers = iter(range(1, 1_000_000))

    async def build(self) -> World:
        server = self.server
        self.owner = await server.person("Owner")
        self.workspace_id = self.owner.workspace_id
        self.members[self.owner.id] = "owner"
        self.victim = await server.person("Victim")
        self.members[self.victim.id] = "viewer"
        people = {"owner": self.owner}
        for role in ROLES[1:]:
            people[role] = await server.person(role.title())
            self.members[people[role].id] = role
        editor2 = await server.person("Disabled")
        self.members[editor2.id] = "editor"
        await self._let_in(self.workspace_id)
        stranger = await server.person("Stranger")
        self.elsewhere_id = stranger.workspace_id
        for role in ROLES:
            self._session(f"{role}", people[role], role)
            foreign = stranger if role == "owner" else await server.member(stranger, f"Foreign{role}", role)
            self._session(f"{role} elsewhere", foreign, None)
        invited, removed = await server.person("Invited"), await server.person("Removed")
        answer = await self.owner.post(
            f"/workspaces/{self.workspace_id}/invitations", {"role": "admin", "email": invited.email}
        )
        assert answer.status == 201
        self._session("invited", invited, None)
        await server.join(self.owner, removed, "admin")
        assert (await removed.get(f"/workspaces/{self.workspace_id}")).status == 200
        assert (await self.owner.delete(f"/workspaces/{self.workspace_id}/members/{removed.id}")).status == 204
        self._session("removed", removed, None)
        self._session("server's administrator", await server.person("Root", admin=True), None)
        await self._sessions_that_are_no_good(editor2, people["editor"])
        await self._tokens(people["editor"])
        for state in STATES:
            self.shared[state] = await self.document(state)
        self.deleted_id = await self.workspace()
        assert (await self.owner.delete(f"/workspaces/{self.deleted_id}")).status == 204
        return self

    def _session(self, name: str, person: Person, role: Role | None) -> None:
        async def fresh(_: str) -> Client:
            pair = await self.server.database.write(
                lambda tx: sessions.start_app(tx, person.id, origin=ORIGIN, lifetimes=Lifetimes())
            )
            return Client(person.http, bearer(pair.access_token))

        self.callers.append(Caller(name=name, client=person, fresh=fresh, person=person, role=role))

    async def _sessions_that_are_no_good(self, disabled: Person, editor: Person) -> None:
        database = self.server.database
        assert (await disabled.get(f"/workspaces/{self.workspace_id}")).status == 200
        await database.write(lambda tx: users.disable(tx, users.find(tx, disabled.id)))

        def pair(tx: Tx) -> sessions.Pair:
            return sessions.start_app(tx, editor.id, origin=ORIGIN, lifetimes=Lifetimes())

        async def old(_: str) -> Client:
            made = await database.write(pair)
            await database.write(
                lambda tx: tx.run(
                    "UPDATE sessions SET authenticated_at = authenticated_at - $1 WHERE id = $2", DAY, made.session_id
                )
            )
            return Client(self.server.http, bearer(made.access_token))

        expired = await database.write(pair)
        hashed = crypto.token_hash(expired.access_token)
        await database.write(lambda tx: tx.run("UPDATE tokens SET expires_at = 1 WHERE hash = $1", hashed))
        http = self.server.http
        for name, client in (
            ("anonymous", self.server.anonymous),
            ("nonsense", Client(http, bearer("mds_at_nonsense"))),
            ("refresh token", Client(http, bearer(editor.pair.refresh_token))),
            ("disabled", Client(http, disabled.headers)),
            ("expired session", Client(http, bearer(expired.access_token))),
        ):
            self.callers.append(Caller(name=name, client=client, fresh=_same(client), signed_in=False))
        self.callers.append(
            Caller(
                name="signed in long ago",
                client=await old(""),
                fresh=old,
                person=editor,
                role="editor",
                recent=False,
            )
        )

    async def _tokens(self, editor: Person) -> None:
        kinds: list[tuple[str, Person, Role | None, tuple[Scope, ...], str | None]] = [
            ("owner's token", self.owner, "owner", SCOPES, None),
            ("owner's read-only token", self.owner, "owner", ("read",), None),
            ("owner's write token", self.owner, "owner", ("read", "write"), None),
            ("owner's write-only token", self.owner, "owner", ("write",), None),
            ("owner's token for this workspace", self.owner, "owner", SCOPES, "this"),
            ("owner's token for another workspace", self.owner, None, SCOPES, "another"),
            ("editor's token for this workspace", editor, "editor", SCOPES, "this"),
        ]
        another = await self.server.workspace(self.owner, "Another")
        for name, person, role, scopes, where in kinds:

            async def fresh(
                workspace_id: str,
                person: Person = person,
                scopes: tuple[Scope, ...] = scopes,
                where: str | None = where,
            ) -> Client:
                narrowed = {"this": workspace_id, "another": another, None: None}[where]
                made = await self.server.database.write(
                    lambda tx: tokens.create(
                        tx,
                        person.principal,
                        name="x",
                        scopes=list(scopes),
                        workspace_id=narrowed,
                        expires_at=None,
                    )
                )
                return Client(person.http, bearer(made.token))

            self.callers.append(
                Caller(
                    name=name,
                    client=await fresh(self.workspace_id),
                    fresh=fresh,
                    person=person,
                    role=role,
                    scopes=scopes,
                    is_token=True,
                    narrow=where is not None,
                )
            )

    async def _let_in(self, workspace_id: str) -> None:
        def change(tx: Tx) -> None:
            for user_id, role in self.members.items():
                members.set_role(tx, self.owner.principal, workspace_id, user_id, role=role)

        await self.server.database.write(change)

    async def workspace(self) -> str:
        """Another workspace with the same members, for somebody to change."""

        def change(tx: Tx) -> str:
            made = workspaces.create(tx, self.owner.principal, name="Shared")
            for user_id, role in self.members.items():
                members.set_role(tx, self.owner.principal, made, user_id, role=role)
            return made

        return await self.server.database.write(change)

    async def document(self, state: State) -> str:
        """Another document of the shared workspace in this state."""
        me, number = self.owner.principal, next(self._numbers)

        def change(tx: Tx) -> str:
            made = documents.create(
                tx,
                me,
                self.workspace_id,
                role="owner",
                title=f"Document {number}",
                kind="markdown",
                draft=documents.draft("one\n", maximum_bytes=100),
            )
            if state == "archived":
                documents.archive(tx, me, made, archived=True)
            if state in ("trashed", "purged"):
                gone = documents.trash(tx, me, made)
                if state == "purged":
                    documents.purge(tx, me, gone)
            return made.id

        return await self.server.database.write(change)

    async def invitation(self, workspace_id: str) -> str:
        answer = await self.owner.post(f"/workspaces/{workspace_id}/invitations", {"role": "viewer"})
        assert answer.status == 201
        return str(answer.json["id"])

    def body(self, route: Route, caller: Caller) -> Json:
        """A body that this route takes; the lookup fails for a route that is new here."""
        assert route.body is not None
        if not route.policy.of:
            return HARMLESS.get(route.body.__name__, {"no such field": 0})
        number = next(self._numbers)
        home = caller.person.workspace_id if caller.person is not None and not caller.narrow else None
        bodies: dict[str, Json] = {
            "NewDocument": {"title": f"New {number}"},
            "WholeDocument": {"title": "x", "content": "x", "tags": []},
            "SomeFields": {"title": "x"},
            "Title": {"title": "x"},
            "Filename": {"filename": f"file {number}.md"},
            "Labels": {"tags": ["x"]},
            "Place": {"parent_id": None},
            "Copy": {"workspace_id": home},  # where anybody may make documents, if they can read this one
            "Content": {"content": "x"},
            "Edit": {"base_version": 1, "content": "x"},
            "Name": {"name": "x"},
            "WorkspaceChange": {"name": "x"},
            "Membership": {"role": "viewer"},
            "NewOwner": {"user_id": self.victim.id},
            "InvitationWanted": {"role": "viewer"},
        }
        return bodies[route.body.__name__]

    async def ask(self, route: Route, caller: Caller, client: Client, id: str, *, invitation: str = NOWHERE) -> Answer:
        """One request that nothing but permission can hinder."""
        leaving = route.method == "DELETE" and caller.person is not None
        values = {
            ("workspace", "id"): id,
            ("workspace", "user"): caller.person.id if leaving and caller.person else self.victim.id,
            ("workspace", "invitation"): invitation,
            ("document", "id"): id,
            ("document", "version"): "1",
            ("", "token"): "nothing",
            ("", "session"): NOWHERE,
            ("", "slug"): "invalid",
            ("", "name"): "nothing.css",
        }

        def fill(matched: re.Match[str]) -> str:
            return values[route.policy.of, matched[1]]

        path = re.sub(r"{(\w+)[^}]*}", fill, route.path)
        headers = {"If-Match": "*"} if route.condition else {}
        return await client.call(
            route.method,
            path.removeprefix("/api/v1") if path.startswith("/api/v1") else "/" + path,
            self.body(route, caller) if route.body is not None else None,
            headers=headers,
        )


def _same(client: Client) -> Callable[[str], Awaitable[Client]]:
    async def fresh(_: str) -> Client:
        return client

    return fresh


def expected(route: Route, caller: Caller, *, exists: bool) -> str:
    """What a caller must hear: "401", "403", "404", or "in". Fails for a policy that it does not know."""
    policy = route.policy
    if policy is OPEN:
        return "in"
    assert policy is SIGNED_IN or policy.name in (RECENT.name, f"{policy.of} {policy.need}"), policy
    assert policy.of in ("", "workspace", "document"), policy
    assert (policy.of == "") == (policy.need is None), policy
    if not caller.signed_in:
        return "401"
    if route.scope not in caller.scopes:
        return "403"
    if policy.name == RECENT.name and (caller.is_token or not caller.recent):
        return "403"
    if policy.of == "":
        refused = caller.narrow and (route.method, route.path) not in FOR_NARROW_TOKENS
        return "403" if refused or (caller.is_token and (route.method, route.path) in FOR_SESSIONS) else "in"
    if caller.role is None or not exists:
        return "404"
    assert policy.need is not None
    return "in" if RANK[caller.role] >= RANK[policy.need] else "403"


def heard(answer: Answer, route: Route) -> str:
    """What they did hear."""
    if route.policy is OPEN:
        return "in" if answer.status not in (401, 403, 500) else str(answer.status)
    if answer.status < 300 or answer.status in LET_IN:
        return "in"
    if answer.status in (404, 410) and route.policy.of == "":
        return "in"  # they were let in, and what they named by a made-up token is not there
    return str(answer.status)


def seen(answer: Answer) -> tuple[Json, ...]:
    """What a refusal shows of its reason."""
    return tuple(answer.json[name] for name in ("status", "type", "title", "detail"))


def order(route: Route) -> tuple[bool, bool]:
    """Last those that end credentials: all of one's sessions, or this one."""
    return route.path in ("/api/v1/me/sessions", "/api/v1/auth/logout") and route.method != "GET", route.method != "GET"


async def test_the_matrix(server: Server) -> None:
    world = await World(server).build()
    callers, states = world.callers, STATES
    if server.database.engine == "postgres":  # the engine decides nothing here; a part shows that it is asked rightly
        states = ("live", "purged")
        callers = [
            one
            for one in callers
            if one.name in ("owner", "editor", "viewer", "owner elsewhere", "removed", "anonymous", "disabled")
            or "token for" in one.name
        ]
    wrong: list[str] = []
    missing: dict[tuple[str, str], tuple[Json, ...]] = {}
    count = 0
    routes: list[Route] = server.app[ROUTES]
    for route in sorted(routes, key=order):
        of = route.policy.of
        cases: list[State] = list(states) if of == "document" else ["live", "purged"] if of else ["live"]
        for state in cases:
            for caller in callers:
                wanted = expected(route, caller, exists=state != "purged")
                shared = (
                    world.shared[state]
                    if of == "document"
                    else world.deleted_id
                    if state == "purged"
                    else world.workspace_id
                )
                id, client, invitation = shared, caller.client, NOWHERE
                if wanted == "in" and route.method != "GET" and route.policy is not OPEN:
                    if of == "document":
                        id = await world.document(state)
                    elif of == "workspace":
                        id = await world.workspace()
                        if "{invitation}" in route.path:
                            invitation = await world.invitation(id)
                    if of == "workspace" or order(route)[0]:
                        client = await caller.fresh(id)
                answer = await world.ask(route, caller, client, id, invitation=invitation)
                count += 1
                case = f"{route.method} {route.path} ({state}) by {caller.name}"
                if heard(answer, route) != wanted:
                    wrong.append(f"{case}: {wanted} was due, {answer}")
                elif wanted == "401" and not answer.headers["WWW-Authenticate"].startswith("Bearer"):
                    wrong.append(f"{case}: a 401 without WWW-Authenticate")
                elif wanted == "404":
                    place = (f"{route.method} {route.path}", caller.name)
                    if place not in missing:
                        missing[place] = seen(await world.ask(route, caller, client, NOWHERE))
                    if seen(answer) != missing[place]:
                        wrong.append(f"{case}: {seen(answer)}, and of nothing {missing[place]}")
    assert wrong == []
    assert count > (2_500 if server.database.engine == "sqlite" else 700)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_open_routes_are_the_same_for_everybody(server: Server) -> None:
    world = await World(server).build()
    for route in server.app[ROUTES]:
        if route.policy is OPEN:
            answers = {(await world.ask(route, one, one.client, NOWHERE)).status for one in world.callers}
            assert len(answers) == 1, (route.path, answers)
            assert answers.isdisjoint({401, 403, 405, 500}), (route.path, answers)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_head_is_judged_as_get(server: Server) -> None:
    world = await World(server).build()
    for route in server.app[ROUTES]:
        if route.method == "GET" and route.policy.of:
            for caller in world.callers:
                id = world.shared["live"] if route.policy.of == "document" else world.workspace_id
                get = await world.ask(route, caller, caller.client, id)
                path = re.sub(r"{version[^}]*}", "1", route.path.replace("{id}", id)).removeprefix("/api/v1")
                head = await caller.client.call("HEAD", path)
                assert (head.status, head.body) == (get.status, b""), (route.path, caller.name)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_mixed_ids(server: Server) -> None:
    """An id of one kind, or of another workspace, in the place of another's."""
    world = await World(server).build()
    stranger = await server.person("Other")
    for route in server.app[ROUTES]:
        if not route.policy.of:
            continue
        owner = next(one for one in world.callers if one.name == "owner")
        wrong = world.workspace_id if route.policy.of == "document" else world.shared["live"]
        for id in (
            wrong,
            stranger.workspace_id,
            owner.client.headers["Authorization"][-10:],
            owner.person.id if owner.person else "",
        ):
            answer = await world.ask(route, owner, owner.client, id)
            assert answer.status == 404, (route.path, answer)


def test_no_route_without_a_policy() -> None:
    routes = Routes("nothing")

    async def handler(request: web.Request) -> None:
        """Nothing."""

    with pytest.raises(TypeError):
        routes.get("/nothing")(handler)
    for policy in (None, "open", object()):
        with pytest.raises(TypeError):
            routes.get("/nothing", policy=policy)(handler)
    assert routes.all == []
    routes.get("/nothing", policy=OPEN)(handler)
    assert [one.path for one in routes.all] == ["/api/v1/nothing"]


def test_a_policy_that_this_test_does_not_know_fails() -> None:
    routes = Routes("nothing")

    async def handler(request: web.Request, id: str) -> None:
        """Nothing."""

    caller = Caller(name="x", client=Client(None), fresh=_same(Client(None)), role="owner")  # type: ignore[arg-type]
    for policy in (
        Policy("mystery"),
        Policy("open"),
        Policy("thing viewer", of="thing", need="viewer"),
        Policy("document viewer", of="document"),
        Policy("document viewer", need="viewer"),
        Policy("document viewer", of="document", need="editor"),
    ):
        routes.get("/nothing/{id}", policy=policy)(handler)
        with pytest.raises(AssertionError):
            expected(routes.all[-1], caller, exists=True)


def test_what_is_declared() -> None:
    """Policies that need a role can refuse before a bad body is complained of; the scope fits the method."""
    for resource in RESOURCES:
        for route in resource.all:
            if route.policy.need is not None:
                assert route.policy.check is not None, route.path
            if route.method == "GET" and route.policy.of:
                assert route.scope == "read", route.path
            if route.method != "GET" and route.policy.of:
                assert route.scope != "read", route.path
            if route.policy.of:
                assert "{id}" in route.path, route.path
                assert f"/{route.policy.of}s/{{id}}" in route.path, route.path
