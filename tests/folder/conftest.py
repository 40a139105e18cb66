"""A server of the test's own on SQLite, with people whose folders are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mdserver.store.db import Database
from tests import engines
from tests.web.conftest import Server, Start
from tests.web.conftest import start as start

from .world import World


@pytest.fixture
async def database(request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """The client does not see which engine the server has: one is enough, where `on_both` does not ask for both."""
    async with engines.fresh(getattr(request, "param", "sqlite")) as made:
        yield made


@pytest.fixture
async def server(start: Start) -> Server:
    return await start()


@pytest.fixture
async def world(server: Server, tmp_path: Path) -> World:
    return World(server, await server.person("Ada"), tmp_path)
