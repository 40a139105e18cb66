"""The open rooms: each loaded once, saved in order, projected within a second, kept for a while, closed when idle.

One saver stores what all rooms have taken in, in one unit of work at a time: what arrives while it commits goes into
the next one, so that a hundred busy rooms share their commits. One projector follows behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from functools import partial

import msgspec

from mdserver.crdt.guard import Unsound
from mdserver.errors import Busy, StorageFull
from mdserver.figures import UNITS, Family, Histogram, counter, gauge
from mdserver.model import live, quarantine
from mdserver.model.live import Batch
from mdserver.model.updates import Door
from mdserver.store.db import Database, Tx
from mdserver.store.marker import Marker

from . import loading
from .outbox import Turn
from .projector import Projector
from .replica import Broken
from .room import Room
from .trial import inspect

LOG = logging.getLogger("mdserver.collab")

ROOMS_AT_ONCE = 32
"""Rooms whose rows are stored in one unit of work."""

TOGETHER = 0.02
"""Seconds from the beginning of one round of storing to that of the next: a commit costs as much as ten edits."""

MOST_AT_ONCE = 4 << 20
"""Bytes of one room that one unit stores."""

MOST_WAITING = 64 << 20
"""Bytes of all rooms that may wait to be stored; then none takes in any more."""

KEPT = 30.0
"""Seconds for which a room without clients is kept open."""

LOOKED_AFTER = 0.2
"""Seconds between two looks at what is due."""

FIRST_RETRY, LAST_RETRY = 0.2, 5.0


class _Trouble:
    """Since when a room cannot be stored (monotonic seconds), and how long it rests until it is tried again."""

    def __init__(self, since: float) -> None:
        self.since = since
        self._delay = FIRST_RETRY

    def rest(self) -> float:
        delay, self._delay = self._delay, min(2 * self._delay, LAST_RETRY)
        return delay


Closed = Callable[[Room, str], None]
"""Told of a room that its clients have to leave, and why: `gone`, or `reset` (they may come back at once)."""


class Rooms:
    """All open documents of this process. `run` must be running; `close` stores everything."""

    def __init__(self, database: Database, *, door: Door, maximum_bytes: int, marker: Marker | None = None) -> None:
        self._database, self._door, self._most = database, door, maximum_bytes
        door.on_calm = lambda: self._wake.set()
        self._marker = marker or Marker(None)
        self._refused: set[bytes] = set()
        self._open: dict[str, asyncio.Task[Room]] = {}
        self._left: dict[str, float] = {}
        self._dirty: dict[Room, None] = {}
        self._behind: set[str] = set()
        self._wake = asyncio.Event()
        self._failing: dict[Room, _Trouble] = {}
        self._resting: dict[Room, asyncio.TimerHandle] = {}
        self._storing: set[Room] = set()
        self._stopping = False
        self._ended = asyncio.Event()
        self.turn = Turn()
        self.on_closed: Closed = lambda room, why: None
        self.projector = Projector(
            database, may_look=lambda room: room not in self._storing, on_broken=lambda room: self.reset(room)
        )
        self.saves = Histogram(UNITS)
        self.loads = self.failures = self.resets = 0
        database.listen("log", self._changed)
        database.listen("document", self._changed)

    def __len__(self) -> int:
        return len(self._open)

    def found(self, document_id: str) -> Room | None:
        """The room of a document that is open and loaded."""
        task = self._open.get(document_id)
        return None if task is None or not task.done() or task.exception() is not None else task.result()

    def rooms(self) -> list[Room]:
        """Those that are open and loaded."""
        return [room for one in list(self._open) if (room := self.found(one)) is not None]

    async def prepare(self) -> None:
        """Before anything is loaded: see what ended the last process, if something of this did."""
        await inspect(self._database, self._marker)
        self._refused = await self._database.read(quarantine.refused)

    async def enter(self, document_id: str) -> Room:
        """The document's room, loaded once however many come. NotFound when there is no such document.

        Nothing may be awaited between its return and `Room.enter`, or the room might be closed meanwhile.
        """
        if self._stopping:
            raise Busy("The server is shutting down.")
        while True:
            task = self._open.get(document_id)
            if task is None:
                task = self._open[document_id] = asyncio.create_task(self._load(document_id))
                task.add_done_callback(partial(self._loaded, document_id))
            room = await asyncio.shield(task)
            if self._open.get(document_id) is task:  # else it was reset while we waited
                self._left.setdefault(document_id, time.monotonic())
                return room

    def heard(self, room: Room) -> None:
        """Something may have been taken in: have it stored."""
        if room.pending and room not in self._dirty and room not in self._resting:
            self._dirty[room] = None
            self._wake.set()

    def reset(self, room: Room) -> None:
        """Drop a room whose replica cannot be trusted any more; what it has taken in is stored all the same."""
        if room.is_dropped:
            return
        room.is_dropped = True
        LOG.error("a live document had to be loaded anew: document %s", room.document_id)
        self.resets += 1
        self.projector.forget(room)
        self.on_closed(room, "reset")

        settled = asyncio.Event()
        room.on_settled = settled.set
        if room.is_settled:
            settled.set()

        async def again() -> Room:
            await settled.wait()
            return await self._load(room.document_id)

        task = self._open[room.document_id] = asyncio.create_task(again())
        task.add_done_callback(partial(self._loaded, room.document_id))

    def state(self) -> str:
        """`ok`, or since when nothing can be stored."""
        if not self._failing:
            return "ok"
        since = min(one.since for one in self._failing.values())
        return f"edits have not been stored for {time.monotonic() - since:.0f} s"

    async def run(self) -> None:
        """Store, follow, project and close until cancelled."""
        saving = asyncio.create_task(self._save())
        try:
            while True:
                await asyncio.sleep(LOOKED_AFTER)
                try:
                    await self._follow()
                    await self.projector.look(self.rooms())
                    self._close_idle()
                except Exception:  # whatever it is: the other documents must go on being looked after
                    LOG.exception("the open documents could not be looked after")
        finally:
            self._ended.set()  # not cancelled: what is being stored is stored, or would be stored twice
            self._wake.set()
            await asyncio.wait([saving])

    async def close(self) -> None:
        """Store what waits and give every document its version. Clients have to be gone."""
        self._stopping = True
        tries = 0
        while True:
            for room in list(self._resting):
                self._rested(room)
            for room in self.rooms():
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
        await self.projector.look(self.rooms(), all_of_it=True)
        self._marker.close()

    async def figures(self) -> list[Family]:
        """What the rooms count, for those who watch the server."""
        rooms = self.rooms()
        return [
            gauge("mdserver_live_rooms", "Documents that are open for live editing.", len(rooms)),
            gauge("mdserver_live_sessions", "Clients in them.", sum(len(room.seats) for room in rooms)),
            gauge(
                "mdserver_live_waiting_bytes",
                "Edits that are not stored yet.",
                sum(room.pending_bytes for room in rooms),
            ),
            counter("mdserver_live_loads_total", "Documents loaded.", self.loads),
            counter("mdserver_live_writes_total", "Writes to clients.", self.turn.written),
            counter("mdserver_live_failures_total", "Attempts to store edits that failed.", self.failures),
            counter("mdserver_live_resets_total", "Documents loaded anew after a failure.", self.resets),
            counter("mdserver_live_projections_total", "Texts brought up to their logs.", self.projector.count),
            Family("mdserver_live_batch", "histogram", "Edits of a document stored together.", self.saves.samples()),
        ]

    async def _load(self, document_id: str) -> Room:
        room, is_unsettled = await loading.load(
            self._database, document_id, most=self._most, marker=self._marker, refused=self._refused
        )
        self.loads += 1
        if is_unsettled:
            self.projector.watch(room)
        # What was committed meanwhile is told by an announcement, or was told before this: so look once more.
        self._behind.add(document_id)
        return room

    def _loaded(self, document_id: str, task: asyncio.Task[Room]) -> None:
        if (task.cancelled() or task.exception() is not None) and self._open.get(document_id) is task:
            del self._open[document_id]

    def _changed(self, document_id: str) -> None:
        """Hear that somebody else has changed a document."""
        if document_id in self._open:
            self._behind.add(document_id)
            self._wake.set()

    async def _save(self) -> None:
        while not self._ended.is_set():
            await self._wake.wait()
            self._wake.clear()
            try:
                if self._behind:
                    await self._follow()
                while not self._ended.is_set() and any(self._may_store(room) for room in self._dirty):
                    started = time.monotonic()
                    for _ in range(0, len(self._dirty), ROOMS_AT_ONCE):
                        await self._store_dirty()
                    with contextlib.suppress(TimeoutError):  # what comes meanwhile is stored together
                        await asyncio.wait_for(self._ended.wait(), max(0.0, started + TOGETHER - time.monotonic()))
            except Exception:  # nothing may end the saving
                LOG.exception("edits could not be stored, which is tried again")
                await asyncio.sleep(FIRST_RETRY)
                self._wake.set()

    def _may_store(self, room: Room) -> bool:
        """Not while an edit through the other door needs the log to stand still for a moment."""
        return self._stopping or room.document_id not in self._door.hurried

    async def _store_dirty(self) -> bool:
        """Store what the rooms that wait longest have taken in; whether that went well.

        Rooms that could not be stored before are tried again without the others, which must not wait for them.
        """
        rooms = [room for room in self._dirty if self._may_store(room)]
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
        batches = [Batch(room.document_id, room.seq, room.take_pending(MOST_AT_ONCE)) for room in rooms if room.pending]
        if not batches:
            return None

        def change(tx: Tx) -> list[live.Appended | None]:
            return [live.append(tx, one) for one in batches]

        for room in rooms:
            self.projector.before_storing(room)
        self._storing.update(rooms)
        try:
            appended = await self._database.write(change, *[f"document:{one.document_id}" for one in batches])
        except Exception as error:  # whatever it is, what waits must not be lost: it is tried again
            return error
        finally:
            self._storing.difference_update(rooms)
            if self._behind:
                self._wake.set()
        by_id = {room.document_id: room for room in rooms}
        for batch, one in zip(batches, appended, strict=True):
            room = by_id[batch.document_id]
            self.saves.note(len(batch.rows))
            if one is None:
                self._gone(room)
                continue
            self._take_others(room, one.others)
            room.seq = one.head
            room.stored(len(batch.rows))
            if not room.is_dropped:
                self.projector.after_storing(room, is_alone=not one.others)
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
        everybody = self.rooms()
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
        for one in self.rooms() if was_failing and not self._failing else [room]:
            if one.refusing and not one.pending:
                one.refusing = False
                one.ask_all()

    async def _follow(self) -> None:
        """Take in what others have appended to the logs of open rooms."""
        behind, self._behind = self._behind, set()
        for document_id in behind:
            room = self.found(document_id)
            if room is None:
                if document_id in self._open:
                    self._behind.add(document_id)  # it is loading
                continue
            if room in self._storing:
                self._behind.add(document_id)  # what it appends comes back with what stands before it
                continue
            try:
                found = await self._database.glance(partial(loading.beyond, document_id=document_id, seq=room.seq))
            except Exception as error:
                LOG.warning("what was appended to a log could not be read: %s", error)
                self._behind.add(document_id)
                continue
            if room in self._storing:
                self._behind.add(document_id)
            elif found is None:
                self._gone(room)
            elif found.head > room.seq:
                self._take_others(room, found.updates)
                room.seq = found.head

    def _take_others(self, room: Room, updates: list[bytes]) -> None:
        if room.is_dropped:
            return
        try:
            for one in updates:
                room.follow(one)
        except (Broken, Unsound):
            self.reset(room)

    def _gone(self, room: Room) -> None:
        """The document was purged: there is nothing to store any more."""
        room.pending.clear()
        room.pending_bytes, room.durable = 0, room.taken
        self._dirty.pop(room, None)
        if room in self._resting:
            self._rested(room)
        self.projector.forget(room)
        room.on_settled()
        self.on_closed(room, "gone")
        self._worked(room)
        if self.found(room.document_id) is room:
            del self._open[room.document_id]

    def _close_idle(self) -> None:
        now = time.monotonic()
        for document_id, left in list(self._left.items()):
            room = self.found(document_id)
            if room is None:
                if document_id not in self._open:
                    del self._left[document_id]
            elif room.seats:
                self._left[document_id] = now
            elif now - left > KEPT and room.is_settled and self.projector.is_done(room):
                del self._left[document_id], self._open[document_id]
                self.projector.forget(room)


_SAYS = {saving: msgspec.json.encode({"type": "storage", "saving": saving}).decode() for saving in (False, True)}
