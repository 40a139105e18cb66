"""Carrying out what a device brings: each operation once, in a transaction of its own, whatever others come to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, cast

from mdserver import ids, text
from mdserver.crdt import guard
from mdserver.errors import Conflict, Forbidden, Invalid, Malformed, NotFound, Problem, Stale
from mdserver.model import documents, live, operations, updates, workspaces
from mdserver.model.access import ADMIN, EDITOR, Principal
from mdserver.model.documents import Document
from mdserver.model.operations import Effect
from mdserver.model.updates import Door, Written
from mdserver.outline import derive_title
from mdserver.store.db import Database, Reader, Tx

from . import operations as kinds
from .operations import Operation, Result
from .turns import Done, Order, Turn

AT_ONCE = 32
"""Operations of one request that are under way together, where they have nothing to do with one another."""

LONG = 64 << 10
"""Code points of a text from which it is looked at on a thread."""

Live = Callable[[Principal, str, bytes, Callable[[], Awaitable[object]]], Awaitable[None]]
"""Has a room take in an update of a document and store it, once it has judged; raises what its sender has to hear."""

Said = Callable[[Problem], dict[str, Any]]
"""A problem as its sender reads it."""


class Unread(NamedTuple):
    """What is no operation, and why."""

    op_id: str | None
    problem: Problem


class _Known(Exception):
    """The operation has had its effect already."""

    def __init__(self, effect: Effect) -> None:
        super().__init__()
        self.effect = effect


class Pusher:
    """Takes operations. `live` takes in Yjs updates, `said` words problems."""

    def __init__(self, database: Database, door: Door, *, live: Live) -> None:
        self._database, self._door, self._live = database, door, live

    async def push(self, me: Principal, operations: Sequence[Operation | Unread], *, said: Said) -> list[Result]:
        """One result for each operation, in order."""
        at_once, order = asyncio.Semaphore(AT_ONCE), Order(in_order=self._database.in_order)
        tasks: list[asyncio.Task[Result]] = []

        async def after(waits: set[Done], turn: Turn, one: Operation) -> Result:
            try:
                if waits:
                    await asyncio.wait(waits)
                await turn.comes()  # not while others wait for a place among those under way
                async with at_once:
                    return await self._result(me, one, turn, said)
            finally:
                turn.is_over()

        results: list[Result | asyncio.Task[Result]] = []
        try:
            for one in operations:
                if isinstance(one, Unread):
                    results.append(Result(op_id=one.op_id, status="refused", problem=said(one.problem)))
                    continue
                waits, turn = order.waits(one)
                task = asyncio.create_task(after(waits, turn, one))
                tasks.append(task)
                results.append(task)
                order.begun(one, cast(Done, task))
            if tasks:
                await asyncio.wait(tasks)
        finally:
            for task in tasks:  # whoever waits for the answer has gone
                task.cancel()
        return [one if isinstance(one, Result) else one.result() for one in results]

    async def _result(self, me: Principal, one: Operation, turn: Turn, said: Said) -> Result:
        fingerprint = kinds.fingerprint(one)
        try:
            return await self._done(me, one, fingerprint, turn)
        except _Known as known:
            try:
                return await self._again(me, one, known.effect)
            except Problem as problem:
                return _refused(one, problem, said)
        except Problem as problem:
            if problem.status >= 500 and problem.slug != "busy":
                raise
            return _refused(one, problem, said)

    async def _done(self, me: Principal, one: Operation, fingerprint: bytes, turn: Turn) -> Result:
        if not ids.is_id(one.id):
            if isinstance(one, kinds.CreateDocument):
                raise Invalid("An id is a UUID of version 7 in lower case.", pointer="/id")
            raise documents.unknown()
        if isinstance(one, kinds.CreateDocument):
            return await self._create(me, one, fingerprint, turn)
        if isinstance(one, kinds.EditDocument):
            return await self._edit(me, one, fingerprint)
        if isinstance(one, kinds.UpdateDocument):
            return await self._update(me, one, fingerprint)
        if isinstance(one, kinds.PurgeDocument):
            return await self._purge(me, one, fingerprint, turn)
        change = _change(me, one)

        def unit(tx: Tx) -> Document:
            document = documents.find(tx, me, one.id, need=EDITOR)
            return change(tx, document)

        return await self._once(me, one, fingerprint, turn, unit)

    async def _again(self, me: Principal, one: Operation, effect: Effect) -> Result:
        """The first answer again, for somebody who may still hear it."""

        def question(db: Reader) -> Document | None:
            if isinstance(one, kinds.PurgeDocument):
                return None
            return documents.find(db, me, effect.document_id)

        document = await self._database.read(question)
        status: Any = effect.status  # the table's CHECK lists them
        return Result(
            op_id=one.op_id,
            status="duplicate",
            id=effect.document_id,
            version=effect.version,
            outcome=status,
            document=document,
            conflict_id=effect.conflict_id,
        )

    async def _once(
        self,
        me: Principal,
        one: Operation,
        fingerprint: bytes,
        turn: Turn,
        change: Callable[[Tx], Document],
        *gates: str,
    ) -> Result:
        def unit(tx: Tx) -> Document:
            _check(tx, me, one, fingerprint)
            document = change(tx)
            operations.remember(
                tx, me.user_id, one.op_id, fingerprint, Effect("applied", document.id, document.version)
            )
            return document

        asked = asyncio.ensure_future(self._database.write(unit, *gates))
        await asyncio.sleep(0)  # it has asked by then
        turn.is_over()
        document = await asked
        return Result(op_id=one.op_id, status="applied", id=document.id, version=document.version, document=document)

    async def _create(self, me: Principal, one: kinds.CreateDocument, fingerprint: bytes, turn: Turn) -> Result:
        if not ids.is_id(one.workspace_id):
            raise NotFound("There is no such workspace, or you cannot see it.")
        if one.filename is not None:
            text.check_filename(one.filename)
        if one.kind == "folder" and one.content:
            raise Invalid("A folder has no content.", pointer="/content")
        tags = documents.check_tags(one.tags or [])
        maximum = self._door.maximum_bytes
        if len(one.content) < LONG and one.kind != "richtext":
            draft = documents.draft(one.content, maximum_bytes=maximum)
        else:
            draft = await asyncio.to_thread(documents.draft, one.content, maximum_bytes=maximum, kind=one.kind)
        title = one.title if one.title is not None else derive_title(one.content, one.filename or "Untitled.md")
        title = documents.check_title(title)

        def unit(tx: Tx) -> Document:
            role = workspaces.enter(tx, me, one.workspace_id, need=EDITOR)
            return documents.create(
                tx,
                me,
                one.workspace_id,
                role=role,
                title=title,
                kind=one.kind,
                draft=draft,
                parent_id=one.parent_id,
                tags=tags,
                document_id=one.id,
                filename=one.filename,
            )

        made = await self._once(me, one, fingerprint, turn, unit, f"changes:{one.workspace_id}")
        if draft.text.content != one.content:  # rich text has a normal form
            made.content = draft.text.content
        return made

    async def _edit(self, me: Principal, one: kinds.EditDocument, fingerprint: bytes) -> Result:
        await self._database.glance(lambda db: _check(db, me, one, fingerprint))  # its base may be forgotten by now

        def status(written: Written) -> kinds.Status:
            return "conflict" if written.overlaps else written.outcome

        def after(tx: Tx, written: Written) -> None:
            effect = Effect(status(written), one.id, written.document.version, written.conflict_id)
            operations.remember(tx, me.user_id, one.op_id, fingerprint, effect)

        written = await self._door.write(
            me,
            one.id,
            base=updates.started_from(one.base_version, one.base_content, content_hash=one.base_hash),
            content=one.content,
            before=lambda tx: _check(tx, me, one, fingerprint),
            after=after,
            revives=True,
        )
        return Result(
            op_id=one.op_id,
            status=status(written),
            id=one.id,
            version=written.document.version,
            restored=written.is_back,
            document=written.document,
            content=written.content if written.content != one.content else None,
            overlaps=written.overlaps,
            conflict_id=written.conflict_id,
        )

    async def _update(self, me: Principal, one: kinds.UpdateDocument, fingerprint: bytes) -> Result:
        """Yjs takes an update in once by itself, so it is noted behind its effect."""
        await self._database.glance(lambda db: _check(db, me, one, fingerprint))
        if len(one.update) > self._door.maximum_bytes:
            raise Invalid("The update is larger than a document may be.", pointer="/update")

        def look(db: Reader) -> None:
            documents.require_text(documents.find(db, me, one.id, need=EDITOR))

        await self._database.glance(look)
        try:
            await self._live(me, one.id, one.update, lambda: self._database.glance(look))
        except guard.Unsound as error:
            raise Invalid("This is no update that Yjs makes.", pointer="/update") from error
        is_back = False

        def unit(tx: Tx) -> Document:
            nonlocal is_back
            document = documents.find(tx, me, one.id)
            is_back = document.trashed_at is not None
            return documents.bring_back(tx, me, document) if is_back else document

        made = await self._once(me, one, fingerprint, Turn(None), unit)
        made.restored = is_back
        return made

    async def _purge(self, me: Principal, one: kinds.PurgeDocument, fingerprint: bytes, turn: Turn) -> Result:
        if "admin" not in me.scopes:
            raise Forbidden("This token lacks the scope 'admin'.", needed_scope="admin")

        def unit(tx: Tx) -> Document:
            document = documents.find(tx, me, one.id, need=ADMIN)
            documents.purge(tx, me, document)
            return document

        made = await self._once(me, one, fingerprint, turn, unit)
        made.document = None
        return made


def _change(me: Principal, one: Operation) -> Callable[[Tx, Document], Document]:
    """What an operation does to a found document; what is wrong with the operation itself is said before that."""
    if isinstance(one, kinds.RetitleDocument):
        title = documents.check_title(one.title)
        return lambda tx, document: documents.retitle(tx, me, document, title)
    if isinstance(one, kinds.TagDocument):
        tags = documents.check_tags(one.tags)
        return lambda tx, document: documents.set_tags(tx, me, document, tags)
    if isinstance(one, kinds.RenameDocument):
        filename = text.check_filename(one.filename)
        return lambda tx, document: documents.rename_file(tx, me, document, filename)
    if isinstance(one, kinds.MoveDocument):
        if one.before is not None and one.after is not None:
            raise Malformed("Name a sibling to stand before, or one to stand after, not both.")
        if one.filename is not None:
            text.check_filename(one.filename)
        return lambda tx, document: _moved(tx, me, document, one)
    if isinstance(one, kinds.TrashDocument):
        return lambda tx, document: _trashed(tx, me, document, one)
    if isinstance(one, kinds.RestoreDocument):
        return lambda tx, document: document if document.trashed_at is None else documents.restore(tx, me, document)
    raise TypeError(f"{type(one).__name__} is carried out elsewhere")


def _moved(tx: Tx, me: Principal, document: Document, one: kinds.MoveDocument) -> Document:
    return documents.move(
        tx, me, document, parent_id=one.parent_id, before=one.before, after=one.after, filename=one.filename
    )


def _trashed(tx: Tx, me: Principal, document: Document, one: kinds.TrashDocument) -> Document:
    if document.trashed_at is not None:
        return document
    is_other = one.base_hash is not None and document.content_hash != one.base_hash
    is_newer = one.base_version is not None and (document.version > one.base_version or live.is_behind(tx, document.id))
    if is_other or is_newer:
        raise Stale("The text was edited since: the document stays.", version=document.version)
    if one.only_if_empty and documents.has_children(tx, document):
        raise Conflict("There is something below it: it stays.")
    return documents.trash(tx, me, document)


def _check(db: Reader, me: Principal, one: Operation, fingerprint: bytes) -> None:
    """_Known when the operation has had its effect. Invalid when its id was used for another."""
    effect = operations.find(db, me.user_id, one.op_id, fingerprint)
    if effect is not None:
        raise _Known(effect)


def _refused(one: Operation, problem: Problem, said: Said) -> Result:
    return Result(op_id=one.op_id, status="refused", id=one.id, problem=said(problem))
