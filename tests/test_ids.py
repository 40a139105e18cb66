"""Ids are UUIDs of version 7 in one form only, made in the order of time, and never twice."""

from __future__ import annotations

import subprocess
import sys
import uuid

import pytest

from mdserver import ids

from .conftest import Clock


def test_form() -> None:
    for _ in range(1_000):
        made = ids.new()
        assert ids.is_id(made)
        parsed = uuid.UUID(made)
        assert str(parsed) == made
        assert parsed.version == 7
        assert parsed.variant == uuid.RFC_4122


def test_the_time_stands_in_it(frozen: Clock) -> None:
    for moment in (0, 1, frozen.now, (1 << 48) - 1):
        frozen.now = moment
        assert uuid.UUID(ids.new()).int >> 80 == moment


def test_a_later_one_is_greater(frozen: Clock) -> None:
    before = ids.new()
    for _ in range(200):
        frozen.forward(1)
        made = ids.new()
        assert before < made
        before = made


def test_unique_within_one_moment(frozen: Clock) -> None:
    assert len({ids.new() for _ in range(20_000)}) == 20_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "root",
        "0190163d-8694-739b-aea5-966c26f8ad9",
        "0190163d-8694-739b-aea5-966c26f8ad911",
        "0190163D-8694-739B-AEA5-966C26F8AD91",
        "0190163d8694739baea5966c26f8ad91",
        "{0190163d-8694-739b-aea5-966c26f8ad91}",
        "0190163d-8694-439b-aea5-966c26f8ad91",
        "0190163d-8694-739b-cea5-966c26f8ad91",
        "0190163d-8694-739b-aea5-966c26f8ad91\n",
        "\n0190163d-8694-739b-aea5-966c26f8ad91",
        "0190163d-8694-739b-aea5-966c26f8ad9\0",
        "٠190163d-8694-739b-aea5-966c26f8ad91",
    ],
)
def test_nothing_else_is_an_id(text: str) -> None:
    assert not ids.is_id(text)


def test_a_forked_process_draws_its_own_numbers() -> None:
    script = "import os; from mdserver import ids; ids.draw(); os.fork(); os.write(1, b'%d\\n' % ids.draw())"
    made = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    numbers = made.stdout.split()
    assert len(numbers) == len(set(numbers)) == 2
