"""`mdserver import`: a folder or archive of Markdown files becomes documents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from mdserver.chores import transfers
from mdserver.chores.transfers import ImportBatch, ImportOpen, ImportOpened, ImportSurvey
from mdserver.transfer.incoming import TAKEN, Arrival, State, Wanted, arrival
from mdserver.transfer.planning import Item, Plan, Renamed, plan
from mdserver.transfer.source import LeftOut, Refused, Source, Unreadable, examine, is_markdown, shown, text_of

from .common import Settings, counted, progress, refuse, show
from .common import command as new_command

if TYPE_CHECKING:
    from mdserver.chores.reach import Run
    from mdserver.config import Limits

BATCH_DOCUMENTS = 100
BATCH_BYTES = 2 << 20
SURVEYED = 2_000


class Report(msgspec.Struct, kw_only=True):
    """What an import did, or with `dry_run` would do. Paths are those of the documents, and of files where left out."""

    workspace: str
    dry_run: bool
    made: list[str] = []
    updated: list[str] = []
    unchanged: int = 0
    folders: int = 0
    renamed: list[Renamed] = []
    left_out: list[LeftOut] = []


@new_command("import", example="mdserver import ~/notes --workspace 'Reading group' --as ada@example.org")
@click.argument("path", metavar="SOURCE", type=click.Path(path_type=Path, exists=True))
@click.option("--workspace", metavar="WORKSPACE", required=True, help="Where to (an id or a name).")
@click.option("--as", "who", metavar="EMAIL", required=True, help="Whose doing it is: an editor of the workspace.")
@click.option("--parent", metavar="PATH", help="Put it below this document (a path such as Notes/Plan.md, or an id).")
@click.option("--dry-run", is_flag=True, help="Show what would happen, and change nothing.")
def command(settings: Settings, path: Path, workspace: str, who: str, parent: str | None, dry_run: bool) -> None:
    """Bring a folder or zip archive of Markdown files into a workspace.

    Every .md and .markdown file becomes a document with the same bytes. A folder that holds any becomes a folder, but
    where NAME.md stands beside a folder NAME, its files stand below that document. Hidden folders (.git, .obsidian …)
    are passed over; links, files that are not UTF-8 and too large ones are listed and left out.

    It can be run again: documents with the same text stay, those with another text are updated, nothing comes twice.
    """
    limits = settings.load().limits
    try:
        with closing(_opened(path, limits)) as source:
            with progress("Reading", len(source.files)) as tick:
                notes, left_out = examine(source, tick)
            with settings.reaching() as run:
                place = run(transfers.import_open, ImportOpen(workspace=workspace, who=who, parent=parent, dry=dry_run))
                planned = plan(notes, below_key=place.place.path_key)
                report = Report(workspace=place.workspace.name, dry_run=dry_run, renamed=planned.renamed)
                report.left_out = [*left_out, *planned.left_out]
                _bring(run, place, source, planned, report)
    except Refused as error:
        refuse(str(error))
    except KeyboardInterrupt:
        refuse("Stopped. What was made stays; run the same command again to go on.")
    show(settings, report, *_told(report))


def _opened(path: Path, limits: Limits) -> Source:
    from mdserver.transfer.archives import Archive, Limits
    from mdserver.transfer.folders import Folder

    if path.is_dir() or is_markdown(path.name):
        return Folder(path, limit=limits.document)
    return Archive(
        path,
        limits=Limits(
            entries=limits.import_entries,
            unpacked=limits.import_bytes,
            ratio=limits.import_ratio,
            document=limits.document,
        ),
    )


def _bring(run: Run, place: ImportOpened, source: Source, planned: Plan, report: Report) -> None:
    """Send what is new or different, in batches that are each one unit of work; or only count it."""
    todo: list[Item] = []
    for item, state in _surveyed(run, place, planned.items):
        if state == "taken":
            report.left_out.append(LeftOut(item.path, TAKEN))
        elif state in ("new", "different"):
            todo.append(item)
        elif item.kind == "markdown":
            report.unchanged += 1
        if report.dry_run and state in ("new", "different"):
            _count(report, item.path, item.kind, "made" if state == "new" else "updated")
    if report.dry_run:
        return
    with progress("Importing", len(todo)) as tick:
        for batch in _batches(source, todo, report):
            ask = ImportBatch(user_id=place.user_id, place=place.place, batch=batch)
            for arrival, arrived in zip(batch, run(transfers.import_batch, ask).arrived, strict=True):
                if arrived.outcome == "left out":
                    report.left_out.append(LeftOut(arrived.path, arrived.why))
                else:
                    _count(report, arrived.path, arrival.kind, arrived.outcome)
            tick(len(batch))


def _surveyed(run: Run, place: ImportOpened, items: list[Item]) -> Iterator[tuple[Item, State]]:
    for at in range(0, len(items), SURVEYED):
        part = items[at : at + SURVEYED]
        wanted = [Wanted(one.path, one.kind, one.hash) for one in part]
        ask = ImportSurvey(user_id=place.user_id, place=place.place, wanted=wanted)
        yield from zip(part, run(transfers.import_survey, ask).states, strict=True)


def _batches(source: Source, items: list[Item], report: Report) -> Iterator[list[Arrival]]:
    """Documents with their texts, read again now; at most BATCH_DOCUMENTS or about BATCH_BYTES at a time."""
    batch, size = list[Arrival](), 0
    for item in items:
        if batch and (len(batch) >= BATCH_DOCUMENTS or size + item.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        if item.source is None:
            batch.append(Arrival(item.path, "folder", item.path.rpartition("/")[2]))
            continue
        try:
            text = text_of(source.read(item.source))
        except Unreadable as error:  # it has changed since it was looked at
            report.left_out.append(LeftOut(shown(item.source), str(error)))
            continue
        batch.append(arrival(item.path, item.source[-1], text))
        size += item.size
    if batch:
        yield batch


def _count(report: Report, path: str, kind: str, outcome: str) -> None:
    if kind == "folder":
        report.folders += outcome == "made"
    elif outcome == "made":
        report.made.append(path)
    elif outcome == "updated":
        report.updated.append(path)
    else:
        report.unchanged += 1


def _told(report: Report) -> Iterator[str]:
    done = "would be" if report.dry_run else "were"
    yield (
        f"“{report.workspace}”: {counted(len(report.made), 'document')} and {counted(report.folders, 'folder')}"
        f" {done} made, {len(report.updated)} {done} updated, {report.unchanged} unchanged."
    )
    if report.renamed:
        yield "\nUnder another name, since another in the same folder differs in case or Unicode form only:"
        yield from (f"  {one.path} → {one.name}" for one in report.renamed)
    if report.left_out:
        yield "\nLeft out:"
        yield from (f"  {one.path} {one.why}" for one in report.left_out)
