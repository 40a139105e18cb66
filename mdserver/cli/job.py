"""`mdserver job …`: background jobs."""

from __future__ import annotations

import click

from mdserver.chores import jobs
from mdserver.chores.jobs import JobAsk, Nothing
from mdserver.config import DAY, HOUR, MINUTE

from .common import Settings, group, show, table
from .common import command as verb

command = group("job", "List background jobs, and run one by hand.")


@verb("list", into=command, example="mdserver job list")
def listing(settings: Settings) -> None:
    """List the jobs of the timetable: when they ran, what came of it, when they are due. Times are UTC."""
    with settings.reaching() as run:
        found = run(jobs.job_list, Nothing()).items
    rows = [
        (
            one.name,
            _every(one.every),
            one.state,
            _minute(one.ended_at),
            _minute(one.due_at),
            (one.reason if one.state in ("off", "failed") else one.outcome) or "",
        )
        for one in found
    ]
    show(settings, found, *table(("NAME", "EVERY", "STATE", "ENDED", "DUE", "OUTCOME"), rows))


@verb("run", into=command, example="mdserver job run purge-trash")
@click.argument("name", metavar="NAME")
def running(settings: Settings, name: str) -> None:
    """Run a job now, due or not, and wait until it is done."""
    with settings.reaching() as run:
        done = run(jobs.job_run, JobAsk(name=name))
    show(settings, done, f"{done.name}: {done.outcome}.")


def _every(seconds: int) -> str:
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds % unit == 0:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"


def _minute(moment: str | None) -> str:
    return (moment or "-")[:16].replace("T", " ")
