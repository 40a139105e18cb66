"""Documents as JSON, kept by their state: what is shown is mostly what has been shown before.

Nothing here gets stale: a state never names two different documents (see documents.State), what differs between askers
is part of the key, and all is dropped when a person's name changes. It is filled on the event loop; readers may look.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

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


class Shown(NamedTuple):
    """Documents as JSON by id, and those among them that nobody had made before."""

    items: dict[str, msgspec.Raw]
    made: list[tuple[_Key, bytes]]


class Shelf:
    """Encoded documents with and without their texts, up to so many bytes; those that came first go first."""

    def __init__(self, database: Database, *, most: int = MOST_BYTES) -> None:
        self.generation = 0
        self._most = most
        self._kept: OrderedDict[_Key, bytes] = OrderedDict()
        self._size = 0
        database.listen("user", lambda _: self.clear())

    def clear(self) -> None:
        self.generation += 1
        self._kept.clear()
        self._size = 0

    def listed(
        self, db: Reader, who: Principal, workspace_id: str, states: list[State], *, role: Role
    ) -> list[msgspec.Raw]:
        """The documents in these states, without their texts, for somebody who has entered their workspace."""
        since = self.generation
        shown = self.found(db, who, [(state, workspace_id, role) for state in states])
        if db.glancing:
            self.keep(shown, since=since)
        return [shown.items[one.id] for one in states if one.id in shown.items]

    def found(self, db: Reader, who: Principal, places: list[tuple[State, str, Role]]) -> Shown:
        """The same for states in several workspaces, each with the role there. May be called on a reader's thread.

        What it made is not kept: that is for `keep`.
        """
        shown = Shown({}, [])
        if not places:
            return shown
        favourites = documents.favoured(db, who, [state.id for state, _, _ in places])
        lacking: dict[tuple[str, Role], list[str]] = {}
        for state, workspace_id, role in places:
            made = self._kept.get((state, state.id in favourites, role, who.scopes, False))
            if made is None:
                lacking.setdefault((workspace_id, role), []).append(state.id)
            else:
                shown.items[state.id] = msgspec.Raw(made)
        for (workspace_id, role), ids in lacking.items():
            for one in documents.by_ids(db, who, workspace_id, ids, role=role):
                made = _encode(one)
                state = State(one.id, one.version, one.revision)
                shown.items[one.id] = msgspec.Raw(made)
                shown.made.append(((state, one.favourite, role, who.scopes, False), made))
        return shown

    def keep(self, shown: Shown, *, since: int) -> None:
        """Take in what was made by somebody who began in this generation. On the event loop."""
        if since == self.generation:
            for key, made in shown.made:
                self._keep(key, made)

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
        if key in self._kept:
            return
        self._kept[key] = bytes(memoryview(made))  # the encoder's own leaves half of its buffer behind it
        self._size += len(made) + _OVERHEAD
        while self._size > self._most:
            self._size -= len(self._kept.popitem(last=False)[1]) + _OVERHEAD


SHELF: web.AppKey[Shelf] = web.AppKey("shelf", Shelf)
