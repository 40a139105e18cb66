"""The values of a configuration: their types, and how each is read from TOML and text and written back. Floor 0."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from msgspec import Struct

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
MINUTE, HOUR, DAY = 60, 3600, 86400

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class Secret:
    """Text that nobody shows by accident: `reveal()` gives it; repr, str and JSON do not."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(…)" if self._text else "Secret()"


class Address(Struct, frozen=True):
    """Where to listen. `host` is a name or an IP address without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Rate(Struct, frozen=True):
    """At most `amount` in any `seconds`."""

    amount: int
    seconds: int


class Schedule(Struct, frozen=True):
    """Daily at a `minute` of the local day, or (None) each time so many `seconds` have passed."""

    minute: int | None = None
    seconds: int = 0


class Keep(Struct, frozen=True):
    """How many are kept: the newest so many, and the newest of so many days, weeks and months."""

    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0


# How values are read and written


class Kind(Struct, frozen=True):
    """`what` completes "must be …". `read` takes what TOML gives; ValueError or KeyError: it is not that.
    `from_text` makes what TOML would give of a variable's text; `write` makes TOML of a value.
    """

    what: str
    read: Callable[[Any], Any]
    from_text: Callable[[str], Any] = str
    write: Callable[[Any], str] = lambda value: json.dumps(str(value), ensure_ascii=False)


def integer(low: int, high: int) -> Kind:
    return Kind(f"a whole number from {low} to {high}", lambda value: _within(value, low, high), _int_or_text, str)


def size(low: int, high: int) -> Kind:
    what = f'a size from {_spelt(low, _SIZES)} to {_spelt(high, _SIZES)}, such as "20 MiB"'
    return Kind(
        what, lambda value: _quantity(value, _SIZES, low, high), str, lambda value: f'"{_spelt(value, _SIZES)}"'
    )


def duration(low: int, high: int) -> Kind:
    what = f'a duration from {_spelt(low, _TIMES)} to {_spelt(high, _TIMES)}, such as "10 min" or "1h30m"'
    return Kind(
        what, lambda value: _quantity(value, _TIMES, low, high), str, lambda value: f'"{_spelt(value, _TIMES)}"'
    )


def duration_or_off(low: int, high: int) -> Kind:
    """A duration, or None for "off"."""
    kind = duration(low, high)
    return Kind(
        f'{kind.what}, or "off"',
        lambda value: None if value == "off" else kind.read(value),
        str,
        lambda value: '"off"' if value is None else kind.write(value),
    )


def choice(names: tuple[str, ...]) -> Kind:
    def read(value: Any) -> str:
        return names[names.index(value)]

    return Kind("one of " + ", ".join(f'"{name}"' for name in names), read)


def _list(what: str, read: Callable[[Any], Any]) -> Kind:
    def read_all(values: Any) -> tuple[Any, ...]:
        return tuple(read(value) for value in _checked(values, list | tuple))

    def from_text(text: str) -> Any:
        if text.lstrip().startswith("["):
            return json.loads(text)
        return [item.strip() for item in text.split(",") if item.strip()]

    return Kind(f"a list of {what}", read_all, from_text, lambda values: json.dumps([str(value) for value in values]))


# The first four are the ones that are written.
_SIZES = {"GiB": GIB, "MiB": MIB, "KiB": KIB, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_TIMES = (
    {"days": DAY, "h": HOUR, "min": MINUTE, "s": 1, "d": DAY, "day": DAY, "w": 7 * DAY, "week": 7 * DAY}
    | {"weeks": 7 * DAY, "hour": HOUR, "hours": HOUR, "m": MINUTE, "minute": MINUTE, "minutes": MINUTE}
    | {"sec": 1, "second": 1, "seconds": 1}
)


def _quantity(value: Any, units: Mapping[str, int], low: int, high: int) -> int:
    """A number, or text such as "90", "1h30m", "20 MiB"."""
    if isinstance(value, str):
        text = value.strip().lower()
        if text.isdecimal():
            return _within(int(text), low, high)
        _matched(r"([0-9]+ *[a-z]+ *)+", text)
        known = {unit.lower(): amount for unit, amount in units.items()}
        value = sum(int(amount) * known[unit] for amount, unit in re.findall(r"([0-9]+) *([a-z]+)", text))
    return _within(value, low, high)


def _spelt(value: int, units: Mapping[str, int]) -> str:
    unit = next(unit for unit in list(units)[:4] if value % units[unit] == 0)
    return f"{value // units[unit]} {unit}".replace("1 days", "1 day")


def _within(value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not low <= _checked(value, int) <= high:
        raise ValueError
    return int(value)


def _checked(value: Any, types: Any) -> Any:
    if not isinstance(value, types):
        raise ValueError
    return value


def _text(value: Any) -> str:
    if not _checked(value, str).isprintable():
        raise ValueError
    return str(value)


def _matched(pattern: str, value: Any) -> tuple[str, ...]:
    found = re.fullmatch(pattern, _checked(value, str))
    if not found:
        raise ValueError
    return found.groups("")


def _int_or_text(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text


def _path(value: Any) -> Path:
    if not _checked(value, str) or "\0" in value:
        raise ValueError
    try:
        return Path(value).expanduser()
    except RuntimeError:  # nobody's home
        raise ValueError from None


def _address(value: Any) -> Address:
    host, port = _matched(r"([A-Za-z0-9._-]+|\[[^\[\]]+\]):([0-9]{1,5})", value)
    if host.startswith("["):
        host = str(ipaddress.IPv6Address(host[1:-1]))
    elif re.fullmatch(r"[0-9.]+", host):
        host = str(ipaddress.IPv4Address(host))
    return Address(host, _within(int(port), 0, 65535))


def _origin(value: Any) -> str:
    """As browsers send it (RFC 6454 §6.1): lower case, and without the scheme's own port."""
    pattern = r"([a-z][a-z0-9+.-]*)://([a-z0-9][a-z0-9._-]*|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?"
    scheme, host, port = _matched(pattern, _text(value).lower())
    if not port or (scheme, int(port)) in (("http", 80), ("https", 443)):
        return f"{scheme}://{host}"
    return f"{scheme}://{host}:{_within(int(port), 1, 65535)}"


