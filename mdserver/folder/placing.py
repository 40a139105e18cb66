"""Where documents go on the disk: directories and moves, top down, each name given to one of them only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Protocol

import msgspec

from mdserver.text import fold, numbered

from .disk import TEMP
from .names import OWN, below_name, joined, last, local_name, parent, rebased, within
from .rows import Local, Remote, Told
from .scanning import Snapshot
from .state import State

_UNKNOWN = "?"
_NEW = "+"


class Folders(Protocol):
    """What is done to the disk here."""

    def move(self, old: str, new: str) -> None: ...

    def make_directory(self, path: str) -> int: ...

    def is_there(self, path: str) -> bool: ...


class Held(Exception):
    """A document that cannot stand on the disk; the text completes "it …"."""


class Placer:
    """Gives each live document its place. Rows are kept in the state after each step on the disk."""

    def __init__(self, state: State, snapshot: Snapshot, folders: Folders, tell: Callable[[Told], None]) -> None:
        self._state, self._snapshot, self._folders, self._tell = state, snapshot, folders, tell
        self._names: dict[str, dict[str, str]] = defaultdict(dict)
        """Directory → folded name → who has it: an id, or a mark for what is no document."""
        self._coming: dict[str, Local] = {}
        """Documents that have a place, and perhaps a directory, but no file yet."""
        for row in state.locals.values():
            self._take(row)
        owned = {row.directory for row in state.locals.values()}
        for directory, listing in snapshot.listings.items():
            names = self._names[directory]
            for name in (*listing.left_out, *listing.passed):
                names.setdefault(fold(name), _UNKNOWN)
            for name in (*listing.files, *listing.directories):
                if joined(directory, name) not in owned:
                    names.setdefault(fold(name), _NEW)

    def order(self) -> list[Remote]:
        """The live documents, parents first; those whose parents are not known stand aside."""
        below: dict[str, list[Remote]] = defaultdict(list)
        for one in self._state.remotes.values():
            if not one.gone:
                below[one.parent_id].append(one)
        found: list[Remote] = []
        waiting = [""]
        while waiting:
            siblings = below.pop(waiting.pop(), [])
            siblings.sort(key=lambda one: (fold(one.filename), one.filename, one.id))
            found += siblings
            waiting += [one.id for one in siblings]
        return sorted(found, key=_depths(self._state.remotes))

    def place(self, remote: Remote) -> str:
        """Bring a document to its place, or find one for it: → its path. Held when it has none; OSError, Changed."""
        directory = self.directory_of(remote.parent_id)
        row = self._state.locals.get(remote.id)
        wanted = local_name(remote.filename)
        if row is None:
            return self._found_place(remote, directory, wanted)
        is_agreed = (row.parent_id, row.filename) == (remote.parent_id, remote.filename)
        is_renamed_here = last(row.path) != row.name  # and the server does not know of it yet
        if row.path.startswith(f"{OWN}/"):
            pass
        elif is_agreed and (row.name == wanted or is_renamed_here or not self._can_be_had(directory, wanted)):
            return row.path
        self._check(joined(directory, wanted), folder=row.is_folder)
        name = self._free(remote, directory, wanted)
        self._move(row, remote, joined(directory, name))
        return joined(directory, name)

    def directory_of(self, id: str) -> str:
        """The directory for what stands below a document; it is made when there is none yet."""
        if not id:
            return ""
        row = self._state.locals.get(id) or self._coming.get(id)
        if row is None or row.path.startswith(f"{OWN}/"):
            raise Held("stands below a document that is not here")
        if row.directory:
            return self._improved(row).directory
        above = parent(row.path)
        name = below_name(last(row.path))
        if self._names[above].get(fold(name)) != _NEW or not self._is_directory(joined(above, name)):
            name = self._numbered(above, name)
        path = joined(above, name)
        self._check(path, folder=True)
        inode = self._folders.make_directory(path)
        self._keep(row, msgspec.structs.replace(row, directory=path, dir_inode=inode))
        return path

    def coming(self, row: Local) -> Local:
        """A document that has come, with the directory that was made for it before."""
        waited = self._coming.pop(row.id, None)
        if waited is None:
            return row
        return msgspec.structs.replace(row, directory=waited.directory, dir_inode=waited.dir_inode)

    def made(self, row: Local) -> None:
        """Note the name of a document that has come."""
        self._take(row)

    def leave(self, row: Local) -> None:
        """Note that a document has gone."""
        for path in {row.path, row.directory}:
            names = self._names[parent(path)]
            if path and names.get(fold(last(path))) == row.id:
                del names[fold(last(path))]

    def _found_place(self, remote: Remote, directory: str, wanted: str) -> str:
        path = joined(directory, wanted)
        is_folder = remote.kind == "folder"
        self._check(path, folder=is_folder)
        is_there = self._is_directory(path) if is_folder else self._snapshot.has_file(path)
        if is_there and self._occupant(directory, wanted) == _NEW:
            # The same name on both sides, and neither knew of the other: they are joined.
            return path if is_folder else self._awaited(remote, path)
        path = joined(directory, self._free(remote, directory, wanted))
        if is_folder:
            inode = self._folders.make_directory(path)
            row = Local.of(
                remote,
                path,
                directory=path,
                version=remote.version,
                hash=remote.hash,
                dir_inode=inode,
            )
            self._keep(None, row)
            self._tell(Told(what="made", path=path, words="the folder was made"))
            return path
        return self._awaited(remote, path)

    def _awaited(self, remote: Remote, path: str) -> str:
        row = Local.of(
            remote,
            path,
        )
        self._coming[remote.id] = row
        self._take(row)
        return path

    def _improved(self, row: Local) -> Local:
        """A document's directory gets its own name back, once it can be had."""
        wanted = below_name(last(row.path))
        if row.is_folder or last(row.directory) == wanted or self._occupant(parent(row.path), wanted) is not None:
            return row
        self._move_directory(row)
        return self._state.locals.get(row.id) or self._coming[row.id]

    def _move(self, row: Local, remote: Remote, path: str) -> None:
        """Rename a document's file and its directory."""
        changed = msgspec.structs.replace(
            row, parent_id=remote.parent_id, filename=remote.filename, name=last(path), path=path
        )
        if row.path == path:
            self._keep(row, changed)
            return
        is_there = self._folders.is_there(row.path)
        if is_there:
            self._folders.move(row.path, path)
        if row.is_folder:
            changed = msgspec.structs.replace(changed, directory=path)
            self._keep(row, changed)
            self._rebase(row.path, path)
        else:
            self._keep(row, changed)
            if row.directory:
                self._move_directory(changed)
        if is_there and not row.path.startswith(f"{OWN}/"):
            self._tell(Told(what="moved", path=path, words=f"was moved here from {row.path}"))

    def _move_directory(self, row: Local, *, to: str = "") -> None:
        """Let the directory of a document follow its file, or give it another name."""
        above, old = parent(row.path), row.directory
        name = to or below_name(last(row.path))
        if joined(above, name) == old:
            return
        new = joined(above, name if self._occupant(above, name) in (None, row.id) else self._numbered(above, name))
        if self._folders.is_there(old):
            self._folders.move(old, new)
        self._keep(row, msgspec.structs.replace(row, directory=new))
        self._rebase(old, new)

    def _rebase(self, old: str, new: str) -> None:
        """Everything below a directory has another path now."""
        with self._state.transaction():
            for row in list(self._state.locals.values()):
                if within(row.path, old) or within(row.directory, old):
                    changed = msgspec.structs.replace(
                        row, path=rebased(row.path, old, new), directory=rebased(row.directory, old, new)
                    )
                    self._state.put_local(changed)
        for directory in [one for one in self._names if one == old or within(one, old)]:
            self._names[rebased(directory, old, new)] = self._names.pop(directory)
        listings = self._snapshot.listings
        for directory in [one for one in listings if one == old or within(one, old)]:
            listings[rebased(directory, old, new)] = listings.pop(directory)

    def _free(self, remote: Remote, directory: str, wanted: str) -> str:
        """The name if it can be had, and otherwise a numbered one. Who is about to leave it is put aside."""
        occupant = self._occupant(directory, wanted)
        if occupant in (None, remote.id):
            return wanted
        other = self._state.locals.get(occupant or "") or self._coming.get(occupant or "")
        if other is not None and self._is_below(other, wanted):
            self._move_directory(other, to=self._numbered(directory, wanted))
            return wanted
        if other is not None and fold(last(other.path)) == fold(wanted) and self._is_leaving(other):
            aside = f"{OWN}/{TEMP}/moved-{other.id}"
            if self._folders.is_there(other.path):
                self._folders.move(other.path, aside)
                changed = msgspec.structs.replace(other, path=aside)
                if other.is_folder:
                    changed = msgspec.structs.replace(changed, directory=aside)
                self._keep(other, changed)
                if other.is_folder:
                    self._rebase(other.path, aside)
                return wanted
        return self._numbered(directory, wanted)

    def _can_be_had(self, directory: str, name: str) -> bool:
        occupant = self._occupant(directory, name)
        other = self._state.locals.get(occupant or "")
        if occupant is None or (other is not None and self._is_below(other, name)):
            return True
        return other is not None and fold(last(other.path)) == fold(name) and self._is_leaving(other)

    def _is_below(self, row: Local, name: str) -> bool:
        """Whether a document has a name by its directory alone: that gives way to what is really called so."""
        return not row.is_folder and bool(row.directory) and fold(last(row.path)) != fold(name)

    def _is_leaving(self, row: Local) -> bool:
        """Whether a document is about to get another name, or bears one that is not its own."""
        remote = self._state.remotes.get(row.id)
        if remote is None or remote.gone:
            return False
        moves = (row.parent_id, row.filename) != (remote.parent_id, remote.filename)
        return moves or (last(row.path) == row.name and fold(row.name) != fold(local_name(remote.filename)))

    def _numbered(self, directory: str, name: str) -> str:
        given, number = name, 1
        while self._occupant(directory, given) is not None:
            number += 1
            given = numbered(name, number)
        return given

    def _occupant(self, directory: str, name: str) -> str | None:
        return self._names[directory].get(fold(name))

    def _is_directory(self, path: str) -> bool:
        return path in self._snapshot.listings

    def _check(self, path: str, *, folder: bool) -> None:
        if self._snapshot.ignored.covers(path) or (folder and self._snapshot.ignored(path, directory=True)):
            raise Held("is ignored here")

    def _keep(self, before: Local | None, row: Local) -> None:
        if before is not None:
            self.leave(before)
        self._take(row)
        if row.id in self._coming:
            self._coming[row.id] = row
            return
        with self._state.transaction():
            self._state.put_local(row)

    def _take(self, row: Local) -> None:
        for path in {row.path, row.directory}:
            if path:
                self._names[parent(path)][fold(last(path))] = row.id


def _depths(remotes: dict[str, Remote]) -> Callable[[Remote], int]:
    known: dict[str, int] = {"": 0}

    def depth(one: Remote) -> int:
        way: list[str] = []
        at = one.id
        while at not in known and at in remotes and at not in way:
            way.append(at)
            at = remotes[at].parent_id
        count = known.get(at, 0)
        for id in reversed(way):
            count += 1
            known[id] = count
        return known[one.id]

    return depth
