"""Every kind of client in one document, with REST's edits between theirs: nothing is lost, all have the same."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.npm import clients
from tests.npm.clients import Driver

from . import houses, mixed
from .houses import House

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with houses.running(tmp_path_factory.mktemp("converge")) as made:
        yield made
    assert await made.faults() == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[Driver]:
    async with clients.running() as driver:
        yield driver


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_edits_and_lost_connections(node: Driver, house: House, seed: int) -> None:
    assert await mixed.converge(house, node, seed=seed, steps=150, rest=False) == []


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_edits_by_rest_between_them(node: Driver, house: House, seed: int) -> None:
    assert await mixed.converge(house, node, seed=seed, steps=150, rest=True) == []


@pytest.mark.parametrize("seed", [1, 2])
async def test_rest_edits_while_people_type(node: Driver, house: House, seed: int) -> None:
    assert await mixed.type_on(house, node, seed=seed, clients=3, edits=12) == []
