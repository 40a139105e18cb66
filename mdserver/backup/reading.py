"""Reading an archive: judged whole before anything of it is believed, then given piece by piece."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn, TypeVar

import msgspec

from mdserver import clock

from .format import (
    BLOB_NAME,
    BLOCK,
    CHECKSUM,
    CHECKSUM_BYTES,
    FORMAT,
    HEADER,
    LONGEST,
    LONGEST_HEADER,
    LONGEST_MANIFEST,
    MANIFEST,
    PIECE_NAME,
    RATIO,
    TABLE_NAME,
    BadArchive,
    BlobList,
    Header,
    Manifest,
    Piece,
    Rows,
    checksum_line,
    entry,
    padding,
)

T = TypeVar("T")
Tick = Callable[[int], object]

_CHUNK = 1 << 20
_VALUES = {type(None), int, float, str, bytes}
_KINDS = {
    b"1": "a link",
    b"2": "a link",
    b"3": "a device",
    b"4": "a device",
    b"5": "a directory",
    b"6": "a pipe",
    b"L": "an entry with a long name",
    b"K": "an entry with a long name",
    b"x": "an extended header",
    b"g": "an extended header",
    b"S": "a sparse file",
}


class _Format(msgspec.Struct):
    """The one field that every format's header will have."""

    format: int
    mdserver: str = "?"


class _Member(NamedTuple):
    """An entry as its header tells it; `place` is where its bytes begin."""

    name: str
    size: int
    place: int


