"""Cursors: how far a device has come in each workspace, as text that it only carries around.

A cursor holds the epoch in which it was made and, for each workspace, the position reached, the position at which the
membership began and, while a workspace is told from its start, up to where its deletions need not be told.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import NamedTuple

import msgspec

from mdserver import ids
from mdserver.errors import Conflict, Gone, Malformed
from mdserver.model.access import Principal

MOST = 7_000
"""Characters of a cursor, which stands in a request line: some two hundred workspaces."""

_FORM = 1
_Packed = tuple[int, bytes, bytes, list[tuple[bytes, int, int, int]]]


class Place(NamedTuple):
    """Where a device is in a workspace's log."""

    seq: int
    granted: int
    floor: int = 0


class Cursor(NamedTuple):
    """The newest epoch when it was made, and the place in each workspace by id."""

    epoch: str
    places: dict[str, Place]


def resync(why: str) -> Gone:
    """What a device hears that has to begin anew."""
    return Gone(
        f"{why} Begin again without a cursor; what was edited here meanwhile is not lost.", slug="resync-required"
    )


def write(cursor: Cursor, me: Principal, only: str | None) -> str:
    """The cursor as text, for this person and this choice of workspaces alone. Conflict when these are too many."""
    places = [(ids.pack(id), *place) for id, place in cursor.places.items()]
    data = msgspec.msgpack.encode((_FORM, bytes.fromhex(cursor.epoch), _owner(me, only), places))
    text = base64.urlsafe_b64encode(data).decode().rstrip("=")
    if len(text) > MOST:
        raise Conflict("These are more workspaces than one cursor holds: pull each by itself, with workspace=.")
    return text


def read(text: str, me: Principal, only: str | None) -> Cursor:
    """The same back. Malformed for what we have never written, Gone for what was written for somebody else."""
    try:
        if len(text) > MOST:
            raise ValueError("it is too long")
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        form, epoch, owner, places = msgspec.msgpack.decode(data, type=_Packed)
        made = {ids.unpack(id): Place(*place) for id, *place in places}
        if form != _FORM or any(not 0 <= number < 1 << 62 for place in made.values() for number in place):
            raise ValueError("it holds what no cursor holds")
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError):
        raise Malformed("This is no cursor that sync has given.") from None
    if owner != _owner(me, only):
        raise resync("This cursor was given to another account, or for other workspaces.")
    return Cursor(epoch.hex(), made)


def _owner(me: Principal, only: str | None) -> bytes:
    return hashlib.sha256(f"{me.user_id} {me.readable_workspace} {only or ''}".encode()).digest()[:6]
