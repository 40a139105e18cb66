"""`mdserver user …`: accounts."""

from __future__ import annotations

import click

from mdserver.chores import users
from mdserver.chores.users import UserAsk, UserCreate, UserPassword
from mdserver.model.users import Account

from .common import Settings, confirm, group, pages, password, show, table
from .common import command as verb

command = group("user", "Create, list and change accounts. EMAIL may also be an account's id.")
who = click.argument("who", metavar="EMAIL")
yes = click.option("--yes", is_flag=True, help="Do not ask.")


@verb("create", into=command, example="mdserver user create ada@example.org --name 'Ada Lovelace' --admin")
@click.argument("email", metavar="EMAIL")
@click.option("--name", help="The name that others see [default: what stands before the @].")
@click.option("--admin", is_flag=True, help="Make it an administrator of the server.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input, one line.")
def create(settings: Settings, email: str, name: str | None, admin: bool, password_stdin: bool) -> None:
    """Make an account, with a workspace of its own.

    Asks for the password on a terminal. Without a password, a link is printed with which the person chooses one.
    """
    given = password(from_stdin=password_stdin)
    with settings.reaching() as run:
        name = name if name is not None else email.strip().partition("@")[0]
        made = run(users.user_create, UserCreate(email=email, display_name=name, password=given, admin=admin))
    kind = "administrator" if made.user.is_admin else "account"
    lines = [f"The {kind} {made.user.email} was made ({made.user.id})."]
    if made.reset_link:
        lines.append(f"A password is chosen once, with this link:\n\n    {made.reset_link}\n")
    show(settings, made, *lines)


@verb("list", into=command, example="mdserver user list")
def listing(settings: Settings) -> None:
    """List all accounts, the oldest first."""
    with settings.reaching() as run:
        found = list(pages(run, users.user_list))
    rows = [(one.email, one.display_name, _state(one), one.created_at[:10], one.id) for one in found]
    show(settings, found, *table(("E-MAIL", "NAME", "STATE", "SINCE", "ID"), rows))


@verb("show", into=command, example="mdserver user show ada@example.org")
@who
def showing(settings: Settings, who: str) -> None:
    """Show an account with its workspaces."""
    with settings.reaching() as run:
        found = run(users.user_show, UserAsk(who=who))
    user = found.user
    show(
        settings,
        found,
        f"{user.display_name} <{user.email}>",
        f"id          {user.id}",
        f"state       {_state(user)}",
        f"since       {user.created_at}",
        f"address     {'confirmed' if user.email_verified else 'not confirmed'}",
        f"signed in   {found.sessions} times, {found.tokens} personal tokens",
        *(f"workspace   {one.name} ({one.role}, {one.id})" for one in found.workspaces),
    )


@verb(
    "set-password",
    into=command,
    example="mdserver user set-password ada@example.org --password-stdin < FILE",
)
@who
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input, one line.")
def set_password(settings: Settings, who: str, password_stdin: bool) -> None:
    """Give an account another password; every session of it ends."""
    given = password(from_stdin=password_stdin, required=True) or ""
    with settings.reaching() as run:
        user = run(users.user_set_password, UserPassword(who=who, password=given))
    show(settings, user, f"{user.email} has the new password; its sessions have ended.")


@verb("reset-link", into=command, example="mdserver user reset-link ada@example.org")
@who
def reset_link(settings: Settings, who: str) -> None:
    """Print a link with which a person chooses a new password, once."""
    with settings.reaching() as run:
        made = run(users.user_reset_link, UserAsk(who=who))
    show(
        settings,
        made,
        f"For {made.user.email}, to choose a new password within {made.seconds // 60} minutes:",
        made.url,
    )


@verb("disable", into=command, example="mdserver user disable ada@example.org")
@who
def disable(settings: Settings, who: str) -> None:
    """Close an account; nothing is lost, and its sessions end."""
    with settings.reaching() as run:
        user = run(users.user_disable, UserAsk(who=who))
    show(settings, user, f"{user.email} can no longer sign in.")


@verb("enable", into=command, example="mdserver user enable ada@example.org")
@who
def enable(settings: Settings, who: str) -> None:
    """Open a disabled account again."""
    with settings.reaching() as run:
        user = run(users.user_enable, UserAsk(who=who))
    show(settings, user, f"{user.email} can sign in again.")


@verb("delete", into=command, example="mdserver user delete ada@example.org --yes")
@who
@yes
def delete(settings: Settings, who: str, yes: bool) -> None:
    """Delete an account and the workspaces that nobody else belongs to, for ever."""
    with settings.reaching() as run:
        found = run(users.user_show, UserAsk(who=who))
        confirm(f"Delete the account {found.user.email}, and every workspace that is only its own?", yes=yes)
        user = run(users.user_delete, UserAsk(who=found.user.id))
    show(settings, user, f"{user.email} was deleted.")


@verb("promote", into=command, example="mdserver user promote ada@example.org")
@who
def promote(settings: Settings, who: str) -> None:
    """Make an account an administrator of the server."""
    with settings.reaching() as run:
        user = run(users.user_promote, UserAsk(who=who))
    show(settings, user, f"{user.email} administers the server.")


@verb("demote", into=command, example="mdserver user demote ada@example.org")
@who
def demote(settings: Settings, who: str) -> None:
    """Take the administration of the server away from an account."""
    with settings.reaching() as run:
        user = run(users.user_demote, UserAsk(who=who))
    show(settings, user, f"{user.email} administers the server no longer.")


def _state(user: Account) -> str:
    if user.disabled_at is not None:
        return "disabled"
    return "admin" if user.is_admin else "active"
