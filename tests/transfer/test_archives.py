"""Archives that are imported: paths that lead out, links, bombs, lies, damage; nothing happens before they are seen."""

from __future__ import annotations

import contextlib
import random
import struct
import zipfile
from pathlib import Path

import pytest

from mdserver.transfer.archives import Archive, Limits
from mdserver.transfer.source import Note, Refused, examine

from .archives import CENTRAL, END, LOCAL, add, claim_size, encrypted, link, pack, patched

LIMITS = Limits(entries=50, unpacked=4 << 20, ratio=100, document=2 << 20)


def examined(path: Path, limits: Limits = LIMITS) -> tuple[list[Note], dict[str, str]]:
    archive = Archive(path, limits=limits)
    try:
        notes, left_out = examine(archive)
    finally:
        archive.close()
    return notes, {one.path: one.why for one in left_out}


def names(path: Path) -> list[str]:
    return ["/".join(one.parts) for one in examined(path)[0]]


@pytest.fixture
def zip_path(tmp_path: Path) -> Path:
    return tmp_path / "notes.zip"


def test_files_are_found(zip_path: Path) -> None:
    pack(
        zip_path,
        {
            "b/": b"",
            "b/z.md": b"z",
            "a.md": b"a",
            "./c/./d.markdown": b"d",
            "image.png": b"\x89PNG",
            ".git/x.md": b"",
            "b/.obsidian/x.md": b"",
            "__MACOSX/._a.md": b"\0\0",
            "Größe.md": "ö".encode(),
            "folder.md/": b"",
            "folder.md/inside.md": b"i",
        },
    )
    assert names(zip_path) == ["Größe.md", "a.md", "b/z.md", "c/d.markdown", "folder.md/inside.md"]


def test_utf8_names_without_the_flag(zip_path: Path) -> None:
    pack(zip_path, {"caf\N{LATIN SMALL LETTER E WITH ACUTE}.md": b"x", "計画.md": b"y"})
    patched(zip_path, (CENTRAL, 8, b"\0\0"), (LOCAL, 6, b"\0\0"))
    assert names(zip_path) == ["café.md", "計画.md"]


@pytest.mark.parametrize(
    "name",
    [
        "../evil.md",
        "a/../../evil.md",
        "a/..",
        "/etc/evil.md",
        "C:/evil.md",
        "c:evil.md",
        "a\\..\\evil.md",
        "\\\\host\\share\\evil.md",
        "evil\0.md",
        "..",
        "../evil.png",
    ],
)
def test_paths_that_lead_out(zip_path: Path, name: str) -> None:
    with zipfile.ZipFile(zip_path, "w") as archive:
        add(archive, "good.md", b"x")
        add(archive, name, b"evil")
    with pytest.raises(Refused, match=r"The archive holds the path .* nothing was imported\."):
        examined(zip_path)


def test_a_name_twice(zip_path: Path) -> None:
    with zipfile.ZipFile(zip_path, "w") as archive:
        add(archive, "a/b.md", b"one")
        add(archive, "a//b.md", b"two")
    with pytest.raises(Refused, match=r"holds “a/b\.md” twice"):
        examined(zip_path)


def test_links_and_special_files(zip_path: Path) -> None:
    with zipfile.ZipFile(zip_path, "w") as archive:
        link(archive, "passwords.md", "/etc/passwd")
        link(archive, "folder", "/etc")
        add(archive, "pipe.md", b"", mode=0o010644)
        add(archive, "good.md", b"x", mode=0o100644)
    notes, left_out = examined(zip_path)
    assert [one.parts for one in notes] == [("good.md",)]
    assert left_out == {
        "passwords.md": "is a link, and links are not followed",
        "pipe.md": "is not a regular file",
    }


def test_what_cannot_be_unpacked_is_left_out(zip_path: Path) -> None:
    pack(zip_path, {"secret.md": b"x"})
    assert examined(encrypted(zip_path))[1] == {"secret.md": "is encrypted"}
    pack(zip_path, {"a.md": b"x" * 99}, method=zipfile.ZIP_LZMA)
    assert examined(zip_path)[1] == {"a.md": "is compressed in a way that is not read here (only deflate is)"}
    pack(zip_path, {"a.md": b"x", "nul.md": b"\0", "bad\nname.md": b"x", "n" * 300 + ".md": b"x"})
    notes, left_out = examined(zip_path)
    assert [one.parts for one in notes] == [("a.md",)]
    assert set(left_out) == {"nul.md", "bad�name.md", "n" * 300 + ".md"}
    pack(zip_path, {"d/" * 100 + "deep.md": b"x", "d/" * 99 + "not.md": b"x"})
    assert examined(zip_path)[1] == {"d/" * 100 + "deep.md": "stands deeper than 100 folders"}


def test_too_many_entries(zip_path: Path) -> None:
    pack(zip_path, {f"{n}.md": b"x" for n in range(50)})
    assert len(examined(zip_path)[0]) == 50
    pack(zip_path, {f"{n}.txt": b"x" for n in range(51)})
    with pytest.raises(Refused, match=r"more than 50 entries \(limits\.import_entries\)"):
        examined(zip_path)


