"""The directory `.mdserver` in a folder: its state, its token, its lock."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from mdserver.client import Client, Workspace

from .disk import TEMP, Disk
from .lock import locked
from .names import OWN
from .state import State
from .trying import NotedDisk


class NotSetUp(Exception):
    """What has to be said the first time was not said; the text is a sentence."""


class Home(msgspec.Struct):
    """An open folder."""

    state: State
    disk: Disk
    token: str
    is_rehearsal: bool = False

    def __repr__(self) -> str:
        return f"<Home {self.disk.root}>"

    def keep_token(self) -> None:
        """Write the token down for later runs, where only the owner can read it."""
        path = self.disk.own / "token"
        if not self.is_rehearsal and self.token != _kept_token(path):
            _keep_token(path, self.token)


@contextmanager
def opened(root: Path, *, token: str = "") -> Iterator[Home]:
    """The folder with its lock held; `.mdserver` is made when it is not there."""
    own = root / OWN
    own.mkdir(mode=0o700, exist_ok=True)
    if own.is_symlink():
        raise NotSetUp(f"{own} is a link: it has to be a directory of its own.")
    (own / TEMP).mkdir(mode=0o700, exist_ok=True)
    with locked(own / "lock"):
        state = State.open(own / "state.db")
        try:
            disk = Disk(root)
            try:
                yield Home(state, disk, token or _kept_token(own / "token"))
            finally:
                disk.close()
        finally:
            state.close()


@contextmanager
def rehearsed(root: Path, *, token: str = "") -> Iterator[Home]:
    """The same without a trace: a copy of the state, and a disk that only takes notes."""
    state = State.scratch(root / OWN / "state.db")
    try:
        disk = NotedDisk(root)
        try:
            yield Home(state, disk, token or _kept_token(root / OWN / "token"), is_rehearsal=True)
        finally:
            disk.close()
    finally:
        state.close()


def is_set_up(root: Path) -> bool:
    """Whether a first run has found its workspace."""
    state = State.scratch(root / OWN / "state.db")
    try:
        return bool(state.fact("workspace_id"))
    finally:
        state.close()


async def set_up(home: Home, *, server: str, workspace: str, device: str) -> None:
    """The first time: find the workspace and write down what later runs need. NotSetUp says what is missing."""
    state = home.state
    if not home.token:
        raise NotSetUp("There is no token: give one with --token-stdin or in MDSERVER_TOKEN.")
    known = state.fact("server")
    if known and server and server.rstrip("/") != known:
        raise NotSetUp(f"This folder belongs to {known}, not to {server}.")
    if not known and not server:
        raise NotSetUp("Name the server with --server the first time.")
    if state.fact("workspace_id"):
        if workspace and workspace not in (state.fact("workspace_id"), state.fact("workspace_name")):
            raise NotSetUp(
                f"This folder belongs to the workspace “{state.fact('workspace_name')}”, not to {workspace}."
            )
        return
    async with Client(known or server, home.token) as client:
        chosen = chosen_of(await client.workspaces(), workspace)
    with state.transaction():
        state.set_fact("server", (known or server).rstrip("/"))
        state.set_fact("device", _device(device))
        state.set_fact("workspace_id", chosen.id)
        state.set_fact("workspace_name", chosen.name)
    home.keep_token()


def chosen_of(found: list[Workspace], wanted: str) -> Workspace:
    """The workspace of this name or id, or the only one. NotSetUp names those there are."""
    fitting = [one for one in found if not wanted or wanted in (one.id, one.name)]
    if len(fitting) == 1:
        return fitting[0]
    if not found:
        raise NotSetUp("The token sees no workspace.")
    names = "".join(f"\n  {one.name} ({one.id})" for one in found)
    if not fitting:
        raise NotSetUp(f"There is no workspace “{wanted}”. There are:{names}")
    raise NotSetUp(f"Say which workspace with --workspace:{names}")


def _device(name: str) -> str:
    """One line of at most 100 characters, as the server takes it."""
    line = "".join(one for one in name or platform.node() if one.isprintable())
    return line[:100] or "folder"


def _keep_token(path: Path, token: str) -> None:
    partial = path.with_name("token.new")
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(token)
        file.flush()
        os.fsync(handle)
    partial.replace(path)


def _kept_token(path: Path) -> str:
    with suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8").strip()
    return ""
