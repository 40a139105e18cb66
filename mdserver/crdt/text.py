"""Yjs text without I/O: a document's content is the `Y.Text` named `content`.

pycrdt counts text in UTF-8 bytes, Yjs clients in UTF-16 code units, Python in code points. Updates are encoded as v1.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

from pycrdt import Doc, Text

from mdserver import diff

NAME = "content"
Scratch = Doc[Any]
"""A document for one edit, with a client id of its own."""

_EMPTY = b"\x00\x00"
_BATCH = 500


def new_client() -> int:
    """A fresh client id: 32 random bits, as Yjs takes them."""
    return secrets.randbits(32) or 1


def first_update(text: str) -> bytes:
    """The update that makes this text in an empty document. Written by hand: it stands on the way of every creation.

    One client, one struct: a string (content type 4) whose parent is the root type `content`, no deletions.
    """
    if not text:
        return _EMPTY
    data = text.encode()
    return b"".join(
        (
            b"\x01\x01",
            _varuint(new_client()),
            b"\x00\x04\x01",
            _varuint(len(NAME)),
            NAME.encode(),
            _varuint(len(data)),
            data,
            b"\x00",
        )
    )


def load(snapshot: bytes | None, updates: Iterable[bytes]) -> Scratch:
    """A scratch document from a snapshot and the updates after it, in order."""
    doc = Scratch(client_id=new_client())
    if snapshot is not None:
        doc.apply_update(snapshot)
    waiting = list(updates)
    for start in range(0, len(waiting), _BATCH):
        with doc.transaction():
            for update in waiting[start : start + _BATCH]:
                doc.apply_update(update)
    return doc


def text_of(doc: Scratch) -> str:
    """The present text."""
    return str(doc.get(NAME, type=Text))


def edit(doc: Scratch, new_text: str) -> bytes | None:
    """Make the smallest edit that gives the new text, as the client that `load` drew; its update, or None."""
    old = text_of(doc)
    if old == new_text:
        return None
    changes = diff.edits(old, new_text)
    before = doc.get_state()
    content = doc.get(NAME, type=Text)
    with doc.transaction():
        for change, (start, end) in zip(reversed(changes), reversed(_byte_offsets(old, changes)), strict=True):
            if end > start:
                del content[start:end]
            if change.text:
                content.insert(start, change.text)
    return doc.get_update(before)


def state(doc: Scratch) -> bytes:
    """The whole state as one update."""
    return doc.get_update()


def state_vector(doc: Scratch) -> bytes:
    """What the document has seen, by client."""
    return doc.get_state()


def _byte_offsets(text: str, changes: list[diff.Edit]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    at = in_bytes = 0
    for change in changes:
        in_bytes += len(text[at : change.start].encode())
        start = in_bytes
        in_bytes += len(text[change.start : change.end].encode())
        at = change.end
        found.append((start, in_bytes))
    return found


def _varuint(number: int) -> bytes:
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    made.append(number)
    return bytes(made)
