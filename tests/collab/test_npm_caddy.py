"""The real clients through the real Caddy, with the shipped Caddyfile: https, lost connections, restarts of either."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.deploy.caddies import Caddy, Ports, caddy, free_ports
from tests.npm import clients
from tests.npm.clients import Client, Driver

from . import houses
from .houses import KINDS, House

BASE = "/notes"


@pytest.fixture
async def node() -> AsyncIterator[Driver]:
    async with clients.running() as driver:
        yield driver


class Front:
    """Caddy, which can be started anew at its address."""

    def __init__(self, place: Path, ports: Ports) -> None:
        self._place, self._ports = place, ports
        self._life = contextlib.ExitStack()

    async def start(self) -> None:
        entering = caddy(self._place, self._ports, base_path=BASE)
        self.caddy: Caddy = await asyncio.to_thread(self._life.enter_context, entering)

    async def stop(self) -> None:
        await asyncio.to_thread(self._life.close)

    async def killed(self) -> None:
        """kill -9, and started again."""
        self.caddy.process.kill()
        await self.stop()
        await self.start()

    async def restarted(self) -> None:
        await self.stop()
        await self.start()

    @property
    def authority(self) -> str:
        return str(self._place / "data" / "caddy" / "pki" / "authorities" / "local" / "root.crt")


async def test_through_caddy(node: Driver, tmp_path: Path) -> None:
    """Every kind of client, under a base path; each word is there once, whatever broke in between."""
    ports = free_ports()
    front = Front(tmp_path / "caddy", ports)
    environment = {
        "MDSERVER_SERVER__PUBLIC_URL": f"https://localhost:{ports.https}{BASE}",
        "MDSERVER_SERVER__BASE_PATH": BASE,
        "MDSERVER_SERVER__TRUSTED_PROXIES": "127.0.0.1",
    }
    async with houses.running(tmp_path, environment=environment, port=ports.upstream) as house:
        await front.start()
        try:
            house.base = BASE
            house.url = f"wss://localhost:{ports.https}{BASE}/collab"
            await _all_of_it(node, house, front, environment)
        finally:
            await front.stop()


async def _all_of_it(node: Driver, house: House, front: Front, environment: dict[str, str]) -> None:
    made = await house.ask("POST", f"/workspaces/{house.workspace}/documents", {"title": "Plan"}, status=201)
    document = str(made.json["id"])
    all_of_them = [
        await house.open(node, kind, document, ("Ada", "Ben")[at % 2], authority=front.authority)
        for at, kind in enumerate(KINDS)
    ]

    async def nothing() -> None:
        pass

    async def dropped() -> None:
        await asyncio.gather(*(one.drop() for one in all_of_them))

    async def server_restarted() -> None:
        assert await house.terminated() == 0
        await house.start(environment)

    async def server_killed() -> None:
        await house.kill()
        await house.start(environment)

    breaks: list[Callable[[], Awaitable[None]]] = [
        nothing,
        dropped,
        front.restarted,
        front.killed,
        server_restarted,
        server_killed,
    ]
    for happens in breaks:
        await asyncio.gather(*(one.word(0.5) for one in all_of_them))
        closed = [len((await one.status())["closes"]) for one in all_of_them]
        await happens()
        if happens != nothing:
            for one, before in zip(all_of_them, closed, strict=True):
                await one.closed(before + 1)
        await asyncio.gather(*(one.word(0.2) for one in all_of_them))
        await at_rest(node, house, document, all_of_them)
    assert 1012 in [one["code"] for one in await all_of_them[0].closed()]


async def at_rest(node: Driver, house: House, document: str, all_of_them: list[Client]) -> None:
    """All have come back by themselves, and have each word once; so has REST."""
    await node.same(*all_of_them)
    await asyncio.gather(*(one.saved() for one in all_of_them[:2]))
    text = await all_of_them[0].text()
    words = [word for one in all_of_them for word in (await one.typed()).words]
    assert [word for word in words if text.count(word) != 1] == []
    await house.reads(document, text)
