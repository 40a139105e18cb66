"""Blobs as files: `ab/cd/abcd…`, written beside and renamed, so that a name always holds all of its bytes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import BinaryIO

from mdserver import failpoints

from .blobs import Blob, Blobs, Mismatch, TooLong

CHUNK = 256 << 10
_HASH = re.compile(r"[0-9a-f]{64}")


class LocalBlobs(Blobs):
    """A directory of blobs for one server. Its files are the owner's alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._incoming = path / "incoming"

    def prepare(self) -> None:
        """Create what is missing and remove uploads that a crash has left behind."""
        self._incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self._incoming.iterdir():
            left.unlink(missing_ok=True)

    async def put(
        self, chunks: AsyncIterable[bytes], *, maximum: int, sha256: str | None = None, size: int | None = None
    ) -> Blob:
        partial = self._incoming / secrets.token_hex(16)
        digest, length = hashlib.sha256(), 0
        file = await asyncio.to_thread(_create, partial)
        try:
            async for chunk in chunks:
                length += len(chunk)
                if length > maximum:
                    raise TooLong(f"a blob may have {maximum} bytes")
                await asyncio.to_thread(_write, file, digest, chunk)
            made = Blob(digest.hexdigest(), length)
            if sha256 not in (None, made.sha256) or size not in (None, length):
                raise Mismatch(f"{length} bytes arrived with the SHA-256 {made.sha256}")
            await asyncio.shield(asyncio.to_thread(self._settle, file, partial, made.sha256))
            return made
        finally:
            file.close()
            partial.unlink(missing_ok=True)

    async def find(self, sha256: str) -> Blob | None:
        try:
            return Blob(sha256, (await asyncio.to_thread(self._place(sha256).stat)).st_size)
        except FileNotFoundError:
            return None

    async def read(self, sha256: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        file = await asyncio.to_thread(self._place(sha256).open, "rb")
        try:
            file.seek(start)
            left = length if length is not None else 1 << 62
            while left > 0 and (chunk := await asyncio.to_thread(file.read, min(CHUNK, left))):
                left -= len(chunk)
                yield chunk
        finally:
            file.close()

    async def delete(self, sha256: str) -> bool:
        try:
            place = self._place(sha256)
            await asyncio.to_thread(place.unlink)
        except FileNotFoundError:
            return False
        await asyncio.to_thread(_sync, place.parent)
        return True

    def _place(self, sha256: str) -> Path:
        if _HASH.fullmatch(sha256) is None:  # never a path that somebody made up
            raise FileNotFoundError("a blob is named by 64 hexadecimal digits")
        return self.path / sha256[:2] / sha256[2:4] / sha256

    def _settle(self, file: BinaryIO, partial: Path, sha256: str) -> None:
        """Make the bytes durable, then the name: fsync, rename, fsync of every directory that is new."""
        file.flush()
        failpoints.hit("blob-written")
        os.fsync(file.fileno())
        failpoints.hit("blob-synced")
        place = self._place(sha256)
        for folder in (place.parent.parent, place.parent):
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
                _sync(folder.parent)
        partial.replace(place)
        failpoints.hit("blob-renamed")
        _sync(place.parent)


def _create(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _write(file: BinaryIO, digest: hashlib._Hash, chunk: bytes) -> None:
    digest.update(chunk)
    file.write(chunk)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
