"""Whether what was restored is what was written: integrity, every document's log replayed, every text's hash."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import msgspec

from mdserver.model import log
from mdserver.store.db import Reader

from .contents import ALL, Contents
from .format import LONGEST, PIECE

Tick = Callable[[int], object]

_PAGE = 500
_MOST_TOLD = 100
_NOT_OURS = (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError, MemoryError)


class Report(msgspec.Struct, kw_only=True):
    """What was looked at, and what is not as it should be: the number of all, and the first of them in words."""

    rows: int = 0
    documents: int = 0
    updates: int = 0
    versions: int = 0
    texts: int = 0
    blobs: int = 0
    mismatches: int = 0
    told: list[str] = []

    def add(self, found: Iterable[str]) -> None:
        """Note mismatches."""
        for one in found:
            self.mismatches += 1
            if len(self.told) < _MOST_TOLD:
                self.told.append(one)


def verify(
    db: Reader, *, blobs: Iterable[str] | None = None, contents: Contents = ALL, tick: Tick = lambda documents: None
) -> Report:
    """Look at everything in a database that was restored. `blobs` are the hashes of those that came with it; None: no
    matter.
    """
    report = Report()
    if db.engine == "sqlite":
        report.add(f"the database is damaged: {one}" for one in _integrity(db))
        report.add(_references(db))
    report.add(_documents(db, report, tick))
    report.add(_texts(db, report))
    report.add(_versions(db, report))
    if blobs is not None:
        report.add(_blobs(db, report, contents, blobs))
    return report


def _integrity(db: Reader) -> list[str]:
    # Only a question makes FTS5 (3.53) see that the index has changed: without one, this would call it damaged.
    db.rows("SELECT rowid FROM search_fts WHERE search_fts MATCH '\"a\"' LIMIT 1")
    return [one for one in db.column(str, "PRAGMA integrity_check") if one != "ok"]


def _references(db: Reader) -> Iterator[str]:
    broken = Counter((table, parent) for table, _, parent, _ in db.rows("PRAGMA foreign_key_check"))
    for (table, parent), count in sorted(broken.items()):
        yield f"{table}: rows that refer to {parent} that are not there: {count:,}"


def _documents(db: Reader, report: Report, tick: Tick) -> Iterator[str]:
    after = ""
    while page := db.rows(
        "SELECT id, path, kind, content_hash, content_seq, size FROM documents WHERE id > $1"
        f" ORDER BY id LIMIT {_PAGE}",
        after,
    ):
        for one in page:
            for wrong in _document(db, report, *one):
                yield f"document {one[0]} ({one[1]}): {wrong}"
        report.documents += len(page)
        tick(len(page))
        after = page[-1][0]


def _document(db: Reader, report: Report, id: str, path: str, kind: str, hashed: str, seq: int, size: int) -> list[str]:
    """What is wrong with one document: its log, its projection, and what is said of them."""
    wrong: list[str] = []
    stored = db.value(str, "SELECT text FROM document_texts WHERE document_id = $1", id)
    data = (stored or "").encode()
    if hashlib.sha256(data).hexdigest() != hashed or len(data) != size:
        wrong.append("its text is not the one that its hash and size tell of")
    count, held, first, last = db.rows(
        "SELECT count(*), CAST(sum(seq - COALESCE(first_seq, seq) + 1) AS BIGINT), min(COALESCE(first_seq, seq)),"
        " max(seq) FROM document_updates WHERE document_id = $1",
        id,
    )[0]
    report.updates += count
    if kind == "folder":
        return wrong if stored is None and not count else [*wrong, "it is a folder and has a text"]
    if stored is None:
        wrong.append("it has no text")
    if db.rows("SELECT 1 FROM quarantined_documents WHERE document_id = $1", id):
        return wrong  # it has made a server fail, and may again: the server tries it when it starts
    known = log.load(db, id, upto=seq)
    if known.head != seq or (count and last - first + 1 != held):
        wrong.append("updates are missing in its log")
    if _replayed(known) != stored:
        wrong.append("its log gives another text than the one stored")
    if first == 1 and known.snapshot is not None:  # the snapshot is not the truth; all updates are there to tell
        rows = db.rows("SELECT data FROM document_updates WHERE document_id = $1 AND seq <= $2 ORDER BY seq", id, seq)
        if _replayed(log.Log(None, [bytes(one[0]) for one in rows], seq, kind)) != stored:
            wrong.append("its log from the beginning gives another text than the one stored")
    if last is not None and last > seq and _replayed(log.load(db, id)) is None:
        wrong.append("its log cannot be replayed")
    return wrong


def _replayed(found: log.Log) -> str | None:
    """The text, or None when these are no updates. pycrdt panics on some, which is no Exception."""
    try:
        return found.text()
    except _NOT_OURS:
        raise
    except BaseException:
        return None


def _texts(db: Reader, report: Report) -> Iterator[str]:
    document, hashed = "", ""
    while page := db.rows(
        "SELECT document_id, hash FROM texts WHERE (document_id, hash) > ($1, $2)"
        f" ORDER BY document_id, hash LIMIT {_PAGE}",
        document,
        hashed,
    ):
        for document, hashed in page:
            for encoding, data in db.rows(
                "SELECT encoding, data FROM texts WHERE document_id = $1 AND hash = $2", document, hashed
            ):
                found = _measured(encoding, bytes(data))
                if found is None or found[1] != hashed:
                    yield f"document {document}: a text of its history is not the one that its hash tells of"
                elif db.value(
                    int,
                    "SELECT count(*) FROM document_versions"
                    " WHERE document_id = $1 AND content_hash = $2 AND size <> $3",
                    document,
                    hashed,
                    found[0],
                ):
                    yield f"document {document}: a version tells of another size than its text has"
        report.texts += len(page)


def _measured(encoding: str, data: bytes) -> tuple[int, str] | None:
    """Size and SHA-256 of a stored text, unpacked piece by piece; None when it is none, or larger than any can be."""
    if encoding != "zlib":
        return len(data), hashlib.sha256(data).hexdigest()
    unpacking, digest, size, rest = zlib.decompressobj(), hashlib.sha256(), 0, data
    try:
        while not unpacking.eof:
            piece = unpacking.decompress(rest, PIECE)
            rest = unpacking.unconsumed_tail
            size += len(piece)
            if not piece or size > LONGEST:
                break
            digest.update(piece)
    except zlib.error:
        return None
    return (size, digest.hexdigest()) if unpacking.eof else None


def _versions(db: Reader, report: Report) -> Iterator[str]:
    report.versions = db.value(int, "SELECT count(*) FROM document_versions") or 0
    # A version's text is the document's present one, or was kept when the document moved on.
    for document, version, size in db.rows(
        "SELECT v.document_id, v.version, CASE WHEN v.content_hash = d.content_hash THEN v.size END"
        " FROM document_versions v JOIN documents d ON d.id = v.document_id"
        " WHERE (v.content_hash <> d.content_hash AND NOT EXISTS"
        " (SELECT 1 FROM texts t WHERE t.document_id = v.document_id AND t.hash = v.content_hash))"
        " OR (v.content_hash = d.content_hash AND v.size <> d.size) ORDER BY v.document_id, v.version"
    ):
        if size is None:
            yield f"document {document}: the text of version {version} is not there"
        else:
            yield f"document {document}: version {version} tells of another size than its text has"


def _blobs(db: Reader, report: Report, contents: Contents, blobs: Iterable[str]) -> Iterator[str]:
    there = {bytes.fromhex(one) for one in blobs}
    report.blobs = len(there)
    for table, column in contents.blobs:
        for name in db.column(str, f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL"):
            if bytes.fromhex(name) not in there:
                yield f"{table}: the file {name} is not there"
