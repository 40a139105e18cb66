"""Fixtures for every test: a database on each engine, a PostgreSQL server, and a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from mdserver import clock
from mdserver.store.db import Database, Engine

from . import engines


@pytest.fixture(params=engines.ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Runs the test on each engine; for tests that make their databases by themselves."""
    chosen: Engine = request.param
    return chosen


@pytest.fixture
async def database(engine: Engine) -> AsyncIterator[Database]:
    """An open, migrated, empty database; the test runs on each engine."""
    async with engines.fresh(engine) as made:
        yield made


class Clock:
    """The time as a test sets it, in UTC milliseconds."""

    def __init__(self) -> None:
        self.now = clock.parse("2026-01-31T12:00:00Z")

    def forward(self, milliseconds: int) -> None:
        """Let time pass."""
        self.now += milliseconds


@pytest.fixture
def frozen() -> Iterator[Clock]:
    """mdserver.clock stands still at 2026-01-31T12:00:00Z until the test moves it."""
    made = Clock()
    clock.set_source(lambda: made.now)
    yield made
    clock.set_source(None)
