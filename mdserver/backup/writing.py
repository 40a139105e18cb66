"""Writing an archive from its first byte to its last, in memory that does not grow with it."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO

import msgspec

from mdserver import clock

from .format import (
    BLOCK,
    CHECKSUM,
    HEADER,
    MANIFEST,
    PIECE,
    RATIO,
    BlobList,
    Header,
    Manifest,
    Piece,
    Rows,
    checksum_line,
    entry,
    padding,
)

SETTLE = 16 << 20
"""Bytes after which what was written is brought to the disk: one long fsync at the end would hold up everybody's."""

Tick = Callable[[int], object]


class Writer:
    """An archive that is being written: `table` for each of the header's tables, `blob`s by name, then `finish`."""

    def __init__(self, file: BinaryIO, header: Header) -> None:
        self._file = file
        self.header = header
        self._seconds = clock.parse(header.created_at) // 1000
        self._settled = 0
        self._tables: list[Rows] = []
        self._blobs = BlobList(0, 0, "")
        self._names = hashlib.sha256()
        data = msgspec.json.encode(header)
        self._head = hashlib.sha256(data).hexdigest()
        self._member(HEADER, data)

    def table(self, name: str, rows: Iterable[Sequence[object]], tick: Tick) -> None:
        """Write a table's rows. `tick` hears of the bytes of each piece; what it raises ends the writing."""
        made = Rows(name, 0, [])
        self._tables.append(made)
        encode_into = msgspec.msgpack.Encoder().encode_into
        held, count = _opened(), 0
        for row in rows:
            encode_into(row, held, -1)
            count += 1
            if len(held) >= PIECE:
                self._piece(made, held, count)
                tick(len(held))
                held, count = _opened(), 0
        if count:
            self._piece(made, held, count)
            tick(len(held))

    def blob(self, sha256: str, size: int) -> Blob:
        """Begin a blob; those of all blobs come in the order of their names."""
        return Blob(self, sha256, size)

    def missing(self, sha256: str) -> None:
        """Note that a blob cannot be written."""
        self._blobs.missing.append(sha256)

    def finish(self) -> Manifest:
        """Write the manifest and the end. The file is not on the disk before an fsync."""
        self._blobs.sha256 = self._names.hexdigest()
        manifest = Manifest(header=self._head, tables=self._tables, blobs=self._blobs)
        data = msgspec.json.encode(manifest)
        self._member(MANIFEST, data)
        self._member(CHECKSUM, checksum_line(data))
        self._file.write(bytes(2 * BLOCK))
        return manifest

    def _piece(self, table: Rows, held: bytearray, count: int) -> None:
        held[1:5] = count.to_bytes(4)
        packed = zlib.compress(held, 1, 31)  # 31: as gzip writes it
        name = f"tables/{table.name}/{len(table.pieces) + 1:06d}.msgpack"
        data: bytes | bytearray = held
        if len(packed) < len(held) <= RATIO * len(packed):
            name, data = f"{name}.gz", packed
        self._member(name, data)
        table.rows += count
        table.pieces.append(Piece(name, len(data), hashlib.sha256(data).hexdigest(), len(held)))

    def _member(self, name: str, data: bytes | bytearray) -> None:
        self._file.write(entry(name, len(data), self._seconds))
        self._file.write(data)
        self._file.write(bytes(padding(len(data))))
        self._settle()

    def _settle(self) -> None:
        self._file.flush()
        place = self._file.tell()
        if place - self._settled >= SETTLE:
            os.fdatasync(self._file.fileno())
            if hasattr(os, "posix_fadvise"):  # the pages of the database are worth more than these
                os.posix_fadvise(self._file.fileno(), self._settled, place - self._settled, os.POSIX_FADV_DONTNEED)
            self._settled = place


class Blob:
    """A blob that is being written: `write` its chunks, then `close`."""

    def __init__(self, writer: Writer, sha256: str, size: int) -> None:
        self._writer, self._sha256, self._size = writer, sha256, size
        self._file = writer._file
        self._start = self._file.tell()
        self._digest = hashlib.sha256()
        self._length = 0
        self._file.write(entry(f"blobs/{sha256}", size, writer._seconds))

    def write(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        self._length += len(chunk)
        self._file.write(chunk)
        self._writer._settle()

    def close(self) -> bool:
        """Whether it is what its name says; else it is taken out of the archive again and noted as missing."""
        writer, blobs = self._writer, self._writer._blobs
        if (self._length, self._digest.hexdigest()) != (self._size, self._sha256):
            self._file.seek(self._start)
            self._file.truncate()
            writer.missing(self._sha256)
            return False
        self._file.write(bytes(padding(self._size)))
        blobs.count += 1
        blobs.bytes += self._size
        writer._names.update(f"{self._sha256} {self._size}\n".encode())
        return True


def _opened() -> bytearray:
    """A msgpack array of up to 2^32 - 1 rows (array 32), its number to be filled in."""
    return bytearray(b"\xdd\x00\x00\x00\x00")
