"""A backup of a large database while people work: how much memory it takes, and what the requests feel of it."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from . import load, machine
from .corpus import texts
from .growing import grow
from .load import Load, Outcome
from .servers import MDServer, Work, call

DOCUMENT = 20_000  # characters
WINDOW = 2.0
ALONE = 6
CONNECTIONS = 4
"""Few enough to leave the server some rest: where it has none, p99 is the length of the queue."""

SCHEDULED = {"MDSERVER_BACKUP__SCHEDULE": "31 days"}


@dataclass(slots=True)
class Backup:
    """One that is under way, and the memory of the process that makes it."""

    thread: threading.Thread | None = None
    memory: list[float] = field(default_factory=list)
    seconds: float = 0.0
    archive: int = 0
    failed: bool = False

    @property
    def is_over(self) -> bool:
        return self.thread is not None and not self.thread.is_alive()


def measure(megabytes: int, say: Callable[[str], None]) -> str:
    """Fill a database, load its server alone and during backups, made by a command and by the server: → a table."""
    server_core, own_core = machine.cores() or (None, None)
    rows = [
        "| requests | backup by | p99 alone | p99 meanwhile | memory of the process | took |",
        "|---|---|---|---|---|---|",
    ]
    with (
        tempfile.TemporaryDirectory(prefix="mdserver-bench-") as place,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as generator,
        machine.pinned(own_core),
    ):
        directory = Path(place)
        generator.submit(os.getpid).result(60)
        server = MDServer()
        works = server.fill(directory, list(texts(500)), server_core)
        path = directory / "data" / "mdserver.sqlite3"
        asyncio.run(grow(path, DOCUMENT, lambda number: path.stat().st_size >= megabytes * 1_000_000))
        size = path.stat().st_size
        say(f"a database of {size / 1e6:,.0f} MB")
        for name in ("read", "create"):
            with server.running(directory, server_core) as running:
                job = _job(works[name], running.port, running.pid)
                _run(generator, job)  # warm
                alone = [_run(generator, job) for _ in range(ALONE)]
                with _by_command(server, directory) as backup:
                    during = _until_over(generator, job, backup)
            archive = backup.archive
            rows.append(_row(name, "a command", alone, during, backup))
            say(rows[-1])
            own = MDServer()
            own.environment = {**server.environment, **SCHEDULED}
            with own.running(directory, server_core) as running, _by_itself(running.port, running.pid) as backup:
                during = _until_over(generator, _job(works[name], running.port, running.pid), backup)
            shutil.rmtree(directory / "data" / "backups")
            rows.append(_row(name, "the server", alone, during, backup))
            say(rows[-1])
    return "\n".join([*rows, "", f"A database of {size / 1e6:,.0f} MB, an archive of {archive / 1e6:,.0f} MB."])


def _job(work: Work, port: int, pid: int) -> Load:
    return Load(
        port=port,
        pid=pid,
        requests=work.requests,
        expected=work.expected,
        connections=CONNECTIONS,
        seconds=WINDOW,
    )


def _run(generator: ProcessPoolExecutor, job: Load) -> Outcome:
    fresh = replace(job, first_serial=random.randrange(10**7))
    return generator.submit(load.run, fresh).result(120)


def _until_over(generator: ProcessPoolExecutor, job: Load, backup: Backup) -> list[Outcome]:
    """Windows of load that ended before the backup did."""
    found: list[Outcome] = []
    while True:
        outcome = _run(generator, job)
        if backup.is_over:
            return found
        found.append(outcome)


@contextmanager
def _watched(pid: int, ended: Callable[[], bool]) -> Iterator[Backup]:
    backup = Backup()
    began = time.perf_counter()

    def watch() -> None:
        while not ended():
            backup.memory.append(machine.memory(pid).own)
            time.sleep(0.1)
        backup.seconds = time.perf_counter() - began

    backup.thread = threading.Thread(target=watch)
    backup.thread.start()
    try:
        yield backup
    finally:
        backup.thread.join()


@contextmanager
def _by_command(server: MDServer, directory: Path) -> Iterator[Backup]:
    target = directory / "backup.tar"
    command = server._said(directory, "backup", str(target), "--yes")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        with _watched(process.pid, lambda: process.poll() is not None) as backup:
            yield backup
        backup.archive = target.stat().st_size
        if process.returncode:
            raise RuntimeError(f"the backup ended with status {process.returncode}")


@contextmanager
def _by_itself(port: int, pid: int) -> Iterator[Backup]:
    """The server begins one as soon as it has started, since there is none."""

    def ended() -> bool:
        state: str = call(port, "GET", "/readyz").json["checks"]["backup"]
        if state.startswith("failed"):
            raise RuntimeError(state)
        return state.startswith("made")

    with _watched(pid, ended) as backup:
        yield backup


def _row(name: str, by: str, alone: list[Outcome], during: list[Outcome], backup: Backup) -> str:
    before, meanwhile = [one.p99_ms for one in alone], [one.p99_ms for one in during]
    if not meanwhile:
        return f"| {name} | {by} | {median(before):.1f} ms | over within {WINDOW:g} s | | | {backup.seconds:.1f} s |"
    half = len(backup.memory) // 2
    first, most = max(backup.memory[: half or 1]), max(backup.memory)
    speed, slower = (median(one.per_second for one in found) for found in (alone, during))
    cells = (
        f"{name}, {speed:,.0f}/s, {slower:,.0f}/s meanwhile",
        by,
        f"{median(before):.1f} ms ({min(before):.1f}–{max(before):.1f})",
        f"{median(meanwhile):.1f} ms ({min(meanwhile):.1f}–{max(meanwhile):.1f})",
        f"{median(meanwhile) / median(before):.2f}×",
        f"≤ {most:.0f} MB, {max(0.0, most - first):+.1f} MB in the second half",
        f"{backup.seconds:.1f} s",
    )
    return f"| {' | '.join(cells)} |"
