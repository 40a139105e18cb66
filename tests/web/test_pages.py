"""The small pages: what they hold, under which headers, and their static files."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser

import pytest
from pytest_aiohttp.plugin import AiohttpClient

from mdserver import __version__
from mdserver.model import users
from mdserver.store.db import Database
from mdserver.web import render
from tests import engines

from .bare import bare

PAGES = ("/", "/setup", "/reset", "/verify", "/docs", "/problems", "/problems/stale")


@pytest.fixture
async def sqlite() -> AsyncIterator[Database]:
    """These pages hardly touch the database: one engine is enough."""
    async with engines.fresh("sqlite") as made:
        yield made


class Page(HTMLParser):
    """A page's elements, their attributes, and whatever a strict policy would block."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.elements.append((tag, given))
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)
        self.inline += [name for name in given if name == "style" or name.startswith("on")]

    def ids(self) -> set[str]:
        return {value for _, given in self.elements if (value := given.get("id"))}

    def links(self) -> list[str]:
        return [value for _, given in self.elements for name in ("href", "src", "action") if (value := given.get(name))]


async def test_every_page_keeps_to_the_policy_and_holds_together(
    aiohttp_client: AiohttpClient, sqlite: Database
) -> None:
    for base in ("", "/notes"):
        client = await aiohttp_client(bare(sqlite, base=base))
        for path in PAGES:
            response = await client.get(base + path)
            text = await response.text()
            page = Page(text)
            assert response.status == 200
            assert response.content_type == "text/html"
            assert response.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
            assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert response.headers["Referrer-Policy"] == "no-referrer"
            assert "Permissions-Policy" in response.headers
            assert page.inline == []
            assert f"mdserver {__version__}" in text
            for link in page.links():
                address, _, fragment = link.partition("#")
                if address and "/api/v1/" not in address:
                    assert address.startswith(f"{base}/"), link
                    assert (await client.get(address)).status == 200, link
                elif fragment:
                    assert fragment in page.ids(), link
            labelled = {given["for"] for tag, given in page.elements if tag == "label"}
            for tag, given in page.elements:
                if tag == "input":
                    assert given["id"] in labelled
                for name in ("aria-describedby", "aria-labelledby"):
                    assert set((given.get(name) or "").split()) <= page.ids()


@pytest.mark.parametrize(
    ("path", "action", "fields", "command"),
    [
        ("/setup", "/api/v1/setup", ["token", "display_name", "email", "password"], "mdserver --data DIR user create"),
        ("/reset", "/api/v1/auth/password/reset", ["token", "password"], "mdserver user set-password"),
        ("/verify", "/api/v1/auth/email/verify", ["token"], "curl http://notes.example.org"),
    ],
)
async def test_the_forms(
    aiohttp_client: AiohttpClient, sqlite: Database, path: str, action: str, fields: list[str], command: str
) -> None:
    client = await aiohttp_client(bare(sqlite))
    text = await (await client.get(path)).text()
    page = Page(text)
    [form] = [given for tag, given in page.elements if tag == "form"]
    assert form["action"] == action
    assert [given["name"] for tag, given in page.elements if tag == "input"] == fields
    without_script = re.search(r"<noscript>(.*?)</noscript>", text, re.DOTALL)
    assert without_script is not None
    assert command in without_script[1]


async def test_setup_says_when_it_is_done(aiohttp_client: AiohttpClient, database: Database) -> None:
    client = await aiohttp_client(bare(database))
    assert "Set up this server" in await (await client.get("/setup")).text()
    await database.write(lambda tx: users.create(tx, email="ann@example.org", display_name="Ann", password_hash=None))
    text = await (await client.get("/setup")).text()
    assert "Setup is done" in text
    assert "<form" not in text
    assert "ann@" not in text
    assert text.count("<script") == 1


async def test_static_files_can_be_kept_for_ever(aiohttp_client: AiohttpClient, sqlite: Database) -> None:
    client = await aiohttp_client(bare(sqlite))
    assert set(render.assets()) == {"docs.js", "form.js", "mark.svg", "pages.css"}
    for one in render.assets().values():
        response = await client.get(f"/assets/pages/{one.name}")
        assert await response.read() == one.content
        assert response.headers["Content-Type"] == one.media
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        again = await client.get(f"/assets/pages/{one.name}", headers={"If-None-Match": response.headers["ETag"]})
        assert again.status == 304
        assert "immutable" in again.headers["Cache-Control"]
    assert render.assets()["pages.css"].media == "text/css; charset=utf-8"
    assert render.assets()["form.js"].media == "text/javascript; charset=utf-8"
    for name in ("pages.css", "pages.000000000000.css", "..%2Fpages.py", "%2e%2e"):
        assert (await client.get(f"/assets/pages/{name}")).status == 404


async def test_the_base_path_leads_to_the_start_page(aiohttp_client: AiohttpClient, sqlite: Database) -> None:
    client = await aiohttp_client(bare(sqlite, base="/notes"))
    response = await client.get("/notes", allow_redirects=False)
    assert (response.status, response.headers["Location"]) == (308, "/notes/")
    assert (await client.get("/")).status == 404
