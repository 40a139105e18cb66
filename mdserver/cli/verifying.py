"""`mdserver verify-backup`: a backup restored where it harms nobody, and looked at closely."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import click
import msgspec

from mdserver.backup import restoring
from mdserver.backup.loading import judge_schema
from mdserver.backup.reading import Archive
from mdserver.backup.verifying import Report
from mdserver.store.migrate import known

from .common import Settings, counted, refuse, show, size, stages
from .common import command as new_command


class Verified(msgspec.Struct, kw_only=True):
    """An archive and what was found in it."""

    archive: str
    size: int
    created_at: str
    mdserver: str
    engine: str
    schema: int
    report: Report


@new_command("verify-backup", example="mdserver verify-backup /mnt/backups/mdserver-backup-20260131T033000Z.tar")
@click.argument("archive", metavar="ARCHIVE", type=click.Path(path_type=Path))
def command(settings: Settings, archive: Path) -> None:
    """Restore a backup into a scratch directory, and report whether all of it is right.

    Checks every checksum, builds the database, checks its integrity, replays every document's log and compares it with
    the text, and hashes every text of the history. Needs as much room as the backup unpacks to, where TMPDIR says.
    """
    os.umask(0o077)
    with stages({"Reading": _size(archive)}) as tick:
        opened = Archive(archive, lambda done: tick("Reading", done))
    with contextlib.closing(opened), restoring.scratch(opened, None, "mdserver-verify-") as place:
        judge_schema(opened, known("sqlite"))
        with stages(restoring.steps(opened)) as tick:
            report = restoring.built(opened, place / restoring.DATABASE, tick=tick)
    made = Verified(
        archive=str(archive),
        size=opened.size,
        created_at=opened.header.created_at,
        mdserver=opened.header.mdserver,
        engine=opened.header.engine,
        schema=opened.header.schema,
        report=report,
    )
    show(settings, made, *told(made))
    if report.mismatches:
        refuse(f"The backup {archive} has {counted(report.mismatches, 'mismatch', 'mismatches')}.")


def told(made: Verified) -> list[str]:
    """The report as people read it."""
    report = made.report
    lines = [
        f"{made.archive} ({size(made.size)})",
        f"made         {made.created_at} by mdserver {made.mdserver} on {made.engine}, schema {made.schema}",
        f"rows         {report.rows:,}",
        f"documents    {report.documents:,}, their logs replayed ({counted(report.updates, 'update')})",
        f"history      {counted(report.versions, 'version')}, {counted(report.texts, 'text')} hashed",
        f"files        {report.blobs:,}",
    ]
    if not report.mismatches:
        return [*lines, "Everything is as it should be."]
    more = report.mismatches - len(report.told)
    return [*lines, "Mismatches:", *(f"  {one}" for one in report.told), *([f"  and {more:,} more"] if more else [])]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
