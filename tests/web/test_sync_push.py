"""What devices bring: each operation once, in its order, whatever others come to; and nothing written is lost."""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import Any

import pytest
from pycrdt import Doc, Text

from mdserver import clock, ids
from mdserver.collab import projector
from mdserver.collab.room import Room
from mdserver.crdt import lib0
from mdserver.model import conflicts, log, operations
from mdserver.web.live import LIVE

from .conftest import Json, Server
from .desk import content, make, paths, unchanged, whole
from .editors import opened
from .pocket import Pocket, applied, base64_of, creation, operation, push, refused


async def test_a_day_offline(server: Server) -> None:
    ada = await server.person("Ada")
    folder, note = creation(ada, "Folder", kind="folder"), creation(ada, None, content="# Plan\n\none two\n")
    note["parent_id"] = folder["id"]  # made offline, both of them
    results = await push(
        ada,
        folder,
        note,
        operation("edit", id=note["id"], base_version=1, content="# Plan\n\none 2\n"),
        operation("retitle", id=note["id"], title="Plans"),
        operation("tag", id=note["id"], tags=["work"]),
        operation("rename", id=note["id"], filename="plans.md"),
        operation("move", id=note["id"], parent_id=None, filename="moved.md"),
        operation("trash", id=folder["id"], only_if_empty=True),
    )
    assert [one["status"] for one in results] == ["applied"] * 8
    assert [one["id"] for one in results] == [folder["id"]] + [note["id"]] * 6 + [folder["id"]]
    assert [one["op_id"] for one in results][:2] == [folder["op_id"], note["op_id"]]
    found = results[6]["document"]
    assert (found["title"], found["tags"], found["path"], found["version"]) == ("Plans", ["work"], "moved.md", 2)
    assert results[0]["document"]["kind"] == "folder"
    assert results[7]["document"]["trashed_at"] is not None
    assert await content(ada, note["id"]) == "# Plan\n\none 2\n"
    assert results[1]["document"]["path"] == "Folder/Plan.md"
    device = await server.database.read(
        lambda db: db.value(str, "SELECT device FROM document_updates WHERE seq = 2 AND document_id = $1", note["id"])
    )
    assert device == "pocket"

    await applied(ada, operation("restore", id=folder["id"]), operation("restore", id=folder["id"]))
    assert await paths(ada) == ["Folder", "moved.md"]
    await applied(ada, operation("trash", id=folder["id"]), operation("trash", id=folder["id"]))
    assert (await applied(ada, operation("purge", id=folder["id"])))[0]["document"] is None
    assert (await ada.get(f"/documents/{folder['id']}")).status == 404


async def test_an_edit_is_merged(server: Server) -> None:
    ada = await server.person("Ada")
    id = (await make(ada, content="one two three\n\nfour\n"))["id"]
    await ada.put(f"/documents/{id}/content", {"content": "one two three\n\nfour five\n"}, headers={"If-Match": "*"})
    (merged,) = await push(ada, operation("edit", id=id, base_version=1, content="zero one two three\n\nfour\n"))
    assert (merged["status"], merged["version"], merged["overlaps"]) == ("merged", 3, [])
    assert merged["content"] == "zero one two three\n\nfour five\n" == await content(ada, id)
    await ada.put(f"/documents/{id}/content", {"content": "zero one 2 three\n\nfour five\n"}, headers={"If-Match": "*"})
    late = operation("edit", id=id, base_version=3, content="zero one zwei three\n\nfour five\n")
    (met,) = await push(ada, late, device="phone")
    assert met["status"] == "conflict"
    (overlap,) = met["overlaps"]
    assert (overlap["yours"], overlap["theirs"]) == ("zwei", "2")
    assert met["content"] == "zero one 2 zwei three\n\nfour five\n"
    assert met["content"] == await content(ada, id)

    (kept,) = (await ada.get("/sync/conflicts")).json["items"]
    assert kept["id"] == met["conflict_id"]
    assert (kept["document_id"], kept["version"], kept["overlaps"], kept["device"]) == (id, 5, met["overlaps"], "phone")
    assert (kept["path"], kept["author"]["display_name"]) == ("Plan.md", "Ada")
    assert (await ada.get("/sync/conflicts", params={"document": ids.new()})).json["items"] == []
    for query in ({"document": id}, {"workspace": ada.workspace_id}):
        assert (await ada.get("/sync/conflicts", params=query)).json["items"] == [kept]
    place = f"/sync/conflicts/{kept['id']}"
    assert (await ada.get(place)).json == kept
    assert (await ada.delete(place)).status == 204
    assert (await ada.delete(place)).status == 404
    assert (await ada.get("/sync/conflicts")).json["items"] == []
    assert met["content"] == await content(ada, id)


