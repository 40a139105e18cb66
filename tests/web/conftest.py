"""A running server on each engine, and people who are signed in to it, for every test of the web floor."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from email import message_from_bytes, policy
from typing import Any

import msgspec
import pytest
from aiohttp import ClientResponse, DummyCookieJar, web
from aiohttp.test_utils import TestClient, TestServer
from aiosmtpd.smtp import SMTP, Envelope, Session

from mdserver.app import create_app
from mdserver.collab import projector, rooms
from mdserver.config import Accounts, Config, Jobs, Log, Mail, Rates
from mdserver.crypto import Passwords, Profile
from mdserver.model import sessions, tokens, users, workspaces
from mdserver.model.access import SCOPES, Principal, Role, Scope
from mdserver.model.audit import Origin
from mdserver.model.sessions import Lifetimes
from mdserver.store.db import Database
from mdserver.web import protocol
from mdserver.web.api import PUBLIC_URL
from mdserver.web.setup import SetupCode
from mdserver.web.signin import SIGNIN

CHEAP = Profile(memory=8, passes=1, lanes=1)
"""argon2id in half a millisecond, worth nothing."""

PUBLIC = "http://mdserver.test"
PASSWORD = "a long and quiet sentence"

Json = Any


class Answer:
    """What came back, read to its end."""

    def __init__(self, response: ClientResponse, body: bytes) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = body

    @property
    def json(self) -> Json:
        return msgspec.json.decode(self.body)

    @property
    def problem(self) -> str:
        """The slug of the problem that this is, or nothing."""
        if self.headers.get("Content-Type") != "application/problem+json":
            return ""
        return str(self.json["type"]).rpartition("/")[2]

    @property
    def pointers(self) -> list[str]:
        """Where the problem says that the body is wrong."""
        return [one["pointer"] for one in self.json.get("errors", ())]

    def __repr__(self) -> str:
        return f"<{self.status} {self.body[:500]!r}>"


class Client:
    """Somebody who calls the API; signed in with `headers`, or nobody."""

    def __init__(self, http: TestClient[web.Request, web.Application], headers: dict[str, str] | None = None) -> None:
        self.http = http
        self.headers = headers or {}

    async def call(self, method: str, path: str, json: Json = None, **options: Any) -> Answer:
        """One request; a path that starts with `/` alone stands under `/api/v1`, one with `//` at the root."""
        path = path[1:] if path.startswith("//") else "/api/v1" + path
        headers = {**self.headers, **options.pop("headers", {})}
        if json is not None:
            headers.setdefault("Content-Type", "application/json")
            options["data"] = io.BytesIO(json if isinstance(json, bytes) else msgspec.json.encode(json))
        async with self.http.request(method, path, headers=headers, **options) as response:
            if response.content_type == "text/event-stream" and method == "GET":  # it has no end
                return Answer(response, await response.content.readany())
            return Answer(response, await response.read())

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.call("GET", path, **options)

    async def post(self, path: str, json: Json = None, **options: Any) -> Answer:
        return await self.call("POST", path, json, **options)

    async def put(self, path: str, json: Json = None, **options: Any) -> Answer:
        return await self.call("PUT", path, json, **options)

    async def patch(self, path: str, json: Json = None, **options: Any) -> Answer:
        return await self.call("PATCH", path, json, **options)

    async def delete(self, path: str, json: Json = None, **options: Any) -> Answer:
        return await self.call("DELETE", path, json, **options)


class Person(Client):
    """An account with a signed-in app and a workspace of its own."""

    def __init__(
        self,
        http: TestClient[web.Request, web.Application],
        *,
        user: users.User,
        principal: Principal,
        pair: sessions.Pair,
        workspace_id: str,
    ) -> None:
        super().__init__(http, bearer(pair.access_token))
        self.user, self.principal, self.pair, self.workspace_id = user, principal, pair, workspace_id
        self.id, self.email = user.id, user.email


class Server:
    """The real application on a real database, listening on loopback."""

    def __init__(self, app: web.Application, database: Database, http: TestClient[web.Request, web.Application]):
        self.app, self.database, self.http = app, database, http
        self.anonymous = Client(http)
        self._hash = ""

    async def person(self, name: str = "Ada", *, admin: bool = False, password: bool = True) -> Person:
        """A fresh account `Name`, name@example.org, signed in a moment ago; its password is PASSWORD."""
        if not self._hash:
            cheap = Passwords(CHEAP)
            self._hash = await cheap.hash(PASSWORD)
            cheap.close()

        def change(tx: Any) -> tuple[users.User, sessions.Pair, str]:
            user = users.create(
                tx,
                email=f"{name.lower()}@example.org",
                display_name=name,
                password_hash=self._hash if password else None,
                admin=admin,
            )
            origin = Origin(address="192.0.2.1", request_id="test", device="test")
            pair = sessions.start_app(tx, user.id, origin=origin, lifetimes=Lifetimes())
            found = tx.value(str, "SELECT workspace_id FROM workspace_members WHERE user_id = $1", user.id)
            return user, pair, found

        user, pair, workspace_id = await self.database.write(change)
        principal = await self.app[SIGNIN].principal(pair.access_token)
        assert principal is not None
        return Person(self.http, user=user, principal=principal, pair=pair, workspace_id=workspace_id)

    async def member(self, owner: Person, name: str, role: Role) -> Person:
        """A fresh account that belongs to the owner's own workspace."""
        made = await self.person(name)
        await self.join(owner, made, role)
        return made

    async def join(self, owner: Person, joining: Person, role: Role) -> None:
        """Give somebody a role in the owner's own workspace."""
        answer = await owner.put(f"/workspaces/{owner.workspace_id}/members/{joining.id}", {"role": role})
        assert answer.status in (200, 201), answer

    async def token(self, owner: Person, *scopes: Scope, workspace_id: str | None = None) -> Client:
        """A program that calls with a personal token."""
        made = await self.database.write(
            lambda tx: tokens.create(
                tx,
                owner.principal,
                name="program",
                scopes=list(scopes or SCOPES),
                workspace_id=workspace_id,
                expires_at=None,
            )
        )
        return Client(self.http, bearer(made.token))

    async def browser(self, person: Person) -> Client:
        """The same person in a browser, with a cookie and the headers that the web app sends."""
        origin = Origin(address="192.0.2.1", request_id="test", device="test browser")
        cookie = await self.database.write(
            lambda tx: sessions.start_web(tx, person.id, origin=origin, lifetimes=Lifetimes())
        )
        headers = {"Cookie": f"mdserver={cookie}", "X-MDServer": "1", "Origin": PUBLIC}
        return Client(self.http, headers)

    async def workspace(self, owner: Person, name: str = "Shared") -> str:
        """Another workspace of the owner's; its id."""
        return await self.database.write(lambda tx: workspaces.create(tx, owner.principal, name=name))

    async def settled(self) -> None:
        """Wait for what is done beside the requests: mails, notes of use."""
        await self.app[SIGNIN].close()

    async def audited(self) -> list[tuple[str, str, str | None]]:
        """(action, object, actor) of every entry in the audit log."""
        found = await self.database.read(lambda db: db.rows("SELECT action, object, actor_id FROM audit ORDER BY id"))
        return [(one[0], one[1], one[2]) for one in found]


