"""Backups by the clock: when one is due, which are kept, whose files are left alone, and what a failure says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdserver import clock
from mdserver.backup.reading import Archive
from mdserver.backup.schedule import Scheduled, following, made_in, prune, surplus
from mdserver.backup.snapshot import Snapshot
from mdserver.config import Keep, Schedule
from mdserver.errors import Invalid
from mdserver.store.db import Database
from mdserver.store.sqlite import SQLite
from tests import engines
from tests.conftest import Clock

from .worlds import filled, taking

DAILY = Schedule(minute=3 * 60 + 30)


@pytest.fixture
def berlin() -> Iterator[None]:
    """A place whose clocks are changed twice a year."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def at(text: str) -> int:
    return clock.parse(text)


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("made", "now", "wanted"),
    [
        ("2026-01-31T03:31:00+01:00", "2026-01-31T12:00:00+01:00", False),
        ("2026-01-31T03:29:59+01:00", "2026-01-31T12:00:00+01:00", True),
        ("2026-01-30T12:00:00+01:00", "2026-01-31T03:29:59+01:00", False),
        ("2026-01-30T12:00:00+01:00", "2026-01-31T03:30:00+01:00", True),
        ("2026-01-30T03:30:10+01:00", "2026-01-31T03:29:59+01:00", False),
        ("2025-12-31T03:30:10+01:00", "2026-01-01T03:30:00+01:00", True),
        ("2026-03-28T03:30:10+01:00", "2026-03-29T03:29:00+02:00", False),  # the clock goes forward at 02:00
        ("2026-03-28T03:30:10+01:00", "2026-03-29T03:30:00+02:00", True),
        ("2026-10-25T03:30:10+01:00", "2026-10-25T23:00:00+01:00", False),  # and back at 03:00
    ],
)
def test_daily(made: str, now: str, wanted: bool) -> None:
    assert (following(DAILY, at(made)) <= at(now)) is wanted


@pytest.mark.usefixtures("berlin")
def test_daily_through_a_year() -> None:
    """Once a day, on days of 23 and 25 hours too."""
    moment, last = at("2026-01-01T00:00:00+01:00"), 0
    for _ in range(365):
        last, moment = moment, following(DAILY, moment)
        assert 0 < moment - last <= clock.DAY + clock.HOUR
        assert time.localtime(moment / 1000)[3:5] == (3, 30)
    assert time.localtime(moment / 1000)[:3] == (2026, 12, 31)


def test_by_interval() -> None:
    now = at("2026-01-31T12:00:00Z")
    assert following(Schedule(seconds=3600), now) == now + clock.HOUR


def test_what_is_kept() -> None:
    now = at("2026-01-31T12:00:00Z")
    days = [now - number * clock.DAY for number in range(400)]
    assert surplus(days, Keep(last=3), now=now) == set(days[3:])
    assert surplus(days, Keep(daily=7), now=now) == set(days[7:])
    twice = [moment - half for moment in days[:4] for half in (0, clock.HOUR)]
    assert surplus(twice, Keep(daily=2), now=now) == set(twice) - {twice[0], twice[2]}
    kept = set(days) - surplus(days, Keep(daily=7, weekly=4, monthly=12), now=now)
    assert len(kept) == 7 + 2 + 11  # two of the weeks and one of the months are among the days
    assert surplus([now + 1, now], Keep(last=1), now=now) == set()
    assert surplus([], Keep(last=1), now=now) == set()


@given(
    st.lists(st.integers(0, 4 * 365 * 24), max_size=60, unique=True),
    st.builds(
        Keep, last=st.integers(0, 5), daily=st.integers(0, 9), weekly=st.integers(0, 9), monthly=st.integers(0, 9)
    ),
)
def test_the_newest_is_kept_and_no_more_than_was_said(hours: list[int], keep: Keep) -> None:
    made = [one * clock.HOUR for one in hours]
    gone = surplus(made, keep, now=5 * 366 * clock.DAY)
    kept = set(made) - gone
    assert gone <= set(made)
    if made:
        assert max(made) in kept
    assert len(kept) <= max(1, keep.last) + keep.daily + keep.weekly + keep.monthly
    assert surplus(list(kept), keep, now=5 * 366 * clock.DAY) == set()