def test_a_table_of_contents_too_large_for_so_few_entries(zip_path: Path) -> None:
    pack(zip_path, {f"{n:060}.txt": b"" for n in range(4_000)}, method=zipfile.ZIP_STORED)
    with pytest.raises(Refused, match="more than 50 entries"):  # before all of it is made into objects
        Archive(zip_path, limits=LIMITS)
    patched(zip_path, (END, 10, struct.pack("<H", 1)), (END, 8, struct.pack("<H", 1)))  # it says: one entry
    with pytest.raises(Refused, match="more than 50 entries"):
        Archive(zip_path, limits=LIMITS)


def test_a_bomb_of_many_times_its_size(zip_path: Path) -> None:
    pack(zip_path, {"bomb.md": b" " * (2 << 20)})
    assert zip_path.stat().st_size * 100 < 2 << 20
    with pytest.raises(Refused, match=r"more than 100 times its size \(limits\.import_ratio\)"):
        examined(zip_path)
    pack(zip_path, {"blank.md": b" " * 500_000})  # 500 times, but small enough to harm nobody
    assert len(examined(zip_path)[0]) == 1
    pack(zip_path, {"bomb.png": b" " * (9 << 20), "a.md": b"x"})  # is never unpacked
    assert len(examined(zip_path)[0]) == 1


def test_a_bomb_of_many_bytes(zip_path: Path) -> None:
    pack(zip_path, {f"{n}.md": b"y" * (1 << 20) for n in range(5)}, method=zipfile.ZIP_STORED)
    with pytest.raises(Refused, match=r"more than 4,194,304 bytes \(limits\.import_bytes\)"):
        examined(zip_path)


def test_headers_that_lie_about_sizes(zip_path: Path) -> None:
    pack(zip_path, {"bomb.md": b" " * (3 << 20)})
    with pytest.raises(Refused):
        examined(claim_size(zip_path, 10))
    pack(zip_path, {"small.md": b"small"})
    with pytest.raises(Refused, match=r"is damaged at “small\.md”"):
        examined(claim_size(zip_path, 1 << 30))


def test_one_file_too_large_is_not_unpacked_further(zip_path: Path) -> None:
    limits = Limits(entries=50, unpacked=4 << 20, ratio=10_000, document=1_000)
    pack(zip_path, {"large.md": b"x" * (30 << 20), "good.md": b"x"})
    notes, left_out = examined(zip_path, limits)
    assert [one.parts for one in notes] == [("good.md",)]
    assert left_out == {"large.md": "is larger than 1,000 bytes, the most a document may hold"}


def test_overlapping_entries_are_counted_each(zip_path: Path) -> None:
    """Many names for the same packed bytes: the table of contents points to one place (Fifield's "zip bomb")."""
    pack(zip_path, {f"{n}.md": b"z" * (1 << 20) for n in range(40)})
    patched(zip_path, (CENTRAL, 42, struct.pack("<L", 0)))
    with pytest.raises(Refused):
        examined(zip_path)


def test_damage(zip_path: Path) -> None:
    pack(zip_path, {f"{n}.md": bytes(range(256)).replace(b"\0", b"") * 20 for n in range(3)})
    whole = zip_path.read_bytes()
    for cut in (0, 1, 21, 100, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        zip_path.write_bytes(whole[:cut])
        with pytest.raises(Refused, match="is not a zip archive, or a damaged one: nothing was imported"):
            examined(zip_path)
    pack(zip_path, {"a.md": b"the text that is checked"}, method=zipfile.ZIP_STORED)
    zip_path.write_bytes(zip_path.read_bytes().replace(b"is checked", b"is changed"))
    with pytest.raises(Refused, match=r"is damaged at “a\.md”: nothing was imported"):
        examined(zip_path)
    pack(zip_path, {"a.md": b"abc" * 1000})
    patched(zip_path, (b"a.md", 4, b"\xff\xff\xff\xff"))
    with pytest.raises(Refused, match="damaged"):
        examined(zip_path)


def test_random_damage_is_never_anything_else(zip_path: Path) -> None:
    chance = random.Random(7)
    pack(zip_path, {f"d/{n}.md": b"text %d\n" % n * 50 for n in range(5)})
    whole = zip_path.read_bytes()
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        zip_path.write_bytes(data)
        with contextlib.suppress(Refused):
            examined(zip_path)


@pytest.mark.parametrize("data", [b"", b"# Just text\n", b"PK\5\6" + b"\xff" * 18, b"PK\3\4" * 30])
def test_what_is_no_archive(zip_path: Path, data: bytes) -> None:
    zip_path.write_bytes(data)
    with pytest.raises(Refused):
        Archive(zip_path, limits=LIMITS)


def test_an_empty_archive(zip_path: Path) -> None:
    pack(zip_path, {})
    assert examined(zip_path) == ([], {})
