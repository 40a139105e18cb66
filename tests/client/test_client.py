"""The client against the real server, and against one that is busy, rude or gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mdserver import ids
from mdserver.client import (
    ApiProblem,
    Client,
    CreateDocument,
    EditDocument,
    Event,
    MoveDocument,
    RenameDocument,
    ResyncRequired,
    SignedOut,
    TagDocument,
    TrashDocument,
    Unreachable,
    http,
)
from mdserver.client.http import parts
from mdserver.store.db import Database
from tests import engines
from tests.engines import on_both
from tests.web.conftest import Person, Server, Start
from tests.web.conftest import start as start

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def database(request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """The client does not see which engine the server has: one is enough, where `on_both` does not ask for both."""
    async with engines.fresh(getattr(request, "param", "sqlite")) as made:
        yield made


@pytest.fixture
async def server(start: Start) -> Server:
    return await start()


@pytest.fixture
async def ada(server: Server) -> Person:
    return await server.person("Ada")


@pytest.fixture
async def client(server: Server, ada: Person) -> AsyncIterator[Client]:
    async with of(server, ada) as made:
        yield made


def of(server: Server, person: Person) -> Client:
    token = person.headers["Authorization"].removeprefix("Bearer ")
    return Client(str(server.http.make_url("")), token, device_id="a test")


async def test_who_and_where(client: Client, ada: Person) -> None:
    assert (await client.me()).email == "ada@example.org"
    (workspace,) = await client.workspaces()
    assert (workspace.id, workspace.role) == (ada.workspace_id, "owner")


async def test_all_workspaces_over_pages(server: Server, ada: Person, client: Client) -> None:
    made = {await server.workspace(ada, f"W{number}") for number in range(60)}
    assert {one.id for one in await client.workspaces()} == made | {ada.workspace_id}


@on_both
async def test_documents_come_and_go(client: Client, ada: Person) -> None:
    folder, note = ids.new(), ids.new()
    text = "\ufeffa b c\r\n"
    made = await client.push(
        [
            CreateDocument(id=folder, workspace_id=ada.workspace_id, kind="folder", title="D"),
            CreateDocument(id=note, workspace_id=ada.workspace_id, parent_id=folder, filename="x.md", content=text),
        ]
    )
    assert [one.status for one in made] == ["applied", "applied"]
    assert (await client.content(note)).content == text
    page = await client.pull(workspace=ada.workspace_id, include_content=True)
    found = next(one.document for one in page.changes if one.id == note)
    assert found is not None
    assert (found.content, found.parent_id) == (text, folder)
    first, second = (EditDocument(id=note, base_version=1, content=text) for text in ("a b d", "a e c"))
    results = await client.push([first])
    results += await client.push([second])
    results += await client.push([second])
    assert [one.status for one in results][::2] == ["applied", "duplicate"]
    assert results[1].status in ("merged", "conflict")
    assert results[2].outcome == results[1].status
    results = await client.push(
        [
            RenameDocument(id=note, filename="y.md"),
            TagDocument(id=note, tags=["t"]),
            MoveDocument(id=note, parent_id=None),
            TrashDocument(id=note, base_version=1),
            TrashDocument(id=folder, only_if_empty=True),
        ]
    )
    assert [one.status for one in results] == ["applied", "applied", "applied", "refused", "applied"]
    assert results[3].problem is not None
    assert (results[3].problem.status, results[3].problem.slug) == (412, "stale")
    found = await client.document(note)
    assert (found.filename, found.tags, found.parent_id) == ("y.md", ["t"], None)
    following = await client.pull(page.next_cursor, workspace=ada.workspace_id)
    assert {one.id for one in following.changes if one.entity == "document"} == {folder, note}


@on_both
async def test_many_operations_go_in_parts(client: Client, ada: Person) -> None:
    operations = [
        CreateDocument(id=ids.new(), workspace_id=ada.workspace_id, filename=f"{number}.md", content="x")
        for number in range(http.MOST_OPERATIONS + 3)
    ]
    results = await client.push(operations)
    assert [one.op_id for one in results] == [one.op_id for one in operations]
    assert {one.status for one in results} == {"applied"}
    count, cursor = 0, None
    while True:
        page = await client.pull(cursor, workspace=ada.workspace_id, limit=100)
        count += sum(one.entity == "document" for one in page.changes)
        cursor = page.next_cursor
        if not page.has_more:
            break
    assert count == len(operations)


def test_parts_keep_to_both_limits() -> None:
    operations = [EditDocument(id="x", base_version=1, content="x" * (3 << 20)) for _ in range(5)]
    operations.append(EditDocument(id="x", base_version=1, content="x" * (9 << 20)))
    found = list(parts(operations, "device"))
    assert [len(group) for group, _ in found] == [2, 2, 1, 1]
    assert [len(body) <= http.MOST_BYTES for _, body in found] == [True, True, True, False]
    assert [one["op_id"] for _, body in found for one in json.loads(body)["operations"]] == [
        one.op_id for one in operations
    ]


async def test_one_too_large_is_refused_here(client: Client) -> None:
    (result,) = await client.push([EditDocument(id=ids.new(), base_version=1, content="x" * (9 << 20))])
    assert result.problem is not None
    assert (result.status, result.problem.status) == ("refused", 413)


@on_both
async def test_conflicts_are_listed_and_settled(client: Client, ada: Person) -> None:
    note = ids.new()
    await client.push([CreateDocument(id=note, workspace_id=ada.workspace_id, filename="x.md", content="on Monday")])
    for day in ("on Tuesday", "on Friday"):
        (result,) = await client.push([EditDocument(id=note, base_version=1, content=day)])
    assert result.status == "conflict"
    (record,) = await client.conflicts(workspace=ada.workspace_id)
    assert (record.id, record.path, record.device) == (result.conflict_id, "x.md", "a test")
    assert [(one.yours, one.theirs) for one in record.overlaps] == [("Friday", "Tuesday")]
    await client.settle(record.id)
    assert await client.conflicts() == []


async def test_events_hint_at_changes_and_at_lost_access(server: Server, ada: Person, client: Client) -> None:
    bob = await server.member(ada, "Bob", "editor")
    async with of(server, bob) as theirs, asyncio.timeout(20):
        events = theirs.events(workspace=ada.workspace_id)
        assert (await anext(events)).kind == "connected"
        assert await anext(events) != Event(kind="connected")
        await client.push([CreateDocument(id=ids.new(), workspace_id=ada.workspace_id, filename="x.md", content="")])
        event = await anext(events)
        assert (event.kind, event.workspace_id) == ("change", ada.workspace_id)
        assert (await ada.delete(f"/workspaces/{ada.workspace_id}/members/{bob.id}")).status == 204
        while (event := await anext(events)).kind == "change":
            pass
        assert event == Event(kind="revoked", workspace_id=ada.workspace_id)


async def test_problems(server: Server, ada: Person, client: Client) -> None:
    with pytest.raises(ApiProblem) as missing:
        await client.content(ids.new())
    assert (missing.value.status, missing.value.slug) == (404, "not-found")
    assert missing.value.request_id
    with pytest.raises(ApiProblem) as bad:
        await client.pull("not a cursor")
    assert bad.value.status == 400
    async with Client(str(server.http.make_url("")), "mds_pat_wrong") as nobody:
        with pytest.raises(SignedOut):
            await nobody.me()
    async with Client("http://127.0.0.1:1", "secret", attempts=1) as far:
        with pytest.raises(Unreachable, match="cannot be reached") as gone:
            await far.me()
        assert "secret" not in f"{far!r}{gone.value}"


async def serving(handler: Handler) -> TestServer:
    """A server that is not ours."""
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", handler)
    made = TestServer(app)
    await made.start_server()
    return made


async def test_a_push_is_repeated_with_the_same_ids() -> None:
    heard: list[Any] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        heard.append(await request.json())
        if len(heard) == 1:
            return web.json_response({"detail": "busy"}, status=503, headers={"Retry-After": "0"})
        if len(heard) == 2:
            assert request.transport is not None
            request.transport.abort()
        results = [{"op_id": one["op_id"], "status": "applied", "news": 1} for one in heard[-1]["operations"]]
        return web.json_response({"results": results, "more": True})

    server = await serving(handler)
    async with Client(str(server.make_url("")), "t") as client:
        (result,) = await client.push([TrashDocument(id="x")])
    assert result.status == "applied"
    assert heard[0] == heard[1] == heard[2]
    await server.close()


async def test_patience_ends() -> None:
    count = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal count
        count += 1
        return web.json_response({"type": "/problems/busy"}, status=503, headers={"Retry-After": "0"})

    server = await serving(handler)
    async with Client(str(server.make_url("")), "t", attempts=3) as client:
        with pytest.raises(ApiProblem) as busy:
            await client.me()
    assert (busy.value.status, busy.value.slug, busy.value.retry_after, count) == (503, "busy", 0.0, 3)
    await server.close()


async def test_answers_of_another_kind() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        match request.path.rpartition("/")[2]:
            case "me":
                return web.Response(text="<html>", content_type="text/html")
            case "workspaces":
                raise web.HTTPFound("http://127.0.0.1:1/steal")
            case "content":
                return web.Response(status=500, text="oh")
        problem = {"type": "https://x/problems/resync-required", "status": 410, "detail": "From the start."}
        return web.json_response(problem, status=410)

    server = await serving(handler)
    async with Client(str(server.make_url("")), "t") as client:
        with pytest.raises(ApiProblem, match="is not understood"):
            await client.me()
        with pytest.raises(ApiProblem) as moved:
            await client.workspaces()
        assert moved.value.status == 302
        with pytest.raises(ApiProblem, match="answered 500"):
            await client.content("x")
        with pytest.raises(ResyncRequired, match="From the start"):
            await client.pull("c")
    await server.close()


async def test_events_connect_again_where_they_were() -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers.get("Last-Event-ID", ""))
        if len(asked) == 2:
            return web.json_response({}, status=503, headers={"Retry-After": "0"})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": hello\n\nevent: news\ndata: {}\n\nid: 7\nevent: change\n")
        await response.write(b'data: {"workspace_id": "w", "position": 3}\n\nevent: change\ndata: {"work')
        return response

    server = await serving(handler)
    async with Client(str(server.make_url("")), "t") as client, asyncio.timeout(10):
        events = client.events()
        found = [await anext(events) for _ in range(4)]
    change = Event(kind="change", workspace_id="w", position=3)
    assert found == [Event(kind="connected"), change, Event(kind="connected"), change]
    assert asked == ["", "7", "7"]
    await server.close()


async def test_what_is_not_known_is_passed_over() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        change = {"entity": "attachment", "id": "a", "action": "upsert", "workspace_id": "w", "object": {"new": 1}}
        return web.json_response({"changes": [change], "next_cursor": "c", "has_more": False, "x": 1})

    server = await serving(handler)
    async with Client(str(server.make_url("")), "t") as client:
        page = await client.pull()
    assert page.changes[0].document is None
    await server.close()
