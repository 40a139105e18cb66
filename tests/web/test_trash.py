"""The trash: going with all below, coming back as the same set, purging; and what stands in the way."""

from __future__ import annotations

from .conftest import Json, Person, Server
from .desk import NOWHERE, content, every_page, make, paths, refused, unchanged, whole

ANY = {"If-Match": "*"}


async def trash(who: Person, one: Json) -> Json:
    answer = await who.put(f"/documents/{one['id']}/trash")
    assert answer.status == 200, answer
    return answer.json


async def restore(who: Person, one: Json) -> Json:
    answer = await who.delete(f"/documents/{one['id']}/trash")
    assert answer.status == 200, answer
    return answer.json


async def family(who: Person) -> list[Json]:
    """`a`, in it `b`, in it `c`."""
    a = await make(who, "a", kind="folder", filename="a")
    b = await make(who, "b", parent_id=a["id"], filename="b", content="b")
    c = await make(who, "c", parent_id=b["id"], filename="c", content="c")
    return [a, b, c]


async def test_there_and_back(server: Server) -> None:
    ada = await server.person("Ada")
    a, _, c = await family(ada)
    beside = await make(ada, "a b", filename="a b")
    gone = await trash(ada, a)
    assert gone["trashed_at"] is not None
    assert gone["revision"] == 2
    assert await paths(ada) == ["a b"]
    assert await paths(ada, trashed="true") == ["a", "a/b", "a/b/c"]
    assert (await ada.get(f"/workspaces/{ada.workspace_id}/tree")).json["items"][0]["id"] == beside["id"]
    # It can be read there.
    assert await content(ada, c["id"]) == "c"
    assert (await ada.get(f"/documents/{c['id']}")).json["trashed_at"] == gone["trashed_at"]
    back = await restore(ada, a)
    assert back["trashed_at"] is None
    assert (back["path"], back["position"], back["parent_id"]) == ("a", a["position"], None)
    assert await paths(ada) == ["a", "a b", "a/b", "a/b/c"]
    await whole(server)


async def test_each_set_comes_back_as_it_went(server: Server) -> None:
    ada = await server.person("Ada")
    a, b, _ = await family(ada)
    d = await make(ada, "d", parent_id=a["id"], filename="d")
    await trash(ada, b)
    await trash(ada, a)
    await restore(ada, a)
    assert await paths(ada) == ["a", "a/d"]
    await trash(ada, d)
    await restore(ada, b)
    assert await paths(ada) == ["a", "a/b", "a/b/c"]
    await whole(server)


async def test_one_child_of_a_set(server: Server) -> None:
    """Its parent stays in the trash, so it comes to the root, with what stands below it."""
    ada = await server.person("Ada")
    a, b, c = await family(ada)
    await trash(ada, a)
    back = await restore(ada, b)
    assert (back["path"], back["parent_id"]) == ("b", None)
    assert await paths(ada) == ["b", "b/c"]
    assert (await restore(ada, a))["path"] == "a"
    assert await paths(ada) == ["a", "b", "b/c"]
    # Each of them can go again.
    await trash(ada, b)
    assert (await restore(ada, c))["path"] == "c"
    assert (await restore(ada, b))["path"] == "b"
    await whole(server)


async def test_into_a_taken_name(server: Server) -> None:
    ada = await server.person("Ada")
    one = await make(ada, "Straße")
    child = await make(ada, "Child", parent_id=one["id"])
    await trash(ada, one)
    other = await make(ada, "STRASSE")
    await make(ada, "Child", parent_id=other["id"])
    back = await restore(ada, one)
    assert (back["path"], back["title"]) == ("Straße (2).md", "Straße")
    assert (await ada.get(f"/documents/{child['id']}")).json["path"] == "Straße (2).md/Child.md"
    await whole(server)


async def test_when_its_parent_has_moved(server: Server) -> None:
    ada = await server.person("Ada")
    a, b, _ = await family(ada)
    await trash(ada, b)
    await ada.put(f"/documents/{a['id']}/filename", {"filename": "\u0130" * 3})
    over = await make(ada, "Over", kind="folder")
    await ada.put(f"/documents/{a['id']}/place", {"parent_id": over["id"]})
    await restore(ada, b)
    top = f"Over/{chr(0x130) * 3}"
    assert await paths(ada) == ["Over", top, f"{top}/b", f"{top}/b/c"]
    await whole(server)


