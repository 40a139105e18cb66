"""Hears the simplest frames of a socket as their bytes arrive: a keystroke need not wake a task.

aiohttp puts each message into a queue and wakes whoever reads it, which costs as much as what is then done with it.
This queue shows a message to its hearer first; what that does not take waits for the task, as ever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from aiohttp import WSMessage, WSMsgType, web
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader

log = logging.getLogger("mdserver.collab")


class _Queue(WebSocketDataQueue):
    """Nothing that waits may be overtaken: while something does, all else waits behind it."""

    hear: Callable[[bytes], bool]

    def feed_data(self, data: Any, size: int) -> None:
        if data[0] is _BINARY and not self._buffer and self.hear(data[1]):
            return
        super().feed_data(data, size)


_BINARY = WSMsgType.BINARY


def install(request: web.Request, ws: web.WebSocketResponse, hear: Callable[[bytes], bool], *, most: int) -> None:
    """Show the messages of a WebSocket that was just opened to `hear`; `most` is what one may have.

    `hear` says whether it took a message. It must not while an earlier one is still being dealt with. These are parts
    of aiohttp that it keeps to itself: where another version has others, all goes the longer way.
    """
    protocol: Any = request.protocol
    try:
        earlier: Any = ws._reader
        queue = _Queue(protocol, earlier._limit // 2, loop=request._loop)
        queue.hear = hear
        parser = WebSocketReader(queue, most, compress=False, decode_text=True)
        came, told = list(earlier._buffer), ws._on_data_received
        if protocol._payload_parser is not ws._parser:
            raise AttributeError("_payload_parser")
    except (AttributeError, TypeError) as error:
        log.warning("keystrokes are heard the longer way: this aiohttp is made otherwise (%s)", error)
        return
    for message, size in came:  # with the request
        WebSocketDataQueue.feed_data(queue, WSMessage(*message), size)
    ws._reader, ws._parser = queue, parser
    protocol._payload_parser = None
    protocol.set_parser(parser, data_received_cb=told)
