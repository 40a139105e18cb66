"""Who is in a document and where their cursors are: what clients say of themselves, signed by the server. No I/O.

y-protocols' own Awareness lets a client speak for any other. Here a session owns the first client id that it announces;
what it says of others is passed over (y-websocket sends everybody's presence back), and `user` in its state is written
by the server. Clocks are counted anew for those who listen: a client that comes back after it was taken off the list
goes on where it had been, and others would believe that they know better.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from typing import NamedTuple

import msgspec

from mdserver.crdt.lib0 import Unsound
from mdserver.model.access import Person

from .protocol import MOST_STATE, Presence

MOST_OWN = 4096
"""Bytes of what a client says of itself."""

COLOURS = ("#c2410c", "#a16207", "#4d7c0f", "#047857", "#0e7490", "#1d4ed8", "#6d28d9", "#a21caf", "#be123c", "#57534e")
"""Dark enough for white letters on them (WCAG 2.2, 4.5:1)."""

MOST_CLOCK = 1 << 30
"""Of what a client says of itself: others send it back, and what is twice as high is refused of them (protocol.py)."""

MOST_REMEMBERED = 10_000


class _Held(NamedTuple):
    session: Hashable
    person: str
    heard: int
    """The clock that the client told last."""

    presence: Presence


class Presences:
    """Everybody's presence in one document."""

    def __init__(self) -> None:
        self._held: dict[int, _Held] = {}
        self._owned: dict[Hashable, int] = {}
        self._clocks: dict[int, int] = {}  # of clients that have gone, too

    def __len__(self) -> int:
        return len(self._held)

    def everybody(self) -> list[Presence]:
        """All that a newcomer should know, under new clocks: one that comes back has taken all off its list, and passes
        over what it has heard before."""
        for client, one in self._held.items():
            renewed = one.presence._replace(clock=self._tick(client, 0))
            self._held[client] = one._replace(presence=renewed)
        return [one.presence for one in self._held.values()]

    def people(self) -> list[str]:
        """The ids of the accounts that are here, each once, in the order in which they came."""
        return list(dict.fromkeys(one.person for one in self._held.values()))

    def hear(self, session: Hashable, person: Person, told: list[Presence]) -> list[Presence]:
        """What a session says; → what all should hear, the session itself included. Unsound when it says too much."""
        for one in told:
            if self._is_own(session, person, one.client):
                return self._say(session, person, one)
        return []

    def leave(self, session: Hashable) -> list[Presence]:
        """A session has ended; → what all should hear."""
        client = self._owned.pop(session, None)
        if client is None or self._held[client].session != session:
            return []
        return [self._gone(client)]

    def _is_own(self, session: Hashable, person: Person, client: int) -> bool:
        owned = self._owned.get(session)
        if owned is not None:
            return owned == client
        held = self._held.get(client)
        # The same person's, from before a connection broke that has not been noticed yet: they are back.
        return held is None or held.person == person.id

    def _say(self, session: Hashable, person: Person, told: Presence) -> list[Presence]:
        held = self._held.get(told.client)
        if held is not None and held.session == session and told.clock <= held.heard and told.state is not None:
            return []
        if told.state is None:
            if held is None:
                return []
            self._owned.pop(held.session, None)
            return [self._gone(told.client)]
        if len(told.state) > MOST_OWN:
            raise Unsound(f"a state of more than {MOST_OWN} bytes")
        if told.clock >= MOST_CLOCK:
            raise Unsound("a clock that nobody reaches")
        if held is not None and held.session != session:
            self._owned.pop(held.session, None)
        self._owned[session] = told.client
        presence = Presence(told.client, self._tick(told.client, told.clock), _signed(told.state, person))
        self._held[told.client] = _Held(session, person.id, told.clock, presence)
        return [presence]

    def _gone(self, client: int) -> Presence:
        del self._held[client]
        return Presence(client, self._tick(client, 0), None)

    def _tick(self, client: int, told: int) -> int:
        """The next clock of a client for those who listen."""
        clock = max(told, self._clocks.pop(client, 0) + 1)
        self._clocks[client] = clock
        while len(self._clocks) > MOST_REMEMBERED:
            del self._clocks[next(iter(self._clocks))]
        return clock


def colour(account_id: str) -> str:
    """A person's colour: the same one in every document."""
    return COLOURS[hashlib.sha256(account_id.encode()).digest()[0] % len(COLOURS)]


def _signed(state: bytes, person: Person) -> bytes:
    """A state with who it is of."""
    said = msgspec.json.decode(state)
    said["user"] = {"id": person.id, "name": person.display_name, "color": colour(person.id)}
    made = msgspec.json.encode(said)
    if len(made) > MOST_STATE:
        raise Unsound("a state that becomes too long")
    return made
