"""The real clients on the real server: who may open what, and how those who may see each other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from mdserver import clock
from mdserver.collab.presence import colour
from tests.npm import clients
from tests.npm.clients import Client, Driver, Field, Kind

from . import houses
from .houses import KINDS, House

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOCUSPOCUS: list[Kind] = ["hocuspocus", "hocuspocus3"]
Y_WEBSOCKET: list[Kind] = ["y-websocket", "y-websocket2"]
FIELDS: list[Field] = ["text", "codemirror"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with houses.running(tmp_path_factory.mktemp("live")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[Driver]:
    async with clients.running() as driver:
        yield driver


async def present(house: House, document: str) -> dict[str, int]:
    """Who has a document open, on how many sockets, as REST says."""
    told = (await house.ask("GET", f"/documents/{document}/presence")).json["items"]
    return {one["user"]["display_name"]: one["sessions"] for one in told}


async def comes_to(house: House, document: str, expected: dict[str, int]) -> None:
    """Wait until those have it open; a connection that broke is noticed after a moment."""

    async def there() -> bool:
        return await present(house, document) == expected

    await houses.until(there)


def shown(house: House, name: str) -> dict[str, str]:
    """How the server presents somebody to others."""
    person = house.people[name]
    return {"id": person.id, "name": name, "color": colour(person.id)}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(("kind", "other"), list(zip(KINDS, [*KINDS[2:], *KINDS[:2]], strict=True)))
async def test_two_kinds_in_a_document(node: Driver, house: House, kind: Kind, other: Kind, field: Field) -> None:
    """They open what was written by REST, see each other's edits and names, and REST says the same in the end."""
    document = await house.document("# Plan\n\n東京 😀\n")
    ada = await house.open(node, kind, document, field=field)
    ben = await house.open(node, other, document, "Ben", field=field)
    assert await ada.seen() == "# Plan\n\n東京 😀\n"
    await ada.insert(8, "one ")
    await ben.reads("# Plan\n\none 東京 😀\n")
    await ben.delete(12, 3)
    await ada.reads("# Plan\n\none 😀\n")

    await ada.sees("user", shown(house, "Ben"))
    await ben.sees("user", shown(house, "Ada"))
    assert await present(house, document) == {"Ada": 1, "Ben": 1}
    await ada.disconnect()
    await ben.misses("user", shown(house, "Ada"))
    await comes_to(house, document, {"Ben": 1})
    await ada.insert(0, "(offline)")
    await ben.drop()
    await ben.insert(0, "(dropped)")
    await ada.connect()
    await ben.synced()
    await node.same(ada, ben)
    text = await ada.seen()
    assert sorted(text.removesuffix("# Plan\n\none 😀\n")) == sorted("(offline)(dropped)")
    await house.reads(document, text)
    for one in (ada, ben):
        await one.destroy()


@pytest.mark.parametrize("kind", KINDS)
async def test_nobody_has_a_name_of_their_own_making(node: Driver, house: House, kind: Kind) -> None:
    document = await house.document()
    ada = await house.open(node, kind, document)
    eve = await house.open(node, kind, document, "Eve")
    await eve.set_awareness("user", {"name": "Ada", "id": house.people["Ada"].id})
    await eve.set_awareness("cursor", {"anchor": 3})
    await ada.sees("cursor", {"anchor": 3})
    seen = (await ada.awareness())[(await eve.status())["client_id"]]
    assert seen == {"user": shown(house, "Eve"), "cursor": {"anchor": 3}}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_newcomer_hears_who_is_there(node: Driver, house: House, kind: Kind) -> None:
    """Also one that comes back, and without anybody's moving."""
    document = await house.document()
    ada = await house.open(node, "hocuspocus", document)
    ben = await house.open(node, kind, document, "Ben")
    for leave in (ben.disconnect, ben.drop, ben.reopen):
        await ben.sees("user", shown(house, "Ada"), seconds=10)
        await leave()
        if leave == ben.disconnect:
            await ben.connect()
    await ben.sees("user", shown(house, "Ada"), seconds=10)
    await ada.disconnect()
    await ben.misses("user", shown(house, "Ada"))


