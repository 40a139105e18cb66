"""The configuration: its sources, its values, its mistakes, and the example file that documents it."""

from __future__ import annotations

import ipaddress
import json
import math
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdserver import config
from mdserver.config import (
    DAY,
    GIB,
    HOUR,
    KIB,
    MIB,
    MINUTE,
    Address,
    Config,
    ConfigError,
    Keep,
    Rate,
    Schedule,
    Secret,
    load,
)

EXAMPLE = Path(__file__).parent.parent / "config.example.toml"
SESAME = "open sesame"

Write: TypeAlias = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str | bytes, name: str = "config.toml") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def mistakes(path: Path | None, environment: dict[str, str] | None = None, **overrides: Any) -> list[str]:
    """All mistakes as a person reads them, without the directory of the file."""
    with pytest.raises(ConfigError) as caught:
        load(path, environment=environment or {}, overrides=overrides)
    assert str(caught.value) == "\n".join(map(str, caught.value.mistakes))
    return str(caught.value).replace(f"{path.parent}/" if path else "\0", "").split("\n")


def from_environment(**variables: str) -> Config:
    return load(None, environment={f"MDSERVER_{name}": value for name, value in variables.items()})


# The example file


def test_the_example_holds_every_key_with_its_default_and_its_sentence() -> None:
    text = EXAMPLE.read_text()
    parts = []
    for section, struct in config._sections().items():
        parts.append(f"\n[{section}]\n# {struct.__doc__}\n")
        for key in config.describe():
            if key.section == section:
                choices = f" O{key.type[1:]}." if key.type.startswith("one of ") else ""
                parts.append(f"\n# {key.sentence}{choices}\n#{key.key} = {key.default}\n")
    assert text[text.index("\n[") :] == "".join(parts)
    assert all(len(line) <= 120 for line in text.splitlines())


def test_the_example_uncommented_equals_the_defaults(write: Write) -> None:
    text = re.sub(r"^#(?=[a-z])", "", EXAMPLE.read_text(), flags=re.MULTILINE)
    tables = tomllib.loads(text)
    assert {name: list(table) for name, table in tables.items()} == {
        name: list(struct.__struct_fields__) for name, struct in config._sections().items()
    }
    # Written as the defaults are, so this also shows that what is written can be read.
    assert load(write(text), environment={}) == Config() == load(EXAMPLE, environment={})


def test_sentences_are_sentences() -> None:
    for key in config.describe():
        assert key.sentence[0].isalpha(), key
        assert key.sentence.endswith("."), key
        assert "\n" not in key.sentence


# Where values come from


def test_nothing_given_is_the_defaults() -> None:
    assert load(None, environment={"HOME": "/root", "PATH": "/bin"}) == Config()


def test_the_command_line_beats_the_environment_beats_the_file(write: Write) -> None:
    path = write('[server]\nlisten = "h:1"\ndata = "one"\nevent_loop = "uvloop"\n[mail]\nport = 25\n')
    environment = {"MDSERVER_SERVER__LISTEN": "h:2", "MDSERVER_DATA": "two", "MDSERVER_CONFIG": str(path)}
    found = load(path, environment=environment, overrides={"server.listen": "h:3", "server.data": None})
    assert found.server.listen == Address("h", 3)
    assert found.server.data == Path("two")
    assert found.server.event_loop == "uvloop"
    assert found.mail.port == 25


def test_the_command_line_takes_text_and_values() -> None:
    overrides = {"server.data": Path("/data"), "mail.port": "25", "rates.enabled": False, "limits.document": 1 << 20}
    found = load(None, environment={}, overrides=overrides)
    assert (found.server.data, found.mail.port) == (Path("/data"), 25)
    assert (found.rates.enabled, found.limits.document) == (False, MIB)


def test_systemd_names_the_data_directory_unless_another_is_given() -> None:
    systemd = {"STATE_DIRECTORY": "/var/lib/mdserver:/var/lib/other"}
    assert load(None, environment=systemd).server.data == Path("/var/lib/mdserver")
    assert load(None, environment=systemd | {"MDSERVER_DATA": "/data"}).server.data == Path("/data")


