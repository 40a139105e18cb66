"""The jobs there are. Each is a function of its noun, called again and again until there is nothing left to do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

from mdserver.backup.schedule import Scheduled, following
from mdserver.clock import DAY, HOUR, SECOND
from mdserver.config import Config
from mdserver.model import (
    audit,
    changes,
    codes,
    compaction,
    documents,
    idempotency,
    invitations,
    live,
    operations,
    search,
    sessions,
    tokens,
    versions,
)
from mdserver.model.access import Actor
from mdserver.model.versions import Retention
from mdserver.store.datadir import DataDirectory
from mdserver.store.db import Database, Tx

from .job import Job, Turn

log = logging.getLogger("mdserver.jobs")

HOUSEKEEPING = Actor(user_id="", device="mdserver jobs")
"""Who acts where nobody's account does."""

DELETIONS_KEPT = 180 * DAY
"""How long devices that sync can still be told of a deletion; one that was away for longer begins anew."""

EPOCHS_KEPT = 400 * DAY

PRUNED_AT_ONCE = 200
"""Versions that one unit of work deletes."""


def jobs(
    config: Config,
    database: Database,
    backups: Scheduled | None,
    *,
    alarm: Callable[[str | None], Awaitable[object]] | None = None,
) -> Iterator[Job]:
    """The lines of the timetable for this configuration and engine. `backups` are those of `scheduled_backups`, and
    `alarm` tells people of those that fail (see Job).
    """
    kept = config.retention
    yield Job(
        name="purge-trash",
        what="Delete for ever what has been in the trash for longer than it is kept.",
        every=6 * HOUR,
        off="" if kept.trash else 'retention.trash is "off"',
        do=partial(_purge_trash, database, (kept.trash or 0) * SECOND),
    )
    yield Job(
        name="prune-versions",
        what="Thin out the history of documents as it gets older.",
        every=DAY,
        off="" if kept.versions else 'retention.versions is "off"',
        do=partial(
            _prune_versions,
            database,
            Retention(
                everything=(kept.versions or 0) * SECOND,
                hourly=kept.versions_hourly * SECOND,
                daily=kept.versions_daily and kept.versions_daily * SECOND,
            ),
        ),
    )
    yield Job(
        name="compact-logs",
        what="Merge old rows of documents' logs.",
        every=DAY,
        do=partial(_compact_logs, database),
    )
    yield Job(
        name="forget-expired",
        what="Delete sessions, tokens, codes, invitations, keys and passing states that are long past their time.",
        every=HOUR,
        do=partial(_forget_expired, database),
    )
    yield Job(
        name="forget-deletions",
        what="Forget what was deleted half a year ago, in the log that devices sync by.",
        every=DAY,
        do=partial(_forget_deletions, database),
    )
    yield Job(
        name="forget-audit",
        what="Delete entries of the audit log that are older than they are kept.",
        every=DAY,
        off="" if kept.audit else 'retention.audit is "off"',
        do=partial(_forget_audit, database, (kept.audit or 0) * SECOND),
    )
    yield Job(
        name="backup",
        what="Make the scheduled backup, and remove those that are not kept.",
        every=DAY if backups is None or backups.schedule.minute is not None else backups.schedule.seconds * SECOND,
        next_due=None if backups is None else partial(following, backups.schedule),
        off="" if backups is not None else 'backup.schedule is "off"',
        do=partial(_back_up, backups),
        alarm=alarm,
        longest=DAY,
    )
    yield Job(
        name="tidy-search",
        what="Merge the pieces that the search index is written in.",
        every=6 * HOUR,
        do=partial(_tidy_search, database),
    )
    if database.engine == "sqlite":
        yield Job(
            name="tidy-database",
            what="Renew the statistics that queries are planned with, and bring the write-ahead log into the file.",
            every=6 * HOUR,
            do=partial(_tidy, database),
        )


def scheduled_backups(config: Config, database: Database) -> Scheduled | None:
    """The backups that the server makes by itself, if it is told to."""
    if config.backup.schedule is None:
        return None
    from mdserver.backup import snapshot
    from mdserver.store.blobs_local import LocalBlobs

    directory = DataDirectory(config.server.data)
    url = config.database.url.reveal()

    async def note(target: Path) -> None:
        await database.write(
            lambda tx: audit.record(tx, audit.SCHEDULE, "server.backup", actor_id=None, obj=str(target))
        )

    return Scheduled(
        taking=partial(snapshot.of_postgres, url) if url else partial(snapshot.of_sqlite, directory.database),
        folder=Path(config.backup.directory).absolute() if config.backup.directory else directory.backups,
        schedule=config.backup.schedule,
        keep=config.backup.keep,
        blobs=LocalBlobs(directory.blobs),
        note=note,
    )


