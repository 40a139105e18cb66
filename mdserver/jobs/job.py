"""What a job is: something done now and then, in units so small that no request waits for one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mdserver import clock

PACE = 2.0
"""How many times the time that a unit took is left to others after it."""

LONGEST_PAUSE = 1.0


class Stopped(Exception):
    """The server stops: what is left of the job is done another time."""


class Lost(Exception):
    """The job's claim ran out, and somebody else may be running it."""


class Turn:
    """One run of a job."""

    def __init__(self, stopping: asyncio.Event) -> None:
        self.lost = False
        self._stopping = stopping
        self._since = time.monotonic()

    async def pause(self) -> None:
        """To be called between two units: others go first. Stopped or Lost when there shall be no further unit."""
        spent = time.monotonic() - self._since
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(spent * PACE, LONGEST_PAUSE)):
                await self._stopping.wait()
        if self._stopping.is_set():
            raise Stopped
        if self.lost:
            raise Lost
        self._since = time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A line of the timetable. `do` works in units, pauses between them, and says in a few words what it did."""

    name: str
    what: str
    """One sentence for people."""
    every: int
    """Milliseconds between two runs."""
    do: Callable[[Turn], Awaitable[str]]
    off: str = ""
    """The configuration key that switches the job off, where it does."""
    next_due: Callable[[int], int] | None = None
    """The moment of the next run after this one, where that is not simply `every` later, or up to an hour more."""
    alarm: Callable[[str | None], Awaitable[object]] | None = None
    """Tells people that the job fails, and why, or with None that it works again: of each row of failures once."""
    longest: int = clock.HOUR
    """Milliseconds after which a run is given up as failed."""

    def due_after(self, moment: int) -> int:
        return self.next_due(moment) if self.next_due is not None else moment + self.every
