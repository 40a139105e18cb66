"""One-time codes that travel in mails: sign-up, a new address, a forgotten password. The only writer of codes."""

from __future__ import annotations

from typing import Literal

import msgspec

from mdserver import clock, crypto
from mdserver.errors import Gone
from mdserver.store.db import Reader, Tx
from mdserver.text import email_key

Purpose = Literal["signup", "email", "reset"]


class Code(msgspec.Struct, kw_only=True):
    """What a code stands for. `payload` is what the purpose needs to go on."""

    purpose: Purpose
    user_id: str | None
    email: str
    payload: dict[str, str | None]


def issue(
    tx: Tx,
    purpose: Purpose,
    *,
    email: str,
    lifetime: int,
    user_id: str | None = None,
    payload: dict[str, str | None] | None = None,
) -> str:
    """A fresh code for this address; earlier ones of the same purpose, for it or for the account, end."""
    key, now, code = email_key(email), clock.now(), crypto.new_token(crypto.ONE_TIME)
    tx.run(
        "DELETE FROM codes WHERE purpose = $1 AND email_key = $2 AND (user_id IS NULL OR user_id = $3)",
        purpose,
        key,
        user_id or "",
    )
    if user_id is not None:
        tx.run("DELETE FROM codes WHERE purpose = $1 AND user_id = $2", purpose, user_id)
    tx.run(
        "INSERT INTO codes (hash, purpose, user_id, email, email_key, payload, created_at, expires_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        crypto.token_hash(code),
        purpose,
        user_id,
        email,
        key,
        msgspec.json.encode(payload or {}).decode(),
        now,
        now + lifetime,
    )
    return code


def find(db: Reader, code: str, *purposes: Purpose) -> Code:
    """What a code stands for, without spending it. Gone as with `use`."""
    found = db.first(
        Code,
        "SELECT purpose, user_id, email, payload FROM codes WHERE hash = $1 AND used_at IS NULL AND expires_at > $2",
        crypto.token_hash(code),
        clock.now(),
    )
    if found is None or found.purpose not in purposes:
        raise _gone()
    return found


def use(tx: Tx, code: str, *purposes: Purpose) -> Code:
    """Spend a code. Gone when it is unknown, expired, used or for something else: all alike to whoever tries."""
    found = tx.first(
        Code,
        "UPDATE codes SET used_at = $1 WHERE hash = $2 AND used_at IS NULL AND expires_at > $1"
        " RETURNING purpose, user_id, email, payload",
        clock.now(),
        crypto.token_hash(code),
    )
    if found is None or found.purpose not in purposes:
        raise _gone()
    return found


def pending(db: Reader, purpose: Purpose, *, email: str) -> Code | None:
    """The code that waits for this address, if there is one, so that it can be sent again."""
    return db.first(
        Code,
        "SELECT purpose, user_id, email, payload FROM codes"
        " WHERE email_key = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > $3"
        " ORDER BY created_at DESC LIMIT 1",
        email_key(email),
        purpose,
        clock.now(),
    )


def end_all(tx: Tx, user_id: str) -> None:
    """End every code of an account: what protects it has changed."""
    tx.run("DELETE FROM codes WHERE user_id = $1", user_id)


def forget_old(tx: Tx, *, limit: int = 500) -> int:
    """Delete codes past their time; how many, at most `limit`."""
    return tx.run(
        f"DELETE FROM codes WHERE hash IN (SELECT hash FROM codes WHERE expires_at <= $1 LIMIT {limit:d})", clock.now()
    )


def _gone() -> Gone:
    return Gone("This link has been used or has expired: ask for a new one.")
