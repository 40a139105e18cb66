"""Power cuts: FULL loses nothing that was acknowledged, and no cut leaves anything half-done.

A few images of one recording each; `make crash` looks at thousands.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from . import shim
from .power import Disk, Recording, lost_blobs, lost_documents

IMAGES = 80


@pytest.mark.parametrize(("synchronous", "loses"), [("FULL", False), ("NORMAL", True)])
def test_cuts_while_documents_are_written(tmp_path: Path, synchronous: str, loses: bool) -> None:
    """NORMAL is the mutant: it commits without an fsync, and if it lost nothing, this test would see nothing."""
    recording = Recording("documents", synchronous, tmp_path)
    faults, losses, counted = list[str](), 0, 0
    for image, acknowledged in recording.cuts(IMAGES, seed=1):
        wrong, lost = lost_documents(image, acknowledged)
        faults += wrong
        losses += lost
        counted += len(acknowledged)
    assert faults == []
    assert (losses > 0) == loses
    assert counted > IMAGES


def test_the_database_is_not_written_through_mapped_memory(tmp_path: Path) -> None:
    """What the recording cannot see: SQLite maps only its index of the log, which no power cut needs to spare."""
    recording = Recording("documents", "FULL", tmp_path)
    disk = Disk()
    for event in recording.events:
        disk.happens(event)
    assert {Path(one).name for one in disk.mapped} == {"mdserver.sqlite3-shm"}
    written = {Path(one.path).name for one in recording.events if one.kind == "W"}
    assert {"mdserver.sqlite3", "mdserver.sqlite3-wal"} <= written


@pytest.mark.parametrize("mutant", ["", "no-name", "no-bytes"])
def test_cuts_while_blobs_are_stored(tmp_path: Path, mutant: str) -> None:
    """A blob is there, and whole, once `put` has returned. The mutants each forget one fsync."""
    recording = Recording("blobs", mutant, tmp_path)
    faults, losses = list[str](), 0
    for image, acknowledged in recording.cuts(120, seed=1):
        wrong, lost = lost_blobs(image, acknowledged)
        faults += wrong
        losses += lost
    assert (faults != []) == (mutant == "no-bytes")
    assert (losses > 0) == (mutant == "no-name")
    order = [one.kind for one in recording.events if one.kind in "SR" and "incoming" in one.path]
    assert order == (["R"] * 4 if mutant == "no-bytes" else ["S", "R"] * 4)


def test_a_cut_keeps_what_is_synced_and_may_tear_the_rest(tmp_path: Path) -> None:
    """The simulation itself, on a file written and synced, then written over."""
    old, new = b"a" * 2_048, b"b" * 2_048
    disk = Disk()
    for event in (
        shim.Event("C", "/d/file", b"", 0, 1),
        shim.Event("W", "/d/file", old, 0, 2),
        shim.Event("S", "/d/file", b"", 0, 3),
        shim.Event("S", "/d", b"", 0, 4),
        shim.Event("W", "/d/file", new, 0, 5),
        shim.Event("C", "/d/other", b"", 0, 6),
    ):
        disk.happens(event)
    chance, seen, others = random.Random(1), set[bytes](), set[bool]()
    for number in range(300):
        disk.cut(chance, tmp_path / str(number))
        seen.add((tmp_path / f"{number}/d/file").read_bytes()[::512])
        others.add((tmp_path / f"{number}/d/other").exists())
    assert seen == {bytes(b"ab"[bit >> n & 1] for n in range(4)) for bit in range(16)}
    assert others == {True, False}