def _url(value: Any) -> str:
    if not _text(value):
        return ""
    origin, path = _matched(r"((?i:https?)://[^/]+)(.*)", value)
    return _origin(origin) + _base_path(path)


def _base_path(value: Any) -> str:
    return _matched(r"((?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]+)*)/?", value)[0]


def _rate(value: Any) -> Rate | None:
    if value in ("off", "0") or (type(value) is int and value == 0):
        return None
    amount, count, unit = _matched(r"([0-9]{1,9}) */ *([0-9]{0,9}) *([a-z]+)", _text(value).strip().lower())
    seconds = int(count or 1) * _TIMES[unit]
    return Rate(_within(int(amount), 1, 10**9), _within(seconds, 1, 30 * DAY))


def _rate_text(rate: Rate | None) -> str:
    return f'"{rate.amount}/{re.sub("^1 | ", "", _spelt(rate.seconds, _TIMES))}"' if rate else '"off"'


def _schedule(value: Any) -> Schedule | None:
    if value == "off":
        return None
    if isinstance(value, str) and (found := re.fullmatch(r"daily +([01]?[0-9]|2[0-3]):([0-5][0-9])", value.strip())):
        return Schedule(minute=int(found[1]) * 60 + int(found[2]))
    return Schedule(seconds=_quantity(value, _TIMES, 10 * MINUTE, 31 * DAY))


def _schedule_text(schedule: Schedule | None) -> str:
    if schedule is None:
        return '"off"'
    if schedule.minute is None:
        return f'"{_spelt(schedule.seconds, _TIMES)}"'
    return f'"daily {schedule.minute // 60:02d}:{schedule.minute % 60:02d}"'


def _keep(value: Any) -> Keep:
    if not isinstance(value, str):
        return Keep(last=_within(value, 1, 1000))
    counts: dict[str, int] = {}
    for part in value.split(","):
        count, period = _matched(r"([0-9]{1,4}) +(last|daily|weekly|monthly)", part.strip())
        counts[period] = _within(int(count) if period not in counts else None, 1, 1000)
    return Keep(**counts)


def _keep_text(keep: Keep) -> str:
    counts = {name: getattr(keep, name) for name in ("last", "daily", "weekly", "monthly")}
    return '"' + ", ".join(f"{count} {name}" for name, count in counts.items() if count) + '"'


def _dsn(value: Any) -> Secret:
    if _text(value) and not value.startswith(("postgresql://", "postgres://")):
        raise ValueError
    return Secret(value)


def _token(value: Any) -> Secret:
    if _text(value):
        _matched(r"[\x21-\x7e]{16,}", value)
    return Secret(value)


def _mailbox(value: Any) -> str:
    if _text(value):
        _matched(r"[^<>@]*<[^\s<>@,]+@[^\s<>@,]+>|[^\s<>@,]+@[^\s<>@,]+", value)
    return str(value)


_TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_PLAIN = "text without control characters"
BY_TYPE: dict[Any, Kind] = {
    bool: Kind(
        "true or false", lambda value: _checked(value, bool), lambda text: _TRUTHS.get(text.lower(), text), json.dumps
    ),
    str: Kind(_PLAIN, _text),
    Path: Kind("a path", _path),
    Address: Kind('host:port, such as "127.0.0.1:8000" or "[::1]:8000"', _address),
    Secret: Kind(_PLAIN, lambda value: Secret(_text(value)), str, lambda _: '""'),
}
URL = Kind('an http or https address such as "https://notes.example.org"', _url)
BASE_PATH = Kind('a path such as "/notes"', _base_path)
NETWORKS = _list('IP addresses and networks, such as "10.0.0.0/8"', lambda value: ipaddress.ip_network(_text(value)))
ORIGINS = _list('origins, such as "https://app.example.org"', _origin)
RATE = Kind('a rate such as "120/min" or "10/15min", or "off"', _rate, str, _rate_text)
SCHEDULE = Kind(
    '"off", a time such as "daily 03:30", or how often, such as "6 h" (from 10 min to 31 days)',
    _schedule,
    str,
    _schedule_text,
)
KEEP = Kind('a number, or counts such as "7 daily, 4 weekly, 12 monthly"', _keep, _int_or_text, _keep_text)
FOLDER = Kind("a path, or empty", lambda value: str(_path(value)) if _checked(value, str) else "")
DSN = Kind("a postgresql:// URL, or empty", _dsn, str, lambda _: '""')
TOKEN = Kind("at least 16 letters and digits, without spaces", _token, str, lambda _: '""')
MAILBOX = Kind('a mail address such as "mdserver <notes@example.org>"', _mailbox)
