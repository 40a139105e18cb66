"""Identifiers: UUID version 7 as text (RFC 9562 §5.7), made here or by an offline client. Floor 0."""

from __future__ import annotations

import os
import re
import secrets
from collections import deque

from . import clock

FORM = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
"""The canonical text of an id, as a regular expression."""

_FORM = re.compile(FORM)

_drawn: deque[int] = deque()
"""Random numbers of 80 bits. Each call of the system lets other threads in, which costs more than the number."""

if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_drawn.clear)


def draw() -> int:
    """80 random bits from the system, as good as `secrets`; any thread may ask."""
    try:
        return _drawn.popleft()
    except IndexError:
        data = secrets.token_bytes(10 * 256)
        _drawn.extend(int.from_bytes(data[at : at + 10]) for at in range(10, len(data), 10))
        return int.from_bytes(data[:10])


def new() -> str:
    """A fresh UUIDv7: 48 bits of milliseconds, then 74 random bits. Roughly ordered by time of making."""
    value = (clock.now() & 0xFFFF_FFFF_FFFF) << 80 | draw()
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def first(moment: int) -> str:
    """What no id made at this moment (in milliseconds) or later is less than."""
    text = f"{max(moment, 0) & 0xFFFF_FFFF_FFFF:012x}"
    return f"{text[:8]}-{text[8:]}"


def pack(id: str) -> bytes:
    """An id as its 16 bytes."""
    return bytes.fromhex(id.replace("-", ""))


def unpack(data: bytes) -> str:
    """The id of 16 bytes. ValueError when they are not as many."""
    if len(data) != 16:
        raise ValueError("an id has 16 bytes")
    text = data.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_id(text: str) -> bool:
    """Whether the text is a UUIDv7 in lower-case canonical form."""
    return _FORM.fullmatch(text) is not None
