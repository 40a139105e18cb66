"""Somebody writes at the very moment at which a file is replaced, moved or deleted: what was written is there after."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from sqlite3 import connect

import pytest

from mdserver.folder import disk as disks
from mdserver.folder import system
from mdserver.folder.disk import Disk
from mdserver.folder.rows import Local, Writing
from mdserver.folder.state import State

from .test_crashes import Crash
from .world import Folder, World

Hook = Callable[[Path, str], None]


def in_place(file: Path, text: str) -> None:
    with file.open("r+") as open_file:
        open_file.write(text)


def by_replacing(file: Path, text: str) -> None:
    other = file.with_name(f".{file.name}.swp")
    other.write_text(text)
    other.replace(file)


@pytest.fixture(params=["exchange", "no exchange", "no links"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the file system can do."""
    found = str(request.param)
    if found != "exchange":
        monkeypatch.setattr(system, "_call", lambda: None)
    if found == "no links":

        def refuse(*arguments: object, **options: object) -> None:
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr(os, "link", refuse)
    return found


class Window:
    """Calls a hook once, just before the first change of a name that `Disk` makes in its method `name`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, hook: Callable[[], None]) -> None:
        self.hook: Callable[[], None] | None = hook
        self._within = False
        method = getattr(Disk, name)

        def call(*arguments: object, **options: object) -> object:
            self._within = True
            try:
                return method(*arguments, **options)
            finally:
                self._within = False

        monkeypatch.setattr(Disk, name, call)
        for module, function in ((disks, "exchange"), (disks, "rename_if_free"), (disks, "_rename")):
            monkeypatch.setattr(module, function, self._wrapped(getattr(module, function)))

    def _wrapped(self, function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            if self._within and self.hook is not None:
                hook, self.hook = self.hook, None
                hook()
            return function(*arguments)

        return call


async def edited_there(world: World, a: Folder, text: str) -> None:
    a.write("x.md", "one two three\n")
    await a.sync()
    await world.edit(a.id("x.md"), text)


@pytest.mark.parametrize("write", [in_place, by_replacing])
async def test_written_while_it_is_replaced(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str, write: Hook
) -> None:
    a, b = world.folder("a"), world.folder("b")
    await edited_there(world, a, "one two three four\n")
    with monkeypatch.context() as patch:
        window = Window(patch, "put", lambda: write(a.root / "x.md", "ONE two three\n"))
        await a.sync()
        assert window.hook is None
    assert await world.converge(a, b) == {"x.md": b"ONE two three four\n"}
    assert os.listdir(a.root / ".mdserver/tmp") == []


@pytest.mark.parametrize("write", [in_place, by_replacing])
async def test_written_while_it_is_deleted(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str, write: Hook
) -> None:
    a, b = world.folder("a"), world.folder("b")
    a.write("x.md", "one two three\n")
    await world.converge(a, b)
    (b.root / "x.md").unlink()
    await b.sync()
    with monkeypatch.context() as patch:
        window = Window(patch, "take", lambda: write(a.root / "x.md", "ONE two three\n"))
        await a.sync()
        assert window.hook is None
    assert await world.converge(a, b) == {"x.md": b"ONE two three\n"}
    assert os.listdir(a.root / ".mdserver/tmp") == []


@pytest.mark.parametrize("kind", ["exchange", "no exchange"], indirect=True)  # without links nothing can be done
async def test_a_file_that_appears_where_one_is_put(world: World, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    a, b = world.folder("a"), world.folder("b")
    b.write("x.md", "theirs\n")
    await world.converge(b)
    await a.sync()
    b.write("new.md", "theirs\n")
    await b.sync()
    with monkeypatch.context() as patch:
        Window(patch, "put", lambda: by_replacing(a.root / "new.md", "mine\n"))
        await a.sync()
    tree = await world.converge(a, b)
    assert b"mine\n" in b"".join(one or b"" for one in tree.values())
    assert b"theirs\n" in b"".join(one or b"" for one in tree.values())


@pytest.mark.parametrize("kind", ["exchange", "no exchange"], indirect=True)  # without links nothing can be done
async def test_a_file_that_appears_where_one_is_moved(world: World, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    a, b = world.folder("a"), world.folder("b")
    a.write("x.md", "moved, and long enough\n")
    await world.converge(a, b)
    b.move("x.md", "y.md")
    await b.sync()
    with monkeypatch.context() as patch:
        Window(patch, "move", lambda: by_replacing(a.root / "y.md", "mine\n"))
        await a.sync()
    assert sorted((await world.converge(a, b)).values(), key=str) == [b"mine\n", b"moved, and long enough\n"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has a file open")
@pytest.mark.parametrize("action", ["replaced", "deleted"])
async def test_a_program_that_goes_on_writing(world: World, action: str) -> None:
    """What is open for writing keeps its place, so what is written later stands in the file."""
    a, b = world.folder("a"), world.folder("b")
    a.write("x.md", "one two three\n")
    await world.converge(a, b)
    if action == "replaced":
        b.write("x.md", "one two three four\n")
    else:
        (b.root / "x.md").unlink()
    await b.sync()
    with (a.root / "x.md").open("a") as log:
        said = await a.sync()
        log.write("five\n")
    if action == "replaced":
        assert said.problems == {"x.md": "is open in a program that writes it, so what others wrote is not brought yet"}
    tree = await world.converge(a, b)
    assert tree == {"x.md": b"one two three four\nfive\n" if action == "replaced" else b"one two three\nfive\n"}


@pytest.mark.parametrize("write", [in_place, by_replacing])
@pytest.mark.parametrize("method", ["put", "take"])
async def test_written_in_the_window_of_the_last_step(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str, write: Hook, method: str
) -> None:
    """The program ends before it has looked at what came aside: the next start looks."""
    a, b = world.folder("a"), world.folder("b")
    a.write("x.md", "one two three\n")
    await world.converge(a, b)
    if method == "put":
        b.write("x.md", "one two three four\n")
    else:
        (b.root / "x.md").unlink()
    await b.sync()

    def end(disk: Disk, name: str, hash: str) -> bool:
        raise Crash

    with monkeypatch.context() as patch:
        Window(patch, method, lambda: write(a.root / "x.md", "ONE two three\n"))
        patch.setattr(Disk, "holds", end)
        with pytest.raises(Crash):
            await a.sync()
    wanted = b"ONE two three four\n" if method == "put" else b"ONE two three\n"
    assert await world.converge(a, b) == {"x.md": wanted}


@pytest.mark.parametrize("step", range(4))
async def test_the_end_between_two_renames(world: World, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Where names cannot be exchanged, the file is away for a moment: at the next start it is back."""
    a, b = world.folder("a"), world.folder("b")
    await edited_there(world, a, "one two three four\n")
    left = step

    def counted(function: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: object) -> None:
            nonlocal left
            if left == 0:
                raise Crash
            left -= 1
            function(*arguments)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(system, "_call", lambda: None)
        for name in ("rename_if_free", "_rename"):
            patch.setattr(disks, name, counted(getattr(disks, name)))
        if step < 3:
            with pytest.raises(Crash):
                await a.sync()
        else:
            await a.sync()
    assert await world.converge(a, b) == {"x.md": b"one two three four\n"}
    assert os.listdir(a.root / ".mdserver/tmp") == []


