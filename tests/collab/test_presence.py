"""Presence: nobody speaks for another, names are the server's, and those who come back are seen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdserver.collab import presence
from mdserver.collab.presence import COLOURS, MOST_CLOCK, MOST_OWN, Presences, colour
from mdserver.collab.protocol import Presence
from mdserver.crdt.lib0 import Unsound
from mdserver.model.access import Person

ADA = Person("ada-id", "Ada", None)
BOB = Person("bob-id", "Bob", None)


def says(client: int, clock: int, **state: Any) -> Presence:
    return Presence(client, clock, json.dumps(state).encode())


def of(told: list[Presence]) -> dict[str, Any]:
    (one,) = told
    assert one.state is not None
    made: dict[str, Any] = json.loads(one.state)
    return made


def states(told: list[Presence]) -> dict[int, bytes | None]:
    return {one.client: one.state for one in told}


def test_a_state_says_who_it_is_of() -> None:
    here = Presences()
    told = here.hear("a", ADA, [says(5, 1, cursor=3, user={"name": "Bob", "id": "bob-id"})])
    assert of(told) == {"cursor": 3, "user": {"id": "ada-id", "name": "Ada", "color": colour("ada-id")}}
    assert states(here.everybody()) == states(told)
    assert here.people() == ["ada-id"]


def test_nobody_speaks_for_another() -> None:
    here = Presences()
    here.hear("a", ADA, [says(5, 1, cursor=1)])
    here.hear("b", BOB, [says(6, 1, cursor=2)])
    before = states(here.everybody())
    assert here.hear("b", BOB, [says(5, 9, cursor=9)]) == []
    assert here.hear("b", BOB, [Presence(5, 9, None)]) == []
    assert here.hear("c", BOB, [says(5, 9, cursor=9)]) == []  # nor by a connection that has said nothing yet
    assert here.hear("b", BOB, [says(7, 9, cursor=9)]) == []  # one client for each connection
    assert states(here.everybody()) == before
    assert of(here.hear("b", BOB, [says(5, 9, cursor=9), says(6, 2, cursor=4)]))["cursor"] == 4


def test_old_news_is_none() -> None:
    here = Presences()
    first = here.hear("a", ADA, [says(5, 4, cursor=1)])
    assert here.hear("a", ADA, [says(5, 4, cursor=2)]) == []
    assert here.hear("a", ADA, [says(5, 3, cursor=2)]) == []
    assert states(here.everybody()) == states(first)
    (later,) = here.hear("a", ADA, [says(5, 5, cursor=2)])
    assert later.clock > first[0].clock


@pytest.mark.parametrize("by_itself", [True, False])
def test_who_leaves_is_gone_and_who_comes_back_is_seen(by_itself: bool) -> None:
    here = Presences()
    (first,) = here.hear("a", ADA, [says(5, 4, cursor=1)])
    (gone,) = here.hear("a", ADA, [Presence(5, 5, None)]) if by_itself else here.leave("a")
    assert (gone.client, gone.state) == (5, None)
    assert gone.clock > first.clock
    assert here.everybody() == []
    assert here.leave("a") == []
    (again,) = here.hear("b", ADA, [says(5, 4, cursor=1)])  # with the clock that the client had
    assert again.clock > gone.clock
    assert len(here) == 1


def test_who_came_back_is_told_anew_who_is_there() -> None:
    """y-protocols forgets others when a connection breaks, but not their clocks: what is not later is passed over."""
    here = Presences()
    (first,) = here.hear("a", ADA, [says(5, 4, cursor=1)])
    (again,) = here.everybody()
    (once_more,) = here.everybody()
    assert first.clock < again.clock < once_more.clock
    (moved,) = here.hear("a", ADA, [says(5, 5, cursor=2)])
    (gone,) = here.leave("a")
    assert once_more.clock < moved.clock < gone.clock


def test_a_connection_that_broke_unseen_is_taken_over() -> None:
    here = Presences()
    here.hear("old", ADA, [says(5, 4, cursor=1)])
    (told,) = here.hear("new", ADA, [says(5, 4, cursor=2)])
    assert here.leave("old") == []
    assert states(here.everybody()) == states([told])
    assert len(here.leave("new")) == 1


def test_what_is_too_long_is_refused() -> None:
    here = Presences()
    with pytest.raises(Unsound):
        here.hear("a", ADA, [says(5, 1, words="x" * MOST_OWN)])
    assert here.everybody() == []
    with pytest.raises(Unsound):  # or those who send it back would be taken for liars
        here.hear("a", ADA, [says(5, MOST_CLOCK)])
    assert here.hear("a", ADA, [says(5, MOST_CLOCK - 1)])[0].clock < MOST_CLOCK
    here.leave("a")
    long = Person("id", "😀" * 2_000, None)
    with pytest.raises(Unsound):
        here.hear("a", long, [says(5, 1, words="x" * (MOST_OWN - 20))])
    assert here.everybody() == []


def test_clocks_of_those_who_have_gone_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "MOST_REMEMBERED", 10)
    here = Presences()
    for client in range(100):
        here.hear("a", ADA, [says(client, 1)])
        here.leave("a")
    assert len(here._clocks) == 10


def test_colours_can_be_told_from_white() -> None:
    def light(part: str) -> float:
        value = int(part, 16) / 255
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    for one in COLOURS:
        red, green, blue = (light(one[at : at + 2]) for at in (1, 3, 5))
        assert 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05) >= 4.5, one
    assert {colour(f"id {n}") for n in range(200)} == set(COLOURS)


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(1, 4), st.integers(0, 6), st.booleans(), st.booleans()),
        max_size=40,
    )
)
def test_whoever_listens_knows_who_is_here(moves: list[tuple[str, int, int, bool, bool]]) -> None:
    """A listener that follows y-protocols' rule has the same list as the server, whatever clients say."""
    here = Presences()
    people = {"a": ADA, "b": BOB, "c": BOB}
    clocks: dict[int, int] = {}
    states: dict[int, bytes] = {}
    for session, client, clock, stays, ends in moves:
        if ends:
            told = here.leave(session)
        else:
            told = here.hear(
                session, people[session], [says(client, clock) if stays else Presence(client, clock, None)]
            )
        for one in told:
            known = clocks.get(one.client, 0)
            if known < one.clock or (known == one.clock and one.state is None and one.client in states):
                clocks[one.client] = one.clock
                if one.state is None:
                    states.pop(one.client, None)
                else:
                    states[one.client] = one.state
        assert states == {one.client: one.state for one in here.everybody()}
