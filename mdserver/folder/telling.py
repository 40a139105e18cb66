"""What happened and what did not, in words and as values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from mdserver.transfer.source import shown

from .deriving import Wish
from .disk import Disk
from .engine import Engine
from .matching import match
from .reading import Reader
from .rows import Refusal, Told
from .scanning import Snapshot
from .state import State


class Report(msgspec.Struct, kw_only=True):
    """What a sync did, or would do. Paths → why they are left out or could not be synced."""

    workspace: str
    happened: list[Told] = []
    would_push: list[str] = []
    problems: dict[str, str] = {}
    refused: list[Refusal] = []
    left_out: dict[str, str] = {}


def report_of(state: State, engine: Engine, told: list[Told], *, wishes: Iterable[Wish] = ()) -> Report:
    return Report(
        workspace=state.fact("workspace_name"),
        happened=told,
        would_push=sorted({one.path for one in wishes}),
        problems=engine.problems,
        refused=list(state.refusals.values()),
        left_out=engine.left_out(),
    )


def said(one: Told) -> str:
    """A line for people; a conflict shows both passages."""
    line = f"{shown([one.path])} {one.words}" if one.path else one.words
    if one.what == "conflict":
        for yours, theirs in zip(one.more.get("yours", ()), one.more.get("theirs", ()), strict=False):
            line += f"\n  theirs: {quoted(theirs)}\n  yours:  {quoted(yours)}"
    return line


def refusals(found: Iterable[Refusal]) -> list[str]:
    return [f"{shown([one.path])} was not taken by the server: {one.why}" for one in found]


def status_of(state: State, disk: Disk) -> tuple[dict[str, Any], list[str]]:
    """What differs from what was agreed, without asking the server."""
    known = {row.path for row in state.locals.values()}
    snapshot = Snapshot(disk.root, lambda path: path in known)
    snapshot.scan()
    reader = Reader(state, disk, snapshot, now=disk.now())
    found = match(state.locals.values(), snapshot, hash_of=reader.hash_of, is_like=reader.is_like)
    changed = sorted(
        path
        for id, path in found.files.items()
        if path != state.locals[id].path or reader.hash_of(path) not in (None, state.locals[id].hash)
    )
    new = [path for path in found.new_files if reader.hash_of(path) is not None]
    value: dict[str, Any] = {
        "server": state.fact("server"),
        "workspace": state.fact("workspace_name"),
        "documents": sum(not row.is_folder for row in state.locals.values()),
        "new": [*new, *found.new_folders],
        "changed": changed,
        "deleted": sorted(state.locals[id].path for id in found.missing),
        "unanswered": [one.path for one in state.queue()],
        "refused": list(state.refusals.values()),
        "conflicts": state.clashes(),
        "left_out": snapshot.left_out(),
    }
    lines = [f"“{value['workspace']}” on {value['server']}: {value['documents']} documents here."]
    for name, title in (
        ("new", "New, not sent yet"),
        ("changed", "Changed, not sent yet"),
        ("deleted", "Deleted, not told yet"),
        ("unanswered", "Sent, without an answer yet"),
    ):
        if value[name]:
            lines += ["", f"{title}:", *(f"  {shown([one])}" for one in value[name])]
    if state.refusals:
        lines += ["", "Not pushed:", *(f"  {one}" for one in refusals(state.refusals.values()))]
    if value["conflicts"]:
        lines += ["", "Rewritten on both sides (--conflicts shows more):"]
        lines += [f"  {shown([one.path])}" for one in value["conflicts"]]
    if value["left_out"]:
        lines += ["", "Left out:", *(f"  {shown([path])} {why}" for path, why in value["left_out"].items())]
    return value, lines


def quoted(text: str) -> str:
    """The beginning of what somebody wrote, in one line that does nothing to a terminal."""
    line = " ".join(text.split())
    return shown([line if len(line) <= 100 else f"{line[:99]}…"])
