"""Markdown as Yjs text, the `Y.Text` named `content`: making, loading, reading, editing, offsets. Floor 0.

Python counts code points, Yjs and the API count UTF-16 code units, pycrdt counts UTF-8 bytes: the conversions are here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from mdserver import diff, ids

from . import lib0

if TYPE_CHECKING:  # loaded with the first document that is edited, not with the server's start
    from pycrdt import Doc, TransactionEvent

    Scratch = Doc[Any]
    """A document for one edit, with a client id of its own."""

NAME = "content"

_MOST = 5_000  # edits made in one update: each walks the document to its place, so many are united into fewer
_STRING = 4  # Yjs's ContentString
_NOTHING = b"\x00\x00"


def new_client() -> int:
    """A fresh client id: 32 random bits, as Yjs draws them (pycrdt by itself would take 53)."""
    return ids.draw() >> 48 or 1


def first_update(text: str) -> bytes:
    """The Yjs v1 update that makes an empty document hold the text, by a fresh client id; two bytes for "".

    Written by hand, being on the way of every new document: about six times as fast as asking a Doc.
    ValueError when the text holds half a surrogate pair.
    """
    if not text:
        return _NOTHING
    written = text.encode()
    name = NAME.encode()
    return b"".join(
        (
            b"\x01\x01",  # one client, one struct …
            lib0.number(new_client()),
            b"\x00",  # … from clock 0
            bytes((_STRING, 1, len(name))),  # no neighbours, so its parent is named
            name,
            lib0.counted(written),
            b"\x00",  # nothing deleted
        )
    )


def load(snapshot: bytes | None, updates: Iterable[bytes]) -> Scratch:
    """A document from a full state (see `state`) and the updates after it, in order. It has a fresh client id.

    ValueError when an update cannot be decoded. Updates must have passed the guard: hostile ones can do worse.
    """
    from pycrdt import Doc

    doc: Scratch = Doc(client_id=new_client())
    if snapshot is not None:
        doc.apply_update(snapshot)
    for update in updates:  # one by one, as they came: what refers to something deleted is only taken after its commit
        doc.apply_update(update)
    return doc


def text_of(doc: Scratch) -> str:
    """The text as it stands."""
    from pycrdt import Text

    return str(doc.get(NAME, type=Text))


def edit(doc: Scratch, new_text: str) -> bytes | None:
    """Make the text the new one by the smallest edit, under a client id that the document has not seen.

    Returns the update that holds exactly this edit, or None when nothing changes. ValueError, with the document as it
    was, when the new text holds half a surrogate pair, or when the document's text holds objects that are not text.
    """
    from pycrdt import Text

    new_text.encode()
    old_text = text_of(doc)
    changes = _fewer(old_text, diff.edits(old_text, new_text))
    if not changes:
        return None
    if len(doc.get(NAME, type=Text)) != utf8_length(old_text):
        raise ValueError("the text holds embedded objects")
    return as_new_client(doc, lambda fresh: _make(fresh, old_text, changes))


def as_new_client(doc: Scratch, change: Callable[[Scratch], None]) -> bytes | None:
    """Make a change under a client id that the document has not seen: the update that holds exactly it, or None.

    `change` runs in one transaction; it may be given a copy of the document instead of the document itself.
    """
    from pycrdt import Doc

    vector = state_vector(doc)
    if _is_fresh(doc.client_id, vector):
        return _recorded(doc, change)
    # A client id belongs to a Doc for life. The next edit is made in a copy under its own id, then carried over.
    client_id = new_client()
    while not _is_fresh(client_id, vector):
        client_id = new_client()
    copy: Scratch = Doc(client_id=client_id)
    copy.apply_update(state(doc))
    update = _recorded(copy, change)
    if update is not None:
        doc.apply_update(update)
    return update


def state(doc: Scratch) -> bytes:
    """The whole document as one update: the snapshot for `load`. Updates that wait for missing ones are not in it."""
    return doc.get_update()


def state_vector(doc: Scratch) -> bytes:
    """What the document has of each client, in Yjs's v1 encoding."""
    return doc.get_state()


