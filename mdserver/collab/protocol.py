"""The messages of live editing as bytes: y-protocols, and Hocuspocus' frames around them. No I/O.

y-websocket sends one or more messages in a frame, on a connection for one document. Hocuspocus' provider (4.x) sends
one in a frame, with the document's name before it (and, where one client opens a document twice, `\\0` and a session);
its ping and pong are a byte without a name. What a client may not send is Unsound, as is what is out of bounds.

Sources: y-protocols 1.0 (sync, awareness, auth), y-websocket 3.1, @hocuspocus/provider 4.8 and @hocuspocus/common.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from mdserver.crdt import lib0
from mdserver.crdt.lib0 import Reader, Unsound

MOST_NAME = 256
"""Bytes in a document's name with its session."""

MOST_TOKEN = 4096
MOST_STATE = 8192
"""Bytes of one client's awareness, with what the server adds. Of its own, a client may send half as much."""

MOST_STATES = 1024
"""Clients in one message of awareness: y-websocket sends everybody's back, which are passed over."""

MOST_STATELESS = 4096
MOST_MESSAGES = 64
"""Messages in one frame of y-websocket."""

SYNC, AWARENESS, AUTH, QUERY_AWARENESS, STATELESS, CLOSE, SYNC_STATUS, PING, PONG = 0, 1, 2, 3, 5, 7, 8, 9, 10
_STEP1, _STEP2, _UPDATE = 0, 1, 2
_TOKEN, _DENIED, _AUTHENTICATED = 0, 1, 2


class Step1(NamedTuple):
    """What a client has of the document: a state vector. It is answered with the rest."""

    state: bytes


class Step2(NamedTuple):
    """What the other side lacked: an update that may bring nothing."""

    update: bytes


class Change(NamedTuple):
    """An update made just now."""

    update: bytes


class Presence(NamedTuple):
    """One client's awareness: `state` is JSON, or None when it has gone. A higher clock replaces a lower one."""

    client: int
    clock: int
    state: bytes | None


class Awareness(NamedTuple):
    """Some clients' presence."""

    clients: list[Presence]


class QueryAwareness(NamedTuple):
    """A client asks for everybody's presence."""


class Token(NamedTuple):
    """A client says who it is; `version` is its library's, where it says that."""

    token: str
    version: str


class Stateless(NamedTuple):
    """A text that is no part of the document."""

    payload: str


class Close(NamedTuple):
    """A client leaves the document, and keeps the connection."""


class Ping(NamedTuple):
    """A client asks whether the connection lives."""


class Pong(NamedTuple):
    """A client answers that."""


Message = Step1 | Step2 | Change | Awareness | QueryAwareness | Token | Stateless | Close
PING_FRAME, PONG_FRAME = bytes([PING]), bytes([PONG])


class Frame(NamedTuple):
    """One message of Hocuspocus' provider. `address` is what stands before it, as bytes: an answer begins so, too."""

    address: bytes
    document: str
    session: str
    message: Message


def read_frame(data: bytes) -> Frame | Ping | Pong:
    """A frame of Hocuspocus' provider. Unsound when it is none that a client may send."""
    if data == PING_FRAME:
        return Ping()
    if data == PONG_FRAME:
        return Pong()
    reader = Reader(data)
    try:
        document, _, session = reader.text(MOST_NAME).partition("\0")
        address = data[: reader.at]
        message = _message(reader, named=True)
    except IndexError:
        raise Unsound("it ends too early") from None
    if not reader.finished:
        raise Unsound("something follows the message")
    return Frame(address, document, session, message)


def change_of(data: bytes, at: int) -> bytes | None:
    """The update in a frame that from `at` on holds nothing but one made just now, if it is short; else None."""
    size = len(data)
    if size < at + 4 or data[at] != SYNC or data[at + 1] != _UPDATE:
        return None
    length, start = data[at + 2], at + 3
    if length > 0x7F:
        second = data[start]
        if not 0 < second < 0x80:
            return None
        length, start = length & 0x7F | second << 7, start + 1
    return data[start:] if start + length == size else None


def awareness_of(data: bytes, at: int) -> Awareness | None:
    """The awareness in a short frame that from `at` on holds nothing else; None for all else. Unsound as ever."""
    if not at + 2 < len(data) < at + 4096 or data[at] != AWARENESS:
        return None
    reader = Reader(data)
    reader.at = at + 1
    try:
        told = reader.take()
    except IndexError:
        return None
    return Awareness(read_awareness(told)) if reader.finished else None


