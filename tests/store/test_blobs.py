"""Local blobs: whole or not there, by hash, private, in constant memory; and in which order the disk is told."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mdserver.store.blobs import Blob, Mismatch, TooLong
from mdserver.store.blobs_local import LocalBlobs


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    made = LocalBlobs(tmp_path / "blobs")
    made.prepare()
    return made


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def whole(blobs: LocalBlobs, sha256: str, start: int = 0, length: int | None = None) -> bytes:
    return b"".join([one async for one in blobs.read(sha256, start=start, length=length)])


def files(blobs: LocalBlobs) -> list[Path]:
    return [one for one in blobs.path.rglob("*") if one.is_file()]


async def test_what_is_put_is_found_by_its_hash(blobs: LocalBlobs) -> None:
    made = await blobs.put(chunks(b"one ", b"and two"), maximum=100)
    assert made == Blob(hashlib.sha256(b"one and two").hexdigest(), 11)
    assert await blobs.find(made.sha256) == made
    assert await whole(blobs, made.sha256) == b"one and two"
    assert await whole(blobs, made.sha256, 4, 3) == b"and"
    assert await whole(blobs, made.sha256, 100) == b""


async def test_the_same_bytes_are_stored_once(blobs: LocalBlobs) -> None:
    first, second = await asyncio.gather(*(blobs.put(chunks(b"x" * 1000), maximum=1000) for _ in range(2)))
    assert first == second
    assert len(files(blobs)) == 1


async def test_the_empty_blob_is_one(blobs: LocalBlobs) -> None:
    made = await blobs.put(chunks(), maximum=0)
    assert made.size == 0
    assert await whole(blobs, made.sha256) == b""


@pytest.mark.parametrize(("announced", "size"), [("0" * 64, None), (None, 4), (hashlib.sha256(b"abc").hexdigest(), 2)])
async def test_other_bytes_than_announced_are_not_stored(
    blobs: LocalBlobs, announced: str | None, size: int | None
) -> None:
    with pytest.raises(Mismatch):
        await blobs.put(chunks(b"abc"), maximum=10, sha256=announced, size=size)
    assert files(blobs) == []


async def test_too_many_bytes_are_not_stored(blobs: LocalBlobs) -> None:
    with pytest.raises(TooLong):
        await blobs.put(chunks(b"abc", b"def"), maximum=5)
    assert files(blobs) == []


async def test_a_stream_that_breaks_leaves_nothing(blobs: LocalBlobs) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"abc"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await blobs.put(broken(), maximum=10)
    assert files(blobs) == []


async def test_a_cancelled_upload_leaves_nothing(blobs: LocalBlobs) -> None:
    reached = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"abc"
        reached.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(blobs.put(slow(), maximum=10))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files(blobs) == []


@pytest.mark.parametrize("name", ["", "..", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n", "/" * 64])
async def test_made_up_names_are_no_paths(blobs: LocalBlobs, name: str) -> None:
    assert await blobs.find(name) is None
    assert not await blobs.delete(name)
    with pytest.raises(FileNotFoundError):
        await whole(blobs, name)


async def test_deleting_is_for_good(blobs: LocalBlobs) -> None:
    made = await blobs.put(chunks(b"gone"), maximum=10)
    assert await blobs.delete(made.sha256)
    assert not await blobs.delete(made.sha256)
    assert await blobs.find(made.sha256) is None


async def test_files_are_the_owners_alone_and_crashed_uploads_are_swept(blobs: LocalBlobs) -> None:
    await blobs.put(chunks(b"private"), maximum=10)
    (blobs.path / "incoming" / "left").write_bytes(b"half")
    blobs.prepare()
    (only,) = files(blobs)
    assert stat.S_IMODE(only.stat().st_mode) == 0o600
    assert stat.S_IMODE(only.parent.stat().st_mode) == 0o700


async def test_the_disk_is_told_bytes_first_then_the_name(blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsync of the file, rename, fsync of its directory: in another order a power cut leaves a name without bytes."""
    steps: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(handle: int) -> None:
        steps.append("directory" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        real_sync(handle)

    def replace(self: Path, target: Path) -> Path:
        steps.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    await blobs.put(chunks(b"durable"), maximum=10)
    assert steps == ["file", "directory", "directory", "rename", "directory"]
