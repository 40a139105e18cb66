"""The shipped Caddyfile, run by the real Caddy in front of the real server: what a proxy must not spoil."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.cli.homes import PASSWORD, Home, Serving

from .caddies import CADDYFILE, Answer, Caddy, caddy, free_ports, program

PACKS = {"Accept-Encoding": "gzip, deflate, br, zstd"}
"""What every browser sends."""


class House:
    """The server behind Caddy, and an owner who calls it with a token."""

    def __init__(self, home: Home, proxy: Caddy, server: Serving, base: str) -> None:
        self.home, self.proxy, self.server, self.base = home, proxy, server, base
        home.user()
        words = ["--name", "test", "--scope", "read", "--scope", "write", "--scope", "admin"]
        self.token = home.json("token", "create", "ada@example.org", *words)["token"]
        self.workspace = self.ask("GET", "/workspaces").json["items"][0]["id"]

    def ask(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None, source: str = ""
    ) -> Answer:
        """A request to the API with the owner's token, through Caddy, as a browser would ask."""
        given = {"Authorization": f"Bearer {self.token}", **PACKS, **(headers or {})}
        return self.proxy.ask(method, f"{self.base}/api/v1{path}", body, headers=given, source=source or "127.0.0.1")

    def directly(self, path: str) -> Answer:
        """A GET past Caddy, from this machine."""
        place = http.client.HTTPConnection("127.0.0.1", self.proxy.ports.upstream, timeout=60)
        with contextlib.closing(place):
            place.request("GET", self.base + path)
            response = place.getresponse()
            return Answer(response.status, response.headers, response.read())

    def document(self, content: str = "one\n") -> Answer:
        made = self.ask("POST", f"/workspaces/{self.workspace}/documents", {"title": "Plan", "content": content})
        assert made.status == 201
        return made


