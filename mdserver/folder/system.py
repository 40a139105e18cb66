"""What Python does not offer of the system: names exchanged, names given only if they are free, who writes a file."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from functools import cache
from typing import Any, NamedTuple

_FREE, _EXCHANGE = (4, 2) if sys.platform == "darwin" else (1, 2)
"""RENAME_EXCL and RENAME_SWAP; RENAME_NOREPLACE and RENAME_EXCHANGE of renameat2(2)."""
_HERE = -2 if sys.platform == "darwin" else -100  # AT_FDCWD
_NOT_HERE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


class Place(NamedTuple):
    """A name, and the descriptor of the directory that it is in (None: the name is a whole path)."""

    name: str
    directory: int | None


def exchange(one: Place, other: Place) -> bool:
    """Swap what two names stand for, at one moment. False where this system, or file system, cannot."""
    return _rename(one, other, _EXCHANGE)


def rename_if_free(old: Place, new: Place) -> None:
    """Rename a file or directory. FileExistsError when the new name is taken, of which only some systems are sure."""
    if _rename(old, new, _FREE):
        return
    try:
        os.link(old.name, new.name, src_dir_fd=old.directory, dst_dir_fd=new.directory, follow_symlinks=False)
    except (OSError, NotImplementedError) as error:
        if isinstance(error, FileExistsError):
            raise
        if isinstance(error, OSError) and error.errno not in _NO_LINKS:
            raise
    else:
        os.unlink(old.name, dir_fd=old.directory)
        return
    if _is_taken(new):
        raise FileExistsError(errno.EEXIST, "File exists", new.name)
    os.rename(old.name, new.name, src_dir_fd=old.directory, dst_dir_fd=new.directory)


def is_being_written(handle: int) -> bool:
    """Whether a program has the file open for writing; no where the system does not tell. `handle` reads it."""
    if sys.platform != "linux":
        return False
    import fcntl
    import signal

    try:
        # A lease for reading is given only while nobody writes. Whoever opens the file then is not to kill us by SIGIO.
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    return False


def _is_taken(place: Place) -> bool:
    try:
        os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _rename(old: Place, new: Place, flag: int) -> bool:
    call = _call()
    if call is None:
        return False
    where = [_HERE if one.directory is None else one.directory for one in (old, new)]
    if call(where[0], os.fsencode(old.name), where[1], os.fsencode(new.name), flag) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_HERE:
        return False
    raise OSError(number, os.strerror(number), old.name, None, new.name)


@cache
def _call() -> Any:
    """renameat2, by whatever name; None where there is none."""
    if sys.platform not in ("linux", "darwin"):
        return None
    library = ctypes.CDLL(None, use_errno=True)
    return getattr(library, "renameatx_np" if sys.platform == "darwin" else "renameat2", None)
