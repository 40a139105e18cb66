"""What is at the edge of the allowed: names, depths, sizes, clocks, permissions, full disks on either side."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest

from mdserver.client import ApiProblem
from mdserver.config import Limits
from mdserver.folder import names as namings
from mdserver.folder.disk import LARGEST, Disk
from mdserver.folder.engine import Engine
from mdserver.folder.scanning import DEPTH
from tests.engines import on_both
from tests.robust import shim
from tests.robust.program import Program, furnish
from tests.web.conftest import Start

from .test_hostile import made
from .world import Folder, World, converge


async def test_case_and_form_of_a_name_change_alone(world: World) -> None:
    a, b = world.folder("a"), world.folder("b")
    a.write("note.md", "n")
    a.write("d/caf\u00e9.md", "c")
    await world.converge(a, b)
    ids = {a.id("note.md"), a.id("d/caf\u00e9.md")}
    a.move("note.md", "NOTE.md")
    a.move("d/caf\u00e9.md", "d/cafe\u0301.md")
    b.move("d", "D")
    for folder in (a, b, a, b):
        await folder.sync()
    # A file system may change the form by itself, so that is not told to others.
    trees = [{normalize("NFC", path): data for path, data in one.tree().items()} for one in (a, b)]
    assert trees[0] == trees[1] == {"NOTE.md": b"n", "D": None, "D/caf\u00e9.md": b"c"}
    assert [(await one.sync()).told for one in (a, b)] == [[], []]
    assert {one["id"] for one in (await world.documents()).values() if one["kind"] != "folder"} == ids


async def test_names_as_long_as_can_be(world: World) -> None:
    a, b = world.folder("a"), world.folder("b")
    longest, wide, beyond = "a" * 237 + ".md", "\u00e9" * 118 + "x.md", "b" * 238 + ".md"
    assert (len(longest.encode()), len(wide.encode()), len(beyond.encode())) == (240, 240, 241)
    for name in (longest, wide, beyond):
        a.write(name, name)
    a.write("d" * 240 + "/x.md", "x")
    said = await a.sync()
    tree = await world.converge(b)
    assert set(tree) == {longest, wide, "d" * 240, "d" * 240 + "/x.md"}
    assert list(said.left_out) == [beyond]
    # The server has numbered a name that was taken, within the same bounds.
    await made(world, longest, "another")
    (a.root / beyond).unlink()
    tree = await world.converge(a, b)
    (other,) = (path for path, data in tree.items() if data == b"another")
    assert len(other.encode()) <= 240


async def test_names_that_windows_refuses(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have others there; edited under those, they are the same documents, with their names."""
    for name in ("con.md", "what?.md", "dot..md", "C:evil.md"):
        await made(world, name, name)
    monkeypatch.setattr(namings.local_name, "__kwdefaults__", {"windows": True})
    a = world.folder("a")
    await a.sync()
    assert set(a.tree()) == {"con_.md", "what_.md", "dot..md", "C_evil.md"}
    a.write("con_.md", "edited")
    await a.sync()
    found = await world.documents()
    assert set(found) == {"con.md", "what?.md", "dot..md", "C:evil.md"}
    assert await world.text(found["con.md"]["id"]) == "edited"
    assert (await a.sync()).told == []


@on_both
async def test_trees_as_deep_as_can_be(world: World) -> None:
    a, b = world.folder("a"), world.folder("b")
    deepest = "/".join(["d"] * (DEPTH - 1)) + "/x.md"
    beyond = "/".join(["e"] * DEPTH) + "/x.md"
    a.write(deepest, "deep")
    a.write(beyond, "deeper")
    said = await a.sync()
    tree = await world.converge(b)
    assert tree[deepest] == b"deep"
    assert beyond not in tree
    assert [*said.left_out, *(one.path for one in said.refused)] == [beyond]
    assert a.read(beyond) == "deeper"
    assert [one.path for one in (await a.sync()).refused] == [one.path for one in said.refused]


