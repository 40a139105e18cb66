"""The door: edits that meet, edits that lose, snapshots, and nothing half-done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from mdserver.crdt import text as crdt
from mdserver.errors import Busy, Conflict, Forbidden, Invalid, NotFound, Stale, TooLarge
from mdserver.model import documents, log, members, users, versions, workspaces
from mdserver.model.access import Principal, Role
from mdserver.model.documents import Document
from mdserver.model.updates import ATTEMPTS, Door
from mdserver.store.db import Database, Reader, Tx

from .invariants import broken, picture

BASE = "".join(f"Line {n} of a text that many people edit.\n" for n in range(16))
MOST = 50_000


async def person(database: Database, name: str) -> tuple[Principal, str]:
    """A fresh account and the id of its own workspace."""

    def change(tx: Tx) -> tuple[str, str]:
        user = users.create(tx, email=f"{name}@example.org", display_name=name, password_hash=None)
        found = tx.value(str, "SELECT workspace_id FROM workspace_members WHERE user_id = $1", user.id)
        assert found is not None
        return user.id, found

    user_id, workspace_id = await database.write(change)
    made = Principal(
        user_id=user_id,
        device="test",
        display_name=name,
        avatar_url=None,
        is_admin=False,
        kind="app",
        credential_id="test",
        authenticated_at=0,
    )
    return made, workspace_id


async def document(database: Database, me: Principal, workspace_id: str, content: str = BASE) -> Document:
    """A fresh document."""
    return await database.write(
        lambda tx: documents.create(
            tx,
            me,
            workspace_id,
            role=workspaces.enter(tx, me, workspace_id),
            title="Plan",
            kind="markdown",
            draft=documents.draft(content, maximum_bytes=MOST),
        )
    )


async def text_of(database: Database, me: Principal, id: str) -> str:
    return (await database.read(lambda db: documents.find_with_content(db, me, id))).content


async def whole(database: Database) -> None:
    """All that must be true is true."""
    assert await database.read(broken) == []


def present(_: Reader, __: Document) -> None:
    """An edit that starts from the present text."""


def from_text(base: str) -> Callable[[Reader, Document], str]:
    return lambda db, found: base


async def put(door: Door, database: Database, me: Principal, id: str, word: str) -> None:
    """Read, put a word at the end, write it back under If-Match; again when somebody else was faster."""
    while True:
        read = await database.read(lambda db: documents.find_with_content(db, me, id))

        def judge(_: Reader, found: Document, version: int = read.version) -> None:
            if found.version != version:
                raise Stale("It has changed since you read it.")

        try:
            await door.edit(me, id, base=judge, content=f"{read.content}{word}\n")
        except Stale:
            continue
        return


@pytest.mark.parametrize("doors", [1, 2])
async def test_every_acknowledged_word_is_there(database: Database, doors: int) -> None:
    """Two doors stand for two processes: nothing but the database keeps them apart."""
    me, workspace_id = await person(database, "ada")
    made = await document(database, me, workspace_id)
    several = [Door(database, maximum_bytes=MOST) for _ in range(doors)]
    acknowledged: list[str] = []

    async def edit(n: int) -> None:
        door, word = several[n % doors], f"word{n:02d}"
        try:
            if n % 4 == 3:
                await put(door, database, me, made.id, word)
            else:
                lines = BASE.splitlines(keepends=True)
                lines[n] = f"{word} {lines[n]}"
                done = await door.edit(me, made.id, base=from_text(BASE), content="".join(lines))
                assert done.document.version > 1
        except Busy:
            assert doors > 1
            return
        acknowledged.append(word)

    await asyncio.gather(*[edit(n) for n in range(16)])
    if doors == 1:
        assert len(acknowledged) == 16
    content = await text_of(database, me, made.id)
    assert [word for word in acknowledged if content.count(word) != 1] == []
    for line in BASE.splitlines():
        assert line in content
    found = await database.read(lambda db: documents.find(db, me, made.id))
    assert found.version == 1 + len(acknowledged)
    await whole(database)


async def test_a_snapshot_after_many_updates(database: Database) -> None:
    me, workspace_id = await person(database, "ada")
    made = await document(database, me, workspace_id, "start\n")
    door = Door(database, maximum_bytes=MOST)
    content = "start\n"
    for n in range(2 * log.SNAPSHOT_AFTER_ROWS + 4):
        content = f"{n}\n{content}" if n % 3 else content[: -len(content) // 4 or None] + f"{n} 🦆\n"
        await door.edit(me, made.id, base=present, content=content)

        def look(db: Reader) -> tuple[int, log.Log, log.Log]:
            snapshot = db.value(int, "SELECT seq FROM document_snapshots WHERE document_id = $1", made.id) or 0
            rows = db.rows("SELECT data FROM document_updates WHERE document_id = $1 ORDER BY seq", made.id)
            return snapshot, log.load(db, made.id), log.Log(None, [bytes(one[0]) for one in rows], len(rows))

        at, loaded, every = await database.read(look)
        rows = n + 2  # the first update is the creation's
        assert at in (0, 65, 130)
        assert (at > 0) == (rows > log.SNAPSHOT_AFTER_ROWS)
        assert loaded.head == every.head == rows
        assert len(loaded.updates) == rows - at <= log.SNAPSHOT_AFTER_ROWS
        if rows % 16 == 1 or at == rows:
            assert crdt.text_of(crdt.load(loaded.snapshot, loaded.updates)) == content
            assert crdt.text_of(crdt.load(None, every.updates)) == content
    await whole(database)


async def test_a_snapshot_after_much_text(database: Database) -> None:
    me, workspace_id = await person(database, "ada")
    made = await document(database, me, workspace_id, "")
    door = Door(database, maximum_bytes=1 << 20)
    await door.edit(me, made.id, base=present, content="x" * log.SNAPSHOT_AFTER_BYTES)
    assert (await database.read(lambda db: log.load(db, made.id))).snapshot is None
    await door.edit(me, made.id, base=present, content="y")
    loaded = await database.read(lambda db: log.load(db, made.id))
    assert loaded.snapshot is not None
    assert loaded.updates == []
    past = await database.read(lambda db: log.load(db, made.id, upto=2))
    assert crdt.text_of(crdt.load(past.snapshot, past.updates)) == "x" * log.SNAPSHOT_AFTER_BYTES
    await whole(database)


def meanwhile(action: Callable[[], Awaitable[object]], times: int = 1) -> tuple[Callable[[], None], list[int]]:
    """What happens between an edit's reading and its writing, the first few times; and how often it was read."""
    loop, calls = asyncio.get_running_loop(), [0]

    def happen() -> None:
        calls[0] += 1
        if calls[0] <= times:

            async def act() -> None:
                await action()

            asyncio.run_coroutine_threadsafe(act(), loop).result(60)

    return happen, calls


