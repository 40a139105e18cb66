"""Work beside the requests: notes of use, and mails whose making must not show in how long an answer takes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from mdserver.errors import Problem

log = logging.getLogger("mdserver.web")


class Later:
    """Runs small things soon. Nothing that must not be lost: what is dropped is asked for again. Close it before the
    database and the mailer.
    """

    def __init__(self, *, most: int = 1000) -> None:
        self._most = most
        self._running: set[asyncio.Task[None]] = set()

    def soon(self, work: Coroutine[Any, Any, object]) -> None:
        """Run it beside the request; when too much is running it is dropped."""
        if len(self._running) >= self._most:
            work.close()
            log.warning("too much is waiting to be done beside the requests: something was dropped")
            return
        task = asyncio.ensure_future(self._guarded(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Wait for what is running."""
        while self._running:
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _guarded(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except Problem as problem:
            log.info("work beside the requests was refused: %s", problem.slug)
        except Exception:
            log.exception("work beside the requests failed")
