"""Backups by commands: made while the server runs, verified, restored; refused where they would do harm."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from mdserver.store.db import Engine
from mdserver.store.migrate import known
from tests import engines
from tests.backup.damage import changed

from .homes import PATIENCE, Home, Serving
from .test_terminal import terminal
from .trees import NASTY, harvest, plant

BACKUP = ("backup-synced", "restore-verified", "restore-aside")
"""Moments of mdserver/failpoints.py."""

SMALL = {name: data for name, data in NASTY.items() if len(data) < 100_000}


def furnish(home: Home, source: Path) -> Home:
    """Documents, in a workspace called Notes."""
    home.user("ada@example.org")
    home.workspace("Notes")
    home.json("import", str(plant(source, SMALL)), "--workspace", "Notes", "--as", "ada@example.org")
    return home


def documents(home: Home, out: Path) -> dict[str, bytes]:
    home.ok("export", str(out), "--workspace", "Notes")
    return harvest(out)


def listed(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.fixture
def furnished(either: Home, tmp_path: Path) -> Home:
    return furnish(either, tmp_path / "in")


@pytest.fixture
def lite(home: Home, tmp_path: Path) -> Home:
    return furnish(home, tmp_path / "in")


@pytest.fixture(params=engines.ENGINES)
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    """Another home that nothing was ever put into; on each engine."""
    engine: Engine = request.param
    if engine == "sqlite":
        yield Home(tmp_path / "other")
        return
    with engines.fresh_dsn() as dsn:
        yield Home(tmp_path / "other", database_url=dsn)


def test_there_and_back_again(furnished: Home, other: Home, tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    made = furnished.json("backup", str(tmp_path / "backups"))
    archive = Path(made["path"])
    assert re.fullmatch(r"mdserver-backup-20[0-9]{6}T[0-9]{6}Z\.tar", archive.name)
    assert archive.stat().st_mode & 0o777 == 0o600
    assert made["size"] == archive.stat().st_size
    report = furnished.json("verify-backup", str(archive))
    assert (report["report"]["mismatches"], report["report"]["told"]) == (0, [])
    assert report["report"]["documents"] == made["documents"] > len(SMALL)
    done = other.json("restore", str(archive))
    assert (done["aside"], done["migrated"], done["report"]["mismatches"]) == (None, [], 0)
    assert documents(other, tmp_path / "out") == documents(furnished, tmp_path / "was")
    assert other.json("user", "show", "ada@example.org") == furnished.json("user", "show", "ada@example.org")
    with other.serving() as server:
        assert server.ask("GET", "/readyz").status == 200


def test_what_people_read(lite: Home, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    said = lite.ok("backup", str(archive))
    assert re.fullmatch(rf"{archive} \([0-9.]+ KiB\) holds [0-9]+ documents \([0-9,]+ rows\) and 0 files\.\n", said)
    lines = lite.ok("verify-backup", str(archive)).splitlines()
    assert lines[1].endswith(f"on sqlite, schema {known('sqlite')[-1].number}")
    assert lines[-1] == "Everything is as it should be."
    said = lite.ok("restore", str(archive), "--yes")
    assert "What was there before is kept in" in said
    assert lite.json("backup", str(tmp_path / "b.tar"))["missing"] == []


def test_while_the_server_runs(furnished: Home, tmp_path: Path) -> None:
    with furnished.serving() as server:
        done = furnished.program("backup", str(tmp_path / "a.tar"), "--json")
        assert (done.returncode, done.stderr) == (0, "")
        assert furnished.program("verify-backup", str(tmp_path / "a.tar")).returncode == 0
        done = furnished.program("restore", str(tmp_path / "a.tar"), "--yes")
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(
            rf"Error: A server runs on {furnished.data} \(process [0-9]+\): stop it, restore, and start it again\."
            r" Nothing was changed\.\n",
            done.stderr,
        )
        assert server.ask("GET", "/readyz").status == 200
    assert not [one for one in listed(furnished.data) if one.startswith(("before", "restoring"))]


def test_eight_write_meanwhile(furnished: Home, tmp_path: Path) -> None:
    """What was acknowledged before the backup began is in it, and all that is in it belongs together."""
    furnished.environment |= {"MDSERVER_RATES__ENABLED": "false", "MDSERVER_LOG__REQUESTS": "none"}
    scopes = ("--scope", "read", "--scope", "write")
    token = furnished.json("token", "create", "ada@example.org", "--name", "t", *scopes)["token"]
    workspace = furnished.json("workspace", "show", "Notes")["workspace"]["id"]
    acknowledged: dict[str, int] = {}  # a document → its version
    stop, going, failures = threading.Event(), threading.Barrier(9), list[object]()

    with furnished.serving() as server:

        def write(number: int) -> None:
            place = f"/api/v1/workspaces/{workspace}/documents"
            turn, text = 0, "# Begun\n"
            id = ""
            while not stop.is_set():
                if turn % 5 == 0:
                    text = f"# Writer {number}, turn {turn}\n"
                    answer = server.ask("POST", place, {"title": f"W{number} {turn}", "content": text}, token=token)
                    id = answer.body["id"] if answer.status == 201 else ""
                    version = 1
                else:
                    body = {"base_version": version, "content": f"{text}\n{turn} \U0001f389 " + "word " * 300}
                    answer = server.ask("PATCH", f"/api/v1/documents/{id}/content", body, token=token)
                    version = answer.body["document"]["version"] if answer.status == 200 else 0
                if answer.status not in (200, 201):
                    failures.append(answer)
                    return
                acknowledged[id] = version
                turn += 1
                if turn == 7:
                    going.wait(PATIENCE)

        writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for one in writers:
            one.start()
        going.wait(PATIENCE)
        before = dict(acknowledged)
        done = furnished.program("backup", str(tmp_path / "a.tar"))
        after = dict(acknowledged)
        stop.set()
        for one in writers:
            one.join()
    assert (done.returncode, failures) == (0, []), (done.stderr, failures)
    assert sum(after.values()) > sum(before.values())  # they did write meanwhile
    report = furnished.json("verify-backup", str(tmp_path / "a.tar"))["report"]
    assert (report["mismatches"], report["told"]) == (0, [])
    copy = Home(tmp_path / "copy")
    copy.ok("restore", str(tmp_path / "a.tar"))
    with copy.serving() as server:
        for id, version in before.items():
            found = server.ask("GET", f"/api/v1/documents/{id}", token=token)
            assert (found.status, found.body.get("version", 0) >= version) == (200, True), found


def test_the_old_data_is_kept_aside(furnished: Home, tmp_path: Path) -> None:
    archive = str(tmp_path / "a.tar")
    furnished.ok("backup", archive)
    furnished.user("late@example.org")
    said = furnished.fails("restore", archive, status=2)
    assert said.startswith("Put the backup of 20")
    assert said.endswith("is kept aside. There is no terminal to ask: say --yes if you mean it.")
    assert len(furnished.json("user", "list")) == 2
    done = furnished.json("restore", archive, "--yes")
    assert [one["email"] for one in furnished.json("user", "list")] == ["ada@example.org"]
    again = furnished.json("restore", archive, "--yes")
    assert again["aside"] != done["aside"]
    if "MDSERVER_DATABASE__URL" in furnished.environment:
        with psycopg.connect(furnished.environment["MDSERVER_DATABASE__URL"]) as connection:
            name = done["aside"].removeprefix("schema ")
            found = connection.execute(f"SELECT email FROM {name}.users ORDER BY email").fetchall()
    else:
        assert done["aside"].startswith(f"{furnished.data}/before-restore-")
        old = Home(Path(done["aside"]))  # a data directory again
        found = [(one["email"],) for one in old.json("user", "list")]
    assert sorted(found) == [("ada@example.org",), ("late@example.org",)]


def test_a_restore_is_noted(furnished: Home, tmp_path: Path) -> None:
    furnished.ok("backup", str(tmp_path / "a.tar"))
    furnished.ok("restore", str(tmp_path / "a.tar"), "--yes")
    furnished.ok("backup", str(tmp_path / "b.tar"))
    with tmp_path.joinpath("b.tar").open("rb") as file:
        data = file.read()
    seen: list[str] = []
    changed(data, "tables/audit/000001", lambda rows: seen.extend(str(one[3]) for one in rows))
    assert seen[-3:] == ["server.backup", "server.restore", "server.backup"]


def test_postgres_with_somebody_elses_tables(home: Home, tmp_path: Path) -> None:
    furnish(home, tmp_path / "in").ok("backup", str(tmp_path / "a.tar"))
    with engines.fresh_dsn() as dsn:
        there = Home(tmp_path / "there", database_url=dsn)
        with psycopg.connect(dsn) as connection:
            connection.execute("CREATE TABLE shop (id int)")
        said = there.fails("restore", str(tmp_path / "a.tar"), "--yes")
        assert "has tables that are not this version's (shop): restore into an empty database." in said
        with psycopg.connect(dsn) as connection:
            found = connection.execute("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'before%'").fetchone()
        assert found == (0,)


def test_nothing_is_overwritten(lite: Home, tmp_path: Path) -> None:
    there = tmp_path / "there.tar"
    there.write_text("mine")
    assert lite.fails("backup", str(there)) == (
        f"{there} exists already: name a file that does not, or say --yes to replace it."
    )
    assert there.read_text() == "mine"
    lite.ok("backup", str(there), "--yes")
    lite.ok("verify-backup", str(there))
    assert there.stat().st_mode & 0o777 == 0o600
    said = lite.fails("backup", str(tmp_path / "no" / "where.tar"))
    assert said == f"The backup {tmp_path}/no/where.tar cannot be written: No such file or directory."
    assert listed(tmp_path) == ["data", "in", "there.tar"]


def test_places_where_no_backup_belongs(lite: Home, tmp_path: Path) -> None:
    """Not on a device or a pipe, not among the data: least of all in the database's place."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for options in ((), ("--yes",)):
        assert (
            lite.fails("backup", str(pipe), *options)
            == f"{pipe} is there and is no file: name one, which need not be there."
        )
        for place in (
            lite.data,
            lite.data / "mdserver.sqlite3",
            lite.data / "blobs" / "a.tar",
            lite.data / "x" / "a.tar",
        ):
            assert "would stand among the server's own data" in lite.fails("backup", str(place), *options)
    assert pipe.is_fifo()
    assert lite.ok("user", "show", "ada@example.org")
    (lite.data / "backups").mkdir()
    lite.ok("backup", str(lite.data / "backups"))
    assert (
        lite.fails("backup", "s3://bucket/notes") == "A backup cannot be written to S3 yet: name a file or a directory."
    )


