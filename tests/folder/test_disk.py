"""The folder's files: links are never followed, nothing unseen is overwritten, and the look says what is left out."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from mdserver.folder.disk import Changed, Disk, Unfit
from mdserver.folder.lock import InUse, locked
from mdserver.folder.scanning import Snapshot


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    (tmp_path / "in/.mdserver/tmp").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/secret.md").write_text("secret")
    made = Disk(tmp_path / "in")
    yield made
    made.close()


def test_reading_and_writing(disk: Disk) -> None:
    disk.prepare("t", b"one", mode=None)
    sig = disk.put("t", "x.md", seen=None)
    assert disk.read("x.md") == (b"one", sig)
    os.chmod(disk.root / "x.md", 0o640)
    disk.prepare("t", b"two", mode=0o100640)
    disk.put("t", "x.md", seen=disk.sig("x.md"))
    assert (disk.own / "tmp/t").read_text() == "one"
    assert disk.holds("t", sha256(b"one").hexdigest())
    disk.forget("t")
    assert stat.S_IMODE((disk.root / "x.md").stat().st_mode) == 0o640
    assert os.listdir(disk.own / "tmp") == []


def test_nothing_unseen_is_overwritten(disk: Disk) -> None:
    (disk.root / "x.md").write_text("mine")
    seen = disk.sig("x.md")
    assert seen is not None
    disk.prepare("t", b"theirs", mode=None)
    with pytest.raises(Changed):
        disk.put("t", "x.md", seen=None)
    (disk.root / "x.md").write_text("mine, too")
    with pytest.raises(Changed):
        disk.put("t", "x.md", seen=seen)
    (disk.root / "y.md").write_text("y")
    with pytest.raises(Changed):
        disk.move("y.md", "x.md")
    assert (disk.root / "x.md").read_text() == "mine, too"


@pytest.mark.parametrize(
    "path", ["../out/secret.md", "a/../../out/secret.md", "/etc/passwd", "", "a//b", "./x.md/../y"]
)
def test_paths_that_lead_out(disk: Disk, path: str) -> None:
    with pytest.raises(ValueError, match="not a path below"):
        disk.read(path)


def test_links_are_not_followed(disk: Disk, tmp_path: Path) -> None:
    (disk.root / "d").symlink_to(tmp_path / "out")
    (disk.root / "l.md").symlink_to(tmp_path / "out/secret.md")
    with pytest.raises(OSError, match=r"Not a directory|symbolic"):
        disk.read("d/secret.md")
    with pytest.raises(OSError, match="symbolic"):
        disk.read("l.md")
    disk.prepare("t", b"evil", mode=None)
    for path in ("d/secret.md", "d/new.md"):
        with pytest.raises(OSError, match=r"Not a directory|symbolic"):
            disk.put("t", path, seen=None)
        with pytest.raises(OSError, match=r"Not a directory|symbolic"):
            disk.make_directory(f"{path}.d")
    with pytest.raises(Changed):
        disk.make_directory("d")
    assert disk.sig("l.md") is None
    assert sorted(os.listdir(tmp_path / "out")) == ["secret.md"]
    assert (tmp_path / "out/secret.md").read_text() == "secret"


def test_what_is_no_file(disk: Disk) -> None:
    os.mkfifo(disk.root / "p.md")
    (disk.root / "d.md").mkdir()
    for path in ("p.md", "d.md"):
        with pytest.raises((Unfit, OSError)):
            disk.read(path)


def test_only_empty_directories_are_removed(disk: Disk) -> None:
    disk.make_directory("d")
    (disk.root / "d/x").write_text("x")
    assert not disk.remove_directory("d")
    (disk.root / "d/x").unlink()
    assert disk.remove_directory("d")
    assert disk.remove_directory("d")


def test_one_at_a_time(disk: Disk) -> None:
    with locked(disk.own / "lock"), pytest.raises(InUse, match="at work in"), locked(disk.own / "lock"):
        pass
    with locked(disk.own / "lock"):
        pass


def test_what_a_look_sees(disk: Disk, tmp_path: Path) -> None:
    root = disk.root
    (root / ".mdserverignore").write_text("drafts/\n*.tmp.md\n!keep.tmp.md\n")
    for path in ("a.md", "d/b.markdown", "drafts/c.md", "x.tmp.md", "keep.tmp.md", ".hidden.md", ".git/e.md", "p.png"):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text("x")
    (root / "link.md").symlink_to(tmp_path / "out/secret.md")
    (root / "linked").symlink_to(tmp_path / "out")
    (root / "new\nline.md").write_text("x")
    os.mkfifo(root / "pipe.md")
    snapshot = Snapshot(root, lambda path: False)
    snapshot.scan()
    assert sorted(snapshot.files()) == ["a.md", "d/b.markdown", "keep.tmp.md"]
    assert set(snapshot.left_out()) == {"link.md", "linked", "new\nline.md", "p.png", "pipe.md"}
    assert snapshot.ignored.covers("drafts/c.md")
    assert snapshot.ignored.covers("d/.x/y.md")
    assert not snapshot.ignored.covers("d/y.md")
    assert snapshot.is_hidden_from_us("linked/x.md")
    assert not snapshot.is_hidden_from_us("d/none.md")


def test_a_look_at_some_places_sees_what_a_whole_one_would(disk: Disk) -> None:
    root = disk.root
    for path in ("a.md", "d/b.md", "d/e/c.md"):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text("x")
    snapshot, whole = Snapshot(root, lambda path: False), Snapshot(root, lambda path: False)
    snapshot.scan()
    (root / "d/e").rename(root / "e")
    (root / "d/b.md").write_text("longer")
    (root / "new/deep/er").mkdir(parents=True)
    (root / "new/deep/er/f.md").write_text("f")
    snapshot.rescan(["d", "", "new/deep"])
    whole.scan()
    assert snapshot.listings == whole.listings
