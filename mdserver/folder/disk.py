"""The folder's files: every step down is taken by name without following links; nothing unseen is overwritten.

What a file is replaced by, or what it is deleted for, was decided after it was read. Somebody may write in between. So
what stood there is never overwritten: it comes aside, into `.mdserver/tmp`, and is looked at once more.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from mdserver.text import numbered

from .names import OWN, last, parent
from .rows import Sig
from .system import Place, exchange, is_being_written, rename_if_free

TEMP = "tmp"
KEPT = "kept"
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


class BeingWritten(Changed):
    """Another program has the file open for writing."""


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

    def read(self, path: str, *, settled: bool = False) -> tuple[bytes, Sig]:
        """A file's bytes and what the system says of it. Unfit when it is no file, or too large; OSError.

        `settled`: BeingWritten when another program has it open for that.
        """
        with self._at(path) as place:
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _FOLLOW_NOT
            handle = os.open(place.name, flags, dir_fd=place.directory)
        with os.fdopen(handle, "rb") as file:
            before = os.fstat(handle)
            if not stat.S_ISREG(before.st_mode):
                raise Unfit("is not a regular file")
            if settled and is_being_written(handle):
                raise BeingWritten(path)
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
        path = _temp(name)
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
        """Give a temporary file its place. Changed when there is not what was `seen` (None: nothing).

        What stood there bears the temporary name then: see that it `holds` what it should before you `forget` it.
        """
        with self._at(_temp(name)) as temp, self._at(path) as place:
            if seen is None:
                self._move_if_free(temp, place)
            elif self.sig(path) != seen:
                raise Changed(path)
            elif not exchange(temp, place):
                with self._at(_temp(_was(name))) as aside:
                    _rename(place, aside)
                    try:
                        self._move_if_free(temp, place)
                    except OSError:
                        self._move_if_free(aside, place)
                        raise
                    finally:
                        with contextlib.suppress(FileNotFoundError):
                            _rename(aside, temp)
            return sig_of(os.stat(place.name, dir_fd=place.directory, follow_symlinks=False))

    def take(self, path: str, name: str) -> None:
        """Move a file aside, to a temporary name: see that it `holds` what it should before you `forget` it."""
        with self._at(path) as place, self._at(_temp(name)) as temp:
            _rename(place, temp)

    def holds(self, name: str, hash: str) -> bool:
        """Whether a temporary file has this SHA-256. BeingWritten when that may change yet."""
        try:
            data, _ = self.read(_temp(name), settled=True)
        except Unfit:
            return False
        return hashlib.sha256(data).hexdigest() == hash

    def is_written(self, name: str, wrote: Sig | None) -> bool:
        """Whether a temporary file is what was written there, and not what came aside."""
        found = self.sig(_temp(name))
        return found is None or wrote is None or _is_same(found, wrote)

    def give_back(self, name: str, path: str, *, instead_of: Sig | None = None) -> bool:
        """Let what came aside have its place again, in exchange for `instead_of`, which was given it (None: nothing).

        False when somebody else's file has the temporary name in the end: keep it.
        """
        with self._at(_temp(name)) as temp, self._at(path) as place:
            try:
                rename_if_free(temp, place)
            except FileExistsError:
                if instead_of is None or not _is_same(self.sig(path), instead_of):
                    return False
                if not exchange(temp, place):
                    with self._at(_temp(_was(name))) as aside:
                        _rename(place, aside)
                        rename_if_free(temp, place)
                        _rename(aside, temp)
                return _is_same(self.sig(_temp(name)), instead_of)
            return True

    def restore(self, name: str, path: str) -> None:
        """After a crash: what was on its way aside has its place again, or the temporary name when that is taken."""
        with self._at(_temp(_was(name))) as aside, contextlib.suppress(FileNotFoundError):
            with self._at(path) as place, contextlib.suppress(FileExistsError):
                rename_if_free(aside, place)
                return
            with self._at(_temp(name)) as temp:
                _rename(aside, temp)

    def keep(self, name: str, when: str, path: str) -> str:
        """Move a temporary file to where people find it: → the path."""
        directory = f"{OWN}/{KEPT}/{when}"
        names = [KEPT, when, *parent(path).split("/")]
        for count in range(1, len(names) + 1):
            if names[count - 1]:
                self.make_directory("/".join([OWN, *names[:count]]))
        given, number = f"{directory}/{path}", 1
        while True:
            try:
                with self._at(_temp(name)) as temp, self._at(given) as place:
                    rename_if_free(temp, place)
            except FileExistsError:
                number += 1
                given = f"{parent(f'{directory}/{path}')}/{numbered(last(path), number)}"
            else:
                return given

    def forget(self, name: str) -> None:
        """Remove a temporary file, if it is there."""
        with self._at(_temp(name)) as temp, contextlib.suppress(FileNotFoundError):
            os.unlink(temp.name, dir_fd=temp.directory)

    def temporary(self) -> list[str]:
        """The names of temporary files."""
        with self._at(f"{OWN}/{TEMP}") as place:
            if place.directory is None:
                return sorted(os.listdir(place.name))
            handle = os.open(place.name, _DIRECTORY, dir_fd=place.directory)
        try:
            return sorted(os.listdir(handle))
        finally:
            os.close(handle)

    def move(self, old: str, new: str) -> None:
        """Rename a file or directory. Changed when something else stands at the new place."""
        there, here = self.status(new), self.status(old)
        is_itself = there is not None and here is not None and _is_one(there, here)
        if there is not None and not is_itself:
            raise Changed(new)
        with self._at(old) as source, self._at(new) as target:
            if is_itself:  # it differs in case or form alone
                _rename(source, target)
            else:
                self._move_if_free(source, target)

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

    def _move_if_free(self, old: Place, new: Place) -> None:
        try:
            rename_if_free(old, new)
        except FileExistsError:
            raise Changed(new.name) from None

    @contextlib.contextmanager
    def _at(self, path: str) -> Iterator[Place]:
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
            yield Place(str(at / name), None)
            return
        opened: int | None = None
        try:
            for one in above:
                step = os.open(one, _DIRECTORY, dir_fd=self._root if opened is None else opened)
                if opened is not None:
                    os.close(opened)
                opened = step
            yield Place(name, self._root if opened is None else opened)
        finally:
            if opened is not None:
                os.close(opened)


def sig_of(found: os.stat_result) -> Sig:
    return Sig(found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)


def _temp(name: str) -> str:
    return f"{OWN}/{TEMP}/{name}"


def _was(name: str) -> str:
    """The name of what stood in a file's place, where two names cannot be exchanged."""
    return f"{name}.was"


def _rename(old: Place, new: Place) -> None:
    os.rename(old.name, new.name, src_dir_fd=old.directory, dst_dir_fd=new.directory)


def _is_one(there: os.stat_result, here: os.stat_result) -> bool:
    return (there.st_ino, there.st_dev) == (here.st_ino, here.st_dev)


def _is_same(found: Sig | None, wrote: Sig) -> bool:
    """Whether a file is what was written, under whatever name: renaming changes the ctime alone."""
    return found is not None and (found.mtime_ns, found.size, found.inode) == (wrote.mtime_ns, wrote.size, wrote.inode)
