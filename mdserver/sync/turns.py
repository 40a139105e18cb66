"""In which order the operations of one request happen: side by side where nobody could tell, else as they were brought.

What concerns one text waits for what came before on that document, and for whatever moved documents about. What moves
documents about (and the making of documents, which takes names and places) happens in the order of the request; what
was still being written before it is finished first. A database that runs units of work in the order in which they are
asked for need not be waited for between two of them.
"""

from __future__ import annotations

import asyncio

from .operations import CreateDocument, EditDocument, Operation, RetitleDocument, TagDocument, UpdateDocument

Done = asyncio.Task[object]

_OF_ONE_DOCUMENT = (EditDocument, UpdateDocument, RetitleDocument, TagDocument)


class Turn:
    """The turn of an operation among those that happen in order. `passed` is set when the next one may ask."""

    def __init__(self, before: Turn | None) -> None:
        self._before = before
        self._passed = asyncio.Event()

    async def comes(self) -> None:
        """Wait until those before it have asked for their unit of work, or have come to nothing."""
        if self._before is not None:
            await self._before._passed.wait()
            self._before = None

    def is_over(self) -> None:
        """Let the next one ask."""
        self._passed.set()


class Order:
    """Says of each operation, in the order of the request, what it has to wait for."""

    def __init__(self, *, in_order: bool) -> None:
        self._in_order = in_order
        self._last: dict[str, Done] = {}  # by document and by op_id
        self._writing: list[Done] = []
        """What concerns single documents, since something last moved documents about."""
        self._moving: Done | None = None
        """What last moved documents about."""
        self._made: Done | None = None
        self._turn: Turn | None = None

    def waits(self, one: Operation) -> tuple[set[Done], Turn]:
        """What has to be finished before the operation begins, and its turn."""
        found = {self._last[key] for key in (one.id, one.op_id) if key in self._last}
        if isinstance(one, _OF_ONE_DOCUMENT):
            if self._moving is not None:
                found.add(self._moving)
            return found, Turn(None)
        if not isinstance(one, CreateDocument):
            found.update(self._writing)
        if not self._in_order and self._made is not None:
            found.add(self._made)
        self._turn = Turn(self._turn)
        return found, self._turn

    def begun(self, one: Operation, done: Done) -> None:
        """The operation has been started, after what it waits for."""
        self._last[one.id] = self._last[one.op_id] = done
        if isinstance(one, _OF_ONE_DOCUMENT):
            self._writing.append(done)
            return
        self._made = done
        if not isinstance(one, CreateDocument):
            self._moving, self._writing = done, []
