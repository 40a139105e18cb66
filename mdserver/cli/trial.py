"""A child of the server, which reads a document that may do harm (collab/trial.py)."""

from __future__ import annotations

import click


@click.command(hidden=True)
def command() -> None:
    """Read a document from standard input, for the server."""
    from mdserver.collab import trial

    trial.run()
