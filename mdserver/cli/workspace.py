"""`mdserver workspace …`: workspaces and their members."""

from __future__ import annotations

from typing import cast

import click

from mdserver.chores import workspaces
from mdserver.chores.workspaces import MemberAsk, MemberPut, WorkspaceAsk, WorkspaceCreate
from mdserver.model.access import ROLES, Role

from .common import Settings, confirm, group, pages, show, size, table
from .common import command as verb

command = group(
    "workspace",
    "Create, list and delete workspaces, and manage their members. WORKSPACE is an id, or a name that only one has.",
)
which = click.argument("workspace", metavar="WORKSPACE")
who = click.argument("who", metavar="EMAIL")


@verb("create", into=command, example="mdserver workspace create 'Reading group' --owner ada@example.org")
@click.argument("name", metavar="NAME")
@click.option("--owner", metavar="EMAIL", required=True, help="The account that owns it.")
def create(settings: Settings, name: str, owner: str) -> None:
    """Make a workspace."""
    with settings.reaching() as run:
        made = run(workspaces.workspace_create, WorkspaceCreate(name=name, owner=owner))
    show(settings, made, f"The workspace “{made.name}” was made ({made.id}).")


@verb("list", into=command, example="mdserver workspace list")
def listing(settings: Settings) -> None:
    """List all workspaces, the oldest first."""
    with settings.reaching() as run:
        found = list(pages(run, workspaces.workspace_list))
    rows = [
        (one.name, str(one.member_count), str(one.document_count), size(one.storage_bytes), one.id) for one in found
    ]
    show(settings, found, *table(("NAME", "MEMBERS", "DOCUMENTS", "SIZE", "ID"), rows))


@verb("show", into=command, example="mdserver workspace show 'Reading group'")
@which
def showing(settings: Settings, workspace: str) -> None:
    """Show a workspace with its members."""
    with settings.reaching() as run:
        found = run(workspaces.workspace_show, WorkspaceAsk(workspace=workspace))
    place = found.workspace
    show(
        settings,
        found,
        f"{place.name}",
        f"id          {place.id}",
        f"since       {place.created_at}",
        f"documents   {place.document_count} ({size(place.storage_bytes)})",
        *(f"member      {one.display_name} <{one.email}> ({one.role})" for one in found.members),
    )


@verb("add-member", into=command, example="mdserver workspace add-member 'Reading group' bob@example.org --role editor")
@which
@who
@click.option("--role", type=click.Choice(ROLES), required=True, help="What the member may do.")
def add_member(settings: Settings, workspace: str, who: str, role: str) -> None:
    """Add an account to a workspace, or give a member another role."""
    with settings.reaching() as run:
        ask = MemberPut(workspace=workspace, who=who, role=cast(Role, role))
        placed = run(workspaces.workspace_add_member, ask)
    was = "was added to" if placed.is_new else "has another role in"
    show(settings, placed, f"{placed.member.email} {was} “{placed.workspace.name}”: {role}.")


@verb("remove-member", into=command, example="mdserver workspace remove-member 'Reading group' bob@example.org")
@which
@who
def remove_member(settings: Settings, workspace: str, who: str) -> None:
    """End a membership; what the member wrote stays."""
    with settings.reaching() as run:
        place = run(workspaces.workspace_remove_member, MemberAsk(workspace=workspace, who=who))
    show(settings, place, f"{who} is no longer a member of “{place.name}”.")


@verb("delete", into=command, example="mdserver workspace delete 'Reading group' --yes")
@which
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(settings: Settings, workspace: str, yes: bool) -> None:
    """Delete a workspace with every document in it, for ever."""
    with settings.reaching() as run:
        place = run(workspaces.workspace_show, WorkspaceAsk(workspace=workspace)).workspace
        confirm(f"Delete the workspace “{place.name}” with its {place.document_count} documents?", yes=yes)
        run(workspaces.workspace_delete, WorkspaceAsk(workspace=place.id))
    show(settings, place, f"The workspace “{place.name}” was deleted.")
