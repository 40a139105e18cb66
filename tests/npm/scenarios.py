"""What many clients do together to a server, whichever it is: edits with lost connections, and edits while it dies."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

from .clients import Client, Driver, Failed
from .processes import PATIENCE

Open = Callable[[int], Awaitable[Client]]
"""Opens the client of this number, of whichever kind."""

Read = Callable[[], Awaitable[str]]
"""The text as the server has it, by another way than the clients'."""

Act = Callable[[], Awaitable[None]]

Edit = Callable[[], Awaitable[str]]
"""Puts a word into the document in another way than the clients do."""


async def converge(
    driver: Driver,
    opening: Open,
    *,
    seed: int,
    clients: int = 4,
    steps: int = 200,
    edit: Edit | None = None,
    read: Read | None = None,
    seconds: float = PATIENCE,
) -> list[str]:
    """Edit at random, leave, lose connections and start anew at random; what is wrong when all are back and at rest.

    In the last third of the steps all stay, because whoever comes back gets what was lost before. With `edit` somebody
    else edits at the same time, in every tenth step.
    """
    chance = random.Random(seed)
    all_of_them = [await opening(number) for number in range(clients)]
    away: set[Client] = set()
    put: list[str] = []
    edited: list[str] = []
    struck: set[str] = set()

    async def act(one: Client, what: str) -> None:
        if what == "put":
            put.append(await one.word(chance.random()))
        elif what == "strike":
            if (word := await one.strike(chance.random())) is not None:
                struck.add(word)
        elif what == "drop":
            await one.drop()
        elif what == "restart":
            away.discard(one)
            await one.reopen(fresh=True, wait=False)
        elif what == "rest" and one not in away:  # some messages arrive
            await one.synced()
        elif what == "move" and one in away:
            away.remove(one)
            await one.connect()
        elif what == "move":
            away.add(one)
            await one.disconnect()

    async def step(one: Client, what: str) -> None:
        if edit is not None and chance.random() < 0.1:
            word, _ = await asyncio.gather(edit(), act(one, what))
            edited.append(word)
        else:
            await act(one, what)

    for _ in range(steps * 2 // 3):
        what = chance.choices(("put", "strike", "rest", "move", "drop", "restart"), (60, 15, 10, 8, 5, 2))[0]
        await step(chance.choice(all_of_them), what)
    for one in all_of_them:
        if one in away:
            await one.connect()
        await one.synced(seconds=seconds)
    for _ in range(steps // 3):
        await step(chance.choice(all_of_them), chance.choices(("put", "strike"), (80, 20))[0])
    try:  # the server passes on what others edit when that is done
        await asyncio.gather(*(one.shows(*edited, seconds=seconds) for one in all_of_them))
    except Failed as failed:
        return [str(failed)]
    there = [word for word in put if word not in struck] + edited
    return await _at_rest(driver, all_of_them, there, struck, read, seconds)


async def survive(
    driver: Driver,
    opening: Open,
    *,
    seed: int,
    kill: Act,
    start: Act,
    read: Read,
    clients: int = 3,
    acknowledged: int = 30,
    seconds: float = PATIENCE,
) -> list[str]:
    """Type until so many words of each were acknowledged, kill the server, start it again; what is wrong with it then.

    `read` is asked before anybody is back: what was acknowledged has to be there without the clients' help. `kill` may
    wait for a server that dies by itself. The clients are Hocuspocus', which are told what is saved.
    """
    typing = [await opening(number) for number in range(clients)]
    before = {one: len((await one.typed()).acknowledged) for one in typing}
    for number, one in enumerate(typing):
        await one.type(seed=seed * 1000 + number, words=100_000, every_ms=2)
    await asyncio.gather(
        *(one.has_typed(before[one] + acknowledged, acknowledged=True, seconds=seconds) for one in typing)
    )
    await kill()
    await asyncio.gather(*(one.disconnect() for one in typing))
    typed = [await one.stop_typing() for one in typing]  # some of it without a server
    await start()
    told = {word for one in typed for word in one.acknowledged}
    present = await read()
    faults = [f"acknowledged and lost: {word}" for word in sorted(told) if word not in present]
    for one in typing:
        await one.connect()
    return faults + await _at_rest(driver, typing, [word for one in typed for word in one.words], set(), read, seconds)


async def _at_rest(
    driver: Driver, clients: list[Client], there: list[str], gone: set[str], read: Read | None, seconds: float
) -> list[str]:
    """What is wrong with the clients' documents and the server's."""
    try:
        await driver.same(*clients, seconds=seconds)
    except Failed as failed:
        return [str(failed)]
    text = await clients[0].seen()
    faults = [f"{one.name} shows another text" for one in clients if await one.seen() != text]
    faults += [f"made twice: {word}" for word, times in Counter(there).items() if times > 1]
    faults += _miscounted(text, there, gone)
    if read is not None:
        rich = any(one.field == "tiptap" for one in clients)  # the server has it as Markdown
        faults += await _comes_to(
            read, seconds, lambda said: _miscounted(said, there, gone) if rich else _differs(said, text)
        )
    return faults


def _differs(said: str, text: str) -> list[str]:
    return [] if said == text else [f"{said!r} instead of {text!r}"]


def _miscounted(text: str, there: list[str], gone: set[str]) -> list[str]:
    """The words that are not there once, or are there although they were struck out."""
    return [f"{text.count(word)} times there: {word}" for word in there if text.count(word) != 1] + [
        f"struck out and there: {word}" for word in sorted(gone) if word in text
    ]


async def _comes_to(read: Read, seconds: float, judge: Callable[[str], list[str]]) -> list[str]:
    """What stays wrong with the server's text: it may follow its log after a moment, of which nobody is told."""
    give_up = asyncio.get_running_loop().time() + seconds
    while faults := judge(await read()):
        if asyncio.get_running_loop().time() > give_up:
            return [f"by the server: {fault}" for fault in faults]
        await asyncio.sleep(0.05)
    return []
