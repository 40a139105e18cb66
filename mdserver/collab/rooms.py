"""The open rooms: each loaded once, saved in order, projected within a second, kept for a while, closed when idle.

One saver (saver.py) stores what all rooms have taken in, and one projector (projector.py) follows behind it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial

from mdserver.crdt.guard import Unsound
from mdserver.errors import Busy
from mdserver.figures import Family, counter, gauge
from mdserver.model import log, quarantine
from mdserver.model.updates import Door
from mdserver.store.db import Database
from mdserver.store.marker import Marker

from . import loading
from .outbox import Turn
from .projector import Projector
from .replica import Broken
from .room import Room
from .saver import Saver
from .trial import inspect

LOG = logging.getLogger("mdserver.collab")

KEPT = 30.0
"""Seconds for which a room without clients is kept open."""

LOOKED_AFTER = 0.2
"""Seconds between two looks at what is due."""

PATIENCE = 5.0
"""Seconds for which somebody waits for a room to have what is in the log."""

LOOKED_AT = 0.005

Closed = Callable[[Room, str], None]
"""Told of a room that its clients have to leave, and why: `gone`, or `reset` (they may come back at once)."""


class Rooms:
    """All open documents of this process. `run` must be running; `close` stores everything."""

    def __init__(self, database: Database, *, door: Door, maximum_bytes: int, marker: Marker | None = None) -> None:
        self._database, self._most = database, maximum_bytes
        self._marker = marker or Marker(None)
        self._refused: set[bytes] = set()
        self._open: dict[str, asyncio.Task[Room]] = {}
        self._left: dict[str, float] = {}
        self._behind: set[str] = set()
        self._stopping = False
        self.turn = Turn()
        self.on_closed: Closed = lambda room, why: None
        self.on_people: Callable[[Room], object] = lambda room: None
        """Told of a room that somebody has come to or gone from."""
        self.projector = Projector(
            database, may_look=lambda room: not self.saver.is_storing(room), on_broken=lambda room: self.reset(room)
        )
        self.saver = Saver(database, self, self.projector, door)
        self.loads = self.resets = 0
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
        self.saver.heard(room)

    async def catch_up(self, room: Room) -> None:
        """Wait until the room has what others had appended to the log by now, as long as that is to be waited for."""
        head = await self._database.glance(lambda db: log.head(db, room.document_id))
        async with asyncio.timeout(PATIENCE):
            while room.seq < head and self.found(room.document_id) is room:
                self._changed(room.document_id)
                await asyncio.sleep(LOOKED_AT)

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
        return self.saver.state()

    async def run(self) -> None:
        """Store, follow, project and close until cancelled."""
        saving = asyncio.create_task(self.saver.run())
        try:
            while True:
                await asyncio.sleep(LOOKED_AFTER)
                try:
                    await self.follow()
                    await self.projector.look(one for one in self.rooms() if self.saver.may_store(one))
                    self._close_idle()
                except Exception:  # whatever it is: the other documents must go on being looked after
                    LOG.exception("the open documents could not be looked after")
        finally:
            self.saver.end()
            await asyncio.wait([saving])

    async def close(self) -> None:
        """Store what waits and give every document its version. Clients have to be gone."""
        self._stopping = True
        await self.saver.finish()
        await self.projector.look(self.rooms(), all_of_it=True)
        self._marker.close()

    async def figures(self) -> list[Family]:
        """What the rooms count, for those who watch the server."""
        rooms, sizes = self.rooms(), self.saver.sizes.samples()
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
            counter("mdserver_live_failures_total", "Attempts to store edits that failed.", self.saver.failures),
            counter("mdserver_live_resets_total", "Documents loaded anew after a failure.", self.resets),
            counter("mdserver_live_projections_total", "Texts brought up to their logs.", self.projector.count),
            Family("mdserver_live_batch", "histogram", "Edits of a document stored together.", sizes),
        ]

    async def _load(self, document_id: str) -> Room:
        room, is_unsettled = await loading.load(
            self._database, document_id, most=self._most, marker=self._marker, refused=self._refused
        )
        self.loads += 1
        room.on_people = lambda: self.on_people(room)
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
            self.saver.wake.set()

    async def follow(self) -> None:
        """Take in what others have appended to the logs of open rooms."""
        behind, self._behind = self._behind, set()
        for document_id in behind:
            room = self.found(document_id)
            if room is None:
                if document_id in self._open:
                    self._behind.add(document_id)  # it is loading
                continue
            if self.saver.is_storing(room):
                self._behind.add(document_id)  # what it appends comes back with what stands before it
                continue
            try:
                found = await self._database.glance(partial(loading.beyond, document_id=document_id, seq=room.seq))
            except Exception as error:
                LOG.warning("what was appended to a log could not be read: %s", error)
                self._behind.add(document_id)
                continue
            if self.saver.is_storing(room):
                self._behind.add(document_id)
            elif found is None:
                self.gone(room)
            elif found.head > room.seq:
                self.take_others(room, found.updates)
                room.seq = found.head

    def take_others(self, room: Room, updates: list[bytes]) -> None:
        if room.is_dropped:
            return
        try:
            for one in updates:
                room.follow(one)
        except (Broken, Unsound):
            self.reset(room)

    def gone(self, room: Room) -> None:
        """The document was purged: there is nothing to store any more."""
        room.pending.clear()
        room.pending_bytes, room.durable = 0, room.taken
        self.projector.forget(room)
        room.on_settled()
        self.on_closed(room, "gone")
        self.saver.forget(room)
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
