"""Every command explains itself, quickly; failures are told in one sentence."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from mdserver import __version__
from mdserver.cli import COMMANDS, main

from .homes import Home

HEAVY = ("aiohttp", "aiosqlite", "argon2", "markdown_it", "msgspec", "psycopg", "pycrdt", "jinja2")


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(command)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, (*path, name))
    else:
        yield path, command


ALL = dict(commands(main))


def test_the_commands() -> None:
    assert [" ".join(path) for path in ALL] == [
        "serve",
        "init",
        "check-config",
        "migrate",
        *(
            f"user {verb}"
            for verb in (
                "create",
                "list",
                "show",
                "set-password",
                "reset-link",
                "disable",
                "enable",
                "delete",
                "promote",
                "demote",
            )
        ),
        *(f"workspace {verb}" for verb in ("create", "list", "show", "add-member", "remove-member", "delete")),
        "token create",
        "token list",
        "token revoke",
        "import",
        "export",
        "sync",
        "backup",
        "verify-backup",
        "restore",
        "job list",
        "job run",
        "doctor",
        "openapi",
    ]


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_has_an_example(home: Home, path: tuple[str, ...]) -> None:
    text = home.ok(*path, "--help")
    assert f"Example: mdserver {' '.join(path)}" in " ".join(text.split())
    for option in ("--data DIR", "--config FILE", "--json"):
        assert option in text
    assert ALL[path].help


def test_the_list_of_commands_says_what_each_says(home: Home) -> None:
    for name, (_, sentence) in COMMANDS.items():
        command = main.get_command(click.Context(main), name)
        assert command is not None
        assert command.help is not None
        assert command.help.replace("\n", " ").startswith(sentence.rstrip(".")), name
        assert name in home.ok("--help")


def test_help_and_version_load_nothing_heavy() -> None:
    for option in ("--help", "--version"):
        program = f"import sys; sys.argv = ['mdserver', {option!r}]\nfrom mdserver.cli import main\n"
        program += f"try:\n    main()\nfinally:\n    print(sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
        assert done.stderr == "[]\n"


def test_version(home: Home) -> None:
    assert home.ok("--version") == f"mdserver, version {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing"], "No such command 'nothing'."),
        (["user", "nothing"], "No such command 'nothing'."),
        (["user", "create"], "Missing argument 'EMAIL'."),
        (["workspace", "create", "X"], "Missing option '--owner'."),
        (["workspace", "add-member", "X", "a@b", "--role", "king"], "'king' is not one of 'owner', 'admin'"),
        (["token", "create", "a@b", "--name", "n", "--scope", "all"], "'all' is not one of 'read', 'write', 'admin'"),
        (["export", "out", "--workspace", "X", "--format", "pdf"], "'pdf' is not one of 'markdown', 'json'"),
        (["import", "/no/such/folder", "--workspace", "X", "--as", "a@b"], "'/no/such/folder' does not exist"),
    ],
)
def test_wrong_usage(home: Home, arguments: list[str], sentence: str) -> None:
    result = home.run(*arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert result.stdout == ""
    assert not home.data.exists()


def test_what_is_unexpected_is_one_sentence_unless_debugged(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr("mdserver.config.load", broken)
    said = home.fails("user", "list")
    assert said == "Something unexpected broke (ZeroDivisionError: by nought). “mdserver --debug …” shows where."
    assert isinstance(home.run("--debug", "user", "list").exception, ZeroDivisionError)


def test_letters_that_the_terminal_does_not_know() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mdserver", "import", "--help"],
        env={"PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert b"\\u2026" in done.stdout