async def test_when_its_parent_is_gone(server: Server) -> None:
    ada = await server.person("Ada")
    a, b, _ = await family(ada)
    await trash(ada, b)
    await trash(ada, a)
    assert (await ada.delete(f"/documents/{a['id']}", headers=ANY)).status == 204
    back = await restore(ada, b)
    assert (back["path"], back["parent_id"]) == ("b", None)
    assert await paths(ada) == ["b", "b/c"]
    await whole(server)


async def test_its_place_among_siblings(server: Server) -> None:
    ada = await server.person("Ada")
    one, two, three = [await make(ada, name) for name in ("one", "two", "three")]
    await trash(ada, two)
    await ada.put(f"/documents/{three['id']}/place", {"parent_id": None, "before": one["id"]})
    await make(ada, "four")
    await restore(ada, two)
    tree = (await ada.get(f"/workspaces/{ada.workspace_id}/tree")).json["items"]
    assert [it["title"] for it in tree] == ["three", "one", "two", "four"]
    await whole(server)


async def test_purging(server: Server) -> None:
    ada = await server.person("Ada")
    a, b, c = await family(ada)
    twin = await make(ada, "twin", content="c")
    for one in (twin, c):  # both have the same text in their history; the twin's must stay
        await ada.put(f"/documents/{one['id']}/content", {"content": "later"}, headers=ANY)
    await ada.put(f"/documents/{c['id']}/favourite")
    await ada.put(f"/documents/{c['id']}/tags", {"tags": ["x"]})
    await ada.put(f"/documents/{b['id']}/content", {"content": "[[twin]]"}, headers=ANY)
    async with unchanged(server.database):
        refused(await ada.delete(f"/documents/{b['id']}", headers=ANY), 409)  # not in the trash
    etag = (await ada.get(f"/documents/{a['id']}")).headers["ETag"]
    await trash(ada, a)
    async with unchanged(server.database):
        refused(await ada.delete(f"/documents/{a['id']}"), 428)
        stale = await ada.delete(f"/documents/{a['id']}", headers={"If-Match": etag})
        refused(stale, 412)
        assert stale.json["etag"] == stale.headers["ETag"]
    assert (await ada.delete(f"/documents/{a['id']}", headers={"If-Match": stale.headers["ETag"]})).status == 204
    for one in (a, b, c):
        for answer in (
            await ada.get(f"/documents/{one['id']}"),
            await ada.get(f"/documents/{one['id']}/versions/1"),
            await ada.put(f"/documents/{one['id']}/trash"),
            await ada.delete(f"/documents/{one['id']}/trash"),
            await ada.delete(f"/documents/{one['id']}", headers=ANY),
        ):
            refused(answer, 404)
    assert await content(ada, twin["id"]) == "later"
    assert (await ada.get(f"/documents/{twin['id']}/versions/1")).json["content"] == "c"
    assert await paths(ada, trashed="true") == []
    rows = await server.database.read(
        lambda db: db.rows("SELECT entity_id, action FROM changes WHERE entity = 'document'")
    )
    assert dict(rows) == {a["id"]: "delete", b["id"]: "delete", c["id"]: "delete", twin["id"]: "upsert"}
    texts = await server.database.read(lambda db: db.column(str, "SELECT document_id FROM texts"))
    assert texts == [twin["id"]]
    await whole(server)


async def test_a_part_of_a_set_can_be_purged(server: Server) -> None:
    ada = await server.person("Ada")
    a, b, _ = await family(ada)
    d = await make(ada, "d", parent_id=a["id"], filename="d")
    await trash(ada, a)
    assert (await ada.delete(f"/documents/{b['id']}", headers=ANY)).status == 204
    await restore(ada, a)
    assert await paths(ada) == ["a", "a/d"]
    assert (await ada.get(f"/documents/{d['id']}")).json["trashed_at"] is None
    await whole(server)


