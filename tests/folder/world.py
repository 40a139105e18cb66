"""A real server and folders that are kept with it, in this process."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from mdserver.client import Client
from mdserver.folder import home as homes
from mdserver.folder.engine import Engine
from mdserver.folder.rows import Local, Refusal, Remote, Told
from tests.web.conftest import Person, Server

Tree = dict[str, bytes | None]


class Synced(msgspec.Struct):
    """What one sync said."""

    told: list[Told]
    problems: dict[str, str]
    refused: list[Refusal]
    left_out: dict[str, str]

    def of(self, path: str) -> list[str]:
        """What happened to a path."""
        return [one.what for one in self.told if one.path == path]


class Folder:
    """A folder and the token that it is kept with."""

    def __init__(self, root: Path, url: str, token: str, workspace_id: str) -> None:
        self.root, self.url, self.token, self._workspace_id = root, url, token, workspace_id
        root.mkdir()

    async def sync(self, *, between: Callable[[Engine], None] | None = None) -> Synced:
        """One `--once`. `between` is called when everything has been looked at."""
        told: list[Told] = []
        with homes.opened(self.root, token=self.token) as home:
            await homes.set_up(home, server=self.url, workspace=self._workspace_id, device=self.root.name)
            async with Client(self.url, home.token, device_id=home.state.fact("device"), attempts=1) as client:
                engine = Engine(home.state, home.disk, client, tell=told.append)
                if between is not None:
                    engine.look()
                    between(engine)
                await engine.settle()
            refused = list(home.state.refusals.values())
        return Synced(told, engine.problems, refused, engine.left_out())

    async def push(self) -> None:
        """Send what was done here, and hear nothing: a program that is killed behind that."""
        with homes.opened(self.root, token=self.token) as home:
            async with Client(self.url, home.token, device_id=home.state.fact("device"), attempts=1) as client:
                engine = Engine(home.state, home.disk, client, tell=lambda one: None)
                engine.begin()
                engine.look()
                await engine.turn(hear=False)

    def write(self, path: str, data: bytes | str) -> Path:
        """Write a file, with the directories that it needs."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data.encode() if isinstance(data, str) else data)
        return file

    def read(self, path: str) -> str:
        return (self.root / path).read_bytes().decode()

    def move(self, old: str, new: str) -> None:
        (self.root / new).parent.mkdir(parents=True, exist_ok=True)
        (self.root / old).rename(self.root / new)

    def kept(self) -> dict[str, str]:
        """What was kept aside: path → text."""
        place = self.root / ".mdserver/kept"
        found = (one for one in place.rglob("*") if one.is_file())
        return {"/".join(one.relative_to(place).parts[1:]): one.read_text() for one in found}

    def tree(self) -> Tree:
        """Every file with its bytes and every directory, but for what is hidden."""
        found: Tree = {}
        for directory, below, files in os.walk(self.root):
            below[:] = [one for one in below if not one.startswith(".")]
            at = Path(directory).relative_to(self.root)
            found |= {(at / one).as_posix(): None for one in below}
            found |= {
                (at / one).as_posix(): Path(directory, one).read_bytes() for one in files if not one.startswith(".")
            }
        return found

    def known(self) -> tuple[dict[str, Local], dict[str, Remote]]:
        """What is remembered: path → row, id → what the server said."""
        with homes.opened(self.root) as home:
            return {row.path: row for row in home.state.locals.values()}, dict(home.state.remotes)

    def id(self, path: str) -> str:
        return self.known()[0][path].id


class World:
    """A server, somebody who owns a workspace, and folders."""

    def __init__(self, server: Server, owner: Person, place: Path) -> None:
        self.server, self.owner, self._place = server, owner, place

    def folder(self, name: str, person: Person | None = None) -> Folder:
        url = str(self.server.http.make_url("")).rstrip("/")
        token = (person or self.owner).headers["Authorization"].removeprefix("Bearer ")
        return Folder(self._place / name, url, token, self.owner.workspace_id)

    async def converge(self, *folders: Folder) -> Tree:
        return await converge(*folders)

    async def documents(self) -> dict[str, dict[str, Any]]:
        """Path → every live document, as the API tells it."""
        found: dict[str, dict[str, Any]] = {}
        path = f"/workspaces/{self.owner.workspace_id}/documents?limit=100"
        while path:
            answer = await self.owner.get(path)
            assert answer.status == 200, answer
            found |= {one["path"]: one for one in answer.json["items"]}
            cursor = answer.json.get("next_cursor")
            path = f"/workspaces/{self.owner.workspace_id}/documents?limit=100&cursor={cursor}" if cursor else ""
        return found

    async def text(self, id: str) -> str:
        answer = await self.owner.get(f"/documents/{id}/content")
        assert answer.status == 200, answer
        return answer.body.decode()

    async def edit(self, id: str, text: str) -> None:
        """What somebody else writes."""
        answer = await self.owner.put(f"/documents/{id}/content", {"content": text}, headers={"If-Match": "*"})
        assert answer.status == 200, answer


async def converge(*folders: Folder) -> Tree:
    """Sync all until nothing happens any more; what all of them hold then, byte for byte."""
    for _ in range(5):
        told = [one for folder in folders for one in (await folder.sync()).told]
        if not told:
            break
    else:
        raise AssertionError(told)
    trees = [folder.tree() for folder in folders]
    assert all(one == trees[0] for one in trees), trees
    return trees[0]


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
