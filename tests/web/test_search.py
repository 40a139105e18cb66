"""Search over HTTP: honest at once, the same later, safe to show, and nothing of others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mdserver.app import INDEXER
from mdserver.config import Rate, Rates
from mdserver.web.search import LONGEST, MOST_WORDS

from .conftest import Answer, Client, Json, Person, Server, Start
from .desk import NOWHERE, every_page, make, refused


async def ask(who: Client, q: str, **more: str) -> Answer:
    return await who.get("/search", params={"q": q, **more})


async def found(who: Client, q: str, **more: str) -> list[Json]:
    answer = await ask(who, q, **more)
    assert answer.status == 200, answer
    assert answer.json["indexing"] == 0
    return list(answer.json["items"])


async def titles(who: Client, q: str, **more: str) -> list[str]:
    return [one["document"]["title"] for one in await found(who, q, **more)]


@pytest.fixture
async def slow(server: Server) -> Server:
    """A server whose indexer waits until it is told to go on."""
    server.app[INDEXER].gather = 3600
    await server.app[INDEXER].settled()
    return server


async def test_what_was_just_written_is_found(slow: Server) -> None:
    """Before the indexer was there, with no document left out and none twice; the same after it was."""
    ada = await slow.person()
    one = await make(ada, "Plan", content="Meet at the harbour.\n")
    await make(ada, "Other", content="Nothing of it.\n")

    async def look() -> None:
        (hit,) = await found(ada, "harbour")
        there = (await ada.get(f"/documents/{one['id']}")).json
        assert {**hit["document"], "content": there["content"]} == there
        assert hit["snippet"] == "Meet at the <mark>harbour</mark>."
        assert hit["matched_in"] == ["content"]
        assert hit["score"] > 0

    await look()
    await slow.app[INDEXER].settled()
    await look()
    for content in ("Meet at the station.\n", "Meet at the harbour again.\n"):
        answer = await ada.put(f"/documents/{one['id']}/content", {"content": content}, headers={"If-Match": "*"})
        assert answer.status == 200, answer
        assert len(await found(ada, "harbour")) == ("harbour" in content)
        assert len(await found(ada, "station")) == ("station" in content)
    await ada.put(f"/documents/{one['id']}/title", {"title": "Renamed"})
    assert await titles(ada, "renamed harbour") == ["Renamed"]
    assert await titles(ada, "plan") == []
    await ada.put(f"/documents/{one['id']}/trash")
    assert await titles(ada, "harbour") == []
    await ada.delete(f"/documents/{one['id']}/trash")
    assert await titles(ada, "harbour") == ["Renamed"]
    await slow.app[INDEXER].settled()
    assert await titles(ada, "renamed harbour") == ["Renamed"]
    assert await titles(ada, "station") == []


async def test_what_is_shown_of_a_document_is_the_askers_and_the_latest(server: Server) -> None:
    """Though its JSON is kept: names and favourites change without a new state of the document."""
    ada = await server.person("Ada")
    bob = await server.person("Bob")
    one = await make(ada, "Plan", content="harbour\n")
    await server.join(ada, bob, "viewer")

    async def shown(who: Person) -> Json:
        for _ in range(2):  # made, then kept
            (hit,) = await found(who, "harbour")
        return dict(hit["document"])

    first = await shown(ada)
    assert (first["favourite"], first["role"], first["author"]["display_name"]) == (False, "owner", "Ada")
    theirs = await shown(bob)
    assert (theirs["role"], theirs["permissions"]) == ("viewer", ["read"])
    assert (await bob.put(f"/documents/{one['id']}/favourite")).status == 200
    assert [(await shown(who))["favourite"] for who in (ada, bob)] == [False, True]
    assert (await ada.patch("/me", {"display_name": "Augusta"})).status == 200
    assert [(await shown(who))["author"]["display_name"] for who in (ada, bob)] == ["Augusta", "Augusta"]
    assert (await ada.put(f"/documents/{one['id']}/title", {"title": "Renamed"})).status == 200
    assert [(await shown(who))["title"] for who in (ada, bob)] == ["Renamed", "Renamed"]


async def test_a_new_server_indexes_what_an_earlier_one_left(slow: Server, start: Start) -> None:
    ada = await slow.person()
    for n in range(5):
        await make(ada, f"Note {n}", content="needle\n")
    assert await slow.database.read(lambda db: db.value(int, "SELECT count(*) FROM search_documents")) == 0
    again = await start()
    await again.app[INDEXER].settled()
    assert await slow.database.read(lambda db: db.value(int, "SELECT count(*) FROM search_documents")) == 5
    assert len(await found(ada, "needle")) == 5


async def test_an_indexer_follows_by_itself(server: Server) -> None:
    server.app[INDEXER].gather = 0
    ada = await server.person()
    await make(ada, "Note", content="needle\n")
    async with asyncio.timeout(20):
        while not await server.database.read(lambda db: db.value(int, "SELECT count(*) FROM search_documents")):
            pass


@pytest.mark.parametrize("indexed", [False, True])
async def test_snippets_are_safe_to_show(slow: Server, indexed: bool) -> None:
    ada = await slow.person()
    await make(ada, "<script>alert('title')</script>", content='<img src=x onerror="alert(1)"> & needle </mark><b>\n')
    if indexed:
        await slow.app[INDEXER].settled()
    (hit,) = await found(ada, "needle")
    assert hit["snippet"] == (
        "&lt;img src=x onerror=&quot;alert(1)&quot;&gt; &amp; <mark>needle</mark> &lt;/mark&gt;&lt;b&gt;"
    )
    (hit,) = await found(ada, "title", **{"in": "title"})
    assert hit["snippet"] == "&lt;script&gt;alert(&#x27;<mark>title</mark>&#x27;)&lt;/script&gt;"


async def test_filters_and_languages(server: Server) -> None:
    ada = await server.person()
    second = await server.workspace(ada)
    await make(ada, "Deutsch", content="Die Straße am Ufer", tags=["Reise"])
    await make(ada, "中文", content="我们在北京学习中文", workspace_id=second)
    await make(ada, "日本語", content="東京タワーに登る")
    await make(ada, "한국어", content="학교에서 배운다")
    await make(ada, "Strasse", kind="folder")
    for _ in range(2):
        assert sorted(await titles(ada, "STRASSE")) == ["Deutsch", "Strasse"]
        assert await titles(ada, "strasse", kind="folder") == ["Strasse"]
        assert await titles(ada, "strasse", tag="REISE") == ["Deutsch"]
        assert await titles(ada, "strasse", **{"in": "content"}) == ["Deutsch"]
        assert await titles(ada, "strasse", **{"in": "content, title"}) == await titles(ada, "strasse")
        assert await titles(ada, "strasse", author=NOWHERE) == []
        assert len(await titles(ada, "strasse", author=ada.id)) == 2
        assert await titles(ada, "北京") == ["中文"]
        assert await titles(ada, "北京", workspace=second) == ["中文"]
        assert await titles(ada, "北京", workspace=ada.workspace_id) == []
        assert (await found(ada, "京"))[0]["snippet"].count("<mark>京</mark>") == 1
        assert await titles(ada, "東京") == ["日本語"]
        assert await titles(ada, "학교") == ["한국어"]
        await server.app[INDEXER].settled()


async def test_pages_by_their_links(server: Server) -> None:
    ada = await server.person()
    for n in range(7):
        await make(ada, f"Note {n}", content="needle " * (n + 1))
    await server.app[INDEXER].settled()
    pages = await every_page(ada, "/search", q="needle", limit=3)
    assert [one["document"]["title"] for one in pages] == [f"Note {n}" for n in range(6, -1, -1)]


async def test_nobody_finds_what_they_may_not_read(slow: Server) -> None:
    ada, eve = await slow.person(), await slow.person("Eve")
    bea = await slow.member(ada, "Bea", "viewer")
    await make(ada, "Secret", content="needle")
    token = await slow.token(bea, "read", workspace_id=ada.workspace_id)
    elsewhere = await slow.token(ada, "read", workspace_id=await slow.workspace(ada))
    writes = await slow.token(ada, "write")
    for _ in range(2):
        assert await titles(ada, "needle") == await titles(bea, "needle") == await titles(token, "needle") == ["Secret"]
        assert await titles(eve, "needle") == await titles(elsewhere, "needle") == []
        refused(await ask(eve, "needle", workspace=ada.workspace_id), 404)
        refused(await ask(elsewhere, "needle", workspace=ada.workspace_id), 404)
        refused(await ask(writes, "needle"), 403)
        refused(await ask(slow.anonymous, "needle"), 401)
        await slow.app[INDEXER].settled()
    assert (await ada.delete(f"/workspaces/{ada.workspace_id}/members/{bea.id}")).status == 204
    assert await titles(bea, "needle") == []
    refused(await ask(token, "needle", workspace=ada.workspace_id), 404)


BAD: list[dict[str, Any]] = [
    {},
    {"q": ""},
    {"q": "   "},
    {"q": "?!"},
    {"q": "-only"},
    {"q": '-"only this" -that'},
    {"q": "nul\0"},
    {"q": "x" * (LONGEST + 1)},
    {"q": "a " * (MOST_WORDS + 1) + " ".join(map(str, range(MOST_WORDS)))},
    {"q": "word", "in": "comments"},
    {"q": "word", "in": ""},
    {"q": "word", "kind": "unknown"},
    {"q": "word", "limit": "0"},
    {"q": "word", "limit": "101"},
    {"q": "word", "cursor": "nonsense"},
    {"q": "word", "cursor": "WyJ4IiwxXQ"},
    {"q": "word", "cursor": "WyIweDFwKzk5OTk5IiwxXQ"},
    {"q": "word", "sort": "path"},
]


@pytest.mark.parametrize("given", BAD, ids=lambda given: str(given)[:40])
async def test_what_makes_no_search_is_refused(server: Server, given: dict[str, str]) -> None:
    ada = await server.person()
    answer = await ada.get("/search", params=given)
    refused(answer, 400, problem="malformed")


async def test_an_unknown_workspace_is_missing(server: Server) -> None:
    ada = await server.person()
    for workspace in (NOWHERE, "nonsense", "' OR 1"):
        refused(await ask(ada, "word", workspace=workspace), 404)


SYNTAX = [
    '"',
    '""" word',
    "word AND OR NOT NEAR(a b, 3)",
    "{title words}: word",
    "title : word",
    "^word",
    "word + word",
    "word * *",
    "(word",
    "word)",
    "word'",
    "word'; DROP TABLE search_fts; --",
    "word & ! | <-> other:*A",
    "\\' word",
    "%_ word",
    "word\u0000",
    "wörd\u202e\ufeff",
    "word -(a OR b)",
    "🦆 word 🦆",
    "word\\",
]


