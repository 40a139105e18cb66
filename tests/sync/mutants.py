"""Mistakes that a sync server could make, one by one: the random program must find each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mdserver.model import changes, documents, members, operations, updates
from mdserver.model.access import Actor
from mdserver.model.changes import Change
from mdserver.model.members import Grant
from mdserver.model.updates import Door
from mdserver.store.db import Reader, Tx
from mdserver.sync import pulling, pushing
from mdserver.sync.cursors import Cursor, Place
from mdserver.web import sync

Mutant = Callable[[pytest.MonkeyPatch], None]

_write: Any = Door.write
_started_from = updates.started_from
_record, _after, _grants, _pull = changes.record, changes.after, members.grants, pulling.pull


def last_write_wins(patch: pytest.MonkeyPatch) -> None:
    """What is brought replaces whatever is there."""

    async def write(self: Door, *given: Any, **options: Any) -> Any:
        return await _write(self, *given, **{**options, "replaces": True})

    patch.setattr(Door, "write", write)


def cursor_by_time(patch: pytest.MonkeyPatch) -> None:
    """Cursors hold the time of the last change that was told, not its position."""

    def grants(db: Reader, me: Any, *, only: str | None = None) -> list[Grant]:
        newest = dict(db.rows("SELECT workspace_id, max(at) FROM changes GROUP BY workspace_id"))
        return [one._replace(head=newest.get(one.workspace_id, 0)) for one in _grants(db, me, only=only)]

    def after(db: Reader, workspace_id: str, seq: int, *, floor: int = 0, limit: int) -> list[Change]:
        found = db.rows(
            "SELECT entity, entity_id, at, action, version FROM changes WHERE workspace_id = $1 AND at > $2"
            f" AND (action = 'upsert' OR at > $3) ORDER BY at, seq LIMIT {limit:d}",
            workspace_id,
            seq,
            floor,
        )
        return [Change(entity, id, at, action == "delete", version) for entity, id, at, action, version in found]

    patch.setattr(members, "grants", grants)
    patch.setattr(changes, "after", after)
    patch.setattr(changes, "reach", lambda db, workspace_id, *, epoch: None)
    patch.setattr(changes, "horizon", lambda db, workspace_id: 0)


def deletion_goes_before_an_edit(patch: pytest.MonkeyPatch) -> None:
    """What was edited since is put into the trash all the same."""

    def trashed(tx: Tx, me: Any, document: documents.Document, one: Any) -> documents.Document:
        return document if document.trashed_at is not None else documents.trash(tx, me, document)

    patch.setattr(pushing, "_trashed", trashed)


def edits_of_what_is_trashed_are_refused(patch: pytest.MonkeyPatch) -> None:
    """An edit does not bring a document back."""

    async def write(self: Door, *given: Any, **options: Any) -> Any:
        return await _write(self, *given, **{**options, "revives": False})

    patch.setattr(Door, "write", write)


def operations_are_not_remembered(patch: pytest.MonkeyPatch) -> None:
    """What is brought again has its effect again."""
    patch.setattr(operations, "find", lambda db, user_id, op_id, fingerprint: None)


def positions_stay(patch: pytest.MonkeyPatch) -> None:
    """A thing that has changed again keeps the position at which it was told of first."""

    def record(tx: Tx, me: Actor, workspace_id: str, entity: Any, entity_id: str, **options: Any) -> int:
        known = tx.value(
            int,
            "SELECT seq FROM changes WHERE workspace_id = $1 AND entity = $2 AND entity_id = $3",
            workspace_id,
            entity,
            entity_id,
        )
        seq = _record(tx, me, workspace_id, entity, entity_id, **options)
        if known is not None:
            tx.run("UPDATE changes SET seq = $1 WHERE workspace_id = $2 AND seq = $3", known, workspace_id, seq)
        return seq

    patch.setattr(changes, "record", record)


def grants_are_ignored(patch: pytest.MonkeyPatch) -> None:
    """Whoever comes back goes on where they had left, though their devices have forgotten everything."""
    left = 1 << 61

    def grants(db: Reader, me: Any, *, only: str | None = None) -> list[Grant]:
        return [one._replace(granted=0) for one in _grants(db, me, only=only)]

    def pull(db: Reader, me: Any, since: Cursor | None, **options: Any) -> pulling.Pulled:
        known = {} if since is None else since.places
        if since is not None:
            since = since._replace(places={id: place._replace(granted=0) for id, place in known.items()})
        pulled = _pull(db, me, since, **options)
        pulled.news = [
            one for one in pulled.news if one.action != "access_revoked" or known[one.workspace_id].granted != left
        ]
        gone = {id: Place(place.seq, left) for id, place in known.items() if id not in pulled.cursor.places}
        pulled.cursor = pulled.cursor._replace(places={**pulled.cursor.places, **gone})
        return pulled

    patch.setattr(members, "grants", grants)
    patch.setattr(sync, "pull", pull)


def deletions_during_a_first_pull_are_not_told(patch: pytest.MonkeyPatch) -> None:
    """While a workspace is told from its start, no deletion is told of, not even of what was told already."""

    def after(db: Reader, workspace_id: str, seq: int, *, floor: int = 0, limit: int) -> list[Change]:
        return _after(db, workspace_id, seq, floor=floor and 1 << 60, limit=limit)

    patch.setattr(changes, "after", after)


def deletions_while_away_are_not_told(patch: pytest.MonkeyPatch) -> None:
    """Whoever left and came back between two pulls is told the workspace as if they had nothing of it."""

    def pull(db: Reader, me: Any, since: Cursor | None, **options: Any) -> pulling.Pulled:
        if since is not None:
            now = {one.workspace_id: one.granted for one in members.grants(db, me)}
            since = since._replace(
                places={id: place for id, place in since.places.items() if now.get(id, place.granted) == place.granted}
            )
        return _pull(db, me, since, **options)

    patch.setattr(sync, "pull", pull)


def deletions_are_forgotten_without_a_word(patch: pytest.MonkeyPatch) -> None:
    """A cursor from before deletions that are forgotten is taken as any other."""
    patch.setattr(changes, "horizon", lambda db, workspace_id: 0)


def members_are_told_what_was_closed(patch: pytest.MonkeyPatch) -> None:
    """Whoever has a cursor for a workspace is told of it, member or not."""

    def grants(db: Reader, me: Any, *, only: str | None = None) -> list[Grant]:
        found = _grants(db, me, only=only)
        mine = {one.workspace_id for one in found}
        others = db.rows("SELECT workspace_id, max(seq) FROM changes GROUP BY workspace_id ORDER BY workspace_id")
        return found + [Grant(id, "viewer", 0, head) for id, head in others if id not in mine]

    def found(db: Reader, me: Any, grant: Grant, change: Change) -> Any:
        return None if change.entity == "workspace" else members.maybe(db, grant.workspace_id, change.entity_id)

    patch.setattr(members, "grants", grants)
    patch.setattr(pulling, "_found", found)


def epochs_are_ignored(patch: pytest.MonkeyPatch) -> None:
    """A cursor is good when the log is as long as it says, whoever wrote it."""
    patch.setattr(changes, "epoch_number", lambda db, id: 1)
    patch.setattr(changes, "reach", lambda db, workspace_id, *, epoch: None)


def versions_are_taken_by_their_number(patch: pytest.MonkeyPatch) -> None:
    """An edit is merged from the text that has its base's number, whatever that says."""

    def started_from(version: int, content: str | None, *, content_hash: str | None = None) -> Any:
        return _started_from(version, content)

    patch.setattr(updates, "started_from", started_from)


OF_RESTORED: tuple[Mutant, ...] = (epochs_are_ignored, versions_are_taken_by_their_number)

ALL: tuple[Mutant, ...] = (
    last_write_wins,
    cursor_by_time,
    deletion_goes_before_an_edit,
    edits_of_what_is_trashed_are_refused,
    operations_are_not_remembered,
    positions_stay,
    grants_are_ignored,
    deletions_during_a_first_pull_are_not_told,
    deletions_while_away_are_not_told,
    deletions_are_forgotten_without_a_word,
    members_are_told_what_was_closed,
)
