"""What is written live: rows of a log as rooms append them, and the projections and versions that follow.

A room (collab/room.py) appends at once what its clients send; text, hash and version follow within a second. Until they
have, the document is unsettled, which a start finds and mends. The only writer of unsettled_documents and
document_moments.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from mdserver import clock, failpoints, links
from mdserver.crdt import text as crdt
from mdserver.store.db import Reader, Tx

from . import backlinks, changes, documents, log, texts, versions
from .access import Actor

SETTLED_BY = Actor(user_id="", device="mdserver")
"""Who acts where what was written last does not say."""


class Row(NamedTuple):
    """An update as it goes into the log: whose it is, when it came (ms)."""

    actor: Actor
    at: int
    data: bytes


class Batch(NamedTuple):
    """What a room has taken in and not yet stored, in order; `known` is the number of the newest row that it knows.

    `is_marked`: the document is known to be unsettled, and nobody is about to settle it.
    """

    document_id: str
    known: int
    rows: list[Row]
    is_marked: bool = False


class Appended(NamedTuple):
    """The number of a batch's last row, and the rows of others that the room did not know, which stand before it."""

    head: int
    others: list[bytes]


class Ground(NamedTuple):
    """What a projection starts from: the present state, and its text if that is a version whose text must be kept."""

    version: int
    seq: int
    text: str | None

    @property
    def is_version(self) -> bool:
        """Whether the present state is one of the history."""
        return self.text is not None


class Projection(msgspec.Struct, kw_only=True):
    """A log's text at the row `seq`, made ready on a thread: what the unit of work has only to write down.

    `links` is None where they are those that were entered last; `snapshot` is the whole state at that row, if one is
    to be kept; `is_version`: whether this state becomes a version.
    """

    document_id: str
    seq: int
    ground: Ground
    text: texts.Text
    before: texts.Packed | None
    links: list[links.Link] | None
    snapshot: bytes | None
    is_version: bool


def append(tx: Tx, batch: Batch) -> Appended | None:
    """Append a room's rows behind whatever is there by now. None when the document is gone.

    Rows of others may stand between: an update only needs what it builds on to come before it.
    """
    tx.gate(f"document:{batch.document_id}")
    head = log.head(tx, batch.document_id)
    if not head:  # it has gone with the document: what has a room has a row
        return None
    others = log.after(tx, batch.document_id, batch.known) if head > batch.known else []
    for seq, row in enumerate(batch.rows, head + 1):
        log.append(tx, row.actor, batch.document_id, seq, row.data, at=row.at)
    if not batch.is_marked or others:  # whoever wrote these has settled it
        tx.run(
            "INSERT INTO unsettled_documents (document_id, since) VALUES ($1, $2) ON CONFLICT (document_id) DO NOTHING",
            batch.document_id,
            batch.rows[0].at,
        )
    failpoints.hit("live-appended")
    return Appended(head + len(batch.rows), others)


def ground(db: Reader, document_id: str) -> Ground | None:
    """What the next projection starts from; None when the document is gone."""
    found = db.rows(
        "SELECT d.version, d.content_seq, CASE WHEN EXISTS"
        " (SELECT 1 FROM document_versions v WHERE v.document_id = d.id AND v.version = d.version)"
        " THEN t.text END FROM documents d JOIN document_texts t ON t.document_id = d.id WHERE d.id = $1",
        document_id,
    )
    return Ground(*found[0]) if found else None


def prepared(
    document_id: str,
    seq: int,
    ground: Ground,
    content: str,
    *,
    known: list[links.Link] | None = None,
    snapshot: bytes | None = None,
    is_version: bool = False,
) -> Projection:
    """Everything about a projection that takes time: hashing, compressing, finding links.

    `known` are the links that were entered last, if the caller has them.
    """
    found = links.links(content)
    return Projection(
        document_id=document_id,
        seq=seq,
        ground=ground,
        text=texts.named(content),
        before=None if ground.text is None else texts.packed(ground.text),
        links=None if found == known else found,
        snapshot=snapshot,
        is_version=is_version,
    )