async def test_a_conflict_of_any_door_is_kept(server: Server) -> None:
    ada = await server.person("Ada")
    viewer, stranger = await server.member(ada, "Vic", "viewer"), await server.person("Eve")
    id = (await make(ada, content="one two three\n"))["id"]
    for words in ("one 2 three\n", "one zwei three\n"):
        answer = await ada.patch(f"/documents/{id}/content", {"base_version": 1, "content": words})
    kept = answer.json["conflict_id"]
    place = f"/sync/conflicts/{kept}"
    assert [one["id"] for one in (await viewer.get("/sync/conflicts")).json["items"]] == [kept]
    assert ((await viewer.get(place)).status, (await viewer.delete(place)).status) == (200, 403)
    assert ((await stranger.get(place)).status, (await stranger.delete(place)).status) == (404, 404)
    assert (await stranger.get("/sync/conflicts")).json["items"] == []
    narrow = await server.token(viewer, workspace_id=viewer.workspace_id)
    assert (await narrow.get("/sync/conflicts")).json["items"] == []
    assert (await narrow.get(place)).status == 404
    await ada.put(f"/documents/{id}/trash")
    await ada.delete(f"/documents/{id}", headers={"If-Match": "*"})
    assert (await ada.get("/sync/conflicts")).json["items"] == []


async def test_a_conflict_of_very_much_is_quoted_in_part(server: Server) -> None:
    ada = await server.person("Ada")
    base, ours, theirs = (" ".join(f"{letter}{n}" for n in range(20_000)) + "\n" for letter in "abc")
    id = (await make(ada, content=base))["id"]
    for words in (ours, theirs):
        (done,) = await push(ada, operation("edit", id=id, base_version=1, content=words))
    assert done["status"] == "conflict"
    answer = await ada.get(f"/sync/conflicts/{done['conflict_id']}")
    quoted = sum(len(one["yours"]) + len(one["theirs"]) for one in answer.json["overlaps"])
    assert 0 < quoted <= conflicts.MOST_TEXT
    text = await content(ada, id)
    assert "b19999" in text
    assert "c19999" in text


async def test_a_base_that_is_forgotten(server: Server) -> None:
    ada = await server.person("Ada")
    id = (await make(ada, content="one two\n"))["id"]
    edit = operation("edit", id=id, base_version=77, content="one two three\n")
    assert await refused(ada, edit) == (409, "base-unknown")
    (done,) = await push(ada, {**edit, "base_content": "one\n"})
    assert done["status"] == "merged"
    (again,) = await push(ada, edit)  # an answer that was lost, asked for without the base
    assert (again["status"], again["outcome"], again["version"]) == ("duplicate", done["status"], done["version"])


async def test_what_is_sent_again_has_no_second_effect(server: Server) -> None:
    ada = await server.person("Ada")
    note = creation(ada, content="one\n")
    (made,) = await applied(ada, note)
    edit = operation("edit", id=note["id"], base_version=1, content="one two\n")
    (first,) = await applied(ada, edit)
    await ada.put(f"/documents/{note['id']}/content", {"content": "other\n"}, headers={"If-Match": "*"})
    everything = [
        note,
        edit,
        *(operation(kind, id=note["id"], **fields) for kind, fields in _ONCE),
    ]
    await applied(ada, *everything[2:])
    before = (await ada.get(f"/documents/{note['id']}")).json
    for _ in range(2):
        results = await push(ada, *everything, *everything)
        assert {one["status"] for one in results} == {"duplicate"}
        assert {one["outcome"] for one in results} == {"applied"}
        assert [one["version"] for one in results[:2]] == [made["version"], first["version"]]
        assert all(one["document"]["version"] == before["version"] for one in results)
    assert (await ada.get(f"/documents/{note['id']}")).json == before
    assert len(await paths(ada)) == 1


