"""How the items of one Yjs update hang together: what waits for what, how deep types stand in one another. Floor 0."""

from __future__ import annotations

import bisect
import heapq
from typing import NamedTuple

from .lib0 import Unsound

MOST_DEPTH = 64
"""Levels of JSON and of lib0's `any`, and of shared types within one update."""


class Run(NamedTuple):
    """Clocks of one client, `length` of them from `clock` on."""

    client: int
    clock: int
    length: int

    @property
    def end(self) -> int:
        return self.clock + self.length


class Link(NamedTuple):
    """An item points to another, as its neighbour or as its parent; both are a client and a clock."""

    own: tuple[int, int]
    to: tuple[int, int]
    is_parent: bool


def check_order(across: dict[int, list[Link]], ends: dict[int, int]) -> None:
    """Unsound when items of several clients wait for one another in a ring. `across`: by client, in clocks' order."""
    reached = {client: links[0].own[1] for client, links in across.items()}
    done = dict.fromkeys(across, 0)
    waiting: dict[int, list[tuple[int, int]]] = {}  # by who is waited for: from which clock on, and who waits
    ready = list(across)
    while ready:
        client = ready.pop()
        links = across[client]
        place = done[client]
        while place < len(links):
            other, at = links[place].to
            if reached.get(other, ends[other]) <= at:
                heapq.heappush(waiting.setdefault(other, []), (at, client))
                break
            place += 1
        done[client] = place
        reached[client] = links[place].own[1] if place < len(links) else ends[client]
        mine = waiting.get(client, [])
        while mine and mine[0][0] < reached[client]:
            ready.append(heapq.heappop(mine)[1])
    if any(waiting.values()):
        raise Unsound("items wait for one another")


def check_depths(runs: list[Run], links: list[Link], types: set[tuple[int, int]]) -> None:
    """Unsound when types stand too deep in one another. An item has the parent of the neighbour that it points to."""
    by_client: dict[int, list[Run]] = {}
    for run in runs:
        by_client.setdefault(run.client, []).append(run)
    above: dict[tuple[int, int], Link] = {}
    for link in links:
        above.setdefault(link.own, link)

    def head(place: tuple[int, int]) -> tuple[int, int] | None:
        """The item of this update that a place lies in."""
        mine = by_client.get(place[0], [])
        index = bisect.bisect_right(mine, place[1], key=lambda run: run.clock)
        if not index or place[1] >= mine[index - 1].end:
            return None
        return place[0], mine[index - 1].clock

    depths: dict[tuple[int, int], int] = {}
    for one in types:
        path: list[tuple[tuple[int, int], bool]] = []
        place: tuple[int, int] | None = one
        while place is not None and place not in depths:
            up = above.get(place)
            path.append((place, up is not None and up.is_parent))
            place = None if up is None else head(up.to)
        depth = 0 if place is None else depths[place]
        for item, is_below in reversed(path):
            depth += is_below
            depths[item] = depth
        if depth > MOST_DEPTH:
            raise Unsound("types stand too deep in one another")
