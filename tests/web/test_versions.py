"""The history over HTTP: listing, reading, naming, comparing, going back."""

from __future__ import annotations

from .conftest import Json, Person, Server
from .desk import NOWHERE, content, every_page, make, refused, unchanged, whole

ANY = {"If-Match": "*"}
TEXTS = ["one\n", "one\ntwo\n", "one\ntwo\nthree\n", ""]


async def written(who: Person) -> Json:
    """A document with four versions."""
    made = await make(who, content=TEXTS[0])
    for text in TEXTS[1:]:
        answer = await who.put(f"/documents/{made['id']}/content", {"content": text}, headers=ANY)
        assert answer.status == 200
    return made


async def test_history(server: Server) -> None:
    ada, bea = await server.person("Ada"), await server.person("Bea")
    await server.join(ada, bea, "editor")
    made = await written(ada)
    path = f"/documents/{made['id']}"
    await ada.put(f"{path}/title", {"title": "Other"})
    await bea.patch(f"{path}/content", {"base_version": 4, "content": "hers\n"})
    listed = (await ada.get(f"{path}/versions")).json["items"]
    assert [one["version"] for one in listed] == [5, 4, 3, 2, 1]
    assert [one["title"] for one in listed] == ["Other", "Plan", "Plan", "Plan", "Plan"]
    assert [one["authors"][0]["display_name"] for one in listed] == ["Bea", "Ada", "Ada", "Ada", "Ada"]
    assert [one["size"] for one in listed] == [5, 0, 14, 8, 4]
    assert set(listed[0]) == {
        *("version", "title", "name", "authors", "size", "content_hash", "reason", "created_at"),
    }
    for limit in (1, 2, 5):
        assert await every_page(ada, f"{path}/versions", limit=limit) == listed
    for number, text in enumerate(TEXTS, 1):
        answer = await ada.get(f"{path}/versions/{number}")
        assert answer.json == {**listed[5 - number], "content": text}
        raw = await ada.get(f"{path}/versions/{number}", headers={"Accept": "text/markdown"})
        assert raw.body.decode() == text
        assert raw.headers["ETag"] == f'"{number}-{answer.json["content_hash"][:16]}"'
    for wrong in ("0", "6", "-1", "x", "1.0", "²", "1" * 16, "9" * 15, "%00", "latest"):
        refused(await ada.get(f"{path}/versions/{wrong}"), 404)
    refused(await ada.get(f"{path}/versions/1", headers={"Accept": "image/png"}), 406)
    refused(await ada.get(f"/documents/{NOWHERE}/versions"), 404)
    await whole(server)


async def test_a_text_is_kept_when_the_document_moves_on(server: Server) -> None:
    """Once however often it comes back; the newest version reads the present text."""
    ada = await server.person("Ada")
    said = ["one", "two" * 500, "one", "two" * 500, "three"]
    made = await make(ada, content=said[0])
    for kept, text in enumerate((*said[1:], said[-1])):
        rows = await server.database.read(lambda db: db.column(str, "SELECT encoding FROM texts ORDER BY encoding"))
        assert rows == ["plain", "zlib"][:kept]
        await ada.put(f"/documents/{made['id']}/content", {"content": text}, headers=ANY)
    for number, text in enumerate(said, 1):
        assert (await ada.get(f"/documents/{made['id']}/versions/{number}")).json["content"] == text
    await whole(server)


async def test_names(server: Server) -> None:
    ada, bea = await server.person("Ada"), await server.person("Bea")
    await server.join(ada, bea, "commenter")
    made = await written(ada)
    path = f"/documents/{made['id']}/versions/2"
    named = await ada.patch(path, {"name": " Before the move 🦆 "})
    assert named.json["name"] == "Before the move 🦆"
    assert (await bea.get(path)).json["name"] == "Before the move 🦆"
    assert (await ada.patch(path, {"name": "x" * 200})).status == 200
    async with unchanged(server.database):
        for body in (
            {},
            {"name": ""},
            {"name": "  "},
            {"name": 5},
            {"name": "x" * 201},
            {"name": "a\0"},
            {"name": "a\nb"},
        ):
            refused(await ada.patch(path, body), 422, "/name")
        refused(await ada.patch(path, {"name": "x", "title": "x"}), 422, "/title")
        refused(await bea.patch(path, {"name": "x"}), 403)
        refused(await ada.patch(f"/documents/{made['id']}/versions/9", {"name": "x"}), 404)
    assert (await ada.patch(path, {"name": None})).json["name"] is None
    await whole(server)


