"""Documents over HTTP: making, reading, listing, replacing, marking, copying, linking; and what is refused."""

from __future__ import annotations

import hashlib

import pytest

from mdserver import ids
from mdserver.config import Limits
from mdserver.model import users

from .conftest import Client, Json, Server, Start
from .desk import NOWHERE, content, every_page, make, paths, refused, unchanged, whole

FIELDS = {
    *(
        "id",
        "workspace_id",
        "parent_id",
        "position",
        "kind",
        "title",
        "filename",
        "path",
        "tags",
        "version",
        "revision",
    ),
    *("content_hash", "size", "author", "updated_by", "created_at", "updated_at", "trashed_at", "archived_at"),
    *("template", "favourite", "role", "permissions"),
}


async def test_make_and_read(server: Server) -> None:
    ada = await server.person("Ada")
    given = {"title": " Größe: 1/2 ", "content": "# Größe\r\n\r\n🦆\n", "tags": ["#Haus", "haus", "Straße", "STRASSE"]}
    answer = await ada.post(f"/workspaces/{ada.workspace_id}/documents", given)
    assert answer.status == 201
    made = answer.json
    assert set(made) == FIELDS
    assert answer.headers["Location"] == f"/api/v1/documents/{made['id']}"
    assert (made["title"], made["filename"], made["path"]) == ("Größe: 1/2", "Größe 1-2.md", "Größe 1-2.md")
    assert made["tags"] == ["Haus", "Straße"]
    assert (made["version"], made["revision"], made["parent_id"], made["kind"]) == (1, 1, None, "markdown")
    text = given["content"]
    assert isinstance(text, str)
    assert made["size"] == len(text.encode())
    assert made["content_hash"] == hashlib.sha256(text.encode()).hexdigest()
    person = {"id": ada.id, "display_name": "Ada", "avatar_url": None}
    assert (made["author"], made["updated_by"]) == (person, person)
    assert made["role"] == "owner"
    assert made["permissions"] == [
        "read",
        "comment",
        "suggest",
        "edit",
        "trash",
        "attach",
        "name_versions",
        "share",
        "purge",
    ]
    read = await ada.get(f"/documents/{made['id']}")
    assert read.json == {**made, "content": text}
    assert read.headers["ETag"] == answer.headers["ETag"]
    head = await ada.call("HEAD", f"/documents/{made['id']}")
    assert (head.status, head.body, head.headers["ETag"]) == (200, b"", read.headers["ETag"])
    await whole(server)


async def test_titles_come_from_the_text(server: Server) -> None:
    ada = await server.person("Ada")
    for given, title, filename in [
        ({"content": "# Heading\ntext"}, "Heading", "Heading.md"),
        ({"content": "---\ntitle: Front\n---\n# Heading"}, "Front", "Front.md"),
        ({"content": "text"}, "Untitled", "Untitled.md"),
        ({}, "Untitled", "Untitled (2).md"),
        ({"content": "text", "filename": "My notes.md"}, "My notes", "My notes.md"),
        ({"content": "# A\x07B\x1b[31m " + "x" * 400}, None, None),
        ({"title": "Given", "content": "# Heading"}, "Given", "Given.md"),
        ({"kind": "folder"}, "Untitled", "Untitled"),
        ({"kind": "folder", "title": "Folder.md"}, "Folder.md", "Folder.md"),
        ({"title": "CON"}, "CON", "CON_.md"),
        ({"title": "..."}, "...", "Untitled (3).md"),
    ]:
        made = await make(ada, None, **given)
        if title is not None:
            assert (made["title"], made["filename"]) == (title, filename)
        assert made["path"] == made["filename"]
    await whole(server)


