"""A data directory to run commands on: inside the test's process, or as a program of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from click.testing import CliRunner, Result

from mdserver.cli import main

PASSWORD = "tiny harbour lantern"
PATIENCE = 60.0
"""Seconds after which a program that does not end is an error, on however busy a machine."""


class Home:
    """A data directory, with the environment that names it. `run` calls a command in this process."""

    def __init__(self, data: Path, *, database_url: str = "") -> None:
        self.data = data
        self.words = [sys.executable, "-m", "mdserver"]
        """How the program is called when it is a process of its own."""
        self.environment = {"MDSERVER_DATA": str(data), "MDSERVER_ACCOUNTS__PASSWORD_HASHING": "small"}
        if database_url:
            self.environment["MDSERVER_DATABASE__URL"] = database_url

    def run(self, *arguments: str, stdin: str | None = None) -> Result:
        """Call a command; the result has its exit code and both outputs."""
        return CliRunner(env=self.environment).invoke(main, list(arguments), input=stdin)

    def ok(self, *arguments: str, stdin: str | None = None) -> str:
        """What a command prints that must succeed."""
        result = self.run(*arguments, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str, stdin: str | None = None) -> Any:
        """The same as JSON."""
        return json.loads(self.ok(*arguments, "--json", stdin=stdin))

    def fails(self, *arguments: str, status: int = 1, stdin: str | None = None) -> str:
        """The one sentence that a command says when it fails."""
        result = self.run(*arguments, stdin=stdin)
        assert result.exit_code == status, result.output
        assert result.stdout == ""
        assert result.stderr.startswith("Error: "), result.stderr
        return result.stderr.removeprefix("Error: ").rstrip("\n")

    def user(self, email: str = "ada@example.org", *options: str) -> str:
        """Make an account; its id."""
        made = self.json("user", "create", email, "--password-stdin", *options, stdin=PASSWORD)
        return str(made["user"]["id"])

    def workspace(self, name: str, *, owner: str = "ada@example.org") -> str:
        """Make a workspace; its id."""
        return str(self.json("workspace", "create", name, "--owner", owner)["id"])

    def program(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command as a program of its own."""
        return subprocess.run(
            [*self.words, *arguments],
            env=self._whole_environment(),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    @contextlib.contextmanager
    def serving(self, *options: str) -> Iterator[Serving]:
        """A server of its own process on a free port; it is stopped as a service manager would, if it still runs."""
        with subprocess.Popen(
            [*self.words, "--json", "serve", "--listen", "127.0.0.1:0", *options],
            env=self._whole_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            try:
                line = process.stdout.readline()
                assert line, (process.communicate(timeout=PATIENCE)[1], process.returncode)
                yield Serving(process, json.loads(line))
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                try:
                    process.communicate(timeout=PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise

    def _whole_environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("MDSERVER_")}
        return own | self.environment | {"PYTHONUTF8": "1"}


class Answer(NamedTuple):
    status: int
    body: Any


class Serving:
    """A running server and what it said of itself."""

    def __init__(self, process: subprocess.Popen[str], greeting: dict[str, Any]) -> None:
        self.process, self.greeting = process, greeting
        self.url: str = greeting["url"]

    def ask(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> Answer:
        """One request to the API."""
        place = urlsplit(self.url)
        with contextlib.closing(http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE)) as to:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            if token is not None:
                headers["Authorization"] = f"Bearer {token}"
            to.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = to.getresponse()
            data = response.read()
        try:
            return Answer(response.status, json.loads(data))
        except ValueError:
            return Answer(response.status, data.decode())

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send the signal and wait: → exit status and what was written to standard error."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors


def taken_port() -> socket.socket:
    """A listening socket on a port of this machine."""
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    made.listen(1)
    return made
