"""The real server as a program, the people in it, and the real clients that they open its documents with."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdserver import crypto
from mdserver.model import members, sessions, tokens, users, workspaces
from mdserver.model.access import SCOPES, Principal, Role, Scope
from mdserver.model.audit import Origin
from mdserver.model.sessions import Lifetimes
from mdserver.store.datadir import DataDirectory
from mdserver.store.db import Tx
from mdserver.store.migrate import migrate_sqlite
from mdserver.store.sqlite import SQLite
from tests.npm.clients import Client, Driver, Kind
from tests.robust.crash import look_at
from tests.robust.program import Answer, Home, Program
from tests.robust.program import Client as Asker

KINDS: list[Kind] = ["hocuspocus", "hocuspocus3", "y-websocket", "y-websocket2"]
ROLES: dict[str, Role] = {"Ada": "owner", "Ben": "editor", "Eve": "viewer"}

LOOSE = {
    "MDSERVER_LIMITS__FRAMES_SECOND": "1000000",
    "MDSERVER_LIMITS__FRAMES_BURST": "1000000",
    "MDSERVER_LIMITS__USER_SOCKETS": "1000",
    "MDSERVER_JOBS__ENABLED": "false",
}
"""Clients here type faster than people do."""


@dataclass(frozen=True)
class Member:
    """Somebody in the workspace: `token` is a personal one, `access` an app's."""

    id: str
    name: str
    principal: Principal
    token: str
    access: str
    reading: str
    """A personal token that may only read."""


def free_port() -> int:
    """A port below those that connections get by themselves, so that nobody takes it while the server is away."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("127.0.0.1", port))
            return port


async def until(holds: Callable[[], Awaitable[bool]], *, seconds: float = 30) -> None:
    """Wait for something of which nobody is told. TimeoutError when it does not come."""
    async with asyncio.timeout(seconds):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.05)


class House:
    """A server that can die and come back at its address."""

    def __init__(self, program: Program, people: dict[str, Member], workspace: str) -> None:
        self.program, self.people, self.workspace = program, people, workspace
        self.url = f"ws://127.0.0.1:{program.port}/collab"
        self.base = ""

    async def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Start it; LOOSE is what it is told beside `environment`."""
        started = await asyncio.to_thread(self.program.start, {**LOOSE, **(environment or {})})
        assert started, self.program.log[-2000:]

    async def kill(self) -> None:
        """kill -9."""
        await asyncio.to_thread(self.program.kill)

    async def died(self) -> int:
        """Wait until it is gone by itself; the exit status."""
        return await asyncio.to_thread(self.program.died)

    async def terminated(self) -> int:
        """SIGTERM; the exit status."""
        await asyncio.to_thread(self.program.terminate)
        return await self.died()

    async def stop(self) -> None:
        """SIGTERM, if it runs."""
        await asyncio.to_thread(self.program.stop)

    async def faults(self) -> list[str]:
        """What is wrong with the files."""
        return await asyncio.to_thread(look_at, self.program.home.database)

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        token: str = "",
        status: int | None = 200,
    ) -> Answer:
        """A request to the API with a token, or else Ada's, answered with `status` if that is known."""

        def work() -> Answer:
            asker = Asker(self.program.port, token or self.people["Ada"].token)
            with contextlib.closing(asker):
                if self.base:
                    path_there = f"//{self.base[1:]}" + (path[1:] if path.startswith("//") else f"/api/v1{path}")
                    return asker.call(method, path_there, body, headers)
                return asker.call(method, path, body, headers)

        answer = await asyncio.to_thread(work)
        assert status in (answer.status, None), answer
        return answer

    async def document(self, content: str = "", *, kind: str = "markdown") -> str:
        """A new document; its id."""
        given = {"title": "Plan", "kind": kind, "content": content}
        made = await self.ask("POST", f"/workspaces/{self.workspace}/documents", given, status=201)
        return str(made.json["id"])

    async def text(self, document: str) -> str:
        """The text as REST gives it."""
        return (await self.ask("GET", f"/documents/{document}/content")).body.decode()

    async def reads(self, document: str, text: str) -> None:
        """Wait until REST gives this text, which follows the log."""
        found = ""

        async def follows() -> bool:
            nonlocal found
            found = await self.text(document)
            return found == text

        with contextlib.suppress(TimeoutError):
            await until(follows)
        assert found == text

    async def put(self, document: str, content: str, **headers: str) -> Answer:
        """Replace a text, merged with what has come since the state that If-Match names."""
        return await self.ask(
            "PUT", f"/documents/{document}/content", {"content": content}, headers={"If-Match": "*", **headers}
        )

    async def ticket(self, who: str = "Ada") -> str:
        """What opens one socket."""
        return str(
            (await self.ask("POST", "//collab/tickets", token=self.people[who].token, status=201)).json["ticket"]
        )

    async def role(self, who: str, role: Role, *, new: bool = False) -> None:
        """Give somebody another role, or as `new` let them in again."""
        path = f"/workspaces/{self.workspace}/members/{self.people[who].id}"
        await self.ask("PUT", path, {"role": role}, status=201 if new else 200)

    async def remove(self, who: str) -> None:
        """Have somebody leave the workspace."""
        await self.ask("DELETE", f"/workspaces/{self.workspace}/members/{self.people[who].id}", status=204)

    async def open(self, node: Driver, kind: Kind, document: str, who: str = "Ada", **more: Any) -> Client:
        """Somebody's client, which says who it is by a personal token in the way that its kind can."""
        if not {"token", "ticket", "protocols", "headers"} & more.keys():
            more |= credentials(kind, self.people[who].token)
        return await node.open(kind, url=self.url, document=document, **more)


