"""`mdserver export`: a workspace's documents become files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from mdserver import clock
from mdserver.chores import transfers
from mdserver.chores.transfers import ExportAsk, ExportPage
from mdserver.chores.workspaces import WorkspaceAsk
from mdserver.transfer.layout import Written, lay_out
from mdserver.transfer.outgoing import Leaf
from mdserver.transfer.planning import Renamed
from mdserver.transfer.sinks import BadName, Sink, opened
from mdserver.transfer.source import LeftOut, Refused

from .common import Settings, counted, progress, refuse, show
from .common import command as new_command

if TYPE_CHECKING:
    from mdserver.chores.reach import Run

PAGE = 5_000
TEXT_DOCUMENTS = 200
TEXT_BYTES = 4 << 20
LINES = "documents.jsonl"


class Report(msgspec.Struct, kw_only=True):
    """What an export wrote."""

    workspace: str
    target: str
    documents: int = 0
    folders: int = 0
    renamed: list[Renamed] = []
    left_out: list[LeftOut] = []


class Line(msgspec.Struct, kw_only=True):
    """A document in documents.jsonl; `content` is absent for a folder."""

    id: str
    path: str
    kind: str
    title: str
    tags: list[str]
    version: int
    content_hash: str
    created_at: str
    updated_at: str
    archived_at: str | None
    content: str | msgspec.UnsetType = msgspec.UNSET


@new_command("export", example="mdserver export notes.zip --workspace 'Reading group'")
@click.argument("target", metavar="DEST", type=click.Path(path_type=Path))
@click.option("--workspace", metavar="WORKSPACE", required=True, help="Which (an id or a name).")
@click.option(
    "--format",
    "form",
    type=click.Choice(["markdown", "json"]),
    default="markdown",
    show_default=True,
    help="Files as they are, or one documents.jsonl with titles, tags, times and texts.",
)
def command(settings: Settings, target: Path, workspace: str, form: str) -> None:
    """Write a workspace's documents to files: DEST is a directory that is empty or new, or an archive ending in .zip.

    Each document becomes a file with the same bytes at its path; what stands below NAME.md goes into the folder NAME
    beside it. The trash is left out. Nothing that exists is overwritten.
    """
    try:
        with settings.reaching() as run:
            place = run(transfers.export_open, WorkspaceAsk(workspace=workspace))
            report = Report(workspace=place.name, target=str(target))
            leaves = list(_leaves(run, place.id))
            with opened(target) as sink, progress("Exporting", len(leaves)) as tick:
                write = _write_files if form == "markdown" else _write_lines
                for done in write(run, place.id, sink, leaves, report):
                    tick(done)
    except Refused as error:
        refuse(str(error))
    show(settings, report, *_told(report))


def _leaves(run: Run, workspace_id: str) -> Iterator[Leaf]:
    after = ""
    while found := run(transfers.export_tree, ExportPage(workspace_id=workspace_id, after=after, limit=PAGE)).leaves:
        yield from found
        after = found[-1].path_key


def _texts(run: Run, workspace_id: str, leaves: list[Leaf]) -> Iterator[tuple[Leaf, str | None]]:
    """Each document with its text, in order; None for one that has gone since the tree was read."""
    batch, size = list[Leaf](), 0
    for at, leaf in enumerate(leaves):
        batch.append(leaf)
        size += leaf.size
        full = len(batch) >= TEXT_DOCUMENTS or size >= TEXT_BYTES or at + 1 == len(leaves)
        if full:
            found = run(transfers.export_texts, ExportAsk(workspace_id=workspace_id, ids=[one.id for one in batch]))
            known = {one.id: one.text for one in found.texts}
            yield from ((one, known.get(one.id)) for one in batch)
            batch, size = [], 0


def _write_files(run: Run, workspace_id: str, sink: Sink, leaves: list[Leaf], report: Report) -> Iterator[int]:
    placed, report.renamed = lay_out(leaves)
    files: dict[str, Written] = {}
    for one in placed:
        if one.directory is not None:
            try:
                sink.directory(one.directory)
            except BadName as error:
                report.left_out.append(LeftOut(f"{one.leaf.path}/", str(error)))
        if one.file is None:
            report.folders += 1
            yield 1
        else:
            files[one.leaf.id] = one
    for leaf, text in _texts(run, workspace_id, [one.leaf for one in files.values()]):
        yield 1
        parts = files[leaf.id].file
        if text is None or parts is None:
            report.left_out.append(LeftOut(leaf.path, "was deleted while this was written"))
            continue
        try:
            with sink.file(parts, at=clock.parse(leaf.updated_at)) as file:
                file.write(text.encode())
            report.documents += 1
        except BadName as error:
            report.left_out.append(LeftOut(leaf.path, str(error)))


def _write_lines(run: Run, workspace_id: str, sink: Sink, leaves: list[Leaf], report: Report) -> Iterator[int]:
    encode = msgspec.json.Encoder().encode
    with sink.file((LINES,), at=clock.now()) as file:
        for leaf, text in _texts(run, workspace_id, leaves):
            yield 1
            line = _line(leaf)
            if leaf.kind == "folder":
                report.folders += 1
            elif text is None:
                report.left_out.append(LeftOut(leaf.path, "was deleted while this was written"))
                continue
            else:
                line.content, line.content_hash = text, hashlib.sha256(text.encode()).hexdigest()
                report.documents += 1
            file.write(encode(line) + b"\n")


def _line(leaf: Leaf) -> Line:
    return Line(
        id=leaf.id,
        path=leaf.path,
        kind=leaf.kind,
        title=leaf.title,
        tags=leaf.tags,
        version=leaf.version,
        content_hash=leaf.content_hash,
        created_at=leaf.created_at,
        updated_at=leaf.updated_at,
        archived_at=leaf.archived_at,
    )


def _told(report: Report) -> Iterator[str]:
    documents, folders = counted(report.documents, "document"), counted(report.folders, "folder")
    yield f"“{report.workspace}”: {documents} and {folders} were written to {report.target}."
    if report.renamed:
        yield "\nUnder another name, since another in the same folder differs in case or Unicode form only:"
        yield from (f"  {one.path} → {one.name}" for one in report.renamed)
    if report.left_out:
        yield "\nLeft out:"
        yield from (f"  {one.path} {one.why}" for one in report.left_out)
