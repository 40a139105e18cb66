"""The program ends at any step: nothing is lost, nothing comes twice, and the next run goes on."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mdserver.client import Client, Operation, Result
from mdserver.folder.disk import Disk
from mdserver.folder.state import State

from .world import Folder, World


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
    names = ("put", "move", "take", "holds", "give_back", "make_directory", "remove_directory", "prepare", "forget")
    for name in names:
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
