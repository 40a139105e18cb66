"""Having chores done: by the server that runs on the data directory, or in this process while none does."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from mdserver.config import Config
from mdserver.errors import Busy, Problem
from mdserver.store.datadir import DataDirectory, InUse, Running

from .chore import Answer, Ask, Chore, House

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds to wait for a holder of the lock that takes no chores: a server that starts, or another command."""


class Run(Protocol):
    """Does one chore and gives its answer; Problem says why it could not be."""

    def __call__(self, chore: Chore[Ask, Answer], ask: Ask) -> Answer: ...


class _Refusal(msgspec.Struct):
    detail: str = "Something broke in the server; it was logged there."
    slug: str = "internal"


@contextlib.contextmanager
def reaching(config: Config, *, patience: float = PATIENCE) -> Iterator[Run]:
    """A way to have chores done. InUse when a process holds the data directory and takes none."""
    directory = DataDirectory(config.server.data)
    directory.prepare()
    with contextlib.ExitStack() as stack:
        give_up = time.monotonic() + patience
        while True:
            try:
                directory.lock()
            except InUse as error:
                connection = _connected(directory.running())
                if connection is not None:
                    stack.enter_context(contextlib.closing(connection))
                    yield _Remote(connection)
                    return
                if time.monotonic() > give_up:
                    raise InUse(f"{error} It takes no commands: wait until it is done, or stop it.") from error
                time.sleep(0.1)
            else:
                break
        stack.callback(directory.unlock)
        directory.tell(Running(pid=os.getpid(), control=""))
        yield stack.enter_context(_at_home(config, directory))


@contextlib.contextmanager
def _at_home(config: Config, directory: DataDirectory) -> Iterator[Run]:
    """Chores done in this process, which has the lock."""
    from mdserver.app import open_database
    from mdserver.crypto import PROFILES, Passwords
    from mdserver.jobs.table import jobs, scheduled_backups
    from mdserver.jobs.timetable import Timetable
    from mdserver.model.updates import Door

    with asyncio.Runner() as runner:
        database, _, _ = runner.run(open_database(config, directory))
        passwords = Passwords(PROFILES[config.accounts.password_hashing])
        house = House(
            config=config,
            database=database,
            door=Door(database, maximum_bytes=config.limits.document),
            passwords=passwords,
            timetable=Timetable(database, jobs(config, database, scheduled_backups(config, database))),
            url=config.server.url(),
            has_accounts=lambda: directory.setup_code.unlink(missing_ok=True),
        )

        def run(chore: Chore[Ask, Answer], ask: Ask) -> Answer:
            async def work() -> Answer:
                return await chore.do(house, ask)

            return runner.run(work())

        try:
            yield run
        finally:
            passwords.close()
            runner.run(database.close())


class _Remote:
    """Chores done by the running server."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection

    def __call__(self, chore: Chore[Ask, Answer], ask: Ask) -> Answer:
        try:
            self._connection.request(
                "POST", f"/chores/{chore.name}", msgspec.json.encode(ask), {"Content-Type": "application/json"}
            )
            response = self._connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Busy("The server went away while it worked on this: look what it has done, and try again.") from error
        if response.status != 200:
            raise _problem(response.status, data)
        return msgspec.json.decode(data, type=chore.answer)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.sock.connect(os.fspath(self._path))
        except BaseException:
            self.sock.close()
            raise


def _connected(running: Running | None) -> _UnixConnection | None:
    """A connection to the server that holds the lock; None when nobody answers."""
    if running is None or not running.control:
        return None
    connection = _UnixConnection(Path(running.control))
    try:
        connection.connect()
    except OSError:
        return None
    return connection


def _problem(status: int, data: bytes) -> Problem:
    try:
        refusal = msgspec.json.decode(data, type=_Refusal)
    except msgspec.DecodeError:
        refusal = _Refusal()
    problem: Any = Problem(refusal.detail, slug=refusal.slug)
    problem.status = status
    made: Problem = problem
    return made
