"""The real clients on the real server for long: `python -m tests.collab.soak --minutes 5` types, disconnects, edits by
REST and kills in turn, each time with another seed, on one directory, and compares."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.npm import clients

from . import houses, mixed
from .dying import MOMENTS, Story


async def soak(place: Path, *, seed: int, minutes: float) -> list[str]:
    """Go on until the time is over or something is wrong; what was wrong."""
    ends = time.monotonic() + 60 * minutes
    turns = 0
    moments = ["", *MOMENTS]
    async with houses.running(place) as house, clients.running() as node:
        story = Story(house, node, seed=seed)
        faults: list[str] = []
        while time.monotonic() < ends and not faults:
            now, moment = seed + turns, moments[turns % len(moments)]
            for what, work in {
                "converging": mixed.converge(house, node, seed=now, steps=200, rest=False),
                "converging with REST": mixed.converge(house, node, seed=now, steps=200, rest=True),
                "typing with REST": mixed.type_on(house, node, seed=now, clients=3, edits=10),
                "converging with REST in TipTap": mixed.converge(
                    house, node, seed=now, steps=100, rest=True, rich=True
                ),
                "typing with REST in TipTap": mixed.type_on(house, node, seed=now, clients=3, edits=10, rich=True),
                moment or "kill": story.live(moment),
            }.items():
                faults += [f"seed {now}, {what}: {fault}" for fault in await work]
            turns += 1
            said = f"{turns} turns, {story.kills} kills, {story.typed} words typed around them"
            print(f"\r{said}", end="", flush=True)
            if turns % 20 == 0:
                faults += await story.end()
                await house.start()
        faults += await story.end()
    return faults


def main() -> None:
    """Exit status 1 when anything acknowledged was lost, or anything is there twice."""
    parser = argparse.ArgumentParser(prog="python -m tests.collab.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mdserver-soak-") as directory:
        faults = asyncio.run(soak(Path(directory), seed=given.seed, minutes=given.minutes))
    print("\n" + ("\n".join(faults) or f"nothing lost, nothing twice (seed {given.seed})"))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
