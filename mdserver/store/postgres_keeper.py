"""The lock that makes a server the only one on its PostgreSQL database."""

from __future__ import annotations

import logging
import threading
import time
from typing import ClassVar

import psycopg

from .db import Unusable
from .postgres_connection import Connection, connect, lock_key

log = logging.getLogger("mdserver.store")

TAKE_SECONDS = 3.0
"""How long a server that starts waits for one that ends."""
INSTANCE_SECONDS = 5.0
"""How often a server looks whether it still holds the lock."""
RETAKE_SECONDS = 1.0
"""How often it tries to take the lock again after its connection was lost."""


class Keeper:
    """Holds the advisory lock that makes this the only server, and takes it again after a lost connection."""

    KEY: ClassVar[int] = lock_key("mdserver: the server")

    def __init__(self, dsn: str) -> None:
        self.usurped = False
        self._dsn = dsn
        self._raw: Connection | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mdserver-keeper", daemon=True)

    def start(self) -> None:
        """Take the lock (a server that has just ended may need a moment to let go). Unusable when it is held."""
        end = time.monotonic() + TAKE_SECONDS
        while not self._take():
            if time.monotonic() > end:
                holder = self._holder()
                self._drop()
                raise Unusable(
                    f"Another mdserver is running on this database{holder}. Stop it first: several servers on one "
                    "database are not supported yet."
                )
            time.sleep(0.1)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._drop()

    def _work(self) -> None:
        while not self._stop.wait(RETAKE_SECONDS if self._raw is None else INSTANCE_SECONDS):
            try:
                if self._raw is not None and not self._raw.closed and not self.usurped:
                    self._raw.execute("SELECT 1")
                elif self._take():
                    if self.usurped:
                        log.warning("this server has its database for itself again")
                    self.usurped = False
                elif not self.usurped:
                    self.usurped = True
                    log.critical("another server has taken the database over; this one refuses to write")
            except (psycopg.Error, Unusable):
                self._drop()

    def _take(self) -> bool:
        try:
            if self._raw is None or self._raw.closed:
                self._raw = connect(self._dsn)
            found = self._raw.execute("SELECT pg_try_advisory_lock($1)", (self.KEY,)).fetchone()
        except psycopg.Error as error:
            self._drop()
            raise Unusable(f"PostgreSQL cannot be used: {error}") from error
        return bool(found and found[0])

    def _holder(self) -> str:
        found = None
        if self._raw is not None:
            found = self._raw.execute(
                "SELECT coalesce(host(a.client_addr), 'this machine'), to_char(a.backend_start, 'YYYY-MM-DD HH24:MI') "
                "FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.locktype = 'advisory' AND l.granted "
                "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
                "AND l.classid = ($1 >> 32 & 4294967295)::oid AND l.objid = ($1 & 4294967295)::oid",
                (self.KEY,),
            ).fetchone()
        return f" (from {found[0]}, since {found[1]})" if found else ""

    def _drop(self) -> None:
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.close()
