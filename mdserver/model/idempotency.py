"""Idempotency keys: which creating request made what, for 24 hours. The only writer of idempotency_keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mdserver import clock
from mdserver.errors import Conflict, Invalid
from mdserver.store.db import Reader, Tx

T = TypeVar("T")
KEPT = clock.DAY


def find(db: Reader, principal: str, key: str, fingerprint: bytes) -> str | None:
    """The id of what this key made, or None. Invalid when the key belongs to another request."""
    found = db.rows(
        "SELECT fingerprint, result_id FROM idempotency_keys WHERE principal = $1 AND key = $2 AND created_at > $3",
        principal,
        key,
        clock.now() - KEPT,
    )
    if not found:
        return None
    known, result_id = found[0]
    if bytes(known) != fingerprint:
        raise Invalid("This Idempotency-Key was used for another request.", slug="idempotency-mismatch")
    return str(result_id)


def repeat(tx: Tx, result_id: str, again: Callable[[Tx, str], T] | None) -> T:
    """Answer as the first time. Conflict when the first answer held a secret."""
    if again is None:
        raise Conflict(
            "This was created by an earlier request; its secret is shown only once.",
            slug="idempotency-secret",
            id=result_id,
        )
    return again(tx, result_id)


def remember(tx: Tx, principal: str, key: str, fingerprint: bytes, *, result_id: str) -> None:
    """Keep what this key made, in the same transaction as the making. An expired key of that name is replaced."""
    tx.run(
        "INSERT INTO idempotency_keys (principal, key, fingerprint, result_id, version, created_at)"
        " VALUES ($1, $2, $3, $4, 1, $5) ON CONFLICT (principal, key) DO UPDATE SET"
        " fingerprint = excluded.fingerprint, result_id = excluded.result_id, created_at = excluded.created_at",
        principal,
        key,
        fingerprint,
        result_id,
        clock.now(),
    )


def forget_old(tx: Tx, *, limit: int = 500) -> int:
    """Delete keys past their day; how many, at most `limit`."""
    return tx.run(
        "DELETE FROM idempotency_keys WHERE (principal, key) IN"
        f" (SELECT principal, key FROM idempotency_keys WHERE created_at <= $1 LIMIT {limit:d})",
        clock.now() - KEPT,
    )
