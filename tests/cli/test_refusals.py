"""What is no valid HTTP, sent to the real program: a short problem comes back, and none of it reaches the log."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import pytest

from .homes import Home, Serving


def said(server: Serving, request: bytes) -> bytes:
    place = urlsplit(server.url)
    with socket.create_connection((place.hostname, place.port), timeout=30) as to:
        to.sendall(request)
        answer = b""
        while chunk := to.recv(65536):
            answer += chunk
    return answer


@pytest.mark.parametrize(
    "request_",
    [
        b"SECRET\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nCookie: other=SECRET" + b"a" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"SECRET" * 5_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: SECRET\r\n\r\n",
        "GET /documents?path=SECRETé HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    ],
    ids=["no method", "long header", "long path", "bad length", "bytes in the query"],
)
def test_what_is_no_http_is_a_problem_and_not_told(home: Home, request_: bytes) -> None:
    with home.serving() as server:
        head, _, body = said(server, request_).partition(b"\r\n\r\n")
        assert b" 400 Bad Request" in head.splitlines()[0]
        assert b"application/problem+json" in head
        assert b"aiohttp" not in head
        assert json.loads(body)["status"] == 400
        assert b"SECRET" not in body
        assert server.ask("GET", "/healthz").status == 200
        status, log = server.stop()
    assert status == 0
    assert "SECRET" not in log
    assert "Traceback" not in log


def test_expectations(home: Home) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: %s\r\n\r\n"
    with home.serving() as server:
        granted = said(server, request % b"100-continue")
        assert granted.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
        assert said(server, request % b"something-else").startswith(b"HTTP/1.1 200 OK")


def test_a_stalled_client_does_not_hold_up_the_end(home: Home) -> None:
    with home.serving() as server:
        place = urlsplit(server.url)
        with socket.create_connection((place.hostname, place.port), timeout=30) as to:
            to.sendall(b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
            to.sendall(b"Content-Length: 1000\r\n\r\n{")
            assert server.ask("GET", "/healthz").status == 200
            status, log = server.stop()
    assert status == 0
    assert "not everything was closed" not in log
