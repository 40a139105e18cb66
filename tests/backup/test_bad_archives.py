"""Bad archives: five hundred that were damaged and the ones made to do harm, all refused, and nothing changed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import re
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mdserver.backup import restoring
from mdserver.backup.format import BLOCK, CHECKSUM, HEADER, MANIFEST, BadArchive, padding
from mdserver.backup.reading import Archive
from mdserver.errors import Problem
from mdserver.store.blobs_local import LocalBlobs
from mdserver.store.datadir import DataDirectory
from tests import engines

from .damage import Members, changed, corruptions, members, packed, resealed, seconds
from .worlds import EXTENDED, backed_up, filled, steps, with_files

SENTENCE = re.compile(r"[^\n]*(?: Nothing was changed\.)")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small archive with something in every table, and blobs."""
    folder = tmp_path_factory.mktemp("good")

    async def make() -> None:
        async with engines.fresh("sqlite") as database:
            await filled(database)
            blobs = await with_files(database, folder / "blobs", repeat=40)
            await backed_up(database, folder / "good.tar", blobs=blobs, contents=EXTENDED)

    asyncio.run(make())
    return (folder / "good.tar").read_bytes()


class Place:
    """A data directory with a database, to be left as it is."""

    def __init__(self, folder: Path) -> None:
        self.archive = folder / "x.tar"
        self.directory = DataDirectory(folder / "data")
        self.directory.prepare()
        with engines.fresh_path() as path:
            self.directory.database.write_bytes(path.read_bytes())
        self.blobs = LocalBlobs(self.directory.blobs)
        self.blobs.prepare()
        self.before = self.picture()

    def picture(self) -> dict[str, bytes]:
        return {
            os.path.join(folder, one): Path(folder, one).read_bytes()
            for folder, _, files in os.walk(self.directory.path)
            for one in files
        }

    def restore(self, data: bytes) -> None:
        self.archive.write_bytes(data)
        with contextlib.closing(Archive(self.archive)) as archive:
            restoring.into_sqlite(
                archive, self.directory, self.blobs, contents=EXTENDED, migrations=steps("sqlite"), accept=True
            )

    def refuses(self, data: bytes) -> str:
        """What is said against it, which is one sentence or two; everything is as it was."""
        with pytest.raises(BadArchive) as refused:
            self.restore(data)
        assert SENTENCE.fullmatch(refused.value.detail), refused.value.detail
        assert self.picture() == self.before
        return refused.value.detail


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_good_one_is_taken(good: bytes, place: Place) -> None:
    place.restore(good)
    place.restore(resealed(members(good), seconds(good)))
    assert packed(members(good), seconds(good)) == good
    assert len(good) < 500_000


def test_five_hundred_corruptions(good: bytes, tmp_path: Path, place: Place) -> None:
    for number, (what, data) in enumerate(corruptions(good, 500)):
        place.archive.write_bytes(data)
        with pytest.raises(Problem) as refused:
            Archive(place.archive).close()
        assert SENTENCE.fullmatch(refused.value.detail), (number, what, refused.value.detail)
    assert place.picture() == place.before
    assert sorted(os.listdir(tmp_path)) == ["data", "x.tar"]


def test_no_byte_of_the_first_header_and_of_the_end_is_free(good: bytes, place: Place) -> None:
    for at in (*range(0, 600, 3), *range(len(good) - 2200, len(good), 7)):
        data = bytearray(good)
        data[at] ^= 0x10
        place.archive.write_bytes(data)
        with pytest.raises(BadArchive):
            Archive(place.archive).close()


