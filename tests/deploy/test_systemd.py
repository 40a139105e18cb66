"""The systemd unit: what systemd says of it, what it is told, and the server behind its system call filter."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mdserver.config import describe
from mdserver.supervisor import Supervisor
from tests.cli.homes import PASSWORD, Home, taken_port

from .conftest import Manager

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "systemd" / "mdserver.service"
JAIL = Path(__file__).with_name("jail.py")

TARGETS = ("basic", "multi-user", "network-online", "shutdown", "sysinit")


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.usefixtures("systemd")
def test_the_unit_is_hardened() -> None:
    judged = analyze("security", "--offline=true", "--threshold=20", UNIT)  # tenths
    assert judged.returncode == 0, judged.stdout[-200:] + judged.stderr
    assert "Unknown" not in judged.stderr


def installed(tree: Path, unit: str) -> Path:
    """A directory tree as on a Debian machine where the unit is installed."""
    for path in ("etc/systemd/system", "usr/local/bin", "usr/lib/systemd/system"):
        (tree / path).mkdir(parents=True)
    (tree / "etc/systemd/system/mdserver.service").write_text(unit)
    program = tree / "usr/local/bin/mdserver"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for target in TARGETS:
        text = f"[Unit]\nDescription={target}\nDefaultDependencies=no\n"
        (tree / f"usr/lib/systemd/system/{target}.target").write_text(text)
    return tree


@pytest.mark.usefixtures("systemd")
def test_the_unit_says_nothing_that_systemd_does_not_know(tmp_path: Path) -> None:
    text = UNIT.read_text()
    good = analyze("verify", f"--root={installed(tmp_path / 'good', text)}", "mdserver.service")
    assert (good.returncode, good.stdout, good.stderr) == (0, "", "")
    # Older ones leave the exit status at 0 for a setting that they do not know: what they write is what counts.
    bad = text.replace("ProtectHome=", "ProtectHomes=")
    assert "Unknown key" in analyze("verify", f"--root={installed(tmp_path / 'bad', bad)}", "mdserver.service").stderr


def test_the_unit_names_credentials_that_are_keys() -> None:
    secrets = {f"mdserver.{key.section}.{key.key}" for key in describe() if key.secret}
    named = re.findall(r"LoadCredential=([^:]+):", UNIT.read_text())
    assert set(named) <= secrets


def test_the_unit_gives_the_server_its_time_to_stop() -> None:
    seconds = next(int(key.default) for key in describe() if (key.section, key.key) == ("server", "shutdown_seconds"))
    assert f"TimeoutStopSec={seconds + 5}" in UNIT.read_text()
    assert seconds <= 15


@pytest.mark.usefixtures("systemd")
def test_works_behind_the_units_system_call_filter(either: Home, tmp_path: Path) -> None:
    """Argon2, SQLite's memory maps, psycopg, uvloop and the Rust modules get by with what the unit allows."""
    either.words = [sys.executable, str(JAIL), str(UNIT), *either.words[:1], *either.words[1:]]
    refused = subprocess.run(
        [*either.words[:4], "-c", "import mmap; mmap.mmap(-1, 4096, prot=7)"], capture_output=True, text=True
    )
    assert "Operation not permitted" in refused.stderr  # so the filter is there
    either.environment["MDSERVER_SERVER__EVENT_LOOP"] = "uvloop"
    with either.serving() as server:
        account = {"email": "ada@example.org", "password": PASSWORD, "display_name": "Ada"}
        code = server.greeting["setup_link"].partition("#code=")[2]
        token = server.ask("POST", "/api/v1/setup", account | {"token": code}).body["access_token"]
        place = server.ask("GET", "/api/v1/workspaces", token=token).body["items"][0]["id"]
        made = server.ask(
            "POST", f"/api/v1/workspaces/{place}/documents", {"title": "Plan", "content": "a\n"}, token=token
        )
        assert made.status == 201
        path = f"/api/v1/documents/{made.body['id']}"
        edit = {"base_version": 1, "content": "b\n"}
        assert server.ask("PATCH", f"{path}/content", edit, token=token).status == 200
        assert server.ask("GET", f"{path}/html", token=token).status == 200
        assert server.ask("GET", "/readyz").status == 200
        done = either.program("export", str(tmp_path / "out"), "--workspace", place)
        assert done.returncode == 0, done.stderr
        status, errors = server.stop()
    assert status == 0
    assert "Traceback" not in errors


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_tells_the_service_manager(home: Home, manager: Manager, loop: str) -> None:
    watchdog = 0.2
    home.environment |= {
        "MDSERVER_SERVER__EVENT_LOOP": loop,
        "MDSERVER_SERVER__SHUTDOWN_SECONDS": "40",
        "NOTIFY_SOCKET": manager.address,
        "WATCHDOG_USEC": str(int(watchdog * 1_000_000)),
    }
    with home.serving() as server:
        assert manager.hear() == {"READY": "1"}
        assert server.ask("GET", "/readyz").status == 200
        assert manager.hear() == {"WATCHDOG": "1"}
        started = time.monotonic()
        for _ in range(3):
            assert manager.hear() == {"WATCHDOG": "1"}
        assert time.monotonic() - started > 3 * watchdog / 2 - 0.05  # it is not a flood
        server.process.send_signal(signal.SIGTERM)
        while (told := manager.hear()) == {"WATCHDOG": "1"}:
            pass
        assert told == {"STOPPING": "1", "EXTEND_TIMEOUT_USEC": "45000000"}
        _, errors = server.process.communicate(timeout=60)
    assert server.process.returncode == 0
    assert "Traceback" not in errors


