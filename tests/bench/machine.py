"""What the machine says of a process: CPU time, memory, cores."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

MIB = 1 << 20


class Memory(NamedTuple):
    """In MB of 2^20 bytes: what is resident, and how much of that no file backs (pages of files can be dropped)."""

    resident: float
    own: float


def process(pid: int) -> Any:
    """psutil's view of a process (it has no types, and only the bench extra brings it)."""
    return importlib.import_module("psutil").Process(pid)


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process and of its children."""
    whole = process(pid)
    times = [one.cpu_times() for one in (whole, *whole.children(recursive=True))]
    return float(sum(one.user + one.system for one in times))


def memory(pid: int) -> Memory:
    used = process(pid).memory_info()
    return Memory(used.rss / MIB, (used.rss - getattr(used, "shared", 0)) / MIB)


def cores() -> tuple[int, int] | None:
    """The core for servers and the one for the generator; None where processes cannot be pinned."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[1 if len(usable) > 1 else 0]


@contextlib.contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Run on this core, and whatever is started meanwhile too, for good."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
