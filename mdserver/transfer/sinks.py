"""Where an export is written: a directory that is ours alone, or a zip archive that appears when it is complete."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

from .source import Parts, Refused

# What a file system says of a name that it cannot hold; other failures end the export.
_NAME = (errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ, errno.EEXIST, errno.EPERM, errno.EISDIR, errno.ENOTDIR)


class BadName(Exception):
    """The target cannot hold this name; the text completes "it …"."""


class Sink(Protocol):
    """Takes directories and files; a directory comes before what is in it. `at` is the time of the last change (ms)."""

    def directory(self, parts: Parts) -> None: ...

    def file(self, parts: Parts, *, at: int) -> contextlib.AbstractContextManager[IO[bytes]]: ...


@contextlib.contextmanager
def opened(target: Path) -> Iterator[Sink]:
    """A sink for `target`: an archive when it ends in .zip, else a directory. Refused when something is there."""
    made = _into_archive(target) if target.suffix.lower() == ".zip" else _into_directory(target)
    with made as sink:
        yield sink


class _Directory:
    """Writes below an open directory, never through a link: each step down is opened by name without following."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._parts: Parts = ()
        self._open: list[int] = []  # a descriptor for each of the parts

    def directory(self, parts: Parts) -> None:
        with _names():
            os.mkdir(parts[-1], dir_fd=self._enter(parts[:-1]))

    @contextlib.contextmanager
    def file(self, parts: Parts, *, at: int) -> Iterator[IO[bytes]]:
        with _names():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(parts[-1], flags, 0o666, dir_fd=self._enter(parts[:-1]))
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.utime(handle, ns=(at * 1_000_000, at * 1_000_000))

    def close(self) -> None:
        self._leave(0)

    def _enter(self, parts: Parts) -> int:
        """The descriptor of a directory; the way down to the last one is kept open."""
        same = 0
        while same < min(len(parts), len(self._parts)) and parts[same] == self._parts[same]:
            same += 1
        self._leave(same)
        for name in parts[same:]:
            above = self._open[-1] if self._open else self._root
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                self._open.append(os.open(name, flags, dir_fd=above))
            except FileNotFoundError:
                raise BadName("stands in a folder that could not be made") from None
            self._parts = (*self._parts, name)
        return self._open[-1] if self._open else self._root

    def _leave(self, depth: int) -> None:
        while len(self._open) > depth:
            os.close(self._open.pop())
        self._parts = self._parts[:depth]


class _Zip:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def directory(self, parts: Parts) -> None:
        entry = _entry("/".join(parts) + "/", int(time.time()) * 1000)
        entry.external_attr = (stat.S_IFDIR | 0o755) << 16 | 0x10
        self._archive.writestr(entry, b"")

    @contextlib.contextmanager
    def file(self, parts: Parts, *, at: int) -> Iterator[IO[bytes]]:
        entry = _entry("/".join(parts), at)
        entry.external_attr = (stat.S_IFREG | 0o644) << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        with self._archive.open(entry, "w", force_zip64=True) as file:
            yield file


@contextlib.contextmanager
def _into_directory(target: Path) -> Iterator[Sink]:
    try:
        target.mkdir(exist_ok=True)
        root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Refused(f"The directory {target} cannot be made: {error.strerror}.") from error
    sink = _Directory(root)
    try:
        with os.scandir(root) as found:
            if next(found, None) is not None:
                raise Refused(f"{target} is not empty: name a directory that is, or that does not exist.")
        yield sink
    finally:
        sink.close()
        os.close(root)


@contextlib.contextmanager
def _into_archive(target: Path) -> Iterator[Sink]:
    """Written beside the target under another name and linked to it when complete, so that nothing is replaced."""
    if os.path.lexists(target):
        raise Refused(f"{target} exists already: name an archive that does not.")
    partial = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.partial")
    try:
        handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise Refused(f"The archive {target} cannot be made: {error.strerror}.") from error
    try:
        with os.fdopen(handle, "w+b") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                yield _Zip(archive)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(partial, target)
        except FileExistsError:
            raise Refused(f"{target} exists already: name an archive that does not.") from None
        except OSError:  # a file system without links
            os.rename(partial, target)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _names() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NAME:
            raise
        raise BadName(f"has a name that the target does not take: {error.strerror}") from error


def _entry(name: str, at: int) -> zipfile.ZipInfo:
    moment = time.gmtime(at // 1000)[:6]
    return zipfile.ZipInfo(name, max(moment, (1980, 1, 1, 0, 0, 0)))  # zip knows no earlier time
