"""The server is put back to what it was: folders follow it, and no word that they held is lost."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.robust.program import Client, Home, Program, furnish

from .world import Folder, Tree, converge


class Restored:
    """The real program, whose closed database file can be put aside and back."""

    def __init__(self, home: Home, place: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = int(taken.getsockname()[1])
        self.home, self._place = home, place
        self.program = Program(home, listens=port)
        self._backup = place / "backup"

    def start(self) -> None:
        assert self.program.start()

    def back_up(self) -> None:
        self.program.stop()
        shutil.copy(self.home.database, self._backup)
        self.start()

    def put_back(self) -> None:
        self.program.stop()
        for one in self.home.data.glob(f"{self.home.database.name}*"):
            one.unlink()
        shutil.copy(self._backup, self.home.database)
        self.start()

    def folder(self, name: str) -> Folder:
        return Folder(self._place / name, f"http://127.0.0.1:{self.program.port}", self.home.token, self.home.workspace)

    def tree(self) -> Tree:
        """What the server has, as files."""
        with self.program.asked() as client:
            listed = client.call("GET", f"/workspaces/{self.home.workspace}/documents?limit=200").json["items"]
            return {
                one["path"]: None if one["kind"] == "folder" else _text(client, one["id"]).encode() for one in listed
            }

    def edit(self, id: str, text: str) -> None:
        with self.program.asked() as client:
            answer = client.call("PUT", f"/documents/{id}/content", {"content": text}, {"If-Match": "*"})
            assert answer.status == 200, answer


def _text(client: Client, id: str) -> str:
    return client.call("GET", f"/documents/{id}/content").body.decode()


@pytest.fixture
async def restored(tmp_path: Path) -> Home:
    return await furnish(tmp_path / "data")


@pytest.fixture
def server(restored: Home, tmp_path: Path) -> Iterator[Restored]:
    made = Restored(restored, tmp_path)
    made.start()
    yield made
    made.program.stop()


async def test_folders_follow_a_restored_server(server: Restored) -> None:
    a, b = server.folder("a"), server.folder("b")
    for path in ("same.md", "edited.md", "d/moved.md", "deleted.md", "both.md"):
        a.write(path, f"{path} as it was, and long enough\n")
    before = await converge(a, b)
    server.back_up()

    a.write("edited.md", "edited.md is newer\n")
    a.write("since.md", "made since\n")
    a.write("new/deep.md", "made since, deep\n")
    a.move("d/moved.md", "moved.md")
    (a.root / "deleted.md").unlink()
    await converge(a, b)
    b.write("d/x.md", "x")
    (b.root / "d/x.md").unlink()
    server.put_back()

    tree = await converge(a, b)
    assert tree == before == server.tree()
    kept = {
        "edited.md": "edited.md is newer\n",
        "since.md": "made since\n",
        "new/deep.md": "made since, deep\n",
    }
    assert (a.kept(), b.kept()) == (kept, kept)
    a.write("edited.md", "goes on\n")
    assert (await converge(a, b))["edited.md"] == b"goes on\n"
    assert (a.kept(), b.kept()) == (kept, kept)


async def test_the_message_names_the_place(server: Restored) -> None:
    a = server.folder("a")
    a.write("x.md", "one\n")
    await a.sync()
    server.back_up()
    a.write("x.md", "two\n")
    await a.sync()
    server.put_back()
    said = await a.sync()
    (kept,) = (one for one in said.told if one.what == "kept")
    place = kept.words.rpartition(" ")[2]
    assert kept.path == "x.md"
    assert place.startswith(".mdserver/kept/")
    assert (a.root / place).read_text() == "two\n"
    assert a.read("x.md") == "one\n"


async def test_what_was_not_sent_before_the_restore(server: Restored) -> None:
    """The server gives its version numbers to other texts meanwhile: no edit is taken for one of those."""
    a, b = server.folder("a"), server.folder("b")
    a.write("x.md", "one two three four five six\n")
    a.write("y.md", "one two three four five six\n")
    a.write("z.md", "z\n")
    await converge(a, b)
    ids = {path: a.id(path) for path in ("x.md", "y.md", "z.md")}
    server.back_up()
    a.write("x.md", "one lost two three four five six\n")
    a.write("since.md", "since\n")
    await converge(a, b)
    b.write("x.md", "one lost two three four five mine six\n")
    b.write("since.md", "since, and mine\n")
    b.write("fresh.md", "fresh\n")
    b.move("y.md", "renamed.md")
    (b.root / "z.md").unlink()
    server.put_back()
    server.edit(ids["x.md"], "one two three other four five six\n")
    server.edit(ids["y.md"], "one two three other four five six\n")

    tree = await converge(b, a)
    assert tree == server.tree()
    assert tree == {
        "x.md": b"one two three other four five mine six\n",
        "renamed.md": b"one two three other four five six\n",
        "since.md": b"since, and mine\n",
        "fresh.md": b"fresh\n",
    }
    assert b.kept()["x.md"] == "one lost two three four five mine six\n"
    assert a.kept()["x.md"] == "one lost two three four five six\n"
    assert "since.md" not in b.kept()


async def test_what_was_sent_and_not_heard_of_again(server: Restored) -> None:
    """A cursor from before the restore can still be good: that a push does not come with the next pull tells."""
    a = server.folder("a")
    a.write("x.md", "one\n")
    a.write("y.md", "y\n")
    await a.sync()
    server.back_up()
    a.write("x.md", "two\n")
    await a.push()
    server.put_back()
    said = await a.sync()
    assert [one.what for one in said.told] == ["resync", "kept", "pulled"]
    assert (a.read("x.md"), a.kept()) == ("one\n", {"x.md": "two\n"})
    a.write("y.md", "y, and more\n")
    await a.push()
    assert [one.what for one in (await a.sync()).told] == []
    assert server.tree()["y.md"] == b"y, and more\n"


async def test_a_first_sync_keeps_nothing_aside(server: Restored) -> None:
    a, b = server.folder("a"), server.folder("b")
    a.write("x.md", "one\n")
    await a.sync()
    b.write("x.md", "two\n")
    await converge(a, b)
    assert (a.kept(), b.kept()) == ({}, {})
