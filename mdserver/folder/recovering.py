"""After a crash: what had reached its place is finished, what had not is forgotten, what was put aside comes back."""

from __future__ import annotations

import msgspec

from .disk import TEMP, Disk
from .names import OWN, joined, local_name
from .state import State


def recover(state: State, disk: Disk) -> None:
    """After a crash: finish what had reached its place, forget what had not, bring back what had been put aside."""
    for one in state.writings():
        temp = f"{OWN}/{TEMP}/{one.temp}"
        there, here = disk.status(temp), disk.status(one.local.path)
        is_placed = there is None or (here is not None and here.st_ino == there.st_ino)
        with state.transaction():
            if is_placed and here is not None:
                state.put_local(one.local, one.base)
            state.end_writing(one.temp)
        disk.forget(one.temp)
    for row in list(state.locals.values()):
        aside = f"{OWN}/{TEMP}/moved-{row.id}"
        path = row.path
        if path != aside and disk.status(aside) is not None:
            path = aside
        elif path == aside and disk.status(aside) is None:
            # It had been moved on, and only this was not written down: it will be found by what it is.
            above = state.locals.get(row.parent_id)
            path = joined(above.directory if above is not None else "", local_name(row.filename))
        if path != row.path:
            with state.transaction():
                directory = path if row.is_folder else row.directory
                state.put_local(msgspec.structs.replace(row, path=path, directory=directory))
