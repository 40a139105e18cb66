"""The one-time code of the first start: in a file of mode 0600, renewed at each start, ended by the first account."""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

from aiohttp import web

from mdserver import clock

LIFE = 30 * clock.MINUTE


class SetupCode:
    """Proves that whoever makes the first account can read the server's output or data directory."""

    def __init__(self, code: str, path: Path | None, ends_at: int) -> None:
        self.code = code
        self._path = path
        self._ends_at = ends_at

    @classmethod
    def none(cls) -> SetupCode:
        """No code: accounts exist already."""
        return cls("", None, 0)

    @classmethod
    def new(cls, path: Path | None) -> SetupCode:
        """A fresh code of 32 random bytes, written to the file for its owner alone."""
        code = secrets.token_urlsafe(32)
        if path is not None:
            path.unlink(missing_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(code + "\n")
        return cls(code, path, clock.now() + LIFE)

    def fits(self, given: str) -> bool:
        """Whether this is the code and it is still good."""
        is_good = bool(self.code) and clock.now() < self._ends_at
        return hmac.compare_digest(self.code.encode(), given.encode("utf-8", "surrogatepass")) and is_good

    def end(self) -> None:
        """Make the code worthless: an account exists now."""
        self.code = ""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


SETUP: web.AppKey[SetupCode] = web.AppKey("setup", SetupCode)
