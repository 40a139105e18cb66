"""Tickets: what opens one socket within 30 seconds.

They are for clients that can send no header, and must not put a token into an address. They live in memory, being good
for so little.
"""

from __future__ import annotations

from collections import OrderedDict

from mdserver import clock, crypto
from mdserver.model.access import Principal

LIFETIME = 30
"""Seconds."""

MOST = 10_000


class Tickets:
    """Those that were given out and not used yet; the oldest go first when there are too many."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[int, Principal]] = OrderedDict()

    def issue(self, principal: Principal) -> str:
        """A ticket for whoever asks."""
        ticket = crypto.new_token(crypto.TICKET)
        self._kept[crypto.token_hash(ticket)] = clock.now() + LIFETIME * clock.SECOND, principal
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)
        return ticket

    def use(self, ticket: str) -> Principal | None:
        """Spend a ticket; → who it was given to, None when it is unknown, used or expired."""
        expires_at, principal = self._kept.pop(crypto.token_hash(ticket), (0, None))
        return principal if expires_at > clock.now() else None