@pytest.mark.parametrize("kind", HOCUSPOCUS)
async def test_what_opens_a_document_for_a_provider(node: Driver, house: House, kind: Kind) -> None:
    """A personal token, an access token, a ticket; or what opened its socket."""
    document, ada = await house.document("one"), house.people["Ada"]
    for token in (ada.token, ada.access, await house.ticket()):
        one = await house.open(node, kind, document, token=token)
        assert (await one.text(), (await one.status())["scope"]) == ("one", "read-write")
    one = await house.open(node, kind, document, headers={"Authorization": f"Bearer {ada.access}"})
    assert await one.text() == "one"
    assert await present(house, document) == {"Ada": 4}


@pytest.mark.parametrize("kind", Y_WEBSOCKET)
async def test_what_opens_a_document_for_y_websocket(node: Driver, house: House, kind: Kind) -> None:
    document, ada = await house.document("one"), house.people["Ada"]
    ways: list[dict[str, Any]] = [
        {"ticket": await house.ticket()},
        {"protocols": ["mdserver.v1", f"bearer.{ada.access}"]},
        {"protocols": ["mdserver.v1", f"bearer.{ada.token}"]},
        {"headers": {"Authorization": f"Bearer {ada.access}"}},
    ]
    for way in ways:
        one = await house.open(node, kind, document, **way)
        assert await one.text() == "one"
    assert await present(house, document) == {"Ada": 4}


@pytest.mark.parametrize("kind", HOCUSPOCUS)
async def test_a_provider_that_is_denied(node: Driver, house: House, kind: Kind) -> None:
    """It hears why, and keeps its socket: with what is good it gets in there."""
    document = await house.document("one")
    one = await house.open(node, kind, document, token="mds_nothing", wait=False)
    assert await one.refused() == ["signed-out"]
    other = await house.open(node, kind, "0" * 32, shares=one, token=house.people["Ada"].token, wait=False)
    assert await other.refused() == ["not-found"]
    third = await house.open(node, kind, document, shares=one, token=house.people["Ada"].token)
    assert await third.text() == "one"
    assert (await one.status())["closes"] == []


@pytest.mark.parametrize("kind", Y_WEBSOCKET)
async def test_a_y_websocket_client_that_is_denied(node: Driver, house: House, kind: Kind) -> None:
    """3.x stays away after 4401 and 4403, until it is told to come; 2.x comes again and again."""
    document = await house.document("one")
    ticket = await house.ticket()
    one = await house.open(node, kind, document, ticket=ticket)
    await one.drop()
    closed = await one.closed(2)
    assert closed[:2] == [{"code": 1006, "reason": ""}, {"code": 4401, "reason": "signed-out"}]  # it was for one time
    if kind == "y-websocket":
        assert (await one.status())["status"] == "disconnected"
        await one.credentials(ticket=await house.ticket())
        await one.connect()
    else:
        await one.credentials(protocols=["mdserver.v1", f"bearer.{house.people['Ada'].token}"])
        await one.closed(4)
    missing = await house.open(node, kind, "0" * 32, wait=False)
    assert (await missing.closed())[0] == {"code": 4403, "reason": "not-found"}
    for each in (one, missing):
        await each.destroy()


@pytest.mark.parametrize("kind", KINDS)
async def test_who_may_only_read(node: Driver, house: House, kind: Kind) -> None:
    """A viewer, and a token that is for reading: they see everything, and nothing of theirs gets anywhere."""
    document = await house.document("one")
    ada = await house.open(node, "hocuspocus", document)
    eve = await house.open(node, kind, document, "Eve")
    program = await house.open(node, kind, document, **houses.credentials(kind, house.people["Ada"].reading))
    await ada.insert(3, " two")
    for one in (eve, program):
        await one.reads("one two")
        if kind in HOCUSPOCUS:
            assert (await one.status())["scope"] == "readonly"
        await one.insert(0, "no ")
        assert await one.text() == "no one two"
        await one.set_awareness("told", await one.text())  # after the edit, in order
        await ada.sees("told", "no one two")
        if kind in HOCUSPOCUS:
            assert await one.unsynced() == 1
    assert await ada.text() == "one two"
    await ada.saved()
    await house.reads(document, "one two")


