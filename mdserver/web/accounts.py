"""What every way of signing in shares: the rules of this server, proving a password, and the start of a session."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec
from aiohttp import web

from mdserver import clock, crypto
from mdserver.errors import Forbidden, Problem, SignedOut
from mdserver.model import audit, sessions, users
from mdserver.model.sessions import Lifetimes
from mdserver.model.users import Login, User
from mdserver.store.db import Reader, Tx
from mdserver.text import email_key

from .api import DB, RATES, Reply, maybe_me, me
from .guesses import FORGOTTEN_AFTER
from .limits import address
from .signin import SIGNIN, cookie, origin


class Rules(Protocol):
    """How accounts come about here, and how long what proves them is good for (seconds): as configured."""

    @property
    def signup(self) -> Literal["open", "invite", "closed"]: ...
    @property
    def access_token(self) -> int: ...
    @property
    def refresh_idle(self) -> int: ...
    @property
    def refresh_absolute(self) -> int: ...
    @property
    def web_session_idle(self) -> int: ...
    @property
    def reset_code(self) -> int: ...
    @property
    def invitation(self) -> int: ...


class SignedIn(msgspec.Struct, kw_only=True):
    """An app's credentials: the access token goes into Authorization, the refresh token buys the next pair."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 (not a secret)
    expires_in: int
    user: User


class BrowserSignedIn(msgspec.Struct, kw_only=True):
    """A browser's sign-in: its session is in the cookie that the answer sets."""

    user: User


ACCOUNTS: web.AppKey[Rules] = web.AppKey("accounts")
PASSWORDS: web.AppKey[crypto.Passwords] = web.AppKey("passwords", crypto.Passwords)


async def prove(request: web.Request, email: str, password: str) -> Login:
    """The account that this address and password belong to. SignedOut otherwise, TooMuch after too many attempts.

    The same for an unknown address, a wrong password, a disabled account and one without a password: one body, one
    status, and one argon2id evaluation and one write in each case.
    """
    where = address(request)
    request.app[RATES].check("sign-in-address", where)

    def question(db: Reader) -> tuple[Login | None, bool]:
        login = users.login(db, email)
        return login, login is not None and sessions.knows(db, login.id, where)

    login, known_here = await request.app[DB].read(question)
    key = _account_key(email, where, known_here=known_here)
    await _attempt(request, key)
    right = await request.app[PASSWORDS].verify(login.password_hash if login else None, password)
    if login is None or not right:
        await _note_failure(request, login.id if login else None)
        raise wrong_credentials()
    forgive(request.app, key)
    return login


async def prove_again(request: web.Request, password: str) -> User:
    """The asker's account, once they have given its password again. Forbidden when it is wrong.

    An account that signs in otherwise has none to give: its recent sign-in, which the route demands, has to do.
    """
    principal = me(request)
    login, user = await request.app[DB].read(
        lambda db: (users.login_of(db, principal.user_id), users.find(db, principal.user_id))
    )
    if login.password_hash is None:
        return user
    request.app[RATES].check("sign-in-address", address(request))
    key = f"{login.id} again"
    await _attempt(request, key)
    if not await request.app[PASSWORDS].verify(login.password_hash, password):
        await _note_failure(request, login.id)
        raise Forbidden("The password is not right.", slug="wrong-credentials")
    forgive(request.app, key)
    return user


async def renewed_hash(request: web.Request, login: Login, password: str) -> str | None:
    """The password's hash under today's parameters, when it was made with others."""
    passwords = request.app[PASSWORDS]
    if login.password_hash is None or not passwords.needs_rehash(login.password_hash):
        return None
    return await passwords.hash(password)