def utf8_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def utf16_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def to_utf8(text: str, offset: int) -> int:
    """An offset in code points as one in UTF-8 bytes. ValueError when it is outside of the text."""
    return utf8_length(text[: _inside(offset, len(text))])


def to_utf16(text: str, offset: int) -> int:
    """An offset in code points as one in UTF-16 code units. ValueError when it is outside of the text."""
    return utf16_length(text[: _inside(offset, len(text))])


def from_utf8(text: str, offset: int) -> int:
    """An offset in UTF-8 bytes as one in code points. ValueError when it is outside or cuts a character."""
    if text.isascii():
        return _inside(offset, len(text))
    written = text.encode()
    return len(written[: _inside(offset, len(written))].decode())


def from_utf16(text: str, offset: int) -> int:
    """An offset in UTF-16 code units as one in code points. ValueError when it is outside or cuts a surrogate pair."""
    if text.isascii():
        return _inside(offset, len(text))
    written = text.encode("utf-16-le")
    return len(written[: 2 * _inside(offset, len(written) // 2)].decode("utf-16-le"))


def _recorded(doc: Scratch, change: Callable[[Scratch], None]) -> bytes | None:
    """The update of one transaction. A state-vector diff would repeat every deletion ever made."""
    updates: list[bytes] = []

    def keep(event: TransactionEvent) -> None:
        updates.append(event.update)

    subscription = doc.observe(keep)
    try:
        with doc.transaction():
            change(doc)
    finally:
        doc.unobserve(subscription)
    return updates[0] if updates and updates[0] != _NOTHING else None


def _make(doc: Scratch, old_text: str, changes: list[diff.Edit]) -> None:
    from pycrdt import Text

    text = doc.get(NAME, type=Text)
    places = _byte_ranges(old_text, changes)

    def make(first: int, last: int, moved: int) -> None:
        # The middle first: each edit splits a block of text and copies both halves, so going from one end to the other
        # would copy a long text once for each edit. Then what is after it, moved, then what is before it, in place.
        if first >= last:
            return
        middle = (first + last) // 2
        start, end = places[middle]
        inserted = changes[middle].text
        if start < end:
            del text[start + moved : end + moved]
        if inserted:
            text.insert(start + moved, inserted)
        make(middle + 1, last, moved + utf8_length(inserted) - (end - start))
        make(first, middle, moved)

    make(0, len(changes), 0)


def _fewer(old_text: str, changes: list[diff.Edit]) -> list[diff.Edit]:
    """At most `_MOST` edits: those with the least text between them become one, and that text is written anew."""
    near = 1
    while len(changes) > _MOST:
        united: list[list[diff.Edit]] = []
        for change in changes:
            if united and change.start - united[-1][-1].end <= near:
                united[-1].append(change)
            else:
                united.append([change])
        changes = [_as_one(old_text, row) for row in united]
        near *= 4
    return changes


def _as_one(old_text: str, row: list[diff.Edit]) -> diff.Edit:
    start, end = row[0].start, row[-1].end
    moved = [diff.Edit(change.start - start, change.end - start, change.text) for change in row]
    return diff.Edit(start, end, diff.apply(old_text[start:end], moved))


def _byte_ranges(text: str, changes: list[diff.Edit]) -> list[tuple[int, int]]:
    """Where the edits begin and end in UTF-8 bytes, in one walk over the text."""
    ranges: list[tuple[int, int]] = []
    position = bytes_before = 0
    for start, end, _ in changes:
        first = bytes_before + utf8_length(text[position:start])
        bytes_before = first + utf8_length(text[start:end])
        ranges.append((first, bytes_before))
        position = end
    return ranges


def _is_fresh(client_id: int, vector: bytes) -> bool:
    """Whether no update of this client is known. May say no by chance, which costs a copy and no more."""
    return client_id < 2**32 and lib0.number(client_id) not in vector


def _inside(offset: int, length: int) -> int:
    if not 0 <= offset <= length:
        raise ValueError(f"the offset {offset} is outside of a text of {length}")
    return offset
