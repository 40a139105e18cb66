"""Runs a program under a unit's system call filter, as systemd would: `python jail.py UNIT PROGRAM ARGUMENT…`

systemd itself needs to be the first process for that; this asks it what the unit's groups hold and applies them with
the library that it uses, libseccomp.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import subprocess
import sys
from pathlib import Path

ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM  # SCMP_ACT_ALLOW, SCMP_ACT_ERRNO(EPERM)
MASKED_EQUAL = 7  # SCMP_CMP_MASKED_EQ
EXECUTABLE, WRITABLE_EXECUTABLE = mmap.PROT_EXEC, mmap.PROT_EXEC | mmap.PROT_WRITE


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp"""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("mask", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
    )


def settings(unit: Path, name: str) -> list[str]:
    """The values of one setting, in their order."""
    lines = unit.read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]


def members(group: str) -> set[str]:
    """The system calls of a group such as `@system-service`."""
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True
    ).stdout
    names = [line.strip() for line in listed.splitlines()[1:]]
    found: set[str] = set()
    for name in names:
        if name.startswith("@"):
            found |= members(name)
        elif name and not name.startswith("#"):
            found.add(name)
    return found


def allowed(unit: Path) -> set[str]:
    """What SystemCallFilter= leaves: the first line says what is allowed, a later one with `~` what is not."""
    found: set[str] = set()
    for line in settings(unit, "SystemCallFilter"):
        named = set().union(*(members(one) if one.startswith("@") else {one} for one in line.lstrip("~").split()))
        found = found - named if line.startswith("~") else found | named
    return found


Rule = tuple[int, str, tuple[Comparison, ...]]
"""What to do, for which call, if all comparisons of its arguments hold."""


def confine(unit: Path) -> None:
    """Put this process, and all that it starts, behind the unit's filters."""
    if settings(unit, "MemoryDenyWriteExecute") == ["yes"]:
        both = Comparison(2, MASKED_EQUAL, WRITABLE_EXECUTABLE, WRITABLE_EXECUTABLE)
        executable = Comparison(2, MASKED_EQUAL, EXECUTABLE, EXECUTABLE)
        load(
            ALLOW,
            [
                (REFUSE, "mmap", (both,)),
                (REFUSE, "mprotect", (executable,)),
                (REFUSE, "pkey_mprotect", (executable,)),
            ],
        )
    load(REFUSE, [(ALLOW, name, ()) for name in sorted(allowed(unit))])


def load(otherwise: int, rules: list[Rule]) -> None:
    """Add one filter to those that this process is behind."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_load.argtypes = [ctypes.c_void_p]
    number, pointer = ctypes.c_uint32, ctypes.POINTER(Comparison)
    library.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, number, ctypes.c_int, ctypes.c_uint, pointer]
    context = library.seccomp_init(otherwise)
    for action, name, comparisons in rules:
        call = library.seccomp_syscall_resolve_name(name.encode())
        if call >= 0:  # others are not of this architecture
            given = (Comparison * len(comparisons))(*comparisons)
            assert library.seccomp_rule_add_array(context, action, call, len(comparisons), given) == 0, name
    assert library.seccomp_load(context) == 0


if __name__ == "__main__":
    confine(Path(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
