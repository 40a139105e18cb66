"""Bringing files into a workspace: what is there already, and batches that are made in one unit of work each."""

from __future__ import annotations

import asyncio
from typing import Literal

import msgspec

from mdserver import frontmatter
from mdserver.errors import NotFound, Problem
from mdserver.model import documents, workspaces
from mdserver.model.access import EDITOR, Principal, Role
from mdserver.model.documents import Document, Draft
from mdserver.model.updates import Door
from mdserver.outline import derive_title
from mdserver.store.db import Database, Reader, Tx
from mdserver.text import fold

State = Literal["new", "same", "different", "taken"]
"""What stands at an item's place: nothing, the same, another text, or a folder where a document is to be."""

TAKEN = "cannot stand where a folder of its name stands"


class Place(msgspec.Struct, kw_only=True):
    """Where an import goes: below a document (or the root), its path with a trailing slash or empty."""

    workspace_id: str
    parent_id: str | None
    path: str
    path_key: str


class Wanted(msgspec.Struct):
    """A document to be, by its path below the place; `hash` is the SHA-256 of its text in hex."""

    path: str
    kind: Literal["markdown", "folder"]
    hash: str = ""


class Arrival(msgspec.Struct):
    """A document with what it is to hold; its parent comes before it, in this batch or an earlier one."""

    path: str
    kind: Literal["markdown", "folder"]
    title: str
    tags: list[str] = []
    content: str = ""


class Arrived(msgspec.Struct):
    """What became of an arrival; `why` completes "it …" where it was left out."""

    path: str
    outcome: Literal["made", "updated", "unchanged", "left out"]
    why: str = ""


def arrival(path: str, filename: str, content: str) -> Arrival:
    """A text as a document: its title and tags are read from it."""
    found = frontmatter.read(content)
    return Arrival(path, "markdown", derive_title(content, filename), found.tags, content)


def place(db: Reader, me: Principal, workspace_id: str, parent: str | None) -> Place:
    """Where to import to: `parent` is a document's path or id. NotFound, Conflict or Forbidden when it cannot be."""
    role = workspaces.enter(db, me, workspace_id, need=EDITOR)
    if parent is None or not parent.strip("/"):
        return Place(workspace_id=workspace_id, parent_id=None, path="", path_key="")
    found = _named(db, me, workspace_id, parent, role)
    documents.require_live(found)
    return Place(workspace_id=workspace_id, parent_id=found.id, path=f"{found.path}/", path_key=fold(f"{found.path}/"))


def survey(db: Reader, me: Principal, where: Place, wanted: list[Wanted]) -> list[State]:
    """What stands at each of these paths now."""
    workspaces.enter(db, me, where.workspace_id, need=EDITOR)
    return [_state(_standing(db, where, one.path), one.kind, one.hash) for one in wanted]


async def bring(database: Database, door: Door, me: Principal, where: Place, batch: list[Arrival]) -> list[Arrived]:
    """Make what is new in one unit of work; edit what is there with another text, each through the one door.

    Bringing the same batch again changes nothing.
    """
    drafts = await asyncio.to_thread(_drafts, batch, door.maximum_bytes)

    def make(tx: Tx) -> list[Arrived | str]:
        role = workspaces.enter(tx, me, where.workspace_id, need=EDITOR)
        return [_make(tx, me, where, role, one, draft) for one, draft in zip(batch, drafts, strict=True)]

    made = await database.write(make, f"changes:{where.workspace_id}")
    return [
        await _edit(door, me, known, one) if isinstance(known, str) else known
        for one, known in zip(batch, made, strict=True)
    ]


def _named(db: Reader, me: Principal, workspace_id: str, parent: str, role: Role) -> Document:
    by_path = documents.by_path(db, me, workspace_id, fold(parent.strip("/")), role=role)
    if by_path:
        return by_path[0]
    try:
        found = documents.find(db, me, parent)
    except Problem:
        found = None
    if found is None or found.workspace_id != workspace_id:
        raise NotFound(f"There is no document {parent!r} in this workspace.")
    return found


def _standing(db: Reader, where: Place, path: str) -> tuple[str, str, str] | None:
    """(id, kind, hash) of the live document at this path."""
    found = db.rows(
        "SELECT id, kind, content_hash FROM documents WHERE workspace_id = $1 AND path_key = $2 AND trashed_at IS NULL",
        where.workspace_id,
        where.path_key + fold(path),
    )
    return found[0] if found else None


def _state(standing: tuple[str, str, str] | None, kind: str, content_hash: str) -> State:
    if standing is None:
        return "new"
    if kind == "folder":  # anything can have children
        return "same"
    if standing[1] == "folder":
        return "taken"
    return "same" if standing[2] == content_hash else "different"


def _drafts(batch: list[Arrival], maximum_bytes: int) -> list[Draft | Problem]:
    return [_draft(one, maximum_bytes) for one in batch]


def _draft(one: Arrival, maximum_bytes: int) -> Draft | Problem:
    try:
        one.title = documents.check_title(one.title)
        one.tags = documents.check_tags(one.tags)
        return documents.draft(one.content, maximum_bytes=maximum_bytes)
    except Problem as problem:
        return problem


def _make(tx: Tx, me: Principal, where: Place, role: Role, one: Arrival, draft: Draft | Problem) -> Arrived | str:
    """What came of it, or the id of a document that holds another text."""
    if isinstance(draft, Problem):
        return _left_out(one, draft)
    standing = _standing(tx, where, one.path)
    state = _state(standing, one.kind, draft.text.hash)
    if standing is not None and state == "different":
        return standing[0]
    if state == "taken":
        return Arrived(one.path, "left out", TAKEN)
    if state == "same":
        return Arrived(one.path, "unchanged")
    parent_path, _, filename = one.path.rpartition("/")
    parent = _standing(tx, where, parent_path) if parent_path else None
    if parent_path and parent is None:
        return Arrived(one.path, "left out", "has lost the folder that it stands in")
    try:
        documents.create(
            tx,
            me,
            where.workspace_id,
            role=role,
            title=one.title,
            kind=one.kind,
            draft=draft,
            parent_id=parent[0] if parent else where.parent_id,
            tags=one.tags,
            filename=filename,
            reason="import",
        )
    except Problem as problem:  # judged before anything is written
        return _left_out(one, problem)
    return Arrived(one.path, "made")


async def _edit(door: Door, me: Principal, document_id: str, one: Arrival) -> Arrived:
    """Give a document the file's text. Title and tags follow if they were what the old text said."""
    old = ""

    def content(db: Reader, document: Document) -> str:
        nonlocal old
        old = documents.present_text(db, document.id)
        return one.content

    def also(tx: Tx, document: Document) -> None:
        if document.title == derive_title(old, document.filename):
            document = documents.retitle(tx, me, document, one.title)
        if document.tags == frontmatter.read(old).tags:
            documents.set_tags(tx, me, document, one.tags)

    try:
        await door.edit(me, document_id, base=lambda db, document: None, content=content, reason="import", also=also)
    except Problem as problem:
        return _left_out(one, problem)
    return Arrived(one.path, "updated")


def _left_out(one: Arrival, problem: Problem) -> Arrived:
    return Arrived(one.path, "left out", f"is not taken: {problem.detail}")
