"""The timetable: runs each job when it is due, one runner at a time across all processes, and keeps what came of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Literal, NamedTuple

from mdserver import clock, logs
from mdserver.errors import Busy, Conflict, NotFound, Problem
from mdserver.figures import Family, Sample
from mdserver.model import jobs
from mdserver.model.jobs import Claim, Record
from mdserver.store.db import Database, Tx, Unusable

from .job import Job, Lost, Stopped, Turn

log = logging.getLogger("mdserver.jobs")

FIRST, APART = 30.0, 30.0
"""Seconds from the start to the first job that is overdue, and from there to each next one."""

LOOK = 60.0
"""Seconds after which the timetable is read again at the latest: the clock may be set, a job may run elsewhere."""

AT_ONCE = 2
"""Jobs that run at the same time: a long one holds no short one up."""

RENEWED = jobs.LEASE / 4 / 1000
PATIENCE = 5.0
"""Seconds that units under way get to end when the server stops."""

LONGEST_ERROR = 500


class Ended(NamedTuple):
    """How a run ended, and what is to be said of it."""

    how: Literal["done", "failed", "stopped", "lost", "elsewhere", "unknown"]
    """`elsewhere`: it was not begun, since somebody else runs it or has run it. `unknown`: the database failed."""
    sentence: str = ""
    error: Exception | None = None


class Timetable:
    """Jobs, and when they run. `keep` runs them by the clock, `run` by hand; `close` ends both."""

    def __init__(self, database: Database, lines: Iterable[Job], *, first: float = FIRST, apart: float = APART) -> None:
        self.jobs = {one.name: one for one in lines}
        self._database = database
        self._first, self._apart = first, apart
        self._stopping, self._changed = asyncio.Event(), asyncio.Event()
        self._running: dict[str, asyncio.Task[Ended]] = {}

    async def keep(self) -> None:
        """Run what is due, until the timetable is closed."""
        entered = False
        while not self._stopping.is_set():
            wait = LOOK
            self._changed.clear()
            try:
                if not entered:
                    await self._enter()
                    entered = True
                wait = await self.start_due()
            except Exception:
                log.exception("the timetable of jobs cannot be read; it is tried again")
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def start_due(self) -> float:
        """Begin those that are due, as far as there is room; → seconds until the timetable should be read again."""
        known, now = await self._database.read(jobs.records), clock.now()
        if self._stopping.is_set():
            return 0.0
        waits = [LOOK]
        for job in sorted(self._on(), key=lambda one: known[one.name].due_at if one.name in known else now):
            record = known.get(job.name)
            if job.name in self._running or (record is not None and record.is_running(now)):
                continue
            if record is not None and not record.is_due(now, job.every):
                waits.append((record.due_at - now) / 1000)
            elif len(self._running) < AT_ONCE:
                self._begin(job, by_hand=False)
        return max(0.0, min(waits))

    async def run(self, name: str) -> str:
        """Run a job by hand, due or not; what it did. NotFound, Conflict if it cannot run now, Problem if it fails."""
        job = self.job(name)
        if job.off:
            raise Conflict(f"The job {name} is switched off: {job.off} in the configuration.")
        if self._stopping.is_set():
            raise Busy("The server is stopping.")
        if name in self._running:
            raise _runs_already(name)
        ended = await self._begin(job, by_hand=True)
        if ended.how == "stopped":
            raise Busy(f"The job {name} was stopped before it was done; it goes on when the server runs again.")
        if ended.how == "elsewhere":
            raise _runs_already(name)
        if ended.how != "done":
            raise Problem(f"The job {name} failed: {ended.sentence}") from ended.error
        return ended.sentence

    def job(self, name: str) -> Job:
        """The job of that name, NotFound when there is none."""
        if name not in self.jobs:
            raise NotFound(f"There is no job {name!r}; there are {', '.join(self.jobs)}.")
        return self.jobs[name]

    async def records(self) -> dict[str, Record]:
        """What is known of the jobs that have ever been entered. For lists, health and metrics."""
        found = await self._database.read(jobs.records)
        return {name: found[name] for name in self.jobs if name in found}

    async def failing(self) -> list[Record]:
        """The jobs that are on and have failed since they ended well."""
        now = clock.now()
        return [one for one in await self._known_and_on() if one.failed(now)]

    async def figures(self) -> list[Family]:
        """The jobs for those who watch the server: when each ended well, and how often it has failed since."""
        known, now = await self._known_and_on(), clock.now()
        done = [Sample(one.succeeded_at / 1000, {"job": one.name}) for one in known if one.succeeded_at is not None]
        failed = [Sample(one.failed(now), {"job": one.name}) for one in known]
        return [
            Family("mdserver_job_success_timestamp_seconds", "gauge", "When the job last ended well.", done),
            Family("mdserver_job_failures", "gauge", "How often the job has failed since it ended well.", failed),
        ]

    async def close(self) -> None:
        """Begin nothing more, and wait for the units that are under way."""
        self._stopping.set()
        self._changed.set()
        if not self._running:
            return
        _, late = await asyncio.wait(self._running.values(), timeout=PATIENCE)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _known_and_on(self) -> list[Record]:
        return [one for name, one in (await self.records()).items() if not self.jobs[name].off]

    def _on(self) -> list[Job]:
        return [one for one in self.jobs.values() if not one.off]

    async def _enter(self) -> None:
        """Give every job its record. Those that were missed, the longest overdue first, run one after the other."""
        now, known = clock.now(), await self._database.read(jobs.records)
        order = sorted(self._on(), key=lambda one: known[one.name].due_at if one.name in known else now)

        def unit(tx: Tx) -> None:
            place = 0
            for job in order:
                due_at = now + int((self._first + self._apart * place) * 1000)
                place += jobs.enter(tx, job.name, every=job.every, due_at=due_at)

        await self._database.write(unit)

    def _begin(self, job: Job, *, by_hand: bool) -> asyncio.Task[Ended]:
        def over(task: asyncio.Task[Ended]) -> None:
            del self._running[job.name]
            if not task.cancelled() and task.result().how != "unknown":
                self._changed.set()  # else it is tried again after a while, not at once

        task = self._running[job.name] = asyncio.create_task(self._claimed(job, by_hand=by_hand), name=job.name)
        task.add_done_callback(over)
        return task

    async def _claimed(self, job: Job, *, by_hand: bool) -> Ended:
        """Run the job, if nobody else does."""
        try:
            mine = await self._database.write(lambda tx: jobs.claim(tx, job.name, every=job.every, by_hand=by_hand))
            return Ended("elsewhere") if mine is None else await self._carried_out(job, mine, by_hand=by_hand)
        except Exception as error:  # the database, before the job began or after it ended
            _tell(job, error, by_hand=by_hand)
            return Ended("unknown", _sentence(error), error)

    async def _carried_out(self, job: Job, mine: Claim, *, by_hand: bool) -> Ended:
        turn = Turn(self._stopping)
        renewing = asyncio.create_task(self._renew(mine, turn))
        try:
            ended = await self._done(job, turn, by_hand=by_hand)
        except asyncio.CancelledError:
            await self._database.write(lambda tx: jobs.stop(tx, mine))
            raise
        finally:
            renewing.cancel()

        def unit(tx: Tx) -> bool:
            """Give the claim back; whether people are to hear of it. Who runs a job by hand sees that it fails."""
            heard = False
            if ended.how == "done":
                heard = job.alarm is not None and jobs.all_clear(tx, mine)
                now = clock.now()
                jobs.succeed(tx, mine, ended.sentence, ended_at=now, due_at=job.due_after(now))
            elif ended.how == "stopped":
                jobs.stop(tx, mine)
            elif ended.how == "failed":
                heard = job.alarm is not None and not by_hand and jobs.alarm(tx, mine)
                jobs.fail(tx, mine, ended.sentence, every=job.every)
            return heard

        if await self._database.write(unit) and job.alarm is not None:
            try:
                await job.alarm(None if ended.how == "done" else ended.sentence)
            except Exception:  # the job has ended all the same
                log.exception("nobody could be told how the job %s does", job.name)
        return ended

    async def _done(self, job: Job, turn: Turn, *, by_hand: bool) -> Ended:
        try:
            async with asyncio.timeout(job.longest / 1000) as limit:
                outcome = await job.do(turn)
        except Stopped:
            log.info("the job %s stops with the server", job.name)
            return Ended("stopped")
        except Lost:
            log.warning("the job %s was taken over by another process", job.name)
            return Ended("lost", "another process has taken it over")
        except Exception as error:
            sentence = _sentence(error)
            if isinstance(error, TimeoutError) and limit.expired():
                sentence = f"it was not done within {job.longest // clock.SECOND:,} s"
            _tell(job, error, by_hand=by_hand)
            return Ended("failed", sentence, error)
        log.info("the job %s: %s", job.name, outcome)
        return Ended("done", outcome)

    async def _renew(self, mine: Claim, turn: Turn) -> None:
        """Keep the claim while the job runs, however long one of its units takes."""
        while not turn.lost:
            await asyncio.sleep(RENEWED)
            try:
                turn.lost = not await self._database.write(lambda tx: jobs.renew(tx, mine))
            except Exception:
                log.warning("the claim on the job %s cannot be renewed; it is tried again", mine.name, exc_info=True)


def _tell(job: Job, error: Exception, *, by_hand: bool) -> None:
    """Log a failure; who ran the job by hand is told of it, too, and on a terminal a traceback is in the way."""
    level = logging.INFO if by_hand else logging.ERROR
    where = None if isinstance(error, Problem | Unusable) else error
    log.log(level, "the job %s failed: %s", job.name, _sentence(error), exc_info=where)


def _runs_already(name: str) -> Conflict:
    return Conflict(f"The job {name} is running already.")


def _sentence(error: Exception) -> str:
    """What a failure means, without secrets."""
    if isinstance(error, Problem | Unusable):
        said = str(error)
    elif isinstance(error, OSError) and error.strerror:
        said = ": ".join(str(part) for part in (error.strerror, error.filename) if part)
    else:
        said = f"{type(error).__name__}: {error}".removesuffix(": ")
    return logs.redacted(said)[:LONGEST_ERROR]
