"""How often somebody may ask: generic cell rate limits per class of route, and whose address a request has."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from aiohttp import web

from mdserver.errors import TooMuch

PROXIES: web.AppKey[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]] = web.AppKey("proxies", tuple)
REQUEST_ID: web.RequestKey[str] = web.RequestKey("id", str)
RATE: web.RequestKey[tuple[str, str]] = web.RequestKey("rate", tuple)
"""The RateLimit-Policy and RateLimit fields of the answer."""

_MOST_KEYS = 50_000


class Rate(NamedTuple):
    """At most `amount` in any `seconds`; amount 0 means no limit."""

    amount: int
    seconds: int


class Rates:
    """Buckets by (class, key): each use adds an interval to a moment that must not run ahead of now by the window.

    This is the generic cell rate algorithm (ITU-T I.371): one float per key, exact, without timers. The oldest keys are
    forgotten past a bound, so strangers cannot fill the memory.
    """

    def __init__(self, classes: Mapping[str, Rate]) -> None:
        self._classes = dict(classes)
        self._policies = {name: f'"{name}";q={rate.amount};w={rate.seconds}' for name, rate in classes.items()}
        self._arrivals: OrderedDict[tuple[str, str], float] = OrderedDict()

    def __contains__(self, name: str) -> bool:
        """Whether this class of requests is limited."""
        return name in self._classes

    def spend(self, request: web.Request, name: str, key: str) -> None:
        """Count one use by this key; its state goes out in the RateLimit fields. TooMuch when there is none left."""
        rate = self._classes.get(name)
        if rate is None or not rate.amount:
            return
        left, wait = self.take(name, key, rate)
        request[RATE] = (self._policies[name], f'"{name}";r={left};t={int(wait) + 1}')
        if left < 0:
            request[RATE] = (self._policies[name], f'"{name}";r=0;t={int(wait) + 1}')
            raise TooMuch(f"At most {rate.amount} such requests in {rate.seconds} seconds.", retry_after=int(wait) + 1)

    def check(self, name: str, key: str) -> None:
        """Count one use without a request to report to. TooMuch when there is none left."""
        rate = self._classes.get(name)
        if rate is None or not rate.amount:
            return
        left, wait = self.take(name, key, rate)
        if left < 0:
            raise TooMuch("Too many attempts; wait a little.", retry_after=int(wait) + 1)

    def take(self, name: str, key: str, rate: Rate) -> tuple[int, float]:
        """→ how many uses are left (-1: this one was refused) and seconds until one more is free."""
        now = time.monotonic()
        interval = rate.seconds / rate.amount
        arrivals, place = self._arrivals, (name, key)
        arrival = max(arrivals.get(place, 0.0), now)
        ahead = arrival + interval - now
        if ahead > rate.seconds + 1e-6:
            return -1, ahead - rate.seconds
        arrivals[place] = arrival + interval
        arrivals.move_to_end(place)
        if len(arrivals) > _MOST_KEYS:
            arrivals.popitem(last=False)
        return int((rate.seconds - ahead) / interval + 1e-6), interval

    def forgive(self, name: str, key: str) -> None:
        """Forget what this key has used (a right password after wrong ones)."""
        self._arrivals.pop((name, key), None)


def address(request: web.Request) -> str:
    """Whose address a request has for limits: behind a trusted proxy the forwarded one, IPv6 by /64.

    X-Forwarded-For is read from the right, past every trusted proxy: what a client wrote itself stands further left.
    """
    seen = request.remote or ""
    proxies = request.app[PROXIES]
    if proxies and _trusted(seen, proxies):
        for hop in reversed(",".join(request.headers.getall("X-Forwarded-For", ())).split(",")):
            hop = _without_port(hop.strip())
            if not hop:
                break
            seen = hop
            if not _trusted(hop, proxies):
                break
    if ":" in seen:
        try:
            return str(ipaddress.IPv6Network((seen.partition("%")[0], 64), strict=False).network_address)
        except ValueError:
            return seen[:45]
    return seen[:45]


def _without_port(hop: str) -> str:
    """`1.2.3.4:5` → `1.2.3.4`, `[::1]:5` → `::1`: some proxies append the port."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def is_https(request: web.Request) -> bool:
    """Whether the client speaks https, as far as a trusted proxy says."""
    if request.secure:
        return True
    proxies = request.app[PROXIES]
    if proxies and _trusted(request.remote or "", proxies):
        return request.headers.get("X-Forwarded-Proto", "").strip().lower() == "https"
    return False


def _trusted(text: str, proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]) -> bool:
    try:
        one = ipaddress.ip_address(text)
    except ValueError:
        return False
    return any(one in network for network in proxies)