class Archive:
    """An archive that is what its manifest says, byte for byte. BadArchive says what is wrong with one that is not."""

    def __init__(self, path: Path, tick: Tick = lambda done: None) -> None:
        self.path = path
        try:
            kind = stat.S_IFMT(path.stat().st_mode)
            if kind not in (stat.S_IFREG, stat.S_IFDIR):  # a pipe would be waited for, and none can be read twice
                raise BadArchive(f"The backup {path} cannot be read: it is no file.")
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise BadArchive(f"The backup {path} cannot be read: {error.strerror or error}.") from error
        try:
            self.size = os.fstat(self._file.fileno()).st_size
            self._tick = tick
            self._at = 0
            self._seconds: int | None = None
            self._pieces: dict[str, int] = {}
            self._blobs: list[int] = []
            self.header = self._read_header()
            self.manifest = self._read_rest()
        except OSError as error:
            self.close()
            raise BadArchive(f"The backup {path} cannot be read: {error.strerror or error}.") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._file.close()

    def rows(self, table: Rows) -> Iterator[list[list[Any]]]:
        """The rows of one of the manifest's tables, in pieces."""
        width = next(len(one.columns) for one in self.header.tables if one.name == table.name)
        count = 0
        for piece in table.pieces:
            rows = self._unpacked(piece)
            if any(len(row) != width or not _VALUES.issuperset(map(type, row)) for row in rows):
                self._refuse(f"{piece.name} does not hold rows of the table")
            count += len(rows)
            yield rows
        if count != table.rows:
            self._refuse(f"{table.name} has {count} rows, and {table.rows} were announced")

    def blobs(self) -> Iterator[tuple[str, int, Iterator[bytes]]]:
        """Each blob: SHA-256, size, and its bytes in chunks, to be read before the next one."""
        for place in self._blobs:
            self._at = place
            member = self._next()
            yield member.name.removeprefix("blobs/"), member.size, self._chunks(member.size)

    def _unpacked(self, piece: Piece) -> list[list[Any]]:
        self._file.seek(self._pieces[piece.name])
        data = self._file.read(piece.size)
        if hashlib.sha256(data).hexdigest() != piece.sha256:
            self._refuse(f"{piece.name} has changed while it was read")
        if piece.name.endswith(".gz"):
            unpacking = zlib.decompressobj(31)
            try:
                data = unpacking.decompress(data, piece.unpacked + 1)
            except zlib.error:
                self._refuse(f"{piece.name} cannot be unpacked")
            if not unpacking.eof or unpacking.unused_data:
                self._refuse(f"{piece.name} does not unpack to what was announced")
        if len(data) != piece.unpacked:
            self._refuse(f"{piece.name} does not unpack to what was announced")
        try:
            return msgspec.msgpack.decode(data, type=list[list[Any]])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._refuse(f"{piece.name} does not hold rows")

    # The whole of it, in order

    def _read_header(self) -> Header:
        member = self._next()
        if member.name != HEADER:
            self._refuse("it is not a backup that mdserver has made", plain=True)
        data = self._bytes(member, LONGEST_HEADER)
        self._head = hashlib.sha256(data).hexdigest()
        said = self._decoded(data, _Format, HEADER)
        if said.format > FORMAT:
            raise BadArchive(
                f"{self.path} has the format {said.format} of mdserver {said.mdserver}, and this program reads formats"
                f" up to {FORMAT}: install that version or a newer one. Nothing was changed."
            )
        header = self._decoded(data, Header, HEADER)
        names = [one.name for one in header.tables]
        columns = [column for one in header.tables for column in one.columns]
        if (
            header.format < 1
            or len(set(names)) != len(names)
            or any(len(set(one.columns)) != len(one.columns) or not one.columns for one in header.tables)
            or not all(TABLE_NAME.fullmatch(one) for one in (*names, *columns))
            or not header.migrations
            or max(header.migrations) != header.schema
            or _seconds(header.created_at) != self._seconds
        ):
            self._refuse(f"{HEADER} contradicts itself")
        return header

    def _read_rest(self) -> Manifest:
        tables = {one.name: list[Piece]() for one in self.header.tables}
        order = list(tables)
        blobs, names, last = BlobList(0, 0, ""), hashlib.sha256(), ""
        while True:
            start = self._at
            member = self._next()
            if (piece := PIECE_NAME.fullmatch(member.name)) and not blobs.count:
                table = piece[1]
                if table not in order or int(piece[2]) != len(tables[table]) + 1 or len(piece[2]) != 6:
                    self._refuse(f"{member.name} stands in a place that is not its own")
                del order[: order.index(table)]
                if member.size > LONGEST:
                    self._refuse(f"{member.name} is larger than rows can be")
                self._pieces[member.name] = member.place
                tables[table].append(Piece(member.name, member.size, self._digest(member), 0))
            elif blob := BLOB_NAME.fullmatch(member.name):
                if blob[1] <= last or self._digest(member) != blob[1]:
                    self._refuse(f"{member.name} does not hold the bytes that it is named by, or stands twice")
                last = blob[1]
                self._blobs.append(start)
                blobs.count, blobs.bytes = blobs.count + 1, blobs.bytes + member.size
                names.update(f"{last} {member.size}\n".encode())
            elif member.name == MANIFEST:
                blobs.sha256 = names.hexdigest()
                return self._read_manifest(self._bytes(member, LONGEST_MANIFEST), tables, blobs)
            else:
                self._refuse(f"it holds “{_shown(member.name)}”, which no backup holds there")

    def _read_manifest(self, data: bytes, tables: dict[str, list[Piece]], blobs: BlobList) -> Manifest:
        member = self._next()
        if member.name != CHECKSUM or self._bytes(member, CHECKSUM_BYTES) != checksum_line(data):
            self._refuse(f"the checksum of {MANIFEST} is not right")
        if self._take(2 * BLOCK) != bytes(2 * BLOCK) or self._at != self.size:
            self._refuse("it does not end where it should")
        manifest = self._decoded(data, Manifest, MANIFEST)
        blobs.missing = manifest.blobs.missing
        if manifest.header != self._head:
            self._refuse(f"the checksum of {HEADER} is not right")
        if manifest.blobs != blobs:
            self._refuse("its blobs are not those that its manifest names")
        if [one.name for one in manifest.tables] != list(tables):
            self._refuse("its tables are not those that its manifest names")
        for table in manifest.tables:
            self._compare(table, tables[table.name])
        return manifest

    def _compare(self, table: Rows, found: list[Piece]) -> None:
        """Whether the pieces are those of the manifest, and none claims to hold more than it can."""
        told = [(one.name, one.size, one.sha256) for one in table.pieces]
        if told != [(one.name, one.size, one.sha256) for one in found]:
            self._refuse(f"the rows of {table.name} are not those that its manifest names: a checksum is wrong")
        for piece in table.pieces:
            most = min(LONGEST, piece.size * (RATIO if piece.name.endswith(".gz") else 1))
            if not 0 < piece.unpacked <= most:
                self._refuse(f"{piece.name} would unpack to more than {RATIO} times its size, as no backup's rows do")

    def _next(self) -> _Member:
        """The next entry's header, which is as mdserver writes it to the byte."""
        place = self._at
        block = self._take(BLOCK)
        if len(block) < BLOCK:
            self._cut_short()
        if self._seconds is None and not block.startswith(HEADER.encode() + b"\0"):
            self._refuse("it is not a backup that mdserver has made", plain=True)
        kind = block[156:157]
        name = block[:100].split(b"\0")[0].decode("ascii", "replace")
        if kind in _KINDS:
            self._refuse(f"it holds {_KINDS[kind]} (“{_shown(name)}”), which no backup does")
        if name.startswith("/") or ".." in name.split("/") or "\\" in name:
            self._refuse(f"it holds the path “{_shown(name)}”, which leads out of it")
        size, seconds = _number(block[124:136]), _number(block[136:148])
        if self._seconds is None and seconds is not None:
            self._seconds = seconds
        if size is None or self._seconds is None or entry(name, size, self._seconds) != block:
            self._refuse(f"the header at byte {place:,} is damaged")
        if self._at + size + padding(size) > self.size:
            self._cut_short()
        return _Member(name, size, self._at)

    def _digest(self, member: _Member) -> str:
        digest = hashlib.sha256()
        for chunk in self._chunks(member.size):
            digest.update(chunk)
        return digest.hexdigest()

    def _bytes(self, member: _Member, most: int) -> bytes:
        if member.size > most:
            self._refuse(f"{member.name} is larger than it can be")
        return b"".join(self._chunks(member.size))

    def _chunks(self, size: int) -> Iterator[bytes]:
        left = size
        while left:
            chunk = self._take(min(left, _CHUNK))
            if not chunk:
                self._cut_short()
            left -= len(chunk)
            yield chunk
        if self._take(padding(size)) != bytes(padding(size)):
            self._refuse(f"there is something at byte {self._at:,} where nothing should be")

    def _take(self, count: int) -> bytes:
        self._file.seek(self._at)
        data = self._file.read(count)
        self._at += len(data)
        self._tick(len(data))
        return data

    def _decoded(self, data: bytes, kind: type[T], name: str) -> T:
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._refuse(f"{name} does not say what it should")

    def _cut_short(self) -> NoReturn:
        self._refuse("it ends too early: it was cut short, or is being written")

    def _refuse(self, why: str, *, plain: bool = False) -> NoReturn:
        if plain:
            raise BadArchive(f"{self.path} cannot be restored: {why}. Nothing was changed.")
        raise BadArchive(f"The backup {self.path} is damaged or was tampered with: {why}. Nothing was changed.")


def _number(field: bytes) -> int | None:
    """A number of a tar header: octal digits, or 64 bits after a mark (GNU) from 8 GiB on."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:]) if not any(field[1:4]) else None
    return int(field[:-1], 8) if re.fullmatch(rb"[0-7]{11}\0", field) else None


def _seconds(created_at: str) -> int | None:
    try:
        return clock.parse(created_at) // 1000
    except ValueError:
        return None


def _shown(name: str) -> str:
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in name)[:100]
