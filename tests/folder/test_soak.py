"""A short one of what `make soak-sync` does for long: folders, editors and requests at once, kills, a comparison."""

from __future__ import annotations

from pathlib import Path

from .soak import soak


async def test_everybody_at_once(tmp_path: Path) -> None:
    assert await soak(tmp_path, seed=1, minutes=0.2, files=150) == []


async def test_a_lost_word_is_found_out(tmp_path: Path) -> None:
    """What the comparison is worth."""
    faults = await soak(tmp_path, seed=1, minutes=0.1, files=40, loses=True)
    assert any("is lost" in one for one in faults)
    assert any("is there 2 times" in one for one in faults)
    assert any("they differ" in one for one in faults)
