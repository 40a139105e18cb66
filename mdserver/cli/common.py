"""What every command shares: its options, how failures are told, how results are shown, asking before destroying."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

if TYPE_CHECKING:
    from mdserver.chores.chore import Chore
    from mdserver.chores.reach import Run
    from mdserver.chores.users import Page
    from mdserver.config import Config

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class Settings:
    """What was said about data directory, configuration and output; what stands after the command is stronger."""

    def __init__(self, *, data: Path | None = None, config: Path | None = None, as_json: bool = False) -> None:
        self.data, self.config, self.as_json = data, config, as_json

    def merged(self, *, data: Path | None, config: Path | None, as_json: bool) -> Settings:
        return Settings(data=data or self.data, config=config or self.config, as_json=as_json or self.as_json)

    def load(self, **overrides: Any) -> Config:
        """The configuration. ConfigError names every mistake."""
        from mdserver.config import load

        given = {"server.data": self.data, **{name.replace("__", "."): value for name, value in overrides.items()}}
        return load(self.config, environment=os.environ, overrides=given)

    @contextmanager
    def reaching(self, *, there: bool = False) -> Iterator[Run]:
        """A way to have chores done, by the running server or in this process.

        With `there`, only where a server keeps data already: elsewhere a new place would be made, where all is well.
        """
        from mdserver.chores.reach import reaching
        from mdserver.store.datadir import DataDirectory

        config = self.load()
        directory = DataDirectory(config.server.data)
        if there and not (config.database.url or directory.database.exists() or directory.running()):
            refuse(f"There is no data in {directory.path}: name the server's data directory with --data.")
        with reaching(config) as run:
            yield run


class Refusal(click.ClickException):
    """What was asked for could not be done."""

    exit_code = 1


class Misuse(click.ClickException):
    """It was asked for in a way that cannot be meant."""

    exit_code = 2


class Sorted(click.Group):
    """A group whose commands fail with one sentence and a status: 1 for what could not be done, 2 for wrong usage."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        if ctx.parent is not None:
            return super().invoke(ctx)
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, KeyboardInterrupt):
            raise
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            raise Refusal(sentence(error)) from error


def sentence(error: Exception) -> str:
    """What a failure means, for a person."""
    from mdserver.config import ConfigError
    from mdserver.errors import Problem
    from mdserver.store.datadir import InUse
    from mdserver.store.db import Unusable

    if isinstance(error, Problem):
        return error.detail
    if isinstance(error, ConfigError):
        count = len(error.mistakes)
        return f"the configuration has {count} mistake{'s' if count > 1 else ''}:\n{error}"
    if isinstance(error, InUse | Unusable):
        return str(error)
    if isinstance(error, OSError):
        return ": ".join(str(part) for part in (error.strerror or error, error.filename) if part)
    return f"Something unexpected broke ({type(error).__name__}: {error}). “mdserver --debug …” shows where."


def data_and_config(function: F) -> F:
    """The options that stand before or after any command."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
        click.option(
            "--config",
            metavar="FILE",
            envvar="MDSERVER_CONFIG",
            type=click.Path(path_type=Path),
            help="Configuration file.",
        ),
        click.option(
            "--data", metavar="DIR", type=click.Path(path_type=Path), help="Data directory [default: ./data]."
        ),
    ):
        function = option(function)
    return function


def command(
    name: str, *, example: str, into: click.Group | None = None
) -> Callable[[Callable[..., Any]], click.Command]:
    """A command with the common options; its function gets the Settings first."""

    def register(function: Callable[..., Any]) -> click.Command:
        @functools.wraps(function)
        def call(*arguments: Any, data: Path | None, config: Path | None, as_json: bool, **options: Any) -> Any:
            outer = click.get_current_context().find_object(Settings) or Settings()
            return function(outer.merged(data=data, config=config, as_json=as_json), *arguments, **options)

        made = click.command(name, epilog=f"Example: {example}")(data_and_config(call))
        if into is not None:
            into.add_command(made)
        return made

    return register


def group(name: str, sentence: str) -> click.Group:
    """A noun whose verbs are commands."""
    return Sorted(name, help=sentence)


def show(settings: Settings, value: Any, *lines: str) -> None:
    """The result: the value as JSON when that was asked for, else the lines."""
    if settings.as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
    else:
        for line in lines:
            click.echo(line)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of columns, as wide as they need to be."""
    all_rows = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[at]) for row in all_rows) for at in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in all_rows]


def pages(run: Run, chore: Chore[Page, Any]) -> Iterator[Any]:
    """Everything that a chore lists, page by page."""
    from mdserver.chores.users import Page

    after = ""
    while found := run(chore, Page(after=after)).items:
        yield from found
        after = found[-1].id


def counted(count: int, noun: str, several: str = "") -> str:
    """`1 document`, `2 documents`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {several or noun + 's'}"


def size(count: int) -> str:
    """Bytes as people read them."""
    amount, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while amount >= 1024 and len(units) > 1:
        amount /= 1024
        del units[0]
    return f"{count} B" if units[0] == "B" else f"{amount:.1f} {units[0]}"


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is destroyed; without a terminal only --yes is an answer."""
    if yes:
        return
    if not sys.stdin.isatty():
        refuse(f"{question} There is no terminal to ask: say --yes if you mean it.", status=2)
    click.confirm(question, abort=True, err=True)


def password(*, from_stdin: bool, required: bool = False) -> str | None:
    """A password: one line of standard input, or asked for twice on a terminal; None where nobody can be asked."""
    if from_stdin:
        line = sys.stdin.buffer.readline().decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
        if not line:
            refuse("There is no password on standard input.", status=2)
        return line
    if sys.stdin.isatty():
        text: str = click.prompt(
            "Password" if required else "Password (empty: make a link with which it is chosen)",
            hide_input=True,
            default=None if required else "",
            show_default=False,
            err=True,
            confirmation_prompt="Once more" if required else False,
        )
        if text and not required and click.prompt("Once more", hide_input=True, err=True) != text:
            refuse("The two passwords are not the same.", status=1)
        return text or None
    if required:
        refuse("There is no terminal to ask for the password: say --password-stdin.", status=2)
    return None


def refuse(message: str, *, status: int = 1) -> NoReturn:
    """End with one sentence."""
    raise Refusal(message) if status == 1 else Misuse(message)


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error while something long is under way; nothing where that is no terminal."""
    if not sys.stderr.isatty() or total <= 0:
        yield lambda steps: None
        return
    with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
        yield bar.update


@contextmanager
def stages(totals: Mapping[str, int]) -> Iterator[Callable[[str, int], None]]:
    """A bar for each stage of something long, one after the other: told of the stage and of so many more steps."""
    with ExitStack() as bar:
        ticks: dict[str, Callable[[int], None]] = {}

        def tick(stage: str, steps: int) -> None:
            if stage not in ticks:
                bar.close()
                ticks[stage] = bar.enter_context(progress(stage, totals.get(stage, 0)))
            ticks[stage](steps)

        yield tick
