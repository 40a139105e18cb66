"""Rooms whose document pycrdt has spoiled: they are loaded anew, nothing is lost, and nobody else notices."""

from __future__ import annotations

import asyncio

import pytest

from mdserver.collab import loading
from mdserver.collab.replica import Broken, Learnt
from mdserver.errors import NotFound
from mdserver.web.live import LIVE

from .conftest import Server
from .editors import opened, y_websocket
from .test_live import comes, document, shown
from .test_live_storage import NOT_SAVING, room_of, sound
from .troubles import unwritable

pytestmark = pytest.mark.usefixtures("hurried")


async def test_a_room_that_breaks_is_loaded_anew_and_loses_nothing(server: Server) -> None:
    ada = await server.person("Ada")
    id = await document(ada, "")
    async with opened(ada, id) as editor, y_websocket(ada, id) as other:
        await other.sync()
        async with unwritable(server.database, id):
            await editor.write("kept")
            await other.until(lambda: other.text == "kept")
            broken = room_of(server, id)
            server.app[LIVE].rooms.reset(broken)
            server.app[LIVE].rooms.reset(broken)  # what it stores late may be met by rows that break it again
            for one in (editor, other):
                await one.until(lambda one=one: one.code is not None)  # type: ignore[misc]
                assert one.code == 4205
        async with opened(ada, id) as again:
            assert again.text == "kept"
        await shown(ada, id, "kept")
    await sound(server)


async def test_a_broken_room_whose_document_is_purged_keeps_nobody_waiting(server: Server) -> None:
    ada = await server.person("Ada")
    id = await document(ada, "")
    live = server.app[LIVE].rooms
    async with opened(ada, id) as editor, unwritable(server.database, id):
        await editor.write("kept")
        await editor.until(lambda: NOT_SAVING in editor.told)
        live.reset(room_of(server, id))
        coming = asyncio.create_task(live.enter(id))
        assert (await ada.put(f"/documents/{id}/trash", headers={"If-Match": "*"})).status == 200
        assert (await ada.delete(f"/documents/{id}", headers={"If-Match": "*"})).status == 204
        with pytest.raises(NotFound):
            await asyncio.wait_for(coming, 10)
    await comes(lambda: len(live) == 0 and live.state() == "ok")


async def test_a_room_that_breaks_while_it_follows_is_loaded_anew(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await server.person("Ada")
    id = await document(ada, "one")
    async with opened(ada, id) as editor:

        def fail(data: bytes) -> bool:
            raise Broken("as if pycrdt had panicked")

        monkeypatch.setattr(room_of(server, id).replica, "follow", fail)
        assert (await ada.put(f"/documents/{id}/content", {"content": "two"}, headers={"If-Match": "*"})).status == 200
        await editor.until(lambda: editor.code == 4205)
    async with opened(ada, id) as editor:
        assert editor.text == "two"
        await editor.write("!")
        await editor.until(lambda: editor.saved == 2)
        await shown(ada, id, "two!")


async def test_a_text_that_cannot_be_had_does_not_end_the_saving(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await server.person("Ada")
    id, untouched = await document(ada, ""), await document(ada, "")
    async with opened(ada, id) as editor, opened(ada, untouched) as other:

        def fail() -> str:
            raise Broken("as if pycrdt had panicked")

        monkeypatch.setattr(room_of(server, id).replica, "text", fail)
        await editor.write("one")
        await editor.until(lambda: editor.code == 4205)
        await other.write("two")
        await other.until(lambda: other.saved == 2)
        await shown(ada, untouched, "two")
    await shown(ada, id, "one")
    await sound(server)


async def test_a_log_that_cannot_be_read_is_no_fault_of_who_writes(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await server.person("Ada")
    id = await document(ada, "long " * 8_000)

    def fail(*_: object) -> Learnt:
        raise RuntimeError("as if no thread could be had")

    with monkeypatch.context() as patched:
        patched.setattr(loading, "read", fail)
        async with opened(ada, id) as editor:
            await editor.write("lost?")
            await editor.until(lambda: editor.code == 4205)
    async with opened(ada, id) as editor:
        await editor.write("kept ")
        await editor.until(lambda: editor.saved == 2)
        await shown(ada, id, "long " * 8_000 + "kept ")
    await sound(server)
