"""The few pages that need no web app: the start page, and those that take a one-time code from a link's fragment."""

from __future__ import annotations

from aiohttp import web

from mdserver.errors import NotFound
from mdserver.model import users

from .api import BASE_PATH, DB, OPEN, Routes
from .etags import matches, not_modified
from .render import assets, page
from .wire import Answer

routes = Routes("pages", prefix="")


@routes.get("/", policy=OPEN, produces=("text/html",))
async def start(request: web.Request) -> web.Response:
    """The start page: what this is, which version, where to go on."""
    return page(request, "start.html")


@routes.get("/setup", policy=OPEN, produces=("text/html",))
async def setup(request: web.Request) -> web.Response:
    """The page that makes the first account, opened by the link that the server's first start prints."""
    done = await request.app[DB].glance(users.exist)
    return page(request, "setup.html", done=done)


@routes.get("/reset", policy=OPEN, produces=("text/html",))
async def reset(request: web.Request) -> web.Response:
    """The page that sets a new password, opened by a link from a mail or an administrator."""
    return page(request, "reset.html")


@routes.get("/verify", policy=OPEN, produces=("text/html",))
async def verify(request: web.Request) -> web.Response:
    """The page that confirms an e-mail address, opened by a link from a mail."""
    return page(request, "verify.html")


@routes.get("/assets/pages/{name}", policy=OPEN, rate="none", produces=("text/css", "text/javascript", "image/svg+xml"))
async def asset(request: web.Request, name: str) -> Answer:
    """A static file of these pages. Its name holds a hash of its content, so it can be kept for ever."""
    for one in assets().values():
        if one.name == name:
            etag = f'"{name}"'
            response = not_modified(etag) if matches(request, etag) else Answer(200, {}, one.content)
            response.headers["ETag"] = etag
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
            if response.status == 200:
                response.headers["Content-Type"] = one.media
            return response
    raise NotFound("There is no such file.")


def mount(app: web.Application) -> None:
    """Let the base path without its slash lead to the start page."""
    base = app[BASE_PATH]

    async def lead(request: web.Request) -> web.Response:
        return web.Response(status=308, headers={"Location": f"{base}/"})

    if base:
        app.router.add_get(base, lead)
