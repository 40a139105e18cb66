"""Hearing what the server has: page by page into the state, with the cursor in the same transaction."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mdserver.client import ApiProblem, Change, Client, Document, ResyncRequired

from .retitling import note
from .rows import Remote, Told
from .state import State
from .writing import moment

PAGE = 200


class AccessLost(Exception):
    """The workspace is closed to us; the text is a sentence. Files are left as they are."""


async def pull(
    client: Client, state: State, *, tell: Callable[[Told], None], tick: Callable[[int], None] = lambda steps: None
) -> int:
    """Take in every change since the last time; how many. After a resync, what was not seen is gone."""
    count = 0
    while True:
        cursor = state.fact("cursor")
        try:
            page = await client.pull(
                cursor or None, workspace=state.fact("workspace_id"), limit=PAGE, include_content=True
            )
        except ResyncRequired:
            if not cursor:
                raise
            _resync(
                state, tell, "The server asks to compare everything anew, as one does that was restored from a backup."
            )
            continue
        except ApiProblem as problem:
            if problem.status in (403, 404):
                raise AccessLost(f"The workspace is not open to you any more: {problem.detail}") from problem
            raise
        with state.transaction():
            for change in page.changes:
                _take(state, change)
            state.set_fact("cursor", page.next_cursor)
            if not page.has_more and not state.fact("complete"):
                _finish(state)
        count += len(page.changes)
        tick(len(page.changes))
        if page.has_more:
            continue
        if not state.expected():
            return count
        # What a push changed has a newer position than our cursor, unless the server has lost it since.
        _resync(state, tell, "The server has lost what was sent to it, as one does that was restored from a backup.")


def _resync(state: State, tell: Callable[[Told], None], words: str) -> None:
    tell(Told(what="resync", words=words))
    with state.transaction():
        start_over(state)
        state.set_fact("resync", moment())


def start_over(state: State) -> None:
    """Forget the cursor: everything is to be seen again.

    A restored server gives its version numbers to other texts, so ours are of no use either. What was sent, and has no
    answer, is found out from the files once more.
    """
    state.set_fact("cursor", "")
    state.set_fact("complete", "")
    state.forget_seen()
    state.forget_expected()
    state.forget_queue()
    for row in list(state.locals.values()):
        state.put_local(msgspec.structs.replace(row, version=0))


def remote_of(document: Document) -> Remote:
    """A document as it is remembered."""
    return Remote(
        id=document.id,
        parent_id=document.parent_id or "",
        kind=document.kind,
        filename=document.filename,
        title=document.title,
        tags=document.tags,
        version=document.version,
        hash=document.content_hash,
        size=document.size,
        role=document.role,
        gone="trash" if document.trashed_at else "",
    )


def _take(state: State, change: Change) -> None:
    if change.action == "access_revoked" and change.id == state.fact("workspace_id"):
        raise AccessLost("The workspace is not open to you any more. The files here stay as they are.")
    if change.entity != "document":
        return
    state.heard(change.id)
    if change.action == "delete":
        state.put_remote(Remote(id=change.id, gone="purge"))
        state.drop_incoming(change.id)
        return
    document = change.document
    if document is None or document.workspace_id != state.fact("workspace_id"):
        return
    keep(state, document)


def keep(state: State, document: Document) -> None:
    """Remember a document as the server has it, with its text where that came along."""
    before = state.remotes.get(document.id)
    if not state.fact("complete"):
        state.see(document.id)
    # Answers to what was pushed may be newer than the page.
    if state.fact("complete") and before is not None and not before.gone and before.version > document.version:
        return
    after = remote_of(document)
    state.put_remote(after)
    if before is not None and state.fact("complete"):
        note(state, before, after)
    row = state.locals.get(document.id)
    if document.content is None or (row is not None and row.hash == document.content_hash and not row.ahead):
        return
    state.put_incoming(document.id, hash=document.content_hash, version=document.version, text=document.content)


def _finish(state: State) -> None:
    seen = state.seen()
    for id in list(state.remotes):
        if id not in seen:
            state.put_remote(Remote(id=id, gone="purge"))
    state.set_fact("complete", "1")
    state.set_fact("joining", "1")
    state.forget_seen()
    state.forget_expected()
