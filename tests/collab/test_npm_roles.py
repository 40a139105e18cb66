"""Roles that change while somebody types with a real client: what was typed before stays, what comes after waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import pytest
import pytest_asyncio

from tests.npm import clients
from tests.npm.clients import Client, Driver, Kind

from . import houses
from .houses import KINDS, House

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with houses.running(tmp_path_factory.mktemp("roles")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[Driver]:
    async with clients.running() as driver:
        yield driver


async def heard_out(one: Client, other: Client, number: int) -> None:
    """Wait until the server has heard everything of `one`: presence comes after it."""
    await one.set_awareness("said", number)
    await other.sees("said", number)


async def may_not_write(one: Client, other: Client) -> None:
    """Wait until a client's words get nowhere."""
    if one.kind in ("hocuspocus", "hocuspocus3"):
        await one.has_scope("readonly")
        return
    numbers = count()

    async def gets_nowhere() -> bool:
        word = await one.word(0.5)
        await heard_out(one, other, next(numbers))
        return word not in await other.text()

    await houses.until(gets_nowhere)


@pytest.mark.parametrize("kind", KINDS)
async def test_demoted_while_typing(node: Driver, house: House, kind: Kind) -> None:
    """And promoted again, when everything arrives that was typed meanwhile."""
    document = await house.document()
    ada = await house.open(node, "hocuspocus", document)
    ben = await house.open(node, kind, document, "Ben")
    await ben.type(seed=1, words=100_000, every_ms=5)
    await ben.has_typed(20)
    await house.role("Ben", "viewer")
    await may_not_write(ben, ada)
    before = await ben.typed()
    await ben.has_typed(len(before.words) + 10)
    stopped = await ben.stop_typing()
    await heard_out(ben, ada, -1)
    await ada.word(0)
    await ada.saved()
    text = await ada.text()
    assert [word for word in stopped.acknowledged if text.count(word) != 1] == []
    assert [word for word in stopped.words[len(before.words) :] if word in text] == []
    assert stopped.words[0] in text
    if kind in ("hocuspocus", "hocuspocus3"):
        assert set(stopped.acknowledged) <= set(before.words)
        assert await ben.unsynced() > 0
    await house.reads(document, text)
    assert await house.text(document) == text

    await house.role("Ben", "editor")
    if kind in ("hocuspocus", "hocuspocus3"):
        await ben.has_scope("read-write")
        await ben.saved()
    await node.same(ada, ben)
    last = await ben.word(1)
    await node.same(ada, ben)
    text = await ada.text()
    assert [word for word in (await ben.typed()).words if text.count(word) != 1] == []
    assert last in text
    await house.reads(document, text)


@pytest.mark.parametrize("kind", KINDS)
async def test_removed_while_typing(node: Driver, house: House, kind: Kind) -> None:
    """And let in again, when the client is told to try again."""
    document = await house.document()
    ada = await house.open(node, "hocuspocus", document)
    ben = await house.open(node, kind, document, "Ben")
    await ben.type(seed=2, words=100_000, every_ms=5)
    await ben.has_typed(20)
    await house.remove("Ben")
    if kind in ("hocuspocus", "hocuspocus3"):
        assert await ben.refused() == ["not-found"]
    else:
        assert (await ben.closed())[0] == {"code": 4403, "reason": "not-found"}
        assert (await ben.refused())[0] == "not-found"
    before = await ben.typed()
    await ben.has_typed(len(before.words) + 10)
    stopped = await ben.stop_typing()
    await ada.misses("user", (await ben.awareness())[(await ben.status())["client_id"]].get("user"))
    await ada.word(0)
    await ada.saved()
    text = await ada.text()
    assert [word for word in stopped.acknowledged if text.count(word) != 1] == []
    assert [word for word in stopped.words[len(before.words) :] if word in text] == []
    assert stopped.acknowledged == before.acknowledged

    await house.role("Ben", "editor", new=True)
    await ben.reopen()
    await node.same(ada, ben)
    if kind in ("hocuspocus", "hocuspocus3"):
        await ben.saved()
    text = await ada.text()
    assert [word for word in (await ben.typed()).words if text.count(word) != 1] == []
    await house.reads(document, text)


async def test_one_of_several_documents(node: Driver, house: House) -> None:
    """A provider that loses one document of its socket keeps the others."""
    mine = await house.document("one")
    elsewhere = (await house.ask("POST", "/workspaces", {"name": "Other"}, status=201)).json["id"]
    path = f"/workspaces/{elsewhere}/members/{house.people['Ben'].id}"
    await house.ask("PUT", path, {"role": "editor"}, status=201)
    made = await house.ask("POST", f"/workspaces/{elsewhere}/documents", {"title": "Plan"}, status=201)
    ben = await house.open(node, "hocuspocus", mine, "Ben")
    other = await house.open(node, "hocuspocus", made.json["id"], shares=ben, token=house.people["Ben"].token)
    await house.ask("DELETE", path, status=204)
    assert await other.refused() == ["not-found"]
    await ben.insert(3, " two")
    await ben.saved()
    await asyncio.gather(ben.drop(), ben.closed())
    await ben.synced()
    await ben.insert(7, " three")
    await ben.saved()
    await house.reads(mine, "one two three")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_token_that_is_revoked(node: Driver, house: House, kind: Kind) -> None:
    document, ada = await house.document(), house.people["Ada"]
    wanted = {"name": "lost", "scopes": ["read", "write"]}
    lost = (await house.ask("POST", "/me/tokens", wanted, token=ada.access, status=201)).json
    one = await house.open(node, kind, document, **houses.credentials(kind, lost["token"]))
    await house.ask("DELETE", f"/me/tokens/{lost['id']}", token=ada.access, status=204)
    if kind in ("hocuspocus", "hocuspocus3"):
        assert await one.refused() == ["signed-out"]
    else:
        assert (await one.closed())[0] == {"code": 4401, "reason": "signed-out"}
    await one.destroy()
