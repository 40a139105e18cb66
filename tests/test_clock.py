"""Moments in and out: RFC 3339 with milliseconds, exactly."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdserver import clock

from .conftest import Clock

YEAR_1000 = -30_610_224_000_000
YEAR_9999 = 253_402_300_799_999


def test_now_is_the_system_clock_in_milliseconds() -> None:
    before = time.time_ns() // 1_000_000
    now = clock.now()
    assert before <= now <= time.time_ns() // 1_000_000


def test_tests_decide_the_time(frozen: Clock) -> None:
    assert clock.rfc3339(clock.now()) == "2026-01-31T12:00:00.000Z"
    frozen.forward(clock.DAY + 1)
    assert clock.rfc3339(clock.now()) == "2026-02-01T12:00:00.001Z"
    clock.set_source(None)
    assert abs(clock.now() - time.time_ns() // 1_000_000) < clock.HOUR


@settings(derandomize=True, deadline=None, max_examples=500)
@given(st.integers(YEAR_1000, YEAR_9999))
def test_what_goes_out_comes_in_again(moment: int) -> None:
    written = clock.rfc3339(moment)
    assert len(written) == 24
    assert clock.parse(written) == moment


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.integers(0, YEAR_9999), min_size=2, max_size=2))
def test_written_moments_sort_as_moments(two: list[int]) -> None:
    first, second = sorted(two)
    assert clock.rfc3339(first) <= clock.rfc3339(second)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.001Z", 1),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2026-01-31T12:00:00-05:30", 1_769_880_600_000),
        ("2024-02-29T00:00:00.5Z", 1_709_164_800_500),
        ("2026-01-31T12:00:00.123999Z", 1_769_860_800_123),
    ],
)
def test_parse(text: str, moment: int) -> None:
    assert clock.parse(text) == moment


@pytest.mark.parametrize(
    "text", ["", "now", "2026-01-31", "2026-01-31T12:00:00", "2026-02-30T12:00:00Z", "2026-01-31T25:00:00Z", "12:00Z"]
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (the standard library's own words)
        clock.parse(text)
