"""The change log that sync reads: one row per thing, moved on at each change.

The only writer of changes, epochs, epoch_starts and change_horizons. A position only means something together with the
epoch in which it was read: a database that was restored gives positions out again. Each process that changes anything
begins an epoch, and notes of each workspace where in its log that was.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from mdserver import clock
from mdserver.store.db import Reader, Tx

from .access import Actor

Entity = Literal["workspace", "membership", "document", "version"]


def record(
    tx: Tx,
    me: Actor,
    workspace_id: str,
    entity: Entity,
    entity_id: str,
    *,
    version: int = 0,
    deleted: bool = False,
    is_passing: bool = False,
) -> int:
    """Move this thing to the newest position of its workspace's log, in the transaction that changed it; → that.

    Positions are given behind the workspace's gate, so they become visible in order on PostgreSQL too. What is
    `is_passing` is changed again in a moment: those who work through all that has changed need not hurry for it.
    """
    tx.gate(f"changes:{workspace_id}")
    if workspace_id not in tx.process.facts:
        _begin_there(tx, workspace_id)
    seq = tx.value(
        int,
        "INSERT INTO changes (workspace_id, entity, entity_id, seq, action, version, actor_id, device, at) VALUES"
        " ($1, $2, $3, (SELECT COALESCE(max(seq), 0) + 1 FROM changes WHERE workspace_id = $1), $4, $5, $6, $7, $8)"
        " ON CONFLICT (workspace_id, entity, entity_id) DO UPDATE SET seq = excluded.seq, action = excluded.action,"
        " version = excluded.version, actor_id = excluded.actor_id, device = excluded.device, at = excluded.at"
        " RETURNING seq",
        workspace_id,
        entity,
        entity_id,
        "delete" if deleted else "upsert",
        version,
        me.user_id,
        me.device,
        clock.now(),
    )
    assert seq is not None  # it returns the row
    tx.announce("change", f"{workspace_id} {seq}")
    if not is_passing:
        tx.announce("workspace", workspace_id)
    return seq


def begin(tx: Tx) -> None:
    """Begin this process's epoch, unless it has. With its first change: a start must not depend on a disk with room."""
    tx.gate("epochs")
    if epoch_number(tx, tx.process.id) is None:
        tx.run(
            "INSERT INTO epochs (number, id, at) SELECT COALESCE(max(number), 0) + 1, $1, $2 FROM epochs",
            tx.process.id,
            clock.now(),
        )


def _begin_there(tx: Tx, workspace_id: str) -> None:
    begin(tx)
    tx.run(
        "INSERT INTO epoch_starts (workspace_id, number, seq) SELECT $1, number,"
        " (SELECT COALESCE(max(seq), 0) FROM changes WHERE workspace_id = $1) FROM epochs WHERE id = $2"
        " ON CONFLICT (workspace_id, number) DO NOTHING",
        workspace_id,
        tx.process.id,
    )
    tx.note(workspace_id)


def epoch(db: Reader) -> str:
    """The id of the newest epoch, which positions that are read now belong to; empty when none has begun."""
    return db.value(str, "SELECT id FROM epochs ORDER BY number DESC LIMIT 1") or ""


def epoch_number(db: Reader, id: str) -> int | None:
    """The place of an epoch among the others, 0 for the time before the first; None for one that is not known here."""
    if not id:
        return 0
    return db.value(int, "SELECT number FROM epochs WHERE id = $1", id)


def reach(db: Reader, workspace_id: str, *, epoch: int) -> int | None:
    """The last position that an epoch gave in a workspace; None: it has not been followed by another there."""
    return db.value(
        int, "SELECT min(seq) FROM epoch_starts WHERE workspace_id = $1 AND number > $2", workspace_id, epoch
    )


def head(db: Reader, workspace_id: str) -> int:
    """The newest position of a workspace's log; 0 when nothing was ever changed there."""
    return db.value(int, "SELECT max(seq) FROM changes WHERE workspace_id = $1", workspace_id) or 0


def horizon(db: Reader, workspace_id: str) -> int:
    """The position of the newest deletion that the log has forgotten."""
    return db.value(int, "SELECT seq FROM change_horizons WHERE workspace_id = $1", workspace_id) or 0


class Change(NamedTuple):
    """A thing that has changed, at its present position."""

    entity: str
    entity_id: str
    seq: int
    is_deleted: bool
    version: int


