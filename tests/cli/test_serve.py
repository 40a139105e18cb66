"""The real program: starting, being told things while it runs, stopping, and everything that keeps it from starting."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mdserver.chores.reach import reaching
from mdserver.config import load
from mdserver.store.datadir import DataDirectory, InUse
from mdserver.store.sqlite import connect
from tests import engines

from .homes import PASSWORD, Home, taken_port


def test_start_set_up_and_stop(home: Home) -> None:
    with home.serving() as server:
        assert server.greeting["data"] == str(home.data)
        assert urlsplit(server.url).port
        assert server.ask("GET", "/healthz").status == 200
        assert home.data.stat().st_mode & 0o777 == 0o700
        for name in ("setup-code", "control.sock", "mdserver.sqlite3", "mdserver.lock"):
            assert (home.data / name).stat().st_mode & 0o777 == 0o600, name

        link, _, code = server.greeting["setup_link"].partition("#code=")
        assert link == f"{server.url}/setup"
        assert code == (home.data / "setup-code").read_text().strip()
        account = {"token": code, "email": "ada@example.org", "password": PASSWORD, "display_name": "Ada"}
        assert server.ask("POST", "/api/v1/setup", account | {"token": "wrong"}).status == 401
        made = server.ask("POST", "/api/v1/setup", account)
        assert made.status == 201
        assert made.body["user"]["is_admin"]
        assert not (home.data / "setup-code").exists()

        status, errors = server.stop()
    assert status == 0
    assert "Traceback" not in errors
    assert code not in errors
    assert not (home.data / "control.sock").exists()
    with home.serving() as again:
        assert again.greeting["setup_link"] is None


def test_commands_go_through_the_running_server(either: Home) -> None:
    with either.serving() as server:
        code = server.greeting["setup_link"].partition("#code=")[2]
        either.user("ada@example.org", "--admin")
        assert not (either.data / "setup-code").exists()
        answer = server.ask(
            "POST",
            "/api/v1/setup",
            {"token": code, "email": "eve@example.org", "password": PASSWORD, "display_name": "Eve"},
        )
        assert answer.status in (401, 409, 410)

        workspace = either.workspace("Shared")
        token = either.json(
            "token", "create", "ada@example.org", "--name", "test", "--scope", "read", "--workspace", "shared"
        )["token"]
        found = server.ask("GET", f"/api/v1/workspaces/{workspace}", token=token)
        assert (found.status, found.body["name"]) == (200, "Shared")
        shown = either.json("token", "list", "ada@example.org")[0]
        assert shown["workspace_id"] == workspace
        either.ok("token", "revoke", shown["id"])
        assert server.ask("GET", f"/api/v1/workspaces/{workspace}", token=token).status == 401

        done = either.program("user", "list", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        assert "ada@example.org" in done.stdout
        assert "last active administrator" in either.fails("user", "demote", "ada@example.org")
        assert server.stop()[0] == 0
    assert [one["email"] for one in either.json("user", "list")] == ["ada@example.org"]


def test_disabling_an_account_ends_its_sessions_at_once(home: Home) -> None:
    with home.serving() as server:
        home.user("ada@example.org", "--admin")
        home.user("bob@example.org")
        signed_in = server.ask("POST", "/api/v1/auth/login", {"email": "bob@example.org", "password": PASSWORD})
        token = signed_in.body["access_token"]
        assert server.ask("GET", "/api/v1/me", token=token).status == 200
        home.ok("user", "disable", "bob@example.org")
        assert server.ask("GET", "/api/v1/me", token=token).status == 401


def test_a_reset_link_works(home: Home) -> None:
    with home.serving() as server:
        made = home.json("user", "create", "ada@example.org", "--admin")
        link, _, code = made["reset_link"].partition("#code=")
        assert link == f"{server.url}/reset"
        assert server.ask("POST", "/api/v1/auth/password/reset", {"token": code, "password": PASSWORD}).status == 204
        signed_in = server.ask("POST", "/api/v1/auth/login", {"email": "ada@example.org", "password": PASSWORD})
        assert signed_in.status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_stops_when_told_to(home: Home, number: int, loop: str) -> None:
    home.environment["MDSERVER_SERVER__EVENT_LOOP"] = loop
    with home.serving() as server:
        assert server.ask("GET", "/healthz").status == 200
        status, errors = server.stop(number)
    assert status == 0
    assert "stopping" in errors
    assert "Traceback" not in errors


def test_a_killed_server_leaves_nothing_in_the_way(home: Home) -> None:
    with home.serving() as server:
        home.user()
        server.process.kill()
        server.process.wait()
    assert (home.data / "control.sock").exists()
    assert [one["email"] for one in home.json("user", "list")] == ["ada@example.org"]
    with home.serving() as server:
        assert [one["email"] for one in home.json("user", "list")] == ["ada@example.org"]


def test_one_server_on_a_data_directory(either: Home) -> None:
    with either.serving() as server:
        second = either.program("serve", "--listen", "127.0.0.1:0")
        assert second.returncode == 1
        assert second.stdout == ""
        assert second.stderr == (
            f"Error: A server runs on {either.data} already: {server.url}/ (process {server.process.pid}).\n"
        )
        assert server.ask("GET", "/healthz").status == 200
        assert "in use by process" in either.fails("migrate")
        assert either.ok("user", "list").startswith("E-MAIL")


def test_one_server_on_a_postgresql_database(tmp_path: Path) -> None:
    with engines.fresh_dsn() as dsn:
        first, second = Home(tmp_path / "one", database_url=dsn), Home(tmp_path / "two", database_url=dsn)
        with first.serving():
            done = second.program("serve", "--listen", "127.0.0.1:0")
        assert done.returncode == 1
        assert done.stderr.startswith("Error: Another mdserver is running on this database")


def test_the_port_is_taken(home: Home) -> None:
    with taken_port() as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        done = home.program("serve", "--listen", address)
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: The address {address} is taken by another program: stop that, or choose another with --listen.\n"
    )
    assert done.stdout == ""
    assert not (home.data / "mdserver.sqlite3").exists()  # it had not come so far


@pytest.mark.parametrize(
    ("listen", "sentence"),
    [
        ("no..host:8000", "Error: The host 'no..host' in --listen is not known here."),
        ("198.51.100.7:8000", "is not one of this machine's"),
        ("8000", 'server.listen: must be host:port, such as "127.0.0.1:8000"'),
    ],
)
def test_an_address_that_cannot_be(home: Home, listen: str, sentence: str) -> None:
    done = home.program("serve", "--listen", listen)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_listens_on_every_address_of_a_host(home: Home) -> None:
    home.environment["MDSERVER_SERVER__LISTEN"] = "localhost:0"
    with home.serving("--listen", "localhost:0") as server:
        assert server.ask("GET", "/healthz").status == 200


def test_tells_people_where_it_is(home: Home) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "mdserver", "serve", "--listen", "127.0.0.1:0"],
        env=os.environ | home.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(9)]
        process.terminate()
        process.communicate(timeout=60)
    said = "".join(lines)
    assert re.match(r"mdserver \S+ is at http://127\.0\.0\.1:\d+/ with its data in ", said)
    assert "/setup#code=" in said
    hint = next(line for line in lines if "user create you@example.org --admin" in line)
    words = shlex.split(hint)
    assert str(home.data) in words
    assert shutil.which(words[0]), "the hint names a program that the reader's shell finds"


def test_a_wrong_configuration(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[server]\nlisten = 'here'\n[limits]\ndocuments = 3\n")
    done = home.program("serve", "--config", str(file))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: the configuration has 2 mistakes:\n")
    assert f"{file}:2: server.listen" in done.stderr
    assert f"{file}:4: limits.documents" in done.stderr
    assert not home.data.exists()


def test_a_data_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = Home(tmp_path / "file").program("serve", "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    assert done.stderr == f"Error: {tmp_path / 'file'} is not a directory\n"


def test_a_file_that_is_no_database(home: Home) -> None:
    home.data.mkdir(mode=0o700)
    (home.data / "mdserver.sqlite3").write_bytes(b"this is not a database, whatever it is called" * 100)
    done = home.program("serve", "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    path = home.data / "mdserver.sqlite3"
    said = (
        f"Error: The database {path} cannot be opened: file is not a database. “mdserver restore” puts a backup in its"
        " place and keeps this file aside."
    )
    assert said in done.stderr.splitlines()
    assert "Traceback" not in done.stderr
    assert (home.data / "mdserver.sqlite3").read_bytes().startswith(b"this is not a database")


def test_a_newer_database(home: Home) -> None:
    home.user()
    connection = connect(home.data / "mdserver.sqlite3", read_only=False)
    connection.execute("UPDATE schema_migrations SET number = 9999 WHERE number = 1")
    connection.close()
    done = home.program("serve", "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    assert "used by a newer mdserver" in done.stderr


def test_a_holder_that_takes_no_commands(home: Home) -> None:
    directory = DataDirectory(home.data)
    directory.prepare()
    directory.lock()
    try:
        with (
            pytest.raises(InUse, match="takes no commands"),
            reaching(load(None, environment={"MDSERVER_DATA": str(home.data)}), patience=0),
        ):
            pass
    finally:
        directory.unlock()
    assert home.ok("user", "list")