async def test_ids_made_offline(server: Server) -> None:
    ada, eve = await server.person("Ada"), await server.person("Eve")
    parent, child = ids.new(), ids.new()
    await make(ada, "Parent", id=parent)
    made = await make(ada, "Child", id=child, parent_id=parent)
    assert (made["id"], made["parent_id"], made["path"]) == (child, parent, "Parent.md/Child.md")
    place, elsewhere = f"/workspaces/{ada.workspace_id}/documents", f"/workspaces/{eve.workspace_id}/documents"
    async with unchanged(server.database):
        refused(await ada.post(place, {"id": child, "title": "Again"}), 409)
        refused(await eve.post(elsewhere, {"id": child, "title": "Again"}), 409)
        for wrong in ("", "x", child.upper(), "0190163d-8694-439b-aea5-966c26f8ad91", child + "\n", "a\0b"):
            refused(await ada.post(place, {"id": wrong, "title": "x"}), 422, "/id")
        own = ids.new()
        refused(await ada.post(place, {"id": own, "title": "x", "parent_id": own}), 422, "/parent_id")
    assert (await ada.put(f"/documents/{child}/trash")).status == 200
    assert (await ada.delete(f"/documents/{child}", headers={"If-Match": "*"})).status == 204
    async with unchanged(server.database):
        refused(await ada.post(place, {"id": child, "title": "Never again"}), 409)


@pytest.mark.parametrize(
    ("body", "status", "pointers"),
    [
        (b"", 400, []),
        (b"{", 400, []),
        (b"nonsense", 400, []),
        (b"[]", 422, [""]),
        (b"null", 422, [""]),
        (b'{"title": "\xff"}', 400, []),
        (b'{"title": "\\ud800"}', 400, []),
        (b'{"title": "\\ud800x\\udc00"}', 400, []),
        (b'{"title": "\xed\xa0\x80"}', 400, []),
        (b"[" * 100_000, 422, [""]),
        (b'{"title": ' + b"[" * 100_000, 422, ["/title"]),
        (b'{"tags": [' + b"[" * 100_000, 422, ["/tags/0"]),
        (b'{"title": 5}', 422, ["/title"]),
        (b'{"title": "x", "wrong": 5}', 422, ["/wrong"]),
        (b'{"title": "x", "a/b~c": 5}', 422, ["/a~1b~0c"]),
        (b'{"title": "x", "role": "owner"}', 422, ["/role"]),
        (b'{"title": ""}', 422, ["/title"]),
        (b'{"title": "   "}', 422, ["/title"]),
        (b'{"title": "a\\u0000b"}', 422, ["/title"]),
        (b'{"title": "a\\nb"}', 422, ["/title"]),
        (b'{"title": "' + b"x" * 256 + b'"}', 422, ["/title"]),
        (b'{"kind": "poster"}', 422, ["/kind"]),
        (b'{"kind": "folder", "content": "x"}', 422, ["/content"]),
        (b'{"content": "a\\u0000b"}', 422, ["/content"]),
        (b'{"title": "x", "tags": "x"}', 422, ["/tags"]),
        (b'{"title": "x", "tags": ["x", 5]}', 422, ["/tags/1"]),
        (b'{"title": "x", "tags": ["x", ""]}', 422, ["/tags/1"]),
        (b'{"title": "x", "tags": ["##"]}', 422, ["/tags/0"]),
        (b'{"title": "x", "tags": ["a\\u0000b"]}', 422, ["/tags/0"]),
        (b'{"title": "x", "tags": ["' + b"x" * 101 + b'"]}', 422, ["/tags/0"]),
        (b'{"title": "x", "tags": [' + b",".join([b'"x"'] * 101) + b"]}", 422, ["/tags"]),
        (b'{"title": "x", "filename": ""}', 422, ["/filename"]),
        (b'{"title": "x", "filename": ".."}', 422, ["/filename"]),
        (b'{"title": "x", "filename": "a/b"}', 422, ["/filename"]),
        (b'{"title": "x", "filename": "a\\\\b"}', 422, ["/filename"]),
        (b'{"title": "x", "filename": "a\\u0000b"}', 422, ["/filename"]),
        (b'{"title": "x", "filename": "' + b"x" * 241 + b'"}', 422, ["/filename"]),
        (b'{"title": "x", "parent_id": "root"}', 422, ["/parent_id"]),
        (b'{"title": "x", "parent_id": "a\\u0000b"}', 422, ["/parent_id"]),
        (b'{"title": "x", "parent_id": "' + NOWHERE.encode() + b'"}', 422, ["/parent_id"]),
        (b'{"title": "x", "from": "a\\u0000b"}', 404, []),
        (b'{"title": "x", "from": "' + NOWHERE.encode() + b'"}', 404, []),
    ],
)
@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_bodies_that_make_nothing(server: Server, body: bytes, status: int, pointers: list[str]) -> None:
    ada = await server.person("Ada")
    async with unchanged(server.database):
        answer = await ada.call("POST", f"/workspaces/{ada.workspace_id}/documents", body)
        refused(answer, status, *pointers)


