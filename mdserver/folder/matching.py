"""Which document is which file now: found by path, then by Unicode form, inode and content. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import msgspec

from .names import OWN, below_name, last, owner_of, parent, rebased, same_form, within
from .rows import Local
from .scanning import Snapshot


class Found(msgspec.Struct):
    """Where everything is. Documents are told by id; paths that no document has are new.

    `owners` says for each directory whose children are in it, by id or, where that file is new, by its path.
    """

    files: dict[str, str] = {}
    directories: dict[str, str] = {}
    missing: set[str] = set()
    frozen: set[str] = set()
    new_files: list[str] = []
    new_folders: list[str] = []
    owners: dict[str, str] = {}


def match(
    rows: Iterable[Local],
    snapshot: Snapshot,
    *,
    hash_of: Callable[[str], str | None],
    is_like: Callable[[str, str], bool],
) -> Found:
    """Look for every known document. `hash_of` a path; `is_like(id, path)`: the file resembles the document's text."""
    known = {row.id: row for row in rows}
    places = _Places(known)
    _match_directories(known, places, snapshot)
    found = Found()
    _match_files(known, places, snapshot, found, hash_of, is_like)
    _match_owners(known, places, snapshot, found)
    return found


class _Places:
    """Paths and directories of the known documents, as they turn out."""

    def __init__(self, known: dict[str, Local]) -> None:
        self.paths = {id: row.path for id, row in known.items()}
        self.directories = {id: row.directory for id, row in known.items() if row.directory}

    def rebase(self, old: str, new: str) -> None:
        for table in (self.paths, self.directories):
            for id, path in table.items():
                if path == old or within(path, old):
                    table[id] = rebased(path, old, new)


def _match_directories(known: dict[str, Local], places: _Places, snapshot: Snapshot) -> None:
    taken = set(places.directories.values())
    fresh = [one for one in snapshot.listings if one and one not in taken]
    by_inode = {snapshot.inode(one): one for one in fresh if snapshot.inode(one)}
    for id in sorted(places.directories, key=lambda one: places.directories[one].count("/")):
        old = places.directories[id]
        if old in snapshot.listings or old.startswith(f"{OWN}/"):
            continue
        beside = [one for one in fresh if parent(one) == parent(old) and same_form(last(one), last(old))]
        new = beside[0] if beside else by_inode.get(known[id].dir_inode)
        if new is not None and new in fresh and not snapshot.is_hidden_from_us(old):
            fresh.remove(new)
            places.rebase(old, new)


def _match_files(
    known: dict[str, Local],
    places: _Places,
    snapshot: Snapshot,
    found: Found,
    hash_of: Callable[[str], str | None],
    is_like: Callable[[str, str], bool],
) -> None:
    missing: list[str] = []
    for id, row in known.items():
        path = places.paths[id]
        if path.startswith(f"{OWN}/"):
            found.frozen.add(id)
        elif row.is_folder:
            if path in snapshot.listings:
                found.directories[id] = path
            elif snapshot.is_hidden_from_us(path):
                found.frozen.add(id)
            else:
                found.missing.add(id)
        elif snapshot.has_file(path):
            found.files[id] = path
        elif snapshot.is_hidden_from_us(path):
            found.frozen.add(id)
        else:
            missing.append(id)
    taken = set(found.files.values())
    fresh = {one for one in snapshot.files() if one not in taken}
    if missing and fresh:
        _match_missing(known, places, snapshot, found, missing, fresh, hash_of, is_like)
    found.missing |= {id for id in missing if id not in found.files}
    found.new_files = sorted(fresh - set(found.files.values()), key=lambda one: (one.count("/"), one))


def _match_missing(
    known: dict[str, Local],
    places: _Places,
    snapshot: Snapshot,
    found: Found,
    missing: list[str],
    fresh: set[str],
    hash_of: Callable[[str], str | None],
    is_like: Callable[[str, str], bool],
) -> None:
    def take(id: str, path: str) -> None:
        found.files[id] = path
        fresh.discard(path)

    by_inode = {sig.inode: one for one in fresh if (sig := snapshot.sig(one)) is not None and sig.inode}
    for id in missing:
        old, sig = places.paths[id], known[id].sig
        beside = [one for one in fresh if parent(one) == parent(old) and same_form(last(one), last(old))]
        if beside:
            take(id, beside[0])
            continue
        path = by_inode.get(sig.inode) if sig is not None else None
        # An inode is given to another file as soon as the first is gone, so it is no proof by itself.
        if path is not None and path in fresh and (hash_of(path) == known[id].hash or is_like(id, path)):
            take(id, path)
    there, here = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for id in missing:
        if id not in found.files and (sig := known[id].sig) is not None and sig.size:
            there[known[id].hash].append(id)
    if not there:
        return
    sizes = {sig.size for ids in there.values() for id in ids if (sig := known[id].sig) is not None}
    for path in sorted(fresh):
        sig = snapshot.sig(path)
        if sig is not None and sig.size in sizes and (hash := hash_of(path)) is not None and hash in there:
            here[hash].append(path)
    for hash, paths in here.items():
        if len(paths) == len(there[hash]) == 1:
            take(there[hash][0], paths[0])


def _match_owners(known: dict[str, Local], places: _Places, snapshot: Snapshot, found: Found) -> None:
    for id, directory in places.directories.items():
        row = known[id]
        if directory in snapshot.listings and (
            row.is_folder or (id in found.files and _beside(row, found.files[id], directory))
        ):
            found.directories[id] = directory
    found.owners = {directory: id for id, directory in found.directories.items()}
    found.owners[""] = ""
    by_path = {path: id for id, path in found.files.items()}
    new = set(found.new_files)
    for directory in sorted(snapshot.listings, key=lambda one: (one.count("/"), one)):
        if directory in found.owners or directory in snapshot.unlisted:
            continue
        above = parent(directory)
        beside = owner_of(last(directory), snapshot.listings[above].files if above in snapshot.listings else ())
        if beside is not None:
            path = f"{above}/{beside}" if above else beside
            id = by_path.get(path, "")
            if id and id not in found.directories:
                found.directories[id] = directory
                found.owners[directory] = id
                continue
            if path in new:
                found.owners[directory] = path
                continue
        if _is_wanted(directory, snapshot):
            found.new_folders.append(directory)
            found.owners[directory] = directory


def _beside(row: Local, path: str, directory: str) -> bool:
    """Whether the directory still stands beside its document: as before, or by its name."""
    if parent(path) != parent(directory):
        return False
    unchanged = last(path) == last(row.path) and last(directory) == last(row.directory)
    return unchanged or below_name(last(path)) == last(directory)


def _is_wanted(directory: str, snapshot: Snapshot) -> bool:
    """Whether a directory is to become a folder: when it is empty or holds, at some depth, what can be a document."""
    listing = snapshot.listings[directory]
    if listing.is_empty or listing.files:
        return True
    below = [f"{directory}/{name}" for name in listing.directories]
    return any(one in snapshot.listings and _is_wanted(one, snapshot) for one in below)
