"""Giving files their places and taking them away: crashes are understood, and nothing that anybody wrote is lost."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mdserver import clock

from .disk import BeingWritten, Changed, Disk
from .names import parent
from .rows import Local, Sig, Told, Writing
from .state import State

BATCH = 64
"""Files whose writing shares two commits."""
GONE = "gone-"
"""Begins the temporary name of a file that is being deleted; the document's id follows."""


class Waiting(msgspec.Struct):
    """A file that is ready to get its place. `seen` is the signature of what stands there."""

    writing: Writing
    seen: Sig | None
    told: Told

    @property
    def path(self) -> str:
        return self.writing.local.path


class Writer:
    """Writes and deletes files. `unfinished` tells that something was written meanwhile, which is to be merged."""

    def __init__(
        self,
        state: State,
        disk: Disk,
        *,
        tell: Callable[[Told], None],
        problem: Callable[[str, str], None],
        failed: Callable[[str, OSError], None],
    ) -> None:
        self._state, self._disk = state, disk
        self._tell, self._problem, self._failed = tell, problem, failed
        self._waiting: list[Waiting] = []
        self.unfinished = False
        self.touched: set[str] = set()
        """Directories in which something is not as it was when they were looked at."""

    def ready(
        self, row: Local, base: str, text: str, *, seen: tuple[Sig, str] | None, mode: int | None, told: Told
    ) -> None:
        """Have a text written, with others. `seen`: what stands there, its signature and its SHA-256."""
        temp = f"write-{row.id}"
        sig = self._disk.prepare(temp, text.encode(), mode=mode)
        kept = msgspec.structs.replace(row, sig=sig, settled=False)
        writing = Writing(temp=temp, local=kept, base=base, seen=seen[1] if seen is not None else "")
        self._waiting.append(Waiting(writing, seen[0] if seen is not None else None, told))
        if len(self._waiting) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Give all that is ready its places: intents first."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        with self._state.transaction():
            for one in waiting:
                self._state.begin_writing(one.writing)
        self.touched |= {parent(one.path) for one in waiting}
        placed = [one for one in waiting if self._is_put(one)]
        self._disk.sync({parent(one.path) for one in placed})
        done = [one for one in placed if self._is_certain(one)]
        finished = {one.writing.temp for one in done}
        with self._state.transaction():
            for one in waiting:
                self._state.end_writing(one.writing.temp)
                if one.writing.temp in finished:
                    self._state.put_local(one.writing.local, one.writing.base)
                    self._state.drop_incoming(one.writing.local.id)
        for one in waiting:
            self._disk.forget(one.writing.temp)
        for one in done:
            self._tell(one.told)

    def delete(self, row: Local) -> None:
        """Delete the file of a document, if it is as it was agreed. Changed when it is not."""
        name = GONE + row.id
        self.touched.add(parent(row.path))
        self._disk.take(row.path, name)
        try:
            is_as_agreed = self._disk.holds(name, row.hash)
        except Changed:
            give_back(self._disk, name, row, tell=self._tell)
            raise
        if not is_as_agreed:
            give_back(self._disk, name, row, tell=self._tell)
            raise Changed(row.path)
        put_aside(self._state, self._disk, name, row, tell=self._tell)
        self._disk.forget(name)

    def _is_put(self, one: Waiting) -> bool:
        try:
            self._disk.put(one.writing.temp, one.path, seen=one.seen)
        except Changed:
            self.unfinished = True
        except OSError as error:
            self._failed(one.path, error)
        else:
            return True
        if one.writing.seen and not self._disk.is_written(one.writing.temp, one.writing.local.sig):
            keep(self._disk, one.writing.temp, one.path, tell=self._tell)
        return False

    def _is_certain(self, one: Waiting) -> bool:
        """Look at what stood there once more. Where it is not what was merged, it has its place again."""
        writing = one.writing
        try:
            if not writing.seen:
                return True
            if self._disk.holds(writing.temp, writing.seen):
                put_aside(self._state, self._disk, writing.temp, writing.local, tell=self._tell)
                return True
        except BeingWritten:
            self._problem(one.path, "is open in a program that writes it, so what others wrote is not brought yet")
        except Changed:
            pass
        self.unfinished = True
        give_back(self._disk, writing.temp, writing.local, instead_of=writing.local.sig, tell=self._tell)
        return False


def give_back(
    disk: Disk,
    name: str,
    row: Local,
    *,
    instead_of: Sig | None = None,
    tell: Callable[[Told], None],
) -> None:
    """Let what came aside, and is not what it should be, have its place again; or keep it, when that is taken."""
    if not disk.give_back(name, row.path, instead_of=instead_of):
        keep(disk, name, row.path, tell=tell)


def keep(disk: Disk, name: str, path: str, *, tell: Callable[[Told], None]) -> None:
    """Keep what was written just when something else was, for people to look at."""
    place = disk.keep(name, moment(), path)
    tell(Told(what="kept", path=path, words=f"was written twice at once: one of the texts is in {place}"))


def put_aside(state: State, disk: Disk, name: str, row: Local, *, tell: Callable[[Told], None]) -> None:
    """Of what a restored server has not, or not so, the file is kept before it goes."""
    before, when = state.locals.get(row.id), state.fact("resync")
    if when and before is not None and not before.version:
        place = disk.keep(name, when, row.path)
        tell(
            Told(what="kept", path=row.path, words=f"is not the same on the server now: what stood here is in {place}")
        )


def moment() -> str:
    """The present moment as a file may be called."""
    return clock.rfc3339(clock.now())[:19].replace(":", "") + "Z"
