"""A disk that is full or fails under the running server, and a directory that cannot be written."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from . import shim
from .crash import look_at
from .program import Answer, Client, Home, Program, furnish

STATUS = {"enospc": 507, "eio": 503, "eio-sync": 503}
SLUG = {"enospc": "storage-full", "eio": "busy", "eio-sync": "busy"}


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    return await furnish(tmp_path / "data")


@dataclass
class Experience:
    """What clients went through while the disk did not do as it should."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    """The text of each document, by its title."""

    refused: list[str] = field(default_factory=list)
    doubtful: set[str] = field(default_factory=set)
    """Refused with the remark that it may have been kept all the same."""

    faults: list[str] = field(default_factory=list)

    def create(self, client: Client, place: str, title: str) -> Answer:
        answer = client.call("POST", place, {"title": title, "content": f"# {title}\n"})
        if answer.status == 201:
            self.acknowledged[title] = f"# {title}\n"
        else:
            self.refused.append(title)
            if "not certain" in answer.json["detail"]:
                self.doubtful.add(title)
        return answer


class Endured:
    """A server on a disk with a fault: everything that is wrong with how it went on is in `faults`."""

    def __init__(self, home: Home, kind: str, *, after: int, entry: tuple[str, ...] = ("-m", "mdserver")) -> None:
        self._home, self._kind, self._after = home, kind, after
        self._control = home.data.parent / "control"
        self._control.mkdir()
        self._program = Program(home, entry=entry)
        self._place = f"/workspaces/{home.workspace}/documents"
        self.seen = Experience()

    @property
    def faults(self) -> list[str]:
        """Run it all."""
        assert self._program.start(shim.environment(self._home.data, control=self._control))
        try:
            with self._program.asked() as client:
                known = self.seen.create(client, self._place, "before")
                self._expect("creating before", known, 201)
                document = known.json["id"]
                (self._control / self._kind).write_text(str(self._after))
                self._write_at_once()
                self._expect("reading on", client.call("GET", f"/documents/{document}"), 200)
                self._expect("listing on", client.call("GET", self._place), 200)
                edit = client.call("PUT", f"/documents/{document}/content", {"content": "no\n"}, {"If-Match": "*"})
                self._refusal("an edit", edit)
                ready = client.call("GET", "//readyz")
                if self._kind == "enospc" and (ready.status, ready.json["checks"]["disk"]) != (503, "the disk is full"):
                    self.seen.faults.append(f"/readyz says {ready}")
                (self._control / self._kind).unlink()
                self._expect("creating afterwards", self.seen.create(client, self._place, "after"), 201)
                self._expect("being ready", client.call("GET", "//readyz"), 200)
                self._compare(client)
        finally:
            self._program.stop()
        return self.seen.faults + look_at(self._home.database)

    @property
    def faults_after_death(self) -> list[str]:
        """Run it until writes are refused, kill the server there, and start it on a disk that is well again."""
        assert self._program.start(shim.environment(self._home.data, control=self._control))
        try:
            (self._control / self._kind).write_text(str(self._after))
            self._write_at_once()
            self._program.kill()
            (self._control / self._kind).unlink()
            assert self._program.start()
            with self._program.asked() as client:
                self._compare(client, died=True)
        finally:
            self._program.stop()
        return self.seen.faults + look_at(self._home.database)

    def _write_at_once(self) -> None:
        """Clients that write together, so that a failing batch holds units of several, each until refused thrice."""

        def work(number: int) -> None:
            with self._program.asked() as client:
                refused = turn = 0
                while refused < 3 and turn < 200:
                    turn += 1
                    answer = self.seen.create(client, self._place, f"during {number} {turn}")
                    if answer.status != 201:
                        refused += 1
                        self._refusal("creating", answer)
                if refused < 3:
                    self.seen.faults.append("writing goes on as if nothing were wrong")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()

    def _compare(self, client: Client, *, died: bool = False) -> None:
        listed = client.call("GET", f"{self._place}?limit=200").json["items"]
        found = {one["title"]: client.call("GET", f"/documents/{one['id']}/content").body.decode() for one in listed}
        if died:
            found = {title: text for title, text in found.items() if title not in self.seen.doubtful}
        if found != self.seen.acknowledged:
            self.seen.faults.append(f"acknowledged was {sorted(self.seen.acknowledged)}, there is {sorted(found)}")

    def _expect(self, what: str, answer: Answer, status: int) -> None:
        if answer.status != status:
            self.seen.faults.append(f"{what} is answered {answer}")

    def _refusal(self, what: str, answer: Answer) -> None:
        self._expect(what, answer, STATUS[self._kind])
        if answer.headers["Content-Type"] != "application/problem+json" or SLUG[self._kind] not in answer.json["type"]:
            self.seen.faults.append(f"{what} is refused with {answer}")


@pytest.mark.parametrize(("kind", "after"), [("enospc", 0), ("enospc", 7), ("eio", 0), ("eio", 7), ("eio-sync", 0)])
def test_writes_that_fail(home: Home, kind: str, after: int) -> None:
    """Refused with the right problem and without effect; reading goes on; writing does when the disk is well again."""
    endured = Endured(home, kind, after=after)
    assert endured.faults == []
    assert len(endured.seen.refused) >= 12


@pytest.mark.parametrize(("kind", "after"), [("enospc", 9), ("eio", 9), ("eio-sync", 0), ("eio-sync", 3)])
def test_killed_while_writes_fail(home: Home, kind: str, after: int) -> None:
    """What was refused stays refused, unless the refusal says that this is not certain: a COMMIT whose fsync failed is
    whole in the log, and found there by whoever opens it next."""
    endured = Endured(home, kind, after=after)
    assert endured.faults_after_death == []
    assert (endured.seen.doubtful != set()) == (kind != "enospc")


def test_a_server_that_does_not_hear_its_disk_is_found_out(home: Home) -> None:
    endured = Endured(home, "enospc", after=0, entry=("-m", "tests.robust.mutants", "deaf"))
    assert any("as if nothing were wrong" in one for one in endured.faults)
    assert any(one.startswith("acknowledged was") for one in endured.faults)


def test_a_full_disk_at_the_start(home: Home, tmp_path: Path) -> None:
    """It starts, since reading is possible, or says in a sentence why not; and leaves everything as it was."""
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "enospc").write_text("0")
    program = Program(home)
    if program.start(shim.environment(home.data, control=tmp_path / "control")):
        with program.asked() as client:
            assert client.call("GET", "//readyz").status == 503
            assert client.call("GET", "/workspaces").status == 200
        program.stop()
    else:
        assert program.died() == 1
        assert program.log.startswith("Error: ")
        assert program.log.count("\n") == 1
    assert look_at(home.database) == []


def test_a_directory_that_cannot_be_written_at_the_start(home: Home) -> None:
    """One sentence and exit status 1; nothing is changed."""
    home.data.chmod(0o500)
    before = {one.name: one.read_bytes() for one in home.data.iterdir() if one.is_file()}
    program = Program(home)
    try:
        assert not program.start(mortal=True)
        assert program.died() == 1
    finally:
        home.data.chmod(0o700)
    assert program.log.startswith(f"Error: Permission denied: {home.data}")
    assert program.log.count("\n") == 1
    assert {one.name: one.read_bytes() for one in home.data.iterdir() if one.is_file()} == before


def test_a_database_of_ours_that_cannot_be_written_at_the_start(home: Home) -> None:
    """Its mode is put right, as at every start, and before SQLite has opened it for reading only."""
    home.database.chmod(0o400)
    program = Program(home)
    assert program.start(mortal=True)
    with program.asked() as client:
        made = client.call("POST", f"/workspaces/{home.workspace}/documents", {"title": "New"})
    program.stop()
    assert made.status == 201, made
    assert home.database.stat().st_mode & 0o777 == 0o600


def test_a_directory_that_is_closed_while_the_server_runs(home: Home) -> None:
    program = Program(home)
    assert program.start(mortal=True)
    with program.asked() as client:
        home.data.chmod(0o500)
        red = client.call("GET", "//readyz")
        assert (red.status, red.json["checks"]["disk"]) == (503, "the data directory cannot be written")
        assert client.call("GET", "/workspaces").status == 200
        home.data.chmod(0o700)
        assert client.call("GET", "//readyz").status == 200
    program.stop()
    assert look_at(home.database) == []
