"""Configuration: command line, environment and file become frozen values, or a list of every mistake. Floor 0."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, get_args, get_type_hints

from msgspec import Struct

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
MINUTE, HOUR, DAY = 60, 3600, 86400

PREFIX = "MDSERVER_"
SECRET_BYTES = 64 * KIB  # a secret file is a line, not a log: whoever names the wrong file should hear of it

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


# The sections. A field's annotation holds its sentence and, where the type alone does not tell, how it is read.
# Docstrings and sentences are those of config.example.toml; a test keeps the two alike.


class Server(Struct, frozen=True, kw_only=True):
    """Where the server keeps its data and how people reach it."""

    data: Annotated[Path, "Directory of database, blobs and keys; under systemd its StateDirectory."] = Path("data")
    listen: Annotated[Address, "Address and port to listen on; port 0 takes any free one."] = Address("127.0.0.1", 8000)
    public_url: Annotated[str, "Address that people use, with base_path; empty: made from listen.", URL] = ""
    base_path: Annotated[str, "Path under which everything stands; a proxy must pass it on unchanged.", BASE_PATH] = ""
    trusted_proxies: Annotated[
        tuple[Network, ...], "Addresses and networks of proxies whose forwarding headers are believed.", NETWORKS
    ] = ()
    cors_origins: Annotated[
        tuple[str, ...], "Origins of apps that may call the API with a token, as the apps send them.", ORIGINS
    ] = ("tauri://localhost", "http://tauri.localhost", "https://tauri.localhost")
    shutdown_seconds: Annotated[int, "Seconds that open requests and sockets get to finish.", integer(1, 3600)] = 15
    event_loop: Annotated[
        Literal["auto", "uvloop", "asyncio"], "Event loop; auto takes uvloop where it is installed."
    ] = "auto"

    def url(self, port: int | None = None) -> str:
        """The address people use, with base_path. `port` is the one that was bound, for when listen says 0."""
        if self.public_url:
            return self.public_url
        host = "localhost" if self.listen.host in ("0.0.0.0", "::") else self.listen.host  # noqa: S104 (compared)
        return f"http://{Address(host, port or self.listen.port)}{self.base_path}"


class Database(Struct, frozen=True, kw_only=True):
    """SQLite in the data directory, or PostgreSQL."""

    url: Annotated[Secret, "A postgresql:// URL, or empty for SQLite; url_file names a file that holds it.", DSN] = (
        Secret()
    )
    readers: Annotated[int, "Threads that read from SQLite beside its one writer.", integer(1, 64)] = 2
    connections: Annotated[int, "Most connections to PostgreSQL.", integer(1, 1000)] = 8


class Log(Struct, frozen=True, kw_only=True):
    """What is written to standard error; never content and never secrets."""

    level: Annotated[Literal["debug", "info", "warning", "error"], "The least that is worth a line."] = "info"
    format: Annotated[Literal["auto", "human", "json"], "How a line looks; auto is human on a terminal, else json."] = (
        "auto"
    )
    requests: Annotated[
        Literal["all", "errors", "none"], "Which requests get a line; errors are answers from 500 on."
    ] = "all"


class Limits(Struct, frozen=True, kw_only=True):
    """How large and how slow things may be; what goes beyond is refused with a clear problem."""

    json_body: Annotated[int, "Largest JSON body.", size(KIB, GIB)] = 1 * MIB
    document: Annotated[int, "Largest text of one document.", size(KIB, GIB)] = 20 * MIB
    header: Annotated[int, "Largest request line, and largest header field.", size(KIB, MIB)] = 8 * KIB
    import_entries: Annotated[int, "Most entries in an archive that is imported.", integer(1, 10_000_000)] = 10_000
    import_bytes: Annotated[int, "Largest sum of an archive's unpacked entries.", size(KIB, 1024 * GIB)] = 1 * GIB
    import_ratio: Annotated[int, "How many times its size an archive may unpack to.", integer(1, 10_000)] = 100
    keep_alive: Annotated[int, "How long a silent connection is kept open.", duration(1, HOUR)] = 75
    body_seconds: Annotated[int, "Seconds in which a request's body must have arrived.", integer(1, 3600)] = 60


class Rates(Struct, frozen=True, kw_only=True):
    """How often one user, or one address before signing in, may do things; "off" is no limit."""

    enabled: Annotated[bool, "Whether rates are limited at all."] = True
    sign_in_account: Annotated[Rate | None, "Sign-ins evaluated for one account.", RATE] = Rate(10, 15 * MINUTE)
    sign_in_address: Annotated[Rate | None, "Sign-ins evaluated from one address.", RATE] = Rate(50, 15 * MINUTE)
    account_mail: Annotated[Rate | None, "Sign-ups, password resets and invitations.", RATE] = Rate(5, HOUR)
    writes: Annotated[Rate | None, "Requests that change something.", RATE] = Rate(120, MINUTE)
    reads: Annotated[Rate | None, "Requests that only read.", RATE] = Rate(600, MINUTE)


class Accounts(Struct, frozen=True, kw_only=True):
    """Who may have an account, and how long what proves it is good for."""

    signup: Annotated[Literal["open", "invite", "closed"], "Who may sign up: anybody, the invited, or nobody."] = (
        "invite"
    )
    password_hashing: Annotated[
        Literal["standard", "small"], "Memory for one argon2id hash: standard takes 64 MiB, small 46 MiB."
    ] = "standard"  # noqa: S105 (a name, not a password)
    access_token: Annotated[int, "Life of an access token.", duration(MINUTE, DAY)] = 10 * MINUTE
    refresh_idle: Annotated[int, "How long an app stays signed in without being used.", duration(HOUR, 3650 * DAY)] = (
        30 * DAY
    )
    refresh_absolute: Annotated[int, "How long an app stays signed in at most.", duration(HOUR, 3650 * DAY)] = 180 * DAY
    web_session_idle: Annotated[
        int, "How long a browser stays signed in without being used.", duration(HOUR, 3650 * DAY)
    ] = 14 * DAY
    reset_code: Annotated[int, "How long a password reset link works.", duration(MINUTE, 7 * DAY)] = 30 * MINUTE
    invitation: Annotated[int, "How long an invitation stands.", duration(HOUR, 365 * DAY)] = 7 * DAY
    recent_sign_in: Annotated[
        int, "How old a sign-in may be when somebody changes what protects the account.", duration(MINUTE, DAY)
    ] = 10 * MINUTE


class Mail(Struct, frozen=True, kw_only=True):
    """The SMTP server for invitations and password resets; without one the server sends no mail."""

    host: Annotated[str, "Name or address of the SMTP server; empty: no mail is sent."] = ""
    port: Annotated[int, "Port of the SMTP server: usually 587 with starttls, 465 with tls.", integer(1, 65535)] = 587
    security: Annotated[Literal["starttls", "tls", "none"], "How the connection is encrypted."] = "starttls"
    username: Annotated[str, "User name, when the SMTP server asks for one."] = ""
    password: Annotated[Secret, "Password of that user; password_file names a file that holds it."] = Secret()
    sender: Annotated[str, 'Who mails come from, such as "mdserver <notes@example.org>".', MAILBOX] = ""
    timeout: Annotated[int, "How long the SMTP server may take to answer.", duration(1, 10 * MINUTE)] = 10


class Config(Struct, frozen=True, kw_only=True):
    server: Server = Server()
    database: Database = Database()
    log: Log = Log()
    limits: Limits = Limits()
    rates: Rates = Rates()
    accounts: Accounts = Accounts()
    mail: Mail = Mail()


class Mistake(Struct, frozen=True, kw_only=True):
    """One thing that is wrong. `source` is a file, a variable or the command line; `key` is `section.key` or empty."""

    source: str
    line: int | None = None
    key: str = ""
    message: str

    def __str__(self) -> str:
        source = f"{self.source}:{self.line}" if self.line else self.source
        text = ": ".join(part for part in (source, self.key, self.message) if part)
        return "".join(letter if letter.isprintable() else "�" for letter in text)  # one mistake stays one line


class ConfigError(Exception):
    """All mistakes there are, one a line."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = mistakes


