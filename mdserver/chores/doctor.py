"""Looking a server over: each check says what is well, what is not, and what to do about it."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from mdserver import clock
from mdserver.backup.verifying import verify
from mdserver.errors import NotFound, Problem
from mdserver.model import quarantine, search
from mdserver.store.blobs_local import LocalBlobs
from mdserver.store.datadir import DataDirectory
from mdserver.store.db import Reader
from mdserver.web.health import Program

from .chore import House, chore
from .jobs import Nothing

if TYPE_CHECKING:
    import aiohttp

State = Literal["ok", "warning", "failed", "skipped"]
PATIENCE = 10.0
LEAST_FREE = 256 << 20
_LONGEST_VERSION = 64 << 10
DRIFT = 2 * clock.MINUTE
"""How far two clocks may be apart (ms)."""


class Finding(msgspec.Struct, kw_only=True):
    """What a check found: a sentence for people, and `told`, each thing that is wrong. `fixed` says what was mended."""

    name: str
    state: State
    detail: str
    told: list[str] = []
    fixed: list[str] = []


class CheckAsk(msgspec.Struct, kw_only=True):
    """`fix`: mend what can be mended without losing anything."""

    name: str
    fix: bool = False


class CheckName(msgspec.Struct, kw_only=True):
    name: str
    what: str


class Checks(msgspec.Struct, kw_only=True):
    items: list[CheckName]


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    what: str
    do: Callable[[House, bool], Awaitable[Finding]]


@chore
async def doctor_list(house: House, ask: Nothing) -> Checks:
    """The checks there are."""
    return Checks(items=[CheckName(name=one.name, what=one.what) for one in CHECKS.values()])


@chore
async def doctor_check(house: House, ask: CheckAsk) -> Finding:
    """Do one check. What breaks in it is a finding too."""
    check = CHECKS.get(ask.name)
    if check is None:
        raise NotFound(f"There is no check {ask.name!r}; there are {', '.join(CHECKS)}.")
    try:
        return await check.do(house, ask.fix)
    except Problem as problem:
        return Finding(name=ask.name, state="failed", detail=problem.detail)
    except Exception as error:  # a check must tell what is wrong, not fail of it
        return Finding(name=ask.name, state="failed", detail=f"{type(error).__name__}: {error}")


async def _library(house: House, fix: bool) -> Finding:
    version = house.database.library_version
    if house.database.engine == "sqlite":
        from mdserver.store.sqlite import corrupts_wal

        if corrupts_wal():
            return Finding(
                name="library",
                state="warning",
                detail=f"{version} can corrupt a database that two programs write at once: install pysqlite3, and let "
                "nothing but mdserver open the file.",
            )
    return Finding(name="library", state="ok", detail=version)


async def _contents(house: House, fix: bool) -> Finding:
    report = await house.database.read(verify)
    missing = [one async for one in _lacking(house)]
    told, count = [*report.told, *missing], report.mismatches + len(missing)
    if count:
        detail = f"Mismatches: {count:,}. Restore a backup, or ask for help before you change more."
        return Finding(name="contents", state="failed", detail=detail, told=told)
    if closed := await house.database.read(quarantine.closed):
        detail = (
            f"Documents closed, since they brought the server down: {len(closed):,}. Their last texts can be read;"
            " each start tries them again, so an upgrade may open them."
        )
        return Finding(name="contents", state="warning", detail=detail, told=[f"document {one}" for one in closed])
    return Finding(
        name="contents",
        state="ok",
        detail=f"{report.documents:,} documents agree with their logs, {report.versions:,} versions have their texts.",
    )


async def _lacking(house: House) -> AsyncIterator[str]:
    """Files that a row names and the blob store has not."""
    from mdserver.backup.contents import ALL

    blobs = LocalBlobs(DataDirectory(house.config.server.data).blobs)
    for table, column in ALL.blobs:
        sql = f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL"  # noqa: S608 (our own names)
        for name in await house.database.read(lambda db, sql=sql: db.column(str, sql)):  # type: ignore[misc]
            if await blobs.find(name) is None:
                yield f"{table}: the file {name} is not there"


async def _index(house: House, fix: bool) -> Finding:
    try:
        told = await house.database.read(search.verify)
    except Problem:
        raise
    except Exception as error:  # FTS5 says that its structure is broken by an error of its own
        told = [str(error)]
    if not told:
        return Finding(name="search", state="ok", detail="The search index holds what the documents hold.")
    if not fix:
        detail = "The search index is not right; --fix has it made anew from the documents."
        return Finding(name="search", state="failed", detail=detail, told=told)
    await search.rebuild(house.database)
    return Finding(
        name="search",
        state="ok",
        detail="The search index is made anew by the server, searches look directly until then.",
        told=told,
        fixed=["the search index was thrown away, to be made anew"],
    )


async def _permissions(house: House, fix: bool) -> Finding:
    return await asyncio.to_thread(_look_at_files, DataDirectory(house.config.server.data), fix)


def _look_at_files(directory: DataDirectory, fix: bool) -> Finding:
    told, fixed = [], []
    for path in (directory.path, *sorted(directory.path.rglob("*"))):
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue  # of the moment
        if stat.S_ISLNK(found.st_mode) or stat.S_ISSOCK(found.st_mode):
            continue
        if found.st_uid != os.geteuid():
            told.append(f"{path} belongs to another user")
        elif found.st_mode & 0o077:
            if fix:
                path.chmod(found.st_mode & 0o700)
                fixed.append(f"{path} is for its owner alone now")
            else:
                told.append(f"{path} is open to others")
    if told:
        detail = "Others may read or change the server's data; --fix closes it to them."
        return Finding(name="permissions", state="failed", detail=detail, told=told[:100], fixed=fixed)
    return Finding(name="permissions", state="ok", detail=f"{directory.path} is private.", fixed=fixed)


async def _disk(house: House, fix: bool) -> Finding:
    directory = DataDirectory(house.config.server.data)
    usage = await asyncio.to_thread(shutil.disk_usage, directory.path)
    size = directory.database.stat().st_size if directory.database.exists() else 0
    wanted = max(LEAST_FREE, size)
    told = f"{usage.free >> 20:,} MiB are free where {directory.path} is"
    if usage.free < wanted:
        more = f"{told}: less than {wanted >> 20:,} MiB, which an upgrade's copy of the database may need."
        return Finding(name="disk", state="warning" if usage.free > LEAST_FREE else "failed", detail=more)
    return Finding(name="disk", state="ok", detail=f"{told}.")


async def _clock(house: House, fix: bool) -> Finding:
    def newest(db: Reader) -> int:
        return max(
            db.value(int, "SELECT max(at) FROM audit") or 0, db.value(int, "SELECT max(updated_at) FROM documents") or 0
        )

    written, now = await house.database.read(newest), clock.now()
    if written > now + DRIFT:
        return Finding(
            name="clock",
            state="failed",
            detail=f"This machine's clock says {clock.rfc3339(now)}, but something was written at "
            f"{clock.rfc3339(written)}: set it right (timedatectl set-ntp true).",
        )
    return Finding(name="clock", state="ok", detail=f"It is {clock.rfc3339(now)}.")


async def _configuration(house: House, fix: bool) -> Finding:
    server, told = house.config.server, []
    public = server.public_url
    if public.startswith("http:") and "localhost" not in public and "127.0.0.1" not in public:
        told.append("server.public_url is not https: passwords and notes travel in the open.")
    if public.startswith("https:") and not server.trusted_proxies:
        told.append("server.trusted_proxies is empty: limits count all people behind the proxy as one.")
    if not house.config.mail.host:
        told.append("No mail server is configured: resets and invitations are links that you pass on yourself.")
    if not house.config.rates.enabled:
        told.append("rates.enabled is false: nothing slows down who guesses passwords.")
    if house.config.backup.schedule is None:
        told.append("backup.schedule is off: nobody makes backups unless you do.")
    if told:
        return Finding(name="configuration", state="warning", detail="What you may want to change:", told=told)
    return Finding(name="configuration", state="ok", detail="Nothing to say against it.")


async def _jobs(house: House, fix: bool) -> Finding:
    now = clock.now()
    told = [
        f"{one.name} failed and is tried again right now" if one.is_running(now) else f"{one.name} failed: {one.error}"
        for one in await house.timetable.failing()
    ]
    if told:
        return Finding(name="jobs", state="failed", detail="Background jobs fail.", told=told)
    return Finding(name="jobs", state="ok", detail=f"{len(house.timetable.jobs)} background jobs, none failing.")


async def _mail(house: House, fix: bool) -> Finding:
    from mdserver.app import mailer_of
    from mdserver.mail import MailError

    mailer, mail = mailer_of(house.config), house.config.mail
    if mailer is None:
        return Finding(name="mail", state="skipped", detail="No mail server is configured.")
    try:
        await mailer.check()
    except MailError as error:
        return Finding(name="mail", state="failed", detail=str(error))
    return Finding(name="mail", state="ok", detail=f"{mail.host}:{mail.port} takes mail from {mail.sender}.")


async def _public(house: House, fix: bool) -> Finding:
    """Through the proxy, as a stranger would: is it this very server, on time, with the ETags that it gives?"""
    public = house.config.server.public_url
    if not public:
        return Finding(name="public-url", state="skipped", detail="server.public_url is not set.")
    import aiohttp

    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE)) as client:
            async with client.get(f"{public}/version", allow_redirects=False) as answer:
                run = _run_of(await answer.content.read(_LONGEST_VERSION))
                date, wrong = answer.headers.get("Date", ""), _no_mdserver(public, answer.status, run)
            if not house.run:
                return _while_stopped(public, run)
            if wrong or run != house.run:
                wrong = wrong or f"Another mdserver answers at {public}, not this one: see where the proxy leads to."
                return Finding(name="public-url", state="failed", detail=wrong)
            told = [*_late(date), *[one async for one in _etags(client, public)]]
    except (aiohttp.ClientError, TimeoutError) as error:
        if not house.run:
            return _while_stopped(public, None)
        detail = f"{public} cannot be reached from here: {_why(error)}."
        return Finding(name="public-url", state="failed", detail=detail)
    if told:
        return Finding(name="public-url", state="warning", detail=f"{public} answers, but:", told=told)
    return Finding(name="public-url", state="ok", detail=f"{public} leads to this server.")


def _no_mdserver(public: str, status: int, run: str | None) -> str:
    """The sentence for what answers and is no mdserver; empty when it is one."""
    if status == 200 and run is not None:
        return ""
    return f"{public}/version answers {status}, and not as mdserver does."


def _while_stopped(public: str, run: str | None) -> Finding:
    """What can be said while no server runs on the data directory."""
    if run is not None:
        detail = f"The server does not run, but another mdserver answers at {public}."
        return Finding(name="public-url", state="failed", detail=detail)
    detail = f"The server does not run: start it to see whether {public} leads to it."
    return Finding(name="public-url", state="skipped", detail=detail)


def _run_of(body: bytes) -> str | None:
    """Which run of mdserver answered `/version` so; None when it was none."""
    try:
        found = msgspec.json.decode(body, type=Program)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found.run if found.name == "mdserver" else None


def _late(date: str) -> Iterator[str]:
    try:
        there = parsedate_to_datetime(date).timestamp() * 1000
    except ValueError:
        return
    if abs(there - clock.now()) > DRIFT:
        yield "The proxy's clock is minutes away from this one."


async def _etags(client: aiohttp.ClientSession, public: str) -> AsyncIterator[str]:
    place = f"{public}/api/v1/openapi.json"
    async with client.get(place) as answer:
        tag = answer.headers.get("ETag")
    if tag is None:
        yield "The proxy removes ETags: clients cannot save, and load all anew."
        return
    async with client.get(place, headers={"If-None-Match": tag}) as answer:
        if answer.status != 304:
            yield "The proxy changes ETags beyond what is understood: clients will load all anew."


def _why(error: Exception) -> str:
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(getattr(error.certificate_error, "verify_message", error.certificate_error))
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error)
    if isinstance(error, TimeoutError):
        return f"no answer within {PATIENCE:g} s"
    return str(error) or type(error).__name__


CHECKS = {
    one.name: one
    for one in (
        Check("configuration", "Settings that could be better.", _configuration),
        Check("library", "The version of SQLite or PostgreSQL.", _library),
        Check("contents", "Database integrity; every log, text, version and file.", _contents),
        Check("search", "The search index against the documents.", _index),
        Check("permissions", "Who may read the data directory.", _permissions),
        Check("disk", "Free space.", _disk),
        Check("clock", "This machine's clock against what was written.", _clock),
        Check("jobs", "Background jobs that fail.", _jobs),
        Check("mail", "Whether the mail server takes mail.", _mail),
        Check("public-url", "The server as the world sees it, through the proxy.", _public),
    )
}
