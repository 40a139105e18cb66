"""Backups that the server makes by itself: when one is due, which of them are kept, and making one in its own time."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mdserver import clock
from mdserver.config_values import Keep, Schedule
from mdserver.errors import Invalid
from mdserver.figures import Family, Sample, gauge
from mdserver.model.jobs import Record
from mdserver.store.blobs import Blobs

from .making import Made, dated, make
from .snapshot import Taking

log = logging.getLogger("mdserver.backup")

PREFIX = "mdserver-scheduled"
PACE = 3.0
"""How many times the time that a piece took is left to the requests after it: nobody waits for this backup."""

_NAME = re.compile(rf"{PREFIX}-([0-9]{{8}}T[0-9]{{6}})Z\.tar")
_PARTIAL = re.compile(rf"\.{PREFIX}-[0-9]{{8}}T[0-9]{{6}}Z\.tar\.[0-9a-f]{{8}}\.partial")


@dataclass(slots=True)
class Scheduled:
    """What the timetable needs: `run`, and how it stands. `note` is told of each before it begins.

    Whether it failed, the job's record knows, also after the server was started anew.
    """

    taking: Taking
    folder: Path
    schedule: Schedule
    keep: Keep
    blobs: Blobs | None = None
    note: Callable[[Path], Awaitable[object]] | None = None
    made_at: int | None = field(default=None, init=False)

    async def look(self) -> list[int]:
        """When those were made that are there."""
        try:
            made = list(await asyncio.to_thread(made_in, self.folder))
        except OSError:  # then making one fails, too, and tells why
            made = []
        self.made_at = max(made, default=None)
        return made

    async def run(self) -> Made:
        """Make one, then remove those that are not kept. One that cannot be removed makes no failure of the new one,
        or it would be made again and again until the disk is full.
        """
        made = await self._made()
        self.made_at = clock.parse(made.created_at)
        try:
            await asyncio.to_thread(prune, self.folder, self.keep)
        except OSError as error:
            log.error("old backups in %s cannot be removed: %s", self.folder, error.strerror or error)
        if made.missing:
            log.error("the scheduled backup lacks %d files, the first: %s", len(made.missing), made.missing[0])
        log.info("the scheduled backup %s has %d bytes", made.path, made.size)
        return made

    def state(self, job: Record | None) -> str:
        """For anybody: when one was made last, or that it failed. Why is not told to strangers: it names places."""
        now = clock.now()
        if job is not None and job.failed(now):
            tried = (job.ended_at if job.is_running(now) else None) or job.started_at or now
            return f"failed at {clock.rfc3339(tried)}: “mdserver job list” says why"
        return f"made at {clock.rfc3339(self.made_at)}" if self.made_at is not None else "none was made yet"

    def figures(self, job: Record | None) -> list[Family]:
        """For those who watch the server: when one was made last, and whether the last try failed."""
        made = [Sample(self.made_at / 1000)] if self.made_at is not None else []
        failed = int(job is not None and job.failed(clock.now()) > 0)
        return [
            Family("mdserver_backup_timestamp_seconds", "gauge", "When the last scheduled backup was made.", made),
            gauge("mdserver_backup_failed", "1 when the last try to make one failed.", failed),
        ]

    async def _made(self) -> Made:
        target = await asyncio.to_thread(self._prepared)
        if self.note is not None:
            await self.note(target)
        return await make(self.taking, target, blobs=self.blobs, pace=PACE)

    def _prepared(self) -> Path:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for one in self.folder.iterdir():  # of one that was killed: they are made one after the other
                if _PARTIAL.fullmatch(one.name):
                    one.unlink(missing_ok=True)
        except OSError as error:
            why = "Not a directory" if isinstance(error, FileExistsError) else error.strerror or error
            raise Invalid(f"Backups cannot be kept in {self.folder} (backup.directory): {why}.") from error
        return dated(self.folder, PREFIX, clock.now())


def made_in(folder: Path) -> dict[int, Path]:
    """The scheduled backups in a directory by the time in their names; no other file is looked at, ever."""
    try:
        found = [(one, matched) for one in folder.iterdir() if (matched := _NAME.fullmatch(one.name))]
    except FileNotFoundError:
        return {}
    made = {}
    for path, matched in found:
        try:
            moment = datetime.strptime(matched[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            continue
        made[clock.parse(moment.isoformat())] = path
    return made


def following(schedule: Schedule, moment: int) -> int:
    """When the next backup is due after a moment (ms)."""
    if schedule.minute is None:
        return moment + schedule.seconds * clock.SECOND
    found = _latest(schedule.minute, moment + clock.DAY)
    return found if found > moment else _latest(schedule.minute, moment + clock.DAY + clock.HOUR)  # a day of 25 hours


def prune(folder: Path, keep: Keep) -> list[Path]:
    """Remove the scheduled backups that are not kept: → those."""
    made = made_in(folder)
    gone = [made[moment] for moment in sorted(surplus(list(made), keep, now=clock.now()))]
    for path in gone:
        path.unlink(missing_ok=True)
    return gone


def surplus(made: list[int], keep: Keep, *, now: int) -> set[int]:
    """Those that need not be kept: neither among the newest, nor the newest of a day, week or month that counts.

    The very newest is always kept, and one whose time is still to come is not judged.
    """
    past = sorted((moment for moment in made if moment <= now), reverse=True)
    kept = set(past[: max(1, keep.last)])
    for count, period in ((keep.daily, "%Y-%m-%d"), (keep.weekly, "%G-%V"), (keep.monthly, "%Y-%m")):
        newest: dict[str, int] = {}
        for moment in past:
            newest.setdefault(time.strftime(period, time.localtime(moment / 1000)), moment)
        kept.update(list(newest.values())[:count])
    return set(past) - kept


def _latest(minute: int, now: int) -> int:
    """The last time that the server's clock on the wall showed this minute of the day."""
    today = time.localtime(now / 1000)
    for day in (today.tm_mday, today.tm_mday - 1):
        moment = int(time.mktime((today.tm_year, today.tm_mon, day, minute // 60, minute % 60, 0, 0, 0, -1))) * 1000
        if moment <= now:
            break
    return moment
