"""What a running server does for the backup that a command makes beside it: it notes it, and so shows its database."""

from __future__ import annotations

import msgspec

from mdserver.model import audit
from mdserver.model.audit import COMMAND_LINE
from mdserver.store.db import Engine

from .chore import House, chore


class BackupOpen(msgspec.Struct, kw_only=True):
    """`target` is the file that will be written."""

    target: str


class BackupOpened(msgspec.Struct, kw_only=True):
    """`note` is an entry of the audit log: a snapshot without it is of another database, or of an earlier moment."""

    engine: Engine
    note: str


@chore
async def backup_open(house: House, ask: BackupOpen) -> BackupOpened:
    """Note that a backup is made."""
    note = await house.database.write(
        lambda tx: audit.record(tx, COMMAND_LINE, "server.backup", actor_id=None, obj=ask.target)
    )
    return BackupOpened(engine=house.database.engine, note=note)
