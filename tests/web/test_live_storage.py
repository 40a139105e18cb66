"""Saved means saved: what is told to be stored is, and what cannot be stored is neither lost nor told to be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import DummyCookieJar
from aiohttp.test_utils import TestClient, TestServer
from pycrdt import Text

from mdserver.app import create_app
from mdserver.collab import protocol, room, saver
from mdserver.collab.room import Room
from mdserver.config import Config, Jobs, Log, Rates
from mdserver.crdt import text as crdt
from mdserver.model import log
from mdserver.store.db import Database
from mdserver.store.migrate import migrate_postgres
from mdserver.store.postgres import Postgres
from mdserver.web.live import LIVE
from tests import engines
from tests.model import invariants

from .conftest import CHEAP, Person, Server, Start
from .editors import opened, y_websocket
from .test_live import document, shown, text_of
from .troubles import unwritable

pytestmark = pytest.mark.usefixtures("hurried")

NOT_SAVING, SAVING = '{"type":"storage","saving":false}', '{"type":"storage","saving":true}'


async def logged(server: Server, id: str) -> str:
    """The text of all that is in a document's log."""

    def look(db: Any) -> str:
        found = log.load(db, id)
        return crdt.text_of(crdt.load(found.snapshot, found.updates))

    return await server.database.read(look)


async def rows(server: Server, id: str) -> int:
    return await server.database.read(lambda db: log.head(db, id))


async def sound(server: Server) -> None:
    assert await server.database.read(invariants.broken) == []


def room_of(server: Server, id: str) -> Room:
    found = server.app[LIVE].rooms.found(id)
    assert found is not None
    return found


def there(server: Server, person: Person) -> Person:
    """The same person at another server."""
    known = {"user": person.user, "principal": person.principal, "pair": person.pair}
    return Person(server.http, workspace_id=person.workspace_id, **known)  # type: ignore[arg-type]


async def versions(person: Person, id: str) -> list[tuple[int, list[str]]]:
    """Number and authors of each version, the newest first."""
    answer = await person.get(f"/documents/{id}/versions")
    return [(one["version"], [who["display_name"] for who in one["authors"]]) for one in answer.json["items"]]


async def test_what_is_told_to_be_saved_is_in_the_log(server: Server) -> None:
    ada = await server.person("Ada")
    id = await document(ada, "")
    async with opened(ada, id) as editor:
        await editor.until(lambda: editor.saved == 1)
        for number in range(1, 20):
            await editor.write(f"{number} ")
            await editor.until(lambda: editor.saved == number + 1)  # noqa: B023 (awaited here)
            assert (await logged(server, id)).split()[-1] == str(number)
        await shown(ada, id, editor.text)
    await sound(server)


async def test_edits_made_offline_are_acknowledged_as_often_as_the_provider_counts(server: Server) -> None:
    ada = await server.person("Ada")
    id = await document(ada, "")
    async with opened(ada, id) as first:
        kept = first.doc
    async with opened(ada, id) as editor:
        await editor.until(lambda: editor.saved == 1)
        offline: list[bytes] = []
        kept.observe(lambda event: offline.append(event.update))
        text = kept.get("content", type=Text)
        for one in "abc":
            text += one
        editor.saved = 0
        await editor.send(protocol.step1(kept.get_state()))  # what it has made meanwhile is in it, and not counted
        editor.doc.apply_update(kept.get_update())
        for update in offline:
            await editor.send(protocol.change(update))
        await editor.write("d")  # counted
        await editor.write("e")
        await editor.until(lambda: editor.saved == 3)
        assert await logged(server, id) == "abcde"
        await editor.write("f")
        await editor.until(lambda: editor.saved == 4)
        assert editor.saved == 4


