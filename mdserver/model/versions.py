"""The history people see: moments of a document's text. The only writer of document_versions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Literal, NamedTuple

import msgspec

from mdserver import clock
from mdserver.errors import NotFound
from mdserver.store.db import Reader, Tx
from mdserver.store.rows import Time

from . import changes, texts
from .access import Actor, Person, Principal
from .documents.shape import Document, persons, present_text

Reason = Literal["create", "edit", "merge", "restore", "import", "copy"]
MAXIMUM_NAME = 200
LOOKED_THROUGH = 2_000
"""Versions that are read at once to find those that need not be kept."""


class Version(msgspec.Struct, kw_only=True):
    """A moment of a document. `content_hash` is SHA-256 in hex, `size` bytes of UTF-8; `name` is set by people."""

    version: int
    title: str
    name: str | None
    authors: list[Person]
    size: int
    content_hash: str
    reason: str
    created_at: Time


class Moment(NamedTuple):
    """What decides whether a version is kept."""

    version: int
    created_at: int
    is_named: bool


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How the history thins out, by age in milliseconds: at first everything, then the last version of each hour,
    then the last of each day, and at `daily` (None: never) nothing but what has a name, and the newest.
    """

    everything: int
    hourly: int
    daily: int | None


class _Row(msgspec.Struct, kw_only=True):
    version: int
    title: str
    name: str | None
    authors: list[str]
    size: int
    content_hash: str
    reason: str
    created_at: Time


_SELECT = (
    "SELECT version, title, name, authors, size, content_hash, reason, created_at"
    " FROM document_versions WHERE document_id = $1"
)


def add(
    tx: Tx,
    document_id: str,
    version: int,
    *,
    seq: int,
    title: str,
    text: texts.Text,
    reason: str,
    authors: list[str],
    at: int,
) -> None:
    """Enter a moment into the history. Its text is the present one; texts.keep keeps it when the document moves on."""
    tx.run(
        "INSERT INTO document_versions (document_id, version, seq, title, reason, authors, content_hash, size,"
        " created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        document_id,
        version,
        seq,
        title,
        reason,
        msgspec.json.encode(authors).decode(),
        text.hash,
        text.size,
        at,
    )


def of_document(db: Reader, me: Principal, document: Document, *, before: int, limit: int) -> list[Version]:
    """The history of a found document, newest first: `limit` versions below the number `before`."""
    rows = db.all(_Row, f"{_SELECT} AND version < $2 ORDER BY version DESC LIMIT {limit:d}", document.id, before)
    return _seen(db, me, rows)


def find(db: Reader, me: Principal, document: Document, version: int) -> Version:
    """One version of a found document. NotFound when there is none of that number."""
    found = maybe(db, me, document.id, version)
    if found is None:
        raise NotFound(f"The document has no version {version} in its history.")
    return found


def maybe(db: Reader, me: Principal, document_id: str, version: int) -> Version | None:
    """The same of a document whose workspace was entered, or None."""
    row = db.first(_Row, f"{_SELECT} AND version = $2", document_id, version)
    return None if row is None else _seen(db, me, [row])[0]


def text_of(db: Reader, document: Document, version: int) -> str | None:
    """The text of a version of a found document; None when the history does not hold it."""
    found = db.value(
        str,
        "SELECT content_hash FROM document_versions WHERE document_id = $1 AND version = $2",
        document.id,
        version,
    )
    if found is None:
        return None
    return present_text(db, document.id) if found == document.content_hash else texts.read(db, document.id, found)


class Last(NamedTuple):
    """The newest version, and the log's update that it is of."""

    version: int
    seq: int


def last(db: Reader, document_id: str) -> Last | None:
    """The newest version in a document's history."""
    found = db.rows(
        "SELECT version, seq FROM document_versions WHERE document_id = $1 ORDER BY version DESC LIMIT 1", document_id
    )
    return Last(*found[0]) if found else None


def previous(db: Reader, document: Document, version: int) -> int | None:
    """The version before this one in the history, or None for the first."""
    return db.value(
        int, "SELECT max(version) FROM document_versions WHERE document_id = $1 AND version < $2", document.id, version
    )


