"""Importing and exporting through the commands: byte for byte, again, interrupted, refused; both engines."""

from __future__ import annotations

import hashlib
import json
import os
import site
import sysconfig
import zipfile
from pathlib import Path

import pytest

from mdserver.cli import importing
from mdserver.text import fold
from mdserver.transfer.folders import Folder
from mdserver.transfer.source import Parts

from .homes import Home
from .trees import NASTY, harvest, plant

TO = ("--workspace", "Notes", "--as", "ada@example.org")


@pytest.fixture
def ready(either: Home) -> Home:
    either.user("ada@example.org")
    either.workspace("Notes")
    return either


@pytest.fixture
def lite(home: Home) -> Home:
    home.user("ada@example.org")
    home.workspace("Notes")
    return home


def counts(report: dict[str, list[str] | int]) -> tuple[int, int, int, int]:
    """Documents made, updated, unchanged; folders made."""
    made, updated, unchanged, folders = (report[one] for one in ("made", "updated", "unchanged", "folders"))
    assert isinstance(made, list)
    assert isinstance(updated, list)
    assert isinstance(unchanged, int)
    assert isinstance(folders, int)
    return len(made), len(updated), unchanged, folders


def test_there_and_back_again(ready: Home, tmp_path: Path) -> None:
    source = plant(tmp_path / "in", NASTY)
    report = ready.json("import", str(source), *TO)
    assert report["left_out"] == []
    assert counts(report)[:3] == (len(NASTY), 0, 0)
    assert sorted(one["name"] for one in report["renamed"]) == ["Caf\u00e9 (2).md", "readme (2).md"]
    again = ready.json("import", str(source), *TO)
    assert counts(again) == (0, 0, len(NASTY), 0)

    done = ready.json("export", str(tmp_path / "out"), "--workspace", "Notes")
    assert (done["documents"], done["renamed"], done["left_out"]) == (len(NASTY), [], [])
    expected = dict(NASTY)
    for before, after in (("readme.md", "readme (2).md"), ("Caf\u00e9.md", "Caf\u00e9 (2).md")):
        expected[after] = expected.pop(before)
    assert harvest(tmp_path / "out") == expected

    ready.ok("export", str(tmp_path / "out.zip"), "--workspace", "Notes")
    second = ready.workspace("Second")
    report = ready.json("import", str(tmp_path / "out.zip"), "--workspace", second, "--as", "ada@example.org")
    assert (counts(report)[0], report["renamed"], report["left_out"]) == (len(NASTY), [], [])
    ready.ok("export", str(tmp_path / "out2"), "--workspace", second)
    assert harvest(tmp_path / "out2") == expected


