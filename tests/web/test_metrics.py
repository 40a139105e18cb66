"""`/metrics`: who may read it, that it tells the truth, and that it is told whatever fails."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any

import pytest

from mdserver.app import INDEXER, TIMETABLE
from mdserver.config import Rate, Rates, Secret
from mdserver.config import Server as ServerSection
from mdserver.config_sections import Metrics
from mdserver.figures import Family, gauge
from mdserver.store.db import Database
from mdserver.web import metrics
from mdserver.web.metrics import SOURCES

from .conftest import Server, Start

TOKEN = "a-token-of-enough-letters"


class Scraped(dict[str, float]):
    """`name{label="value"}` → value, and the type of each name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
        for line in text.splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                assert name not in self
                self[name] = float(value)
                assert re.fullmatch(r"[a-z_]+(\{([a-z_]+=\"[^\"]*\",?)*\})?", name), line

    def sum(self, start: str) -> float:
        return sum(value for name, value in self.items() if name.startswith(start))


async def scrape(server: Server, **headers: str) -> Scraped:
    response = await server.http.get("/metrics", headers=headers)
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    return Scraped(await response.text())


async def test_requests_are_counted_by_route_and_status(server: Server) -> None:
    ada = await server.person("Ada")
    place = f"/workspaces/{ada.workspace_id}/documents"
    for _ in range(3):
        assert (await ada.post(place, {"title": "Plan", "content": "x"})).status == 201
    for _ in range(2):
        assert (await ada.get(place)).status == 200  # answered at once, as its bytes arrive
    assert (await ada.get("/documents/nothing")).status == 404
    assert (await server.anonymous.get(place)).status == 401
    assert (await server.http.get("/no/such/place")).status == 404
    assert (await server.http.head("/healthz")).status == 200

    told = await scrape(server)
    route = '{method="%s",route="%s",status="%s"}'

    def count(method: str, path: str, status: str) -> float:
        return told["mdserver_requests_total" + route % (method, path, status)]

    listing = "/api/v1/workspaces/{id}/documents"
    assert count("POST", listing, "2xx") == 3
    assert count("GET", listing, "2xx") == 2
    assert count("GET", listing, "4xx") == 1
    assert count("GET", "/api/v1/documents/{id}", "4xx") == 1
    assert count("*", "*", "4xx") == 1
    assert count("GET", "/healthz", "2xx") == 1
    assert told.types["mdserver_requests_total"] == "counter"
    assert told.types["mdserver_request_seconds"] == "histogram"
    assert told['mdserver_request_seconds_count{class="writes"}'] == 3
    assert told['mdserver_request_seconds_bucket{class="writes",le="+Inf"}'] == 3
    assert told['mdserver_request_seconds_sum{class="writes"}'] > 0
    assert told["mdserver_requests_under_way"] == 1  # this one
    assert told.sum("mdserver_build_info{") == 1
    assert not any(ada.id in name or "Plan" in name for name in told)
    again = await scrape(server)
    assert again["mdserver_requests_total" + route % ("GET", "/metrics", "2xx")] == 1


async def test_the_database_is_watched(server: Server) -> None:
    ada = await server.person("Ada")
    before = await scrape(server)
    place = f"/workspaces/{ada.workspace_id}/documents"
    await asyncio.gather(*[ada.post(place, {"title": f"Plan {n}", "content": "x"}) for n in range(8)])
    told = await scrape(server)
    commits = told["mdserver_commit_seconds_count"] - before["mdserver_commit_seconds_count"]
    assert commits >= 1
    assert told['mdserver_database_bytes{file="database"}'] > 0
    assert told['mdserver_database_waiting{for="writer"}'] == 0
    if server.database.engine == "sqlite":
        assert told["mdserver_commit_units_count"] == told["mdserver_commit_seconds_count"]
        units = told["mdserver_commit_units_sum"] - before["mdserver_commit_units_sum"]
        assert units >= 8
        assert commits <= units
        assert 'mdserver_database_bytes{file="wal"}' in told
    else:
        assert 'mdserver_database_connections_busy{for="writer"}' in told
        assert "mdserver_database_conflicts_total" in told


async def test_jobs_and_the_index_are_watched(server: Server) -> None:
    ada = await server.person("Ada")
    await server.app[TIMETABLE].run("purge-trash")
    indexer = server.app[INDEXER]
    await asyncio.wait_for(indexer.settled(), 60)
    assert (await scrape(server))["mdserver_search_waiting"] == 0
    indexer.gather = 600  # what changes from now on waits
    for title in ("Plan", "Another"):
        made = await ada.post(f"/workspaces/{ada.workspace_id}/documents", {"title": title, "content": "x"})
        assert made.status == 201
    told = await scrape(server)
    assert told["mdserver_search_waiting"] == 2
    assert told['mdserver_job_success_timestamp_seconds{job="purge-trash"}'] > 1_700_000_000
    assert told['mdserver_job_failures{job="purge-trash"}'] == 0
    assert not any(name.startswith("mdserver_backup") for name in told)  # none are scheduled


async def test_what_limits_refuse_is_counted(start: Start) -> None:
    server = await start(rates=Rates(reads=Rate(2, 3600)))
    statuses = [(await server.anonymous.get("/openapi.json")).status for _ in range(5)]
    assert statuses == [200, 200, 429, 429, 429]
    told = await scrape(server)
    assert told['mdserver_rate_limited_total{class="reads"}'] == 3
    assert told['mdserver_rate_limited_total{class="writes"}'] == 0


async def test_without_a_token_only_this_machine_reads_them(server: Server) -> None:
    ada = await server.person("Ada", admin=True)
    for header in ("X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "Via", "X-Real-IP"):
        response = await server.http.get("/metrics", headers={header: "127.0.0.1", **ada.headers})
        assert response.status == 404
        assert (await response.json())["type"].endswith("/problems/not-found")
    assert (await server.http.get("/metrics", headers={"Host": "notes.example.org"})).status == 404
    await scrape(server)
    await scrape(server, Authorization="Bearer whatever")


async def test_with_a_token_only_who_has_it_reads_them(start: Start) -> None:
    proxied = ServerSection(trusted_proxies=())
    server = await start(metrics=Metrics(token=Secret(TOKEN)), server=proxied)
    ada = await server.person("Ada", admin=True)
    wrong: Iterable[dict[str, str]] = (
        {},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN}é"},
        {"Authorization": TOKEN},
        ada.headers,
    )
    for headers in wrong:
        response = await server.http.get("/metrics", headers=headers)
        assert response.status == 401, headers
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert TOKEN not in await response.text()
    await scrape(server, Authorization=f"Bearer {TOKEN}")
    await scrape(server, Authorization=f"bearer {TOKEN}", **{"X-Forwarded-For": "203.0.113.9"})


async def test_others_add_what_they_know_and_cannot_spoil_the_rest(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def good() -> list[Family]:
        return [gauge("mdserver_jobs_waiting", "Jobs that are due.", 2)]

    async def broken() -> list[Family]:
        raise RuntimeError("no such table")

    async def slow() -> list[Family]:
        await asyncio.sleep(600)
        return []

    monkeypatch.setattr(metrics, "PATIENCE", 0.05)
    server.app[SOURCES].extend([broken, slow, good])
    told = await scrape(server)
    assert told["mdserver_jobs_waiting"] == 2
    assert "mdserver_requests_under_way" in told
    assert "no such table" in caplog.text


async def test_told_although_the_database_is_gone(start: Start, database: Database) -> None:
    server = await start()
    await database.close()
    told: Any = await scrape(server)
    assert "mdserver_requests_under_way" in told
    assert "process_cpu_seconds_total" in told
