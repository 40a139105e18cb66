"""The program ends at any step: nothing is lost, nothing comes twice, and the next run goes on."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mdserver.client import Client, Operation, Result
from mdserver.folder import home as homes
from mdserver.folder.disk import Disk
from mdserver.folder.pulling import start_over
from mdserver.folder.state import State

from .world import Folder, World

STEPS = (
    *("prepare", "put", "take", "holds", "give_back", "keep", "forget"),
    *("move", "make_directory", "remove_directory"),
)
"""What changes the disk."""


class Crash(BaseException):
    """The power is gone."""


class _Bomb:
    """Ends the program at its n-th step; a step is a change of the disk, a commit, a request that was answered."""

    def __init__(self) -> None:
        self.left = -1

    def step(self) -> None:
        if self.left == 0:
            raise Crash
        self.left -= 1

    def wrapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.step()
            result = function(*arguments, **options)
            self.step()
            return result

        return call


@pytest.fixture
def bomb(monkeypatch: pytest.MonkeyPatch) -> _Bomb:
    made = _Bomb()
    for name in STEPS:
        monkeypatch.setattr(Disk, name, made.wrapped(getattr(Disk, name)))
    transaction, push = State.transaction, Client.push_parts

    @contextmanager
    def committed(state: State) -> Iterator[None]:
        with transaction(state):
            yield
            made.step()
        made.step()

    async def pushed(client: Client, operations: list[Operation]) -> AsyncIterator[list[Result]]:
        made.step()
        async for part in push(client, operations):
            made.step()
            yield part

    monkeypatch.setattr(State, "transaction", committed)
    monkeypatch.setattr(Client, "push_parts", pushed)
    return made


async def crashing(folder: Folder, bomb: _Bomb, steps: int) -> bool:
    """A sync that ends at this step; whether it came so far."""
    bomb.left = steps
    try:
        await folder.sync()
    except Crash:
        return True
    finally:
        bomb.left = -1
    return False


def arrange(a: Folder, b: Folder) -> None:
    """Something of everything, on both sides."""
    a.write("new.md", "new")
    a.write("both.md", "one two THREE four\n")
    a.write("d/edited.md", "edited there")
    a.move("moved.md", "d/moved.md")
    a.move("1.md", "x.md")
    a.move("2.md", "1.md")
    a.move("x.md", "2.md")
    (a.root / "gone.md").unlink()
    a.move("e", "f")
    b.write("both.md", "ONE two three four\n")
    b.write("mine.md", "mine")
    b.write("f2/below.md", "below")
    b.move("renamed.md", "other.md")
    (b.root / "lost.md").unlink()


EXPECTED = {
    "new.md": b"new",
    "both.md": b"ONE two THREE four\n",
    "d": None,
    "d/edited.md": b"edited there",
    "d/moved.md": b"moved, and long enough",
    "1.md": b"two, and long enough",
    "2.md": b"one, and long enough",
    "f": None,
    "f/e.md": b"e",
    "mine.md": b"mine",
    "f2": None,
    "f2/below.md": b"below",
    "other.md": b"renamed, and long enough",
}


@pytest.mark.parametrize("offset", range(6))
async def test_every_step_can_be_the_last(world: World, bomb: _Bomb, offset: int) -> None:
    """Each run crashes once in the folder that brings and once in the one that takes, at other steps than the last."""
    for number in itertools.count(offset, 6):
        a, b = world.folder(f"a{number}"), world.folder(f"b{number}")
        base = {
            "both.md": "one two three four\n",
            "d/edited.md": "edited",
            "moved.md": "moved, and long enough",
            "1.md": "one, and long enough",
            "2.md": "two, and long enough",
            "gone.md": "gone",
            "e/e.md": "e",
            "renamed.md": "renamed, and long enough",
            "lost.md": "lost",
        }
        for path, text in base.items():
            a.write(path, text)
        await world.converge(a, b)
        arrange(a, b)
        came_so_far = await crashing(a, bomb, number)
        came_so_far |= await crashing(b, bomb, number)
        assert await world.converge(a, b) == EXPECTED, number
        documents = await world.documents()
        assert len(documents) == len(EXPECTED), (number, sorted(documents))
        for path in a.tree():
            if "/" not in path:
                target = a.root / path
                for file in sorted(target.rglob("*"), reverse=True) if target.is_dir() else ():
                    file.rmdir() if file.is_dir() else file.unlink()
                target.rmdir() if target.is_dir() else target.unlink()
        await a.sync()
        if not came_so_far:
            return


@pytest.mark.parametrize("offset", range(3))
async def test_every_step_of_following_a_restored_server(world: World, bomb: _Bomb, offset: int) -> None:
    """What it takes back is kept aside wherever the program ends, and comes back nowhere else."""
    for number in itertools.count(offset, 3):
        a = world.folder(f"a{number}")
        for name in ("newer.md", "since.md", "mine.md"):
            a.write(f"{number}/{name}", f"{name}, newer\n")
        await a.sync()
        ids = {name: a.id(f"{number}/{name}") for name in ("newer.md", "since.md", "mine.md")}
        a.write(f"{number}/mine.md", "mine.md, newer\nedited\n")
        for name in ("newer.md", "mine.md"):
            await world.edit(ids[name], f"{name}\n")
        for method, path in (("PUT", "/trash"), ("DELETE", "")):
            where = f"/documents/{ids['since.md']}{path}"
            answer = await world.owner.call(method, where, headers={"If-Match": "*"})
            assert answer.status in (200, 204), answer
        with homes.opened(a.root) as home, home.state.transaction():
            start_over(home.state)
            home.state.set_fact("resync", "then")
        came_so_far = await crashing(a, bomb, number)
        tree = await world.converge(a)
        assert tree == {
            str(number): None,
            f"{number}/newer.md": b"newer.md\n",
            f"{number}/mine.md": b"mine.md\nedited\n",
        }
        assert a.kept() == {
            f"{number}/newer.md": "newer.md, newer\n",
            f"{number}/since.md": "since.md, newer\n",
            f"{number}/mine.md": "mine.md, newer\nedited\n",
        }, number
        shutil.rmtree(a.root / str(number))
        await a.sync()
        if not came_so_far:
            return
