"""Reads a document in a process of its own, where it can do no harm: within limits of time and memory."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import resource
import sys
from functools import partial

import msgspec

from mdserver.model import log, quarantine
from mdserver.store.db import Database, Reader
from mdserver.store.marker import Marker

LOG = logging.getLogger("mdserver.collab")

CPU_SECONDS = 20
PATIENCE = 60.0
"""Seconds for all of it, whatever it waits for."""

MEMORY = 4 << 30


class Trial(msgspec.Struct):
    """A document's log, and what is given to it last: an update, or a state vector."""

    snapshot: bytes | None
    updates: list[bytes]
    last: bytes | None
    kind: str


def run() -> None:
    """The child: do with what stands on standard input all that a server would do. It ends well, or badly."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    found = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Trial)
    from mdserver.crdt.lib0 import Unsound

    from .replica import Replica

    replica = Replica.load(found.snapshot, found.updates, most=1 << 31, kind=found.kind)
    replica.text()
    if found.last is not None:
        for give in (replica.missing, replica.take):
            with contextlib.suppress(Unsound):
                give(found.last)
    replica.text()
    Replica.load(replica.snapshot(), (), most=1 << 31, kind=found.kind).text()


async def survives(found: Trial) -> bool:
    """Whether a child gets through it."""
    program = [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "mdserver"]
    child = await asyncio.create_subprocess_exec(
        *program,
        "try-document",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            await child.communicate(msgspec.msgpack.encode(found))
    except TimeoutError:
        return False
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return child.returncode == 0


async def inspect(database: Database, marker: Marker) -> None:
    """At a start: try what was under way when the last process ended, and close what does harm.

    What is closed already is tried again, as this may be a version that can read it.
    """
    found = marker.found()
    for document_id in dict.fromkeys([*found.loads, *(await database.read(quarantine.closed))]):
        trial = await database.read(partial(_trial, document_id=document_id))
        if trial is not None and await survives(trial):
            await database.write(partial(quarantine.release, document_id=document_id))
        elif trial is not None:
            LOG.critical("document %s brings the server down, and is closed", document_id)
            await database.write(partial(quarantine.close, document_id=document_id, why="it cannot be loaded"))
    if found.update is not None:
        await _inspect_update(database, found.update.document_id, found.update.data)
    marker.clear()


async def _inspect_update(database: Database, document_id: str, data: bytes) -> None:
    trial = await database.read(partial(_trial, document_id=document_id))
    if trial is None:
        return
    if not await survives(trial):
        LOG.critical("document %s brings the server down, and is closed", document_id)
        await database.write(partial(quarantine.close, document_id=document_id, why="it cannot be loaded"))
        return
    trial.last = data
    if data and not await survives(trial):
        LOG.critical("an update of document %s brings the server down, and is refused from now on", document_id)
        hashed = hashlib.sha256(data).digest()
        await database.write(partial(quarantine.refuse, document_id=document_id, update_hash=hashed))


def _trial(db: Reader, *, document_id: str) -> Trial | None:
    if not db.rows("SELECT 1 FROM documents WHERE id = $1", document_id):
        return None
    found = log.load(db, document_id, closed=True)
    return Trial(found.snapshot, found.updates, None, found.kind)
