"""What the client remembers of each document: what the server said last, and what was agreed and stands on the disk."""

from __future__ import annotations

from typing import Any, Self

import msgspec

from mdserver.text import sha256_hex


class Sig(msgspec.Struct, frozen=True, array_like=True):
    """What the file system says of a file: the same as before means that it need not be read. inode 0 = unknown."""

    mtime_ns: int
    ctime_ns: int
    size: int
    inode: int


class Remote(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A document as the server said last. `parent_id` is empty at the root; `gone` is empty, `trash` or `purge`."""

    id: str
    parent_id: str = ""
    kind: str = "markdown"
    filename: str = ""
    title: str = ""
    tags: list[str] = []
    version: int = 0
    hash: str = ""
    size: int = 0
    role: str = ""
    gone: str = ""


class Local(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A document that stands on the disk.

    `parent_id`, `filename`, `version` and `hash` are what both sides agreed on; `name` is the local name that stands
    for `filename`. `path` is where the file (of a folder: the directory) is, `directory` where what stands below the
    document is, or empty. `hash` is that of the base text, which a file with this `sig` holds, if it is `settled`: one
    that was young when it was read may have been written again in the same tick of the clock. With `ahead` the base
    text is what was sent, of which the server has made another one: that is brought before anything else is sent.
    `version` 0: the server has been restored, and was not compared with this yet.
    """

    id: str
    kind: str = "markdown"
    parent_id: str = ""
    filename: str = ""
    name: str = ""
    path: str = ""
    directory: str = ""
    version: int = 0
    hash: str = ""
    sig: Sig | None = None
    settled: bool = False
    dir_inode: int = 0
    ahead: bool = False

    @classmethod
    def of(cls, remote: Remote, path: str, **more: Any) -> Self:
        """A document of the server's that has this path here."""
        return cls(
            id=remote.id,
            kind=remote.kind,
            parent_id=remote.parent_id,
            filename=remote.filename,
            name=path.rpartition("/")[2],
            path=path,
            **more,
        )

    @property
    def is_folder(self) -> bool:
        return self.kind == "folder"


class Queued(msgspec.Struct, frozen=True, kw_only=True):
    """An operation that may have been sent: it is sent again, the same, until an answer was kept."""

    seq: int
    op: bytes
    path: str
    text: str | None = None
    sig: Sig | None = None
    fingerprint: str = ""


class Writing(msgspec.Struct, frozen=True, kw_only=True):
    """A file about to get its place: once it has it, `local` and `base` are true.

    `temp` is then gone, or holds what stood there: the SHA-256 of that was `seen` to be this (empty: nothing stood).
    """

    temp: str
    local: Local
    base: str
    seen: str = ""


class Retitle(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A document whose title was changed, and what it was before."""

    id: str
    titles: list[str] = []


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A local change that the server did not take. It is not sent again while it is the same."""

    fingerprint: str
    path: str
    why: str
    status: int = 0


class Clash(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides rewrote the same words; both stand in the text."""

    id: str
    path: str
    yours: list[str]
    theirs: list[str]


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened to a path, for people and as a line of JSON."""

    what: str
    path: str = ""
    words: str = ""
    more: dict[str, Any] = {}


def hash_of(text: str) -> str:
    """SHA-256 of a text's UTF-8, in hex, as the server's `content_hash`."""
    return sha256_hex(text.encode())
