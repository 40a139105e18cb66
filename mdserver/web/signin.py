"""Who asks: bearer tokens and the session cookie, looked up once and remembered until revoked or expired."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from urllib.parse import urlsplit

from aiohttp import web

from mdserver import clock, crypto
from mdserver.errors import Forbidden, SignedOut
from mdserver.model import sessions, tokens
from mdserver.model.access import Principal
from mdserver.model.audit import Origin
from mdserver.model.sessions import TOUCHED_EVERY, Known
from mdserver.store.db import Database, Reader

from .api import PUBLIC_URL
from .guesses import Guesses
from .later import Later
from .limits import REQUEST_ID, address, is_https

MOST = 10_000
BELIEVED = clock.MINUTE
"""A remembered token is looked up again after this long (ms): changes made by another process are seen then."""

SECURE_COOKIE, PLAIN_COOKIE = "__Host-mdserver", "mdserver"
_COOKIE_HEADER = f"Bearer {crypto.COOKIE}"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_BROWSERS = ("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari")
_SYSTEMS = (
    *(("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows")),
    *(("Mac OS X", "macOS"), ("CrOS", "ChromeOS"), ("Linux", "Linux")),
)


class Authenticator:
    """Finds out who asks. Close it before the database.

    On a remembered token nothing suspends: a header, a SHA-256, a dictionary, one comparison. Announcements of ended
    sessions, revoked tokens and changed accounts drop what is remembered at once.
    """

    def __init__(self, database: Database, *, most: int = MOST) -> None:
        self._database, self._most = database, most
        self._known: OrderedDict[bytes, tuple[int, Principal]] = OrderedDict()
        self._of: dict[str, set[bytes]] = {}  # id of an account, a session or a token → what is remembered of it
        self._drops = 0
        self.guesses = Guesses()
        self.later = Later()
        for topic in ("session", "token", "user"):
            database.listen(topic, self._drop)

    async def __call__(self, request: web.Request, is_open: bool) -> Principal | None:
        """Who asks; None when nobody says so. SignedOut for credentials that are no good, where some are needed.

        `is_open`: the route takes anonymous callers, and there stale credentials must not stand in the way of new ones.
        """
        header = request.headers.get("Authorization")
        if header is not None:
            digest = self.digest(header)
            return (digest and self.known(digest)) or await self._by_header(header, is_open)
        cookies = request.headers.get("Cookie")
        if cookies is None:
            return None
        token = read_cookie(cookies, SECURE_COOKIE if is_https(request) else PLAIN_COOKIE)
        return await self._by_cookie(request, token, is_open) if token is not None else None

    def digest(self, header: str) -> bytes | None:
        """The hash of a bearer token as nearly every request has one, for `known`."""
        if not header.startswith("Bearer mds_") or header.startswith(_COOKIE_HEADER):
            return None
        return sha256(header[7:].encode("utf-8", "surrogatepass")).digest()

    def known(self, digest: bytes) -> Principal | None:
        """Who asks with this token, if it is remembered."""
        known = self._known.get(digest)
        return known[1] if known is not None and known[0] > clock.now() else None

    async def principal(self, token: str) -> Principal | None:
        """Who presents this token (of whatever kind); None when it is no good."""
        hashed = sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(hashed)
        if known is not None and known[0] > clock.now():
            self._known.move_to_end(hashed)
            return known[1]
        return await self._look_up(token, hashed)

    async def known_until(self, token: str) -> Known | None:
        """Who presents this token and until when, looked up anew; None when it is no good. Not for cookies."""
        if token.startswith(crypto.COOKIE):
            return None
        question = _question(token, sha256(token.encode("utf-8", "surrogatepass")).digest())
        return None if question is None else await self._database.glance(question)

    async def of_cookie(self, request: web.Request) -> Principal | None:
        """Who a browser's cookie is of, for a connection that its own page has opened."""
        header = request.headers.get("Cookie")
        name = SECURE_COOKIE if is_https(request) else PLAIN_COOKIE
        token = None if header is None else read_cookie(header, name)
        if token is None or not token.startswith(crypto.COOKIE) or not _has_own_origin(request):
            return None
        return await self.principal(token)

    async def close(self) -> None:
        """Wait for what is being written beside the requests."""
        await self.later.close()

    async def _by_header(self, header: str, is_open: bool) -> Principal | None:
        scheme, _, token = header.partition(" ")
        if scheme != "Bearer" and scheme.lower() != "bearer":
            if is_open:
                return None
            raise SignedOut("Authorization must be Bearer and a token.")
        token = token.strip()
        # A cookie's value is for browsers, which say where a request comes from; as a bearer it would escape that.
        principal = None if token.startswith(crypto.COOKIE) else await self.principal(token)
        if principal is None and not is_open:
            refused = SignedOut("The token is unknown, revoked or has expired.")
            refused.headers["WWW-Authenticate"] += ', error="invalid_token"'  # RFC 6750 §3.1
            raise refused
        return principal

    async def _by_cookie(self, request: web.Request, token: str, is_open: bool) -> Principal | None:
        principal = await self.principal(token) if token.startswith(crypto.COOKIE) else None
        if principal is None or request.method in _SAFE or _is_own(request):
            return principal
        if is_open:
            return None
        raise Forbidden("With a cookie this takes the header X-MDServer: 1 and a request from the server's own pages.")

    async def _look_up(self, token: str, hashed: bytes) -> Principal | None:
        question = _question(token, hashed)
        if question is None:
            return None
        drops = self._drops
        known = await self._database.glance(question)
        if known is None:
            self._forget(hashed)
            return None
        # On PostgreSQL the answer may be older than an announcement that came meanwhile: then it is not kept.
        if drops == self._drops:
            self._remember(hashed, known)
        if clock.now() - known.used_at >= TOUCHED_EVERY:
            self._touch(known.principal)
        return known.principal

    def _remember(self, hashed: bytes, known: Known) -> None:
        principal = known.principal
        self._forget(hashed)
        self._known[hashed] = (min(known.expires_at, clock.now() + BELIEVED), principal)
        for one in (principal.credential_id, principal.user_id):
            self._of.setdefault(one, set()).add(hashed)
        if len(self._known) > self._most:
            self._forget(next(iter(self._known)))

    def _forget(self, hashed: bytes) -> None:
        known = self._known.pop(hashed, None)
        if known is None:
            return
        for one in (known[1].credential_id, known[1].user_id):
            others = self._of[one]
            others.discard(hashed)
            if not others:
                del self._of[one]

    def _drop(self, key: str) -> None:
        """Hear that a session, a token or an account has ended or changed."""
        self._drops += 1
        for hashed in list(self._of.get(key, ())):
            self._forget(hashed)

    def _touch(self, principal: Principal) -> None:
        """Note the use beside the request; a note that is lost is written by the next one."""
        noun = tokens if principal.kind == "token" else sessions
        self.later.soon(self._database.write(lambda tx: noun.touch(tx, principal.credential_id)))


