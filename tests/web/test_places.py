"""Where documents stand: names, paths, order, moving; and that a refusal leaves the tree as it was."""

from __future__ import annotations

import asyncio

import pytest

from mdserver.text import fold

from .conftest import Json, Person, Server
from .desk import NOWHERE, make, paths, refused, unchanged, whole

COMPOSED, DECOMPOSED = "Caf\u00e9", "Cafe\u0301"


async def put(who: Person, one: Json, way: str, body: Json, status: int = 200) -> Json:
    answer = await who.put(f"/documents/{one['id']}/{way}", body)
    assert answer.status == status, answer
    return answer.json


async def order(who: Person, parent: Json | None = None) -> list[str]:
    """The titles of a parent's children as the tree shows them."""
    which = parent["id"] if parent else "root"
    answer = await who.get(f"/workspaces/{who.workspace_id}/tree?parent={which}")
    return [one["title"] for one in answer.json["items"]]


async def test_names_are_the_same_in_any_case_and_form(server: Server) -> None:
    ada = await server.person("Ada")
    for first, again in [
        ("Plan", "PLAN"),
        ("Straße", "STRASSE"),
        (COMPOSED, DECOMPOSED),
        ("\u0130stanbul", "i\u0307stanbul"),
        ("\u03b0", "\u03c5\u0308\u0301"),
        ("\u1e9e", "ss"),
        ("ﬁn", "FIN"),
        ("\u2126", "\u03c9"),
        ("\ud55c", "\u1112\u1161\u11ab"),
    ]:
        folder = await make(ada, f"In {first}", kind="folder")
        one = await make(ada, first, parent_id=folder["id"])
        two = await make(ada, again, parent_id=folder["id"])
        assert two["filename"].endswith(" (2).md"), two
        with_name = f"{folder['path']}/{again}.md"
        found = await ada.get(f"/workspaces/{ada.workspace_id}/documents", params={"path": with_name})
        assert [it["id"] for it in found.json["items"]] == [one["id"]]
        async with unchanged(server.database):
            await put(ada, two, "filename", {"filename": f"{first}.md"}, 409)
            await put(ada, two, "filename", {"filename": f"{again}.MD"}, 409)
        # Its own name may change its case and form.
        renamed = await put(ada, one, "filename", {"filename": f"{again}.md"})
        assert renamed["filename"] == f"{again}.md"
    await whole(server)


async def test_paths_below_follow(server: Server) -> None:
    """Names whose folded form is longer or shorter than they are: what is cut and put together is counted rightly."""
    ada = await server.person("Ada")
    names = ["Straße", "\u0130stanbul", DECOMPOSED, "\u03b0" * 3, "🦆 duck", "a", "ﬃ"]
    top = await make(ada, "Top", kind="folder")
    parent, chain = top, [top]
    for name in names:
        parent = await make(ada, name, kind="folder", parent_id=parent["id"])
        chain.append(parent)
    leaf = await make(ada, "Leaf", parent_id=parent["id"])
    near = await make(ada, "Top 0", kind="folder")  # sorts right behind the subtree "top/…"
    also = await make(ada, "Top!", kind="folder")  # and right before it
    for name in ("\u0130" * 4, "x", "TOP", "Straße ẞ", DECOMPOSED, COMPOSED, "Top"):
        moved = await put(ada, top, "filename", {"filename": name})
        assert moved["path"] == name
        read = (await ada.get(f"/documents/{leaf['id']}")).json
        assert read["path"] == "/".join([name, *[one["filename"] for one in chain[1:]], "Leaf.md"])
        found = await ada.get(f"/workspaces/{ada.workspace_id}/documents", params={"path": fold(read["path"]).upper()})
        assert [one["id"] for one in found.json["items"]] == [leaf["id"]]
        await whole(server)
    # Each in the middle moves away and back, with all below.
    for at in range(1, len(chain) - 1):
        home = chain[at - 1]
        for target in (None, near, also, home):
            moved = await put(ada, chain[at], "place", {"parent_id": target and target["id"]})
            assert moved["parent_id"] == (target and target["id"])
            below = (await ada.get(f"/documents/{leaf['id']}")).json["path"]
            assert below.startswith(moved["path"] + "/")
            await whole(server)
    read = (await ada.get(f"/documents/{leaf['id']}")).json
    assert read["path"] == "/".join([*[one["filename"] for one in chain], "Leaf.md"])
    assert read["revision"] > 1
    assert read["version"] == 1


