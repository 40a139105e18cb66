"""What README.md shows of live editing, run as it stands there."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.npm import processes

from . import houses
from .houses import House

README = Path(__file__).parents[2] / "README.md"

# Some of a client's life after what is shown: once it has the document, an edit at each line that comes in.
GOING_ON = """
while (!provider.synced) await new Promise(resolve => setTimeout(resolve, 20))
const editing = document.getText('content')
process.stdin.on('data', data => editing.insert(editing.length, data.toString()))
"""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with houses.running(tmp_path) as made:
        yield made


def snippets() -> list[str]:
    """The pieces of JavaScript."""
    return re.findall(r"^```js\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)


async def run(house: House, snippet: str) -> tuple[asyncio.subprocess.Process, str]:
    """Run a snippet in a document of its own; it dies with the test."""
    document = await house.document("one\n")
    here = f"127.0.0.1:{house.program.port}"
    given = f"const token = {json.dumps(house.people['Ada'].token)}, id = {json.dumps(document)}\n"
    script = snippet.replace("wss://notes.example.org", f"ws://{here}").replace(
        "https://notes.example.org", f"http://{here}"
    )
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        processes.program(),
        "--input-type=module",
        "-e",
        given + script + GOING_ON,
        cwd=processes.HERE,
        env={name: value for name, value in os.environ.items() if not name.startswith("NODE_")},
        stdin=pipe,
        stdout=pipe,
    )
    return process, document


@pytest.mark.parametrize("provider", ["@hocuspocus/provider", "y-websocket"])
async def test_what_is_shown(house: House, provider: str) -> None:
    """It edits, and goes on editing when the server was away: with another ticket, where it needs one."""
    (snippet,) = [one for one in snippets() if f"from '{provider}'" in one]
    process, document = await run(house, snippet)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(b"two\n")
        await house.reads(document, "one\ntwo\n")
        assert await house.terminated() == 0
        await house.start()
        process.stdin.write(b"three\n")
        await house.reads(document, "one\ntwo\nthree\n")
        said = b""
        if provider == "@hocuspocus/provider":
            async with asyncio.timeout(30):
                while not said.endswith(b"saved\n"):
                    said += await process.stdout.readline()
            assert b"read-write\n" in said
    finally:
        process.send_signal(signal.SIGKILL)
        await process.communicate()
