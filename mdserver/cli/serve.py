"""`mdserver serve`: lock, bind, migrate, listen, and stop when told to."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import faulthandler
import gc
import json
import logging
import os
import shlex
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from mdserver import __version__

from .common import Settings, refuse
from .common import command as new_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from mdserver.chores.chore import House
    from mdserver.config import Address, Config
    from mdserver.store.datadir import DataDirectory
    from mdserver.store.db import Database
    from mdserver.supervisor import Supervisor
    from mdserver.web.setup import SetupCode

log = logging.getLogger("mdserver")

BACKLOG = 1024
PATIENCE = 5.0


@new_command("serve", example="mdserver serve --data /srv/notes --listen 127.0.0.1:8000")
@click.option(
    "--listen", metavar="HOST:PORT", help="Where to listen [default: 127.0.0.1:8000]; port 0 takes a free one."
)
def command(settings: Settings, listen: str | None) -> None:
    """Start the server.

    Creates what is missing in the data directory and brings the database up to date. While there is no account, it
    prints a link with which the first one is made. Stops on SIGTERM and Ctrl-C once open requests are finished.
    """
    from mdserver import authorities, logs

    gc.disable()  # while loading there is no garbage; app.py enables it when all is there
    with authorities.deferred():
        from mdserver.app import wants_json
    from mdserver.store.datadir import DataDirectory
    from mdserver.supervisor import Supervisor

    config = settings.load(server__listen=listen)
    os.umask(0o077)
    logs.set_up(level=config.log.level, as_json=wants_json(config))
    directory = DataDirectory(config.server.data)
    directory.prepare()
    supervisor = Supervisor.named(os.environ)
    if supervisor.watches:
        faulthandler.enable()  # it ends a stuck server with SIGABRT: say where it was stuck
    _lock(directory)
    try:
        with (
            contextlib.closing(supervisor),
            bound(config.server.listen) as sockets,
            asyncio.Runner(loop_factory=_loop_factory(config)) as runner,
        ):
            runner.run(_serve(settings, config, directory, sockets, supervisor))
    finally:
        directory.unlock()


def _program() -> str:
    """How the reader calls this program: by its name where a shell finds it, else by where it is."""
    if shutil.which("mdserver"):
        return "mdserver"
    if shutil.which(sys.argv[0]):
        return shlex.quote(sys.argv[0])
    return f"{shlex.quote(sys.executable)} -m mdserver"


def _lock(directory: DataDirectory) -> None:
    """Take the data directory; another command that is at work in it gets a moment to finish. InUse otherwise."""
    from mdserver.store.datadir import InUse

    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            return directory.lock()
        except InUse:
            running = directory.running()
            if running is not None and running.control:
                refuse(f"A server runs on {directory.path} already: {running.address}/ (process {running.pid}).")
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)


@contextlib.contextmanager
def bound(address: Address) -> Iterator[list[socket.socket]]:
    """Listening sockets on every address of the host, all on one port. What connects, waits for the server."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):  # the latter for what cannot be a name at all, such as "a..b"
        refuse(f"The host {address.host!r} in --listen is not known here.")
    port, made = address.port, list[socket.socket]()
    try:
        for family, _, _, _, place in dict.fromkeys(found):
            one = socket.socket(family)
            made.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                one.bind((place[0], port, *place[2:]))
                one.listen(BACKLOG)
            except OSError as error:
                refuse(_why_not(address, error))
            one.setblocking(False)
            port = one.getsockname()[1]
        yield made
    finally:
        for one in made:
            one.close()


def _why_not(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"The address {address} is taken by another program: stop that, or choose another with --listen."
    if error.errno == errno.EACCES:
        return f"This user may not listen on {address}: choose a port from 1024 on with --listen."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"The address {address} is not one of this machine's: choose another with --listen."
    return f"The server cannot listen on {address}: {error.strerror}."


def _loop_factory(config: Config) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if config.server.event_loop == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        if config.server.event_loop == "uvloop":
            refuse("The configuration asks for uvloop (server.event_loop), which is not installed.")
        return None
    return uvloop.new_event_loop


async def _serve(
    settings: Settings,
    config: Config,
    directory: DataDirectory,
    sockets: list[socket.socket],
    supervisor: Supervisor,
) -> None:
    from aiohttp import web

    from mdserver.app import create_app, open_database, run_app
    from mdserver.chores.control import listening
    from mdserver.store.datadir import Running

    stop = _told_to_stop()
    url = config.server.url(sockets[0].getsockname()[1])
    database, applied, copy = await open_database(config, directory)
    try:
        _warn(database)
        if applied:
            names = ", ".join(f"{one.number:04d}_{one.name}" for one in applied)
            log.info("the database has a new schema: %s%s", names, f"; the copy from before is {copy}" if copy else "")
        setup = await _setup_code(database, directory)
        app = create_app(config, database, url=url, setup=setup, marks=directory.marks)
        control = directory.control_socket()
        async with listening(_house(config, app, url), control):
            directory.tell(Running(pid=os.getpid(), control=str(control), address=url))
            _greet(settings, url, setup, directory)
            await run_app(
                app,
                lambda runner: [web.SockSite(runner, one) for one in sockets],
                config,
                stop,
                supervisor=supervisor,
            )
    finally:
        await database.close()
        directory.setup_code.unlink(missing_ok=True)


def _told_to_stop() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; a second one ends the process at once."""
    stop, loop, numbers = asyncio.Event(), asyncio.get_running_loop(), (signal.SIGTERM, signal.SIGINT)

    def told() -> None:
        stop.set()
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, told)
    return stop


def _warn(database: Database) -> None:
    if database.engine == "sqlite":
        from mdserver.store.sqlite import corrupts_wal

        if corrupts_wal():
            log.warning(
                "%s can corrupt a database that two programs write at the same moment: let nothing but mdserver open "
                "it, or install the package pysqlite3",
                database.library_version,
            )


async def _setup_code(database: Database, directory: DataDirectory) -> SetupCode:
    """A fresh code while there is no account."""
    from mdserver.model import users
    from mdserver.web.setup import SetupCode

    if await database.read(users.exist):
        directory.setup_code.unlink(missing_ok=True)
        return SetupCode.none()
    return SetupCode.new(directory.setup_code)


def _house(config: Config, app: web.Application, url: str) -> House:
    """What chores use while the server runs: its own parts."""
    from mdserver.app import TIMETABLE
    from mdserver.chores.chore import House
    from mdserver.web import accounts, api, documents, edge
    from mdserver.web.setup import SETUP

    return House(
        config=config,
        database=app[api.DB],
        door=app[documents.DOOR],
        passwords=app[accounts.PASSWORDS],
        timetable=app[TIMETABLE],
        url=url,
        run=edge.RUN,
        has_accounts=app[SETUP].end,
    )


def _greet(settings: Settings, url: str, setup: SetupCode, directory: DataDirectory) -> None:
    """Tell whoever started the server where it is, and how to make the first account."""
    link = f"{url}/setup#code={setup.code}" if setup.code else None
    if settings.as_json:
        line = {"url": url, "setup_link": link, "data": str(directory.path), "version": __version__}
        click.echo(json.dumps(line, ensure_ascii=False))
        return
    click.echo(f"mdserver {__version__} is at {url}/ with its data in {directory.path}")
    if link:
        click.echo(
            "\nThere is no account yet. Make the first one, the administrator, with this link (for 30 minutes):\n\n"
            f"    {link}\n\nor on the command line:\n\n"
            f"    {_program()} --data {shlex.quote(str(directory.path))} user create you@example.org --admin\n"
        )
