"""Configuration: command line, environment and file become frozen values, or a list of every mistake. Floor 0."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_type_hints

from msgspec import Struct

from .config_sections import Accounts, Backup, Config, Database, Jobs, Limits, Log, Mail, Rates, Retention, Server
from .config_values import (
    BY_TYPE,
    DAY,
    GIB,
    HOUR,
    KIB,
    MIB,
    MINUTE,
    Address,
    Keep,
    Kind,
    Network,
    Rate,
    Schedule,
    Secret,
    choice,
    duration,
)

__all__ = [
    "DAY",
    "GIB",
    "HOUR",
    "KIB",
    "MIB",
    "MINUTE",
    "Accounts",
    "Address",
    "Backup",
    "Config",
    "ConfigError",
    "Database",
    "Jobs",
    "Keep",
    "Key",
    "Limits",
    "Log",
    "Mail",
    "Mistake",
    "Network",
    "Rate",
    "Rates",
    "Retention",
    "Schedule",
    "Secret",
    "Server",
    "describe",
    "duration",
    "key_lines",
    "load",
]

PREFIX = "MDSERVER_"
SECRET_BYTES = 64 * KIB  # a secret file is a line, not a log: whoever names the wrong file should hear of it


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
_NOT_KEYS = ("MDSERVER_CONFIG", "MDSERVER_FAILPOINT", "MDSERVER_TOKEN")  # the last is for `mdserver sync`


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
    secrets = {f"mdserver.{name}": name for name, (key, _) in _keys().items() if key.secret}
    for name in sorted(names):
        path = os.path.join(directory or "", name)
        if name in secrets:
            yield _Given(key=secrets[name], value=path, layer="credentials", source=path, is_path=True)
        elif name.removeprefix("mdserver.") in _keys():
            yield Mistake(source=path, message="is the name of a key that is no secret; write it into the file")
        elif re.fullmatch(r"mdserver\.[^.]+\.[^.]+", name):  # any other is somebody else's
            yield Mistake(source=path, message="names no key" + _close(name, secrets))


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
    if not text or "\n" in text or "\r" in text:
        raise ValueError("the file with the secret must hold it as one line of UTF-8")
    return text


def _contradictions(config: Config, origins: Mapping[str, _Given], *, spoilt: set[str]) -> Iterator[Mistake]:
    """Values that are right alone and wrong together; not judged where one of them is spoilt already."""
    server, accounts, mail, kept = config.server, config.accounts, config.mail, config.retention
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
        (
            "retention.versions_hourly retention.versions",
            kept.versions is not None and kept.versions_hourly < kept.versions,
            "must not be shorter than versions",
        ),
        (
            "retention.versions_daily retention.versions_hourly",
            kept.versions_daily is not None and kept.versions_daily < kept.versions_hourly,
            "must not be shorter than versions_hourly",
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
            kind = kinds[0] if kinds else BY_TYPE.get(type_) or choice(get_args(type_))
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
