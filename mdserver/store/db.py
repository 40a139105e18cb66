"""The one small interface that both database engines give: Reader asks, Tx asks and changes, Database runs them.

A unit of work is a plain function. `Database` runs it whole, on a thread, in one transaction; it may be run more than
once (a lost batch, a serialization failure), so it has no effect but through `tx`.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Literal, TypeVar, cast

import msgspec

from mdserver.figures import Family

from . import rows
from .answers import run_hooks

R = TypeVar("R", bound=msgspec.Struct)
T = TypeVar("T")
Value = str | int | float | bytes | None
Engine = Literal["sqlite", "postgres"]


class GateNeeded(Exception):
    """A unit asked for a gate that its transaction does not hold; the engine takes it and runs the unit again."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Moved(Exception):
    """A glance was given up: its question takes longer than that, and is asked again on a reader."""


class Unusable(Exception):
    """The database cannot be used as it is; the text says what to do. Met at start, not by callers of a request."""


class TimeUp(Exception):
    """A question took longer than `Reader.within` allowed and was cut off."""


class Reader(ABC):
    """Asks. SQL takes `$1`, `$2` …; the text is the same for both engines."""

    engine: Engine
    glancing = False
    """Whether this reads on the event loop, which others wait for."""

    def more_than_a_glance(self) -> None:
        """Say that something long follows: a glance is given up here, and the whole question asked on a reader."""
        if self.glancing:
            raise Moved

    @abstractmethod
    def within(self, seconds: float) -> AbstractContextManager[None]:
        """Give the statements of a `read` so much time (PostgreSQL: each of them); TimeUp when it is over."""

    @abstractmethod
    def _fetch(self, sql: str, values: tuple[Value, ...]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Run one statement: column names and every row (the cursor is exhausted)."""

    def all(self, row: type[R], sql: str, *values: Value) -> list[R]:
        """Every row as a Struct, by column name (see rows.py for what is converted)."""
        columns, found = self._fetch(sql, values)
        if not found:
            return []
        make = rows.maker(row, columns)
        return [make(one) for one in found]

    def first(self, row: type[R], sql: str, *values: Value) -> R | None:
        """The first row as a Struct, or None."""
        columns, found = self._fetch(sql, values)
        return rows.maker(row, columns)(found[0]) if found else None

    def value(self, kind: type[T], sql: str, *values: Value) -> T | None:
        """The first column of the first row (`kind` is for the type checker; booleans are converted), or None."""
        found = self.rows(sql, *values)
        if not found or found[0][0] is None:
            return None
        value = found[0][0]
        return kind(value) if kind is bool else value  # type: ignore[call-arg] # bool(value)

    def column(self, kind: type[T], sql: str, *values: Value) -> list[T]:
        """The first column of every row."""
        found = [one[0] for one in self.rows(sql, *values)]
        return [cast(T, bool(one)) for one in found] if kind is bool else found

    def rows(self, sql: str, *values: Value) -> list[tuple[Any, ...]]:
        """Every row as a plain tuple, in the order of the SELECT."""
        return self._fetch(sql, values)[1]


class Process:
    """What this process is to a database: an id of its own, and what it has noted there (Tx.note)."""

    __slots__ = ("facts", "id")

    def __init__(self) -> None:
        self.id = secrets.token_hex(8)
        self.facts: set[str] = set()


class Tx(Reader):
    """Asks and changes, within one transaction."""

    @abstractmethod
    def run(self, sql: str, *values: Value) -> int:
        """Run a changing statement; the number of rows it touched."""

    @abstractmethod
    def after_commit(self, hook: Callable[[], None]) -> None:
        """Call the hook on the event loop once this attempt has committed; it cannot fail the unit."""

    def announce(self, topic: str, key: str) -> None:
        """Tell everybody who listens to the topic once this attempt has committed (see Database.listen)."""
        self.after_commit(lambda: self._tell(topic, key))

    def note(self, fact: str) -> None:
        """Remember, once this attempt has committed, that this process knows a fact that stays true."""
        self.after_commit(lambda: self.process.facts.add(fact))

    process: Process
    """Given by the engine."""

    _tell: Callable[[str, str], None]
    """Given by the engine: its Database's `tell`."""

    @abstractmethod
    def gate(self, name: str) -> None:
        """Be alone behind this name until the commit (PostgreSQL: a session advisory lock; SQLite has one writer)."""


class Database(ABC):
    """Runs units of work. Open with the engine's own `open`, close with `close`."""

    engine: Engine
    in_order = False
    """Whether units of work run in the order in which they were asked for."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Callable[[str], None]]] = {}
        self.process = Process()

    def listen(self, topic: str, listener: Callable[[str], None]) -> None:
        """Call the listener on the event loop with the key of every announcement of the topic, after its commit."""
        self._listeners.setdefault(topic, []).append(listener)

    def tell(self, topic: str, key: str) -> None:
        """Pass an announcement on. A listener's failure is logged and reaches nobody else."""
        run_hooks(partial(listener, key) for listener in self._listeners.get(topic, ()))

    @abstractmethod
    async def read(self, question: Callable[[Reader], T]) -> T:
        """Run a question on a thread, in one consistent snapshot; any number run beside the writer."""

    async def glance(self, question: Callable[[Reader], T]) -> T:
        """Run a question of a few indexed reads, in one snapshot, by the shortest way.

        A long one is moved to `read` by itself.
        """
        try:
            return self.at_once(question)
        except Moved:
            return await self.read(question)

    def at_once(self, question: Callable[[Reader], T]) -> T:
        """Run a question as `glance` does, without waiting. Moved when that takes long, or cannot be done here."""
        raise Moved

    @abstractmethod
    async def write(self, change: Callable[[Tx], T], *gates: str) -> T:
        """Run a unit of work; returns when it is durable. `gates` are names it is known to need (see Tx.gate)."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what is queued and close every connection."""

    async def figures(self) -> list[Family]:
        """What the engine counts, for those who watch the server."""
        return []

    @property
    @abstractmethod
    def library_version(self) -> str:
        """What runs underneath, such as `SQLite 3.53.4`."""
