"""Imports and exports, in the pieces in which the command line asks for them."""

from __future__ import annotations

import msgspec

from mdserver.errors import Forbidden
from mdserver.model import audit, users
from mdserver.model.access import Principal
from mdserver.model.audit import COMMAND_LINE
from mdserver.store.db import Reader, Tx
from mdserver.transfer import incoming, outgoing
from mdserver.transfer.incoming import Arrival, Arrived, Place, State, Wanted
from mdserver.transfer.outgoing import Leaf, Text

from . import workspaces
from .chore import House, account, chore, principal
from .workspaces import WorkspaceAsk


class ImportOpen(msgspec.Struct, kw_only=True):
    """`parent` is a document's path or id; `who` is whose doing the import is."""

    workspace: str
    who: str
    parent: str | None = None
    dry: bool = False


class ImportOpened(msgspec.Struct, kw_only=True):
    """`document` is the most bytes of one document."""

    workspace: workspaces.Place
    user_id: str
    email: str
    place: Place
    document: int


class ImportSurvey(msgspec.Struct, kw_only=True):
    user_id: str
    place: Place
    wanted: list[Wanted]


class ImportSurveyed(msgspec.Struct, kw_only=True):
    states: list[State]


class ImportBatch(msgspec.Struct, kw_only=True):
    user_id: str
    place: Place
    batch: list[Arrival]


class ImportDone(msgspec.Struct, kw_only=True):
    arrived: list[Arrived]


class ExportPage(msgspec.Struct, kw_only=True):
    """What follows the folded path `after`."""

    workspace_id: str
    after: str = ""
    limit: int = 5_000


class ExportTree(msgspec.Struct, kw_only=True):
    leaves: list[Leaf]


class ExportAsk(msgspec.Struct, kw_only=True):
    workspace_id: str
    ids: list[str]


class ExportTexts(msgspec.Struct, kw_only=True):
    texts: list[Text]


@chore
async def import_open(house: House, ask: ImportOpen) -> ImportOpened:
    """Find out where an import goes, and whether that account may make documents there."""

    def question(db: Reader) -> ImportOpened:
        workspace, user = workspaces.find(db, ask.workspace), account(db, ask.who)
        try:
            place = incoming.place(db, _somebody(db, user.id), workspace.id, ask.parent)
        except Forbidden as problem:
            raise Forbidden(f"{user.email} cannot make documents in “{workspace.name}”: {problem.detail}") from None
        return ImportOpened(
            workspace=workspace,
            user_id=user.id,
            email=user.email,
            place=place,
            document=house.config.limits.document,
        )

    opened = await house.database.read(question)
    if not ask.dry:
        await house.database.write(lambda tx: _note(tx, "workspace.import", opened.workspace.id, opened.user_id))
    return opened


@chore
async def import_survey(house: House, ask: ImportSurvey) -> ImportSurveyed:
    """What stands at these paths now."""
    states = await house.database.read(
        lambda db: incoming.survey(db, _somebody(db, ask.user_id), ask.place, ask.wanted)
    )
    return ImportSurveyed(states=states)


@chore
async def import_batch(house: House, ask: ImportBatch) -> ImportDone:
    """Bring a batch of documents in."""
    me = await house.database.read(lambda db: _somebody(db, ask.user_id))
    return ImportDone(arrived=await incoming.bring(house.database, house.door, me, ask.place, ask.batch))


@chore
async def export_open(house: House, ask: WorkspaceAsk) -> workspaces.Place:
    """Find the workspace that is exported, and note that it is."""

    def change(tx: Tx) -> workspaces.Place:
        place = workspaces.find(tx, ask.workspace)
        _note(tx, "workspace.export", place.id, None)
        return place

    return await house.database.write(change)


@chore
async def export_tree(house: House, ask: ExportPage) -> ExportTree:
    """A page of the workspace's live documents, without their texts."""
    found = await house.database.read(
        lambda db: outgoing.leaves(db, ask.workspace_id, after=ask.after, limit=ask.limit)
    )
    return ExportTree(leaves=found)


@chore
async def export_texts(house: House, ask: ExportAsk) -> ExportTexts:
    """The texts of these documents."""
    return ExportTexts(texts=await house.database.read(lambda db: outgoing.texts(db, ask.workspace_id, ask.ids)))


def _somebody(db: Reader, user_id: str) -> Principal:
    return principal(users.find(db, user_id))


def _note(tx: Tx, action: str, workspace_id: str, actor_id: str | None) -> None:
    audit.record(tx, COMMAND_LINE, action, actor_id=actor_id, obj=workspace_id, workspace_id=workspace_id)
