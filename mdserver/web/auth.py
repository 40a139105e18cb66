"""Setup, signing up, in and out, refreshing, forgotten passwords, verified addresses."""

from __future__ import annotations

import msgspec
from aiohttp import web

from mdserver import clock
from mdserver.crypto import check_password
from mdserver.errors import Conflict, Forbidden, Gone, NotFound, SignedOut
from mdserver.model import audit, codes, invitations, sessions, users
from mdserver.model.access import Actor
from mdserver.model.codes import Code
from mdserver.model.invitations import Held
from mdserver.model.users import User
from mdserver.store.db import Reader, Tx
from mdserver.text import check_email, email_key

from . import letters
from .accounts import (
    ACCOUNTS,
    PASSWORDS,
    BrowserSignedIn,
    SignedIn,
    credentials,
    forgive,
    lifetimes_of,
    prove,
    renewed_hash,
    start,
    wrong_credentials,
)
from .api import DB, OPEN, RATES, SIGNED_IN, Reply, Routes, me
from .letters import MAILER
from .limits import address
from .setup import SETUP
from .signin import SIGNIN, cookie, origin

__all__ = ["ACCOUNTS", "MAILER", "PASSWORDS", "routes"]

MAIL_CODE = clock.DAY

routes = Routes("auth")


class Setup(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    token: str
    email: str
    password: str
    display_name: str
    cookie: bool = False


class SignUp(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    email: str
    password: str
    display_name: str
    invitation: str | None = None
    cookie: bool = False


class SignInWith(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    email: str
    password: str
    cookie: bool = False


class RefreshToken(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    refresh_token: str


class EmailAddress(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    email: str


class OneTimeCode(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    token: str


class PasswordReset(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    token: str
    password: str


class MailSent(msgspec.Struct, kw_only=True):
    """The same answer whether there is such an account or not."""

    detail: str = "If this concerns an account here, a mail with the next step is on its way."


@routes.post("/setup", policy=OPEN, status=201)
async def setup(request: web.Request, body: Setup) -> Reply[SignedIn | BrowserSignedIn]:
    """Make the first account, the server's administrator.

    Takes the one-time code that the first start prints. Refused once there is an account.
    """
    request.app[RATES].check("sign-in-address", address(request))
    fits = request.app[SETUP].fits(body.token)  # before asking: the account that ends the code may be made meanwhile
    if await request.app[DB].read(users.exist):
        raise _is_set_up()
    if not fits:
        raise SignedOut("The setup code is wrong or has expired: restart for a new one.", slug="wrong-credentials")
    email, name = _checked(body.email, body.display_name, body.password)
    hashed = await request.app[PASSWORDS].hash(body.password)

    def change(tx: Tx) -> Reply[SignedIn | BrowserSignedIn]:
        if users.exist(tx):
            raise _is_set_up()
        user = users.create(tx, email=email, display_name=name, password_hash=hashed, admin=True)
        audit.record(tx, origin(request), "user.setup", actor_id=user.id, obj=user.id)
        return start(tx, request, user, browser=body.cookie, status=201)

    answer = await request.app[DB].write(change)
    request.app[SETUP].end()
    return answer


@routes.post("/auth/signup", policy=OPEN, status=201, refuses=(NotFound,))
async def signup(request: web.Request, body: SignUp) -> Reply[SignedIn | BrowserSignedIn | MailSent]:
    """Make an account, where the server's rules or an invitation allow it.

    Where the server sends mail, the answer is always 202 and the account is made when the mailed code is used; where
    it does not, the account is made and signed in at once, and 409 says that the address has one already.
    """
    request.app[RATES].check("account-mail", address(request))
    email, name = _checked(body.email, body.display_name, body.password)
    await request.app[DB].read(lambda db: _may_join(db, request, email, body.invitation))
    hashed = await request.app[PASSWORDS].hash(body.password)
    made: dict[str, str | None] = {
        "display_name": name,
        "password_hash": hashed,
        "invitation": body.invitation,
    }
    if request.app[MAILER] is not None:
        await _mail_signup(request, email, made)
        return Reply(MailSent(), status=202)

    def change(tx: Tx) -> Reply[SignedIn | BrowserSignedIn | MailSent]:
        user = _join(tx, request, email, made, verified=False)
        return start(tx, request, user, browser=body.cookie, status=201)  # type: ignore[return-value] # Reply[Union]

    return await request.app[DB].write(change)


@routes.post("/auth/login", policy=OPEN)
async def login(request: web.Request, body: SignInWith) -> Reply[SignedIn | BrowserSignedIn]:
    """Sign in with e-mail address and password.

    Answers an access and a refresh token, or with `"cookie": true` sets the session cookie of a browser.
    """
    known = await prove(request, check_email(body.email), body.password)
    renewed = await renewed_hash(request, known, body.password)

    def change(tx: Tx) -> Reply[SignedIn | BrowserSignedIn]:
        present = users.login(tx, known.email)
        if present is None or (present.id, present.password_hash) != (known.id, known.password_hash):
            raise wrong_credentials()  # changed while the password was evaluated
        if renewed is not None:
            users.rehash(tx, known, password_hash=renewed)
        return start(tx, request, users.find(tx, known.id), browser=body.cookie)

    return await request.app[DB].write(change)


@routes.post("/auth/refresh", policy=OPEN)
async def refresh(request: web.Request, body: RefreshToken) -> Reply[SignedIn | BrowserSignedIn]:
    """Exchange a refresh token for the next pair of tokens.

    Each works once; a second use ends the session, unless the same client repeats it within 30 seconds because the
    answer was lost: then the answer is the same again.
    """
    where, lifetimes = origin(request), lifetimes_of(request.app)

    def change(tx: Tx) -> Reply[SignedIn | BrowserSignedIn] | None:
        pair = sessions.refresh(tx, body.refresh_token, origin=where, lifetimes=lifetimes)
        return credentials(pair, users.find(tx, pair.user_id)) if pair else None

    answer = await request.app[DB].write(change)
    if answer is None:  # raised out here: the end of a session whose token was used twice had to be committed
        raise SignedOut("The refresh token is unknown, used or has expired: sign in again.")
    return answer


@routes.post("/auth/logout", policy=SIGNED_IN, status=204, scope="read")
async def logout(request: web.Request) -> Reply[None]:
    """End the session that asks."""
    principal, where = me(request), origin(request)
    if principal.kind == "token":
        raise Forbidden("A personal token has no session to end: delete the token.")

    def change(tx: Tx) -> None:
        sessions.end(tx, principal.credential_id)
        audit.record(tx, where, "session.end", actor_id=principal.user_id, obj=principal.credential_id)

    await request.app[DB].write(change)
    return Reply(None, status=204, headers=cookie(request, "", lifetime=0) if principal.kind == "web" else None)


@routes.post("/auth/password/forgot", policy=OPEN, status=202)
async def forgot(request: web.Request, body: EmailAddress) -> MailSent:
    """Ask for a link by mail to choose a new password."""
    request.app[RATES].check("account-mail", address(request))
    request.app[SIGNIN].later.soon(_mail_reset(request.app, check_email(body.email)))
    return MailSent()


@routes.post("/auth/password/reset", policy=OPEN, status=204)
async def reset(request: web.Request, body: PasswordReset) -> None:
    """Choose a new password with the code from a link; every session of the account ends."""
    request.app[RATES].check("sign-in-address", address(request))
    user = await request.app[DB].read(lambda db: _whose(db, codes.find(db, body.token, "reset")))
    check_password(body.password, email=user.email, display_name=user.display_name)
    hashed = await request.app[PASSWORDS].hash(body.password)

    def change(tx: Tx) -> None:
        code = codes.use(tx, body.token, "reset")
        found = _whose(tx, code)
        users.set_password(tx, found, password_hash=hashed)
        if code.payload.get("mailed") and email_key(code.email) == email_key(found.email):
            users.set_email(tx, found, email=found.email, verified=True)
        codes.end_all(tx, found.id)
        sessions.end_all(tx, found.id)
        audit.record(tx, origin(request), "password.reset", actor_id=found.id, obj=found.id)

    await request.app[DB].write(change)
    forgive(request.app, email_key(user.email))
    request.app[SIGNIN].later.soon(letters.password_changed(request.app, user.email))


@routes.post("/auth/email/verify", policy=OPEN)
async def verify(request: web.Request, body: OneTimeCode) -> User:
    """Use the code from a link: it finishes a sign-up, or confirms an account's new address."""
    request.app[RATES].check("sign-in-address", address(request))

    def change(tx: Tx) -> User:
        code = codes.use(tx, body.token, "signup", "email")
        if code.purpose == "signup":
            return _join(tx, request, code.email, code.payload, verified=True)
        user = users.set_email(tx, _whose(tx, code), email=code.email, verified=True)
        audit.record(tx, origin(request), "user.email", actor_id=user.id, obj=user.id)
        return user

    return await request.app[DB].write(change)


@routes.post("/auth/email/resend", policy=OPEN, status=202)
async def resend(request: web.Request, body: EmailAddress) -> MailSent:
    """Send the mail of an unfinished sign-up, or of an address that was never confirmed, once more."""
    request.app[RATES].check("account-mail", address(request))
    request.app[SIGNIN].later.soon(_mail_again(request.app, check_email(body.email)))
    return MailSent()


def _checked(email: str, display_name: str, password: str) -> tuple[str, str]:
    """The address and the name as they are kept. Invalid when one of the three breaks a rule."""
    email, name = check_email(email), users.check_name(display_name)
    check_password(password, email=email, display_name=name)
    return email, name


def _may_join(db: Reader, request: web.Request, email: str, invitation: str | None) -> Held | None:
    """The invitation that is used. Forbidden when the rules of this server do not let this person in."""
    rule = request.app[ACCOUNTS].signup
    if rule == "closed":
        raise Forbidden("Accounts are made by the administrators of this server.")
    if invitation is None:
        if rule == "invite":
            raise Forbidden("Signing up takes an invitation here.")
        return None
    found = invitations.standing(db, invitation)
    invitations.check_for(found, email=email)
    return found


def _join(tx: Tx, request: web.Request, email: str, made: dict[str, str | None], *, verified: bool) -> User:
    """Make the account that was asked for, and its place in the workspace that it was invited to."""
    where, invitation = origin(request), made["invitation"]
    try:
        held = _may_join(tx, request, email, invitation)
    except Gone:
        if request.app[ACCOUNTS].signup != "open":
            raise
        held = None  # the invitation fell while the mail was on its way; whoever may come uninvited still may
    user = users.create(
        tx,
        email=email,
        display_name=made["display_name"] or "",
        password_hash=made["password_hash"],
        verified=verified,
        device=where.device,
    )
    audit.record(tx, where, "user.signup", actor_id=user.id, obj=user.id)
    if held is not None:
        invitations.accept(tx, Actor(user_id=user.id, device=where.device), held, email=email)
        audit.record(
            tx,
            where,
            "invitation.accept",
            actor_id=user.id,
            obj=held.id,
            workspace_id=held.workspace_id,
            role=held.role,
        )
    return user


async def _mail_signup(request: web.Request, email: str, made: dict[str, str | None]) -> None:
    """The same work and the same answer whether the address is free or not; the mail tells the difference."""
    app = request.app

    def change(tx: Tx) -> tuple[str, bool]:
        code = codes.issue(tx, "signup", email=email, lifetime=MAIL_CODE, payload=made)
        return code, users.login(tx, email) is not None

    code, known = await app[DB].write(change)
    app[SIGNIN].later.soon(letters.exists(app, email) if known else letters.verify(app, email, code))


async def _mail_reset(app: web.Application, email: str) -> None:
    if app[MAILER] is None:
        return
    app[RATES].check("account-mail", f"mailbox {email_key(email)}")

    def change(tx: Tx) -> tuple[str, str] | None:
        found = users.login(tx, email)
        if found is None:
            return None
        lifetime = app[ACCOUNTS].reset_code * clock.SECOND
        code = codes.issue(
            tx, "reset", email=found.email, user_id=found.id, lifetime=lifetime, payload={"mailed": "yes"}
        )
        return found.email, code

    issued = await app[DB].write(change)
    if issued is not None:
        await letters.reset(app, *issued)


async def _mail_again(app: web.Application, email: str) -> None:
    if app[MAILER] is None:
        return
    app[RATES].check("account-mail", f"mailbox {email_key(email)}")
    lifetime = MAIL_CODE

    def change(tx: Tx) -> tuple[str, str, bool] | None:
        known = users.login(tx, email)
        waiting = codes.pending(tx, "signup", email=email)
        if known is None and waiting is not None:
            code = codes.issue(tx, "signup", email=waiting.email, lifetime=lifetime, payload=waiting.payload)
            return waiting.email, code, True
        if known is None or users.find(tx, known.id).email_verified:
            return None
        return known.email, codes.issue(tx, "email", email=known.email, user_id=known.id, lifetime=lifetime), False

    issued = await app[DB].write(change)
    if issued is not None:
        to, code, signs_up = issued
        await (letters.verify if signs_up else letters.confirm)(app, to, code)


def _whose(db: Reader, code: Code) -> User:
    """The account of a code. Gone when it was disabled or deleted since."""
    if code.user_id is None or users.login(db, users.find(db, code.user_id).email) is None:
        raise Gone("This link has been used or has expired: ask for a new one.")
    return users.find(db, code.user_id)


def _is_set_up() -> Conflict:
    return Conflict("This server has an account already: setup is over.")
