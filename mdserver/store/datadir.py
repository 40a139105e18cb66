"""The data directory: private to its owner, used by one server at a time, and where that server listens for chores."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from pathlib import Path

import msgspec

_LONGEST_SOCKET_PATH = 100  # sockaddr_un holds 108 bytes on Linux, 104 on macOS


class InUse(Exception):
    """Another process uses the data directory; the text says which."""


class Running(msgspec.Struct):
    """What a running server writes into the lock file, for the command line to find it."""

    pid: int
    control: str
    address: str = ""


class DataDirectory:
    """Paths inside the data directory, and the lock on it."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.database = self.path / "mdserver.sqlite3"
        self.backups = self.path / "backups"
        self.blobs = self.path / "blobs"
        self.marks = self.path / "live.marks"
        self.setup_code = self.path / "setup-code"
        self._lock_path = self.path / "mdserver.lock"
        self._lock: int | None = None

    def prepare(self) -> None:
        """Create what is missing, for the owner alone (0700). OSError says what the system refused."""
        if not self.path.exists():
            self.path.mkdir(mode=0o700, parents=True)
        if not self.path.is_dir():
            raise NotADirectoryError(f"{self.path} is not a directory")
        probe = self.path / f".writable-{os.getpid()}"
        probe.touch(mode=0o600)
        probe.unlink()

    def lock(self) -> None:
        """Take the directory for this process. InUse when another one has it."""
        handle = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            running = self.running()
            who = f"by process {running.pid}" if running else "by another process"
            raise InUse(f"The data directory {self.path} is in use {who}.") from error
        os.ftruncate(handle, 0)
        self._lock = handle

    def tell(self, running: Running) -> None:
        """Write down, in the lock file, how to reach this process."""
        assert self._lock is not None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, msgspec.json.encode(running), 0)

    def unlock(self) -> None:
        """Give the directory back."""
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    def running(self) -> Running | None:
        """The server that holds the lock, as far as it has told; None when there is none."""
        try:
            return msgspec.json.decode(self._lock_path.read_bytes(), type=Running)
        except (OSError, msgspec.DecodeError):
            return None

    def control_socket(self) -> Path:
        """Where the control socket goes: the runtime directory, or wherever its path is short enough."""
        if runtime := os.environ.get("RUNTIME_DIRECTORY"):
            return Path(runtime.split(":")[0]) / "control.sock"
        inside = self.path / "control.sock"
        if len(os.fsencode(inside)) <= _LONGEST_SOCKET_PATH:
            return inside
        name = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"mdserver-{os.getuid()}-{name}"
        base.mkdir(mode=0o700, exist_ok=True)
        if base.stat().st_uid != os.getuid() or base.stat().st_mode & 0o077:
            raise PermissionError(f"{base} belongs to somebody else or is open to others")
        return base / "control.sock"
