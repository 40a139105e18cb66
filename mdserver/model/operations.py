"""Operations of devices that had their effect, for 30 days: again they have none. The only writer of operations."""

from __future__ import annotations

import msgspec

from mdserver import clock
from mdserver.errors import Invalid
from mdserver.store.db import Reader, Tx

KEPT = 30 * clock.DAY


class Effect(msgspec.Struct):
    """What an operation did: as its first answer said, without texts."""

    status: str
    document_id: str
    version: int
    conflict_id: str | None = None


def find(db: Reader, user_id: str, op_id: str, fingerprint: bytes) -> Effect | None:
    """What this operation has done already, or None. Invalid when the id belongs to another operation."""
    found = db.rows(
        "SELECT fingerprint, status, document_id, version, conflict_id FROM operations"
        " WHERE user_id = $1 AND op_id = $2 AND created_at > $3",
        user_id,
        op_id,
        clock.now() - KEPT,
    )
    if not found:
        return None
    known, *effect = found[0]
    if bytes(known) != fingerprint:
        raise Invalid("This op_id was used for another operation.", pointer="/op_id", slug="idempotency-mismatch")
    return Effect(*effect)


def remember(tx: Tx, user_id: str, op_id: str, fingerprint: bytes, effect: Effect) -> None:
    """Keep what an operation does, in the transaction in which it does it. An expired one of that id is replaced."""
    tx.run(
        "INSERT INTO operations (user_id, op_id, fingerprint, status, document_id, version, conflict_id, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (user_id, op_id) DO UPDATE SET"
        " fingerprint = excluded.fingerprint, status = excluded.status, document_id = excluded.document_id,"
        " version = excluded.version, conflict_id = excluded.conflict_id, created_at = excluded.created_at",
        user_id,
        op_id,
        fingerprint,
        effect.status,
        effect.document_id,
        effect.version,
        effect.conflict_id,
        clock.now(),
    )


def forget_old(tx: Tx, *, limit: int = 500) -> int:
    """Delete those past their days; how many, at most `limit`."""
    return tx.run(
        "DELETE FROM operations WHERE (user_id, op_id) IN"
        f" (SELECT user_id, op_id FROM operations WHERE created_at <= $1 LIMIT {limit:d})",
        clock.now() - KEPT,
    )