async def test_sizes_of_files(start: Start, tmp_path: Path) -> None:
    """Empty, as large as the server takes, one byte more, and more than any request can carry."""
    server = await start(limits=Limits(document=1000))
    world = World(server, await server.person("Ada"), tmp_path)
    a, b = world.folder("a"), world.folder("b")
    a.write("empty.md", "")
    a.write("fits.md", "x" * 1000)
    a.write("large.md", "x" * 1001)
    a.write("huge.md", b"x" * (LARGEST + 1))
    a.write("grows.md", "x")
    said = await a.sync()
    assert [one.path for one in said.refused] == ["large.md"]
    assert list(said.left_out) == ["huge.md"]
    a.write("grows.md", "x" * 1001)
    a.write("fits.md", "")
    assert {one.path for one in (await a.sync()).refused} == {"grows.md", "large.md"}
    assert set(a.tree()) == {"empty.md", "fits.md", "large.md", "huge.md", "grows.md"}
    a.write("grows.md", "y" * 1000)
    await a.sync()
    assert await world.converge(b) == {"empty.md": b"", "fits.md": b"", "grows.md": b"y" * 1000}


@on_both
async def test_a_file_and_a_folder_of_one_name(world: World) -> None:
    a, b = world.folder("a"), world.folder("b")
    await made(world, "Plan", "a document without an extension")
    folder = await made(world, "plan", kind="folder")
    await made(world, "x.md", "in the folder", parent_id=folder)
    document = await made(world, "Plan.md", "above")
    await made(world, "y.md", "below", parent_id=document)
    tree = await world.converge(a, b)
    assert sorted(data for data in tree.values() if data is not None) == [
        b"a document without an extension", b"above", b"below", b"in the folder",
    ]  # fmt: skip
    assert len({one.casefold() for one in tree}) == len(tree)
    assert len(await world.documents()) == 5
    (a.root / "z.md").mkdir()
    a.write("z.md/inside.md", "in a folder that is called as a file")
    b.write("z.md", "a file")
    tree = await world.converge(a, b)
    assert {b"a file", b"in a folder that is called as a file"} <= set(tree.values())