async def test_neighbours_of_a_subtree_stay(server: Server) -> None:
    """Characters that sort next to "/" in the names beside: only what is below moves."""
    ada = await server.person("Ada")
    folder = await make(ada, "a", kind="folder")
    await make(ada, "x", parent_id=folder["id"], kind="folder")
    beside = [await make(ada, f"a{mark}x", kind="folder", filename=f"a{mark}x") for mark in "!.-0 ~\u0301"]
    for name in ("b", "a"):
        await put(ada, folder, "filename", {"filename": name})
        for one in beside:
            assert (await ada.get(f"/documents/{one['id']}")).json["path"] == one["path"]
    await put(ada, folder, "trash", None)
    assert len(await paths(ada)) == len(beside)
    await whole(server)


async def test_order(server: Server) -> None:
    ada = await server.person("Ada")
    a, b, c = [await make(ada, name) for name in "abc"]
    assert await order(ada) == ["a", "b", "c"]
    for one, body, wanted in [
        (c, {"parent_id": None, "before": a["id"]}, "cab"),
        (a, {"parent_id": None}, "cba"),
        (c, {"parent_id": None, "after": b["id"]}, "bca"),
        (c, {"parent_id": None, "after": b["id"]}, "bca"),
        (b, {"parent_id": None, "after": a["id"]}, "cab"),
        (b, {"parent_id": None, "before": a["id"]}, "cba"),
    ]:
        await put(ada, one, "place", body)
        assert await order(ada) == list(wanted)
    await make(ada, "d")
    assert await order(ada) == ["c", "b", "a", "d"]
    await whole(server)


async def test_always_before_the_same_sibling(server: Server) -> None:
    """Positions get longer with each, until all siblings are spaced out anew."""
    ada = await server.person("Ada")
    last, one, two = [await make(ada, name) for name in ("last", "one", "two")]
    await put(ada, last, "place", {"parent_id": None})

    long = "a1" + "V" * 98 + "W"
    await server.database.write(lambda tx: tx.run("UPDATE documents SET position = $1 WHERE id = $2", long, last["id"]))
    await server.database.write(lambda tx: tx.run("UPDATE documents SET position = 'a0' WHERE id = $1", one["id"]))
    await server.database.write(
        lambda tx: tx.run("UPDATE documents SET position = $1 WHERE id = $2", long[:-1] + "V", two["id"])
    )
    new = await make(ada, "new")
    moved = await put(ada, new, "place", {"parent_id": None, "before": last["id"]})
    assert await order(ada) == ["one", "two", "new", "last"]
    assert len(moved["position"]) < 5
    # Two that share a position come apart in the order that they were shown in.
    await server.database.write(lambda tx: tx.run("UPDATE documents SET position = 'a5'"))
    shown = await order(ada)
    mover = {"one": one, "two": two, "new": new, "last": last}[shown[3]]
    first = {"one": one, "two": two, "new": new, "last": last}[shown[0]]
    await put(ada, mover, "place", {"parent_id": None, "after": first["id"]})
    assert await order(ada) == [shown[0], shown[3], shown[1], shown[2]]
    await whole(server)


async def test_moves_that_are_refused(server: Server) -> None:
    ada, eve = await server.person("Ada"), await server.person("Eve")
    other = await server.workspace(ada, "Other")
    top = await make(ada, "Top", kind="folder")
    inner = await make(ada, "Inner", parent_id=top["id"])
    innermost = await make(ada, "Innermost", parent_id=inner["id"])
    beside = await make(ada, "Beside")
    gone = await make(ada, "Gone")
    await put(ada, gone, "trash", None)
    elsewhere = await make(ada, "Elsewhere", workspace_id=other)
    theirs = await make(eve, "Theirs")
    async with unchanged(server.database):
        for one, body, status, pointers in [
            (top, {"parent_id": top["id"]}, 409, []),
            (top, {"parent_id": inner["id"]}, 409, []),
            (top, {"parent_id": innermost["id"]}, 409, []),
            (inner, {"parent_id": innermost["id"]}, 409, []),
            (inner, {"parent_id": gone["id"]}, 409, []),
            (gone, {"parent_id": None}, 409, []),
            # Of another workspace, one's own or not, or of none: alike.
            (inner, {"parent_id": elsewhere["id"]}, 422, ["/parent_id"]),
            (inner, {"parent_id": theirs["id"]}, 422, ["/parent_id"]),
            (inner, {"parent_id": NOWHERE}, 422, ["/parent_id"]),
            (inner, {"parent_id": "root"}, 422, ["/parent_id"]),
            (inner, {}, 422, ["/parent_id"]),
            (inner, {"parent_id": 5}, 422, ["/parent_id"]),
            (inner, {"parent_id": None, "before": None, "x": 1}, 422, ["/x"]),
            (inner, {"parent_id": None, "before": beside["id"], "after": beside["id"]}, 400, []),
            (inner, {"parent_id": None, "before": inner["id"]}, 422, ["/before"]),
            (inner, {"parent_id": None, "after": innermost["id"]}, 422, ["/after"]),
            (inner, {"parent_id": None, "after": NOWHERE}, 422, ["/after"]),
            (inner, {"parent_id": top["id"], "before": beside["id"]}, 422, ["/before"]),
            (inner, {"parent_id": None, "after": theirs["id"]}, 422, ["/after"]),
            (inner, {"parent_id": None, "after": ""}, 422, ["/after"]),
        ]:
            refused(await ada.put(f"/documents/{one['id']}/place", body), status, *pointers)
        missing = await ada.put(f"/documents/{inner['id']}/place", {"parent_id": NOWHERE})
        foreign = await ada.put(f"/documents/{inner['id']}/place", {"parent_id": theirs["id"]})
        assert missing.json["detail"] == foreign.json["detail"]
    await whole(server)


