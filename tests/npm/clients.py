"""Real clients of live editing, driven from tests: Hocuspocus' provider and y-websocket, with and without editors.

async with clients.running() as node:
    ada = await node.open("hocuspocus", url=…, document=…, token=…)
    await ada.insert(0, "x")
    await ada.saved()
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from . import processes
from .processes import PATIENCE

Kind = Literal["hocuspocus", "hocuspocus3", "y-websocket", "y-websocket2"]
Field = Literal["text", "codemirror", "tiptap"]


class Failed(AssertionError):
    """A client could not do what it was told, or waited in vain."""


class Closing(TypedDict):
    """How a connection was closed. 1006 is without a word."""

    code: int
    reason: str


class Status(TypedDict):
    """What became of a client; `unsynced` and `scope` are Hocuspocus' alone."""

    status: Literal["connected", "connecting", "disconnected"]
    synced: bool
    scope: Literal["read-write", "readonly"] | None
    client_id: int
    unsynced: int | None
    closes: list[Closing]
    errors: list[str]
    denied: list[str]
    stateless: list[str]


@dataclass(frozen=True)
class Typed:
    """Words that a client has put into the document, and those of them that it was told are saved."""

    words: list[str]
    acknowledged: list[str]


class Client:
    """One client. What waits does so for at most `seconds`, and fails with what it saw."""

    def __init__(self, driver: Driver, name: str, kind: Kind, field: Field) -> None:
        self.name, self.kind, self.field = name, kind, field
        self._driver = driver

    async def do(self, command: str, **arguments: Any) -> Any:
        """A command of driver.mjs."""
        return await self._driver.do(command, client=self.name, **arguments)

    async def insert(self, at: int, text: str) -> None:
        """In UTF-16 units; in an editor, by the editor. TipTap counts as ProseMirror does."""
        await self.do("insert", at=at, text=text)

    async def delete(self, at: int, length: int) -> None:
        await self.do("delete", at=at, length=length)

    async def text(self) -> str:
        """The Markdown: the Y.Text `content`."""
        return str(await self.do("text"))

    async def xml(self) -> str:
        """The rich text: the Y.XmlFragment `default`."""
        return str(await self.do("xml"))

    async def seen(self) -> str:
        """The text that the client's editor shows."""
        return str(await self.do("seen"))

    async def html(self) -> str:
        """What TipTap makes of the document."""
        return str(await self.do("html"))

    async def json(self) -> dict[str, Any]:
        """The document as TipTap has it."""
        found: dict[str, Any] = await self.do("json")
        return found

    async def command(self, name: str, *arguments: Any) -> None:
        """A command of TipTap: `toggleBold`, `insertContent`."""
        await self.do("command", name=name, args=arguments)

    async def set(self, map: str, key: str, value: Any) -> None:
        """In a Y.Map, like `mindmap`."""
        await self.do("set", map=map, key=key, value=value)

    async def map(self, map: str) -> dict[str, Any]:
        """A Y.Map as JSON."""
        found: dict[str, Any] = await self.do("map", map=map)
        return found

    async def state_vector(self) -> str:
        """In base64."""
        return str(await self.do("state_vector"))

    async def update(self) -> str:
        """The whole state as an update, in base64."""
        return str(await self.do("update"))

    async def apply(self, update: str) -> None:
        """An update in base64, as if the client had made it."""
        await self.do("apply", update=update)

    async def find(self, text: str) -> int:
        """Where some text begins, as `insert` counts; -1 when it is not there."""
        return int(await self.do("find", text=text))

    async def relative(self, at: int, assoc: int = 0) -> str:
        """A place that moves along: Yjs' relative position, encoded, in base64. TipTap chooses the side itself."""
        return str(await self.do("relative", at=at, assoc=assoc))

    async def absolute(self, position: str | dict[str, Any]) -> int | None:
        """Where a relative position (in base64 or as Yjs' JSON) is now; None when that is unknown."""
        found: int | None = await self.do("absolute", position=position)
        return found

    async def word(self, place: float) -> str:
        """Put a new word somewhere in the document; `place` is from 0 to 1. Words are whole, whoever edits."""
        return str(await self.do("word", place=place))

    async def strike(self, place: float) -> str | None:
        """Strike out a word that somebody put there: which one, if there was any."""
        struck: str | None = await self.do("strike", place=place)
        return struck

    async def type(self, *, seed: int, words: int = 1000, every_ms: int = 5) -> None:
        """Begin to put words at random places."""
        await self.do("type", words=words, every_ms=every_ms, seed=seed)

    async def stop_typing(self) -> Typed:
        await self.do("stop_typing")
        return await self.typed()

    async def typed(self) -> Typed:
        """All words so far."""
        found = await self.do("typed")
        return Typed(found["typed"], found["acknowledged"])

    async def has_typed(self, count: int, *, acknowledged: bool = False, seconds: float = PATIENCE) -> None:
        """Wait until there are so many words, or so many that are saved."""
        await self.do("has_typed", count=count, acknowledged=acknowledged, seconds=seconds)

    async def connect(self) -> None:
        await self.do("connect")

    async def disconnect(self, *, seconds: float = PATIENCE) -> None:
        """Leave in good order, and stay away until `connect`."""
        await self.do("disconnect", seconds=seconds)

    async def drop(self, *, seconds: float = PATIENCE) -> None:
        """Lose the connection without a word; the provider comes back by itself."""
        await self.do("drop", seconds=seconds)

    async def pause(self) -> None:
        """Read nothing more from the socket, until `resume`."""
        await self.do("pause")

    async def resume(self) -> None:
        await self.do("resume")

    async def reopen(self, *, fresh: bool = False, wait: bool = True, **settings: Any) -> None:
        """A new provider for the same document, or `fresh` in a new Y.Doc from its state. The rest as in `open`."""
        await self.do("reopen", fresh=fresh, **settings)
        if wait:
            await self.synced()

    async def credentials(self, **given: Any) -> None:
        """From now on, `token`, `ticket` or `protocols` are these."""
        await self.do("credentials", **given)

    async def stateless(self, payload: str) -> None:
        """Send a payload that is no part of the document (Hocuspocus)."""
        await self.do("stateless", payload=payload)

    async def status(self) -> Status:
        found: Status = await self.do("status")
        return found

    async def synced(self, *, seconds: float = PATIENCE) -> None:
        """Wait until the client has what the server has."""
        await self.do("synced", seconds=seconds)

    async def saved(self, *, seconds: float = PATIENCE) -> None:
        """Wait until the client was told that all it did is saved (Hocuspocus)."""
        await self.do("saved", seconds=seconds)

    async def unsynced(self) -> int:
        """How many edits the client believes not to be saved (Hocuspocus)."""
        count = (await self.status())["unsynced"]
        assert count is not None, f"{self.kind} is not told what is saved"
        return count

    async def has_scope(self, scope: str, *, seconds: float = PATIENCE) -> None:
        """Wait until the client was told that it may do this (Hocuspocus)."""
        await self.do("has_scope", scope=scope, seconds=seconds)

    async def closed(self, count: int = 1, *, seconds: float = PATIENCE) -> list[Closing]:
        """Wait until connections were closed so many times; all closings."""
        found: list[Closing] = await self.do("closed", count=count, seconds=seconds)
        return found

    async def refused(self, count: int = 1, *, seconds: float = PATIENCE) -> list[str]:
        """Wait until the client was denied the document so many times; the reasons."""
        found: list[str] = await self.do("refused", count=count, seconds=seconds)
        return found

    async def told(self, count: int = 1, *, seconds: float = PATIENCE) -> list[str]:
        """Wait for so many stateless payloads; all of them."""
        found: list[str] = await self.do("told", count=count, seconds=seconds)
        return found

    async def reads(self, text: str, *, seconds: float = PATIENCE) -> None:
        """Wait until the client's field has this text."""
        await self.do("reads", text=text, seconds=seconds)

    async def awareness(self) -> dict[int, dict[str, Any]]:
        """All that the client knows of who is there, itself included, by Yjs' client ids."""
        return {int(id): state for id, state in (await self.do("awareness")).items()}

    async def set_awareness(self, field: str, value: Any) -> None:
        await self.do("set_awareness", field=field, value=value)

    async def shows(self, *words: str, seconds: float = PATIENCE) -> None:
        """Wait until the client's editor shows these, wherever they stand."""
        await self.do("shows", words=words, seconds=seconds)

    async def sees(self, field: str, value: Any, *, seconds: float = PATIENCE) -> None:
        """Wait until somebody else's presence has this."""
        await self.do("sees", field=field, value=value, there=True, seconds=seconds)

    async def misses(self, field: str, value: Any, *, seconds: float = PATIENCE) -> None:
        """Wait until nobody else's presence has this."""
        await self.do("sees", field=field, value=value, there=False, seconds=seconds)

    async def destroy(self) -> None:
        """Leave, and forget the document."""
        await self.do("destroy")