async def test_what_only_one_engine_would_take(server: Server) -> None:
    """NUL, numbers beyond 64 bits and the like are refused by us, not by one engine's driver."""
    ada = await server.person("Ada")
    id = (await make(ada))["id"]
    place = f"/workspaces/{ada.workspace_id}"
    async with unchanged(server.database):
        refusals: list[tuple[str, Json, int]] = [
            (f"{place}/documents", {"title": "x", "parent_id": "a\0b"}, 422),
            (f"{place}/documents", {"title": "x", "from": "a\0b"}, 404),
            (f"{place}/documents", {"title": "x", "id": "a\0b"}, 422),
            (f"/documents/{id}/copies", {"workspace_id": "a\0b"}, 404),
            (f"/documents/{id}/copies", {"parent_id": "a\0b"}, 422),
            (f"/documents/{id}/copies", {"title": "a\0b"}, 422),
        ]
        for path, body, status in refusals:
            refused(await ada.post(path, body), status)
        puts: list[tuple[str, Json]] = [
            (f"/documents/{id}/place", {"parent_id": "a\0b"}),
            (f"/documents/{id}/place", {"parent_id": None, "before": "a\0b"}),
            (f"/documents/{id}/place", {"parent_id": None, "after": "a\0b"}),
            (f"/documents/{id}/filename", {"filename": "a\0b"}),
            (f"/documents/{id}/title", {"title": "a\0b"}),
            (f"/documents/{id}/tags", {"tags": ["a\0b"]}),
        ]
        for path, body in puts:
            refused(await ada.put(path, body), 422)
        for version in (-1, 10**30, 2**63):
            refused(await ada.patch(f"/documents/{id}/content", {"base_version": version, "content": "x"}), 422)
        for path in ("a\0b", "%00", "..", "x" * 5_000):
            refused(await ada.get(f"/documents/{path.replace(chr(0), '%00')}"), 404)
        for query in (
            "tag=%00",
            "author=%00",
            "path=a%00b",
            "parent=%00",
            "changed_since=%00",
            "kind=%00",
            "cursor=%00",
        ):
            refused(await ada.get(f"{place}/documents?{query}"), 400)
        for query in ("tag=%ff", "author=%ed%a0%80", "path=%ff%fe", "tag=" + "x" * 3_000, "author=x"):
            answer = await ada.get(f"{place}/documents?{query}")
            assert (answer.status, answer.json["items"]) == (200, [])


async def test_too_large(start: Start) -> None:
    server = await start(limits=Limits(json_body=2_000, document=4_000))
    ada = await server.person("Ada")
    place = f"/workspaces/{ada.workspace_id}/documents"
    made = await make(ada, "Largest", content="é" * 2_000)
    tag = {"If-Match": "*"}
    path = f"/documents/{made['id']}"
    async with unchanged(server.database):
        # Fewer code points than the limit has bytes; more than the document, less than the request; more than both.
        for text in ("é" * 2_001, "x" * 4_001, "x" * 7_000):
            refused(await ada.post(place, {"title": "x", "content": text}), 413)
            refused(await ada.put(f"{path}/content", {"content": text}, headers=tag), 413)
            refused(await ada.put(path, {"title": "x", "tags": [], "content": text}, headers=tag), 413)
            refused(await ada.patch(f"{path}/content", {"base_version": 1, "content": text}), 413)
            raw = {**tag, "Content-Type": "text/markdown"}
            refused(await ada.call("PUT", f"{path}/content", text.encode(), headers=raw), 413)
        for way, body in [
            ("title", {"title": "x" * 2_000}),
            ("tags", {"tags": ["x" * 2_000]}),
            ("place", {"parent_id": "x" * 2_000}),
        ]:
            refused(await ada.put(f"{path}/{way}", body), 413)
        # Chunked, so that no Content-Length tells it beforehand.

        async def chunks() -> object:
            for _ in range(100):
                yield b"x" * 100

        answer = await ada.call(
            "PUT", f"{path}/content", data=chunks(), headers={**tag, "Content-Type": "text/markdown"}
        )
        refused(answer, 413)
    # Escapes do not count: what is stored does.
    small = await ada.put(f"{path}/content", b'{"content": "' + b"\\u00e9" * 900 + b'"}', headers=tag)
    assert small.json["size"] == 1_800
    await whole(server)


