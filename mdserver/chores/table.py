"""Every chore by its name."""

from __future__ import annotations

from typing import Any

from . import backups, doctor, jobs, tokens, transfers, users, workspaces
from .chore import Chore

CHORES: dict[str, Chore[Any, Any]] = {
    one.name: one
    for module in (users, workspaces, tokens, transfers, backups, jobs, doctor)
    for one in vars(module).values()
    if isinstance(one, Chore)
}
