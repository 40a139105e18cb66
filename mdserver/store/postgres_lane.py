"""Lanes: threads that run units on PostgreSQL, a connection each; who waits for a gate occupies none."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from mdserver.errors import Busy
from mdserver.figures import Histogram

from .answers import hand_over, run_hooks, settle
from .postgres_connection import Session


class Unit:
    """A question or a change on its way through a lane."""

    def __init__(self, change: Callable[[Any], Any], gates: tuple[str, ...] = ()) -> None:
        self.change = change
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.gates = set(gates)
        self.taken: frozenset[str] = frozenset()
        self.alone = False
        self.conflicts = self.losses = self.repeats = 0
        self.hooks: list[Callable[[], None]] = []
        self.result: Any = None
        self.error: BaseException | None = None

    def answer(self) -> None:
        """On the loop: the hooks, then the waiter."""
        if self.error is None:
            run_hooks(self.hooks)
        settle(self.future, self.result, self.error)


class Lane:
    """Threads that run units; one behind a gate that is held waits here and occupies no connection."""

    def __init__(self, name: str, dsn: str, threads: int, run: Callable[[Session, Unit], bool]) -> None:
        self._run = run
        self._changed = threading.Condition()
        self._waiting: deque[Unit] = deque()
        self._held: set[str] = set()
        self._running = 0
        self._alone = False
        self._closing = False
        self.times = Histogram()
        self._threads = [
            threading.Thread(target=self._work, args=(Session(dsn),), name=f"mdserver-{name}-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def queued(self) -> int:
        """How much waits for a thread or a gate."""
        return len(self._waiting)

    @property
    def busy(self) -> int:
        """How many threads are at work."""
        return self._running

    async def submit(self, unit: Unit) -> Any:
        with self._changed:
            if self._closing:
                raise Busy("The server is shutting down.")
            self._waiting.append(unit)
            self._changed.notify()
        return await unit.future

    def enter(self, unit: Unit, name: str) -> bool:
        """Close a gate for a unit that runs already; False when another one is behind it."""
        with self._changed:
            if name in self._held and name not in unit.taken:
                return False
            self._held.add(name)
            unit.taken |= {name}
            return True

    def close(self) -> None:
        """Finish what waits, then end the threads and their connections; blocks."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self, session: Session) -> None:
        while (unit := self._next()) is not None:
            again, started = False, time.monotonic()
            try:
                again = self._run(session, unit)
            except BaseException as error:  # a mistake of ours; the thread is needed
                session.drop()
                unit.error = error
            if not again:  # before the gates open, so that the hooks behind one gate keep the order of their commits
                hand_over(unit.loop, unit.answer)
            session.unlock()
            self._finish(unit, again=again, seconds=time.monotonic() - started)
        session.drop()

    def _next(self) -> Unit | None:
        with self._changed:
            while True:
                unit = self._pick()
                if unit is not None:
                    unit.taken = frozenset(unit.gates)
                    self._held |= unit.taken
                    self._alone = unit.alone
                    self._running += 1
                    return unit
                if self._closing and not self._waiting:
                    return None
                self._changed.wait()

    def _pick(self) -> Unit | None:
        """The first unit that may run now. Nobody overtakes one that waits for the same gate."""
        if self._alone:
            return None
        blocked = set(self._held)
        for place, unit in enumerate(self._waiting):
            if unit.alone and self._running:
                return None
            if blocked.isdisjoint(unit.gates):
                del self._waiting[place]
                return unit
            blocked |= unit.gates
        return None

    def _finish(self, unit: Unit, *, again: bool, seconds: float) -> None:
        with self._changed:
            if not again:
                self.times.note(seconds)
            self._held -= unit.taken
            self._running -= 1
            self._alone = False
            if again:
                self._waiting.appendleft(unit)
            self._changed.notify_all()
