"""An update from somebody who has no socket: a room takes it in as any other, and says when it is stored."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from mdserver.crdt import guard
from mdserver.errors import Busy, Conflict
from mdserver.model.access import Principal

from .outbox import Outbox
from .protocol import Change
from .replica import Broken
from .room import LONG, Room, Seat
from .rooms import Rooms

PATIENCE = 20.0
"""Seconds in which it should be stored."""

_LOOKED_AT = 0.005


class _Nobody(Outbox):
    """Who cannot be answered; it is only noted that there was an answer."""

    __slots__ = ("was_asked",)

    def __init__(self) -> None:
        self.was_asked = False

    def put(self, made: bytes) -> None:
        self.was_asked = True


Judge = Callable[[], Awaitable[object]]
"""Raises what somebody hears who may not edit the document by now."""


async def bring(rooms: Rooms, me: Principal, document_id: str, data: bytes, judge: Judge) -> None:
    """Have a document's room take in a Yjs update of somebody who may edit it; returns when it is durable.

    They are judged once the room is open, which can take a while, just before it takes something in. Unsound for what
    Yjs does not make, Conflict when it builds on what the document lacks, Busy when it cannot be stored now: what was
    taken in may still be stored then, and does no harm when it comes again.
    """
    read = await asyncio.to_thread(guard.read_update, data) if len(data) > LONG else guard.read_update(data)
    room = await _entered(rooms, document_id, judge)
    if not _is_taken_in(rooms, room, me, data, read):
        # What it builds on may be in the log, and the room not have followed yet.
        with contextlib.suppress(TimeoutError):
            await rooms.catch_up(room)
        room = await _entered(rooms, document_id, judge)
        if not _is_taken_in(rooms, room, me, data, read):
            raise Conflict("The update builds on others that the document does not have: send those before it.")
    mark = room.taken
    rooms.heard(room)
    for _ in range(int(PATIENCE / _LOOKED_AT)):
        if room.durable >= mark:
            return
        await asyncio.sleep(_LOOKED_AT)
    raise Busy("The update could not be stored in time; it may be by now.")


async def _entered(rooms: Rooms, document_id: str, judge: Judge) -> Room:
    """The room, once it can take something in of whoever was judged."""
    while True:
        room = await rooms.enter(document_id)
        if room.replica.is_ready or room.reading is None:
            await judge()
            if rooms.found(document_id) is room:  # else it was closed meanwhile
                return room
            continue
        try:
            await asyncio.shield(room.reading)
        except Exception as error:
            rooms.reset(room)
            raise Busy("The document could not be read just now.") from error


def _is_taken_in(rooms: Rooms, room: Room, me: Principal, data: bytes, read: guard.Update) -> bool:
    """Have the room take the update in; False when it lacks what that builds on."""
    if room.refusing:
        raise Busy("Edits of this document cannot be stored at present: nothing was changed.")
    nobody = _Nobody()
    try:
        room.hear(Seat(room, actor=me, person=me.person, outbox=nobody, read_only=False), Change(data), read)
    except Broken as error:
        rooms.reset(room)
        raise Busy("The document has to be loaded anew: try again.") from error
    return not nobody.was_asked
