"""The wire: frames that real clients sent, frames that they understand, and all that is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdserver.collab import protocol
from mdserver.collab.protocol import (
    MOST_MESSAGES,
    MOST_STATE,
    MOST_STATES,
    Awareness,
    Change,
    Close,
    Frame,
    Message,
    Ping,
    Pong,
    Presence,
    QueryAwareness,
    Stateless,
    Step1,
    Step2,
    Token,
    read_frame,
    read_messages,
)
from mdserver.crdt.lib0 import Unsound, counted, number, text

DOC = text("docid")

# Recorded: @hocuspocus/provider 4.8.0 with a document "docid", y-websocket 3.1.0 on /collab/docid.
HOCUSPOCUS: list[tuple[str, Message]] = [
    ("05646f636964020003746f6b05342e382e30", Token("tok", "4.8.0")),
    ("05646f63696400000100", Step1(b"\x00")),
    (
        "05646f6369640119010501157b2275736572223a7b226e616d65223a2241227d7d",
        Awareness([Presence(5, 1, b'{"user":{"name":"A"}}')]),
    ),
    (
        "05646f63696400021301010500040107636f6e74656e740368c3a900",
        Change(bytes.fromhex("01010500040107636f6e74656e740368c3a900")),
    ),
    ("05646f63696405026869", Stateless("hi")),
    ("05646f6369640108010502046e756c6c", Awareness([Presence(5, 2, None)])),
    ("05646f63696407", Close()),
]
Y_WEBSOCKET: list[tuple[str, Message]] = [
    ("00000100", Step1(b"\x00")),
    ("0116010601127b22637572736f72223a7b2261223a317d7d", Awareness([Presence(6, 1, b'{"cursor":{"a":1}}')])),
    ("00021101010600040107636f6e74656e74017800", Change(bytes.fromhex("01010600040107636f6e74656e74017800"))),
]


@pytest.mark.parametrize(("recorded", "message"), HOCUSPOCUS)
def test_what_hocuspocus_sends(recorded: str, message: Message) -> None:
    assert read_frame(bytes.fromhex(recorded)) == Frame(DOC, "docid", "", message)


@pytest.mark.parametrize(("recorded", "message"), Y_WEBSOCKET)
def test_what_y_websocket_sends(recorded: str, message: Message) -> None:
    assert read_messages(bytes.fromhex(recorded)) == [message]


def test_several_messages_in_a_frame() -> None:
    data = b"".join(bytes.fromhex(recorded) for recorded, _ in Y_WEBSOCKET) + b"\x03"
    assert read_messages(data) == [*(message for _, message in Y_WEBSOCKET), QueryAwareness()]


def test_ping_and_pong_have_no_name() -> None:
    assert read_frame(b"\x09") == Ping()
    assert read_frame(b"\x0a") == Pong()
    assert (protocol.PING_FRAME, protocol.PONG_FRAME) == (b"\x09", b"\x0a")


def test_a_session_stands_behind_the_name() -> None:
    frame = read_frame(text("docid\0one") + b"\x03")
    assert frame == Frame(text("docid\0one"), "docid", "one", QueryAwareness())


def test_what_is_written_is_what_is_read() -> None:
    for written, message in (
        (protocol.step1(b"\x01\x02\x03"), Step1(b"\x01\x02\x03")),
        (protocol.step2(b"\x00\x00"), Step2(b"\x00\x00")),
        (protocol.change(b"\x00" * 300), Change(b"\x00" * 300)),
        (
            protocol.awareness([Presence(2**40, 7, b'{"a":"\xc3\xa9"}'), Presence(1, 2, None)]),
            Awareness([Presence(2**40, 7, b'{"a":"\xc3\xa9"}'), Presence(1, 2, None)]),
        ),
    ):
        assert read_messages(written) == [message]
        assert read_frame(DOC + written) == Frame(DOC, "docid", "", message)


def test_what_only_a_server_says() -> None:
    assert protocol.let_in(read_only=True) == b"\x02\x02\x08readonly"
    assert protocol.let_in(read_only=False) == b"\x02\x02\x0aread-write"
    assert protocol.refuse("no", named=True) == b"\x02\x01\x02no"
    assert protocol.refuse("no", named=False) == b"\x02\x00\x02no"
    assert protocol.ask_token() == b"\x02\x00"
    assert protocol.saved(True) == b"\x08\x01"
    assert protocol.saved(False) == b"\x08\x00"
    assert protocol.close("gone") == b"\x07\x04gone"


def states(*written: bytes) -> bytes:
    return b"\x01" + counted(number(len(written)) + b"".join(written))


ONE = b"\x05\x01" + counted(b"{}")

BAD: dict[str, bytes] = {
    "nothing": b"",
    "an unknown kind": b"\x0b",
    "too short": b"\x00",
    "a step without its bytes": b"\x00\x00",
    "bytes that it does not hold": b"\x00\x02\x05abc",
    "a step that is not known": b"\x00\x03\x00",
    "the answer of another server": b"\x04\x00\x00",
    "what only a server sends to all": b"\x06\x00",
    "being told that it is saved": b"\x08\x01",
    "letting itself in": b"\x02\x02\x0aread-write",
    "awareness it does not hold": b"\x01\x01\xff",
    "awareness with something behind it": b"\x01" + counted(b"\x00\x00"),
    "one client twice": states(ONE, ONE),
    "too many clients": states(*(number(n) + b"\x01" + counted(b"{}") for n in range(MOST_STATES + 1))),
    "a state that is too long": states(b"\x05\x01" + counted(b'{"a":"' + b"x" * MOST_STATE + b'"}')),
    "a state that is no JSON": states(b"\x05\x01" + counted(b"{")),
    "a state that is not UTF-8": states(b"\x05\x01" + counted(b'{"a":"\xff"}')),
    "a state that is no object": states(b"\x05\x01" + counted(b"[]")),
    "a state that is nested too deeply": states(b"\x05\x01" + counted(b"[" * 2000 + b"]" * 2000)),
    "a client out of bounds": states(number(2**53) + b"\x01" + counted(b"{}")),
    "a clock out of bounds": states(b"\x05" + number(2**31) + counted(b"{}")),
}
BAD_FRAMES: dict[str, bytes] = {
    "no message": DOC,
    "a name that is not UTF-8": counted(b"\xff") + b"\x03",
    "a name that is too long": text("x" * 300) + b"\x03",
    "two messages": DOC + b"\x03\x03",
    "a token that is too long": DOC + b"\x02\x00" + text("x" * 5000),
    "a refusal": DOC + b"\x02\x01\x00",
    "a payload that is too long": DOC + b"\x05" + text("x" * 5000),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_messages_that_are_refused(data: bytes) -> None:
    with pytest.raises(Unsound):
        read_messages(data)
    with pytest.raises(Unsound):
        read_frame(DOC + data)


@pytest.mark.parametrize("data", BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
def test_frames_that_are_refused(data: bytes) -> None:
    with pytest.raises(Unsound):
        read_frame(data)


@pytest.mark.parametrize("data", [b"\x02\x00\x03tok", b"\x05\x02hi", b"\x07", b"\x09", b"\x03" * (MOST_MESSAGES + 1)])
def test_what_y_websocket_never_sends(data: bytes) -> None:
    with pytest.raises(Unsound):
        read_messages(data)


@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (read_frame, read_messages):
        with contextlib.suppress(Unsound):
            read(data)


def test_the_short_way_reads_what_the_long_one_reads() -> None:
    address = text("a document")
    for size in (1, 2, 126, 127, 128, 129, 16_383):
        data = address + protocol.change(bytes(size))
        found = read_frame(data)
        assert isinstance(found, Frame)
        assert found.message == Change(bytes(size))
        assert protocol.change_of(data, len(address)) == bytes(size)
        for cut in (data[:-1], data + b"x", data[: len(address) + 2]):
            assert protocol.change_of(cut, len(address)) is None
    for other in (
        protocol.step1(b"xx"),
        protocol.step2(b"xx"),
        protocol.change(bytes(16_384)),
        b"\0\2\x80\0",
        b"\0\2\x82\x80\0xx",
        b"\1\2\1x",
    ):
        assert protocol.change_of(address + other, len(address)) is None


def test_awareness_the_short_way() -> None:
    address = text("a document")
    told = [Presence(7, 3, b'{"cursor":1}')]
    data = address + protocol.awareness(told)
    assert protocol.awareness_of(data, len(address)) == Awareness(told)
    for other in (data + b"x", address, address + protocol.change(b"xx"), address + b"\1\x80"):
        assert protocol.awareness_of(other, len(address)) is None
    for unsound in (data[:-1], address + protocol.awareness([Presence(7, 3, b"[]")])):
        with pytest.raises(Unsound):
            protocol.awareness_of(unsound, len(address))
