"""Live editing over WebSockets: who may open one, those that are open, and what changes under them.

`/collab` is for Hocuspocus' provider, `/collab/{document}` for y-websocket. Who asks is said by a ticket in the
address, an access or personal token in a header or as subprotocol, or the cookie of the server's own pages; a provider
may say it for each document instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass

import msgspec
from aiohttp import web

from mdserver.collab.room import Room
from mdserver.collab.rooms import Rooms
from mdserver.errors import Busy, Malformed, TooMuch
from mdserver.figures import Family, gauge
from mdserver.model import documents, sessions, tokens
from mdserver.model.access import VIEWER, Person, Principal
from mdserver.store.db import Database, Reader

from . import edge, quick
from .api import BASE_PATH, LIMITS, ME, RATES, SIGNED_IN, Routes, me
from .closing import RESTARTING, SIGNED_OUT
from .judging import judge_again, look_after
from .limits import address
from .policies import document as of_document
from .signin import SIGNIN, Authenticator
from .sockets import CLOSING, Connection, Limits
from .tickets import LIFETIME, Tickets

log = logging.getLogger("mdserver.collab")

PROTOCOL = "mdserver.v1"
HEARTBEAT = 25.0
"""Seconds of silence after which a client is asked whether it is there; half as many later it is given up."""

LOOKED_AT = 5.0
JUDGED_AGAIN = 300.0
"""Seconds after which everybody is judged again, whatever was heard."""

STRANGERS = 10
"""How many times as often as an account an address may open sockets without saying whose: it may be a whole house."""

RESTARTS = "the server is restarting"

routes = Routes("live", prefix="")
parts = Routes("live")


@dataclass(slots=True)
class Counted:
    """For whom an open socket is counted: an account, or where none was told yet an address."""

    opener: str
    is_address: bool


class Live:
    """The open sockets, and what they stand on."""

    def __init__(
        self, database: Database, rooms: Rooms, authenticator: Authenticator, limits: Limits, *, user_sockets: int
    ) -> None:
        self.database, self.rooms, self.authenticator, self.limits = database, rooms, authenticator, limits
        self.tickets = Tickets()
        self._user_sockets = user_sockets
        self._open: set[Connection] = set()
        self._of: dict[str, set[Connection]] = {}  # by account
        self._sockets: Counter[str] = Counter()  # opened by an account, or where none was said by an address
        self._judging: asyncio.Task[None] | None = None
        self.news = 0
        """How often something changed that decides who may open what."""
        self._unjudged: set[Connection] = set()
        self._judged = time.monotonic()
        self._stopping = False
        rooms.on_closed = self._reset
        database.listen("user", self._somebody)
        database.listen("member", lambda key: self._somebody(key.partition(" ")[2]))
        for topic in ("session", "token"):
            database.listen(topic, self._credential)
        database.listen("document", self._document)

    def __len__(self) -> int:
        return len(self._open)

    async def serve(
        self, connection: Connection, hear: Callable[[bytes], Awaitable[int]], document_id: str | None = None
    ) -> None:
        """Have a socket be heard until it ends."""
        self._open.add(connection)
        self.know(connection)
        if self._stopping:  # it was being opened as the others were sent away
            connection.close(RESTARTING, RESTARTS)
        try:
            await connection.run(hear, document_id)
        finally:
            self._open.discard(connection)
            for user_id in connection.known_as:
                self._of[user_id].discard(connection)
                if not self._of[user_id]:
                    del self._of[user_id]

    @contextlib.contextmanager
    def counted(self, opener: str, *, is_address: bool) -> Iterator[Counted]:
        """Count a socket while it is open. TooMuch when that account has as many as it may, or an address as many
        whose accounts have not been told yet.
        """
        self._check(opener)
        counted = Counted(opener, is_address)
        self._sockets[opener] += 1
        try:
            yield counted
        finally:
            self._uncount(counted.opener)

    def recount(self, counted: Counted, user_id: str) -> None:
        """Count a socket for the account that it turned out to be of. TooMuch as above."""
        if counted.is_address:
            self._check(user_id)
            self._uncount(counted.opener)
            self._sockets[user_id] += 1
            counted.opener, counted.is_address = user_id, False

    def _check(self, opener: str) -> None:
        if self._sockets[opener] >= self._user_sockets:
            raise TooMuch(f"At most {self._user_sockets} sockets may be open.", retry_after=10)

    def _uncount(self, opener: str) -> None:
        self._sockets[opener] -= 1
        if not self._sockets[opener]:
            del self._sockets[opener]

    def know(self, connection: Connection) -> None:
        """Remember whose a socket is by now."""
        for user_id in connection.people:
            connection.known_as.add(user_id)
            self._of.setdefault(user_id, set()).add(connection)

    async def still(self, principal: Principal) -> Principal | None:
        """The same person as they are now; None when their session or token has ended."""
        noun = tokens if principal.kind == "token" else sessions
        return await self.database.glance(lambda db: noun.still(db, principal.credential_id))

    async def run(self) -> None:
        """Look after the open sockets until cancelled."""
        while True:
            await asyncio.sleep(LOOKED_AT)
            now = time.monotonic()
            for connection in list(self._open):
                look_after(connection, now)
            if now - self._judged > JUDGED_AGAIN:
                self._judged = now
                self._judge(self._open)

    async def close(self) -> None:
        """Send everybody away: the server stops, and they may come back."""
        self._stopping = True
        for connection in list(self._open):
            connection.close(RESTARTING, RESTARTS)
        for _ in range(int(10 * CLOSING)):
            if not self._open:
                break
            await asyncio.sleep(0.1)
        if self._judging is not None:
            self._judging.cancel()

    async def figures(self) -> list[Family]:
        """What is counted, for those who watch the server."""
        return [gauge("mdserver_live_sockets", "Open sockets of live editing.", len(self._open))]

    def _reset(self, room: Room, why: str) -> None:
        for connection in list(self._open):
            if any(held.seat.room is room for held in connection.held.values()):
                connection.reset(room, why)

    def _somebody(self, user_id: str) -> None:
        self._judge(self._of.get(user_id, ()))

    def _credential(self, credential_id: str) -> None:
        self._judge(
            one
            for one in self._open
            if (one.principal is not None and one.principal.credential_id == credential_id)
            or any(held.principal.credential_id == credential_id for held in one.held.values())
        )

    def _document(self, document_id: str) -> None:
        room = self.rooms.found(document_id)
        outboxes = set() if room is None else {seat.outbox for seat in room.seats}
        self._judge([one for one in self._open if one.outbox in outboxes] if outboxes else ())

    def _judge(self, connections: Iterable[Connection]) -> None:
        self.news += 1
        self._unjudged.update(connections)
        if self._unjudged and self._judging is None:
            self._judging = asyncio.create_task(self._judge_all())

    async def _judge_all(self) -> None:
        try:
            await self._judge_each()
        finally:
            self._judging = None

    async def _judge_each(self) -> None:
        while self._unjudged:
            connection = self._unjudged.pop()
            try:
                await judge_again(connection)
            except Exception:
                log.exception("a socket could not be judged again, and was closed")
                connection.close(RESTARTING, "try again")


LIVE: web.AppKey[Live] = web.AppKey("live", Live)


class Ticket(msgspec.Struct):
    """What opens one socket; `expires_in` is in seconds."""

    ticket: str
    expires_in: int


class Present(msgspec.Struct):
    """Somebody who has a document open, on how many sockets."""

    user: Person
    sessions: int


class Presence(msgspec.Struct):
    """Who has a document open now."""

    items: list[Present]


@routes.post("/collab/tickets", policy=SIGNED_IN, scope="read", status=201)
async def make_ticket(request: web.Request) -> Ticket:
    """Get a ticket that opens one WebSocket of live editing, as `?ticket=`, within 30 seconds.

    It is for clients that can send no header of their own, such as y-websocket in a browser.
    """
    return Ticket(request.app[LIVE].tickets.issue(me(request)), LIFETIME)


@parts.get("/documents/{id}/presence", policy=of_document(VIEWER))
def presence(request: web.Request, db: Reader, id: str) -> Presence:
    """List who has a document open for live editing."""
    documents.find(db, me(request), id)
    room = request.app[LIVE].rooms.found(id)
    seats = [] if room is None else [seat.person for seat in room.seats]
    counts = Counter(one.id for one in seats)
    people = {one.id: one for one in seats}
    return Presence([Present(people[one], count) for one, count in counts.items()])


def mount(app: web.Application) -> None:
    """Put the two addresses of live editing into an application. Before the router's own routes."""
    boundary, base = edge.Boundary(app), app[BASE_PATH]
    for path, handler in (("/collab", provider), ("/collab/{document}", y_websocket)):
        tally = app[edge.TRAFFIC].tally("GET", path, of="sockets")
        app.router.add_get(base + path, boundary.guard_socket(handler, tally), allow_head=False)


