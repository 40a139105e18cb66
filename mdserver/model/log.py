"""The log of Yjs updates and its snapshots: a document's truth. The only writer of both tables."""

from __future__ import annotations

import msgspec

from mdserver import clock
from mdserver.store.db import Reader, Tx

from .access import Actor

SNAPSHOT_AFTER_ROWS = 64
SNAPSHOT_AFTER_BYTES = 256 << 10


class Log(msgspec.Struct):
    """A document's log as far as it is needed to load it: the snapshot and what came after, in order."""

    snapshot: bytes | None
    updates: list[bytes]
    head: int
    """The number of the newest update; 0 for an empty log."""

    @property
    def wants_snapshot(self) -> bool:
        """Whether the tail has grown so long that loading should not replay it again."""
        return len(self.updates) >= SNAPSHOT_AFTER_ROWS or sum(map(len, self.updates)) >= SNAPSHOT_AFTER_BYTES


def load(db: Reader, document_id: str, *, upto: int | None = None) -> Log:
    """The log, or what it was at the update `upto` (which must still be replayable from its rows)."""
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
    return Log(snapshot, [bytes(one[1]) for one in rows], rows[-1][0] if rows else start)


def head(db: Reader, document_id: str) -> int:
    """The number of the newest update."""
    return db.value(int, "SELECT max(seq) FROM document_updates WHERE document_id = $1", document_id) or 0


def after(db: Reader, document_id: str, seq: int) -> list[bytes]:
    """The updates above number `seq`, in order."""
    rows = db.rows(
        "SELECT data FROM document_updates WHERE document_id = $1 AND seq > $2 ORDER BY seq", document_id, seq
    )
    return [bytes(one[0]) for one in rows]


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