def credentials(kind: Kind, token: str) -> dict[str, Any]:
    """How a client of this kind presents a token."""
    if kind in ("hocuspocus", "hocuspocus3"):
        return {"token": token}
    return {"protocols": ["mdserver.v1", f"bearer.{token}"]}


async def furnish(data: Path) -> tuple[Home, dict[str, Member], str]:
    """A data directory with Ada, who owns a workspace, Ben, who writes in it, and Eve, who reads."""
    directory = DataDirectory(data)
    directory.prepare()
    database = await SQLite.open(directory.database)
    try:
        await migrate_sqlite(database, backups=directory.backups)
        people, workspace = await database.write(_people)
    finally:
        await database.close()
    return Home(data, people["Ada"].token, workspace), people, workspace


def _people(tx: Tx) -> tuple[dict[str, Member], str]:
    people = {name: _person(tx, name) for name in ROLES}
    ada = people["Ada"].principal
    workspace = workspaces.create(tx, ada, name="House")
    found = workspaces.find(tx, ada, workspace)
    for name, role in ROLES.items():
        if role != "owner":
            members.put(tx, ada, found, people[name].id, role=role)
    return people, workspace


def _person(tx: Tx, name: str) -> Member:
    user = users.create(tx, email=f"{name.lower()}@example.org", display_name=name, password_hash=None)
    origin = Origin(address="192.0.2.1", request_id="test", device="test")
    pair = sessions.start_app(tx, user.id, origin=origin, lifetimes=Lifetimes())
    known = sessions.look_up(tx, crypto.token_hash(pair.access_token), "access")
    assert known is not None
    principal = known.principal

    def token(*scopes: Scope) -> str:
        made = tokens.create(tx, principal, name="test", scopes=list(scopes), workspace_id=None, expires_at=None)
        return made.token

    return Member(user.id, name, principal, token(*SCOPES), pair.access_token, token("read"))


@contextlib.asynccontextmanager
async def running(
    place: Path,
    *,
    entry: tuple[str, ...] = ("-m", "mdserver"),
    environment: Mapping[str, str] | None = None,
    port: int | None = None,
) -> AsyncIterator[House]:
    """The server on a fresh directory; it is stopped at the end, if it runs."""
    home, people, workspace = await furnish(place / "data")
    house = House(Program(home, entry=entry, listens=port or free_port()), people, workspace)
    await house.start(environment)
    try:
        yield house
    finally:
        await house.stop()
