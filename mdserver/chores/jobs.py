"""Background jobs, as operators see them and run them by hand."""

from __future__ import annotations

from typing import Literal

import msgspec

from mdserver import clock
from mdserver.jobs.job import Job
from mdserver.model.jobs import Record
from mdserver.store.rows import Time

from .chore import House, chore


class JobAsk(msgspec.Struct, kw_only=True):
    name: str


class Nothing(msgspec.Struct):
    pass


class JobState(msgspec.Struct, kw_only=True):
    """A job and what is known of it. `every` is in seconds, `reason` says why it is off or what went wrong."""

    name: str
    what: str
    every: int
    state: Literal["new", "ok", "running", "failed", "off"]
    started_at: Time | None = None
    ended_at: Time | None = None
    succeeded_at: Time | None = None
    due_at: Time | None = None
    outcome: str | None = None
    reason: str | None = None
    failures: int = 0


class Jobs(msgspec.Struct, kw_only=True):
    items: list[JobState]


class JobDone(msgspec.Struct, kw_only=True):
    name: str
    outcome: str


@chore
async def job_list(house: House, ask: Nothing) -> Jobs:
    """Every job of the timetable, with what is known of it."""
    known = await house.timetable.records()
    return Jobs(items=[_state(one, known.get(one.name)) for one in house.timetable.jobs.values()])


@chore
async def job_run(house: House, ask: JobAsk) -> JobDone:
    """Run a job now, whether it is due or not."""
    return JobDone(name=ask.name, outcome=await house.timetable.run(ask.name))


def _state(job: Job, record: Record | None) -> JobState:
    state = JobState(name=job.name, what=job.what, every=job.every // clock.SECOND, state="new", reason=job.off or None)
    if record is not None:
        state.state = "failed" if record.failures else "new" if record.started_at is None else "ok"
        state.started_at, state.ended_at = _time(record.started_at), _time(record.ended_at)
        state.succeeded_at, state.due_at = _time(record.succeeded_at), _time(record.due_at)
        state.outcome, state.reason = record.outcome, record.error
        state.failures = record.failed(clock.now())
    if job.off:
        state.state, state.reason, state.due_at = "off", job.off, None
    elif record is not None and record.is_running(clock.now()):
        state.state, state.reason = "running", None
    return state


def _time(moment: int | None) -> str | None:
    return None if moment is None else clock.rfc3339(moment)