def scheduled(database: Database, folder: Path, *, keep: int = 2) -> Scheduled:
    return Scheduled(taking(database), folder, Schedule(seconds=3600), Keep(last=keep))


def told(one: Scheduled) -> dict[str, float]:
    return {family.name: family.samples[0].value for family in one.figures(None) if family.samples}


async def test_made_in_time_and_only_its_own_are_removed(database: Database, tmp_path: Path, frozen: Clock) -> None:
    await filled(database)
    folder = tmp_path / "backups"
    mine = scheduled(database, folder)
    assert await mine.look() == []
    assert mine.state(None) == "none was made yet"
    assert told(mine) == {"mdserver_backup_failed": 0}
    await mine.run()
    assert len(await mine.look()) == 1
    assert folder.stat().st_mode & 0o777 == 0o700
    others = [
        "mdserver-backup-20200101T000000Z.tar",
        "before-upgrade-from-schema-0001-20200101T000000.sqlite3",
        "mdserver-scheduled-20200101T000000Z.tar.old",
        "x-mdserver-scheduled-20200101T000000Z.tar",
        "mdserver-scheduled-20209901T000000Z.tar",
        ".mdserver-scheduled-20200101T000000Z.tar.partial",
    ]
    for one in others:
        (folder / one).write_text("somebody else's")
    (folder / ".mdserver-scheduled-20200101T000000Z.tar.01234567.partial").write_text("left by one that was killed")
    for _ in range(3):
        frozen.forward(clock.HOUR)
        await mine.run()
    assert mine.state(None) == "made at 2026-01-31T15:00:00.000Z"
    assert told(mine) == {"mdserver_backup_timestamp_seconds": 1769871600, "mdserver_backup_failed": 0}
    kept = ["mdserver-scheduled-20260131T140000Z.tar", "mdserver-scheduled-20260131T150000Z.tar"]
    assert sorted(os.listdir(folder)) == sorted([*others, *kept])
    assert prune(folder, Keep(last=1)) == [folder / kept[0]]
    with contextlib.closing(await asyncio.to_thread(Archive, folder / kept[1])) as archive:
        assert archive.header.created_at == "2026-01-31T15:00:00.000Z"


async def test_after_a_failure_the_old_ones_stay(database: Database, tmp_path: Path, frozen: Clock) -> None:
    folder = tmp_path / "backups"
    mine = scheduled(database, folder, keep=1)
    await mine.run()
    frozen.forward(2 * clock.HOUR)
    mine.blobs = None
    folder.rename(tmp_path / "elsewhere")
    folder.write_text("not a directory")
    with pytest.raises(
        Invalid, match=rf"^Backups cannot be kept in {folder} \(backup\.directory\): Not a directory\.$"
    ):
        await mine.run()
    folder.unlink()
    (tmp_path / "elsewhere").rename(folder)
    assert len(made_in(folder)) == 1
    frozen.forward(15 * clock.MINUTE)
    await mine.run()
    assert mine.state(None) == "made at 2026-01-31T14:15:00.000Z"
    assert len(made_in(folder)) == 1


async def test_an_old_one_that_cannot_be_removed(
    database: Database, tmp_path: Path, frozen: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The new one is there all the same, and must not be made again as if it had failed."""
    mine = scheduled(database, tmp_path, keep=1)
    (tmp_path / "mdserver-scheduled-20200101T000000Z.tar").mkdir()
    made = await mine.run()
    assert Path(made.path) in made_in(tmp_path).values()
    assert mine.state(None) == "made at 2026-01-31T12:00:00.000Z"
    assert f"old backups in {tmp_path} cannot be removed: " in caplog.text


async def test_it_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """In the midst of a piece, without leaving anything."""
    async with engines.fresh("sqlite") as database:
        assert isinstance(database, SQLite)
        await filled(database)
        mine = scheduled(database, tmp_path)
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()
        inner = mine.taking

        @contextlib.contextmanager
        def slow() -> Iterator[Snapshot]:
            with inner() as taken:
                loop.call_soon_threadsafe(begun.set)
                yield taken

        mine.taking = slow
        task = asyncio.create_task(mine.run())
        await begun.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert [one for one in os.listdir(tmp_path) if one.endswith(".partial")] == []
