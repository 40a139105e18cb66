"""kill -9 at the moments that matter: what was acknowledged is there, what was not is there wholly or not at all.

A life for each moment; `make crash` goes on for hundreds on one directory.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mdserver import failpoints
from mdserver.store.migrate import known, migrate_sqlite
from mdserver.store.sqlite import SQLite
from tests.cli.test_backups import BACKUP
from tests.collab.dying import MOMENTS as LIVE

from . import dying
from .crash import MOMENTS, Story, look_at
from .program import PATIENCE, Home, Program, furnish

MIGRATION = ("migration-statement", "migration-done")
BLOB = ("blob-written", "blob-synced", "blob-renamed")
ELSEWHERE = ("migration-copied", "poison")
"""Reached in the tests of upgrades, and of what brings the server down (test_quarantine.py)."""


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    return await furnish(tmp_path / "data")


@pytest.mark.parametrize("moment", [*MOMENTS, ""], ids=lambda one: one or "kill")
def test_killed_under_load(home: Home, moment: str) -> None:
    story = Story(home, seed=1)
    story.begin()
    assert story.live(moment) == []
    assert story.end() == []
    assert story.acknowledged > 0


@pytest.mark.parametrize(
    ("mutant", "moment", "found"),
    [
        ("early", "before-commit", "acknowledged"),
        ("apart", "after-commit", "versions"),
        ("forgetful", "after-commit", "twice"),
    ],
)
def test_a_faulty_server_is_found_out(home: Home, mutant: str, moment: str, found: str) -> None:
    story = Story(home, seed=2, entry=("-m", "tests.robust.mutants", mutant))
    story.begin()
    faults: list[str] = []
    for _ in range(12):  # not each death falls where this fault shows
        faults += story.live(moment)
        if faults:
            break
    assert re.search(found, "\n".join(faults))


@pytest.mark.parametrize("at", ["1", "20"])
def test_killed_while_a_new_directory_is_made(tmp_path: Path, at: str) -> None:
    program = Program(Home(tmp_path / "data", token="", workspace=""))
    for moment in (f"migration-statement:{at}", "migration-done"):
        assert not program.start({"MDSERVER_FAILPOINT": moment})
        assert program.died() == -signal.SIGKILL
    assert program.start()
    with program.asked() as client:
        assert client.call("GET", "//readyz").status == 200
    program.stop()
    assert look_at(program.home.database) == []


@pytest.mark.parametrize(
    "moment", ["migration-copied", "migration-statement:1", "migration-statement:3", "migration-done"]
)
async def test_killed_in_an_upgrade(home: Home, moment: str) -> None:
    """The database is as it was, and the upgrade works at the next start."""
    newest = known("sqlite")[-1].number
    assert die("migrate", home.data, moment) == -signal.SIGKILL
    assert await asyncio.to_thread(look_at, home.database) == []
    database = await SQLite.open(home.database)
    try:
        assert await database.read(lambda db: db.value(int, "SELECT max(number) FROM schema_migrations")) == newest
        assert await database.read(lambda db: db.column(str, "SELECT display_name FROM users")) == ["Ada"]
        applied, copy = await migrate_sqlite(
            database, backups=home.data / "backups", migrations=[*known("sqlite"), *dying.UPGRADE]
        )
        assert [one.number for one in applied] == [9_000]
        assert await database.read(lambda db: db.value(int, "SELECT count(*) FROM added")) == 1
    finally:
        await database.close()
    assert copy is not None
    assert await asyncio.to_thread(look_at, copy) == []
    assert list((home.data / "backups").glob("*.partial")) == []


@pytest.mark.parametrize("moment", BLOB)
async def test_killed_while_a_blob_is_stored(tmp_path: Path, moment: str) -> None:
    """A name holds all of its bytes or is not there; what is left over goes at the next start."""
    assert die("blob", tmp_path, moment) == -signal.SIGKILL
    name = hashlib.sha256(dying.BYTES).hexdigest()
    place = tmp_path / "blobs" / name[:2] / name[2:4] / name
    assert place.exists() == (moment == "blob-renamed")
    if place.exists():
        assert place.read_bytes() == dying.BYTES
    await dying.blob(tmp_path)
    assert place.read_bytes() == dying.BYTES
    assert list((tmp_path / "blobs" / "incoming").iterdir()) == []


def test_every_moment_is_reached_here() -> None:
    assert {*MOMENTS, *LIVE, *MIGRATION, *BLOB, *BACKUP, *ELSEWHERE} == failpoints.NAMES


def test_an_unknown_moment_is_refused(home: Home) -> None:
    program = Program(home)
    assert not program.start({"MDSERVER_FAILPOINT": "after-lunch:2"})
    assert program.died() == 1
    assert program.log.strip() == (
        "Error: MDSERVER_FAILPOINT is 'after-lunch:2', which names no moment of this program: unset it."
    )


def test_what_a_failpoint_says() -> None:
    assert failpoints.armed("") == ("", 0)
    assert failpoints.armed("after-commit") == ("after-commit", 1)
    assert failpoints.armed("after-commit:17") == ("after-commit", 17)
    for wrong in ("after-commit:0", "after-commit:", ":2", "nothing", "after-commit:x"):
        with pytest.raises(SystemExit):
            failpoints.armed(wrong)
    failpoints.hit("after-commit")  # nothing is armed: we live


def die(work: str, directory: Path, moment: str) -> int:
    """Run dying.py until it dies; its exit status."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.robust.dying", work, str(directory)],
        env={**os.environ, "MDSERVER_FAILPOINT": moment},
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE,
    )
    return done.returncode