class Key(NamedTuple):
    """What there is to know about a key. `default` is written as in TOML."""

    section: str
    key: str
    type: str
    default: str
    sentence: str
    secret: bool


def load(path: Path | None, *, environment: Mapping[str, str], overrides: Mapping[str, Any] = {}) -> Config:
    """The configuration from `overrides` (`{"server.listen": …}`, None: not given), else `environment`, else systemd's
    credentials, else the file, else the defaults. ConfigError names all mistakes of all of them.
    """
    mistakes: list[Mistake] = []
    origins: dict[str, _Given] = {}
    layers: dict[tuple[str, str], _Given] = {}
    values: dict[str, Any] = {}
    for found in chain(
        _from_overrides(overrides), _from_environment(environment), _from_credentials(environment), _from_file(path)
    ):
        if isinstance(found, Mistake):
            mistakes.append(found)
            continue
        stronger = origins.setdefault(found.key, found)
        beside = layers.setdefault((found.key, found.layer), found)
        if beside is not found:
            mistakes.append(found.mistake(f"is given twice, {beside.place()} has it too"))
        elif stronger is found or not found.is_path:  # a secret file that is not needed need not be there
            try:
                values.setdefault(found.key, found.read())
            except ValueError as error:
                mistakes.append(found.mistake(str(error)))
    if "server.data" not in origins and environment.get("STATE_DIRECTORY"):
        values["server.data"] = Path(environment["STATE_DIRECTORY"].split(":")[0])  # systemd.exec(5): may be several
    sections = {section: dict[str, Any]() for section in _sections()}
    for key, value in values.items():
        section, _, name = key.partition(".")
        sections[section][name] = value
    config = Config(**{section: struct(**sections[section]) for section, struct in _sections().items()})
    if not any(mistake.source == str(path) and not mistake.key for mistake in mistakes):  # else the file was not read
        mistakes += _contradictions(config, origins, spoilt={mistake.key for mistake in mistakes})
    if mistakes:
        raise ConfigError(sorted(mistakes, key=lambda mistake: mistake.line or 0))
    return config


