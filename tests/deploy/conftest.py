"""Fixtures for what a real installation has around the server."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import either, home  # noqa: F401 (fixtures)


@pytest.fixture
def systemd() -> None:
    """The test asks systemd's own programs. Without them it is left out, but never in CI."""
    if shutil.which("systemd-analyze") is None:
        assert "CI" not in os.environ, "CI has to install the Debian package systemd"
        pytest.skip("systemd-analyze is not installed (Debian package systemd): the unit is not judged here")


class Manager:
    """The service manager's end of the notification socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(60)

    def hear(self) -> dict[str, str]:
        """The next message, variable by variable; waits for it."""
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())

    def heard(self) -> list[dict[str, str]]:
        """What has arrived by now."""
        self.socket.setblocking(False)
        found = []
        try:
            while True:
                found.append(self.hear())
        except BlockingIOError:
            return found
        finally:
            self.socket.settimeout(60)


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest) -> Iterator[Manager]:
    """A service manager that listens on either kind of socket."""
    with tempfile.TemporaryDirectory(prefix="mds-") as place:
        name = str(Path(place) / "notify")
        made = Manager(f"@{name}" if request.param == "abstract" else name)
        yield made
        made.socket.close()
