"""The one door through which content changes: every edit becomes a Yjs update in the document's log.

An edit is computed from the committed state on a scratch document, off the event loop. One unit of work then checks
permission and precondition again and writes the log row, the projection, the version and the change-log row. When the
log has grown meanwhile, it starts over from the new state.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from mdserver import clock, failpoints, links, merge, text
from mdserver.crdt import text as crdt
from mdserver.errors import Busy, Conflict
from mdserver.store.db import Database, Reader, Tx
from mdserver.store.marker import Marker

from . import backlinks, changes, conflicts, documents, live, log, texts, versions
from .access import EDITOR, Principal, Role
from .documents import Document

ATTEMPTS = 8
PATIENT = 2
"""Attempts after which an edit has rooms wait with what is typed: those who type fast would outrun it for ever."""

LONG = 200_000
"""Code points from which an edit takes so much time that long ones take turns, and short ones never wait for them."""

Outcome = Literal["applied", "merged"]


class Rewritten(msgspec.Struct):
    """What an edit makes of the present text."""

    content: str
    overlaps: list[merge.Overlap] = []


class Edited(msgspec.Struct):
    """What came of an edit: `merged` when the text had changed since the edit's base."""

    outcome: Outcome
    document: Document
    overlaps: list[merge.Overlap] = []
    conflict_id: str | None = None
    """The record of the overlaps, kept until somebody settles it (see conflicts.py)."""


class Written(msgspec.Struct):
    """What a unit of work has written: the document, its text, and whether it came back from the trash for it."""

    document: Document
    content: str
    outcome: Outcome
    overlaps: list[merge.Overlap]
    conflict_id: str | None
    is_back: bool


class _Loaded(msgspec.Struct):
    """What an edit is computed from."""

    document: Document
    base: str
    ground: live.Ground
    log: log.Log

    @property
    def is_unsettled(self) -> bool:
        """Whether something was written live that is no version yet."""
        return not self.ground.is_version or self.ground.seq < self.log.head


class _Prepared(msgspec.Struct):
    """What a unit of work has only to write down; no update when the text stays as it is."""

    rewritten: Rewritten
    merged: bool
    settling: live.Projection | None
    """What was written live before the edit, as a version of its own."""
    before: texts.Packed
    text: texts.Text
    links: list[links.Link]
    update: bytes | None
    snapshot: bytes | None


class _Moved(Exception):
    """Something else was committed to this document since it was loaded."""


def started_from(
    version: int, content: str | None, *, content_hash: str | None = None
) -> Callable[[Reader, Document], str | None]:
    """For the door: the text of the version that an edit started from, or else `content`, which the client has kept.

    Conflict when it is not known and not given. A text of another `content_hash` is not it: a server that was restored
    from a backup gives the numbers of versions out again, and merging from such a text would delete what it holds.
    """

    def base(db: Reader, document: Document) -> str | None:
        if version == document.version and content_hash in (None, document.content_hash):
            return None
        known = versions.text_of(db, document, version)
        if known is None:
            known = live.text_of_moment(db, document.id, version)
        if known is not None and content_hash is not None and texts.named(known).hash != content_hash:
            known = None
        if known is None:
            known = content
        if known is None:
            raise Conflict(
                f"The text of version {version} is not known: send base_content.",
                slug="base-unknown",
                version=document.version,
            )
        return known

    return base


class Door:
    """Edits of one document enter one after another, so that they rarely meet in the log; other doors still may."""

    def __init__(self, database: Database, *, maximum_bytes: int, marker: Marker | None = None) -> None:
        self.maximum_bytes = maximum_bytes
        self._marker = marker or Marker(None)
        self._database = database
        self._long = asyncio.Semaphore(2)
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self.hurried: set[str] = set()
        """Documents to whose logs nothing else should be appended now, as an edit was outrun too often."""
        self.on_calm: Callable[[], object] = lambda: None
        """Called when a document is hurried no more."""

    async def edit(
        self,
        me: Principal,
        document_id: str,
        *,
        base: Callable[[Reader, Document], str | None],
        content: Callable[[Reader, Document], str] | str,
        reason: versions.Reason = "edit",
        need: Role = EDITOR,
        replaces: bool = False,
        also: Callable[[Tx, Document], None] | None = None,
    ) -> Edited:
        """Bring `content` into the document.

        `base` judges the precondition and gives the text that the edit started from (None: the present text, as
        stored); what was written since then is merged, unless the content `replaces` whatever is there. `also` runs in
        the same unit of work. Busy when the document changes faster than it can be edited.
        """

        def after(tx: Tx, written: Written) -> None:
            if also is not None:
                also(tx, written.document)

        written = await self.write(
            me, document_id, base=base, content=content, reason=reason, need=need, replaces=replaces, after=after
        )
        return Edited(written.outcome, written.document, written.overlaps, written.conflict_id)

    async def write(
        self,
        me: Principal,
        document_id: str,
        *,
        base: Callable[[Reader, Document], str | None],
        content: Callable[[Reader, Document], str] | str,
        after: Callable[[Tx, Written], None],
        before: Callable[[Tx], None] = lambda tx: None,
        reason: versions.Reason = "edit",
        need: Role = EDITOR,
        replaces: bool = False,
        revives: bool = False,
    ) -> Written:
        """The same, telling all that was written. `before` and `after` run in the same unit of work; one that
        `revives` brings the document back when it lies in the trash.
        """
        turn = self._turns.get(document_id)
        if turn is None:
            turn = self._turns[document_id] = asyncio.Lock()
        async with turn, contextlib.AsyncExitStack() as hurry:
            for attempt in range(ATTEMPTS):
                if attempt == PATIENT:
                    hurry.enter_context(self._hurrying(document_id))
                loaded, wanted = await self._database.read(
                    lambda db: _load(db, me, document_id, need=need, base=base, content=content, revives=revives)
                )
                is_long = max(len(wanted), len(loaded.base)) > LONG
                async with self._long if is_long else contextlib.nullcontext():
                    prepared = await asyncio.to_thread(self._prepare, loaded, wanted, replaces)
                gates = (f"document:{document_id}", f"changes:{loaded.document.workspace_id}")

                def commit(tx: Tx, loaded: _Loaded = loaded, prepared: _Prepared = prepared) -> Written:
                    before(tx)
                    document = documents.find(tx, me, document_id, need=need)
                    written = _commit(tx, me, document, loaded, prepared, reason=reason)
                    after(tx, written)
                    written.document = documents.find(tx, me, document_id)
                    return written

                try:
                    return await self._database.write(commit, *gates)
                except _Moved:
                    continue
        raise Busy("The document changes too fast to edit it just now: nothing was changed.")

    def _prepare(self, loaded: _Loaded, wanted: str, replaces: bool) -> _Prepared:
        with self._marker.loading(loaded.document.id):
            return _prepare(loaded, wanted, self.maximum_bytes, replaces)

    @contextlib.contextmanager
    def _hurrying(self, document_id: str) -> Iterator[None]:
        self.hurried.add(document_id)
        try:
            yield
        finally:
            self.hurried.discard(document_id)
            self.on_calm()