async def test_media_types(server: Server) -> None:
    ada = await server.person("Ada")
    made = await make(ada, content="one")
    path = f"/documents/{made['id']}"
    async with unchanged(server.database):
        for media in ("text/html", "application/octet-stream", "multipart/form-data; boundary=x", "nonsense"):
            headers = {"Content-Type": media, "If-Match": "*"}
            refused(await ada.call("PUT", f"{path}/content", b"{}", headers=headers), 415)
            refused(await ada.call("PUT", f"{path}/title", b"{}", headers=headers), 415)
        # Markdown is taken for contents alone.
        headers = {"Content-Type": "text/markdown"}
        refused(await ada.call("PUT", f"{path}/title", b"x", headers=headers), 415)
        refused(await ada.call("PATCH", f"{path}/content", b"x", headers=headers), 415)
        refused(await ada.call("POST", f"/workspaces/{ada.workspace_id}/documents", b"x", headers=headers), 415)
    headers = {"Content-Type": "text/markdown; charset=utf-8", "If-Match": "*"}
    assert (await ada.call("PUT", f"{path}/content", b"two", headers=headers)).status == 200
    headers = {"Content-Type": "application/vnd.api+json", "If-Match": "*"}
    assert (await ada.call("PUT", f"{path}/content", b'{"content": "three"}', headers=headers)).status == 200
    assert await content(ada, made["id"]) == "three"


