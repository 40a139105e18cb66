"""What stands on the disk: files that can be documents, directories, and what is left out with the reason."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import pathspec

from mdserver.transfer.source import is_markdown, why_not

from .disk import LARGEST, sig_of
from .names import IGNORE, joined, parent, within
from .rows import Sig

DEPTH = 100


class Listing(msgspec.Struct):
    """One directory: its files, its directories with their inodes, what is left out, and what is passed over."""

    files: dict[str, Sig] = {}
    directories: dict[str, int] = {}
    left_out: dict[str, str] = {}
    passed: set[str] = set()

    @property
    def is_empty(self) -> bool:
        return not (self.files or self.directories or self.left_out or self.passed)


class Ignored:
    """The rules of .mdserverignore: those of .gitignore, in the root's file alone."""

    def __init__(self, text: str = "") -> None:
        self._spec = pathspec.GitIgnoreSpec.from_lines(text.splitlines())

    @classmethod
    def of(cls, root: Path) -> Ignored:
        """The rules in the folder's file; none when it has none."""
        try:
            handle = os.open(root / IGNORE, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except OSError:
            return cls()
        with os.fdopen(handle, "rb") as file:
            return cls(file.read(1 << 20).decode("utf-8", "replace"))

    def __call__(self, path: str, *, directory: bool = False) -> bool:
        return self._spec.match_file(f"{path}/" if directory else path)

    def covers(self, path: str) -> bool:
        """Whether the path or a directory above it is ignored or hidden."""
        names = path.split("/")
        if any(one.startswith(".") for one in names):
            return True
        above = ("/".join(names[:count]) for count in range(1, len(names)))
        return self(path) or any(self(one, directory=True) for one in above)


class Snapshot:
    """The whole folder as it was seen last, directory by directory. `unlisted` are those that could not be read."""

    def __init__(self, root: Path, is_known: Callable[[str], bool]) -> None:
        self._root, self._is_known = root, is_known
        self.ignored = Ignored()
        self.listings: dict[str, Listing] = {"": Listing()}
        self.unlisted: dict[str, str] = {}
        self.unfit: dict[str, tuple[Sig, str]] = {}
        """Files that were read and cannot be documents."""

    def scan(self) -> None:
        """Look at everything. OSError when the folder itself cannot be read."""
        self.ignored = Ignored.of(self._root)
        self.listings = {}
        self.unlisted = {}
        self._look("", recursive=True)

    def rescan(self, directories: Iterable[str]) -> None:
        """Look at these directories again, and at all of what is new in them."""
        for path in sorted(set(directories)):
            while path and path not in self.listings:
                path = parent(path)
            self._look(path, recursive=False)

    def has_file(self, path: str) -> bool:
        above = self.listings.get(parent(path))
        return above is not None and path.rpartition("/")[2] in above.files

    def sig(self, path: str) -> Sig | None:
        above = self.listings.get(parent(path))
        return above.files.get(path.rpartition("/")[2]) if above is not None else None

    def files(self) -> Iterable[str]:
        for directory, listing in self.listings.items():
            for name in listing.files:
                yield joined(directory, name)

    def inode(self, directory: str) -> int:
        above = self.listings.get(parent(directory))
        return above.directories.get(directory.rpartition("/")[2], 0) if above is not None else 0

    def left_out(self) -> dict[str, str]:
        """Path → why, completing "it …"."""
        found = dict(self.unlisted)
        for directory, listing in self.listings.items():
            found |= {joined(directory, name): why for name, why in listing.left_out.items()}
        found |= {path: why for path, (sig, why) in self.unfit.items() if self.sig(path) == sig}
        return dict(sorted(found.items()))

    def is_hidden_from_us(self, path: str) -> bool:
        """Whether something stands there, or above, that is left out: then nothing can be said of what is there."""
        names = path.split("/")
        for count in range(1, len(names) + 1):
            here = "/".join(names[:count])
            listing = self.listings.get(parent(here))
            if listing is None:
                return parent(here) in self.unlisted
            if names[count - 1] in listing.left_out or names[count - 1] in listing.passed or here in self.unlisted:
                return True
        return False

    def _look(self, directory: str, *, recursive: bool) -> None:
        before = self.listings.get(directory)
        listing = Listing()
        try:
            with os.scandir(self._root / directory if directory else self._root) as entries:
                found = sorted(entries, key=lambda one: one.name)
            for entry in found:
                self._judge(entry, directory, listing)
        except OSError as error:
            if not directory:
                raise
            self._forget(directory)
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                self.unlisted[directory] = f"cannot be read: {error.strerror}"
                self.listings[directory] = Listing()
            return
        self.unlisted.pop(directory, None)
        self.listings[directory] = listing
        for name in before.directories if before else ():
            if name not in listing.directories:
                self._forget(joined(directory, name))
        for name, inode in listing.directories.items():
            if recursive or before is None or before.directories.get(name) != inode:
                if not recursive:  # else all has been forgotten, or is new
                    self._forget(joined(directory, name))
                self._look(joined(directory, name), recursive=True)

    def _forget(self, directory: str) -> None:
        for path in [one for one in self.listings if one == directory or within(one, directory)]:
            del self.listings[path]
        for path in [one for one in self.unlisted if one == directory or within(one, directory)]:
            del self.unlisted[path]

    def _judge(self, entry: os.DirEntry[str], directory: str, listing: Listing) -> None:
        name, path = entry.name, joined(directory, entry.name)
        try:
            found = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return
        is_directory = stat.S_ISDIR(found.st_mode)
        if name.startswith(".") or self.ignored(path, directory=is_directory):
            listing.passed.add(name)
        elif entry.is_symlink():
            listing.left_out[name] = "is a link, and links are not followed"
        elif reason := why_not(name):
            listing.left_out[name] = reason
        elif is_directory and path.count("/") >= DEPTH:
            listing.left_out[name] = f"stands deeper than {DEPTH} folders"
        elif is_directory:
            listing.directories[name] = found.st_ino
        elif not stat.S_ISREG(found.st_mode):
            listing.left_out[name] = "is not a regular file"
        elif not is_markdown(name) and not self._is_known(path):
            listing.left_out[name] = "is no Markdown file: attachments come later"
        elif found.st_size > LARGEST:
            listing.left_out[name] = f"is larger than {LARGEST:,} bytes"
        else:
            listing.files[name] = sig_of(found)
