"""What a proxy says of a client, and who is believed: addresses, https, request ids; what comes from this machine."""

from __future__ import annotations

import ipaddress

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from mdserver.config import Log, Rate, Rates
from mdserver.config import Server as ServerSection
from mdserver.web import limits
from mdserver.web.log import REQUEST_LOG

from .conftest import Start

TRUSTED = (ipaddress.ip_network("127.0.0.1/32"), ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))


def asked(*fields: tuple[str, str], remote: str = "127.0.0.1", trusted: bool = True) -> web.Request:
    app = web.Application()
    app[limits.PROXIES] = TRUSTED if trusted else ()
    return make_mocked_request("GET", "/", headers=CIMultiDict(fields), app=app).clone(remote=remote)


@pytest.mark.parametrize(
    ("fields", "seen"),
    [
        (["6.6.6.6"], "6.6.6.6"),
        (["9.9.9.1", "6.6.6.6"], "6.6.6.6"),
        (["9.9.9.1, 6.6.6.6:1001"], "6.6.6.6"),
        (["9.9.9.1, 6.6.6.6, 10.1.2.3"], "6.6.6.6"),
        (["::ffff:6.6.6.6"], "6.6.6.6"),
        (["[2001:db8:1:2::5]:443"], "2001:db8:1:2::"),
        (["2001:db8:1:2::5"], "2001:db8:1:2::"),
        (["9.9.9.1, 2001:db8:1:2::5, fd00::1"], "2001:db8:1:2::"),
        (["6.6.6.6, unknown"], "127.0.0.1"),
        (["6.6.6.6, unknown, 10.1.2.3"], "10.1.2.3"),
        (['","user":"ada'], "127.0.0.1"),
        (["6.6.6.6, "], "127.0.0.1"),
        ([], "127.0.0.1"),
    ],
)
def test_whose_address_a_request_behind_a_proxy_has(fields: list[str], seen: str) -> None:
    assert limits.address(asked(*[("X-Forwarded-For", one) for one in fields])) == seen


def test_nobody_else_is_believed() -> None:
    claims = (
        *(("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Proto", "https"), ("X-Real-IP", "6.6.6.6")),
        ("Forwarded", "for=6.6.6.6;proto=https"),
    )
    for request in (asked(*claims, remote="192.0.2.1"), asked(*claims, remote="192.0.2.1", trusted=False)):
        assert limits.address(request) == "192.0.2.1"
        assert not limits.is_https(request)
    assert limits.address(asked(*claims[2:])) == "127.0.0.1"  # Forwarded is not read, not even from a trusted proxy
    assert not limits.is_https(asked(*claims[2:]))


@pytest.mark.parametrize(
    ("fields", "https"),
    [
        (["https"], True),
        ([" HTTPS "], True),
        (["http"], False),
        (["https, http"], False),
        (["https", "http"], False),
        (["http, https"], True),
        (["httpsx"], False),
        ([], False),
    ],
)
def test_https_is_what_the_nearest_proxy_says(fields: list[str], https: bool) -> None:
    assert limits.is_https(asked(*[("X-Forwarded-Proto", one) for one in fields])) is https


@pytest.mark.parametrize(
    ("remote", "host", "more", "is_loopback"),
    [
        ("127.0.0.1", "127.0.0.1:8000", "", True),
        ("127.0.0.2", "localhost", "", True),
        ("::1", "[::1]:8000", "", True),
        ("::1", "LOCALHOST:8000", "", True),
        ("192.0.2.1", "127.0.0.1:8000", "", False),
        ("", "127.0.0.1:8000", "", False),
        ("127.0.0.1", "notes.example.org", "", False),
        ("127.0.0.1", "localhost.example.org:8000", "", False),
        ("127.0.0.1", "", "", False),
        ("127.0.0.1", "127.0.0.1:8000", "X-Forwarded-For", False),
        ("127.0.0.1", "127.0.0.1:8000", "x-forwarded-proto", False),
        ("127.0.0.1", "127.0.0.1:8000", "X-Forwarded-Anything", False),
        ("127.0.0.1", "127.0.0.1:8000", "Forwarded", False),
        ("127.0.0.1", "127.0.0.1:8000", "X-Real-IP", False),
        ("127.0.0.1", "127.0.0.1:8000", "Via", False),
        ("127.0.0.1", "127.0.0.1:8000", "CF-Connecting-IP", False),
    ],
)
def test_what_comes_from_this_machine(remote: str, host: str, more: str, is_loopback: bool) -> None:
    fields = [("Host", host), *([(more, "127.0.0.1")] if more else [])]
    for trusted in (True, False):
        assert limits.is_loopback(asked(*fields, remote=remote, trusted=trusted)) is is_loopback


@pytest.mark.parametrize("trusted", [True, False])
async def test_limits_ids_and_log_lines_follow_the_client_only_behind_a_trusted_proxy(
    capsys: pytest.CaptureFixture[str], start: Start, trusted: bool
) -> None:
    rates = Rates(reads=Rate(2, 3600))
    section = ServerSection(trusted_proxies=TRUSTED if trusted else ())
    server = await start(server=section, rates=rates, log=Log(requests="all", format="json"))
    statuses = []
    for last in (1, 2, 3, 4):
        headers = {"X-Forwarded-For": f"203.0.113.{last}", "X-Request-Id": f"proxy-{last}"}
        answer = await server.anonymous.get("/openapi.json", headers=headers)
        assert (answer.headers["X-Request-Id"] == f"proxy-{last}") is trusted
        statuses.append(answer.status)
    assert statuses == ([200] * 4 if trusted else [200, 200, 429, 429])
    server.app[REQUEST_LOG].flush()
    assert ("203.0.113.4" in capsys.readouterr().err) is trusted
