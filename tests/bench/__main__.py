"""`python -m tests.bench`: mdserver beside its peers and a bare aiohttp handler, in interleaved repetitions.

Prints a Markdown table; says on standard error what it is at. The status is 0 unless something broke: what is slower
than it should be is for people to read.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import backup, live, load, machine, sync
from .corpus import texts
from .load import Load
from .report import OURS, SMALL, Record, disturbance, table
from .servers import Bare, Datasette, MDServer, PocketBase, Running, Server, Work

# What is measured when: each kind of work on all servers before the next kind.
ORDER = ("hello", "304", "read", "storm", "list", "search", "create")
CHOICES = ("read", "304", "storm", "list", "search", "create", "start", "memory", "growth")
BACKUP, LIVE, SYNC = "backup", "live", "sync"
FEW = 1000
SETTLING = 1.0


@dataclass(slots=True)
class Subject:
    """A server with its filled directory and what can be asked of it."""

    server: Server
    directory: Path
    works: dict[str, Work] = field(default_factory=dict)
    serial: int = 0


def main() -> int:
    options = _options()
    if options.only == [BACKUP]:  # takes minutes, and compares with nobody
        print(backup.measure(options.megabytes, _say))
        return 0
    if options.only == [LIVE]:  # other peers, another generator
        print(live.measure(options.reps, options.scenarios, _say))
        return 0
    if options.only == [SYNC]:
        print(sync.measure(options.reps, _say))
        return 0
    cores = machine.cores()
    server_core, own_core = cores or (None, None)
    only = frozenset(options.only or CHOICES)
    records: list[Record] = []
    with (
        tempfile.TemporaryDirectory(prefix="mdserver-bench-") as place,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as generator,
    ):
        with machine.pinned(own_core):
            subjects = _filled(Path(place), options, only, server_core)
            generator.submit(os.getpid).result(60)  # starts the child here, on the generator's core
        for repetition in range(options.reps):
            with machine.pinned(own_core):
                records += _repetition(repetition, subjects, generator, options, only, server_core)
        versions = ", ".join(dict.fromkeys(one.server.version for one in subjects))
    if options.json is not None:
        options.json.write_text("".join(json.dumps(one) + "\n" for one in records))
    print(table(records) or "Nothing was measured beside anything else: --json has the figures.", end="\n\n")
    if warning := disturbance(records):
        print(warning, end="\n\n")
    print(_method(options, versions, cores))
    if wrong := [one for one in records if one.get("unexpected")]:
        for one in wrong:
            _say(f"{one['server']}, {one['work']}: unexpected answers {one['unexpected']}")
        return 1
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--reps", type=int, default=5, help="interleaved repetitions [5]")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each load lasts [3]")
    parser.add_argument("--documents", type=int, default=10_000, help="documents in each server [10000]")
    parser.add_argument("--connections", type=int, default=32, help="clients at once [32]")
    only = f"only some of {', '.join(CHOICES)}; or {BACKUP}, {LIVE} or {SYNC}, alone"
    parser.add_argument("--only", nargs="+", choices=(*CHOICES, BACKUP, LIVE, SYNC), metavar="WORK", help=only)
    parser.add_argument("--megabytes", type=int, default=1000, help=f"size of the database for {BACKUP} [1000]")
    parser.add_argument("--scenarios", nargs="+", metavar="NAME", help=f"only some of those of {LIVE}")
    parser.add_argument("--without-peers", action="store_true", help="leave PocketBase and datasette out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every record there, one JSON object a line")
    return parser.parse_args()


def _filled(place: Path, options: argparse.Namespace, only: frozenset[str], core: int | None) -> list[Subject]:
    """Every server with its documents in a directory of its own."""
    servers: dict[Server, int] = {MDServer(OURS): options.documents, Bare(): 0}
    if "growth" in only:
        servers[MDServer(SMALL)] = min(FEW, options.documents)
    if not options.without_peers:
        for peer in (PocketBase(), Datasette()):
            if peer.is_installed:
                servers[peer] = options.documents
            else:
                _say(f"{peer.name} is not installed (pip install -e '.[bench]' brings it): going on without")
    subjects = []
    for number, (server, count) in enumerate(servers.items()):
        directory = place / f"filled-{number}"
        directory.mkdir()
        began = time.perf_counter()
        works = server.fill(directory, list(texts(count)), core)
        for one in works.values():  # documents are asked for in no order that a cache or a page could know
            random.Random(1).shuffle(one.requests)
        subjects.append(Subject(server, directory, works))
        if count:
            _say(f"{server.name}: {count:,} documents in {time.perf_counter() - began:.1f} s")
    return subjects


def _repetition(
    number: int,
    subjects: list[Subject],
    generator: ProcessPoolExecutor,
    options: argparse.Namespace,
    only: frozenset[str],
    core: int | None,
) -> list[Record]:
    """Start all servers on fresh copies, then each kind of work on one after the other."""
    records: list[Record] = []
    with contextlib.ExitStack() as stack:
        running: list[tuple[Subject, Running]] = []
        for subject in subjects:
            copy = subject.directory.with_name("serving-" + subject.directory.name)
            shutil.copytree(subject.directory, copy)
            stack.callback(shutil.rmtree, copy, ignore_errors=True)
            server = stack.enter_context(subject.server.running(copy, core))
            running.append((subject, server))
            if "start" in only:
                records.append(
                    _record(number, subject, "start", seconds=server.seconds, cpu_seconds=server.cpu_seconds)
                )
        time.sleep(SETTLING)

        def look(work: str) -> None:
            for subject, server in running:
                used = machine.memory(server.pid)
                records.append(_record(number, subject, work, resident_mb=used.resident, own_mb=used.own))

        if "memory" in only:
            look("idle")
        turn = number % len(running)  # who goes first, changes
        for work in ORDER:
            if work == "create" and "memory" in only:
                look("loaded")
            for subject, server in running[turn:] + running[:turn]:
                if work in subject.works and _is_wanted(subject.server.name, work, only):
                    records.append(_loaded(number, subject, server, work, generator, options))
    return records


def _is_wanted(server: str, work: str, only: frozenset[str]) -> bool:
    if work == "hello":
        return bool(only & {"read", "304"})
    if server == SMALL:
        return work in ("read", "list")
    if work == "read" and only & {"memory", "storm"} and server == OURS:
        return True
    return work in only or (server == OURS and work in ("read", "list") and "growth" in only)


def _loaded(
    number: int,
    subject: Subject,
    server: Running,
    name: str,
    generator: ProcessPoolExecutor,
    options: argparse.Namespace,
) -> Record:
    work = subject.works[name]
    job = Load(
        port=server.port,
        pid=server.pid,
        requests=work.requests,
        expected=work.expected,
        connections=options.connections,
        seconds=options.seconds,
        first_serial=subject.serial,
        beside=work.beside,
        settles=work.settles,
    )
    outcome = generator.submit(load.run, job).result(options.seconds + 60 + load.SETTLING)
    subject.serial = outcome.serial
    _say(
        f"{number + 1}/{options.reps} {subject.server.name}, {name}: {outcome.per_second:,.0f}/s, "
        f"{outcome.cpu_us:,.0f} µs CPU (server {outcome.server_busy:.0%}, generator {outcome.generator_busy:.0%})"
    )
    return _record(number, subject, name, **asdict(outcome))


def _record(number: int, subject: Subject, work: str, **figures: object) -> Record:
    return {"repetition": number, "server": subject.server.name, "work": work, **figures}


def _method(options: argparse.Namespace, versions: str, cores: tuple[int, int] | None) -> str:
    if cores is None:
        where = "nothing pinned to a core"
    elif cores[0] == cores[1]:
        where = "servers and generator on the one core there is"
    else:
        where = "servers on one core, the generator on another"
    beside = (
        "PocketBase is held to one processor here and would use more; it commits with synchronous=NORMAL and looks for "
        "words with LIKE. datasette answers with whole rows in no order of rank. "
    )
    if "PocketBase" not in versions:
        beside = ""
    return (
        f"{versions}, Python {platform.python_version()}; {options.reps} × {options.seconds:g} s of each, interleaved; "
        f"{options.connections} connections, {options.documents:,} documents of about 1.5 kB, {where}. Ratios are "
        "medians of those of each repetition (range in brackets); CPU per request is the figure to trust. mdserver "
        "runs as it does by default (SQLite with synchronous=FULL, a log line for each request, here into the null "
        "device), but without rate limits; its start finds byte code, as an installed program does. "
        f"{beside}Memory is what is resident; pages of the mapped database are a part of it that grows with use and "
        "that the system takes back at will."
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