SIGNIN: web.AppKey[Authenticator] = web.AppKey("signin", Authenticator)


def origin(request: web.Request) -> Origin:
    """Where a request came from, as sessions and the audit log keep it."""
    device = device_name(request.headers.get("User-Agent", ""))
    return Origin(address=address(request), request_id=request[REQUEST_ID], device=device)


def device_name(user_agent: str) -> str:
    """A few words that a person knows their device by: `Firefox, Linux`, or a program's own name and version."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), None)
    if browser is not None and user_agent.startswith("Mozilla/"):
        system = next((name for mark, name in _SYSTEMS if mark in user_agent), None)
        return f"{browser}, {system}" if system else browser
    return re.sub(r"[^!-~]", "", user_agent.partition(" ")[0])[:40] or "unknown"


def read_cookie(header: str, name: str) -> str | None:
    """The value of the first cookie of this name (RFC 6265 §5.4)."""
    for one in header.split(";"):
        key, _, value = one.strip().partition("=")
        if key == name:
            return value
    return None


def cookie(request: web.Request, value: str, *, lifetime: int) -> dict[str, str]:
    """The header that gives a browser its session for `lifetime` ms, or takes it away with 0.

    `__Host-` binds the cookie to this host and to https (RFC 6265bis §4.1.3.2).
    """
    name, secure = (SECURE_COOKIE, "; Secure") if is_https(request) else (PLAIN_COOKIE, "")
    return {"Set-Cookie": f"{name}={value}; Path=/; Max-Age={lifetime // 1000}; HttpOnly; SameSite=Lax{secure}"}


def _question(token: str, hashed: bytes) -> Callable[[Reader], Known | None] | None:
    """What to ask the database about a token of this form; None when it is of none of ours."""
    if token.startswith(crypto.ACCESS):
        return lambda db: sessions.look_up(db, hashed, "access")
    if token.startswith(crypto.COOKIE):
        return lambda db: sessions.look_up(db, hashed, "cookie")
    if token.startswith(crypto.PERSONAL):
        return lambda db: tokens.look_up(db, hashed)
    return None


def _is_own(request: web.Request) -> bool:
    """Whether a request that changes something comes from our own pages rather than through somebody else's."""
    headers = request.headers
    if headers.get("X-MDServer") != "1":
        return False
    if headers.get("Sec-Fetch-Site") in ("same-origin", "none"):
        return True
    return _has_own_origin(request)


def _has_own_origin(request: web.Request) -> bool:
    public = urlsplit(request.app[PUBLIC_URL])
    return request.headers.get("Origin") == f"{public.scheme}://{public.netloc}"
