"""Folders, live editors and requests on one workspace for long: `python -m tests.folder.soak --minutes 5`.

Real files (what the installed packages bring) are brought by one folder and taken by another. Then all
write at once: both folders' files are edited, made, renamed, moved and deleted, people type in a browser's provider,
requests edit; one folder is without its client for a while, and the server is killed. In the end everything rests:
both folders and the server must hold the same bytes, and every word that anybody put anywhere is there, once.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.collab import houses
from tests.collab.houses import House
from tests.npm import clients
from tests.npm.clients import Client as Editor
from tests.npm.clients import Driver

SOURCES = (Path(sys.prefix), Path(__file__).parent.parent / "npm" / "node_modules")
LARGEST = 200_000
QUIET = 3.0
"""Seconds for which nothing happens before everything is said to rest."""

PATIENCE = 240.0


def corpus(most: int) -> Iterator[tuple[str, bytes]]:
    """Texts of the installed packages, Markdown first: a path below a folder, and its bytes."""
    count = 0
    for pattern in ("*.md", "*.markdown", "METADATA", "*.rst", "*.txt", "*.py"):
        for number, source in enumerate(SOURCES):
            for path in sorted(source.rglob(pattern)):
                if count == most:
                    return
                data = path.read_bytes()
                parts = [one for one in path.relative_to(source).parts if not one.startswith(".")]
                if not data or len(data) > LARGEST or b"\0" in data or len(parts) > 12:
                    continue
                try:
                    data.decode()
                except UnicodeDecodeError:
                    continue
                count += 1
                name = "/".join((f"source {number}", *parts))
                yield name if pattern in ("*.md", "*.markdown") else f"{name}.md", data


class Side:
    """A folder, and the program that keeps it."""

    def __init__(self, root: Path, house: House) -> None:
        self.root, self._house = root, house
        self._running: subprocess.Popen[bytes] | None = None
        self._log = root.with_suffix(".log")
        root.mkdir()

    def _command(self, *more: str) -> list[str]:
        return [sys.executable, "-m", "mdserver", "sync", str(self.root), *more]

    async def once(self, *more: str) -> None:
        """One sync to the end."""
        environment = {**os.environ, "MDSERVER_TOKEN": self._house.people["Ada"].token}
        process = await asyncio.create_subprocess_exec(
            *self._command("--once", *more),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        self._log.write_bytes(out + err)

    def start(self) -> None:
        """Keep the folder from now on."""
        with self._log.open("ab") as log:
            self._running = subprocess.Popen(self._command(), stdout=log, stderr=log)

    async def stop(self, number: int = signal.SIGTERM) -> None:
        """End the program, by -9 if asked."""
        if self._running is not None:
            self._running.send_signal(number)
            await asyncio.to_thread(self._running.wait)
            self._running = None

    def tree(self) -> dict[str, str]:
        """Path → hash of every file."""
        found: dict[str, str] = {}
        for path in self._all():
            with contextlib.suppress(FileNotFoundError):  # it is moved just now
                found[path.relative_to(self.root).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def files(self) -> list[Path]:
        return [path for path in self._all() if path.suffix.lower() == ".md"]

    def _all(self) -> list[Path]:
        """Every file; directories that move meanwhile do no harm."""
        found: list[Path] = []
        for directory, below, names in os.walk(self.root):
            below[:] = sorted(one for one in below if one != ".mdserver")
            found += [Path(directory, one) for one in sorted(names)]
        return found


class Words:
    """Every word that was put anywhere; those of what was deleted may be gone."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.all, self.deleted = chance, set[str](), list[str]()

    def new(self) -> str:
        word = f"q{len(self.all):x}q{self.chance.randrange(1 << 40):x}q"
        self.all.add(word)
        return word

    def give_up(self, text: str) -> None:
        """What is in a deleted text need not be there."""
        self.deleted.append(text)

    @property
    def given_up(self) -> set[str]:
        whole = "\n".join(self.deleted)
        return {one for one in self.all if one in whole}

    def faults(self, texts: list[str]) -> list[str]:
        whole = "\n".join(texts)
        found, given_up = [], self.given_up
        for one in sorted(self.all):
            count = whole.count(one)
            if count > 1:
                found.append(f"{one} is there {count} times")
            if count == 0 and one not in given_up:
                found.append(f"{one} is lost")
        return found


