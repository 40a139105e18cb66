"""What is new here and new there under one name: a folder is the same folder, the same text the same document."""

from __future__ import annotations

from collections.abc import Iterable

from mdserver.client import CreateDocument
from mdserver.text import fold

from .deriving import Wish
from .names import last, local_name
from .rows import Local, Remote
from .scanning import Snapshot
from .state import State


def join(state: State, snapshot: Snapshot, wishes: Iterable[Wish]) -> int:
    """Take what the server has by now for what was going to be made; how much. Others keep their own names."""
    strangers = {
        (one.parent_id, fold(one.filename)): one
        for one in state.remotes.values()
        if not one.gone and one.id not in state.locals
    }
    count = 0
    with state.transaction():
        for wish in wishes:
            if not isinstance(wish.op, CreateDocument):
                continue
            remote = strangers.get((wish.op.parent_id or "", fold(wish.op.filename or "")))
            if remote is not None and local_name(remote.filename) == last(wish.path) and _is_same(wish, remote):
                _joined(state, snapshot, wish, remote)
                count += 1
    return count


def _is_same(wish: Wish, remote: Remote) -> bool:
    if wish.read is None:
        return remote.kind == "folder"
    return remote.kind != "folder" and wish.read.hash == remote.hash


def _joined(state: State, snapshot: Snapshot, wish: Wish, remote: Remote) -> None:
    is_folder = remote.kind == "folder"
    row = Local.of(
        remote,
        wish.path,
        directory=wish.path if is_folder else "",
        dir_inode=snapshot.inode(wish.path) if is_folder else 0,
        version=remote.version,
        hash=remote.hash,
        sig=wish.read.sig if wish.read is not None else None,
    )
    state.put_local(row, wish.read.text if wish.read is not None else "")