async def test_an_edit_that_loses_the_race_is_made_again(database: Database) -> None:
    me, workspace_id = await person(database, "ada")
    made = await document(database, me, workspace_id, "one\ntwo\nthree\n")
    here, there = Door(database, maximum_bytes=MOST), Door(database, maximum_bytes=MOST)
    happen, calls = meanwhile(
        lambda: there.edit(me, made.id, base=present, content="one and theirs\ntwo\nthree\n"), times=3
    )

    def base(db: Reader, found: Document) -> str:
        happen()
        return "one\ntwo\nthree\n"

    done = await here.edit(me, made.id, base=base, content="one\ntwo\nthree and mine\n")
    assert calls == [2]  # the other's repetitions change nothing
    assert (done.outcome, done.overlaps) == ("merged", [])
    assert await text_of(database, me, made.id) == "one and theirs\ntwo\nthree and mine\n"
    await whole(database)


async def test_a_change_beside_the_content_is_seen_too(database: Database) -> None:
    """If-Match is judged where the edit is computed: what moves the revision makes it judge again."""
    me, workspace_id = await person(database, "ada")
    made = await document(database, me, workspace_id, "one\n")
    door = Door(database, maximum_bytes=MOST)

    def retitle(tx: Tx) -> Document:
        return documents.retitle(tx, me, documents.find(tx, me, made.id), "Another")

    happen, calls = meanwhile(lambda: database.write(retitle))
    revisions: list[int] = []

    def base(db: Reader, found: Document) -> None:
        revisions.append(found.revision)
        happen()

    done = await door.edit(me, made.id, base=base, content="two\n")
    assert (calls, revisions) == ([2], [1, 2])
    assert (done.document.title, done.document.version) == ("Another", 2)
    [newest, _] = await database.read(lambda db: versions.of_document(db, me, made, before=9, limit=9))
    assert newest.title == "Another"


