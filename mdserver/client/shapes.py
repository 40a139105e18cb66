"""What the API says and is told, as types. What they do not name is ignored, so newer servers are understood."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec


class Person(msgspec.Struct, frozen=True):
    """Somebody, as others see them; of one's own account the address too."""

    id: str
    display_name: str = ""
    email: str = ""


class Workspace(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    role: str = ""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A document or folder. `content` is there in a pull that includes it, up to a size; None is not the empty text."""

    id: str
    workspace_id: str
    parent_id: str | None
    kind: str
    title: str
    filename: str
    path: str = ""
    position: str = ""
    tags: list[str] = []
    version: int
    revision: int = 0
    content_hash: str = ""
    size: int = 0
    updated_at: str = ""
    trashed_at: str | None = None
    archived_at: str | None = None
    role: str = ""
    content: str | None = None


class Content(msgspec.Struct, frozen=True):
    """A text and the version that it is."""

    content: str
    version: int
    content_hash: str = ""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """The newest state of something. `object` is what the server sent; `document` reads it, where it is one."""

    entity: str
    id: str
    action: str
    workspace_id: str = ""
    version: int | None = None
    object: dict[str, Any] | None = None

    @property
    def document(self) -> Document | None:
        """The document as it is now; None when it is purged or the change is of something else."""
        if self.entity != "document" or self.object is None:
            return None
        return msgspec.convert(self.object, Document)


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Changes in the order of the log. `next_cursor` is to be kept, also when there is no more for now."""

    changes: list[Change]
    next_cursor: str
    has_more: bool = False


class Overlap(msgspec.Struct, frozen=True):
    """A passage that both sides rewrote; `start` and `end` are UTF-16 code units of the merged text."""

    start: int
    end: int
    yours: str
    theirs: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457."""

    type: str = ""
    title: str = ""
    status: int = 0
    detail: str = ""
    request_id: str = ""

    @property
    def slug(self) -> str:
        """The last word of the problem's type."""
        return self.type.rpartition("/")[2]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one operation: applied, merged, conflict, duplicate or refused."""

    op_id: str
    status: str
    id: str = ""
    version: int | None = None
    outcome: str | None = None
    restored: bool | None = None
    document: Document | None = None
    content: str | None = None
    overlaps: list[Overlap] | None = None
    conflict_id: str | None = None
    problem: Problem | None = None


class ConflictRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A merge in which both sides had rewritten the same words, until somebody settles it."""

    id: str
    workspace_id: str
    document_id: str
    path: str = ""
    version: int = 0
    author: Person | None = None
    device: str | None = None
    overlaps: list[Overlap] = []
    created_at: str = ""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """`connected` (also again, after a while away), `change` or `revoked`."""

    kind: str
    workspace_id: str = ""
    position: int | str | None = None


def new_op() -> str:
    """An id for an operation: it has its effect once, however often it is sent."""
    return str(uuid.uuid4())


class Operation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """What is pushed. `id` is the document's."""

    op_id: str = msgspec.field(default_factory=new_op)
    id: str


class CreateDocument(Operation, frozen=True, kw_only=True, omit_defaults=True, tag="document.create"):
    """`id` is a UUIDv7 made here, so that what stands below can name it before the server knows it."""

    workspace_id: str
    parent_id: str | None = None
    kind: str = "markdown"
    title: str | None = None
    filename: str | None = None
    content: str | None = None
    tags: list[str] | None = None


class EditDocument(Operation, frozen=True, kw_only=True, omit_defaults=True, tag="document.edit"):
    base_version: int
    content: str
    base_hash: str | None = None
    base_content: str | None = None


class RetitleDocument(Operation, frozen=True, kw_only=True, omit_defaults=True, tag="document.retitle"):
    title: str


class RenameDocument(Operation, frozen=True, kw_only=True, omit_defaults=True, tag="document.rename"):
    filename: str


class TagDocument(Operation, frozen=True, kw_only=True, omit_defaults=True, tag="document.tag"):
    tags: list[str]


class MoveDocument(Operation, frozen=True, kw_only=True, tag="document.move"):
    """`parent_id` None is the root. With a file name it is moved and renamed in one."""

    parent_id: str | None
    before: str | msgspec.UnsetType = msgspec.UNSET
    after: str | msgspec.UnsetType = msgspec.UNSET
    filename: str | msgspec.UnsetType = msgspec.UNSET


class TrashDocument(Operation, frozen=True, kw_only=True, omit_defaults=True, tag="document.trash"):
    """With `base_version` or `base_hash` only if the text is still that; `only_if_empty`: if nothing stands below."""

    base_version: int | None = None
    base_hash: str | None = None
    only_if_empty: bool = False


class RestoreDocument(Operation, frozen=True, kw_only=True, omit_defaults=True, tag="document.restore"):
    pass


class PurgeDocument(Operation, frozen=True, kw_only=True, omit_defaults=True, tag="document.purge"):
    pass


class UpdateDocument(Operation, frozen=True, kw_only=True, omit_defaults=True, tag="document.update"):
    """A Yjs update, in base64."""

    update: str
