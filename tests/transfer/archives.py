"""Zip archives as honest and dishonest programs make them."""

from __future__ import annotations

import stat
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path


def pack(path: Path, files: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """An archive of these files; a name that ends in a slash is a folder."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            add(archive, name, data, method=method)
    return path


def add(archive: zipfile.ZipFile, name: str, data: bytes, *, method: int = 8, mode: int = 0) -> None:
    """One more entry, with the name as it is: `zipfile` would tidy it up."""
    entry = zipfile.ZipInfo("x")
    entry.filename = entry.orig_filename = name
    entry.compress_type = method
    entry.external_attr = mode << 16
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of duplicate names
        archive.writestr(entry, data)


def link(archive: zipfile.ZipFile, name: str, target: str) -> None:
    """A symbolic link as Info-ZIP packs it."""
    add(archive, name, target.encode(), mode=stat.S_IFLNK | 0o777)


def patched(path: Path, *changes: tuple[bytes, int, bytes]) -> Path:
    """Overwrite bytes: after each occurrence of a signature, at an offset."""
    data = bytearray(path.read_bytes())
    for signature, offset, new in changes:
        at = data.find(signature)
        assert at >= 0
        while at >= 0:
            data[at + offset : at + offset + len(new)] = new
            at = data.find(signature, at + 1)
    path.write_bytes(data)
    return path


CENTRAL, LOCAL, END = b"PK\1\2", b"PK\3\4", b"PK\5\6"


def claim_size(path: Path, size: int) -> Path:
    """Let every header say that the entry unpacks to so many bytes."""
    said = struct.pack("<L", size)
    return patched(path, (CENTRAL, 24, said), (LOCAL, 22, said))


def encrypted(path: Path) -> Path:
    """Let every header say that the entry is encrypted."""
    return patched(path, (CENTRAL, 8, b"\1\0"), (LOCAL, 6, b"\1\0"))
