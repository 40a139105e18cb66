"""Yjs updates that devices bring, beside what comes through other doors."""

from __future__ import annotations

import asyncio

import pytest

from mdserver.collab.rooms import Rooms
from mdserver.model import log
from tests.web.conftest import Person, Server
from tests.web.pocket import base64_of, operation, push


async def update_of(server: Server, id: str, text: str) -> str:
    """What an editor makes that has all that is in the log."""
    found = await server.database.read(lambda db: log.load(db, id))
    made = found.form.edit(found.replayed(), text)
    assert made is not None
    return base64_of(made)


async def document(who: Person, content: str) -> str:
    answer = await who.post(f"/workspaces/{who.workspace_id}/documents", {"content": content})
    assert answer.status == 201, answer
    return str(answer.json["id"])


async def test_what_an_update_builds_on_is_waited_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room is about to follow the log, in which it stands: the update is not refused for that."""
    ada = await server.person("Ada")
    id = await document(ada, "one\n")
    first = operation("update", id=id, update=await update_of(server, id, "one two\n"))
    assert [one["status"] for one in await push(ada, first)] == ["applied"]
    follow = Rooms.follow

    async def late(self: Rooms) -> None:
        await asyncio.sleep(0.1)
        await follow(self)

    monkeypatch.setattr(Rooms, "follow", late)
    put = await ada.put(f"/documents/{id}/content", {"content": "one two three\n"}, headers={"If-Match": "*"})
    assert put.status == 200, put
    second = operation("update", id=id, update=await update_of(server, id, "one two three four\n"))
    assert [one["status"] for one in await push(ada, second)] == ["applied"]
    assert (await server.database.read(lambda db: log.load(db, id))).text() == "one two three four\n"


async def test_an_update_that_is_refused_leaves_the_document_in_the_trash(server: Server) -> None:
    ada = await server.person("Ada")
    id = await document(ada, "one\n")
    found = await server.database.read(lambda db: log.load(db, id))
    doc = found.replayed()
    found.form.edit(doc, "one two\n")
    lacking = found.form.edit(doc, "one two three\n")
    assert lacking is not None
    assert (await ada.put(f"/documents/{id}/trash")).status == 200
    (refused,) = await push(ada, operation("update", id=id, update=base64_of(lacking)))
    assert refused["problem"]["status"] == 409
    assert (await ada.get(f"/documents/{id}")).json["trashed_at"] is not None
