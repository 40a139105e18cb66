"""Restoring: built beside what is there, verified, and only then put in its place; what was there is kept aside."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mdserver import clock, failpoints
from mdserver.errors import Conflict, StorageFull
from mdserver.store.blobs import Blobs
from mdserver.store.db import Reader, Unusable
from mdserver.store.migrate import Migration, known

from .contents import ALL, Contents, tables_of
from .loading import PostgresLoader, SQLiteLoader, judge_storage
from .verifying import Report, verify

if TYPE_CHECKING:
    from mdserver.store.datadir import DataDirectory
    from mdserver.store.postgres_connection import Connection

    from .reading import Archive

Tick = Callable[[str, int], object]
"""Hears what is being done, and of how many more rows or documents."""

DATABASE = "mdserver.sqlite3"
_ROOM = 1.3  # a database with its indexes, to its rows


class Mismatched(Conflict):
    """The archive is whole, but what it holds contradicts itself; nothing was changed."""

    def __init__(self, archive: Archive, report: Report) -> None:
        super().__init__(
            f"The backup {archive.path} has {report.mismatches} mismatches, the first: {report.told[0]}. Nothing was"
            " changed."
        )
        self.report = report


class Restored(msgspec.Struct, kw_only=True):
    """What came of it. `aside` is where the data from before is now: a directory, or a schema in PostgreSQL."""

    archive: str
    created_at: str
    target: str
    aside: str | None
    migrated: list[str]
    report: Report


@contextlib.contextmanager
def scratch(archive: Archive, folder: Path | None, prefix: str) -> Iterator[Path]:
    """A directory for a database built from the archive, in `folder` or where temporary files go; removed in the end.

    StorageFull when there is no room for it.
    """
    place = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
    try:
        needed = int(_ROOM * (archive.manifest.unpacked - archive.manifest.blobs.bytes))
        free = shutil.disk_usage(place).free
        if free < needed:
            hint = "" if folder is not None else " (TMPDIR names another place)"
            raise StorageFull(
                f"About {needed:,} bytes are needed in {place.parent}, and {free:,} are free{hint}."
                " Nothing was changed."
            )
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def built(
    archive: Archive,
    path: Path,
    *,
    tick: Tick = lambda what, done: None,
    migrations: list[Migration] | None = None,
    contents: Contents = ALL,
) -> Report:
    """Build a SQLite database from the archive, verify it, and leave it closed and durable: → what was found."""
    from mdserver.store.sqlite import Error, SQLiteReader, connect

    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        with contextlib.closing(connect(path, read_only=False, synchronous="OFF")) as connection:
            for pragma in ("journal_mode=OFF", "foreign_keys=OFF", "mmap_size=0", "cache_size=-65536"):
                connection.execute(f"PRAGMA {pragma}").fetchall()
            connection.execute("BEGIN IMMEDIATE")
            loader = SQLiteLoader(connection, known("sqlite") if migrations is None else migrations, contents)
            loader.load(archive, lambda rows: tick("Restoring", rows))
            connection.execute("COMMIT")
            report = _verified(SQLiteReader(connection), archive, contents, tick)
    except Error as error:
        judge_storage(error)
        raise
    _sync(path)
    return report


def into_sqlite(
    archive: Archive,
    directory: DataDirectory,
    blobs: Blobs,
    *,
    accept: bool = False,
    tick: Tick = lambda what, done: None,
    migrations: list[Migration] | None = None,
    contents: Contents = ALL,
) -> Restored:
    """Restore into a data directory that this process has locked.

    Mismatched when verifying finds something, unless that is accepted. Until the very end the old database stands
    untouched in its place, and then one rename makes the difference.
    """
    known_steps = known("sqlite") if migrations is None else migrations
    for left in directory.path.glob("restoring-*"):  # of a restore that was killed
        shutil.rmtree(left, ignore_errors=True)
    with scratch(archive, directory.path, "restoring-") as place:
        fresh = place / DATABASE
        report = built(archive, fresh, tick=tick, migrations=known_steps, contents=contents)
        if report.mismatches and not accept:
            raise Mismatched(archive, report)
        _add_blobs(archive, blobs)
        aside = _kept_aside(directory)
        failpoints.hit("restore-aside")
        fresh.replace(directory.database)
        _sync(directory.path)
    return _restored(archive, str(directory.path), str(aside) if aside else None, known_steps, report)


def into_postgres(
    archive: Archive,
    dsn: str,
    blobs: Blobs,
    *,
    aside: bool,
    accept: bool = False,
    tick: Tick = lambda what, done: None,
    migrations: list[Migration] | None = None,
    contents: Contents = ALL,
) -> Restored:
    """Restore into a PostgreSQL database on which no server runs, all of it in one transaction.

    Conflict when there is something in it, unless that may be set `aside` into a schema of its own.
    """
    from mdserver.store import postgres_connection as pg
    from mdserver.store.postgres import PostgresReader

    known_steps = known("postgres") if migrations is None else migrations
    with _refusals(), pg.connect(dsn) as connection:
        connection.execute("SELECT set_config('idle_in_transaction_session_timeout', '0', false)")
        name = None
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock($1)", (pg.lock_key("mdserver: migrations"),))
            reader = PostgresReader(connection)
            if tables_of(reader):
                if not aside:
                    raise Conflict(
                        f"There is data in the database {connection.info.dbname}: restore into an empty one, or say"
                        " --yes to set it aside into a schema of its own."
                    )
                name = _set_aside(connection, reader, contents)
            PostgresLoader(connection, known_steps, contents).load(archive, lambda rows: tick("Restoring", rows))
            report = _verified(reader, archive, contents, tick)
            if report.mismatches and not accept:
                raise Mismatched(archive, report)
            _add_blobs(archive, blobs)
        target = f"the PostgreSQL database {connection.info.dbname}"
    return _restored(archive, target, name and f"schema {name}", known_steps, report)


def steps(archive: Archive) -> dict[str, int]:
    """How many steps each stage of restoring has, for a progress bar."""
    documents = sum(one.rows for one in archive.manifest.tables if one.name == "documents")
    return {"Restoring": archive.manifest.rows, "Verifying": documents}


def has_data(directory: DataDirectory) -> bool:
    """Whether there is a SQLite database that would be set aside."""
    return directory.database.exists()


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        said = str(error).partition("\n")[0].strip()
        raise Unusable(f"PostgreSQL refuses: {said}. Nothing was changed.") from error


def _verified(db: Reader, archive: Archive, contents: Contents, tick: Tick) -> Report:
    report = verify(
        db,
        blobs=(name for name, _, _ in archive.blobs()),
        contents=contents,
        tick=lambda documents: tick("Verifying", documents),
    )
    report.rows = archive.manifest.rows
    failpoints.hit("restore-verified")
    return report


def _restored(archive: Archive, target: str, aside: str | None, steps: list[Migration], report: Report) -> Restored:
    return Restored(
        archive=str(archive.path),
        created_at=archive.header.created_at,
        target=target,
        aside=aside,
        migrated=[f"{one.number:04d}_{one.name}" for one in steps if one.number > archive.header.schema],
        report=report,
    )


def _add_blobs(archive: Archive, blobs: Blobs) -> None:
    """Bring the blobs in. Their names are their content, so adding them harms neither what is there nor its own."""

    async def add() -> None:
        for name, size, chunks in archive.blobs():

            async def arriving(chunks: Iterator[bytes] = chunks) -> AsyncIterator[bytes]:
                for chunk in chunks:
                    yield chunk

            await blobs.put(arriving(), maximum=size, sha256=name, size=size)

    asyncio.run(add())


def _kept_aside(directory: DataDirectory) -> Path | None:
    """Give the old database a second name in a directory of its own; it stays where it is until it is replaced."""
    old = directory.database
    if not old.exists():
        return None
    _close_log(old)
    aside = directory.path / f"before-restore-{_stamp()}"
    for number in itertools.count(2):
        try:
            aside.mkdir(mode=0o700)
            break
        except FileExistsError:
            aside = aside.with_name(f"before-restore-{_stamp()}-{number}")
    for rest in ("-wal", "-shm"):  # of a database that cannot be opened: they must not be read with the new one
        with contextlib.suppress(FileNotFoundError):
            Path(f"{old}{rest}").rename(aside / f"{old.name}{rest}")
    try:
        os.link(old, aside / old.name)
    except OSError:  # a file system without links
        old.rename(aside / old.name)
    _sync(aside)
    _sync(directory.path)
    return aside


def _close_log(path: Path) -> None:
    """Bring what stands in the write-ahead log into the file, if it can be read at all."""
    from mdserver.store.sqlite import Error, connect

    with contextlib.suppress(Error), contextlib.closing(connect(path, read_only=False)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


_MOVED = (
    # what, and where in the catalogue: relations with what belongs to them, functions, types, text search
    (
        "TABLE",
        "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'p', 'v',"
        " 'm') AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = pg_class.oid AND d.deptype = 'e')",
    ),
    (
        "SEQUENCE",
        "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind = 'S'"
        " AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = pg_class.oid AND d.deptype IN ('e', 'a', 'i'))",
    ),
    (
        "ROUTINE",
        "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = $1::regnamespace AND NOT EXISTS"
        " (SELECT 1 FROM pg_depend d WHERE d.objid = pg_proc.oid AND d.deptype = 'e')",
    ),
    (
        "TYPE",
        "SELECT oid::regtype::text FROM pg_type WHERE typnamespace = $1::regnamespace AND typtype IN ('e', 'd')"
        " AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = pg_type.oid AND d.deptype = 'e')",
    ),
    (
        "TEXT SEARCH CONFIGURATION",
        "SELECT oid::regconfig::text FROM pg_ts_config WHERE cfgnamespace = $1::regnamespace AND NOT EXISTS"
        " (SELECT 1 FROM pg_depend d WHERE d.objid = pg_ts_config.oid AND d.deptype = 'e')",
    ),
    (
        "TEXT SEARCH DICTIONARY",
        "SELECT oid::regdictionary::text FROM pg_ts_dict WHERE dictnamespace = $1::regnamespace AND NOT EXISTS"
        " (SELECT 1 FROM pg_depend d WHERE d.objid = pg_ts_dict.oid AND d.deptype = 'e')",
    ),
)


def _set_aside(connection: Connection, db: Reader, contents: Contents) -> str:
    """Move everything of ours into a new schema, but for extensions: what comes needs them, too."""
    strange = sorted(one for one in tables_of(db) if one not in contents.tables and not contents.is_derived(one))
    if strange:
        raise Conflict(
            f"The database {connection.info.dbname} has tables that are not this version's ({', '.join(strange)}):"
            " restore into an empty database. Nothing was changed."
        )
    here = db.value(str, "SELECT current_schema()")
    name = wanted = f"before_restore_{_stamp().lower()}"
    for number in itertools.count(2):
        if not db.value(int, "SELECT 1 FROM pg_namespace WHERE nspname = $1", name):
            break
        name = f"{wanted}_{number}"
    connection.execute(f'CREATE SCHEMA "{name}"'.encode())
    for kind, question in _MOVED:
        for one in db.column(str, question, here):
            connection.execute(f'ALTER {kind} {one} SET SCHEMA "{name}"'.encode())
    return name


def _stamp() -> str:
    return clock.rfc3339(clock.now())[:19].replace("-", "").replace(":", "") + "Z"


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
