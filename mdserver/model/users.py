"""Accounts. The only writer of users."""

from __future__ import annotations

import msgspec

from mdserver import clock, ids
from mdserver.errors import Conflict, NotFound
from mdserver.store.db import Reader, Tx
from mdserver.store.rows import Time
from mdserver.text import check_email, clean, email_key

from . import members, sessions, workspaces
from .access import Actor

LONGEST_NAME = 100


class User(msgspec.Struct, kw_only=True):
    """An account, as its owner and the server's administrators see it."""

    id: str
    email: str
    display_name: str
    avatar_url: str | None
    is_admin: bool
    email_verified: bool
    created_at: Time


class Account(User, kw_only=True):
    """An account as administrators see it in lists."""

    disabled_at: Time | None


class Login(msgspec.Struct, kw_only=True):
    """What signing in is judged by. Never leaves the server."""

    id: str
    email: str
    display_name: str
    password_hash: str | None


_COLUMNS = (
    "SELECT u.id, u.email, u.display_name, u.avatar_url, u.created_at,"
    " CASE WHEN u.admin_at IS NULL THEN 0 ELSE 1 END AS is_admin,"
    " CASE WHEN u.email_verified_at IS NULL THEN 0 ELSE 1 END AS email_verified"
)
_USER = f"{_COLUMNS} FROM users u"
_ACCOUNT = f"{_COLUMNS}, u.disabled_at FROM users u"
_LOGIN = "SELECT id, email, display_name, password_hash FROM users"


def find(db: Reader, user_id: str) -> User:
    """The account with this id. NotFound when there is none."""
    found = db.first(User, f"{_USER} WHERE u.id = $1", user_id)
    if found is None:
        raise NotFound("There is no account with this id.")
    return found


def find_by_email(db: Reader, email: str) -> User:
    """The account with this address, whatever its case or Unicode form. NotFound when there is none."""
    found = db.first(User, f"{_USER} WHERE u.email_key = $1", email_key(email))
    if found is None:
        raise NotFound("There is no account with this e-mail address.")
    return found


def login(db: Reader, email: str) -> Login | None:
    """What a sign-in with this address is judged by; None when no account, or a disabled one, has it."""
    return db.first(Login, f"{_LOGIN} WHERE email_key = $1 AND disabled_at IS NULL", email_key(email))


def login_of(db: Reader, user_id: str) -> Login:
    """The same for an account by its id. NotFound when it is gone or disabled."""
    found = db.first(Login, f"{_LOGIN} WHERE id = $1 AND disabled_at IS NULL", user_id)
    if found is None:
        raise NotFound("There is no account with this id.")
    return found


def email_of(db: Reader, user_id: str) -> str | None:
    """The address of an account; None when there is none with this id."""
    return db.value(str, "SELECT email FROM users WHERE id = $1", user_id)


def administrators(db: Reader) -> list[str]:
    """The addresses of those who administer the server, the oldest account first."""
    return db.column(str, "SELECT email FROM users WHERE admin_at IS NOT NULL AND disabled_at IS NULL ORDER BY id")


def exist(db: Reader) -> bool:
    """Whether the server has any account at all: once it has, setup is over."""
    return db.value(int, "SELECT 1 FROM users LIMIT 1") is not None


def every(db: Reader, *, after: str, limit: int) -> list[Account]:
    """Accounts in order of id (the oldest first), `limit` of them after the id `after`."""
    return db.all(
        Account,
        f"{_ACCOUNT} WHERE u.id > $1 ORDER BY u.id LIMIT $2",
        after,
        limit,
    )


def account(db: Reader, user: User) -> Account:
    """A found account with what only administrators see."""
    found = db.first(Account, f"{_ACCOUNT} WHERE u.id = $1", user.id)
    if found is None:
        raise NotFound("There is no account with this id.")
    return found


def create(
    tx: Tx,
    *,
    email: str,
    display_name: str,
    password_hash: str | None,
    verified: bool = False,
    admin: bool = False,
    device: str = "",
) -> User:
    """A new account with a workspace of its own. Conflict when the address is taken, Invalid when it is none."""
    email, name, now = check_email(email), check_name(display_name), clock.now()
    made = ids.new()
    added = tx.run(
        "INSERT INTO users (id, email, email_key, email_verified_at, display_name, password_hash, admin_at, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (email_key) DO NOTHING",
        made,
        email,
        email_key(email),
        now if verified else None,
        name,
        password_hash,
        now if admin else None,
        now,
    )
    if not added:
        raise _taken()
    workspaces.create(tx, Actor(user_id=made, device=device), name=f"{name}'s notes")
    return find(tx, made)


