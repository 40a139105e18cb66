"""Configuration: command line, environment and file become frozen values, or a list of every mistake. Floor 0."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_type_hints

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


# The sections. A field's annotation gives its sentence and, where the type alone does not tell, how it is read.
# Docstrings and sentences stand in config.example.toml too, and a test keeps the two alike.


class Server(Struct, frozen=True, kw_only=True):
    """Where the server keeps its data and how people reach it."""

    data: Annotated[Path, "Directory of the database, the blobs and the keys (under systemd: its StateDirectory)."] = (
        Path("data")
    )
    listen: Annotated[Address, "Address and port to listen on; port 0 takes any free one."] = Address("127.0.0.1", 8000)
    public_url: Annotated[str, "Address that people use, with base_path; empty: made from listen.", URL] = ""
    base_path: Annotated[str, "Path under which everything stands; a proxy must pass it on unchanged.", BASE_PATH] = ""
    trusted_proxies: Annotated[
        tuple[Network, ...], "Proxies whose forwarding headers are believed: IP addresses and networks.", NETWORKS
    ] = ()
    cors_origins: Annotated[
        tuple[str, ...],
        "Origins of apps that may call the API with a token, each exactly as its app sends it.",
        ORIGINS,
    ] = ("tauri://localhost", "http://tauri.localhost", "https://tauri.localhost")
    shutdown_seconds: Annotated[int, "Seconds that open requests and sockets get to finish.", integer(1, 3600)] = 15
    event_loop: Annotated[Literal["auto", "uvloop", "asyncio"], "Event loop; auto is uvloop where it is installed."] = (
        "auto"
    )

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
    connections: Annotated[int, "Connections to PostgreSQL, at most.", integer(1, 1000)] = 8


class Log(Struct, frozen=True, kw_only=True):
    """What is written to standard error; never content and never secrets."""

    level: Annotated[Literal["debug", "info", "warning", "error"], "The least that is worth a line."] = "info"
    format: Annotated[Literal["auto", "human", "json"], "Form of a line; auto is human on a terminal, else JSON."] = (
        "auto"
    )
    requests: Annotated[Literal["all", "errors", "none"], "Which requests get a line; errors are answers from 500."] = (
        "all"
    )


class Limits(Struct, frozen=True, kw_only=True):
    """How large and how slow things may be; what goes beyond is refused with a clear problem."""

    json_body: Annotated[int, "Largest JSON body.", size(KIB, GIB)] = 1 * MIB
    document: Annotated[int, "Largest text of one document.", size(KIB, GIB)] = 20 * MIB
    header: Annotated[int, "Largest request line, and largest header field.", size(KIB, MIB)] = 8 * KIB
    import_entries: Annotated[int, "Most entries in an archive that is imported.", integer(1, 10_000_000)] = 10_000
    import_bytes: Annotated[int, "Largest sum of the unpacked entries of an archive.", size(KIB, 1024 * GIB)] = 1 * GIB
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
        int, "How long a browser stays signed in without being used.", duration(5 * MINUTE, 3650 * DAY)
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


class Key(Struct, frozen=True, kw_only=True):
    """What there is to know about a key. `default` is written as in TOML."""

    section: str
    key: str
    type: str
    default: str
    sentence: str
    environment: str
    secret: bool


def load(path: Path | None, *, environment: Mapping[str, str], overrides: Mapping[str, Any] = {}) -> Config:
    """The configuration from `overrides` (`{"server.listen": …}`, None: not given), else `environment`, else systemd's
    credentials, else the file, else the defaults. ConfigError names all mistakes of all of them.
    """
    mistakes: list[Mistake] = []
    origins: dict[str, _Given] = {}
    values: dict[str, Any] = {}
    for found in chain(
        _from_overrides(overrides), _from_environment(environment), _from_credentials(environment), _from_file(path)
    ):
        if isinstance(found, Mistake):
            mistakes.append(found)
            continue
        stronger = origins.setdefault(found.key, found)
        if stronger is not found and stronger.layer == found.layer:
            mistakes.append(found.mistake(f"is given twice: by {stronger.source_and_line()} too"))
        elif stronger is found or not found.is_path:  # a secret file that is not needed need not be there
            try:
                values.setdefault(found.key, found.read())
            except ValueError as error:
                mistakes.append(found.mistake(str(error)))
    if "server.data" not in origins and environment.get("STATE_DIRECTORY"):
        values["server.data"] = Path(environment["STATE_DIRECTORY"].split(":")[0])  # systemd.exec(5): may be several
    config = Config(
        **{
            section: kind(**{name: values[key] for name in names if (key := f"{section}.{name}") in values})
            for section, (kind, names) in _sections().items()
        }
    )
    mistakes += _contradictions(config, origins, spoilt={mistake.key for mistake in mistakes})
    if mistakes:
        mistakes.sort(key=lambda mistake: mistake.line or 0)
        raise ConfigError(mistakes)
    return config


def describe() -> list[Key]:
    """Every key there is, in the order of the example file."""
    return [
        Key(
            section=field.section,
            key=field.name,
            type=field.kind.what,
            default=field.kind.write(field.default),
            sentence=field.sentence,
            environment=_variable(key),
            secret=field.secret,
        )
        for key, field in _fields().items()
    ]


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

    def source_and_line(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source

    def read(self) -> Any:
        """The value as the configuration holds it. ValueError with a sentence; it never quotes a secret."""
        field = _fields()[self.key]
        value = _secret_in(self.value) if self.is_path else self.value
        try:
            if isinstance(value, str) and self.layer != "file":
                return field.kind.read(field.kind.from_text(value))
            return field.kind.read(value)
        except ValueError:
            pass
        shown = "" if field.secret else f"; {_shown(value)} is not"
        raise ValueError(f"must be {field.kind.what}{shown}")


def _from_overrides(overrides: Mapping[str, Any]) -> Iterator[_Given | Mistake]:
    for key, value in overrides.items():
        if key not in _fields():
            yield Mistake(source="command line", key=key, message="there is no such key" + _close(key, _fields()))
        elif value is not None:
            text = str(value) if isinstance(value, Path | Address) else value
            yield _Given(key=key, value=text, layer="command line", source="command line")


# A Kubernetes service called "mdserver" puts these into its neighbours' environment.
_SERVICE_LINK = re.compile(r"SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?")
_NOT_KEYS = ("MDSERVER_CONFIG", "MDSERVER_FAILPOINT")


def _from_environment(environment: Mapping[str, str]) -> Iterator[_Given | Mistake]:
    variables = {_variable(key): key for key in _fields()} | {"MDSERVER_DATA": "server.data"}
    files = {f"{_variable(key)}_FILE": key for key, field in _fields().items() if field.secret}
    for name, value in environment.items():
        if not name.startswith(PREFIX) or name in _NOT_KEYS or _SERVICE_LINK.fullmatch(name.removeprefix(PREFIX)):
            continue
        if name == "MDSERVER_PORT" and re.match(r"(tcp|udp|sctp)://", value):
            continue
        if name in variables or name in files:
            key = variables.get(name) or files[name]
            yield _Given(key=key, value=value, layer="environment", source=name, is_path=name in files)
        else:
            # Compared without the prefix, which would make everything look alike.
            close = _close(name.removeprefix(PREFIX), [each.removeprefix(PREFIX) for each in variables], PREFIX)
            yield Mistake(source=name, message="names no key" + close)


def _from_credentials(environment: Mapping[str, str]) -> Iterator[_Given]:
    """What systemd's LoadCredential= gives (systemd.exec(5)): files called `mdserver.section.key`."""
    if directory := environment.get("CREDENTIALS_DIRECTORY"):
        for key, field in _fields().items():
            path = Path(directory, f"mdserver.{key}")
            if field.secret and path.exists():
                yield _Given(key=key, value=str(path), layer="credentials", source=str(path), is_path=True)