async def test_too_deep(server: Server) -> None:
    ada = await server.person("Ada")
    parent: str | None = None
    chain = []
    for _ in range(100):
        made = await make(ada, "d", kind="folder", parent_id=parent)
        parent = made["id"]
        chain.append(made)
    pair = await make(ada, "Pair", kind="folder")
    leaf = await make(ada, "Leaf", parent_id=pair["id"])
    place = f"/workspaces/{ada.workspace_id}/documents"
    async with unchanged(server.database):
        refused(await ada.post(place, {"title": "x", "parent_id": parent}), 422, "/parent_id")
        refused(await ada.put(f"/documents/{leaf['id']}/place", {"parent_id": parent}), 422, "/parent_id")
        # It would fit, its child would not.
        refused(await ada.put(f"/documents/{pair['id']}/place", {"parent_id": chain[98]["id"]}), 422, "/parent_id")
        refused(
            await ada.post(f"/documents/{pair['id']}/copies", {"parent_id": chain[98]["id"], "children": True}),
            422,
            "/parent_id",
        )
    await put(ada, pair, "place", {"parent_id": chain[97]["id"]})
    # While it lies in the trash, its parent goes deeper.
    await put(ada, leaf, "trash", None)
    await put(ada, pair, "place", {"parent_id": chain[98]["id"]})
    async with unchanged(server.database):
        refused(await ada.delete(f"/documents/{leaf['id']}/trash"), 422, "/parent_id")
    await put(ada, pair, "place", {"parent_id": None})
    assert (await ada.delete(f"/documents/{leaf['id']}/trash")).json["path"] == "Pair/Leaf.md"
    await whole(server)


async def test_too_long(server: Server) -> None:
    ada = await server.person("Ada")
    parent: str | None = None
    for _ in range(9):
        parent = (await make(ada, "n" * 240, kind="folder", parent_id=parent, filename="n" * 240))["id"]
    place = f"/workspaces/{ada.workspace_id}/documents"
    folder = await make(ada, "x", kind="folder")
    long = await make(ada, "m" * 240, kind="folder", parent_id=folder["id"], filename="m" * 240)
    async with unchanged(server.database):
        refused(await ada.post(place, {"title": "x", "filename": "l" * 240, "parent_id": parent}), 422, "/parent_id")
        refused(await ada.put(f"/documents/{long['id']}/place", {"parent_id": parent}), 422, "/parent_id")
        refused(await ada.put(f"/documents/{folder['id']}/place", {"parent_id": parent}), 422, "/parent_id")
    # Names that grow when they are folded count folded: İ has two bytes, and three then.
    tail = await make(ada, "t", kind="folder", parent_id=parent)
    async with unchanged(server.database):
        refused(await ada.put(f"/documents/{tail['id']}/filename", {"filename": "\u0130" * 110}), 422)
    await put(ada, tail, "filename", {"filename": "\u0130" * 60})
    await whole(server)


@pytest.mark.parametrize(
    "name",
    ["Plan", "x" * 255, "Plan.v2", "é" * 118, "👩‍👩‍👧‍👦" * 12],
    ids=["short", "long", "ending", "accents", "families"],
)
async def test_many_of_one_title(server: Server, name: str) -> None:
    """Each gets a name of its own, also when numbers grow longer than the place that a long name leaves them."""
    ada = await server.person("Ada")
    count = 300 if name == "Plan" else 112
    filename = name if name == "Plan.v2" else None
    made = []
    for n in range(count):
        given = {"filename": filename} if filename else {}
        made.append(await make(ada, name if n % 2 else name.upper(), **given))
    assert len({fold(one["filename"]) for one in made}) == count
    assert all(len(one["filename"].encode()) <= 240 for one in made)
    assert made[-1]["filename"].rpartition(".")[0].endswith(f"({count})")
    # The first free number is taken again.
    gone = made[47]
    await put(ada, gone, "trash", None)
    again = await make(ada, name, **({"filename": filename} if filename else {}))
    assert again["filename"].rpartition(".")[0].endswith("(48)")
    assert (await ada.delete(f"/documents/{gone['id']}/trash")).json["filename"] != again["filename"]
    # Moving where the name is taken numbers too.
    folder = await make(ada, "Folder", kind="folder")
    for one in made[:12]:
        await put(ada, one, "filename", {"filename": f"{one['id']}.md"})
        await put(ada, one, "place", {"parent_id": folder["id"]})
    for one in made[:12]:
        await put(ada, one, "filename", {"filename": made[0]["filename"]}, 200 if one is made[0] else 409)
    await whole(server)


