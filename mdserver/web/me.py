"""One's own account: profile, password, address, sessions, personal tokens."""

from __future__ import annotations

import msgspec
from aiohttp import web

from mdserver import clock, ids
from mdserver.crypto import check_password
from mdserver.errors import Invalid, NotFound
from mdserver.model import audit, codes, sessions, tokens, users
from mdserver.model.access import Scope
from mdserver.model.sessions import Session
from mdserver.model.tokens import NewToken, PersonalToken
from mdserver.model.users import User
from mdserver.store.db import Reader, Tx
from mdserver.text import check_email, email_key

from . import letters
from .accounts import PASSWORDS, prove_again
from .api import DB, RATES, RECENT, SIGNED_IN, WHOLE_ACCOUNT, Reply, Routes, link, me
from .letters import MAILER
from .once import once
from .paging import Page, Paging, after, page
from .signin import SIGNIN, cookie, origin

routes = Routes("me")


class Profile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    display_name: str | msgspec.UnsetType = msgspec.UNSET


class Goodbye(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    password: str = ""


class PasswordChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    current_password: str = ""
    new_password: str


class EmailChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    email: str
    password: str = ""


class TokenWanted(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """`expires_at` is RFC 3339, or null for a token that does not expire."""

    name: str
    scopes: list[Scope]
    workspace_id: str | None = None
    expires_at: str | None = None


@routes.get("/me", policy=SIGNED_IN)
def show(request: web.Request, db: Reader) -> User:
    """Show one's own account."""
    return users.find(db, me(request).user_id)


@routes.patch("/me", policy=WHOLE_ACCOUNT)
async def change_profile(request: web.Request, body: Profile) -> User:
    """Change how others see oneself."""
    principal = me(request)

    def change(tx: Tx) -> User:
        user, name = users.find(tx, principal.user_id), body.display_name
        return user if name is msgspec.UNSET else users.rename(tx, user, display_name=name)

    return await request.app[DB].write(change)


@routes.delete("/me", policy=RECENT)
async def delete(request: web.Request, body: Goodbye) -> Reply[None]:
    """Delete one's account for ever, with the workspaces that nobody else belongs to.

    Refused while one is the only owner of a workspace with other members, or the server's last administrator.
    """
    user = await prove_again(request, body.password)

    def change(tx: Tx) -> None:
        users.delete(tx, me(request), user)
        audit.record(tx, origin(request), "user.delete", actor_id=user.id, obj=user.id)

    await request.app[DB].write(change)
    return Reply(None, headers=cookie(request, "", lifetime=0) if me(request).kind == "web" else None)


@routes.put("/me/password", policy=RECENT, status=204)
async def change_password(request: web.Request, body: PasswordChange) -> None:
    """Choose another password; one's other sessions end, personal tokens stay."""
    user = await prove_again(request, body.current_password)
    check_password(body.new_password, email=user.email, display_name=user.display_name, pointer="/new_password")
    hashed = await request.app[PASSWORDS].hash(body.new_password)

    def change(tx: Tx) -> None:
        users.set_password(tx, user, password_hash=hashed)
        codes.end_all(tx, user.id)
        sessions.end_all(tx, user.id, but=me(request).credential_id)
        audit.record(tx, origin(request), "password.change", actor_id=user.id, obj=user.id)

    await request.app[DB].write(change)
    request.app[SIGNIN].later.soon(letters.password_changed(request.app, user.email))


@routes.put("/me/email", policy=RECENT)
async def change_email(request: web.Request, body: EmailChange) -> User:
    """Change one's e-mail address.

    Where the server sends mail, the new address takes effect once the code mailed to it is used; the answer shows the
    present one.
    """
    user, email = await prove_again(request, body.password), check_email(body.email)
    if request.app[MAILER] is not None:
        request.app[RATES].check("account-mail", user.id)
        return await _ask_new_address(request, user, email)

    same = email_key(email) == email_key(user.email)  # another spelling of an address is as verified as it was

    def change(tx: Tx) -> User:
        audit.record(tx, origin(request), "user.email", actor_id=user.id, obj=user.id)
        return users.set_email(tx, user, email=email, verified=same and user.email_verified)

    return await request.app[DB].write(change)


@routes.get("/me/sessions", policy=WHOLE_ACCOUNT, scope="admin")
async def list_sessions(request: web.Request, query: Paging) -> Reply[Page[Session]]:
    """List where one is signed in."""
    principal, (start,) = me(request), after(query, ("",))
    found = await request.app[DB].read(
        lambda db: sessions.of_user(
            db, principal.user_id, current=principal.credential_id, after=start, limit=query.limit + 1
        )
    )
    return page(request, query, found, lambda one: (one.id,))


@routes.delete("/me/sessions", policy=WHOLE_ACCOUNT, scope="admin")
async def end_other_sessions(request: web.Request) -> None:
    """End all of one's sessions but this one."""
    principal, where = me(request), origin(request)

    def change(tx: Tx) -> None:
        ended = sessions.end_all(tx, principal.user_id, but=principal.credential_id)
        audit.record(tx, where, "session.end", actor_id=principal.user_id, obj=principal.user_id, sessions=ended)

    await request.app[DB].write(change)


@routes.delete("/me/sessions/{session}", policy=WHOLE_ACCOUNT, scope="admin")
async def end_session(request: web.Request, session: str) -> None:
    """End one of one's sessions."""
    principal, where = me(request), origin(request)

    def change(tx: Tx) -> None:
        sessions.end_of(tx, principal.user_id, session)
        audit.record(tx, where, "session.end", actor_id=principal.user_id, obj=session)

    await request.app[DB].write(change)


@routes.get("/me/tokens", policy=WHOLE_ACCOUNT, scope="admin")
async def list_tokens(request: web.Request, query: Paging) -> Reply[Page[PersonalToken]]:
    """List one's personal tokens."""
    principal, (start,) = me(request), after(query, ("",))
    found = await request.app[DB].read(
        lambda db: tokens.of_user(db, principal.user_id, after=start, limit=query.limit + 1)
    )
    return page(request, query, found, lambda one: (one.id,))


@routes.post("/me/tokens", policy=RECENT, status=201, creates=True, scope="admin", refuses=(NotFound,))
async def create_token(request: web.Request, body: TokenWanted) -> Reply[NewToken]:
    """Make a personal token for a program.

    Its secret is shown in this answer only. With `workspace_id` the token sees that workspace alone.
    """
    principal, where, expires_at = me(request), origin(request), _moment(body.expires_at)
    if body.workspace_id is not None and not ids.is_id(body.workspace_id):
        raise NotFound("There is no such workspace, or you cannot see it.")

    def change(tx: Tx) -> NewToken:
        made = tokens.create(
            tx,
            principal,
            name=body.name,
            scopes=body.scopes,
            workspace_id=body.workspace_id,
            expires_at=expires_at,
        )
        scopes = " ".join(made.scopes)
        audit.record(tx, where, "token.create", actor_id=principal.user_id, obj=made.id, scopes=scopes)
        return made

    made = await once(request, change, again=None, result=lambda one: one.id, body=body)
    headers = {"Location": link(request, f"/api/v1/me/tokens/{made.id}"), "Cache-Control": "no-store"}
    return Reply(made, headers=headers)


@routes.delete("/me/tokens/{token}", policy=WHOLE_ACCOUNT, scope="admin")
async def revoke_token(request: web.Request, token: str) -> None:
    """End one of one's personal tokens."""
    principal, where = me(request), origin(request)

    def change(tx: Tx) -> None:
        found = tokens.find(tx, principal.user_id, token)
        tokens.revoke(tx, found)
        audit.record(tx, where, "token.revoke", actor_id=principal.user_id, obj=found.id)

    await request.app[DB].write(change)


async def _ask_new_address(request: web.Request, user: User, email: str) -> User:
    """Mail a code to the new address and a warning to the present one; whether the new one is free shows at its use."""
    app = request.app

    def change(tx: Tx) -> str:
        audit.record(tx, origin(request), "user.email_asked", actor_id=user.id, obj=user.id)
        return codes.issue(tx, "email", email=email, user_id=user.id, lifetime=clock.DAY)

    code = await app[DB].write(change)
    app[SIGNIN].later.soon(letters.confirm(app, email, code))
    app[SIGNIN].later.soon(letters.moving(app, user.email))
    return user


def _moment(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return clock.parse(text)
    except (ValueError, OverflowError):
        raise Invalid("This is not a moment such as 2026-01-31T12:00:00Z.", pointer="/expires_at") from None