async def test_written_twice_in_the_window(world: World, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Once before the file is replaced and once just after: one text stays in its place, the other is kept aside."""
    a = world.folder("a")
    await edited_there(world, a, "one two three four\n")
    holds = Disk.holds

    def look(disk: Disk, name: str, hash: str) -> bool:
        by_replacing(a.root / "x.md", "one two three, again\n")
        monkeypatch.setattr(Disk, "holds", holds)
        return holds(disk, name, hash)

    with monkeypatch.context() as patch:
        Window(patch, "put", lambda: by_replacing(a.root / "x.md", "ONE two three\n"))
        patch.setattr(Disk, "holds", look)
        said = await a.sync()
    (kept,) = (one for one in said.told if one.what == "kept")
    (file,) = (one for one in (a.root / ".mdserver/kept").rglob("*") if one.is_file())
    assert file.read_text() == "ONE two three\n"
    assert file.relative_to(a.root).as_posix() in kept.words
    assert "again" in a.read("x.md")


def test_the_state_of_a_version_before(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    State.open(path).close()
    with closing(connect(path)) as db:
        db.executescript("ALTER TABLE writing DROP COLUMN seen; PRAGMA user_version = 1")
    state = State.open(path)
    with state.transaction():
        state.begin_writing(Writing(temp="t", local=Local(id="x"), base="b", seen="s"))
    assert state.writings() == [Writing(temp="t", local=Local(id="x"), base="b", seen="s")]
    state.close()