_ONCE: list[tuple[str, dict[str, Any]]] = [
    ("retitle", {"title": "Other"}),
    ("tag", {"tags": ["a"]}),
    ("rename", {"filename": "other.md"}),
    ("move", {"parent_id": None}),
    ("trash", {}),
    ("restore", {}),
]


async def test_one_after_another_at_once(server: Server) -> None:
    """The same requests on many connections: each operation has one effect, and everybody hears of it."""
    ada = await server.person("Ada")
    note = creation(ada, content="")
    edits = [operation("edit", id=note["id"], base_version=1, content=f"w{number}\n") for number in range(6)]
    answers = await asyncio.gather(*(push(ada, note, *edits) for _ in range(6)))
    for number in range(7):
        statuses = sorted(one[number]["status"] for one in answers)
        assert statuses.count("duplicate") == 5, statuses
    words = (await content(ada, note["id"])).split()
    assert sorted(words) == [f"w{number}" for number in range(6)]
    assert len(await paths(ada)) == 1


async def test_an_op_id_that_was_used(server: Server) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    note = creation(ada)
    await applied(ada, note)
    assert await refused(ada, {**note, "title": "Other"}) == (422, "idempotency-mismatch")
    other = {**creation(bob), "op_id": note["op_id"]}
    await applied(bob, other)  # it is another person's
    await server.database.write(
        lambda tx: tx.run("UPDATE operations SET created_at = created_at - $1", operations.KEPT + 1)
    )
    assert await refused(ada, note) == (409, "conflict")  # the id of the document is used, all the same
    assert await server.database.write(operations.forget_old) == 2
    assert clock.DAY * 30 == operations.KEPT


async def test_an_edit_wins_over_the_trash(server: Server) -> None:
    ada = await server.person("Ada")
    id = (await make(ada, content="one\n"))["id"]
    await ada.put(f"/documents/{id}/trash")
    (back,) = await push(ada, operation("edit", id=id, base_version=1, content="one two\n"))
    assert (back["status"], back["restored"], back["document"]["trashed_at"]) == ("applied", True, None)
    assert await content(ada, id) == "one two\n"

    assert await refused(ada, operation("trash", id=id, base_version=1)) == (412, "stale")
    assert await paths(ada) == ["Plan.md"]
    other = hashlib.sha256(b"of a server that was restored").hexdigest()
    assert await refused(ada, operation("trash", id=id, base_version=2, base_hash=other)) == (412, "stale")
    seen = hashlib.sha256(b"one two\n").hexdigest()
    await applied(ada, operation("trash", id=id, base_version=2, base_hash=seen))
    await applied(ada, operation("purge", id=id))
    assert await refused(ada, operation("edit", id=id, base_version=2, content="!")) == (404, "not-found")
    assert await refused(ada, creation(ada, id=id)) == (409, "conflict")  # no id is used again


