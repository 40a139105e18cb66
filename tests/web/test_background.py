"""Background jobs beside the requests: the application starts them and stops them."""

from __future__ import annotations

from mdserver.app import TIMETABLE
from mdserver.config import Jobs

from .conftest import Start


async def test_the_application_keeps_the_timetable(start: Start) -> None:
    server = await start(jobs=Jobs())
    table = server.app[TIMETABLE]
    while not (known := await table.records()):
        pass
    assert set(known) == {one.name for one in table.jobs.values() if not one.off}
    assert {one.started_at for one in known.values()} == {None}  # nothing runs in the first moments
    assert (await server.http.get("/healthz")).status == 200


async def test_unless_it_is_told_not_to(start: Start) -> None:
    server = await start(jobs=Jobs(enabled=False))
    assert (await server.http.get("/healthz")).status == 200
    assert await server.app[TIMETABLE].records() == {}
    assert await server.app[TIMETABLE].run("purge-trash") == "0 documents purged"
