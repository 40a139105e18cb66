"""Server-rendered pages: templates, their static files under addresses that change with the content, and headers."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from aiohttp import web

from mdserver import __version__

from .api import BASE_PATH, PUBLIC_URL, link
from .etags import matches, not_modified
from .wire import Answer

if TYPE_CHECKING:
    import jinja2

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "font-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}

_HERE = Path(__file__).parent


class Asset(NamedTuple):
    """A static file: its name with a hash of the content, its media type, the content."""

    name: str
    media: str
    content: bytes


class Body(NamedTuple):
    """What was made once and is answered from then on."""

    media: str
    plain: bytes
    packed: bytes
    tag: str


_made: WeakKeyDictionary[web.Application, dict[str, Body]] = WeakKeyDictionary()


def page(request: web.Request, template: str, **values: Any) -> web.Response:
    """A page from its template, rendered for this request. `base` is the base path, `server` the whole address."""
    return web.Response(text=html(request, template, **values), content_type="text/html", headers=HEADERS)


def once(request: web.Request, key: str, media: str, make: Callable[[], bytes]) -> Answer:
    """What `make` gives, made with the first request for the key and kept: with an ETag, and packed for who can."""
    kept = _made.setdefault(request.app, {})
    if key not in kept:
        plain = make()
        tag = hashlib.sha256(plain).hexdigest()[:16]
        kept[key] = Body(media, plain, gzip.compress(plain, mtime=0), tag)
    body = kept[key]
    packs = "gzip" in request.headers.get("Accept-Encoding", "")
    etag = f'"{body.tag}-gzip"' if packs else f'"{body.tag}"'
    if matches(request, f'"{body.tag}"'):
        return not_modified(etag)
    headers = {"ETag": etag, "Vary": "Accept-Encoding", "Content-Type": body.media}
    if body.media.startswith("text/html"):
        headers |= HEADERS
    if packs:
        headers["Content-Encoding"] = "gzip"
    return Answer(200, headers, body.packed if packs else body.plain)


def html(request: web.Request, template: str, **values: Any) -> str:
    """The template's text."""

    def asset(name: str) -> str:
        return link(request, f"/assets/pages/{assets()[name].name}")

    base = request.app[BASE_PATH]
    values = {
        "base": base,
        "server": request.app[PUBLIC_URL] + base,
        "version": __version__,
        "asset": asset,
        **values,
    }
    return _environment().get_template(template).render(values)


@cache
def assets() -> dict[str, Asset]:
    """The static files of the pages, by their plain names; read once."""
    found: dict[str, Asset] = {}
    for path in sorted((_HERE / "static" / "pages").iterdir()):
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:12]
        media = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        if media.startswith("text/"):
            media += "; charset=utf-8"
        found[path.name] = Asset(f"{path.stem}.{digest}{path.suffix}", media, content)
    return found


@cache
def _environment() -> jinja2.Environment:
    import jinja2  # a sixth of a second that the server's start need not wait for

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
