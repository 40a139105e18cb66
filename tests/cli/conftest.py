"""Fixtures for commands: a home on each engine, or on SQLite where the engine does not matter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mdserver.store.db import Engine
from tests import engines

from .homes import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home on SQLite."""
    return Home(tmp_path / "data")


@pytest.fixture
def either(engine: Engine, tmp_path: Path) -> Iterator[Home]:
    """A home; the test runs on each engine."""
    if engine == "sqlite":
        yield Home(tmp_path / "data")
        return
    with engines.fresh_dsn() as dsn:
        yield Home(tmp_path / "data", database_url=dsn)
