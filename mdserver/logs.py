"""What the program writes to standard error: a line for each event, for people or JSON, without secrets. Floor 0."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, TextIO

import msgspec

from . import clock

# Whatever a message quotes: our own tokens can be told by their beginning, a URL's password by its place.
_SECRETS = re.compile(r"(?<![A-Za-z0-9])(mds_[a-z]{2,4}_)[A-Za-z0-9_-]{8,}|(://[^\s:/@]*:)[^\s@/]+(?=@)|(#code=)[\w-]+")
_OWN = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}


def set_up(*, level: str, as_json: bool, out: TextIO | None = None) -> None:
    """Send every log record of this process to `out` (standard error). `level` is a name such as `info`."""
    handler = logging.StreamHandler(out or sys.stderr)
    handler.setFormatter(JsonLines() if as_json else Human())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    logging.getLogger("asyncio").setLevel(max(root.level, logging.INFO))  # its debug lines tell of every poll


class Human(logging.Formatter):
    """`2026-01-31T12:00:00.000Z warning mdserver.store: the message key=value`, and a traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        message = redacted(record.getMessage())
        safe = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in message)  # one event stays one line
        extra = "".join(f" {name}={value}" for name, value in _extra(record).items())
        head = f"{clock.rfc3339(int(record.created * 1000))} {record.levelname.lower()} {record.name}: {safe}{extra}"
        return f"{head}\n{redacted(self.formatException(record.exc_info))}" if record.exc_info else head


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, event, and whatever the caller added."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": clock.rfc3339(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": redacted(record.getMessage()),
            **_extra(record),
        }
        if record.exc_info:
            line["exception"] = redacted(self.formatException(record.exc_info))
        return msgspec.json.encode(line).decode()


def redacted(text: str) -> str:
    """The text without tokens, one-time codes and passwords in URLs."""
    return _SECRETS.sub(lambda found: f"{found[1] or found[2] or found[3]}…", text)


def _extra(record: logging.LogRecord) -> dict[str, str | int | float | bool | None]:
    """What was given as `extra=`; texts are redacted, and anything that is no plain value is left out."""
    return {
        name: redacted(value) if isinstance(value, str) else value
        for name, value in vars(record).items()
        if name not in _OWN and (value is None or isinstance(value, str | int | float))
    }
