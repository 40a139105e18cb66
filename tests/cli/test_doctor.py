"""`mdserver doctor`: what it sees, what it says, what it mends."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from mdserver import clock
from mdserver.chores.doctor import CHECKS
from mdserver.store.sqlite import connect

from .homes import Home, taken_port


@pytest.fixture
def home(home: Home) -> Home:
    """With a database."""
    home.ok("init")
    return home


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


def test_a_document_that_brought_the_server_down(filled: Home) -> None:
    closing = "INSERT INTO quarantined_documents SELECT id, 0, 'a test' FROM documents WHERE filename = 'one.md'"
    tampered(filled, closing)
    found = checked(filled, "contents")
    assert (found["state"], len(found["told"])) == ("warning", 1)
    assert found["detail"].startswith("Documents closed, since they brought the server down: 1. ")
    with filled.serving():  # which tries it
        pass
    assert checked(filled, "contents")["state"] == "ok"


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
    home.environment["MDSERVER_SERVER__PUBLIC_URL"] = url = f"http://127.0.0.1:{port}"
    found = checked(home, "public-url")
    assert (found["state"], found["detail"]) == (
        "skipped",
        f"The server does not run: start it to see whether {url} leads to it.",
    )
    with home.serving("--listen", f"127.0.0.1:{port}"):
        assert checked(home, "public-url")["detail"] == f"{url} leads to this server."
    with home.serving():
        said = checked(home, "public-url", status=1)["detail"]
        assert said == f"{url} cannot be reached from here: Connect call failed ('127.0.0.1', {port})."


def test_a_public_url_that_leads_to_another_server(home: Home, tmp_path: Path) -> None:
    with Home(tmp_path / "other").serving() as other:
        home.environment["MDSERVER_SERVER__PUBLIC_URL"] = other.url
        said = f"The server does not run, but another mdserver answers at {other.url}."
        assert checked(home, "public-url", status=1)["detail"] == said
        with home.serving():
            said = f"Another mdserver answers at {other.url}, not this one: see where the proxy leads to."
            assert checked(home, "public-url", status=1)["detail"] == said


class Proxy(ThreadingHTTPServer):
    """A proxy that passes requests on to the port `to`, but for the header fields that it changes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.to = 0
        self.changed: dict[str, str] = {}
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Passing(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        if not self.server.to:
            self.send_error(502)
            return
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.server.to)) as behind:
            behind.request("GET", self.path, headers=dict(self.headers))
            answer = behind.getresponse()
            body = answer.read()
        self.send_response_only(answer.status)
        for name, value in (dict(answer.getheaders()) | self.server.changed).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_what_a_proxy_does(home: Home) -> None:
    with Proxy() as proxy:
        threading.Thread(target=proxy.serve_forever).start()
        try:
            home.environment["MDSERVER_SERVER__PUBLIC_URL"] = proxy.url
            assert checked(home, "public-url")["state"] == "skipped"
            with contextlib.closing(taken_port()) as free:
                port = free.getsockname()[1]
            with home.serving("--listen", f"127.0.0.1:{port}"):
                said = f"{proxy.url}/version answers 502, and not as mdserver does."
                assert checked(home, "public-url", status=1)["detail"] == said
                proxy.to = port
                assert checked(home, "public-url")["state"] == "ok"
                for changed, told in (
                    ({"ETag": ""}, ["The proxy removes ETags: clients cannot save, and load all anew."]),
                    (
                        {"ETag": '"x-gzip"'},
                        ["The proxy changes ETags beyond what is understood: clients will load all anew."],
                    ),
                    ({"Date": "Sat, 31 Jan 2026 12:00:00 GMT"}, ["The proxy's clock is minutes away from this one."]),
                    ({"Date": "no date"}, []),
                ):
                    proxy.changed = changed
                    assert checked(home, "public-url")["told"] == told
        finally:
            proxy.shutdown()
