"""`mdserver openapi`: the API's description, without a server or a database."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from .common import Settings
from .common import command as new_command


@new_command("openapi", example="mdserver openapi --output openapi.json")
@click.option("--output", metavar="FILE", type=click.Path(path_type=Path), help="Write it there instead.")
def command(settings: Settings, output: Path | None) -> None:
    """Print the API's OpenAPI 3.1 document."""
    from mdserver.app import ROUTES
    from mdserver.web import openapi

    routes = [route for resource in ROUTES for route in resource.all]
    document = openapi.build(routes, server=settings.load().server.url())
    text = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_bytes(text)
