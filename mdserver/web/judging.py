"""Who may open a document for live editing, and what they may do there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdserver import clock, ids
from mdserver.collab import protocol
from mdserver.crdt.forms import SCHEMA
from mdserver.errors import Problem, SignedOut
from mdserver.model import documents, sessions, tokens
from mdserver.model.access import EDITOR, Principal, at_least
from mdserver.store.db import Reader

from .closing import GRACE, SIGNED_OUT, SILENT

if TYPE_CHECKING:
    from .sockets import Connection


def judged(db: Reader, me: Principal, document_id: str, *, schema: str | None) -> tuple[Principal, bool]:
    """Who somebody is by now, and whether they may only read a document live.

    So may an editor of rich text that announces another schema than ours: it would delete what it does not know.
    SignedOut when their session or token has ended; NotFound, Forbidden, Conflict when they may not even read it.
    """
    if not ids.is_id(document_id):
        raise documents.unknown()
    now = (tokens if me.kind == "token" else sessions).still(db, me.credential_id)
    if now is None:
        raise SignedOut
    document = documents.find(db, now, document_id)
    documents.require_text(document)
    documents.require_live(document)
    is_strange = schema not in (None, SCHEMA) and document.kind == "richtext"
    return now, is_strange or not (at_least(document.role, EDITOR) and "write" in now.scopes)


async def judge_again(connection: Connection) -> None:
    """See whether those who are in by a socket may still be, and what they may by now."""
    if connection.principal is not None:
        connection.principal = await connection.live.still(connection.principal)
        if connection.principal is None:
            for address, held in list(connection.held.items()):
                connection.turn_out(address, held.seat, SignedOut.slug)
            connection.close(SIGNED_OUT, SignedOut.slug)
            return
    for address, held in list(connection.held.items()):
        seat, reason = held.seat, ""
        try:
            principal, read_only = await connection.judged(held.principal, seat.room.document_id)
        except Problem as problem:
            if problem.status >= 500:
                raise
            reason = problem.slug
        if connection.held.get(address) is not held:
            continue
        if reason:
            connection.turn_out(address, seat, reason)
            continue
        connection.held[address] = held._replace(principal=principal)
        seat.actor, seat.person = principal, principal.person
        if seat.read_only != read_only:
            seat.read_only = read_only
            if seat.ledger is not None:
                seat.send(protocol.let_in(read_only=read_only))
            if not read_only:
                seat.send(protocol.step1(seat.room.replica.state_vector()))


def look_after(connection: Connection, now: float) -> None:
    """Ask those whose token has expired for another; close a socket that nobody has said anything about."""
    if not connection.held and connection.principal is None and now - connection.opened > GRACE:
        connection.close(SILENT, "nobody said who this is")
    for address, held in list(connection.held.items()):
        if held.until is None or held.until > clock.now():
            continue
        since = connection.asked.setdefault(address, now)
        if since == now:
            held.seat.send(protocol.ask_token())
        elif now - since > GRACE:
            connection.turn_out(address, held.seat, SignedOut.slug)
