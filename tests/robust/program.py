"""The real `mdserver serve` as a process that may be killed, its data directory, and clients that ask it."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mdserver import crypto
from mdserver.model import sessions, tokens, users
from mdserver.model.access import SCOPES
from mdserver.model.audit import Origin
from mdserver.model.sessions import Lifetimes
from mdserver.store.datadir import DataDirectory
from mdserver.store.db import Tx
from mdserver.store.migrate import migrate_sqlite
from mdserver.store.sqlite import SQLite

PATIENCE = 60.0
"""Seconds after which a program that does not answer is an error, on however busy a machine."""

SETTINGS = {"MDSERVER_RATES__ENABLED": "false", "MDSERVER_LOG__REQUESTS": "none", "MDSERVER_LOG__FORMAT": "human"}


@dataclass(frozen=True)
class Home:
    """A data directory with one account, by whose token everything is asked."""

    data: Path
    token: str
    workspace: str

    @property
    def database(self) -> Path:
        return self.data / "mdserver.sqlite3"


async def furnish(data: Path, *, synchronous: str = "FULL") -> Home:
    """Make a data directory with an account, its workspace and a token."""
    directory = DataDirectory(data)
    directory.prepare()
    database = await SQLite.open(directory.database, synchronous=synchronous)
    try:
        await migrate_sqlite(database, backups=directory.backups)

        def change(tx: Tx) -> tuple[str, str]:
            user = users.create(tx, email="ada@example.org", display_name="Ada", password_hash=None)
            origin = Origin(address="192.0.2.1", request_id="test", device="test")
            pair = sessions.start_app(tx, user.id, origin=origin, lifetimes=Lifetimes())
            known = sessions.look_up(tx, crypto.token_hash(pair.access_token), "access")
            assert known is not None
            made = tokens.create(
                tx, known.principal, name="robust", scopes=list(SCOPES), workspace_id=None, expires_at=None
            )
            return made.token, tx.value(str, "SELECT workspace_id FROM workspace_members") or ""

        token, workspace = await database.write(change)
    finally:
        await database.close()
    return Home(data, token, workspace)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"<{self.status} {self.body[:300]!r}>"


class Client:
    """One kept-alive connection of the account's. OSError or HTTPException when the server is gone."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._headers = {"Authorization": f"Bearer {token}"}

    def call(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One request below /api/v1, or at the root for a path that begins with `//`."""
        path = path[1:] if path.startswith("//") else f"/api/v1{path}"
        given = {**self._headers, **(headers or {})}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            given["Content-Type"] = "application/json"
        self._connection.request(method, path, data, given)
        response = self._connection.getresponse()
        return Answer(response.status, response.headers, response.read())

    def close(self) -> None:
        self._connection.close()


class Program:
    """The server on a data directory; `entry` are the interpreter's arguments in place of `-m mdserver`.

    Each life has a port of its own, unless `listens` says where those who come back by themselves find it.
    """

    def __init__(self, home: Home, *, entry: tuple[str, ...] = ("-m", "mdserver"), listens: int = 0) -> None:
        self.home = home
        self.port = listens
        self._entry, self._listens = entry, listens
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, environment: Mapping[str, str] | None = None, *, mortal: bool = False) -> bool:
        """Start it and wait until it listens; whether it did. Not when it ended before.

        `mortal`: bound by the permissions of files even when the tests run as root.
        """
        assert self._process is None or self._process.poll() is not None
        with (self.home.data.parent / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._entry, "serve", "--listen", f"127.0.0.1:{self._listens}", "--json"],
                env={**_clean(), **SETTINGS, "MDSERVER_DATA": str(self.home.data), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                preexec_fn=_without_override if mortal else None,
            )
        assert self._process.stdout is not None
        told = self._process.stdout.readline()  # ends with the process, too
        if not told:
            self._process.wait(PATIENCE)
            return False
        self.port = self._listens or urlsplit(json.loads(told)["url"]).port or 0
        return True

    @property
    def log(self) -> str:
        """What all its lives wrote to standard error."""
        return (self.home.data.parent / "log").read_text()

    def client(self) -> Client:
        return Client(self.port, self.home.token)

    @contextlib.contextmanager
    def asked(self) -> Iterator[Client]:
        """A connection for some questions."""
        client = self.client()
        try:
            yield client
        finally:
            client.close()

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        self.died()

    def died(self) -> int:
        """Wait for its end; the exit status, negative for a signal."""
        assert self._process is not None
        status = self._process.wait(PATIENCE)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return status

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def terminate(self) -> None:
        """SIGTERM."""
        assert self._process is not None
        self._process.terminate()

    def stop(self) -> None:
        """SIGTERM, if it runs, and wait for its end."""
        if self._process is not None:
            if self.runs:
                self.terminate()
            self.died()


def _without_override() -> None:
    """Give up CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH for good (prctl's PR_CAPBSET_DROP); others do not have them."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (1, 2):
            if libc.prctl(24, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("MDSERVER_", "LD_PRELOAD"))}
