"""Stores what open rooms have taken in: in order, together, and again and again where that fails.

One unit of work at a time: what arrives while it commits goes into the next one, so that a hundred busy rooms share
their commits. Nothing ends the saving, and a room that cannot be stored holds up no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Protocol

import msgspec

from mdserver.errors import Busy, StorageFull
from mdserver.figures import UNITS, Histogram
from mdserver.model import live
from mdserver.model.live import Batch
from mdserver.model.updates import Door
from mdserver.store.db import Database, Tx

from .projector import Projector
from .room import Room

LOG = logging.getLogger("mdserver.collab")

ROOMS_AT_ONCE = 64
"""Rooms whose rows are stored in one unit of work."""

TOGETHER = 0.03
"""Seconds from the beginning of one round of storing to that of the next: a commit costs as much as ten edits."""

MOST_AT_ONCE = 4 << 20
"""Bytes of one room that one unit stores."""

MOST_WAITING = 64 << 20
"""Bytes of all rooms that may wait to be stored; then none takes in any more."""

FIRST_RETRY, LAST_RETRY = 0.2, 5.0


class _Trouble:
    """Since when a room cannot be stored (monotonic seconds), and how long it rests until it is tried again."""

    def __init__(self, since: float) -> None:
        self.since = since
        self._delay = FIRST_RETRY

    def rest(self) -> float:
        delay, self._delay = self._delay, min(2 * self._delay, LAST_RETRY)
        return delay


class House(Protocol):
    """What the saver asks of those who keep the rooms."""

    def rooms(self) -> list[Room]:
        """Those that are open."""

    def take_others(self, room: Room, updates: list[bytes]) -> None:
        """Rows of others stand before what was stored now."""

    def gone(self, room: Room) -> None:
        """The document is not there any more."""

    async def follow(self) -> None:
        """Take in what others have appended, if something was heard of."""


class Saver:
    """The rooms that have something to be stored. `run` until `end`, then `finish`."""

    def __init__(self, database: Database, house: House, projector: Projector, door: Door) -> None:
        self._database, self._house, self._projector, self._door = database, house, projector, door
        door.on_calm = lambda: self.wake.set()
        self._dirty: dict[Room, None] = {}
        self._failing: dict[Room, _Trouble] = {}
        self._resting: dict[Room, asyncio.TimerHandle] = {}
        self._storing: set[Room] = set()
        self._ended = asyncio.Event()
        self.wake = asyncio.Event()
        """To be set when something was heard that `House.follow` looks into."""
        self.sizes = Histogram(UNITS)
        self.failures = 0

    def heard(self, room: Room) -> None:
        """Something may have been taken in: have it stored."""
        if room.pending and room not in self._dirty and room not in self._resting:
            self._dirty[room] = None
            self.wake.set()

    def is_storing(self, room: Room) -> bool:
        """Whether rows of this room are on their way into the log."""
        return room in self._storing

    def state(self) -> str:
        """`ok`, or since when something cannot be stored."""
        if not self._failing:
            return "ok"
        since = min(one.since for one in self._failing.values())
        return f"edits have not been stored for {time.monotonic() - since:.0f} s"

    async def run(self) -> None:
        while not self._ended.is_set():
            await self.wake.wait()
            self.wake.clear()
            try:
                await self._house.follow()
                while not self._ended.is_set() and any(self.may_store(room) for room in self._dirty):
                    started = time.monotonic()
                    for _ in range(0, len(self._dirty), ROOMS_AT_ONCE):
                        await self._store_dirty()
                    with contextlib.suppress(TimeoutError):  # what comes meanwhile is stored together
                        await asyncio.wait_for(self._ended.wait(), max(0.0, started + TOGETHER - time.monotonic()))
            except Exception:  # nothing may end the saving
                LOG.exception("edits could not be stored, which is tried again")
                await asyncio.sleep(FIRST_RETRY)
                self.wake.set()

    def end(self) -> None:
        """Have `run` return. It is not cancelled: what is being stored would be stored twice."""
        self._ended.set()
        self.wake.set()

    async def finish(self) -> None:
        """Store what waits, or give up after some tries."""
        tries = 0
        while True:
            for room in list(self._resting):
                self._rested(room)
            for room in self._house.rooms():
                self.heard(room)
            if not self._dirty:
                break
            if not await self._store_dirty():
                tries += 1
                if tries > 10:
                    LOG.critical("edits that nobody was told to be saved could not be stored")
                    break
                await asyncio.sleep(FIRST_RETRY)
        for timer in self._resting.values():
            timer.cancel()

    def forget(self, room: Room) -> None:
        """Nothing of this room has to be stored any more."""
        self._dirty.pop(room, None)
        if room in self._resting:
            self._rested(room)
        self._worked(room)

    def may_store(self, room: Room) -> bool:
        """Whether something may be written of a room: not while an edit through the door needs its log to rest."""
        return self._ended.is_set() or room.document_id not in self._door.hurried

    async def _store_dirty(self) -> bool:
        """Store what the rooms that wait longest have taken in; whether that went well.

        Rooms that could not be stored before are tried again without the others, which must not wait for them.
        """
        rooms = [room for room in self._dirty if self.may_store(room)]
        again = bool(rooms) and rooms[0] in self._failing
        rooms = [room for room in rooms if (room in self._failing) is again][:ROOMS_AT_ONCE]
        for room in rooms:
            del self._dirty[room]
        try:
            error = await self._store(rooms)
            if error is None:
                return True
            if len(rooms) == 1 or isinstance(error, Busy | StorageFull):  # nobody can be stored
                self._failed(rooms, error)
                return False
            for room in rooms:  # whether it is one room's fault
                error = await self._store([room])
                if error is not None:
                    self._failed([room], error)
            return not any(room in self._failing for room in rooms)
        finally:
            for room in rooms:
                self.heard(room)

    async def _store(self, rooms: list[Room]) -> Exception | None:
        """Store what these rooms have taken in, or nothing of it and say why not."""
        batches = [
            Batch(room.document_id, room.seq, room.take_pending(MOST_AT_ONCE), room.is_marked)
            for room in rooms
            if room.pending
        ]
        if not batches:
            return None

        def change(tx: Tx) -> list[live.Appended | None]:
            return [live.append(tx, one) for one in batches]

        for room in rooms:
            self._projector.before_storing(room)
            room.is_marked = True
        self._storing.update(rooms)
        try:
            appended = await self._database.write(change, *[f"document:{one.document_id}" for one in batches])
        except Exception as error:  # whatever it is, what waits must not be lost: it is tried again
            for room in rooms:
                room.is_marked = False
            return error
        finally:
            self._storing.difference_update(rooms)
            self.wake.set()  # for what was heard meanwhile
        by_id = {room.document_id: room for room in rooms}
        for batch, one in zip(batches, appended, strict=True):
            room = by_id[batch.document_id]
            self.sizes.note(len(batch.rows))
            if one is None:
                self._house.gone(room)
                continue
            self._house.take_others(room, one.others)
            room.seq = one.head
            room.stored(len(batch.rows))
            if not room.is_dropped:
                self._projector.after_storing(room, is_alone=not one.others)
            self._worked(room)
        return None

    def _failed(self, rooms: list[Room], error: Exception) -> None:
        self.failures += 1
        if self.failures < 4 or self.failures % 100 == 0:
            LOG.error("edits could not be stored, which is tried again: %s: %s", type(error).__name__, error)
        loop = asyncio.get_running_loop()
        for room in rooms:
            trouble = self._failing.get(room)
            if trouble is None:
                trouble = self._failing[room] = _Trouble(time.monotonic())
                room.say(_SAYS[False])
            self._resting[room] = loop.call_later(trouble.rest(), self._rested, room)
        everybody = self._house.rooms()
        if sum(room.pending_bytes for room in everybody) > MOST_WAITING:
            for room in everybody:
                room.refusing = True

    def _rested(self, room: Room) -> None:
        self._resting.pop(room).cancel()
        self.heard(room)

    def _worked(self, room: Room) -> None:
        """The room has nothing that cannot be stored; when that is so of all, all may write again."""
        was_failing = self._failing.pop(room, None) is not None
        if was_failing:
            LOG.info("edits are stored again")
            room.say(_SAYS[True])
        for one in self._house.rooms() if was_failing and not self._failing else [room]:
            if one.refusing and not one.pending:
                one.refusing = False
                one.ask_all()


_SAYS = {saving: msgspec.json.encode({"type": "storage", "saving": saving}).decode() for saving in (False, True)}