def _tar(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for info, data in entries:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def _with(good: bytes, name: str, kind: bytes) -> bytes:
    """The good archive with an entry of this kind after its header, whatever the checksums say."""
    info = tarfile.TarInfo(name)
    info.type, info.mtime, info.mode = kind, seconds(good), 0o600
    info.linkname = "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
    size = len(members(good)[0][1])
    end = BLOCK + size + padding(size)
    return good[:end] + info.tobuf(tarfile.GNU_FORMAT) + good[end:]


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("../../etc/passwd", tarfile.REGTYPE, "it holds the path “../../etc/passwd”, which leads out of it"),
        ("/etc/passwd", tarfile.REGTYPE, "it holds the path “/etc/passwd”, which leads out of it"),
        ("tables/users/../x", tarfile.REGTYPE, "which leads out of it"),
        ("tables/link", tarfile.SYMTYPE, "it holds a link (“tables/link”)"),
        ("tables/link", tarfile.LNKTYPE, "it holds a link (“tables/link”)"),
        ("tables/device", tarfile.CHRTYPE, "it holds a device"),
        ("tables/device", tarfile.BLKTYPE, "it holds a device"),
        ("tables/pipe", tarfile.FIFOTYPE, "it holds a pipe"),
        ("tables/", tarfile.DIRTYPE, "it holds a directory"),
        ("tables/" + "x" * 200, tarfile.REGTYPE, "it holds an entry with a long name"),
        ("readme.txt", tarfile.REGTYPE, "it holds “readme.txt”, which no backup holds there"),
        ("tables/strangers/000001.msgpack", tarfile.REGTYPE, "stands in a place that is not its own"),
        ("tables/users/000002.msgpack", tarfile.REGTYPE, "stands in a place that is not its own"),
    ],
)
def test_entries_made_to_do_harm(good: bytes, place: Place, name: str, kind: bytes, said: str) -> None:
    assert said in place.refuses(_with(good, name, kind))


def test_what_is_no_backup(good: bytes, place: Place) -> None:
    for data in (b"", b"x", b"PK\3\4" + bytes(1000), bytes(5000), _tar((tarfile.TarInfo("a.md"), b"text"))):
        said = place.refuses(data)
        assert "is not a backup that mdserver has made" in said or "ends too early" in said
    with pytest.raises(BadArchive, match="No such file or directory"):
        Archive(place.archive.with_name("nothing.tar"))
    with pytest.raises(BadArchive, match="Is a directory"):
        Archive(place.directory.path)


def _header(good: bytes, **fields: Any) -> bytes:
    """The good archive with other values in its header, sealed again."""
    found = members(good)
    header = {**msgspec.json.decode(found[0][1]), **fields}
    return resealed([(HEADER, msgspec.json.encode(header)), *found[1:]], seconds(good))


def test_newer_ones_say_what_to_do(good: bytes, place: Place) -> None:
    said = place.refuses(_header(good, format=2, mdserver="3.1", surprise=[]))
    assert "has the format 2 of mdserver 3.1, and this program reads formats up to 1: install that version" in said
    said = place.refuses(_header(good, schema=9999, migrations={"9999": "later"}, mdserver="3.1"))
    assert "has schema 9999 of mdserver 3.1, and this program knows up to 9001: install that version" in said
    said = place.refuses(_header(good, migrations={"1": "something else", "9001": "files"}))
    assert "migrations have other names" in said


def test_headers_that_contradict_themselves(good: bytes, place: Place) -> None:
    header = msgspec.json.decode(members(good)[0][1])
    tables = header["tables"]
    contradictions: list[dict[str, Any]] = [
        {"format": 0},
        {"schema": 7},
        {"created_at": "2020-01-01T00:00:00Z"},
        {"created_at": "yesterday"},
        {"migrations": {}},
        {"tables": tables[:-1]},
        {"tables": [*tables, tables[0]]},
        {"tables": [*tables[:-1], {"name": tables[-1]["name"], "columns": []}]},
        {"tables": [*tables[:-1], {"name": 'files"; DROP', "columns": ["id"]}]},
        {"tables": [*tables[:-1], {"name": "files", "columns": ["id", "id", "a", "b", "c"]}]},
        {"tables": [*tables[:-1], {"name": "files", "columns": ["id", "strange", "a", "b", "c"]}]},
        {"tables": None},
    ]
    for fields in contradictions:
        place.refuses(_header(good, **fields))


