"""What sync costs: `python -m tests.bench --only sync`.

Devices ask one server on its own core, over one connection. A hundred thousand documents are compared with a thousand
in the same run; two folders on the same machine say how long an edit takes from one file to the other.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from mdserver import ids

from . import machine
from .corpus import texts
from .growing import grow
from .servers import MDServer, Running, ask, call, connected

FEW, MANY = 1_000, 100_000
PULLED = 10_000
LENGTH = 1_000  # characters of a document
CHANGED = 10
PUSHED = 500
EDITS = 60
PATIENCE = 30.0


def measure(reps: int, say: Callable[[str], None]) -> str:
    """Fill two servers, and ask them: → a table."""
    server_core, own_core = machine.cores() or (None, None)
    rows = ["| work | median | range |", "|---|---|---|"]

    def row(what: str, values: list[float], unit: str = "ms") -> None:
        rows.append(f"| {what} | {median(values):,.1f} {unit} | {min(values):,.1f}–{max(values):,.1f} |")
        say(rows[-1])

    with tempfile.TemporaryDirectory(prefix="mdserver-bench-") as place, machine.pinned(own_core):
        few, many = (_filled(Path(place) / name, count, server_core) for name, count in (("few", FEW), ("many", MANY)))
        say(f"{FEW:,} and {MANY:,} documents")
        with few.running(server_core) as small, many.running(server_core) as large:
            pulls = [_first_pull(large) for _ in range(reps)]
            row(f"first pull of {PULLED:,} documents with texts", [1000 * seconds for seconds, _ in pulls])
            row("the same: CPU of the server", [1000 * cpu for _, cpu in pulls])
            found = [(_incremental(small), _incremental(large)) for _ in range(5 * reps)]
            row(f"pull of {CHANGED} changes among {FEW:,}", [one for one, _ in found])
            row(f"pull of {CHANGED} changes among {MANY:,}", [one for _, one in found])
            row("the second beside the first", [large / small for small, large in found], "×")
            pushes = [_push(large) for _ in range(reps)]
            row(f"push of {PUSHED} new documents", [one for one, _ in pushes])
            row(f"push of {PUSHED} edits of them", [one for _, one in pushes])
        with few.running(server_core) as small, _folders(small, Path(place)) as (one, other):
            times = _from_folder_to_folder(one, other)
        row(f"from an edit in one folder to the file in another, {EDITS} edits", times)
        rows.append(f"| the same, 95 of 100 within | {quantiles(times, n=20)[-1]:,.1f} ms | |")
    return "\n".join(rows)


class _Filled:
    """A directory with documents, and a token for it."""

    def __init__(self, directory: Path, token: str) -> None:
        self.directory, self.token = directory, token

    @contextmanager
    def running(self, core: int | None) -> Iterator[_Served]:
        with MDServer().running(self.directory, core) as server:
            yield _Served(server, self.token)


class _Served:
    """A server that listens, and a device that has pulled everything."""

    def __init__(self, server: Running, token: str) -> None:
        self.port, self.pid, self.token = server.port, server.pid, token
        self.headers = {"Authorization": f"Bearer {token}"}
        self.workspace = call(server.port, "GET", "/api/v1/workspaces", headers=self.headers).json["items"][0]["id"]
        self.documents: list[str] = []
        self.cursor = self.pull("", limit=500, most=MANY)

    def pull(self, cursor: str, *, limit: int, most: int, include: str = "") -> str:
        """Pull page by page over one connection until that many documents were told; where it has come to."""
        with connected(self.port) as connection:
            told, has_more = 0, True
            while has_more and told < most:
                query = f"?limit={limit}" + (f"&cursor={cursor}" if cursor else "") + include
                page = ask(connection, "GET", f"/api/v1/sync{query}", None, self.headers).json
                documents = [one["id"] for one in page["changes"] if one["entity"] == "document"]
                told += len(documents)
                if len(self.documents) < FEW:
                    self.documents += documents
                cursor, has_more = page["next_cursor"], page["has_more"]
        return cursor

    def push(self, operations: list[dict[str, Any]]) -> float:
        """Bring operations, all of which must be applied; milliseconds."""
        began = time.perf_counter()
        body = {"device_id": "bench", "operations": operations}
        results = call(self.port, "POST", "/api/v1/sync", body, self.headers).json["results"]
        took = 1000 * (time.perf_counter() - began)
        if any(one["status"] != "applied" for one in results):
            raise RuntimeError("an operation was not applied")
        return took


def _filled(directory: Path, count: int, core: int | None) -> _Filled:
    directory.mkdir()
    server = MDServer()
    server.fill(directory, list(texts(50)), core)
    asyncio.run(grow(directory / "data" / "mdserver.sqlite3", LENGTH, lambda number: number >= count - 50))
    scopes = ("--scope", "read", "--scope", "write")
    token = server._run(directory, "token", "create", "bench@example.org", "--name", "sync", *scopes)["token"]
    return _Filled(directory, token)


def _first_pull(served: _Served) -> tuple[float, float]:
    """Seconds, and seconds of the server's CPU."""
    before, began = machine.cpu_seconds(served.pid), time.perf_counter()
    served.pull("", limit=500, most=PULLED, include="&include=content")
    return time.perf_counter() - began, machine.cpu_seconds(served.pid) - before