async def test_busy_when_every_attempt_loses(database: Database) -> None:
    me, workspace_id = await person(database, "ada")
    made = await document(database, me, workspace_id, "0\n")
    here, there = Door(database, maximum_bytes=MOST), Door(database, maximum_bytes=MOST)
    turn = iter(range(1, 100))
    happen, calls = meanwhile(lambda: there.edit(me, made.id, base=present, content=f"{next(turn)}\n"), times=ATTEMPTS)

    def base(db: Reader, found: Document) -> None:
        happen()

    with pytest.raises(Busy) as busy:
        await here.edit(me, made.id, base=base, content="mine\n")
    assert busy.value.headers["Retry-After"]
    assert calls == [ATTEMPTS]
    assert await text_of(database, me, made.id) == f"{ATTEMPTS}\n"
    done = await here.edit(me, made.id, base=present, content="mine\n")
    assert done.document.version == ATTEMPTS + 2
    await whole(database)


async def test_trashed_or_shut_out_meanwhile(database: Database) -> None:
    owner, workspace_id = await person(database, "owner")
    editor, _ = await person(database, "editor")
    door = Door(database, maximum_bytes=MOST)

    def give(role: Role | None) -> Callable[[Tx], None]:
        def change(tx: Tx) -> None:
            if role is None:
                members.drop(tx, owner, workspace_id, editor.user_id)
            else:
                members.set_role(tx, owner, workspace_id, editor.user_id, role=role)

        return change

    made = await document(database, owner, workspace_id, "one\n")

    def bin_it(tx: Tx) -> None:
        documents.trash(tx, owner, documents.find(tx, owner, made.id))

    def purge_it(tx: Tx) -> None:
        documents.purge(tx, owner, documents.find(tx, owner, made.id))

    cases: list[tuple[Callable[[Tx], None], type[Exception]]] = [
        (give("viewer"), Forbidden),
        (give(None), NotFound),
        (bin_it, Conflict),
        (purge_it, NotFound),
    ]
    for change, problem in cases[:3]:
        await database.write(give("editor"))

        async def act(change: Callable[[Tx], None] = change) -> None:
            await database.write(change)

        happen, _ = meanwhile(act)

        def base(db: Reader, found: Document, happen: Callable[[], None] = happen) -> None:
            happen()

        with pytest.raises(problem):
            await door.edit(editor, made.id, base=base, content="mine\n")
        assert await text_of(database, owner, made.id) == "one\n"
    await database.write(lambda tx: documents.restore(tx, owner, documents.find(tx, owner, made.id)))

    async def trash_and_purge() -> None:
        await database.write(bin_it)
        await database.write(purge_it)

    happen, _ = meanwhile(trash_and_purge)
    with pytest.raises(NotFound):
        await door.edit(editor, made.id, base=lambda db, found: happen(), content="mine\n")
    await whole(database)