@pytest.mark.parametrize("indexed", [False, True])
async def test_no_text_is_taken_for_syntax(slow: Server, indexed: bool) -> None:
    ada = await slow.person()
    await make(ada, "Word", content="word wörd, and or not near a b 3 title words drop table search fts other or\n")
    if indexed:
        await slow.app[INDEXER].settled()
    for q in SYNTAX:
        answer = await ask(ada, q)
        assert answer.status in (200, 400), (q, answer)
        assert answer.status == 200 or answer.problem == "malformed"
    assert await titles(ada, "word AND OR NOT") == ["Word"]


async def test_searches_have_a_rate_of_their_own(start: Start) -> None:
    server = await start(rates=Rates(search=Rate(2, 60)))
    ada: Person = await server.person()
    assert [(await ask(ada, "word")).status for _ in range(3)] == [200, 200, 429]
    answer = await ask(ada, "word")
    assert answer.headers["RateLimit-Policy"] == '"search";q=2;w=60'
    assert "Retry-After" in answer.headers
    assert (await ada.get("/me")).status == 200


async def test_that_a_workspace_may_be_unknown_is_documented(server: Server) -> None:
    document = (await server.anonymous.get("/openapi.json")).json
    assert "404" in document["paths"]["/api/v1/search"]["get"]["responses"]
