"""The load generator: connections that each send their next request when the last one is answered.

Requests are bytes made beforehand and answers are looked at no closer than to find their end, so that one core of
Python drives servers several times as fast as ours. How busy it was itself is part of every result.
"""

from __future__ import annotations

import select
import socket
import time
from collections import Counter
from dataclasses import dataclass, field

from . import machine

SERIAL = b"@serial@"
"""Stands in a request that must not be sent twice alike; eight digits take its place."""

SILENCE = 10
SETTLING = 120
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Load:
    """What to send to which port and for how long; `pid` is the server's, for its CPU time.

    `beside` is sent at the same time on connections of its own, whose answers are not counted. With `settles`, what the
    server still does afterwards (an index that it brings up to date) counts as CPU time of the requests.
    """

    port: int
    pid: int
    requests: list[bytes]
    expected: int = 200
    connections: int = 32
    warm_up: float = 0.3
    seconds: float = 3.0
    first_serial: int = 0
    beside: list[bytes] = field(default_factory=list)
    beside_connections: int = 4
    settles: bool = False


@dataclass(slots=True)
class Outcome:
    """What came of it between warm-up and end. `serial` is the next that is free."""

    requests: int
    seconds: float
    per_second: float
    cpu_us: float
    server_busy: float
    generator_busy: float
    p50_ms: float
    p99_ms: float
    unexpected: dict[str, int]
    serial: int


class Broken(Exception):
    """The server hung up, or said nothing for long."""


@dataclass(slots=True)
class _Tally:
    """Counts, the clock of the server, and how long the generator had nothing to do, since the last reset."""

    pid: int
    began: float = 0.0
    cpu: float = 0.0
    idle: float = 0.0
    times: list[float] = field(default_factory=list)
    statuses: Counter[bytes] = field(default_factory=Counter)

    def reset(self) -> None:
        self.times.clear()
        self.statuses.clear()
        self.cpu, self.idle, self.began = machine.cpu_seconds(self.pid), 0.0, time.perf_counter()


class _Connection:
    """A connection with one request under way."""

    __slots__ = ("counts", "following", "got", "sent", "socket")

    def __init__(self, port: int, following: _Requests, *, counts: bool) -> None:
        self.following = following
        self.counts = counts
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.got = b""
        self.sent = 0.0

    def send(self) -> None:
        request = self.following()
        self.sent = time.perf_counter()
        self.socket.sendall(request)  # a few kB into an empty buffer: it does not block

    def receive(self) -> bytes | None:
        """What is there; the answer's status once it is whole."""
        data = self.socket.recv(_CHUNK)
        if not data:
            raise Broken("the server closed a connection")
        if self.got:
            data = self.got + data
        if not _is_whole(data):
            self.got = data
            return None
        self.got = b""
        return data[9:12]


def _is_whole(data: bytes) -> bool:
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return False
    at = data.find(b"\r\nContent-Length: ", 0, head)
    if at >= 0:
        if data.startswith(b"304", 9):  # may tell the length of what it does not send
            return True
        return len(data) >= head + 4 + int(data[at + 18 : data.index(b"\r", at + 18)])
    return data.startswith((b"204", b"304"), 9) or data.endswith(b"\r\n0\r\n\r\n")


def run(load: Load) -> Outcome:
    """Send the requests in turn, over and over, until the time is up; then wait for what is under way."""
    following, beside = _Requests(load.requests, load.first_serial), _Requests(load.beside, 0)
    tally = _Tally(load.pid)
    connections: dict[int, _Connection] = {}
    poller = select.poll()
    try:
        for source, number in ((following, load.connections), (beside, load.beside_connections)):
            for _ in range(number if source.requests else 0):
                one = _Connection(load.port, source, counts=source is following)
                connections[one.socket.fileno()] = one
                poller.register(one.socket, select.POLLIN)
                one.send()
        _pump(poller, connections, tally, load.warm_up)
        tally.reset()
        _pump(poller, connections, tally, load.seconds)
        outcome = _outcome(load, tally, following.turn)
        used = machine.cpu_seconds(load.pid)
        for one in connections.values():  # what follows finds the server at rest
            while one.receive() is None:
                pass
        if load.settles:
            outcome.cpu_us += (_settled(load.pid) - used) / outcome.requests * 1e6
    finally:
        for one in connections.values():
            one.socket.close()
    return outcome


class _Requests:
    """Gives the next request."""

    def __init__(self, requests: list[bytes], first_serial: int) -> None:
        self.turn = first_serial
        self.requests = requests
        self._are_numbered = bool(requests) and SERIAL in requests[0]

    def __call__(self) -> bytes:
        request = self.requests[self.turn % len(self.requests)]
        if self._are_numbered:
            request = request.replace(SERIAL, b"%08d" % self.turn)
        self.turn += 1
        return request


def _settled(pid: int) -> float:
    """The server's CPU time once it has nothing more to do."""
    used, end = machine.cpu_seconds(pid), time.monotonic() + SETTLING
    while time.monotonic() < end:
        time.sleep(0.5)
        before, used = used, machine.cpu_seconds(pid)
        if used - before < 0.02:
            break
    return used


def _pump(poller: select.poll, connections: dict[int, _Connection], tally: _Tally, seconds: float) -> None:
    """Answer each answer with the next request for so long.

    It does not sleep while it waits: waking a sleeper takes the server's core some microseconds, and more on a virtual
    machine, which would count as the server's work, and for a slower server more often than for a fast one.
    """
    times, statuses = tally.times, tally.statuses
    heard = time.perf_counter()
    end = heard + seconds
    while (now := time.perf_counter()) < end:
        ready = poller.poll(0)
        if ready:
            heard = now
        else:
            tally.idle += time.perf_counter() - now
            if now - heard > SILENCE:
                raise Broken(f"the server said nothing for {SILENCE} seconds")
        for number, _ in ready:
            connection = connections[number]
            status = connection.receive()
            if status is not None:
                if connection.counts:
                    times.append(time.perf_counter() - connection.sent)
                    statuses[status] += 1
                connection.send()


def _outcome(load: Load, tally: _Tally, serial: int) -> Outcome:
    seconds = time.perf_counter() - tally.began
    cpu = machine.cpu_seconds(load.pid) - tally.cpu
    times = sorted(tally.times)
    if not times:
        raise Broken("the server answered nothing in the time given")
    wrong = {status.decode(): number for status, number in tally.statuses.items() if int(status) != load.expected}
    return Outcome(
        requests=len(times),
        seconds=seconds,
        per_second=len(times) / seconds,
        cpu_us=cpu / len(times) * 1e6,
        server_busy=cpu / seconds,
        generator_busy=1 - tally.idle / seconds,
        p50_ms=times[len(times) // 2] * 1e3,
        p99_ms=times[len(times) * 99 // 100] * 1e3,
        unexpected=wrong,
        serial=serial,
    )
