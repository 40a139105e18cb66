"""kill -9 again and again: `python -m tests.robust.crash --cycles 200` has a server die at chosen and random moments
under load, starts it again on the same directory, and compares what is there with what was acknowledged."""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from mdserver.model.search.indexer import bring_up
from mdserver.model.search.verifying import verify
from mdserver.store.db import Reader
from mdserver.store.sqlite import SQLite
from tests.model import invariants

from .program import Home, Program, furnish
from .writers import LOST, Writer

WRITERS = 4
MOST = 4_000
"""Requests of one writer after which a moment that was waited for counts as never reached."""

# The moments that writing over HTTP reaches, and at which time of reaching it the server dies at most.
MOMENTS = {
    "unit-done": 60,
    "before-commit": 60,
    "after-commit": 60,
    "create-logged": 12,
    "edit-logged": 40,
    "snapshot-kept": 1,
    "edit-projected": 40,
    "move-begun": 4,
    "key-due": 12,
}


class Story:
    """A server's lives on one data directory, and the writers that remember across them."""

    def __init__(self, home: Home, *, seed: int, entry: tuple[str, ...] = ("-m", "mdserver")) -> None:
        self.program = Program(home, entry=entry)
        self.acknowledged = 0
        self._home = home
        self._random = random.Random(seed)
        self._seed = seed
        self._writers: list[Writer] = []

    def begin(self) -> None:
        """Make the document that all writers share."""
        assert self.program.start()
        content = "".join(f"# {number}\n" for number in range(WRITERS))
        with self.program.asked() as client:
            path = f"/workspaces/{self._home.workspace}/documents"
            shared = client.call("POST", path, {"title": "Shared", "content": content}).json["id"]
        self.program.stop()
        self._writers = [
            Writer(number, workspace=self._home.workspace, shared=shared, seed=self._seed) for number in range(WRITERS)
        ]
        self._shared = shared

    def live(self, moment: str = "") -> list[str]:
        """One life: start, compare with what was known before, write until death. What was wrong.

        The moment is a failpoint; without one the server is killed after a random number of acknowledgements.
        """
        most = MOMENTS.get(moment, 1)
        armed = f"{moment}:{self._random.randint((most + 1) // 2, most)}"
        faults = self._start({"MDSERVER_FAILPOINT": armed} if moment else {})
        acknowledgements = None if moment else self._random.randint(20, 400)
        if self.program.runs and not faults and not self._write(acknowledgements):
            faults.append(f"{armed} was never reached")
        self.program.kill()
        return faults + look_at(self._home.database)

    def end(self) -> list[str]:
        """Start once more, compare, stop."""
        faults = self._start({})
        self.program.stop()
        return faults + look_at(self._home.database)

    def _start(self, environment: Mapping[str, str]) -> list[str]:
        if not self.program.start(environment):
            return [f"the server does not start: {self.program.log[-1000:]}"]
        try:
            with self.program.asked() as client:
                faults = [fault for writer in self._writers for fault in writer.settle(client)]
                return faults + self._strangers()
        except LOST:
            if environment and self.program.died() < 0:  # the moment came while a request was repeated
                return []
            raise

    def _strangers(self) -> list[str]:
        """Documents that no writer knows: what was refused or made twice."""
        known = {self._shared, *(id for writer in self._writers for id in writer.kept)}
        found: set[str] = set()
        with self.program.asked() as client:
            for trashed in ("false", "true"):
                cursor = ""
                while cursor is not None:
                    after = f"&cursor={cursor}" if cursor else ""
                    path = f"/workspaces/{self._home.workspace}/documents?limit=200&trashed={trashed}{after}"
                    page = client.call("GET", path).json
                    found |= {one["id"] for one in page["items"]}
                    cursor = page["next_cursor"]
        return [f"nobody made the document {id}, or it was made twice" for id in found - known]

    def _write(self, acknowledgements: int | None) -> bool:
        """Let all writers write until the server is gone, and kill it after so many answers; whether it went."""
        lock, left, enough = threading.Lock(), [acknowledgements or 0], threading.Event()

        def told() -> None:
            with lock:
                self.acknowledged += 1
                left[0] -= 1
                if left[0] == 0:
                    enough.set()

        def work(writer: Writer) -> None:
            try:
                if writer.work(self.program.client(), told, most=MOST):
                    went.append(writer)
            except BaseException as error:
                wrong.append(error)
                enough.set()

        wrong: list[BaseException] = []
        went: list[Writer] = []
        threads = [threading.Thread(target=work, args=(writer,)) for writer in self._writers]
        for one in threads:
            one.start()
        if acknowledgements is not None:
            enough.wait()
            self.program.kill()
        for one in threads:
            one.join()
        if wrong:
            raise wrong[0]
        return len(went) == len(self._writers)


def look_at(database: Path) -> list[str]:
    """What is wrong with a database that nobody has open, seen on a copy: SQLite's checks and all our invariants."""
    with tempfile.TemporaryDirectory(prefix="mdserver-") as directory:
        for suffix in ("", "-wal"):
            if (one := Path(f"{database}{suffix}")).exists():
                shutil.copy(one, directory)
        return asyncio.run(inspect(Path(directory) / database.name))


async def inspect(path: Path) -> list[str]:
    """Open a database, which recovers it, and look at all of it."""
    opened = await SQLite.open(path)
    try:
        return await everything(opened)
    finally:
        await opened.close()


async def everything(database: SQLite) -> list[str]:
    """What is wrong in a database and its search index, which is then brought up to date and judged again."""
    found = await database.read(whole) + await database.read(verify)
    await bring_up(database)
    return found + await database.read(verify)


def whole(db: Reader) -> list[str]:
    """What is wrong with the tables, in SQLite's eyes and in ours."""
    integrity = [one[0] for one in db.rows("PRAGMA integrity_check") if one[0] != "ok"]
    references = [f"a broken reference: {one}" for one in db.rows("PRAGMA foreign_key_check")]
    return [*integrity, *references, *invariants.broken(db)]


def main() -> None:
    """Many cycles on one directory; exit status 1 when anything acknowledged was lost or anything is half-done."""
    parser = argparse.ArgumentParser(prog="python -m tests.robust.crash", description=__doc__)
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mdserver-crash-") as directory:
        home = asyncio.run(furnish(Path(directory) / "data"))
        story = Story(home, seed=given.seed)
        story.begin()
        moments = ["", *MOMENTS]
        for cycle in range(given.cycles):
            moment = moments[cycle % len(moments)]
            if faults := story.live(moment):
                sys.exit(f"seed {given.seed}, cycle {cycle}, {moment or 'kill'}:\n" + "\n".join(faults))
            print(f"\r{cycle + 1} cycles, {story.acknowledged} requests acknowledged", end="", flush=True)
        faults = story.end()
    print("\n" + ("\n".join(faults) or f"nothing lost, nothing half-done (seed {given.seed})"))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
