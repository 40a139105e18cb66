"""Alive, ready, which version: also when the database, the disk or the end is near."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_aiohttp.plugin import AiohttpClient

from mdserver import __version__
from mdserver.store.db import Database, Engine, Reader
from mdserver.web import edge, health
from mdserver.web.api import DB
from tests import engines

from .bare import bare


@pytest.fixture
async def sqlite() -> AsyncIterator[Database]:
    """These pages hardly touch the database: one engine is enough."""
    async with engines.fresh("sqlite") as made:
        yield made


async def test_a_healthy_server(aiohttp_client: AiohttpClient, database: Database, tmp_path: Path) -> None:
    client = await aiohttp_client(bare(database, data=tmp_path))
    for path, expected in {
        "/healthz": {"status": "ok"},
        "/readyz": {"status": "ready", "checks": {"database": "ok", "disk": "ok", "process": "ok"}},
        "/version": {"name": "mdserver", "version": __version__, "run": edge.RUN},
    }.items():
        response = await client.get(path)
        assert (response.status, await response.json()) == (200, expected)
        assert "RateLimit" not in response.headers
        assert (await client.head(path)).status == 200


async def test_not_ready_while_stopping(aiohttp_client: AiohttpClient, sqlite: Database) -> None:
    app = bare(sqlite)
    client = await aiohttp_client(app)
    app[edge.STOPPING].append(True)
    response = await client.get("/readyz")
    problem = await response.json()
    assert response.status == 503
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Retry-After"] == "5"
    assert problem["detail"] == "Not ready: process."
    assert problem["checks"] == {"database": "ok", "disk": "ok", "process": "stopping"}
    assert (await client.get("/healthz")).status == 200


async def test_not_ready_without_a_database(
    aiohttp_client: AiohttpClient, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    async with engines.fresh(engine) as database:
        client = await aiohttp_client(bare(database))
    response = await client.get("/readyz")
    assert response.status == 503
    assert (await response.json())["checks"]["database"] == "cannot be read"
    assert "the database cannot be read" in caplog.text


async def test_not_ready_when_the_database_stalls(
    aiohttp_client: AiohttpClient, sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stall(question: Callable[[Reader], Any]) -> Any:
        await asyncio.sleep(30)

    monkeypatch.setattr(health, "PATIENCE", 0.01)
    app = bare(sqlite)
    monkeypatch.setattr(app[DB], "read", stall)
    client = await aiohttp_client(app)
    assert (await (await client.get("/readyz")).json())["checks"]["database"] == "does not answer within 0.01 s"


async def test_not_ready_without_room_or_directory(
    aiohttp_client: AiohttpClient, sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    client = await aiohttp_client(bare(sqlite, data=data))

    async def disk() -> str:
        said: str = (await (await client.get("/readyz")).json())["checks"]["disk"]
        return said

    monkeypatch.setattr(health, "LEAST_FREE", 1 << 60)
    assert await disk() == "the disk is full"
    monkeypatch.setattr(health, "LEAST_FREE", 0)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert await disk() == "the data directory cannot be written"
    data.rmdir()
    assert await disk() == "the data directory cannot be reached"
