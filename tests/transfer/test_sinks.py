"""Where exports are written: nothing is replaced, nothing is followed, an archive appears when it is complete."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from mdserver.transfer.sinks import BadName, opened
from mdserver.transfer.source import Refused

AT = 1_769_860_800_000  # 2026-01-31T12:00:00Z


def test_a_directory(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with opened(target) as sink:
        sink.directory(("a",))
        sink.directory(("a", "b"))
        sink.directory(("c",))
        for parts in (("a", "b", "deep.md"), ("top.md",), ("c", "x.md"), ("a", "y.md")):
            with sink.file(parts, at=AT) as file:
                file.write("/".join(parts).encode())
    found = {path.relative_to(target).as_posix(): path.read_text() for path in target.rglob("*.md")}
    assert found == {name: name for name in ("a/b/deep.md", "top.md", "c/x.md", "a/y.md")}
    assert (target / "top.md").stat().st_mtime == AT / 1000


def test_an_empty_directory_is_used_and_others_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    (tmp_path / "something").write_text("")
    with pytest.raises(Refused, match="is not empty"), opened(tmp_path):
        pass
    with pytest.raises(Refused, match="cannot be made: File exists"), opened(tmp_path / "something"):
        pass
    with pytest.raises(Refused, match="cannot be made: No such file or directory"), opened(tmp_path / "no" / "out"):
        pass


def test_nothing_is_replaced_and_no_link_is_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    target = tmp_path / "out"
    with opened(target) as sink:
        (target / "planted").symlink_to(outside)
        (target / "planted.md").symlink_to(outside / "written.md")
        (target / "there.md").write_text("before")
        for parts in (("planted", "a.md"), ("planted.md",), ("there.md",), ("missing", "a.md")):
            with pytest.raises(BadName), sink.file(parts, at=AT):
                pass
        with pytest.raises(BadName):
            sink.directory(("planted",))
    assert list(outside.iterdir()) == []
    assert (target / "there.md").read_text() == "before"


def test_a_name_that_the_file_system_refuses(tmp_path: Path) -> None:
    with opened(tmp_path / "out") as sink:
        with pytest.raises(BadName, match="has a name that the target does not take: File name too long"):
            sink.directory(("n" * 300,))
        with (
            pytest.raises(BadName, match="stands in a folder that could not be made"),
            sink.file(("n" * 200, "a.md"), at=AT),
        ):
            pass
        with sink.file(("good.md",), at=AT) as file:
            file.write(b"good")
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["good.md"]


def test_a_way_longer_than_the_system_takes_at_once(tmp_path: Path) -> None:
    parts = tuple(f"{depth:03}" + "d" * 100 for depth in range(60))
    with opened(tmp_path / "out") as sink:
        for depth in range(1, 61):
            sink.directory(parts[:depth])
        with sink.file((*parts, "a.md"), at=AT) as file:
            file.write(b"deep")
    handle = os.open(tmp_path / "out", os.O_RDONLY)
    for name in parts:
        below = os.open(name, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    assert os.listdir(handle) == ["a.md"]
    os.close(handle)


def test_an_archive(tmp_path: Path) -> None:
    target = tmp_path / "out.zip"
    with opened(target) as sink:
        sink.directory(("empty",))
        with sink.file(("empty", "Größe.md"), at=AT) as file:
            file.write(b"\xef\xbb\xbfx\r\n")
        with sink.file(("old.md",), at=0) as file:
            file.write(b"")
        assert not target.exists()
    assert [one.name for one in tmp_path.iterdir()] == ["out.zip"]
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["empty/", "empty/Größe.md", "old.md"]
        assert archive.read("empty/Größe.md") == b"\xef\xbb\xbfx\r\n"
        assert archive.getinfo("empty/Größe.md").date_time == (2026, 1, 31, 12, 0, 0)
        assert archive.getinfo("old.md").date_time == (1980, 1, 1, 0, 0, 0)


def interrupted() -> bytes:
    raise KeyboardInterrupt


def test_an_archive_that_is_not_finished_does_not_appear(tmp_path: Path) -> None:
    target = tmp_path / "out.zip"
    with pytest.raises(KeyboardInterrupt), opened(target) as sink, sink.file(("a.md",), at=AT) as file:
        file.write(interrupted())
    assert list(tmp_path.iterdir()) == []


def test_an_archive_is_never_replaced(tmp_path: Path) -> None:
    target = tmp_path / "out.zip"
    target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(Refused, match="exists already"), opened(target):
        pass
    target.unlink()
    with pytest.raises(Refused, match="exists already"), opened(target):
        target.write_text("somebody was faster")
    assert target.read_text() == "somebody was faster"
    assert [one.name for one in tmp_path.iterdir()] == ["out.zip"]
