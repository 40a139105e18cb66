"""Power cuts, from a recording of all writes: `python -m tests.robust.power --images 3000`.

At a cut, a file holds all that was written before its last fsync, and of what came after any subset, each write torn at
any of its sectors. Names that were given or taken since the directory's last fsync may be lost, the later ones first.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mdserver.store.db import Reader
from mdserver.store.migrate import migrate_sqlite
from mdserver.store.sqlite import SQLite

from . import shim
from .crash import everything
from .program import PATIENCE

SECTOR = 512
_VOLATILE = ("-shm", ".lock", ".sock")  # rebuilt at the start; a -shm does not outlive its processes


class Inode:
    """A file's bytes: those that are durable, and the changes since."""

    def __init__(self) -> None:
        self.durable = bytearray()
        self.pending: list[tuple[str, int, bytes]] = []

    def sync(self) -> None:
        for change in self.pending:
            _apply(self.durable, *change)
        self.pending.clear()

    def after(self, chance: random.Random, luck: str) -> bytes:
        """What a power cut leaves of it. `luck`: what is not synced is kept "all", "none", or "some" of it, torn."""
        left = bytearray(self.durable)
        for kind, offset, data in self.pending:
            fate = luck if luck != "some" else chance.choice(("all", "none", "torn"))
            if fate == "all" or (fate == "torn" and kind == "T"):
                _apply(left, kind, offset, data)
            elif fate == "torn":
                for start, piece in _sectors(offset, data):
                    if chance.random() < 0.5:
                        _apply(left, kind, start, piece)
        return bytes(left)


class Disk:
    """Files and their names as the events make them, and what a cut may leave of them."""

    def __init__(self) -> None:
        self.names: dict[str, Inode] = {}
        self._durable: dict[str, Inode] = {}
        self._pending: list[tuple[str, str, Inode | None]] = []  # (directory, path, what the path is then)
        self.mapped: set[str] = set()

    def happens(self, event: shim.Event) -> None:
        """One recorded event."""
        kind, path = event.kind, event.path
        if kind == "M":
            self.mapped.add(path)
        elif path.endswith(_VOLATILE) or kind == "D":
            pass  # directories are found when they are made; their files' names are what may be lost
        elif kind == "C":
            self._name(path, Inode())
        elif kind == "R":
            to = event.data.decode()
            moved = self.names[path]
            self._name(path, None)
            self._name(to, moved)
        elif kind == "U":
            self._name(path, None)
        elif kind == "S":
            if path in self.names:
                self.names[path].sync()
            else:
                self._sync_directory(path)
        elif path in self.names:
            self.names[path].pending.append((kind, event.offset, event.data))

    def _name(self, path: str, inode: Inode | None) -> None:
        if inode is None:
            self.names.pop(path, None)
        else:
            self.names[path] = inode
        self._pending.append((os.path.dirname(path), path, inode))

    def _sync_directory(self, directory: str) -> None:
        left = []
        for one in self._pending:
            if one[0] == directory:
                _set(self._durable, one[1], one[2])
            else:
                left.append(one)
        self._pending = left

    def cut(self, chance: random.Random, into: Path) -> None:
        """Write what a power cut now may leave into a directory, under the files' paths below it."""
        luck = chance.choice(("all", "none", "some", "some"))
        names = dict(self._durable)
        for _, path, inode in self._pending[: chance.randint(0, len(self._pending))]:
            _set(names, path, inode)
        for path, inode in names.items():
            place = Path(f"{into}{path}")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(inode.after(chance, luck))


def _set(names: dict[str, Inode], path: str, inode: Inode | None) -> None:
    if inode is None:
        names.pop(path, None)
    else:
        names[path] = inode


