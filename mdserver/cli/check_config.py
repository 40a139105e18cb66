"""`mdserver check-config`: every mistake in file, environment and command line at once."""

from __future__ import annotations

import sys

import click

from mdserver.config import ConfigError

from .common import Settings, show
from .common import command as new_command


@new_command("check-config", example="mdserver check-config --config /etc/mdserver/config.toml")
def command(settings: Settings) -> None:
    """Check the configuration and report every mistake at once, with its line. Exit status 1 when there is one."""
    try:
        config = settings.load()
    except ConfigError as error:
        show(settings, {"mistakes": error.mistakes})
        if not settings.as_json:
            click.echo(str(error), err=True)
        sys.exit(1)
    database = "PostgreSQL" if config.database.url else "SQLite"
    show(
        settings,
        {"mistakes": []},
        f"The configuration is right: data in {config.server.data.absolute()}, {database}, {config.server.url()}/",
    )
