"""What commands ask a person on a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .homes import PASSWORD, PATIENCE, Home
from .trees import plant

# Makes the descriptor the controlling terminal, and goes on as the program.
_ON_TERMINAL = (
    "import os, sys; os.login_tty(int(sys.argv[1])); os.execv(sys.executable, [sys.executable, '-m', *sys.argv[2:]])"
)


class Terminal:
    """A command that runs on a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self._process, self._descriptor, self.seen = process, descriptor, ""

    def expect(self, text: str) -> None:
        """Wait until the terminal shows this after what was expected before."""
        while text not in self.seen:
            more = self._read()
            assert more, f"{text!r} never came: {self.seen!r}"
            self.seen += more
        self.seen = self.seen.partition(text)[2]

    def type(self, text: str) -> None:
        os.write(self._descriptor, f"{text}\n".encode())

    def end(self) -> int:
        """Read to the end; the exit status."""
        while more := self._read():
            self.seen += more
        return self._process.wait(timeout=PATIENCE)

    def _read(self) -> str:
        with contextlib.suppress(OSError):  # Linux answers EIO when the program's side is closed
            return os.read(self._descriptor, 4096).decode()
        return ""


@contextlib.contextmanager
def terminal(home: Home, *arguments: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", _ON_TERMINAL, str(theirs), "mdserver", *arguments],
        env=os.environ | home.environment | {"PYTHONUTF8": "1", "COLUMNS": "200"},
        pass_fds=[theirs],
    ) as process:
        os.close(theirs)
        try:
            yield Terminal(process, ours)
        finally:
            os.close(ours)
            if process.poll() is None:
                process.kill()


def test_a_password_is_asked_for_twice(home: Home) -> None:
    with terminal(home, "user", "create", "ada@example.org") as shown:
        shown.expect("Password")
        shown.type(PASSWORD)
        shown.expect("Once more")
        shown.type(PASSWORD)
        shown.expect("The account ada@example.org was made")
        assert shown.end() == 0
        assert "#code=" not in shown.seen
        assert PASSWORD not in shown.seen
    with terminal(home, "user", "create", "bob@example.org") as shown:
        shown.expect("Password")
        shown.type(PASSWORD)
        shown.expect("Once more")
        shown.type("something else")
        shown.expect("Error: The two passwords are not the same.")
        assert shown.end() == 1
    assert [one["email"] for one in home.json("user", "list")] == ["ada@example.org"]


def test_no_password_is_a_link(home: Home) -> None:
    with terminal(home, "user", "create", "ada@example.org") as shown:
        shown.expect("Password (empty: make a link with which it is chosen)")
        shown.type("")
        shown.expect("/reset#code=mds_ot_")
        assert shown.end() == 0


def test_deleting_waits_for_a_yes(home: Home) -> None:
    home.user()
    question = "Delete the account ada@example.org, and every workspace that is only its own? [y/N]"
    with terminal(home, "user", "delete", "ada@example.org") as shown:
        shown.expect(question)
        shown.type("n")
        assert shown.end() == 1
    assert len(home.json("user", "list")) == 1
    with terminal(home, "user", "delete", "ada@example.org") as shown:
        shown.expect(question)
        shown.type("y")
        shown.expect("ada@example.org was deleted.")
        assert shown.end() == 0
    assert home.json("user", "list") == []


def test_long_work_shows_how_far_it_is(home: Home, tmp_path: Path) -> None:
    home.user()
    source = plant(tmp_path / "in", {f"{number}.md": b"x" for number in range(5)})
    with terminal(home, "import", str(source), "--workspace", "ada's notes", "--as", "ada@example.org") as shown:
        shown.expect("Reading")
        shown.expect("Importing")
        shown.expect("100%")
        shown.expect("5 documents and 0 folders were made")
        assert shown.end() == 0
    with terminal(home, "export", str(tmp_path / "out"), "--workspace", "ada's notes") as shown:
        shown.expect("Exporting")
        shown.expect("5 documents and 0 folders were written")
        assert shown.end() == 0
