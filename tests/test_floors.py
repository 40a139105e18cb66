"""The house stands as ARCHITECTURE.md says: imports go down, a table has one writer, a file has one subject."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent / "mdserver"
FLOORS = {
    "cli": 6,
    "__main__": 6,
    "app": 5,
    "chores": 5,
    "jobs": 5,
    "web": 4,
    "transfer": 3,
    "collab": 3,
    "sync": 3,
    "backup": 3,
    "client": 3,
    "folder": 3,
    "model": 2,
    "store": 1,
}
"""By the first part of a module's name; everything else at the top level, crdt included, is floor 0."""

LONG: dict[str, str] = {
    "diff.py": "one algorithm and its budget; its parts share their state",
    "store/sqlite.py": "one writer, its batch and its readers: the engine is one thought",
    "store/postgres.py": "one unit's life from queue to outcome: the engine is one thought",
}
MOST_LINES = 400

MODULES = sorted(ROOT.rglob("*.py"))


class Import(NamedTuple):
    """One module that another one names, wherever it does: lazily or for types, too."""

    line: int
    name: str


def parts_of(path: Path) -> tuple[str, ...]:
    """`mdserver/web/api.py` → ("mdserver", "web", "api"); a package's own file bears the package's name."""
    parts = ("mdserver", *path.relative_to(ROOT).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def floor_of(parts: tuple[str, ...]) -> int:
    return FLOORS.get(parts[1], 0) if len(parts) > 1 else 0


def imports_of(tree: ast.AST, parts: tuple[str, ...], *, is_package: bool) -> Iterator[Import]:
    """Every import of our own modules, by its whole name; `from . import a` may name a module or what is in one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, one.name) for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                kept = len(parts) - node.level + (1 if is_package else 0)
                base = ".".join((*parts[:kept], *([node.module] if node.module else [])))
            yield from (Import(node.lineno, f"{base}.{one.name}") for one in node.names)


def breaches(tree: ast.AST, parts: tuple[str, ...], *, is_package: bool) -> list[str]:
    """The imports that go up."""
    mine = floor_of(parts)
    found = []
    for line, name in imports_of(tree, parts, is_package=is_package):
        there = tuple(name.split("."))
        if there[0] == "mdserver" and floor_of(there) > mine:
            found.append(f"{'.'.join(parts)}:{line} (floor {mine}) imports {name} (floor {floor_of(there)})")
    return found


def test_imports_go_down_only() -> None:
    found = []
    for path in MODULES:
        tree = ast.parse(path.read_text())
        found += breaches(tree, parts_of(path), is_package=path.name == "__init__.py")
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "from mdserver.web import api",
        "from ..web.api import Routes",
        "from .. import web",
        "import mdserver.app",
        "def later():\n    from mdserver.transfer import archives",
        "if TYPE_CHECKING:\n    from mdserver.web.api import Routes",
        "from ..cli import common",
    ],
)
def test_an_import_that_goes_up_is_seen(source: str) -> None:
    assert len(breaches(ast.parse(source), ("mdserver", "model", "users"), is_package=False)) == 1
    assert breaches(ast.parse(source), ("mdserver", "cli", "init"), is_package=False) == []


def test_each_package_is_on_a_floor() -> None:
    """A new package at the top level has to be given its floor here."""
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages - {"crdt"} == set(FLOORS) - {"__main__", "app"}


_WRITES = re.compile(r"\b(?:INSERT\s+(?:OR\s+\w+\s+)?INTO|UPDATE|DELETE\s+FROM)\s+([a-z_]+)\b")


def tables() -> set[str]:
    """The tables that the migrations make."""
    migrations = "\n".join(path.read_text() for path in sorted((ROOT / "store" / "migrations").glob("*.sql")))
    return set(re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", migrations))


def statements(tree: ast.AST) -> Iterator[str]:
    """Every text in the code but docstrings; the pieces of an f-string with `?` between them."""
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(one.value) if isinstance(one, ast.Constant) else "?" for one in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs | inner:
            yield node.value


def test_a_table_is_written_by_one_module_or_package() -> None:
    known = tables()
    assert len(known) > 15
    writers: dict[str, set[str]] = defaultdict(set)
    for path in MODULES:
        parts = parts_of(path)
        # A package below the model is one writer; a module is one otherwise.
        writer = ".".join(parts[:3])
        for statement in statements(ast.parse(path.read_text())):
            for table in _WRITES.findall(statement):
                if table in known:
                    writers[table].add(writer)
    assert {table: sorted(by) for table, by in writers.items() if len(by) > 1} == {}
    assert known - set(writers) == set(), "tables that nobody writes"


def test_each_module_says_in_one_line_what_it_is() -> None:
    wrong = []
    for path in MODULES:
        doc = ast.get_docstring(ast.parse(path.read_text()), clean=False) or ""
        first, _, rest = doc.partition("\n")
        if not first.strip() or not first.endswith((".", "…")) or (rest.strip() and not rest.startswith("\n")):
            wrong.append(str(path.relative_to(ROOT)))
    assert wrong == []


def test_no_file_is_long_without_a_reason() -> None:
    long = {str(path.relative_to(ROOT)) for path in MODULES if len(path.read_text().splitlines()) > MOST_LINES}
    assert long - set(LONG) == set(), "split them by noun, or give the reason"
    assert set(LONG) - long == set(), "these are short by now"
