"""Background jobs: when each ran, what came of it, when it is due, and who has claimed it. The only writer of jobs."""

from __future__ import annotations

import msgspec

from mdserver import clock, ids
from mdserver.store.db import Reader, Tx

LEASE = 2 * clock.MINUTE
"""How long a claim stands that is not renewed: its process may have been killed."""

SLACK = clock.HOUR
"""How much further off than its interval a job may be due (some days have 25 hours); beyond, the clock went back."""

FIRST_RETRY, LONGEST_RETRY = 5 * clock.MINUTE, clock.HOUR
CUT_OFF = "It was cut off: the server ended without stopping."


class Record(msgspec.Struct, kw_only=True):
    """What is known of a job; moments in UTC milliseconds.

    `outcome` is of its last success, `error` of its last run if that failed. `failures` are those since the last
    success; a run that is under way counts as one in advance (see `claim`), so ask `failed`.
    """

    name: str
    due_at: int
    started_at: int | None
    ended_at: int | None
    succeeded_at: int | None
    outcome: str | None
    error: str | None
    failures: int
    runner: str | None
    lease_until: int | None

    def is_due(self, now: int, every: int) -> bool:
        """Whether it should run, once each `every`. One that is due later than that could be was written by a clock
        that has gone back since: it runs now rather than in a year.
        """
        return self.due_at <= now or self.due_at > now + every + SLACK

    def is_running(self, now: int) -> bool:
        """Whether somebody's claim stands; none reaches further than a lease, whatever the clock did."""
        return self.runner is not None and now < (self.lease_until or 0) <= now + LEASE

    def failed(self, now: int) -> int:
        """How often it has failed since its last success; a run that is under way has not."""
        return self.failures - self.is_running(now)


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The right to run a job, and what its record said before."""

    name: str
    runner: str
    failures: int
    error: str | None


_SELECT = (
    "SELECT name, due_at, started_at, ended_at, succeeded_at, outcome, error, failures, runner, lease_until FROM jobs"
)


def records(db: Reader) -> dict[str, Record]:
    """Every job that was ever entered, by name."""
    return {one.name: one for one in db.all(Record, _SELECT)}


def enter(tx: Tx, name: str, *, every: int, due_at: int) -> bool:
    """See to it that the job has a record; whether it is due `due_at`, being new or overdue."""
    found = _find(tx, name)
    if found is None:
        _add(tx, name, due_at)
    elif found.is_due(clock.now(), every):
        tx.run("UPDATE jobs SET due_at = $1 WHERE name = $2", due_at, name)
    else:
        return False
    return True


def claim(tx: Tx, name: str, *, every: int, by_hand: bool = False) -> Claim | None:
    """The right to run the job now; None when somebody else has it, or (unless by hand) when it is not due.

    Until the claim is given back, the record says what will be true if it never is: a failure, tried again later.
    """
    now = clock.now()
    found = _find(tx, name) or _add(tx, name, now)
    if found.is_running(now) or not (by_hand or found.is_due(now, every)):
        return None
    made = Claim(name=name, runner=ids.new(), failures=found.failures, error=found.error)
    tx.run(
        "UPDATE jobs SET runner = $1, lease_until = $2, started_at = $3, due_at = $4, failures = $5, error = $6"
        " WHERE name = $7",
        made.runner,
        now + LEASE,
        now,
        now + retry_after(found.failures + 1, every),
        found.failures + 1,
        CUT_OFF,
        name,
    )
    return made


def renew(tx: Tx, mine: Claim) -> bool:
    """Let the claim stand for another lease; False when it was lost, and somebody else may be running the job."""
    return (
        tx.run(
            "UPDATE jobs SET lease_until = $1 WHERE name = $2 AND runner = $3",
            clock.now() + LEASE,
            mine.name,
            mine.runner,
        )
        > 0
    )


def succeed(tx: Tx, mine: Claim, outcome: str, *, ended_at: int, due_at: int) -> None:
    """Give the claim back: the job did what it does, and is due again later."""
    tx.run(
        "UPDATE jobs SET runner = NULL, lease_until = NULL, ended_at = $1, succeeded_at = $1, outcome = $2,"
        " error = NULL, failures = 0, due_at = $3 WHERE name = $4 AND runner = $5",
        ended_at,
        outcome,
        due_at,
        mine.name,
        mine.runner,
    )


def fail(tx: Tx, mine: Claim, error: str, *, every: int) -> None:
    """Give the claim back: it failed, and is tried again, each time a while later."""
    now = clock.now()
    tx.run(
        "UPDATE jobs SET runner = NULL, lease_until = NULL, ended_at = $1, error = $2, due_at = $3"
        " WHERE name = $4 AND runner = $5",
        now,
        error,
        now + retry_after(mine.failures + 1, every),
        mine.name,
        mine.runner,
    )


def alarm(tx: Tx, mine: Claim) -> bool:
    """Note that people are told that the job fails; False when they have been."""
    return (
        tx.run(
            "UPDATE jobs SET told_at = $1 WHERE name = $2 AND runner = $3 AND told_at IS NULL",
            clock.now(),
            mine.name,
            mine.runner,
        )
        > 0
    )


def all_clear(tx: Tx, mine: Claim) -> bool:
    """Note that people are told that the job works again; False when they knew of no failure."""
    return (
        tx.run(
            "UPDATE jobs SET told_at = NULL WHERE name = $1 AND runner = $2 AND told_at IS NOT NULL",
            mine.name,
            mine.runner,
        )
        > 0
    )


def stop(tx: Tx, mine: Claim) -> None:
    """Give the claim back before the job was done, as if it had not begun; it stays due."""
    now = clock.now()
    tx.run(
        "UPDATE jobs SET runner = NULL, lease_until = NULL, ended_at = $1, due_at = $1, failures = $2,"
        " error = CAST($3 AS TEXT) WHERE name = $4 AND runner = $5",
        now,
        mine.failures,
        mine.error,
        mine.name,
        mine.runner,
    )


def retry_after(failures: int, every: int) -> int:
    """How long to wait after so many failures in a row: ever longer, but no longer than the job's own interval."""
    return min(FIRST_RETRY << min(failures - 1, 8), LONGEST_RETRY, every)


def _find(db: Reader, name: str) -> Record | None:
    return db.first(Record, f"{_SELECT} WHERE name = $1", name)


def _add(tx: Tx, name: str, due_at: int) -> Record:
    tx.run("INSERT INTO jobs (name, due_at, failures) VALUES ($1, $2, 0)", name, due_at)
    return tx.all(Record, f"{_SELECT} WHERE name = $1", name)[0]
