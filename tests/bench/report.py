"""From records to a table: medians of the ratios of each repetition, beside the goals."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

Record = dict[str, Any]

OURS, SMALL, POCKETBASE, BARE = "mdserver", "mdserver, 1,000 documents", "PocketBase", "bare aiohttp"
DATASETTE = "datasette"


@dataclass(frozen=True, slots=True)
class Goal:
    """A factor that our figure should reach beside another's: at least, or at most where it is a cost."""

    title: str
    work: str
    beside: str
    factor: float
    other_work: str = ""
    at_most: bool = False
    by_p99: bool = False


GOALS = (
    Goal("read by id, signed in", "read", POCKETBASE, 2.5),
    Goal("read by id, signed in", "read", BARE, 0.55, "hello"),
    Goal("read by id, unchanged (304)", "304", BARE, 0.65, "hello"),
    Goal("list 50", "list", POCKETBASE, 8.0),
    Goal("search, 20 hits ranked with snippets", "search", POCKETBASE, 4.0),
    Goal("search, 20 hits ranked with snippets", "search", DATASETTE, 1.8),
    Goal("read: p99 in a storm of prefix searches", "storm", OURS, 6.0, "read", at_most=True, by_p99=True),
    Goal("create, durable, 32 clients", "create", POCKETBASE, 1.2),
    Goal("read: cost with all documents", "read", SMALL, 1.4, at_most=True),
    Goal("list 50: cost with all documents", "list", SMALL, 1.4, at_most=True),
)

# work → (title, the figure, most, unit)
ALONE: tuple[tuple[str, str, str, float, str], ...] = (
    ("start", "start to first answer", "seconds", 0.4, "s"),
    ("idle", "memory after start", "resident_mb", 90.0, "MB"),
    ("loaded", "memory after the reads, without files' pages", "own_mb", 90.0, "MB"),
)


def table(records: Iterable[Record]) -> str:
    """Two Markdown tables: beside others, and alone."""
    kept = list(records)
    compared = [line for goal in GOALS if (line := _compared(goal, kept))]
    alone = [line for one in ALONE if (line := _alone(*one, kept))]
    parts = []
    if compared:
        head = ("work", "beside", "goal", "by requests/s", "by CPU", "mdserver", "the other")
        parts.append(_lines(head, compared))
    if alone:
        parts.append(_lines(("alone", "goal", "median", "range", "of it CPU time, or no file's"), alone))
    return "\n\n".join(parts)


def disturbance(records: Iterable[Record]) -> str:
    """A warning when servers that only compute did not get their core to themselves, or nothing."""
    shares = [one["server_busy"] for one in records if one["work"] in ("hello", "read", "304")]
    if not shares or median(shares) > 0.9:
        return ""
    return f"The machine had other work: servers got {median(shares):.0%} of their core. These figures are rough."


def _lines(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    marks = ("---",) * len(head)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, marks, *rows))


def _compared(goal: Goal, records: list[Record]) -> tuple[str, ...] | None:
    ours = _by_repetition(records, OURS, goal.work)
    theirs = _by_repetition(records, goal.beside, goal.other_work or goal.work)
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        return None
    fast = [ours[one]["per_second"] / theirs[one]["per_second"] for one in both]
    cheap = [theirs[one]["cpu_us"] / ours[one]["cpu_us"] for one in both]
    if goal.at_most:
        fast, cheap = [1 / one for one in fast], [1 / one for one in cheap]
    if goal.by_p99:
        fast = [ours[one]["p99_ms"] / theirs[one]["p99_ms"] for one in both]
    sign = "≤" if goal.at_most else "≥"
    return (
        goal.title,
        f"{goal.beside}, {goal.other_work}" if goal.other_work else goal.beside,
        f"{sign} {goal.factor:g}×",
        _ratio(fast, goal),
        _ratio(cheap, goal),
        _speed(ours[one] for one in both),
        _speed(theirs[one] for one in both),
    )


def _ratio(ratios: list[float], goal: Goal) -> str:
    middle = median(ratios)
    met = middle <= goal.factor if goal.at_most else middle >= goal.factor
    return f"{middle:.2f}× ({min(ratios):.2f}–{max(ratios):.2f}){'' if met else ' **missed**'}"


def _speed(records: Iterable[Record]) -> str:
    kept = list(records)

    def middle(figure: str) -> float:
        return float(median(one[figure] for one in kept))

    late = " (generator full)" if middle("generator_busy") > 0.9 else ""
    return f"{middle('per_second'):,.0f}/s{late}, {middle('cpu_us'):,.0f} µs, p99 {middle('p99_ms'):.1f} ms"


def _alone(work: str, title: str, figure: str, most: float, unit: str, records: list[Record]) -> tuple[str, ...] | None:
    found = list(_by_repetition(records, OURS, work).values())
    if not found:
        return None
    values = [one[figure] for one in found]
    shown: Callable[[float], str] = (lambda one: f"{one:.2f}") if unit == "s" else (lambda one: f"{one:.0f}")
    beside = median(one["cpu_seconds" if work == "start" else "own_mb"] for one in found)
    met = "" if median(values) <= most else " **missed**"
    span = f"{shown(min(values))}–{shown(max(values))}"
    return (title, f"≤ {most:g} {unit}", f"{shown(median(values))} {unit}{met}", span, f"{shown(beside)} {unit}")


def _by_repetition(records: list[Record], server: str, work: str) -> dict[int, Record]:
    return {one["repetition"]: one for one in records if (one["server"], one["work"]) == (server, work)}
