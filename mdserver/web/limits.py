"""How often somebody may ask: generic cell rate limits per class of route, and whose address a request has."""

from __future__ import annotations

import ipaddress
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from aiohttp import web

from mdserver.errors import TooMuch

PROXIES: web.AppKey[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]] = web.AppKey("proxies", tuple)
REQUEST_ID: web.RequestKey[str] = web.RequestKey("id", str)
RATE: web.RequestKey[dict[str, str]] = web.RequestKey("rate", dict)
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
        self.refused = dict.fromkeys(classes, 0)

    def __contains__(self, name: str) -> bool:
        """Whether this class of requests is limited."""
        return name in self._classes

    def spend(self, request: web.Request, name: str, key: str) -> dict[str, str]:
        """Count one use by this key; → its state as header fields. TooMuch when there is none left."""
        rate = self._classes.get(name)
        if rate is None or not rate.amount:
            return {}
        left, wait = self.take(name, key, rate)
        request[RATE] = fields = {
            "RateLimit-Policy": self._policies[name],
            "RateLimit": f'"{name}";r={max(left, 0)};t={int(wait) + 1}',
        }
        if left < 0:
            raise TooMuch(f"At most {rate.amount} such requests in {rate.seconds} seconds.", retry_after=int(wait) + 1)
        return fields

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
            self.refused[name] = self.refused.get(name, 0) + 1
            return -1, ahead - rate.seconds
        arrivals[place] = arrival + interval
        arrivals.move_to_end(place)
        if len(arrivals) > _MOST_KEYS:
            arrivals.popitem(last=False)
        return int((rate.seconds - ahead) / interval + 1e-6), interval

    def window(self, name: str) -> int:
        """Seconds after which a use of this class does not count any more; 0 when it is not limited."""
        rate = self._classes.get(name)
        return rate.seconds if rate is not None and rate.amount else 0

    def recall(self, name: str, key: str, *, ago: float) -> None:
        """Count a use of so many seconds ago, before all that was counted since the start."""
        rate = self._classes.get(name)
        if rate is not None and rate.amount and ago < rate.seconds:
            place, interval = (name, key), rate.seconds / rate.amount
            self._arrivals[place] = max(self._arrivals.get(place, 0.0), time.monotonic() - ago) + interval

    def forgive(self, name: str, key: str) -> None:
        """Forget what this key has used (a right password after wrong ones)."""
        self._arrivals.pop((name, key), None)


def client(request: web.Request) -> str:
    """Whose address a request has: behind a trusted proxy the forwarded one.

    X-Forwarded-For is read from the right, past every trusted proxy: what a client wrote itself stands further left.
    Forwarded (RFC 7239) is not read: of two fields that may disagree, a proxy usually keeps only one in order.
    """
    seen = request.remote or ""
    if from_proxy(request):
        for hop in reversed(",".join(request.headers.getall("X-Forwarded-For", ())).split(",")):
            hop = _plain(hop.strip())
            if not _is_address(hop):  # no proxy writes that: it, and all that stands left of it, is the client's word
                break
            seen = hop
            if not _trusted(hop, request.app[PROXIES]):
                break
    return seen


def address(request: web.Request) -> str:
    """The client's address for limits: IPv6 by /64, since that is what one customer has."""
    seen = client(request)
    if ":" in seen:
        return str(ipaddress.IPv6Network((seen.partition("%")[0], 64), strict=False).network_address)
    return seen


def from_proxy(request: web.Request) -> bool:
    """Whether a trusted proxy passed the request on, so that its word about the client counts."""
    proxies = request.app[PROXIES]
    return bool(proxies) and _trusted(request.remote or "", proxies)


def _plain(hop: str) -> str:
    """`1.2.3.4:5` and `::ffff:1.2.3.4` → `1.2.3.4`, `[::1]:5` → `::1`: some proxies write them so."""
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    return hop[7:] if hop[:7].lower() == "::ffff:" and "." in hop else hop


def is_https(request: web.Request) -> bool:
    """Whether the client speaks https, as far as a trusted proxy says."""
    if request.secure:
        return True
    if not from_proxy(request):
        return False
    told = ",".join(request.headers.getall("X-Forwarded-Proto", ()))  # of several, the nearest proxy's own is the last
    return told.rpartition(",")[2].strip().lower() == "https"


_FORWARDING = ("forwarded", "via", "x-real-ip", "cf-connecting-ip", "true-client-ip", "x-client-ip")
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]", "::1")


def is_loopback(request: web.Request) -> bool:
    """Whether the request comes from this machine itself and through no proxy, which would pass strangers on.

    A proxy is told by what it adds, whether it is trusted or not; the Host it was asked for must be this machine, too
    (a name on the internet that resolves to 127.0.0.1 makes a browser ask).
    """
    try:
        is_local = ipaddress.ip_address((request.remote or "").partition("%")[0]).is_loopback
    except ValueError:
        return False
    host = request.headers.get("Host", "")
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) and host != "::1" else host
    return (
        is_local
        and name.lower() in _LOCAL_NAMES
        and not any(one.lower() in _FORWARDING or one.lower().startswith("x-forwarded") for one in request.headers)
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def _trusted(text: str, proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]) -> bool:
    try:
        one = ipaddress.ip_address(text)
    except ValueError:
        return False
    return any(one in network for network in proxies)
