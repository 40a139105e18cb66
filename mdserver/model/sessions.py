"""Sign-ins and their secrets: start, look up, refresh, end. The only writer of sessions and tokens."""

from __future__ import annotations

from typing import Literal, cast

import msgspec

from mdserver import clock, crypto, ids
from mdserver.errors import NotFound
from mdserver.store.db import Reader, Tx
from mdserver.store.rows import Time

from . import audit
from .access import Principal
from .audit import Origin

Kind = Literal["app", "web"]


class Lifetimes(msgspec.Struct, frozen=True, kw_only=True):
    """How long what proves a sign-in is good for (ms)."""

    access: int = 10 * clock.MINUTE
    refresh_idle: int = 30 * clock.DAY
    web_idle: int = 14 * clock.DAY
    absolute: int = 180 * clock.DAY
    grace: int = 30 * clock.SECOND
    """Within it, a refresh whose answer was lost may be repeated by the same client."""


TOUCHED_EVERY = clock.MINUTE
"""Use is noted no finer than this, so that reading does not write."""


class Session(msgspec.Struct, kw_only=True):
    """A sign-in as its owner sees it."""

    id: str
    kind: Kind
    device: str
    address: str
    current: bool = False
    created_at: Time
    used_at: Time
    expires_at: Time


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Fresh secrets of an app's session. `expires_at` is the access token's end (ms)."""

    session_id: str
    user_id: str
    access_token: str
    refresh_token: str
    expires_at: int


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What a token says: who asks, until when it may be believed (ms), and when its use was last noted (ms)."""

    principal: Principal
    expires_at: int
    used_at: int


class _Found(msgspec.Struct, kw_only=True):
    """A token with its session and account, where the session has not ended and the account may sign in."""

    id: str
    user_id: str
    kind: Kind
    device: str
    address: str
    authenticated_at: int
    used_at: int
    expires_at: int
    ends_at: int
    token_expires_at: int
    rotated_at: int | None
    salt: bytes | None
    display_name: str
    avatar_url: str | None
    admin_at: int | None


def start_app(tx: Tx, user_id: str, *, origin: Origin, lifetimes: Lifetimes) -> Pair:
    """Sign an app in: an access token, and a refresh token that lives on by being used."""
    session_id, ends_at = _start(tx, user_id, "app", origin, idle=lifetimes.refresh_idle, absolute=lifetimes.absolute)
    pair = Pair(
        session_id=session_id,
        user_id=user_id,
        access_token=crypto.new_token(crypto.ACCESS),
        refresh_token=crypto.new_token(crypto.REFRESH),
        expires_at=min(clock.now() + lifetimes.access, ends_at),
    )
    _keep_pair(tx, pair, refresh_expires_at=min(clock.now() + lifetimes.refresh_idle, ends_at))
    return pair


def start_web(tx: Tx, user_id: str, *, origin: Origin, lifetimes: Lifetimes) -> str:
    """Sign a browser in; the cookie's value."""
    session_id, ends_at = _start(tx, user_id, "web", origin, idle=lifetimes.web_idle, absolute=lifetimes.absolute)
    cookie = crypto.new_token(crypto.COOKIE)
    _keep(tx, cookie, session_id, "cookie", expires_at=ends_at)
    return cookie


def look_up(db: Reader, token_hash: bytes, kind: Literal["access", "cookie"]) -> Known | None:
    """Who presents this token; None when it is unknown, expired, of an ended session or of a disabled account."""
    found = _find(db, token_hash, kind)
    if found is None or found.token_expires_at <= clock.now():
        return None
    expires_at = min(found.token_expires_at, found.expires_at, found.ends_at)
    return Known(principal=_principal(found), expires_at=expires_at, used_at=found.used_at)


def still(db: Reader, session_id: str) -> Principal | None:
    """Who a session is of, as long as it has not ended and the account may sign in."""
    now = clock.now()
    found = db.first(
        _Found,
        "SELECT s.id, s.user_id, s.kind, s.device, s.address, s.authenticated_at, s.used_at, s.expires_at, s.ends_at,"
        " s.ends_at AS token_expires_at, NULL AS rotated_at, NULL AS salt, u.display_name, u.avatar_url, u.admin_at"
        " FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.id = $1 AND s.ended_at IS NULL"
        " AND s.expires_at > $2 AND s.ends_at > $2 AND u.disabled_at IS NULL",
        session_id,
        now,
    )
    return None if found is None else _principal(found)


