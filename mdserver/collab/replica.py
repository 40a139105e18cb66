"""A document as its log has it, alive in memory: what comes from outside is judged, then taken in. No I/O.

Nothing reaches pycrdt unread (`crdt/guard.py`). What it makes of an update all the same, other than refusing it, leaves
its document in an unknown state: `Broken` says that this replica must be dropped and loaded anew from the log.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from mdserver import failpoints
from mdserver.crdt import forms, guard
from mdserver.crdt import text as crdt
from mdserver.crdt.forms import Form
from mdserver.crdt.guard import Run, Unsound, Update
from mdserver.crdt.order import Order

if TYPE_CHECKING:
    from pycrdt import TransactionEvent

    from mdserver.crdt.text import Scratch


T = TypeVar("T")


class Broken(Exception):
    """pycrdt failed in a way that leaves the document unusable."""


class Effect(Enum):
    """What an update did."""

    NEW = "new"
    KNOWN = "known"
    """Nothing: all of it was there."""

    EARLY = "early"
    """Nothing, since it builds on what is not there; its sender has to be asked for that."""


class Taken(NamedTuple):
    """The effect of an update, what it says, and if it is new the bytes that go into the log and to everybody else."""

    effect: Effect
    update: Update
    data: bytes = b""


class Learnt(NamedTuple):
    """What judging an update takes: where items stand, and the second halves of surrogate pairs."""

    order: Order
    pairs: dict[int, array[int]]


def read(snapshot: bytes | None, updates: Iterable[bytes]) -> Learnt:
    """Read a log for `Replica.learn`: 10 µs an item. Needs no document, so any thread may do it."""
    learnt = Learnt(Order(), {})
    for data in updates if snapshot is None else (snapshot, *updates):
        _read(data, learnt)
    return learnt


class Replica:
    """One live document. Used by one thread at a time; loading takes time, so that is done on another."""

    def __init__(self, doc: Scratch, *, most: int, form: Form) -> None:
        from pycrdt import Text  # loaded with the first document that is opened, not with the server's start

        self.form = form
        self.known = guard.read_state(doc.get_state())
        self._pairs: dict[int, array[int]] = {}
        self._order: Order | None = None
        self._unread: list[bytes] = []
        """What was followed before `learn`."""
        self._limit = most if form.is_plain else 4 * most  # what rich text takes for its Markdown, about
        self._doc = doc
        self._text = doc.get(crdt.NAME, type=Text) if form.is_plain else None
        self._size = len(self._text) if self._text is not None else len(crdt.state(doc))
        """At least so large the text can be, or so large the state of rich text; measured anew when it is too much."""
        self._deleted: dict[int, list[Run]] | None = None
        """What is deleted by now, once that was asked."""

    @classmethod
    def load(cls, snapshot: bytes | None, updates: Iterable[bytes], *, most: int, kind: str = "markdown") -> Replica:
        """From a log (see crdt.text.load), which was judged when it was written; `most`: bytes its text may have."""
        rows = list(updates)
        made = cls.open(snapshot, rows, most=most, kind=kind)
        made.learn(read(snapshot, rows))
        return made

    @classmethod
    def open(cls, snapshot: bytes | None, updates: Iterable[bytes], *, most: int, kind: str = "markdown") -> Replica:
        """The same, but only to be looked at until it has learnt what `read` reads in the log, which takes longer."""
        rows = list(updates)
        for data in rows if snapshot is None else (snapshot, *rows):
            failpoints.poisoned(data)
        return cls(crdt.load(snapshot, rows), most=most, form=forms.of(kind))

    @property
    def is_ready(self) -> bool:
        """Whether it can take something in."""
        return self._order is not None

    def learn(self, learnt: Learnt) -> None:
        """Be ready: all that is in the log is known, and what was followed meanwhile."""
        unread, self._unread = self._unread, []
        for data in unread:
            _read(data, learnt)
        self._order, self._pairs = learnt.order, learnt.pairs

    def take(self, data: bytes, found: Update | None = None, *, is_answer: bool = False) -> Taken:
        """Take in what a client sent: an update made just now, or the answer to a `step1` (then most may be known).

        `found` is what the guard has read in it, if that was done already. Unsound when it is refused, and nothing has
        changed; Broken when the replica must be dropped.
        """
        assert self._order is not None, "it has not learnt its log yet"
        found = found or guard.read_update(data)
        if not found.fits(self.known):
            return Taken(Effect.EARLY, found)
        if found.cuts(self._pairs, self.known):
            raise Unsound("it takes a surrogate pair apart")
        brought = found.brought(self.known)
        grows = min(3 * brought, len(data))  # a code unit takes three bytes at most
        if grows and self._size + grows > self._limit:
            self._measure()
            if self._size + grows > self._limit:
                raise Unsound("the document would become too large")
        new = found
        if brought != sum([run.length for run in found.runs]):
            # What is said anew of clocks that are known may be something else: it is cut off, as it is for the log.
            from pycrdt import get_update

            state, whole = self.state_vector(), data
            data = _sure(lambda: get_update(whole, state))
            new = guard.read_update(data)
        self._order.enter(new.items, new.deletes)
        try:
            if brought and not is_answer:  # it is new, and passed on as it is: nobody has to watch
                self._apply(data)
                made = data
            else:
                made = self._watched(data)
        except Unsound:  # the guard was wrong about it, and the order knows it already
            self.learn(read(self.snapshot(), ()))
            raise
        self._size += grows
        _learn(new, self.known, self._pairs)
        if not made:
            return Taken(Effect.KNOWN, found)
        return Taken(Effect.NEW, found, made if is_answer else data)

    def holds(self, found: Update) -> bool:
        """Whether an update would bring nothing: neither text nor a deletion."""
        if found.brought(self.known):
            return False
        if not found.deletes:
            return True
        if self._deleted is None:
            self._deleted = _sorted(guard.read_update(self.rest(self.state_vector()), most=_ANY).deletes)
        return _covers(self._deleted, found.deletes)

    def follow(self, data: bytes) -> bool:
        """Take in a row of the log that somebody else has written; whether it brought anything."""
        made = self._watched(data)
        self._size += len(data)
        found = guard.read_update(data, most=_ANY)
        if self._order is None:
            self._unread.append(data)
        else:
            self._order.learn(found.items, found.deletes)
        _learn(found, self.known, self._pairs)
        return bool(made)

    def missing(self, state: bytes) -> bytes:
        """The update that brings a client with this state vector up to date. Unsound when it is none."""
        guard.read_state(state)
        return self.rest(state)

    def rest(self, state: bytes) -> bytes:
        """The same of a state vector that the guard has read."""
        return _sure(lambda: self._doc.get_update(state))

    def state_vector(self) -> bytes:
        """What this replica has, in Yjs's encoding."""
        return _sure(self._doc.get_state)

    def snapshot(self) -> bytes:
        """The whole document as one update."""
        return _sure(lambda: crdt.state(self._doc))

    def text(self) -> str:
        """The text as it stands; of rich text that takes a while."""
        return _sure(lambda: str(self._text) if self._text is not None else self.form.text_of(self._doc))

    def _measure(self) -> None:
        text = self._text
        self._size = _sure(lambda: len(text) if text is not None else len(crdt.state(self._doc)))

    def _watched(self, data: bytes) -> bytes:
        """Apply an update that was read; what it changed, as an update (empty when nothing)."""
        made: list[bytes] = []

        def note(event: TransactionEvent) -> None:
            made.append(event.update)

        subscription = self._doc.observe(note)
        try:
            self._apply(data)
        finally:
            self._doc.unobserve(subscription)
        return b"" if not made or made[-1] == _NOTHING else made[-1]

    def _apply(self, data: bytes) -> None:
        failpoints.poisoned(data)
        self._deleted = None
        try:
            self._doc.apply_update(data)
        except BaseException as error:
            raise _meaning(error) from error