async def test_what_cannot_be_stored_waits_and_is_stored_later(server: Server) -> None:
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "editor")
    id = await document(ada, "")
    async with opened(ada, id) as editor, y_websocket(bob, id) as other:
        await other.sync()
        await editor.until(lambda: editor.saved == 1)
        before = await rows(server, id)
        async with unwritable(server.database):
            await editor.write("one ")
            await other.until(lambda: other.text == "one ")
            await editor.until(lambda: NOT_SAVING in editor.told)
            await other.write("two")
            await editor.until(lambda: editor.text == "one two")
            assert (editor.saved, await rows(server, id)) == (1, before)
            ready = await server.anonymous.get("//readyz")
            assert ready.status == 503
            assert ready.json["checks"]["live"].startswith("edits have not been stored for")
        await editor.until(lambda: SAVING in editor.told and editor.saved == 2)
        assert (await server.anonymous.get("//readyz")).json["checks"]["live"] == "ok"
        assert await logged(server, id) == "one two"
        await shown(ada, id, "one two")
        assert await rows(server, id) == before + 2
        assert editor.told.count(SAVING) == 1
    await sound(server)


async def test_a_document_that_cannot_be_stored_does_not_stop_the_others(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await server.person("Ada")
    bad, good = await document(ada, ""), await document(ada, "")
    async with opened(ada, bad) as refused, opened(ada, good) as editor:
        await editor.until(lambda: editor.saved == 1)
        await refused.until(lambda: refused.saved == 1)
        monkeypatch.setattr(saver, "FIRST_RETRY", 3600.0)
        async with unwritable(server.database, bad):
            await refused.write("x")
            await refused.until(lambda: NOT_SAVING in refused.told)
            for number in range(10):
                await editor.write("y")
                await editor.until(lambda: editor.saved == number + 2)  # noqa: B023
            await refused.write("z")
        assert editor.told == []
        for one in list(server.app[LIVE].rooms.saver._resting):
            server.app[LIVE].rooms.saver._rested(one)  # as if the hour had passed
        await refused.until(lambda: refused.saved == 3)
        assert await logged(server, bad) == "xz"
    await sound(server)


async def test_rooms_stored_together_fail_alone(server: Server) -> None:
    ada = await server.person("Ada")
    bad, good = await document(ada, ""), await document(ada, "")
    async with opened(ada, bad) as refused, opened(ada, good) as editor:
        await editor.until(lambda: editor.saved == 1)
        await refused.until(lambda: refused.saved == 1)
        async with unwritable(server.database, bad):
            for number in range(5):
                await asyncio.gather(refused.write("x"), editor.write("y"))
                await editor.until(lambda: editor.saved == number + 2)  # noqa: B023
            await refused.until(lambda: NOT_SAVING in refused.told)
        assert editor.told == []
        await refused.until(lambda: refused.saved == 6)
        await shown(ada, bad, "xxxxx")
        await shown(ada, good, "yyyyy")
    await sound(server)


async def test_when_too_much_waits_nothing_more_is_taken_and_all_is_asked_for_later(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MOST_PENDING", 100)
    ada = await server.person("Ada")
    id = await document(ada, "")
    async with opened(ada, id) as editor, y_websocket(ada, id) as other:
        await other.sync()
        await editor.until(lambda: editor.saved == 1)
        async with unwritable(server.database):
            await editor.write("a" * 200)
            await other.until(lambda: other.text == "a" * 200)
            await editor.until(lambda: NOT_SAVING in editor.told)
            for one in "bcd":
                await editor.write(one)
            await other.write("e", 0)
            assert room_of(server, id).refusing
        await editor.until(lambda: "e" in editor.text and editor.saved == 5)
        await other.until(lambda: other.text == editor.text)
        assert sorted(editor.text) == sorted("a" * 200 + "bcde")
        await shown(ada, id, editor.text)
        await editor.write("f")
        await editor.until(lambda: editor.saved == 6)
        assert editor.saved == 6
    await sound(server)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)  # it is SQLite's own bound
async def test_a_full_disk(server: Server) -> None:
    ada = await server.person("Ada")
    id = await document(ada, "")
    async with opened(ada, id) as editor:
        await editor.until(lambda: editor.saved == 1)
        await pages(server.database, full=True)
        await editor.write("a" * 50_000)
        await editor.until(lambda: NOT_SAVING in editor.told)
        await editor.write("b")
        await pages(server.database, full=False)
        await editor.until(lambda: editor.saved == 3)
        await shown(ada, id, "a" * 50_000 + "b")
    await sound(server)


async def pages(database: Database, *, full: bool) -> None:
    def work(connection: Any) -> None:
        (there,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {there if full else 1 << 30}")

    await database.raw(work)  # type: ignore[attr-defined]


async def test_a_stopped_server_stores_what_waits(start: Start, database: Database) -> None:
    server = await start()
    ada = await server.person("Ada")
    id = await document(ada, "")
    async with opened(ada, id) as editor, y_websocket(ada, id) as other:
        await other.sync()
        for number in range(50):
            await editor.write(f"{number} ")
        await other.until(lambda: other.text.endswith("49 "))
        await server.http.server.close()
        for one in (editor, other):
            await one.until(lambda one=one: one.code is not None)  # type: ignore[misc]
            assert one.code == 1012
        text = editor.text
    assert await logged(server, id) == text
    assert await rows(server, id) == 51  # each once, also what was being stored when the server stopped
    again = await start()
    assert await text_of(there(again, ada), id) == text
    await sound(again)


async def test_a_server_that_ended_without_projecting_is_settled_at_the_next_start(
    start: Start, database: Database
) -> None:
    server = await start()
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "editor")
    id = await document(ada, "")
    server.app[LIVE].rooms.projector._watched = _Nothing()
    async with opened(ada, id) as editor, opened(bob, id) as other:
        await editor.write("Ada's ")
        await editor.until(lambda: editor.saved == 2)
        await other.until(lambda: other.text == "Ada's ")
        await other.write("and Bob's")
        await other.until(lambda: other.saved == 2)
    assert await text_of(ada, id) == ""
    again = await start()
    assert await text_of(there(again, ada), id) == "Ada's and Bob's"
    assert await versions(there(again, ada), id) == [(2, ["Ada", "Bob"]), (1, ["Ada"])]
    await sound(again)


class _Nothing(dict[Any, Any]):
    """A projector's memory that forgets."""

    def get(self, key: Any, default: Any = None) -> Any:
        return default


async def test_purging_what_cannot_be_stored_sets_the_others_free(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver, "MOST_WAITING", 10)
    ada = await server.person("Ada")
    bad, good = await document(ada, ""), await document(ada, "")
    async with opened(ada, bad) as refused, opened(ada, good) as editor:
        await editor.until(lambda: editor.saved == 1)
        async with unwritable(server.database, bad):
            await refused.write("x" * 100)
            await refused.until(lambda: NOT_SAVING in refused.told)
            await editor.write("y")
            assert room_of(server, good).refusing
            trashed = await ada.put(f"/documents/{bad}/trash", headers={"If-Match": "*"})
            assert trashed.status == 200, trashed
            assert (await ada.delete(f"/documents/{bad}", headers={"If-Match": "*"})).status == 204
            await refused.until(lambda: refused.closed)
            await editor.until(lambda: editor.saved == 2)
        assert (await server.anonymous.get("//readyz")).json["checks"]["live"] == "ok"
        await shown(ada, good, "y")
    await sound(server)


async def test_a_postgres_that_goes_away_and_comes_back() -> None:
    own = await asyncio.to_thread(engines.Server)
    database = await Postgres.open(own.dsn())
    try:
        await migrate_postgres(database)
        config = Config(rates=Rates(enabled=False), log=Log(requests="none"), jobs=Jobs(enabled=False))
        app = create_app(config, database, password_profile=CHEAP)
        http = TestClient(TestServer(app), cookie_jar=DummyCookieJar())
        async with http:
            server = Server(app, database, http)
            ada = await server.person("Ada")
            id = await document(ada, "")
            async with opened(ada, id) as editor, opened(ada, id) as other:
                await editor.write("before ")
                await editor.until(lambda: editor.saved == 2)
                await asyncio.to_thread(own.stop)
                await editor.write("during ")
                await other.until(lambda: other.text == "before during ")
                await editor.until(lambda: NOT_SAVING in editor.told)
                assert editor.saved == 2
                await asyncio.to_thread(own.start)
                await editor.until(lambda: SAVING in editor.told and editor.saved == 3)
                assert await logged(server, id) == "before during "
                await shown(ada, id, "before during ")
            await sound(server)
    finally:
        await database.close()
        await asyncio.to_thread(own.close)
