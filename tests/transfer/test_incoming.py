"""Batches that are brought in: once, again, changed, and against what stands there already. On both engines."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import pytest

from mdserver.errors import Conflict, Forbidden, NotFound
from mdserver.model import documents, members, users, workspaces
from mdserver.model.access import Actor, Principal
from mdserver.model.documents import Document
from mdserver.model.updates import Door
from mdserver.store.db import Database, Reader, Tx
from mdserver.transfer import incoming
from mdserver.transfer.incoming import Arrival, Arrived, Place, Wanted, arrival, bring


class World(NamedTuple):
    database: Database
    door: Door
    me: Principal
    workspace: str
    root: Place

    async def bring(self, *batch: Arrival, where: Place | None = None) -> list[tuple[str, str]]:
        found = await bring(self.database, self.door, self.me, where or self.root, list(batch))
        return [(one.path, one.outcome) for one in found]

    async def whys(self, *batch: Arrival) -> list[Arrived]:
        return await bring(self.database, self.door, self.me, self.root, list(batch))

    async def document(self, path: str) -> Document:
        def question(db: Reader) -> Document:
            found = documents.by_path(db, self.me, self.workspace, path.lower(), role="owner")
            assert len(found) == 1, path
            return found[0]

        return await self.database.read(question)

    async def change(self, path: str, do: Callable[[Tx, Document], object]) -> None:
        document = await self.document(path)
        await self.database.write(lambda tx: do(tx, documents.find(tx, self.me, document.id)))

    async def text(self, path: str) -> str:
        document = await self.document(path)
        return (await self.database.read(lambda db: documents.find_with_content(db, self.me, document.id))).content

    async def states(self, *wanted: Wanted) -> list[str]:
        found = await self.database.read(lambda db: incoming.survey(db, self.me, self.root, list(wanted)))
        return list(found)


def principal(user: users.User) -> Principal:
    return Principal(
        user_id=user.id,
        device="test",
        display_name=user.display_name,
        avatar_url=None,
        is_admin=False,
        kind="app",
        credential_id="",
        authenticated_at=0,
    )


async def somebody(database: Database, email: str) -> Principal:
    user = await database.write(
        lambda tx: users.create(tx, email=email, display_name=email.partition("@")[0], password_hash=None)
    )
    return principal(user)


@pytest.fixture
async def world(database: Database) -> World:
    me = await somebody(database, "ada@example.org")
    workspace = await database.write(
        lambda tx: workspaces.create(tx, Actor(user_id=me.user_id, device="test"), name="Notes")
    )
    root = Place(workspace_id=workspace, parent_id=None, path="", path_key="")
    return World(database, Door(database, maximum_bytes=10_000), me, workspace, root)


def folder(path: str) -> Arrival:
    return Arrival(path, "folder", path.rpartition("/")[2])


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


ODD = "\ufeff---\r\ntitle: Odd\r\ntags: [a, B]\r\n---\r\nText\r\rwith \u2028 every\x0c line end\n\r\n  "


async def test_a_batch_and_the_same_again(world: World) -> None:
    batch = [
        folder("a"),
        arrival("a/b.md", "b.md", "# Title\n\ntext"),
        arrival("a/b.md/c.md", "c.md", ODD),
        arrival("Empty.md", "Empty.md", ""),
    ]
    assert await world.bring(*batch) == [(one.path, "made") for one in batch]
    assert await world.bring(*batch) == [(one.path, "unchanged") for one in batch]
    child = await world.document("a/b.md/c.md")
    assert (child.title, child.tags, child.version) == ("Odd", ["a", "B"], 1)
    assert child.parent_id == (await world.document("a/b.md")).id
    assert await world.text("a/b.md/c.md") == ODD
    assert child.content_hash == sha(ODD)
    assert (await world.document("empty.md")).title == "Empty"
    assert (await world.document("a")).kind == "folder"
    assert child.author is not None
    assert child.author.id == world.me.user_id


async def test_siblings_keep_the_order_of_the_batch(world: World) -> None:
    names = ["b.md", "a.md", "c.md", "B2.md"]
    await world.bring(*(arrival(one, one, "x") for one in names[:2]))
    await world.bring(*(arrival(one, one, "x") for one in names[2:]))
    found, _ = await world.database.read(
        lambda db: documents.tree(db, world.workspace, parent_id=None, after=None, limit=10)
    )
    assert [one.filename for one in found] == names


async def test_another_text_is_an_edit(world: World) -> None:
    await world.bring(arrival("a.md", "a.md", "---\ntags: x\n---\n# One\n"))
    assert await world.bring(arrival("A.md", "A.md", "---\ntags: y\n---\n# Two\n")) == [("A.md", "updated")]
    found = await world.document("a.md")
    assert (found.version, found.title, found.tags, found.filename) == (2, "Two", ["y"], "a.md")
    assert await world.text("a.md") == "---\ntags: y\n---\n# Two\n"
    reasons = await world.database.read(
        lambda db: db.column(
            str, "SELECT reason FROM document_versions WHERE document_id = $1 ORDER BY version", found.id
        )
    )
    assert reasons == ["import", "import"]


async def test_title_and_tags_given_by_hand_stay(world: World) -> None:
    await world.bring(arrival("a.md", "a.md", "# One\n"))
    await world.change("a.md", lambda tx, found: documents.retitle(tx, world.me, found, "My own"))
    await world.change("a.md", lambda tx, found: documents.set_tags(tx, world.me, found, ["mine"]))
    await world.bring(arrival("a.md", "a.md", "# Two\n"))
    found = await world.document("a.md")
    assert (found.title, found.tags) == ("My own", ["mine"])


async def test_what_cannot_come_along_does_not_hold_up_the_others(world: World) -> None:
    await world.bring(folder("taken.md"))
    found = await world.whys(
        arrival("large.md", "large.md", "x" * 10_001),
        arrival("good.md", "good.md", "x"),
        arrival("taken.md", "taken.md", "x"),
        arrival("taken.md/below.md", "below.md", "x"),
        arrival("nowhere/a.md", "a.md", "x"),
        Arrival("untitled.md", "markdown", "", [], "x"),
        arrival("d/" * 100 + "deep.md", "deep.md", "x"),
    )
    assert [one.outcome for one in found] == [
        "left out",
        "made",
        "left out",
        "made",
        "left out",
        "left out",
        "left out",
    ]
    assert [one.why for one in found if one.outcome == "left out"] == [
        "is not taken: The text is larger than 10,000 bytes, the most a document may hold.",
        "cannot stand where a folder of its name stands",
        "has lost the folder that it stands in",
        "is not taken: This must not be empty.",
        "has lost the folder that it stands in",
    ]


async def test_a_survey(world: World) -> None:
    await world.bring(folder("f"), arrival("f/a.md", "a.md", "one"), arrival("b.md", "b.md", "two"), folder("g.md"))
    assert await world.states(
        Wanted("f", "folder"),
        Wanted("F/A.md", "markdown", sha("one")),
        Wanted("b.md", "markdown", sha("other")),
        Wanted("b.md", "folder"),
        Wanted("g.md", "markdown", sha("")),
        Wanted("new.md", "markdown", sha("")),
        Wanted("new", "folder"),
    ) == ["same", "same", "different", "same", "taken", "new", "new"]


async def test_the_trash_is_not_in_the_way(world: World) -> None:
    await world.bring(arrival("a.md", "a.md", "one"))
    await world.change("a.md", lambda tx, found: documents.trash(tx, world.me, found))
    assert await world.bring(arrival("a.md", "a.md", "one")) == [("a.md", "made")]


async def test_below_a_document(world: World) -> None:
    def place(parent: str | None, me: Principal = world.me) -> Callable[[Reader], Place]:
        return lambda db: incoming.place(db, me, world.workspace, parent)

    await world.bring(folder("Projects"), arrival("Projects/Größe.md", "Größe.md", "x"))
    by_path = await world.database.read(place("projects/GRÖSSE.md/"))
    assert (by_path.path, by_path.path_key) == ("Projects/Größe.md/", "projects/grösse.md/")
    assert await world.database.read(place(by_path.parent_id)) == by_path
    assert await world.database.read(place("/")) == await world.database.read(place(None)) == world.root
    assert await world.bring(folder("in"), arrival("in/a.md", "a.md", "x"), where=by_path) == [
        ("in", "made"),
        ("in/a.md", "made"),
    ]
    assert (await world.document("projects/grösse.md/in/a.md")).filename == "a.md"
    with pytest.raises(NotFound, match="There is no document 'Nothing' in this workspace"):
        await world.database.read(place("Nothing"))
    await world.change("projects/grösse.md", lambda tx, found: documents.trash(tx, world.me, found))
    with pytest.raises(Conflict):
        await world.database.read(place(by_path.parent_id))
    elsewhere = await somebody(world.database, "bob@example.org")
    with pytest.raises(NotFound):
        await world.database.read(place(None, elsewhere))
    await world.database.write(
        lambda tx: members.set_role(tx, world.me, world.workspace, elsewhere.user_id, role="commenter")
    )
    with pytest.raises(Forbidden):
        await world.database.read(place(None, elsewhere))
    with pytest.raises(Forbidden):
        await bring(world.database, world.door, elsewhere, world.root, [folder("x")])