def start(
    tx: Tx, request: web.Request, user: User, *, browser: bool, status: int = 200
) -> Reply[SignedIn | BrowserSignedIn]:
    """Sign a found account in and make the answer. A browser that was signed in leaves its old session."""
    where, lifetimes = origin(request), lifetimes_of(request.app)
    before = maybe_me(request)
    if browser and before is not None and before.kind == "web":
        sessions.end(tx, before.credential_id)
    if browser:
        value = sessions.start_web(tx, user.id, origin=where, lifetimes=lifetimes)
        headers = cookie(request, value, lifetime=lifetimes.absolute) | {"Cache-Control": "no-store"}
        answer: Reply[SignedIn | BrowserSignedIn] = Reply(BrowserSignedIn(user=user), status=status, headers=headers)
    else:
        pair = sessions.start_app(tx, user.id, origin=where, lifetimes=lifetimes)
        answer = credentials(pair, user, status=status)
    audit.record(tx, where, "session.start", actor_id=user.id, obj=user.id, kind="web" if browser else "app")
    return answer


def credentials(pair: sessions.Pair, user: User, *, status: int = 200) -> Reply[SignedIn | BrowserSignedIn]:
    """A pair of tokens as an answer that nobody on the way may keep."""
    signed_in = SignedIn(
        access_token=pair.access_token,
        refresh_token=pair.refresh_token,
        expires_in=max(0, -(-(pair.expires_at - clock.now()) // 1000)),
        user=user,
    )
    return Reply(signed_in, status=status, headers={"Cache-Control": "no-store"})


def lifetimes_of(app: web.Application) -> Lifetimes:
    """How long sessions are good for here."""
    rules = app[ACCOUNTS]
    return Lifetimes(
        access=rules.access_token * clock.SECOND,
        refresh_idle=rules.refresh_idle * clock.SECOND,
        web_idle=rules.web_session_idle * clock.SECOND,
        absolute=rules.refresh_absolute * clock.SECOND,
    )


def forgive(app: web.Application, key: str) -> None:
    """Forget the wrong passwords that were tried for an account."""
    app[RATES].forgive("sign-in-account", key)
    app[SIGNIN].guesses.forgive(key)


async def recall(app: web.Application) -> None:
    """Count the sign-ins of the last minutes again, from the audit log: a restart forgives nobody.

    Attempts at accounts that do not exist count for their address alone, since the log does not keep what was typed.
    """
    rates, guesses, now = app[RATES], app[SIGNIN].guesses, clock.now()
    window = max(rates.window("sign-in-account"), rates.window("sign-in-address"), int(FORGOTTEN_AFTER))

    def question(db: Reader) -> list[tuple[audit.Attempt, str]]:
        return [(one, _key_of(db, one)) for one in audit.attempts(db, since=now - window * clock.SECOND)]

    for attempt, key in await app[DB].read(question):
        ago = max(0.0, (now - attempt.at) / clock.SECOND)
        rates.recall("sign-in-address", attempt.address, ago=ago)
        if key and attempt.is_right:
            forgive(app, key)
        elif key:
            rates.recall("sign-in-account", key, ago=ago)
            guesses.recall(key, ago=ago)


def _key_of(db: Reader, attempt: audit.Attempt) -> str:
    """What the attempt was counted under; nothing for an account that is unknown, or gone."""
    email = users.email_of(db, attempt.user_id)
    if email is None:
        return ""
    known_here = sessions.knows(db, attempt.user_id, attempt.address)
    return _account_key(email, attempt.address, known_here=known_here)


def _account_key(email: str, where: str, *, known_here: bool) -> str:
    """Strangers cannot use up the attempts of somebody who signs in from where they have done so before."""
    return f"{email_key(email)} {where}" if known_here else email_key(email)


def wrong_credentials() -> Problem:
    """One answer for every reason that a sign-in fails."""
    return SignedOut("The e-mail address or the password is not right.", slug="wrong-credentials")


async def _attempt(request: web.Request, key: str) -> None:
    """Before a password is evaluated: TooMuch past the limit, a pause that grows with the wrong ones before it."""
    request.app[RATES].check("sign-in-account", key)
    await request.app[SIGNIN].guesses.pause(key)


async def _note_failure(request: web.Request, user_id: str | None) -> None:
    """A failed attempt, without what was typed: people type passwords into the wrong field."""
    where = origin(request)
    await request.app[DB].write(
        lambda tx: audit.record(tx, where, "session.failure", actor_id=None, obj=user_id or "unknown account")
    )