def project(tx: Tx, one: Projection) -> int | None:
    """Bring the text up to the projection's row; the document's version then.

    None, and nothing is done, when something else has moved the document on since the projection's ground was read.
    """
    id = one.document_id
    tx.gate(f"document:{id}")
    found = tx.rows("SELECT workspace_id, version, content_seq, content_hash, title FROM documents WHERE id = $1", id)
    if not found:
        return None
    version: int
    workspace_id, version, seq, content_hash, title = found[0]
    if (version, seq) != (one.ground.version, one.ground.seq) or seq > one.seq:
        return None
    now = clock.now()
    if one.snapshot is not None:
        log.keep_snapshot(tx, id, one.seq, one.snapshot)
    if content_hash == one.text.hash:
        documents.catch_up(tx, id, seq=one.seq)
        if one.is_version:  # it was recorded as a passing state, which nobody was told of
            tx.announce("workspace", workspace_id)
    else:
        actor = log.last_author(tx, id, upto=one.seq) or SETTLED_BY
        version = documents.project(
            tx, actor, id, version=version, seq=one.seq, text=one.text, before=one.before, at=now
        )
        failpoints.hit("live-projected")
        if one.links is not None:
            backlinks.index(tx, workspace_id, id, one.links, new=False)
        changes.record(tx, actor, workspace_id, "document", id, version=version, is_passing=not one.is_version)
    if one.is_version:
        _enter_version(tx, id, version, one.seq, title, one.text, at=now)
    elif content_hash != one.text.hash:
        tx.run(
            "INSERT INTO document_moments (document_id, version, seq, content_hash, at) VALUES ($1, $2, $3, $4, $5)",
            id,
            version,
            one.seq,
            one.text.hash,
            now,
        )
    return version


def _enter_version(tx: Tx, id: str, version: int, seq: int, title: str, text: texts.Text, *, at: int) -> None:
    """Make the present state a version of everybody who wrote since the last one, if it is none."""
    last = versions.last(tx, id)
    if last is None or last.version < version:
        authors = log.authors(tx, id, after=last.seq if last else 0, upto=seq)
        versions.add(tx, id, version, seq=seq, title=title, text=text, reason="edit", authors=authors, at=at)
    settled(tx, id, seq=seq)


def settled(tx: Tx, document_id: str, *, seq: int) -> None:
    """Note that the document's text is a version, and is that of the row `seq`, unless there are newer ones by now."""
    if log.head(tx, document_id) == seq:
        tx.run("DELETE FROM unsettled_documents WHERE document_id = $1", document_id)


def is_behind(db: Reader, document_id: str) -> bool:
    """Whether something was written that the document's text does not show yet: it follows within a second."""
    return bool(
        db.value(
            int,
            "SELECT 1 FROM documents d WHERE d.id = $1 AND d.content_seq <"
            " (SELECT max(u.seq) FROM document_updates u WHERE u.document_id = d.id)",
            document_id,
        )
    )


def unsettled(db: Reader, *, after: str = "", limit: int = 100) -> list[str]:
    """Documents that were being edited live when a server ended, `limit` of them after this id."""
    return db.column(
        str,
        f"SELECT document_id FROM unsettled_documents WHERE document_id > $1 ORDER BY document_id LIMIT {limit:d}",
        after,
    )


def is_unsettled(db: Reader, document_id: str) -> bool:
    """Whether the document's text may be behind its log, or is no version yet."""
    return bool(db.rows("SELECT 1 FROM unsettled_documents WHERE document_id = $1", document_id))


def replayed(db: Reader, document_id: str) -> Projection | None:
    """The projection of a whole log as a version; None when the document is gone. Takes as long as its replay."""
    start = ground(db, document_id)
    if start is None:
        return None
    found = log.load(db, document_id)
    doc = found.replayed()
    snapshot = crdt.state(doc) if found.wants_snapshot else None
    return prepared(document_id, found.head, start, found.form.text_of(doc), snapshot=snapshot, is_version=True)


def text_of_moment(db: Reader, document_id: str, version: int) -> str | None:
    """The text of a state between two versions, out of the log; None when it is not known any more."""
    found = db.rows(
        "SELECT seq, content_hash FROM document_moments WHERE document_id = $1 AND version = $2", document_id, version
    )
    if not found:
        return None
    seq, content_hash = found[0]
    text = log.load(db, document_id, upto=seq).text()
    return text if texts.named(text).hash == content_hash else None


def forget_old(tx: Tx, *, kept: int = clock.DAY, limit: int = 500) -> int:
    """Delete moments that are `kept` ms old; how many, at most `limit`."""
    return tx.run(
        "DELETE FROM document_moments WHERE (document_id, version) IN"
        f" (SELECT document_id, version FROM document_moments WHERE at <= $1 LIMIT {limit:d})",
        clock.now() - kept,
    )