def test_the_environment_is_text_of_the_right_kind() -> None:
    found = from_environment(
        SERVER__TRUSTED_PROXIES="10.0.0.0/8, ::1",
        SERVER__CORS_ORIGINS='["https://a.example.org"]',
        SERVER__SHUTDOWN_SECONDS="5",
        DATABASE__READERS=" 4 ",
        LIMITS__DOCUMENT="5 MiB",
        LIMITS__KEEP_ALIVE="90",
        RATES__ENABLED="No",
        RATES__WRITES="off",
        MAIL__HOST="",
    )
    assert found.server.trusted_proxies == (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1"))
    assert found.server.cors_origins == ("https://a.example.org",)
    assert (found.server.shutdown_seconds, found.database.readers) == (5, 4)
    assert (found.limits.document, found.limits.keep_alive) == (5 * MIB, 90)
    assert (found.rates.enabled, found.rates.writes) == (False, None)
    assert from_environment(SERVER__CORS_ORIGINS="").server.cors_origins == ()


def test_what_is_not_ours_in_the_environment_is_left_alone() -> None:
    environment = {
        "MDSERVER_FAILPOINT": "after-commit:2",
        "MDSERVER_CONFIG": "/etc/x.toml",
        "MDSERVERS": "3",
        # Kubernetes, beside a service called mdserver.
        "MDSERVER_SERVICE_HOST": "10.0.0.7",
        "MDSERVER_SERVICE_PORT_HTTP": "80",
        "MDSERVER_PORT": "tcp://10.0.0.7:80",
        "MDSERVER_PORT_80_TCP_ADDR": "10.0.0.7",
    }
    assert load(None, environment=environment) == Config()


def test_secrets_come_from_files_and_credentials(write: Write, tmp_path: Path) -> None:
    secret = write(f"{SESAME}\r\n", "secret")
    path = write(f'[mail]\nusername = "u"\npassword_file = "{secret}"\n')
    assert load(path, environment={}).mail.password == Secret(SESAME)

    by_file = {"MDSERVER_MAIL__PASSWORD_FILE": str(secret), "MDSERVER_MAIL__USERNAME": "u"}
    assert load(None, environment=by_file).mail.password == Secret(SESAME)

    write(" from systemd \n", "mdserver.mail.password")
    write("not for us", "mdserver.master_key")
    systemd = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert load(path, environment=systemd).mail.password == Secret(" from systemd ")
    assert load(path, environment=systemd | by_file).mail.password == Secret(SESAME)


def test_a_secret_file_that_is_overruled_need_not_exist(write: Write) -> None:
    path = write('[mail]\nusername = "u"\npassword_file = "/nowhere/secret"\n')
    assert load(path, environment={"MDSERVER_MAIL__PASSWORD": SESAME}).mail.password == Secret(SESAME)


def test_the_address_people_use() -> None:
    assert from_environment(SERVER__LISTEN="0.0.0.0:80").server.url() == "http://localhost:80"
    assert from_environment(SERVER__LISTEN="[::1]:0", SERVER__BASE_PATH="/n/").server.url(4711) == "http://[::1]:4711/n"
    behind = from_environment(SERVER__PUBLIC_URL="HTTPS://Notes.Example.org:443/n/", SERVER__BASE_PATH="/n")
    assert behind.server.url(4711) == "https://notes.example.org/n"


# Values


@pytest.mark.parametrize(
    ("key", "written", "read"),
    [
        ("server.listen", "localhost:8000", Address("localhost", 8000)),
        ("server.listen", "[::1]:0", Address("::1", 0)),
        ("server.base_path", "/", ""),
        ("server.base_path", "/a/b.c/", "/a/b.c"),
        ("server.data", "/srv/my notes", Path("/srv/my notes")),
        ("server.cors_origins", ["HTTP://A:80", "https://b:8443"], ("http://a", "https://b:8443")),
        ("limits.document", 4096, 4096),
        ("limits.document", "2 MiB", 2 * MIB),
        ("limits.document", "64KiB", 64 * KIB),
        ("limits.document", "3 MB", 3_000_000),
        ("limits.document", "5000", 5000),
        ("limits.import_bytes", "1 GiB 512 MiB", GIB + 512 * MIB),
        ("limits.keep_alive", 20, 20),
        ("limits.keep_alive", "2m", 2 * MINUTE),
        ("accounts.access_token", "1h30m", HOUR + 30 * MINUTE),
        ("accounts.access_token", "1 hour 5 minutes", HOUR + 5 * MINUTE),
        ("accounts.refresh_idle", "2 weeks", 14 * DAY),
        ("accounts.invitation", "1 day", DAY),
        ("rates.writes", "120/min", Rate(120, MINUTE)),
        ("rates.writes", "5 / h", Rate(5, HOUR)),
        ("rates.writes", "10/15min", Rate(10, 15 * MINUTE)),
        ("rates.writes", 0, None),
        ("rates.writes", "off", None),
        ("backup.schedule", "off", None),
        ("backup.schedule", "daily 3:30", Schedule(minute=210)),
        ("backup.schedule", "6h", Schedule(seconds=6 * HOUR)),
        ("backup.keep", 3, Keep(last=3)),
        ("backup.keep", "1 last, 2 monthly,3  weekly", Keep(last=1, monthly=2, weekly=3)),
        ("backup.directory", "", ""),
        ("backup.directory", "/mnt/my backups", "/mnt/my backups"),
        ("database.url", "postgresql:///notes", Secret("postgresql:///notes")),
        ("mail.sender", "me@nas", "me@nas"),
        ("mail.sender", "Our notes <notes@example.org>", "Our notes <notes@example.org>"),
    ],
)
def test_values_that_are_read(key: str, written: object, read: object, write: Write) -> None:
    section, _, name = key.partition(".")
    path = write(f"[{section}]\n{name} = {msgspec.json.encode(written).decode()}\n")
    assert getattr(getattr(load(path, environment={}), section), name) == read
    # None would mean "not given" on the command line, but nothing is written as null.
    found = load(None, environment={}, overrides={key: written})
    assert getattr(getattr(found, section), name) == read


REFUSED: dict[str, list[object]] = {
    "server.listen": ["8000", ":80", "::1:80", "h:65536", "1.2.3.400:1", "[x]:1", "h:1\n", 80],
    "server.public_url": ["a.org", "ftp://a", "https://a/?q", "https://u@a", "https://a:0", "https://", 1],
    "server.base_path": ["n", "/a//b", "/a/../b", "/.", "/a b", "//", math.nan],
    "server.trusted_proxies": [["10.0.0.1/8"], ["localhost"], [1], [[]], "10.0.0.1", 7, {"a": 1}],
    "server.cors_origins": [["*"], ["null"], ["https://a/"], ["https://*.a"], ["a"], ["https://a:99999"], [None]],
    "server.data": ["", "a\0b", 1, []],
    "server.shutdown_seconds": [0, 3601, "15", 1.5, True, math.nan, [1]],
    "limits.document": [1, "1 B", "2 GiB", "20 MiBs", "MiB", "-1", "1.5 MiB", "9" * 5000, True, 1.5],
    "limits.keep_alive": [0, "0", "500ms", "1 month", "1h 1", "h", "", "²", "9" * 5000 + "s", False],
    "rates.writes": ["0/min", "1/0s", "5", "5/", "/min", "1/31days", "1/ms", 5, 0.0, False, []],
    "rates.enabled": ["true", 1, 0],
    "log.level": ["INFO", "", 1, [], {"a": 1}],
    "database.url": ["mysql://a", "postgresql://a\n", 1],
    "backup.schedule": ["daily", "daily 24:00", "daily 3:60", "hourly", "5 min", "32 days", "3:30", "", 0, True, []],
    "backup.keep": [0, 1001, "", "3", "daily", "0 daily", "7 days", "1 daily, 2 daily", "7 daily,", 1.5, True, []],
    "backup.directory": ["a\0b", 1, []],
    "mail.sender": ["me", "a@b c@d", "A <a@b", "a@b\nBcc: c@d", "<a@b> x", 1],
    "metrics.token": ["short", "fifteen-letters", "with spaces, and long", "sixteen letters\n", "sixteen-lettérs!", 1],
    "mail.username": ["a\nb", "\x7f", 1, True, [], {"a": 1}],
}


@pytest.mark.parametrize(("key", "written"), [(key, value) for key, values in REFUSED.items() for value in values])
def test_values_that_are_refused(key: str, written: object, write: Write) -> None:
    section, _, name = key.partition(".")
    # TOML as far as values go, but for null, nan, DEL and tables.
    text = json.dumps(written)
    text = text.replace("NaN", "nan").replace("null", "{}").replace("\x7f", "\\u007f").replace('{"a": 1}', "{a = 1}")
    (mistake,) = mistakes(write(f"\n[{section}]\n{name} = {text}\n"))
    assert mistake.startswith(f"config.toml:3: {key}: must be ")
    assert "is not TOML" not in mistake


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RATES__ENABLED", "maybe"),
        ("DATABASE__READERS", ""),
        ("DATABASE__READERS", "2.0"),
        ("SERVER__CORS_ORIGINS", "[1"),
        ("SERVER__TRUSTED_PROXIES", '{"a": 1}'),
        ("DATA", ""),
        ("MAIL__USERNAME", os.fsdecode(b"\xff")),
    ],
)
def test_variables_that_are_refused(name: str, value: str) -> None:
    (mistake,) = mistakes(None, {f"MDSERVER_{name}": value})
    assert mistake.startswith(f"MDSERVER_{name}: ")
    mistake.encode()  # can be printed


