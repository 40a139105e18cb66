"""What a sync would do: the same code, on a copy of the state and a disk that only takes notes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from .disk import KEPT, Disk
from .names import OWN, rebased
from .rows import Sig


class NotedDisk(Disk):
    """Reads the folder; what would be changed is remembered, so that later steps find it so."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._moves: list[tuple[str, str]] = []
        self._made: set[str] = set()

    def now(self) -> int:
        return time.time_ns()

    def read(self, path: str, *, settled: bool = False) -> tuple[bytes, Sig]:
        return super().read(self._before(path), settled=settled)

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

    def take(self, path: str, name: str) -> None:
        pass

    def holds(self, name: str, hash: str) -> bool:
        return True

    def keep(self, name: str, when: str, path: str) -> str:
        return f"{OWN}/{KEPT}/{when}/{path}"

    def make_directory(self, path: str) -> int:
        self._made.add(path)
        return 0

    def remove_directory(self, path: str) -> bool:
        return True

    def _before(self, path: str) -> str:
        for old, new in reversed(self._moves):
            path = rebased(path, new, old)
        return path
