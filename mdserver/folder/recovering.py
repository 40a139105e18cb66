"""After a crash: what had reached its place is finished, what had not is forgotten, what was put aside comes back."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from .disk import TEMP, Changed, Disk
from .names import OWN, joined, local_name
from .rows import Sig, Told, Writing
from .state import State
from .writing import GONE, give_back, keep, put_aside


def recover(state: State, disk: Disk, tell: Callable[[Told], None]) -> None:
    """After a crash: finish what had reached its place, forget what had not, bring back what had been put aside."""
    for one in state.writings():
        is_placed = _is_placed(state, disk, one, tell)
        with state.transaction():
            if is_placed:
                state.put_local(one.local, one.base)
            state.end_writing(one.temp)
        disk.forget(one.temp)
    left = set(disk.temporary())
    for name in left:
        if name.startswith(GONE):
            row = state.locals.get(name.removeprefix(GONE))
            if row is not None:
                give_back(disk, name, row, tell=tell)
            else:
                keep(disk, name, name, tell=tell)
    for row in list(state.locals.values()):
        name = f"moved-{row.id}"
        aside, path = f"{OWN}/{TEMP}/{name}", row.path
        if path != aside and name in left:
            path = aside
        elif path == aside and name not in left:
            # It had been moved on, and only this was not written down: it will be found by what it is.
            above = state.locals.get(row.parent_id)
            path = joined(above.directory if above is not None else "", local_name(row.filename))
        if path != row.path:
            with state.transaction():
                directory = path if row.is_folder else row.directory
                state.put_local(msgspec.structs.replace(row, path=path, directory=directory))


def _is_placed(state: State, disk: Disk, one: Writing, tell: Callable[[Told], None]) -> bool:
    """Whether a file had got its place; what stood there before is looked at once more."""
    path, wrote = one.local.path, one.local.sig
    disk.restore(one.temp, path)
    there, here = disk.sig(f"{OWN}/{TEMP}/{one.temp}"), disk.sig(path)
    if not one.seen:
        return here is not None and (there is None or _is_one(here, there))
    if there is None or _is_one(there, wrote):
        return _is_one(here, wrote)
    try:
        if disk.holds(one.temp, one.seen):
            put_aside(state, disk, one.temp, one.local, tell=tell)
            return True
    except Changed:
        pass
    give_back(disk, one.temp, one.local, instead_of=wrote, tell=tell)
    return False


def _is_one(found: Sig | None, other: Sig | None) -> bool:
    return found is not None and other is not None and found.inode == other.inode
