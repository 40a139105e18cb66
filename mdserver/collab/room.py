"""One live document: its clients, what they send, and what of it is durable. No I/O; all of it on the event loop.

What a client sends is judged, taken into the replica and passed on at once. It waits in `pending` until the rooms'
saver (saver.py) has stored it, and only then is its sender told that it is saved. After a failure nothing is lost: it
waits on, and when too much waits, further edits are not taken in until the store works again; then all are asked for
what they still have.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from hashlib import sha256

from mdserver import clock
from mdserver.crdt import guard
from mdserver.crdt.guard import Unsound, Update
from mdserver.model.access import Actor, Person
from mdserver.model.live import Row
from mdserver.store.marker import Marker, key

from . import protocol
from .ledger import Ledger
from .outbox import Outbox, frame
from .presence import Presences
from .protocol import Awareness, Change, Message, QueryAwareness, Step1, Step2
from .replica import Effect, Replica

MOST_PENDING = 8 << 20
"""Bytes that may wait to be stored in one room; then nothing more is taken in."""

MOST_WHOLE = 2
"""Frames that hold a whole document which are kept: one for each wire."""

LONG = 64 << 10
"""Bytes from which an update is read on a thread, before it is heard."""


class Guard:
    """Notes what is given to pycrdt, and refuses what has brought a server down before."""

    __slots__ = ("_key", "_marker", "_refused")

    def __init__(self, marker: Marker, document_id: str, refused: set[bytes]) -> None:
        self._marker, self._key, self._refused = marker, key(document_id), refused

    def over(self, data: bytes) -> Guard:
        """For the time of a `with`. Unsound when it is refused."""
        if self._refused and sha256(data).digest() in self._refused:
            raise Unsound("it has brought the server down before")
        self._marker.begin(self._key, data)
        return self

    def __enter__(self) -> None:
        """Noted already."""

    def __exit__(self, *_: object) -> None:
        self._marker.end()


class Seat:
    """A client's place in a room. `address` stands before each message; with a ledger it is told what is saved."""

    __slots__ = ("actor", "address", "ledger", "outbox", "person", "read_only", "room")

    def __init__(
        self,
        room: Room,
        *,
        actor: Actor,
        person: Person,
        outbox: Outbox,
        read_only: bool,
        address: bytes = b"",
        ledger: Ledger | None = None,
    ) -> None:
        self.room, self.actor, self.person, self.outbox = room, actor, person, outbox
        self.read_only, self.address, self.ledger = read_only, address, ledger

    def send(self, message: bytes) -> None:
        """Send this client alone a message."""
        self.outbox.put(frame(self.address + message))

    def answer(self, made: bytes) -> None:
        """Send a frame that it asked for."""
        self.outbox.answer(made)


