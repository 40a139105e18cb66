"""The servers of the web floor's tests, for those of sync."""

from tests.web.conftest import server, start

__all__ = ["server", "start"]
