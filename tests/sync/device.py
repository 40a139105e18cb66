"""A reference client of the sync API, and the bad network that it lives on.

It keeps documents by id with the text that it was told last, edits them offline, queues operations and brings them in
its own time, pulls page by page, and merges. It is as small as a client can be that loses nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from mdserver import ids, merge
from tests.web.conftest import Answer

Json = Any
Handle = Callable[[str, str, str, Json], Awaitable[Answer]]
"""Carries out a request of somebody: name, method, path, body."""


class Lost(Exception):
    """No answer came: nobody knows whether the request had its effect."""


class Network:
    """Between devices and the server. In bad weather, a share `loss` of what is sent does not go as it should."""

    def __init__(self, chance: random.Random, handle: Handle) -> None:
        self._chance, self._handle = chance, handle
        self.loss = 0.0
        self.held: list[tuple[str, str, str, Json]] = []
        """Requests that are still under way, though nobody waits for them any more."""

    async def send(self, who: str, method: str, path: str, json: Json = None) -> Answer:
        if self._chance.random() >= self.loss:
            return await self._handle(who, method, path, json)
        fate = self._chance.choice(("request", "answer", "twice", "late"))
        if fate == "twice":  # whichever is carried out first
            answers = await asyncio.gather(*(self._handle(who, method, path, json) for _ in range(2)))
            return self._chance.choice(answers)
        if fate == "answer":
            await self._handle(who, method, path, json)
        if fate == "late" and method == "POST":
            self.held.append((who, method, path, json))
        raise Lost

    async def deliver(self) -> None:
        """Let one of the requests that are late arrive, in any order."""
        if self.held:
            await self._handle(*self.held.pop(self._chance.randrange(len(self.held))))


class Local:
    """A document on a device. `base` is the text that the server told last, of `version`; `text` what stands here."""

    def __init__(self, id: str, workspace_id: str, known: Json) -> None:
        self.id, self.workspace_id, self.known = id, workspace_id, known
        self.version: int | None = None
        self.base = self.text = ""
        self.sent: str | None = None
        """The text in an operation whose outcome is not known yet."""
        self.is_behind = False
        """Whether the server's text has to be fetched."""

    @property
    def base_hash(self) -> str:
        return hashlib.sha256(self.base.encode()).hexdigest()

    @property
    def is_edited(self) -> bool:
        return self.text != (self.base if self.sent is None else self.sent)


class Queued:
    """An operation that waits, or whose answer has not come. What it says of a text is frozen when it is first sent."""

    def __init__(self, op_id: str, kind: str, id: str, fields: dict[str, Json]) -> None:
        self.kind, self.id, self.fields = kind, id, fields
        self.body: dict[str, Json] = {"op_id": op_id, "type": kind, "id": id, **fields}
        self.was_sent = False

    @property
    def is_text(self) -> bool:
        return self.kind in ("document.create", "document.edit")