def describe() -> list[Key]:
    """Every key there is, in the order of the example file."""
    return [key for key, _ in _keys().values()]


# Where values come from


class _Given(Struct, frozen=True, kw_only=True):
    key: str
    value: Any
    layer: Literal["command line", "environment", "credentials", "file"]
    source: str
    line: int | None = None
    is_path: bool = False  # the value is the path of a file that holds the secret

    def mistake(self, message: str) -> Mistake:
        return Mistake(source=self.source, line=self.line, key=self.key, message=message)

    def place(self) -> str:
        return f"line {self.line}" if self.line else self.source

    def read(self) -> Any:
        """The value as the configuration holds it. ValueError with a sentence, which never quotes a secret."""
        (*_, secret), kind = _keys()[self.key]
        value = _secret_in(self.value) if self.is_path else self.value
        try:
            typed = isinstance(value, str) and self.layer in ("command line", "environment")
            return kind.read(kind.from_text(value) if typed else value)
        except (KeyError, ValueError):
            shown = "" if secret else f"; {_shown(value)} is not"
        raise ValueError(f"must be {kind.what}{shown}")


def _from_overrides(overrides: Mapping[str, Any]) -> Iterator[_Given | Mistake]:
    for key, value in overrides.items():
        if key not in _keys():
            yield Mistake(source="command line", key=key, message="there is no such key" + _close(key, _keys()))
        elif value is not None:
            text = str(value) if isinstance(value, Path | Address) else value
            yield _Given(key=key, value=text, layer="command line", source="command line")


# What Kubernetes puts into every environment beside a service called "mdserver".
_SERVICE = r"MDSERVER_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_[0-9]+_\w+)=.*|MDSERVER_PORT=[a-z]+://.*"
_NOT_KEYS = ("MDSERVER_CONFIG", "MDSERVER_FAILPOINT")


def _from_environment(environment: Mapping[str, str]) -> Iterator[_Given | Mistake]:
    variables = {key.replace(".", "__").upper(): key for key in _keys()} | {"DATA": "server.data"}
    for name, value in environment.items():
        if not name.startswith(PREFIX) or name in _NOT_KEYS or re.fullmatch(_SERVICE, f"{name}={value}"):
            continue
        short = name.removeprefix(PREFIX)
        file_of = variables.get(short.removesuffix("_FILE"))
        if short in variables:
            yield _Given(key=variables[short], value=value, layer="environment", source=name)
        elif file_of and _keys()[file_of][0].secret:
            yield _Given(key=file_of, value=value, layer="environment", source=name, is_path=True)
        else:  # compared without the prefix, which would make everything look alike
            yield Mistake(source=name, message="names no key" + _close(short, variables, PREFIX))


