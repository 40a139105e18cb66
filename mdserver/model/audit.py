"""The audit log: who did what to which object from where; never content, never secrets. The only writer of audit."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from mdserver import clock, ids
from mdserver.store.db import Reader, Tx


class Origin(msgspec.Struct, frozen=True):
    """Where a request came from, as the audit log keeps it."""

    address: str
    request_id: str
    device: str = ""


SCHEDULE = Origin(address="local", request_id="schedule", device="mdserver")
COMMAND_LINE = Origin(address="local", request_id="cli", device="mdserver command line")


def record(
    tx: Tx,
    origin: Origin,
    action: str,
    *,
    actor_id: str | None,
    obj: str,
    workspace_id: str | None = None,
    **detail: str | int | None,
) -> str:
    """Write one entry, in the transaction of what it tells of: → its id. `action` reads like `session.start`."""
    made = ids.new()
    tx.run(
        "INSERT INTO audit (id, at, actor_id, action, object, workspace_id, address, request_id, detail)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        made,
        clock.now(),
        actor_id,
        action,
        obj,
        workspace_id,
        origin.address,
        origin.request_id,
        msgspec.json.encode(detail).decode(),
    )
    return made


class Attempt(NamedTuple):
    """A sign-in that was tried. `user_id` is no id where the account was unknown."""

    at: int
    user_id: str
    address: str
    is_right: bool


def attempts(db: Reader, *, since: int, limit: int = 10_000) -> list[Attempt]:
    """The sign-ins tried since a moment (ms), in order; of more than `limit` the last ones.

    Of one millisecond nobody knows the order: those that failed come last, as if nothing had made up for them.
    """
    rows = db.rows(
        "SELECT at, object, address, action FROM audit WHERE id >= $1"
        f" AND action IN ('session.failure', 'session.start') ORDER BY id DESC LIMIT {limit:d}",
        ids.first(since),
    )
    found = [
        Attempt(at, user_id, address, action == "session.start") for at, user_id, address, action in reversed(rows)
    ]
    return sorted(found, key=lambda one: (one.at, not one.is_right))


def has(db: Reader, entry: str) -> bool:
    """Whether there is an entry with this id."""
    return bool(db.value(int, "SELECT 1 FROM audit WHERE id = $1", entry))


def forget_old(tx: Tx, *, kept: int, limit: int = 500) -> int:
    """Delete entries that were written `kept` ms ago; how many, at most `limit`."""
    before = clock.now() - kept
    return tx.run(
        f"DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE id < $1 AND at <= $2 ORDER BY id LIMIT {limit:d})",
        ids.first(before + 1),  # ids begin with their time: the oldest are found without an index of their own
        before,
    )
