"""Texts by their hash, and those that documents have moved on from: versions read them. The only writer of texts."""

from __future__ import annotations

import hashlib
import zlib

import msgspec

from mdserver.errors import Gone
from mdserver.store.db import Reader, Tx

_COMPRESS_FROM = 512  # bytes; below, the row's own overhead outweighs what is saved


class Text(msgspec.Struct):
    """A text and what names it."""

    content: str
    size: int
    """Bytes of UTF-8."""
    hash: str
    """SHA-256 of those bytes, in hex."""


class Packed(msgspec.Struct):
    """A text made ready to be kept: what takes time is done before the unit of work."""

    hash: str
    encoding: str
    data: bytes


def named(content: str, data: bytes | None = None) -> Text:
    """Measure and hash. `data` is the content in UTF-8, if the caller has it."""
    raw = data if data is not None else content.encode()
    return Text(content, len(raw), hashlib.sha256(raw).hexdigest())


def packed(content: str) -> Packed:
    """Hash and compress."""
    raw = content.encode()
    hashed = hashlib.sha256(raw).hexdigest()
    if len(raw) >= _COMPRESS_FROM:
        return Packed(hashed, "zlib", zlib.compress(raw, 1))
    return Packed(hashed, "plain", raw)


def keep(tx: Tx, document_id: str, text: Packed) -> None:
    """Keep what the document said until now, for its history; each text once in a document."""
    tx.run(
        "INSERT INTO texts (document_id, hash, encoding, data) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (document_id, hash) DO NOTHING",
        document_id,
        text.hash,
        text.encoding,
        text.data,
    )


def read(db: Reader, document_id: str, content_hash: str) -> str:
    """A text that the document has moved on from. Gone when retention has removed it."""
    found = db.rows("SELECT encoding, data FROM texts WHERE document_id = $1 AND hash = $2", document_id, content_hash)
    if not found:
        raise Gone("The text of this version is not kept any more.")
    encoding, data = found[0]
    return (zlib.decompress(data) if encoding == "zlib" else bytes(data)).decode()


def drop_unused(tx: Tx, document_id: str, hashes: set[str]) -> None:
    """Delete those of these texts of the document that no version names any more."""
    named = tx.column(str, "SELECT content_hash FROM document_versions WHERE document_id = $1", document_id)
    for one in sorted(hashes.difference(named)):
        tx.run("DELETE FROM texts WHERE document_id = $1 AND hash = $2", document_id, one)
