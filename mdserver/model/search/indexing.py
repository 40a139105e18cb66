"""Bringing the index up to the documents: a reader makes what a batch holds, small units of work write it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from mdserver.store.db import Reader, Tx

from . import engines
from .shape import Numbers

BATCH_DOCUMENTS = 128
BATCH_CHARACTERS = 200_000
"""What one unit of work writes: 10 to 20 ms for the writer, for whom others wait. Smaller ones make more segments."""

PART = 50_000
"""Characters of a part; a longer text is indexed in several."""

PART_OVERLAP = 1_000
"""Characters that two parts share, so that a phrase stands whole in one of them."""

_LOOKED_AT = 256
_ERASED_AT_ONCE = 50

Unit = Callable[[Tx], None]


class Entry(msgspec.Struct):
    """A document to be entered: the words of its title, and of its text in one or several parts, as the engine's index
    takes them."""

    document_id: str
    n: int | None
    title: str
    content_hash: str
    title_words: str
    parts: list[str]
    old_parts: list[int]

    @property
    def is_long(self) -> bool:
        return len(self.parts) > 1 or bool(self.old_parts)


class Batch(msgspec.Struct):
    """What is to be done in a workspace so that the index has come to `upto` in its change log.

    `gone`: numbers of documents that are no more, with their parts. `erased`: the workspace is no more either.
    """

    workspace_id: str
    upto: int
    entries: list[Entry] = []
    gone: list[tuple[int, list[int]]] = []
    erased: bool = False


def lagging(db: Reader) -> list[str]:
    """The workspaces in which the index has something to do, deleted ones included."""
    behind = db.column(
        str,
        "SELECT w.id FROM workspaces w LEFT JOIN search_workspaces i ON i.workspace_id = w.id"
        " WHERE COALESCE((SELECT max(c.seq) FROM changes c WHERE c.workspace_id = w.id), 0) > COALESCE(i.seq, 0)",
    )
    deleted = db.column(
        str,
        "SELECT i.workspace_id FROM search_workspaces i WHERE NOT EXISTS"
        " (SELECT 1 FROM workspaces w WHERE w.id = i.workspace_id)",
    )
    return behind + deleted


def waiting(db: Reader) -> int:
    """How many documents have changed since the index looked at their workspaces; costs what waits."""
    counted = (
        "SELECT CAST(COALESCE(sum((SELECT count(*) FROM changes c WHERE c.workspace_id = w.id"
        " AND c.seq > COALESCE(i.seq, 0) AND c.entity = 'document')), 0) AS BIGINT)"
        " FROM workspaces w LEFT JOIN search_workspaces i ON i.workspace_id = w.id"
    )
    return db.value(int, counted) or 0


def prepare(db: Reader, workspace_id: str) -> Batch | None:
    """What to do next in a workspace, or None when there is nothing. Reads and folds texts, which takes time."""
    known = db.rows("SELECT number, seq FROM search_workspaces WHERE workspace_id = $1", workspace_id)
    if not db.value(int, "SELECT 1 FROM workspaces WHERE id = $1", workspace_id):
        return _erasing(db, workspace_id, known[0][0]) if known else None
    seq = known[0][1] if known else 0
    rows = db.rows(
        "SELECT c.seq, c.entity, c.entity_id, d.title, d.content_hash, s.n, s.title, s.content_hash FROM changes c"
        " LEFT JOIN documents d ON d.id = c.entity_id LEFT JOIN search_documents s ON s.document_id = c.entity_id"
        f" WHERE c.workspace_id = $1 AND c.seq > $2 ORDER BY c.seq LIMIT {_LOOKED_AT:d}",
        workspace_id,
        seq,
    )
    if not rows:
        return None
    batch = Batch(workspace_id, seq)
    characters = 0
    for position, entity, document_id, title, content_hash, n, known_title, known_hash in rows:
        if entity == "document" and title is None and n is not None:
            batch.gone.append((n, _parts_of(db, n)))
        elif entity == "document" and title is not None and (title, content_hash) != (known_title, known_hash):
            text = db.value(str, "SELECT text FROM document_texts WHERE document_id = $1", document_id) or ""
            if batch.entries and characters + len(text) > BATCH_CHARACTERS:
                break
            characters += len(text)
            batch.entries.append(_entry(db, document_id, n, title, content_hash, text))
        batch.upto = position
        if len(batch.entries) + len(batch.gone) == BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            break
    return batch


def units(batch: Batch) -> Iterator[Unit]:
    """The units of work of a batch, to be run one after the other; only the last one says that it is done.

    A long document counts as waiting until then, its parts come and go one at a time.
    """
    for _, parts in batch.gone:
        yield from map(_taking_out, parts)
    for entry in batch.entries:
        if entry.is_long:
            yield partial(_open, workspace_id=batch.workspace_id, entry=entry)
            yield from map(_taking_out, entry.old_parts)
            if len(entry.parts) > 1:
                for place, words in enumerate(entry.parts):
                    yield _entering(batch.workspace_id, entry, words, first=place == 0)
    yield partial(_finish, batch=batch)


def clear(tx: Tx) -> None:
    """Forget the whole index: it is made anew by the indexer, and everything is waiting until then."""
    engines.of(tx).clear(tx)
    for table in ("search_parts", "search_documents", "search_workspaces"):
        tx.run(f"DELETE FROM {table}")
    tx.announce("search", "")


def _erasing(db: Reader, workspace_id: str, number: int) -> Batch:
    numbers = Numbers.of(number)
    where = f"WHERE n >= $1 AND n <= $2 ORDER BY n LIMIT {_ERASED_AT_ONCE:d}"
    found = db.column(int, f"SELECT n FROM search_documents {where}", *numbers)
    return Batch(workspace_id, 0, gone=[(n, _parts_of(db, n)) for n in found], erased=True)


def _parts_of(db: Reader, n: int) -> list[int]:
    return db.column(int, "SELECT n FROM search_parts WHERE owner = $1 ORDER BY n", n)


def _entry(db: Reader, document_id: str, n: int | None, title: str, content_hash: str, text: str) -> Entry:
    words = engines.of(db).words
    return Entry(
        document_id=document_id,
        n=n,
        title=title,
        content_hash=content_hash,
        title_words=words(title),
        parts=[words(part) for part in _parts(text)],
        old_parts=[] if n is None else _parts_of(db, n),
    )


def _parts(text: str) -> Iterator[str]:
    """The text in overlapping pieces that begin and end at white space where there is some."""
    start = 0
    while len(text) - start > PART:
        end = start + PART
        space = max(text.rfind(" ", end - 200, end), text.rfind("\n", end - 200, end))
        end = space if space > 0 else end
        yield text[start:end]
        following = end - PART_OVERLAP
        space = text.find(" ", following, following + 200)
        start = space if space >= 0 else following
    yield text[start:]


def _taking_out(part: int) -> Unit:
    def unit(tx: Tx) -> None:
        engines.of(tx).drop(tx, part)
        tx.run("DELETE FROM search_parts WHERE n = $1", part)

    return unit


def _entering(workspace_id: str, entry: Entry, words: str, *, first: bool) -> Unit:
    def unit(tx: Tx) -> None:
        owner = _number_of(tx, entry)
        n = -_numbers(tx, workspace_id, 1)
        tx.run("INSERT INTO search_parts (n, owner) VALUES ($1, $2)", n, owner)
        engines.of(tx).put(tx, n, entry.title_words if first else "", words)

    return unit


def _open(tx: Tx, *, workspace_id: str, entry: Entry) -> None:
    """Give a document its number, under which nothing stands, and say that nothing is known of it."""
    n = entry.n if entry.n is not None else _numbers(tx, workspace_id, 1)
    engines.of(tx).drop(tx, n)
    _note(tx, n, entry, content_hash="")


def _finish(tx: Tx, *, batch: Batch) -> None:
    """Everything that is short, and how far the index has come with this."""
    index = engines.of(tx)
    for n, _ in batch.gone:
        index.drop(tx, n)
        tx.run("DELETE FROM search_documents WHERE n = $1", n)
    if batch.erased:
        if not batch.gone:
            tx.run("DELETE FROM search_workspaces WHERE workspace_id = $1", batch.workspace_id)
        return
    free = _numbers(tx, batch.workspace_id, len(batch.entries))
    for place, entry in enumerate(batch.entries):
        n = entry.n if entry.n is not None else free + place
        if entry.is_long:
            n = _number_of(tx, entry)
        elif entry.n is not None:
            index.drop(tx, n)
        if len(entry.parts) == 1:
            index.put(tx, n, entry.title_words, entry.parts[0])
        _note(tx, n, entry, content_hash=entry.content_hash)
    tx.run("UPDATE search_workspaces SET seq = $1 WHERE workspace_id = $2", batch.upto, batch.workspace_id)


def _note(tx: Tx, n: int, entry: Entry, *, content_hash: str) -> None:
    tx.run(
        "INSERT INTO search_documents (n, document_id, title, content_hash) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (n) DO UPDATE SET title = excluded.title, content_hash = excluded.content_hash",
        n,
        entry.document_id,
        entry.title,
        content_hash,
    )


def _number_of(tx: Tx, entry: Entry) -> int:
    """The number that a long document was given when it was opened."""
    ((n,),) = tx.rows("SELECT n FROM search_documents WHERE document_id = $1", entry.document_id)
    return int(n)


def _numbers(tx: Tx, workspace_id: str, count: int) -> int:
    """The first of so many numbers in the workspace's range that were never used."""
    tx.run(
        "INSERT INTO search_workspaces (workspace_id, number, seq, counter)"
        " VALUES ($1, (SELECT COALESCE(max(number), 0) + 1 FROM search_workspaces), 0, 0)"
        " ON CONFLICT (workspace_id) DO NOTHING",
        workspace_id,
    )
    ((number, counter),) = tx.rows(
        "UPDATE search_workspaces SET counter = counter + $1 WHERE workspace_id = $2 RETURNING number, counter",
        count,
        workspace_id,
    )
    return (int(number) << 32) + int(counter) - count + 1