class Driver:
    """One process of Node, and many clients in it."""

    def __init__(self, node: processes.Node) -> None:
        self.node = node
        self.faults: list[str] = []
        """What a library threw where nobody could catch it."""

        self._numbers, self._names = itertools.count(1), itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._hearing = asyncio.create_task(self._hear())

    async def _hear(self) -> None:
        try:
            while (message := await self.node.read()) is not None:
                if "fault" in message:
                    self.faults.append(message["fault"])
                elif not (waiting := self._waiting.pop(message["id"])).done():
                    if "error" in message:
                        waiting.set_exception(Failed(message["error"]))
                    else:
                        waiting.set_result(message["answer"])
        finally:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(Failed(f"driver.mjs has ended: {self.node.said}"))

    async def ended(self) -> None:
        """When nothing more is heard."""
        await self._hearing

    async def do(self, command: str, **arguments: Any) -> Any:
        """A command of driver.mjs; commands do not wait for each other."""
        number = next(self._numbers)
        if self._hearing.done():
            raise Failed(f"driver.mjs has ended: {self.node.said}")
        self._waiting[number] = asyncio.get_running_loop().create_future()
        self.node.write({"id": number, "do": command, **arguments})
        try:
            return await self._waiting[number]
        except Failed as failed:
            raise Failed(f"{command}: {failed}") from None  # with the stack of whoever asked

    async def open(
        self,
        kind: Kind,
        *,
        url: str,
        document: str,
        name: str = "",
        field: Field = "text",
        token: str | None = None,
        ticket: str | None = None,
        protocols: Sequence[str] | None = None,
        headers: dict[str, str] | None = None,
        origin: str | None = None,
        authority: str | None = None,
        offline: bool = False,
        shares: Client | None = None,
        options: dict[str, Any] | None = None,
        wait: bool = True,
    ) -> Client:
        """A client with a document of its own, which waits until it is synced.

        `authority` is a file with the certificate to trust, `shares` the client of Hocuspocus whose socket it uses
        too, and `options` are the provider's own.
        """
        given = {
            "url": url,
            "document": document,
            "field": field,
            "token": token,
            "ticket": ticket,
            "protocols": protocols,
            "headers": headers,
            "origin": origin,
            "authority": authority,
            "offline": offline,
            "shares": None if shares is None else shares.name,
            "options": options,
        }
        client = Client(self, name or f"client{next(self._names)}", kind, field)
        await client.do("open", kind=kind, **{name: value for name, value in given.items() if value is not None})
        if wait and not offline:
            await client.synced()
        return client

    async def same(self, *clients: Client, seconds: float = PATIENCE) -> None:
        """Wait until all are synced and have the same document."""
        await self.do("same", clients=[one.name for one in clients], seconds=seconds)


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Driver]:
    """Clients while the block runs. An error that a library lets escape fails it."""
    async with processes.running("driver.mjs") as node:
        driver = Driver(node)
        try:
            yield driver
        except BaseException as error:
            for fault in driver.faults:
                error.add_note(fault)
            raise
        finally:
            await node.end()
            await driver.ended()
    assert driver.faults == [], "\n".join(driver.faults)
