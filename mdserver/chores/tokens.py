"""Personal tokens, as operators manage them."""

from __future__ import annotations

import msgspec

from mdserver import clock
from mdserver.errors import NotFound
from mdserver.model import audit, tokens
from mdserver.model.access import Scope
from mdserver.model.audit import COMMAND_LINE
from mdserver.model.tokens import NewToken, PersonalToken
from mdserver.store.db import Tx

from .chore import House, account, chore, principal
from .users import UserAsk
from .workspaces import find


class TokenCreate(msgspec.Struct, kw_only=True):
    """`seconds` is the token's life, None for one without end."""

    who: str
    name: str
    scopes: list[Scope]
    workspace: str | None = None
    seconds: int | None = None


class TokenAsk(msgspec.Struct, kw_only=True):
    id: str


class Tokens(msgspec.Struct, kw_only=True):
    items: list[PersonalToken]


@chore
async def token_create(house: House, ask: TokenCreate) -> NewToken:
    """Make a token for an account; the answer is the only time that its secret is shown."""

    def change(tx: Tx) -> NewToken:
        me = principal(account(tx, ask.who))
        made = tokens.create(
            tx,
            me,
            name=ask.name,
            scopes=ask.scopes,
            workspace_id=find(tx, ask.workspace).id if ask.workspace is not None else None,
            expires_at=clock.now() + ask.seconds * clock.SECOND if ask.seconds is not None else None,
        )
        scopes = " ".join(made.scopes)
        audit.record(tx, COMMAND_LINE, "token.create", actor_id=None, obj=made.id, scopes=scopes, user=me.user_id)
        return made

    return await house.database.write(change)


@chore
async def token_list(house: House, ask: UserAsk) -> Tokens:
    """The tokens of an account that are not revoked."""
    return Tokens(
        items=await house.database.read(lambda db: tokens.of_user(db, account(db, ask.who).id, after="", limit=10_000))
    )


@chore
async def token_revoke(house: House, ask: TokenAsk) -> PersonalToken:
    """End a token at once, whoever it belongs to."""

    def change(tx: Tx) -> PersonalToken:
        owner = tx.value(str, "SELECT user_id FROM personal_tokens WHERE id = $1 AND revoked_at IS NULL", ask.id)
        if owner is None:
            raise NotFound(f"There is no token with the id {ask.id!r}.")
        found = tokens.find(tx, owner, ask.id)
        tokens.revoke(tx, found)
        audit.record(tx, COMMAND_LINE, "token.revoke", actor_id=None, obj=found.id, user=owner)
        return found

    return await house.database.write(change)
