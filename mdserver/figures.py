"""Figures for Prometheus: counted cheaply where things happen, written out when somebody asks. Floor 0.

A library for this takes a lock and looks labels up for each count, which a small read would feel. Here a count is an
addition to an attribute of an object that the place which counts holds already.
"""

from __future__ import annotations

import os
import sys
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
UNITS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

Kind = Literal["counter", "gauge", "histogram"]

_NO_LABELS: Mapping[str, str] = MappingProxyType({})


class Sample(NamedTuple):
    """One line. `suffix` follows the family's name, as `_bucket` does."""

    value: float
    labels: Mapping[str, str] = _NO_LABELS
    suffix: str = ""


class Family(NamedTuple):
    """What one name means, and its values now."""

    name: str
    kind: Kind
    help: str
    samples: Sequence[Sample]


class Histogram:
    """How many were at most so large. `note` is called by one thread at a time, or a count may be lost."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def note(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def samples(self, **labels: str) -> list[Sample]:
        """The lines of this histogram: buckets, each with all below it, sum and count."""
        made, below = [], 0
        for bound, count in zip((*map(_number, self._bounds), "+Inf"), self.counts, strict=True):
            below += count
            made.append(Sample(below, {**labels, "le": bound}, "_bucket"))
        return [*made, Sample(self.total, labels, "_sum"), Sample(below, labels, "_count")]


def gauge(name: str, help: str, value: float) -> Family:
    """One value that goes up and down."""
    return Family(name, "gauge", help, [Sample(value)])


def counter(name: str, help: str, value: float) -> Family:
    """One value that only grows."""
    return Family(name, "counter", help, [Sample(value)])


def text(families: Iterable[Family]) -> str:
    """The text format 0.0.4. ValueError when a name comes twice: Prometheus would refuse the whole answer."""
    lines: list[str] = []
    seen: set[str] = set()
    for family in families:
        if family.name in seen:
            raise ValueError(f"the figure {family.name} is given twice")
        seen.add(family.name)
        explained = family.help.replace("\\", r"\\").replace("\n", r"\n")
        lines += [f"# HELP {family.name} {explained}", f"# TYPE {family.name} {family.kind}"]
        for value, labels, suffix in family.samples:
            written = ",".join([f'{name}="{_escaped(one)}"' for name, one in labels.items()])
            lines.append(
                f"{family.name}{suffix}{{{written}}} {_number(value)}"
                if labels
                else f"{family.name}{suffix} {_number(value)}"
            )
    return "\n".join(lines) + "\n"


def process() -> list[Family]:
    """What every program tells of itself, under the names that Prometheus' own libraries use; Linux tells the most."""
    used = os.times()
    found = [
        counter("process_cpu_seconds_total", "Processor time used.", used.user + used.system),
        gauge("process_start_time_seconds", "When the process started, in Unix seconds.", _STARTED),
    ]
    here = Path("/proc/self")
    if here.is_dir():
        pages = (here / "statm").read_text().split()
        size = os.sysconf("SC_PAGE_SIZE")
        found += [
            gauge("process_virtual_memory_bytes", "Memory that is addressed.", int(pages[0]) * size),
            gauge("process_resident_memory_bytes", "Memory that is in use.", int(pages[1]) * size),
            gauge("process_open_fds", "Open files and sockets.", len(os.listdir(here / "fd"))),
        ]
    if sys.platform != "win32":
        import resource

        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        most = soft if soft != resource.RLIM_INFINITY else float("inf")
        found.append(gauge("process_max_fds", "Most files and sockets that may be open.", most))
    return found


_STARTED = time.time()


def _number(value: float) -> str:
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(float(value))


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
