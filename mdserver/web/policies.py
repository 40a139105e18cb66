"""Who may come in by role: policies for what `{id}` in a path names, judged before a bad body is complained of."""

from __future__ import annotations

from functools import cache

from mdserver.model import conflicts, documents, workspaces
from mdserver.model.access import Role

from .api import RECENT, Policy


@cache
def workspace(need: Role) -> Policy:
    """Members of the workspace `{id}` whose role is at least that."""
    return Policy(
        f"workspace {need}",
        of="workspace",
        need=need,
        check=lambda db, me, parameters: workspaces.enter(db, me, parameters["id"], need=need),
    )


@cache
def document(need: Role) -> Policy:
    """Members of the workspace of the document `{id}` whose role is at least that."""
    return Policy(
        f"document {need}",
        of="document",
        need=need,
        check=lambda db, me, parameters: documents.find(db, me, parameters["id"], need=need),
    )


@cache
def conflict(need: Role) -> Policy:
    """Members of the workspace that the conflict `{id}` is in whose role is at least that."""
    return Policy(
        f"conflict {need}",
        of="conflict",
        need=need,
        check=lambda db, me, parameters: conflicts.find(db, me, parameters["id"], need=need),
    )


@cache
def recent_workspace(need: Role) -> Policy:
    """The same, with a sign-in within the last minutes."""
    return Policy(RECENT.name, of="workspace", need=need, check=workspace(need).check)