async def test_methods(server: Server) -> None:
    ada = await server.person("Ada")
    made = await make(ada)
    for path, allowed in [
        (f"/documents/{made['id']}", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        (f"/documents/{made['id']}/content", "GET, HEAD, OPTIONS, PATCH, PUT"),
        (f"/documents/{made['id']}/title", "OPTIONS, PUT"),
        (f"/documents/{made['id']}/trash", "DELETE, OPTIONS, PUT"),
        (f"/workspaces/{ada.workspace_id}/documents", "GET, HEAD, OPTIONS, POST"),
    ]:
        answer = await ada.call("PROPFIND", path)
        refused(answer, 405)
        assert answer.headers["Allow"] == allowed
        options = await ada.call("OPTIONS", path)
        assert (options.status, options.headers["Allow"]) == (204, allowed)
    refused(await ada.get(f"/documents/{made['id']}/nothing"), 404)


async def test_lists(server: Server) -> None:
    ada, bea = await server.person("Ada"), await server.person("Bea")
    await server.join(ada, bea, "editor")
    folder = await make(ada, "Folder", kind="folder")
    first = await make(ada, "First", parent_id=folder["id"], tags=["Rot", "blau"])
    second = await make(bea, "Second", workspace_id=ada.workspace_id, tags=["ROT"])
    third = await make(ada, "Third", content="x")
    await ada.put(f"/documents/{third['id']}/trash")
    await ada.put(f"/documents/{second['id']}/archive")
    await ada.put(f"/documents/{first['id']}/template")
    await ada.put(f"/documents/{first['id']}/favourite")
    place = f"/workspaces/{ada.workspace_id}/documents"

    async def titles(query: str, who: Client = ada) -> list[str]:
        answer = await who.get(f"{place}?{query}")
        assert answer.status == 200, answer
        return sorted(one["title"] for one in answer.json["items"])

    assert await titles("") == ["First", "Folder", "Second"]
    assert await titles("parent=root") == ["Folder", "Second"]
    assert await titles(f"parent={folder['id']}") == ["First"]
    assert await titles(f"parent={NOWHERE}") == []
    assert await titles("tag=rot") == await titles("tag=ROT") == ["First", "Second"]
    assert await titles("tag=Bla") == []
    assert await titles("kind=folder") == ["Folder"]
    assert await titles(f"author={bea.id}") == ["Second"]
    assert await titles("trashed=true") == ["Third"]
    assert await titles("archived=true") == ["Second"]
    assert await titles("archived=false") == ["First", "Folder"]
    assert await titles("template=true") == ["First"]
    assert await titles("template=false&kind=markdown") == ["Second"]
    assert await titles("favourite=true") == ["First"]
    assert await titles("favourite=true", bea) == []
    assert await titles("favourite=false", bea) == ["First", "Folder", "Second"]
    assert await titles("path=folder/FIRST.md") == await titles("path=/Folder/First.md") == ["First"]
    assert await titles("path=Folder") == ["Folder"]
    assert await titles("path=Third.md") == await titles("path=nothing") == []
    now = (await ada.get(f"/documents/{second['id']}")).json["updated_at"]
    assert await titles(f"changed_since={now}&archived=true") == ["Second"]
    assert await titles("changed_since=2999-01-01T00:00:00Z") == []
    assert await titles("changed_since=0001-01-01T00:00:00%2B14:00") == ["First", "Folder", "Second"]
    for query in (
        *("sort=size", "limit=0", "limit=201", "limit=x", "trashed=maybe", "kind=map", "wrong=1", "tag=a&tag=b"),
        *("parent=ROOT", "parent=x", "changed_since=yesterday", "changed_since=2026-01-31", "cursor=x", "parent="),
        *("tag=a%0Ab",),
    ):
        refused(await ada.get(f"{place}?{query}"), 400)
    refused(await ada.get(f"{place}?path=/"), 404)
    tags = await ada.get(f"/workspaces/{ada.workspace_id}/tags")
    assert [(one["tag"].casefold(), one["count"]) for one in tags.json["items"]] == [("blau", 1), ("rot", 2)]
    for query in ("parent=x", "limit=5001", "sort=path"):
        refused(await ada.get(f"/workspaces/{ada.workspace_id}/tree?{query}"), 400)


async def test_the_tree(server: Server) -> None:
    ada = await server.person("Ada")
    folder = await make(ada, "Folder", kind="folder")
    inner = await make(ada, "Inner", parent_id=folder["id"])
    gone = await make(ada, "Gone", parent_id=inner["id"])
    await ada.put(f"/documents/{gone['id']}/trash")
    first = await make(ada, "First")
    await ada.put(f"/documents/{first['id']}/place", {"parent_id": None, "before": folder["id"]})
    await ada.put(f"/documents/{first['id']}/archive")
    tree = (await ada.get(f"/workspaces/{ada.workspace_id}/tree")).json["items"]
    assert [(one["title"], one["parent_id"], one["has_children"], one["archived"]) for one in tree] == [
        ("First", None, False, True),
        ("Folder", None, True, False),
        ("Inner", folder["id"], False, False),
    ]
    assert {"id", "parent_id", "position", "kind", "title", "filename", "has_children"} <= set(tree[0])
    for parent, wanted in (("root", tree[:2]), (folder["id"], tree[2:]), (NOWHERE, [])):
        answer = await ada.get(f"/workspaces/{ada.workspace_id}/tree?parent={parent}")
        assert answer.json == {"items": wanted, "next_cursor": None}
    assert await every_page(ada, f"/workspaces/{ada.workspace_id}/tree", limit=1) == tree


async def test_replace(server: Server) -> None:
    ada = await server.person("Ada")
    made = await make(ada, content="one", tags=["a"])
    path = f"/documents/{made['id']}"
    new = {"title": "New", "content": "two", "tags": ["b"]}
    answer = await ada.put(path, new, headers={"If-Match": f'"1-{made["content_hash"][:16]}"'})
    assert answer.status == 200
    assert {name: answer.json[name] for name in ("title", "tags", "version", "filename")} == {
        "title": "New",
        "tags": ["b"],
        "version": 2,
        "filename": "Plan.md",
    }
    read = await ada.get(path)
    assert read.json == {**answer.json, "content": "two"}
    assert read.headers["ETag"] == answer.headers["ETag"]
    async with unchanged(server.database):
        for body in (
            {},
            {"title": "x"},
            {**new, "x": 1},
            {**new, "title": ""},
            {**new, "tags": None},
            {**new, "content": "\0"},
        ):
            refused(await ada.put(path, body, headers={"If-Match": "*"}), 422)
        assert (await ada.put(path, new, headers={"If-Match": answer.headers["ETag"]})).status == 200
    await whole(server)


async def test_change_some_fields(server: Server) -> None:
    ada = await server.person("Ada")
    made = await make(ada)
    await make(ada, "Taken")
    path = f"/documents/{made['id']}"
    answer = await ada.patch(path, {"title": "New", "filename": "new.md", "tags": ["x"]})
    assert (answer.json["title"], answer.json["path"], answer.json["tags"]) == ("New", "new.md", ["x"])
    assert (await ada.patch(path, {"tags": []})).json["title"] == "New"
    assert (await ada.put(f"{path}/title", {"title": "Newer"})).json["filename"] == "new.md"
    assert (await ada.put(f"{path}/tags", {"tags": ["#y", " Y "]})).json["tags"] == ["y"]
    assert (await ada.put(f"{path}/filename", {"filename": "Newer.txt"})).json["path"] == "Newer.txt"
    async with unchanged(server.database):
        refused(await ada.patch(path, {"title": "Half", "tags": ["half"], "filename": "TAKEN.md"}), 409)
        refused(await ada.patch(path, {"title": "Half", "filename": "a/b"}), 422, "/filename")
        refused(await ada.patch(path, {"title": "Half", "tags": [""]}), 422, "/tags/0")
        refused(await ada.put(f"{path}/filename", {"filename": "taken.MD"}), 409)
        assert (await ada.patch(path, {})).status == 200
        assert (await ada.put(f"{path}/title", {"title": " Newer "})).status == 200
        assert (await ada.put(f"{path}/tags", {"tags": ["y"]})).status == 200
    await whole(server)


async def test_marks(server: Server) -> None:
    ada, bea = await server.person("Ada"), await server.person("Bea")
    await server.join(ada, bea, "viewer")
    made = await make(ada)
    path = f"/documents/{made['id']}"
    for mark in ("archive", "template"):
        refused(await bea.put(f"{path}/{mark}"), 403)
        there = await ada.put(f"{path}/{mark}")
        async with unchanged(server.database):
            assert (await ada.put(f"{path}/{mark}")).json == there.json
        assert (await ada.delete(f"{path}/{mark}")).json["revision"] == there.json["revision"] + 1
    read = await ada.get(path)
    assert (read.json["archived_at"], read.json["template"]) == (None, False)
    # A favourite is one's own: nobody else sees it, not even by their ETag.
    before = await ada.get(path)
    mine = await bea.put(f"{path}/favourite")
    assert mine.json["favourite"] is True
    assert (await bea.put(f"{path}/favourite")).headers["ETag"] == mine.headers["ETag"]
    after = await ada.get(path)
    assert (after.json, after.headers["ETag"]) == (before.json, before.headers["ETag"])
    assert (await bea.get(path)).headers["ETag"] == mine.headers["ETag"] != before.headers["ETag"]
    assert (await bea.delete(f"{path}/favourite")).json["favourite"] is False
    await whole(server)


async def test_templates_and_copies(server: Server) -> None:
    ada, bea = await server.person("Ada"), await server.person("Bea")
    await server.join(ada, bea, "viewer")
    folder = await make(ada, "Folder", kind="folder")
    top = await make(ada, "Top", content="top [[Inner]]", tags=["t"], parent_id=folder["id"])
    inner = await make(ada, "Inner", content="inner", parent_id=top["id"])
    await make(ada, "Innermost", content="innermost", parent_id=inner["id"])
    gone = await make(ada, "Gone", parent_id=top["id"])
    await ada.put(f"/documents/{gone['id']}/trash")

    made = await make(ada, None, **{"from": top["id"]})
    assert (made["title"], made["tags"], made["parent_id"]) == ("Top", ["t"], None)
    assert await content(ada, made["id"]) == "top [[Inner]]"
    made = await make(bea, "Mine", tags=[], content="other", **{"from": top["id"]})
    assert (made["title"], made["tags"], made["size"]) == ("Mine", [], 5)

    beside = await ada.post(f"/documents/{top['id']}/copies", {})
    assert beside.status == 201
    assert beside.json["path"] == "Folder/Top (2).md"
    assert beside.headers["Location"] == f"/api/v1/documents/{beside.json['id']}"
    assert beside.headers["ETag"] == (await ada.get(f"/documents/{beside.json['id']}")).headers["ETag"]
    assert beside.json["tags"] == ["t"]
    assert (beside.json["version"], beside.json["author"]["id"]) == (1, ada.id)
    whole_copy = await ada.post(
        f"/documents/{top['id']}/copies", {"children": True, "title": "Whole", "parent_id": inner["id"]}
    )
    assert whole_copy.json["path"] == "Folder/Top.md/Inner.md/Whole.md"
    other = await bea.post(f"/documents/{top['id']}/copies", {"children": True, "workspace_id": bea.workspace_id})
    assert other.json["workspace_id"] == bea.workspace_id
    assert [one for one in await paths(bea) if one.startswith("Top")] == [
        "Top.md",
        "Top.md/Inner.md",
        "Top.md/Inner.md/Innermost.md",
        "Top.md/Inner.md/Whole.md",
        "Top.md/Inner.md/Whole.md/Inner.md",
        "Top.md/Inner.md/Whole.md/Inner.md/Innermost.md",
    ]
    async with unchanged(server.database):
        copies = f"/documents/{top['id']}/copies"
        refused(await bea.post(copies, {}), 403)  # she may not create there
        refused(await ada.post(copies, {"workspace_id": bea.workspace_id}), 404)
        refused(await ada.post(copies, {"workspace_id": NOWHERE}), 404)
        elsewhere = {"workspace_id": bea.workspace_id, "parent_id": top["id"]}
        refused(await bea.post(copies, elsewhere), 422, "/parent_id")
        refused(await ada.post(copies, {"parent_id": NOWHERE}), 422, "/parent_id")
        refused(await ada.post(copies, {"parent_id": gone["id"]}), 409)
        refused(await ada.post(copies, {"title": ""}), 422, "/title")
        refused(await ada.post(f"/documents/{gone['id']}/copies", {}), 409)
        refused(await ada.post(f"/documents/{NOWHERE}/copies", {}), 404)
        place = f"/workspaces/{ada.workspace_id}/documents"
        refused(await ada.post(place, {"from": top["id"], "kind": "folder"}), 422, "/kind")
        refused(await ada.post(place, {"from": other.json["id"]}), 404)
        refused(await ada.post(place, {"from": top["id"], "title": ""}), 422, "/title")
    await whole(server)


async def test_people_who_have_left(server: Server) -> None:
    ada, bea = await server.person("Ada"), await server.person("Bea")
    await server.join(ada, bea, "editor")
    made = await make(bea, workspace_id=ada.workspace_id)
    await server.database.write(lambda tx: users.delete(tx, bea.principal, users.find(tx, bea.id)))
    read = await ada.get(f"/documents/{made['id']}")
    assert (read.json["author"], read.json["updated_by"]) == (None, None)
    [version] = (await ada.get(f"/documents/{made['id']}/versions")).json["items"]
    assert version["authors"] == []


async def test_backlinks(server: Server) -> None:
    ada = await server.person("Ada")
    target = await make(ada, "Größe", parent_id=(await make(ada, "Notes", kind="folder"))["id"])
    sources = {
        "Title": "[[größe]]",
        "Path": "[x](Notes/Gr%C3%B6%C3%9Fe.md)",
        "Wiki path": "[[notes/grösse]]",
        "Id": f"[x](/d/{target['id']})",
    }
    for title, text in sources.items():
        await make(ada, title, content=text)
    await make(ada, "None", content="`[[größe]]` größe [x](Größe.md)")
    gone = await make(ada, "Gone", content="[[Größe]]")
    await ada.put(f"/documents/{gone['id']}/trash")
    answer = await ada.get(f"/documents/{target['id']}/backlinks")
    assert [one["title"] for one in answer.json["items"]] == sorted(sources)
    assert set(answer.json["items"][0]) == FIELDS
    await ada.put(f"/documents/{target['id']}/title", {"title": "Other"})
    answer = await ada.get(f"/documents/{target['id']}/backlinks")
    assert "Wiki path" in [one["title"] for one in answer.json["items"]]
