"""What brings the server down is found out at its next start, and only that is refused or closed.

No update is known that passes the guard and crashes pycrdt; the failpoint `poison` stands for one.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import ClientSession

from mdserver.store.marker import Found, Marker, Update, key
from tests.web.editors import Editor

from .program import Program, furnish

POISON = {"MDSERVER_FAILPOINT": "poison"}


async def test_an_update_that_does_harm(tmp_path: Path) -> None:
    home = await furnish(tmp_path / "data")
    program = Program(home)
    try:
        assert program.start(POISON)
        id, other = made(program, "one"), made(program, "two")
        async with ClientSession() as session:
            editor = await opened(session, program, id)
            await editor.write(" and")
            await shown(program, id, "one and")
            update = await editor.write(" mdserver-poison")
            await editor.until(lambda: editor.code is not None)
            await editor.leave()
            assert program.died() == -9

            assert program.start(POISON)
            editor = await opened(session, program, id)
            assert "an update of document" in (tmp_path / "log").read_text()
            assert editor.text == "one and"
            await editor.write("!")
            await shown(program, id, "one and!")
            await editor.ws.send_bytes(b"\0\2" + bytes([len(update)]) + update)
            await editor.until(lambda: editor.code is not None)
            assert (editor.code, program.runs) == (4400, True)
            await editor.leave()
            assert read(program, other) == "two"
    finally:
        program.kill()


async def test_a_document_that_does_harm(tmp_path: Path) -> None:
    home = await furnish(tmp_path / "data")
    program = Program(home)
    try:
        assert program.start()
        id, other = made(program, "mdserver-poison"), made(program, "two")
        program.stop()
        async with ClientSession() as session:
            assert program.start(POISON)
            assert read(program, id) == "mdserver-poison"
            editor = await opened(session, program, id, wait=False)
            await editor.until(lambda: editor.code is not None)
            await editor.leave()
            assert program.died() == -9

            assert program.start(POISON)
            assert read(program, id) == "mdserver-poison"
            assert "brings the server down, and is closed" in (tmp_path / "log").read_text()
            editor = await opened(session, program, id, wait=False)
            await editor.until(lambda: editor.code is not None)
            assert editor.code == 4403
            await editor.leave()
            with program.asked() as client:
                answer = client.call("PUT", f"/documents/{id}/content", {"content": "x"}, {"If-Match": "*"})
                assert (answer.status, answer.json["type"].rpartition("/")[2]) == (409, "quarantined")
            editor = await opened(session, program, other)
            assert editor.text == "two"
            await editor.leave()
            program.stop()

            assert program.start()  # a version that can read it
            editor = await opened(session, program, id)
            assert editor.text == "mdserver-poison"
            await editor.leave()
    finally:
        program.kill()


async def test_a_kill_at_that_moment_condemns_nobody(tmp_path: Path) -> None:
    home = await furnish(tmp_path / "data")
    program = Program(home)
    try:
        assert program.start()
        id = made(program, "one")
        program.kill()
        marker = Marker(home.data / "live.marks")
        marker.begin(key(id), b"no update at all")
        marker.close()
        assert program.start()
        async with ClientSession() as session:
            editor = await opened(session, program, id)
            assert editor.text == "one"
            await editor.leave()
        assert "brings the server down" not in (tmp_path / "log").read_text()
    finally:
        program.kill()


def test_what_the_marks_say(tmp_path: Path) -> None:
    ids = [f"01a222f8-072f-79e1-9cf7-0e65678aafd{n}" for n in range(3)]
    marker = Marker(tmp_path / "marks")
    assert marker.found() == Found([], None)
    with marker.loading(ids[0]), marker.loading(ids[1]):
        marker.begin(key(ids[2]), b"update")
        again = Marker(tmp_path / "marks")
        assert again.found() == Found(ids[:2], Update(ids[2], b"update"))
        again.close()
        marker.end()
        marker.begin(key(ids[2]), bytes(40 << 20))
        assert marker.found() == Found(ids[:2], Update(ids[2], b""))
        marker.end()
    assert marker.found() == Found([], None)
    marker.close()


def made(program: Program, content: str) -> str:
    with program.asked() as client:
        path = f"/workspaces/{program.home.workspace}/documents"
        return str(client.call("POST", path, {"title": "Notes", "content": content}).json["id"])


def read(program: Program, id: str) -> str:
    with program.asked() as client:
        return str(client.call("GET", f"/documents/{id}").json["content"])


async def shown(program: Program, id: str, text: str) -> None:
    async with asyncio.timeout(20):
        while read(program, id) != text:  # noqa: ASYNC110 (only REST tells)
            await asyncio.sleep(0.02)


async def opened(session: ClientSession, program: Program, id: str, *, wait: bool = True) -> Editor:
    headers = {"Authorization": f"Bearer {program.home.token}"}
    editor = Editor(await session.ws_connect(f"http://127.0.0.1:{program.port}/collab/{id}", headers=headers))
    if wait:
        await editor.sync()
    return editor
