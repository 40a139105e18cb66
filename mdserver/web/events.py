"""Word that something has changed, as it happens: server-sent events, and the same over a WebSocket.

A hint says which workspace has come to which position, and nothing of what changed: that is pulled. So hints can be
gathered, and none is missed: a stream begins with the positions that its client does not know of.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from msgspec import Meta

from mdserver import ids
from mdserver.collab.room import Room
from mdserver.errors import Busy, Malformed, NotFound
from mdserver.figures import Family, gauge
from mdserver.model import documents, members, workspaces
from mdserver.model.access import Person, Principal
from mdserver.store.db import Database

from . import edge
from .api import BASE_PATH, DB, ME, RATES, SIGNED_IN, Routes, me
from .closing import RESTARTING, SIGNED_OUT
from .live import LIVE, Live, refused, socket, who
from .wire import Answer

log = logging.getLogger("mdserver.web")

routes = Routes("sync")

BREATH = 15.0
"""Seconds of silence after which a comment is sent, so that proxies keep the connection."""

GATHERED = 0.025
"""Seconds for which hints are gathered before the next ones are sent."""

JUDGED_AGAIN = 300.0

MOST_ID = 7_000
"""Characters of an event's id: as a header field, it must not be longer than those may be."""

Name = Literal["change", "presence", "revoked"]


class Event(msgspec.Struct):
    """What is sent: `id` says up to where everything was told, for Last-Event-ID; those before it have none."""

    event: Name
    id: str
    data: Any


class Present(msgspec.Struct):
    """Who has a document open for live editing now."""

    workspace_id: str
    document_id: str
    people: list[Person]


class EventsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """`workspace` narrows what is told to one. `last_event_id` is for clients that cannot send it as a header."""

    workspace: str | None = None
    last_event_id: Annotated[str, Meta(max_length=1000)] | None = None


class Stream:
    """What one client is still to be told. `known` are the positions that it was told of, by workspace."""

    def __init__(self, principal: Principal, only: str | None, known: dict[str, int]) -> None:
        self.principal, self.only, self.known = principal, only, known
        self.workspaces: set[str] = set()
        self.wake = asyncio.Event()
        self.is_judged = self.is_over = False
        self._positions: dict[str, int] = {}
        self._revoked: list[str] = []
        self._present: dict[str, Present] = {}

    def change(self, workspace_id: str, position: int) -> None:
        """A workspace has come to a position."""
        if position > self.known.get(workspace_id, -1):
            self._positions[workspace_id] = max(position, self._positions.get(workspace_id, 0))
            self.wake.set()

    def revoked(self, workspace_id: str) -> None:
        """A workspace cannot be seen any more."""
        self._positions.pop(workspace_id, None)
        self._present = {id: one for id, one in self._present.items() if one.workspace_id != workspace_id}
        self.known.pop(workspace_id, None)
        self._revoked.append(workspace_id)
        self.wake.set()

    def presence(self, present: Present) -> None:
        """Somebody has come to a document, or gone."""
        self._present[present.document_id] = present
        self.wake.set()

    def judge(self) -> None:
        """Something may have changed that decides what is seen."""
        self.is_judged = False
        self.wake.set()

    def end(self) -> None:
        """There is nothing more to be told."""
        self.is_over = True
        self.wake.set()

    def take(self) -> list[Event]:
        """What is to be sent now."""
        revoked, positions, present = self._revoked, self._positions, self._present
        self._revoked, self._positions, self._present = [], {}, {}
        made = [Event("revoked", "", {"workspace_id": one}) for one in revoked]
        made += [Event("presence", "", one) for one in present.values()]
        for workspace_id, position in positions.items():
            self.known[workspace_id] = position
            made.append(Event("change", "", {"workspace_id": workspace_id, "position": position}))
        if made:
            made[-1].id = write_id(self.known)
        return made