def test_nothing_is_not_backed_up(home: Home, tmp_path: Path) -> None:
    """A backup from a directory that was meant to be another one would look fine, and be empty."""
    for command in (("backup", str(tmp_path / "a.tar")), ("doctor",)):
        said = home.fails(*command)
        assert said == f"There is no data in {home.data}: name the server's data directory with --data."
    assert listed(tmp_path) == []


def test_a_pipe_is_not_waited_for(lite: Home, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for command in ("verify-backup", "restore"):
        done = lite.program(command, str(tmp_path / "pipe"))
        assert (done.returncode, done.stderr) == (
            1,
            f"Error: The backup {tmp_path / 'pipe'} cannot be read: it is no file.\n",
        )


def limited(home: Home, *arguments: str, kilobytes: int) -> subprocess.CompletedProcess[str]:
    """Run a command that may write files of this size and no larger, as on a disk with no more room."""
    command = f'ulimit -f {kilobytes * 2}; exec "$0" -m mdserver "$@"'
    return subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, *arguments],
        env=os.environ | home.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_a_full_disk(lite: Home, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with lite.serving():
        done = limited(lite, "backup", str(out), kilobytes=20)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: There is no room for the backup in {out}: none was written.\n"
    assert listed(out) == []
    lite.ok("backup", str(out / "a.tar"))
    other = Home(tmp_path / "other")
    for command in ("restore", "verify-backup"):
        done = limited(other, command, str(out / "a.tar"), kilobytes=100)
        assert (done.returncode, done.stdout) == (1, ""), done
        assert re.fullmatch(
            r"Error: The database cannot be written \([^\n]+\): its disk may be full\. Nothing was changed\.\n",
            done.stderr,
        ), done.stderr
    assert not [one for one in listed(other.data) if one not in ("mdserver.lock", "blobs")]
    assert listed(out) == ["a.tar"]


def test_a_bad_one_changes_nothing_at_all(lite: Home, tmp_path: Path) -> None:
    lite.ok("backup", str(tmp_path / "a.tar"))
    data = bytearray((tmp_path / "a.tar").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "bad.tar").write_bytes(data)
    new = Home(tmp_path / "new")
    for command in ("restore", "verify-backup"):
        said = new.fails(command, str(tmp_path / "bad.tar"))
        assert said.startswith(f"The backup {tmp_path}/bad.tar is damaged or was tampered with: ")
        assert said.endswith("Nothing was changed.")
        assert "\n" not in said
        said = new.fails(command, str(tmp_path / "none.tar"))
        assert said == f"The backup {tmp_path}/none.tar cannot be read: No such file or directory."
    assert not new.data.exists()


def test_mismatches_are_told_and_may_be_accepted(lite: Home, tmp_path: Path) -> None:
    lite.ok("backup", str(tmp_path / "a.tar"))
    bad = tmp_path / "bad.tar"

    def spoil(rows: list[list[object]]) -> None:
        rows[0][1] = "somebody was here"

    bad.write_bytes(changed((tmp_path / "a.tar").read_bytes(), "tables/document_texts/000001", spoil))
    result = lite.run("verify-backup", str(bad))
    assert (result.exit_code, result.stderr) == (1, f"Error: The backup {bad} has 2 mismatches.\n")
    assert "its log gives another text than the one stored" in result.stdout
    result = lite.run("verify-backup", str(bad), "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["report"]["mismatches"] == 2
    new = Home(tmp_path / "new")
    said = new.fails("restore", str(bad))
    assert "has 2 mismatches, the first: document" in said
    assert said.endswith("--accept-mismatches restores it anyway.")
    assert "mdserver.sqlite3" not in listed(new.data)
    assert "Accepted: 2 mismatches, the first: document" in new.ok("restore", str(bad), "--accept-mismatches")


def test_a_command_with_another_configuration_than_the_server(lite: Home, tmp_path: Path) -> None:
    with engines.fresh_dsn(migrated=True) as one, engines.fresh_dsn(migrated=True) as two:
        wrong = Home(lite.data, database_url=one)
        with lite.serving():
            said = wrong.fails("backup", str(tmp_path / "a.tar"))
            assert said.startswith("The running server has another database than this command's configuration names: ")
        right = Home(tmp_path / "postgres", database_url=two)
        wrong = Home(tmp_path / "postgres", database_url=one)
        with right.serving():
            said = wrong.fails("backup", str(tmp_path / "a.tar"))
            assert said.startswith("The running server has another database than this command's configuration names: ")
            right.ok("backup", str(tmp_path / "a.tar"))
        with right.serving():  # which holds its database, whatever the data directory
            said = Home(tmp_path / "elsewhere", database_url=two).fails("restore", str(tmp_path / "a.tar"), "--yes")
            assert said.startswith("Another mdserver is running on this database")


def test_a_damaged_database_gives_way(lite: Home, tmp_path: Path) -> None:
    lite.ok("backup", str(tmp_path / "a.tar"))
    database = lite.data / "mdserver.sqlite3"
    damaged = os.urandom(50_000)
    database.write_bytes(damaged)
    said = lite.fails("backup", str(tmp_path / "b.tar"))
    assert "file is not a database" in said
    done = lite.json("restore", str(tmp_path / "a.tar"), "--yes")
    assert Path(done["aside"], "mdserver.sqlite3").read_bytes() == damaged
    assert len(lite.json("user", "list")) == 1


def killed(home: Home, moment: str, *arguments: str) -> None:
    """Run a command that dies at that moment as by kill -9."""
    home.environment["MDSERVER_FAILPOINT"] = moment
    done = home.program(*arguments)
    del home.environment["MDSERVER_FAILPOINT"]
    assert done.returncode == -signal.SIGKILL, done


@pytest.mark.parametrize("moment", BACKUP)
def test_killed_at_any_moment(furnished: Home, moment: str, tmp_path: Path) -> None:
    """The old data is in its place, whole, and the next one works."""
    if moment == "restore-aside" and "MDSERVER_DATABASE__URL" in furnished.environment:
        moment = "restore-verified"  # there it is one commit
    archive = tmp_path / "a.tar"
    if moment.startswith("backup"):
        killed(furnished, moment, "backup", str(archive))
        assert not archive.exists()
    furnished.ok("backup", str(archive))
    furnished.user("late@example.org")
    if moment.startswith("restore"):
        killed(furnished, moment, "restore", str(archive), "--yes")
        assert [one["email"] for one in furnished.json("user", "list")] == ["ada@example.org", "late@example.org"]
        with furnished.serving() as server:
            assert server.ask("GET", "/readyz").status == 200
    furnished.ok("restore", str(archive), "--yes")
    assert [one["email"] for one in furnished.json("user", "list")] == ["ada@example.org"]
    assert not [one for one in listed(furnished.data) if one.startswith("restoring")]


def test_on_a_terminal(lite: Home, tmp_path: Path) -> None:
    lite.ok("backup", str(tmp_path / "a.tar"))
    with terminal(lite, "restore", str(tmp_path / "a.tar")) as seen:
        seen.expect("Put the backup of")
        seen.expect("[y/N]")
        seen.type("n")
        assert seen.end() == 1
    with terminal(lite, "restore", str(tmp_path / "a.tar")) as seen:
        seen.expect("[y/N]")
        seen.type("y")
        seen.expect("Restoring")
        seen.expect("Verifying")
        seen.expect("What was there before is kept in")
        assert seen.end() == 0
    with terminal(lite, "backup", str(tmp_path / "b.tar")) as seen:
        seen.expect("Backing up")
        assert seen.end() == 0


def told(server: Serving, beginning: str) -> str:
    """What /readyz says of backups, once it begins so."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        answer = server.ask("GET", "/readyz")
        assert answer.status == 200
        state = str(answer.body["checks"]["backup"])
        if state.startswith(beginning):
            return state
        time.sleep(0.05)
    raise AssertionError(f"never {beginning!r}, last {state!r}")


def test_the_server_makes_them_by_itself(furnished: Home) -> None:
    furnished.environment |= {"MDSERVER_BACKUP__SCHEDULE": "daily 03:30", "MDSERVER_LOG__REQUESTS": "none"}
    with furnished.serving() as server:
        told(server, "none was made yet")
        assert "mdserver-scheduled-20" in furnished.ok("job", "run", "backup")
        told(server, "made at 20")
        (name,) = (one for one in listed(furnished.data / "backups") if one.endswith(".tar"))
        assert re.fullmatch(r"mdserver-scheduled-20[0-9]{6}T[0-9]{6}Z\.tar", name)
        assert furnished.json("verify-backup", str(furnished.data / "backups" / name))["report"]["mismatches"] == 0
    with furnished.serving() as server:  # which knows of it
        told(server, "made at 20")
        assert listed(furnished.data / "backups").count(name) == 1


def test_one_that_fails_is_told(lite: Home, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lite.environment |= {
        "MDSERVER_BACKUP__SCHEDULE": "6 h",
        "MDSERVER_BACKUP__DIRECTORY": str(tmp_path / "file" / "x"),
        "MDSERVER_LOG__REQUESTS": "none",
    }
    where = f"Backups cannot be kept in {tmp_path / 'file' / 'x'} (backup.directory): Not a directory."
    done = lite.program("job", "run", "backup")
    assert (done.returncode, done.stderr) == (1, f"Error: The job backup failed: {where}\n")
    for _ in range(2):  # a server that is started anew knows of it
        with lite.serving() as server:
            assert told(server, "failed at 20").endswith(": “mdserver job list” says why")  # strangers read no paths
            assert lite.fails("job", "run", "backup") == f"The job backup failed: {where}"
            assert where in lite.ok("job", "list")
            assert "\nmdserver_backup_failed 1\n" in str(server.ask("GET", "/metrics").body)
            status, errors = server.stop()
        assert status == 0
        assert f"the job backup failed: {where}" in errors
        assert "Traceback" not in errors
    lite.environment["MDSERVER_BACKUP__DIRECTORY"] = str(tmp_path / "better")
    with lite.serving() as server:
        lite.ok("job", "run", "backup")
        told(server, "made at 20")
        assert "\nmdserver_backup_failed 0\n" in str(server.ask("GET", "/metrics").body)
