"""Accounts, as operators manage them."""

from __future__ import annotations

import msgspec

from mdserver.clock import SECOND
from mdserver.crypto import check_password
from mdserver.model import audit, codes, sessions, users
from mdserver.model.access import Role
from mdserver.model.audit import COMMAND_LINE
from mdserver.model.users import Account, User
from mdserver.store.db import Reader, Tx
from mdserver.text import check_email

from .chore import OPERATOR, House, account, chore


class UserCreate(msgspec.Struct, kw_only=True):
    """A new account; without a password it gets a link with which the person chooses one."""

    email: str
    display_name: str
    password: str | None = None
    admin: bool = False


class UserCreated(msgspec.Struct, kw_only=True):
    user: User
    reset_link: str | None


class UserAsk(msgspec.Struct, kw_only=True):
    """`who` is an e-mail address or an id."""

    who: str


class UserPassword(msgspec.Struct, kw_only=True):
    who: str
    password: str


class Page(msgspec.Struct, kw_only=True):
    """What follows the id `after`."""

    after: str = ""
    limit: int = 500


class Users(msgspec.Struct, kw_only=True):
    items: list[Account]


class Belonging(msgspec.Struct, kw_only=True):
    id: str
    name: str
    role: Role


class UserShown(msgspec.Struct, kw_only=True):
    """An account with the workspaces that it belongs to, and how often it is signed in."""

    user: Account
    workspaces: list[Belonging]
    sessions: int
    tokens: int


class ResetLink(msgspec.Struct, kw_only=True):
    """`seconds` is how long the link works."""

    user: User
    url: str
    seconds: int


@chore
async def user_create(house: House, ask: UserCreate) -> UserCreated:
    """Make an account."""
    email, name = check_email(ask.email), users.check_name(ask.display_name)
    hashed = None
    if ask.password is not None:
        check_password(ask.password, email=email, display_name=name)
        hashed = await house.passwords.hash(ask.password)

    def change(tx: Tx) -> UserCreated:
        user = users.create(
            tx, email=email, display_name=name, password_hash=hashed, admin=ask.admin, device=OPERATOR.device
        )
        audit.record(tx, COMMAND_LINE, "user.create", actor_id=None, obj=user.id, admin=ask.admin)
        return UserCreated(user=user, reset_link=None if hashed else _reset_link(tx, house, user))

    made = await house.database.write(change)
    house.has_accounts()
    return made


@chore
async def user_list(house: House, ask: Page) -> Users:
    """A page of all accounts, the oldest first."""
    return Users(items=await house.database.read(lambda db: users.every(db, after=ask.after, limit=ask.limit)))


@chore
async def user_show(house: House, ask: UserAsk) -> UserShown:
    """One account with its workspaces and how it is signed in."""

    def question(db: Reader) -> UserShown:
        user = account(db, ask.who)
        return UserShown(
            user=users.account(db, user),
            workspaces=db.all(
                Belonging,
                "SELECT w.id, w.name, m.role FROM workspaces w JOIN workspace_members m ON m.workspace_id = w.id"
                " WHERE m.user_id = $1 ORDER BY w.id",
                user.id,
            ),
            sessions=len(sessions.of_user(db, user.id, current="", after="", limit=10_000)),
            tokens=db.value(
                int, "SELECT count(*) FROM personal_tokens WHERE user_id = $1 AND revoked_at IS NULL", user.id
            )
            or 0,
        )

    return await house.database.read(question)


@chore
async def user_set_password(house: House, ask: UserPassword) -> User:
    """Give an account another password; whoever is signed in with the old one is signed out."""
    user = await house.database.read(lambda db: account(db, ask.who))
    check_password(ask.password, email=user.email, display_name=user.display_name)
    hashed = await house.passwords.hash(ask.password)

    def change(tx: Tx) -> User:
        found = users.find(tx, user.id)
        users.set_password(tx, found, password_hash=hashed)
        codes.end_all(tx, found.id)
        sessions.end_all(tx, found.id)
        audit.record(tx, COMMAND_LINE, "password.set", actor_id=None, obj=found.id)
        return found

    return await house.database.write(change)


@chore
async def user_reset_link(house: House, ask: UserAsk) -> ResetLink:
    """A link with which a person chooses a new password; earlier ones end."""

    def change(tx: Tx) -> ResetLink:
        user = account(tx, ask.who)
        audit.record(tx, COMMAND_LINE, "password.reset_link", actor_id=None, obj=user.id)
        return ResetLink(user=user, url=_reset_link(tx, house, user), seconds=house.config.accounts.reset_code)

    return await house.database.write(change)


@chore
async def user_disable(house: House, ask: UserAsk) -> Account:
    """Close an account; nothing of it is lost."""

    def change(tx: Tx) -> Account:
        user = account(tx, ask.who)
        users.disable(tx, user)
        return _noted(tx, user, "user.disable")

    return await house.database.write(change)


@chore
async def user_enable(house: House, ask: UserAsk) -> Account:
    """Open a disabled account again."""

    def change(tx: Tx) -> Account:
        user = account(tx, ask.who)
        users.enable(tx, user)
        return _noted(tx, user, "user.enable")

    return await house.database.write(change)


@chore
async def user_promote(house: House, ask: UserAsk) -> Account:
    """Make an account an administrator of the server."""

    def change(tx: Tx) -> Account:
        user = account(tx, ask.who)
        users.promote(tx, user)
        return _noted(tx, user, "user.promote")

    return await house.database.write(change)


@chore
async def user_demote(house: House, ask: UserAsk) -> Account:
    """Take the administration of the server away from an account."""

    def change(tx: Tx) -> Account:
        user = account(tx, ask.who)
        users.demote(tx, user)
        return _noted(tx, user, "user.demote")

    return await house.database.write(change)


@chore
async def user_delete(house: House, ask: UserAsk) -> User:
    """Delete an account with the workspaces that only it belongs to."""

    def change(tx: Tx) -> User:
        user = account(tx, ask.who)
        users.delete(tx, OPERATOR, user)
        audit.record(tx, COMMAND_LINE, "user.delete", actor_id=None, obj=user.id)
        return user

    return await house.database.write(change)


def _noted(tx: Tx, user: User, action: str) -> Account:
    audit.record(tx, COMMAND_LINE, action, actor_id=None, obj=user.id)
    return users.account(tx, user)


def _reset_link(tx: Tx, house: House, user: User) -> str:
    lifetime = house.config.accounts.reset_code * SECOND
    code = codes.issue(tx, "reset", email=user.email, user_id=user.id, lifetime=lifetime)
    return f"{house.url}/reset#code={code}"
