"""Figures as Prometheus reads them."""

from __future__ import annotations

import os

import pytest

from mdserver import figures
from mdserver.figures import Family, Histogram, Sample, counter, gauge


def test_the_text_format() -> None:
    written = figures.text(
        [
            gauge("a", "What a is.", 1.5),
            counter("b_total", "Two\nlines, a \\.", 3.0),
            Family("c", "gauge", "Labelled.", [Sample(float("inf"), {"x": 'quote " back \\ line \n', "y": "é"})]),
            Family("d", "counter", "Nothing yet.", []),
        ]
    )
    assert written == (
        "# HELP a What a is.\n# TYPE a gauge\na 1.5\n"
        "# HELP b_total Two\\nlines, a \\\\.\n# TYPE b_total counter\nb_total 3\n"
        '# HELP c Labelled.\n# TYPE c gauge\nc{x="quote \\" back \\\\ line \\n",y="é"} +Inf\n'
        "# HELP d Nothing yet.\n# TYPE d counter\n"
    )


def test_a_histogram_counts_what_is_at_most_so_large() -> None:
    histogram = Histogram((1, 2.5))
    for value in (0, 1, 1.1, 2.5, 3):
        histogram.note(value)
    lines = [(one.suffix, one.labels.get("le"), one.value) for one in histogram.samples(of="x")]
    assert lines == [
        *(("_bucket", "1", 2), ("_bucket", "2.5", 4), ("_bucket", "+Inf", 5)),
        *(("_sum", None, 7.6), ("_count", None, 5)),
    ]
    assert all(one.labels["of"] == "x" for one in histogram.samples(of="x"))


def test_a_name_stands_for_one_thing() -> None:
    with pytest.raises(ValueError, match="twice"):
        figures.text([gauge("a", "One.", 1), gauge("a", "Another.", 2)])


def test_the_process_tells_of_itself() -> None:
    told = {family.name: family.samples[0].value for family in figures.process()}
    assert told["process_cpu_seconds_total"] > 0
    assert told["process_max_fds"] > 3
    if os.path.isdir("/proc/self"):
        assert told["process_resident_memory_bytes"] > 1 << 20
        assert told["process_open_fds"] > 2
