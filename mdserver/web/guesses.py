"""Pauses that grow with each wrong password: nothing for slips, long for those who try lists."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict

PAUSES = (0.0, 0.0, 0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Seconds that an attempt waits after so many wrong ones."""

FORGOTTEN_AFTER = 15 * 60.0


class Guesses:
    """How many wrong passwords were tried lately, by a key that stands for an account."""

    def __init__(self, *, pauses: tuple[float, ...] = PAUSES, most: int = 10_000) -> None:
        self.pauses = pauses
        self._most = most
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    async def pause(self, key: str) -> None:
        """Wait before an attempt. It counts as wrong from here on: many at once wait as one after another would."""
        wrong, last = self._wrong.pop(key, (0, 0.0))
        if time.monotonic() - last > FORGOTTEN_AFTER:
            wrong = 0
        self._wrong[key] = (wrong + 1, time.monotonic())
        if len(self._wrong) > self._most:
            self._wrong.popitem(last=False)
        seconds = self.pauses[min(wrong, len(self.pauses) - 1)]
        if seconds:
            await asyncio.sleep(seconds)

    def recall(self, key: str, *, ago: float) -> None:
        """Count a wrong password of so many seconds ago."""
        if ago < FORGOTTEN_AFTER:
            self._wrong[key] = (self._wrong.get(key, (0, 0.0))[0] + 1, time.monotonic() - ago)

    def forgive(self, key: str) -> None:
        """Forget the wrong ones, after a right one."""
        self._wrong.pop(key, None)
