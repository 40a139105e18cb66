"""One PostgreSQL connection: its settings, how Python's values travel, what its errors mean, and who holds it."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Collection
from typing import Any

import psycopg
from psycopg import RawCursor
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.numeric import Int8BinaryDumper, NumericBinaryLoader, NumericLoader
from psycopg.types.string import StrBinaryDumper

from mdserver.errors import Busy

Connection = psycopg.Connection[tuple[Any, ...]]
log = logging.getLogger("mdserver.store")

RECONNECT_SECONDS = 5.0
"""How long a unit waits for a server that was there a moment ago: a restart takes less."""

CONNECTION = {
    "connect_timeout": "5",
    "application_name": "mdserver",
    "client_encoding": "UTF8",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""Connection parameters for what the address leaves open: a peer that vanished is noticed within a minute."""

# A server whose default gives durability away does not decide for us: acknowledged is durable.
SESSION = (
    "SELECT set_config('lock_timeout', '10s', false), set_config('idle_session_timeout', '0', false), "
    "set_config('idle_in_transaction_session_timeout', '60s', false), set_config('synchronous_commit', "
    "coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on'), false)"
)

# SQLSTATE codes.
CONFLICT = {"40001", "40P01"}
BROKEN_CONSTRAINT = {"23503", "23505", "23P01"}
# 25006 read-only (a standby), 53200 memory, 53300 connections, 53400 limits, 55P03 lock and 57014 statement timeout
UNABLE = {"25006", "53200", "53300", "53400", "55P03", "57014"}


def connect(dsn: str) -> Connection:
    """Open one connection with the settings that every connection has."""
    parameters = conninfo_to_dict(dsn)
    address = make_conninfo(dsn, **{name: value for name, value in CONNECTION.items() if name not in parameters})
    connection: Connection = psycopg.connect(address, autocommit=True, cursor_factory=RawCursor)
    try:
        connection.prepared_max = 500
        # One type per Python type, whatever the value: so a statement is prepared once and `$1 + 1` does not overflow.
        for kind in (int, bool):
            connection.adapters.register_dumper(kind, Int8BinaryDumper)
        connection.adapters.register_dumper(str, StrBinaryDumper)
        connection.adapters.register_loader("numeric", _NumberLoader)
        connection.adapters.register_loader("numeric", _NumberBinaryLoader)
        connection.execute(SESSION)
    except BaseException:
        connection.close()
        raise
    return connection


class _NumberLoader(NumericLoader):
    """sum() of BIGINT is NUMERIC: a whole number, as SQLite gives it."""

    def load(self, data: Any) -> Any:
        return _number(super().load(data))


class _NumberBinaryLoader(NumericBinaryLoader):
    def load(self, data: Any) -> Any:
        return _number(super().load(data))


def _number(found: Any) -> int | float:
    return int(found) if found.is_finite() and found == found.to_integral_value() else float(found)


def lock_key(name: str) -> int:
    """The advisory lock of a name: 64 bits of its hash."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, person=b"mdserver").digest(), signed=True)


def is_lost(connection: Connection, error: BaseException) -> bool:
    """Whether the connection is no more, as the error tells or as it shows."""
    return connection.closed or (isinstance(error, psycopg.Error) and gone(error))


def gone(error: psycopg.Error) -> bool:
    """Whether the error means that the connection is no more."""
    code = error.sqlstate
    if code is None:
        return isinstance(error, psycopg.OperationalError)
    return code.startswith(("08", "57P")) or code == "25P03"


def passing(error: psycopg.Error) -> bool:
    """Whether the same unit may succeed when it runs again."""
    return gone(error) or error.sqlstate in CONFLICT


class Session:
    """The connection of one thread: opened when needed, thrown away when in doubt."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._raw: Connection | None = None
        self._was_there = True
        self.locked = False
        """Whether it may hold advisory locks."""

    def connection(self) -> Connection:
        """The open connection. Busy when there is no server; one that was there a moment ago is waited for."""
        if self._raw is not None and not self._raw.closed:
            return self._raw
        self.drop()
        end = time.monotonic() + (RECONNECT_SECONDS if self._was_there else 0)
        while True:
            try:
                self._raw = connect(self._dsn)
            except psycopg.Error as error:
                if time.monotonic() < end:
                    time.sleep(0.1)
                    continue
                self._was_there = False
                log.error("cannot connect to PostgreSQL: %s", error)
                raise Busy("The database does not answer: nothing was changed.", retry_after=5) from error
            self._was_there = True
            return self._raw

    def lock(self, names: Collection[str]) -> None:
        """Wait for the advisory locks of the names, in the one order that everybody keeps; before BEGIN."""
        for key in sorted({lock_key(name) for name in names}):
            self.locked = True
            self.connection().execute("SELECT pg_advisory_lock($1)", (key,))

    def unlock(self) -> None:
        """Release every advisory lock; with the connection, if need be."""
        if self.locked and self._raw is not None:
            try:
                self._raw.execute("SELECT pg_advisory_unlock_all()")
            except psycopg.Error:
                self.drop()
        self.locked = False

    def drop(self) -> None:
        """Close the connection, whatever its state; the next unit gets a new one."""
        raw, self._raw = self._raw, None
        if raw is not None:
            try:
                raw.close()
            except psycopg.Error:
                log.debug("closing a connection failed", exc_info=True)
