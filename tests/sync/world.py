"""A small world that syncs: a server that may be started again, people with devices, and a referee who sees it all.

The referee stands where the server answers: it knows what had an effect, also where the answer was lost on its way.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiohttp import DummyCookieJar, web
from aiohttp.test_utils import TestClient, TestServer

from mdserver import clock, ids
from mdserver.app import create_app
from mdserver.config import Accounts, Config, Jobs, Log, Rates
from mdserver.merge import Overlap
from mdserver.model import log, tokens, users
from mdserver.model.access import RANK, SCOPES, Principal, Role
from mdserver.store.db import Database, Engine, Reader, Tx
from mdserver.store.postgres import Postgres
from mdserver.store.sqlite import SQLite
from tests import engines
from tests.web.conftest import CHEAP, PUBLIC, Answer, Client, bearer

from .device import Device, Json, Network

TOKEN = re.compile(r"\bt\d+x\b")
"""A word that is written once in the whole world."""

START = clock.parse("2026-01-31T12:00:00Z")

_Place = tuple[int, int]

_JUDGED = ("applied", "merged", "conflict", "duplicate", "refused")


class Heard(NamedTuple):
    """An operation and what came of it; `before`: (trashed_at, version) of the documents that there were."""

    who: str
    operation: Json
    result: Json
    before: dict[str, Any]


class Referee:
    """What must be true, judged at each answer of the server and when all have come to rest."""

    def __init__(self) -> None:
        self.members: dict[str, dict[str, Role]] = {}
        """By workspace: who belongs to it, in which role."""
        self.homes: dict[str, str] = {}
        """The workspace of each document that was ever made."""
        self.erased: set[str] = set()
        self.trashed: set[str] = set()
        """Documents that somebody put into the trash themselves, and nobody brought back."""
        self.owners: dict[str, str] = {}
        """The document that each token was written into."""
        self.written: set[str] = set()
        """Tokens that the server has taken."""
        self.carried: dict[str, str] = {}
        """The text that was made of a document in a Yjs update, by op_id."""
        self.deleted: set[str] = set()
        self.doubled: set[str] = set()
        """Tokens in passages that two sides rewrote: these stand there twice, and say so."""
        self.effects: dict[tuple[str, str], tuple[str, str, int]] = {}
        self.counts: dict[str, int] = {}

    def sees(self, who: str, workspace_id: str) -> bool:
        return who in self.members.get(workspace_id, {})

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def wrote(self, text: str) -> None:
        """The server has taken this text."""
        self.written.update(TOKEN.findall(text))

    def overlapped(self, overlaps: list[Overlap]) -> None:
        for one in overlaps:
            self.doubled.update(TOKEN.findall(one.yours), TOKEN.findall(one.theirs))

    def pulled(self, who: str, since: str | None, page: Json) -> None:
        """Judge a page: nothing of a workspace that one does not belong to now, and no step back."""
        for one in page["changes"]:
            self.count(one["action"])
            workspace_id = one["workspace_id"]
            if one["action"] == "access_revoked":
                assert not self.sees(who, workspace_id), f"{who} still belongs to the workspace"
                assert one["object"] is None
                continue
            assert self.sees(who, workspace_id), f"{who} was told of a workspace that is closed to them"
            if one["entity"] == "document":
                assert self.homes.get(one["id"]) == workspace_id, "a document of another workspace"
                content = (one["object"] or {}).get("content") or ""
                for token in TOKEN.findall(content):
                    assert self.owners[token] == one["id"], "another document's text"
        if since is not None:
            before, now = places(since), places(page["next_cursor"])
            for workspace_id in before.keys() & now.keys():
                seq, granted = now[workspace_id]
                assert granted != before[workspace_id][1] or seq >= before[workspace_id][0], "a cursor went back"

    def pushed(self, heard: list[Heard], db: Reader) -> None:
        """Judge what came of operations that were carried out together, in whichever order."""
        touched: set[str] = set()
        trashed = set(db.column(str, "SELECT id FROM documents WHERE trash_id = id"))
        for who, one, result, before in sorted(heard, key=lambda one: _JUDGED.index(one.result["status"])):
            status, kind, id = result["status"], one["type"], one["id"]
            self.count(f"{kind} {status}")
            key = (who, one["op_id"])
            if status == "refused":
                self._refused(who, one, result["problem"], before, db)
                continue
            if status == "duplicate":
                assert self.effects.get(key) == (result["outcome"], result["id"], result["version"]), "another effect"
                continue
            assert key not in self.effects, "an operation had its effect twice"
            self.effects[key] = (status, result["id"], result["version"])
            touched.add(id)
            document = result.get("document")
            if kind == "document.create":
                assert id not in self.homes, "a document was made twice"
                self.homes[id] = one["workspace_id"]
            if kind in ("document.create", "document.edit"):
                self.wrote(one["content"])
                self.overlapped([Overlap(o["start"], o["end"], o["yours"], o["theirs"]) for o in result["overlaps"]])
            if kind == "document.update":
                self.wrote(self.carried[one["op_id"]])
            if kind in ("document.edit", "document.update", "document.restore"):
                assert document["trashed_at"] is None, "an edit did not bring the document back"
            if result["restored"]:
                touched |= _above(db, id)  # they come back with it
            if kind == "document.trash" and id in before and before[id][0] is None and id in trashed:
                base = one.get("base_version")
                is_alone = sum(other.operation["type"] == kind and other.operation["id"] == id for other in heard) == 1
                assert not is_alone or base is None or document["version"] <= base, "a newer text went into the trash"
            if kind == "document.purge":
                self.purged(db)
        self.trashed = self.trashed - touched | touched & trashed

    def _refused(self, who: str, one: Json, problem: Json, before: dict[str, Any], db: Reader) -> None:
        id, kind, status, slug = one["id"], one["type"], problem["status"], problem["type"].rpartition("/")[2]
        workspace_id = one.get("workspace_id") or self.homes.get(id, "")
        role = self.members.get(workspace_id, {}).get(who)
        if status == 503:
            return
        if status == 404:
            assert role is None or id in self.erased, f"{who} does not find what is there"
        elif status == 403:
            assert role is not None
            assert RANK[role] < RANK["admin" if kind == "document.purge" else "editor"], f"{who} may do that"
        elif slug == "base-unknown":
            assert "base_content" not in one, "a base was given, and is not known"
        elif kind in ("document.edit", "document.update"):
            raise AssertionError(f"an edit was refused: {problem}")

    def purged(self, db: Reader) -> None:
        """Something was erased that had to be: note what is gone with it."""
        there = set(db.column(str, "SELECT id FROM documents"))
        self.erased |= {one for one in self.homes if one not in there}

    def at_rest(self, db: Reader, devices: list[Device]) -> None:
        """Everybody has brought and pulled everything: compare."""
        there = {row[0]: row for row in db.rows(_DOCUMENTS)}
        texts = dict(db.rows("SELECT document_id, text FROM document_texts"))
        assert not self.erased & there.keys(), "what was purged has come back"
        assert not [one for one in self.homes if one not in there and one not in self.erased], "a document is lost"
        assert set(there) <= set(self.homes)
        back = [one for one in self.trashed if one in there and there[one][8] == 0]
        assert not back, "what was trashed has come back"
        for token in self.written:
            id = self.owners[token]
            if id in self.erased:
                continue
            times = len(re.findall(rf"\b{token}\b", texts[id]))
            assert times or token in self.deleted, f"{token} is lost"
            assert times <= 1 or token in self.doubled, f"{token} is there {times} times"
        versions = db.rows("SELECT document_id, version, name FROM document_versions")
        for device in devices:
            self._same(db, device, there, texts, {f"{one[0]}/{one[1]}": one[2] for one in versions})

    def _same(
        self,
        db: Reader,
        device: Device,
        there: dict[str, Any],
        texts: dict[str, str],
        versions: dict[str, str | None],
    ) -> None:
        seen = {one for one in self.members if self.sees(device.who, one)}
        expected = {id: row for id, row in there.items() if row[1] in seen}
        shown = {one.id: _shown(one.known) for one in device.documents.values()}
        differing = [
            (shown.get(id), expected.get(id)) for id in {**shown, **expected} if shown.get(id) != expected.get(id)
        ]
        assert not differing, f"{device.name} holds other documents: {differing}"
        for one in device.documents.values():
            assert one.text == one.base == texts.get(one.id, ""), f"{device.name} holds another text"
            assert one.version == there[one.id][9]
        told = {id: found for (entity, _, id), found in device.others.items() if entity == "workspace"}
        assert set(told) == seen, f"{device.name} knows other workspaces"
        names = dict(db.rows("SELECT id, name FROM workspaces"))
        for id, found in told.items():
            assert (found["name"], found["role"]) == (names[id], self.members[id][device.who]), f"{device.name}: a name"
        people = {
            (key[1], found["user"]["display_name"]): found["role"]
            for key, found in device.others.items()
            if key[0] == "membership"
        }
        assert people == {(id, who): role for id in seen for who, role in self.members[id].items()}, (
            f"{device.name} knows other members"
        )
        named = {key[2]: found["name"] for key, found in device.others.items() if key[0] == "version"}
        assert {id: name for id, name in named.items() if versions.get(id, "gone") != name} == {}
        wanted = {id for id, name in versions.items() if name is not None and id.partition("/")[0] in expected}
        assert wanted <= set(named), f"{device.name} lacks named versions"


def _above(db: Reader, id: str) -> set[str]:
    """What a document stands below."""
    found: set[str] = set()
    while id:
        id = db.value(str, "SELECT parent_id FROM documents WHERE id = $1", id) or ""
        found.add(id)
    return found


_DOCUMENTS = (
    "SELECT id, workspace_id, parent_id, title, filename, tags, kind, position,"
    " CASE WHEN trashed_at IS NULL THEN 0 ELSE 1 END, version, content_hash FROM documents"
)


def _shown(known: Json) -> tuple[Any, ...]:
    """A document as a device was told of it, like a row of _DOCUMENTS."""
    return (
        known["id"],
        known["workspace_id"],
        known["parent_id"] or "",
        known["title"],
        known["filename"],
        msgspec.json.encode(known["tags"]).decode(),
        known["kind"],
        known["position"],
        0 if known["trashed_at"] is None else 1,
        known["version"],
        known["content_hash"],
    )


def places(cursor: str) -> dict[str, _Place]:
    """(position, grant) by workspace, out of a cursor: what only tests look into."""
    data = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    return {ids.unpack(one[0]): (one[1], one[2]) for one in msgspec.msgpack.decode(data)[3]}


class World:
    """The server with its database, people, devices. Everything random comes from one seed."""

    PEOPLE = ("Ada", "Bob", "Cyd")

    def __init__(self, engine: Engine, seed: int) -> None:
        self.engine, self.chance = engine, random.Random(seed)
        self.referee = Referee()
        self.network = Network(self.chance, self.handle)
        self.devices: list[Device] = []
        self.ids: dict[str, str] = {}
        self.now = START
        self._tokens: dict[str, str] = {}
        self._clients: dict[str, Client] = {}
        self._stack = contextlib.AsyncExitStack()  # what lives as long as the database does
        self._running = contextlib.AsyncExitStack()
        self._number = 0
        self._under_way = 0
        self._heard: list[Heard] = []
        self._pages: list[tuple[str, str | None, Json]] = []

    async def open(self) -> None:
        clock.set_source(lambda: self.now)
        if self.engine == "sqlite":
            self.path: Path = self._stack.enter_context(engines.fresh_path())
        else:
            self._dsn = self._stack.enter_context(engines.fresh_dsn(migrated=True))
        await self.start()

        def people(tx: Tx) -> None:
            for name in self.PEOPLE:
                user = users.create(
                    tx, email=f"{name.lower()}@example.org", display_name=name, password_hash=None, admin=False
                )
                who = Principal(
                    user_id=user.id,
                    device="test",
                    display_name=name,
                    avatar_url=None,
                    is_admin=False,
                    kind="app",
                    credential_id="test",
                    authenticated_at=0,
                )
                made = tokens.create(tx, who, name="test", scopes=list(SCOPES), workspace_id=None, expires_at=None)
                self.ids[name], self._tokens[name] = user.id, made.token

        await self.database.write(people)
        for name in self.PEOPLE:
            own = (await self.call(name, "GET", "/workspaces")).json["items"]
            self.referee.members.update({one["id"]: {name: "owner"} for one in own})

    async def close(self) -> None:
        await self._running.aclose()
        await self._stack.aclose()
        clock.set_source(None)

    async def start(self) -> None:
        """A new process: another Database, another app."""
        if self.engine == "sqlite":
            self.database: Database = await SQLite.open(self.path, synchronous="OFF")
        else:
            self.database = await Postgres.open(self._dsn, connections=6)
        self._running.push_async_callback(self.database.close)
        config = Config(
            accounts=Accounts(signup="open"),
            rates=Rates(enabled=False),
            log=Log(requests="none"),
            jobs=Jobs(enabled=False),
        )
        app = create_app(config, self.database, url=PUBLIC, password_profile=CHEAP)
        self._http: TestClient[web.Request, web.Application] = TestClient(TestServer(app), cookie_jar=DummyCookieJar())
        await self._running.enter_async_context(self._http)

    async def beside(self) -> Database:
        """The same database as another process has it, for the caller to close."""
        return await Postgres.open(self._dsn, connections=2)

    async def stop(self) -> None:
        await self._running.aclose()
        self._running = contextlib.AsyncExitStack()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def restored(self, referee: Referee) -> None:
        """The database is an older one, of which the referee as it was then knows everything."""
        referee.deleted |= self.referee.deleted | self.referee.written - referee.written
        referee.doubled |= self.referee.doubled
        referee.owners |= self.referee.owners
        self.referee = referee

    def device(self, who: str, *, limit: int, inline: bool = True) -> Device:
        name = f"{who} {len(self.devices) + 1}"
        made = Device(
            who, name, self.network, limit=limit, inline=inline, on_overlap=lambda found: self.referee.overlapped(found)
        )
        self.devices.append(made)
        return made

    # Requests.

    async def call(self, who: str, method: str, path: str, json: Json = None, **headers: str) -> Answer:
        """One request, past the referee."""
        client = Client(self._http, {**bearer(self._tokens[who]), **headers})
        return await client.call(method, path, json)

    async def handle(self, who: str, method: str, path: str, json: Json = None) -> Answer:
        """One request as it comes in. It is judged when none is under way any more."""
        self._under_way += 1
        try:
            before = {row[0]: row[1:] for row in await self.rows("SELECT id, trashed_at, version FROM documents")}
            answer = await self.call(who, method, path, json)
            if method == "POST":
                assert answer.status == 200, answer
                results = answer.json["results"]
                assert [one["op_id"] for one in json["operations"]] == [one["op_id"] for one in results]
                self._heard += [Heard(who, *pair, before) for pair in zip(json["operations"], results, strict=True)]
            elif path.startswith("/sync?") and answer.status == 200:
                found = re.search(r"cursor=([^&]+)", path)
                self._pages.append((who, found and found[1], answer.json))
            elif answer.status == 410:
                self.referee.count("resync")
        finally:
            self._under_way -= 1
        if not self._under_way:
            heard, pages = self._heard, self._pages
            self._heard, self._pages = [], []
            await self.database.read(lambda db: self.referee.pushed(heard, db))
            for page in pages:
                self.referee.pulled(*page)
        return answer

    async def rows(self, sql: str, *values: str | int) -> list[tuple[Any, ...]]:
        return await self.database.read(lambda db: db.rows(sql, *values))

    # Texts.

    def written_to(self, text: str, document_id: str = "") -> str:
        """The text with a new token somewhere, as a word of its own or as a line."""
        self._number += 1
        token = f"t{self._number}x"
        self.referee.owners[token] = document_id
        starts = [found.start() for found in re.finditer(r"\S+", text)] + [len(text)]
        at = self.chance.choice(starts)
        if self.chance.random() < 0.2:
            token += "\n"
        before = "" if at == 0 or text[at - 1].isspace() else " "
        return f"{text[:at]}{before}{token} {text[at:]}"

    def own(self, text: str, document_id: str) -> None:
        """The tokens in a text that was made before its document was."""
        self.referee.owners.update(dict.fromkeys(TOKEN.findall(text), document_id))

    def shortened(self, text: str) -> str:
        """The text without one of its words."""
        words = list(re.finditer(r"\S+[ ]?", text))
        if not words:
            return text
        gone = self.chance.choice(words)
        self.referee.deleted.update(TOKEN.findall(gone[0]))
        return text[: gone.start()] + text[gone.end() :]

    async def live_update(self, document_id: str, change: Callable[[str], str]) -> bytes | None:
        """What somebody's editor makes of a document's present Yjs state."""

        def question(db: Reader) -> log.Log:
            return log.load(db, document_id)

        found = await self.database.read(question)
        if not found.head:
            return None
        doc = found.replayed()
        return found.form.edit(doc, change(found.form.text_of(doc)))

    # Rest.

    async def rest(self) -> None:
        """Everybody comes online, everything is delivered, brought and pulled, until nothing is new; then compare."""
        self.network.loss = 0.0
        while self.network.held:
            await self.network.deliver()
        for _ in range(60):
            await self._projected()
            is_quiet = True
            for device in self.devices:
                rounds = 0
                while not device.is_done:
                    is_quiet, rounds = False, rounds + 1
                    assert rounds < 50, f"{device.name} cannot get rid of {device.queue[0].body}"
                    await device.push()
                    await device.fetch()
                is_more = True
                while is_more:
                    is_more, is_news = await device.pull()
                    is_quiet = is_quiet and not is_news
            if is_quiet and all(one.is_done for one in self.devices):
                break
        else:
            raise AssertionError("they never come to rest")
        await self.database.read(lambda db: self.referee.at_rest(db, self.devices))

    async def _projected(self) -> None:
        """Wait until texts have followed what was written live."""
        for _ in range(2_000):
            if not await self.rows(
                "SELECT 1 FROM documents d WHERE d.kind <> 'folder' AND d.content_seq <>"
                " (SELECT max(u.seq) FROM document_updates u WHERE u.document_id = d.id)"
            ):
                return
            await asyncio.sleep(0.01)
        raise AssertionError("texts do not follow what was written live")
