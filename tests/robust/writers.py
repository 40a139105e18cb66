"""Writers that ask a server over HTTP until it dies, and remember what they were told: the half of the oracle that a
client can know. What was acknowledged has to be there; what was not, wholly or not at all."""

from __future__ import annotations

import hashlib
import http.client
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .program import Answer, Client

LOST = (OSError, http.client.HTTPException)
"""What asking a dead server raises."""

MOST = 24
"""Documents that one writer has before it deletes some."""


@dataclass
class Kept:
    """A document as the server acknowledged it last."""

    told: dict[str, Any]
    content: str
    names: dict[int, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return str(self.told["id"])


@dataclass
class Pending:
    """A request that was sent and not answered."""

    what: str
    kept: Kept | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    content: str | None = None
    name: tuple[int, str] | None = None
    key: str = ""
    body: dict[str, Any] = field(default_factory=dict)


class Writer:
    """Makes and changes documents of its own, one request after another, and lines in one that all share."""

    def __init__(self, number: int, *, workspace: str, shared: str, seed: int) -> None:
        self.number = number
        self.kept: dict[str, Kept] = {}
        self.gone: set[str] = set()
        self.pending: Pending | None = None
        self.lines: set[str] = set()
        self.refused: set[str] = set()
        self.acknowledged = 0
        self._line = ""
        self._made = 0
        self._place = f"/workspaces/{workspace}/documents"
        self._shared = f"/documents/{shared}/content"
        self._random = random.Random(f"{seed} {number}")

    def work(self, client: Client, told: Callable[[], None], *, most: int) -> bool:
        """Ask until the server is gone, whether it is; `told` is called after every acknowledgement."""
        try:
            for _ in range(most):
                self._step(client)
                self.acknowledged += 1
                told()
        except LOST:
            return True
        finally:
            client.close()
        return False

    def _step(self, client: Client) -> None:
        mine = list(self.kept.values())
        chosen = self._random.random()
        if chosen < 0.35:
            self._write_line(client)
        elif len(mine) < 3 or (chosen < 0.55 and len(mine) < MOST):
            self._create(client)
        else:
            self._change(client, self._random.choice(mine))

    def _create(self, client: Client) -> None:
        self._made += 1
        title = f"Writer {self.number} document {self._made}"
        body: dict[str, Any] = {"title": title}
        if self._random.random() < 0.2:
            body["kind"] = "folder"
        else:
            body |= {"content": self._text(), "tags": [f"t{self._random.randrange(5)}"]}
        self.pending = Pending("create", key=f"{self.number}-{self._made}-{self._random.random()}", body=body)
        self._created(self._send_create(client, self.pending))

    def _send_create(self, client: Client, made: Pending) -> Answer:
        return _done(client.call("POST", self._place, made.body, {"Idempotency-Key": made.key}), 201)

    def _created(self, answer: Answer) -> None:
        assert self.pending is not None
        kept = Kept(answer.json, self.pending.body.get("content", ""))
        self.kept[kept.id] = kept
        self.pending = None

    def _write_line(self, client: Client) -> None:
        """Add a line under the writer's own heading in the shared document; others write there at the same time."""
        read = _done(client.call("GET", self._shared))
        text, version = read.body.decode(), int(read.headers["ETag"].strip('"').partition("-")[0])
        self._line = f"line {self.number}.{self.acknowledged}.{self._random.randrange(10**6)}"
        heading = f"# {self.number}\n"
        body = {"content": text.replace(heading, f"{heading}{self._line}\n"), "base_version": version}
        self.pending = Pending("line")
        answer = client.call("PATCH", self._shared, body)
        self.pending = None
        (self.lines if answer.status == 200 else self.refused).add(self._line)
        if answer.status != 503:  # it changes too fast: nothing was changed
            _done(answer)

    def _change(self, client: Client, kept: Kept) -> None:
        trashed, folder = kept.told["trashed_at"] is not None, kept.told["kind"] == "folder"
        place = f"/documents/{kept.id}"
        anyhow = {"If-Match": "*"}
        if trashed:
            if len(self.kept) > MOST // 2:
                self.pending = Pending("purge", kept)
                _done(client.call("DELETE", place, headers=anyhow), 204)
                self._purged(kept)
                return
            self._told(Pending("restore", kept, {"trashed": False}), lambda: client.call("DELETE", f"{place}/trash"))
            return
        what = self._random.choice(["edit", "edit", "title", "tags", "filename", "move", "trash", "name"])
        mark = f"{self.number} {self._random.randrange(10**6)}"
        if what == "edit" and not folder:
            text = self._text()
            self._told(
                Pending("edit", kept, content=text),
                lambda: client.call("PUT", f"{place}/content", {"content": text}, anyhow),
            )
        elif what == "tags":
            tags = [f"tag {mark}"]
            self._told(
                Pending("tags", kept, {"tags": tags}), lambda: client.call("PUT", f"{place}/tags", {"tags": tags})
            )
        elif what == "filename" and not (folder and self._has_children(kept)):  # their paths would change
            name = f"file {mark} {kept.id}.md"
            self._told(
                Pending("filename", kept, {"filename": name}),
                lambda: client.call("PUT", f"{place}/filename", {"filename": name}),
            )
        elif what == "move" and not folder:
            self._move(client, kept)
        elif what == "trash" and not (folder and self._has_children(kept)):
            self._told(Pending("trash", kept, {"trashed": True}), lambda: client.call("PUT", f"{place}/trash"))
        elif what == "name" and not folder:
            self._name(client, kept, f"name {mark}")
        else:
            title = f"{kept.told['title'].partition(' (')[0]} ({mark})"
            self._told(
                Pending("title", kept, {"title": title}), lambda: client.call("PUT", f"{place}/title", {"title": title})
            )

    def _move(self, client: Client, kept: Kept) -> None:
        folders = [
            one.id for one in self.kept.values() if one.told["kind"] == "folder" and one.told["trashed_at"] is None
        ]
        parent = self._random.choice([None, *folders])
        self._told(
            Pending("move", kept, {"parent_id": parent}),
            lambda: client.call("PUT", f"/documents/{kept.id}/place", {"parent_id": parent}),
        )

    def _has_children(self, kept: Kept) -> bool:
        return any(one.told["parent_id"] == kept.id for one in self.kept.values())

    def _name(self, client: Client, kept: Kept, name: str) -> None:
        version = self._random.randint(1, kept.told["version"])
        self.pending = Pending("name", kept, name=(version, name))
        _done(client.call("PATCH", f"/documents/{kept.id}/versions/{version}", {"name": name}))
        kept.names[version] = name
        self.pending = None

    def _told(self, pending: Pending, ask: Callable[[], Answer]) -> None:
        """Send a change and keep what the answer says of the document."""
        assert pending.kept is not None
        self.pending = pending
        pending.kept.told = _done(ask()).json
        if pending.content is not None:
            pending.kept.content = pending.content
        self.pending = None

    def _purged(self, kept: Kept) -> None:
        del self.kept[kept.id]
        self.gone.add(kept.id)
        self.pending = None

    def _text(self) -> str:
        return "".join(f"{self._random.random()} of {self.number}\n" for _ in range(self._random.choice((1, 5, 200))))

    def settle(self, client: Client) -> list[str]:
        """Compare what the server says now with what it said before it died; learn what became of the last request."""
        faults: list[str] = []
        last = self.pending
        if last is not None and last.what == "create":
            self._created(self._send_create(client, last))
            again = _done(self._send_create(client, last), 201).json["id"]  # the same key, the same document
            if again not in self.kept:
                faults.append(f"a repeated create made another document, {again}")
        for kept in list(self.kept.values()):
            faults += self._look_at(client, kept, last if last is not None and last.kept is kept else None)
        for id in self.gone:
            if (answer := client.call("GET", f"/documents/{id}")).status != 404:
                faults.append(f"{id} was deleted for ever and is answered {answer}")
        text = _done(client.call("GET", self._shared)).body.decode().splitlines()
        if missing := self.lines - set(text):
            faults.append(f"acknowledged lines are missing: {sorted(missing)}")
        if there := self.refused & set(text):
            faults.append(f"refused lines are there: {sorted(there)}")
        if last is not None and last.what == "line" and self._line in text:
            self.lines.add(self._line)
        self.pending = None
        return faults

    def _look_at(self, client: Client, kept: Kept, last: Pending | None) -> list[str]:
        answer = client.call("GET", f"/documents/{kept.id}")
        label = f"{kept.told['title']!r} ({kept.id})"
        if answer.status == 404 and last is not None and last.what == "purge":
            self._purged(kept)
            return []
        if answer.status != 200:
            return [f"{label} was acknowledged and is answered {answer}"]
        found = answer.json
        content = found.pop("content")
        if found == kept.told and content == kept.content:
            pass
        elif last is not None and _is(found, content, kept, last):
            kept.told, kept.content = found, content
        else:
            differing = [
                (name, kept.told.get(name), found[name]) for name in found if found[name] != kept.told.get(name)
            ]
            return [
                f"{label} is neither as acknowledged nor as in the request under way ({last and last.what}):"
                f" {differing} {content[:60]!r} {kept.content[:60]!r}"
            ]
        if kept.told["kind"] == "folder":
            return []
        return self._history(client, kept, last, label)

    def _history(self, client: Client, kept: Kept, last: Pending | None, label: str) -> list[str]:
        faults = []
        versions = _done(client.call("GET", f"/documents/{kept.id}/versions?limit=200")).json["items"]
        if [one["version"] for one in versions] != list(range(kept.told["version"], 0, -1)):
            faults.append(f"{label} has the versions {[one['version'] for one in versions]}")
        elif versions[0]["content_hash"] != hashlib.sha256(kept.content.encode()).hexdigest():
            faults.append(f"the last version of {label} has another text")
        names = {one["version"]: one["name"] for one in versions if one["name"] is not None}
        if last is not None and last.name is not None and names == kept.names | dict([last.name]):
            kept.names = names
        if names != kept.names:
            faults.append(f"the versions of {label} are named {names}, not {kept.names}")
        return faults


def _is(found: dict[str, Any], content: str, kept: Kept, last: Pending) -> bool:
    """Whether a document is as the request under way would have made it, and nothing but that."""
    expected = {name: kept.told[name] for name in ("title", "filename", "tags", "parent_id", "kind", "author")}
    expected["trashed"] = kept.told["trashed_at"] is not None
    present = {name: found[name] for name in expected if name != "trashed"}
    present["trashed"] = found["trashed_at"] is not None
    # A restored or moved document may get another free name, and one of its old place may be gone.
    free = {"restore": {"filename", "parent_id"}, "move": {"filename"}}.get(last.what, set())
    differs = {name for name in expected if (expected | last.fields)[name] != present[name]}
    wanted = kept.content if last.content is None else last.content
    return (
        differs <= free and content == wanted and found["version"] == kept.told["version"] + (last.content is not None)
    )


def _done(answer: Answer, status: int = 200) -> Answer:
    assert answer.status == status, answer
    return answer
