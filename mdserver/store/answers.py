"""From a database thread back to the event loop: hooks and results, whatever became of the loop or the waiter."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

log = logging.getLogger("mdserver.store")


def hand_over(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: Any) -> None:
    """Call on the loop, from a thread. A closed loop has nobody left who waits; the thread goes on."""
    try:
        loop.call_soon_threadsafe(call, *arguments)
    except RuntimeError:
        log.warning("an answer of the database came after its event loop had been closed")


def settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    """Answer the waiter, unless it was cancelled."""
    if future.done():
        return
    if error is None:
        future.set_result(result)
        return
    if isinstance(error, StopIteration):  # a future refuses it, and its waiter would wait for ever
        wrapped = RuntimeError("a unit of work raised StopIteration")
        wrapped.__cause__ = error
        error = wrapped
    future.set_exception(error)


def run_hooks(hooks: Iterable[Callable[[], None]]) -> None:
    """Call the hooks of a unit that has committed; what they raise is logged: the unit is done and stays done."""
    for hook in hooks:
        try:
            hook()
        except BaseException:  # even a cancellation: the answers of other units come after this one
            log.exception("a hook after a commit failed")
