"""The library between a program and its disk (shim.c), built with the machine's C compiler."""

from __future__ import annotations

import functools
import os
import shutil
import struct
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).with_name("shim.c")
_HEAD = struct.Struct("<cHIQ")


class Event(NamedTuple):
    """One change of the data directory; `ends` is where its record ends in the log."""

    kind: str
    path: str
    data: bytes
    offset: int
    ends: int


@functools.cache
def library() -> Path:
    """The built library. Without a compiler the test is skipped, loudly, but never in CI."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        if os.environ.get("CI"):
            raise RuntimeError("CI needs a C compiler: power cuts and full disks are tested with a library of ours")
        pytest.skip("NO C COMPILER HERE: nothing is known of power cuts and full disks")
    place = Path(tempfile.mkdtemp(prefix="mdserver-shim-")) / f"shim{sysconfig.get_config_var('SHLIB_SUFFIX') or '.so'}"
    options = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([compiler, *options, "-o", str(place), str(SOURCE), "-ldl", "-lpthread"], check=True)
    return place


def environment(data: Path, *, log: Path | None = None, control: Path | None = None) -> dict[str, str]:
    """What has a program run with the library: `data` is watched, `log` records, files in `control` make faults."""
    made = {"LD_PRELOAD": str(library()), "ROBUST_DATA": str(data)}
    if log is not None:
        made["ROBUST_LOG"] = str(log)
    if control is not None:
        made["ROBUST_CONTROL"] = str(control)
    return made


def events(log: Path) -> Iterator[Event]:
    """The recorded changes in their order."""
    recorded, at = log.read_bytes(), 0
    while at < len(recorded):
        kind, path_length, length, offset = _HEAD.unpack_from(recorded, at)
        start = at + _HEAD.size
        at = start + path_length + length
        path = os.fsdecode(recorded[start : start + path_length])
        yield Event(kind.decode(), path, recorded[start + path_length : at], offset, at)