async def test_a_clock_that_is_wrong(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour ahead, an hour behind, and times of files that go backwards."""
    a, b = world.folder("a"), world.folder("b")
    a.write("x.md", "one\n")
    await world.converge(a, b)
    now = Disk.now
    for hours in (1, -1):
        with monkeypatch.context() as patch:
            patch.setattr(Disk, "now", lambda disk, hours=hours: now(disk) + hours * 3_600_000_000_000)
            a.write("x.md", f"{hours:+d}\n")
            await world.converge(a, b)
            a.write("x.md", f"{hours:+d}, twice\n")  # of another length
            assert await world.converge(a, b) == {"x.md": f"{hours:+d}, twice\n".encode()}
    for seconds in (10**9, 10**6, 0, 2**33):
        a.write("x.md", f"{seconds:010d}\n")
        os.utime(a.root / "x.md", (seconds, seconds))
        assert await world.converge(a, b) == {"x.md": f"{seconds:010d}\n".encode()}


async def test_edits_within_one_tick(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file system tells no difference between two texts of one length: they are read while they are young."""
    a = world.folder("a")
    file = a.write("x.md", "one\n")
    await a.sync()
    stood = file.stat()
    with monkeypatch.context() as patch:
        from mdserver.folder import disk, scanning
        from mdserver.folder.rows import Sig

        def coarse(found: os.stat_result) -> Sig:
            return Sig(found.st_mtime_ns // 10**9, 0, found.st_size, found.st_ino)

        now = Disk.now
        for module in (disk, scanning):
            patch.setattr(module, "sig_of", coarse)
        patch.setattr("mdserver.folder.reading.YOUNG", 2)
        patch.setattr(Disk, "now", lambda disk: now(disk) // 10**9)
        for text in ("two\n", "six\n", "ten\n"):
            file.write_text(text)
            os.utime(file, ns=(stood.st_atime_ns, stood.st_mtime_ns))
            await a.sync()
            assert await world.text(a.id("x.md")) == text


@contextmanager
def as_somebody(root: Path) -> Iterator[None]:
    """The folder belongs to somebody who is not root, and so does this process: modes do not hold root up."""
    if os.geteuid() != 0:
        yield
        return
    closed = {one: one.stat().st_mode for one in root.parents if one.stat().st_mode & 0o011 != 0o011}
    for one in (root, *root.rglob("*")):
        os.chown(one, 65534, -1)
    for one, mode in closed.items():
        one.chmod(mode | 0o011)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        for one, mode in closed.items():
            one.chmod(mode)


async def test_a_directory_that_cannot_be_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reported, and the others go on; once it can be written again it follows."""
    a, b = world.folder("a"), world.folder("b")
    for path in ("closed/x.md", "closed/gone.md", "open/y.md"):
        a.write(path, "one\n")
    await world.converge(a, b)
    for path in ("closed/x.md", "open/y.md"):
        b.write(path, "two\n")
    (b.root / "closed/gone.md").unlink()
    b.write("closed/new.md", "something else\n")
    await b.sync()
    (a.root / "closed").chmod(0o555)
    with as_somebody(a.root):
        said = await a.sync()
    (a.root / "closed").chmod(0o755)
    assert set(said.problems) == {"closed/x.md", "closed/gone.md", "closed/new.md"}
    assert all("Permission denied" in one for one in said.problems.values())
    assert (a.read("closed/x.md"), a.read("open/y.md")) == ("one\n", "two\n")
    assert os.listdir(a.root / ".mdserver/tmp") == []
    tree = await world.converge(a, b)
    assert {path for path, data in tree.items() if data} == {"closed/x.md", "closed/new.md", "open/y.md"}


@pytest.mark.parametrize("method", ["prepare", "put", "take", "move", "make_directory"])
async def test_a_full_disk_here(world: World, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    a, b = world.folder("a"), world.folder("b")
    for path in ("edited.md", "moved.md", "gone.md"):
        a.write(path, f"{path}, which is long enough\n")
    await world.converge(a, b)
    b.write("edited.md", "edited there\n")
    b.move("moved.md", "d/moved.md")
    (b.root / "gone.md").unlink()
    await b.sync()
    a.write("edited.md", "edited.md, which is long enough\nand edited here\n")

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Disk, method, full)
        said = await a.sync()
    assert said.problems
    assert all(one == "could not be written: the disk is full" for one in said.problems.values())
    tree = await world.converge(a, b)
    assert tree["edited.md"] == b"edited there\nand edited here\n"
    assert set(tree) == {"edited.md", "d", "d/moved.md"}


async def test_a_full_disk_of_the_server(tmp_path: Path) -> None:
    """Nothing is taken for sent, reading goes on, and the next sync goes on where this one was refused."""
    home = await furnish(tmp_path / "data")
    control = tmp_path / "control"
    control.mkdir()
    program = Program(home)
    assert program.start(shim.environment(home.data, control=control))
    try:
        url = f"http://127.0.0.1:{program.port}"
        a, b = (Folder(tmp_path / name, url, home.token, home.workspace) for name in "ab")
        for number in range(20):
            a.write(f"{number}.md", f"{number}, which is long enough\n")
        await converge(a, b)
        a.write("0.md", "0, which is long enough, edited\n")
        a.write("new.md", "new\n")
        a.move("1.md", "moved.md")
        (a.root / "2.md").unlink()
        for after in ("0", "5"):
            (control / "enospc").write_text(after)
            with pytest.raises(ApiProblem) as caught:
                await a.sync()
            assert (caught.value.status, caught.value.slug) == (507, "storage-full")
            assert a.read("0.md") == "0, which is long enough, edited\n"
            assert "1.md" not in a.tree()
            (control / "enospc").unlink()
        tree = await converge(a, b)
        assert tree == a.tree()
        assert (tree["0.md"], tree["new.md"], len(tree)) == (b"0, which is long enough, edited\n", b"new\n", 20)
        assert a.id("moved.md") == b.id("moved.md")
    finally:
        program.stop()


async def test_a_link_that_takes_a_directorys_place_while_syncing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written, read or deleted where it leads."""
    a, b = world.folder("a"), world.folder("b")
    for path in ("d/x.md", "d/gone.md"):
        a.write(path, "one\n")
    await world.converge(a, b)
    b.write("d/x.md", "two\n")
    b.write("d/new.md", "something else\n")
    (b.root / "d/gone.md").unlink()
    await b.sync()
    out = tmp_path / "out"
    out.mkdir()
    for name in ("x.md", "gone.md"):
        (out / name).write_text("one\n")
    apply = Engine.apply

    async def swapped(engine: Engine) -> bool:
        if not (a.root / "d").is_symlink():
            (a.root / "d").rename(a.root / "was")
            (a.root / "d").symlink_to(out)
        return await apply(engine)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "apply", swapped)
        await a.sync()
    assert {one.name: one.read_text() for one in out.iterdir()} == {"x.md": "one\n", "gone.md": "one\n"}
    (a.root / "d").unlink()
    (a.root / "was").rename(a.root / "d")
    assert await world.converge(a, b) == {"d": None, "d/x.md": b"two\n", "d/new.md": b"something else\n"}


async def test_a_viewers_folder(world: World) -> None:
    """It follows; what is written in it stays, is told, and disturbs nobody. With another role it is sent."""
    bob = await world.server.member(world.owner, "Bob", "viewer")
    a, b = world.folder("a"), world.folder("b", bob)
    a.write("x.md", "one two three\n")
    a.write("y.md", "y, and long enough\n")
    a.write("z.md", "z\n")
    await world.converge(a, b)
    b.write("x.md", "one two three, mine\n")
    b.write("new.md", "new\n")
    b.move("y.md", "moved.md")
    (b.root / "z.md").unlink()
    said = await b.sync()
    assert {one.path for one in said.refused} == {"x.md", "new.md", "moved.md", "z.md"}
    assert {one.status for one in said.refused} == {403}
    a.write("x.md", "zero one two three\n")
    assert await world.converge(a) == a.tree()
    await b.sync()
    assert b.read("x.md") == "zero one two three, mine\n"
    assert (b.read("new.md"), b.read("moved.md")) == ("new\n", "y, and long enough\n")
    await world.server.join(world.owner, bob, "editor")
    assert await world.converge(b, a) == {
        "x.md": b"zero one two three, mine\n",
        "new.md": b"new\n",
        "moved.md": b"y, and long enough\n",
    }


async def test_links_survive_the_move_of_what_they_lead_to(world: World) -> None:
    """No byte of a text changes because another file moves: links are people's words."""
    a, b = world.folder("a"), world.folder("b")
    text = (
        b"[[Target]] [[Target#Part|it]] [r](./d/Target.md) [q](<d/Target.md> 't') ![i](d/p.png)\r\n[x]: d/Target.md\n"
    )
    a.write("links.md", text)
    a.write("d/Target.md", "# Target\n\n[back](../links.md) [[links]]\n")
    a.write("d/p.png", b"png")
    await world.converge(a)
    await b.sync()
    id = a.id("links.md")
    version = (await world.documents())["links.md"]["version"]
    a.move("d/Target.md", "e/f/Renamed.md")
    await a.sync()
    await b.sync()
    assert b.tree()["links.md"] == a.tree()["links.md"] == text
    assert b.read("e/f/Renamed.md") == "# Target\n\n[back](../links.md) [[links]]\n"
    assert (await world.text(id)).encode() == text
    assert (await world.documents())["links.md"]["version"] == version
