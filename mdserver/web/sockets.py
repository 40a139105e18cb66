"""One WebSocket of live editing: frames to seats in rooms and back, for either kind of client.

A Hocuspocus provider opens many documents on one socket and says for each who it is; a y-websocket client has one, and
was let in before its socket opened. What comes is heard in order; a client that sends faster than it may is read more
slowly, and one that sends what is not sound has to go.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, cast

import msgspec
from aiohttp import WSMsgType, web

from mdserver.collab import protocol
from mdserver.collab.ledger import Ledger
from mdserver.collab.outbox import Outbox, frame
from mdserver.collab.protocol import Change, Close, Frame, Message, Ping, Pong, Stateless, Step1, Step2, Token
from mdserver.collab.replica import Broken
from mdserver.collab.room import LONG, Room, Seat
from mdserver.crdt import guard
from mdserver.crdt.guard import Unsound, Update
from mdserver.errors import Busy, Problem
from mdserver.model.access import Principal

from .closing import GRACE, RESET, RESTARTING, TOO_BIG, TOO_MANY, UNSOUND, Closing, code_of, refusal
from .judging import judged
from .pace import Pace

if TYPE_CHECKING:
    from .live import Counted, Live

log = logging.getLogger("mdserver.collab")

CLOSING = 3.0
"""Seconds that a client has to answer a close."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one socket may do: bytes of a message and of a document that is brought along, messages, documents."""

    frame: int
    document: int
    second: int
    burst: int
    documents: int


class _Held(NamedTuple):
    """A seat, with whose credential it was taken, and until when that is good (ms; None: as long as the session)."""

    seat: Seat
    principal: Principal
    until: int | None


