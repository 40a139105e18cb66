"""Devices, people and a server under random use and in bad weather: nothing is lost, nothing comes twice, all agree."""

from __future__ import annotations

import pytest

from .program import Program


@pytest.mark.parametrize("seed", range(3))
async def test_on_sqlite(seed: int) -> None:
    world = await Program("sqlite", seed).run(300)
    print(world.referee.counts)
