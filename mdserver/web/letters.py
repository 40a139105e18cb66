"""The mails that the server sends: plain text, with one-time codes in the fragment of a link, which no server logs."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from .api import BASE_PATH, PUBLIC_URL


class Sender(Protocol):
    """Takes a message and sends it when it can."""

    async def send(self, to: str, subject: str, text: str) -> None: ...


MAILER: web.AppKey[Sender | None] = web.AppKey("mailer")


async def verify(app: web.Application, to: str, code: str) -> None:
    """Finish a sign-up."""
    await _send(
        app,
        to,
        "Finish signing up",
        "Somebody, most likely you, signed up with this address. To finish, open this link:",
        f"/verify#code={code}",
        "It works once, for a day. If it was not you, do nothing: there will be no account.",
    )


async def exists(app: web.Application, to: str) -> None:
    """Somebody signed up with an address that has an account."""
    await _send(
        app,
        to,
        "You have an account already",
        "Somebody, most likely you, signed up with this address, which has an account here. Sign in with it:",
        "/",
        "If you forgot the password, ask for a new one there. If it was not you, do nothing: nothing has changed.",
    )


async def confirm(app: web.Application, to: str, code: str) -> None:
    """Show that an address is one's own."""
    await _send(
        app,
        to,
        "Confirm your address",
        "To confirm that this address is yours, open this link:",
        f"/verify#code={code}",
        "It works once, for a day. If you did not ask for it, do nothing.",
    )


async def moving(app: web.Application, to: str) -> None:
    """Tell the present address that another is about to take its place."""
    await _send(
        app,
        to,
        "Your address is being changed",
        "Somebody signed in to your account asked for another e-mail address in place of this one.",
        "/",
        "If it was not you, sign in, change your password and end the other sessions there.",
    )


async def reset(app: web.Application, to: str, code: str) -> None:
    """Choose a new password."""
    await _send(
        app,
        to,
        "Choose a new password",
        "To choose a new password for your account, open this link:",
        f"/reset#code={code}",
        "It works once, and not for long. If you did not ask for it, do nothing: your password stays as it is.",
    )


async def password_changed(app: web.Application, to: str) -> None:
    """Tell that the password was changed."""
    await _send(
        app,
        to,
        "Your password was changed",
        "The password of your account was changed.",
        "/",
        "If it was not you, ask for a new password there at once.",
    )


async def invitation(app: web.Application, to: str, token: str, *, workspace: str, inviter: str) -> None:
    """Join a workspace."""
    await _send(
        app,
        to,
        f"{inviter} invites you to {workspace}",
        f"{inviter} invites you to work together in the workspace “{workspace}”. This is your invitation code; give it"
        " to the app, when you sign up or once you are signed in:",
        token,  # no page takes it yet: the web app's will
        "If you do not know what this is about, do nothing.",
    )


async def backup_fails(app: web.Application, to: str, why: str) -> None:
    """Tell an administrator that a scheduled backup failed."""
    await _send(
        app,
        to,
        "The backup failed",
        f"The server could not make its scheduled backup: {why}\n\nIt tries again by itself. This shows how it goes:",
        "mdserver job list",
        "You get another mail when a backup was made again, and none before.",
    )


async def backup_works(app: web.Application, to: str) -> None:
    """Tell an administrator that a scheduled backup was made after all."""
    await _send(
        app,
        to,
        "Backups are made again",
        "The server has made its scheduled backup, which had failed before. This shows where it is:",
        "mdserver job list",
        "There is nothing that you have to do.",
    )


async def _send(app: web.Application, to: str, subject: str, before: str, what: str, after: str) -> None:
    """Send a letter around one line: a path on this server, or a code."""
    mailer = app[MAILER]
    if mailer is None:
        return
    place = app[PUBLIC_URL] + app[BASE_PATH]
    shown = f"{place}{what}" if what.startswith("/") else what
    await mailer.send(to, subject, f"{before}\n\n    {shown}\n\n{after}\n\n--\nmdserver at {place}\n")
