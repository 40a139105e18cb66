"""Making a backup: a snapshot's rows, then the blobs they name, into a file that has its name only when it is whole."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from mdserver import __version__, clock, failpoints
from mdserver.errors import Conflict, Invalid, StorageFull
from mdserver.store.blobs import Blobs
from mdserver.store.db import Reader

from .contents import ALL, Contents
from .format import FORMAT, Header
from .snapshot import Snapshot, Taking
from .writing import Tick, Writer

T = TypeVar("T")

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_HASH_BYTES = 32


class Made(msgspec.Struct, kw_only=True):
    """A backup that is whole and durable. `missing` are blobs that a row names and that were not there."""

    path: str
    size: int
    created_at: str
    rows: int
    documents: int
    blobs: int
    missing: list[str]


class _Stopped(Exception):
    """Nobody waits for this backup any more."""


class _Written(msgspec.Struct):
    """How far it has come when the snapshot is let go. `blobs` are the names in binary, one after another."""

    writer: Writer
    blobs: bytearray


def dated(folder: Path, prefix: str, moment: int) -> Path:
    """`prefix-20260131T033000Z.tar` in the folder."""
    return folder / f"{prefix}-{clock.rfc3339(moment)[:19].replace('-', '').replace(':', '')}Z.tar"


async def make(
    taking: Taking,
    target: Path,
    *,
    blobs: Blobs | None = None,
    contents: Contents = ALL,
    replace: bool = False,
    judge: Callable[[Reader], object] = lambda db: None,
    begin: Callable[[int], object] = lambda total: None,
    tick: Tick = lambda done: None,
    pace: float = 0.0,
) -> Made:
    """Write a backup of the present moment to `target`, which only its owner may read.

    `judge` sees the snapshot first and may refuse it; `begin` hears about how many bytes there are, and `tick` of so
    many of them; all three are called on a thread. After each piece it rests `pace` times as long as the piece took.
    Conflict when what is at the target is no file or not to be replaced, StorageFull when the disk is full,
    Invalid when the file system refuses.
    """
    partial = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.partial")
    stop = threading.Event()

    rested = time.perf_counter()

    def guarded(done: int) -> None:
        nonlocal rested
        tick(done)
        if stop.wait(pace * (time.perf_counter() - rested)):
            raise _Stopped
        rested = time.perf_counter()

    def first() -> _Written:
        with taking() as snapshot:
            judge(snapshot.db)
            begin(snapshot.estimate())
            return _write_tables(snapshot, file, contents, guarded)

    with _failures(target):
        file = await asyncio.to_thread(_create, partial, target, replace=replace)
        try:
            written = await _on_thread(first, stop)
            if blobs is not None:
                await _write_blobs(written, blobs, guarded)
            return await _on_thread(lambda: _finish(written, file, partial, target, replace=replace), stop)
        finally:
            with contextlib.suppress(OSError):  # what a full disk has refused is still to be written
                file.close()
            partial.unlink(missing_ok=True)


def _write_tables(snapshot: Snapshot, file: BinaryIO, contents: Contents, tick: Tick) -> _Written:
    migrations = snapshot.migrations()
    header = Header(
        format=FORMAT,
        mdserver=__version__,
        engine=snapshot.db.engine,
        created_at=clock.rfc3339(clock.now()),
        schema=max(migrations),
        migrations=migrations,
        tables=snapshot.tables(contents),
    )
    writer = Writer(file, header)

    def checked(done: int) -> None:
        snapshot.check()
        tick(done)

    for table in header.tables:
        writer.table(table.name, snapshot.rows(table), checked)
    names = bytearray()
    for name in snapshot.blobs(contents):
        names += bytes.fromhex(name)
    return _Written(writer, names)


async def _write_blobs(written: _Written, blobs: Blobs, tick: Tick) -> None:
    names, writer = written.blobs, written.writer
    for place in range(0, len(names), _HASH_BYTES):
        name = names[place : place + _HASH_BYTES].hex()
        found = await blobs.find(name)
        if found is None:
            writer.missing(name)
            continue
        blob = writer.blob(name, found.size)
        try:
            async for chunk in blobs.read(name):
                await asyncio.to_thread(blob.write, chunk)
                await asyncio.to_thread(tick, len(chunk))
        except FileNotFoundError:  # deleted since it was found
            pass
        blob.close()


def _finish(written: _Written, file: BinaryIO, partial: Path, target: Path, *, replace: bool) -> Made:
    manifest = written.writer.finish()
    file.flush()
    os.fsync(file.fileno())
    failpoints.hit("backup-synced")
    size = file.tell()
    if replace:
        partial.replace(target)
    else:
        try:
            os.link(partial, target)
        except FileExistsError:
            raise _exists(target) from None
        except OSError:  # a file system without links
            if os.path.lexists(target):
                raise _exists(target) from None
            partial.rename(target)
    _sync(target.parent)
    rows = {one.name: one.rows for one in manifest.tables}
    return Made(
        path=str(target),
        size=size,
        created_at=written.writer.header.created_at,
        rows=manifest.rows,
        documents=rows.get("documents", 0),
        blobs=manifest.blobs.count,
        missing=manifest.blobs.missing,
    )


async def _on_thread(work: Callable[[], T], stop: threading.Event) -> T:
    """Do the work on a thread; when nobody waits any more, it is told to stop, and waited for."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([task])
        task.exception()
        raise


@contextlib.contextmanager
def _failures(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(f"There is no room for the backup in {target.parent}: none was written.") from error
        raise Invalid(f"The backup {target} cannot be written: {error.strerror or error}.") from error


def _exists(target: Path) -> Conflict:
    return Conflict(f"{target} exists already: name a file that does not, or say --yes to replace it.")


def _create(partial: Path, target: Path, *, replace: bool) -> BinaryIO:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(target.lstat().st_mode):  # a rename would put the backup in a device's place, too
            raise Conflict(f"{target} is there and is no file: name one, which need not be there.")
        if not replace:
            raise _exists(target)
    return os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "w+b")


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