def read_messages(data: bytes) -> list[Message]:
    """The messages in a frame of y-websocket. Unsound when one is none that a client may send."""
    reader = Reader(data)
    found: list[Message] = []
    try:
        while not reader.finished:
            if len(found) == MOST_MESSAGES:
                raise Unsound("too many messages in a frame")
            found.append(_message(reader, named=False))
    except IndexError:
        raise Unsound("it ends too early") from None
    if not found:
        raise Unsound("an empty frame")
    return found


def _message(reader: Reader, *, named: bool) -> Message:
    """One message. Hocuspocus has some of its own (`named`)."""
    kind = reader.number()
    if kind == SYNC:
        return _sync(reader)
    if kind == AWARENESS:
        return Awareness(read_awareness(reader.take()))
    if kind == QUERY_AWARENESS:
        return QueryAwareness()
    if named:
        if kind == AUTH:
            if reader.number() != _TOKEN:
                raise Unsound("only a server lets in and refuses")
            token = reader.text(MOST_TOKEN)
            return Token(token, "" if reader.finished else reader.text(MOST_NAME))
        if kind == STATELESS:
            return Stateless(reader.text(MOST_STATELESS))
        if kind == CLOSE:
            return Close()
    raise Unsound("a message of a kind that no client sends")


def _sync(reader: Reader) -> Step1 | Step2 | Change:
    step, data = reader.number(), reader.take()
    if step == _STEP1:
        return Step1(data)
    if step == _STEP2:
        return Step2(data)
    if step == _UPDATE:
        return Change(data)
    raise Unsound("a step of synchronising that is not known")


def read_awareness(data: bytes) -> list[Presence]:
    """What an awareness update says. Unsound when it is none, or says too much."""
    reader = Reader(data)
    try:
        found = [_presence(reader) for _ in range(reader.count(3))]
    except IndexError:
        raise Unsound("it ends too early") from None
    if not reader.finished:
        raise Unsound("something follows the awareness")
    if len(found) > MOST_STATES or len({one.client for one in found}) < len(found):
        raise Unsound("awareness of too many clients, or of one twice")
    return found


def _presence(reader: Reader) -> Presence:
    client, clock, state = reader.number(), reader.number(), reader.take(MOST_STATE)
    if client >= 1 << 53 or clock >= 1 << 31:
        raise Unsound("a client or a clock is out of bounds")
    if state == b"null":
        return Presence(client, clock, None)
    try:
        made = msgspec.json.decode(state)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unsound("a state is no JSON") from None
    if not isinstance(made, dict):
        raise Unsound("a state is no object")
    return Presence(client, clock, state)


def step1(state: bytes) -> bytes:
    """Ask for what this side lacks."""
    return bytes([SYNC, _STEP1]) + lib0.counted(state)


def step2(update: bytes) -> bytes:
    """Give what the client lacks."""
    return bytes([SYNC, _STEP2]) + lib0.counted(update)


def change(update: bytes) -> bytes:
    """Pass an update on."""
    return bytes([SYNC, _UPDATE]) + lib0.counted(update)


def awareness(clients: list[Presence]) -> bytes:
    """Tell presence."""
    written = lib0.number(len(clients)) + b"".join(
        lib0.number(one.client) + lib0.number(one.clock) + lib0.counted(b"null" if one.state is None else one.state)
        for one in clients
    )
    return bytes([AWARENESS]) + lib0.counted(written)


def saved(done: bool) -> bytes:
    """Hocuspocus: what a client sent is durable, or was refused."""
    return bytes([SYNC_STATUS, done])


def let_in(*, read_only: bool) -> bytes:
    """Hocuspocus: the client may open the document."""
    return bytes([AUTH, _AUTHENTICATED]) + lib0.text("readonly" if read_only else "read-write")


def refuse(reason: str, *, named: bool) -> bytes:
    """The client may not open the document. y-websocket has the same under another number."""
    return bytes([AUTH, _DENIED if named else 0]) + lib0.text(reason)


def ask_token() -> bytes:
    """Hocuspocus: the client should say anew who it is."""
    return bytes([AUTH, _TOKEN])


def stateless(payload: str) -> bytes:
    """Hocuspocus: tell a client something that is no part of the document."""
    return bytes([STATELESS]) + lib0.text(payload)


def close(reason: str) -> bytes:
    """Hocuspocus: the document is closed for this client, the connection is not."""
    return bytes([CLOSE]) + lib0.text(reason)
