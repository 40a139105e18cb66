"""Documents as JSON, kept by their state: what is shown is mostly what has been shown before.

Nothing here gets stale: a state never names two different documents (see documents.State), what differs between askers
is part of the key, and all is dropped when a person's name changes. Only glances use it, so one thread does.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec
from aiohttp import web

from mdserver.model import documents
from mdserver.model.access import Principal, Role, Scope
from mdserver.model.documents import Head, State
from mdserver.store.db import Database, Reader

MOST_BYTES = 32 << 20
LONGEST = 32 << 10
"""Bytes of JSON up to which a document is kept with its text."""

_OVERHEAD = 500  # bytes that an entry takes beside its JSON, about

_encode = msgspec.json.Encoder().encode

_Key = tuple[State, bool, Role, tuple[Scope, ...], bool]
"""State, favourite, role, scopes; whether its text is there too."""


class Shelf:
    """Encoded documents with and without their texts, up to so many bytes; those that came first go first."""

    def __init__(self, database: Database, *, most: int = MOST_BYTES) -> None:
        self._most = most
        self._kept: OrderedDict[_Key, bytes] = OrderedDict()
        self._size = 0
        database.listen("user", lambda _: self.clear())

    def clear(self) -> None:
        self._kept.clear()
        self._size = 0

    def listed(
        self, db: Reader, who: Principal, workspace_id: str, states: list[State], *, role: Role
    ) -> list[msgspec.Raw]:
        """The documents in these states, without their texts, for somebody who has entered their workspace."""
        if not states:
            return []
        scopes, kept = who.scopes, self._kept if db.glancing else {}
        favourites = documents.favoured(db, who, [one.id for one in states])
        shown = {one.id: kept.get((one, one.id in favourites, role, scopes, False)) for one in states}
        lacking = [id for id, made in shown.items() if made is None]
        if lacking:
            for one in documents.by_ids(db, who, workspace_id, lacking, role=role):
                shown[one.id] = made = _encode(one)
                if db.glancing:
                    state = State(one.id, one.version, one.revision)
                    self._keep((state, one.favourite, role, scopes, False), made)
        return [msgspec.Raw(made) for made in shown.values() if made is not None]

    def whole(self, db: Reader, who: Principal, id: str, head: Head) -> bytes:
        """A found document in this state with its text, as JSON. For a glance, which is one snapshot."""
        key = (State(id, head.version, head.revision), head.favourite, head.role, who.scopes, True)
        made = self._kept.get(key)
        if made is None:
            made = _encode(documents.find_with_content(db, who, id))
            if len(made) <= LONGEST:
                self._keep(key, made)
        return made

    def _keep(self, key: _Key, made: bytes) -> None:
        self._kept[key] = made
        self._size += len(made) + _OVERHEAD
        while self._size > self._most:
            self._size -= len(self._kept.popitem(last=False)[1]) + _OVERHEAD


SHELF: web.AppKey[Shelf] = web.AppKey("shelf", Shelf)
