"""Devices, people and a server under random use and in bad weather: nothing is lost, nothing comes twice, all agree.

A run is a program from one seed (program.py), judged by a referee (world.py). What the judging is worth is shown by
mistakes that it finds (mutants.py).
"""

from __future__ import annotations

import copy
import shutil
from collections import Counter

import pytest

from mdserver import clock
from mdserver.collab import projector, rooms
from mdserver.model import compaction

from . import mutants
from .program import Program

STEPS = 300


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written live shows at once, and logs are merged that are short and young."""
    monkeypatch.setattr(projector, "SOON", 0.0)
    monkeypatch.setattr(rooms, "LOOKED_AFTER", 0.01)
    monkeypatch.setattr(compaction, "LEAST", 2)
    monkeypatch.setattr(compaction, "VERSIONS", clock.DAY)


async def test_on_sqlite() -> None:
    counts: Counter[str] = Counter()
    for seed in range(30):
        world = await Program("sqlite", seed).run(STEPS)
        counts.update(world.referee.counts)
    # What a run is to be about has to happen in it.
    for what in ("create", "edit", "trash", "move", "update"):
        assert counts[f"document.{what} applied"] > 20
    for what in ("create", "edit", "update"):
        assert counts[f"document.{what} duplicate"], what
    assert counts["document.edit merged"] > 50
    for what in ("document.edit conflict", "document.restore applied", "document.purge applied", "resync"):
        assert counts[what], what
    for what in ("access_revoked", "delete", "lost", "compact", "prune", "deletions", "epochs", "moments"):
        assert counts[what] > 5, what


@pytest.mark.parametrize("seed", range(3))
async def test_on_postgres(seed: int) -> None:
    await Program("postgres", seed).run(STEPS)


@pytest.mark.parametrize("mutant", mutants.ALL, ids=lambda one: one.__name__)
async def test_mistakes_are_found(mutant: mutants.Mutant) -> None:
    with pytest.MonkeyPatch.context() as patch:
        mutant(patch)
        for seed in range(20):
            try:
                await Program("sqlite", seed).run(STEPS)
            except AssertionError:
                return
    raise AssertionError("no run has found it")


@pytest.mark.parametrize("seed", range(6))
async def test_an_older_copy_of_the_database(seed: int) -> None:
    await older_copy(seed)


@pytest.mark.parametrize("mutant", mutants.OF_RESTORED, ids=lambda one: one.__name__)
async def test_mistakes_with_an_older_copy_are_found(mutant: mutants.Mutant) -> None:
    with pytest.MonkeyPatch.context() as patch:
        mutant(patch)
        for seed in range(20):
            try:
                await older_copy(seed)
            except AssertionError:
                return
    raise AssertionError("no run has found it")


async def older_copy(seed: int) -> None:
    """What was written since is lost; but everybody is told so, and all agree again, on what all have written since."""
    program = Program("sqlite", 100 + seed)
    world = program.world
    async with program.under_way():
        for _ in range(60):
            await program.step()
        if seed % 2:  # some devices know nothing newer than the copy
            await world.rest()
        await world.stop()
        older = world.path.with_name("older")
        shutil.copyfile(world.path, older)
        referee = copy.deepcopy(world.referee)
        await world.start()
        for _ in range(60):
            await program.step()
        for _ in range(10):  # not brought any more
            await program.edit()
        await world.stop()
        assert not list(world.path.parent.glob("*-wal"))
        shutil.copyfile(older, world.path)
        world.restored(referee)
        program.restored()
        await world.start()
        for _ in range(10):  # versions of the same numbers
            await program.rest_edit()
        for _ in range(10):
            await program.push()
        for _ in range(60 * (seed % 3)):  # before all have come to know
            await program.step()
        await world.rest()
        for _ in range(60):
            await program.step()
        await world.rest()
