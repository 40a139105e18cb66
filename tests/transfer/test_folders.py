"""Folders that are imported: what is found, what is left out and why, and that links lead nowhere."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest

from mdserver.transfer.folders import Folder
from mdserver.transfer.source import LeftOut, Note, Refused, Unreadable, examine

LIMIT = 1_000


def write(root: Path, path: str, data: bytes = b"# Text\n") -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def left_out(folder: Folder) -> dict[str, str]:
    return {one.path: one.why for one in examine(folder)[1]}


def test_markdown_files_are_found_in_order(tmp_path: Path) -> None:
    for path in (
        "b/z.md",
        "b/A.MARKDOWN",
        "a.MD",
        ".hidden.md",
        "c/d/e/f.md",
        "empty/none.txt",
        "x.mdx",
        "md",
        "y.md.bak",
    ):
        write(tmp_path, path)
    for path in (".git/a.md", ".obsidian/b.md", "b/.trash/c.md"):
        write(tmp_path, path)
    write(tmp_path, "node_modules/.bin/x.md")
    write(tmp_path, "node_modules/left-pad/README.md")
    folder = Folder(tmp_path, limit=LIMIT)
    assert ["/".join(one) for one in folder.files] == [
        ".hidden.md",
        "a.MD",
        "b/A.MARKDOWN",
        "b/z.md",
        "c/d/e/f.md",
        "node_modules/left-pad/README.md",
    ]
    assert folder.left_out == []


def test_what_is_no_text_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, "good.md", "\ufeff# Größe\r\n".encode())
    write(tmp_path, "latin.md", "Gr\xf6\xdfe".encode("latin-1"))
    write(tmp_path, "utf16.md", "text".encode("utf-16"))
    write(tmp_path, "nul.md", b"a\0b")
    write(tmp_path, "surrogate.md", b"\xed\xa0\x80")
    write(tmp_path, "exact.md", b"x" * LIMIT)
    write(tmp_path, "large.md", b"x" * (LIMIT + 1))
    write(tmp_path, "empty.md", b"")
    folder = Folder(tmp_path, limit=LIMIT)
    assert left_out(folder) == {
        "latin.md": "is not valid UTF-8 (byte 2)",
        "utf16.md": "is not valid UTF-8 (byte 0)",
        "nul.md": "holds NUL, so it is not text",
        "surrogate.md": "is not valid UTF-8 (byte 0)",
        "large.md": "is larger than 1,000 bytes, the most a document may hold",
    }
    assert [one.parts[-1] for one in examine(folder)[0]] == ["empty.md", "exact.md", "good.md"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = write(tmp_path, "outside/secret.md", b"secret")
    root = tmp_path / "root"
    write(root, "real/a.md")
    (root / "file.md").symlink_to(outside)
    (root / "folder").symlink_to(outside.parent)
    (root / "loop").symlink_to(root)
    (root / "itself.md").symlink_to("itself.md")
    (root / "dangling.md").symlink_to("nowhere")
    (root / "other.txt").symlink_to(outside)
    (root / ".hidden").symlink_to(outside.parent)
    folder = Folder(root, limit=LIMIT)
    assert folder.files == [("real", "a.md")]
    why = "is a link, and links are not followed"
    assert left_out(folder) == dict.fromkeys(["file.md", "folder", "loop", "itself.md", "dangling.md"], why)


def test_a_file_that_becomes_a_link_after_the_scan(tmp_path: Path) -> None:
    secret = write(tmp_path, "secret.txt", b"secret")
    file = write(tmp_path, "root/a.md")
    folder = Folder(tmp_path / "root", limit=LIMIT)
    file.unlink()
    file.symlink_to(secret)
    with pytest.raises(Unreadable):
        folder.read(("a.md",))
    file.unlink()
    assert left_out(folder) == {"a.md": "cannot be read: No such file or directory"}


def test_special_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(tmp_path / "socket.md"))
        folder = Folder(tmp_path, limit=LIMIT)
    assert folder.files == []
    assert left_out(folder) == dict.fromkeys(["pipe.md", "socket.md"], "is not a regular file")
    write(tmp_path, "later.md")
    folder = Folder(tmp_path, limit=LIMIT)
    (tmp_path / "later.md").unlink()
    os.mkfifo(tmp_path / "later.md")
    with pytest.raises(Unreadable, match="is not a regular file"):  # and nobody waits for a writer
        folder.read(("later.md",))


def test_names_that_no_document_can_bear(tmp_path: Path) -> None:
    write(tmp_path, "back\\slash.md")
    write(tmp_path, "line\nbreak.md")
    write(tmp_path, "bell\a/inside.md")
    write(tmp_path, "n" * 238 + ".md")
    (tmp_path / os.fsdecode(b"latin-\xf6.md")).write_bytes(b"x")
    write(tmp_path, "Gr\u00f6\u00dfe – 計画 🎉.md")
    folder = Folder(tmp_path, limit=LIMIT)
    assert folder.files == [("Gr\u00f6\u00dfe – 計画 🎉.md",)]
    found = left_out(folder)
    assert set(found) == {"back\\slash.md", "line�break.md", "bell�", "n" * 238 + ".md", "latin-�.md"}
    assert all(why.startswith("has a name that is not taken: ") for why in found.values())


def test_a_tree_without_end(tmp_path: Path) -> None:
    below = tmp_path
    for depth in range(120):
        below = below / f"d{depth}"
        below.mkdir()
        (below / "here.md").write_bytes(b"x")
    folder = Folder(tmp_path, limit=LIMIT)
    assert max(map(len, folder.files)) == 100
    assert [one.why for one in folder.left_out] == ["stands deeper than 100 folders"]


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "closed/a.md")
    write(tmp_path, "b.md")
    scandir = os.scandir

    def guarded(path: Path) -> object:  # the tests may run as root, who may read everything
        if path.name == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    closed = "closed"
    assert left_out(Folder(tmp_path, limit=LIMIT)) == {"closed": "cannot be read: Permission denied"}
    closed = tmp_path.name
    with pytest.raises(Refused, match=r"cannot be read: Permission denied\."):
        Folder(tmp_path, limit=LIMIT)


def test_one_file(tmp_path: Path) -> None:
    folder = Folder(write(tmp_path, "only.md", b"one"), limit=LIMIT)
    write(tmp_path, "other.md")
    assert folder.files == [("only.md",)]
    assert examine(folder) == ([Note(("only.md",), hashlib.sha256(b"one").hexdigest(), 3)], list[LeftOut]())
