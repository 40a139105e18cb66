"""Blobs: bytes named by their SHA-256, stored once. What every place that keeps them promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator

import msgspec


class Blob(msgspec.Struct, frozen=True):
    """What is known of a stored blob: SHA-256 in hex, size in bytes."""

    sha256: str
    size: int


class Mismatch(Exception):
    """The bytes are not what they were said to be; nothing was stored."""


class TooLong(Exception):
    """There are more bytes than may be stored; nothing was stored."""


class Blobs(ABC):
    """A store of blobs. A blob is durable when `put` returns, so the row that names it is written afterwards."""

    @abstractmethod
    async def put(
        self, chunks: AsyncIterable[bytes], *, maximum: int, sha256: str | None = None, size: int | None = None
    ) -> Blob:
        """Store a stream in constant memory. Mismatch unless hash and size are as announced, TooLong past `maximum`."""

    @abstractmethod
    async def find(self, sha256: str) -> Blob | None:
        """The blob of this hash, or None."""

    @abstractmethod
    def read(self, sha256: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes, or a range of them, in chunks. FileNotFoundError when there is no such blob."""

    @abstractmethod
    async def delete(self, sha256: str) -> bool:
        """Remove a blob; whether there was one. The caller has seen that no row names it."""