# Mistakes


def test_every_mistake_at_once_with_its_place(write: Write) -> None:
    path = write("""\
listen = "127.0.0.1:80"
log = 1

[servre]
data = "x"

[server]
lisen = "127.0.0.1:80"
port = 80
listen = "80"

[mail]  # contradicts itself
host = "smtp.example.org"
timeout_file = "x"
password_file = "/nowhere/secret"
""")
    environment = {
        "MDSERVER_RATES__WRITES": "many",
        "MDSERVER_SERVER_LISTEN": "h:1",
        "MDSERVER_MAIL__PORT_FILE": "x",
        "MDSERVER_PORT": "80",
    }
    assert mistakes(path, environment, **{"log.levle": "info"}) == [
        "command line: log.levle: there is no such key; did you mean log.level?",
        'MDSERVER_RATES__WRITES: rates.writes: must be a rate such as "120/min" or "10/15min", or "off"; "many" is not',
        "MDSERVER_SERVER_LISTEN: names no key; did you mean MDSERVER_SERVER__LISTEN?",
        "MDSERVER_MAIL__PORT_FILE: names no key; did you mean MDSERVER_MAIL__PORT?",
        "MDSERVER_PORT: names no key",
        "config.toml:1: listen: there is no such section; it belongs below [server]",
        "config.toml:2: log: must be a section, written [log]",
        "config.toml:4: servre: there is no such section; did you mean server?",
        "config.toml:8: server.lisen: there is no such key; did you mean listen?",
        "config.toml:9: server.port: there is no such key; [server] has data, listen, public_url, base_path, "
        "trusted_proxies, cors_origins, shutdown_seconds, event_loop",
        'config.toml:10: server.listen: must be host:port, such as "127.0.0.1:8000" or "[::1]:8000"; "80" is not',
        "config.toml:13: mail.sender: must be given when host is",
        "config.toml:14: mail.timeout_file: there is no such key; did you mean timeout?",
        "config.toml:15: mail.password: the file with the secret cannot be read: No such file or directory",
    ]


