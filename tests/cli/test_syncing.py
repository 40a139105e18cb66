"""`mdserver sync` as a program beside a served workspace: once, live, killed, refused."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .homes import PATIENCE, Home, Serving


class Desk:
    """A served workspace, a token for it, and folders."""

    def __init__(self, home: Home, serving: Serving, place: Path) -> None:
        self.home, self.serving, self._place = home, serving, place
        self.token = home.json(
            "token", "create", "ada@example.org", "--name", "t", "--scope", "read", "--scope", "write"
        )
        self.token = self.token["token"]
        home.environment["MDSERVER_TOKEN"] = self.token

    def made_token(self, who: str) -> str:
        scopes = ("--scope", "read", "--scope", "write")
        return str(self.home.json("token", "create", who, "--name", "t", *scopes)["token"])

    def folder(self, name: str) -> Path:
        made = self._place / name
        made.mkdir()
        return made

    def first(self, folder: Path, *options: str) -> Any:
        """The first sync of a folder; what it reports."""
        there = ("--server", self.serving.url, "--workspace", "Notes")
        return self.home.json("sync", str(folder), "--once", *there, *options)

    def once(self, folder: Path) -> Any:
        return self.home.json("sync", str(folder), "--once")

    def documents(self) -> dict[str, Any]:
        """Path → every live document."""
        (workspace,) = [one for one in self.home.json("workspace", "list") if one["name"] == "Notes"]
        answer = self.serving.ask("GET", f"/api/v1/workspaces/{workspace['id']}/documents?limit=100", token=self.token)
        assert answer.status == 200, answer
        return {one["path"]: one for one in answer.body["items"]}

    @contextlib.contextmanager
    def live(self, folder: Path) -> Iterator[subprocess.Popen[str]]:
        """`mdserver sync` that goes on; killed in the end if it still runs."""
        words = [*self.home.words, "--json", "sync", str(folder)]
        environment = {**os.environ, **self.home.environment, "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(
            words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as made:
            try:
                yield made
            finally:
                if made.poll() is None:
                    made.kill()
                made.communicate(timeout=PATIENCE)


@pytest.fixture
def desk(home: Home, tmp_path: Path) -> Iterator[Desk]:
    home.environment["MDSERVER_RATES__ENABLED"] = "false"
    home.environment["MDSERVER_LOG__REQUESTS"] = "none"  # nobody reads the server's standard error meanwhile
    home.user()
    home.workspace("Notes")
    with home.serving() as serving:
        yield Desk(home, serving, tmp_path)


def until(condition: Callable[[], bool], seconds: float = 20) -> float:
    """Wait for it; how long it took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, "it did not come to pass"
        time.sleep(0.005)
    return time.monotonic() - begun


