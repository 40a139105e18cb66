"""Servers with one fault each, which the proofs must find: `python -m tests.robust.mutants NAME serve …`."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from mdserver.cli import main
from mdserver.collab import rooms
from mdserver.collab.room import Room
from mdserver.model import idempotency, versions
from mdserver.store import sqlite
from mdserver.store.db import Tx


def early() -> None:
    """Answers before COMMIT."""
    commit = sqlite._Connection._commit

    def mutant(self: Any) -> None:
        batch = sys._getframe(1).f_locals["batch"]
        told = threading.Event()
        self._answer(batch)
        batch[0][0].get_loop().call_soon_threadsafe(told.set)
        told.wait()
        commit(self)

    sqlite._Connection._commit = mutant  # type: ignore[method-assign]


def apart() -> None:
    """Writes an edit's version in a transaction of its own, after the edit's."""
    _postpone(versions, "add")


def forgetful() -> None:
    """Remembers an Idempotency-Key in a transaction of its own, after the document is made; dies between them once."""
    creations = itertools.count(1)

    def die() -> None:
        if next(creations) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    _postpone(idempotency, "remember", first=die)


def deaf() -> None:
    """Takes a COMMIT that failed for one that did not."""
    commit = sqlite._Connection._commit

    def mutant(self: Any) -> None:
        try:
            commit(self)
        except Exception:  # which class, depends on the SQLite that was found
            self._rollback()

    sqlite._Connection._commit = mutant  # type: ignore[method-assign]


def sluggish() -> None:
    """Takes a second to load a document for live editing."""
    load = rooms.Rooms._load

    async def mutant(self: rooms.Rooms, document_id: str) -> Room:
        await asyncio.sleep(1)
        return await load(self, document_id)

    rooms.Rooms._load = mutant  # type: ignore[method-assign]


def _postpone(module: Any, name: str, *, first: Callable[[], None] = lambda: None) -> None:
    original: Callable[..., Any] = getattr(module, name)
    databases: list[sqlite.SQLite] = []
    opening = sqlite.SQLite.__init__

    def opened(self: sqlite.SQLite, *arguments: Any, **options: Any) -> None:
        opening(self, *arguments, **options)
        databases.append(self)

    def later(tx: Tx, *arguments: Any, **options: Any) -> None:
        async def write() -> None:
            await databases[0].write(lambda tx: original(tx, *arguments, **options))

        tx.after_commit(first)
        tx.after_commit(lambda: kept.add(asyncio.ensure_future(write())))

    kept: set[asyncio.Future[None]] = set()
    sqlite.SQLite.__init__ = opened  # type: ignore[method-assign]
    setattr(module, name, later)


MUTANTS = {one.__name__: one for one in (early, apart, forgetful, deaf, sluggish)}

if __name__ == "__main__":
    MUTANTS[sys.argv.pop(1)]()
    main()
