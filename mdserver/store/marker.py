"""What is being given to pycrdt at this moment, in a file that outlives the process.

pycrdt holds the interpreter's lock and can bring the whole process down, so nothing inside can stop or survive it. The
pages of a mapped file are the kernel's: whatever ends the process, the next one finds there which document was being
loaded, and which update taken in (collab/trial.py). Costs about a microsecond for an update.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

_LOADS = 16
_SLOT = 17  # whether it is taken, and a document's id
_UPDATE = _LOADS * _SLOT  # the same for the one update that can be under way, its length, its bytes
_DATA = _UPDATE + _SLOT + 8
_SIZE = 32 << 20


class Update(NamedTuple):
    """An update that was being taken in, or a state vector; no data when it was too long to be kept."""

    document_id: str
    data: bytes


class Found(NamedTuple):
    """What was under way when a process ended."""

    loads: list[str]
    update: Update | None


class Marker:
    """The file. Without a path nothing is kept, as in tests of other things."""

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._map: mmap.mmap | bytearray
        if path is None:
            self._map = bytearray(_DATA)
            return
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(handle, _SIZE)  # full of holes: it takes what is written to it
            self._map = mmap.mmap(handle, _SIZE)
        finally:
            os.close(handle)

    def found(self) -> Found:
        """What the process before left behind."""
        data = self._map
        loads = [str(UUID(bytes=bytes(data[at + 1 : at + _SLOT]))) for at in range(0, _UPDATE, _SLOT) if data[at]]
        if not data[_UPDATE]:
            return Found(loads, None)
        size = int.from_bytes(data[_DATA - 8 : _DATA], "little")
        document_id = str(UUID(bytes=bytes(data[_UPDATE + 1 : _UPDATE + _SLOT])))
        return Found(loads, Update(document_id, bytes(data[_DATA : _DATA + size])))

    def clear(self) -> None:
        """Forget it."""
        self._map[:_DATA] = bytes(_DATA)

    def close(self) -> None:
        """Let go of the file."""
        if isinstance(self._map, mmap.mmap):
            self._map.close()

    @contextmanager
    def loading(self, document_id: str) -> Iterator[None]:
        """A document is being loaded, on whatever thread."""
        with self._lock:
            at = next((one for one in range(0, _UPDATE, _SLOT) if not self._map[one]), None)
            if at is not None:  # beyond so many at once, one goes without
                self._map[at + 1 : at + _SLOT] = key(document_id)
                self._map[at] = 1
        try:
            yield
        finally:
            if at is not None:
                self._map[at] = 0

    def begin(self, document: bytes, data: bytes) -> None:
        """An update or a state vector is given to a document (its `key`). On the event loop, one at a time."""
        made = self._map
        size = len(data)
        if _DATA + size > len(made):
            size = 0
        made[_UPDATE + 1 : _DATA] = document + size.to_bytes(8, "little")
        made[_DATA : _DATA + size] = data[:size]
        made[_UPDATE] = 1

    def end(self) -> None:
        """It was survived."""
        self._map[_UPDATE] = 0


def key(document_id: str) -> bytes:
    """A document's id as it is kept."""
    return UUID(document_id).bytes