def _load(
    db: Reader,
    me: Principal,
    document_id: str,
    *,
    need: Role,
    base: Callable[[Reader, Document], str | None],
    content: Callable[[Reader, Document], str] | str,
    revives: bool,
) -> tuple[_Loaded, str]:
    document = documents.find(db, me, document_id, need=need)
    documents.require_text(document)
    if not revives:
        documents.require_live(document)
    present, started_from = documents.present_text(db, document_id), base(db, document)
    ground = live.ground(db, document_id)
    assert ground is not None  # it was found
    wanted = content if isinstance(content, str) else content(db, document)
    return _Loaded(
        document, present if started_from is None else started_from, ground, log.load(db, document_id)
    ), wanted


def _prepare(loaded: _Loaded, wanted: str, maximum_bytes: int, replaces: bool) -> _Prepared:
    """Everything that takes time: loading the log, merging, the smallest edit, hashing, compressing."""
    text.check_content(wanted, maximum_bytes=maximum_bytes)
    form, doc = loaded.log.form, loaded.log.replayed()
    current = form.text_of(doc)
    if replaces or current == loaded.base:
        rewritten, merged = Rewritten(wanted), False
    else:
        result = merge.merge(loaded.base, server=current, client=wanted)
        rewritten, merged = Rewritten(result.text, result.overlaps), True
    update = form.edit(doc, rewritten.content)
    if not form.is_plain:
        rewritten.content = form.text_of(doc)
    data = text.check_content(rewritten.content, maximum_bytes=maximum_bytes)
    snapshot = crdt.state(doc) if update is not None and loaded.log.wants_snapshot else None
    return _Prepared(
        rewritten,
        merged,
        live.prepared(loaded.document.id, loaded.log.head, loaded.ground, current, is_version=True)
        if loaded.is_unsettled
        else None,
        texts.packed(current),
        texts.named(rewritten.content, data),
        links.links(rewritten.content),
        update,
        snapshot,
    )


def _commit(
    tx: Tx,
    me: Principal,
    document: Document,
    loaded: _Loaded,
    prepared: _Prepared,
    *,
    reason: versions.Reason,
) -> Written:
    """Write it down, if the document is still what the edit was computed from."""
    before = loaded.document
    present, known = (document.version, document.revision), (before.version, before.revision)
    if present != known or log.head(tx, document.id) != loaded.log.head:
        raise _Moved
    is_back = document.trashed_at is not None
    if is_back:
        document = documents.bring_back(tx, me, document)
    version = document.version
    if prepared.update is not None:
        if prepared.settling is not None:
            settled = live.project(tx, prepared.settling)
            if settled is None:
                raise _Moved
            version = settled
        now, seq = clock.now(), loaded.log.head + 1
        log.append(tx, me, document.id, seq, prepared.update, at=now)
        failpoints.hit("edit-logged")
        if prepared.snapshot is not None:
            log.keep_snapshot(tx, document.id, seq, prepared.snapshot)
            failpoints.hit("snapshot-kept")
        version = documents.project(
            tx,
            me,
            document.id,
            version=version,
            seq=seq,
            text=prepared.text,
            before=prepared.before,
            at=now,
        )
        failpoints.hit("edit-projected")
        last = versions.last(tx, document.id)
        versions.add(
            tx,
            document.id,
            version,
            seq=seq,
            title=document.title,
            text=prepared.text,
            reason="merge" if prepared.merged and reason == "edit" else reason,
            authors=log.authors(tx, document.id, after=last.seq if last else 0, upto=seq),
            at=now,
        )
        live.settled(tx, document.id, seq=seq)
        tx.announce("log", document.id)
        backlinks.index(tx, document.workspace_id, document.id, prepared.links, new=False)
        changes.record(tx, me, document.workspace_id, "document", document.id, version=version)
    overlaps, conflict_id = prepared.rewritten.overlaps, None
    if overlaps:
        conflict_id = conflicts.record(
            tx, me, workspace_id=document.workspace_id, document_id=document.id, version=version, overlaps=overlaps
        )
    return Written(
        documents.find(tx, me, document.id),
        prepared.rewritten.content,
        "merged" if prepared.merged else "applied",
        overlaps,
        conflict_id,
        is_back,
    )
