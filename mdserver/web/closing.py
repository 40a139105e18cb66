"""Why and how a WebSocket is closed."""

from __future__ import annotations

from mdserver.errors import Problem, SignedOut

TOO_MANY, TOO_BIG, RESTARTING, RESET = 1008, 1009, 1012, 4205
UNSOUND, SIGNED_OUT, FORBIDDEN, SILENT = 4400, 4401, 4403, 4408
"""Close codes. A client comes back after the first four; those from 4400 to 4499 y-websocket takes as final."""

GRACE = 30.0
"""Seconds in which a socket must have said who it is, and in which a client must answer when it is asked again."""


class Closing(Exception):
    """The socket has to be closed, for this reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


def code_of(slug: str) -> int:
    """The code for a problem that will not go by itself."""
    return SIGNED_OUT if slug == SignedOut.slug else FORBIDDEN


def refusal(problem: Problem) -> Closing:
    """A socket's end for a problem: one of the server's own goes, and the client may come back."""
    return Closing(RESTARTING if problem.status >= 500 else code_of(problem.slug), problem.slug)
