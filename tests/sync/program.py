"""What happens in the world: a random program of what people, devices, the network and the server do."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from mdserver import clock, ids
from mdserver.jobs.table import HOUSEKEEPING
from mdserver.model import changes, compaction, live, members, versions
from mdserver.model.access import RANK, Actor, Role
from mdserver.model.versions import Retention
from mdserver.store.db import Engine

from .device import Device, Json, Local, Lost
from .world import World

LOSS = 0.25
"""How much of what is sent does not go as it should."""

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"]
FOUND = Retention(everything=clock.HOUR, hourly=2 * clock.HOUR, daily=clock.DAY)


class Program:
    """A run of so many steps from one seed. Every few steps all come to rest, and everything is compared."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self.world = World(engine, seed)
        self.chance = random.Random(seed + 1)
        self.shared: list[str] = []
        self.pending: list[tuple[str, str, bytes, str]] = []  # Yjs updates that were made and not brought yet
        self.days = 0
        self.own: set[str] = set()

    async def run(self, steps: int, *, rests: int = 3) -> World:
        """Judged all the way: AssertionError when something is not as it must be."""
        async with self.under_way():
            for number in range(1, steps + 1):
                await self.step()
                if number % (steps // rests) == 0:
                    await self.world.rest()
        return self.world

    @contextlib.asynccontextmanager
    async def under_way(self) -> AsyncIterator[None]:
        """The world as it is at the beginning; ids come from the seed, too."""
        draw = ids.draw
        ids.draw = partial(random.Random(self.world.chance.random()).getrandbits, 80)
        try:
            await self.world.open()
            await self.begin()
            yield
        finally:
            ids.draw = draw
            await self.world.close()

    def restored(self) -> None:
        """The database is an older one: forget what it does not know."""
        self.shared = [one for one in self.world.referee.members if one not in self.own]
        self.pending = []

    async def begin(self) -> None:
        self.own = set(self.world.referee.members)
        await self.make_workspace()
        await self.make_workspace()
        for one in self.shared:
            await self.put_member(one, "Bob", "editor")
        await self.put_member(self.shared[0], "Cyd", "editor")
        for who, limit, inline in (("Ada", 3, True), ("Ada", 5, False), ("Bob", 2, True), ("Bob", 1, True)):
            self.world.device(who, limit=limit, inline=inline)
        self.world.device("Cyd", limit=2, inline=True)
        self.world.network.loss = LOSS

    async def step(self) -> None:
        """One thing happens."""
        self.world.now += self.chance.choice((0, 0, 0, 1, 1, 7, 1_000))
        if self.chance.random() < 0.02:
            self.world.now -= self.chance.randrange(5_000)  # the clock is set
        happenings: list[tuple[int, Callable[[], Awaitable[object]]]] = [
            (24, self.edit),
            (8, self.create),
            (10, self.arrange),
            (3, self.trash),
            (3, self.bring_back),
            (2, self.purge),
            (16, self.push),
            (4, self.all_at_once),
            (22, self.pull),
            (6, self.fetch),
            (4, self.deliver),
            (4, self.toggle),
            (6, self.rest_edit),
            (3, self.rest_arrange),
            (3, self.rest_trash),
            (4, self.live_edit),
            (3, self.live_arrives),
            (2, self.name_version),
            (3, self.change_members),
            (3, self.leave_and_come_back),
            (1, self.change_workspaces),
            (3, self.housekeeping),
            (2, self.command),
            (1, self.world.restart),
        ]
        weights = [weight for weight, _ in happenings]
        [(_, happen)] = self.chance.choices(happenings, weights)
        await happen()

    # On devices.

    def some_device(self) -> Device:
        return self.chance.choice(self.world.devices)

    def some_local(self, device: Device, *, texts: bool = False) -> Local | None:
        found = [one for one in device.live() if not texts or one.known["kind"] != "folder"]
        return self.chance.choice(found) if found else None

    async def edit(self) -> None:
        device = self.some_device()
        one = self.some_local(device, texts=True)
        if one is None or not self.may(device.who, one.workspace_id):
            return
        text = one.text
        for _ in range(self.chance.choice((1, 1, 2))):
            text = self.world.shortened(text) if self.chance.random() < 0.3 else self.world.written_to(text, one.id)
        device.edit(one.id, text)

    async def create(self) -> None:
        device = self.some_device()
        places = [one for one in self.shared if self.may(device.who, one) and device.knows(one)]
        if not places or len(device.documents) > 14:
            return
        workspace_id = self.chance.choice(places)
        parents = [one.id for one in device.live() if one.workspace_id == workspace_id]
        parent = self.chance.choice(parents) if parents and self.chance.random() < 0.6 else None
        kind = self.chance.choice(("markdown", "markdown", "markdown", "folder"))
        text = "" if kind == "folder" else self.world.written_to(" ".join(self.chance.sample(WORDS, 6)) + "\n")
        id = device.create(workspace_id, text, parent_id=parent, title=self.name(), kind=kind)
        self.world.own(text, id)

    async def arrange(self) -> None:
        device = self.some_device()
        one = self.some_local(device)
        if one is None:
            return
        what = self.chance.choice(("retitle", "rename", "tag", "move", "move"))
        fields: dict[str, Json] = {}
        if what == "retitle":
            fields["title"] = self.name()
        elif what == "rename":
            fields["filename"] = f"{self.name()}.md"
        elif what == "tag":
            fields["tags"] = self.chance.sample(WORDS, self.chance.randrange(3))
        else:
            others = [other.id for other in device.live() if other.workspace_id == one.workspace_id]
            fields["parent_id"] = self.chance.choice([None, *others])
        device.do(f"document.{what}", one.id, **fields)

    async def trash(self) -> None:
        device = self.some_device()
        one = self.some_local(device)
        if one is not None:
            device.do("document.trash", one.id, **({"guarded": True} if self.chance.random() < 0.8 else {}))

    async def bring_back(self) -> None:
        device = self.some_device()
        one = self.some_trashed(device)
        if one is not None:
            device.do("document.restore", one.id)

    async def purge(self) -> None:
        device = self.some_device()
        one = self.some_trashed(device)
        if one is not None:
            device.do("document.purge", one.id)

    def some_trashed(self, device: Device) -> Local | None:
        found = [one for one in device.documents.values() if one.known["trashed_at"] is not None]
        return self.chance.choice(found) if found else None

    async def toggle(self) -> None:
        device = self.some_device()
        device.is_online = not device.is_online

    async def push(self) -> None:
        await self.online(lambda device: device.push(self.chance.choice((1, 3, 500))))

    async def pull(self) -> None:
        await self.online(Device.pull)

    async def fetch(self) -> None:
        await self.online(Device.fetch)

    async def online(self, do: Callable[[Device], Awaitable[object]]) -> None:
        device = self.some_device()
        if device.is_online:
            try:
                await do(device)
            except Lost:
                self.world.referee.count("lost")

    async def all_at_once(self) -> None:
        """Several devices bring and pull side by side."""
        devices = [one for one in self.world.devices if one.is_online]
        turns = [one.push() for one in devices] + [one.pull() for one in devices if not one.queue]
        for lost in await asyncio.gather(*turns, return_exceptions=True):
            if isinstance(lost, BaseException) and not isinstance(lost, Lost):
                raise lost

    async def deliver(self) -> None:
        await self.world.network.deliver()

    # Past the devices: REST, live editing.

    async def some_document(self, *, trashed: bool = False, texts: bool = False) -> tuple[str, str] | None:
        """(id, who may edit it) of one."""
        rows = await self.world.rows(
            "SELECT id, workspace_id, kind FROM documents WHERE (trashed_at IS NOT NULL) = $1 ORDER BY id"
            if self.world.engine == "sqlite"
            else "SELECT id, workspace_id, kind FROM documents WHERE (trashed_at IS NOT NULL) = ($1 = 1) ORDER BY id",
            int(trashed),
        )
        found = [one for one in rows if not texts or one[2] != "folder"]
        if not found:
            return None
        id, workspace_id, _ = self.chance.choice(found)
        people = [one for one in self.world.PEOPLE if self.may(one, workspace_id)]
        return id, self.chance.choice(people)

    async def rest_edit(self) -> None:
        found = await self.some_document(texts=True)
        if found is None:
            return
        id, who = found
        before = await self.world.call(who, "GET", f"/documents/{id}")
        assert before.status == 200, before
        content = before.json["content"]
        text = self.world.shortened(content) if self.chance.random() < 0.3 else self.world.written_to(content, id)
        tag = before.headers["ETag"]
        done = await self.world.call(who, "PUT", f"/documents/{id}/content", {"content": text}, **{"If-Match": tag})
        if done.status == 200:
            self.world.referee.wrote(text)
        else:
            assert done.status == 412, done  # what was written live has been projected meanwhile

    async def rest_arrange(self) -> None:
        found = await self.some_document()
        if found is not None:
            id, who = found
            body = self.chance.choice(({"title": self.name()}, {"tags": self.chance.sample(WORDS, 2)}))
            done = await self.world.call(who, "PATCH", f"/documents/{id}", body)
            assert done.status == 200, done

    async def rest_trash(self) -> None:
        """Into the trash, often for ever; or back from it."""
        trashed = self.chance.random() < 0.4
        found = await self.some_document(trashed=trashed)
        if found is None:
            return
        id, who = found
        referee = self.world.referee
        if trashed:
            done = await self.world.call(who, "DELETE", f"/documents/{id}/trash")
            assert done.status == 200, done
            referee.trashed.discard(id)
            return
        done = await self.world.call(who, "PUT", f"/documents/{id}/trash")
        assert done.status == 200, done
        referee.trashed.add(id)
        if self.chance.random() < 0.6:
            gone = await self.world.call("Ada", "DELETE", f"/documents/{id}", **{"If-Match": "*"})
            assert gone.status == 204, gone
            await self.world.database.read(referee.purged)

    async def live_edit(self) -> None:
        """Somebody edits live, and their editor's update comes at once, or much later."""
        found = await self.some_document(texts=True)
        if found is None:
            return
        id, who = found
        made: list[str] = []

        def change(text: str) -> str:
            made.append(self.world.shortened(text) if self.chance.random() < 0.2 else self.world.written_to(text, id))
            return made[-1]

        update = await self.world.live_update(id, change)
        if update is not None:
            self.pending.append((who, id, update, made[-1]))
            if self.chance.random() < 0.6:
                await self.live_arrives()

    async def live_arrives(self) -> None:
        if not self.pending:
            return
        who, id, update, text = self.pending.pop(self.chance.randrange(len(self.pending)))
        op_id = str(uuid.UUID(int=self.chance.getrandbits(128)))
        self.world.referee.carried[op_id] = text
        operation = {"op_id": op_id, "type": "document.update", "id": id, "update": base64.b64encode(update).decode()}
        for _ in range(self.chance.choice((1, 1, 2))):
            await self.world.handle(who, "POST", "/sync", {"device_id": "editor", "operations": [operation]})

    async def name_version(self) -> None:
        found = await self.some_document(texts=True)
        if found is None:
            return
        id, who = found
        listed = await self.world.call(who, "GET", f"/documents/{id}/versions")
        version = self.chance.choice(listed.json["items"])["version"]
        name = self.chance.choice((None, self.name()))
        done = await self.world.call(who, "PATCH", f"/documents/{id}/versions/{version}", {"name": name})
        assert done.status == 200, done

    # Workspaces and who belongs to them.

    def may(self, who: str, workspace_id: str) -> bool:
        role = self.world.referee.members.get(workspace_id, {}).get(who)
        return role is not None and RANK[role] >= RANK["editor"]

    async def make_workspace(self) -> None:
        made = await self.world.call("Ada", "POST", "/workspaces", {"name": self.name()})
        assert made.status == 201, made
        self.shared.append(made.json["id"])
        self.world.referee.members[made.json["id"]] = {"Ada": "owner"}

    async def put_member(self, workspace_id: str, who: str, role: Role) -> None:
        path = f"/workspaces/{workspace_id}/members/{self.world.ids[who]}"
        done = await self.world.call("Ada", "PUT", path, {"role": role})
        assert done.status in (200, 201), done
        self.world.referee.members[workspace_id][who] = role

    async def remove(self, workspace_id: str, who: str) -> None:
        done = await self.world.call("Ada", "DELETE", f"/workspaces/{workspace_id}/members/{self.world.ids[who]}")
        assert done.status == 204, done
        del self.world.referee.members[workspace_id][who]

    async def change_members(self) -> None:
        workspace_id, who = self.chance.choice(self.shared), self.chance.choice(("Bob", "Cyd"))
        if self.world.referee.sees(who, workspace_id) and self.chance.random() < 0.4:
            await self.remove(workspace_id, who)
        else:
            roles: tuple[Role, ...] = ("editor", "editor", "editor", "admin", "viewer")
            await self.put_member(workspace_id, who, self.chance.choice(roles))

    async def leave_and_come_back(self) -> None:
        """Between two pulls, maybe; something happens meanwhile that they must not be told of."""
        workspace_id, who = self.chance.choice(self.shared), self.chance.choice(("Bob", "Cyd"))
        if self.world.referee.sees(who, workspace_id):
            await self.remove(workspace_id, who)
            for _ in range(self.chance.randrange(6)):
                await self.chance.choice((self.rest_edit, self.rest_trash, self.rest_trash, self.pull, self.pull))()
            await self.put_member(workspace_id, who, "editor")

    async def change_workspaces(self) -> None:
        workspace_id = self.chance.choice(self.shared)
        if self.chance.random() < 0.7:
            done = await self.world.call("Ada", "PATCH", f"/workspaces/{workspace_id}", {"name": self.name()})
            assert done.status == 200, done
            return
        done = await self.world.call("Ada", "DELETE", f"/workspaces/{workspace_id}")
        assert done.status == 204, done
        self.shared.remove(workspace_id)
        del self.world.referee.members[workspace_id]
        await self.world.database.read(self.world.referee.purged)
        await self.make_workspace()
        await self.put_member(self.shared[-1], "Bob", "editor")

    # What the server does by itself.

    async def housekeeping(self) -> None:
        """Days pass (not so many that operations are forgotten), and what is old is merged, thinned out, forgotten."""
        if self.days < 20:
            days = self.chance.choice((0, 0, 1, 3))
            self.days += days
            self.world.now += days * clock.DAY
        database = self.world.database
        what = self.chance.choice(
            ("compact", "prune", "prune", "deletions", "deletions", "deletions", "epochs", "moments")
        )
        self.world.referee.count(what)
        if what == "compact":
            due, _ = await database.read(partial(compaction.due, after=""))
            for id in due:
                planned = await database.read(partial(compaction.plan, document_id=id))
                if planned is not None:
                    await database.write(partial(compaction.carry_out, planned=planned))
        elif what == "prune":
            surplus, _ = await database.read(partial(versions.look_through, retention=FOUND, after=""))
            await database.write(partial(versions.prune, me=HOUSEKEEPING, surplus=surplus))
        elif what == "deletions":
            kept = self.chance.choice((0, 1_000, clock.DAY))
            await database.write(partial(changes.forget_deletions, kept=kept))
        elif what == "epochs":
            await database.write(partial(changes.forget_epochs, kept=self.chance.choice((0, clock.DAY))))
        else:
            await database.write(partial(live.forget_old, kept=0))

    async def command(self) -> None:
        """An operator's command gives somebody a role, in a process of its own beside the server (on PostgreSQL)."""
        if self.world.engine == "sqlite":
            return
        workspace_id, who = self.chance.choice(self.shared), self.chance.choice(("Bob", "Cyd"))
        me, user_id = Actor(user_id="", device="command"), self.world.ids[who]
        beside = await self.world.beside()
        try:
            await beside.write(lambda tx: members.set_role(tx, me, workspace_id, user_id, role="editor"))
        finally:
            await beside.close()
        self.world.referee.members[workspace_id][who] = "editor"

    def name(self) -> str:
        return f"{self.chance.choice(WORDS)} {self.chance.randrange(30)}"