def test_the_documents_of_installed_packages(lite: Home, tmp_path: Path) -> None:
    """Real files that nobody wrote for us: every Markdown file that came with the packages of this environment."""
    places = {*site.getsitepackages(), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    for number, place in enumerate(sorted(places)):
        folder = Folder(Path(place), limit=20 << 20)
        name = f"Packages {number}"
        lite.workspace(name)
        report = lite.json("import", place, "--workspace", name, "--as", "ada@example.org")
        out = tmp_path / f"out{number}"
        lite.ok("export", str(out), "--workspace", name)
        left_out = {one["path"] for one in report["left_out"]} | {one["path"] for one in report["renamed"]}
        wanted = {"/".join(parts): folder.read(parts) for parts in folder.files if "/".join(parts) not in left_out}
        found = harvest(out)
        assert wanted.items() <= found.items()
        assert len(found) == len(report["made"])


def test_while_the_server_runs(ready: Home, tmp_path: Path) -> None:
    source = plant(tmp_path / "in", NASTY)
    with ready.serving() as server:
        done = ready.program("import", str(source), *TO, "--json")
        assert (done.returncode, done.stderr) == (0, "")
        assert counts(json.loads(done.stdout))[0] == len(NASTY)
        token = ready.json("token", "create", "ada@example.org", "--name", "t", "--scope", "read")["token"]
        workspace = ready.json("workspace", "show", "Notes")["workspace"]["id"]
        found = server.ask("GET", f"/api/v1/workspaces/{workspace}/documents?path=Plan.md/first.md", token=token)
        assert found.body["items"][0]["title"] == "First"
        (source / "Plan.md").write_text("# Another plan\n")
        assert json.loads(ready.program("import", str(source), *TO, "--json").stdout)["updated"] == ["Plan.md"]
        done = ready.program("export", str(tmp_path / "out"), "--workspace", "Notes")
        assert done.stderr == ""
        assert done.stdout.startswith(f"“Notes”: {len(NASTY)} documents and ")
        assert (tmp_path / "out" / "Plan.md").read_text() == "# Another plan\n"


def test_a_dry_run_changes_nothing(ready: Home, tmp_path: Path) -> None:
    source = plant(tmp_path / "in", {"a.md": b"a", "b/c.md": b"c", "bad.md": b"\xff", "A.MD": b"A"})
    said = ready.ok("import", str(source), *TO, "--dry-run")
    assert said.splitlines() == [
        "“Notes”: 3 documents and 1 folder would be made, 0 would be updated, 0 unchanged.",
        "",
        "Under another name, since another in the same folder differs in case or Unicode form only:",
        "  a.md → a (2).md",
        "",
        "Left out:",
        "  bad.md is not valid UTF-8 (byte 0)",
    ]
    assert ready.json("workspace", "show", "Notes")["workspace"]["document_count"] == 0
    ready.ok("import", str(source), *TO)
    (source / "a.md").write_bytes(b"changed")
    (source / "new.md").write_bytes(b"n")
    report = ready.json("import", str(source), *TO, "--dry-run")
    assert (report["made"], report["updated"], report["unchanged"]) == (["new.md"], ["a (2).md"], 2)


def test_an_interrupted_import_goes_on(ready: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"d{n % 3}/{n:02}.md": b"%d" % n for n in range(20)}
    source = plant(tmp_path / "in", files)
    monkeypatch.setattr(importing, "BATCH_DOCUMENTS", 4)
    read, calls = Folder.read, iter(range(31))  # once each to look, then eleven of them to send

    def interrupted(self: Folder, parts: Parts) -> bytes:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return read(self, parts)

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "read", interrupted)
        said = ready.fails("import", str(source), *TO)
    assert said == "Stopped. What was made stays; run the same command again to go on."
    made = ready.json("workspace", "show", "Notes")["workspace"]["document_count"]
    assert 0 < made < 20
    report = ready.json("import", str(source), *TO)
    assert 0 < report["unchanged"] < 20
    assert len(report["made"]) + report["unchanged"] == 20
    ready.ok("export", str(tmp_path / "out"), "--workspace", "Notes")
    assert harvest(tmp_path / "out") == files


