"""The texts of versions, by their hash, each stored once. The only writer of texts."""

from __future__ import annotations

import hashlib
import zlib

import msgspec

from mdserver.errors import Gone
from mdserver.store.db import Reader, Tx

_COMPRESS_FROM = 512  # bytes; below, the row's own overhead outweighs what is saved


class Text(msgspec.Struct):
    """A text made ready to be stored: everything that takes time is done before the unit of work."""

    content: str
    size: int
    """Bytes of UTF-8."""
    hash: str
    """SHA-256 of those bytes, in hex."""
    encoding: str
    data: bytes


def prepare(content: str, data: bytes | None = None) -> Text:
    """Hash and compress. `data` is the content in UTF-8, if the caller has it."""
    raw = data if data is not None else content.encode()
    if len(raw) >= _COMPRESS_FROM:
        packed = zlib.compress(raw, 1)
        return Text(content, len(raw), hashlib.sha256(raw).hexdigest(), "zlib", packed)
    return Text(content, len(raw), hashlib.sha256(raw).hexdigest(), "plain", raw)


def keep(tx: Tx, text: Text) -> None:
    """Store the text unless it is there."""
    tx.run(
        "INSERT INTO texts (hash, encoding, data) VALUES ($1, $2, $3) ON CONFLICT (hash) DO NOTHING",
        text.hash,
        text.encoding,
        text.data,
    )


def read(db: Reader, content_hash: str) -> str:
    """The text with this hash. Gone when retention has removed it."""
    found = db.rows("SELECT encoding, data FROM texts WHERE hash = $1", content_hash)
    if not found:
        raise Gone("The text of this version is not kept any more.")
    encoding, data = found[0]
    return (zlib.decompress(data) if encoding == "zlib" else bytes(data)).decode()


def drop_unused(tx: Tx, hashes: list[str]) -> None:
    """Delete those of the texts that no version names any more."""
    for one in hashes:
        tx.run(
            "DELETE FROM texts WHERE hash = $1 AND NOT EXISTS"
            " (SELECT 1 FROM document_versions v WHERE v.content_hash = $1)",
            one,
        )
