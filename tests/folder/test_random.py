"""Random work in two folders at once: they converge to the byte, and no word that was ever synced is lost."""

from __future__ import annotations

import os
import random
import re
import shutil
import unicodedata
from pathlib import Path

import pytest

from mdserver.model import texts
from mdserver.store.db import Reader
from tests.engines import on_both

from .world import Folder, World

NAMES = ["a", "b", "c", "A", "Plan", "\u00e9"]
SEEDS = range(int(os.environ.get("FOLDER_SEEDS_FROM", "0")), int(os.environ.get("FOLDER_SEEDS_TO", "6")))


@on_both
@pytest.mark.parametrize("seed", SEEDS)
async def test_two_folders_converge(world: World, seed: int) -> None:
    by = _Hand(random.Random(seed))
    folders = [world.folder("a"), world.folder("b")]
    for step in range(8):
        for _ in range(by.random.randrange(1, 6)):
            by.act(by.random.choice(folders))
        if by.random.random() < 0.5:
            await by.sync(by.random.choice(folders))
        if by.random.random() < 0.4 or step == 7:
            for _ in range(4):
                for folder in folders:
                    await by.sync(folder)
            trees = [_told(folder) for folder in folders]
            assert trees[0] == trees[1]
            files = [one for one in trees[0].values() if one is not None]
            found = await world.documents()
            assert len(files) == sum(one["kind"] != "folder" for one in found.values())

    def question(db: Reader) -> str:
        kept = db.rows("SELECT document_id, hash FROM texts")
        found = [texts.read(db, id, hash) for id, hash in kept]
        return " ".join(found + db.column(str, "SELECT text FROM document_texts"))

    written = await world.server.database.read(question)
    assert by.synced <= set(re.findall(r"\bw\d+x", written))


def _told(folder: Folder) -> dict[str, bytes | None]:
    """The tree without empty directories beside their documents, of which no server can be told."""
    found = {unicodedata.normalize("NFC", path): data for path, data in folder.tree().items()}
    return {
        path: data
        for path, data in found.items()
        if data is not None or f"{path}.md" not in found or any(one.startswith(f"{path}/") for one in found)
    }


class _Hand:
    """Somebody who works on files without any plan."""

    def __init__(self, generator: random.Random) -> None:
        self.random = generator
        self.synced: set[str] = set()
        self._count = 0

    async def sync(self, folder: Folder) -> None:
        for data in folder.tree().values():
            self.synced |= set(re.findall(r"\bw\d+x", (data or b"").decode()))
        said = await folder.sync()
        assert said.problems == {}

    def act(self, folder: Folder) -> None:
        paths = [folder.root / one for one in folder.tree()]
        files, directories = [one for one in paths if one.is_file()], [one for one in paths if one.is_dir()]
        where = self.random.choice([folder.root, *directories])
        name = self.random.choice(NAMES)
        match self.random.choice(["new", "new", "edit", "edit", "edit", "move", "shift", "remove", "prune", "make"]):
            case "new" if not (where / f"{name}.md").exists():
                word = self._word()
                (where / f"{name}.md").write_text(f"# {word}\n\nbody {word}\n")
            case "edit" if files:
                self._edit(self.random.choice(files))
            case "move" if files and not (where / f"{name}.md").exists():
                self.random.choice(files).rename(where / f"{name}.md")
            case "shift" if directories and not (where / name).exists():
                moved = self.random.choice(directories)
                if moved != where and moved not in where.parents:
                    moved.rename(where / name)
            case "remove" if files:
                self.random.choice(files).unlink()
            case "prune" if directories and self.random.random() < 0.5:
                shutil.rmtree(self.random.choice(directories))
            case "make" if not (where / name).exists():
                (where / name).mkdir()

    def _word(self) -> str:
        self._count += 1
        return f"w{self._count}x"

    def _edit(self, file: Path) -> None:
        words = file.read_text().split(" ")
        words.insert(self.random.randrange(len(words) + 1), self._word())
        file.write_text(" ".join(words))
