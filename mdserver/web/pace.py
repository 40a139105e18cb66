"""How fast one client may send: what is too fast is heard later, and who goes on like that has to go."""

from __future__ import annotations

import asyncio
import time

PATIENCE = 30.0
"""Seconds for which a client may go on sending faster than it may before it has to go."""

SHARE = 4
"""The part of the event loop's time that one client may take: a quarter."""


class Pace:
    """A client's credit in messages: `second` more each second, at most `burst`."""

    def __init__(self, second: int, burst: int) -> None:
        self._second, self._burst = second, burst
        self._credit = float(burst)
        self._credited = time.monotonic()
        self._hurried: float | None = None

    def worth(self, seconds: float) -> int:
        """As how many messages the event loop's time counts."""
        return int(seconds * self._second * SHARE)

    def owe(self, seconds: float) -> None:
        """Count the event loop's time that a message took."""
        self._credit -= self.worth(seconds)

    def pay(self, weight: int) -> bool:
        """Count a message that was heard already, if there is credit for it."""
        if self._credit < weight:
            return False
        self._credit -= weight
        return True

    async def spend(self, weight: int) -> bool:
        """Wait until a message more may be heard; False when the client has been too fast for too long."""
        self._credit -= weight
        if self._credit >= 0:
            return True
        now = time.monotonic()
        self._credit = min(self._burst, self._credit + (now - self._credited) * self._second)
        self._credited = now
        if self._credit >= 0:
            if self._credit > self._burst / 2:
                self._hurried = None
            return True
        self._hurried = self._hurried or now
        if now - self._hurried > PATIENCE:
            return False
        await asyncio.sleep(-self._credit / self._second)
        return True
