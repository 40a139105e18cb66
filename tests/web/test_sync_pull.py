"""What devices are told: everything once, in its newest state, and what is gone; to those who may know, no others."""

from __future__ import annotations

import base64

import msgspec
import pytest

from mdserver import clock, ids
from mdserver.model import changes, workspaces
from mdserver.store.db import Tx
from mdserver.sync import cursors, pulling
from mdserver.sync.cursors import Cursor, Place

from .conftest import Server, Start
from .desk import make
from .pocket import Pocket


async def test_everything_then_what_changes(server: Server) -> None:
    ada = await server.person("Ada")
    plan = await make(ada, "Plan", content="# Plan\n", tags=["work"])
    folder = await make(ada, "Folder", kind="folder")
    child = await make(ada, "Child", parent_id=folder["id"])
    pocket = Pocket(ada, include="content")
    told = await pocket.pull()
    assert [(one["entity"], one["action"]) for one in told] == [("workspace", "upsert"), ("membership", "upsert")] + [
        ("document", "upsert")
    ] * 3
    assert set(pocket.documents) == {plan["id"], folder["id"], child["id"]}
    found = pocket.documents[plan["id"]]
    assert found["content"] == "# Plan\n"
    assert {key: found[key] for key in plan} == plan
    assert "content" not in pocket.documents[folder["id"]]
    assert await pocket.pull() == []

    for number in range(3):
        await ada.put(f"/documents/{plan['id']}/content", {"content": f"{number}\n"}, headers={"If-Match": "*"})
    await ada.put(f"/documents/{child['id']}/title", {"title": "Kind"})
    told = await pocket.pull()
    assert [(one["id"], one["version"]) for one in told] == [(plan["id"], 4), (child["id"], 1)]
    assert pocket.documents[plan["id"]]["content"] == "2\n"
    assert pocket.documents[child["id"]]["title"] == "Kind"

    await ada.put(f"/documents/{folder['id']}/trash")
    await pocket.pull()
    assert {one["trashed_at"] is not None for id, one in pocket.documents.items() if id != plan["id"]} == {True}
    await ada.delete(f"/documents/{folder['id']}", headers={"If-Match": "*"})
    assert sorted((one["id"], one["action"], one["object"]) for one in await pocket.pull()) == sorted(
        (one["id"], "delete", None) for one in (folder, child)
    )
    assert set(pocket.documents) == {plan["id"]}


@pytest.mark.parametrize("limit", [1, 2, 7])
async def test_page_by_page(server: Server, limit: int) -> None:
    ada = await server.person("Ada")
    bob = await server.person("Bob")
    await server.join(bob, ada, "viewer")
    for number in range(5):
        await make(ada, f"Ada's {number}")
        await make(bob, f"Bob's {number}", content="x" * 100)
    whole, pocket = Pocket(ada), Pocket(ada)
    wanted = await whole.pull()
    assert len(wanted) == 2 * 5 + 5  # two workspaces, three memberships
    told = await pocket.pull(limit)
    # A workspace comes once more with one's own membership, since one's role may be another.
    assert [one for one in told if one["entity"] != "workspace"] == [
        one for one in wanted if one["entity"] != "workspace"
    ]
    assert pocket.things == whole.things


async def test_what_changes_between_two_pages_is_told(server: Server) -> None:
    """Also what was purged meanwhile, though a device that begins is not told of what was purged before."""
    ada = await server.person("Ada")
    made = [await make(ada, f"{number}") for number in range(6)]
    await ada.put(f"/documents/{made[0]['id']}/trash")
    await ada.delete(f"/documents/{made[0]['id']}", headers={"If-Match": "*"})
    pocket = Pocket(ada)
    assert (await pocket.page(5)).json["has_more"]
    assert set(pocket.documents) == {one["id"] for one in made[1:4]}
    await ada.put(f"/documents/{made[1]['id']}/title", {"title": "Anew"})
    for gone in (made[2], made[5]):
        await ada.put(f"/documents/{gone['id']}/trash")
        await ada.delete(f"/documents/{gone['id']}", headers={"If-Match": "*"})
    told = await pocket.pull(2)
    assert made[0]["id"] not in {one["id"] for one in told}
    assert {id: one["title"] for id, one in pocket.documents.items()} == {
        made[1]["id"]: "Anew",
        made[3]["id"]: "3",
        made[4]["id"]: "4",
    }


