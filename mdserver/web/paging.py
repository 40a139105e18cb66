"""Pages of a list: keyset cursors that clients cannot read anything into, and the Link to the next page (RFC 8288)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Annotated, Any, Generic, Protocol, TypeVar

import msgspec
from aiohttp import web

from mdserver.errors import Malformed

from .api import Reply

T = TypeVar("T")
Key = TypeVar("Key", bound=tuple[str | int, ...])

MOST = 200


class Paging(msgspec.Struct, frozen=True, kw_only=True):
    """The query of every list; lists with filters inherit it."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST)] = 50
    cursor: str | None = None


class Page(msgspec.Struct, Generic[T]):
    """Some of a list; `next_cursor` is null at its end."""

    items: list[T]
    next_cursor: str | None


class Cursored(Protocol):
    """A query with a cursor."""

    @property
    def cursor(self) -> str | None: ...


def after(query: Cursored, start: Key) -> Key:
    """The key to go on after: the cursor's, or `start` on the first page. Malformed when the cursor is not ours.

    A cursor of another list is refused by the types in `start`; one of the same types only moves within what the asker
    may see.
    """
    if query.cursor is None:
        return start
    kind: Any = tuple[tuple(type(one) for one in start)]  # type: ignore[misc] # made at run time
    try:
        data = base64.b64decode(query.cursor + "=" * (-len(query.cursor) % 4), altchars=b"-_", validate=True)
        key: Key = msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError):
        raise Malformed("The cursor is not one that this list gave.") from None
    if not all(_fits(one) for one in key):
        raise Malformed("The cursor is not one that this list gave.")
    return key


def cursor(key: tuple[str | int, ...]) -> str:
    """The opaque text for a key."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def page(
    request: web.Request, query: Paging, found: list[T], key: Callable[[T], tuple[str | int, ...]]
) -> Reply[Page[T]]:
    """The answer for a list that was asked for `limit + 1` items: the one too many says that there is a next page."""
    if len(found) <= query.limit:
        return Reply(Page(found, None))
    items = found[: query.limit]
    return paged(request, items, key(items[-1]))


def paged(request: web.Request, items: list[T], following: tuple[str | int, ...] | None) -> Reply[Page[T]]:
    """The answer for a page whose model has said after which key the next one begins (None: there is none)."""
    if following is None:
        return Reply(Page(items, None))
    opaque = cursor(following)
    link = request.rel_url.update_query(cursor=opaque)
    return Reply(Page(items, opaque), headers={"Link": f'<{link}>; rel="next"'})


def _fits(value: str | int) -> bool:
    """Whether both engines can compare with it: no NUL, 64 bits."""
    return "\0" not in value if isinstance(value, str) else -(1 << 63) <= value < 1 << 63
