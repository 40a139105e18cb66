"""The documents are true: commands stand in the README, those it shows exist, every package is drawn."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from mdserver import __version__
from mdserver.cli import COMMANDS
from mdserver.cli import main as entry

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> dict[str, click.Command]:
    """`user create` → its command, for everything that can be called."""
    assert isinstance(entry, click.Group)
    context = click.Context(entry)
    found: dict[str, click.Command] = {}
    for name in COMMANDS:
        command = entry.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            inner = click.Context(command)
            for verb in command.list_commands(inner):
                leaf = command.get_command(inner, verb)
                assert leaf is not None
                found[f"{name} {verb}"] = leaf
        else:
            found[name] = command
    return found


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_stands_in_the_readme(name: str) -> None:
    noun, _, verb = name.partition(" ")
    rows = [line for line in README.splitlines() if line.startswith(f"| `mdserver {noun}")]
    assert rows, f"the README's table does not name {noun}"
    assert not verb or any(re.search(rf"`(?:mdserver {noun} )?{verb}`", row) for row in rows)


def test_every_command_in_the_readme_exists_with_the_options_shown() -> None:
    known = commands()
    called = r"^(?:(?:sudo -u mdserver )?mdserver|\.venv/bin/mdserver|TOKEN=\$\(mdserver)"
    shown = re.findall(rf"{called} (?:--config \S+ )?([^\n#|]+)", README, re.MULTILINE)
    assert len(shown) > 6
    for line in shown:
        words = line.split()
        name = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0]
        assert name in known, line
        options = {option for parameter in known[name].params for option in parameter.opts}
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in options | {"--data", "--config", "--json"}, line


def test_the_architecture_names_every_package() -> None:
    drawn = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for folder in (ROOT / "mdserver").iterdir():
        if (folder / "__init__.py").exists():
            assert f"{folder.name}/" in drawn, f"ARCHITECTURE.md does not draw {folder.name}/"


def test_the_changelog_has_this_version() -> None:
    assert f"## {__version__} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_files_and_targets_in_the_readme_exist() -> None:
    for path in re.findall(r"install -m \d+ (?:-g \w+ )?(\S+) /etc/", README):
        assert (ROOT / path).is_file(), path
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    shown = re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE)
    assert {"serve", "test", "binary"} <= set(shown)
    assert set(shown) <= set(targets)


def test_what_the_readme_replaces_stands_in_the_caddyfile() -> None:
    (replaced,) = re.findall(r"sed -i 's/(.*?)/notes", README)
    assert (ROOT / "caddy" / "Caddyfile").read_text(encoding="utf-8").count(replaced) == 1