async def test_emptying(server: Server) -> None:
    ada, bea = await server.person("Ada"), await server.person("Bea")
    await server.join(ada, bea, "editor")
    a, *_ = await family(ada)
    await make(ada, "stays")
    theirs = await make(bea, "hers")
    await trash(bea, theirs)
    await trash(ada, a)
    async with unchanged(server.database):
        refused(await bea.delete(f"/workspaces/{ada.workspace_id}/trash"), 403)
        refused(await ada.delete(f"/workspaces/{bea.workspace_id}/trash"), 404)
        refused(await ada.delete(f"/workspaces/{NOWHERE}/trash"), 404)
    for _ in range(2):
        assert (await ada.delete(f"/workspaces/{ada.workspace_id}/trash")).status == 204
    assert await paths(ada) == ["stays.md"]
    assert await paths(ada, trashed="true") == []
    assert await paths(bea, trashed="true") == ["hers.md"]
    await whole(server)


async def test_what_cannot_be_done_there(server: Server) -> None:
    ada = await server.person("Ada")
    made = await make(ada, content="one")
    live = await make(ada, "Live")
    await trash(ada, made)
    path = f"/documents/{made['id']}"
    async with unchanged(server.database):
        refused(await ada.put(f"{path}/trash"), 409)
        refused(await ada.delete(f"/documents/{live['id']}/trash"), 409)
        refused(await ada.put(f"{path}/content", {"content": "two"}, headers=ANY), 409)
        refused(await ada.patch(f"{path}/content", {"base_version": 1, "content": "two"}), 409)
        refused(await ada.put(path, {"title": "x", "content": "x", "tags": []}, headers=ANY), 409)
        refused(await ada.patch(path, {"title": "x"}), 409)
        refused(await ada.patch(path, {"filename": "x"}), 409)
        refused(await ada.patch(path, {"tags": ["x"]}), 409)
        refused(await ada.put(f"{path}/place", {"parent_id": None}), 409)
        refused(await ada.put(f"{path}/archive"), 409)
        refused(await ada.delete(f"{path}/archive"), 409)
        refused(await ada.put(f"{path}/template"), 409)
        refused(await ada.post(f"{path}/copies", {}), 409)
        refused(await ada.post(f"{path}/versions/1/restore"), 409)
        refused(
            await ada.post(f"/workspaces/{ada.workspace_id}/documents", {"title": "x", "parent_id": made["id"]}), 409
        )
        refused(await ada.put(f"/documents/{live['id']}/place", {"parent_id": made["id"]}), 409)
    for way in ("", "/content", "/versions", "/versions/1", "/html", "/outline", "/backlinks"):
        assert (await ada.get(path + way)).status == 200
    await whole(server)


async def test_stale_states(server: Server) -> None:
    """If-Match is honoured when it is sent."""
    ada = await server.person("Ada")
    made = await make(ada)
    path = f"/documents/{made['id']}"
    old = (await ada.get(path)).headers["ETag"]
    await ada.put(f"{path}/title", {"title": "New"})
    async with unchanged(server.database):
        refused(await ada.put(f"{path}/trash", headers={"If-Match": old}), 412)
    gone = await ada.put(f"{path}/trash", headers={"If-Match": (await ada.get(path)).headers["ETag"]})
    assert gone.status == 200
    async with unchanged(server.database):
        refused(await ada.delete(f"{path}/trash", headers={"If-Match": old}), 412)
    assert (await ada.delete(f"{path}/trash", headers={"If-Match": gone.headers["ETag"]})).status == 200
    await whole(server)


async def test_a_full_trash(server: Server) -> None:
    ada = await server.person("Ada")
    folder = await make(ada, "Folder", kind="folder")
    for n in range(30):
        await make(ada, f"{n:02d}", parent_id=folder["id"])
    await trash(ada, folder)
    listed = await every_page(ada, f"/workspaces/{ada.workspace_id}/documents", limit=7, trashed="true")
    assert len({one["id"] for one in listed}) == len(listed) == 31
    await restore(ada, folder)
    assert len(await paths(ada)) == 31
    await trash(ada, folder)
    assert (await ada.delete(f"/workspaces/{ada.workspace_id}/trash")).status == 204
    assert await server.database.read(lambda db: db.value(int, "SELECT count(*) FROM documents")) == 0
    await whole(server)
