"""Brings texts, hashes and versions after what rooms have stored: within a second, and off the event loop.

A text belongs to a row of the log. So it is taken from the replica when all that is in it is about to be stored (or
is): if nobody else's row came between, it is the text of the last row. Every projection is a state that can be read; it
becomes a version of the history when people pause, after some minutes of writing, when somebody else begins to write,
and when everybody has left.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from mdserver.crdt import text as crdt
from mdserver.links import Link
from mdserver.model import live
from mdserver.model.live import Ground, Projection
from mdserver.store.db import Database, Reader, Tx

from .replica import Broken
from .room import Room

LOG = logging.getLogger("mdserver.collab")

SOON = 0.7
"""Seconds after which stored rows are projected; with what follows, the text is a second behind at most."""

PAUSE = 30.0
"""Seconds without an edit after which the state becomes a version."""

LEFT = 2.0
"""The same once everybody has left."""

LONGEST = 300.0
"""Seconds of writing after which there is a version in any case."""

ANOTHER = 60.0
"""The same, since the last version, when somebody else begins to write."""

AT_ONCE = 16
"""Projections that one unit of work enters."""

SLOW = 0.004
"""Seconds that taking a text may keep the event loop; then it is taken from a copy on a thread."""


class _Watch:
    """What is known of a room's projection; times are monotonic seconds, None where there is nothing to do."""

    __slots__ = ("capture", "is_slow", "links", "ready", "snapshot_bytes", "unprojected", "unversioned", "version")

    def __init__(self, *, is_slow: bool) -> None:
        self.unprojected: float | None = None
        self.unversioned: float | None = None
        self.capture: _Capture | None = None
        self.ready: tuple[int, _Capture] | None = None
        self.is_slow = is_slow
        self.links: list[Link] | None = None
        self.version = 0
        """The version that was entered last, and its links."""
        self.snapshot_bytes = 0


class _Capture(NamedTuple):
    """The document after all that had been taken in up to a mark: its text, or its state where that is quicker."""

    mark: int
    text: str | None
    state: bytes | None
    is_snapshot: bool


class _Work(NamedTuple):
    room: Room
    watch: _Watch
    seq: int
    capture: _Capture
    is_version: bool