def after(db: Reader, workspace_id: str, seq: int, *, floor: int = 0, limit: int) -> list[Change]:
    """What has changed beyond a position, in order. Deletions up to the position `floor` are left out."""
    found = db.rows(
        "SELECT entity, entity_id, seq, action, version FROM changes WHERE workspace_id = $1 AND seq > $2"
        f" AND (action = 'upsert' OR seq > $3) ORDER BY seq LIMIT {limit:d}",
        workspace_id,
        seq,
        floor,
    )
    return [Change(entity, id, at, action == "delete", version) for entity, id, at, action, version in found]


def forget_deletions(tx: Tx, *, kept: int, limit: int = 500) -> int:
    """Forget what was deleted `kept` ms ago, and note how far; how many, at most `limit`.

    The newest row of a workspace stays, for the next position is counted from it. Of a workspace that was deleted then
    the whole log goes.
    """
    before = clock.now() - kept
    if count := _forget_workspaces(tx, before, limit):
        return count
    rows = tx.rows(
        "SELECT c.workspace_id, c.entity, c.entity_id, c.seq FROM changes c WHERE c.action = 'delete' AND c.at < $1"
        " AND c.seq < (SELECT max(o.seq) FROM changes o WHERE o.workspace_id = c.workspace_id)"
        f" ORDER BY c.at LIMIT {limit:d}",
        before,
    )
    for workspace_id, entity, entity_id, seq in rows:
        tx.gate(f"changes:{workspace_id}")
        tx.run(
            "DELETE FROM changes WHERE workspace_id = $1 AND entity = $2 AND entity_id = $3 AND seq = $4",
            workspace_id,
            entity,
            entity_id,
            seq,
        )
        tx.run(
            "INSERT INTO change_horizons (workspace_id, seq) VALUES ($1, $2) ON CONFLICT (workspace_id) DO UPDATE"
            " SET seq = CASE WHEN change_horizons.seq < excluded.seq THEN excluded.seq ELSE change_horizons.seq END",
            workspace_id,
            seq,
        )
    return len(rows)


def _forget_workspaces(tx: Tx, before: int, limit: int) -> int:
    gone = tx.value(
        str,
        "SELECT workspace_id FROM changes WHERE action = 'delete' AND at < $1 AND entity = 'workspace' LIMIT 1",
        before,
    )
    if gone is None:
        return 0
    tx.gate(f"changes:{gone}")
    count = tx.run(
        "DELETE FROM changes WHERE workspace_id = $1 AND seq IN (SELECT seq FROM changes WHERE workspace_id = $1"
        f" AND entity <> 'workspace' ORDER BY seq LIMIT {limit:d})",
        gone,
    )
    if count < limit:  # the row that says it goes last
        count += tx.run("DELETE FROM changes WHERE workspace_id = $1 AND entity = 'workspace'", gone)
        tx.run("DELETE FROM epoch_starts WHERE workspace_id = $1", gone)
        tx.run("DELETE FROM change_horizons WHERE workspace_id = $1", gone)
    return count


def forget_epochs(tx: Tx, *, kept: int, limit: int = 100) -> int:
    """Forget epochs that were followed by another one `kept` ms ago; how many, at most `limit`."""
    gone = tx.column(
        int,
        "SELECT e.number FROM epochs e WHERE EXISTS (SELECT 1 FROM epochs o WHERE o.number = e.number + 1"
        f" AND o.at < $1) ORDER BY e.number LIMIT {limit:d}",
        clock.now() - kept,
    )
    for number in gone:
        # The earliest start that is left says how far an epoch reaches, so starts go with the epochs before them.
        tx.run("DELETE FROM epoch_starts WHERE number <= $1", number)
        tx.run("DELETE FROM epochs WHERE number = $1", number)
    return len(gone)


def is_known(db: Reader, workspace_id: str, entity: Entity, entity_id: str) -> bool:
    """Whether the thing exists or has existed in this workspace: ids are never used again."""
    return bool(
        db.value(
            int,
            "SELECT 1 FROM changes WHERE workspace_id = $1 AND entity = $2 AND entity_id = $3",
            workspace_id,
            entity,
            entity_id,
        )
    )


def known_below(db: Reader, workspace_id: str, entity: Entity, prefix: str) -> list[str]:
    """Of the things whose ids begin with `prefix`, which ends in `/`: those that the log does not say are deleted."""
    return db.column(
        str,
        "SELECT entity_id FROM changes WHERE workspace_id = $1 AND entity = $2 AND entity_id > $3 AND entity_id < $4"
        " AND action = 'upsert'",
        workspace_id,
        entity,
        prefix,
        prefix.removesuffix("/") + "0",
    )
