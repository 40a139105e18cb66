"""`mdserver doctor`: what it sees, what it says, what it mends."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from mdserver import clock
from mdserver.chores.doctor import CHECKS
from mdserver.store.sqlite import connect

from .homes import Home, taken_port


def checked(home: Home, name: str, *options: str, status: int = 0) -> dict[str, Any]:
    """What one check finds."""
    import json

    result = home.run("doctor", "--run", name, "--json", *options)
    assert result.exit_code == status, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    assert [one["name"] for one in found] == [name]
    return found[0]


def tampered(home: Home, sql: str, *values: object) -> None:
    with contextlib.closing(connect(home.data / "mdserver.sqlite3", read_only=False)) as connection:
        connection.execute(sql, values)


@pytest.fixture
def filled(home: Home, tmp_path: Path) -> Home:
    """A workspace with two documents in it, indexed."""
    home.user()
    home.workspace("Notes")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "one.md").write_text("# One\n\nSome words.\n")
    (tmp_path / "in" / "two.md").write_text("# Two\n\nOther words.\n")
    home.ok("import", str(tmp_path / "in"), "--workspace", "Notes", "--as", "ada@example.org")
    return home


def test_a_healthy_server(either: Home) -> None:
    either.user()
    said = either.run("doctor")
    assert said.exit_code == 0, said.output
    for name in CHECKS:
        assert f"\n{name}" in f"\n{said.stdout}"
    assert "WRONG" not in said.stdout
    found = {one["name"]: one["state"] for one in either.json("doctor")}
    assert set(found) == set(CHECKS)
    assert found["contents"] == found["permissions"] == found["clock"] == found["jobs"] == found["search"] == "ok"
    assert found["mail"] == found["public-url"] == "skipped"
    assert found["configuration"] == "warning"
    assert [one["name"] for one in either.json("doctor", "--list")] == list(CHECKS)


def test_while_the_server_runs(home: Home) -> None:
    home.user()
    with home.serving():
        assert checked(home, "contents")["state"] == "ok"
        assert checked(home, "search")["state"] == "ok"


def test_an_unknown_check(home: Home) -> None:
    assert home.fails("doctor", "--run", "nonsense").startswith(
        "There is no check 'nonsense'; there are configuration,"
    )


def test_a_text_that_its_log_does_not_give(filled: Home) -> None:
    assert checked(filled, "contents")["state"] == "ok"
    tampered(filled, "UPDATE document_texts SET text = 'changed behind our back'")
    found = checked(filled, "contents", status=1)
    assert found["state"] == "failed"
    assert any("one.md" in one for one in found["told"])
    said = filled.run("doctor", "--run", "contents")
    assert "1 check found something wrong: contents." in said.stderr


def test_a_wrong_index(filled: Home) -> None:
    with filled.serving() as server:
        wait_for_index(filled, server)
    tampered(filled, "DELETE FROM search_documents WHERE n = (SELECT min(n) FROM search_documents)")
    assert checked(filled, "search", status=1)["told"]
    mended = checked(filled, "search", "--fix")
    assert mended["fixed"]
    assert checked(filled, "search")["state"] == "ok"


def wait_for_index(home: Home, server: Any) -> None:
    """Until the indexer has seen what was imported."""
    import time

    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        with contextlib.closing(connect(home.data / "mdserver.sqlite3", read_only=True)) as connection:
            if connection.execute("SELECT count(*) FROM search_documents").fetchone()[0] == 2:
                return
        time.sleep(0.05)
    raise AssertionError("the index was not filled")


def test_files_that_are_open_to_others(filled: Home) -> None:
    stray = filled.data / "backups" / "stray.tar"
    stray.parent.mkdir(mode=0o700, exist_ok=True)
    stray.touch()
    stray.chmod(0o644)
    found = checked(filled, "permissions", status=1)
    assert [one for one in found["told"] if one.endswith("stray.tar is open to others")]
    assert checked(filled, "permissions", "--fix")["fixed"]
    assert stray.stat().st_mode & 0o777 == 0o600
    assert checked(filled, "permissions")["state"] == "ok"


def test_jobs_that_fail(home: Home, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home.environment |= {
        "MDSERVER_BACKUP__SCHEDULE": "daily 03:30",
        "MDSERVER_BACKUP__DIRECTORY": str(tmp_path / "file" / "x"),
    }
    home.fails("job", "run", "backup")
    assert checked(home, "jobs", status=1)["told"][0].startswith("backup failed: ")
    home.environment["MDSERVER_BACKUP__SCHEDULE"] = "off"
    assert checked(home, "jobs")["state"] == "ok"


def test_a_clock_that_went_back(filled: Home) -> None:
    tampered(filled, "UPDATE documents SET updated_at = updated_at + ?", clock.DAY)
    assert "clock says" in checked(filled, "clock", status=1)["detail"]


def test_mail_that_nobody_takes(home: Home) -> None:
    with contextlib.closing(socket.socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))
        home.environment |= {
            "MDSERVER_MAIL__HOST": "127.0.0.1",
            "MDSERVER_MAIL__PORT": str(nobody.getsockname()[1]),
            "MDSERVER_MAIL__SECURITY": "none",
            "MDSERVER_MAIL__SENDER": "notes@example.org",
        }
        assert "cannot be used" in checked(home, "mail", status=1)["detail"]


class Strict:
    """A mail server that does not take mail from everybody."""

    takes = True

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if not self.takes:
            return "550 5.7.1 not yours"
        envelope.mail_from = address
        return "250 ok"


def test_mail_that_is_taken_and_refused(home: Home) -> None:
    strict = Strict()
    with contextlib.closing(taken_port()) as free:
        port = free.getsockname()[1]
    controller = Controller(strict, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        home.environment |= {
            "MDSERVER_MAIL__HOST": "127.0.0.1",
            "MDSERVER_MAIL__PORT": str(port),
            "MDSERVER_MAIL__SECURITY": "none",
            "MDSERVER_MAIL__SENDER": "Notes <notes@example.org>",
        }
        assert checked(home, "mail")["detail"] == f"127.0.0.1:{port} takes mail from Notes <notes@example.org>."
        strict.takes = False
        said = "The mail server refuses the sender: 550 5.7.1 not yours"
        assert checked(home, "mail", status=1)["detail"] == said
    finally:
        controller.stop()


def test_the_public_url(home: Home) -> None:
    with contextlib.closing(taken_port()) as silent:
        port = silent.getsockname()[1]
    home.environment["MDSERVER_SERVER__PUBLIC_URL"] = f"http://127.0.0.1:{port}"
    assert "cannot be reached" in checked(home, "public-url", status=1)["detail"]
    with home.serving("--listen", f"127.0.0.1:{port}"):
        assert checked(home, "public-url")["state"] == "ok"
