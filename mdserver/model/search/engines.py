"""Which index an engine has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mdserver.store.db import Reader, Tx

from . import fts, vectors
from .shape import Filter, Question


class Index(Protocol):
    """What the modules `fts` and `vectors` both give; see there."""

    def words(self, text: str) -> str: ...

    def put(self, tx: Tx, n: int, title: str, words: str) -> None: ...

    def drop(self, tx: Tx, n: int) -> None: ...

    def clear(self, tx: Tx) -> None: ...

    def tidy(self, tx: Tx, pages: int) -> bool: ...

    def check(self, db: Reader) -> list[str]: ...

    def size(self, db: Reader) -> int: ...

    def matches(self, db: Reader, question: Question, only: Filter | None) -> list[tuple[int, float]]: ...

    def weigher(self, db: Reader, question: Question) -> Callable[[list[str], list[str]], float]: ...


def of(db: Reader) -> Index:
    """The index of the database's engine."""
    return fts if db.engine == "sqlite" else vectors