async def test_what_fails_beside_leaves_nothing(database: Database) -> None:
    me, workspace_id = await person(database, "ada")
    made = await document(database, me, workspace_id, "one\n")
    door = Door(database, maximum_bytes=MOST)

    def also(tx: Tx, found: Document) -> None:
        documents.retitle(tx, me, found, "Half")
        documents.set_tags(tx, me, found, ["half"])
        raise Conflict("no")

    before = await database.read(picture)
    with pytest.raises(Conflict):
        await door.edit(me, made.id, base=present, content="two\n", also=also)
    for content, problem in (
        ("a\0b", Invalid),
        ("\ud800", Invalid),
        ("é" * MOST, TooLarge),
        ("x" * (MOST + 1), TooLarge),
    ):
        with pytest.raises(problem):
            await door.edit(me, made.id, base=present, content=content)
    assert await database.read(picture) == before
    # Each fits, both do not.
    await door.edit(me, made.id, base=present, content="x" * (MOST - 10) + "\none\n")
    before = await database.read(picture)
    with pytest.raises(TooLarge):
        await door.edit(me, made.id, base=from_text("one\n"), content="one\n" + "y" * 100)
    assert await database.read(picture) == before
    await whole(database)


async def test_refusals_leave_nothing(database: Database) -> None:
    me, workspace_id = await person(database, "ada")
    made = await document(database, me, workspace_id, "one\n")
    door = Door(database, maximum_bytes=MOST)

    def stale(_: Reader, __: Document) -> None:
        raise Stale("no")

    with pytest.raises(Stale):
        await door.edit(me, made.id, base=stale, content="two\n")
    guest, _ = await person(database, "guest")
    with pytest.raises(NotFound):
        await door.edit(guest, made.id, base=stale, content="two\n")
    await database.write(lambda tx: members.set_role(tx, me, workspace_id, guest.user_id, role="commenter"))
    before = await database.read(picture)
    with pytest.raises(Forbidden):
        await door.edit(guest, made.id, base=stale, content="two\n")
    assert await database.read(picture) == before


async def test_the_same_text_is_no_version(database: Database) -> None:
    me, workspace_id = await person(database, "ada")
    made = await document(database, me, workspace_id, "one\n")
    door = Door(database, maximum_bytes=MOST)
    before = await database.read(picture)
    done = await door.edit(me, made.id, base=present, content="one\n")
    assert (done.outcome, done.document) == ("applied", made)
    assert await database.read(picture) == before
    # Beside it something may happen all the same.
    done = await door.edit(
        me, made.id, base=present, content="one\n", also=lambda tx, found: void(documents.retitle(tx, me, found, "New"))
    )
    assert (done.document.title, done.document.version, done.document.revision) == ("New", 1, 2)
    await whole(database)


async def test_a_folder_has_no_door(database: Database) -> None:
    me, workspace_id = await person(database, "ada")
    folder = await database.write(
        lambda tx: documents.create(
            tx,
            me,
            workspace_id,
            role="owner",
            title="Folder",
            kind="folder",
            draft=documents.draft("", maximum_bytes=1),
        )
    )
    with pytest.raises(Conflict):
        await Door(database, maximum_bytes=MOST).edit(me, folder.id, base=present, content="")
    await whole(database)


async def test_reasons_are_kept(database: Database) -> None:
    me, workspace_id = await person(database, "ada")
    made = await document(database, me, workspace_id, "one\n")
    door = Door(database, maximum_bytes=MOST)
    await door.edit(me, made.id, base=present, content="one\ntwo\n")
    await door.edit(me, made.id, base=from_text("one\n"), content="zero\none\n")
    await door.edit(me, made.id, base=present, content="one\n", reason="restore")
    found = await database.read(lambda db: versions.of_document(db, me, made, before=99, limit=9))
    assert [one.reason for one in found] == ["restore", "merge", "edit", "create"]
    assert {one.authors[0].id for one in found} == {me.user_id}


async def test_nobody_waits_for_another_document(database: Database) -> None:
    me, workspace_id = await person(database, "ada")
    one, other = await document(database, me, workspace_id), await document(database, me, workspace_id)
    door = Door(database, maximum_bytes=MOST)
    happen, _ = meanwhile(lambda: door.edit(me, other.id, base=present, content="two\n"))
    await door.edit(me, one.id, base=lambda db, found: happen(), content="one\n")
    assert await text_of(database, me, other.id) == "two\n"
    assert not door._turns or len(door._turns) <= 2


def void(_: object) -> None:
    """For a callback whose answer nobody wants."""
