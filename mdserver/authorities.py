"""The system's certificate authorities, loaded after the server listens rather than before. Floor 0.

aiohttp makes two TLS contexts while it is imported, for clients; reading some 150 certificates twice is a sixth of the
time that a start takes.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator

_waiting: list[ssl.SSLContext] = []


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """TLS contexts made in the block trust nobody until `load` is called: the same objects, which refuse meanwhile.

    For the start of the program, while it has one thread.
    """
    # The method is inherited from the class in C: what is set here hides it, and what is deleted uncovers it again.
    ssl.SSLContext.set_default_verify_paths = _wait  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del ssl.SSLContext.set_default_verify_paths


def load() -> None:
    """Give every context that was deferred the authorities it asked for. Reads files: not for the event loop."""
    while _waiting:
        _waiting.pop().set_default_verify_paths()


def _wait(context: ssl.SSLContext) -> None:
    _waiting.append(context)
