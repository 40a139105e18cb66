"""kill -9 and SIGTERM under the real clients: what they were told is saved is there, once, before they are back."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.npm import clients
from tests.npm.clients import Client, Driver, Kind
from tests.robust import shim

from . import houses
from .dying import MOMENTS, Story
from .houses import KINDS, House

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with houses.running(tmp_path) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[Driver]:
    async with clients.running() as driver:
        yield driver


@pytest.mark.parametrize("moment", [*MOMENTS, ""], ids=lambda one: one or "kill")
async def test_killed_while_people_type(node: Driver, house: House, moment: str) -> None:
    story = Story(house, node, seed=1)
    assert await story.live(moment) == []
    assert await story.end() == []
    assert story.typed > 0


async def test_an_early_server_is_found_out(node: Driver, tmp_path: Path) -> None:
    """One that tells what is saved before it is."""
    async with houses.running(tmp_path, entry=("-m", "tests.robust.mutants", "early")) as house:
        story = Story(house, node, seed=2)
        faults: list[str] = []
        for _ in range(12):  # not each death falls where this fault shows
            faults += await story.live("before-commit")
            if faults:
                break
    assert "acknowledged and lost" in "\n".join(faults)


async def everybody(node: Driver, house: House, document: str) -> list[Client]:
    """A client of each kind, of Ada and Ben in turn."""
    return [await house.open(node, kind, document, ("Ada", "Ben")[at % 2]) for at, kind in enumerate(KINDS)]


async def wrong(node: Driver, house: House, document: str, all_of_them: list[Client]) -> list[str]:
    """What is wrong once all are at rest: each word has to be there once, in REST's eyes, too."""
    await node.same(*all_of_them)
    text = await all_of_them[0].text()
    words = [word for one in all_of_them for word in (await one.typed()).words]
    await house.reads(document, text)
    return [word for word in words if text.count(word) != 1]


async def test_stopped_while_people_type(node: Driver, house: House) -> None:
    """SIGTERM: all sockets are closed with 1012, what was heard is stored, and the clients come back by themselves."""
    document = await house.document()
    all_of_them = await everybody(node, house, document)
    for number, one in enumerate(all_of_them):
        await one.type(seed=number, words=100_000, every_ms=3)
    await all_of_them[0].has_typed(20, acknowledged=True)
    assert await house.terminated() == 0
    assert await house.faults() == []
    for one in all_of_them:
        assert (await one.closed())[0] == {"code": 1012, "reason": "the server is restarting"}
    typed = [await one.stop_typing() for one in all_of_them]
    await house.start()
    text = await house.text(document)
    assert [word for one in typed for word in one.acknowledged if text.count(word) != 1] == []
    await asyncio.gather(*(one.synced() for one in all_of_them))
    await asyncio.gather(*(one.saved() for one in all_of_them[:2]))
    assert await wrong(node, house, document, all_of_them) == []


@pytest.mark.parametrize("kind", ["hocuspocus", "y-websocket"])
async def test_stopped_while_somebody_comes(node: Driver, tmp_path: Path, kind: Kind) -> None:
    """Who was let in as the others were sent away is sent away, too: nobody is waited for."""
    patient = {"MDSERVER_SERVER__SHUTDOWN_SECONDS": "600"}
    entry = ("-m", "tests.robust.mutants", "sluggish")
    async with houses.running(tmp_path, entry=entry, environment=patient) as house:
        document = await house.document("one")
        one = await house.open(node, kind, document, wait=False)

        async def is_let_in() -> bool:
            return (await one.status())["status"] == "connected"

        await houses.until(is_let_in)
        assert await house.terminated() == 0
        assert (await one.closed())[0]["code"] == 1012
        await one.destroy()


async def test_people_who_went_on_without_the_server(node: Driver, house: House) -> None:
    """Each kind of client edits while the server is away, some with a fresh start of the application in between."""
    document = await house.document("begun\n")
    all_of_them = await everybody(node, house, document)
    for _ in range(2):
        await asyncio.gather(*(one.word(0.5) for one in all_of_them))
        await house.kill()
        for at, one in enumerate(all_of_them):
            await one.disconnect()
            for place in (0.1, 0.9, 0.5):
                await one.word(place)
            if at % 2:
                await one.reopen(fresh=True, wait=False)
                await one.word(0.3)
        await house.start()
        for at, one in enumerate(all_of_them):
            if not at % 2:
                await one.connect()
            await one.synced()
        assert await wrong(node, house, document, all_of_them) == []
    await house.stop()
    assert await house.faults() == []


