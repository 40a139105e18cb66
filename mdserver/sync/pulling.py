"""What has changed since a cursor, in one snapshot: a page of the logs of all workspaces that somebody belongs to.

A thing is told in its newest state, at its newest position. So one that changes while it is being told of moves ahead
and is told again, and nothing is skipped; a workspace told from its start is simply its whole log.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from mdserver.model import changes, documents, members, versions, workspaces
from mdserver.model.access import Principal, Role
from mdserver.model.changes import Change
from mdserver.model.documents import State
from mdserver.model.members import Grant, Member
from mdserver.model.versions import Version
from mdserver.model.workspaces import Workspace
from mdserver.store.db import Reader

from .cursors import Cursor, Place, resync

MOST_CONTENT = 4 << 20
"""Bytes of texts that one page brings."""

SHORT = 50
"""Things that are told at a glance, on the event loop; a longer page is put together on a reader."""

LONGEST_CONTENT = 64 << 10
"""Bytes up to which a text is brought with its document; longer ones are fetched."""


class News(msgspec.Struct):
    """Something that has changed. `found` is its newest state: of a document only which, with its text if asked for."""

    entity: str
    id: str
    action: Literal["upsert", "delete", "access_revoked"]
    workspace_id: str
    version: int
    found: Workspace | Member | Version | State | None = None
    content: str | None = None


class Pulled(msgspec.Struct):
    """A page of news, the roles in the workspaces that it tells of, and where the next one begins."""

    news: list[News]
    roles: dict[str, Role]
    cursor: Cursor
    has_more: bool


def pull(
    db: Reader, me: Principal, since: Cursor | None, *, only: str | None, limit: int, with_content: bool
) -> Pulled:
    """Up to `limit` things that changed after the cursor. Gone when the cursor's past is not this database's.

    NotFound when `only` names a workspace that the asker never had with this cursor, and cannot see.
    """
    grants = members.grants(db, me, only=only)
    known = {} if since is None else since.places
    if only is not None and not grants and only not in known:
        workspaces.enter(db, me, only)
    if since is not None:
        _judge(db, since, grants)
    news = [
        News("workspace", id, "access_revoked", id, 0) for id in known if all(id != one.workspace_id for one in grants)
    ]
    places: dict[str, Place] = {}
    left, has_more = limit, False
    weight = MOST_CONTENT if with_content else 0
    for grant in grants:
        place = known.get(grant.workspace_id)
        if place is None:
            place = Place(0, grant.granted, grant.head)
        elif place.granted != grant.granted:  # it has what it was told of before, and must hear what of that is gone
            place = Place(0, grant.granted, max(place.seq, place.floor))
        if place.seq < grant.head:
            if left > 0 and (weight > 0 or not with_content):
                page = changes.after(db, grant.workspace_id, place.seq, floor=place.floor, limit=left)
                if len(page) > SHORT:
                    db.more_than_a_glance()
                told, reached, weight = _told(db, me, grant, page, weight if with_content else None)
                news += told
                is_whole = len(page) < left and reached == len(page)
                place = Place(grant.head if is_whole else page[reached - 1].seq, grant.granted, place.floor)
                left -= reached
            if place.seq >= grant.head:
                place = Place(place.seq, grant.granted)
            else:
                has_more = True
        places[grant.workspace_id] = place
    roles = {one.workspace_id: one.role for one in grants}
    return Pulled(news, roles, Cursor(changes.epoch(db), places), has_more)


def _judge(db: Reader, since: Cursor, grants: list[Grant]) -> None:
    """Gone unless all that the cursor has come past is what this database says."""
    number = changes.epoch_number(db, since.epoch)
    if number is None:
        raise resync("The server has been restored, or is another one.")
    for grant in grants:
        place = since.places.get(grant.workspace_id)
        if place is None:
            continue
        reach = changes.reach(db, grant.workspace_id, epoch=number)
        if place.seq > (grant.head if reach is None else reach):
            raise resync("The server has been restored from a backup.")
        if max(place.seq, place.floor) < changes.horizon(db, grant.workspace_id):
            raise resync("The cursor is so old that deletions since then are forgotten.")


def _told(
    db: Reader, me: Principal, grant: Grant, page: list[Change], weight: int | None
) -> tuple[list[News], int, int]:
    """The news of a page of the log, how many of its rows they are, and what is left of the weight of texts."""
    states = documents.states_of(db, [one.entity_id for one in page if one.entity == "document" and not one.is_deleted])
    texts = _texts(db, page, states) if weight is not None else {}
    made: list[News] = []
    left = weight or 0
    has_workspace = False
    for at, one in enumerate(page):
        entry = News(one.entity, one.entity_id, "upsert", grant.workspace_id, one.version)
        if one.entity == "document":
            entry.found, size = states.get(one.entity_id, (None, 0))
            if entry.found is not None:
                entry.version = entry.found.version
                entry.content = texts.get(one.entity_id)
                if entry.content is not None:
                    if at and size > left:
                        return made, at, 0
                    left -= size
        elif not one.is_deleted:
            entry.found = _found(db, me, grant, one)
        if one.is_deleted or entry.found is None:
            entry.action, entry.found = "delete", None
        if one.entity == "membership" and one.entity_id == me.user_id and not has_workspace:
            made.append(_workspace(db, me, grant, one.version))  # one's own role has changed
            has_workspace = True
        if one.entity == "workspace":
            if has_workspace:
                continue
            has_workspace = True
        made.append(entry)
    return made, len(page), left


def _workspace(db: Reader, me: Principal, grant: Grant, version: int) -> News:
    found = workspaces.find(db, me, grant.workspace_id)
    return News("workspace", grant.workspace_id, "upsert", grant.workspace_id, version, found)


def _found(db: Reader, me: Principal, grant: Grant, change: Change) -> Workspace | Member | Version | None:
    if change.entity == "workspace":
        return workspaces.find(db, me, grant.workspace_id)
    if change.entity == "membership":
        return members.maybe(db, grant.workspace_id, change.entity_id)
    if change.entity == "version":
        document_id, _, number = change.entity_id.partition("/")
        return versions.maybe(db, me, document_id, int(number))
    return None


def _texts(db: Reader, page: list[Change], states: dict[str, tuple[State, int]]) -> dict[str, str]:
    """The texts that are short enough, of as many documents in order as one page can bring."""
    wanted, weight = [], 0
    for one in page:
        size = states[one.entity_id][1] if one.entity_id in states else 0
        if one.entity == "document" and one.entity_id in states and size <= LONGEST_CONTENT:
            wanted.append(one.entity_id)
            weight += size
            if weight > documents.SHORT:
                db.more_than_a_glance()
            if weight > 2 * MOST_CONTENT:
                break
    return documents.texts_of(db, wanted)
