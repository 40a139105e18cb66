"""What a provider is told to be saved: as many as it counts, none before it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mdserver.collab.ledger import Ledger
from mdserver.crdt.guard import Run, Update


def edit(*runs: Run) -> Update:
    return Update(list(runs), [], {}, {}, set())


DELETION = Update([], [Run(1, 0, 1)], {}, {}, set())


def test_each_edit_is_paid_once_it_is_durable() -> None:
    ledger = Ledger()
    ledger.changed(edit(Run(1, 0, 1)), 1)
    ledger.changed(edit(Run(1, 1, 1)), 2)
    assert ledger.due(0) == 0
    assert ledger.due(1) == 1
    assert ledger.due(1) == 0
    ledger.changed(edit(Run(1, 0, 1)), 2)  # sent twice: waits for what was there when it came, too
    assert ledger.due(2) == 2


def test_edits_made_offline_are_not_counted() -> None:
    """The provider names them in its step 1 and counts one for its step 2, whatever it flushes in between."""
    ledger = Ledger()
    ledger.asked({1: 7})
    for clock in range(7):
        ledger.changed(edit(Run(1, clock, 1)), 1)
    assert ledger.due(9) == 0
    ledger.answered(1)
    assert ledger.due(9) == 1
    ledger.changed(edit(Run(1, 7, 1)), 10)
    ledger.changed(DELETION, 10)
    assert ledger.due(10) == 2


def test_the_answer_is_paid_first() -> None:
    ledger = Ledger()
    ledger.asked({})
    ledger.changed(edit(Run(1, 0, 1)), 1)
    assert ledger.due(5) == 0
    ledger.answered(6)
    assert ledger.due(5) == 0
    assert ledger.due(6) == 2


def test_a_new_step_cancels_what_was_owed() -> None:
    ledger = Ledger()
    ledger.changed(edit(Run(1, 0, 1)), 1)
    ledger.asked({1: 1})
    ledger.answered(1)
    assert ledger.due(1) == 1
    ledger.answered(1)  # one that nobody asked for
    assert ledger.due(1) == 1


@given(st.lists(st.sampled_from(["edit", "offline", "delete", "step"]), max_size=60), st.integers(0, 2**32))
def test_the_provider_comes_to_zero_and_not_before(moves: list[str], seed: int) -> None:
    """A provider that counts as 4.8 does, whose edits become durable some time later."""
    ledger = Ledger()
    clock = count = mark = durable = 0
    unsaved: list[int] = []  # marks of the edits that the provider counts
    for number, move in enumerate(moves):
        if move in ("edit", "delete"):
            mark += 1
            count += 1
            unsaved.append(mark)
            ledger.changed(edit(Run(1, clock, 1)) if move == "edit" else DELETION, mark)
            clock += move == "edit"
        elif move == "offline":
            clock += 1
        else:
            ledger.asked({1: clock})
            count, unsaved = 1, [mark]
            if clock:
                ledger.changed(edit(Run(1, clock - 1, 1)), mark)  # flushed, as something made offline
            ledger.answered(mark)
        if (seed >> (number % 32)) & 1:
            durable = mark
            paid = ledger.due(durable)
            assert paid <= count
            count -= paid
            unsaved = unsaved[paid:]
            assert not any(one <= durable for one in unsaved)
        assert count == len(unsaved)
    count -= ledger.due(mark)
    assert count == 0