class Device:
    """One client of one person. `on_overlap` hears of passages that a merge here left in the text twice."""

    def __init__(
        self,
        who: str,
        name: str,
        network: Network,
        *,
        limit: int,
        inline: bool,
        on_overlap: Callable[[list[merge.Overlap]], None],
    ) -> None:
        self.who, self.name, self._network = who, name, network
        self.limit, self.inline, self._on_overlap = limit, inline, on_overlap
        self.documents: dict[str, Local] = {}
        self.others: dict[tuple[str, str, str], Json] = {}
        """Workspaces, memberships and versions: (entity, workspace, id) → what was told."""
        self.queue: list[Queued] = []
        self.cursor: str | None = None
        self.is_online = True
        self.resyncs = 0
        self._told: set[tuple[str, str, str]] | None = set()  # while everything is told anew: what has been
        self._hearsay: set[str] = set()
        """Documents of which something is known that no pull has told yet. The next one does, unless the server was
        restored from a backup, to where the cursor is still good, and has lost it."""
        self._left: set[str] = set()  # workspaces that cannot be seen any more
        self._numbers = random.Random(name)

    # What its person does.

    def create(self, workspace_id: str, text: str, *, parent_id: str | None, title: str, kind: str) -> str:
        made = Local(ids.new(), workspace_id, {"kind": kind, "trashed_at": None})
        made.text = text
        self.documents[made.id] = made
        self.do(
            "document.create",
            made.id,
            workspace_id=workspace_id,
            parent_id=parent_id,
            title=title,
            kind=kind,
            content=text,
        )
        return made.id

    def edit(self, id: str, text: str) -> None:
        self.documents[id].text = text
        if not any(one.kind == "document.edit" and one.id == id and not one.was_sent for one in self.queue):
            self.do("document.edit", id)

    def do(self, operation: str, document: str, /, **fields: Json) -> None:
        """Queue an operation. One that is `guarded` names the version that is known here when it is sent."""
        self.queue.append(self._queued(operation, document, fields))

    def _queued(self, kind: str, id: str, fields: dict[str, Json]) -> Queued:
        return Queued(str(uuid.UUID(int=self._numbers.getrandbits(128))), kind, id, fields)

    def knows(self, workspace_id: str) -> bool:
        """Whether it was told of the workspace."""
        return ("workspace", workspace_id, workspace_id) in self.others

    def live(self) -> list[Local]:
        """Documents that are not in the trash, as far as is known here."""
        return [one for one in self.documents.values() if one.known["trashed_at"] is None]

    @property
    def is_done(self) -> bool:
        """Whether nothing waits to be sent or fetched."""
        return not self.queue and not any(one.is_edited or one.is_behind for one in self.documents.values())

    # Bringing.

    async def push(self, most: int = 500) -> None:
        """Bring what waits, up to so many operations. Lost when no answer came: they stay and are sent again."""
        batch = self._batch(most)
        if not batch:
            return
        for one in batch:
            self._freeze(one)
        body = {"device_id": self.name, "operations": [dict(one.body) for one in batch]}
        answer = await self._network.send(self.who, "POST", "/sync", body)
        assert answer.status == 200, answer
        results = answer.json["results"]
        assert [one["op_id"] for one in results] == [one.body["op_id"] for one in batch]
        for one, result in zip(batch, results, strict=True):
            self._settle(one, result)

    def _batch(self, most: int) -> list[Queued]:
        """What can be sent now: of a text one operation at a time, and none whose base is not known."""
        batch: list[Queued] = []
        held: set[str] = set()
        for one in list(self.queue):
            local = self.documents.get(one.id)
            if one.id in held or len(batch) == most:
                continue
            if one.kind == "document.edit" and not one.was_sent:
                if local is None or local.version is None or local.sent is not None:
                    held.add(one.id)
                    continue
                if not local.is_edited:
                    self.queue.remove(one)
                    continue
            if one.is_text:
                held.add(one.id)
            batch.append(one)
        return batch

    def _freeze(self, one: Queued) -> None:
        if one.was_sent:
            return
        one.was_sent = True
        local = self.documents.get(one.id)
        if one.body.pop("guarded", False) and local is not None:
            one.body["base_version"] = local.version
        if one.is_text:
            assert local is not None
            one.body["content"] = local.sent = local.text
        if one.kind == "document.edit":
            assert local is not None
            one.body["base_version"] = local.version
            one.body["base_hash"] = local.base_hash

    def _settle(self, one: Queued, result: Json) -> None:
        local = self.documents.get(one.id)
        if result["status"] == "refused":
            self._refused(one, result, local)
            return
        self.queue.remove(one)
        if local is None:
            return
        self._hearsay.add(one.id)
        if result.get("document"):
            local.known = result["document"]
        if result["status"] == "duplicate":  # which does not bring the text
            if one.is_text:
                local.base, local.version, local.sent = local.sent or "", None, None
            local.is_behind = True
        elif one.is_text:
            sent, local.sent = local.sent or "", None
            now = result.get("content")
            self._rebase(local, sent, sent if now is None else now, result["version"])

    def _refused(self, one: Queued, result: Json, local: Local | None) -> None:
        slug = result["problem"]["type"].rpartition("/")[2]
        if slug == "base-unknown" and "base_content" not in one.body and local is not None:
            one.body["base_content"] = local.base
            return
        if result["problem"]["status"] == 503:
            return
        at = self.queue.index(one)
        self.queue.remove(one)
        if local is None:
            return
        if one.kind == "document.create" and one.body["parent_id"] is not None and local.workspace_id not in self._left:
            local.sent = None  # its parent is gone, or lies in the trash: it goes to the root
            self.queue.insert(at, self._queued(one.kind, one.id, {**one.fields, "parent_id": None}))
        elif one.is_text:  # it is not to be, or not to be edited any more
            local.sent, local.text = None, local.base
            local.is_behind = True

    # Pulling.

    async def pull(self) -> tuple[bool, bool]:
        """One page; whether there are more, and whether something was told. Lost when no answer came."""
        path = f"/sync?limit={self.limit}"
        if self.inline:
            path += "&include=content"
        if self.cursor is not None:
            path += f"&cursor={self.cursor}"
        answer = await self._network.send(self.who, "GET", path)
        if answer.status == 410:
            assert answer.problem == "resync-required"
            assert self.cursor is not None, "a resync was asked of somebody who has no cursor"
            self.cursor, self._told = None, set()
            self.resyncs += 1
            return True, True
        assert answer.status == 200, answer
        page = answer.json
        for one in page["changes"]:
            self._take(one)
        self.cursor = page["next_cursor"]
        if not page["has_more"]:
            self._sweep()
        return page["has_more"], bool(page["changes"])

    async def fetch(self) -> None:
        """Fetch the texts that a page did not bring."""
        for one in list(self.documents.values()):
            if not one.is_behind or one.sent is not None:
                continue
            answer = await self._network.send(self.who, "GET", f"/documents/{one.id}")
            if answer.status == 404:
                self._drop(one.id)
                continue
            assert answer.status == 200, answer
            found = answer.json
            content = found.pop("content")
            if found != one.known:
                self._hearsay.add(one.id)
            one.known, one.is_behind = found, False
            self._rebase(one, one.base, content, found["version"])

    def _take(self, change: Json) -> None:
        entity, id, workspace_id, action = change["entity"], change["id"], change["workspace_id"], change["action"]
        if action == "access_revoked":
            self._left.add(workspace_id)
            for key in [one for one in self.others if one[1] == workspace_id]:
                del self.others[key]
            for local in [one for one in self.documents.values() if one.workspace_id == workspace_id]:
                self._drop(local.id)
            return
        self._left.discard(workspace_id)
        if self._told is not None:
            (self._told.add if action == "upsert" else self._told.discard)((entity, workspace_id, id))
        if entity != "document":
            if action == "delete":
                self.others.pop((entity, workspace_id, id), None)
            else:
                self.others[entity, workspace_id, id] = change["object"]
            return
        if action == "delete":
            self._drop(id)
            return
        self._hearsay.discard(id)
        found = change["object"]
        content = found.pop("content", None)
        one = self.documents.setdefault(id, Local(id, workspace_id, found))
        one.known = found
        if found["kind"] == "folder":
            content = ""
        if one.sent is not None or content is None:
            # By its hash: a restored server gives the numbers of versions out again.
            one.is_behind = one.is_behind or one.sent is not None or one.base_hash != found["content_hash"]
            if not one.is_behind:
                one.version = found["version"]
            return
        one.is_behind = False
        self._rebase(one, one.base, content, found["version"])

    def _rebase(self, one: Local, ancestor: str, content: str, version: int) -> None:
        """The server has another text by now: carry over what was edited here since `ancestor`."""
        if one.text != ancestor:
            merged = merge.merge(ancestor, server=content, client=one.text)
            self._on_overlap(merged.overlaps)
            one.text = merged.text
        else:
            one.text = content
        one.base, one.version = content, version
        if one.is_edited and not any(waiting.is_text and waiting.id == one.id for waiting in self.queue):
            self.do("document.edit", one.id)

    def _sweep(self) -> None:
        """Everything was told: what was not is gone, but for what is only here yet."""
        if self._told is not None:
            told, self._told = self._told, None
            fresh = {one.id for one in self.queue if one.kind == "document.create"}
            for one in list(self.documents.values()):
                if ("document", one.workspace_id, one.id) not in told and one.id not in fresh:
                    self._drop(one.id)
            for key in [one for one in self.others if one not in told]:
                del self.others[key]
        for id in self._hearsay & self.documents.keys():
            self.documents[id].is_behind = True
        self._hearsay = set()
        for one in self.live():
            parent = one.known.get("parent_id")
            assert parent is None or parent in self.documents, "there are still orphans when everything was told"

    def _drop(self, id: str) -> None:
        self.documents.pop(id, None)
        for key in [one for one in self.others if one[2].startswith(f"{id}/")]:  # its versions
            del self.others[key]
        self.queue = [one for one in self.queue if one.id != id]
