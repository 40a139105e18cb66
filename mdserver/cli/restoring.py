"""`mdserver restore`: a backup put in the place of the server's data."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from mdserver.backup import restoring
from mdserver.backup.contents import ALL, Contents, tables_of
from mdserver.backup.loading import judge_schema
from mdserver.backup.reading import Archive
from mdserver.backup.restoring import Mismatched, Restored
from mdserver.model import audit
from mdserver.model.audit import COMMAND_LINE
from mdserver.store.blobs_local import LocalBlobs
from mdserver.store.datadir import DataDirectory, InUse
from mdserver.store.migrate import known

from .common import Settings, confirm, counted, refuse, show, stages
from .common import command as new_command

if TYPE_CHECKING:
    from mdserver.store.db import Tx


@new_command("restore", example="mdserver restore mdserver-backup-20260131T033000Z.tar --data /srv/notes")
@click.argument("archive", metavar="ARCHIVE", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask before the present data is set aside.")
@click.option("--accept-mismatches", is_flag=True, help="Restore although verifying finds what contradicts itself.")
def command(settings: Settings, archive: Path, yes: bool, accept_mismatches: bool) -> None:
    """Put a backup in the place of the server's data, which is kept aside.

    The server must not run. The backup is checked whole and built beside what is there, then verified as by
    “verify-backup”; only if all is right it takes the place of the old data, in the data directory or, when
    database.url is configured, in PostgreSQL. A backup of an older version is brought up to date.
    """
    config = settings.load()
    os.umask(0o077)
    url = config.database.url.reveal()
    with stages({"Reading": archive.stat().st_size if archive.exists() else 0}) as tick:
        opened = Archive(archive, lambda done: tick("Reading", done))
    with contextlib.closing(opened):
        judge_schema(opened, known("postgres" if url else "sqlite"))
        directory = DataDirectory(config.server.data)
        with _held(directory):
            blobs = LocalBlobs(directory.blobs)
            blobs.prepare()

            def ask(where: str) -> None:
                confirm(
                    f"Put the backup of {opened.header.created_at} in the place of the data in {where}? What is there"
                    " is kept aside.",
                    yes=yes,
                )

            try:
                if url:
                    done = _into_postgres(opened, url, blobs, ask, accept=accept_mismatches)
                else:
                    if restoring.has_data(directory):
                        ask(str(directory.path))
                    with stages(restoring.steps(opened)) as tick:
                        done = restoring.into_sqlite(
                            opened, directory, blobs, accept=accept_mismatches, tick=tick, contents=_noting(opened)
                        )
            except Mismatched as problem:
                refuse(f"{problem.detail} “mdserver verify-backup” shows all; --accept-mismatches restores it anyway.")
    show(settings, done, *_told(done))


@contextlib.contextmanager
def _held(directory: DataDirectory) -> Iterator[None]:
    """The data directory for this process alone; a server on it has to be stopped first."""
    directory.prepare()
    try:
        directory.lock()
    except InUse as error:
        running = directory.running()
        if running is not None and running.control:
            refuse(
                f"A server runs on {directory.path} (process {running.pid}): stop it, restore, and start it again."
                " Nothing was changed."
            )
        refuse(f"{error} Nothing was changed.")
    try:
        yield
    finally:
        directory.unlock()


def _into_postgres(
    archive: Archive, url: str, blobs: LocalBlobs, ask: Callable[[str], None], *, accept: bool
) -> Restored:
    from mdserver.store.postgres import Postgres

    with asyncio.Runner() as runner:
        postgres = runner.run(Postgres.open(url, connections=1))
        try:
            runner.run(postgres.hold_instance())
            occupied = bool(runner.run(postgres.read(tables_of)))
            if occupied:
                ask("PostgreSQL")
            with stages(restoring.steps(archive)) as tick:
                return restoring.into_postgres(
                    archive, url, blobs, aside=occupied, accept=accept, tick=tick, contents=_noting(archive)
                )
        finally:
            runner.run(postgres.close())


def _noting(archive: Archive) -> Contents:
    """What is restored, with an entry in the audit log."""

    def note(tx: Tx) -> object:
        made = archive.header.created_at
        return audit.record(
            tx, COMMAND_LINE, "server.restore", actor_id=None, obj=str(archive.path.absolute()), created_at=made
        )

    return msgspec.structs.replace(ALL, afterwards=(*ALL.afterwards, note))


def _told(done: Restored) -> list[str]:
    report = done.report
    documents, files = counted(report.documents, "document"), counted(report.blobs, "file")
    lines = [f"The backup of {done.created_at} is in {done.target}: {documents}, {report.rows:,} rows and {files}."]
    if done.migrated:
        lines.append(f"Brought up to date: {', '.join(done.migrated)}.")
    if done.aside:
        lines.append(f"What was there before is kept in {done.aside}; remove it when you no longer need it.")
    if report.mismatches:
        lines.append(f"Accepted: {counted(report.mismatches, 'mismatch', 'mismatches')}, the first: {report.told[0]}.")
    return lines