def holds(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


def test_once_there_and_back(desk: Desk) -> None:
    a, b = desk.folder("a"), desk.folder("b")
    (a / "x.md").write_text("# Hello\n")
    (a / "picture.png").write_bytes(b"\x89PNG")
    said = desk.first(a)
    assert [(one["what"], one["path"]) for one in said["happened"]] == [("pushed", "x.md")]
    assert said["left_out"] == {"picture.png": "is no Markdown file: attachments come later"}
    desk.first(b)
    assert (b / "x.md").read_text() == "# Hello\n"
    (b / "x.md").write_text("# Hello, again\n")
    desk.once(b)
    text = desk.home.ok("sync", str(a), "--once")
    assert text.startswith("x.md was updated\n")
    assert (a / "x.md").read_text() == "# Hello, again\n"
    assert desk.home.ok("sync", str(a), "--once").startswith("Nothing was to be done.")
    assert stat_of(a / ".mdserver") == 0o700
    assert stat_of(a / ".mdserver/token") == 0o600
    assert stat_of(a / ".mdserver/state.db") == 0o600


def stat_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_first_time_asks_for_what_it_needs(desk: Desk) -> None:
    a = desk.folder("a")
    assert desk.home.fails("sync", str(a), "--status") == f"{a} was not synced yet: name the server with --server."
    assert desk.home.fails("sync", str(a), "--once") == "Name the server with --server the first time."
    said = desk.home.fails("sync", str(a), "--once", "--server", desk.serving.url)
    assert said.startswith("Say which workspace with --workspace:\n")
    assert "  Notes (" in said
    said = desk.home.fails("sync", str(a), "--once", "--server", desk.serving.url, "--workspace", "None")
    assert said.startswith("There is no workspace “None”. There are:\n")
    del desk.home.environment["MDSERVER_TOKEN"]
    said = desk.home.fails("sync", str(a), "--once", "--server", desk.serving.url)
    assert said == "There is no token: give one with --token-stdin or in MDSERVER_TOKEN."
    arguments = ("sync", str(a), "--once", "--server", desk.serving.url, "--token-stdin")
    said = desk.home.fails(*arguments, stdin="mds_pat_wrong\n")
    assert "mds_pat_wrong" not in said
    assert "token" in said.lower()
    assert not (a / ".mdserver/token").exists()
    desk.home.ok(*arguments, "--workspace", "Notes", stdin=f"{desk.token}\n")
    desk.home.ok("sync", str(a), "--once")
    assert "belongs to the workspace “Notes”" in desk.home.fails("sync", str(a), "--once", "--workspace", "Other")
    assert "belongs to" in desk.home.fails("sync", str(a), "--once", "--server", "http://127.0.0.1:1")
    assert "Say one of" in desk.home.fails("sync", str(a), "--once", "--dry-run", status=2)


def test_a_dry_run_leaves_no_trace(desk: Desk) -> None:
    a, b = desk.folder("a"), desk.folder("b")
    (a / "x.md").write_text("x")
    there = ("--server", desk.serving.url, "--workspace", "Notes")
    said = desk.home.json("sync", str(a), "--dry-run", *there)
    assert said["would_push"] == ["x.md"]
    assert os.listdir(a) == ["x.md"]
    assert desk.documents() == {}
    desk.first(a)
    (b / "y.md").write_text("y")
    said = desk.home.json("sync", str(b), "--dry-run", *there)
    assert (said["would_push"], [one["path"] for one in said["happened"]]) == (["y.md"], ["x.md"])
    assert os.listdir(b) == ["y.md"]
    desk.first(b)
    (b / "d").mkdir()
    (b / "x.md").rename(b / "d/x.md")
    (b / "y.md").unlink()
    before = (b / ".mdserver/state.db").read_bytes()
    said = desk.home.json("sync", str(b), "--dry-run")
    assert said["would_push"] == ["d", "d/x.md", "y.md"]
    assert (b / ".mdserver/state.db").read_bytes() == before
    assert set(desk.documents()) == {"x.md", "y.md"}


def test_status_conflicts_and_settling(desk: Desk) -> None:
    a, b = desk.folder("a"), desk.folder("b")
    (a / "x.md").write_text("we meet on Monday")
    desk.first(a)
    desk.first(b)
    (a / "x.md").write_text("we meet on Tuesday")
    (b / "x.md").write_text("we meet on Friday")
    (b / "new.md").write_text("n")
    (b / "bad.md").write_bytes(b"\xff\xfe")
    said = desk.home.json("sync", str(b), "--status")
    assert (said["new"], said["changed"], said["deleted"]) == (["new.md"], ["x.md"], [])
    assert said["left_out"] == {"bad.md": "is not valid UTF-8 (byte 0)"}
    desk.once(a)
    text = desk.home.ok("sync", str(b), "--once")
    assert "x.md was rewritten on both sides: both passages are in it\n  theirs: Tuesday\n  yours:  Friday\n" in text
    for folder in (a, b):
        (conflict,) = desk.home.json("sync", str(folder), "--conflicts")["server"]
    assert "x.md" in desk.home.ok("sync", str(b), "--conflicts")
    assert "Rewritten on both sides" in desk.home.ok("sync", str(b), "--status")
    desk.home.ok("sync", str(b), "--settle", conflict["id"])
    assert desk.home.ok("sync", str(b), "--conflicts") == "There are no conflicts.\n"
    assert desk.home.json("sync", str(b), "--status")["conflicts"] == []


def test_what_a_viewer_writes_stays_here_and_is_told(desk: Desk) -> None:
    desk.home.user("bob@example.org")
    desk.home.ok("workspace", "add-member", "Notes", "bob@example.org", "--role", "viewer")
    a, b = desk.folder("a"), desk.folder("b")
    (a / "x.md").write_text("one\n\ntwo\n")
    desk.first(a)
    theirs = desk.made_token("bob@example.org")
    desk.home.environment["MDSERVER_TOKEN"] = theirs
    desk.first(b)
    (b / "x.md").write_text("one\n\ntwo, said Bob\n")
    (b / "mine.md").write_text("m")
    result = desk.home.run("sync", str(b), "--once")
    assert result.exit_code == 1
    assert "2 paths could not be synced." in result.stderr
    assert "x.md was not taken by the server" in result.stdout
    assert "Not pushed:" in desk.home.ok("sync", str(b), "--status")
    desk.home.environment["MDSERVER_TOKEN"] = desk.token
    (a / "x.md").write_text("one, said Ada\n\ntwo\n")
    desk.once(a)
    desk.home.environment["MDSERVER_TOKEN"] = theirs
    desk.home.run("sync", str(b), "--once")
    assert (b / "x.md").read_text() == "one, said Ada\n\ntwo, said Bob\n"
    desk.home.ok("workspace", "remove-member", "Notes", "bob@example.org")
    assert "not open to you any more" in desk.home.fails("sync", str(b), "--once")
    assert (b / "x.md").exists()


def test_one_program_keeps_a_folder(desk: Desk) -> None:
    a = desk.folder("a")
    desk.first(a)
    with desk.live(a):
        (a / "x.md").write_text("x")
        until(lambda: set(desk.documents()) == {"x.md"})
        assert "at work in" in desk.home.fails("sync", str(a), "--once")


def test_live_folders_follow_each_other(desk: Desk) -> None:
    a, b = desk.folder("a"), desk.folder("b")
    for folder in (a, b):
        desk.first(folder)
    with desk.live(a) as first, desk.live(b):
        (a / "x.md").write_text("start")
        until(lambda: holds(b / "x.md", "start"))
        took = []
        for number in range(8):
            time.sleep(0.3)
            here, there = ((a, b), (b, a))[number % 2]
            (here / "x.md").write_text(f"line {number}\n" * 20)
            took.append(until(lambda there=there, number=number: holds(there / "x.md", f"line {number}\n" * 20)))  # type: ignore[misc]
        assert statistics.median(took) < 2, took  # some 0.1 on a quiet machine
        (a / "d").mkdir()
        (a / "x.md").rename(a / "d/y.md")
        until(lambda: (b / "d/y.md").exists() and not (b / "x.md").exists())
        (b / "d/y.md").unlink()
        until(lambda: not (a / "d/y.md").exists())
        first.send_signal(signal.SIGTERM)
        assert "Nothing is lost" in (first.stderr.read() if first.stderr else "")
        assert first.wait(PATIENCE) == 0


def test_offline_and_back(home: Home, desk: Desk) -> None:
    a = desk.folder("a")
    (a / "x.md").write_text("x")
    desk.first(a)
    port = desk.serving.url.rpartition(":")[2]
    with desk.live(a):
        time.sleep(1)
        desk.serving.stop()
        (a / "x.md").write_text("x, offline")
        (a / "y.md").write_text("y")
        assert "cannot be reached" in home.fails("sync", str(desk.folder("b")), "--once", "--server", desk.serving.url)
        with home.serving("--listen", f"127.0.0.1:{port}") as again:
            desk.serving = again
            until(lambda: set(desk.documents()) == {"x.md", "y.md"}, seconds=40)


def test_killed_at_any_moment(desk: Desk) -> None:
    """kill -9 loses nothing and doubles nothing: every file arrives once."""
    a, b = desk.folder("a"), desk.folder("b")
    desk.first(a)
    desk.first(b)
    generator = random.Random(7)
    expected: dict[str, str] = {}
    for round_ in range(6):
        with desk.live(a) as one, desk.live(b) as other:
            end = time.monotonic() + generator.uniform(0.5, 1.6)
            while time.monotonic() < end:
                folder = generator.choice([a, b])
                name = f"{folder.name}{generator.randrange(12)}.md"
                text = expected.get(name, f"# {name}\n") + f"line {len(expected)}.{round_}.{generator.random()}\n"
                (folder / name).write_text(text)
                expected[name] = text
                time.sleep(generator.uniform(0, 0.05))
            one.kill()
            other.kill()
    for _ in range(3):
        desk.once(a)
        desk.once(b)
    for folder in (a, b):
        assert {path.name: path.read_text() for path in folder.glob("*.md")} == expected
    assert set(desk.documents()) == set(expected)


def test_json_lines_of_a_live_sync(desk: Desk) -> None:
    a = desk.folder("a")
    desk.first(a)
    words = [*desk.home.words, "--json", "sync", str(a)]
    environment = {**os.environ, **desk.home.environment, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as made:
        (a / "x.md").write_text("x")
        assert made.stdout is not None
        assert json.loads(made.stdout.readline()) == {"what": "pushed", "path": "x.md", "words": "was sent"}
        made.send_signal(signal.SIGINT)
        _, errors = made.communicate(timeout=PATIENCE)
    assert re.search("Nothing is lost", errors)
    assert desk.token not in errors