async def test_long_texts_are_fetched(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "MOST_CONTENT", 1000)
    ada = await server.person("Ada")
    long = await make(ada, "Long", content="é" * 40_000)
    short = [await make(ada, f"{number}", content="x" * 400) for number in range(10)]
    pocket = Pocket(ada, include="content")
    pages = 0
    while (await pocket.page()).json["has_more"]:
        pages += 1
    assert pages >= 4  # two or three texts each
    assert "content" not in pocket.documents[long["id"]]
    assert [pocket.documents[one["id"]]["content"] for one in short] == ["x" * 400] * 10


async def test_names_of_versions(server: Server) -> None:
    ada = await server.person("Ada")
    id = (await make(ada, "Plan", content="1\n"))["id"]
    pocket = Pocket(ada)
    await pocket.pull()
    await ada.patch(f"/documents/{id}/versions/1", {"name": "First"})
    (told,) = await pocket.pull()
    assert (told["entity"], told["id"], told["object"]["name"]) == ("version", f"{id}/1", "First")
    await ada.put(f"/documents/{id}/trash")
    await ada.delete(f"/documents/{id}", headers={"If-Match": "*"})
    assert [(one["entity"], one["action"]) for one in await Pocket(ada).pull()][2:] == [("version", "delete")]


async def test_members(server: Server) -> None:
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "viewer")
    pocket = Pocket(bob, workspace=ada.workspace_id)
    await pocket.pull()
    assert pocket.things["workspace", ada.workspace_id]["role"] == "viewer"
    await server.join(ada, bob, "editor")
    told = await pocket.pull()
    assert [one["entity"] for one in told] == ["workspace", "membership"]
    assert pocket.things["workspace", ada.workspace_id]["role"] == "editor"
    assert pocket.things["membership", bob.id]["role"] == "editor"
    await server.member(ada, "Eve", "viewer")
    (eve,) = await pocket.pull()
    assert eve["object"]["user"]["display_name"] == "Eve"


async def test_losing_a_workspace_and_coming_back(server: Server) -> None:
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "editor")
    place = f"/workspaces/{ada.workspace_id}/members/{bob.id}"
    first = await make(ada, "First")
    pocket = Pocket(bob)
    await pocket.pull()
    assert first["id"] in pocket.documents
    await ada.delete(place)
    second = await make(ada, "Second")
    (told,) = await pocket.pull()
    assert told == {
        "entity": "workspace",
        "id": ada.workspace_id,
        "action": "access_revoked",
        "workspace_id": ada.workspace_id,
        "version": 0,
        "object": None,
    }
    assert pocket.documents == {}
    assert await pocket.pull() == []
    await server.join(ada, bob, "viewer")
    await pocket.pull(2)
    assert set(pocket.documents) == {first["id"], second["id"]}

    await ada.delete(place)  # and back before the device has asked
    third = await make(ada, "Third")
    await server.join(ada, bob, "viewer")
    await pocket.pull(1)
    assert set(pocket.documents) == {first["id"], second["id"], third["id"]}

    await ada.delete(f"/workspaces/{ada.workspace_id}")
    assert [one["action"] for one in await pocket.pull()] == ["access_revoked"]


async def test_one_workspace_alone(server: Server) -> None:
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "editor")
    mine, hers = await make(bob, "Mine"), await make(ada, "Hers")
    pocket = Pocket(bob, workspace=ada.workspace_id)
    await pocket.pull()
    assert set(pocket.documents) == {hers["id"]}
    narrow = Pocket(await server.token(bob, workspace_id=bob.workspace_id))
    await narrow.pull()
    assert set(narrow.documents) == {mine["id"]}
    assert (await Pocket(narrow.who, workspace=ada.workspace_id).page()).status == 404
    await ada.delete(f"/workspaces/{ada.workspace_id}/members/{bob.id}")
    assert [one["action"] for one in await pocket.pull()] == ["access_revoked"]
    assert (await pocket.page()).status == 404


async def test_what_is_no_cursor(server: Server) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    pocket = Pocket(ada)
    await pocket.pull()
    whole = pocket.cursor
    assert whole is not None
    for wrong in ("x", "%", "é", whole[:-2], whole + "AAAA", "A" * 5000, "lAE", "gA"):
        pocket.cursor = wrong
        answer = await pocket.page()
        assert (answer.status, answer.problem) == (400, "malformed"), wrong
    since = cursors.read(whole, ada.principal, None)
    for place in (Place(-1, 0), Place(1 << 63, 0), Place(1, -5)):
        places = [(ids.pack(ada.workspace_id), *place)]
        raw = msgspec.msgpack.encode((1, bytes.fromhex(since.epoch), cursors._owner(ada.principal, None), places))
        pocket.cursor = base64.urlsafe_b64encode(raw).decode().rstrip("=")
        assert (await pocket.page()).status == 400, place

    foreign = Pocket(bob)
    foreign.cursor = whole
    narrow = Pocket(ada, workspace=ada.workspace_id)
    narrow.cursor = whole
    for one in (foreign, narrow):
        answer = await one.page()
        assert (answer.status, answer.problem) == (410, "resync-required")
    for query in ({"limit": "0"}, {"limit": "501"}, {"include": "all"}, {"since": "1"}):
        assert (await ada.get("/sync", params=query)).status == 400
    assert (await ada.get("/sync", params={"workspace": "no"})).status == 404
    assert (await ada.get("/sync", params={"workspace": bob.workspace_id})).status == 404
    assert (await server.anonymous.get("/sync")).status == 401


