"""One turn after the other: look at the folder, tell the server, hear from it, bring the disk to what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from mdserver.client import ApiProblem, Client, CreateDocument, TrashDocument

from .applying import Applier
from .deriving import Wish, derive
from .disk import Disk
from .joining import join
from .matching import Found, match
from .names import OWN, last, local_name, parent, same_form
from .pulling import pull
from .pushing import Pusher
from .reading import Reader
from .recovering import recover
from .retitling import due
from .rows import Told
from .scanning import Snapshot
from .state import State

MOST_TURNS = 20
PART = 32 << 20
"""Bytes of new texts that are told in one turn, so that not all are in memory at once."""

Tick = Callable[[str, int], None]


class Engine:
    """A folder and its workspace. One turn at a time; a turn may be broken off anywhere, and the next one goes on."""

    def __init__(
        self,
        state: State,
        disk: Disk,
        client: Client,
        *,
        tell: Callable[[Told], None],
        tick: Tick = lambda stage, steps: None,
    ) -> None:
        self._state, self._disk, self._client, self._tell, self._tick = state, disk, client, tell, tick
        self._pusher = Pusher(state, tell, disk.now)
        self.root = disk.root
        self._known: set[str] = set()
        self.snapshot = Snapshot(disk.root, lambda path: path in self._known)
        self.part = PART
        self._is_whole = True
        """Whether all is told that is to be told."""
        self._unfinished = False
        """What the server said is not all on the disk, because something changed there meanwhile."""
        self._held: dict[str, str] = {}
        self.problems: dict[str, str] = {}
        """Path → what could not be done there in the last turn, completing "it …"."""

    async def settle(self) -> None:
        """Turns until both sides are the same, or nothing more can be done."""
        self.begin()
        self.look()
        turns = 0
        while turns < MOST_TURNS and await self.turn():
            turns += self._is_whole
            self.look()

    def begin(self) -> None:
        """What a crash left is put right, and what the server had refused may be told again."""
        recover(self._state, self._disk, self._tell)
        self.forgive()

    def forgive(self) -> None:
        """Let what was refused be sent again: roles and limits may have changed."""
        with self._state.transaction():
            for one in list(self._state.refusals):
                self._state.forgive(one)

    def left_out(self) -> dict[str, str]:
        """Path → why it is left out, completing "it …": here, and of what the server has."""
        return {**self.snapshot.left_out(), **self._held}

    def look(self, paths: Iterable[str] | None = None) -> None:
        """See what stands on the disk: everything, or where these paths are."""
        self._known = {row.path for row in self._state.locals.values()}
        if paths is None:
            self.snapshot.scan()
        else:
            self.snapshot.rescan(parent(one) for one in paths)

    async def rehearse(self) -> list[Wish]:
        """What would be pushed, after telling what would come. On a scratch state and a disk that takes notes."""
        self.look()
        wishes: list[Wish] = []
        if self._state.fact("complete"):
            wishes, _ = self.wishes(most=None, titled={})
        before = set(self._state.locals)
        await self._pull()
        await self.apply()
        if not wishes:
            wishes, _ = self.wishes(most=None, titled={})
        # What came in this rehearsal is not on the disk, which is no deletion.
        return [one for one in wishes if not isinstance(one.op, TrashDocument) or one.op.id in before]

    async def turn(self, *, hear: bool = True) -> bool:
        """One exchange after a look; whether another one is due at once. Without `hear` the server is only told."""
        self.problems = {}
        self._pusher.again = False
        if hear or not self._state.fact("complete"):
            # Before anything is told: a restored server is to be noticed, and somebody may have made the same.
            await self._pull()
        if self._state.fact("joining"):
            # The first time, or once more: what is there is joined before anything is made anew.
            await self.apply()
            with self._state.transaction():
                self._state.set_fact("joining", "")
            self.look()
            return True
        self._pusher.forget_titles()
        sent = await self._pusher.send(self._client)
        titled = due(self._state) if hear and not sent else {}
        wishes, reader = self.wishes(most=self.part, titled=titled)
        if any(isinstance(one.op, CreateDocument) for one in wishes):
            if not hear:
                await self._pull()
                if self._state.fact("joining"):
                    return True
            while join(self._state, self.snapshot, wishes):
                wishes, reader = self.wishes(most=self.part, titled=titled)
        self._pusher.enqueue(wishes)
        sent += await self._pusher.send(self._client, lambda steps: self._tick("pushing", steps))
        unfinished = bool(reader.unstable) or self._pusher.again
        if self._pusher.again:
            await self._pull()
        if sent or hear or self._pusher.again or self._unfinished:
            unfinished = await self.apply() or unfinished
        return unfinished or bool(sent)

    async def _pull(self) -> None:
        await pull(self._client, self._state, tell=self._tell, tick=lambda steps: self._tick("pulling", steps))

    def wishes(self, *, most: int | None, titled: Mapping[str, str]) -> tuple[list[Wish], Reader]:
        """What the server is to be told, after a look. The rows follow what was moved here."""
        self._look_for_missing()
        reader = Reader(self._state, self._disk, self.snapshot, now=self._disk.now())
        found = match(self._state.locals.values(), self.snapshot, hash_of=reader.hash_of, is_like=reader.is_like)
        if reader.unstable:
            # Something is written or moves just now, and may be what is missing, or look new: the next look tells.
            found.missing.clear()
            found.new_files.clear()
        self._follow(found)
        wishes, self._is_whole = derive(
            self._state,
            found,
            reader,
            workspace_id=self._state.fact("workspace_id"),
            with_base=self._pusher.with_base,
            titled=titled,
            most=most,
        )
        self._remember(found, reader)
        standing = {wish.fingerprint for wish in wishes}
        if self._is_whole:
            with self._state.transaction():
                for one in [one for one in self._state.refusals if one not in standing]:
                    self._state.forgive(one)
        return wishes, reader

    def _look_for_missing(self) -> None:
        """Nothing is called deleted that was not gone in two looks, the last of them everywhere: it may have moved.

        The disk tells of the two ends of a move one after the other, and a file can move from where a look has yet to
        come to where it has been.
        """
        if self._is_half_told():
            self.look()
        missing = self._missing()
        while missing:
            self.look()
            before, missing = missing, self._missing()
            if missing <= before:
                return

    def _is_half_told(self) -> bool:
        """Whether something that looks new is what is believed to stand elsewhere: one end of a move was told."""
        rows, snapshot = self._state.locals.values(), self.snapshot
        files = {row.sig.inode: row.path for row in rows if row.sig is not None and row.sig.inode}
        directories = {row.dir_inode: row.directory for row in rows if row.directory and row.dir_inode}
        known = {row.path for row in rows}
        for path in snapshot.files():
            if path not in known and (sig := snapshot.sig(path)) is not None and sig.inode in files:
                return True
        known = set(directories.values())
        return any(one not in known and snapshot.inode(one) in directories for one in snapshot.listings if one)

    def _missing(self) -> set[str]:
        """Known paths at which nothing was found."""
        snapshot = self.snapshot
        return {
            path
            for row in self._state.locals.values()
            for path in {row.path, row.directory}
            if path
            and path not in snapshot.listings
            and not snapshot.has_file(path)
            and not path.startswith(f"{OWN}/")
            and not snapshot.is_hidden_from_us(path)
        }

    def _follow(self, found: Found) -> None:
        """Keep where everything was found; what is where the server has it already was moved by us."""
        with self._state.transaction():
            for id, row in list(self._state.locals.items()):
                directory = found.directories.get(id, "")
                path = directory if row.is_folder else found.files.get(id, row.path)
                if id in found.missing and self._drop_if_gone(id):
                    found.missing.discard(id)
                    continue
                if id in found.frozen or not path:
                    continue
                changed = msgspec.structs.replace(
                    row,
                    path=path,
                    directory=directory,
                    dir_inode=self.snapshot.inode(directory) if directory else 0,
                )
                remote = self._state.remotes.get(id)
                owner = found.owners.get(parent(path))
                if (
                    remote is not None
                    and not remote.gone
                    and path != row.path
                    and owner == remote.parent_id
                    and last(path) == local_name(remote.filename)
                ):
                    changed = msgspec.structs.replace(
                        changed, parent_id=remote.parent_id, filename=remote.filename, name=last(path)
                    )
                elif path != row.path and last(path) != row.name and same_form(last(path), row.name):
                    changed = msgspec.structs.replace(changed, name=last(path))
                if changed != row:
                    self._state.put_local(changed)

    def _drop_if_gone(self, id: str) -> bool:
        """Deleted on both sides: there is nothing to say."""
        remote = self._state.remotes.get(id)
        if remote is None or remote.gone:
            self._state.drop_local(id)
        return id not in self._state.locals

    def _remember(self, found: Found, reader: Reader) -> None:
        """Files that were read again and are as they were need not be read the next time."""
        with self._state.transaction():
            for id, path in found.files.items():
                row, sig = self._state.locals.get(id), self.snapshot.sig(path)
                if row is None or sig is None or (row.settled and row.sig == sig) or row.ahead:
                    continue
                if reader.hash_of(path) == row.hash:
                    changed = msgspec.structs.replace(row, sig=sig, settled=reader.is_settled(sig))
                    if changed != row:
                        self._state.put_local(changed)

    async def apply(self) -> bool:
        """Bring the disk to what the server said last; whether something has to be looked at again."""
        self._held = {}
        applier = Applier(
            self._state,
            self._disk,
            self.snapshot,
            fetch=self._fetch,
            tell=self._tell,
            problem=self.problems.__setitem__,
            hold=self._held.__setitem__,
            tick=lambda steps: self._tick("writing", steps),
        )
        try:
            await applier.run()
        finally:
            self._known = {row.path for row in self._state.locals.values()}
            self.snapshot.rescan(applier.touched)
        self._unfinished = applier.unfinished
        return self._unfinished

    async def _fetch(self, id: str) -> tuple[int, str] | None:
        try:
            found = await self._client.content(id)
        except ApiProblem as problem:
            if problem.status in (404, 409):
                return None
            raise
        return found.version, found.content
