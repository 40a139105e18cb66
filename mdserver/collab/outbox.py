"""What goes to one client: WebSocket frames, gathered over a turn of the event loop and written in one piece.

A frame is made once for all who get it, and nobody waits for anybody: a client that does not read is cut off when more
than so much waits for it. It comes back and is told what it missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

MOST_WAITING = 1 << 20
"""Bytes that may wait for a client that reads slowly, beyond the answers that it asked for."""

_DRAINED = 64 << 10


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
            asyncio.get_running_loop().call_soon(self.end)
        self._waiting.append(outbox)

    def end(self) -> None:
        """Write everything out now."""
        waiting, self._waiting = self._waiting, []
        self.written += len(waiting)
        for outbox in waiting:
            outbox.flush()


class Outbox:
    """One client's. `write` takes bytes, `waiting` says how many are not sent yet, `cut` ends the connection."""

    __slots__ = ("_cut", "_grace", "_is_cut", "_most", "_parts", "_turn", "_waiting", "_write")

    def __init__(
        self,
        turn: Turn,
        *,
        write: Callable[[bytes], object],
        waiting: Callable[[], int],
        cut: Callable[[], object],
        most: int = MOST_WAITING,
    ) -> None:
        self._turn, self._write, self._waiting, self._cut, self._most = turn, write, waiting, cut, most
        self._parts: list[bytes] = []
        self._grace = 0
        self._is_cut = False

    def put(self, made: bytes) -> None:
        """Send a frame that may have been made for several."""
        parts = self._parts
        if not parts:
            self._turn.add(self)
        parts.append(made)

    def answer(self, payload: bytes) -> None:
        """Send something that the client asked for: its size does not count against it."""
        if len(payload) > _DRAINED:
            self._grace += len(payload)
        self.put(frame(payload))

    def is_drained(self) -> bool:
        """Whether the long answers have been sent, and another may follow."""
        if not self._grace or self._is_cut:
            return True
        self.flush()
        if self._waiting() < _DRAINED:
            self._grace = 0
        return not self._grace

    def flush(self) -> None:
        """Write out what was gathered."""
        parts, self._parts = self._parts, []
        if self._is_cut or not parts:
            return
        self._write(parts[0] if len(parts) == 1 else b"".join(parts))
        waiting = self._waiting()
        if waiting > self._most + self._grace:
            self._is_cut = True
            self._cut()
        elif self._grace and waiting < _DRAINED:
            self._grace = 0