def _incremental(served: _Served) -> float:
    """Milliseconds of a pull that brings what was just changed."""
    titles = [
        {"op_id": str(uuid.uuid4()), "type": "document.retitle", "id": one, "title": str(uuid.uuid4())}
        for one in served.documents[:CHANGED]
    ]
    served.push(titles)
    with connected(served.port) as connection:
        ask(connection, "GET", "/api/v1/me", None, served.headers)  # the connection is there
        began = time.perf_counter()
        path = f"/api/v1/sync?cursor={served.cursor}&include=content"
        page = ask(connection, "GET", path, None, served.headers).json
        took = 1000 * (time.perf_counter() - began)
    if len(page["changes"]) != CHANGED or page["has_more"]:
        raise RuntimeError(f"{len(page['changes'])} changes were told")
    served.cursor = page["next_cursor"]
    return took


def _push(served: _Served) -> tuple[float, float]:
    """Milliseconds for new documents, and for an edit of each."""
    made = [
        {
            "op_id": str(uuid.uuid4()),
            "type": "document.create",
            "id": ids.new(),
            "workspace_id": served.workspace,
            "title": one.title,
            "content": one.content,
        }
        for one in texts(PUSHED)
    ]
    edits = [
        {
            "op_id": str(uuid.uuid4()),
            "type": "document.edit",
            "id": one["id"],
            "base_version": 1,
            "content": one["content"] + "\nOne more line.\n",
        }
        for one in made
    ]
    times = served.push(made), served.push(edits)
    served.cursor = served.pull(served.cursor, limit=500, most=MANY)
    return times


@contextmanager
def _folders(served: _Served, place: Path) -> Iterator[tuple[Path, Path]]:
    """Two folders that are kept in step with a workspace."""
    found = []
    with ExitStack() as stack:
        for name in ("one", "other"):
            folder = place / name
            folder.mkdir()
            command = [sys.executable, "-m", "mdserver", "sync", str(folder)]
            first = [*command, "--server", f"http://127.0.0.1:{served.port}", "--once"]
            environment = {**os.environ, "MDSERVER_TOKEN": served.token}
            subprocess.run(first, env=environment, check=True, capture_output=True)
            running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(running.wait)
            stack.callback(running.terminate)
            found.append(folder)
        time.sleep(5)
        yield found[0], found[1]


def _from_folder_to_folder(one: Path, other: Path) -> list[float]:
    """Milliseconds from a file's being written to its twin's saying the same."""
    files = sorted(path.relative_to(one) for path in one.rglob("*.md"))[:EDITS]
    times = []
    for number, file in enumerate(files):
        text = (one / file).read_text() + f"\nEdit {number}.\n"
        began = time.perf_counter()
        (one / file).write_text(text)
        while (other / file).read_text() != text:
            if time.perf_counter() - began > PATIENCE:
                raise RuntimeError(f"{file} does not come")
            time.sleep(0.002)
        times.append(1000 * (time.perf_counter() - began))
        time.sleep(0.3)
    return times
