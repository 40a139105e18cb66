"""Personal access tokens: what programs sign in with. The only writer of personal_tokens."""

from __future__ import annotations

import msgspec

from mdserver import clock, crypto, ids
from mdserver.errors import Invalid, NotFound
from mdserver.store.db import Reader, Tx
from mdserver.store.rows import Time
from mdserver.text import clean

from . import workspaces
from .access import SCOPES, Principal, Scope
from .sessions import TOUCHED_EVERY, Known

LONGEST_NAME = 100
_NEVER = 1 << 62
_YEAR_10000 = 253_402_300_800_000  # RFC 3339 ends before


class PersonalToken(msgspec.Struct, kw_only=True):
    """A personal token as its owner sees it. `hint` is the secret's end; with `workspace_id` it sees that one only."""

    id: str
    name: str
    hint: str
    scopes: list[Scope]
    workspace_id: str | None
    created_at: Time
    used_at: Time | None
    expires_at: Time | None


class NewToken(PersonalToken, kw_only=True):
    """A token at its making, the only time that its secret is shown."""

    token: str


class _Found(msgspec.Struct, kw_only=True):
    id: str
    user_id: str
    name: str
    scopes: list[Scope]
    workspace_id: str | None
    used_at: int | None
    expires_at: int | None
    display_name: str
    avatar_url: str | None
    admin_at: int | None


_OF = (
    "SELECT t.id, t.user_id, t.name, t.scopes, t.workspace_id, t.used_at, t.expires_at,"
    " u.display_name, u.avatar_url, u.admin_at FROM personal_tokens t JOIN users u ON u.id = t.user_id"
    " WHERE t.revoked_at IS NULL AND u.disabled_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > $1)"
)
_SELECT = "SELECT id, name, hint, scopes, workspace_id, created_at, used_at, expires_at FROM personal_tokens"


def create(
    tx: Tx, me: Principal, *, name: str, scopes: list[Scope], workspace_id: str | None, expires_at: int | None
) -> NewToken:
    """A token that may do no more than the asker's own credential; `expires_at` is in ms, None for never."""
    name = clean(name, pointer="/name", minimum=1, maximum=LONGEST_NAME)
    if not scopes or not set(scopes) <= set(me.scopes):
        raise Invalid(f"Name one or more of the scopes {', '.join(me.scopes)}.", pointer="/scopes")
    if workspace_id is not None:
        workspaces.enter(tx, me, workspace_id)
    if expires_at is not None and not clock.now() < expires_at < _YEAR_10000:
        raise Invalid("Name a moment in the future, or null for a token that does not expire.", pointer="/expires_at")
    made, secret = ids.new(), crypto.new_token(crypto.PERSONAL)
    tx.run(
        "INSERT INTO personal_tokens (id, user_id, name, hash, hint, scopes, workspace_id, created_at, expires_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        made,
        me.user_id,
        name,
        crypto.token_hash(secret),
        secret[-4:],
        msgspec.json.encode([one for one in SCOPES if one in scopes]).decode(),
        workspace_id,
        clock.now(),
        expires_at,
    )
    return NewToken(token=secret, **msgspec.structs.asdict(find(tx, me.user_id, made)))


def find(db: Reader, user_id: str, token_id: str) -> PersonalToken:
    """One of an account's own tokens that are not revoked. NotFound when it has no such one."""
    found = db.first(
        PersonalToken, f"{_SELECT} WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL", token_id, user_id
    )
    if found is None:
        raise NotFound("You have no such token.")
    return found


def of_user(db: Reader, user_id: str, *, after: str, limit: int) -> list[PersonalToken]:
    """Tokens that are not revoked, expired ones too, in order of id, `limit` of them after the id `after`."""
    return db.all(
        PersonalToken,
        f"{_SELECT} WHERE user_id = $1 AND id > $2 AND revoked_at IS NULL ORDER BY id LIMIT $3",
        user_id,
        after,
        limit,
    )


def revoke(tx: Tx, token: PersonalToken) -> None:
    """End a found token at once."""
    tx.run("UPDATE personal_tokens SET revoked_at = $1 WHERE id = $2", clock.now(), token.id)
    tx.announce("token", token.id)


def look_up(db: Reader, token_hash: bytes) -> Known | None:
    """Who presents this token; None when it is unknown, revoked, expired or of a disabled account."""
    return _known(db.first(_Found, f"{_OF} AND t.hash = $2", clock.now(), token_hash))


def still(db: Reader, token_id: str) -> Principal | None:
    """Who a token is of, as long as it is good."""
    known = _known(db.first(_Found, f"{_OF} AND t.id = $2", clock.now(), token_id))
    return None if known is None else known.principal


def touch(tx: Tx, token_id: str) -> None:
    """Note that a token was used."""
    now = clock.now()
    tx.run(
        "UPDATE personal_tokens SET used_at = $1 WHERE id = $2 AND (used_at IS NULL OR used_at <= $3)",
        now,
        token_id,
        now - TOUCHED_EVERY,
    )


def forget_old(tx: Tx, *, kept: int = 90 * clock.DAY, limit: int = 500) -> int:
    """Delete tokens that were revoked `kept` ms ago; how many, at most `limit`."""
    return tx.run(
        "DELETE FROM personal_tokens WHERE id IN"
        f" (SELECT id FROM personal_tokens WHERE revoked_at <= $1 LIMIT {limit:d})",
        clock.now() - kept,
    )


def _known(found: _Found | None) -> Known | None:
    if found is None:
        return None
    principal = Principal(
        user_id=found.user_id,
        device=found.name,
        display_name=found.display_name,
        avatar_url=found.avatar_url,
        is_admin=found.admin_at is not None,
        kind="token",
        credential_id=found.id,
        authenticated_at=0,
        scopes=tuple(found.scopes),
        workspace_id=found.workspace_id,
    )
    return Known(principal=principal, expires_at=found.expires_at or _NEVER, used_at=found.used_at or 0)