def _apply(content: bytearray, kind: str, offset: int, data: bytes) -> None:
    if kind == "T":
        del content[offset:]
        content.extend(bytes(offset - len(content)))
        return
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _sectors(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        length = SECTOR - (offset + at) % SECTOR
        yield offset + at, data[at : at + length]
        at += length


class Recording:
    """A run of recorded.py: what it wrote, what it acknowledged, and when."""

    def __init__(self, work: str, variant: str, directory: Path) -> None:
        self.data = directory / "data"
        self.data.mkdir()
        log = directory / "events"
        done = subprocess.run(
            [sys.executable, "-m", "tests.robust.recorded", work, str(self.data), variant],
            env={**os.environ, **shim.environment(self.data, log=log)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=PATIENCE * 5,
            check=True,
        )
        self.acknowledged: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
        self.events = list(shim.events(log))

    def cuts(self, images: int, *, seed: int) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
        """The data directory as power cuts leave it, each with what had been acknowledged before.

        Half of the cuts fall beside an fsync, where a missing one shows; the other half anywhere.
        """
        chance = random.Random(seed)
        beside = [at + step for at, one in enumerate(self.events) if one.kind == "S" for step in (0, 1)]
        chosen = [chance.choice(beside) if n % 2 else chance.randint(0, len(self.events)) for n in range(images)]
        disk, at = Disk(), 0
        for cut in sorted(chosen):
            for event in self.events[at:cut]:
                disk.happens(event)
            at = cut
            position = self.events[cut - 1].ends if cut else 0
            with tempfile.TemporaryDirectory(prefix="mdserver-cut-") as directory:
                disk.cut(chance, Path(directory))
                image = Path(f"{directory}{self.data}")
                image.mkdir(parents=True, exist_ok=True)
                yield image, [one for one in self.acknowledged if one["at"] <= position]


def lost_documents(image: Path, acknowledged: list[dict[str, Any]]) -> tuple[list[str], int]:
    """Open an image as the server would; what is wrong with it, and how many acknowledged changes it has lost."""
    return asyncio.run(_documents(image, acknowledged))


async def _documents(image: Path, acknowledged: list[dict[str, Any]]) -> tuple[list[str], int]:
    database = await SQLite.open(image / "mdserver.sqlite3", synchronous="OFF")
    try:
        await migrate_sqlite(database, backups=image / "backups")

        def question(db: Reader) -> int:
            users = set(db.column(str, "SELECT id FROM users"))
            versions = set(db.rows("SELECT document_id, version, content_hash FROM document_versions"))
            return sum(
                one["account"] not in users
                if "account" in one
                else (one["id"], one["version"], one["hash"]) not in versions
                for one in acknowledged
            )

        return await everything(database), await database.read(question)
    finally:
        await database.close()


def lost_blobs(image: Path, acknowledged: list[dict[str, Any]]) -> tuple[list[str], int]:
    """Names that do not hold their bytes, and how many acknowledged blobs are gone."""
    named = {one.name: one.read_bytes() for one in image.rglob("*") if one.is_file() and len(one.name) == 64}
    wrong = [name for name, content in named.items() if hashlib.sha256(content).hexdigest() != name]
    return [f"{name} holds other bytes" for name in wrong], sum(one["sha256"] not in named for one in acknowledged)


def main() -> None:
    """Many images of FULL; exit status 1 when one is broken or has lost anything that was acknowledged."""
    parser = argparse.ArgumentParser(prog="python -m tests.robust.power", description=__doc__)
    parser.add_argument("--images", type=int, default=3_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    failed = False
    for synchronous in ("FULL", "NORMAL"):
        with tempfile.TemporaryDirectory(prefix="mdserver-power-") as directory:
            recording = Recording("documents", synchronous, Path(directory))
            faults, losing = 0, 0
            for image, acknowledged in recording.cuts(given.images, seed=given.seed):
                wrong, lost = lost_documents(image, acknowledged)
                faults, losing = faults + bool(wrong), losing + bool(lost)
        print(
            f"{synchronous}: {given.images} images of {len(recording.events)} writes and syncs (seed {given.seed}):"
            f" {losing} have lost acknowledged changes, {faults} are broken",
            flush=True,
        )
        failed |= faults > 0 or (losing > 0) != (synchronous == "NORMAL")
    sys.exit(failed)


if __name__ == "__main__":
    main()
