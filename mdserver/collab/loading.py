"""What a room is loaded from, and what it lacks of its log."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from mdserver.errors import Conflict, NotFound
from mdserver.model import live, log
from mdserver.store.db import Database, Reader
from mdserver.store.marker import Marker

from .replica import Replica, read
from .room import Guard, Room

AT_ONCE = 32 << 10
"""Bytes of a log up to which it is read before its document is shown; a longer one is read while people look at it."""


class _Found(NamedTuple):
    log: log.Log
    is_unsettled: bool


async def load(
    database: Database, document_id: str, *, most: int, marker: Marker, refused: set[bytes]
) -> tuple[Room, bool]:
    """A document's room, and whether its text is behind its log. NotFound when there is none.

    The room refuses the updates of those hashes; the marker tells of what it is doing.
    """
    found, is_unsettled = await database.read(lambda db: _found(db, document_id))

    size = sum(map(len, found.updates))
    is_long = size + len(found.snapshot or b"") > AT_ONCE

    def made() -> Replica:
        with marker.loading(document_id):
            make = Replica.open if is_long else Replica.load
            return make(found.snapshot, found.updates, most=most, kind=found.kind)

    replica = await asyncio.to_thread(made)
    guard = Guard(marker, document_id, refused)
    room = Room(document_id, replica, found.head, guard=guard, tail_rows=len(found.updates), tail_bytes=size)
    if is_long:
        room.reading = asyncio.create_task(_read(replica, found))
    return room, is_unsettled


async def _read(replica: Replica, found: log.Log) -> None:
    """Have a replica learn its log, so that it can take something in; to be looked at it has not to wait for that."""
    replica.learn(await asyncio.to_thread(read, found.snapshot, found.updates))


def beyond(db: Reader, *, document_id: str, seq: int) -> log.Log | None:
    """What the log has beyond a row; None when the document is gone."""
    if not db.rows("SELECT 1 FROM documents WHERE id = $1", document_id):
        return None
    head = log.head(db, document_id)
    return log.Log(None, log.after(db, document_id, seq) if head > seq else [], head)


def _found(db: Reader, document_id: str) -> _Found:
    if not db.rows("SELECT 1 FROM documents WHERE id = $1", document_id):
        raise NotFound("There is no such document, or you cannot see it.")
    found = log.load(db, document_id)
    if not found.head:
        raise Conflict("A folder has no content.")
    return _Found(found, live.is_unsettled(db, document_id))