async def test_what_was_typed_a_moment_ago_is_not_trashed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored and acknowledged counts, though the text follows only within a second."""
    monkeypatch.setattr(projector, "SOON", 3600.0)
    ada = await server.person("Ada")
    id = (await make(ada, content="one\n"))["id"]
    async with opened(ada, id) as editor:
        await editor.write("two", 0)
        await editor.until(lambda: editor.saved == 2)
        assert (await ada.get(f"/documents/{id}")).json["version"] == 1
        assert await refused(ada, operation("trash", id=id, base_version=1)) == (412, "stale")
    await applied(ada, operation("trash", id=id))


async def test_an_edit_brings_a_document_back_to_its_place(server: Server) -> None:
    """Folders above it come back too; what else went into the trash with them stays there."""
    ada = await server.person("Ada")
    a, b = creation(ada, "A", kind="folder"), creation(ada, "B", kind="folder")
    c, below, beside, d = creation(ada, "C"), creation(ada, "Below"), creation(ada, "Beside"), creation(ada, "D")
    b["parent_id"], c["parent_id"], below["parent_id"] = a["id"], b["id"], c["id"]
    beside["parent_id"], d["parent_id"] = b["id"], a["id"]
    under = {**creation(ada, "Under"), "parent_id": d["id"]}
    await applied(
        ada, a, b, c, below, beside, d, under, operation("trash", id=a["id"]), creation(ada, "A", kind="folder")
    )
    (back,) = await push(ada, operation("edit", id=c["id"], base_version=1, content="back\n"))
    assert (back["restored"], back["document"]["path"]) == (True, "A (2)/B/C.md")
    assert await paths(ada) == ["A", "A (2)", "A (2)/B", "A (2)/B/C.md", "A (2)/B/C.md/Below.md"]
    await whole(server)
    await applied(ada, operation("restore", id=d["id"]))
    assert await paths(ada, trashed="true") == ["A/B/Beside.md"]
    await applied(ada, operation("purge", id=beside["id"]))
    assert (await paths(ada))[5:] == ["A (2)/D.md", "A (2)/D.md/Under.md"]
    await whole(server)


async def test_a_folder_that_is_not_empty_stays(server: Server) -> None:
    ada = await server.person("Ada")
    folder, note = creation(ada, "Folder", kind="folder"), creation(ada, "Note")
    await applied(ada, folder, {**note, "parent_id": folder["id"]})
    trash = operation("trash", id=folder["id"], only_if_empty=True)
    assert await refused(ada, trash) == (409, "conflict")
    await applied(ada, operation("trash", id=note["id"]), trash)


async def test_moves(server: Server) -> None:
    ada = await server.person("Ada")
    a, b = creation(ada, "A", kind="folder"), creation(ada, "B", kind="folder")
    note = creation(ada, "Note")
    await applied(ada, a, b, note, operation("move", id=b["id"], parent_id=a["id"]))
    assert await refused(ada, operation("move", id=a["id"], parent_id=b["id"])) == (409, "conflict")
    assert await refused(ada, operation("move", id=a["id"], parent_id=ids.new())) == (422, "invalid")
    move = operation("move", id=note["id"], parent_id=a["id"], filename="b")
    assert await refused(ada, move) == (409, "conflict")  # there is a B
    await applied(ada, operation("move", id=note["id"], parent_id=a["id"], before=b["id"], filename="n.md"))
    tree = (await ada.get(f"/workspaces/{ada.workspace_id}/tree")).json["items"]
    assert sorted(one["filename"] for one in tree) == ["A", "B", "n.md"]
    both = operation("move", id=note["id"], parent_id=None, before=a["id"], after=a["id"])
    assert await refused(ada, both) == (400, "malformed")


async def test_bad_operations_spoil_nothing(server: Server) -> None:
    ada = await server.person("Ada")
    viewer, stranger = await server.member(ada, "Vic", "viewer"), await server.person("Eve")
    id = (await make(ada, content="one\n"))["id"]
    good = creation(ada, "Good")
    bad: list[tuple[Any, int]] = [
        (7, 422),
        (None, 422),
        ([], 422),
        ({}, 422),
        ({"type": "document.create"}, 422),
        (operation("explode", id=id), 422),
        (operation("retitle", id=id), 422),
        (operation("retitle", id=id, title="x", more=1), 422),
        (operation("retitle", id=id, title=""), 422),
        (operation("retitle", id=id, title="x" * 300), 422),
        (operation("retitle", id=id, title="a\0b"), 422),
        ({**operation("retitle", id=id, title="x"), "op_id": "short"}, 422),
        ({**operation("retitle", id=id, title="x"), "op_id": "a" * 65}, 422),
        ({**operation("retitle", id=id, title="x"), "op_id": "with blanks in it"}, 422),
        ({**operation("retitle", id=id, title="x"), "op_id": 7}, 422),
        (operation("retitle", id="../etc", title="x"), 404),
        (operation("retitle", id=ids.new(), title="x"), 404),
        (operation("rename", id=id, filename="../x.md"), 422),
        (operation("rename", id=id, filename=".."), 422),
        (operation("rename", id=id, filename="a\\b"), 422),
        (creation(ada, filename="a/b.md"), 422),
        (creation(ada, id="1"), 422),
        (creation(ada, id=str(ids.new()).upper()), 422),
        (creation(ada, content="a\0b"), 422),
        (creation(ada, kind="folder", content="x"), 422),
        (creation(ada, kind="other"), 422),
        (creation(ada, workspace_id="x"), 404),
        (creation(ada, workspace_id=stranger.workspace_id), 404),
        (creation(ada, parent_id="x"), 422),
        (operation("edit", id=id, base_version=-1, content="x"), 422),
        (operation("edit", id=id, base_version=1, content="a\0b"), 422),
        (operation("tag", id=id, tags=["#"]), 422),
        (operation("update", id=id, update="no base64!"), 422),
        (operation("purge", id=id), 409),
    ]
    results = await push(ada, *(one for one, _ in bad), good)
    for (sent, status), result in zip(bad, results, strict=False):
        assert result["status"] == "refused", (sent, result)
        assert result["problem"]["status"] == status, (sent, result)
        assert result["problem"]["detail"]
        if isinstance(sent, dict) and isinstance(sent.get("op_id"), str) and len(sent["op_id"]) <= 64:
            assert result["op_id"] == sent["op_id"]
    assert results[-1]["status"] == "applied"
    assert (await ada.get(f"/documents/{id}")).json["version"] == 1

    async with unchanged(server.database):
        for somebody, status in ((viewer, 403), (stranger, 404)):
            for one in (
                creation(ada),
                operation("edit", id=id, base_version=1, content="x"),
                operation("update", id=id, update=base64_of(b"\x00\x00")),
                operation("purge", id=id),
                *(operation(kind, id=id, **fields) for kind, fields in _ONCE),
            ):
                assert (await refused(somebody, one))[0] == status, one
    token = await server.token(ada, "read", "write")
    await applied(ada, operation("trash", id=id))
    assert await refused(token, operation("purge", id=id)) == (403, "forbidden")
    narrow = await server.token(ada, workspace_id=(await server.workspace(ada)))
    assert (await refused(narrow, operation("restore", id=id)))[0] == 404
    assert (await refused(narrow, creation(ada)))[0] == 404


async def test_bad_requests(server: Server) -> None:
    ada = await server.person("Ada")
    good = creation(ada)

    async def status(given: Json) -> tuple[int, str]:
        answer = await ada.post("/sync", given)
        return answer.status, answer.problem

    async with unchanged(server.database):
        assert await status({"device_id": "d"}) == (422, "invalid")
        assert await status({"operations": [good]}) == (422, "invalid")
        for device in ("", "x" * 101, "a\nb", 7):
            assert await status({"device_id": device, "operations": [good]}) == (422, "invalid")
        assert await status({"device_id": "d", "operations": {}}) == (422, "invalid")
        assert await status({"device_id": "d", "operations": [good] * 501}) == (422, "invalid")
        assert await status({"device_id": "d", "operations": [good], "more": 1}) == (422, "invalid")
        assert await status(b"{") == (400, "malformed")
        assert (await server.anonymous.post("/sync", {"device_id": "d", "operations": []})).status == 401
        reader = await server.token(ada, "read")
        assert (await reader.post("/sync", {"device_id": "d", "operations": [good]})).status == 403
    assert await push(ada) == []


async def test_many_at_once(server: Server) -> None:
    ada = await server.person("Ada")
    made = [creation(ada, f"Note {number}") for number in range(250)]
    edits = [operation("edit", id=one["id"], base_version=1, content="x\n") for one in made]
    both = [one for pair in zip(made, edits, strict=True) for one in pair]
    results = await push(ada, *both)
    assert [one["status"] for one in results] == ["applied"] * 500
    pocket = Pocket(ada)
    await pocket.pull(500)
    assert {one["version"] for one in pocket.documents.values()} == {2}


async def test_the_order_of_a_request_is_kept(server: Server) -> None:
    """Whatever moves documents about comes after what was written before it, and nobody waits for ever."""
    ada = await server.person("Ada")
    folder, other = creation(ada, "Folder", kind="folder"), creation(ada, "Other", kind="folder")
    notes = [creation(ada, "Same name", parent_id=folder["id"], content="x" * 70_000) for _ in range(80)]
    results = await applied(ada, folder, other, *notes)
    assert [one["document"]["filename"] for one in results[2:4]] == ["Same name.md", "Same name (2).md"]
    assert len({one["document"]["filename"] for one in results[2:]}) == 80
    one = notes[0]["id"]
    results = await push(
        ada,
        *(operation("edit", id=note["id"], base_version=1, content=f"{note['id']}\n") for note in notes),
        operation("move", id=one, parent_id=other["id"]),
        operation("trash", id=folder["id"]),
        *(creation(ada, f"{number}", parent_id=other["id"]) for number in range(80)),
        operation("trash", id=other["id"], only_if_empty=True),
        operation("edit", id=notes[1]["id"], base_version=2, content="back\n"),
        operation("trash", id=other["id"]),
    )
    assert [number for number, done in enumerate(results) if done["status"] != "applied"] == [162]
    assert results[163]["restored"]
    assert await paths(ada) == ["Folder", "Folder/Same name (2).md"]


async def test_yjs_updates_made_offline(server: Server) -> None:
    ada = await server.person("Ada")
    viewer = await server.member(ada, "Vic", "viewer")
    id = (await make(ada, content="one two\n"))["id"]
    first = await server.database.read(
        lambda db: db.value(bytes, "SELECT data FROM document_updates WHERE document_id = $1", id)
    )
    doc: Doc[Any] = Doc()
    doc.apply_update(bytes(first or b""))
    text = doc.get("content", type=Text)
    updates: list[bytes] = []
    doc.observe(lambda event: updates.append(event.update))
    text.insert(0, "zero ")
    text.insert(len(text), "three\n")
    async with opened(ada, id) as editor:
        early = operation("update", id=id, update=base64_of(updates[1]))
        assert await refused(ada, early) == (409, "conflict")
        (done,) = await applied(ada, operation("update", id=id, update=base64_of(updates[0])))
        assert not done["restored"]
        await applied(ada, early)
        (again,) = await push(ada, early)
        assert (again["status"], again["outcome"]) == ("duplicate", "applied")
        await applied(ada, {**early, "op_id": "under-another-name"})  # Yjs takes it in once
        await editor.until(lambda: editor.text == "zero one two\nthree\n")
    await applied(ada, operation("trash", id=id))
    text.insert(0, "- ")
    (back,) = await applied(ada, operation("update", id=id, update=base64_of(updates[2])))
    assert back["restored"]
    pocket = Pocket(ada, include="content")
    async with asyncio.timeout(10):  # the text follows within a second, and is told then
        while not pocket.documents or pocket.documents[id]["content"] != "- zero one two\nthree\n":
            await pocket.pull()
    assert await refused(viewer, {**early, "op_id": "a-viewers-own"}) == (403, "forbidden")
    for bad in (b"", b"\x01", b"\xff" * 40, b"\x01\x01\x01\x00\x04\x01\x07content" + lib0.number(1 << 40)):
        assert (await refused(ada, operation("update", id=id, update=base64_of(bad))))[0] == 422
    folder = (await make(ada, "Folder", kind="folder"))["id"]
    assert await refused(ada, {**early, "op_id": "of-a-folder", "id": folder}) == (409, "conflict")


async def test_who_is_demoted_while_a_document_is_loaded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "editor")
    id = (await make(ada, content="one\n"))["id"]
    doc: Doc[Any] = Doc()
    updates: list[bytes] = []
    doc.observe(lambda event: updates.append(event.update))
    doc.get("content", type=Text).insert(0, "never ")
    rooms = server.app[LIVE].rooms
    enter = rooms.enter

    async def slow(document_id: str) -> Room:
        room = await enter(document_id)
        await server.join(ada, bob, "viewer")
        return room

    monkeypatch.setattr(rooms, "enter", slow)
    assert await refused(bob, operation("update", id=id, update=base64_of(updates[0]))) == (403, "forbidden")
    assert await content(ada, id) == "one\n"
    assert await server.database.read(lambda db: log.head(db, id)) == 1


@pytest.mark.parametrize("seed", range(3))
async def test_no_word_is_lost(server: Server, seed: int) -> None:
    """Several devices edit one text offline, each from what it saw last, and bring it in any order."""
    chance = random.Random(seed)
    ada = await server.person("Ada")
    id = (await make(ada, content="start\n\nmiddle\n\nend\n"))["id"]
    seen: list[tuple[int, str]] = [(1, "start\n\nmiddle\n\nend\n")] * 4
    words: list[str] = []
    for step in range(40):
        device = chance.randrange(4)
        version, base = seen[device]
        lines = base.split(" ")
        for _ in range(chance.randrange(1, 4)):
            words.append(f"w{step}x{len(words)}")
            lines.insert(chance.randrange(len(lines) + 1), words[-1])
        mine = " ".join(lines)
        (done,) = await push(ada, operation("edit", id=id, base_version=version, content=mine))
        assert done["status"] in ("applied", "merged", "conflict"), done
        seen[device] = (done["version"], mine if done["content"] is None else done["content"])
    text = await content(ada, id)
    assert [text.count(f"{word}") for word in words] == [1] * len(words)
