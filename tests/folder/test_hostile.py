"""Names from the server, files of all kinds, lost access, full disks: nothing leaves the folder, nothing is lost."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from mdserver.folder.disk import Disk
from mdserver.folder.engine import Engine
from mdserver.folder.pulling import AccessLost
from mdserver.folder.rows import Told
from mdserver.folder.telling import said
from tests.engines import on_both

from .world import World


async def made(world: World, filename: str, text: str = "x", **more: Any) -> str:
    answer = await world.owner.post(
        f"/workspaces/{world.owner.workspace_id}/documents",
        {"title": "T", "filename": filename, **({} if more.get("kind") == "folder" else {"content": text}), **more},
    )
    assert answer.status == 201, answer
    return str(answer.json["id"])


async def test_names_from_the_server_stay_in_the_folder(world: World) -> None:
    names = [".hidden.md", ".mdserver", "...md", "no extension", "a" * 236 + ".md"]
    for name in names:
        await made(world, name)
    inside = await made(world, ".git", kind="folder")
    await made(world, "hook.md", parent_id=inside)
    a = world.folder("a")
    await a.sync()
    assert set(a.tree()) == {"_.hidden.md", "_.mdserver", "_...md", names[3], names[4], "_.git", "_.git/hook.md"}
    assert (await a.sync()).told == []
    a.write("_.hidden.md", "edited")
    a.write("no extension", "edited")
    await a.sync()
    found = await world.documents()
    assert set(found) == {*names, ".git", ".git/hook.md"}
    assert await world.text(found[".hidden.md"]["id"]) == "edited"
    assert await world.text(found["no extension"]["id"]) == "edited"


async def test_a_link_in_the_way_is_not_followed(world: World, tmp_path: Path) -> None:
    a = world.folder("a")
    out = tmp_path / "out"
    out.mkdir()
    (out / "x.md").write_text("not yours")
    (a.root / "x.md").symlink_to(out / "x.md")
    (a.root / "d").symlink_to(out)
    await made(world, "x.md", "theirs")
    folder = await made(world, "d", kind="folder")
    await made(world, "y.md", "theirs", parent_id=folder)
    said = await a.sync()
    assert a.read("x (2).md") == "theirs"
    assert a.read("d (2)/y.md") == "theirs"
    assert os.listdir(out) == ["x.md"]
    assert (out / "x.md").read_text() == "not yours"
    assert set(said.left_out) == {"x.md", "d"}
    assert set(await world.documents()) == {"x.md", "d", "d/y.md"}


async def test_a_file_that_becomes_a_link_or_no_text_is_not_deleted_there(world: World, tmp_path: Path) -> None:
    a = world.folder("a")
    for name in ("x.md", "y.md", "z.md", "d/w.md"):
        a.write(name, name)
    await a.sync()
    (a.root / "x.md").unlink()
    (a.root / "x.md").symlink_to(tmp_path)
    a.write("y.md", b"\xff\xff")
    a.write("z.md", b"a\0b")
    a.write(".mdserverignore", "d/\n")
    said = await a.sync()
    assert set(said.left_out) == {"x.md", "y.md", "z.md"}
    assert set(await world.documents()) == {"x.md", "y.md", "z.md", "d", "d/w.md"}
    assert a.tree()["y.md"] == b"\xff\xff"


async def test_what_is_ignored_here_does_not_come(world: World) -> None:
    a = world.folder("a")
    folder = await made(world, "drafts", kind="folder")
    await made(world, "x.md", parent_id=folder)
    await made(world, "y.md")
    a.write(".mdserverignore", "drafts/\n")
    said = await a.sync()
    assert set(a.tree()) == {"y.md"}
    assert said.problems == {}
    assert said.left_out == {
        "drafts": "is ignored here",
        "drafts/x.md": "stands below a document that is not here",
    }
    (a.root / ".mdserverignore").unlink()
    await a.sync()
    assert set(a.tree()) == {"y.md", "drafts", "drafts/x.md"}


async def test_what_is_edited_on_the_server_while_it_is_no_text_here_waits(world: World) -> None:
    a = world.folder("a")
    a.write("x.md", "x")
    await a.sync()
    id = a.id("x.md")
    a.write("x.md", b"\xff")
    await world.edit(id, "theirs")
    said = await a.sync()
    assert "x.md" in said.problems
    assert a.tree()["x.md"] == b"\xff"
    a.write("x.md", "x")
    await a.sync()
    assert a.read("x.md") == "theirs"


async def test_what_is_left_out_keeps_its_directory(world: World) -> None:
    a, b = world.folder("a"), world.folder("b")
    a.write("d/x.md", "x")
    a.write("d/p.png", b"png")
    a.write("pictures/q.png", b"png")
    await a.sync()
    await b.sync()
    (b.root / "d/x.md").unlink()
    (b.root / "d").rmdir()
    await b.sync()
    await a.sync()
    await a.sync()
    assert a.tree() == {"d": None, "d/p.png": b"png", "pictures": None, "pictures/q.png": b"png"}
    assert await world.documents() == {}


async def test_a_read_only_file_is_reported(world: World) -> None:
    a = world.folder("a")
    a.write("x.md", "x")
    a.write("y.md", "y")
    await a.sync()
    os.chmod(a.root / "x.md", 0o444)
    for name in ("x.md", "y.md"):
        await world.edit(a.id(name), "theirs")
    said = await a.sync()
    assert list(said.problems) == ["x.md"]
    assert (a.read("x.md"), a.read("y.md")) == ("x", "theirs")
    os.chmod(a.root / "x.md", 0o600)
    await a.sync()
    assert a.read("x.md") == "theirs"
    assert (a.root / "x.md").stat().st_mode & 0o777 == 0o600


async def test_a_full_disk_spoils_one_document_and_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    a = world.folder("a")
    big, small = await made(world, "big.md", "x" * 1000), await made(world, "small.md", "x")
    prepare = Disk.prepare

    def full(disk: Disk, name: str, data: bytes, *, mode: int | None) -> Any:
        if len(data) > 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return prepare(disk, name, data, mode=mode)

    with monkeypatch.context() as patch:
        patch.setattr(Disk, "prepare", full)
        said = await a.sync()
    assert said.problems == {"big.md": "could not be written: the disk is full"}
    assert set(a.tree()) == {"small.md"}
    await a.sync()
    assert set(a.tree()) == {"small.md", "big.md"}
    assert {a.id("big.md"), a.id("small.md")} == {big, small}


@on_both
async def test_lost_access_leaves_the_files(world: World) -> None:
    bob = await world.server.member(world.owner, "Bob", "editor")
    a, b = world.folder("a"), world.folder("b", bob)
    a.write("x.md", "x")
    await world.converge(a, b)
    b.write("x.md", "x, edited")
    answer = await world.owner.delete(f"/workspaces/{world.owner.workspace_id}/members/{bob.id}")
    assert answer.status == 204
    with pytest.raises(AccessLost):
        await b.sync()
    assert b.tree() == {"x.md": b"x, edited"}
    await world.server.join(world.owner, bob, "editor")
    assert await world.converge(b, a) == {"x.md": b"x, edited"}


async def test_a_file_that_is_written_while_it_is_synced(world: World) -> None:
    """What comes between the look and the writing is merged, not overwritten."""
    a = world.folder("a")
    a.write("x.md", "one two three\n")
    await a.sync()
    await world.edit(a.id("x.md"), "one two three four\n")

    def write(engine: Engine) -> None:
        a.write("x.md", "zero one two three\n")

    await a.sync(between=write)
    await a.sync()
    assert a.read("x.md") == "zero one two three four\n"


@pytest.mark.parametrize("moves", [False, True])
async def test_a_file_that_goes_while_its_edit_is_merged(
    world: World, monkeypatch: pytest.MonkeyPatch, moves: bool
) -> None:
    """What others wrote was not seen here: it is neither deleted with the file, nor edited out of one that moves."""
    a, b = world.folder("a"), world.folder("b")
    a.write("x.md", "one two three\n")
    await world.converge(a, b)
    a.write("x.md", "zero one two three\n")
    await a.sync()
    b.write("x.md", "one two three four\n")
    apply = Engine.apply

    async def going(engine: Engine) -> bool:
        if (b.root / "x.md").exists() and not (b.root / "y.md").exists() and "four" in await world.text(document):
            (b.root / "x.md").rename(b.root / "y.md") if moves else (b.root / "x.md").unlink()
            monkeypatch.setattr(Engine, "apply", apply)
        return await apply(engine)

    document = b.id("x.md")
    monkeypatch.setattr(Engine, "apply", going)
    await b.sync()
    assert Engine.apply is apply
    assert await world.converge(a, b) == {"y.md" if moves else "x.md": b"zero one two three four\n"}
    assert list(await world.documents()) == ["y.md" if moves else "x.md"]
    assert b.id("y.md" if moves else "x.md") == document


async def test_a_lost_cursor_brings_everything_anew_and_keeps_edits(world: World) -> None:
    a, b = world.folder("a"), world.folder("b")
    for name in ("x.md", "y.md", "z.md"):
        a.write(name, f"{name}\n")
    await world.converge(a, b)
    ids = {name: a.id(name) for name in ("x.md", "y.md")}
    for name in ids:
        for path in ("/trash", ""):
            method = "DELETE" if not path else "PUT"
            answer = await world.owner.call(method, f"/documents/{ids[name]}{path}", headers={"If-Match": "*"})
            assert answer.status in (200, 204), answer
    from mdserver.folder import home as homes
    from mdserver.folder.pulling import start_over

    with homes.opened(a.root) as home, home.state.transaction():
        start_over(home.state)
    a.write("y.md", "y.md\nedited\n")
    assert await world.converge(a, b) == {"y.md": b"y.md\nedited\n", "z.md": b"z.md\n"}
    assert a.id("y.md") != ids["y.md"]


async def test_a_state_is_opened_again_as_it_was(world: World) -> None:
    a = world.folder("a")
    a.write("x.md", "x")
    await a.sync()
    before = a.known()
    assert a.known() == before
    assert (await a.sync()).told == []


def test_what_others_wrote_does_nothing_to_a_terminal() -> None:
    told = Told(
        what="conflict", path="a\x1b[2J.md", words="was", more={"yours": ["\x1b]0;x\x07 a\nb"], "theirs": ["\x9b2J"]}
    )
    assert said(told) == "a�[2J.md was\n  theirs: �2J\n  yours:  �]0;x� a b"