class Room:
    """A document that somebody has open. `seq` is the log's newest row that is in the replica."""

    def __init__(
        self,
        document_id: str,
        replica: Replica,
        seq: int,
        *,
        guard: Guard,
        tail_rows: int = 0,
        tail_bytes: int = 0,
    ) -> None:
        self._guard = guard
        self.document_id, self.replica, self.seq = document_id, replica, seq
        self.tail_rows, self.tail_bytes = tail_rows, tail_bytes
        """What loading it anew would replay on top of its snapshot."""
        self.seats: dict[Seat, None] = {}
        self.presences = Presences()
        self.pending: deque[Row] = deque()
        self.pending_bytes = 0
        self.taken = 0
        """How many updates were taken in; a mark is a value of this."""
        self.durable = 0
        """Up to which mark all is stored."""
        self.refusing = False
        """Whether nothing more is taken in, since too much waits."""
        self.edited_at = 0.0
        """When something was taken in last (monotonic seconds)."""
        self.authors: set[str] = set()
        """Who has written since the last version."""
        self.author_changed = False
        self.is_marked = False
        """Whether the document is known to be unsettled, and no version of it is being made."""
        self.reading: asyncio.Task[None] | None = None
        """Reads the log: until it has ended, nothing can be taken in."""
        self.is_dropped = False
        """Whether it is only kept until all of it is stored: its replica cannot be trusted any more."""
        self.on_people: Callable[[], object] = _nothing
        """Called when somebody has come or gone."""
        self.on_settled: Callable[[], object] = _nothing
        """Called when all that was taken in is stored."""
        self._whole: dict[bytes, bytes] = {}
        """The frame that brings somebody who has nothing up to date, by address: the same bytes for all who come."""

    @property
    def people(self) -> list[Person]:
        """Who has it open, each once."""
        return list({seat.person.id: seat.person for seat in self.seats}.values())

    @property
    def is_settled(self) -> bool:
        """Whether all that was taken in is stored."""
        return not self.pending and self.durable == self.taken

    def enter(self, seat: Seat) -> None:
        """Let a client in. One that does not ask by itself (y-websocket's server speaks first) is asked."""
        self.seats[seat] = None
        self.on_people()
        if seat.ledger is None:
            seat.send(protocol.step1(self.replica.state_vector()))
            self.introduce(seat)

    def introduce(self, seat: Seat) -> None:
        """Tell a newcomer who is here; a provider once it was told that it is in, for it does not ask either."""
        if len(self.presences):
            seat.send(protocol.awareness(self.presences.everybody()))

    def leave(self, seat: Seat) -> None:
        """A client has gone; everybody hears of it."""
        if self.seats.pop(seat, seat) is None:
            self.on_people()
            self._tell(self.presences.leave(seat))

    def hear(self, seat: Seat, message: Message, read: Update | dict[int, int] | None = None) -> int:
        """Do what a client asks; how much that weighs, in messages.

        `read` is what the guard has read in a long update or state vector. Unsound when the client must go; Broken
        when the room must.
        """
        if isinstance(message, Change | Step2):
            found = read if isinstance(read, Update) else None
            self._change(seat, message.update, found, is_answer=isinstance(message, Step2))
        elif isinstance(message, Awareness):
            self._tell(self.presences.hear(seat, seat.person, message.clients))
        elif isinstance(message, Step1):
            named = read if isinstance(read, dict) else guard.read_state(message.state)
            return self._bring_up(seat, message.state, named)
        elif isinstance(message, QueryAwareness):
            seat.send(protocol.awareness(self.presences.everybody()))
        return 1

    def follow(self, data: bytes) -> None:
        """Take in a row of the log that somebody else has written, and pass it on. Broken when the room must go."""
        self.is_marked = False  # an edit through the door settles the document
        self.tail_rows += 1
        self.tail_bytes += len(data)
        with self._guard.over(data):
            brought = self.replica.follow(data)
        if brought:
            self._whole.clear()
            self._relay(protocol.change(data))

    def take_pending(self, most: int) -> list[Row]:
        """The rows that wait longest, up to so many bytes; they stay in `pending` until `stored`."""
        rows, size = [], 0
        for row in self.pending:
            rows.append(row)
            size += len(row.data)
            if size >= most:
                break
        return rows

    def stored(self, count: int) -> None:
        """The first so many of what waits are durable: tell those who count."""
        for _ in range(count):
            size = len(self.pending.popleft().data)
            self.pending_bytes -= size
            self.tail_bytes += size
        self.durable += count
        self.tail_rows += count
        if self.is_settled:
            self.on_settled()
        told: dict[bytes, bytes] = {}
        for seat in self.seats:
            if seat.ledger is not None:
                due = seat.ledger.due(self.durable)
                if due:
                    made = told.get(seat.address)
                    if made is None:
                        told[seat.address] = made = frame(seat.address + protocol.saved(True))
                    for _ in range(due):
                        seat.outbox.put(made)

    def ask_all(self) -> None:
        """Ask every client for what it has and the room lacks."""
        self._relay(protocol.step1(self.replica.state_vector()), writers=True)

    def say(self, payload: str) -> None:
        """Tell every client that has a way to hear it something that is no part of the document."""
        for seat in self.seats:
            if seat.ledger is not None:
                seat.send(protocol.stateless(payload))

    def _bring_up(self, seat: Seat, state: bytes, named: dict[int, int]) -> int:
        made = None if named else self._whole.get(seat.address)
        if made is None:
            with self._guard.over(state):
                made = frame(seat.address + protocol.step2(self.replica.rest(state)))
            if not named:
                if len(self._whole) == MOST_WHOLE:
                    self._whole.clear()
                self._whole[seat.address] = made
        seat.answer(made)
        if seat.ledger is not None:
            seat.ledger.asked(named)
            seat.send(protocol.step1(self.replica.state_vector()))
        return 1 + len(made) // LONG

    def _change(self, seat: Seat, data: bytes, read: Update | None, *, is_answer: bool) -> None:
        if seat.read_only:
            self._refuse(seat, read or guard.read_update(data), is_answer=is_answer)
            return
        if self.refusing:  # neither taken in nor acknowledged: everybody is asked again when it can be
            if seat.ledger is not None and not is_answer:
                seat.ledger.refused(read or guard.read_update(data))
            return
        with self._guard.over(data):
            taken = self.replica.take(data, read, is_answer=is_answer)
        if taken.effect is Effect.EARLY:
            if not is_answer:  # else it would answer the same again, without end
                if seat.ledger is not None:
                    seat.ledger.refused(taken.update)
                seat.send(protocol.step1(self.replica.state_vector()))
            return
        if taken.effect is Effect.NEW:
            self._whole.clear()
            self.taken += 1
            self.edited_at = time.monotonic()
            self.pending.append(Row(seat.actor, clock.now(), taken.data))
            self.pending_bytes += len(taken.data)
            self.refusing = self.pending_bytes > MOST_PENDING
            if seat.actor.user_id not in self.authors:
                self.author_changed = bool(self.authors)
                self.authors.add(seat.actor.user_id)
            self._relay(protocol.change(taken.data), but=seat)
        if seat.ledger is not None:
            if is_answer:
                seat.ledger.answered(self.taken)
            else:
                seat.ledger.changed(taken.update, self.taken)
            self._pay(seat, seat.ledger)

    def _refuse(self, seat: Seat, found: Update, *, is_answer: bool) -> None:
        """What a client may not write is not taken in. That it has nothing new of its own, it hears as saved."""
        if seat.ledger is None:
            return
        if not is_answer:
            seat.ledger.refused(found)
        elif found.fits(self.replica.known) and self.replica.holds(found):
            seat.ledger.answered(self.taken)
            self._pay(seat, seat.ledger)
            return
        seat.send(protocol.saved(False))

    def _pay(self, seat: Seat, ledger: Ledger) -> None:
        for _ in range(ledger.due(self.durable)):
            seat.send(protocol.saved(True))

    def _tell(self, changed: list[protocol.Presence]) -> None:
        if changed:
            self._relay(protocol.awareness(changed))

    def _relay(self, message: bytes, *, but: Seat | None = None, writers: bool = False) -> None:
        """Send everybody a message, made once for all whose messages begin alike."""
        made: dict[bytes, bytes] = {}
        for seat in self.seats:
            if seat is but or (writers and seat.read_only):
                continue
            one = made.get(seat.address)
            if one is None:
                made[seat.address] = one = frame(seat.address + message)
            seat.outbox.put(one)


def _nothing() -> None:
    """What is done when nobody waits."""