class Events:
    """The open streams, by what wakes them."""

    def __init__(self, database: Database, live: Live) -> None:
        self._database, self._live = database, live
        self._streams: set[Stream] = set()
        self._of: defaultdict[str, set[Stream]] = defaultdict(set)  # by workspace
        self._stopping = False
        self._people: set[str] = set()
        self._asking: asyncio.Task[None] | None = None
        live.rooms.on_people = self._somebody_came
        database.listen("change", self._changed)
        database.listen("member", lambda key: self._somebody(key.partition(" ")[2]))
        database.listen("user", self._somebody)
        for topic in ("session", "token"):
            database.listen(topic, self._credential)

    async def run(self, stream: Stream, send: Callable[[list[Event]], Awaitable[object]]) -> None:
        """Tell a client until its stream is over; `send` gets nothing to say, now and then, to keep it open."""
        if self._stopping:
            raise Busy("The server is shutting down.")
        self._streams.add(stream)
        loop = asyncio.get_running_loop()
        try:
            judged_at = loop.time()
            while True:
                if not stream.is_judged or loop.time() - judged_at > JUDGED_AGAIN:
                    judged_at = loop.time()
                    await self._judge(stream)
                made = stream.take()
                if made:
                    await send(made)
                if stream.is_over:
                    return
                if made:
                    await asyncio.sleep(GATHERED)
                try:
                    async with asyncio.timeout(BREATH):
                        await stream.wake.wait()
                except TimeoutError:
                    await send([])
                stream.wake.clear()
        finally:
            self._streams.discard(stream)
            for one in stream.workspaces:
                self._leave(stream, one)

    def close(self) -> None:
        """End all streams: the server stops."""
        self._stopping = True
        for stream in self._streams:
            stream.end()

    async def figures(self) -> list[Family]:
        """What is counted, for those who watch the server."""
        return [gauge("mdserver_event_streams", "Open streams of events.", len(self._streams))]

    async def _judge(self, stream: Stream) -> None:
        """See which workspaces the client belongs to by now, and where these are."""
        stream.is_judged = True
        principal = await self._live.still(stream.principal)
        if principal is None:
            stream.end()
            return
        stream.principal = principal
        before, now = stream.workspaces, set[str]()
        # Whoever is in is woken from here on: what was changed before is in the positions that are read.
        grants = await self._database.glance(lambda db: members.grants(db, principal, only=stream.only))
        for grant in grants:
            now.add(grant.workspace_id)
            self._of[grant.workspace_id].add(stream)
        stream.workspaces = now
        for one in before - now:
            self._leave(stream, one)
            stream.revoked(one)
        if now - before:  # what was changed between reading and being woken is told by reading once more
            grants = await self._database.glance(lambda db: members.grants(db, principal, only=stream.only))
        for grant in grants:
            if grant.workspace_id in now:
                if grant.head < stream.known.get(grant.workspace_id, 0):  # the server was restored from a backup
                    del stream.known[grant.workspace_id]
                stream.change(grant.workspace_id, grant.head)

    def _leave(self, stream: Stream, workspace_id: str) -> None:
        streams = self._of[workspace_id]
        streams.discard(stream)
        if not streams:
            del self._of[workspace_id]

    def _changed(self, key: str) -> None:
        workspace_id, _, position = key.partition(" ")
        for stream in self._of.get(workspace_id, ()):
            stream.change(workspace_id, int(position))

    def _somebody_came(self, room: Room) -> None:
        """Somebody has opened a document or left it: its workspace is told who is there, once it is known which."""
        if self._streams:
            self._people.add(room.document_id)
            if self._asking is None:
                self._asking = asyncio.create_task(self._tell_who())

    async def _tell_who(self) -> None:
        try:
            while self._people:
                document_id = self._people.pop()
                found = await self._database.glance(lambda db, id=document_id: documents.workspace_of(db, id))  # type: ignore[misc]
                room = self._live.rooms.found(document_id)
                people = [] if room is None else room.people
                for stream in list(self._of.get(found or "", ())):
                    stream.presence(Present(found or "", document_id, people))
        except Exception:  # whoever asks who is there is told all the same
            log.exception("nobody could be told who has a document open")
        finally:
            self._asking = None

    def _somebody(self, user_id: str) -> None:
        for stream in self._streams:
            if stream.principal.user_id == user_id:
                stream.judge()

    def _credential(self, credential_id: str) -> None:
        for stream in self._streams:
            if stream.principal.credential_id == credential_id:
                stream.judge()


EVENTS: web.AppKey[Events] = web.AppKey("events", Events)