def test_bombs(good: bytes, place: Place) -> None:
    found = members(good)
    place_of = next(number for number, (name, _) in enumerate(found) if name.startswith("tables/favourites/"))
    name = found[place_of][0]
    bomb = zlib.compress(bytes(50_000_000), 9, 31)
    data: Members = list(found)

    assert not name.endswith(".gz")
    data[place_of] = (f"{name}.gz", bomb)

    def lie(size: int) -> Callable[[dict[str, Any]], None]:
        def change(manifest: dict[str, Any]) -> None:
            piece = next(one for one in manifest["tables"] if one["name"] == "favourites")["pieces"][0]
            piece["unpacked"] = size

        return change

    assert "would unpack to more than 100 times its size" in place.refuses(resealed(data, seconds(good)))
    for size in (0, -1, 2**62):
        assert "would unpack" in place.refuses(resealed(data, seconds(good), lie(size)))
    assert "does not unpack to what was announced" in place.refuses(resealed(data, seconds(good), lie(1000)))
    deep = zlib.compress(b"\x91" * 100_000, 9, 31)
    data[place_of] = (f"{name}.gz", deep + os.urandom(4000))  # more after the end of what is packed
    assert "does not unpack" in place.refuses(resealed(data, seconds(good), lie(100_000)))
    data[place_of] = (name, b"\x91" * 100_000)
    assert "does not hold rows" in place.refuses(resealed(data, seconds(good)))


@pytest.mark.parametrize(
    ("piece", "row"),
    [
        ("tables/texts/000001", ["x"]),
        ("tables/texts/000001", ["x", "y", "plain", "text where bytes belong"]),
        ("tables/texts/000001", ["x", "y", "rar", b""]),
        ("tables/texts/000001", ["x", None, "plain", b""]),
        ("tables/texts/000001", ["x", "y", "plain", [b""]]),
        ("tables/texts/000001", ["x", "y", {"a": 1}, b""]),
        ("tables/favourites/000001", ["x", "y", 2**64 - 1]),
        ("tables/favourites/000001", "row"),
    ],
)
@pytest.mark.parametrize("engine", engines.ENGINES)
def test_rows_that_do_not_fit(good: bytes, tmp_path: Path, engine: str, piece: str, row: Any) -> None:
    place = Place(tmp_path)
    data = changed(good, piece, lambda rows: rows.append(row))
    if engine == "sqlite":
        place.refuses(data)
        return
    place.archive.write_bytes(data)
    with engines.fresh_dsn() as dsn, contextlib.closing(Archive(place.archive)) as archive:
        options: dict[str, Any] = {"contents": EXTENDED, "migrations": steps("postgres")}
        with pytest.raises(BadArchive) as refused:
            restoring.into_postgres(archive, dsn, place.blobs, aside=False, **options)
        assert SENTENCE.fullmatch(refused.value.detail), refused.value.detail
        place.archive.write_bytes(good)
        with contextlib.closing(Archive(place.archive)) as whole:  # nothing was left there
            restoring.into_postgres(whole, dsn, place.blobs, aside=False, **options)


def test_manifests_that_lie(good: bytes, place: Place) -> None:
    found = members(good)

    def rows(manifest: dict[str, Any]) -> None:
        manifest["tables"][0]["rows"] += 1

    def order(manifest: dict[str, Any]) -> None:
        manifest["tables"].reverse()

    def blobs(manifest: dict[str, Any]) -> None:
        manifest["blobs"]["count"] -= 1

    def piece(manifest: dict[str, Any]) -> None:
        manifest["tables"][0]["pieces"] = []

    def head(manifest: dict[str, Any]) -> None:
        manifest["header"] = hashlib.sha256(b"").hexdigest()

    for change in (rows, order, blobs, piece, head, dict[str, Any].clear):
        place.refuses(resealed(found, seconds(good), change))
    without = [one for one in found if one[0] not in (MANIFEST, CHECKSUM)]
    place.refuses(packed(without, seconds(good)))
    place.refuses(packed([*found, ("blobs/" + "f" * 64, b"")], seconds(good)))