def test_values_that_do_not_go_together(write: Write) -> None:
    assert mistakes(write('[server]\npublic_url = "https://a.org/x"\nbase_path = "/y"\n')) == [
        'config.toml:2: server.public_url: must have base_path as its path; they are "/x" and "/y"'
    ]
    assert mistakes(write('[accounts]\nrefresh_absolute = "1 day"\n')) == [
        "config.toml:2: accounts.refresh_idle: must not be longer than refresh_absolute"
    ]
    assert mistakes(None, {"MDSERVER_MAIL__USERNAME": "u"}) == [
        "MDSERVER_MAIL__USERNAME: mail.password: must be given when username is"
    ]
    assert mistakes(None, {"MDSERVER_MAIL__PASSWORD": "p"}) == [
        "MDSERVER_MAIL__PASSWORD: mail.username: must be given when password is"
    ]


def test_a_file_that_cannot_be_read_is_the_only_mistake_about_it(write: Write, tmp_path: Path) -> None:
    environment = {"MDSERVER_MAIL__HOST": "h"}  # the sender may well stand in the file
    missing = tmp_path / "missing.toml"
    assert mistakes(missing, environment) == ["missing.toml: cannot be read: No such file or directory"]
    assert mistakes(write('[mail]\nsender = "a@b'), environment) == ["config.toml:2: is not TOML: Unterminated string"]
    assert mistakes(write("a = 1\n\nb = [\n"), environment)[0].startswith("config.toml:4: is not TOML: ")
    assert mistakes(write("a = 1\r\na = 2\r\n"), environment)[0].startswith("config.toml:2: is not TOML: ")
    assert mistakes(write(f"a = {'9' * 5000}\n"), environment)[0].startswith("config.toml:")
    assert mistakes(write(b"# ok\n# \xff\n"), environment) == ["config.toml:2: is not UTF-8"]


def test_a_byte_order_mark_is_no_mistake(write: Write) -> None:
    assert load(write('\ufeff[log]\r\nlevel = "debug"\r\n'), environment={}).log.level == "debug"


