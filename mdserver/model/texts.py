"""The texts of versions, by document and hash, each stored once. The only writer of texts."""

from __future__ import annotations

import hashlib
import zlib

import msgspec

from mdserver.errors import Gone
from mdserver.store.db import Reader, Tx

_COMPRESS_FROM = 4096  # bytes, a page of the database; below, compressing takes longer than all else that is prepared


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


def keep(tx: Tx, document_id: str, text: Text) -> None:
    """Store the text of one of the document's versions, unless it is there."""
    tx.run(
        "INSERT INTO texts (document_id, hash, encoding, data) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (document_id, hash) DO NOTHING",
        document_id,
        text.hash,
        text.encoding,
        text.data,
    )


def read(db: Reader, document_id: str, content_hash: str) -> str:
    """The document's text with this hash. Gone when retention has removed it."""
    found = db.rows("SELECT encoding, data FROM texts WHERE document_id = $1 AND hash = $2", document_id, content_hash)
    if not found:
        raise Gone("The text of this version is not kept any more.")
    encoding, data = found[0]
    return (zlib.decompress(data) if encoding == "zlib" else bytes(data)).decode()


def drop_unused(tx: Tx, document_id: str) -> None:
    """Delete those of the document's texts that no version names any more."""
    tx.run(
        "DELETE FROM texts WHERE document_id = $1 AND NOT EXISTS"
        " (SELECT 1 FROM document_versions v WHERE v.document_id = texts.document_id AND v.content_hash = texts.hash)",
        document_id,
    )
