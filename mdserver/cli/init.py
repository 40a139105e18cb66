"""`mdserver init`: a data directory that is ready to be served."""

from __future__ import annotations

import os
import shlex

import click

from mdserver.chores import users
from mdserver.chores.users import Page, UserCreate

from .common import Settings, password, refuse, show
from .common import command as new_command


@new_command("init", example="mdserver init --data /srv/notes --email ada@example.org")
@click.option("--email", metavar="EMAIL", help="Make the first administrator with this address.")
@click.option("--name", help="The name that others see [default: what stands before the @].")
@click.option("--password-stdin", is_flag=True, help="Read the administrator's password from standard input, one line.")
def command(settings: Settings, email: str | None, name: str | None, password_stdin: bool) -> None:
    """Create the data directory, and the first administrator when asked to.

    It is safe to run again: what is there stays. Without --email, “mdserver serve” prints a link for the first account.
    """
    os.umask(0o077)
    given = password(from_stdin=password_stdin) if email is not None else None
    made = None
    with settings.reaching() as run:
        if email is not None:
            if run(users.user_list, Page(limit=1)).items:
                refuse("There are accounts already: make further ones with “mdserver user create”.")
            name = name if name is not None else email.strip().partition("@")[0]
            made = run(users.user_create, UserCreate(email=email, display_name=name, password=given, admin=True))
    data = settings.load().server.data.absolute()
    lines = [f"{data} is ready. Start the server with: mdserver serve --data {shlex.quote(str(data))}"]
    if made is not None:
        lines.append(f"The administrator {made.user.email} was made.")
        if made.reset_link:
            lines.append(f"Once the server runs, a password is chosen with this link:\n\n    {made.reset_link}\n")
    show(settings, {"data": str(data), "user": made and made.user, "reset_link": made and made.reset_link}, *lines)