@pytest.fixture(scope="module", params=["", "/notes"], ids=["root", "base path"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running(tmp_path_factory.mktemp("house"), base=request.param) as made:
        yield made


@contextlib.contextmanager
def running(place: Path, *, base: str = "", **environment: str) -> Iterator[House]:
    """The server and Caddy in front of it, as README.md says to configure them."""
    ports = free_ports()
    home = Home(place / "home")
    home.environment |= {
        "MDSERVER_SERVER__PUBLIC_URL": f"https://localhost:{ports.https}{base}",
        "MDSERVER_SERVER__BASE_PATH": base,
        "MDSERVER_SERVER__TRUSTED_PROXIES": "127.0.0.1",
        "MDSERVER_RATES__ENABLED": "false",
        **environment,
    }
    with (
        home.serving("--listen", f"127.0.0.1:{ports.upstream}") as server,
        caddy(place / "caddy", ports, base_path=base) as proxy,
    ):
        yield House(home, proxy, server, base)


@pytest.mark.parametrize("environment", [{}, {"DOMAIN": "notes.example.org", "BASE_PATH": "/notes"}])
def test_caddy_takes_the_file_as_it_is(environment: dict[str, str], tmp_path: Path) -> None:
    places = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    for words in (["fmt", "--diff"], ["validate", "--config"]):
        done = subprocess.run(
            [program(), *words, str(CADDYFILE)],
            env={"PATH": os.environ["PATH"], **places, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_etags_and_conditions_pass_unchanged(house: House) -> None:
    made = house.document("one\n" * 1000)
    id = made.json["id"]
    assert made.headers["Location"] == f"{house.base}/api/v1/documents/{id}"
    for path in (f"/documents/{id}", f"/documents/{id}/content"):
        read = house.ask("GET", path)
        etag = read.headers["ETag"]
        assert read.status == 200
        assert etag.startswith('"1-')
        assert not etag.endswith(('-gzip"', '-zstd"'))
        assert read.headers["Content-Encoding"] is None
        known = house.ask("GET", path, headers={"If-None-Match": etag})
        assert (known.status, known.data, known.headers["ETag"]) == (304, b"", etag)
        head = house.ask("HEAD", path)
        assert (head.status, head.data, head.headers["ETag"]) == (200, b"", etag)
        assert head.headers["Content-Length"] == str(len(read.data))
    text = {"Content-Type": "text/markdown"}
    changed = house.ask("PUT", f"/documents/{id}/content", b"two\n" * 1000, headers={**text, "If-Match": etag})
    assert changed.status == 200
    stale = house.ask("PUT", f"/documents/{id}/content", b"three\n", headers={**text, "If-Match": etag})
    assert (stale.status, stale.headers.get_content_type()) == (412, "application/problem+json")
    assert stale.headers["ETag"] == house.ask("GET", f"/documents/{id}").headers["ETag"]
    assert house.ask("GET", f"/documents/{id}/content", headers={"If-None-Match": etag}).data == b"two\n" * 1000


def test_addresses_in_answers_are_those_that_people_use(house: House) -> None:
    house.document()
    house.document()
    listed = house.ask("GET", f"/workspaces/{house.workspace}/documents?limit=1")
    following = listed.headers["Link"].partition(">")[0].removeprefix("<")
    assert following.startswith(f"{house.base}/api/v1/workspaces/")
    assert house.ask("GET", following.removeprefix(f"{house.base}/api/v1")).status == 200
    problem = house.ask("GET", "/documents/nothing")
    public = house.proxy.url + house.base
    assert problem.json["type"] == f"{public}/problems/not-found"
    assert house.proxy.ask("GET", f"{house.base}/problems/not-found").status == 200
    described = house.ask("GET", "/openapi.json", headers={"Accept-Encoding": "identity"})
    assert described.json["servers"] == [{"url": public or "/"}]
    assert house.server.greeting["url"] == public
    if house.base:
        assert house.proxy.ask("GET", house.base).headers["Location"] == f"{house.base}/"


def test_a_request_that_is_no_http_names_its_problem_under_the_base_path(house: House) -> None:
    with socket.create_connection(("127.0.0.1", house.proxy.ports.upstream), 60) as raw:
        raw.sendall(b"GET / HTTP/9.9.9\r\n\r\n")
        answer = raw.makefile("rb").read().decode()
    assert f'"type":"{house.proxy.url}{house.base}/problems/malformed"' in answer


def test_every_header_field_stands_once(house: House) -> None:
    id = house.document().json["id"]
    for path in ("/", "/docs", f"/api/v1/documents/{id}", "/api/v1/documents/nothing", "/readyz"):
        authorization = {"Authorization": f"Bearer {house.token}"}
        answer = house.proxy.ask("GET", house.base + path, headers={**authorization, **PACKS})
        names = [name.lower() for name in answer.headers]
        assert sorted(names) == sorted(set(names)), path
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    mine = {"X-Request-Id": "chosen-by-client"}
    assert house.ask("GET", "/me", headers=mine).headers["X-Request-Id"] != mine["X-Request-Id"]


def test_only_what_never_changes_is_compressed(house: House) -> None:
    page = house.proxy.ask("GET", f"{house.base}/").data.decode()
    path = page.partition('rel="stylesheet" href="')[2].partition('"')[0]
    assert path.startswith(f"{house.base}/assets/")
    plain = house.proxy.ask("GET", path)
    packed = house.proxy.ask("GET", path, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.data) < len(plain.data) / 2
    again = {"Accept-Encoding": "gzip", "If-None-Match": packed.headers["ETag"]}
    assert house.proxy.ask("GET", path, headers=again).status == 304


def test_https_is_what_caddy_says(house: House) -> None:
    signing_in = {"email": "ada@example.org", "password": PASSWORD, "cookie": True}
    forged = {"X-Forwarded-Proto": "http", "X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6;proto=http"}
    answer = house.proxy.ask("POST", f"{house.base}/api/v1/auth/login", signing_in, headers=forged, source="127.0.0.2")
    assert answer.status == 200
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-mdserver=")
    assert "; Secure" in cookie
    assert "; Path=/;" in cookie
    browser = {"Cookie": cookie.partition(";")[0]}
    listed = house.proxy.ask("GET", f"{house.base}/api/v1/me/sessions", headers=browser)
    addresses = {one["address"] for one in listed.json["items"] if one["current"]}
    assert addresses == {"127.0.0.2"}
    led = house.proxy.ask("GET", f"{house.base}/docs", https=False)
    assert (led.status, led.headers["Location"]) == (
        308,
        f"https://localhost{house.base}/docs",
    )  # its port is "the" one


def test_what_is_too_large(house: House) -> None:
    id = house.document().json["id"]
    text = {"Content-Type": "text/markdown", "If-Match": "*"}
    refused = house.ask("PUT", f"/documents/{id}/content", b"x" * (21 << 20), headers=text)
    assert (refused.status, refused.headers.get_content_type()) == (413, "application/problem+json")
    assert house.ask("PUT", f"/documents/{id}/content", b"x" * (33 << 20), headers=text).status == 413  # by either
    assert house.ask("POST", "/auth/login", {"email": "x" * (2 << 20), "password": "x"}).status == 413
    assert house.ask("GET", f"/documents/{id}/content").data == b"one\n"


def test_a_long_text_comes_whole(house: House) -> None:
    id = house.document().json["id"]
    line = b"all work and no play\n"
    text = line * ((18 << 20) // len(line))
    kept = house.ask(
        "PUT", f"/documents/{id}/content", text, headers={"Content-Type": "text/markdown", "If-Match": "*"}
    )
    assert kept.status == 200
    read = house.ask("GET", f"/documents/{id}/content")
    assert hashlib.sha256(read.data).digest() == hashlib.sha256(text).digest()
    whole = house.ask("GET", f"/documents/{id}")  # JSON, made piece by piece
    assert whole.headers["Transfer-Encoding"] == "chunked"
    assert len(whole.json["content"]) == len(text)


def test_figures_are_not_for_strangers(house: House) -> None:
    """Caddy is on this machine, and so is whoever asks it here: that must not make them the machine's own."""
    told = house.directly("/metrics")
    assert told.status == 200
    assert b"mdserver_requests_total" in told.data
    for headers in (
        {},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Authorization": f"Bearer {house.token}"},
    ):
        assert house.proxy.ask("GET", f"{house.base}/metrics", headers=headers).status == 404
    assert b"mdserver" not in house.proxy.ask("GET", f"{house.base}/metrics", headers={"Host": "127.0.0.1"}).data


def test_figures_are_for_who_has_the_token(tmp_path: Path) -> None:
    with running(tmp_path, MDSERVER_METRICS__TOKEN="a-token-of-enough-letters") as house:
        assert house.directly("/metrics").status == 401
        assert house.proxy.ask("GET", "/metrics").status == 401
        told = house.proxy.ask("GET", "/metrics", headers={"Authorization": "Bearer a-token-of-enough-letters"})
        assert told.status == 200
        assert told.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_limits_count_the_real_client(tmp_path: Path) -> None:
    rates = {"MDSERVER_RATES__ENABLED": "true", "MDSERVER_RATES__READS": "3/h"}
    with running(tmp_path, **rates) as house:

        def knock(source: str, claim: str) -> int:
            forged = {"X-Forwarded-For": claim, "Forwarded": f"for={claim}", "X-Real-IP": claim}
            answer: Answer = house.proxy.ask("GET", "/docs", headers=forged, source=source)
            return answer.status

        assert [knock("127.0.0.2", f"203.0.113.{n}") for n in range(5)] == [200, 200, 200, 429, 429]
        assert knock("127.0.0.3", "127.0.0.2") == 200


async def test_events_pass_as_they_come(house: House) -> None:
    """Server-sent events, and the same over a WebSocket: neither waits for a buffer to be full."""
    signed_in = {"Authorization": f"Bearer {house.token}"}
    root, secure = f"{house.proxy.url}{house.base}", house.proxy.context()
    async with aiohttp.ClientSession(headers={**signed_in, **PACKS}) as session, asyncio.timeout(60):
        async with session.get(f"{root}/api/v1/events", ssl=secure) as events:
            heard = await _heard(events, "change")
            made = await asyncio.to_thread(house.document)
            assert await _heard(events, "change") > heard
            assert made.status == 201
        async with session.ws_connect(f"{root}/events", ssl=secure) as events_too:
            before = (await events_too.receive_json())["data"]["position"]
            await asyncio.to_thread(house.document)
            assert (await events_too.receive_json())["data"]["position"] > before


async def _heard(response: aiohttp.ClientResponse, name: str) -> int:
    """The position in the next event of that name."""
    found = ""
    while True:
        line = (await response.content.readline()).decode().rstrip("\n")
        if line.startswith("event: "):
            found = line.removeprefix("event: ")
        if line.startswith("data: ") and found == name:
            return int(json.loads(line.removeprefix("data: "))["position"])


def test_a_folder_is_synced_over_https(house: House, tmp_path: Path) -> None:
    """The program checks the certificate: one that nobody vouches for is refused."""
    (tmp_path / "Plan of the day.md").write_text("# Plan\n")
    command = [sys.executable, "-m", "mdserver", "sync", str(tmp_path), "--once"]
    command += ["--server", f"{house.proxy.url}{house.base}"]
    environment = {**os.environ, "MDSERVER_TOKEN": house.token}
    strange = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert strange.returncode == 1
    assert "shows a certificate that this machine does not trust" in strange.stderr
    assert house.token not in strange.stdout + strange.stderr
    environment["SSL_CERT_FILE"] = str(house.proxy.authority)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    listed = house.ask("GET", f"/workspaces/{house.workspace}/documents?path=Plan%20of%20the%20day.md")
    assert [one["title"] for one in listed.json["items"]] == ["Plan"]


async def test_web_sockets_pass(tmp_path: Path) -> None:
    """Long messages, too."""
    ports = free_ports()

    async def echo(request: web.Request) -> web.WebSocketResponse:
        made = web.WebSocketResponse()
        await made.prepare(request)
        async for message in made:
            await made.send_bytes(message.data)
        return made

    app = web.Application()
    app.router.add_get("/live", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", ports.upstream).start()
    entered = caddy(tmp_path, ports)
    proxy = await asyncio.to_thread(entered.__enter__)
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"wss://localhost:{ports.https}/live", ssl=proxy.context()) as live,
        ):
            for size in (1, 100_000):
                await live.send_bytes(b"x" * size)
                assert len(await live.receive_bytes(timeout=60)) == size
    finally:
        await asyncio.to_thread(entered.__exit__, None, None, None)
        await runner.cleanup()
