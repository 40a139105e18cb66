"""The time, injectable: UTC milliseconds inside, RFC 3339 with milliseconds outside. Floor 0."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

_source: Callable[[], int] = lambda: time.time_ns() // 1_000_000  # noqa: E731 (a rebindable source)


def now() -> int:
    """The present moment in milliseconds since 1970-01-01 UTC."""
    return _source()


def set_source(source: Callable[[], int] | None) -> None:
    """Let tests decide the time; None gives the system clock back."""
    global _source
    _source = source or (lambda: time.time_ns() // 1_000_000)


@lru_cache(maxsize=1024)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")


@lru_cache(maxsize=16_384)
def rfc3339(moment: int) -> str:
    """Milliseconds → `2026-01-31T12:00:00.123Z` (RFC 3339 §5.6). Remembered: lists format the same moments again."""
    second, rest = divmod(moment, 1000)
    return f"{_second(second)}{rest:03d}Z"


def parse(text: str) -> int:
    """RFC 3339 with any offset → milliseconds. ValueError when it is not a moment in time."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("the time needs an offset such as Z")
    return (moment - _EPOCH) // _MILLISECOND  # not by way of timestamp(): a float misses some milliseconds by one
