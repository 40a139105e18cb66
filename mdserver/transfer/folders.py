"""A folder of Markdown files to be imported. Links are never followed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .source import DEPTH, LeftOut, Parts, Refused, Unreadable, is_markdown, is_passed_over, shown, why_not


class Folder:
    """The Markdown files below a folder, or one file alone. `limit` is the most bytes of one file."""

    def __init__(self, path: Path, *, limit: int) -> None:
        self._root, self._limit = path, limit
        self.files: list[Parts] = []
        self.left_out: list[LeftOut] = []
        if path.is_dir():
            self._scan()
        else:
            self._root = path.parent
            self.files.append((path.name,))

    def read(self, parts: Parts) -> bytes:
        """A file's bytes. Unreadable when it is too large, no file any more, or the system says no."""
        try:
            # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
            handle = os.open(self._root.joinpath(*parts), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(handle, "rb") as file:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise Unreadable("is not a regular file")
                data = file.read(self._limit + 1)
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror}") from error
        if len(data) > self._limit:
            raise Unreadable(f"is larger than {self._limit:,} bytes, the most a document may hold")
        return data

    def close(self) -> None:
        """Nothing is held open."""

    def _scan(self) -> None:
        waiting: list[Parts] = [()]
        while waiting:
            parts = waiting.pop()
            try:
                with os.scandir(self._root.joinpath(*parts)) as entries:
                    found = sorted(entries, key=lambda one: one.name)
            except OSError as error:
                if not parts:
                    raise Refused(f"The folder {self._root} cannot be read: {error.strerror}.") from error
                self._leave_out(parts, f"cannot be read: {error.strerror}")
                continue
            waiting.extend(below for one in found if (below := self._judge(one, (*parts, one.name))))
        self.files.sort()

    def _judge(self, entry: os.DirEntry[str], parts: Parts) -> Parts | None:
        """Note a file or leave it out; the path itself when it is a folder to look into."""
        wanted = is_markdown(entry.name)
        if entry.is_symlink():
            if wanted or (_leads_to_folder(entry) and not is_passed_over(entry.name)):
                self._leave_out(parts, "is a link, and links are not followed")
            return None
        is_folder = entry.is_dir(follow_symlinks=False)
        if is_folder and is_passed_over(entry.name):
            return None
        if not is_folder and not wanted:
            return None
        if reason := why_not(entry.name):
            self._leave_out(parts, reason)
        elif is_folder and len(parts) >= DEPTH:
            self._leave_out(parts, f"stands deeper than {DEPTH} folders")
        elif is_folder:
            return parts
        elif entry.is_file(follow_symlinks=False):
            self.files.append(parts)
        else:
            self._leave_out(parts, "is not a regular file")
        return None

    def _leave_out(self, parts: Parts, why: str) -> None:
        self.left_out.append(LeftOut(shown(parts), why))


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False
