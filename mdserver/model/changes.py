"""The change log that sync reads: one row per thing, moved on at each change. The only writer of changes."""

from __future__ import annotations

from typing import Literal

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
) -> None:
    """Move this thing to the newest position of its workspace's log, in the transaction that changed it.

    Positions are given behind the workspace's gate, so they become visible in order on PostgreSQL too. What is
    `is_passing` is changed again in a moment: those who work through all that has changed need not hurry for it.
    """
    tx.gate(f"changes:{workspace_id}")
    tx.run(
        "INSERT INTO changes (workspace_id, entity, entity_id, seq, action, version, actor_id, device, at) VALUES"
        " ($1, $2, $3, (SELECT COALESCE(max(seq), 0) + 1 FROM changes WHERE workspace_id = $1), $4, $5, $6, $7, $8)"
        " ON CONFLICT (workspace_id, entity, entity_id) DO UPDATE SET seq = excluded.seq, action = excluded.action,"
        " version = excluded.version, actor_id = excluded.actor_id, device = excluded.device, at = excluded.at",
        workspace_id,
        entity,
        entity_id,
        "delete" if deleted else "upsert",
        version,
        me.user_id,
        me.device,
        clock.now(),
    )
    if not is_passing:
        tx.announce("workspace", workspace_id)


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
