"""`mdserver sync`: a folder of Markdown files and a workspace, kept the same."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from mdserver.client import ApiProblem, Client
from mdserver.folder import home as homes
from mdserver.folder.engine import Engine
from mdserver.folder.live import Live
from mdserver.folder.lock import InUse
from mdserver.folder.pulling import AccessLost
from mdserver.folder.rows import Told
from mdserver.folder.state import Incompatible
from mdserver.folder.telling import Report, quoted, refusals, report_of, said, status_of
from mdserver.store.sqlite import Error as StateError
from mdserver.transfer.source import shown

from .common import Settings, counted, refuse, show
from .common import command as new_command

if TYPE_CHECKING:
    from mdserver.folder.home import Home

T = TypeVar("T")


class Asked(msgspec.Struct, kw_only=True):
    """What stood on the command line."""

    root: Path
    server: str
    workspace: str
    token: str
    device: str
    settings: Any


@new_command("sync", example="mdserver sync ~/notes --server https://notes.example.org --workspace 'Reading group'")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--server", metavar="URL", default="", help="The server's address; needed the first time.")
@click.option("--workspace", metavar="WORKSPACE", default="", help="Which (an id or a name); the first time.")
@click.option("--token-stdin", is_flag=True, help="Read the access token from standard input [or: MDSERVER_TOKEN].")
@click.option(
    "--device", metavar="NAME", default="", help="How this folder is called in conflicts [default: the host]."
)
@click.option("--once", is_flag=True, help="Sync once and end, instead of watching the folder.")
@click.option("--status", is_flag=True, help="Say what is not synced, and what is left out; ask nobody.")
@click.option("--conflicts", is_flag=True, help="List passages that were rewritten on both sides.")
@click.option("--settle", metavar="ID", default="", help="Say that a conflict has been looked at.")
@click.option("--dry-run", is_flag=True, help="Show what would happen, and change nothing on either side.")
def command(
    settings: Settings,
    directory: Path,
    server: str,
    workspace: str,
    token_stdin: bool,
    device: str,
    once: bool,
    status: bool,
    conflicts: bool,
    settle: str,
    dry_run: bool,
) -> None:
    """Keep a folder of Markdown files and a workspace of a server the same.

    Any editor can work on the files, also without a network; what both sides wrote is merged. The first time the
    server and an access token are needed, and the workspace where the token sees several. Without --once it goes on
    until it is stopped, and stopping it at any moment loses nothing.

    Files keep their bytes. Left out are hidden files, links, what is no Markdown in UTF-8, and what .mdserverignore
    names. The client keeps what it knows in .mdserver in the folder.
    """
    if sum((once, status, conflicts, bool(settle), dry_run)) > 1:
        refuse("Say one of --once, --status, --conflicts, --settle and --dry-run.", status=2)
    asked = Asked(
        root=directory.resolve(),
        server=server,
        workspace=workspace,
        token=_token(from_stdin=token_stdin),
        device=device,
        settings=settings,
    )
    if (status or conflicts or settle) and not homes.is_set_up(asked.root):
        refuse(f"{directory} was not synced yet: name the server with --server.")
    try:
        if status:
            _status(asked)
        elif conflicts or settle:
            _run(_conflicts(asked, settle))
        elif dry_run:
            _run(_rehearse(asked))
        elif once:
            _run(_once(asked))
        else:
            _run(_live(asked))
    except (homes.NotSetUp, InUse, AccessLost, Incompatible) as error:
        refuse(str(error))
    except ApiProblem as problem:
        refuse(problem.detail)
    except StateError as error:
        refuse(f"What is known of the folder could not be read or written: {error}.")


def _token(*, from_stdin: bool) -> str:
    """The token that was given now, which is kept; empty: the one that was kept."""
    import os

    if not from_stdin:
        return os.environ.get("MDSERVER_TOKEN", "").strip()
    token = sys.stdin.readline().strip()
    if not token:
        refuse("There is no token on standard input.", status=2)
    return token


def _run(work: Coroutine[Any, Any, T]) -> T | None:
    """Run until done, or until the process is told to stop, which is no failure."""

    async def stoppable() -> T | None:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        if sys.platform != "win32":
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            click.echo("Stopped. Nothing is lost: the next run goes on from here.", err=True)
            return None

    try:
        return asyncio.run(stoppable())
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    except KeyboardInterrupt:
        return None


async def _once(asked: Asked) -> None:
    told: list[Told] = []
    with homes.opened(asked.root, token=asked.token) as home:
        await _set_up(home, asked)
        with ExitStack() as bars:
            tick = _bars(bars)
            async with _client(home) as client:
                engine = Engine(home.state, home.disk, client, tell=told.append, tick=tick)
                await engine.settle()
        report = report_of(home.state, engine, told)
    _show(asked, report)
    if report.problems or report.refused:
        count = len(report.problems) + len(report.refused)
        refuse(f"{counted(count, 'path')} could not be synced.")


async def _live(asked: Asked) -> None:
    with homes.opened(asked.root, token=asked.token) as home:
        await _set_up(home, asked)

        def tell(one: Told) -> None:
            if asked.settings.as_json:
                click.echo(msgspec.json.encode(one))
            else:
                click.echo(said(one))

        if not asked.settings.as_json:
            click.echo(f"Keeping {shown([str(asked.root)])} and “{home.state.fact('workspace_name')}” the same.")
        async with _client(home, attempts=2) as client:
            engine = Engine(home.state, home.disk, client, tell=tell)
            await Live(engine, client, workspace_id=home.state.fact("workspace_id"), tell=tell).run()


async def _rehearse(asked: Asked) -> None:
    told: list[Told] = []
    with homes.rehearsed(asked.root, token=asked.token) as home:
        await _set_up(home, asked)
        async with _client(home) as client:
            engine = Engine(home.state, home.disk, client, tell=told.append)
            wishes = await engine.rehearse()
        report = report_of(home.state, engine, told, wishes=wishes)
    _show(asked, report)


async def _conflicts(asked: Asked, settle: str) -> None:
    with homes.opened(asked.root, token=asked.token) as home:
        async with _client(home) as client:
            if settle:
                with home.state.transaction():
                    is_ours = any(one.id == settle for one in home.state.clashes())
                    home.state.drop_clash(settle)
                try:
                    await client.settle(settle)
                except ApiProblem as problem:
                    if problem.status != 404 or not is_ours:
                        raise
                show(asked.settings, {"settled": settle}, "The conflict is settled.")
                return
            found = await client.conflicts(workspace=home.state.fact("workspace_id"))
        known = {one.id for one in found}
        ours = [one for one in home.state.clashes() if one.id not in known]
    lines: list[str] = []
    for record in found:
        lines.append(f"{shown([record.path])}  ({record.id})")
        for one in record.overlaps:
            lines += [f"  theirs: {quoted(one.theirs)}", f"  yours:  {quoted(one.yours)}"]
    for clash in ours:
        lines.append(f"{shown([clash.path])}  ({clash.id})")
        for yours, theirs in zip(clash.yours, clash.theirs, strict=True):
            lines += [f"  theirs: {quoted(theirs)}", f"  yours:  {quoted(yours)}"]
    value = {"server": found, "here": ours}
    show(asked.settings, value, *(lines or ["There are no conflicts."]))


def _status(asked: Asked) -> None:
    with homes.rehearsed(asked.root) as home:
        value, lines = status_of(home.state, home.disk)
    show(asked.settings, value, *lines)


def _show(asked: Asked, report: Report) -> None:
    lines = [said(one) for one in report.happened]
    would = [f"{shown([one])} would be sent" for one in report.would_push]
    problems = [f"{shown([path])} {why}" for path, why in report.problems.items()]
    left = [f"{shown([path])} {why}" for path, why in report.left_out.items()]
    refused = refusals(report.refused)
    ending = [] if lines or would or problems or refused else ["Nothing was to be done."]
    if left:
        ending += ["", "Left out:", *(f"  {one}" for one in left)]
    if problems or refused:
        ending += ["", "Not synced:", *(f"  {one}" for one in (*problems, *refused))]
    show(asked.settings, report, *lines, *would, *ending)


async def _set_up(home: Home, asked: Asked) -> None:
    await homes.set_up(home, server=asked.server, workspace=asked.workspace, device=asked.device)


def _client(home: Home, *, attempts: int = 5) -> Client:
    state = home.state
    return Client(state.fact("server"), home.token, device_id=state.fact("device"), attempts=attempts)


def _bars(bars: ExitStack) -> Any:
    """A line on a terminal that counts while the first sync takes its time."""
    if not sys.stderr.isatty():
        return lambda stage, steps: None
    counts: dict[str, int] = {}

    def wipe() -> None:
        if counts:
            click.echo("\r\x1b[K", nl=False, err=True)

    def tick(stage: str, steps: int) -> None:
        counts[stage] = counts.get(stage, 0) + steps
        click.echo(f"\r{stage.capitalize()} {counts[stage]:,}\x1b[K", nl=False, err=True)

    bars.callback(wipe)
    return tick