def refresh(tx: Tx, refresh_token: str, *, origin: Origin, lifetimes: Lifetimes) -> Pair | None:
    """Exchange a refresh token for the next pair, or None when it is no good.

    A token that was exchanged before betrays that two parties have it: its session ends. Only the same client asking
    again within the grace, whose answer was lost on the way, gets the same pair again. None is returned, not raised,
    since the session's end must be committed.
    """
    hashed, now = crypto.token_hash(refresh_token), clock.now()
    found = _find(tx, hashed, "refresh")
    if found is None or found.token_expires_at <= now:
        return None
    if found.rotated_at is None:
        return _rotate(tx, refresh_token, found, origin, lifetimes)
    again = now - found.rotated_at <= lifetimes.grace
    if again and (found.device, found.address) == (origin.device, origin.address):
        return _same_pair(tx, refresh_token, found)
    end(tx, found.id)
    audit.record(tx, origin, "session.reuse", actor_id=found.user_id, obj=found.id)
    return None


def touch(tx: Tx, session_id: str) -> None:
    """Note that a session was used; a browser's lives on by it for as long as it was given, an app's by refreshing."""
    now = clock.now()
    tx.run(
        "UPDATE sessions SET used_at = $1, expires_at = CASE WHEN kind = 'app' THEN expires_at"
        " WHEN expires_at - used_at + $1 > ends_at THEN ends_at ELSE expires_at - used_at + $1 END"
        " WHERE id = $2 AND used_at <= $3 AND ended_at IS NULL",
        now,
        session_id,
        now - TOUCHED_EVERY,
    )


def of_user(db: Reader, user_id: str, *, current: str, after: str, limit: int) -> list[Session]:
    """The sign-ins that are still good, in order of id (the oldest first), `limit` of them after the id `after`."""
    found = db.all(
        Session,
        "SELECT id, kind, device, address, created_at, used_at, expires_at FROM sessions"
        " WHERE user_id = $1 AND id > $2 AND ended_at IS NULL AND expires_at > $3 ORDER BY id LIMIT $4",
        user_id,
        after,
        clock.now(),
        limit,
    )
    for one in found:
        one.current = one.id == current
    return found


def knows(db: Reader, user_id: str, address: str) -> bool:
    """Whether the account has signed in from this address before."""
    return (
        db.value(int, "SELECT 1 FROM sessions WHERE user_id = $1 AND address = $2 LIMIT 1", user_id, address)
        is not None
    )


def end_of(tx: Tx, user_id: str, session_id: str) -> None:
    """End one of an account's own sign-ins. NotFound when it has no such one."""
    mine = tx.value(
        str, "SELECT id FROM sessions WHERE id = $1 AND user_id = $2 AND ended_at IS NULL", session_id, user_id
    )
    if mine is None:
        raise NotFound("You have no such session.")
    end(tx, session_id)


def end(tx: Tx, session_id: str) -> None:
    """End a sign-in: its secrets are deleted, and everybody who knows it hears of it."""
    tx.run("DELETE FROM tokens WHERE session_id = $1", session_id)
    tx.run("UPDATE sessions SET ended_at = $1 WHERE id = $2 AND ended_at IS NULL", clock.now(), session_id)
    tx.announce("session", session_id)


def end_all(tx: Tx, user_id: str, *, but: str | None = None) -> int:
    """End every sign-in of an account, but for one if it is given; how many."""
    open_ones = tx.column(str, "SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL", user_id)
    ending = [one for one in open_ones if one != but]
    for one in ending:
        end(tx, one)
    if but is None:
        tx.announce("user", user_id)
    return len(ending)


def forget_old(tx: Tx, *, kept: int = 90 * clock.DAY, limit: int = 500) -> int:
    """Delete expired tokens, and sessions that ended `kept` ms ago; how many of both. At most `limit` of each."""
    now = clock.now()
    return tx.run(
        f"DELETE FROM tokens WHERE hash IN (SELECT hash FROM tokens WHERE expires_at <= $1 LIMIT {limit:d})", now
    ) + tx.run(
        "DELETE FROM sessions WHERE id IN"
        f" (SELECT id FROM sessions WHERE expires_at <= $1 OR ended_at <= $1 LIMIT {limit:d})",
        now - kept,
    )


