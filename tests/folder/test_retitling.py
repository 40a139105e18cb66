"""A title that is changed on the server follows into front matter, and folders have no quarrel over it."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Literal

import pytest

from mdserver.client import Client, Operation, Result, Unreachable

from .world import Folder, World, converge

TEXT = "---\ntitle: {}\ntags: [a]\n---\none two three\n"


async def retitle(world: World, id: str, title: str) -> None:
    assert (await world.owner.patch(f"/documents/{id}", {"title": title})).status == 200


async def test_front_matter_follows_the_title(world: World) -> None:
    a, b = world.folder("a"), world.folder("b")
    a.write("x.md", TEXT.format("Old"))
    a.write("own.md", TEXT.format("Another"))
    a.write("heading.md", "# Old\n")
    a.write("odd.md", "---\ntitle: Old # why\n---\n")
    await world.converge(a, b)
    ids = {path: a.id(path) for path in a.tree()}
    await world.edit(ids["own.md"], TEXT.format("Its own"))
    await world.converge(a, b)
    for id in ids.values():
        await retitle(world, id, "New: it")
    assert await world.converge(a, b) == {
        "x.md": TEXT.format('"New: it"').encode(),
        "own.md": TEXT.format("Its own").encode(),
        "heading.md": b"# Old\n",
        "odd.md": b"---\ntitle: Old # why\n---\n",
    }
    assert await world.text(ids["x.md"]) == TEXT.format('"New: it"')
    assert {one["title"] for one in (await world.documents()).values()} == {"New: it"}
    assert (await world.owner.get("/sync/conflicts")).json["items"] == []


async def test_an_edit_of_the_file_goes_before(world: World) -> None:
    a, b = world.folder("a"), world.folder("b")
    a.write("x.md", TEXT.format("Old"))
    a.write("y.md", TEXT.format("Old"))
    await world.converge(a, b)
    for name in ("x.md", "y.md"):
        await retitle(world, a.id(name), "New")
    a.write("x.md", TEXT.format("Old") + "four\n")
    a.write("y.md", TEXT.format("Mine"))
    tree = await world.converge(a, b)
    assert tree == {"x.md": (TEXT.format("New") + "four\n").encode(), "y.md": TEXT.format("Mine").encode()}


async def test_a_viewers_files_are_left_alone(world: World) -> None:
    bob = await world.server.member(world.owner, "Bob", "viewer")
    a, b = world.folder("a"), world.folder("b", bob)
    a.write("x.md", TEXT.format("Old"))
    await world.converge(a, b)
    await retitle(world, a.id("x.md"), "New")
    assert (await b.sync()).told == []
    assert await world.converge(a, b) == {"x.md": TEXT.format("New").encode()}


@pytest.mark.parametrize("is_lost", ["request", "answer"])
async def test_a_title_that_was_not_told_for_certain(
    world: World, monkeypatch: pytest.MonkeyPatch, is_lost: Literal["request", "answer"]
) -> None:
    """One folder cannot send its edit, or hears of no answer; others go on to another title: that is no conflict."""
    a, b = world.folder("a"), world.folder("b")
    a.write("x.md", TEXT.format("Old"))
    await world.converge(a, b)
    id = a.id("x.md")
    for title, next_title in (("One", "Two"), ("Three", "Four")):
        await retitle(world, id, title)
        await cut_off(a, monkeypatch, is_lost)
        await retitle(world, id, next_title)
        await world.converge(b)
        assert await world.converge(a, b) == {"x.md": TEXT.format(next_title).encode()}
    assert (await world.owner.get("/sync/conflicts")).json["items"] == []


async def cut_off(folder: Folder, monkeypatch: pytest.MonkeyPatch, is_lost: Literal["request", "answer"]) -> None:
    """A sync that loses the server while it pushes, if it does."""
    push = Client.push_parts

    def away() -> list[list[Result]]:
        raise Unreachable("The server is away.")

    async def broken(client: Client, operations: Sequence[Operation]) -> AsyncIterator[list[Result]]:
        if is_lost == "answer":
            async for _ in push(client, operations):
                pass
        for part in away():
            yield part

    with monkeypatch.context() as patch, suppress(Unreachable):
        patch.setattr(Client, "push_parts", broken)
        await folder.sync()


@pytest.mark.parametrize("seed", range(8))
async def test_titles_change_in_both_folders(world: World, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """By requests and in texts, with edits between and syncs that end early: it comes to rest, without a scar."""
    by = random.Random(seed)
    folders = [world.folder(name) for name in ("a", "b", "c")]
    names = ["x.md", "y.md"]
    for name in names:
        folders[0].write(name, TEXT.format("T0"))
    await converge(*folders)
    ids = [folders[0].id(name) for name in names]
    words = 0
    for number in range(1, 25):
        match by.choice(["request", "request", "text", "edit", "sync", "sync", "cut", "cut"]):
            case "request":
                await retitle(world, by.choice(ids), f"T{number}")
            case "text" if number % 4 == 0:  # somebody says another title, after hearing what there is
                folder, name = by.choice(folders), by.choice(names)
                await folder.sync()
                lines = folder.read(name).split("\n")
                lines[1] = f"title: T{number}"
                folder.write(name, "\n".join(lines))
                await folder.sync()
            case "edit":
                folder, name, words = by.choice(folders), by.choice(names), words + 1
                folder.write(name, folder.read(name) + f"w{words}x\n")
            case "sync":
                await by.choice(folders).sync()
            case "cut":
                await cut_off(by.choice(folders), monkeypatch, by.choice(["request", "answer"]))
    tree = await converge(*folders)
    for name in names:
        data = tree[name]
        assert data is not None
        assert re.fullmatch(r"title: T\d+", data.decode().split("\n")[1])
    text = "".join((one or b"").decode() for one in tree.values())
    assert all(text.count(f"w{word}x") == 1 for word in range(1, words + 1))
    assert (await world.owner.get("/sync/conflicts")).json["items"] == []
