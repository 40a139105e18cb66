"""Real clients that do more than they may, under the limits of config.example.toml: slowed down, never robbed.

Only documents on a socket are fewer here than there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.npm import clients
from tests.npm.clients import Driver, Kind

from . import houses
from .houses import KINDS, House

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEFAULT = {
    "MDSERVER_LIMITS__FRAMES_SECOND": "60",
    "MDSERVER_LIMITS__FRAMES_BURST": "200",
    "MDSERVER_LIMITS__USER_SOCKETS": "20",
    "MDSERVER_LIMITS__SOCKET_DOCUMENTS": "30",
}


@pytest_asyncio.fixture(loop_scope="module")
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with houses.running(tmp_path, environment=DEFAULT) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[Driver]:
    async with clients.running() as driver:
        yield driver


@pytest.mark.parametrize("kind", KINDS)
async def test_a_large_paste(node: Driver, house: House, kind: Kind) -> None:
    """More than a message may hold: the socket is closed with 1009, and what was pasted comes with the next one."""
    document = await house.document()
    one = await house.open(node, kind, document)
    other = await house.open(node, "hocuspocus", document, "Ben")
    pasted = "東京 😀 and words\n" * 80_000
    await one.insert(0, pasted)
    assert (await one.closed())[0]["code"] == 1009
    await one.synced()
    await node.same(one, other)
    if kind in ("hocuspocus", "hocuspocus3"):
        await one.saved()
    assert await other.text() == pasted
    await house.reads(document, pasted)
    assert len(await one.closed()) == 1


async def test_faster_than_anybody_types(node: Driver, house: House) -> None:
    """250 edits at once, online and offline: they are heard more slowly, and all are saved."""
    document = await house.document()
    all_of_them = [await house.open(node, kind, document) for kind in ("hocuspocus", "y-websocket")]
    ben = await house.open(node, "hocuspocus", document, "Ben")
    await ben.disconnect()
    await asyncio.gather(*(one.word(number / 250) for number in range(250) for one in (*all_of_them, ben)))
    await ben.connect()
    await asyncio.gather(all_of_them[0].saved(), ben.saved())
    await node.same(*all_of_them, ben)
    text = await ben.text()
    words = [word for one in (*all_of_them, ben) for word in (await one.typed()).words]
    assert [word for word in words if text.count(word) != 1] == []
    assert [(await one.status())["closes"] for one in all_of_them] == [[], []]
    await house.reads(document, text)


async def test_a_document_more_than_there_may_be(node: Driver, house: House) -> None:
    """On one socket; after it broke, all come back at once."""
    documents = await asyncio.gather(*(house.document(f"{number}\n") for number in range(31)))
    token = house.people["Ada"].token
    first = await house.open(node, "hocuspocus", documents[0])
    others = await asyncio.gather(
        *(house.open(node, "hocuspocus", one, shares=first, token=token) for one in documents[1:30])
    )
    one_more = await house.open(node, "hocuspocus", documents[30], shares=first, token=token, wait=False)
    assert await one_more.refused() == ["too-many-documents"]
    await one_more.destroy()
    await first.drop()
    await asyncio.gather(*(one.insert(0, "x") for one in (first, *others)))
    await asyncio.gather(*(one.saved() for one in (first, *others)))
    assert await others[-1].text() == "x29\n"
    await house.reads(documents[29], "x29\n")


async def test_as_many_sockets_as_there_may_be(node: Driver, house: House) -> None:
    """One more waits outside, and comes in by itself when somebody leaves."""
    document = await house.document()
    kinds: list[Kind] = [KINDS[2 + number % 2] for number in range(20)]
    all_of_them = await asyncio.gather(*(house.open(node, kind, document) for kind in kinds))
    late = await house.open(node, "y-websocket", document, wait=False)
    assert (await late.closed())[0]["code"] == 1006
    assert "429" in "".join((await late.status())["errors"])
    await all_of_them[0].disconnect()
    await late.synced()
    await late.insert(0, "late")
    await all_of_them[1].reads("late")