def check_name(text: str, *, pointer: str = "/display_name") -> str:
    """A display name as it is kept. Invalid when it is empty, too long or not one line."""
    return clean(text, pointer=pointer, minimum=1, maximum=LONGEST_NAME)


def rename(tx: Tx, user: User, *, display_name: str) -> User:
    """Give an account another display name."""
    tx.run("UPDATE users SET display_name = $1 WHERE id = $2", check_name(display_name), user.id)
    tx.announce("user", user.id)  # what caches know of a person holds their name
    return find(tx, user.id)


def set_password(tx: Tx, user: User, *, password_hash: str) -> None:
    """Keep another password's hash. What else ends with the old password is the caller's to say."""
    tx.run("UPDATE users SET password_hash = $1 WHERE id = $2", password_hash, user.id)


def rehash(tx: Tx, login: Login, *, password_hash: str) -> None:
    """Keep the same password under newer parameters, unless it has changed in the meantime."""
    tx.run(
        "UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3",
        password_hash,
        login.id,
        login.password_hash,
    )


def set_email(tx: Tx, user: User, *, email: str, verified: bool) -> User:
    """Give an account another address, or mark its own as verified. Conflict when somebody else has it."""
    email, key = check_email(email), email_key(email)
    if tx.value(str, "SELECT id FROM users WHERE email_key = $1 AND id <> $2", key, user.id) is not None:
        raise _taken()
    tx.run(
        "UPDATE users SET email = $1, email_key = $2, email_verified_at = $3 WHERE id = $4",
        email,
        key,
        clock.now() if verified else None,
        user.id,
    )
    return find(tx, user.id)


def disable(tx: Tx, user: User) -> None:
    """Close an account without losing anything of it: every sign-in ends, tokens rest. Conflict for the last admin."""
    _keep_an_admin(tx, user)
    tx.run("UPDATE users SET disabled_at = COALESCE(disabled_at, $1) WHERE id = $2", clock.now(), user.id)
    sessions.end_all(tx, user.id)


def enable(tx: Tx, user: User) -> None:
    """Open a disabled account again; its personal tokens work again too."""
    tx.run("UPDATE users SET disabled_at = NULL WHERE id = $1", user.id)
    tx.announce("user", user.id)


def promote(tx: Tx, user: User) -> None:
    """Make an account an administrator of the server."""
    tx.run("UPDATE users SET admin_at = COALESCE(admin_at, $1) WHERE id = $2", clock.now(), user.id)
    tx.announce("user", user.id)


def demote(tx: Tx, user: User) -> None:
    """Take the administration of the server away. Conflict for the last active administrator."""
    _keep_an_admin(tx, user)
    tx.run("UPDATE users SET admin_at = NULL WHERE id = $1", user.id)
    tx.announce("user", user.id)


def delete(tx: Tx, actor: Actor, user: User) -> None:
    """Delete an account, its memberships, and the workspaces of which it is the only member.

    Conflict for the last active administrator, and for the only owner of a workspace that others belong to.
    """
    _keep_an_admin(tx, user)
    owned = members.workspaces_without_other_owner(tx, user.id)
    shared = [(workspace_id, name) for workspace_id, name, others in owned if others]
    if shared:
        raise Conflict(
            f"Only this account owns {_listed([name for _, name in shared])}, where others work too:"
            " make somebody else an owner, or delete the workspace, first.",
            slug="last-owner",
            workspaces=[{"id": workspace_id, "name": name} for workspace_id, name in shared],
        )
    for workspace_id, _, _ in owned:
        workspaces.erase(tx, actor, workspace_id)
    for workspace_id in tx.column(
        str, "SELECT workspace_id FROM workspace_members WHERE user_id = $1 ORDER BY workspace_id", user.id
    ):
        members.drop(tx, actor, workspace_id, user.id)
    sessions.end_all(tx, user.id)
    tx.run("DELETE FROM users WHERE id = $1", user.id)


def _keep_an_admin(tx: Tx, user: User) -> None:
    """The last account that can administer the server stays as it is."""
    active = tx.column(str, "SELECT id FROM users WHERE admin_at IS NOT NULL AND disabled_at IS NULL LIMIT 2")
    if active == [user.id]:
        raise Conflict("This is the last active administrator: make somebody else one first.")


def _listed(names: list[str]) -> str:
    shown = [f"“{one}”" for one in names[:3]] + ([f"{len(names) - 3} more"] if len(names) > 3 else [])
    return " and ".join(", ".join(shown).rsplit(", ", 1))


def _taken() -> Conflict:
    return Conflict("Another account has this e-mail address.")
