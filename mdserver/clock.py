"""The time, injectable: UTC milliseconds inside, RFC 3339 with milliseconds outside. Floor 0."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_source: Callable[[], int] = lambda: time.time_ns() // 1_000_000  # noqa: E731 (a rebindable source)


def now() -> int:
    """The present moment in milliseconds since 1970-01-01 UTC."""
    return _source()


def set_source(source: Callable[[], int] | None) -> None:
    """Let tests decide the time; None gives the system clock back."""
    global _source
    _source = source or (lambda: time.time_ns() // 1_000_000)


_second_text: tuple[int, str] = (-1, "")


def rfc3339(moment: int) -> str:
    """Milliseconds → `2026-01-31T12:00:00.123Z` (RFC 3339 §5.6). The last second formatted is remembered."""
    global _second_text
    second, rest = divmod(moment, 1000)
    known, text = _second_text
    if known != second:
        text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        _second_text = (second, text)
    return f"{text}{rest:03d}Z"


def parse(text: str) -> int:
    """RFC 3339 with any offset → milliseconds. ValueError when it is not a moment in time."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("the time needs an offset such as Z")
    return int(moment.timestamp() * 1000)
