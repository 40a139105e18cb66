"""`mdserver job`: with and without a running server, what it refuses, and a server that stops in mid-job."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mdserver import clock, ids
from mdserver.store.sqlite import connect

from .homes import PATIENCE, Home

NAMES = ["purge-trash", "prune-versions", "compact-logs", "forget-expired", "forget-deletions", "forget-audit"]


def states(home: Home) -> dict[str, str]:
    return {one["name"]: one["state"] for one in home.json("job", "list")}


def old_entries(path: Path, count: int) -> None:
    """Entries of the audit log of three years ago."""
    connection = connect(path, read_only=False, synchronous="OFF")
    at = clock.now() - 3 * 365 * clock.DAY
    # Ids of that time, as they would have been made then.
    rows = [(f"{ids.first(at)}-7{ids.new()[15:]}", at) for _ in range(count)]
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO audit (id, at, action, object, address, request_id, detail) VALUES (?, ?, 'test', '', '', '', '')",
        rows,
    )
    connection.execute("COMMIT")
    connection.close()


def entries(path: Path) -> int:
    connection = connect(path, read_only=True)
    try:
        return int(connection.execute("SELECT count(*) FROM audit").fetchone()[0])
    finally:
        connection.close()


def test_without_a_server(either: Home) -> None:
    either.environment["MDSERVER_BACKUP__SCHEDULE"] = "6 h"
    lines = either.ok("job", "list").splitlines()
    assert lines[0].split() == ["NAME", "EVERY", "STATE", "ENDED", "DUE", "OUTCOME"]
    assert [line.split()[0] for line in lines[1:7]] == NAMES
    assert set(states(either).values()) == {"new"}
    assert either.ok("job", "run", "purge-trash") == "purge-trash: 0 documents purged.\n"
    assert either.json("job", "run", "purge-trash") == {"name": "purge-trash", "outcome": "0 documents purged"}
    found = either.json("job", "list")[0]
    assert (found["state"], found["outcome"], found["failures"]) == ("ok", "0 documents purged", 0)
    assert clock.parse(found["due_at"]) - clock.parse(found["ended_at"]) == 6 * clock.HOUR
    assert states(either)["prune-versions"] == "new"
    either.environment["MDSERVER_BACKUP__SCHEDULE"] = "daily 03:30"
    assert next(one for one in either.json("job", "list") if one["name"] == "backup")["every"] == 86_400


def test_with_a_server(either: Home) -> None:
    either.environment["MDSERVER_BACKUP__SCHEDULE"] = "6 h"
    either.user()
    with either.serving():
        for name in states(either):
            assert either.ok("job", "run", name).startswith(f"{name}: ")
        assert set(states(either).values()) == {"ok"}
        assert either.fails("job", "run", "mop").startswith("There is no job 'mop'; there are purge-trash, ")
    assert set(states(either).values()) == {"ok"}


def test_what_is_refused(home: Home) -> None:
    said = home.fails("job", "run", "mop")
    assert said == (
        "There is no job 'mop'; there are purge-trash, prune-versions, compact-logs, forget-expired, forget-deletions,"
        " forget-audit, backup, tidy-search, tidy-database."
    )
    assert home.fails("job", "run", "") == said.replace("'mop'", "''")
    home.environment["MDSERVER_RETENTION__TRASH"] = "off"
    assert home.fails("job", "run", "purge-trash") == (
        'The job purge-trash is switched off: retention.trash is "off" in the configuration.'
    )
    assert states(home)["purge-trash"] == "off"
    assert 'retention.trash is "off"' in home.ok("job", "list")
    with home.serving():
        assert "is switched off" in home.fails("job", "run", "purge-trash")


def test_one_that_fails(home: Home) -> None:
    home.user()
    connection = sqlite3.connect(home.data / "mdserver.sqlite3")
    connection.execute("DROP TABLE idempotency_keys")
    connection.close()
    sentence = "The job forget-expired failed: OperationalError: no such table: idempotency_keys"
    done = home.program("job", "run", "forget-expired")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"Error: {sentence}\n")
    with home.serving() as server:
        assert home.fails("job", "run", "forget-expired") == sentence
        found = next(one for one in home.json("job", "list") if one["name"] == "forget-expired")
        assert (found["state"], found["failures"], found["reason"]) == ("failed", 2, sentence.partition("failed: ")[2])
        assert found["succeeded_at"] is None
        assert server.ask("GET", "/readyz").status == 200
        status, errors = server.stop()
    assert status == 0
    assert "the job forget-expired failed" in errors  # with where it came from, for whoever looks after the server
    assert "no such table: idempotency_keys" in home.ok("job", "list")


def test_a_server_that_stops_in_the_middle_of_a_job(home: Home) -> None:
    home.user()
    path = home.data / "mdserver.sqlite3"
    old_entries(path, 30_000)
    with home.serving() as server:
        with subprocess.Popen(
            [sys.executable, "-m", "mdserver", "job", "run", "forget-audit"],
            env=home._whole_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as running:
            while entries(path) > 28_000:
                assert running.poll() is None
            status, errors = server.stop()
            said = running.communicate(timeout=PATIENCE)[1]
        assert (status, running.returncode) == (0, 1)
        assert "Traceback" not in errors
        assert "was stopped before it was done" in said
    left = entries(path)
    assert 0 < left <= 28_000
    assert left % 500 == 1  # whole units of work, and the entry of making the account
    found = next(one for one in home.json("job", "list") if one["name"] == "forget-audit")
    assert (found["failures"], found["reason"]) == (0, None)
    assert clock.parse(found["due_at"]) <= clock.now()
    assert home.ok("job", "run", "forget-audit") == f"forget-audit: {left - 1:,} entries deleted.\n"
    assert entries(path) == 1


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("TRASH", "soon", 'must be a duration from 1 h to 3650 days, such as "10 min" or "1h30m", or "off"'),
        ("TRASH", "5 min", "must be a duration from 1 h"),
        ("AUDIT", "0", "must be a duration from 1 day"),
        ("VERSIONS_HOURLY", "off", "must be a duration from 1 h"),
        ("VERSIONS_HOURLY", "2 days", "must not be shorter than versions"),
        ("VERSIONS_DAILY", "80 days", "must not be shorter than versions_hourly"),
    ],
)
def test_retention_that_cannot_be(home: Home, key: str, value: str, sentence: str) -> None:
    home.environment[f"MDSERVER_RETENTION__{key}"] = value
    assert sentence in home.fails("job", "list")
    assert not home.data.exists()
