"""What a chore is, and the house it is done in."""

from __future__ import annotations

import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from mdserver import ids
from mdserver.errors import NotFound
from mdserver.model import users
from mdserver.model.access import Actor, Principal
from mdserver.store.db import Reader

if typing.TYPE_CHECKING:
    from mdserver.config import Config
    from mdserver.crypto import Passwords
    from mdserver.jobs.timetable import Timetable
    from mdserver.model.updates import Door
    from mdserver.store.db import Database

Ask = TypeVar("Ask", bound=msgspec.Struct)
Answer = TypeVar("Answer", bound=msgspec.Struct)

DEVICE = "mdserver command line"
OPERATOR = Actor(user_id="", device=DEVICE)
"""Who acts where nobody's account does: whoever may read the data directory."""


@dataclass(frozen=True, slots=True)
class House:
    """What a chore may use. `url` is where people reach the server, `run` the run of it that does the chore (`/version`
    names it; empty where no server runs), and `has_accounts` is told of the first account.
    """

    config: Config
    database: Database
    door: Door
    passwords: Passwords
    timetable: Timetable
    url: str
    run: str = ""
    has_accounts: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Chore(Generic[Ask, Answer]):
    """One thing that can be asked for by name: a Struct in, a Struct out, a Problem when it cannot be."""

    name: str
    ask: type[Ask]
    answer: type[Answer]
    do: Callable[[House, Ask], Awaitable[Answer]]


def chore(function: Callable[[House, Ask], Awaitable[Answer]]) -> Chore[Ask, Answer]:
    """Make a chore of `async def noun_verb(house: House, ask: Struct) -> Struct`; the types are read from its hints."""
    hints = typing.get_type_hints(function, localns={"House": House})
    return Chore(function.__name__, hints["ask"], hints["return"], function)


def account(db: Reader, who: str) -> users.User:
    """The account with this e-mail address or id. NotFound when there is none."""
    if ids.is_id(who):
        return users.find(db, who)
    try:
        return users.find_by_email(db, who)
    except NotFound:
        raise NotFound(f"There is no account with the e-mail address {who!r}.") from None


def principal(user: users.User) -> Principal:
    """Somebody as whom the operator acts, with all that their roles allow."""
    return Principal(
        user_id=user.id,
        device=DEVICE,
        display_name=user.display_name,
        avatar_url=user.avatar_url,
        is_admin=user.is_admin,
        kind="app",
        credential_id="",
        authenticated_at=0,
    )
