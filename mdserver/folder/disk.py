"""The folder's files: every step down is taken by name without following links; nothing unseen is overwritten."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from .names import OWN
from .rows import Sig

TEMP = "tmp"
LARGEST = 8 << 20
"""Bytes of a file that are read at most: no request to the server can carry more."""

_FOLLOW_NOT = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _FOLLOW_NOT
_BY_DESCRIPTOR = os.open in os.supports_dir_fd and os.rename in os.supports_dir_fd
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Unfit(Exception):
    """A file that no document can hold; the text completes "it …"."""


class Changed(Exception):
    """What stands there is not what was seen last."""


class _Place(NamedTuple):
    """A name, and the descriptor of the directory that it is in (None: the name is a whole path)."""

    name: str
    directory: int | None


class Disk:
    """The folder. Paths are relative, with `/`. Close it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.own = root / OWN
        self._root = os.open(root, _DIRECTORY) if _BY_DESCRIPTOR else None

    def close(self) -> None:
        if self._root is not None:
            os.close(self._root)
            self._root = None

    def read(self, path: str) -> tuple[bytes, Sig]:
        """A file's bytes and what the system says of it. Unfit when it is no file, or too large; OSError."""
        with self._at(path) as place:
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _FOLLOW_NOT
            handle = os.open(place.name, flags, dir_fd=place.directory)
        with os.fdopen(handle, "rb") as file:
            before = os.fstat(handle)
            if not stat.S_ISREG(before.st_mode):
                raise Unfit("is not a regular file")
            data = file.read(LARGEST + 1)
            after = os.fstat(handle)
        if len(data) > LARGEST:
            raise Unfit(f"is larger than {LARGEST:,} bytes")
        if sig_of(before) != sig_of(after):
            raise Changed(path)
        return data, sig_of(after)

    def status(self, path: str) -> os.stat_result | None:
        """What stands there, itself and not what it leads to; None when nothing does."""
        try:
            with self._at(path) as place:
                return os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise

    def sig(self, path: str) -> Sig | None:
        """Of a regular file; None for anything else."""
        found = self.status(path)
        return sig_of(found) if found is not None and stat.S_ISREG(found.st_mode) else None

    def is_directory(self, path: str) -> bool:
        found = self.status(path)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def prepare(self, name: str, data: bytes, *, mode: int | None) -> Sig:
        """Write a temporary file, down to the platter. `mode` None: as the system makes new files."""
        path = f"{OWN}/{TEMP}/{name}"
        with self._at(path) as place, contextlib.suppress(FileNotFoundError):
            os.unlink(place.name, dir_fd=place.directory)
        with self._at(path) as place:
            handle = os.open(
                place.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FOLLOW_NOT, 0o666, dir_fd=place.directory
            )
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if mode is not None and hasattr(os, "fchmod"):
                os.fchmod(handle, stat.S_IMODE(mode))
            file.flush()
            os.fsync(handle)
            return sig_of(os.fstat(handle))

    def put(self, name: str, path: str, *, seen: Sig | None) -> Sig:
        """Move a temporary file to its place. Changed when there is not what was `seen` (None: nothing)."""
        with self._at(f"{OWN}/{TEMP}/{name}") as temp, self._at(path) as place:
            if seen is None:
                try:
                    os.link(temp.name, place.name, src_dir_fd=temp.directory, dst_dir_fd=place.directory)
                except FileExistsError:
                    raise Changed(path) from None
                except OSError as error:  # a file system without links
                    if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                        raise
                    if self.status(path) is not None:
                        raise Changed(path) from None
                    os.rename(temp.name, place.name, src_dir_fd=temp.directory, dst_dir_fd=place.directory)
                else:
                    os.unlink(temp.name, dir_fd=temp.directory)
            else:
                if self.sig(path) != seen:
                    raise Changed(path)
                os.replace(temp.name, place.name, src_dir_fd=temp.directory, dst_dir_fd=place.directory)
            return sig_of(os.stat(place.name, dir_fd=place.directory, follow_symlinks=False))

    def forget(self, name: str) -> None:
        """Remove a temporary file, if it is there."""
        with self._at(f"{OWN}/{TEMP}/{name}") as temp, contextlib.suppress(FileNotFoundError):
            os.unlink(temp.name, dir_fd=temp.directory)

    def move(self, old: str, new: str) -> None:
        """Rename a file or directory. Changed when something else stands at the new place."""
        there, here = self.status(new), self.status(old)
        if there is not None and (here is None or (there.st_ino, there.st_dev) != (here.st_ino, here.st_dev)):
            raise Changed(new)
        with self._at(old) as source, self._at(new) as target:
            os.rename(source.name, target.name, src_dir_fd=source.directory, dst_dir_fd=target.directory)

    def remove(self, path: str, *, seen: Sig) -> None:
        """Delete a file that is what was seen last. Changed when it is not."""
        if self.sig(path) != seen:
            raise Changed(path)
        with self._at(path) as place:
            os.unlink(place.name, dir_fd=place.directory)

    def make_directory(self, path: str) -> int:
        """Make one step; its inode. One that exists is as good."""
        with self._at(path) as place:
            with contextlib.suppress(FileExistsError):
                os.mkdir(place.name, dir_fd=place.directory)
            found = os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            raise Changed(path)
        return found.st_ino

    def remove_directory(self, path: str) -> bool:
        """Remove an empty directory; False when something is in it."""
        try:
            with self._at(path) as place:
                os.rmdir(place.name, dir_fd=place.directory)
        except OSError as error:
            if error.errno in _GONE:
                return True
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise
        return True

    def sync(self, directories: Iterable[str]) -> None:
        """Have the names in these directories on the platter, where the system can do that."""
        if sys.platform == "win32":
            return
        for path in directories:
            with contextlib.suppress(OSError), self._at(f"{path}/." if path else ".") as place:
                handle = os.open(place.name, _DIRECTORY, dir_fd=place.directory)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)

    def now(self) -> int:
        """The time as the folder's file system tells it, in nanoseconds."""
        path = f"{OWN}/clock"
        with self._at(path) as place:
            handle = os.open(place.name, os.O_WRONLY | os.O_CREAT | _FOLLOW_NOT, 0o600, dir_fd=place.directory)
        try:
            os.write(handle, b".")
            return os.fstat(handle).st_mtime_ns
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _at(self, path: str) -> Iterator[_Place]:
        """The place of a path, each directory on the way opened without following a link."""
        *above, name = path.split("/")
        if any(one in ("", "..") for one in (*above, name)) or "." in above:
            raise ValueError(f"not a path below the folder: {path!r}")
        if self._root is None:
            at = self.root
            for one in above:
                at = at / one
                if not stat.S_ISDIR(os.lstat(at).st_mode):
                    raise NotADirectoryError(errno.ENOTDIR, "Not a directory", str(at))
            yield _Place(str(at / name), None)
            return
        opened: int | None = None
        try:
            for one in above:
                step = os.open(one, _DIRECTORY, dir_fd=self._root if opened is None else opened)
                if opened is not None:
                    os.close(opened)
                opened = step
            yield _Place(name, self._root if opened is None else opened)
        finally:
            if opened is not None:
                os.close(opened)


def sig_of(found: os.stat_result) -> Sig:
    return Sig(found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)