def _from_credentials(environment: Mapping[str, str]) -> Iterator[_Given | Mistake]:
    """What systemd's LoadCredential= gives (systemd.exec(5)): files called `mdserver.section.key`."""
    directory = environment.get("CREDENTIALS_DIRECTORY")
    try:
        names = os.listdir(directory) if directory else []
    except OSError as error:
        yield Mistake(source="CREDENTIALS_DIRECTORY", message=f"cannot be read: {error.strerror}")
        return
    for name, (key, _) in _keys().items():
        if directory and key.secret and f"mdserver.{name}" in names:
            path = os.path.join(directory, f"mdserver.{name}")
            yield _Given(key=name, value=path, layer="credentials", source=path, is_path=True)


def _from_file(path: Path | None) -> Iterator[_Given | Mistake]:
    if path is None:
        return
    import tomllib  # a server without a file starts without it

    source, data = str(path), b""
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")  # some editors put a byte order mark in front
        tables = tomllib.loads(text)
    except OSError as error:
        yield Mistake(source=source, message=f"cannot be read: {error.strerror}")
        return
    except UnicodeDecodeError as error:
        yield Mistake(source=source, line=data.count(b"\n", 0, error.start) + 1, message="is not UTF-8")
        return
    except ValueError as error:
        message, _, place = str(error).rpartition(" (at ")
        number = re.match(r"line ([0-9]+)", place)
        line = int(number[1]) if number else data.count(b"\n") + 1
        yield Mistake(source=source, line=line, message=f"is not TOML: {message or place}")
        return
    lines = key_lines(text)
    for section, table in tables.items():
        line = lines[section,]
        if section not in _sections():
            homes = [key.section for key in describe() if key.key == section]
            hint = f"; it belongs below [{homes[0]}]" if homes else _close(section, _sections())
            yield Mistake(source=source, line=line, key=section, message=f"there is no such section{hint}")
        elif not isinstance(table, dict):
            yield Mistake(source=source, line=line, key=section, message=f"must be a section, written [{section}]")
        else:
            for name, value in table.items():
                yield _from_line(section, name, value, source=source, line=lines.get((section, name), line))


def _from_line(section: str, name: str, value: object, *, source: str, line: int) -> _Given | Mistake:
    key, file_of = f"{section}.{name}", f"{section}.{name.removesuffix('_file')}"
    if key in _keys():
        return _Given(key=key, value=value, layer="file", source=source, line=line)
    if file_of in _keys() and _keys()[file_of][0].secret:
        return _Given(key=file_of, value=value, layer="file", source=source, line=line, is_path=True)
    names = _sections()[section].__struct_fields__
    hint = _close(name, names) or f"; [{section}] has {', '.join(names)}"
    return Mistake(source=source, line=line, key=key, message=f"there is no such key{hint}")


_PIECE = (
    r'''"""(?:\\[\s\S]|[^\\])*?"{3,5}'''  # strings over several lines may end in quotes of their own
    r"""|'''[\s\S]*?'{3,5}"""
    r"""|"(?:\\.|[^"\\\n])*"|'[^'\n]*'"""
    r"""|\#[^\n]*|[A-Za-z0-9_-]+|\n|[\[\]{}=.]"""
)


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """The line (from 1) on which each table and key of a *valid* TOML document is first named.

    The parser tells no lines, so this reads once more, only as far as telling keys from values needs: a statement is
    `[keys]` or `keys = value`, and ends with its line unless a bracket is open. Keys in inline tables are left out.
    """
    import tomllib

    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    keys: list[str] = []
    line, depth, header, in_value = 1, 0, False, False
    for match in re.finditer(_PIECE, text):
        piece = match[0]
        if piece == "\n" and depth == 0:
            if header:
                table = tuple(keys)
            keys, header, in_value = [], False, False
        elif in_value:
            depth += (piece in "[{") - (piece in "]}")
        elif piece == "[":
            header = True
        elif piece == "=" or (piece == "]" and header):
            in_value = piece == "="
            path = tuple(keys) if header else (*table, *keys)
            for end in range(1, len(path) + 1):
                found.setdefault(path[:end], line)
        elif piece[0] not in "].#\n":
            keys.append(tomllib.loads(f"key = {piece}")["key"] if piece[0] in "\"'" else piece)
        line += piece.count("\n")
    return found


