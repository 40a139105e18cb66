"""What a sync would do: the same code, on a copy of the state and a disk that only takes notes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from .disk import Disk
from .names import rebased
from .rows import Sig


class NotedDisk(Disk):
    """Reads the folder; what would be changed is remembered, so that later steps find it so."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._moves: list[tuple[str, str]] = []
        self._made: set[str] = set()

    def now(self) -> int:
        return time.time_ns()

    def read(self, path: str) -> tuple[bytes, Sig]:
        return super().read(self._before(path))

    def status(self, path: str) -> os.stat_result | None:
        if path in self._made:
            return super().status(".")
        return super().status(self._before(path))

    def prepare(self, name: str, data: bytes, *, mode: int | None) -> Sig:
        return Sig(0, 0, len(data), 0)

    def put(self, name: str, path: str, *, seen: Sig | None) -> Sig:
        return Sig(0, 0, 0, 0)

    def forget(self, name: str) -> None:
        pass

    def move(self, old: str, new: str) -> None:
        self._moves.append((old, new))

    def remove(self, path: str, *, seen: Sig) -> None:
        pass

    def make_directory(self, path: str) -> int:
        self._made.add(path)
        return 0

    def remove_directory(self, path: str) -> bool:
        return True

    def _before(self, path: str) -> str:
        for old, new in reversed(self._moves):
            path = rebased(path, new, old)
        return path
