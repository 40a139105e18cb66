"""Runs what people are given, the single-file executable or the wheel: `python -m tests.deploy.packed COMMAND…`.

It gets a bare directory and an empty environment. `make test-binary` and `make test-wheel` call this.
"""

from __future__ import annotations

import contextlib
import filecmp
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mdserver import __version__
from tests import engines

PATIENCE = 120.0
PAGES = ("/", "/docs", "/problems/stale", "/setup", "/api/v1/openapi.json", "/readyz", "/metrics")
FILES = {"Notes/Plan.md": "# Plan\n\nÜber alles – 计划\n", "Notes/Deep/er.md": "- [ ] one\n", "top.md": "[[Plan]]\n"}
PASSWORD = "tiny harbour lantern"


class Packed:
    """The program, its bare directory, and the little that its environment holds."""

    def __init__(self, words: list[str], place: Path) -> None:
        self.words, self.place = words, place
        # PyInstaller unpacks into TMPDIR; nothing else is said, not even PATH.
        self.environment = {"TMPDIR": str(place / "tmp")}
        (place / "tmp").mkdir()

    def run(self, *arguments: str, stdin: str = "", status: int = 0) -> str:
        """What a command prints."""
        done = subprocess.run(
            [*self.words, *arguments],
            cwd=self.place,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout + (done.stderr if status else "")

    def json(self, *arguments: str, stdin: str = "") -> Any:
        return json.loads(self.run(*arguments, "--json", stdin=stdin))

    @contextlib.contextmanager
    def serving(self, *options: str) -> Iterator[str]:
        """A running server's address; it has to end well."""
        with (
            open(self.place / "log", "w+") as log,
            subprocess.Popen(
                [*self.words, "--json", "serve", "--listen", "127.0.0.1:0", *options],
                cwd=self.place,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as process,
        ):
            assert process.stdout is not None
            try:
                line = process.stdout.readline()
                assert line, Path(log.name).read_text()
                yield json.loads(line)["url"]
            finally:
                process.terminate()
                process.wait(timeout=PATIENCE)
            said = Path(log.name).read_text()
            assert process.returncode == 0, said
            assert "Traceback" not in said, said
            assert "can corrupt" not in said, "it should carry a SQLite of its own"


def get(url: str, path: str, *, token: str = "") -> tuple[int, bytes]:
    with contextlib.closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)) as to:
        to.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        response = to.getresponse()
        return response.status, response.read()


def check(words: list[str], *, database_url: str = "") -> None:
    """Everything that a missing file of the package would break."""
    with tempfile.TemporaryDirectory(prefix="mdserver-packed-") as directory:
        place = Path(directory)
        packed = Packed(words, place)
        if database_url:
            packed.environment["MDSERVER_DATABASE__URL"] = database_url
        packed.environment["MDSERVER_ACCOUNTS__PASSWORD_HASHING"] = "small"
        assert packed.run("--version").split()[-1] == __version__
        packed.run("init")
        common = packed.run("user", "create", "eve@example.org", "--password-stdin", stdin="password123", status=1)
        assert "tried first" in common, "the list of common passwords is missing"
        for name, text in FILES.items():
            (place / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            (place / "in" / name).write_text(text, encoding="utf-8")
        with packed.serving() as url:
            for path in PAGES:
                assert get(url, path)[0] == 200, path
            page = get(url, "/")[1].decode()
            style = page.partition('rel="stylesheet" href="')[2].partition('"')[0]
            assert get(url, style)[0] == 200
            packed.run("user", "create", "ada@example.org", "--admin", "--password-stdin", stdin=PASSWORD)
            workspace = packed.json("workspace", "create", "Corpus", "--owner", "ada@example.org")["id"]
            packed.run("import", "in", "--workspace", "Corpus", "--as", "ada@example.org")
            token = packed.json("token", "create", "ada@example.org", "--name", "t", "--scope", "read")["token"]
            status, listed = get(url, f"/api/v1/workspaces/{workspace}/documents?path=Notes/Plan.md", token=token)
            assert status == 200, listed
            (plan,) = json.loads(listed)["items"]
            assert get(url, f"/api/v1/documents/{plan['id']}/html", token=token)[0] == 200
        packed.run("export", "out", "--workspace", "Corpus")  # without a server, in its own process
        for name in FILES:
            assert filecmp.cmp(place / "in" / name, place / "out" / name, shallow=False), name
        assert list((place / "tmp").iterdir()) == [], "the program left its unpacked files behind"


def main() -> None:
    words = [os.path.abspath(sys.argv[1]), *sys.argv[2:]]
    started = time.monotonic()
    check(words)
    with engines.fresh_dsn() as dsn:
        check(words, database_url=dsn)
    print(f"{' '.join(words)} works by itself, on SQLite and on PostgreSQL ({time.monotonic() - started:.0f} s)")


if __name__ == "__main__":
    main()