def _secret_in(path: object) -> str:
    # The path is not quoted: who mixes up `password` and `password_file` has written the password there.
    if not isinstance(path, str) or not path:
        raise ValueError("must be the path of a file that holds the secret")
    try:
        with open(path, "rb") as file:
            data = file.read(SECRET_BYTES + 1)
        text = data.decode().removesuffix("\n").removesuffix("\r") if len(data) <= SECRET_BYTES else ""
    except OSError as error:
        raise ValueError(f"the file with the secret cannot be read: {error.strerror}") from None
    except ValueError:  # not UTF-8, or NUL in the path
        text = ""
    if not text:
        raise ValueError("the file with the secret must hold it as one line of UTF-8")
    return text


def _contradictions(config: Config, origins: Mapping[str, _Given], *, spoilt: set[str]) -> Iterator[Mistake]:
    """Values that are right alone and wrong together; not judged where one of them is spoilt already."""
    server, accounts, mail = config.server, config.accounts, config.mail
    path = "/".join(["", *server.public_url.split("/")[3:]])
    for names, wrong, message in (
        (
            "server.public_url server.base_path",
            server.public_url and path != server.base_path,
            f'must have base_path as its path; they are "{path}" and "{server.base_path}"',
        ),
        (
            "accounts.refresh_idle accounts.refresh_absolute",
            accounts.refresh_idle > accounts.refresh_absolute,
            "must not be longer than refresh_absolute",
        ),
        ("mail.sender mail.host", mail.host and not mail.sender, "must be given when host is"),
        ("mail.username mail.password", mail.password and not mail.username, "must be given when password is"),
        ("mail.password mail.username", mail.username and not mail.password, "must be given when username is"),
    ):
        keys = names.split()
        if wrong and spoilt.isdisjoint(keys):
            given = next(origins[key] for key in keys if key in origins)
            yield Mistake(source=given.source, line=given.line, key=keys[0], message=message)


# What keys there are


@cache
def _sections() -> dict[str, Any]:
    return get_type_hints(Config)


@cache
def _keys() -> dict[str, tuple[Key, Kind]]:
    keys = {}
    for section, struct in _sections().items():
        for name, hint in get_type_hints(struct, include_extras=True).items():
            type_, sentence, *kinds = get_args(hint)
            kind = kinds[0] if kinds else _BY_TYPE.get(type_) or _choice(get_args(type_))
            default = kind.write(getattr(struct(), name))
            keys[f"{section}.{name}"] = Key(section, name, kind.what, default, sentence, type_ is Secret), kind
    return keys


def _close(name: str, names: Iterable[str], prefix: str = "") -> str:
    from difflib import get_close_matches  # slow to import, and rarely needed

    close = get_close_matches(name, list(names), 1)
    return f"; did you mean {prefix}{close[0]}?" if close else ""


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = re.sub(r"(?<=://)[^@]*@", "…@", text)  # a URL may hold a password where none belongs
    return text if len(text) <= 60 else text[:60] + "…"


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


def _choice(names: tuple[str, ...]) -> Kind:
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


def _dsn(value: Any) -> Secret:
    if _text(value) and not value.startswith(("postgresql://", "postgres://")):
        raise ValueError
    return Secret(value)


def _mailbox(value: Any) -> str:
    if _text(value):
        _matched(r"[^<>@]*<[^\s<>@,]+@[^\s<>@,]+>|[^\s<>@,]+@[^\s<>@,]+", value)
    return str(value)


_TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_PLAIN = "text without control characters"
_BY_TYPE: dict[Any, Kind] = {
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
DSN = Kind("a postgresql:// URL, or empty", _dsn, str, lambda _: '""')
MAILBOX = Kind('a mail address such as "mdserver <notes@example.org>"', _mailbox)
