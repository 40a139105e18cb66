"""Which of a session's messages are told to be saved, and when: Hocuspocus' provider counts. No I/O.

The provider adds one to its count of unsaved changes for each edit, takes one off for each acknowledgement, and says
"saved" at zero. At its step 1 it begins again at one, for the step 2 that it is about to be asked for; what it then
sends of edits made offline it does not count (measured on 4.8). So at a step 1 all earlier debts are cancelled; after
it, its step 2 is acknowledged first, and of its updates those that hold something that its step 1 did not name, or
nothing but deletions. Each waits until everything that the room had taken in when it came is durable.

A change that is not taken in stays counted. It comes again in the step 2 that the client is asked for later, when it
can be taken in; that one the provider does not count, so that it pays for those changes, and for nothing else.
"""

from __future__ import annotations

from collections import deque

from mdserver.crdt.guard import Update


class Ledger:
    """The debts of one session, in the order in which they are paid. Marks are positions that only grow."""

    def __init__(self) -> None:
        self._owed: deque[int] = deque()
        self._early: list[int] | None = None
        self._named: dict[int, int] = {}
        self._durable = 0
        self._lost = 0
        """Changes that are counted, and were not taken in."""

    def asked(self, named: dict[int, int]) -> None:
        """The session's step 1 came, which names these clocks."""
        self._owed.clear()
        self._early = []
        self._lost = 0
        self._named = named

    def answered(self, mark: int) -> None:
        """A step 2 of its own was taken in, when the room had taken in everything up to this mark."""
        if self._early is not None:
            self._owed.append(mark)
            self._owed.extend(max(mark, one) for one in self._early)
            self._early = None
        self._owed.extend([mark] * self._lost)
        self._lost = 0

    def changed(self, update: Update, mark: int) -> None:
        """An update of its own came, and the room has taken in everything up to this mark."""
        if not self._is_counted(update):
            return
        if self._early is not None:
            self._early.append(mark)
        else:
            self._owed.append(mark)

    def refused(self, update: Update) -> None:
        """An update of its own came, and was not taken in."""
        self._lost += self._is_counted(update)

    def _is_counted(self, update: Update) -> bool:
        return not update.runs or bool(update.brought(self._named))

    def due(self, durable: int) -> int:
        """How many acknowledgements can be sent now that everything up to this mark is durable."""
        self._durable = max(self._durable, durable)
        count = 0
        while self._owed and self._owed[0] <= self._durable:
            self._owed.popleft()
            count += 1
        return count
