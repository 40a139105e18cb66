"""Places in a list: strict order whatever is inserted where, and keys that stay short."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdserver import order


def check(key: str) -> None:
    """A key is ASCII, and neither ends in a fraction's 0 nor is only an integer's beginning."""
    integer = order._integer(key)
    assert key.isascii()
    assert key.isalnum()
    assert not key[len(integer) :].endswith("0")


@pytest.mark.parametrize("seed", range(5))
def test_random_insertions_keep_strict_order(seed: int) -> None:
    chance = random.Random(seed)
    keys: list[str] = []
    for _ in range(2_000):
        at = chance.randint(0, len(keys))
        made = order.between(keys[at - 1] if at else None, keys[at] if at < len(keys) else None)
        check(made)
        keys.insert(at, made)
    assert all(low < high for low, high in itertools.pairwise(keys))
    assert max(map(len, keys)) < 20


def test_appending_and_prepending_keep_keys_short() -> None:
    key: str | None = None
    last = ""
    for _ in range(100_000):
        key = order.between(key, None)
        assert last < key
        last = key
    assert len(last) <= 5
    first = order.FIRST
    for _ in range(100_000):
        made = order.between(None, first)
        assert made < first
        first = made
    assert len(first) <= 5


@pytest.mark.parametrize("side", ["low", "high"])
def test_always_at_the_same_place(side: str) -> None:
    """The worst that people do: each new one right before, or right after, the same neighbour."""
    low, high = "a0", "a1"
    for _ in range(1_000):
        made = order.between(low, high)
        check(made)
        assert low < made < high
        low, high = (made, high) if side == "low" else (low, made)
    assert len(made) < 250


def test_the_ends_of_what_can_be_written() -> None:
    top = "z" + "z" * 26
    assert top < order.between(top, None)
    assert top < order.between(order.between(top, None), None)
    bottom = "A" + "0" * 26
    below = order.between(None, bottom + "V")
    assert below == bottom
    assert order.between(None, "a0V") == "a0"
    assert order.between("Zz", None) == "a0"
    assert order.between(None, "a0") == "Zz"
    assert order.between("az", None) == "b00"
    assert order.between("a0", "a1") == "a0V"
    assert order.between("a0", "a2") == "a1"


@pytest.mark.parametrize(
    ("low", "high"),
    [("a1", "a0"), ("a0", "a0"), ("", None), (None, ""), ("0", None), ("b0", None), (None, "é0"), ("a", None)],
)
def test_what_is_no_place_is_refused(low: str | None, high: str | None) -> None:
    with pytest.raises(ValueError, match=r"place|stand before"):
        order.between(low, high)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 5)), min_size=1, max_size=60))
def test_runs_of_insertions_at_drawn_places(places: list[tuple[float, int]]) -> None:
    keys: list[str] = []
    for share, count in places:
        at = round(share * len(keys))
        for _ in range(count):
            keys.insert(at, order.between(keys[at - 1] if at else None, keys[at] if at < len(keys) else None))
            check(keys[at])
    assert keys == sorted(set(keys))
