"""The log of Yjs updates and its snapshots: a document's truth. The only writer of both tables.

Old rows are merged (compaction.py): such a row holds the updates from `first_seq` to `seq`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mdserver import clock
from mdserver.clock import rfc3339
from mdserver.crdt import forms
from mdserver.crdt import text as crdt
from mdserver.crdt.forms import Form
from mdserver.store.db import Reader, Tx
from mdserver.store.rows import Time

from . import quarantine
from .access import Actor, Person, Principal
from .documents.shape import persons

if TYPE_CHECKING:
    from mdserver.crdt.text import Scratch

SNAPSHOT_AFTER_ROWS = 64
SNAPSHOT_AFTER_BYTES = 256 << 10


class Entry(msgspec.Struct):
    """A row of a log: the updates from `first` to `seq`, who wrote the last one and when, and its size in bytes."""

    seq: int
    first: int
    author: Person | None
    at: Time
    size: int


class Log(msgspec.Struct):
    """A document's log as far as it is needed to load it: the snapshot and what came after, in order."""

    snapshot: bytes | None
    updates: list[bytes]
    head: int
    """The number of the newest update; 0 for an empty log."""
    kind: str = "markdown"

    @property
    def form(self) -> Form:
        """How the document says its Markdown."""
        return forms.of(self.kind)

    def replayed(self) -> Scratch:
        """The document; takes a while."""
        return crdt.load(self.snapshot, self.updates)

    def text(self) -> str:
        """The Markdown that it says; takes a while."""
        return self.form.text_of(self.replayed())

    @property
    def wants_snapshot(self) -> bool:
        """Whether the tail has grown so long that loading should not replay it again."""
        return len(self.updates) >= SNAPSHOT_AFTER_ROWS or sum(map(len, self.updates)) >= SNAPSHOT_AFTER_BYTES


def load(db: Reader, document_id: str, *, upto: int | None = None, closed: bool = False) -> Log:
    """The log, or what it was at the update `upto`.

    That of the newest whole row below, where the row of that update was merged with later ones. Conflict when the
    document is closed, since it has done harm, unless that is asked for.
    """
    if not closed:
        quarantine.check(db, document_id)
    kind = db.value(str, "SELECT kind FROM documents WHERE id = $1", document_id) or "folder"
    snapshot: bytes | None = None
    start = 0
    for seq, data in db.rows("SELECT seq, data FROM document_snapshots WHERE document_id = $1", document_id):
        if upto is None or seq <= upto:
            start, snapshot = seq, bytes(data)
    rows = db.rows(
        "SELECT seq, data FROM document_updates WHERE document_id = $1 AND seq > $2 AND seq <= $3 ORDER BY seq",
        document_id,
        start,
        upto if upto is not None else 2**62,
    )
    return Log(snapshot, [bytes(one[1]) for one in rows], rows[-1][0] if rows else start, kind)


def head(db: Reader, document_id: str) -> int:
    """The number of the newest update."""
    return db.value(int, "SELECT max(seq) FROM document_updates WHERE document_id = $1", document_id) or 0


def after(db: Reader, document_id: str, seq: int) -> list[bytes]:
    """The updates above number `seq`, in order."""
    rows = db.rows(
        "SELECT data FROM document_updates WHERE document_id = $1 AND seq > $2 ORDER BY seq", document_id, seq
    )
    return [bytes(one[0]) for one in rows]


def entries(db: Reader, me: Principal, document_id: str, *, before: int, limit: int) -> list[Entry]:
    """The rows below number `before` of a found document's log, newest first."""
    found = db.rows(
        "SELECT seq, COALESCE(first_seq, seq), author_id, at, length(data) FROM document_updates"
        f" WHERE document_id = $1 AND seq < $2 ORDER BY seq DESC LIMIT {limit:d}",
        document_id,
        before,
    )
    people = persons(db, {one[2] for one in found}, me)
    return [Entry(seq, first, people.get(author), rfc3339(at), size) for seq, first, author, at, size in found]


def rows(db: Reader, document_id: str) -> list[tuple[str, str, int, bytes]]:
    """The rows that were not merged, in order: account, device, ms, update."""
    return [
        (author, device, at, bytes(data))
        for author, device, at, data in db.rows(
            "SELECT author_id, device, at, data FROM document_updates WHERE document_id = $1 AND first_seq IS NULL"
            " ORDER BY seq",
            document_id,
        )
    ]


def merge(tx: Tx, document_id: str, first: int, last: int, count: int, data: bytes) -> int:
    """Make one row of these, if they are still so many; how many rows became fewer."""
    there = tx.value(
        int,
        "SELECT count(*) FROM document_updates WHERE document_id = $1 AND seq >= $2 AND seq <= $3",
        document_id,
        first,
        last,
    )
    if there != count:
        return 0
    tx.run("DELETE FROM document_updates WHERE document_id = $1 AND seq >= $2 AND seq < $3", document_id, first, last)
    tx.run(
        "UPDATE document_updates SET data = $1, first_seq = $2 WHERE document_id = $3 AND seq = $4",
        data,
        first,
        document_id,
        last,
    )
    return count - 1


def authors(db: Reader, document_id: str, *, after: int, upto: int) -> list[str]:
    """The accounts that wrote updates above `after` and up to `upto`, in the order of their first one there."""
    return db.column(
        str,
        "SELECT author_id FROM document_updates WHERE document_id = $1 AND seq > $2 AND seq <= $3"
        " GROUP BY author_id ORDER BY min(seq)",
        document_id,
        after,
        upto,
    )


def last_author(db: Reader, document_id: str, *, upto: int) -> Actor | None:
    """Who wrote the newest update up to `upto`, and on which device."""
    found = db.rows(
        "SELECT author_id, device FROM document_updates WHERE document_id = $1 AND seq <= $2 ORDER BY seq DESC LIMIT 1",
        document_id,
        upto,
    )
    return Actor(user_id=found[0][0], device=found[0][1]) if found else None


def append(tx: Tx, actor: Actor, document_id: str, seq: int, update: bytes, *, at: int | None = None) -> None:
    """Write the update as number `seq`; the caller has seen that the head is seq - 1."""
    tx.run(
        "INSERT INTO document_updates (document_id, seq, author_id, device, at, data) VALUES ($1, $2, $3, $4, $5, $6)",
        document_id,
        seq,
        actor.user_id,
        actor.device,
        at if at is not None else clock.now(),
        update,
    )


def keep_snapshot(tx: Tx, document_id: str, seq: int, state: bytes) -> None:
    """Store the full state after update `seq` for fast loading; the rows below it stay."""
    tx.run(
        "INSERT INTO document_snapshots (document_id, seq, data) VALUES ($1, $2, $3)"
        " ON CONFLICT (document_id) DO UPDATE SET seq = excluded.seq, data = excluded.data"
        " WHERE document_snapshots.seq < excluded.seq",
        document_id,
        seq,
        state,
    )
