"""`mdserver backup`: everything that the server keeps becomes one file, read beside the server that goes on writing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mdserver import clock
from mdserver.backup import snapshot
from mdserver.backup.making import Made, dated, make
from mdserver.chores import backups
from mdserver.chores.backups import BackupOpen, BackupOpened
from mdserver.errors import Conflict
from mdserver.model import audit
from mdserver.store.blobs_local import LocalBlobs
from mdserver.store.datadir import DataDirectory
from mdserver.store.db import Reader

from .common import Settings, counted, refuse, show, size, stages
from .common import command as new_command

if TYPE_CHECKING:
    from mdserver.backup.snapshot import Taking
    from mdserver.config import Config

PREFIX = "mdserver-backup"
READING = "Backing up"


@new_command("backup", example="mdserver backup /mnt/backups")
@click.argument("target", metavar="DEST", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Replace the file DEST if there is one.")
def command(settings: Settings, target: Path, yes: bool) -> None:
    """Write everything that the server keeps into one file, while it runs.

    DEST is a file, or a directory, in which the file gets a name with the time. It holds accounts, documents with their
    history, and files as they are at one moment, and can be restored into SQLite and PostgreSQL alike. Whoever can read
    it can read everything: it is made for your eyes only.
    """
    config = settings.load()
    os.umask(0o077)
    if target.is_dir():
        target = dated(target, PREFIX, clock.now())
    directory = DataDirectory(config.server.data)
    _judge(target, directory)
    with settings.reaching(there=True) as run:
        opened = run(backups.backup_open, BackupOpen(target=str(target.absolute())))
        made = asyncio.run(_made(config, directory, target, opened, replace=yes))
    documents, rows, files = (
        counted(made.documents, "document"),
        counted(made.rows, "row"),
        counted(made.blobs, "file"),
    )
    show(settings, made, f"{made.path} ({size(made.size)}) holds {documents} ({rows}) and {files}.")
    if made.missing:
        refuse(
            f"The backup was made, but it lacks {counted(len(made.missing), 'file')} that the server has lost or that"
            f" are damaged there, the first: {made.missing[0]}."
        )


def _judge(target: Path, directory: DataDirectory) -> None:
    """Refuse a file among those that the server keeps its data in, one of which it might replace."""
    folder, own = target.absolute().parent.resolve(), directory.path.resolve()
    if own in (folder, *folder.parents) and not folder.is_relative_to(directory.backups.resolve()):
        refuse(f"{target} would stand among the server's own data: name a place outside of {directory.path}.")
    if str(target).startswith("s3:"):
        refuse("A backup cannot be written to S3 yet: name a file or a directory.")


async def _made(config: Config, directory: DataDirectory, target: Path, opened: BackupOpened, *, replace: bool) -> Made:
    with contextlib.ExitStack() as stack:
        ticks = []

        def begin(total: int) -> None:
            tick = stack.enter_context(stages({READING: total}))
            ticks.append(partial(tick, READING))

        def judge(db: Reader) -> None:
            _step_back()
            if not audit.has(db, opened.note):
                raise _another()

        return await make(
            _taking(config, directory, opened),
            target,
            blobs=LocalBlobs(directory.blobs),
            replace=replace,
            judge=judge,
            begin=begin,
            tick=lambda done: ticks[0](done),
        )


def _step_back() -> None:
    """Let the server go first where processors are few. Linux gives each thread a priority; this one does the work."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 5)


def _taking(config: Config, directory: DataDirectory, opened: BackupOpened) -> Taking:
    """Snapshots of what this command's configuration names, which must be what the server has."""
    url = config.database.url.reveal()
    if opened.engine != ("postgres" if url else "sqlite"):
        raise _another()
    return partial(snapshot.of_postgres, url) if url else partial(snapshot.of_sqlite, directory.database)


def _another() -> Conflict:
    return Conflict(
        "The running server has another database than this command's configuration names: give the command the same"
        " (--config FILE, or the same environment). No backup was made."
    )