def test_says_nothing_before_it_answers(home: Home, manager: Manager) -> None:
    home.environment["NOTIFY_SOCKET"] = manager.address
    with taken_port() as other:
        assert home.program("serve", "--listen", f"127.0.0.1:{other.getsockname()[1]}").returncode == 1
    assert manager.heard() == []


def test_a_stuck_server_says_where(home: Home, manager: Manager) -> None:
    home.environment |= {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "60000000"}
    with home.serving() as server:
        assert manager.hear() == {"READY": "1"}
        status, errors = server.stop(signal.SIGABRT)  # what the watchdog sends
    assert status == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in errors
    assert "most recent call first" in errors


def test_a_service_manager_that_is_not_there_stops_nobody(home: Home, tmp_path: Path) -> None:
    home.environment |= {"NOTIFY_SOCKET": str(tmp_path / "nothing"), "WATCHDOG_USEC": "many"}
    with home.serving() as server:
        assert server.ask("GET", "/readyz").status == 200
        status, errors = server.stop()
    assert status == 0
    assert "the service manager could not be told READY=1" in errors


async def test_a_loop_that_does_not_turn_is_silent(manager: Manager) -> None:
    supervisor = Supervisor(manager.address, watchdog=0.02)
    try:
        supervisor.ready()
        assert manager.heard() == [{"READY": "1"}, {"WATCHDOG": "1"}]
        time.sleep(0.2)  # noqa: ASYNC251 (this is the stuck loop)
        assert manager.heard() == []
        assert await asyncio.to_thread(manager.hear) == {"WATCHDOG": "1"}
    finally:
        supervisor.close()


async def test_a_full_socket_does_not_hold_the_loop(manager: Manager, caplog: pytest.LogCaptureFixture) -> None:
    supervisor = Supervisor(manager.address, watchdog=1)
    try:
        for _ in range(5000):
            supervisor.stopping(1)
            if "could not be told STOPPING=1" in caplog.text:
                break
        assert "could not be told STOPPING=1" in caplog.text
    finally:
        supervisor.close()


def test_the_watchdog_of_another_process_is_not_ours(manager: Manager) -> None:
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1000000"}
    for more, watches in (
        ({}, True),
        ({"WATCHDOG_PID": str(os.getpid())}, True),
        ({"WATCHDOG_PID": str(os.getppid())}, True),  # the first of the single-file executable's two processes
        ({"WATCHDOG_PID": "1000000000"}, False),
        ({"NOTIFY_SOCKET": ""}, False),
        ({"WATCHDOG_USEC": ""}, False),
    ):
        supervisor = Supervisor.named(environment | more)
        assert supervisor.watches is watches
        supervisor.close()