def test_a_file_that_goes_between_looking_and_sending(
    lite: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = plant(tmp_path / "in", {"a.md": b"a", "gone.md": b"g", "gone/below.md": b"b", "z.md": b"z"})
    read, seen = Folder.read, list[Parts]()

    def fleeting(self: Folder, parts: Parts) -> bytes:
        seen.append(parts)
        if seen.count(("gone.md",)) == 2:
            (source / "gone.md").unlink(missing_ok=True)
        return read(self, parts)

    monkeypatch.setattr(Folder, "read", fleeting)
    report = lite.json("import", str(source), *TO)
    assert report["made"] == ["a.md", "z.md"]
    assert report["left_out"] == [
        {"path": "gone.md", "why": "cannot be read: No such file or directory"},
        {"path": "gone.md/below.md", "why": "has lost the folder that it stands in"},
    ]


def test_an_archive_is_seen_whole_before_anything_is_made(lite: Home, tmp_path: Path) -> None:
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number in range(300):
            archive.writestr(f"{number:03}.md", f"text {number}")
        archive.writestr("zz.md", "the last one is damaged")
    path.write_bytes(path.read_bytes().replace(b"is damaged", b"is changed"))
    assert lite.fails("import", str(path), *TO) == "The archive is damaged at “zz.md”: nothing was imported."
    assert lite.json("workspace", "show", "Notes")["workspace"]["document_count"] == 0
    path.write_text("no archive")
    assert lite.fails("import", str(path), *TO).endswith(
        "is not a zip archive, or a damaged one: nothing was imported."
    )


def test_limits_come_from_the_configuration(lite: Home, tmp_path: Path) -> None:
    source = plant(tmp_path / "in", {"small.md": b"x", "large.md": b"x" * 2000})
    path = tmp_path / "notes.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(9):
            archive.writestr(f"{number}.md", "x")
    lite.environment["MDSERVER_LIMITS__DOCUMENT"] = "1 KiB"
    lite.environment["MDSERVER_LIMITS__IMPORT_ENTRIES"] = "8"
    assert lite.json("import", str(source), *TO)["left_out"] == [
        {"path": "large.md", "why": "is larger than 1,024 bytes, the most a document may hold"}
    ]
    assert lite.fails("import", str(path), *TO).startswith("The archive has more than 8 entries")


def test_who_may_import_where(ready: Home, tmp_path: Path) -> None:
    source = plant(tmp_path / "in", {"a.md": b"a"})
    ready.user("bob@example.org")
    arguments = ("import", str(source), "--workspace", "Notes", "--as")
    assert ready.fails(*arguments, "eve@example.org").startswith("There is no account")
    assert ready.fails(*arguments, "bob@example.org") == "There is no such workspace, or you cannot see it."
    ready.ok("workspace", "add-member", "Notes", "bob@example.org", "--role", "commenter")
    assert ready.fails(*arguments, "bob@example.org") == (
        "bob@example.org cannot make documents in “Notes”: Your role here is commenter; this needs an editor."
    )
    ready.ok("workspace", "add-member", "Notes", "bob@example.org", "--role", "editor")
    ready.ok(*arguments, "bob@example.org")
    assert ready.fails(*arguments, "bob@example.org", "--parent", "No/Such") == (
        "There is no document 'No/Such' in this workspace."
    )
    ready.ok(*arguments, "bob@example.org", "--parent", "a.md")
    ready.ok("export", str(tmp_path / "out"), "--workspace", "Notes")
    assert harvest(tmp_path / "out") == {"a.md": b"a", "a/a.md": b"a"}


def test_one_file(lite: Home, tmp_path: Path) -> None:
    plant(tmp_path, {"one.md": b"# One", "two.md": b"# Two"})
    assert lite.json("import", str(tmp_path / "one.md"), *TO)["made"] == ["one.md"]


def test_export_refuses_what_is_there(lite: Home, tmp_path: Path) -> None:
    plant(tmp_path / "full", {"x": b""})
    assert lite.fails("export", str(tmp_path / "full"), "--workspace", "Notes").endswith(
        "is not empty: name a directory that is, or that does not exist."
    )
    (tmp_path / "there.zip").write_bytes(b"before")
    assert "exists already" in lite.fails("export", str(tmp_path / "there.zip"), "--workspace", "Notes")
    assert (tmp_path / "there.zip").read_bytes() == b"before"
    assert "There is no workspace" in lite.fails("export", str(tmp_path / "new"), "--workspace", "Nothing")
    assert not (tmp_path / "new").exists()


def test_an_export_leaves_the_trash_and_keeps_empty_folders(ready: Home, tmp_path: Path) -> None:
    source = plant(tmp_path / "in", {"a/b.md": b"b", "c.md": b"c"})
    ready.ok("import", str(source), *TO)
    token = ready.json("token", "create", "ada@example.org", "--name", "t", "--scope", "read", "--scope", "write")[
        "token"
    ]
    workspace = ready.json("workspace", "show", "Notes")["workspace"]["id"]
    with ready.serving() as server:
        found = server.ask("GET", f"/api/v1/workspaces/{workspace}/documents?path=a/b.md", token=token)
        identity = found.body["items"][0]["id"]
        assert server.ask("PUT", f"/api/v1/documents/{identity}/trash", token=token).status in (200, 204)
    ready.ok("export", str(tmp_path / "out"), "--workspace", "Notes")
    assert harvest(tmp_path / "out") == {"c.md": b"c"}
    assert os.listdir(tmp_path / "out" / "a") == []


def test_json_lines(ready: Home, tmp_path: Path) -> None:
    ready.ok("import", str(plant(tmp_path / "in", NASTY)), *TO)
    ready.ok("export", str(tmp_path / "out.zip"), "--workspace", "Notes", "--format", "json")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist() == ["documents.jsonl"]
        lines = archive.read("documents.jsonl").decode().split("\n")
    assert lines.pop() == ""
    found = {one["path"]: one for one in map(json.loads, lines)}
    assert list(found) == sorted(found, key=fold)
    front = found["front.md"]
    assert (front["title"], front["tags"], front["version"], front["kind"]) == ("Front", ["one", "Two"], 1, "markdown")
    assert front["content"].encode() == NASTY["front.md"]
    assert front["content_hash"] == hashlib.sha256(NASTY["front.md"]).hexdigest()
    assert found["folder"]["kind"] == "folder"
    assert "content" not in found["folder"]
    assert found["Plan.md/first.md"]["content"] == "# First\n"
    texts = {one["content"].encode() for one in found.values() if one["kind"] != "folder"}
    assert texts == set(NASTY.values())