def _start(tx: Tx, user_id: str, kind: Kind, origin: Origin, *, idle: int, absolute: int) -> tuple[str, int]:
    session_id, now = ids.new(), clock.now()
    tx.run(
        "INSERT INTO sessions (id, user_id, kind, device, address, created_at, authenticated_at, used_at, expires_at,"
        " ends_at) VALUES ($1, $2, $3, $4, $5, $6, $6, $6, $7, $8)",
        session_id,
        user_id,
        kind,
        origin.device,
        origin.address,
        now,
        now + min(idle, absolute),
        now + absolute,
    )
    return session_id, now + absolute


def _keep_pair(tx: Tx, pair: Pair, *, refresh_expires_at: int) -> None:
    _keep(tx, pair.access_token, pair.session_id, "access", expires_at=pair.expires_at)
    _keep(tx, pair.refresh_token, pair.session_id, "refresh", expires_at=refresh_expires_at)


def _keep(tx: Tx, token: str, session_id: str, kind: str, *, expires_at: int) -> None:
    tx.run(
        "INSERT INTO tokens (hash, session_id, kind, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)",
        crypto.token_hash(token),
        session_id,
        kind,
        clock.now(),
        expires_at,
    )


def _find(db: Reader, token_hash: bytes, kind: str) -> _Found | None:
    now = clock.now()
    return db.first(
        _Found,
        "SELECT s.id, s.user_id, s.kind, s.device, s.address, s.authenticated_at, s.used_at, s.expires_at, s.ends_at,"
        " t.expires_at AS token_expires_at, t.rotated_at, t.salt, u.display_name, u.avatar_url, u.admin_at"
        " FROM tokens t JOIN sessions s ON s.id = t.session_id JOIN users u ON u.id = s.user_id"
        " WHERE t.hash = $1 AND t.kind = $2 AND s.ended_at IS NULL AND s.expires_at > $3 AND s.ends_at > $3"
        " AND u.disabled_at IS NULL",
        token_hash,
        kind,
        now,
    )


def _principal(found: _Found) -> Principal:
    return Principal(
        user_id=found.user_id,
        device=found.device,
        display_name=found.display_name,
        avatar_url=found.avatar_url,
        is_admin=found.admin_at is not None,
        kind=found.kind,
        credential_id=found.id,
        authenticated_at=found.authenticated_at,
    )


def _rotate(tx: Tx, old: str, found: _Found, origin: Origin, lifetimes: Lifetimes) -> Pair:
    now, salt = clock.now(), crypto.new_salt()
    idle_end = min(now + lifetimes.refresh_idle, found.ends_at)
    pair = _successors(old, salt, found, expires_at=min(now + lifetimes.access, found.ends_at))
    tx.run("UPDATE tokens SET rotated_at = $1, salt = $2 WHERE hash = $3", now, salt, crypto.token_hash(old))
    tx.run("DELETE FROM tokens WHERE session_id = $1 AND kind = 'access' AND expires_at <= $2", found.id, now)
    tx.run(
        "UPDATE sessions SET used_at = $1, expires_at = $2, device = $3, address = $4 WHERE id = $5",
        now,
        idle_end,
        origin.device,
        origin.address,
        found.id,
    )
    _keep_pair(tx, pair, refresh_expires_at=idle_end)
    return pair


def _same_pair(tx: Tx, old: str, found: _Found) -> Pair:
    pair = _successors(old, cast(bytes, found.salt), found, expires_at=0)
    expires_at = tx.value(int, "SELECT expires_at FROM tokens WHERE hash = $1", crypto.token_hash(pair.access_token))
    return msgspec.structs.replace(pair, expires_at=expires_at or clock.now())


def _successors(old: str, salt: bytes, found: _Found, *, expires_at: int) -> Pair:
    return Pair(
        session_id=found.id,
        user_id=found.user_id,
        access_token=crypto.successor(old, salt, crypto.ACCESS),
        refresh_token=crypto.successor(old, salt, crypto.REFRESH),
        expires_at=expires_at,
    )