async def test_what_is_numbered_already(server: Server) -> None:
    ada = await server.person("Ada")
    for title, filename in [
        ("Plan (2)", "Plan (2).md"),
        ("Plan", "Plan.md"),
        ("Plan", "Plan (3).md"),
        ("Plan (2)", "Plan (2) (2).md"),
        ("Plan (007)", "Plan (007).md"),
        ("Plan (99999999)", "Plan (99999999).md"),
        ("Plan", "Plan (4).md"),
        ("(2)", "(2).md"),
        ("(2)", "(2) (2).md"),
    ]:
        assert (await make(ada, title))["filename"] == filename
    # A folder's children are no siblings.
    folder = await make(ada, "Deep", kind="folder")
    await make(ada, "Deep", kind="folder")
    await make(ada, "Deep (5)", kind="folder", parent_id=folder["id"])
    assert (await make(ada, "Deep", kind="folder"))["filename"] == "Deep (3)"
    await whole(server)


async def test_moving_where_the_name_is_taken(server: Server) -> None:
    ada = await server.person("Ada")
    folder = await make(ada, "Folder", kind="folder")
    await make(ada, "Straße", parent_id=folder["id"])
    moving = await make(ada, "STRASSE")
    child = await make(ada, "Child", parent_id=moving["id"])
    moved = await put(ada, moving, "place", {"parent_id": folder["id"]})
    assert moved["path"] == "Folder/STRASSE (2).md"
    assert moved["title"] == "STRASSE"
    assert (await ada.get(f"/documents/{child['id']}")).json["path"] == "Folder/STRASSE (2).md/Child.md"
    # Within its place it keeps the name.
    assert (await put(ada, moving, "place", {"parent_id": folder["id"]}))["path"] == "Folder/STRASSE (2).md"
    await whole(server)


async def test_moves_that_meet(server: Server) -> None:
    """Two that would each be right make a loop together: one of them is refused."""
    ada, bea = await server.person("Ada"), await server.person("Bea")
    await server.join(ada, bea, "editor")
    for n in range(4):
        one = await make(ada, f"one {n}", kind="folder")
        two = await make(ada, f"two {n}", kind="folder")
        three = await make(ada, f"three {n}", kind="folder", parent_id=two["id"])
        answers = await asyncio.gather(
            ada.put(f"/documents/{one['id']}/place", {"parent_id": three["id"]}),
            bea.put(f"/documents/{two['id']}/place", {"parent_id": one["id"]}),
        )
        assert sorted(it.status for it in answers) == [200, 409], answers
        await whole(server)


async def test_names_that_meet(server: Server) -> None:
    ada = await server.person("Ada")
    folder = await make(ada, "Folder", kind="folder")
    made = await asyncio.gather(*[make(ada, "Plan", parent_id=folder["id"]) for _ in range(6)])
    assert {one["filename"] for one in made} == {"Plan.md", *[f"Plan ({n}).md" for n in range(2, 7)]}
    assert len({one["position"] for one in made}) == 6
    answers = await asyncio.gather(
        *[ada.put(f"/documents/{one['id']}/filename", {"filename": "taken.md"}) for one in made]
    )
    assert sorted(one.status for one in answers) == [200, 409, 409, 409, 409, 409]
    await whole(server)


async def test_everything_at_once(server: Server) -> None:
    """A folder is trashed, renamed, moved and filled at the same moment: whatever the order, the tree is whole."""
    ada, bea = await server.person("Ada"), await server.person("Bea")
    await server.join(ada, bea, "editor")
    for n in range(4):
        folder = await make(ada, f"Folder {n}", kind="folder")
        target = await make(ada, f"Target {n}", kind="folder")
        inner = await make(ada, "Inner", parent_id=folder["id"], content="one")
        path = f"/documents/{folder['id']}"
        answers = await asyncio.gather(
            ada.put(f"{path}/trash"),
            bea.put(f"{path}/filename", {"filename": f"Other {n}"}),
            ada.put(f"{path}/place", {"parent_id": target["id"]}),
            bea.post(f"/workspaces/{ada.workspace_id}/documents", {"title": "New", "parent_id": folder["id"]}),
            ada.patch(f"/documents/{inner['id']}/content", {"base_version": 1, "content": "two"}),
            bea.put(f"/documents/{inner['id']}/place", {"parent_id": None}),
        )
        assert {one.status for one in answers} <= {200, 201, 409}, answers
        assert answers[0].status == 200
        await whole(server)
