"""The archive's format: its members in their order, what its manifest says, and the sentences for what is wrong.

A tar file of plain members, each by one ustar header and no other kind of entry:

    mdserver-backup.json            the Header: format, version, schema, time, tables with their columns
    tables/NAME/000001.msgpack.gz   rows in pieces: a msgpack array of rows, each an array of values in the order of the
    tables/NAME/000002.msgpack      columns; gzip, or plain where gzip would make it smaller than a hundredth
    blobs/SHA256                    each blob, in the order of the names
    manifest.json                   the Manifest: size and SHA-256 of all of them
    manifest.sha256                 the manifest's own, as sha256sum writes it

Two blocks of zeros end it. Every header is written in one way, so that a reader can compare it byte for byte.
"""

from __future__ import annotations

import hashlib
import re
import tarfile

import msgspec

from mdserver.errors import Invalid

FORMAT = 1
BLOCK = 512
HEADER, MANIFEST, CHECKSUM = "mdserver-backup.json", "manifest.json", "manifest.sha256"
CHECKSUM_BYTES = 64 + len(f"  {MANIFEST}\n")

RATIO = 100
"""How many times its size a member may unpack to; what would be more is stored as it is."""
PIECE = 1 << 20
"""Bytes of rows from which a piece is full."""
LONGEST = (1 << 30) + (64 << 20)
"""Most bytes of a piece, unpacked: the largest document that can be configured, and something beside it."""
LONGEST_MANIFEST = 256 << 20
LONGEST_HEADER = 1 << 20

TABLE_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
PIECE_NAME = re.compile(r"tables/([a-z_][a-z0-9_]{0,62})/([0-9]{6,9})\.msgpack(\.gz)?")
BLOB_NAME = re.compile(r"blobs/([0-9a-f]{64})")


class BadArchive(Invalid):
    """The archive cannot be restored; nothing was changed."""


class Table(msgspec.Struct, frozen=True):
    """A table and the columns whose values a row holds, in their order."""

    name: str
    columns: list[str]


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first member: enough to know whether one can read the others. `migrations` is number → name."""

    format: int
    mdserver: str
    engine: str
    created_at: str
    schema: int
    migrations: dict[int, str]
    tables: list[Table]


class Piece(msgspec.Struct, frozen=True):
    """A member that holds rows: bytes in the archive, their SHA-256, and bytes when unpacked."""

    name: str
    size: int
    sha256: str
    unpacked: int


class Rows(msgspec.Struct):
    """A table's rows in the archive."""

    name: str
    rows: int
    pieces: list[Piece]


class BlobList(msgspec.Struct):
    """All blobs: how many, their bytes, and the SHA-256 over a line `NAME SIZE` for each.

    `missing` are those that a row names and that were not there, or were damaged, when the backup was made.
    """

    count: int
    bytes: int
    sha256: str
    missing: list[str] = []


class Manifest(msgspec.Struct, kw_only=True):
    """What the archive holds, so that everything else can be told from it. `header` is the first member's SHA-256."""

    header: str
    tables: list[Rows]
    blobs: BlobList

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.tables)

    @property
    def unpacked(self) -> int:
        """Bytes of all rows and blobs."""
        return self.blobs.bytes + sum(piece.unpacked for one in self.tables for piece in one.pieces)


def entry(name: str, size: int, seconds: int) -> bytes:
    """The one header that a member of this name, size and time has."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, seconds, 0o600
    return info.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")


def padding(size: int) -> int:
    """Bytes of zeros after a member's bytes."""
    return -size % BLOCK


def checksum_line(manifest: bytes) -> bytes:
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n".encode()
