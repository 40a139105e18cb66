"""The servers that are measured: how each is started, filled and asked."""

from __future__ import annotations

import contextlib
import http.client
import importlib.metadata
import json
import os
import random
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import sysconfig
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from . import machine
from .corpus import Text
from .load import SERIAL

EMAIL, PASSWORD = "bench@example.org", "a sentence for measuring"
PATIENCE = 60.0
_SAMPLES = 64  # texts that creating takes in turn


class Failed(Exception):
    """A server did not start, or refused what it was asked while being set up."""


@dataclass(frozen=True, slots=True)
class Work:
    """Requests of one kind, and the status that answers them; what is asked beside them, and whether work is left."""

    requests: list[bytes]
    expected: int = 200
    beside: list[bytes] = field(default_factory=list)
    settles: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """A server that listens, and what it took to get there."""

    pid: int
    port: int
    seconds: float
    cpu_seconds: float


class Server(ABC):
    """One of those compared. `fill` is called once, with an empty directory; copies of that are served later."""

    name: str
    alive: str
    """A path that is answered 200 without signing in, as soon as the server can work."""

    environment: Mapping[str, str] = {}

    @property
    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    def command(self, directory: Path, port: int) -> list[str]: ...

    @abstractmethod
    def fill(self, directory: Path, texts: list[Text], core: int | None) -> dict[str, Work]:
        """Put the documents in; what can be asked, by the name of the work."""

    @contextlib.contextmanager
    def running(self, directory: Path, core: int | None) -> Iterator[Running]:
        """Start it on a core; stop it in the end. Its output goes to the null device."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MDSERVER_")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has byte code: filling leaves it here
        port = _free_port()
        command = self.command(directory, port)
        with machine.pinned(core):
            began = time.perf_counter()
            process = subprocess.Popen(
                command,
                env=environment | dict(self.environment),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        try:
            self._wait(process, port)
            seconds = time.perf_counter() - began
            yield Running(process.pid, port, seconds, machine.cpu_seconds(process.pid))
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _wait(self, process: subprocess.Popen[bytes], port: int) -> None:
        """Until the first good answer."""
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            if process.poll() is not None:
                raise Failed(f"{self.name} ended with status {process.returncode} instead of starting")
            try:
                call(port, "GET", self.alive)
            except (OSError, http.client.HTTPException, Failed):
                time.sleep(0.004)
            else:
                return
        raise Failed(f"{self.name} did not start within {PATIENCE:.0f} seconds")


class MDServer(Server):
    """This project, as `mdserver serve` runs it: SQLite with FULL, uvloop if installed, a line for each request."""

    alive = "/healthz"
    environment = {"MDSERVER_RATES__ENABLED": "false"}  # noqa: RUF012 (never changed)

    def __init__(self, name: str = "mdserver") -> None:
        self.name = name

    @property
    def version(self) -> str:
        return f"mdserver {importlib.metadata.version('mdserver')}"

    def command(self, directory: Path, port: int) -> list[str]:
        return self._said(directory, "serve", "--listen", f"127.0.0.1:{port}")

    def fill(self, directory: Path, texts: list[Text], core: int | None) -> dict[str, Work]:
        self._run(directory, "user", "create", EMAIL, "--password-stdin", given=PASSWORD)
        scopes = ("--scope", "read", "--scope", "write")
        token = self._run(directory, "token", "create", EMAIL, "--name", "bench", *scopes)["token"]
        signed_in = {"Authorization": f"Bearer {token}"}
        with self.running(directory, core) as server:
            workspace = call(server.port, "GET", "/api/v1/workspaces", headers=signed_in).json["items"][0]["id"]
            place = f"/api/v1/workspaces/{workspace}/documents"

            def add(share: list[Text]) -> list[tuple[str, str]]:
                made = []
                with connected(server.port) as connection:
                    for one in share:
                        body = {"title": one.title, "content": one.content}
                        answer = ask(connection, "POST", place, body, signed_in)
                        made.append((f"/api/v1/documents/{answer.json['id']}", answer.headers["ETag"]))
                return made

            width = 16
            with ThreadPoolExecutor(width) as pool:
                made = [one for share in pool.map(add, [texts[n::width] for n in range(width)]) for one in share]
            self._wait_for_the_index(directory, len(texts))
            self._run(directory, "job", "run", "tidy-search")  # as any server has done by itself after some time
        created = [{"title": f"{SERIAL.decode()} {one.title}", "content": one.content} for one in texts[:_SAMPLES]]
        reads = [request("GET", path, signed_in) for path, _ in made]
        searching, words = "/api/v1/search?limit=20&q=", wanted(texts)
        return {
            "read": Work(reads),
            "storm": Work(reads, beside=[request("GET", f"{searching}{quote(one[:3])}*", signed_in) for one in words]),
            "search": Work([request("GET", f"{searching}{quote(one)}", signed_in) for one in words]),
            "304": Work([request("GET", path, {**signed_in, "If-None-Match": tag}) for path, tag in made], 304),
            "list": Work([request("GET", f"{place}?limit=50", signed_in)]),
            "create": Work([request("POST", place, signed_in, body) for body in created], 201, settles=True),
        }

    def _wait_for_the_index(self, directory: Path, count: int) -> None:
        """Until every document is in the search index."""
        with contextlib.closing(sqlite3.connect(directory / "data" / "mdserver.sqlite3")) as database:
            give_up = time.monotonic() + PATIENCE
            while database.execute("SELECT count(*) FROM search_documents").fetchone()[0] < count:
                if time.monotonic() > give_up:
                    raise Failed("mdserver's search index does not get ready")
                time.sleep(0.1)

    def _said(self, directory: Path, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "mdserver", "--data", str(directory / "data"), *arguments]

    def _run(self, directory: Path, *arguments: str, given: str = "") -> Any:
        command = self._said(directory, *arguments, "--json")
        done = subprocess.run(command, input=given + "\n", capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode:
            raise Failed(f"mdserver {' '.join(arguments[:2])}: {done.stderr.strip()}")
        return json.loads(done.stdout)


class PocketBase(Server):
    """One collection whose rules ask for a signed-in user; Go is held to one processor."""

    name = "PocketBase"
    alive = "/api/health"
    environment = {"GOMAXPROCS": "1"}  # noqa: RUF012 (never changed)

    def __init__(self) -> None:
        beside = Path(sysconfig.get_path("scripts")) / "pocketbase"
        self._program = str(beside) if beside.exists() else shutil.which("pocketbase")

    @property
    def is_installed(self) -> bool:
        return self._program is not None

    @property
    def version(self) -> str:
        said = subprocess.run(self._said("--version"), capture_output=True, text=True, timeout=PATIENCE).stdout
        return f"PocketBase {said.split()[-1]}"

    def command(self, directory: Path, port: int) -> list[str]:
        return self._said("serve", "--http", f"127.0.0.1:{port}", "--dir", str(directory / "pb_data"))

    def fill(self, directory: Path, texts: list[Text], core: int | None) -> dict[str, Work]:
        command = self._said("superuser", "upsert", EMAIL, PASSWORD, "--dir", str(directory / "pb_data"))
        subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True, cwd=directory)
        place = "/api/collections/notes/records"
        with self.running(directory, core) as server:
            superuser = {"Authorization": self._token(server.port, "_superusers")}

            def tell(method: str, path: str, body: object) -> Any:
                return call(server.port, method, path, body, superuser).json

            tell("POST", "/api/collections", _collection())
            account = {"email": EMAIL, "password": PASSWORD, "passwordConfirm": PASSWORD, "verified": True}
            tell("POST", "/api/collections/users/records", account)
            batches = {"enabled": True, "maxRequests": 200, "timeout": 60}
            tell("PATCH", "/api/settings", {"batch": batches, "logs": {"maxDays": 0}})
            signed_in = {"Authorization": self._token(server.port, "users")}
            paths: list[str] = []
            for start in range(0, len(texts), 200):
                share = [{"method": "POST", "url": place, "body": one._asdict()} for one in texts[start : start + 200]]
                made = tell("POST", "/api/batch", {"requests": share})
                paths += [f"{place}/{one['body']['id']}" for one in made]
        created = [{"title": f"{SERIAL.decode()} {one.title}", "content": one.content} for one in texts[:_SAMPLES]]
        searched = f"{place}?perPage=20&skipTotal=1&fields=id,title&filter="
        listed = f"{place}?perPage=50&sort=-updated&skipTotal=1&fields=id,title,updated"
        return {
            "read": Work([request("GET", path, signed_in) for path in paths]),
            "list": Work([request("GET", listed, signed_in)]),
            "search": Work([request("GET", f"{searched}{quote(_contains(one))}", signed_in) for one in wanted(texts)]),
            "create": Work([request("POST", place, signed_in, body) for body in created], settles=True),
        }

    def _said(self, *arguments: str) -> list[str]:
        return [self._program or "pocketbase", *arguments]

    def _token(self, port: int, collection: str) -> str:
        who = {"identity": EMAIL, "password": PASSWORD}
        return str(call(port, "POST", f"/api/collections/{collection}/auth-with-password", who).json["token"])


class Datasette(Server):
    """One table with a full-text index, read-only."""

    name = "datasette"
    alive = "/-/versions.json"

    def __init__(self) -> None:
        self._program = Path(sysconfig.get_path("scripts")) / "datasette"

    @property
    def is_installed(self) -> bool:
        return self._program.exists()

    @property
    def version(self) -> str:
        return f"datasette {importlib.metadata.version('datasette')}"

    def command(self, directory: Path, port: int) -> list[str]:
        file = str(directory / "notes.db")
        return [str(self._program), "serve", "-i", file, "--host", "127.0.0.1", "--port", str(port)]

    def fill(self, directory: Path, texts: list[Text], core: int | None) -> dict[str, Work]:
        with contextlib.closing(sqlite3.connect(directory / "notes.db")) as database, database:
            database.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, title TEXT, content TEXT)")
            database.executemany("INSERT INTO notes (title, content) VALUES (?, ?)", texts)
            database.execute("CREATE VIRTUAL TABLE notes_fts USING fts5(title, content, content = 'notes')")
            database.execute("INSERT INTO notes_fts (notes_fts) VALUES ('rebuild')")
        place = "/notes/notes.json?_size=20&_shape=objects&_nocount=1&_nofacet=1&_search="
        return {"search": Work([request("GET", f"{place}{quote(one)}", {}) for one in wanted(texts)])}


class Bare(Server):
    """A handler that answers a few bytes, on the event loop that mdserver takes."""

    name = "bare aiohttp"
    alive = "/hello"

    @property
    def version(self) -> str:
        return f"aiohttp {importlib.metadata.version('aiohttp')}"

    def command(self, directory: Path, port: int) -> list[str]:
        return [sys.executable, str(Path(__file__).with_name("bare.py")), str(port)]

    def fill(self, directory: Path, texts: list[Text], core: int | None) -> dict[str, Work]:
        return {"hello": Work([request("GET", "/hello", {})])}


@dataclass(frozen=True, slots=True)
class Answer:
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@contextlib.contextmanager
def connected(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        yield connection
    finally:
        connection.close()


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: object, headers: Mapping[str, str]
) -> Answer:
    """One request while setting up. Failed unless it is answered 2xx."""
    data = json.dumps(body).encode() if body is not None else None
    kind = {"Content-Type": "application/json"} if data is not None else {}
    connection.request(method, path, data, {**headers, **kind})
    response = connection.getresponse()
    answered = response.read()
    if not 200 <= response.status < 300:
        raise Failed(f"{method} {path} was answered {response.status}: {answered[:300].decode(errors='replace')}")
    return Answer(response.headers, answered)


def call(port: int, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
    with connected(port) as connection:
        return ask(connection, method, path, body, headers or {})


def request(method: str, path: str, headers: Mapping[str, str], body: object = None) -> bytes:
    """The bytes of a request."""
    data = json.dumps(body, ensure_ascii=False).encode() if body is not None else b""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers.items())]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    return "\r\n".join((*lines, "", "")).encode() + data


def wanted(texts: list[Text]) -> list[str]:
    """Words to look for: each in some documents, neither in a few only nor in most."""
    found = Counter(word for one in texts for word in set(re.findall(r"[a-z]{4,}", one.content.lower())))
    some = sorted(word for word, often in found.items() if len(texts) / 500 <= often <= len(texts) / 5)
    return random.Random(1).sample(some, min(len(some), 200))


def _contains(word: str) -> str:
    return f"(title~'{word}'||content~'{word}')"


def _collection() -> dict[str, object]:
    rule = "@request.auth.id != ''"
    return {
        "name": "notes",
        "type": "base",
        **{f"{one}Rule": rule for one in ("list", "view", "create", "update", "delete")},
        "fields": [
            {"name": "title", "type": "text"},
            {"name": "content", "type": "text", "max": 1_000_000},
            {"name": "updated", "type": "autodate", "onCreate": True, "onUpdate": True},
        ],
        "indexes": ["CREATE INDEX notes_by_updated ON notes (updated)"],
    }


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