async def test_cursors_of_another_past(server: Server, start: Start) -> None:
    """Of another server, of a database that was replaced by its backup, of so long ago that deletions are forgotten."""
    ada = await server.person("Ada")
    gone = await make(ada, "Gone")
    pocket = Pocket(ada)
    await pocket.pull()
    since = cursors.read(pocket.cursor or "", ada.principal, None)
    place = since.places[ada.workspace_id]

    async def answer(epoch: str, seq: int) -> tuple[int, str]:
        other = Pocket(ada)
        other.cursor = cursors.write(Cursor(epoch, {ada.workspace_id: place._replace(seq=seq)}), ada.principal, None)
        found = await other.page()
        return found.status, found.problem

    assert await answer(since.epoch, place.seq) == (200, "")
    assert await answer("ab" * 8, place.seq) == (410, "resync-required")  # another server
    assert await answer(since.epoch, place.seq + 1) == (410, "resync-required")  # what was lost with the restore
    server.database.process.id, server.database.process.facts = "cd" * 8, set()  # another process goes on from here
    await make(ada, "Anew")
    assert await answer(since.epoch, place.seq) == (200, "")
    assert await answer(since.epoch, place.seq + 1) == (410, "resync-required")
    newest = Pocket(ada)
    await newest.pull()
    assert cursors.read(newest.cursor or "", ada.principal, None).epoch == "cd" * 8
    assert await newest.pull() == []

    await ada.put(f"/documents/{gone['id']}/trash")
    await newest.pull()
    await ada.delete(f"/documents/{gone['id']}", headers={"If-Match": "*"})
    await make(ada, "Newer")
    assert await server.database.write(lambda tx: changes.forget_deletions(tx, kept=-clock.DAY)) == 1
    assert (await newest.page()).problem == "resync-required"
    await Pocket(ada).pull()


async def test_a_database_from_before_there_were_epochs(server: Server) -> None:
    """What is pulled before the first change is a cursor, too."""
    ada = await server.person("Ada")

    def forget(tx: Tx) -> None:
        tx.run("DELETE FROM epoch_starts")
        tx.run("DELETE FROM epochs")
        tx.process.facts.clear()

    await server.database.write(forget)
    pocket = Pocket(ada)
    await pocket.pull()
    assert await pocket.pull() == []
    ahead = cursors.read(pocket.cursor or "", ada.principal, None)
    assert ahead.epoch == ""
    await make(ada)
    assert len(await pocket.pull()) == 1
    place = ahead.places[ada.workspace_id]
    pocket.cursor = cursors.write(
        Cursor("", {ada.workspace_id: place._replace(seq=place.seq + 1)}), ada.principal, None
    )
    assert (await pocket.page()).problem == "resync-required"


async def test_very_many_workspaces(server: Server) -> None:
    """A cursor stands in a request line; what it cannot hold is pulled one by one."""
    ada = await server.person("Ada")

    def many(tx: Tx) -> list[str]:
        return [workspaces.create(tx, ada.principal, name=f"{number}") for number in range(100)]

    first = await server.database.write(many)
    pocket = Pocket(ada)
    await pocket.pull(500)
    assert await pocket.pull() == []
    assert len({one for kind, one in pocket.things if kind == "workspace"}) == 101
    for _ in range(2):
        await server.database.write(many)
    answer = await pocket.page(500)
    assert (answer.status, answer.problem) == (409, "conflict")
    await Pocket(ada, workspace=first[0]).pull()


async def test_a_lower_role_sees_it_at_once(server: Server) -> None:
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "editor")
    id = (await make(ada, "Plan"))["id"]
    pocket = Pocket(bob)
    await pocket.pull()
    assert "edit" in pocket.documents[id]["permissions"]
    await server.join(ada, bob, "viewer")
    await ada.put(f"/documents/{id}/title", {"title": "Other"})
    await pocket.pull()
    assert pocket.documents[id]["permissions"] == ["read"]
