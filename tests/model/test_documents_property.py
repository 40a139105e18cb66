"""Documents under random use, against a model of a few dictionaries; after every step all that must be true is true."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from mdserver import clock
from mdserver.errors import Conflict, Invalid, NotFound, Problem
from mdserver.model import documents, users, workspaces
from mdserver.model.access import EDITOR, Principal
from mdserver.model.documents import Document
from mdserver.model.updates import Door, Edited
from mdserver.store.db import Engine, Reader, Tx
from mdserver.text import fold
from tests import engines

from .invariants import broken, picture

T = TypeVar("T")

# Lengths that folding changes (ß, İ, ΰ), forms that it makes one, numbers,
# endings that look numbered, the longest name.
NAMES = [
    "Plan.md",
    "plan.MD",
    "Plan (2).md",
    "Straße.md",
    "STRASSE.md",
    "İstanbul.md",
    "Cafe\u0301",
    "Caf\u00e9",
    "\u03b0",
    "ﬁnal.v2",
    "final.v2",
    "l" * 237 + ".md",
    " spaced ",
]
TEXTS = ["", "one", "one two", "one two three\n", "# Plan\n\n[[Straße]] and 🦆\n", "zero one\ntwo", "x" * 2_000]


class Node:
    """A document as the model knows it."""

    def __init__(self, found: Document, content: str) -> None:
        self.id, self.kind = found.id, found.kind
        self.parent: str | None = found.parent_id
        self.filename, self.title = found.filename, found.title
        self.content, self.versions = content, [content]
        self.trash: str | None = None


class Documents(RuleBasedStateMachine):
    """One person in one workspace."""

    engine: Engine = "sqlite"

    def __init__(self) -> None:
        super().__init__()
        # Every look at the clock is a millisecond later, so ids sort in the order of making: a run repeats exactly.
        clock.set_source(itertools.count(1_769_860_800_000).__next__)
        self.loop = asyncio.new_event_loop()
        self.stack = contextlib.AsyncExitStack()
        self.database = self.loop.run_until_complete(self.stack.enter_async_context(engines.fresh(self.engine)))
        self.door = Door(self.database, maximum_bytes=1 << 20)
        self.nodes: dict[str, Node] = {}
        self.order: dict[str | None, list[str]] = {None: []}
        self.gone: list[str] = []
        self.position = 0

    @initialize()
    def account(self) -> None:
        def change(tx: Tx) -> tuple[str, str]:
            user = users.create(tx, email="ada@example.org", display_name="Ada", password_hash=None)
            found = tx.value(str, "SELECT workspace_id FROM workspace_members WHERE user_id = $1", user.id)
            assert found is not None
            return user.id, found

        user_id, self.workspace_id = self.write(change)
        self.me = Principal(
            user_id=user_id,
            device="test",
            display_name="Ada",
            avatar_url=None,
            is_admin=False,
            kind="app",
            credential_id="test",
            authenticated_at=0,
        )

    def teardown(self) -> None:
        self.loop.run_until_complete(self.stack.aclose())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        clock.set_source(None)

    # What people do.

    @rule(at=st.integers(0, 99), name=st.sampled_from(NAMES), text=st.sampled_from(TEXTS), folder=st.booleans())
    def create(self, at: int, name: str, text: str, folder: bool) -> None:
        parent = self.some_parent(at)
        content = "" if folder else text
        made = self.write(
            lambda tx: documents.create(
                tx,
                self.me,
                self.workspace_id,
                role=workspaces.enter(tx, self.me, self.workspace_id, need=EDITOR),
                title=documents.check_title(name),
                kind="folder" if folder else "markdown",
                draft=documents.draft(content, maximum_bytes=1 << 20),
                parent_id=parent,
                filename=name,
                tags=[name[:9].strip()],
            )
        )
        self.took(made, name, parent, content)
        assert made == self.read(lambda db: documents.find(db, self.me, made.id))
        self.check()

    @precondition(lambda self: len(self.nodes) < 40)
    @rule(at=st.integers(0, 99), name=st.sampled_from(NAMES), count=st.integers(2, 13))
    def create_some(self, at: int, name: str, count: int) -> None:
        """Enough of one name that their numbers get a second digit."""
        for _ in range(count):
            self.create(at, name, "", folder=True)

    @precondition(lambda self: self.live())
    @rule(which=st.integers(0, 99), text=st.sampled_from(TEXTS), stale=st.booleans())
    def edit(self, which: int, text: str, stale: bool) -> None:
        node = self.some_live(which)
        base = node.versions[which % len(node.versions)] if stale else None

        def edited() -> Document:
            done: Edited = self.run(self.door.edit(self.me, node.id, base=lambda db, found: base, content=text))
            if base is None or base == node.content:
                assert done.outcome == "applied"
            else:
                assert done.outcome == "merged"
            return done.document

        if node.kind == "folder":
            self.refused(edited, Conflict)
            return
        document = edited()
        content = self.read(lambda db: documents.find_with_content(db, self.me, node.id)).content
        if base is None or base == node.content:
            assert content == text
        else:
            assert set(text.split()) - set(base.split()) <= set(content.split())
        if content != node.content:
            node.versions.append(content)
        node.content = content
        assert document.version == len(node.versions)
        self.check()

    @precondition(lambda self: self.live())
    @rule(which=st.integers(0, 99), title=st.sampled_from(NAMES))
    def retitle(self, which: int, title: str) -> None:
        node = self.some_live(which)
        title = documents.check_title(title)
        self.on(node.id, lambda tx, found: documents.retitle(tx, self.me, found, title))
        node.title = title
        self.check()

    @precondition(lambda self: self.live())
    @rule(which=st.integers(0, 99), name=st.sampled_from(NAMES))
    def rename(self, which: int, name: str) -> None:
        node = self.some_live(which)
        if any(fold(one.filename) == fold(name) for one in self.siblings(node.parent) if one is not node):
            self.refused(
                lambda: self.on(node.id, lambda tx, it: documents.rename_file(tx, self.me, it, name)), Conflict
            )
            return
        found = self.on(node.id, lambda tx, it: documents.rename_file(tx, self.me, it, name))
        node.filename = name
        assert found.filename == name
        self.check()

    @precondition(lambda self: self.live())
    @rule(which=st.integers(0, 99), at=st.integers(0, 99), beside=st.integers(0, 99), how=st.sampled_from("bal"))
    def move(self, which: int, at: int, beside: int, how: str) -> None:
        node, parent = self.some_live(which), self.some_parent(at)
        others = [one for one in self.siblings(parent) if one is not node]
        anchor = others[beside % len(others)].id if others and how != "l" else None
        before, after = (anchor, None) if how == "b" else (None, anchor)

        def moved() -> Document:
            return self.on(
                node.id,
                lambda tx, it: documents.move(tx, self.me, it, parent_id=parent, before=before, after=after),
            )

        if self.is_below(parent, node.id):
            self.refused(moved, Conflict)
            return
        found = moved()
        self.order[node.parent].remove(node.id)
        row = self.order.setdefault(parent, [])
        row.insert(len(row) if anchor is None else row.index(anchor) + (how == "a"), node.id)
        if parent != node.parent:
            self.named(found, node.filename, others)
        node.parent, node.filename = parent, found.filename
        self.check()

    @precondition(lambda self: self.live())
    @rule(which=st.integers(0, 99))
    def trash(self, which: int) -> None:
        node = self.some_live(which)
        self.on(node.id, lambda tx, found: documents.trash(tx, self.me, found))
        for one in self.live():
            if self.is_below(one.id, node.id):
                one.trash = node.id
        self.refused(lambda: self.on(node.id, lambda tx, found: documents.trash(tx, self.me, found)), Conflict)
        self.check()

    @precondition(lambda self: self.trashed())
    @rule(which=st.integers(0, 99))
    def restore(self, which: int) -> None:
        node = self.some_trashed(which)
        back = self.with_it(node)
        found = self.on(node.id, lambda tx, it: documents.restore(tx, self.me, it))
        parent = node.parent if node.parent in self.nodes and self.nodes[node.parent].trash is None else None
        if parent != node.parent:
            self.order[node.parent].remove(node.id)
            self.order[None].append(node.id)
        assert found.parent_id == parent
        self.named(found, node.filename, self.siblings(parent))
        node.parent, node.filename = parent, found.filename
        for one in back:
            one.trash = None
        self.check()

    @precondition(lambda self: self.nodes)
    @rule(which=st.integers(0, 99))
    def purge(self, which: int) -> None:
        node = sorted(self.nodes.values(), key=lambda one: one.id)[which % len(self.nodes)]
        if node.trash is None:
            self.refused(lambda: self.on(node.id, self.purged), Conflict)
            return
        gone = self.with_it(node)
        assert self.on(node.id, self.purged) == len(gone)
        for one in gone:
            del self.nodes[one.id]
            self.order[one.parent].remove(one.id)
            self.gone.append(one.id)
        self.check()

    @precondition(lambda self: self.trashed())
    @rule()
    def empty(self) -> None:
        count = len(self.trashed())
        assert self.write(lambda tx: documents.empty(tx, self.me, self.workspace_id, limit=3)) == min(3, count)
        left = set(self.read(lambda db: db.column(str, "SELECT id FROM documents")))
        for one in self.trashed():
            if one.id not in left:
                del self.nodes[one.id]
                self.order[one.parent].remove(one.id)
                self.gone.append(one.id)
        self.check()

    @precondition(lambda self: self.live() and len(self.nodes) < 60)
    @rule(which=st.integers(0, 99), at=st.integers(0, 99), children=st.booleans())
    def copy(self, which: int, at: int, children: bool) -> None:
        node, parent = self.some_live(which), self.some_parent(at)
        source = self.read(
            lambda db: documents.source(db, self.me, documents.find(db, self.me, node.id), children=children)
        )
        copied = [one for one in self.live() if self.is_below(one.id, node.id)] if children else [node]
        assert {one.id for one in source.documents} == {one.id for one in copied}
        drafts = documents.drafts(source, maximum_bytes=1 << 20)
        names = set(self.read(lambda db: db.column(str, "SELECT id FROM documents")))
        made = self.write(
            lambda tx: documents.copy(
                tx, self.me, self.workspace_id, source, drafts, role="owner", parent_id=parent, title=None
            )
        )
        assert made.title == node.title
        pairs = {node.id: made}
        self.took(made, node.filename, parent, node.content)
        for one in source.documents[1:]:
            assert one.parent_id is not None
            place = pairs[one.parent_id].id
            [new] = [
                found
                for found in self.read(lambda db, place=place: self.children(db, place))  # type: ignore[misc]
                if found.id not in names and found.id not in self.nodes and found.filename == one.filename
            ]
            pairs[one.id] = new
            self.took(new, one.filename, place, self.nodes[one.id].content)
        assert len(pairs) == len(copied)
        self.check()

    # What is refused, and leaves nothing.

    @precondition(lambda self: self.trashed())
    @rule(which=st.integers(0, 99), text=st.sampled_from(TEXTS))
    def change_what_is_trashed(self, which: int, text: str) -> None:
        id = self.some_trashed(which).id

        def no_base(db: Reader, found: Document) -> None:
            return None

        attempts: list[Callable[[], object]] = [
            lambda: self.run(self.door.edit(self.me, id, base=no_base, content=text)),
            lambda: self.on(id, lambda tx, found: documents.move(tx, self.me, found, parent_id=None)),
            lambda: self.on(id, lambda tx, found: documents.rename_file(tx, self.me, found, "x")),
            lambda: self.on(id, lambda tx, found: documents.retitle(tx, self.me, found, "x")),
            lambda: self.on(id, lambda tx, found: documents.set_tags(tx, self.me, found, ["x"])),
            lambda: self.on(id, lambda tx, found: documents.archive(tx, self.me, found, archived=True)),
            lambda: self.read(
                lambda db: documents.source(db, self.me, documents.find(db, self.me, id), children=False)
            ),
        ]
        for one in attempts:
            self.refused(one, Conflict)
        others = [one.id for one in self.live()]
        if others:
            self.refused(
                lambda: self.on(others[0], lambda tx, it: documents.move(tx, self.me, it, parent_id=id)), Conflict
            )

    @precondition(lambda self: self.gone)
    @rule(which=st.integers(0, 99), again=st.booleans())
    def use_what_is_gone(self, which: int, again: bool) -> None:
        id = self.gone[which % len(self.gone)]
        self.refused(lambda: self.on(id, lambda tx, found: found), NotFound)

        def create(tx: Tx) -> Document:
            return documents.create(
                tx,
                self.me,
                self.workspace_id,
                role="owner",
                title="x",
                kind="markdown",
                draft=documents.draft("", maximum_bytes=10),
                document_id=id if again else None,
                parent_id=None if again else id,
            )

        self.refused(lambda: self.write(create), Conflict if again else Invalid)

    # The model.

    def live(self) -> list[Node]:
        return [one for _, one in sorted(self.nodes.items()) if one.trash is None]

    def trashed(self) -> list[Node]:
        return [one for _, one in sorted(self.nodes.items()) if one.trash is not None]

    def some_live(self, which: int) -> Node:
        found = self.live()
        return found[which % len(found)]

    def some_trashed(self, which: int) -> Node:
        found = self.trashed()
        return found[which % len(found)]

    def some_parent(self, at: int) -> str | None:
        places = [None, None, *(one.id for one in self.live())]
        return places[at % len(places)]

    def siblings(self, parent: str | None) -> list[Node]:
        return [one for one in self.live() if one.parent == parent]

    def is_below(self, id: str | None, top: str) -> bool:
        """Whether it is the top or stands below it."""
        while id is not None and id != top and id in self.nodes:
            id = self.nodes[id].parent
        return id == top

    def with_it(self, node: Node) -> list[Node]:
        """What went into the trash together with this one, at or below it."""
        return [one for one in self.trashed() if one.trash == node.trash and self.is_below(one.id, node.id)]

    def took(self, made: Document, wanted: str, parent: str | None, content: str) -> None:
        self.named(made, wanted, self.siblings(parent))
        assert made.parent_id == parent
        self.nodes[made.id] = Node(made, content)
        self.order.setdefault(parent, []).append(made.id)

    def named(self, found: Document, wanted: str, others: list[Node]) -> None:
        """The name is the wanted one when that was free, and free in any case."""
        taken = {fold(one.filename) for one in others if one.id != found.id}
        assert fold(found.filename) not in taken
        assert (found.filename == wanted) == (fold(wanted) not in taken)
        assert len(found.filename.encode()) <= 240

    # The database.

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    def read(self, question: Callable[[Reader], T]) -> T:
        found: T = self.run(self.database.read(question))
        return found

    def write(self, change: Callable[[Tx], T]) -> T:
        found: T = self.run(self.database.write(change))
        return found

    def on(self, id: str, change: Callable[[Tx, Document], T]) -> T:
        return self.write(lambda tx: change(tx, documents.find(tx, self.me, id)))

    def purged(self, tx: Tx, found: Document) -> int:
        return documents.purge(tx, self.me, found)

    def children(self, db: Reader, parent: str) -> list[Document]:
        only = documents.Filter(parent_id=parent)
        states, _ = documents.page(db, self.me, self.workspace_id, only=only, sort="position", after=None, limit=200)
        found = documents.by_ids(db, self.me, self.workspace_id, [one.id for one in states], role="owner")
        return sorted(found, key=lambda one: [state.id for state in states].index(one.id))

    def refused(self, attempt: Callable[[], object], problem: type[Problem]) -> None:
        before = self.read(picture)
        try:
            attempt()
        except problem:
            pass
        else:
            raise AssertionError("this was let through")
        assert self.read(picture) == before

    def check(self) -> None:
        def question(db: Reader) -> tuple[list[str], list[Any], dict[str, tuple[Any, ...]], int]:
            items, following = documents.tree(db, self.workspace_id, parent_id=None, after=None, limit=5_000)
            assert following is None
            there = {
                row[0]: row[1:]
                for row in db.rows(
                    "SELECT d.id, d.parent_id, d.filename, d.title, d.trash_id, t.text FROM documents d"
                    " LEFT JOIN document_texts t ON t.document_id = d.id"
                )
            }
            return broken(db), items, there, db.value(int, "SELECT max(seq) FROM changes") or 0

        problems, items, there, position = self.read(question)
        assert problems == []
        assert position >= self.position, "the log of changes went back"
        self.position = position
        wanted = {
            one.id: (
                one.parent or "",
                one.filename,
                one.title,
                one.trash,
                None if one.kind == "folder" else one.content,
            )
            for one in self.nodes.values()
        }
        assert there == wanted
        for parent, order in self.order.items():
            shown = [one.id for one in items if one.parent_id == parent]
            assert shown == [one for one in order if one in self.nodes and self.nodes[one].trash is None]


def _machine(on: Engine) -> type[Documents]:
    class Machine(Documents):
        engine = on

    return Machine


def _run(on: Engine, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        _machine(on),
        settings=settings(
            derandomize=True,
            deadline=None,
            database=None,
            max_examples=examples,
            stateful_step_count=steps,
            suppress_health_check=list(HealthCheck),
        ),
    )


def _walk(on: Engine, seed: int, steps: int) -> None:
    """The same machine on a long way, every step as likely as the next: what Hypothesis' short ones do not reach."""
    chance = random.Random(seed)
    machine = _machine(on)()

    def number() -> int:
        return chance.randrange(100)

    def name() -> str:
        return chance.choice(NAMES)

    def text() -> str:
        return chance.choice(TEXTS)

    try:
        machine.account()
        for _ in range(steps):
            choices: list[Callable[[], None]] = []
            if len(machine.nodes) < 40:
                choices += [lambda: machine.create(number(), name(), text(), folder=chance.random() < 0.3)] * 3
                choices += [lambda: machine.create_some(number(), name(), chance.randint(2, 13))]
            if machine.live():
                choices += [
                    lambda: machine.edit(number(), text(), stale=chance.random() < 0.5),
                    lambda: machine.retitle(number(), name()),
                    lambda: machine.rename(number(), name()),
                    lambda: machine.move(number(), number(), number(), chance.choice("bal")),
                    lambda: machine.move(number(), number(), number(), chance.choice("bal")),
                    lambda: machine.trash(number()),
                ]
                if len(machine.nodes) < 60:
                    choices += [lambda: machine.copy(number(), number(), children=chance.random() < 0.7)]
            if machine.trashed():
                choices += [
                    lambda: machine.restore(number()),
                    lambda: machine.restore(number()),
                    lambda: machine.purge(number()),
                    lambda: machine.change_what_is_trashed(number(), text()),
                ]
                if number() < 10:
                    choices += [machine.empty]
            if machine.gone:
                choices += [lambda: machine.use_what_is_gone(number(), again=chance.random() < 0.5)]
            chance.choice(choices)()
    finally:
        machine.teardown()


def test_on_sqlite() -> None:
    _run("sqlite", 25, 30)


def test_on_postgres() -> None:
    _run("postgres", 2, 20)


@pytest.mark.parametrize("seed", [1000, 1012])
def test_a_long_walk_on_sqlite(seed: int) -> None:
    _walk("sqlite", seed, 250)


def test_a_long_walk_on_postgres() -> None:
    _walk("postgres", 1012, 60)