@pytest.mark.parametrize("kind", HOCUSPOCUS)
async def test_many_documents_on_a_socket(node: Driver, house: House, kind: Kind) -> None:
    """Each has its own text and rights; leaving one leaves the others; all come back when the socket broke."""
    documents = [await house.document(f"{number}") for number in range(12)]
    first = await house.open(node, kind, documents[0])
    token, reading = house.people["Ada"].token, house.people["Ada"].reading
    others = await asyncio.gather(
        *(
            house.open(node, kind, one, shares=first, token=reading if number % 3 == 0 else token)
            for number, one in enumerate(documents[1:], 1)
        )
    )
    everybody = [first, *others]
    assert Counter([(await one.status())["scope"] for one in everybody]) == {"read-write": 9, "readonly": 3}
    await asyncio.gather(*(one.insert(0, "x") for one in everybody))
    await asyncio.gather(*(one.saved() for number, one in enumerate(everybody) if number % 3 or not number))
    for number, document in enumerate(documents):
        await house.reads(document, f"{number}" if number and number % 3 == 0 else f"x{number}")

    await others[0].disconnect()
    await comes_to(house, documents[1], {})
    await others[1].insert(0, "y")
    await others[1].saved()
    await first.drop()
    await others[0].insert(0, "z")
    await others[0].connect()
    await asyncio.gather(*(one.synced() for one in everybody))
    await asyncio.gather(first.saved(), others[0].saved(), others[1].saved())
    assert [await house.text(one) for one in documents[:1]] == ["x0"]
    await house.reads(documents[1], "zx1")
    await house.reads(documents[2], "yx2")


async def test_a_document_twice_on_a_socket(node: Driver, house: House) -> None:
    """4.x tells the two apart by a session; 3.x has no such thing."""
    document = await house.document("one")
    first = await house.open(node, "hocuspocus", document, options={"sessionAwareness": True})
    second = await house.open(
        node, "hocuspocus", document, shares=first, token=house.people["Ada"].token, options={"sessionAwareness": True}
    )
    assert await present(house, document) == {"Ada": 2}
    await first.insert(0, "a")
    await second.reads("aone")
    await second.insert(0, "b")
    await first.reads("baone")
    await asyncio.gather(first.saved(), second.saved())
    await second.set_awareness("cursor", 1)
    await first.sees("cursor", 1)
    await second.disconnect()
    await first.misses("cursor", 1)
    assert await present(house, document) == {"Ada": 1}


async def test_a_token_that_expires_is_asked_for_again(node: Driver, house: House) -> None:
    """The provider's function gives another one, without losing a word; what the new one may not, ends."""
    document, ada = await house.document(), house.people["Ada"]
    until = clock.rfc3339(clock.now() + 1500)
    wanted = {"name": "brief", "scopes": ["read", "write"], "expires_at": until}
    brief = (await house.ask("POST", "/me/tokens", wanted, token=ada.access, status=201)).json["token"]
    one = await house.open(node, "hocuspocus", document, token=brief)
    other = await house.open(node, "hocuspocus", document, "Ben")
    await one.credentials(token=ada.reading)
    await one.type(seed=1, every_ms=20)
    await one.has_scope("readonly")
    await one.stop_typing()
    await other.insert(0, "(still here)")

    async def hears() -> bool:
        return "(still here)" in await one.text()

    await houses.until(hears)
    await one.credentials(token=ada.token)
    await one.drop()
    await one.saved()
    await node.same(one, other)
    typed = await one.typed()
    text = await other.text()
    assert [word for word in typed.words if text.count(word) != 1] == []
    assert typed.words != []


async def opened(house: House, node: Driver, document: str) -> list[Client]:
    """A client of each kind."""
    return [await house.open(node, kind, document) for kind in KINDS]


async def test_a_document_that_goes(node: Driver, house: House) -> None:
    """Those who have it open are told when it is trashed, each in its own way; restored, it opens again."""
    document = await house.document("one")
    new, old, third, second = await opened(house, node, document)
    await house.ask("PUT", f"/documents/{document}/trash", headers={"If-Match": "*"})
    for one in (new, old):
        assert await one.refused() == ["conflict"]
    for one in (third, second):
        assert (await one.closed())[0] == {"code": 4403, "reason": "conflict"}
    await second.destroy()
    await house.ask("DELETE", f"/documents/{document}/trash", headers={"If-Match": "*"})
    await third.connect()
    await new.reopen()
    await old.reopen()
    await third.synced()
    assert await new.text() == await old.text() == await third.text() == "one"
