"""From what the server says to the disk: what is gone goes, what moved moves, what was written is written or merged."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Awaitable, Callable

import msgspec

from mdserver import merge
from mdserver.transfer.source import Unreadable, text_of

from .disk import Changed, Disk, Unfit
from .names import OWN, below_name, last, parent
from .placing import Held, Placer
from .reading import is_settled
from .rows import Clash, Local, Remote, Sig, Told, hash_of
from .scanning import Snapshot
from .state import State
from .writing import Writer

Fetch = Callable[[str], Awaitable[tuple[int, str] | None]]
"""A document's id → (version, text) as the server has them; None when it has no such document any more."""


class Applier:
    """Brings the disk to what the server said."""

    def __init__(
        self,
        state: State,
        disk: Disk,
        snapshot: Snapshot,
        *,
        fetch: Fetch,
        tell: Callable[[Told], None],
        problem: Callable[[str, str], None],
        hold: Callable[[str, str], None],
        tick: Callable[[int], None] = lambda steps: None,
    ) -> None:
        self._state, self._disk, self._snapshot = state, disk, snapshot
        self._fetch, self._tell, self._problem, self._hold, self._tick = fetch, tell, problem, hold, tick
        self._placer = Placer(state, snapshot, self, tell)
        self._writer = Writer(state, disk, tell=tell, problem=problem, failed=self._failed)
        self.touched = self._writer.touched
        """Directories in which something is not as it was when they were looked at."""

    @property
    def unfinished(self) -> bool:
        """Whether another turn is due at once."""
        return self._writer.unfinished

    def _unfinished(self) -> None:
        self._writer.unfinished = True

    # What Placer needs of the disk; tests give it a dictionary.

    def move(self, old: str, new: str) -> None:
        self.touched |= {parent(old), parent(new)}
        self._disk.move(old, new)

    def make_directory(self, path: str) -> int:
        self.touched.add(parent(path))
        return self._disk.make_directory(path)

    def is_there(self, path: str) -> bool:
        return self._disk.status(path) is not None

    async def run(self) -> None:
        """Do all that can be done; what cannot is reported, and stays for the next time."""
        self._remove_files()
        order = self._placer.order()
        paths = self._place(order)
        if any(row.path.startswith(f"{OWN}/") for row in self._state.locals.values()):
            paths |= self._place(order)  # somebody who had a place was put aside for who should have it
        self._remove_directories()
        for remote in order:
            path = paths.get(remote.id)
            if path is not None and remote.kind != "folder" and self._is_due(remote):
                await self._guarded(path, remote)
        self._writer.flush()

    def _is_due(self, remote: Remote) -> bool:
        row = self._state.locals.get(remote.id)
        return row is None or row.ahead or row.hash != remote.hash or row.version != remote.version

    async def _guarded(self, path: str, remote: Remote) -> None:
        try:
            await self._bring(path, remote)
        except OSError as error:
            self._failed(path, error)
        except Changed:
            self._unfinished()
        except (Unfit, Unreadable) as error:
            self._problem(path, f"{error}, so what others wrote there is not brought")

    def _failed(self, path: str, error: OSError) -> None:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            self._problem(path, "could not be written: the disk is full")
        else:
            self._problem(path, f"could not be written: {error.strerror or error}")

    def _remove_files(self) -> None:
        touched: set[str] = set()
        for row in sorted(self._state.locals.values(), key=lambda one: -one.path.count("/")):
            remote = self._state.remotes.get(row.id)
            if row.is_folder or (remote is not None and not remote.gone):
                continue
            try:
                if self._removed(row, is_purged=remote is None or remote.gone == "purge"):
                    touched.add(row.parent_id)
            except OSError as error:
                self._failed(row.path, error)
            except Changed:
                self._unfinished()
        for id in touched:
            self._tidy(id)

    def _removed(self, row: Local, *, is_purged: bool) -> bool:
        """Delete a file that is as it was agreed; what was edited here since stays, and is sent."""
        try:
            data, _ = self._disk.read(row.path)
        except FileNotFoundError:
            self._forget(row)
            return True
        except NotADirectoryError:  # a link may have its directory's place, which says nothing of the file
            return False
        except Unfit:
            self._forget(row)
            return False
        if hashlib.sha256(data).hexdigest() != row.hash:
            if is_purged:
                self._forget(row)
                self._unfinished()
                self._tell(Told(what="kept", path=row.path, words="was deleted elsewhere, but edited here: it stays"))
            return False
        self._writer.delete(row)
        if row.directory:
            self._disk.remove_directory(row.directory)  # if what stood below it is gone, too
        self._forget(row)
        self._tell(Told(what="removed", path=row.path, words="was deleted elsewhere"))
        return True

    def _forget(self, row: Local) -> None:
        self._placer.leave(row)
        with self._state.transaction():
            self._state.drop_local(row.id)
            self._state.drop_incoming(row.id)
        listing = self._snapshot.listings.get(parent(row.path))
        if listing is not None:
            listing.files.pop(last(row.path), None)

    def _tidy(self, id: str) -> None:
        """Remove a document's directory when nothing stands below it any more."""
        row = self._state.locals.get(id)
        if row is None or row.is_folder or not row.directory:
            return
        if any(one.parent_id == id and not one.gone for one in self._state.remotes.values()):
            return
        try:
            self.touched.add(parent(row.directory))
            if self._disk.remove_directory(row.directory):
                self._placer.leave(row)
                changed = msgspec.structs.replace(row, directory="", dir_inode=0)
                with self._state.transaction():
                    self._state.put_local(changed)
                self._placer.made(changed)
        except OSError as error:
            self._failed(row.directory, error)

    def _place(self, order: list[Remote]) -> dict[str, str]:
        paths: dict[str, str] = {}
        left: set[str] = set()
        for remote in order:
            before = self._state.locals.get(remote.id)
            try:
                path = self._placer.place(remote)
            except Held as held:
                self._hold(self._path_there(remote), str(held))
                continue
            except OSError as error:
                self._failed(self._path_there(remote), error)
                continue
            except Changed:
                self._unfinished()
                continue
            paths[remote.id] = path
            if before is not None and before.parent_id != remote.parent_id:
                left.add(before.parent_id)
            if remote.kind == "folder" and remote.id not in self._state.locals:
                self._join_folder(remote, path)
            elif remote.kind == "folder":
                self._agree(remote)
        odd = (row.id for row in self._state.locals.values() if row.directory and not row.is_folder)
        left |= {id for id in odd if _is_odd(self._state.locals[id])}
        for id in left:
            self._tidy(id)
        return paths

    def _path_there(self, remote: Remote) -> str:
        """A document's path on the server."""
        names = [remote.filename]
        while (above := self._state.remotes.get(remote.parent_id)) is not None and len(names) < 200:
            names.append(above.filename)
            remote = above
        return "/".join(reversed(names))

    def _join_folder(self, remote: Remote, path: str) -> None:
        row = Local.of(
            remote,
            path,
            directory=path,
            version=remote.version,
            hash=remote.hash,
            dir_inode=self._snapshot.inode(path),
        )
        self._placer.made(row)
        with self._state.transaction():
            self._state.put_local(row)

    def _agree(self, remote: Remote) -> None:
        row = self._state.locals[remote.id]
        if (row.version, row.hash) != (remote.version, remote.hash):
            with self._state.transaction():
                self._state.put_local(msgspec.structs.replace(row, version=remote.version, hash=remote.hash))

    def _remove_directories(self) -> None:
        """Directories of folders that are gone, the deepest first. One that holds something else stays."""
        rows = [one for one in self._state.locals.values() if one.is_folder]
        for row in sorted(rows, key=lambda one: -one.path.count("/")):
            remote = self._state.remotes.get(row.id)
            if remote is not None and not remote.gone:
                continue
            try:
                is_gone = self._disk.remove_directory(row.path)
            except OSError as error:
                self._failed(row.path, error)
                continue
            self._placer.leave(row)
            with self._state.transaction():
                self._state.drop_local(row.id)
            self.touched.add(parent(row.path))
            if is_gone:
                self._tell(Told(what="removed", path=row.path, words="the folder was deleted elsewhere"))
            else:
                self._unfinished()

    async def _bring(self, path: str, remote: Remote) -> None:
        """Write a document's text, or merge it with what stands in its file."""
        row = self._state.locals.get(remote.id)
        known = self._state.incoming(remote.id, remote.hash)
        if known is None and row is not None and row.hash == remote.hash and not row.ahead:
            known = (remote.version, self._state.base(remote.id))
        if known is None:
            known = await self._fetch(remote.id)
        if known is None:
            return
        version, text = known
        self._tick(1)
        if row is None:
            self._bring_new(path, remote, version, text)
        else:
            self._bring_known(row, version, text)

    def _bring_new(self, path: str, remote: Remote, version: int, text: str) -> None:
        row = Local.of(
            remote,
            path,
            version=version,
            hash=hash_of(text),
        )
        row = self._placer.coming(row)
        self._placer.made(row)
        if self._disk.status(path) is None:
            self._writer.ready(row, text, text, seen=None, mode=None, told=Told(what="pulled", path=path, words="came"))
            return
        data, sig = self._disk.read(path)
        mine = text_of(data)
        if mine == text:
            self._settled(row, text, sig)
            return
        merged = merge.merge("", server=text, client=mine)
        words = "was there on both sides with different texts: both are in it now"
        told = Told(what="merged", path=path, words=words)
        self._clash(remote.id, version, path, merged.overlaps)
        self._writer.ready(row, text, merged.text, seen=(sig, hash_of(mine)), mode=self._mode(path), told=told)

    def _bring_known(self, row: Local, version: int, text: str) -> None:
        changed = msgspec.structs.replace(row, version=version, hash=hash_of(text), ahead=False)
        if self._disk.status(row.path) is None:  # deleted or moved here, which the next look tells
            if row.hash == changed.hash:
                self._settled(changed, text, None)
            elif row.ahead:  # nobody here has seen what was merged: neither is a deletion of it, nor what moved an edit
                with self._state.transaction():
                    self._state.put_local(msgspec.structs.replace(row, ahead=False))
            if row.ahead:
                self._unfinished()
            return
        data, sig = self._disk.read(row.path)
        mine = text_of(data)
        if mine == text:
            self._settled(changed, text, sig)
            return
        base = self._state.base(row.id)
        result, words, what = text, "was updated", "pulled"
        if mine != base:
            merged = merge.merge(base, server=text, client=mine)
            self._clash(row.id, version, row.path, merged.overlaps)
            result, words, what = merged.text, "was merged with what was written here", "merged"
        if result == mine:
            self._settled(changed, text, None)
            return
        mode = self._mode(row.path)
        if mode is not None and not mode & 0o222:
            self._problem(row.path, "is read-only, so what others wrote is not brought")
            return
        told = Told(what=what, path=row.path, words=words)
        self._writer.ready(changed, text, result, seen=(sig, hash_of(mine)), mode=mode, told=told)

    def _mode(self, path: str) -> int | None:
        found = self._disk.status(path)
        return found.st_mode if found is not None else None

    def _clash(self, id: str, version: int, path: str, overlaps: list[merge.Overlap]) -> None:
        if not overlaps:
            return
        yours, theirs = [one.yours for one in overlaps], [one.theirs for one in overlaps]
        with self._state.transaction():
            self._state.put_clash(Clash(id=f"{id}-{version}", path=path, yours=yours, theirs=theirs))
        self._tell(
            Told(
                what="conflict",
                path=path,
                words="was rewritten on both sides: both passages are in it",
                more={"yours": yours, "theirs": theirs},
            )
        )

    def _settled(self, row: Local, base: str, sig: Sig | None) -> None:
        """The file needs no writing: only what was agreed is new."""
        is_old = sig is not None and is_settled(sig, self._disk.now())
        with self._state.transaction():
            self._state.put_local(msgspec.structs.replace(row, sig=sig or row.sig, settled=is_old), base)
            self._state.drop_incoming(row.id)


def _is_odd(row: Local) -> bool:
    """Whether a document's directory has a name that only we give."""
    return below_name(last(row.path)) != last(row.directory)
