"""What is always true of the documents in a database, and a picture of them to compare before and after."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from mdserver.model import log, texts
from mdserver.model.documents import present_text
from mdserver.store.db import Reader
from mdserver.text import fold

TABLES = (
    "documents",
    "document_texts",
    "document_updates",
    "document_snapshots",
    "document_versions",
    "unsettled_documents",
    "document_moments",
    "document_authors",
    "quarantined_documents",
    "refused_updates",
    "texts",
    "document_tags",
    "document_links",
    "favourites",
    "changes",
    "idempotency_keys",
    "workspaces",
    "workspace_members",
)

Picture = dict[str, list[tuple[Any, ...]]]


def picture(db: Reader) -> Picture:
    """Every row that has to do with documents: two equal pictures, and nothing was changed between them."""
    return {table: sorted(db.rows(f"SELECT * FROM {table}"), key=repr) for table in TABLES}


def broken(db: Reader, *, pruned: bool = False) -> list[str]:
    """What is not as it should be, in words; empty when all is well. `pruned`: histories may be thinned out."""
    return [*_places(db), *_contents(db), *_history(db, pruned=pruned), *_marks(db), *_log_of_changes(db)]


def _places(db: Reader) -> list[str]:
    rows = db.rows(
        "SELECT id, workspace_id, parent_id, filename, path, path_key, trashed_at, trash_id, position FROM documents"
    )
    live = {one[0]: one for one in rows if one[6] is None}
    found = []
    keys = [(one[1], one[5]) for one in live.values()]
    if len(keys) != len(set(keys)):
        found.append("two live documents share a path")
    positions = [(one[1], one[2], one[8]) for one in live.values()]
    if len(positions) != len(set(positions)):
        found.append("two live siblings share a position")
    for _, workspace_id, parent_id, filename, path, path_key, trashed_at, trash_id, _ in rows:
        if (trashed_at is None) != (trash_id is None):
            found.append(f"{path}: trashed_at and trash_id disagree")
        if trashed_at is not None:
            continue
        parent = live.get(parent_id) if parent_id else ("", workspace_id, "", "", "", "", None, None, "")
        if parent is None:
            found.append(f"{path}: its parent is not live")
            continue
        if parent[1] != workspace_id:
            found.append(f"{path}: its parent is in another workspace")
        below, below_key = (f"{parent[4]}/", f"{parent[5]}/") if parent_id else ("", "")
        if path != below + filename:
            found.append(f"{path!r} is not {below + filename!r}")
        if path_key != below_key + fold(filename):
            found.append(f"{path_key!r} is not {below_key + fold(filename)!r}")
        above, steps = parent_id, 0
        while above in live and steps <= len(live):
            above, steps = live[above][2], steps + 1
        if above:
            found.append(f"{path}: a loop above it")
    return found


def _contents(db: Reader) -> list[str]:
    found = []
    unsettled, written_live = _unsettled(db), _written_live(db)
    for id, path, kind, version, content_hash, size, content_seq in db.rows(
        "SELECT id, path, kind, version, content_hash, size, content_seq FROM documents"
    ):
        stored = db.column(str, "SELECT text FROM document_texts WHERE document_id = $1", id)
        rows = db.rows(
            "SELECT seq, COALESCE(first_seq, seq), data FROM document_updates WHERE document_id = $1 ORDER BY seq", id
        )
        updates = [bytes(one[2]) for one in rows]
        content = stored[0] if stored else ""
        head = rows[-1][0] if rows else 0
        if [one[1] for one in rows] != [1, *(one[0] + 1 for one in rows[:-1])][: len(rows)]:
            found.append(f"{path}: the log's numbers have holes")
        if id in unsettled:  # what was written live since is not in the projection yet
            updates = [bytes(one[2]) for one in rows if one[0] <= content_seq]
        if kind == "folder":
            if stored or updates:
                found.append(f"{path}: a folder with a text")
        else:
            if log.Log(None, updates, head, kind).text() != content:
                found.append(f"{path}: the log says something else than the projection")
            loaded = log.load(db, id, upto=content_seq, closed=True)
            if loaded.text() != content:
                found.append(f"{path}: the snapshot says something else than the projection")
            if loaded.head != content_seq or (content_seq != head and id not in unsettled):
                found.append(f"{path}: the projection is not of the log's head")
        if content_hash != hashlib.sha256(content.encode()).hexdigest() or size != len(content.encode()):
            found.append(f"{path}: hash or size are of another text")
        if kind != "folder" and (version > head if id in written_live else version != head):
            found.append(f"{path}: version {version} after {head} updates")
    for id, version, seq, hashed in db.rows("SELECT document_id, version, seq, content_hash FROM document_moments"):
        past = log.load(db, id, upto=seq, closed=True)
        text = past.text()
        if hashlib.sha256(text.encode()).hexdigest() != hashed:
            found.append(f"{id}: the log at {seq} says something else than the moment {version}")
    return found


def _unsettled(db: Reader) -> set[str]:
    return set(db.column(str, "SELECT document_id FROM unsettled_documents"))


def _written_live(db: Reader) -> set[str]:
    """Documents with rows that came as they were typed: several of them are one version."""
    return _unsettled(db) | set(
        db.column(
            str,
            "SELECT document_id FROM document_moments UNION"
            " SELECT document_id FROM document_versions WHERE seq <> version",
        )
    )


def _history(db: Reader, *, pruned: bool) -> list[str]:
    found = []
    unsettled, written_live = _unsettled(db), _written_live(db)
    for id, path, kind, version, content_hash in db.rows("SELECT id, path, kind, version, content_hash FROM documents"):
        listed = db.rows(
            "SELECT version, seq, content_hash, size FROM document_versions WHERE document_id = $1 ORDER BY version", id
        )
        if kind == "folder":
            if listed:
                found.append(f"{path}: a folder with versions")
            continue
        numbers = [one[0] for one in listed]
        if id in written_live:
            if numbers != sorted(set(numbers)) or not numbers or numbers[-1] > version:
                found.append(f"{path}: versions {numbers}, and it is at {version}")
            elif id not in unsettled and (numbers[-1], listed[-1][2]) != (version, content_hash):
                found.append(f"{path}: it is settled, and its state is no version")
        elif numbers != list(range(1, version + 1)) and not (pruned and numbers and numbers[-1] == version):
            found.append(f"{path}: versions {numbers}, and it is at {version}")
        elif listed[-1][2] != content_hash:
            found.append(f"{path}: the last version is of another text")
        for number, seq, hashed, size in listed:
            content = texts.read(db, id, hashed) if hashed != content_hash else present_text(db, id)
            if hashlib.sha256(content.encode()).hexdigest() != hashed or len(content.encode()) != size:
                found.append(f"{path}: version {number} has another text than it says")
            past = log.load(db, id, upto=seq, closed=True)
            if past.head == seq and past.snapshot is None and past.text() != content:
                found.append(f"{path}: the log at {seq} says something else than version {number}")
    named = set(db.rows("SELECT DISTINCT document_id, content_hash FROM document_versions"))
    if kept := set(db.rows("SELECT document_id, hash FROM texts")) - named:
        found.append(f"{len(kept)} texts that no version names")
    return found


def _marks(db: Reader) -> list[str]:
    found = []
    for id, path, tags in db.rows("SELECT id, path, tags FROM documents"):
        indexed = db.rows("SELECT tag, tag_key, workspace_id FROM document_tags WHERE document_id = $1", id)
        if sorted(one[0] for one in indexed) != sorted(_decoded(tags)) or any(
            fold(one[0]) != one[1] for one in indexed
        ):
            found.append(f"{path}: its tags and their index differ")
    return found


def _log_of_changes(db: Reader) -> list[str]:
    found = []
    rows = db.rows("SELECT workspace_id, seq, entity, entity_id, action, version FROM changes")
    if len({(one[0], one[1]) for one in rows}) != len(rows):
        found.append("two changes share a position")
    upserts = {(one[0], one[3]): one[5] for one in rows if one[2] == "document" and one[4] == "upsert"}
    there = {(one[0], one[1]): one[2] for one in db.rows("SELECT workspace_id, id, version FROM documents")}
    if upserts != there:
        found.append("the log of changes names other documents, or other versions, than there are")
    return found


def _decoded(text: str) -> list[str]:
    return msgspec.json.decode(text, type=list[str])