_NOTHING = b"\x00\x00"
_ANY = 1 << 31  # items: the log was bounded when it was written


def _sorted(runs: list[Run]) -> dict[int, list[Run]]:
    found: dict[int, list[Run]] = {}
    for run in runs:
        found.setdefault(run.client, []).append(run)
    for of_client in found.values():
        of_client.sort()
    return found


def _covers(all_of_it: dict[int, list[Run]], some: list[Run]) -> bool:
    """Whether every clock of `some` is in the others, which do not overlap."""
    for run in some:
        mine = all_of_it.get(run.client, [])
        clock = run.clock
        at = bisect_right(mine, clock, key=lambda one: one.clock) - 1
        while 0 <= at < len(mine) and mine[at].clock <= clock < mine[at].end:
            clock = mine[at].end
            at += 1
        if clock < run.end:
            return False
    return True


def _read(data: bytes, learnt: Learnt) -> None:
    found = guard.read_update(data, most=_ANY)
    learnt.order.learn(found.items, found.deletes)
    _learn(found, {}, learnt.pairs)


def _learn(found: Update, known: dict[int, int], pairs: dict[int, array[int]]) -> None:
    for client, clocks in found.pairs.items():
        mine = pairs.setdefault(client, array("I"))
        last = max(mine[-1] if mine else -1, known.get(client, 0) - 1)  # a client's clocks come in ascending order
        mine.extend(clock for clock in clocks if clock > last)
    for client, clock, length in found.runs:
        if clock + length > known.get(client, 0):
            known[client] = clock + length


def _sure(asked: Callable[[], T]) -> T:
    """What pycrdt answers. Broken when it fails, which it tells by exceptions that nobody catches."""
    try:
        return asked()
    except BaseException as error:
        raise _meaning(error) from error


def _meaning(error: BaseException) -> BaseException:
    """A refusal is one (it was not decoded); all else means that the document cannot be trusted any more."""
    if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit | MemoryError):
        return error
    return Unsound(f"pycrdt refused it: {error}") if type(error) is ValueError else Broken(str(error)[:200])
