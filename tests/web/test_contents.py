"""A document's text over HTTP: as it is, replaced, merged; as HTML, as an outline."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from mdserver.config import Limits

from .conftest import Server, Start
from .desk import NOWHERE, content, make, refused, unchanged, whole

ANY = {"If-Match": "*"}
MARKDOWN = {"Content-Type": "text/markdown"}
STRANGE = "\ufeff---\r\ntitle: x\r\n---\r\n\t🦆\u2028\u0085 \u200b\r e\u0301 \U0010ffff\x01\x1b  \n\n\n"
"""A mark, all kinds of line ends, an unassigned character, control characters, no tidiness."""


async def test_byte_for_byte(server: Server) -> None:
    ada = await server.person("Ada")
    made = await make(ada, "Größe 🦆", content=STRANGE)
    path = f"/documents/{made['id']}/content"
    read = await ada.get(path)
    assert read.body == STRANGE.encode()
    assert read.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert read.headers["Content-Security-Policy"].endswith("sandbox")
    assert read.headers["X-Content-Type-Options"] == "nosniff"
    assert "filename*=UTF-8''Gr%C3%B6%C3%9Fe%20%F0%9F%A6%86.md" in read.headers["Content-Disposition"]
    assert 'filename="Gr__e _.md"' in read.headers["Content-Disposition"]
    assert read.headers["ETag"] == f'"1-{made["content_hash"][:16]}"'
    head = await ada.call("HEAD", path)
    assert (head.status, head.body, head.headers["ETag"]) == (200, b"", read.headers["ETag"])
    for _ in range(2):
        other = STRANGE[::-1]
        answer = await ada.call("PUT", path, other.encode(), headers={**MARKDOWN, **ANY})
        assert answer.status == 200
        assert answer.json["size"] == len(other.encode())
        assert answer.json["content_hash"] == hashlib.sha256(other.encode()).hexdigest()
        assert (await ada.get(path)).body == other.encode()
        assert answer.json["version"] == 2  # the second changes nothing
    await whole(server)


async def test_as_json(server: Server) -> None:
    ada = await server.person("Ada")
    made = await make(ada, content=STRANGE)
    path = f"/documents/{made['id']}/content"
    for accept, media in [
        ("application/json", "application/json"),
        ("text/markdown", "text/markdown; charset=utf-8"),
        ("*/*", "text/markdown; charset=utf-8"),
        ("text/*;q=0.5, application/json", "application/json"),
        ("application/*", "application/json"),
        ("text/markdown;q=0, */*", "application/json"),
        ("text/html, */*;q=0.1", "text/markdown; charset=utf-8"),
        ("TEXT/Markdown ; q=0.2,application/json; q=0.1", "text/markdown; charset=utf-8"),
    ]:
        answer = await ada.get(path, headers={"Accept": accept})
        assert (answer.status, answer.headers["Content-Type"]) == (200, media), accept
        assert answer.headers["Vary"] == "Accept"
        assert answer.headers["ETag"] == f'"1-{made["content_hash"][:16]}"'
    answer = await ada.get(path, headers={"Accept": "application/json"})
    assert answer.json == {"content": STRANGE, "version": 1, "content_hash": made["content_hash"]}
    for accept in ("text/html", "*/*;q=0", "nonsense", "application/json;q=0"):
        refused(await ada.get(path, headers={"Accept": accept}), 406)


@pytest.mark.parametrize(
    ("body", "media", "status"),
    [
        (b"a\0b", "text/markdown", 422),
        (b"\xff", "text/markdown", 400),
        (b"\xed\xa0\x80", "text/markdown", 400),
        (b'{"content": "a\\u0000b"}', "application/json", 422),
        (b'{"content": "\\ud800"}', "application/json", 400),
        (b'{"content": 5}', "application/json", 422),
        (b'{"content": null}', "application/json", 422),
        (b'{"content": "x", "version": 1}', "application/json", 422),
        (b"{}", "application/json", 422),
        (b"", "application/json", 400),
        (b"[" * 100_000, "application/json", 422),
        (b'{"x": ' + b'{"x": ' * 100_000, "application/json", 422),
    ],
)
async def test_bodies_that_change_nothing(server: Server, body: bytes, media: str, status: int) -> None:
    ada = await server.person("Ada")
    made = await make(ada, content="one")
    async with unchanged(server.database):
        headers = {"Content-Type": media, **ANY}
        refused(await ada.call("PUT", f"/documents/{made['id']}/content", body, headers=headers), status)


async def test_merging(server: Server) -> None:
    ada = await server.person("Ada")
    made = await make(ada, content="one\ntwo\nthree\n")
    path = f"/documents/{made['id']}/content"
    first = await ada.patch(path, {"base_version": 1, "content": "eins\ntwo\nthree\n"})
    assert first.status == 200
    assert first.json["outcome"] == "applied"
    assert first.json["overlaps"] == []
    assert first.json["document"]["version"] == 2
    assert first.headers["ETag"] == (await ada.get(f"/documents/{made['id']}")).headers["ETag"]
    second = await ada.patch(path, {"base_version": 1, "content": "one\ntwo\nthree?\n"})
    assert second.json["outcome"] == "merged"
    assert await content(ada, made["id"]) == "eins\ntwo\nthree?\n"
    # Both rewrote the same words: both stay, and the answer says where.
    third = await ada.patch(path, {"base_version": 1, "content": "🦆 uno\ntwo\nthree\n"})
    [overlap] = third.json["overlaps"]
    text = await content(ada, made["id"])
    assert "🦆 uno" in text
    assert "eins" in text
    assert overlap["yours"] in text
    assert overlap["start"] < overlap["end"] <= len(text.encode("utf-16-le")) // 2
    history = (await ada.get(f"/documents/{made['id']}/versions")).json["items"]
    assert [one["reason"] for one in history] == ["merge", "merge", "edit", "create"]
    await whole(server)


async def test_merging_from_a_base_that_is_sent(server: Server) -> None:
    ada = await server.person("Ada")
    made = await make(ada, content="one\n")
    path = f"/documents/{made['id']}/content"
    async with unchanged(server.database):
        for version in (0, 2, 9_999, 2**53):
            answer = await ada.patch(path, {"base_version": version, "content": "x"})
            refused(answer, 409, problem="base-unknown")
            assert answer.json["version"] == 1
        other = {"base_version": 1, "base_hash": "0" * 64, "content": "x"}  # of a server that was restored
        refused(await ada.patch(path, other), 409, problem="base-unknown")
        refused(await ada.patch(path, {**other, "base_hash": "x"}), 422)
        for body in (
            *({}, {"content": "x"}, {"base_version": 1}, {"base_version": "1", "content": "x"}),
            *({"base_version": 1.5, "content": "x"}, {"base_version": None, "content": "x"}),
            *({"base_version": True, "content": "x"}, {"base_version": 1, "content": "a\0"}),
            {"base_version": 1, "content": "x", "wrong": 1},
        ):
            refused(await ada.patch(path, body), 422)
    merged = await ada.patch(path, {"base_version": 77, "base_content": "zero\none\n", "content": "zero\none\ntwo\n"})
    assert merged.json["outcome"] == "merged"
    assert await content(ada, made["id"]) == "one\ntwo\n"
    # A base of nonsense is no harm.
    async with unchanged(server.database):
        for base in ("a\0b\0c", "\0"):
            answer = await ada.patch(path, {"base_version": 77, "base_content": base, "content": base})
            refused(answer, 422)
    # The version that is known goes before what is sent.
    answer = await ada.patch(path, {"base_version": 1, "base_content": "nonsense", "content": "zero\none\n"})
    assert await content(ada, made["id"]) == "zero\none\ntwo\n"
    await whole(server)


async def test_many_at_once(server: Server) -> None:
    """What was acknowledged is there, whoever wrote meanwhile."""
    ada, bea = await server.person("Ada"), await server.person("Bea")
    await server.join(ada, bea, "editor")
    lines = [f"line {n}\n" for n in range(12)]
    made = await make(ada, content="".join(lines))
    path = f"/documents/{made['id']}/content"

    async def patch(n: int) -> None:
        mine = [*lines]
        mine[n] = f"line {n} word{n}\n"
        answer = await (ada, bea)[n % 2].patch(path, {"base_version": 1, "content": "".join(mine)})
        assert answer.status == 200, answer

    async def put(n: int) -> None:
        while True:
            read = await bea.get(path)
            body = read.body + f"end{n}\n".encode()
            answer = await bea.call("PUT", path, body, headers={**MARKDOWN, "If-Match": read.headers["ETag"]})
            if answer.status == 200:
                return
            refused(answer, 412)

    await asyncio.gather(*[patch(n) for n in range(12)], *[put(n) for n in range(4)])
    text = await content(ada, made["id"])
    assert [n for n in range(12) if text.count(f"word{n}\n") != 1] == []
    assert [n for n in range(4) if text.count(f"end{n}\n") != 1] == []
    assert (await ada.get(f"/documents/{made['id']}")).json["version"] == 17
    await whole(server)


async def test_a_folder_has_no_text(server: Server) -> None:
    ada = await server.person("Ada")
    folder = await make(ada, "Folder", kind="folder")
    path = f"/documents/{folder['id']}"
    assert (await ada.get(path)).json["content"] == ""
    assert (await ada.get(f"{path}/versions")).json["items"] == []
    async with unchanged(server.database):
        for way in ("content", "html", "outline"):
            refused(await ada.get(f"{path}/{way}"), 409)
        refused(await ada.put(f"{path}/content", {"content": ""}, headers=ANY), 409)
        refused(await ada.patch(f"{path}/content", {"base_version": 1, "content": ""}), 409)
        refused(await ada.put(path, {"title": "x", "content": "", "tags": []}, headers=ANY), 409)
        refused(await ada.post(f"{path}/versions/1/restore"), 409)
        refused(await ada.get(f"{path}/versions/1"), 404)


async def test_html(server: Server) -> None:
    ada = await server.person("Ada")
    made = await make(ada, content="# Hi\n\n<script>alert(1)</script>\n\n[x](javascript:alert(1)) **bold**\n")
    path = f"/documents/{made['id']}/html"
    answer = await ada.get(path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert b"<strong>bold</strong>" in answer.body
    assert b"<script" not in answer.body
    assert b'href="javascript:' not in answer.body
    again = await ada.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    text = await ada.get(f"/documents/{made['id']}/content", headers={"If-None-Match": answer.headers["ETag"]})
    assert text.status == 200


async def test_outline(server: Server) -> None:
    ada = await server.person("Ada")
    made = await make(ada, content="---\ntitle: x\n---\n# One\n\n```\n# no\n```\nTwo\n---\n# One\n")
    answer = await ada.get(f"/documents/{made['id']}/outline")
    assert [(one["level"], one["text"], one["line"]) for one in answer.json["items"]] == [
        (1, "One", 4),
        (2, "Two", 9),
        (1, "One", 11),
    ]
    assert len({one["id"] for one in answer.json["items"]}) == 3


async def test_what_strangers_hear_first(start: Start) -> None:
    """Whatever is wrong with their request, it is the document's absence."""
    server = await start(limits=Limits(json_body=1_024, document=2_048))
    ada, eve, bea = await server.person("Ada"), await server.person("Eve"), await server.person("Bea")
    await server.join(ada, bea, "viewer")
    made = await make(ada, content="one")
    for who, id, status in ((eve, made["id"], 404), (eve, NOWHERE, 404), (bea, made["id"], 403)):
        path = f"/documents/{id}/content"
        async with unchanged(server.database):
            for method in ("PUT", "PATCH"):
                for body, headers in [
                    (b"{}", {"Content-Type": "text/html"}),
                    (b"{", ANY),
                    (b"x" * 4_000, ANY),
                    (b"{}", {}),
                    (b'{"content": "x"}', {"If-Match": "nonsense"}),
                    (b'{"content": "x"}', {"If-Match": '"1-x"'}),
                    (b'{"content": "\\u0000"}', ANY),
                ]:
                    given = {"Content-Type": "application/json", **headers}
                    refused(await who.call(method, path, body, headers=given), status)
