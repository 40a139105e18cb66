"""Who asks and what a role may do: the one place that decides, for every door. Owns no table."""

from __future__ import annotations

from functools import cache
from typing import Literal

import msgspec

from mdserver.errors import Forbidden

Role = Literal["owner", "admin", "editor", "commenter", "viewer"]
Scope = Literal["read", "write", "admin"]

OWNER: Role = "owner"
ADMIN: Role = "admin"
EDITOR: Role = "editor"
COMMENTER: Role = "commenter"
VIEWER: Role = "viewer"
ROLES: tuple[Role, ...] = (OWNER, ADMIN, EDITOR, COMMENTER, VIEWER)
RANK: dict[Role, int] = {VIEWER: 1, COMMENTER: 2, EDITOR: 3, ADMIN: 4, OWNER: 5}
SCOPES: tuple[Scope, ...] = ("read", "write", "admin")
SCOPES_CODE = {tuple(one for at, one in enumerate(SCOPES) if code >> at & 1): code for code in range(1 << len(SCOPES))}
"""A digit for each set of scopes, in the order of SCOPES."""

# verb → (the lowest role that may, the scope a token needs for it)
_DOCUMENT_VERBS: dict[str, tuple[Role, Scope]] = {
    "read": (VIEWER, "read"),
    "comment": (COMMENTER, "write"),
    "suggest": (COMMENTER, "write"),
    "edit": (EDITOR, "write"),
    "trash": (EDITOR, "write"),
    "attach": (EDITOR, "write"),
    "name_versions": (EDITOR, "write"),
    "share": (ADMIN, "admin"),
    "purge": (ADMIN, "admin"),
}
_WORKSPACE_VERBS: dict[str, tuple[Role, Scope]] = {
    "read": (VIEWER, "read"),
    "comment": (COMMENTER, "write"),
    "create": (EDITOR, "write"),
    "edit": (EDITOR, "write"),
    "manage_members": (ADMIN, "admin"),
    "invite": (ADMIN, "admin"),
    "share": (ADMIN, "admin"),
    "configure": (ADMIN, "admin"),
    "purge": (ADMIN, "admin"),
    "export": (ADMIN, "admin"),
    "delete": (OWNER, "admin"),
    "transfer": (OWNER, "admin"),
}


class Person(msgspec.Struct, frozen=True):
    """Somebody, as others see them in documents and lists."""

    id: str
    display_name: str
    avatar_url: str | None = None


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Whose doing something is, and on which device: what the logs of changes keep."""

    user_id: str
    device: str


class Principal(Actor, frozen=True, kw_only=True):
    """Who asks: a person through one of their sessions or personal tokens.

    `credential_id` is the id of that session or token; `workspace_id` narrows a token to one workspace;
    `authenticated_at` is when a password was last given in this session (ms; 0 for a token).
    """

    display_name: str
    avatar_url: str | None
    is_admin: bool
    kind: Literal["app", "web", "token"]
    credential_id: str
    authenticated_at: int
    scopes: tuple[Scope, ...] = SCOPES
    workspace_id: str | None = None

    @property
    def person(self) -> Person:
        return Person(self.user_id, self.display_name, self.avatar_url)

    @property
    def readable_workspace(self) -> str:
        """SQL value for `$n = '' OR workspace_id = $n`: which workspace a narrowed token sees."""
        return self.workspace_id or ""


def at_least(role: Role, need: Role) -> bool:
    """Whether the role is that high."""
    return RANK[role] >= RANK[need]


def require(role: Role, need: Role) -> None:
    """Forbidden unless the role is high enough."""
    if RANK[role] < RANK[need]:
        article = "an" if need[0] in "aeo" else "a"
        raise Forbidden(f"Your role here is {role}; this needs {article} {need}.", role=role, needed_role=need)


@cache
def document_permissions(role: Role, scopes: tuple[Scope, ...]) -> list[str]:
    """The verbs on a document for this role through a credential with these scopes. Shared: do not change it."""
    return _verbs(_DOCUMENT_VERBS, role, scopes)


@cache
def workspace_permissions(role: Role, scopes: tuple[Scope, ...]) -> list[str]:
    """The verbs on a workspace for this role through a credential with these scopes. Shared: do not change it."""
    return _verbs(_WORKSPACE_VERBS, role, scopes)


def _verbs(table: dict[str, tuple[Role, Scope]], role: Role, scopes: tuple[Scope, ...]) -> list[str]:
    return [verb for verb, (need, scope) in table.items() if at_least(role, need) and scope in scopes]
