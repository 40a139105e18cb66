"""Lists page by page: complete and without repeats, also while documents are added; cursors that are not ours."""

from __future__ import annotations

import base64
from collections import Counter

import msgspec
import pytest

from .conftest import Json, Person, Server
from .desk import NOWHERE, every_page, make, refused

SORTS = ["-updated_at", "updated_at", "path", "position"]


async def ids_of(who: Person, **query: str) -> list[str]:
    found = await every_page(who, f"/workspaces/{who.workspace_id}/documents", limit=200, **query)
    return [one["id"] for one in found]


async def some(who: Person, count: int) -> list[Json]:
    return [
        await make(who, f"{'Plan' if n % 3 else 'plan'} {n % 7}", tags=["even"] * (n % 2 == 0)) for n in range(count)
    ]


@pytest.mark.parametrize("sort", SORTS)
async def test_each_order(server: Server, sort: str) -> None:
    ada = await server.person("Ada")
    made = await some(ada, 17)
    # Many at one moment: the moment alone would not tell where a page ends.
    await server.database.write(
        lambda tx: tx.run("UPDATE documents SET updated_at = updated_at - updated_at % 100000000")
    )
    whole = await ids_of(ada, sort=sort)
    assert sorted(whole) == sorted(one["id"] for one in made)
    path = f"/workspaces/{ada.workspace_id}/documents"
    for limit in (1, 2, 5, 16, 17, 18):
        assert [one["id"] for one in await every_page(ada, path, limit=limit, sort=sort)] == whole
    tagged = [one["id"] for one in await every_page(ada, path, limit=2, sort=sort, tag="EVEN")]
    assert tagged == [one for one in whole if one in {it["id"] for it in made[::2]}]
    found = await every_page(ada, path, limit=3, sort=sort)
    if sort == "path":
        assert [one["path"].casefold() for one in found] == sorted(one["path"].casefold() for one in found)
    if sort == "position":
        assert [one["id"] for one in found] == [one["id"] for one in made]


@pytest.mark.parametrize("sort", SORTS)
async def test_while_documents_are_added(server: Server, sort: str) -> None:
    """What was there all the time is met exactly once; what comes meanwhile at most once."""
    ada = await server.person("Ada")
    made = {one["id"] for one in await some(ada, 20)}
    path = f"/workspaces/{ada.workspace_id}/documents"
    met: Counter[str] = Counter()
    cursor: str | None = ""
    pages = 0
    while cursor is not None and pages < 40:
        query = {"limit": "3", "sort": sort, **({"cursor": cursor} if cursor else {})}
        answer = await ada.get(path, params=query)
        met.update(one["id"] for one in answer.json["items"])
        cursor, pages = answer.json["next_cursor"], pages + 1
        if pages < 10:
            for title in ("AAA", f"Plan {pages}", "zzz"):
                await make(ada, title)
            # One that was read already goes into the trash: the place after it stays.
            gone = answer.json["items"][-1]["id"]
            await ada.put(f"/documents/{gone}/trash")
    assert cursor is None
    assert {one: met[one] for one in made if met[one] != 1} == {}
    assert [one for one, times in met.items() if times > 1] == []


async def test_the_tree_while_documents_are_added(server: Server) -> None:
    ada = await server.person("Ada")
    folders = [await make(ada, "F", kind="folder") for _ in range(3)]
    made = {one["id"] for one in folders}
    for n in range(12):
        made.add((await make(ada, "d", parent_id=folders[n % 3]["id"]))["id"])
    path = f"/workspaces/{ada.workspace_id}/tree"
    met: Counter[str] = Counter()
    answer = await ada.get(path, params={"limit": "2"})
    while True:
        met.update(one["id"] for one in answer.json["items"])
        cursor = answer.json["next_cursor"]
        if cursor is None:
            break
        if len(met) < 12:
            await make(ada, "new", parent_id=folders[len(met) % 3]["id"])
            await make(ada, "new")
        answer = await ada.get(path, params={"limit": "2", "cursor": cursor})
    assert {one for one in made if met[one] != 1} == set()
    assert [one for one, times in met.items() if times > 1] == []


def opaque(value: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).decode().rstrip("=")


async def test_cursors_that_are_not_ours(server: Server) -> None:
    ada = await server.person("Ada")
    made = (await some(ada, 3))[0]
    documents, tree = f"/workspaces/{ada.workspace_id}/documents", f"/workspaces/{ada.workspace_id}/tree"
    history = f"/documents/{made['id']}/versions"
    lists = [
        documents,
        f"{documents}?sort=path",
        tree,
        history,
        "/workspaces",
        f"/workspaces/{ada.workspace_id}/members",
    ]
    broken = [
        *(
            "x",
            "====",
            "%00",
            "é",
            "....",
            "A" * 5_000,
            "W10",
            "bnVsbA",
            opaque({}),
            opaque([]),
            opaque("x"),
            opaque(None),
        ),
        *(opaque([1, 2, 3, 4]), opaque([None, None]), opaque([["x"], "y"]), opaque([True, "x"]), opaque(["a\0b", "x"])),
        *(opaque([10**30, "x"]), opaque([2**63, "x"]), opaque([1.5, "x"]), opaque(["a\0", "b", "c"]), opaque([10**30])),
        base64.urlsafe_b64encode(b'["\xff", "x"]').decode(),
        base64.urlsafe_b64encode(b'["\\ud800", "x"]').decode(),
        base64.urlsafe_b64encode(b"[" * 3_000).decode(),
        opaque(["\0"]),
    ]
    for path in lists:
        for cursor in broken:
            address = f"{path}{'&' if '?' in path else '?'}cursor={cursor}"
            refused(await ada.get(address), 400)
    # One of another list is refused when its form differs, and is only another place when it does not.
    cursors = {}
    for path in lists[:3]:
        answer = await ada.get(path, params={"limit": "1"} if "?" not in path else None)
        cursors[path] = answer.json["next_cursor"]
    refused(await ada.get(tree, params={"cursor": cursors[documents]}), 400)
    refused(await ada.get(documents, params={"cursor": cursors[tree]}), 400)
    refused(await ada.get(documents, params={"cursor": cursors[documents], "sort": "path"}), 400)
    eve = await server.person("Eve")
    theirs = await make(eve, "Hers")
    for cursor in (opaque([0, ""]), opaque([2**62, theirs["id"]]), opaque([-(2**62), NOWHERE])):
        found = (await ada.get(documents, params={"cursor": cursor})).json["items"]
        assert {one["workspace_id"] for one in found} <= {ada.workspace_id}
    refused(await eve.get(documents, params={"cursor": cursors[documents]}), 404)


async def test_limits(server: Server) -> None:
    ada = await server.person("Ada")
    await some(ada, 3)
    path = f"/workspaces/{ada.workspace_id}/documents"
    for limit in ("0", "-1", "201", "x", "", "٣", "9" * 30):
        refused(await ada.get(path, params={"limit": limit}), 400)
    answer = await ada.get(path, params={"limit": "200"})
    assert (len(answer.json["items"]), answer.json["next_cursor"]) == (3, None)
    answer = await ada.get(path, params={"limit": "3"})
    assert answer.json["next_cursor"] is None
    # The link keeps the rest of the question.
    answer = await ada.get(path, params={"limit": "1", "tag": "even", "sort": "path"})
    for part in ("limit=1", "tag=even", "sort=path"):
        assert part in answer.headers["Link"]
    empty = await ada.get(path, params={"tag": "nothing"})
    assert empty.json == {"items": [], "next_cursor": None}
