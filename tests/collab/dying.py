"""A server that dies under the real clients, again and again, and what they find when it is back."""

from __future__ import annotations

import random
import signal
from itertools import count

from tests.npm import scenarios
from tests.npm.clients import Client, Driver, Field, Kind

from . import mixed
from .houses import House

MOMENTS = {"live-appended": 60, "live-projected": 3, "unit-done": 60, "before-commit": 60, "after-commit": 60}
"""The failpoints that live editing reaches, and at which time of reaching it the server dies at most."""

SORTS: list[tuple[Kind, Field]] = [("hocuspocus", "text"), ("hocuspocus3", "codemirror"), ("hocuspocus", "codemirror")]
"""Clients that are told what is saved."""

RICH: list[tuple[Kind, Field]] = [("hocuspocus", "tiptap"), ("hocuspocus3", "tiptap")]


class Story:
    """A server's lives on one directory. `live` has a server on its feet again at its end, as before."""

    def __init__(self, house: House, node: Driver, *, seed: int, rich: bool = False) -> None:
        self._rich = rich
        self.kills = self.typed = 0
        self._house, self._node = house, node
        self._random = random.Random(seed)
        self._seeds = count(seed * 1000)

    async def live(self, moment: str = "", *, clients: int = 3) -> list[str]:
        """One life, at whose end clients type in a document that was there or in a new one; what was wrong.

        The moment is a failpoint; without one the server is killed after a random number of acknowledgements.
        """
        house = self._house
        document = await house.document("begun\n", kind="richtext" if self._rich else "markdown")
        acknowledged = self._random.randint(1, 40)
        if moment:
            most = MOMENTS[moment]
            armed = f"{moment}:{self._random.randint((most + 1) // 2, most)}"
            await house.stop()
            await house.start({"MDSERVER_FAILPOINT": armed})
            acknowledged = 0

        async def kill() -> None:
            if moment:
                assert await house.died() == -signal.SIGKILL
            else:
                await house.kill()
            self.kills += 1

        made: list[Client] = []
        opened = mixed.opening(house, self._node, document, sorts=RICH if self._rich else SORTS)

        async def remembered(number: int) -> Client:
            made.append(await opened(number))
            return made[-1]

        async def read() -> str:
            return await house.text(document)

        faults = await scenarios.survive(
            self._node,
            remembered,
            seed=next(self._seeds),
            kill=kill,
            start=house.start,
            read=read,
            clients=clients,
            acknowledged=acknowledged,
        )
        for one in made:
            self.typed += len((await one.typed()).words)
            await one.destroy()
        return faults

    async def end(self) -> list[str]:
        """Stop in good order; what is wrong with the files."""
        await self._house.stop()
        return await self._house.faults()
