"""The live document: what is taken in, what is refused, and that it stays what its log says."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Doc, Text

from mdserver.collab.replica import Broken, Effect, Replica, read
from mdserver.crdt import text as crdt
from mdserver.crdt.guard import read_state, read_update
from mdserver.crdt.lib0 import Unsound, number
from tests.crdt.mutants import mutant, parents
from tests.crdt.test_guard import named, paragraph, text, update

MOST = 10_000


class Author:
    """A client with a document of its own, whose edits are caught as it would send them."""

    def __init__(self, client: int, state: bytes = b"") -> None:
        self.doc: Doc[Any] = Doc(client_id=client)
        if state:
            self.doc.apply_update(state)
        self.content = self.doc.get("content", type=Text)
        self.sent: list[bytes] = []
        self.doc.observe(lambda event: self.sent.append(event.update))

    def write(self, at: int, words: str) -> bytes:
        self.content.insert(at, words)
        return self.sent[-1]

    def erase(self, start: int, end: int) -> bytes:
        del self.content[start:end]
        return self.sent[-1]

    def state(self) -> bytes:
        return self.doc.get_update()


def loaded(words: str = "hello") -> Replica:
    return Replica.load(None, [crdt.first_update(words)], most=MOST)


def test_nothing_is_kept_of_what_pycrdt_alone_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    replica = loaded()
    before = replica.snapshot()
    ada, again = Author(7, before), Author(7, before)
    for at in (5, 0, 3):
        ada.write(at, " world")
    refused = ada.doc.get_update(replica.state_vector())

    def refuse(data: bytes) -> None:
        raise ValueError("as if the guard had missed something")

    with monkeypatch.context() as patched:
        patched.setattr(replica._doc, "apply_update", refuse)
        with pytest.raises(Unsound):
            replica.take(refused)
    for at in (2, 0, 4, 1, 6, 3, 8, 5, 2, 10):
        assert replica.take(again.write(at, "ab")).effect is Effect.NEW
    assert replica.text() == str(again.content)
    assert replica.known == read_state(replica.state_vector())


def test_an_edit_is_taken_in_as_it_came() -> None:
    replica = loaded()
    ada = Author(7, replica.snapshot())
    for sent, expected in ((ada.write(5, " world"), "hello world"), (ada.erase(0, 1), "ello world")):
        taken = replica.take(sent)
        assert (taken.effect, taken.data) == (Effect.NEW, sent)
        assert replica.text() == expected
        assert replica.take(sent).effect is Effect.KNOWN
    assert replica.known == read_state(replica.state_vector())


def test_of_an_answer_only_what_is_new_is_kept() -> None:
    replica = loaded("x" * 5_000)
    ada = Author(7, replica.snapshot())
    ada.write(0, "new ")
    ada.erase(5, 6)
    answer = ada.doc.get_update(b"\x00")
    taken = replica.take(answer, is_answer=True)
    assert taken.effect is Effect.NEW
    assert len(taken.data) < 100 < len(answer)
    assert replica.text() == str(ada.content)
    assert replica.take(answer, is_answer=True).effect is Effect.KNOWN


def test_what_comes_too_early_changes_nothing() -> None:
    replica = loaded()
    ada = Author(7, replica.snapshot())
    first, second = ada.write(0, "a"), ada.write(1, "b")
    before = replica.snapshot()
    assert replica.take(second).effect is Effect.EARLY
    assert replica.snapshot() == before
    assert [replica.take(one).effect for one in (first, second)] == [Effect.NEW, Effect.NEW]
    assert replica.text() == "abhello"
    stranger = Author(9, loaded("other").snapshot())
    assert replica.take(stranger.write(0, "z")).effect is Effect.EARLY


def test_a_client_is_brought_up_to_date() -> None:
    replica = loaded()
    ada, bob = Author(7, replica.snapshot()), Author(8, replica.snapshot())
    replica.take(ada.write(0, "A"))
    bob.doc.apply_update(replica.missing(bob.doc.get_state()))
    assert str(bob.content) == "Ahello"
    fresh: Doc[Any] = Doc()
    fresh.apply_update(replica.missing(b"\x00"))
    assert str(fresh.get("content", type=Text)) == "Ahello"


@pytest.mark.parametrize("state", [b"", b"\xff\xff\xff\xff\x01", b"\x01\x01", b"\x00\x00"])
def test_a_state_vector_that_lies_is_refused(state: bytes) -> None:
    with pytest.raises(Unsound):
        loaded().missing(state)


def test_rows_of_others_are_followed() -> None:
    replica = loaded()
    doc = crdt.load(replica.snapshot(), [])
    edit = crdt.edit(doc, "hello, you")
    assert edit is not None
    assert replica.follow(edit)
    assert not replica.follow(edit)
    assert replica.text() == "hello, you"
    assert replica.known == read_state(replica.state_vector())


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\x01\x01\x01",
        update((9, 0, [text("a\0b")])),
        update((9, 0, [text("x" * MOST)])),
        update((9, 0, [text("😀"), text("x", origin=(9, 0))])),
    ],
)
def test_what_is_unsound_changes_nothing(sent: bytes) -> None:
    replica = loaded()
    before = replica.snapshot()
    with pytest.raises(Unsound):
        replica.take(sent)
    assert replica.snapshot() == before
    assert replica.known == read_state(replica.state_vector())


def test_a_pair_that_stands_in_the_document_is_not_cut() -> None:
    replica = loaded("a😀b")
    ((client, _),) = replica.known.items()
    cut = update((9, 0, [text("x", origin=(client, 1))]))
    with pytest.raises(Unsound, match="surrogate"):
        replica.take(cut)
    again = Replica.load(replica.snapshot(), [], most=MOST)
    with pytest.raises(Unsound, match="surrogate"):
        again.take(cut)
    assert replica.take(update((9, 0, [text("x", origin=(client, 2))]))).effect is Effect.NEW
    assert replica.text() == "a😀xb"


def test_a_parent_is_a_type() -> None:
    replica = loaded()
    ((client, _),) = replica.known.items()
    before = replica.snapshot()
    with pytest.raises(Unsound, match="no type"):  # pycrdt's document would be broken
        replica.take(update((9, 0, [paragraph(b"\x00" + number(client) + number(0))])))
    assert replica.snapshot() == before


def test_what_breaks_the_document_says_so() -> None:
    replica = loaded()
    ((client, _),) = replica.known.items()
    with pytest.raises(Broken):  # what others have written was judged when it was
        replica.follow(update((9, 0, [paragraph(b"\x00" + number(client) + number(0))])))


def test_a_size_that_grows_past_the_limit_is_refused() -> None:
    replica = loaded("x" * (MOST - 60))
    ada = Author(7, replica.snapshot())
    assert replica.take(ada.write(0, "fits")).effect is Effect.NEW
    sent = ada.write(0, "y" * 60)
    with pytest.raises(Unsound, match="too large"):
        replica.take(sent)
    assert replica.take(Author(8, replica.snapshot()).erase(0, 50)).effect is Effect.NEW  # there is always a way back


def taken_in(replica: Replica, sent: list[bytes]) -> list[bytes]:
    """What goes into the log of what was sent."""
    return [taken.data for taken in map(replica.take, sent) if taken.effect is Effect.NEW]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32))
def test_replicas_of_one_log_agree(seed: int) -> None:
    """Three people write at once, seeing each other late; what was logged makes the same document again."""
    chance = random.Random(seed)
    first = crdt.first_update("start 😀 end")
    replica, log = Replica.load(None, [first], most=MOST), [first]
    people = [Author(client, first) for client in (3, 5, 2**31)]
    waiting: list[bytes] = []
    for _ in range(40):
        author = chance.choice(people)
        words = str(author.content)
        at = chance.randrange(len(words) + 1)
        if chance.random() < 0.6 or not words:
            sent = author.write(len(words[:at].encode()), chance.choice(["a", "é", "😀", "word "]))
        else:
            end = min(len(words), at + chance.randint(1, 3))
            at = max(0, min(at, end - 1))
            sent = author.erase(len(words[:at].encode()), len(words[:end].encode()))
        waiting.append(sent)
        if chance.random() < 0.5:
            log += taken_in(replica, waiting)
            waiting.clear()
            author.doc.apply_update(replica.missing(author.doc.get_state()))
    log += taken_in(replica, waiting)
    for author in people:
        author.doc.apply_update(replica.missing(author.doc.get_state()))
        assert str(author.content) == replica.text()
    again = Replica.load(None, log, most=MOST)
    assert again.text() == replica.text()
    assert again.known == replica.known == read_state(replica.state_vector())


@pytest.mark.parametrize("is_answer", [False, True])
def test_what_is_said_otherwise_of_what_is_known_is_passed_over(is_answer: bool) -> None:
    replica = Replica.load(None, [update((1, 0, [text("ab")]))], most=MOST)
    forged = update((1, 0, [text("😀c")]))  # new is only the c
    taken = replica.take(forged, is_answer=is_answer)
    assert (taken.effect, replica.text()) == (Effect.NEW, "abc")
    assert "😀".encode() not in taken.data
    between = update((2, 0, [text("x", origin=(1, 0), right=(1, 1))]))
    assert replica.take(between).effect is Effect.NEW  # no pair is there that it could cut
    again = Replica.load(None, [update((1, 0, [text("ab")])), taken.data], most=MOST)
    assert again.take(between).effect is Effect.NEW
    assert again.text() == replica.text() == "axbc"


def test_what_was_taken_in_can_be_loaded_again() -> None:
    rows = [
        update((1, 0, [text("ab"), paragraph(b"\x01" + named("default"))])),
        b"\x00" + b"\x01\x01\x01\x00\x03",  # all is deleted
        update((2, 0, [paragraph(b"\x00\x01\x02")])),  # within what is not there any more
    ]
    replica = Replica.load(None, rows[:1], most=MOST)
    for row in rows[1:]:
        assert replica.take(row).effect is Effect.NEW
    again = Replica.load(None, rows, most=MOST)
    assert read_state(again.state_vector()) == read_state(replica.state_vector())


def test_a_log_that_was_written_before_all_this_was_refused_is_loaded() -> None:
    rows = [
        update((1, 0, [text("ab")])),
        b"\x00" + b"\x01\x01\x01\x00\x02",
        update((2, 0, [paragraph(b"\x00\x01\x00")])),  # within a text that is not there any more
        update((3, 0, [text("x", right=(1, 1))])),
    ]
    replica = Replica.load(None, rows, most=MOST)
    assert replica.known == {1: 2, 2: 1, 3: 1}
    assert Replica.load(replica.snapshot(), [], most=MOST).known == replica.known


@pytest.mark.parametrize("seed", range(60))
def test_nearly_sound_updates_leave_what_the_log_says(seed: int) -> None:
    """Also those of two documents under the same client ids."""
    chance = random.Random(seed)
    rows = [crdt.first_update("hello")]
    replica = Replica.load(None, rows, most=1 << 20)
    for _ in range(4):
        state, updates = parents(chance)
        made = [mutant(chance.choice([state, *updates]), chance) for _ in range(15)]
        for data in (state, *made):
            try:
                taken = replica.take(data, is_answer=data is state or chance.random() < 0.3)
            except Unsound:
                continue
            except Broken:
                replica = Replica.load(None, rows, most=1 << 20)
                continue
            if taken.effect is Effect.NEW:
                rows.append(taken.data)
        again = Replica.load(None, rows, most=1 << 20)
        assert (again.text(), again.known) == (replica.text(), replica.known)
        assert Replica.load(replica.snapshot(), [], most=1 << 20).text() == replica.text()


def test_a_long_log_can_be_looked_at_before_it_is_read() -> None:
    log = [crdt.first_update("hello \U0001f389")]
    replica = Replica.open(None, log, most=MOST)
    assert (replica.is_ready, replica.text()) == (False, "hello \U0001f389")
    ada = Author(7, replica.missing(b"\0"))
    learnt = read(None, log)
    followed = ada.write(0, "\U0001f600")  # somebody else's row, while it is read
    assert replica.follow(followed)
    replica.learn(learnt)
    assert replica.is_ready
    (client, clock) = next((run.client, run.clock) for run in read_update(followed).runs)
    with pytest.raises(Unsound):  # between the halves of what was followed
        replica.take(update((9, 0, [text("x", origin=(client, clock))])))
    assert replica.take(ada.write(0, "A")).effect is Effect.NEW
