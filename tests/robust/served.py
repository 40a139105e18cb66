"""The application on a loopback socket and a thread of its own, for clients that know no event loop; and its people."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import DummyCookieJar, web
from aiohttp.test_utils import TestClient, TestServer

from mdserver import config
from mdserver.app import create_app
from mdserver.model import documents, invitations, workspaces
from mdserver.model.access import OWNER
from mdserver.store.db import Database, Engine, Tx
from mdserver.web import protocol
from mdserver.web.signin import SIGNIN
from tests import engines
from tests.web.conftest import CHEAP, PASSWORD, PUBLIC, Person, Server

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """A workspace with an owner and a viewer, and what stands in it: what a request may name, by the name it has."""

    credentials: dict[str, dict[str, str]]
    """The headers of each: anonymous, viewer, owner."""

    known: dict[str, list[str]]


class Served:
    """A server that listens; `world` makes people to ask it as."""

    def __init__(self, loop: asyncio.AbstractEventLoop, server: Server, database: Database) -> None:
        self._loop, self._server, self._database = loop, server, database
        self._made = 0
        self.email = ""
        """Of the owner of the world made last."""

        self.url = str(server.http.make_url("")).rstrip("/")

    def world(self) -> World:
        """Fresh people and documents, untouched by any request before."""
        self._made += 1
        return self._on_loop(self._world(self._made))

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _world(self, number: int) -> World:
        owner = await self._server.person(f"Owner{number}")
        self.email = owner.email
        viewer = await self._server.person(f"Viewer{number}")
        await self._server.join(owner, viewer, "viewer")

        known = await self._database.write(lambda tx: _furnish(tx, owner, number))
        edited = await owner.patch(
            f"/documents/{known['documents'][0]}/content", {"content": "new\n", "base_version": 1}
        )
        assert edited.status == 200, edited
        known["user"] = [viewer.id, owner.id]
        known["session"] = [viewer.principal.credential_id, owner.principal.credential_id]
        known["email"] = [viewer.email, f"somebody{number}@example.org"]
        known["password"] = [PASSWORD]
        known["refresh_token"] = [owner.pair.refresh_token]
        return World({"anonymous": {}, "viewer": viewer.headers, "owner": owner.headers}, known)


def _furnish(tx: Tx, owner: Person, number: int) -> dict[str, list[str]]:
    """A folder with a document in it, one at the root, one in the trash; somebody invited."""
    me, place = owner.principal, owner.workspace_id

    def make(title: str, kind: documents.Kind, content: str, parent: str | None = None) -> documents.Document:
        draft = documents.draft(content, maximum_bytes=1 << 20)
        return documents.create(
            tx, me, place, role=OWNER, title=title, kind=kind, draft=draft, parent_id=parent, tags=["tag"]
        )

    folder = make("Folder", "folder", "")
    live = make("Live", "markdown", "# Live\n\nOne line, and [another](../Other.md).\n", folder.id)
    other = make("Other", "markdown", "# Other\n")
    trashed = documents.trash(tx, me, make("Trashed", "markdown", "gone\n"))
    workspace = workspaces.find(tx, me, place)
    invited = invitations.invite(tx, workspace, invited_by=me.user_id, role="viewer")
    return {
        "documents": [live.id, other.id, folder.id, trashed.id],
        "workspaces": [place],
        "version": ["1", "2"],
        "invitation": [invited.id],
        "token": [invited.token],
    }


@contextlib.contextmanager
def serving(engine: Engine) -> Iterator[Served]:
    """A server on a fresh database: no rates, and anybody may sign up."""
    started: list[Served] = []
    failed: list[BaseException] = []
    ready = threading.Event()
    stop: list[Callable[[], None]] = []

    async def serve() -> None:
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()

        def end() -> None:
            loop.call_soon_threadsafe(stopped.set)

        stop.append(end)
        configured = config.Config(
            server=config.Server(data=Path(tempfile.gettempdir())),  # looked at by /readyz
            accounts=config.Accounts(signup="open"),
            rates=config.Rates(enabled=False),
            log=config.Log(requests="none"),
        )
        async with engines.fresh(engine) as database:
            app = create_app(configured, database, url=PUBLIC, password_profile=CHEAP)
            app[SIGNIN].guesses.pauses = (0.0,)
            async with TestClient(TestServer(app), cookie_jar=DummyCookieJar()) as http:
                assert isinstance(http.server.runner, web.AppRunner)
                assert http.server.runner.server is not None
                protocol.install(http.server.runner.server, app)
                started.append(Served(loop, Server(app, database, http), database))
                ready.set()
                await stopped.wait()

    def work() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=work, name="served")
    thread.start()
    ready.wait()
    try:
        if failed:
            raise failed[0]
        yield started[0]
    finally:
        for one in stop:
            one()
        thread.join()
    if failed:
        raise failed[0]