def test_a_key_given_twice_by_one_source(write: Write) -> None:
    assert mistakes(write('[mail]\nusername = "u"\npassword = "x"\npassword_file = "y"\n')) == [
        "config.toml:4: mail.password: is given twice, line 3 has it too"
    ]
    assert mistakes(None, {"MDSERVER_DATA": "a", "MDSERVER_SERVER__DATA": "b"}) == [
        "MDSERVER_SERVER__DATA: server.data: is given twice, MDSERVER_DATA has it too"
    ]


def test_one_mistake_is_one_line(write: Write) -> None:
    (mistake,) = mistakes(write('[log]\n"a\\nb\\u0000" = 1\n'))
    assert mistake.startswith("config.toml:2: log.a�b�: there is no such key; [log] has ")


# Secrets


def test_secrets_are_not_shown() -> None:
    found = from_environment(MAIL__PASSWORD=SESAME, MAIL__USERNAME="u", DATABASE__URL=f"postgresql://u:{SESAME}@h/d")
    assert found.mail.password.reveal() == SESAME
    assert "sesame" not in f"{found!r} {found} {found.mail.password}"
    assert repr(found.mail.password) != repr(Config().mail.password)
    with pytest.raises(TypeError):
        msgspec.json.encode(found)
    assert found.mail.password
    assert not Secret()
    assert {Secret("a"), Secret("a")} == {Secret("a")}
    assert Secret("a") != "a"


def test_mistakes_do_not_quote_secrets(write: Write) -> None:
    secret = write(f"{SESAME}\n{SESAME}\n", "two lines")
    path = write(f"""\
[database]
url = "mysql://root:{SESAME}@localhost"
[mail]
password = ["{SESAME}"]
pasword = "{SESAME}"
password_file = "{SESAME}"
[server]
public_url = "https://admin:{SESAME}@example.org"
cors_origins = ["https://admin:{SESAME}@example.org"]
""")
    environment = {
        "MDSERVER_DATABASE__URL": f"{SESAME}\n",
        "MDSERVER_DATABASE__URL_FILE": SESAME,
        "MDSERVER_MAIL__PASSWORD_FILE": str(secret),
        "MDSERVER_MAIL_PASSWORD": SESAME,
    }
    found = mistakes(path, environment)
    assert len(found) == 10
    assert "sesame" not in "".join(found)
    for broken in (
        f'[mail]\npassword = "{SESAME}',
        f"[mail]\npassword = {SESAME}",
        f'[mail]\npassword = "{SESAME}\x01"',
    ):
        assert "sesame" not in "".join(mistakes(write(broken)))


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff", b"x" * (64 * KIB + 1)])
def test_secret_files_hold_one_line(content: bytes, write: Write) -> None:
    (mistake,) = mistakes(None, {"MDSERVER_DATABASE__URL_FILE": str(write(content, "secret"))})
    assert mistake.startswith(
        "MDSERVER_DATABASE__URL_FILE: database.url: the file with the secret must hold it as one "
    )


@pytest.mark.parametrize("path", ["", ".", "a\0b"])
def test_secret_files_that_are_none(path: str) -> None:
    (mistake,) = mistakes(None, {"MDSERVER_DATABASE__URL_FILE": path})
    assert mistake.startswith("MDSERVER_DATABASE__URL_FILE: database.url: ")


def test_credentials_that_are_none(tmp_path: Path) -> None:
    """Each is told with the file that it came from, and never with what stands in it."""
    where = tmp_path / "credentials"
    where.mkdir()
    (where / "mdserver.database.url").symlink_to(tmp_path / "nowhere")
    (where / "mdserver.mail.password").mkdir()
    (where / "mdserver.mail.pasword").write_text(SESAME)
    (where / "mdserver.mail.host").write_text(SESAME)
    (where / "another.mail.password").write_text("not for us")
    for content in ("", "\n", "\r\n", f"{SESAME}\n{SESAME}\n", f"{SESAME}\r{SESAME}", "x" * 70_000):
        (where / "mdserver.metrics.token").write_text(content, newline="")
        said = mistakes(None, {"CREDENTIALS_DIRECTORY": str(where)})
        unread = "the file with the secret cannot be read"
        assert [one.removeprefix(f"{where}/mdserver.") for one in said] == [
            f"database.url: database.url: {unread}: No such file or directory",
            "mail.host: is the name of a key that is no secret; write it into the file",
            f"mail.password: mail.password: {unread}: Is a directory",
            "mail.pasword: names no key; did you mean mdserver.mail.password?",
            "metrics.token: metrics.token: the file with the secret must hold it as one line of UTF-8",
        ]
        assert SESAME not in str(said)


