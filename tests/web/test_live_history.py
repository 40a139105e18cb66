"""Live editing beside REST: versions and their authors, edits through both doors, rooms that close and come back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mdserver.collab import projector, rooms
from mdserver.collab.replica import Broken, Replica
from mdserver.web.live import LIVE

from .conftest import Person, Server
from .editors import opened, provider, y_websocket
from .test_live import document, shown, text_of
from .test_live_storage import logged, sound, versions

pytestmark = pytest.mark.usefixtures("hurried")


async def has_versions(person: Person, id: str, *expected: tuple[int, list[str]]) -> None:
    """Wait until the history is this, the newest first; numbers count only by their order."""
    async with asyncio.timeout(10):
        while [who for _, who in await versions(person, id)] != [who for _, who in expected]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def texts(person: Person, id: str) -> list[str]:
    """The text of each version, the newest first."""
    found = []
    for number, _ in await versions(person, id):
        found.append((await person.get(f"/documents/{id}/versions/{number}")).json["content"])
    return found


async def test_when_everybody_has_left_there_is_a_version(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "LEFT", 0.0)
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "editor")
    id = await document(ada, "")
    async with opened(ada, id) as first, opened(bob, id) as second:
        await first.write("Ada ")
        await second.until(lambda: second.text == "Ada ")
        await second.write("Bob")
        await shown(ada, id, "Ada Bob")
        assert len(await versions(ada, id)) == 1
    await has_versions(ada, id, (0, ["Ada", "Bob"]), (0, ["Ada"]))
    assert await texts(ada, id) == ["Ada Bob", ""]
    await sound(server)


async def test_a_pause_makes_a_version(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "PAUSE", 0.0)
    ada = await server.person("Ada")
    id = await document(ada, "")
    async with opened(ada, id) as editor:
        for number, words in enumerate(("one ", "two ", "three "), 2):
            await editor.write(words)
            async with asyncio.timeout(10):
                while len(await versions(ada, id)) < number:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        assert await texts(ada, id) == ["one two three ", "one two ", "one ", ""]
    await sound(server)


async def test_another_author_makes_a_version(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "ANOTHER", 0.0)
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "editor")
    id = await document(ada, "")
    async with opened(ada, id) as first, opened(bob, id) as second:
        await first.write("Ada ")
        await shown(ada, id, "Ada ")
        assert len(await versions(ada, id)) == 1
        await second.until(lambda: second.text == "Ada ")
        await second.write("Bob ")
        await has_versions(ada, id, (0, ["Ada", "Bob"]), (0, ["Ada"]))
    await sound(server)


async def test_an_edit_by_rest_first_keeps_what_was_typed(server: Server) -> None:
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "editor")
    id = await document(ada, "One.\n")
    async with opened(bob, id) as editor:
        await editor.write("Typed.\n")
        await editor.until(lambda: editor.saved == 2)
        changed = {"content": "Put.\nOne.\n", "base_version": 1}
        assert (await ada.patch(f"/documents/{id}/content", changed)).status == 200
        await editor.until(lambda: "Put." in editor.text)
        assert editor.text == "Put.\nOne.\nTyped.\n"
        await shown(ada, id, editor.text)
        assert [who for _, who in await versions(ada, id)] == [["Ada"], ["Bob"], ["Ada"]]
        assert await texts(ada, id) == ["Put.\nOne.\nTyped.\n", "One.\nTyped.\n", "One.\n"]
    await sound(server)


async def test_a_passing_state_is_merged_from(server: Server) -> None:
    ada = await server.person("Ada")
    id = await document(ada, "one two three\n")
    async with opened(ada, id) as editor:
        await editor.write("zero ", 0)
        await shown(ada, id, "zero one two three\n")
        seen = (await ada.get(f"/documents/{id}")).json["version"]
        stale = (await ada.get(f"/documents/{id}/content")).headers["ETag"]
        await editor.write("last\n")
        await shown(ada, id, "zero one two three\nlast\n")
        changed = {"content": "zero one TWO three\n", "base_version": seen}
        assert (await ada.put(f"/documents/{id}/content", {"content": "x"}, headers={"If-Match": stale})).status == 412
        answer = await ada.patch(f"/documents/{id}/content", changed)
        assert answer.json["outcome"] == "merged"
        await editor.until(lambda: "TWO" in editor.text)
        assert editor.text == "zero one TWO three\nlast\n"
        await shown(ada, id, editor.text)
    await sound(server)


async def test_everything_else_while_somebody_types(server: Server) -> None:
    ada = await server.person("Ada")
    id = await document(ada, "start\n")
    async with opened(ada, id) as editor, y_websocket(ada, id) as other:
        await other.sync()

        async def typing() -> None:
            for number in range(60):
                await editor.write(f"e{number}\n")
                await other.write(f"o{number}\n", 0)
                await asyncio.sleep(0)

        async def asking() -> None:
            for number in range(8):
                there = (await ada.get(f"/documents/{id}")).json
                changed = {"content": f"{there['content']}r{number}\n", "base_version": there["version"]}
                answer = await ada.patch(f"/documents/{id}/content", changed)
                assert answer.status == 200, answer
                copied = await ada.post(f"/documents/{id}/copies", {})
                assert copied.status == 201, copied
                assert (await ada.get(f"/workspaces/{ada.workspace_id}/documents")).status == 200

        await asyncio.gather(typing(), asking())
        await editor.until(lambda: editor.text.count("\n") == 1 + 60 + 60 + 8)
        await other.until(lambda: other.text == editor.text)
        await shown(ada, id, editor.text)
        assert await logged(server, id) == editor.text
        for word in [f"{kind}{number}" for kind in "eo" for number in range(60)] + [f"r{one}" for one in range(8)]:
            assert editor.text.split("\n").count(word) == 1, word
    await sound(server)


async def test_restoring_a_version_reaches_those_who_type(server: Server) -> None:
    ada = await server.person("Ada")
    id = await document(ada, "first\n")
    async with opened(ada, id) as editor:
        await editor.write("second\n")
        await editor.until(lambda: editor.saved == 2)
        answer = await ada.post(f"/documents/{id}/versions/1/restore", headers={"If-Match": "*"})
        assert answer.status == 200, answer
        await editor.until(lambda: editor.text == "first\n")
        assert (await texts(ada, id))[1] == "first\nsecond\n"
    await sound(server)


async def test_a_room_without_clients_closes_and_comes_back(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "LEFT", 0.0)
    monkeypatch.setattr(rooms, "KEPT", 0.0)
    ada = await server.person("Ada")
    id = await document(ada, "")
    live = server.app[LIVE].rooms
    for number in range(3):
        async with opened(ada, id) as editor:
            await editor.write(f"{number} ")
            await editor.until(lambda: editor.saved == 2)
        async with asyncio.timeout(10):
            while len(live):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    assert (live.loads, live.projector._watched, live._left) == (3, {}, {})
    assert await text_of(ada, id) == "0 1 2 "
    assert len(await versions(ada, id)) == 4
    await sound(server)


async def test_a_hundred_who_come_at_once_load_it_once(server: Server) -> None:
    ada = await server.person("Ada")
    id = await document(ada)
    live = server.app[LIVE]
    live._user_sockets = 1000

    async def come() -> None:
        async with opened(ada, id) as editor:
            assert editor.text == "Hello"

    await asyncio.gather(*[come() for _ in range(100)])
    assert live.rooms.loads == 1


async def test_a_load_that_failed_is_not_remembered(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = await server.person("Ada")
    id, other = await document(ada), await document(ada)

    def fail(*_: Any, **__: Any) -> Any:
        raise Broken("as if pycrdt had panicked")

    with monkeypatch.context() as patched:
        patched.setattr(Replica, "load", fail)
        async with provider(ada, id) as (refused,):
            await refused.until(lambda: refused.denied == ["internal"])
        async with y_websocket(ada, id) as editor:
            await editor.until(lambda: editor.code == 1012)
    async with opened(ada, id) as editor, opened(ada, other):
        assert editor.text == "Hello"