def _from_file(path: Path | None) -> Iterator[_Given | Mistake]:
    if path is None:
        return
    import tomllib  # not needed by a server without a file

    source, data = str(path), b""
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")  # some editors put a byte order mark in front
        tables = tomllib.loads(text)
    except OSError as error:
        yield Mistake(source=source, message=f"cannot be read: {error.strerror or 'input/output error'}")
        return
    except UnicodeDecodeError as error:
        yield Mistake(source=source, line=data.count(b"\n", 0, error.start) + 1, message="is not UTF-8")
        return
    except ValueError as error:
        message, _, place = str(error).rpartition(" (at ")
        number = re.match(r"line ([0-9]+)", place)
        yield Mistake(
            source=source,
            line=int(number[1]) if number else data.count(b"\n") + 1,
            message=f"is not TOML: {message or place}",
        )
        return
    lines = key_lines(text)
    for section, table in tables.items():
        _, names = _sections().get(section, (None, ()))
        line = lines.get((section,))
        if not names:
            home = [other for other, (_, keys) in _sections().items() if section in keys]
            hint = f"; it belongs below [{home[0]}]" if home else _close(section, _sections())
            yield Mistake(source=source, line=line, key=section, message=f"there is no such section{hint}")
        elif not isinstance(table, dict):
            yield Mistake(source=source, line=line, key=section, message=f"must be a section, written [{section}]")
        else:
            for name, value in table.items():
                yield _in_section(section, name, value, source, lines.get((section, name), line))


