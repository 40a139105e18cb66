"""What a device can bring: one Struct for each type of operation, and what comes of it."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mdserver.merge import Overlap
from mdserver.model.documents import Document, Kind

MOST = 500
"""Operations that are brought at once."""

Status = Literal["applied", "merged", "conflict", "duplicate", "refused"]
Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Number = Annotated[int, Meta(ge=0, le=2**53)]


class _Operation(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """`op_id` is the device's name for the operation, a UUID: sent again, an operation has no second effect."""

    op_id: Annotated[str, Meta(min_length=8, max_length=64, pattern="^[A-Za-z0-9-]+$")]


class CreateDocument(_Operation, tag="document.create"):
    """A document, under an id (a UUIDv7) that the device made. A file name that is taken is numbered."""

    id: str
    workspace_id: str
    parent_id: str | None = None
    kind: Kind = "markdown"
    title: str | None = None
    filename: str | None = None
    content: str = ""
    tags: list[str] | None = None


class EditDocument(_Operation, tag="document.edit"):
    """A text that was edited offline from that of `base_version`. What was written since is merged.

    A document that went into the trash meanwhile comes back. `base_hash` is the `content_hash` of the base, by which
    it is told from another text of that number, should the server have been restored from a backup. `base_content` is
    its text, for when the server does not know it.
    """

    id: str
    base_version: Number
    content: str
    base_hash: Hash | None = None
    base_content: str | None = None


class RetitleDocument(_Operation, tag="document.retitle"):
    """Another title; the file name stays."""

    id: str
    title: str


class RenameDocument(_Operation, tag="document.rename"):
    """Another file name in the same place."""

    id: str
    filename: str


class MoveDocument(_Operation, tag="document.move"):
    """Another parent (null is the root), a sibling there to stand before or after, and with it another file name."""

    id: str
    parent_id: str | None
    before: str | None = None
    after: str | None = None
    filename: str | None = None


class TagDocument(_Operation, tag="document.tag"):
    """All tags of a document."""

    id: str
    tags: list[str]


class TrashDocument(_Operation, tag="document.trash"):
    """Into the trash with all below it; not what was edited since `base_version`, or is not empty when it has to be.

    With `base_hash`, the `content_hash` that the device saw, a text is told from another one of that number.
    """

    id: str
    base_version: Number | None = None
    base_hash: Hash | None = None
    only_if_empty: bool = False


class RestoreDocument(_Operation, tag="document.restore"):
    """Back from the trash."""

    id: str


class PurgeDocument(_Operation, tag="document.purge"):
    """Out of the trash for ever."""

    id: str


class UpdateDocument(_Operation, tag="document.update"):
    """A Yjs update (v1, base64) of a client that kept the document's Yjs state while it was offline."""

    id: str
    update: bytes


Operation = (
    CreateDocument
    | EditDocument
    | RetitleDocument
    | RenameDocument
    | MoveDocument
    | TagDocument
    | TrashDocument
    | RestoreDocument
    | PurgeDocument
    | UpdateDocument
)


class Result(msgspec.Struct, kw_only=True):
    """What came of an operation.

    `version` is the document's then, `document` its state now. `content` is its text where that is another than was
    sent. In a `conflict` both sides had rewritten the same words: both stand in the text, at the places in `overlaps`,
    and are kept as `conflict_id`. Of a `duplicate`, `outcome` is what its first answer said. `problem` says why an
    operation was refused; nothing was changed then.
    """

    op_id: str | None
    status: Status
    id: str | None = None
    version: int | None = None
    outcome: Status | None = None
    restored: bool = False
    document: Document | None = None
    content: str | None = None
    overlaps: list[Overlap] = []
    conflict_id: str | None = None
    problem: dict[str, Any] | None = None


def fingerprint(operation: Operation) -> bytes:
    """What tells an operation from others of the same id. A base's text may be added to a retry."""
    if isinstance(operation, EditDocument):
        operation = msgspec.structs.replace(operation, base_content=None)
    return hashlib.sha256(msgspec.msgpack.encode(operation)).digest()
