"""Idempotency-Key: a creating POST that is sent again is answered alike, without a second effect."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeVar

import msgspec
from aiohttp import web

from mdserver import failpoints
from mdserver.errors import Malformed
from mdserver.model import idempotency
from mdserver.store.db import Reader, Tx

from .api import DB, me

T = TypeVar("T")


async def once(
    request: web.Request,
    create: Callable[[Tx], T],
    *,
    again: Callable[[Tx, str], T] | None,
    result: Callable[[T], str],
    body: msgspec.Struct | None = None,
    gates: tuple[str, ...] = (),
) -> T:
    """Run `create` as a unit of work, or, when this key has created already, `again` with the id of what it made.

    `again` authorises anew; None means that the first answer held a secret, which is not shown twice (Conflict).
    `result` gives the id to remember. Without the header it is a plain write.
    """
    given = _given(request, body)
    if given is None:
        return await request.app[DB].write(create, *gates)
    principal, (key, fingerprint) = me(request), given

    def change(tx: Tx) -> T:
        made = idempotency.find(tx, principal.user_id, key, fingerprint)
        if made is not None:
            return idempotency.repeat(tx, made, again)
        created = create(tx)
        failpoints.hit("key-due")
        idempotency.remember(tx, principal.user_id, key, fingerprint, result_id=result(created))
        return created

    return await request.app[DB].write(change, *gates)


async def earlier(request: web.Request, again: Callable[[Reader, str], T], *, body: msgspec.Struct) -> T | None:
    """What this key has created already, or None: for handlers that read what may be gone at a repetition."""
    given = _given(request, body)
    if given is None:
        return None
    principal, (key, fingerprint) = me(request), given

    def question(db: Reader) -> T | None:
        made = idempotency.find(db, principal.user_id, key, fingerprint)
        return None if made is None else again(db, made)

    return await request.app[DB].read(question)


def _given(request: web.Request, body: msgspec.Struct | None) -> tuple[str, bytes] | None:
    """The request's key, and what tells it from other requests."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not key.isascii() or not key.isprintable() or not 1 <= len(key.strip('"')) <= 200:
        raise Malformed("Idempotency-Key must be 1 to 200 printable ASCII characters.")
    fingerprint = hashlib.sha256(f"{request.method} {request.path}\n".encode() + msgspec.json.encode(body)).digest()
    return key, fingerprint
