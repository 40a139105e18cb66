"""Telling the server what was done here: kept in the queue before it is sent, until the answer is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from mdserver.client import (
    Client,
    CreateDocument,
    EditDocument,
    MoveDocument,
    Operation,
    RenameDocument,
    Result,
    RetitleDocument,
    TagDocument,
    TrashDocument,
)

from .deriving import Wish
from .names import last
from .pulling import keep
from .reading import is_settled
from .rows import Clash, Local, Queued, Refusal, Sig, Told, hash_of
from .state import State

MOST_BYTES = 8 << 20
"""Bytes of what is queued that are read at once, about as much as a request carries."""

_ANY = CreateDocument | EditDocument | MoveDocument | RenameDocument | RetitleDocument | TagDocument | TrashDocument

_WORDS = {
    CreateDocument: "was sent",
    EditDocument: "was sent",
    MoveDocument: "was moved on the server",
    RenameDocument: "was renamed on the server",
    RetitleDocument: "has its new title on the server",
    TagDocument: "has its new tags on the server",
    TrashDocument: "was put into the server's trash",
}


class Pusher:
    """Sends operations and keeps what became of them. `with_base`: edits whose base the server does not know."""

    def __init__(self, state: State, tell: Callable[[Told], None], now: Callable[[], int]) -> None:
        self._state, self._tell, self._now = state, tell, now
        self.with_base: set[tuple[str, int]] = set()
        self._refused_before: set[str] = set()
        self.again = False
        """Something was refused in a way that another turn may mend."""

    def enqueue(self, wishes: Iterable[Wish]) -> int:
        """Write down what is going to be sent; how much. What was refused already is passed over."""
        count = 0
        with self._state.transaction():
            for wish in wishes:
                if wish.fingerprint in self._state.refusals:
                    continue
                self._state.enqueue(
                    Queued(
                        seq=0,
                        op=msgspec.json.encode(wish.op),
                        path=wish.path,
                        text=wish.read.text if wish.read is not None else None,
                        sig=wish.read.sig if wish.read is not None else None,
                        fingerprint=wish.fingerprint,
                    )
                )
                count += 1
        return count

    def forget_titles(self) -> None:
        """Edits that are made of no file are sent at once, or made anew."""
        with self._state.transaction():
            for row in self._state.queue():
                if row.text is None and isinstance(msgspec.json.decode(row.op, type=_ANY), EditDocument):
                    self._state.dequeue(row.seq)

    async def send(self, client: Client, tick: Callable[[int], None] = lambda steps: None) -> int:
        """Send all that is queued, what was queued in another run first; how many answers were kept."""
        count = 0
        while rows := self._state.queue(most=MOST_BYTES):
            operations: list[Operation] = [msgspec.json.decode(row.op, type=_ANY) for row in rows]
            at = 0
            async for results in client.push_parts(operations):
                with self._state.transaction():
                    for row, op, result in zip(rows[at:], operations[at:], results, strict=False):
                        self._keep(row, op, result)
                        self._state.dequeue(row.seq)
                at += len(results)
                tick(len(results))
            count += at
        return count

    def _keep(self, row: Queued, op: Operation, result: Result) -> None:
        if result.status == "refused":
            self._refused(row, op, result)
            return
        if result.document is not None:
            keep(self._state, result.document)
            if result.status != "duplicate":
                self._state.expect(op.id)
            if result.content is not None:
                self._state.put_incoming(
                    op.id,
                    hash=hash_of(result.content),
                    version=result.document.version,
                    text=result.content,
                )
        if isinstance(op, CreateDocument):
            self._created(row, op, result)
        elif isinstance(op, EditDocument):
            self._edited(row, op, result)
        elif isinstance(op, MoveDocument | RenameDocument):
            self._moved(row, op, result)
        elif isinstance(op, TrashDocument):
            self._state.drop_local(op.id)
        self._say(row, op, result)

    def _created(self, row: Queued, op: CreateDocument, result: Result) -> None:
        made = Local(
            id=op.id,
            kind=op.kind,
            parent_id=op.parent_id or "",
            filename=op.filename or "",
            name=last(row.path),
            path=row.path,
            directory=row.path if op.kind == "folder" else "",
        )
        self._agree(made, row.text or "", row.sig, result)

    def _edited(self, row: Queued, op: EditDocument, result: Result) -> None:
        known = self._state.locals.get(op.id)
        if row.text is None:  # of no file: it comes like what others wrote
            document, hash = result.document, hash_of(op.content)
            if document is not None and document.content_hash == hash:
                self._state.put_incoming(op.id, hash=hash, version=document.version, text=op.content)
        elif known is not None:
            self._agree(known, op.content, row.sig, result)

    def _agree(self, known: Local, text: str, sig: Sig | None, result: Result) -> None:
        """What was sent is the base from now on; `ahead` where the server's text is another one by now."""
        hash, document = hash_of(text), result.document
        is_same = document is not None and document.content_hash == hash
        version = document.version if document is not None and is_same else known.version
        changed = msgspec.structs.replace(
            known,
            version=version,
            hash=hash,
            sig=sig or known.sig,
            settled=sig is not None and is_settled(sig, self._now()),
            ahead=not is_same,
        )
        if known.is_folder:
            changed = msgspec.structs.replace(
                changed, ahead=False, version=result.version or 1, hash=document.content_hash if document else hash
            )
        self._state.put_local(changed, text)

    def _moved(self, row: Queued, op: MoveDocument | RenameDocument, result: Result) -> None:
        known = self._state.locals.get(op.id)
        if known is None or result.document is None:
            return
        # The name that was sent, not the one given: where they differ the file is renamed as after any other move.
        named = op.filename if isinstance(op.filename, str) else known.filename
        parent_id = (op.parent_id or "") if isinstance(op, MoveDocument) else known.parent_id
        self._state.put_local(msgspec.structs.replace(known, parent_id=parent_id, filename=named, name=last(row.path)))

    def _refused(self, row: Queued, op: Operation, result: Result) -> None:
        problem = result.problem
        status, slug = (problem.status, problem.slug) if problem is not None else (0, "")
        why = (problem.detail or problem.title) if problem is not None else "The server did not take it."
        if isinstance(op, EditDocument) and slug == "base-unknown" and op.base_content is None:
            self.with_base.add((op.id, op.base_version))
            self.again = True
            return
        if isinstance(op, TrashDocument) and status in (404, 409, 412):
            # Somebody edited it, or wrote something below it: it comes back. 404: it is gone there, too.
            self._state.drop_local(op.id)
            self.again = True
            if status != 404:
                words = "was deleted here, but changed elsewhere meanwhile: it comes back"
                self._tell(Told(what="restored", path=row.path, words=words))
            return
        if status in (404, 409):
            self.again = True  # what came meanwhile may change what is to be said
        self._state.refuse(Refusal(fingerprint=row.fingerprint, path=row.path, why=why, status=status))
        is_news = row.fingerprint not in self._refused_before
        self._refused_before.add(row.fingerprint)
        if is_news and status != 404:  # of what is gone the next pull tells
            self._tell(Told(what="refused", path=row.path, words=f"was not taken by the server: {why}"))

    def _say(self, row: Queued, op: Operation, result: Result) -> None:
        words = _WORDS[type(op)]
        what = "pushed"
        if isinstance(op, EditDocument) and row.text is None:
            words = "has its new title in its front matter"
        if isinstance(op, EditDocument):
            if result.status == "merged":
                what, words = "merged", "was merged with what others wrote"
            if result.restored:
                words += ", and came back from the trash"
        if result.status == "conflict" or result.outcome == "conflict":
            overlaps = result.overlaps or []
            yours, theirs = [one.yours for one in overlaps], [one.theirs for one in overlaps]
            what, words = "conflict", "was rewritten on both sides: both passages are in it"
            clash = Clash(
                id=result.conflict_id or f"{op.id}-{result.version}", path=row.path, yours=yours, theirs=theirs
            )
            self._state.put_clash(clash)
            self._tell(
                Told(what=what, path=row.path, words=words, more={"yours": yours, "theirs": theirs, "id": clash.id})
            )
            return
        self._tell(Told(what=what, path=row.path, words=words))