def rename(tx: Tx, me: Actor, document: Document, version: int, name: str | None) -> None:
    """Name a version of a found document, which keeps it for ever, or take its name away."""
    if not tx.run(
        "UPDATE document_versions SET name = $1 WHERE document_id = $2 AND version = $3", name, document.id, version
    ):
        raise NotFound(f"The document has no version {version} in its history.")
    changes.record(tx, me, document.workspace_id, "version", f"{document.id}/{version}", version=version)


def surplus(moments: Sequence[Moment], retention: Retention, *, now: int) -> list[int]:
    """The numbers of those versions, of all that a document has in order, that need not be kept.

    An hour or a day (of UTC) is represented by its last version, kept or not yet judged. So what is thinned out again
    and again ends as what is thinned out once.
    """
    last_of_hour = {one.created_at // clock.HOUR: one.version for one in moments}
    last_of_day = {one.created_at // clock.DAY: one.version for one in moments}

    def is_kept(one: Moment) -> bool:
        age = now - one.created_at
        if age < retention.everything:
            return True
        if age < retention.hourly:
            return last_of_hour[one.created_at // clock.HOUR] == one.version
        if retention.daily is None or age < retention.daily:
            return last_of_day[one.created_at // clock.DAY] == one.version
        return False

    return [one.version for one in moments[:-1] if not one.is_named and not is_kept(one)]


def look_through(
    db: Reader, retention: Retention, *, after: str, rows: int = LOOKED_THROUGH
) -> tuple[dict[str, list[int]], str | None]:
    """Some documents further on (in order of their ids, after this one): → what of their histories need not be kept,
    and the document to go on after, None at the end.
    """
    columns = "document_id, version, created_at, CASE WHEN name IS NULL THEN 0 ELSE 1 END FROM document_versions"
    found = db.rows(
        f"SELECT {columns} WHERE document_id > $1 ORDER BY document_id, version LIMIT {rows:d}",
        after,
    )
    histories = {id: list(lines) for id, lines in groupby(found, itemgetter(0))}
    is_end = len(found) < rows
    if not is_end:
        last = found[-1][0]
        if len(histories) > 1:
            del histories[last]  # it may have more: it comes first the next time
        else:
            histories[last] = db.rows(f"SELECT {columns} WHERE document_id = $1 ORDER BY version", last)
    now = clock.now()
    judged = {
        id: surplus([Moment(number, at, named == 1) for _, number, at, named in lines], retention, now=now)
        for id, lines in histories.items()
        if len(lines) > 1
    }
    return {id: numbers for id, numbers in judged.items() if numbers}, None if is_end else next(reversed(histories))


def prune(tx: Tx, me: Actor, surplus: dict[str, list[int]]) -> int:
    """Delete these versions by document, with the texts that only they have; how many.

    Never the newest, and none that has got a name meanwhile.
    """
    count = 0
    for document_id, numbers in surplus.items():
        gone = {
            number: str(content_hash)
            for number in numbers
            for (content_hash,) in tx.rows(
                "DELETE FROM document_versions WHERE document_id = $1 AND version = $2 AND name IS NULL AND version <"
                " (SELECT max(v.version) FROM document_versions v WHERE v.document_id = $1) RETURNING content_hash",
                document_id,
                number,
            )
        }
        if gone:
            texts.drop_unused(tx, document_id, set(gone.values()))
            _forget_changes(tx, me, document_id, set(gone))
        count += len(gone)
    return count


def _forget_changes(tx: Tx, me: Actor, document_id: str, gone: set[int]) -> None:
    """Tell those who sync of the deleted versions, as far as they were told of them: those that once had a name."""
    workspace_id = tx.value(str, "SELECT workspace_id FROM documents WHERE id = $1", document_id)
    if workspace_id is None:
        return
    for entity_id in changes.known_below(tx, workspace_id, "version", f"{document_id}/"):
        if int(entity_id.rpartition("/")[2]) in gone:
            changes.record(tx, me, workspace_id, "version", entity_id, deleted=True)


def _seen(db: Reader, me: Principal, rows: list[_Row]) -> list[Version]:
    people = persons(db, {one for row in rows for one in row.authors}, me)
    return [
        Version(
            version=row.version,
            title=row.title,
            name=row.name,
            authors=[people[one] for one in row.authors if one in people],
            size=row.size,
            content_hash=row.content_hash,
            reason=row.reason,
            created_at=row.created_at,
        )
        for row in rows
    ]