Start = Callable[..., Awaitable[Server]]


@pytest.fixture
async def start(database: Database) -> AsyncIterator[Start]:
    """Starts servers with a configuration of the test's own: sections by name, as in `start(accounts=Accounts(…))`.

    Without one: anybody may sign up, no rates, no mail, no jobs. `url` is the public address.
    """
    async with contextlib.AsyncExitStack() as stack:

        async def make(*, setup: SetupCode | None = None, url: str = PUBLIC, **sections: Any) -> Server:
            given = {
                "accounts": Accounts(signup="open"),
                "rates": Rates(enabled=False),
                "log": Log(requests="none"),
                "jobs": Jobs(enabled=False),
            }
            app = create_app(Config(**{**given, **sections}), database, url=url, setup=setup, password_profile=CHEAP)
            app[SIGNIN].guesses.pauses = (0.0,)
            assert app[PUBLIC_URL] == url

            async def settle(app: web.Application) -> None:
                await app[SIGNIN].close()

            app.on_shutdown.append(settle)
            http = TestClient(TestServer(app), cookie_jar=DummyCookieJar())
            await stack.enter_async_context(http)
            assert isinstance(http.server.runner, web.AppRunner)
            assert http.server.runner.server is not None
            protocol.install(http.server.runner.server, app)
            return Server(app, database, http)

        yield make


@pytest.fixture
async def server(start: Start) -> Server:
    """A server on each engine, as `start` makes it."""
    return await start()


class Inbox:
    """A mail server on loopback that keeps what it is given."""

    def __init__(self) -> None:
        self.received: list[tuple[str, str]] = []
        self.port = 0
        self._arrived = asyncio.Event()

    @property
    def config(self) -> Mail:
        """The `mail` section that sends here."""
        return Mail(host="127.0.0.1", port=self.port, security="none", sender="mdserver <notes@example.org>")

    async def wait(self, server: Server, to: str, number: int = 1) -> str:
        """The n-th mail to this address, subject first, once it has come."""
        await server.settled()
        async with asyncio.timeout(10):
            while len(found := [text for address, text in self.received if address == to]) < number:
                self._arrived.clear()
                await self._arrived.wait()
        return found[number - 1]

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.original_content, bytes)
        message = message_from_bytes(envelope.original_content, policy=policy.default)
        self.received.append(
            (envelope.rcpt_tos[0], f"{message['Subject']}\n{message.get_content()}".replace("\r\n", "\n"))
        )
        self._arrived.set()
        return "250 taken"


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    """A real SMTP server; give its `config` to `start` as `mail`."""
    made, loop = Inbox(), asyncio.get_running_loop()
    listening = await loop.create_server(lambda: SMTP(made, hostname="localhost", loop=loop), "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    yield made
    listening.close()


def bearer(token: str) -> dict[str, str]:
    """The header that a token travels in."""
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written live shows in REST at once."""
    monkeypatch.setattr(projector, "SOON", 0.0)
    monkeypatch.setattr(rooms, "LOOKED_AFTER", 0.01)