async def provider(request: web.Request) -> web.StreamResponse:
    """A Hocuspocus provider: it says for each document who it is, unless that is said here."""
    principal, said = await who(request)
    if said and principal is None:
        return await refused(request, SIGNED_OUT, "signed-out")
    return await _served(request, principal, None)


async def y_websocket(request: web.Request) -> web.StreamResponse:
    """A y-websocket client: one document, and whoever asks is known before."""
    principal, _ = await who(request)
    if principal is None:
        return await refused(request, SIGNED_OUT, "signed-out")
    return await _served(request, principal, request.match_info["document"])


async def who(request: web.Request) -> tuple[Principal | None, bool]:
    """Who asks, and whether anything was said about that."""
    live, authenticator = request.app[LIVE], request.app[SIGNIN]
    ticket = request.query.get("ticket")
    if ticket is not None:
        return live.tickets.use(ticket), True
    token = next(
        (one[7:] for one in _protocols(request) if one.startswith("bearer.")),
        None,
    )
    header = request.headers.get("Authorization", "")
    if token is None and header.lower().startswith("bearer "):
        token = header[7:].strip()
    if token is not None:
        known = await authenticator.known_until(token)
        return (None if known is None else known.principal), True
    return await authenticator.of_cookie(request), False


def _protocols(request: web.Request) -> list[str]:
    given = ",".join(request.headers.getall("Sec-WebSocket-Protocol", ()))
    return [one.strip() for one in given.split(",") if one.strip()]


