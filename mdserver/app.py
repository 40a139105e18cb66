"""Puts the parts together: from a configuration to an application that can be served. Floor 5; knows everybody."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from . import __version__, authorities, terms
from .collab.bringing import bring
from .collab.rooms import Rooms
from .collab.settling import settle
from .config import Config
from .config import Rate as ConfiguredRate
from .crypto import PROFILES, Passwords, Profile
from .jobs.table import jobs, scheduled_backups
from .jobs.timetable import Timetable
from .model import users
from .model.search import Indexer
from .model.updates import Door
from .store.datadir import DataDirectory
from .store.db import Database
from .store.marker import Marker
from .store.migrate import Migration, migrate_postgres, migrate_sqlite
from .supervisor import Supervisor
from .sync.pushing import Pusher
from .web import (
    accounts,
    api,
    auth,
    contents,
    docs,
    document_parts,
    documents,
    edge,
    events,
    health,
    history,
    invitations,
    letters,
    limits,
    live,
    me,
    metrics,
    pages,
    protocol,
    router,
    search,
    shelf,
    signin,
    sync,
    traffic,
    versions,
    workspaces,
)
from .web.log import REQUEST_LOG, RequestLog
from .web.setup import SETUP, SetupCode

if TYPE_CHECKING:
    from .backup.schedule import Scheduled
    from .figures import Family
    from .mail import Mailer
    from .model.jobs import Record

log = logging.getLogger("mdserver")

CLOSING_SECONDS = 5
"""Beyond server.shutdown_seconds: time for the database to finish what is queued."""

INDEXER: web.AppKey[Indexer] = web.AppKey("indexer", Indexer)
TIMETABLE: web.AppKey[Timetable] = web.AppKey("timetable", Timetable)

ROUTES = (
    auth.routes,
    me.routes,
    workspaces.routes,
    invitations.routes,
    documents.routes,
    document_parts.routes,
    contents.routes,
    versions.routes,
    history.routes,
    live.routes,
    live.parts,
    search.routes,
    sync.routes,
    events.routes,
    docs.routes,
    pages.routes,
    health.routes,
    metrics.routes,
)


async def open_database(config: Config, directory: DataDirectory) -> tuple[Database, list[Migration], Path | None]:
    """The configured engine, migrated: → it, what was applied now, and the copy that was made before.

    SchemaError when the database is newer than this program or a migration fails.
    """
    url = config.database.url.reveal()
    if url:
        from .store.postgres import Postgres  # its libraries cost a start without PostgreSQL a quarter of its time

        postgres = await Postgres.open(url, connections=config.database.connections)
        try:
            await postgres.hold_instance()
            return postgres, await migrate_postgres(postgres), None
        except BaseException:
            await postgres.close()
            raise
    from .store.sqlite import SQLite

    if directory.database.exists():  # first: what may not be written, SQLite opens for reading without a word
        directory.database.chmod(0o600)
    sqlite = await SQLite.open(directory.database, readers=config.database.readers)
    try:
        directory.database.chmod(0o600)
        applied, copy = await migrate_sqlite(sqlite, backups=directory.backups)
    except BaseException:
        await sqlite.close()
        raise
    return sqlite, applied, copy


def create_app(
    config: Config,
    database: Database,
    *,
    url: str | None = None,
    setup: SetupCode | None = None,
    password_profile: Profile | None = None,
    marks: Path | None = None,
    out: Callable[[str], object] | None = None,
) -> web.Application:
    """The application on an open database. `url` is where people reach it, when the configuration cannot know;
    `marks` the file that tells the next process what was under way when this one ended.
    """
    server = config.server
    app = web.Application(
        client_max_size=config.limits.document + config.limits.json_body,
        handler_args={"max_line_size": config.limits.header, "max_field_size": config.limits.header},
    )
    app[api.DB] = database
    app[api.BASE_PATH] = server.base_path
    app[api.PUBLIC_URL] = (url or server.url()).removesuffix(server.base_path)
    app[api.LIMITS] = api.Limits(
        json_body=config.limits.json_body,
        document=config.limits.document,
        body_seconds=config.limits.body_seconds,
        recent_sign_in=config.accounts.recent_sign_in * 1000,
    )
    app[api.RATES] = limits.Rates(_rates(config))
    app[limits.PROXIES] = server.trusted_proxies
    app[edge.ORIGINS] = frozenset(server.cors_origins)
    app[edge.STOPPING] = []
    app[edge.TRAFFIC] = traffic.Traffic()
    app[health.DATA] = server.data
    app[health.NOTICES] = {}
    app[health.CHECKS] = {}
    app[metrics.TOKEN] = config.metrics.token.reveal()
    app[REQUEST_LOG] = RequestLog(config.log.requests, as_json=wants_json(config))
    marker = Marker(marks)
    app[documents.DOOR] = door = Door(database, maximum_bytes=config.limits.document, marker=marker)
    app[shelf.SHELF] = shelf.Shelf(database)
    app[contents.READING] = asyncio.Semaphore(2)
    app[search.SEARCHING] = search.Turns(1)  # more would take the processor from each other
    app[INDEXER] = indexer = Indexer(database)
    app[auth.ACCOUNTS] = config.accounts
    app[SETUP] = setup or SetupCode.none()
    authenticator = signin.Authenticator(database)
    app[signin.SIGNIN] = authenticator
    app[api.AUTHENTICATE] = authenticator
    app[live.LIVE] = sockets = live.Live(
        database,
        Rooms(database, door=door, maximum_bytes=config.limits.document, marker=marker),
        authenticator,
        live.Limits(
            frame=config.limits.frame,
            document=config.limits.document,
            second=config.limits.frames_second,
            burst=config.limits.frames_burst,
            documents=config.limits.socket_documents,
        ),
        user_sockets=config.limits.user_sockets,
    )
    app[events.EVENTS] = streams = events.Events(database, sockets)
    app[sync.PUSHER] = Pusher(database, door, live=partial(bring, sockets.rooms))
    passwords = Passwords(password_profile or PROFILES[config.accounts.password_hashing])
    app[auth.PASSWORDS] = passwords
    app[auth.MAILER] = None
    backups = scheduled_backups(config, database)
    alarm = partial(_tell_administrators, app) if config.mail.host else None
    app[TIMETABLE] = timetable = Timetable(database, jobs(config, database, backups, alarm=alarm))
    sources: list[metrics.Source] = [timetable.figures, indexer.figures, sockets.rooms.figures, sockets.figures]
    sources.append(streams.figures)
    app[metrics.SOURCES] = sources
    if backups is not None:
        _tell_of_backups(app, backups)

    async def hashing(_: web.Application) -> AsyncIterator[None]:
        yield
        passwords.close()

    async def mailing(app: web.Application) -> AsyncIterator[None]:
        mailer = mailer_of(config)
        if mailer is None:
            yield
            return
        app[auth.MAILER] = mailer
        yield
        await mailer.close()

    async def noting(app: web.Application) -> AsyncIterator[None]:
        await accounts.recall(app)
        if backups is not None:
            await backups.look()
        yield
        app[REQUEST_LOG].flush()
        await authenticator.close()  # mails being written and notes of use; before what they need is closed

    async def indexing(_: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(indexer.run())
        yield
        task.cancel()
        await asyncio.wait([task])

    async def editing(app: web.Application) -> AsyncIterator[None]:
        await sockets.rooms.prepare()
        await settle(database, marker)
        tasks = [asyncio.create_task(sockets.rooms.run()), asyncio.create_task(sockets.run())]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await sockets.rooms.close()

    async def parting(_: web.Application) -> None:
        streams.close()
        await sockets.close()

    async def keeping_time(_: web.Application) -> AsyncIterator[None]:
        keeping = asyncio.create_task(timetable.keep()) if config.jobs.enabled else None
        yield
        await timetable.close()
        if keeping is not None:
            await keeping

    app.cleanup_ctx.extend([hashing, mailing, noting, indexing, keeping_time, editing])
    app.on_shutdown.append(parting)
    app[health.CHECKS]["live"] = sockets.rooms.state
    pages.mount(app)
    live.mount(app)
    events.mount(app)
    router.mount(app, [route for resource in ROUTES for route in resource.all])
    return app


def _tell_of_backups(app: web.Application, backups: Scheduled) -> None:
    async def record() -> Record | None:
        return (await app[TIMETABLE].records()).get("backup")

    async def state() -> str:
        return backups.state(await record())

    async def figures() -> list[Family]:
        return backups.figures(await record())

    app[health.NOTICES]["backup"] = state
    app[metrics.SOURCES].append(figures)


async def _tell_administrators(app: web.Application, why: str | None) -> None:
    """Write to them that the scheduled backup fails, or (None) that it works again."""
    from .mail import MailError

    for to in await app[api.DB].read(users.administrators):
        try:
            await (letters.backup_works(app, to) if why is None else letters.backup_fails(app, to, why))
        except MailError as error:  # of one address: the others are told all the same
            log.error("an administrator cannot be told of the backup: %s", error.brief)


def wants_json(config: Config) -> bool:
    """Whether log lines are JSON: as configured, or when nobody looks at a terminal."""
    return config.log.format == "json" or (config.log.format == "auto" and not sys.stderr.isatty())


def _rates(config: Config) -> dict[str, limits.Rate]:
    rates = config.rates
    if not rates.enabled:
        return {}
    given: dict[str, ConfiguredRate | None] = {
        "sign-in-account": rates.sign_in_account,
        "sign-in-address": rates.sign_in_address,
        "account-mail": rates.account_mail,
        "writes": rates.writes,
        "reads": rates.reads,
        "search": rates.search,
        "sockets": rates.sockets,
    }
    made = {name: limits.Rate(rate.amount, rate.seconds) for name, rate in given.items() if rate is not None}
    if rates.sockets is not None:  # of an address, before it is told whose they are
        made["strangers"] = limits.Rate(live.STRANGERS * rates.sockets.amount, rates.sockets.seconds)
    return made


def mailer_of(config: Config) -> Mailer | None:
    """What sends mail as the configuration says, if it says so."""
    mail = config.mail
    if not mail.host:
        return None
    from .mail import Mailer  # the e-mail package costs a start without mail a tenth of its time

    return Mailer(
        mail.host,
        mail.port,
        security=mail.security,
        sender=mail.sender,
        username=mail.username,
        password=mail.password.reveal(),
        timeout=mail.timeout,
    )


def _warm() -> None:
    """Load, beside the first requests, what the first edit, sign-in and search would wait for."""
    try:
        authorities.load()
        import argon2  # noqa: F401 (loading is all that is wanted)
        import pycrdt  # noqa: F401
        import rapidfuzz.distance  # noqa: F401

        terms.tokens("ä")  # compiles patterns over wide ranges
    finally:
        gc.set_threshold(10_000)  # at 700, a search or a batch of edits is looked through many times while it lives
        gc.freeze()  # what is loaded stays: looking through it held all requests up for 30 ms, in each full collection
        gc.enable()  # `mdserver serve` disables it


async def run_app(
    app: web.Application,
    sites: Callable[[web.AppRunner], list[web.BaseSite]],
    config: Config,
    stop: asyncio.Event,
    *,
    supervisor: Supervisor,
) -> None:
    """Serve until `stop` is set, then finish what is under way and close everything within the configured time."""
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        keepalive_timeout=config.limits.keep_alive,
        shutdown_timeout=max(1.0, (config.server.shutdown_seconds - 5.0) / 2),  # aiohttp waits it twice
    )
    await runner.setup()
    assert runner.server is not None
    protocol.install(runner.server, app)
    try:
        for site in sites(runner):
            await site.start()
        asyncio.get_running_loop().run_in_executor(None, _warm)
        log.info("mdserver %s is listening on %s", __version__, app[api.PUBLIC_URL] + app[api.BASE_PATH])
        supervisor.ready()
        await stop.wait()
        app[edge.STOPPING].append(True)
        supervisor.stopping(config.server.shutdown_seconds + CLOSING_SECONDS)
        log.info("stopping: no new requests, those under way are finished")
    finally:
        try:
            async with asyncio.timeout(config.server.shutdown_seconds):
                await runner.cleanup()
        except TimeoutError:
            log.warning("not everything was closed within %s seconds", config.server.shutdown_seconds)