def insert(text: str, word: str, chance: random.Random) -> str:
    """The text with a word between two of its own."""
    places = [at for at, one in enumerate(text) if one == " " or one == "\n"] or [len(text)]
    at = chance.choice(places)
    return f"{text[:at]} {word}{text[at:]}"


def edit(path: Path, words: Words, chance: random.Random) -> None:
    """Edit a file as an editor does that looks whether it has changed on the disk."""
    for _ in range(5):
        try:
            with path.open("r+b") as file:
                before = file.read()
                text = before.decode()
                word = words.new()
                data = insert(text, word, chance).encode()
                file.seek(0)
                if path.read_bytes() == before:
                    file.write(data)
                    file.truncate()
                    file.flush()
                    if os.stat(path).st_ino == os.fstat(file.fileno()).st_ino:
                        return
                words.all.discard(word)
        except (FileNotFoundError, UnicodeDecodeError):
            return


class Story:
    """What happens, and what is compared in the end."""

    def __init__(self, house: House, node: Driver, place: Path, *, seed: int, files: int) -> None:
        self.house, self.node, self.chance = house, node, random.Random(seed)
        self.words = Words(self.chance)
        self.one, self.other = Side(place / "one", house), Side(place / "other", house)
        self.editors: list[Editor] = []
        self._files = files
        self.counts: dict[str, int] = {}

    def say(self, what: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)

    async def begin(self) -> list[str]:
        """Bring the corpus by one folder, and take it by the other."""
        for path, data in corpus(self._files):
            file = self.one.root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        where = ("--server", f"http://127.0.0.1:{self.house.program.port}", "--workspace", self.house.workspace)
        began = time.monotonic()
        await self.one.once(*where)
        sent = time.monotonic()
        await self.other.once(*where)
        count = len(self.one.tree())
        self.say(f"{count:,} files sent in {sent - began:.1f} s, taken in {time.monotonic() - sent:.1f} s")
        return [] if self.one.tree() == self.other.tree() and count else ["the folders begin with different files"]

    async def documents(self) -> dict[str, str]:
        """Id → text hash of every live document with a text, as the server tells."""
        found: dict[str, str] = {}
        cursor = ""
        while True:
            query = f"/sync?limit=500&workspace={self.house.workspace}" + (f"&cursor={cursor}" if cursor else "")
            page = (await self.house.ask("GET", query)).json
            for one in page["changes"]:
                document = one["object"]
                is_text = one["entity"] == "document" and document and document["kind"] != "folder"
                if is_text and document["trashed_at"] is None:
                    found[one["id"]] = document["content_hash"]
            cursor = page["next_cursor"]
            if not page["has_more"]:
                return found

    async def act(self) -> None:
        """One thing that somebody does."""
        side = self.chance.choice((self.one, self.other))
        files = side.files()
        path = self.chance.choice(files)
        does: Callable[[], object]
        name, does = self.chance.choices(
            (
                ("edit", lambda: edit(path, self.words, self.chance)),
                ("make", lambda: self._make(path)),
                (
                    "rename",
                    lambda: self._move(path, path.with_name(f"n{self.chance.randrange(10**6)} {path.name}"[-80:])),
                ),
                ("move", lambda: self._move(path, self.chance.choice(files).parent / f"m{path.name}"[-80:])),
                ("case", lambda: self._move(path, path.with_name(path.name.swapcase()))),
                ("delete", lambda: self._delete(path)),
                ("move a folder", lambda: self._move(path.parent, path.parent.with_name(f"d{path.parent.name}"[-60:]))),
            ),
            weights=(60, 8, 5, 5, 3, 3, 1),
        )[0]
        does()
        self.counts[name] = self.counts.get(name, 0) + 1

    def _make(self, beside: Path) -> None:
        new = beside.with_name(f"new {self.chance.randrange(10**9)}.md")
        if beside.parent.is_dir():
            new.write_text(f"# New\n\n{self.words.new()}\n")

    def _move(self, old: Path, new: Path) -> None:
        if (
            old.exists()
            and not new.exists()
            and new.parent.is_dir()
            and old.parent not in (self.one.root, self.other.root)
        ):
            old.rename(new)

    def _delete(self, path: Path) -> None:
        try:
            text = path.read_text()
            path.unlink()
        except (FileNotFoundError, UnicodeDecodeError):
            return
        self.words.give_up(text)

    def _lose(self) -> None:
        """Take a word out of a file, and put another one twice."""
        for path in self.one.files():
            text = path.read_text()
            found = sorted(one for one in self.words.all - self.words.given_up if one in text)
            if len(found) > 1:
                path.write_text(text.replace(found[0], "").replace(found[1], f"{found[1]} {found[1]}"))
                return

    async def by_request(self, ids: list[str]) -> None:
        """Edit a document over the API, from the version that was read."""
        id = self.chance.choice(ids)
        found = await self.house.ask("GET", f"/documents/{id}", status=None)
        if found.status != 200 or found.json["trashed_at"]:
            return
        word = self.words.new()
        body = {"base_version": found.json["version"], "content": insert(found.json["content"], word, self.chance)}
        answer = await self.house.ask("PATCH", f"/documents/{id}/content", body, status=None)
        if answer.status != 200:
            self.words.all.discard(word)

    async def live(self, minutes: float) -> None:
        """Everybody at once."""
        self.one.start()
        self.other.start()
        await asyncio.sleep(3)
        ids = sorted(await self.documents())
        for id in self.chance.sample(ids, 6):
            self.editors.append(await self.house.open(self.node, "hocuspocus", id))
        for number, editor in enumerate(self.editors):
            await editor.type(seed=number, words=100_000, every_ms=400)
        began, ends = time.monotonic(), time.monotonic() + 60 * minutes
        moments = {"other stops": 0.2, "killed": 0.45, "other is back": 0.6, "one is killed": 0.75}
        while (now := time.monotonic()) < ends:
            due = [one for one, at in moments.items() if now - began > at * 60 * minutes]
            for moment in due:
                del moments[moment]
                self.say(moment)
                await self._moment(moment)
            await self.act()
            if self.chance.random() < 0.2:
                await self.by_request(ids)
            await asyncio.sleep(self.chance.random() * 0.1)
        for editor in self.editors:
            typed = await editor.stop_typing()
            if not (await editor.status())["denied"]:  # else a folder has deleted its document
                await editor.saved(seconds=60)
                typed = await editor.typed()
            self.words.all |= set(typed.acknowledged)
        self.say(f"done: {self.counts}, {len(self.words.all):,} words")

    async def _moment(self, moment: str) -> None:
        if moment == "other stops":
            await self.other.stop()
        elif moment == "other is back":
            self.other.start()
        elif moment == "one is killed":
            await self.one.stop(signal.SIGKILL)
            self.one.start()
        else:
            await self.house.kill()
            await asyncio.sleep(1)
            await self.house.start()

    async def rest(self, *, loses: bool = False) -> list[str]:
        """Wait until nothing happens any more; what is wrong then."""
        began = last = time.monotonic()
        state: object = None
        while time.monotonic() - last < QUIET:
            now = (self.one.tree(), self.other.tree(), await self.documents())
            if now != state or now[0] != now[1]:
                state = now
                if now[0] != now[1] and time.monotonic() - began > PATIENCE:
                    break
                last = time.monotonic()
            await asyncio.sleep(0.5)
        self.say(f"at rest after {last - began:.1f} s")
        await self.one.stop()
        await self.other.stop()
        if loses:
            self._lose()
        one, other, documents = self.one.tree(), self.other.tree(), await self.documents()
        faults = [f"{path} differs between the folders" for path in sorted(set(one.items()) ^ set(other.items()))]
        if sorted(one.values()) != sorted(documents.values()):
            faults.append(f"the server has {len(documents):,} texts, the folder {len(one):,}, and they differ")
        texts = [path.read_text(errors="replace") for path in self.one.files()]
        faults += self.words.faults(texts)
        await self.house.stop()
        faults += await self.house.faults()
        return faults


async def soak(place: Path, *, seed: int, minutes: float, files: int, loses: bool = False) -> list[str]:
    """The whole story; what was wrong. With `loses`, words are lost and doubled on purpose before it is compared."""
    async with houses.running(place) as house, clients.running() as node:
        story = Story(house, node, place, seed=seed, files=files)
        try:
            faults = await story.begin()
            if not faults:
                await story.live(minutes)
                faults = await story.rest(loses=loses)
            return faults
        finally:
            await story.one.stop()
            await story.other.stop()


def main() -> None:
    """Exit status 1 when anything was lost, is there twice, or differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.folder.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--files", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--keep", type=Path, help="leave everything in this directory")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mdserver-soak-") as directory:
        place = given.keep or Path(directory)
        faults = asyncio.run(soak(place, seed=given.seed, minutes=given.minutes, files=given.files))
    print("\n" + ("\n".join(faults[:40]) or f"all are equal, nothing lost, nothing twice (seed {given.seed})"))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
