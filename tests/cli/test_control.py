"""The control socket: what it takes, how it refuses, and that both ways of doing a chore answer alike."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mdserver.chores import users
from mdserver.chores.chore import Chore
from mdserver.chores.reach import Run, reaching
from mdserver.chores.table import CHORES
from mdserver.chores.users import Page, UserAsk, UserCreate
from mdserver.config import load
from mdserver.errors import Conflict, NotFound, Problem

from .homes import PASSWORD, PATIENCE, Home


@contextlib.contextmanager
def reached(home: Home) -> Iterator[Run]:
    with reaching(load(None, environment=home.environment)) as run:
        yield run


def knock(path: Path, name: str, body: bytes) -> tuple[int, Any]:
    """One request to the socket by hand."""
    connection = http.client.HTTPConnection("localhost", timeout=PATIENCE)
    connection.sock = socket.socket(socket.AF_UNIX)
    with contextlib.closing(connection):
        connection.sock.connect(str(path))
        connection.request("POST", f"/chores/{name}", body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def test_every_chore_is_in_the_table_under_its_own_name() -> None:
    assert set(CHORES) >= {
        "user_create",
        "workspace_add_member",
        "token_revoke",
        "import_batch",
        "export_texts",
        "backup_open",
    }
    for name, chore in CHORES.items():
        assert isinstance(chore, Chore)
        assert chore.name == name
        assert chore.do.__doc__


def test_it_answers_its_owner_only_and_tells_what_is_wrong(home: Home) -> None:
    with home.serving() as server:
        path = home.data / "control.sock"
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert path.stat().st_mode & 0o777 == 0o600
        assert knock(path, "user_list", b"{}") == (200, {"items": []})
        status, problem = knock(path, "user_fly", b"{}")
        assert (status, problem["slug"]) == (404, "not-found")
        assert problem["detail"].endswith("does not know this command: restart it.")
        assert knock(path, "user_list", b"{")[0] == 400
        status, problem = knock(path, "user_list", b'{"limit": "many"}')
        assert status == 422
        assert "Expected `int`, got `str`" in problem["detail"]
        status, problem = knock(path, "user_show", b'{"who": "eve@example.org"}')
        assert (status, problem["status"], problem["title"]) == (404, 404, "There is no such thing here")
        assert server.ask("POST", "/chores/user_list", {}).status in (404, 405)  # never on the network
        assert server.stop()[0] == 0


def test_both_ways_answer_alike(either: Home) -> None:
    def deeds(run: Run, email: str) -> list[object]:
        made = run(users.user_create, UserCreate(email=email, display_name="Ada", password=PASSWORD))
        with pytest.raises(Problem) as taken:
            run(users.user_create, UserCreate(email=email, display_name="Ada", password=PASSWORD))
        with pytest.raises(Problem) as unknown:
            run(users.user_show, UserAsk(who="eve@example.org"))
        shown = run(users.user_show, UserAsk(who=made.user.id)).user
        problems = [(one.value.status, one.value.slug, one.value.detail) for one in (taken, unknown)]
        return [made.user.display_name, made.reset_link, shown.is_admin, *problems]

    with reached(either) as run:
        alone = deeds(run, "ada@example.org")
    with either.serving(), reached(either) as run:
        served = deeds(run, "bob@example.org")
        assert len(run(users.user_list, Page()).items) == 2
    assert alone == served
    assert alone[3:] == [
        (Conflict.status, "conflict", "Another account has this e-mail address."),
        (NotFound.status, "not-found", "There is no account with the e-mail address 'eve@example.org'."),
    ]


def test_a_server_that_goes_away_in_between(home: Home) -> None:
    with home.serving() as server, reached(home) as run:
        assert run(users.user_list, Page()).items == []
        server.process.kill()
        server.process.wait()
        with pytest.raises(Problem, match="The server went away"):
            run(users.user_list, Page())


def test_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    deep = Home(tmp_path / ("d" * 120))
    with tempfile.TemporaryDirectory(prefix="mdserver-") as short:
        deep.environment["XDG_RUNTIME_DIR"] = short
        with deep.serving():
            deep.user()
            assert not (deep.data / "control.sock").exists()
            assert len(deep.json("user", "list")) == 1
    (tmp_path / ("r" * 120)).mkdir()
    deep.environment["RUNTIME_DIRECTORY"] = str(tmp_path / ("r" * 120))
    done = deep.program("serve", "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: The control socket cannot be made at ")
