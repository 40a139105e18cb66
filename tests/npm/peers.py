"""The servers that the clients come with: what the harness is tried on, and what ours is compared with."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from . import processes


class Peers:
    """Hocuspocus' server and y-websocket's in one process: `peers[kind]` is the address for that kind of client."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self._words = words
        self._life = contextlib.AsyncExitStack()
        self._urls: dict[str, str] = {}

    def __getitem__(self, kind: str) -> str:
        return self._urls[kind.rstrip("23")]

    async def start(self) -> None:
        """Listen, at the same addresses as before; what was in the documents is gone."""
        ports = [f"--{kind}={url.rpartition(':')[2]}" for kind, url in self._urls.items()]
        node = await self._life.enter_async_context(processes.running("peers.mjs", *self._words, *ports))
        self._node = node
        found = await node.read()
        assert found is not None, node.said
        self._urls = found

    async def kill(self) -> None:
        """kill -9."""
        await self._node.kill()

    async def end(self) -> None:
        await self._life.aclose()


@contextlib.asynccontextmanager
async def running(*words: str) -> AsyncIterator[Peers]:
    """Both servers; `--lossy` is a mutant. See peers.mjs."""
    peers = Peers(words)
    try:
        await peers.start()
        yield peers
    finally:
        await peers.end()
