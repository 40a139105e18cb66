"""Reading the folder's files when they may have changed, and deciding what of them can be a document."""

from __future__ import annotations

import hashlib

from rapidfuzz import fuzz

from mdserver.transfer.source import Unreadable, text_of

from .deriving import Read
from .disk import Changed, Disk, Unfit
from .rows import Sig
from .scanning import Snapshot
from .state import State

YOUNG = 2_100_000_000
"""Nanoseconds: the coarsest clock of a file system (FAT) ticks every two seconds."""
_KEPT = 32 << 20
_LIKE = 50.0
_COMPARED = 4_000


class Reader:
    """The files of one look at the folder; what was read is kept for the time of it."""

    def __init__(self, state: State, disk: Disk, snapshot: Snapshot, *, now: int) -> None:
        self._state, self._disk, self._snapshot, self._now = state, disk, snapshot, now
        self._by_path = {row.path: row for row in state.locals.values()}
        self._kept: dict[str, Read] = {}
        self._size = 0
        self.unstable: set[str] = set()
        """Files that were written while they were read: another look is due."""

    def hash_of(self, path: str) -> str | None:
        """SHA-256 of a file, as remembered where nothing speaks against it; None when it cannot be a document."""
        row, sig = self._by_path.get(path), self._snapshot.sig(path)
        if row is not None and row.settled and row.sig == sig:
            return row.hash
        read = self.read(path)
        return read.hash if read is not None else None

    def read(self, path: str) -> Read | None:
        if path in self._kept:
            return self._kept[path]
        try:
            data, sig = self._disk.read(path)
            text = text_of(data)
        except (Unfit, Unreadable) as error:
            self._unfit(path, str(error))
            return None
        except Changed:
            self.unstable.add(path)
            return None
        except FileNotFoundError:
            self.unstable.add(path)
            return None
        except OSError as error:
            self._unfit(path, f"cannot be read: {error.strerror}")
            return None
        self._snapshot.unfit.pop(path, None)
        read = Read(text, hashlib.sha256(data).hexdigest(), sig)
        self._size += len(data)
        if self._size < _KEPT:
            self._kept[path] = read
        return read

    def is_like(self, id: str, path: str) -> bool:
        """Whether a file resembles a document's text, so that it may be that document, renamed and edited."""
        read = self.read(path)
        if read is None:
            return False
        base = self._state.base(id)[:_COMPARED]
        return bool(base) and fuzz.ratio(base, read.text[:_COMPARED]) >= _LIKE

    def is_settled(self, sig: Sig) -> bool:
        """Whether the file was old enough when it was looked at for its signature to be believed."""
        return is_settled(sig, self._now)

    def _unfit(self, path: str, why: str) -> None:
        sig = self._snapshot.sig(path)
        if sig is not None:
            self._snapshot.unfit[path] = (sig, why)


def is_settled(sig: Sig, now: int) -> bool:
    return max(sig.mtime_ns, sig.ctime_ns) + YOUNG < now
