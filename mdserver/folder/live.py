"""Keeping a folder and a workspace the same as long as it runs: woken by the disk, by the server, and by the clock."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress

from watchfiles import awatch

from mdserver.client import ApiProblem, Client, SignedOut, Unreachable

from .engine import Engine
from .names import IGNORE, OWN
from .pulling import AccessLost
from .rows import Told

DEBOUNCE = 400
QUIET = 40
"""Milliseconds: a burst of writes is told at its end, or after DEBOUNCE while it goes on."""
HEAR_EVERY = 60.0
LOOK_EVERY = 240.0
LONGEST_PAUSE = 30.0
MOST_AT_ONCE = 2_000
"""Paths after which a look at everything is cheaper."""


class Live:
    """Runs until it is cancelled. AccessLost and SignedOut end it."""

    def __init__(self, engine: Engine, client: Client, *, workspace_id: str, tell: Callable[[Told], None]) -> None:
        self._engine, self._client, self._workspace_id, self._tell = engine, client, workspace_id, tell
        self._wake = asyncio.Event()
        self._paths: set[str] | None = None
        """Where the disk changed; None: anywhere."""
        self._hear = True
        self._lost = ""
        self._is_offline = False

    async def run(self) -> None:
        self._engine.begin()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._listen())
            group.create_task(self._work())

    async def _work(self) -> None:
        pause = 0.0
        looked = heard = float("-inf")
        again = 0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause or self._idle(heard)):
                    await self._wake.wait()
                    if pause and self._is_offline:  # edits are noticed, but the server is not asked more often for it
                        await asyncio.sleep(pause)
            self._wake.clear()
            if self._lost:
                raise AccessLost(self._lost)
            now = time.monotonic()
            everywhere = self._paths is None or now - looked >= LOOK_EVERY
            hear = self._hear or now - heard >= HEAR_EVERY
            paths, self._paths, self._hear = self._paths, set(), False
            try:
                if everywhere:
                    self._engine.forgive()
                self._engine.look(None if everywhere else paths)
                looked = now if everywhere else looked
                due = await self._engine.turn(hear=hear)
            except Unreachable as problem:
                pause = self._failed(problem, pause)
                self._paths, self._hear = None, True
                continue
            except SignedOut:
                raise
            except ApiProblem as problem:
                if problem.status not in (429, 500, 502, 503, 504):
                    raise
                pause = max(self._failed(problem, pause), problem.retry_after or 0.0)
                self._paths, self._hear = None, True
                continue
            heard = now if hear else heard
            if self._is_offline:
                self._is_offline = False
                self._tell(Told(what="online", words="The server is reached again."))
            again = again + 1 if due else 0
            pause = 0.0
            if due:
                self._paths = self._paths if again < 3 else None
                pause = 0.01 if again < 5 else 2.0
                self._wake.set()

    def _idle(self, heard: float) -> float:
        return max(0.05, heard + HEAR_EVERY - time.monotonic()) if heard > 0 else 0.001

    def _failed(self, problem: ApiProblem, pause: float) -> float:
        if not self._is_offline:
            self._is_offline = True
            self._tell(Told(what="offline", words=f"{problem.detail} Changes here are kept, and sent when it is back."))
        return min(max(2 * pause, 0.5), LONGEST_PAUSE) * random.uniform(0.8, 1.0)  # noqa: S311 (spreads load)

    async def _watch(self) -> None:
        root = self._engine.root
        async for changes in awatch(
            root,
            watch_filter=None,
            debounce=DEBOUNCE,
            step=QUIET,
            recursive=True,
            ignore_permission_denied=True,
        ):
            paths = {path for _, one in changes if (path := self._relative(one)) is not None}
            if not paths:
                continue
            if IGNORE in paths or len(paths) > MOST_AT_ONCE or self._paths is None:
                self._paths = None
            else:
                self._paths |= paths
            self._wake.set()

    def _relative(self, path: str) -> str | None:
        """The path below the folder with `/`; None for what is not ours."""
        with suppress(ValueError):
            found = self._engine.root.__class__(path).relative_to(self._engine.root).as_posix()
            first = found.split("/", 1)[0]
            if first != OWN and found != ".":
                return found
        return None

    async def _listen(self) -> None:
        async for event in self._client.events(workspace=self._workspace_id):
            if event.kind == "revoked" and event.workspace_id in ("", self._workspace_id):
                self._lost = "The workspace is not open to you any more. The files here stay as they are."
            self._hear = True
            self._wake.set()