async def _served(request: web.Request, principal: Principal | None, document_id: str | None) -> web.StreamResponse:
    """Make the request a WebSocket, and hear it. TooMuch and Busy before that, Malformed when it is none."""
    live = request.app[LIVE]
    opener = address(request) if principal is None else principal.user_id
    ws = socket(request, most=_most(request), protocols=(PROTOCOL,))
    request.app[RATES].spend(request, "sockets" if principal is not None else "strangers", opener)
    if True in request.app[edge.STOPPING]:
        raise Busy("The server is shutting down.")
    with live.counted(opener, is_address=principal is None) as counted:
        if principal is not None:
            request[ME] = principal
        await ws.prepare(request)
        edge.upgraded(request)
        connection = Connection(live, request, ws, principal, counted)
        quick.install(request, ws, connection.hear_at_once, most=_most(request))
        await live.serve(connection, connection.frames if document_id is None else connection.messages, document_id)
    return ws


async def refused(request: web.Request, code: int, reason: str) -> web.StreamResponse:
    """Let a client in only to tell it why not: a browser's script cannot read the answer to its request."""
    ws = socket(request, most=_most(request), protocols=(PROTOCOL,))
    request.app[RATES].spend(request, "sockets", address(request))
    await ws.prepare(request)
    edge.upgraded(request)
    with contextlib.suppress(ConnectionError, TimeoutError):
        await ws.close(code=code, message=reason.encode())
    return ws


def _most(request: web.Request) -> int:
    """Bytes of one message, whatever it is."""
    return max(request.app[LIMITS].document, request.app[LIVE].limits.frame) + 1024


def socket(request: web.Request, *, most: int, protocols: tuple[str, ...] = ()) -> web.WebSocketResponse:
    """A WebSocket whose messages have so many bytes at most. Malformed when the request asks for none."""
    ws = web.WebSocketResponse(
        protocols=protocols,
        heartbeat=HEARTBEAT,
        timeout=CLOSING,
        compress=False,
        max_msg_size=most,
    )
    if not ws.can_prepare(request).ok:
        raise Malformed("This address speaks WebSocket (RFC 6455).")
    return ws


__all__ = ["LIVE", "Limits", "Live", "mount", "parts", "refused", "routes", "socket", "who"]
