"""A zip archive of Markdown files to be imported. Its headers are believed in nothing that could hurt."""

from __future__ import annotations

import lzma
import os
import re
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from .source import DEPTH, LeftOut, Parts, Refused, Unreadable, is_markdown, is_passed_over, shown, why_not

_CHUNK = 64 << 10
_RATIO_FROM = 1 << 20  # below, even a text of blanks harms nobody
_ENTRY_BYTES = 1 << 10  # of the table of contents, for one entry: a name and a few fields
_LONGEST_COMMENT = 0xFFFF
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UTF8, _ENCRYPTED = 0x800, 0x1
_BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, struct.error, OSError)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Most entries; most bytes of what is unpacked, and most times the archive's own size; most bytes of one file."""

    entries: int
    unpacked: int
    ratio: int
    document: int


class Archive:
    """The Markdown files of a zip archive. Refused for what no honest program packs; nothing else is unpacked."""

    def __init__(self, path: Path, *, limits: Limits) -> None:
        self._limits = limits
        self.files: list[Parts] = []
        self.left_out: list[LeftOut] = []
        self._entries: dict[Parts, zipfile.ZipInfo] = {}
        self._counted: set[Parts] = set()
        self._unpacked = 0
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise Refused(f"The archive {path} cannot be read: {error.strerror}.") from error
        try:
            self._size = os.fstat(self._file.fileno()).st_size
            guarded = _Guarded(self._file, self._size, limits.entries)
            self._zip = zipfile.ZipFile(cast(BinaryIO, guarded))
            self._scan()
        except (Refused, *_BROKEN, ValueError) as error:
            self._file.close()
            if isinstance(error, Refused):
                raise
            raise Refused(f"{path} is not a zip archive, or a damaged one: nothing was imported.") from error

    def read(self, parts: Parts) -> bytes:
        """A file's bytes. Unreadable for this one; Refused when the archive is damaged or unpacks to too much."""
        entry = self._entries[parts]
        data = bytearray()
        try:
            with self._zip.open(entry) as file:
                while chunk := file.read(_CHUNK):
                    data += chunk
                    self._count(parts, len(chunk))
                    if len(data) > self._limits.document:
                        raise Unreadable(
                            f"is larger than {self._limits.document:,} bytes, the most a document may hold"
                        )
            if len(data) != entry.file_size:
                raise zipfile.BadZipFile
        except _BROKEN as error:
            raise Refused(f"The archive is damaged at “{shown(parts)}”: nothing was imported.") from error
        self._counted.add(parts)
        return bytes(data)

    def close(self) -> None:
        self._zip.close()
        self._file.close()

    def _count(self, parts: Parts, size: int) -> None:
        """Add up what comes out, whatever the headers say; a second reading of the same file is no news."""
        if parts in self._counted:
            return
        self._unpacked += size
        if self._unpacked > self._limits.unpacked:
            raise Refused(
                f"The archive unpacks to more than {self._limits.unpacked:,} bytes (limits.import_bytes):"
                " nothing was imported."
            )
        if self._unpacked > max(_RATIO_FROM, self._limits.ratio * self._size):
            raise Refused(
                f"The archive unpacks to more than {self._limits.ratio} times its size (limits.import_ratio), as"
                " archives that are made to do harm do: nothing was imported."
            )

    def _scan(self) -> None:
        entries = self._zip.infolist()
        if len(entries) > self._limits.entries:
            raise Refused(_too_many(self._limits.entries))
        for entry in entries:
            self._judge(entry)
        self.files.sort()

    def _judge(self, entry: zipfile.ZipInfo) -> None:
        name = _name(entry)
        parts = _parts(name)
        if not parts or name.endswith("/") or not is_markdown(parts[-1]):
            return
        if any(is_passed_over(one) for one in parts[:-1]) or parts[0] == "__MACOSX":
            return
        mode = stat.S_IFMT(entry.external_attr >> 16)
        if parts in self._entries:
            raise Refused(f"The archive holds “{shown(parts)}” twice, and nobody can tell which is meant.")
        if mode == stat.S_IFLNK:
            why: str | None = "is a link, and links are not followed"
        elif mode not in (0, stat.S_IFREG):
            why = "is not a regular file"
        elif entry.flag_bits & _ENCRYPTED:
            why = "is encrypted"
        elif entry.compress_type not in _METHODS:
            why = "is compressed in a way that is not read here (only deflate is)"
        elif len(parts) > DEPTH:
            why = f"stands deeper than {DEPTH} folders"
        else:
            why = next((reason for one in parts if (reason := why_not(one))), None)
        self._entries[parts] = entry
        if why is None:
            self.files.append(parts)
        else:
            self.left_out.append(LeftOut(shown(parts), why))


class _Guarded:
    """The archive's file for `zipfile`, which reads a table of contents whole, however long it is said to be."""

    def __init__(self, file: BinaryIO, size: int, entries: int) -> None:
        self._file, self._size, self._entries = file, size, entries
        self.seek, self.tell, self.seekable, self.close = file.seek, file.tell, file.seekable, file.close

    def read(self, count: int = -1) -> bytes:
        most = self._entries * _ENTRY_BYTES + _CHUNK + _LONGEST_COMMENT
        left = self._size - self._file.tell()
        if min(left, count if count >= 0 else left) > most:
            raise Refused(_too_many(self._entries))
        return self._file.read(count)


def _too_many(entries: int) -> str:
    return f"The archive has more than {entries:,} entries (limits.import_entries): nothing was imported."


def _name(entry: zipfile.ZipInfo) -> str:
    """The name as it stands in the archive; macOS writes UTF-8 without saying so."""
    name = entry.orig_filename
    if not entry.flag_bits & _UTF8:
        try:
            name = name.encode("cp437").decode()
        except UnicodeError:
            return name
    return name


def _parts(name: str) -> Parts:
    """The names of a path. Refused when it would leave the folder that it is unpacked to, or may on some system."""
    parts = tuple(one for one in name.split("/") if one not in ("", "."))
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or re.match("[A-Za-z]:", name):
        raise Refused(
            f"The archive holds the path “{shown([name])}”, which leads out of it or means different things on"
            " different systems: nothing was imported."
        )
    return parts
