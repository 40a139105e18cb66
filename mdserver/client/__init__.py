"""A client of the server's API for programs: typed, patient, safe to try again. Floor 3; it knows floor 0 alone."""

from __future__ import annotations

from .http import Client
from .problems import ApiProblem, ResyncRequired, SignedOut, Unreachable
from .shapes import (
    Change,
    ConflictRecord,
    Content,
    CreateDocument,
    Document,
    EditDocument,
    Event,
    MoveDocument,
    Operation,
    Overlap,
    Page,
    Person,
    PurgeDocument,
    RenameDocument,
    RestoreDocument,
    Result,
    RetitleDocument,
    TagDocument,
    TrashDocument,
    UpdateDocument,
    Workspace,
)

__all__ = [
    "ApiProblem",
    "Change",
    "Client",
    "ConflictRecord",
    "Content",
    "CreateDocument",
    "Document",
    "EditDocument",
    "Event",
    "MoveDocument",
    "Operation",
    "Overlap",
    "Page",
    "Person",
    "PurgeDocument",
    "RenameDocument",
    "RestoreDocument",
    "Result",
    "ResyncRequired",
    "RetitleDocument",
    "SignedOut",
    "TagDocument",
    "TrashDocument",
    "Unreachable",
    "UpdateDocument",
    "Workspace",
]
