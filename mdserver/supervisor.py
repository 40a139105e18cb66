"""What a service manager is told: ready, stopping, still turning (sd_notify(3), without its library). Floor 0."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger("mdserver")

_MICROSECONDS = 1_000_000


class Supervisor:
    """Speaks to the socket that the service manager names; without one, nobody is told and nothing happens."""

    def __init__(self, address: str = "", *, watchdog: float = 0.0) -> None:
        """`watchdog` is the number of seconds after which silence means that this process is stuck; 0: nobody waits."""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._pause = watchdog / 2
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)  # a service manager that does not read must not hold the event loop

    @classmethod
    def named(cls, environment: Mapping[str, str]) -> Supervisor:
        """The one that NOTIFY_SOCKET and WATCHDOG_USEC of a process's environment tell of."""
        microseconds = environment.get("WATCHDOG_USEC", "")
        # The single-file executable's first process, which the service manager knows, is the server's parent.
        is_meant = environment.get("WATCHDOG_PID", str(os.getpid())) in (str(os.getpid()), str(os.getppid()))
        watched = is_meant and microseconds.isascii() and microseconds.isdigit()
        return cls(environment.get("NOTIFY_SOCKET", ""), watchdog=int(microseconds) / _MICROSECONDS if watched else 0.0)

    @property
    def watches(self) -> bool:
        """Whether somebody ends this process when it is silent for long."""
        return self._socket is not None and self._pause > 0

    def ready(self) -> None:
        """Say that the server answers, and from now on, from the running event loop, that the loop turns."""
        self._tell("READY=1")
        if self.watches:
            self._turns(asyncio.get_running_loop())

    def stopping(self, seconds: float) -> None:
        """Say that the server ends, which may take so long."""
        self._tell(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int(seconds * _MICROSECONDS)}")

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _turns(self, loop: asyncio.AbstractEventLoop) -> None:
        self._tell("WATCHDOG=1")
        self._timer = loop.call_later(self._pause, self._turns, loop)

    def _tell(self, state: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(state.encode(), self._address)
        except OSError as error:
            log.warning("the service manager could not be told %s: %s", state.partition("\n")[0], error)
