"""`mdserver token …`: personal access tokens."""

from __future__ import annotations

from typing import cast

import click

from mdserver.chores import tokens
from mdserver.chores.tokens import TokenAsk, TokenCreate
from mdserver.chores.users import UserAsk
from mdserver.config import DAY, MINUTE, duration
from mdserver.model.access import SCOPES, Scope

from .common import Settings, group, show, table
from .common import command as verb

command = group("token", "Make, list and revoke personal access tokens. EMAIL may also be an account's id.")
_life = duration(MINUTE, 3650 * DAY)


def _seconds(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    try:
        return None if value is None else int(_life.read(value))
    except (KeyError, ValueError):
        raise click.BadParameter(f"must be {_life.what}, or 90d.") from None


@verb("create", into=command, example="mdserver token create ada@example.org --name backup --scope read --expires 90d")
@click.argument("who", metavar="EMAIL")
@click.option("--name", required=True, help="What the token is for.")
@click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True, required=True, help="May be given again.")
@click.option("--workspace", metavar="WORKSPACE", help="Let it see this workspace only (an id or a name).")
@click.option("--expires", metavar="TIME", callback=_seconds, help="How long it works, such as 90d [default: no end].")
def create(
    settings: Settings, who: str, name: str, scopes: tuple[str, ...], workspace: str | None, expires: int | None
) -> None:
    """Make a token for an account; its secret is shown this once."""
    with settings.reaching() as run:
        wanted = cast("list[Scope]", list(scopes))
        ask = TokenCreate(who=who, name=name, scopes=wanted, workspace=workspace, seconds=expires)
        made = run(tokens.token_create, ask)
    until = f", until {made.expires_at}" if made.expires_at else ""
    show(
        settings,
        made,
        f"The token “{made.name}” ({made.id}) was made for {', '.join(made.scopes)}{until}. It is shown this once:\n",
        f"    {made.token}\n",
    )


@verb("list", into=command, example="mdserver token list ada@example.org")
@click.argument("who", metavar="EMAIL")
def listing(settings: Settings, who: str) -> None:
    """List the tokens of an account that are not revoked."""
    with settings.reaching() as run:
        found = run(tokens.token_list, UserAsk(who=who)).items
    rows = [
        (one.name, " ".join(one.scopes), f"…{one.hint}", _day(one.used_at), _day(one.expires_at), one.id)
        for one in found
    ]
    show(settings, found, *table(("NAME", "SCOPES", "TOKEN", "USED", "EXPIRES", "ID"), rows))


@verb("revoke", into=command, example="mdserver token revoke 019a2b7c-0000-7000-8000-000000000000")
@click.argument("id", metavar="ID")
def revoke(settings: Settings, id: str) -> None:
    """End a token at once."""
    with settings.reaching() as run:
        found = run(tokens.token_revoke, TokenAsk(id=id))
    show(settings, found, f"The token “{found.name}” was revoked.")


def _day(moment: str | None) -> str:
    return (moment or "never")[:10]
