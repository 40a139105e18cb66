"""The indexer: follows the change log beside the requests, in units so small that no writer waits long for one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from mdserver.figures import Family, gauge
from mdserver.store.db import Database

from . import engines, indexing

log = logging.getLogger("mdserver.search")

GATHER = 0.2
"""Seconds for which it waits after a change for others, so that they are entered together."""

REST = 0.05
"""Most seconds between two units of work: as long as the last one took, so that half the time is the others'."""

RETRY = (1.0, 5.0, 30.0)

MERGE_AFTER = 4_000
"""Documents after which the index's segments are merged, when there is nothing else to do."""

MERGE_PAGES = 64


class Indexer:
    """Brings the index up to the documents. One for each database; `run` it as a task, stop it by cancelling."""

    def __init__(self, database: Database, *, gather: float = GATHER) -> None:
        self.gather = gather
        self._database = database
        self._todo: set[str] = set()
        self._wanted = asyncio.Event()
        self._hurried = asyncio.Event()
        self._idle = asyncio.Event()
        database.listen("workspace", self._changed)
        database.listen("search", lambda _: self._look_again())
        self._start_over = True
        self._entered = 0

    async def figures(self) -> list[Family]:
        """For those who watch the server: how far the index is behind."""
        waiting = await self._database.read(indexing.waiting)
        return [gauge("mdserver_search_waiting", "Changed documents that the index has not taken in.", waiting)]

    async def run(self) -> None:
        """Work until cancelled. What fails is logged and tried again: searches look at what waits by themselves."""
        failures = 0
        while True:
            try:
                if self._start_over:
                    self._start_over = False
                    self._todo.update(await self._database.read(indexing.lagging))
                if not self._todo and not self._start_over:
                    self._idle.set()
                    await self._merge()
                    await self._wanted.wait()
                    self._idle.clear()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._hurried.wait(), self.gather)
                self._wanted.clear()
                for workspace_id in list(self._todo):
                    self._todo.discard(workspace_id)
                    self._entered += await _bring_up(self._database, workspace_id, self._rest)
                failures = 0
            except Exception:
                log.exception("the search index could not be brought up to date; trying again")
                self._start_over = True
                await asyncio.sleep(RETRY[min(failures, len(RETRY) - 1)])
                failures += 1

    async def settled(self) -> None:
        """Return once the index knows all that was committed before."""
        self._look_again()
        self._idle.clear()
        self._hurried.set()
        try:
            await self._idle.wait()
        finally:
            self._hurried.clear()

    async def _merge(self) -> None:
        """Merge segments until something else is to be done."""
        while self._entered >= MERGE_AFTER and not self._wanted.is_set():
            if not await self._database.write(lambda tx: engines.of(tx).tidy(tx, MERGE_PAGES)):
                self._entered = 0
            await asyncio.sleep(REST)

    async def _rest(self, seconds: float) -> None:
        await asyncio.sleep(0 if self._hurried.is_set() else min(seconds, REST))

    def _changed(self, workspace_id: str) -> None:
        self._todo.add(workspace_id)
        self._wanted.set()

    def _look_again(self) -> None:
        self._start_over = True
        self._wanted.set()


async def bring_up(database: Database) -> None:
    """Bring the index up to date now, without a server."""
    for workspace_id in await database.read(indexing.lagging):
        await _bring_up(database, workspace_id, lambda seconds: asyncio.sleep(0))


async def _bring_up(database: Database, workspace_id: str, rest: Callable[[float], Awaitable[None]]) -> int:
    """Do all there is to do in a workspace; how many documents were entered.

    `rest` is told after each unit of work how long it took.
    """
    loop, entered = asyncio.get_running_loop(), 0
    while (batch := await database.read(lambda db: indexing.prepare(db, workspace_id))) is not None:
        for unit in indexing.units(batch):
            began = loop.time()
            await database.write(unit)
            await rest(loop.time() - began)
        entered += len(batch.entries)
    return entered


async def rebuild(database: Database) -> None:
    """Throw the index away; whoever runs an indexer has it made anew, and searches look directly until then."""
    await database.write(indexing.clear)


async def upkeep(database: Database, *, most: int = 200) -> int:
    """Merge the index's segments in bounded units of work; how many were needed. For the timetable."""
    for done in range(most):
        if not await database.write(lambda tx: engines.of(tx).tidy(tx, MERGE_PAGES)):
            return done + 1
        await asyncio.sleep(0.02)
    return most