async def test_killed_as_edits_made_offline_come_in(node: Driver, house: House) -> None:
    """A provider says "saved" when all of them are in the log, and not before; also when it dies in between."""
    document = await house.document()
    one = await house.open(node, "hocuspocus", document)
    old = await house.open(node, "hocuspocus3", document)
    for moment in ("live-appended:1", "before-commit:2", "after-commit:1"):
        for each in (one, old):
            await each.disconnect()
            for place in range(12):
                await each.word(place / 12)
        await house.stop()
        await house.start({"MDSERVER_FAILPOINT": moment})
        for each in (one, old):
            await each.connect()
        for place in range(4):
            await one.word(place / 4)
        assert await house.died() == -signal.SIGKILL
        await asyncio.gather(one.disconnect(), old.disconnect())
        typed = [await each.typed() for each in (one, old)]
        await house.start()
        text = await house.text(document)
        assert [word for each in typed for word in each.acknowledged if text.count(word) != 1] == []
        for each in (one, old):
            await each.connect()
            await each.saved()
        await house.kill()  # right at "saved"
        await asyncio.gather(one.disconnect(), old.disconnect())
        await house.start()
        text = await house.text(document)
        assert [word for each in typed for word in each.words if text.count(word) != 1] == []


async def test_killed_as_it_brings_texts_up_at_its_start(node: Driver, house: House) -> None:
    document = await house.document()
    one = await house.open(node, "hocuspocus", document)
    await one.word(0)
    await one.saved()
    await house.kill()
    await one.disconnect()
    await house.start({"MDSERVER_FAILPOINT": "live-projected"})
    assert await house.died() == -signal.SIGKILL
    await house.start()
    assert await house.text(document) == await one.text()
    await house.stop()
    assert await house.faults() == []


@pytest.mark.parametrize("kind", ["enospc", "eio", "eio-sync"])
async def test_a_disk_that_fails_while_people_type(node: Driver, tmp_path: Path, kind: str) -> None:
    """They hear of it, go on typing and see each other; nothing is called saved; all is, when the disk is well."""
    control = tmp_path / "control"
    control.mkdir()
    environment = shim.environment(tmp_path / "data", control=control)
    async with houses.running(tmp_path, environment=environment) as house:
        document = await house.document()
        all_of_them = await everybody(node, house, document)
        providers = all_of_them[:2]
        await asyncio.gather(*(one.word(0.5) for one in all_of_them))
        await asyncio.gather(*(one.saved() for one in providers))
        (control / kind).write_text("0")
        await asyncio.gather(*(one.word(0.5) for one in all_of_them))
        for one in providers:
            assert json.loads((await one.told())[0]) == {"type": "storage", "saving": False}
            assert await one.unsynced() > 0
        ready = await house.ask("GET", "//readyz", status=503)
        assert "have not been stored" in ready.json["checks"]["live"]
        await node.same(*all_of_them)
        (control / kind).unlink()
        for one in providers:
            assert json.loads((await one.told(2))[1]) == {"type": "storage", "saving": True}
            await one.saved()
        assert await wrong(node, house, document, all_of_them) == []
        assert (await house.ask("GET", "//readyz")).json["checks"]["live"] == "ok"
        await house.kill()
        assert await house.faults() == []


async def test_a_disk_that_fails_for_long(node: Driver, tmp_path: Path) -> None:
    """When too much waits, the room takes nothing in any more, and asks for it when the disk is well."""
    control = tmp_path / "control"
    control.mkdir()
    environment = shim.environment(tmp_path / "data", control=control)
    async with houses.running(tmp_path, environment=environment) as house:
        document = await house.document()
        one = await house.open(node, "hocuspocus", document)
        other = await house.open(node, "y-websocket", document, "Ben")
        (control / "enospc").write_text("0")
        for number in range(12):
            await one.insert(0, f"{number % 10}" * 900_000)
        await other.word(1)
        await one.told()
        async with asyncio.timeout(30):
            assert len(await other.text()) < 12 * 900_000
        (control / "enospc").unlink()
        await one.saved()
        await node.same(one, other)
        text = await one.text()
        assert len(text) > 12 * 900_000
        await house.kill()
        await house.start()
        assert await house.text(document) == text