def test_a_missing_credentials_directory_is_a_mistake() -> None:
    assert mistakes(None, {"CREDENTIALS_DIRECTORY": "/nowhere"}) == [
        "CREDENTIALS_DIRECTORY: cannot be read: No such file or directory"
    ]


# Lines


def test_lines_of_keys() -> None:
    text = (
        r'''# [no] a = 1
top.a . "b.c" = 1 # x = 1
[ server ] # [no]
'single' = """
a = 1 \""" b = 2
[no]"""
list = [ # b = 1
  "]", '[', { c = 3 },
] # d = 4
"quoted \" \u0041" = '# no'
raw = """"""""
after = '''
        + """'''
[no]
x = 1'''''
inline = { a = "}", b = [1,
 2] }
[server.deep."a]b"]
1979-05-27 = 1979-05-27T07:32:00.5Z
=""".removesuffix("=")
        + r"""
[[many]]
x = "\\"
[[ many ]]
y = 'C:\'
z = -1.5e+3
"""
    )
    tomllib.loads(text)
    assert config.key_lines(text) == {
        ("top",): 2, ("top", "a"): 2, ("top", "a", "b.c"): 2,
        ("server",): 3, ("server", "single"): 4, ("server", "list"): 7, ("server", 'quoted " A'): 10,
        ("server", "raw"): 11, ("server", "after"): 12, ("server", "inline"): 15,
        ("server", "deep"): 17, ("server", "deep", "a]b"): 17, ("server", "deep", "a]b", "1979-05-27"): 18,
        ("many",): 20, ("many", "x"): 21, ("many", "y"): 23, ("many", "z"): 24,
    }  # fmt: skip


_BARE = st.text("abAZ09_-", min_size=1, max_size=4)
_ANY = st.text(st.sampled_from("a[]{}=.#'\"\\ ,\t"), max_size=8)
_VALUES = st.recursive(
    st.integers() | st.booleans() | _ANY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_BARE, inner, max_size=2),
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.dictionaries(_BARE | _ANY, st.dictionaries(_BARE | _ANY, _VALUES, max_size=3), max_size=3), st.data())
def test_lines_of_random_keys(tables: dict[str, dict[str, Any]], data: st.DataObject) -> None:
    """Everything is written in random ways, with what looks like keys in strings and comments between."""
    lines: list[str] = []
    expected: dict[tuple[str, ...], int] = {}
    noise = st.sampled_from(["", "# [a] b = 1", "\t# '''", "  "])

    def key(name: str) -> str:
        literal = "'" not in name and "\t" not in name and data.draw(st.booleans())
        return f"'{name}'" if literal else msgspec.json.encode(name).decode()

    def value(item: Any) -> str:
        if isinstance(item, list):
            newline = data.draw(st.sampled_from(["", "\n", "# [a]\n"]))
            return f"[{newline}" + "".join(f"{value(each)},{newline}" for each in item) + "]"
        if isinstance(item, dict):
            return "{" + ", ".join(f"{key(name)} = {value(each)}" for name, each in item.items()) + "}"
        if isinstance(item, str) and "'" not in item and data.draw(st.booleans()):
            return f"'''\n{item}\n= 1'''"
        return msgspec.json.encode(item).decode()

    for table, items in tables.items():
        lines += [data.draw(noise), f"[ {key(table)}]"]
        expected[table,] = len(lines)
        for name, item in items.items():
            lines.append(data.draw(noise))
            expected[table, name] = len(lines) + 1
            lines += f"{key(name)} = {value(item)} {data.draw(noise)}".split("\n")
    text = "\n".join(lines)
    assert set(tomllib.loads(text)) == set(tables)
    assert config.key_lines(text) == expected


# The module


def test_keys_are_described() -> None:
    found = {f"{key.section}.{key.key}": key for key in config.describe()}
    assert found["limits.document"] == (
        "limits",
        "document",
        'a size from 1 KiB to 1 GiB, such as "20 MiB"',
        '"20 MiB"',
        "Largest text of one document.",
        False,
    )
    assert [name for name, key in found.items() if key.secret] == ["database.url", "mail.password", "metrics.token"]
    assert msgspec.json.encode(config.describe())


def test_importing_it_brings_little_along() -> None:
    code = "import sys, mdserver.config; print([name for name in sys.modules if name in sys.argv])"
    names = ["aiohttp", "difflib", "tomllib", "asyncio", "email"]
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