async def test_differences(server: Server) -> None:
    ada = await server.person("Ada")
    made = await written(ada)
    path = f"/documents/{made['id']}/versions"
    for number, query, against, hunks in [
        (3, "", 2, [("equal", "one\ntwo\n"), ("insert", "three\n")]),
        (1, "", 0, [("insert", "one\n")]),
        (4, "", 3, [("delete", "one\ntwo\nthree\n")]),
        (3, "?against=1", 1, [("equal", "one\n"), ("insert", "two\nthree\n")]),
        (1, "?against=3", 3, [("equal", "one\n"), ("delete", "two\nthree\n")]),
        (2, "?against=current", 4, [("insert", "one\ntwo\n")]),
        (2, "?against=0", 0, [("insert", "one\ntwo\n")]),
        (2, "?against=2", 2, [("equal", "one\ntwo\n")]),
        (4, "?against=4", 4, []),
    ]:
        answer = await ada.get(f"{path}/{number}/diff{query}")
        assert answer.status == 200, answer
        assert (answer.json["version"], answer.json["against"], answer.json["format"]) == (number, against, "lines")
        assert [(one["op"], one["text"]) for one in answer.json["hunks"]] == hunks
    answer = await ada.get(f"{path}/3/diff", headers={"Accept": "text/x-diff"})
    assert answer.headers["Content-Type"] == "text/x-diff; charset=utf-8"
    assert answer.body.decode().splitlines()[:2] == ["--- Plan.md@2", "+++ Plan.md@3"]
    assert answer.body.decode().splitlines()[-1] == "+three"
    for query in ("?against=9", "?against=x", "?against=-1", "?against=", "?against=²", "?against=" + "1" * 20):
        refused(await ada.get(f"{path}/3/diff{query}"), 404)
    refused(await ada.get(f"{path}/9/diff"), 404)
    for query in ("?with=1", "?against=1&against=2", "?against=%00"):
        refused(await ada.get(f"{path}/3/diff{query}"), 400)


async def test_going_back(server: Server) -> None:
    ada, bea = await server.person("Ada"), await server.person("Bea")
    await server.join(ada, bea, "viewer")
    made = await written(ada)
    path = f"/documents/{made['id']}"
    back = await ada.post(f"{path}/versions/2/restore")
    assert back.status == 200
    assert back.json["version"] == 5
    assert back.headers["ETag"] == (await ada.get(path)).headers["ETag"]
    assert await content(ada, made["id"]) == TEXTS[1]
    [newest, *_] = (await ada.get(f"{path}/versions")).json["items"]
    assert (newest["reason"], newest["version"]) == ("restore", 5)
    async with unchanged(server.database):
        assert (await ada.post(f"{path}/versions/2/restore")).json["version"] == 5  # it is that already
        refused(await ada.post(f"{path}/versions/9/restore"), 404)
        refused(await bea.post(f"{path}/versions/1/restore"), 403)
        refused(await ada.post(f"/documents/{NOWHERE}/versions/1/restore"), 404)
    for number, text in enumerate(TEXTS, 1):
        assert (await ada.get(f"{path}/versions/{number}")).json["content"] == text
    await whole(server)


async def test_versions_of_another_document(server: Server) -> None:
    ada, eve = await server.person("Ada"), await server.person("Eve")
    made, short = await written(ada), await make(ada, "Short", content="x")
    theirs = await written(eve)
    refused(await ada.get(f"/documents/{short['id']}/versions/3"), 404)
    refused(await ada.post(f"/documents/{short['id']}/versions/3/restore"), 404)
    for id in (theirs["id"], NOWHERE):
        for way in ("", "/3", "/3/diff"):
            answer = await ada.get(f"/documents/{id}/versions{way}")
            refused(answer, 404)
            assert answer.json["detail"] == "There is no such document, or you cannot see it."
    assert made["id"] != theirs["id"]
