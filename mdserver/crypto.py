"""Secrets: opaque tokens and their hashes, successors of rotated tokens, argon2id passwords. Floor 0."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from .errors import Invalid, TooMuch
from .text import fold

if TYPE_CHECKING:
    import argon2

T = TypeVar("T")

# What a token is for can be read off its beginning, by people and by scanners for leaked secrets.
ACCESS = "mds_at_"
REFRESH = "mds_rt_"
COOKIE = "mds_ws_"
PERSONAL = "mds_pat_"
ONE_TIME = "mds_ot_"
INVITATION = "mds_in_"
TICKET = "mds_tk_"

SHORTEST, LONGEST = 8, 128  # characters of a password, counted in NFC
_LONGEST_RAW = 4 * LONGEST  # before NFC, whose time grows with the square of a run of combining marks


class Profile(NamedTuple):
    """What one argon2id hash costs: memory in KiB, passes over it, lanes."""

    memory: int
    passes: int
    lanes: int


PROFILES = {
    "standard": Profile(memory=64 << 10, passes=3, lanes=4),  # RFC 9106 §4, the second recommended option
    "small": Profile(memory=46 << 10, passes=1, lanes=1),  # OWASP Password Storage Cheat Sheet
}


def new_token(prefix: str) -> str:
    """A fresh secret of 256 random bits, base64url behind its prefix."""
    return prefix + secrets.token_urlsafe(32)


def token_hash(token: str) -> bytes:
    """SHA-256 of a token, the only form in which tokens are stored: 256 random bits need no slow hash."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def new_salt() -> bytes:
    """Random bytes for `successor`."""
    return secrets.token_bytes(16)


def successor(old: str, salt: bytes, prefix: str) -> str:
    """The token that follows `old`: the same each time, yet not to be found from what is stored (HMAC, RFC 2104).

    So a client whose answer was lost may ask again within the grace and gets the same pair, though the server keeps
    hashes and the salt only.
    """
    made = hmac.digest(old.encode("utf-8", "surrogatepass"), salt + prefix.encode(), "sha256")
    return prefix + base64.urlsafe_b64encode(made).decode().rstrip("=")


class Passwords:
    """Hashes and verifies on a few threads of its own; a full queue is TooMuch, since each hash takes much memory."""

    def __init__(self, profile: Profile, *, threads: int = 2, queue: int = 16) -> None:
        self._profile = profile
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="mdserver-password")
        self._room = threads + queue
        self._lock = threading.Lock()
        # The right form with random content: verifying against it takes as long as against a real one, and fails.
        self._nobody = (
            f"$argon2id$v=19$m={profile.memory},t={profile.passes},p={profile.lanes}"
            f"${_base64(secrets.token_bytes(16))}${_base64(secrets.token_bytes(32))}"
        )

    @cached_property
    def _hasher(self) -> argon2.PasswordHasher:
        import argon2  # with the first password, not with the server's start

        profile = self._profile
        return argon2.PasswordHasher(time_cost=profile.passes, memory_cost=profile.memory, parallelism=profile.lanes)

    async def hash(self, password: str) -> str:
        """The argon2id hash, its parameters and salt included."""
        return await self._run(lambda: self._hasher.hash(_bytes(password)))

    async def verify(self, known: str | None, password: str) -> bool:
        """Whether the password is right. None, for an account that has none or is none, is False after equal time."""
        right = await self._run(lambda: self._verify(known or self._nobody, _bytes(password)))
        return right and known is not None

    def needs_rehash(self, known: str) -> bool:
        """Whether a hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(known)

    def close(self) -> None:
        """Let the running ones finish and drop those that wait."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _verify(self, known: str, password: bytes) -> bool:
        from argon2.exceptions import InvalidHashError, VerifyMismatchError

        try:
            return self._hasher.verify(known, password)
        except (VerifyMismatchError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        with self._lock:
            if self._room <= 0:
                raise TooMuch("Too many people are signing in at this moment.", retry_after=2)
            self._room -= 1
        future = self._pool.submit(work)
        # On the pool's own future: a caller who has gone away does not stop the thread that works for them.
        future.add_done_callback(self._leave)
        return await asyncio.wrap_future(future)

    def _leave(self, _: object) -> None:
        with self._lock:
            self._room += 1


def check_password(password: str, *, email: str, display_name: str, pointer: str = "/password") -> None:
    """Invalid when the password is too short or long, among the most common ones, or the person's own name or address.

    No rules of composition: they make passwords worse (NIST SP 800-63B §3.1.1.2).
    """
    if any("\ud800" <= one <= "\udfff" for one in password):
        raise Invalid("The password is not valid Unicode: it holds half a surrogate pair.", pointer=pointer)
    if len(password) > _LONGEST_RAW or len(normal := unicodedata.normalize("NFC", password)) > LONGEST:
        raise Invalid(f"Use at most {LONGEST} characters.", pointer=pointer)
    if len(normal) < SHORTEST:
        raise Invalid(f"Use at least {SHORTEST} characters.", pointer=pointer)
    folded = fold(normal)
    if folded in _common():
        raise Invalid("This is one of the passwords that are tried first: choose another.", pointer=pointer)
    if folded in (fold(email), fold(email).partition("@")[0], fold(display_name)):
        raise Invalid("The password must not be your name or e-mail address.", pointer=pointer)


@cache
def _common() -> frozenset[str]:
    """The passwords that everybody tries first, in lower case; read when first needed."""
    text = (resources.files("mdserver") / "data" / "common-passwords.txt").read_text("utf-8")
    return frozenset(text.split())


def _bytes(password: str) -> bytes:
    """What is hashed: NFC, since keyboards differ in the form they send (RFC 8265 §4.2.2)."""
    if len(password) <= _LONGEST_RAW:  # longer ones are nobody's password
        password = unicodedata.normalize("NFC", password)
    return password.encode("utf-8", "surrogatepass")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")
