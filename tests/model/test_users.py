"""Accounts: one for each address, always somebody who administers, nothing left behind, nobody locked out."""

from __future__ import annotations

import pytest

from mdserver.errors import Conflict, Invalid, NotFound
from mdserver.model import members, users, workspaces
from mdserver.model.access import Actor
from mdserver.model.users import User
from mdserver.store.db import Database, Tx


async def make(database: Database, name: str, *, admin: bool = False) -> User:
    return await database.write(
        lambda tx: users.create(tx, email=f"{name}@example.org", display_name=name, password_hash="hash", admin=admin)
    )


def actor(user: User) -> Actor:
    return Actor(user_id=user.id, device="test")


def told(database: Database, topic: str) -> list[str]:
    """What is announced under the topic from now on."""
    heard: list[str] = []
    database.listen(topic, heard.append)
    return heard


async def test_an_account_comes_with_a_workspace(database: Database) -> None:
    assert not await database.read(users.exist)
    ada = await make(database, "Ada")
    assert await database.read(users.exist)
    assert (ada.is_admin, ada.email_verified, ada.avatar_url) == (False, False, None)
    found = await database.read(lambda db: members.workspaces_without_other_owner(db, ada.id))
    assert [(name, others) for _, name, others in found] == [("Ada's notes", 0)]


@pytest.mark.parametrize("email", ["Ada@Example.ORG", " ada@example.org ", "ＡＤＡ@example.org"])
async def test_an_address_is_one_account_in_every_form(database: Database, email: str) -> None:
    ada = await make(database, "ada")
    with pytest.raises(Conflict):
        await database.write(lambda tx: users.create(tx, email=email, display_name="Eve", password_hash=None))
    assert (await database.read(lambda db: users.find_by_email(db, email.strip()))).id == ada.id


async def test_what_is_none_is_refused(database: Database) -> None:
    for email, name in (("x", "Ada"), ("a\0@b", "Ada"), ("a@b", ""), ("a@b", "\ud800"), ("a@b", "x" * 101)):
        with pytest.raises(Invalid):
            await database.write(
                lambda tx, email=email, name=name: users.create(  # type: ignore[misc]
                    tx, email=email, display_name=name, password_hash=None
                )
            )
    assert not await database.read(users.exist)


async def test_nobody_is_not_found(database: Database) -> None:
    for question in (
        lambda db: users.find(db, "x"),
        lambda db: users.find_by_email(db, "x"),
        lambda db: users.login_of(db, "x"),
    ):
        with pytest.raises(NotFound):
            await database.read(question)
    assert await database.read(lambda db: users.login(db, "x")) is None


async def test_the_disabled_do_not_sign_in(database: Database) -> None:
    ada, heard = await make(database, "Ada"), told(database, "user")
    await database.write(lambda tx: users.disable(tx, ada))
    assert heard == [ada.id]
    assert await database.read(lambda db: users.login(db, ada.email)) is None
    listed = await database.read(lambda db: users.account(db, ada))
    assert listed.disabled_at is not None
    await database.write(lambda tx: users.enable(tx, ada))
    login = await database.read(lambda db: users.login(db, ada.email))
    assert login is not None
    assert login.password_hash == "hash"


async def test_the_last_active_administrator_stays(database: Database) -> None:
    ada, bob = await make(database, "Ada", admin=True), await make(database, "Bob")

    def each(tx: Tx) -> None:
        for change in (users.disable, users.demote):
            with pytest.raises(Conflict):
                change(tx, ada)
        with pytest.raises(Conflict):
            users.delete(tx, actor(ada), ada)

    await database.write(each)
    await database.write(lambda tx: users.promote(tx, bob))
    await database.write(lambda tx: users.disable(tx, bob))
    await database.write(each)
    await database.write(lambda tx: users.enable(tx, bob))
    await database.write(lambda tx: users.demote(tx, ada))
    found = await database.read(lambda db: (users.find(db, ada.id), users.find(db, bob.id)))
    assert [one.is_admin for one in found] == [False, True]
    await database.write(lambda tx: users.demote(tx, ada))  # again: no harm
    await database.write(lambda tx: users.delete(tx, actor(bob), ada))


async def test_addresses_change(database: Database) -> None:
    ada, bob = await make(database, "Ada"), await make(database, "Bob")
    with pytest.raises(Conflict):
        await database.write(lambda tx: users.set_email(tx, ada, email="BOB@example.org", verified=True))
    changed = await database.write(lambda tx: users.set_email(tx, ada, email="ADA@example.org", verified=True))
    assert (changed.email, changed.email_verified) == ("ADA@example.org", True)
    await database.write(lambda tx: users.set_email(tx, bob, email="new@example.org", verified=False))
    assert (await make(database, "bob")).id != bob.id


async def test_a_rehash_does_not_undo_a_change(database: Database) -> None:
    ada = await make(database, "Ada")
    login = await database.read(lambda db: users.login_of(db, ada.id))
    await database.write(lambda tx: users.set_password(tx, ada, password_hash="new"))
    await database.write(lambda tx: users.rehash(tx, login, password_hash="old, renewed"))
    assert (await database.read(lambda db: users.login_of(db, ada.id))).password_hash == "new"


async def test_deleting_leaves_nothing_and_tells(database: Database) -> None:
    ada, bob = await make(database, "Ada"), await make(database, "Bob")

    def share(tx: Tx) -> str:
        place = workspaces.create(tx, actor(bob), name="Shared")
        members.set_role(tx, actor(bob), place, ada.id, role="owner")
        return place

    place, gone, left = await database.write(share), told(database, "user"), told(database, "member")
    await database.write(lambda tx: users.delete(tx, actor(ada), ada))
    assert gone == [ada.id]
    assert f"{place} {ada.id}" in left
    for table in ("users", "workspace_members", "sessions"):
        column = "id" if table == "users" else "user_id"
        count = await database.read(
            lambda db, t=table, c=column: db.value(int, f"SELECT count(*) FROM {t} WHERE {c} = $1", ada.id)  # type: ignore[misc]
        )
        assert count == 0, table
    log = await database.read(
        lambda db: db.rows("SELECT action FROM changes WHERE workspace_id = $1 AND entity_id = $2", place, ada.id)
    )
    assert [one[0] for one in log] == ["delete"]


async def test_owners_of_what_others_use_are_named(database: Database) -> None:
    ada, bob = await make(database, "Ada"), await make(database, "Bob")

    def share(tx: Tx) -> None:
        for name in ("One", "Two", "Three", "Four", "Five"):
            place = workspaces.create(tx, actor(ada), name=name)
            members.set_role(tx, actor(ada), place, bob.id, role="admin")

    await database.write(share)
    with pytest.raises(Conflict) as caught:
        await database.write(lambda tx: users.delete(tx, actor(ada), ada))
    assert caught.value.slug == "last-owner"
    assert caught.value.detail.count("“") == 3
    assert "” and 2 more, where" in caught.value.detail
    assert len(caught.value.extra["workspaces"]) == 5


async def test_the_list_comes_in_parts(database: Database) -> None:
    for name in ("Ada", "Bob", "Cyd"):
        await make(database, name)
    first = await database.read(lambda db: users.every(db, after="", limit=2))
    rest = await database.read(lambda db: users.every(db, after=first[-1].id, limit=2))
    assert [len(first), len(rest)] == [2, 1]
    assert {one.display_name for one in (*first, *rest)} == {"Ada", "Bob", "Cyd"}
