"""The command line: start the server, look after what is in it. Commands are loaded when they are called."""

from __future__ import annotations

import importlib
import io
import sys
from pathlib import Path
from typing import Any

import click

from mdserver import __version__

from .common import Settings, Sorted, data_and_config

# name → (module, one sentence for --help): a command's own libraries are not loaded to list it.
COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("serve", "Start the server."),
    "init": ("init", "Create the data directory, and the first administrator when asked to."),
    "check-config": ("check_config", "Check the configuration and report every mistake at once."),
    "migrate": ("migrate", "Bring the database up to this version's schema, after a copy of it."),
    "user": ("user", "Create, list and change accounts."),
    "workspace": ("workspace", "Create, list and delete workspaces, and manage their members."),
    "token": ("token", "Make, list and revoke personal access tokens."),
    "import": ("importing", "Bring a folder or zip archive of Markdown files into a workspace."),
    "export": ("exporting", "Write a workspace's documents to files."),
    "sync": ("syncing", "Keep a folder of Markdown files and a workspace of a server the same."),
    "backup": ("backing_up", "Write everything that the server keeps into one file, while it runs."),
    "verify-backup": ("verifying", "Restore a backup into a scratch directory, and report whether all of it is right."),
    "restore": ("restoring", "Put a backup in the place of the server's data, which is kept aside."),
    "job": ("job", "List background jobs, and run one by hand."),
    "doctor": ("doctor", "Look everything over, and say what is wrong and what to do about it."),
    "openapi": ("openapi", "Print the API's OpenAPI 3.1 document."),
}


HIDDEN = {"try-document": "trial"}
"""Commands that the server itself calls."""


class Lazy(Sorted):
    """Knows its commands by name and loads one when it is called."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a terminal that knows few letters gets the others spelt out
                stream.reconfigure(errors="backslashreplace")
        return super().main(*arguments, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = HIDDEN.get(cmd_name) or COMMANDS.get(cmd_name, ("", ""))[0]
        if not module:
            return None
        loaded = importlib.import_module(f".{module}", __package__)
        command: click.Command = loaded.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in COMMANDS.items()])


@click.group(
    cls=Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: mdserver --data /srv/notes user create ada@example.org --admin",
)
@data_and_config
@click.option("--debug", is_flag=True, help="Show where in the program an unexpected failure came from.")
@click.version_option(__version__, prog_name="mdserver")
@click.pass_context
def main(ctx: click.Context, data: Path | None, config: Path | None, as_json: bool, debug: bool) -> None:
    """A self-hosted server for Markdown documents.

    Commands work while the server runs, which then does the work; only restore and migrate need it stopped. --data
    and --config are understood before and after the command; MDSERVER_DATA and MDSERVER_CONFIG say the same.
    """
    ctx.obj = Settings(data=data, config=config, as_json=as_json)
