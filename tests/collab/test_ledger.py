"""What a provider is told to be saved: as many as it counts, none before it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mdserver.collab.ledger import Ledger
from mdserver.crdt.guard import Run, Update


def edit(*runs: Run) -> Update:
    return Update(list(runs), [], {}, {}, set(), [])


DELETION = Update([], [Run(1, 0, 1)], {}, {}, set(), [])


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
    ledger.answered(1)  # one that it was asked for later, and does not count
    assert ledger.due(1) == 0


def test_what_was_refused_is_paid_when_it_comes_again() -> None:
    ledger = Ledger()
    ledger.asked({1: 2})
    ledger.answered(0)
    ledger.refused(edit(Run(1, 1, 1)))  # made offline: not counted
    ledger.refused(edit(Run(1, 2, 1)))
    ledger.refused(DELETION)
    assert ledger.due(0) == 1
    ledger.answered(3)
    assert ledger.due(2) == 0
    assert ledger.due(3) == 2
    ledger.refused(DELETION)
    ledger.asked({1: 3})  # it begins to count anew
    ledger.answered(4)
    assert ledger.due(4) == 1


@given(
    st.lists(st.sampled_from(["edit", "offline", "delete", "step", "refuse", "ask"]), max_size=60),
    st.integers(0, 2**32),
)
def test_the_provider_comes_to_zero_and_not_before(moves: list[str], seed: int) -> None:
    """A provider that counts as 4.8 does, whose edits become durable some time later."""
    ledger = Ledger()
    clock = count = mark = durable = 0
    unsaved: list[int] = []  # marks of the edits that the provider counts
    refused = 0
    for number, move in enumerate(moves):
        if move in ("edit", "delete"):
            mark += 1
            count += 1
            unsaved.append(mark)
            ledger.changed(edit(Run(1, clock, 1)) if move == "edit" else DELETION, mark)
            clock += move == "edit"
        elif move == "offline":
            clock += 1
        elif move == "refuse":
            count, refused = count + 1, refused + 1
            ledger.refused(edit(Run(1, clock, 1)))
            clock += 1
        elif move == "ask":
            mark += 1
            unsaved += [mark] * refused
            refused = 0
            ledger.answered(mark)
        else:
            ledger.asked({1: clock})
            count, unsaved, refused = 1, [mark], 0
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
        assert count == len(unsaved) + refused
    count -= ledger.due(mark)
    assert count == refused