def _in_section(section: str, name: str, value: object, source: str, line: int | None) -> _Given | Mistake:
    key = f"{section}.{name}"
    if key in _fields():
        return _Given(key=key, value=value, layer="file", source=source, line=line)
    secret = key.removesuffix("_file")
    if secret != key and secret in _fields() and _fields()[secret].secret:
        return _Given(key=secret, value=value, layer="file", source=source, line=line, is_path=True)
    hint = _close(name, _sections()[section][1])
    home = [other for other, (_, keys) in _sections().items() if name in keys]
    if home and not hint:
        hint = f"; it belongs below [{home[0]}]"
    return Mistake(source=source, line=line, key=key, message=f"there is no such key{hint}")


_PIECE = re.compile(
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
    for match in _PIECE.finditer(text):
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
    if not isinstance(path, str) or not path:
        raise ValueError("must be the path of a file that holds the secret")
    try:
        with open(path, "rb") as file:
            data = file.read(SECRET_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise ValueError(f"the secret file {_shown(path)} cannot be read: {error.strerror}") from None
    except ValueError:  # not UTF-8, or NUL in the path
        text = ""
    text = text.removesuffix("\n").removesuffix("\r")
    if not text or len(data) > SECRET_BYTES:
        raise ValueError(f"the secret file {_shown(path)} must hold one line of UTF-8")
    return text


def _contradictions(config: Config, origins: Mapping[str, _Given], spoilt: set[str]) -> Iterator[Mistake]:
    """Values that are right alone and wrong together; not judged where one of them is spoilt already."""
    server, accounts, mail = config.server, config.accounts, config.mail
    path = server.public_url.partition("://")[2].partition("/")[2]
    for keys, wrong, message in (
        (
            ("server.public_url", "server.base_path"),
            server.public_url and "/" * bool(path) + path != server.base_path,
            f'must end with base_path, which is "{server.base_path}"',
        ),
        (
            ("accounts.refresh_idle", "accounts.refresh_absolute"),
            accounts.refresh_idle > accounts.refresh_absolute,
            "must not be longer than refresh_absolute",
        ),
        (("mail.sender", "mail.host"), mail.host and not mail.sender, "must be given when host is"),
        (
            ("mail.username", "mail.password"),
            bool(mail.username) != bool(mail.password),
            "must be given when password is, and password when username is",
        ),
    ):
        if wrong and spoilt.isdisjoint(keys):
            given = next(origins[key] for key in keys if key in origins)
            yield Mistake(source=given.source, line=given.line, key=keys[0], message=message)


# What keys there are


class _Field(Struct, frozen=True, kw_only=True):
    section: str
    name: str
    sentence: str
    kind: Kind
    default: Any
    secret: bool


@cache
def _sections() -> dict[str, tuple[Any, tuple[str, ...]]]:
    return {name: (kind, kind.__struct_fields__) for name, kind in get_type_hints(Config).items()}


@cache
def _fields() -> dict[str, _Field]:
    fields = {}
    for section, (struct, _) in _sections().items():
        for name, hint in get_type_hints(struct, include_extras=True).items():
            type_, sentence, *kind = get_args(hint)
            fields[f"{section}.{name}"] = _Field(
                section=section,
                name=name,
                sentence=sentence,
                kind=kind[0] if kind else _BY_TYPE.get(type_) or _choice(get_args(type_)),
                default=getattr(struct(), name),
                secret=type_ is Secret,
            )
    return fields


def _variable(key: str) -> str:
    return PREFIX + key.replace(".", "__").upper()


def _close(name: str, names: Any, prefix: str = "") -> str:
    from difflib import get_close_matches  # slow to import, and rarely needed

    close = get_close_matches(name, list(names), 1)
    return f"; did you mean {prefix}{close[0]}?" if close else ""


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:60] + "…"


# How values are read and written


class Kind(Struct, frozen=True):
    """`what` completes "must be …". `read` takes what TOML gives and raises ValueError when it is not that;
    `from_text` makes what TOML would give of a variable's text; `write` makes TOML of a value.
    """

    what: str
    read: Callable[[Any], Any]
    from_text: Callable[[str], Any] = str
    write: Callable[[Any], str] = lambda value: json.dumps(str(value), ensure_ascii=False)


def integer(low: int, high: int) -> Kind:
    return Kind(f"a whole number from {low} to {high}", lambda value: _within(value, low, high), _int_or_text, str)


def size(low: int, high: int) -> Kind:
    def read(value: Any) -> int:
        if not isinstance(value, str):
            return _within(value, low, high)
        amount, unit = _matched(r"([0-9]{1,18}) *([a-z]*)", value.strip().lower())
        return _within(int(amount) * _unit(_SIZES, unit), low, high)

    what = f'a size from {_size_text(low)} to {_size_text(high)}, such as "20 MiB"'
    return Kind(what, read, str, lambda value: f'"{_size_text(value)}"')


def duration(low: int, high: int) -> Kind:
    def read(value: Any) -> int:
        if not isinstance(value, str):
            return _within(value, low, high)
        text = value.strip().lower()
        if text.isascii() and text.isdigit():
            return _within(int(text[:18]), low, high)
        _matched(r"((?:[0-9]{1,18} *[a-z]+ *)+)", text)
        parts = re.findall(r"([0-9]+) *([a-z]+)", text)
        return _within(sum(int(amount) * _unit(_TIMES, unit) for amount, unit in parts), low, high)

    what = f'a duration from {_time_text(low)} to {_time_text(high)}, such as "10 min" or "1h30m"'
    return Kind(what, read, str, lambda value: f'"{_time_text(value)}"')


# The first spelling of each is the one that is written.
_SIZES = {"b": 1, "": 1, "kib": KIB, "mib": MIB, "gib": GIB, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_TIMES = {
    unit: seconds
    for units, seconds in (
        ("s sec second seconds", 1),
        ("m min minute minutes", MINUTE),
        ("h hour hours", HOUR),
        ("d day days", DAY),
        ("w week weeks", 7 * DAY),
    )
    for unit in units.split()
}


def _choice(names: tuple[str, ...]) -> Kind:
    def read(value: Any) -> str:
        if value not in names:
            raise ValueError
        return str(value)

    return Kind("one of " + ", ".join(f'"{name}"' for name in names), read)


def _within(value: Any, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError
    return value


def _matched(pattern: str, value: Any) -> tuple[str, ...]:
    found = re.fullmatch(pattern, value) if isinstance(value, str) else None
    if not found:
        raise ValueError
    return tuple(group or "" for group in found.groups())


def _unit(units: Mapping[str, int], unit: str) -> int:
    if unit not in units:
        raise ValueError
    return units[unit]


def _int_or_text(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text


def _list(text: str) -> Any:
    if text.lstrip().startswith("["):
        return json.loads(text)
    return [item.strip() for item in text.split(",") if item.strip()]


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError
    return value


def _path(value: Any) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ValueError from None


def _address(value: Any) -> Address:
    host, port = _matched(r"([A-Za-z0-9._-]+|\[[^\[\]]+\]):([0-9]{1,5})", value)
    if host.startswith("["):
        host = str(ipaddress.IPv6Address(host[1:-1]))
    elif not re.search(r"[^0-9.]", host):
        ipaddress.IPv4Address(host)
    return Address(host, _within(int(port), 0, 65535))


_HOST = r"([a-z0-9][a-z0-9._-]*|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?"
_SEGMENTS = r"((?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]+)*)/?"


def _origin(value: Any) -> str:
    """As browsers send it (RFC 6454 §6.1): lower case, and without the scheme's own port."""
    scheme, host, port = _matched(r"([a-z][a-z0-9+.-]*)://" + _HOST, value.lower() if isinstance(value, str) else "")
    if not port or (scheme, int(port)) in (("http", 80), ("https", 443)):
        return f"{scheme}://{host}"
    return f"{scheme}://{host}:{_within(int(port), 1, 65535)}"


def _url(value: Any) -> str:
    if value == "":
        return ""
    origin, path = _matched(rf"((?i:https?://{_HOST.replace('(', '(?:', 1)}))" + _SEGMENTS, value)[::2]
    return _origin(origin) + path


def _base_path(value: Any) -> str:
    return _matched(_SEGMENTS, value)[0]


def _each(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def read_all(values: Any) -> tuple[Any, ...]:
        if not isinstance(values, list | tuple):
            raise ValueError
        return tuple(read(value) for value in values)

    return read_all


def _network(value: Any) -> Network:
    return ipaddress.ip_network(_text(value))  # a number would be taken for an address


def _rate(value: Any) -> Rate | None:
    if value in ("off", "0") or (value == 0 and not isinstance(value, bool)):
        return None
    pattern = r"([0-9]{1,9}) */ *([0-9]{0,9}) *([a-z]+)"
    amount, count, unit = _matched(pattern, value.strip().lower() if isinstance(value, str) else "")
    seconds = int(count or 1) * _unit(_TIMES, unit)
    return Rate(_within(int(amount), 1, 10**9), _within(seconds, 1, 30 * DAY))


def _dsn(value: Any) -> Secret:
    if value and not _text(value).startswith(("postgresql://", "postgres://")):
        raise ValueError
    return Secret(_text(value))


def _mailbox(value: Any) -> str:
    if value:
        _matched(r"(?:[^<>@]*<[^\s<>@,]+@[^\s<>@,]+>|[^\s<>@,]+@[^\s<>@,]+)", _text(value))
    return _text(value)


def _size_text(value: int) -> str:
    names = ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"), (1, "B"))
    return next(f"{value // unit} {name}" for unit, name in names if value % unit == 0)


def _time_text(value: int) -> str:
    names = ((DAY, "days"), (HOUR, "h"), (MINUTE, "min"), (1, "s"))
    return next(f"{value // unit} {name}" for unit, name in names if value % unit == 0).replace("1 days", "1 day")


def _rate_text(rate: Rate | None) -> str:
    if rate is None:
        return '"off"'
    return f'"{rate.amount}/{re.sub(r"^1 | ", "", _time_text(rate.seconds))}"'


_TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_BY_TYPE: dict[Any, Kind] = {
    bool: Kind(
        "true or false", _boolean, lambda text: _TRUTHS.get(text.lower(), text), lambda value: str(value).lower()
    ),
    str: Kind("text without control characters", _text),
    Path: Kind("a path", _path),
    Address: Kind('host:port, such as "127.0.0.1:8000" or "[::1]:8000"', _address),
    Secret: Kind("text without control characters", lambda value: Secret(_text(value)), str, lambda _: '""'),
}
URL = Kind('an http or https address such as "https://notes.example.org", without query', _url)
BASE_PATH = Kind('a path such as "/notes"', _base_path)
NETWORKS = Kind(
    'a list of IP addresses and networks, such as "10.0.0.0/8"',
    _each(_network),
    _list,
    lambda nets: json.dumps([str(net) for net in nets]),
)
ORIGINS = Kind(
    'a list of origins, such as "https://app.example.org"', _each(_origin), _list, lambda value: json.dumps(value)
)
RATE = Kind('a rate such as "120/min" or "10/15min", or "off"', _rate, str, _rate_text)
DSN = Kind("a postgresql:// URL, or empty", _dsn, str, lambda _: '""')
MAILBOX = Kind('a mail address such as "mdserver <notes@example.org>"', _mailbox)