@routes.get("/events", policy=SIGNED_IN, produces=("text/event-stream",), refuses=(NotFound,))
async def listen(request: web.Request, query: EventsQuery) -> Answer | web.StreamResponse:
    """Hear of changes as they happen, as server-sent events.

    `change` says which workspace has come to which position, `presence` who has a document open by now, `revoked` which
    workspace cannot be seen any more. A stream begins with the positions that Last-Event-ID does not know of. A
    WebSocket at `/events` sends the same as JSON.
    """
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    stream = await _stream(request, me(request), query.workspace, query.last_event_id)
    if request.method == "HEAD":
        return Answer(200, headers)
    with request.app[LIVE].counted(stream.principal.user_id, is_address=False):
        response = web.StreamResponse(headers=headers)

        async def send(events: list[Event]) -> None:
            if not response.prepared:
                await edge.stream(request, response)
            if not events:
                await response.write(b": still here\n\n")
                return
            await response.write(b"".join(_written(one) for one in events))

        with contextlib.suppress(ConnectionError):
            await send([])
            await request.app[EVENTS].run(stream, send)
    return response


def mount(app: web.Application) -> None:
    """Put the WebSocket into an application. Before the router's own routes."""
    boundary = edge.Boundary(app)
    tally = app[edge.TRAFFIC].tally("GET", "/events", of="sockets")
    app.router.add_get(app[BASE_PATH] + "/events", boundary.guard_socket(_socket, tally), allow_head=False)


async def _socket(request: web.Request) -> web.StreamResponse:
    """The same over a WebSocket: JSON texts, the client only listens."""
    principal, _ = await who(request)
    if principal is None:
        return await refused(request, SIGNED_OUT, "signed-out")
    ws = socket(request, most=1024)
    request.app[RATES].spend(request, "sockets", principal.user_id)
    unknown = set(request.query) - {"workspace", "last_event_id", "ticket"}
    if unknown or any(len(request.query.getall(one)) > 1 for one in request.query):
        raise Malformed("The parameters are workspace, last_event_id and ticket, each once.")
    request[ME] = principal
    stream = await _stream(request, principal, request.query.get("workspace"), request.query.get("last_event_id"))
    with request.app[LIVE].counted(principal.user_id, is_address=False):
        await ws.prepare(request)
        edge.upgraded(request)
        hearing = asyncio.create_task(_hear(ws, stream))
        try:
            with contextlib.suppress(ConnectionError):
                await request.app[EVENTS].run(stream, lambda events: _say(ws, events))
        finally:
            hearing.cancel()
        if not ws.closed:
            is_out = await request.app[LIVE].still(principal) is None
            code, why = (SIGNED_OUT, b"signed-out") if is_out else (RESTARTING, b"the stream has ended")
            with contextlib.suppress(ConnectionError, TimeoutError):
                await ws.close(code=code, message=why)
    return ws


async def _hear(ws: web.WebSocketResponse, stream: Stream) -> None:
    """Wait for the client's end; it has nothing else to say."""
    async for _ in ws:
        break
    stream.end()


async def _say(ws: web.WebSocketResponse, events: list[Event]) -> None:
    for one in events:
        await ws.send_str(msgspec.json.encode(one).decode())


async def _stream(request: web.Request, principal: Principal, only: str | None, last: str | None) -> Stream:
    if only is not None:
        if not ids.is_id(only):
            raise NotFound("There is no such workspace, or you cannot see it.")
        await request.app[DB].glance(lambda db: workspaces.enter(db, principal, only))
    given = request.headers.get("Last-Event-ID") or last
    return Stream(principal, only, {} if given is None else read_id(given))


def _written(event: Event) -> bytes:
    """As WHATWG HTML §9.2 has it."""
    id = f"id: {event.id}\n" if event.id else ""
    return f"event: {event.event}\n{id}data: {msgspec.json.encode(event.data).decode()}\n\n".encode()


def write_id(known: dict[str, int]) -> str:
    """The positions of workspaces as text."""
    data = msgspec.msgpack.encode([(ids.pack(one), at) for one, at in known.items()])
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def read_id(text: str) -> dict[str, int]:
    """The same back. Malformed when it was never sent."""
    try:
        if len(text) > MOST_ID:
            raise ValueError("it is too long")
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        pairs = msgspec.msgpack.decode(data, type=list[tuple[bytes, int]])
        return {ids.unpack(one): at for one, at in pairs}
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError) as error:
        raise Malformed("This is no Last-Event-ID that was ever sent.") from error