class Projector:
    """Follows the rooms. `may_look` tells whether a room's stored rows are the newest in the log.

    `on_broken` hears of a room whose text cannot be had.
    """

    def __init__(
        self, database: Database, *, may_look: Callable[[Room], bool], on_broken: Callable[[Room], None]
    ) -> None:
        self._database, self._may_look, self._on_broken = database, may_look, on_broken
        self._watched: dict[Room, _Watch] = {}
        self.count = 0

    def before_storing(self, room: Room) -> None:
        """The room's rows are about to be stored: its text now is theirs, if it is wanted."""
        watch = self._watched.get(room)
        if watch is None:
            return
        watch.capture = None  # of an attempt that failed: rows of others may have come since
        if watch.unprojected is not None and time.monotonic() - watch.unprojected >= SOON:
            with contextlib.suppress(Broken):  # the next look meets it, too
                watch.capture = _captured(room, watch)

    def after_storing(self, room: Room, *, is_alone: bool) -> None:
        """They are stored; `is_alone` unless rows of others stand between."""
        watch = self.watch(room)
        if watch.capture is not None and is_alone and room.durable == watch.capture.mark:
            watch.ready = room.seq, watch.capture
        watch.capture = None

    def watch(self, room: Room) -> _Watch:
        """See to a room whose text is behind its log."""
        watch = self._watched.get(room)
        if watch is None:
            watch = self._watched[room] = _Watch(is_slow=not room.replica.form.is_plain)
        now = time.monotonic()
        watch.unprojected = watch.unprojected or now
        watch.unversioned = watch.unversioned or now
        return watch

    def is_done(self, room: Room) -> bool:
        """Whether there is nothing left to do for a room."""
        watch = self._watched.get(room)
        return watch is None or watch.unversioned is None

    def forget(self, room: Room) -> None:
        """The room is closed."""
        self._watched.pop(room, None)

    async def look(self, rooms: Iterable[Room], *, all_of_it: bool = False) -> None:
        """Project what is due; with `all_of_it` everything, as a version."""
        now = time.monotonic()
        due = []
        for room in rooms:
            watch = self._watched.get(room)
            if watch is None:
                continue
            try:
                work = self._due(room, watch, now, all_of_it=all_of_it)
            except Broken:
                self._on_broken(room)
                continue
            if work is not None:
                due.append(work)
        for start in range(0, len(due), AT_ONCE):
            part = due[start : start + AT_ONCE]
            try:
                await self._project(part)
            except Exception:  # tried again at the next look; what was written is in the log
                LOG.exception("texts could not be brought up to their logs")
                return

    def _due(self, room: Room, watch: _Watch, now: float, *, all_of_it: bool) -> _Work | None:
        ready, watch.ready = watch.ready, None
        is_version = (
            watch.unversioned is not None
            and self._may_look(room)
            and (all_of_it or _version_is_due(room, watch.unversioned, now))
        )
        if is_version:
            room.is_marked = False  # for what is stored from now on: this may settle the document
        if ready is None:
            waited = watch.unprojected is not None and now - watch.unprojected >= SOON
            if not (waited or is_version) or not room.is_settled or not self._may_look(room):
                return None
            ready = room.seq, _captured(room, watch)
        return _Work(room, watch, *ready, is_version)

    async def _project(self, part: list[_Work]) -> None:
        ids = [one.room.document_id for one in part]
        grounds = await self._database.glance(partial(_grounds, ids=ids))
        made = await asyncio.to_thread(_prepared, part, grounds)

        def change(tx: Tx) -> list[int | None]:
            return [None if one is None else live.project(tx, one) for one in made]

        entered = await self._database.write(change, *[f"document:{one}" for one in ids])
        now = time.monotonic()
        for work, one, version in zip(part, made, entered, strict=True):
            if version is None:
                continue
            self.count += 1
            room, watch = work.room, work.watch
            is_newest = room.durable == work.capture.mark
            watch.unprojected = None if is_newest else now
            watch.version = version
            if one is not None and one.links is not None:
                watch.links = one.links
            if work.capture.is_snapshot and work.capture.state is not None:
                watch.snapshot_bytes = len(work.capture.state)
                room.tail_rows = room.tail_bytes = 0
            if work.is_version:
                watch.unversioned = None if is_newest else now
                room.authors, room.author_changed = set(), False


def _version_is_due(room: Room, since: float, now: float) -> bool:
    quiet = now - room.edited_at
    return (
        quiet >= PAUSE
        or (not room.seats and quiet >= LEFT)
        or now - since >= LONGEST
        or (room.author_changed and now - since >= ANOTHER)
    )


def _captured(room: Room, watch: _Watch) -> _Capture:
    wants_snapshot = _wants_snapshot(room, watch)
    state = room.replica.snapshot() if wants_snapshot or watch.is_slow else None
    text = None
    if not watch.is_slow:
        started = time.perf_counter()
        text = room.replica.text()
        watch.is_slow = time.perf_counter() - started > SLOW
    return _Capture(room.taken, text, state, wants_snapshot)


def _wants_snapshot(room: Room, watch: _Watch) -> bool:
    """Whether loading should not replay the rows since the last one again; a large state is worth more rows."""
    return (
        room.tail_rows >= max(256, watch.snapshot_bytes // 500)
        or room.tail_bytes >= max(64 << 10, watch.snapshot_bytes // 2)
        or (not room.seats and room.tail_rows >= 64)
    )


def _grounds(db: Reader, *, ids: list[str]) -> list[Ground | None]:
    return [live.ground(db, one) for one in ids]


def _prepared(part: list[_Work], grounds: list[Ground | None]) -> list[Projection | None]:
    """On a thread: everything that takes time."""
    made: list[Projection | None] = []
    for work, ground in zip(part, grounds, strict=True):
        if ground is None:
            made.append(None)
            continue
        capture = work.capture
        text = capture.text
        if text is None:
            assert capture.state is not None
            text = work.room.replica.form.text_of(crdt.load(capture.state, ()))
        made.append(
            live.prepared(
                work.room.document_id,
                work.seq,
                ground,
                text,
                known=work.watch.links if work.watch.version == ground.version else None,
                snapshot=capture.state if capture.is_snapshot else None,
                is_version=work.is_version,
            )
        )
    return made