async def _purge_trash(database: Database, kept: int, turn: Turn) -> str:
    count = await _until_done(database, turn, lambda tx: documents.purge_old(tx, HOUSEKEEPING, kept=kept))
    return f"{_counted(count, 'document')} purged"


async def _prune_versions(database: Database, retention: Retention, turn: Turn) -> str:
    """Looks through all histories on a reader, in order of the documents' ids, and writes only where that has to be."""
    count, after = 0, ""
    while True:
        surplus, following = await database.read(partial(versions.look_through, retention=retention, after=after))
        for part in _parts(surplus):
            await turn.pause()
            count += await database.write(partial(versions.prune, me=HOUSEKEEPING, surplus=part))
        if following is None:
            return f"{_counted(count, 'version')} deleted"
        after = following
        await turn.pause()


def _parts(surplus: dict[str, list[int]]) -> Iterator[dict[str, list[int]]]:
    """The same in pieces of PRUNED_AT_ONCE versions."""
    pairs = [(document_id, number) for document_id, numbers in surplus.items() for number in numbers]
    for start in range(0, len(pairs), PRUNED_AT_ONCE):
        part: dict[str, list[int]] = {}
        for document_id, number in pairs[start : start + PRUNED_AT_ONCE]:
            part.setdefault(document_id, []).append(number)
        yield part


async def _compact_logs(database: Database, turn: Turn) -> str:
    """Looks through all logs on a reader, plans there, and writes one document at a time."""
    count, after = 0, ""
    while True:
        ids, following = await database.read(partial(compaction.due, after=after))
        for document_id in ids:
            await turn.pause()
            try:
                planned = await database.read(partial(compaction.plan, document_id=document_id))
            except ValueError:  # it stays as it is, and the others are merged
                log.exception("the log of document %s could not be merged", document_id)
                continue
            if planned is not None:
                count += await database.write(partial(compaction.carry_out, planned=planned))
        if following is None:
            return f"{_counted(count, 'row')} fewer"
        after = following
        await turn.pause()


async def _forget_expired(database: Database, turn: Turn) -> str:
    nouns: dict[str, Callable[[Tx], int]] = {
        "sessions and tokens": sessions.forget_old,
        "personal tokens": tokens.forget_old,
        "codes": codes.forget_old,
        "invitations": invitations.forget_old,
        "idempotency keys": idempotency.forget_old,
        "operations of devices": operations.forget_old,
        "moments of live editing": live.forget_old,
    }
    counts = {noun: await _until_done(database, turn, forget) for noun, forget in nouns.items()}
    return ", ".join(f"{count:,} {noun}" for noun, count in counts.items() if count) or "nothing was past its time"


async def _forget_deletions(database: Database, turn: Turn) -> str:
    count = await _until_done(database, turn, partial(changes.forget_deletions, kept=DELETIONS_KEPT))
    await _until_done(database, turn, partial(changes.forget_epochs, kept=EPOCHS_KEPT))
    return f"{_counted(count, 'deletion')} forgotten"


async def _forget_audit(database: Database, kept: int, turn: Turn) -> str:
    count = await _until_done(database, turn, partial(audit.forget_old, kept=kept))
    return f"{_counted(count, 'entry', 'entries')} deleted"


async def _back_up(backups: Scheduled | None, turn: Turn) -> str:
    if backups is None:
        return "there is no schedule"
    making = asyncio.create_task(backups.run())
    try:
        while not (await asyncio.wait([making], timeout=1.0))[0]:
            await turn.pause()
    finally:  # when the server stops, and when another process has taken the job over
        making.cancel()
        await asyncio.wait([making])
    made = making.result()
    lacking = f", but without {_counted(len(made.missing), 'file')} that the server has lost" if made.missing else ""
    return f"{made.path} with {made.size:,} bytes{lacking}"


async def _tidy_search(database: Database, turn: Turn) -> str:
    return f"{_counted(await search.upkeep(database), 'step')} taken"


async def _tidy(database: Database, turn: Turn) -> str:
    from mdserver.store import upkeep
    from mdserver.store.sqlite import SQLite  # not loaded where PostgreSQL is used

    assert isinstance(database, SQLite)
    await database.raw(upkeep.optimize)
    await turn.pause()
    left = await database.raw(upkeep.checkpoint)
    return f"{_counted(left, 'page')} left in the write-ahead log" if left else "all is in the file"


async def _until_done(database: Database, turn: Turn, unit: Callable[[Tx], int]) -> int:
    """Run the unit of work until it finds nothing more to do; how much it did in all."""
    count = 0
    while done := await database.write(unit):
        count += done
        await turn.pause()
    return count


def _counted(count: int, noun: str, nouns: str = "") -> str:
    return f"1 {noun}" if count == 1 else f"{count:,} {nouns or noun + 's'}"