class Connection:
    """One open socket. `principal` is who opened it, where that was said in its request."""

    def __init__(
        self,
        live: Live,
        request: web.Request,
        ws: web.WebSocketResponse,
        principal: Principal | None,
        counted: Counted,
    ) -> None:
        transport = cast("asyncio.Transport", request.transport)  # uvloop's is none by its class
        self.principal = principal
        self.opened = time.monotonic()
        self.held: dict[bytes, _Held] = {}
        self.known_as: set[str] = set()
        """The accounts by which `Live` finds it."""
        self.asked: dict[bytes, float] = {}
        """Addresses whose client was asked who it is, and since when."""
        self.live, self._ws, self._transport = live, ws, transport
        self._counted = counted
        self._limits = live.limits
        self._schema = request.query.get("schema")
        self.outbox = Outbox(live.rooms.turn, transport)
        self._pace = Pace(self._limits.second, self._limits.burst)
        self._closing: asyncio.Task[object] | None = None
        self._busy = b"\xff"
        """The address that something came for last."""
        self._is_free = False
        """Whether nothing is being heard: a keystroke may be at once."""

    @property
    def people(self) -> set[str]:
        """The accounts that have something open here."""
        own = {self.principal.user_id} if self.principal is not None else set()
        return own | {one.principal.user_id for one in self.held.values()}

    async def run(self, hear: Callable[[bytes], Awaitable[int]], document_id: str | None = None) -> None:
        """Hear until the socket ends. `hear` is `frames`, or `messages` with the document that they are of."""
        try:
            if document_id is not None:
                await self._enter(document_id)
                self._busy = b""
            self._is_free = True
            async for message in self._ws:
                self._is_free = False
                if self._closing is not None:
                    continue  # until it answers: a connection that is shut over what was not read loses the reason
                if message.type is WSMsgType.TEXT:
                    raise Closing(UNSOUND, "messages are binary")
                if message.type is not WSMsgType.BINARY:
                    break
                weight = await hear(message.data)
                if not await self._pace.spend(weight + len(message.data) // LONG):
                    raise Closing(TOO_MANY, "too many messages")
                await self._drained()
                self._is_free = True
        except Closing as closing:
            self.close(closing.code, closing.reason)
        except Unsound as error:
            log.info("a socket was closed for what it sent: %s", error)
            self.close(UNSOUND, "what was sent is not sound")
        except Exception:
            log.exception("a socket failed")
            self.close(RESTARTING, "try again")
        finally:
            for address in list(self.held):
                self.drop(address)
        if self._closing is not None:
            async for _ in self._ws:
                pass
            self._closing.cancel()

    def close(self, code: int, reason: str) -> None:
        """Close the socket soon; nothing that it says is heard any more."""
        for address in list(self.held):
            self.drop(address)
        if self._closing is None:
            self.live.rooms.turn.end()
            self._closing = asyncio.create_task(self._close(code, reason))

    def drop(self, address: bytes) -> None:
        """Leave a document."""
        held = self.held.pop(address, None)
        self.asked.pop(address, None)
        if held is not None:
            held.seat.room.leave(held.seat)

    def hear_at_once(self, data: bytes) -> bool:
        """Hear a keystroke, or where a cursor is, in the document that something came for last.

        False for all else (see quick.py).
        """
        address = self._busy
        if not self._is_free or len(data) > self._limits.frame or not data.startswith(address):
            return False
        held = self.held.get(address)
        if held is None or not self.outbox.is_drained():
            return False
        room, started = held.seat.room, time.perf_counter()
        if not room.replica.is_ready:
            return False
        try:
            update = protocol.change_of(data, len(address))
            message = protocol.awareness_of(data, len(address)) if update is None else Change(update)
            if message is None or not self._pace.pay(1):
                return False
            room.hear(held.seat, message)
        except Broken:
            self.live.rooms.reset(room)
        except Unsound:
            return False  # it is heard once more, and refused
        self._pace.owe(time.perf_counter() - started)
        self.live.rooms.heard(room)
        return True

    # What a Hocuspocus provider sends.

    async def frames(self, data: bytes) -> int:
        """Hear one frame of a provider; how much it weighs."""
        self._check_size(data)
        if data.startswith(self._busy):  # most are edits of one document, and are read the shortest way
            update = protocol.change_of(data, len(self._busy))
            held = self.held.get(self._busy)
            if update is not None and held is not None:
                return await self._pass_on(held.seat, Change(update))
        found = protocol.read_frame(data)
        if isinstance(found, Ping):
            self.outbox.put(frame(protocol.PONG_FRAME))
            return 1
        if isinstance(found, Pong):
            return 1
        message = found.message
        if isinstance(message, Token):
            await self._open(found, message)
            return 1
        held = self.held.get(found.address)
        if held is None or isinstance(message, Stateless):
            return 1  # of a document that was closed meanwhile; or what no server needs
        if isinstance(message, Close):
            self.drop(found.address)
            return 1
        self._busy = found.address
        return await self._pass_on(held.seat, message)

    async def _open(self, found: Frame, token: Token) -> None:
        address, document_id = found.address, found.document
        principal, until = await self._who(token.token)
        if principal is None:
            self._deny(address, "signed-out")
            return
        before = self.held.get(address)
        if before is not None and before.principal.user_id != principal.user_id:
            self.drop(address)
            before = None
        if before is None and len(self.held) >= self._limits.documents:
            self._deny(address, "too-many-documents")
            return
        try:
            self.live.recount(self._counted, principal.user_id)
            seat = await self.take_seat(document_id, principal, address=address, ledger=Ledger(), until=until)
        except Problem as problem:
            if problem.status >= 500:
                raise refusal(problem) from None  # it comes back; what is denied does not
            self._deny(address, problem.slug)
            return
        except (Broken, Unsound):
            log.exception("a document could not be loaded: %s", document_id)
            self._deny(address, Problem.slug)
            return
        self.asked.pop(address, None)
        seat.send(protocol.let_in(read_only=seat.read_only))
        if before is None:
            seat.room.introduce(seat)

    async def _who(self, token: str) -> tuple[Principal | None, int | None]:
        """Who presents a token, and until when it is good; nothing presented means whoever opened the socket."""
        if not token:
            return self.principal, None
        principal = self.live.tickets.use(token)
        if principal is not None:
            return principal, None
        known = await self.live.authenticator.known_until(token)
        return (None, None) if known is None else (known.principal, known.expires_at)

    def _deny(self, address: bytes, reason: str) -> None:
        self.drop(address)
        self.outbox.put(frame(address + protocol.refuse(reason, named=True)))

    # What a y-websocket client sends.

    async def _enter(self, document_id: str) -> None:
        assert self.principal is not None
        try:
            await self.take_seat(document_id, self.principal)
        except Problem as problem:
            raise refusal(problem) from None

    async def messages(self, data: bytes) -> int:
        """Hear one frame of a y-websocket client; how much it weighs."""
        self._check_size(data)
        weight = 0
        for message in protocol.read_messages(data):
            held = self.held.get(b"")
            if held is None:
                break
            weight += await self._pass_on(held.seat, message)
        return weight

    # Both.

    async def take_seat(
        self,
        document_id: str,
        principal: Principal,
        *,
        address: bytes = b"",
        ledger: Ledger | None = None,
        until: int | None = None,
    ) -> Seat:
        """Open a document, or hold it on by another credential. SignedOut, NotFound, Conflict: as REST would say."""
        while True:
            news = self.live.news
            principal, read_only = await self.judged(principal, document_id)
            held = self.held.get(address)
            if held is None:
                room = await self.live.rooms.enter(document_id)
            if news == self.live.news:  # else it may be otherwise by now: nobody is told who is still on the way
                break
        if self._closing is not None:
            raise Busy("The socket is being closed.")
        if held is None:
            seat = Seat(
                room,
                actor=principal,
                person=principal.person,
                outbox=self.outbox,
                read_only=read_only,
                address=address,
                ledger=ledger,
            )
            room.enter(seat)
        else:
            seat = held.seat
            seat.actor, seat.person, seat.read_only = principal, principal.person, read_only
        self.held[address] = _Held(seat, principal, until)
        self.live.know(self)
        return seat

    async def judged(self, principal: Principal, document_id: str) -> tuple[Principal, bool]:
        """Who it is by now, and whether the document may only be read. SignedOut, NotFound, Conflict: not even that."""
        return await self.live.database.glance(lambda db: judged(db, principal, document_id, schema=self._schema))

    async def _pass_on(self, seat: Seat, message: Message) -> int:
        """Have the room hear a message; how much it weighs."""
        room, weight, read = seat.room, 1, None
        if isinstance(message, Step1 | Step2 | Change):
            data = message.state if isinstance(message, Step1) else message.update
            most = self._limits.document if isinstance(message, Step2) else self._limits.frame
            if len(data) > most:
                raise Closing(TOO_BIG, f"an update may have {most} bytes")
            if len(data) > LONG:
                read = await asyncio.to_thread(_read, message)
                if seat not in room.seats:
                    return weight
            if not room.replica.is_ready and room.reading is not None and not isinstance(message, Step1):
                try:
                    await asyncio.shield(room.reading)
                except Exception:  # whatever it is: it is no fault of this client, and may be another one the next time
                    log.exception("a document's log could not be read: %s", room.document_id)
                    self.live.rooms.reset(room)
                if seat not in room.seats:
                    return weight
        started = time.perf_counter()
        try:
            weight = max(weight, room.hear(seat, message, read))
            weight += self._pace.worth(time.perf_counter() - started)
        except Broken:
            self.live.rooms.reset(room)
            return weight
        except Unsound as error:
            log.info("an update was refused: document %s: %s", room.document_id, error)
            if seat.ledger is None:
                raise
            seat.send(protocol.saved(False))
            seat.send(protocol.close("what was sent is not sound"))
            self.drop(seat.address)
            return weight
        self.live.rooms.heard(room)
        return weight

    def reset(self, room: Room, why: str) -> None:
        """A room has gone under those who were in it."""
        if why == "reset":
            self.close(RESET, "the document is loaded anew")
        for address, held in list(self.held.items()):
            if held.seat.room is room:
                if why == "reset":
                    self.drop(address)
                else:
                    self.turn_out(address, held.seat, "not-found")

    def turn_out(self, address: bytes, seat: Seat, reason: str) -> None:
        """Close a document for a client that may not have it open any more."""
        if seat.ledger is not None:
            seat.send(protocol.refuse(reason, named=True))
            seat.send(protocol.close(reason))
            self.drop(address)
            return
        seat.send(protocol.refuse(reason, named=False))
        self.drop(address)
        self.close(code_of(reason), reason)

    def _check_size(self, data: bytes) -> None:
        if len(data) > self._limits.frame and len(data) > self._limits.document + protocol.MOST_NAME + 64:
            raise Closing(TOO_BIG, f"a message may have {self._limits.frame} bytes")

    async def _drained(self) -> None:
        """Wait until a long answer has been read: who does not read is not heard, and gets no more of them."""
        started = time.monotonic()
        while not self.outbox.is_drained() and not self._transport.is_closing():
            if time.monotonic() - started > GRACE:
                self.outbox.cut()
                return
            await asyncio.sleep(0.02)

    async def _close(self, code: int, reason: str) -> None:
        with contextlib.suppress(ConnectionError):
            await self._ws.send_frame(code.to_bytes(2, "big") + reason.encode(), WSMsgType.CLOSE)
            await asyncio.sleep(CLOSING)
            self._transport.abort()


def _read(message: Step1 | Step2 | Change) -> Update | dict[int, int]:
    return guard.read_state(message.state) if isinstance(message, Step1) else guard.read_update(message.update)
