"""What goes to one client: WebSocket frames, gathered over a turn of the event loop and written in one piece.

A frame is made once for all who get it, and nobody waits for anybody: a client that does not read is cut off when more
than so much waits for it. It comes back and is told what it missed.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

log = logging.getLogger("mdserver.collab")

MOST_WAITING = 1 << 20
"""Bytes that may wait for a client that reads slowly, beyond the answers that it asked for."""

_DRAINED = 64 << 10
_MANY = 8


def frame(payload: bytes) -> bytes:
    """A binary WebSocket frame as a server sends it: whole and unmasked (RFC 6455 §5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((0x82, size)) + payload
    if size < 65_536:
        return b"\x82\x7e" + size.to_bytes(2, "big") + payload
    return b"\x82\x7f" + size.to_bytes(8, "big") + payload


class Turn:
    """The outboxes that hold something, written out together once this turn of the event loop is over."""

    def __init__(self) -> None:
        self._waiting: list[Outbox] = []
        self.written = 0
        """Pieces written so far, for those who watch."""

    def add(self, outbox: Outbox) -> None:
        """Have this outbox written out."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._over)
        self._waiting.append(outbox)

    def _over(self) -> None:
        """Write at once to a few. What many get waits one turn more: where a cursor is comes right behind an edit."""
        if len(self._waiting) < _MANY:
            self.end()
        else:
            asyncio.get_running_loop().call_soon(self.end)

    def end(self) -> None:
        """Write everything out now."""
        waiting, self._waiting = self._waiting, []
        self.written += len(waiting)
        for outbox in waiting:
            outbox.flush()


class Pipe(Protocol):
    """What an outbox asks of its connection: an asyncio transport, or uvloop's."""

    def write(self, data: bytes) -> object: ...
    def is_closing(self) -> bool: ...
    def get_write_buffer_size(self) -> int: ...
    def abort(self) -> object: ...


class Outbox:
    """What one client has still to be sent, and what was given to its connection and not sent yet."""

    __slots__ = ("_grace", "_most", "_parts", "_pipe", "_turn", "_written")

    def __init__(self, turn: Turn, pipe: Pipe, *, most: int = MOST_WAITING) -> None:
        self._turn, self._pipe, self._most = turn, pipe, most
        self._parts: list[bytes] = []
        self._grace = self._written = 0

    def put(self, made: bytes) -> None:
        """Send a frame that may have been made for several."""
        parts = self._parts
        if not parts:
            self._turn.add(self)
        parts.append(made)

    def answer(self, made: bytes) -> None:
        """Send a frame that the client asked for: its size does not count against it."""
        if len(made) > _DRAINED:
            self._grace += len(made)
        self.put(made)

    def is_drained(self) -> bool:
        """Whether the long answers have been sent, and another may follow."""
        if self._grace:
            self.flush()
            self._look()
        return not self._grace

    def flush(self) -> None:
        """Write out what was gathered."""
        parts, pipe = self._parts, self._pipe
        if not parts:
            return
        if self._grace and not pipe.is_closing():  # one by one: a long frame is the same bytes for all who get it
            for part in parts:
                pipe.write(part)
                self._written += len(part)
            parts.clear()
        made = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        if pipe.is_closing():
            return
        if made:
            pipe.write(made)
        self._written += len(made)
        if self._written > _DRAINED:  # not each time: this is on the way of everything that everybody is sent
            self._look()

    def cut(self) -> None:
        """End the connection of a client that does not read."""
        log.info("a socket whose client does not read was cut off")
        self._grace = 0
        self._pipe.abort()

    def _look(self) -> None:
        self._written = 0
        waiting = 0 if self._pipe.is_closing() else self._pipe.get_write_buffer_size()
        if waiting > self._most + self._grace:
            self.cut()
        elif waiting < _DRAINED:
            self._grace = 0
