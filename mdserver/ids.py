"""Identifiers: UUID version 7 as text (RFC 9562 §5.7), made here or by an offline client. Floor 0."""

from __future__ import annotations

import re
import secrets

from . import clock

FORM = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
"""The canonical text of an id, as a regular expression."""

_FORM = re.compile(FORM)


def new() -> str:
    """A fresh UUIDv7: 48 bits of milliseconds, then 74 random bits. Roughly ordered by time of making."""
    value = (clock.now() & 0xFFFF_FFFF_FFFF) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def first(moment: int) -> str:
    """What no id made at this moment (in milliseconds) or later is less than."""
    text = f"{max(moment, 0) & 0xFFFF_FFFF_FFFF:012x}"
    return f"{text[:8]}-{text[8:]}"


def is_id(text: str) -> bool:
    """Whether the text is a UUIDv7 in lower-case canonical form."""
    return _FORM.fullmatch(text) is not None
