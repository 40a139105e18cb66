"""Moments at which a test lets the process die as kill -9 does: MDSERVER_FAILPOINT=name[:nth]. Floor 0."""

from __future__ import annotations

import os
import re
import signal

NAMES = frozenset(
    {
        "unit-done",  # one unit of a batch has run, nothing is committed
        "before-commit",
        "after-commit",  # durable, but nobody was told
        "create-logged",  # a document's row and first update are written; its text and version are not
        "edit-logged",  # an update is in the log; the projection is of the text before
        "snapshot-kept",
        "edit-projected",  # the document has its new text and number; the history does not know it
        "live-appended",  # a room's rows are in the log; nothing is committed, and the text is the one before
        "live-projected",  # the text has caught up with a room's rows; links and the history have not
        "move-begun",  # the parent is another; the paths are the old ones
        "key-due",  # made, but its Idempotency-Key is not remembered
        "migration-copied",  # the copy before an upgrade is whole, but has no name yet
        "migration-statement",
        "migration-done",  # all ran, nothing is committed
        "blob-written",  # whole, in the page cache
        "blob-synced",  # durable, without its name
        "blob-renamed",  # named; the directory is not durable
        "backup-synced",  # the archive is whole and durable, without its name
        "restore-verified",  # what was built is right, and nothing was moved or committed
        "poison",  # an update that holds the word mdserver-poison is given to pycrdt
        "restore-aside",  # the old database has its second name, and is still in its place
    }
)


def armed(text: str) -> tuple[str, int]:
    """The moment that is meant, and at which time of reaching it the process dies; ("", 0) for none.

    SystemExit when there is no such moment: a test that waits for it would wait for ever.
    """
    if not text:
        return "", 0
    named = re.fullmatch(r"([a-z-]+)(?::([1-9]\d{0,8}))?", text)
    if named is None or named[1] not in NAMES:
        raise SystemExit(f"Error: MDSERVER_FAILPOINT is {text!r}, which names no moment of this program: unset it.")
    return named[1], int(named[2] or 1)


_name, _left = armed(os.environ.get("MDSERVER_FAILPOINT", ""))


def hit(name: str) -> None:
    """Die here, if this is the moment."""
    if name == _name:
        _count()


def poisoned(data: bytes) -> None:
    """Die here, if these bytes are to stand for those that bring pycrdt down."""
    if _name == "poison" and b"mdserver-poison" in data:
        _count()


def _count() -> None:
    global _left
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
