"""The documentation as people read it, and the pages that explain problems."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pytest_aiohttp.plugin import AiohttpClient

from mdserver import app
from mdserver.errors import SLUGS, Problem
from mdserver.store.db import Database
from mdserver.web import docs, openapi
from mdserver.web.api import Route
from mdserver.web.examples import curl
from tests import engines

from .bare import bare


@pytest.fixture
async def sqlite() -> AsyncIterator[Database]:
    """These pages hardly touch the database: one engine is enough."""
    async with engines.fresh("sqlite") as made:
        yield made


@pytest.fixture(scope="module")
def others() -> list[Route]:
    """The server's routes that a bare application lacks."""
    own = ("docs", "pages", "health")
    return [route for resource in app.ROUTES if resource.noun not in own for route in resource.all]


async def test_every_operation_can_be_read(
    aiohttp_client: AiohttpClient, sqlite: Database, others: list[Route]
) -> None:
    client = await aiohttp_client(bare(sqlite, more=others))
    text = await (await client.get("/docs")).text()
    for operation in others:
        assert f'<code class="path">{docs.folding(operation.path)}</code>' in text
    assert "<details" in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    for fragment in re.findall(r'href="#([^"]+)"', text):
        assert fragment in ids
    external = [link for link in re.findall(r'(?:href|src)="([^"]*)"', text) if re.match(r"[a-z]+:|//", link)]
    assert external == []
    again = await client.get("/docs")
    assert (await client.get("/docs", headers={"If-None-Match": again.headers["ETag"]})).status == 304


async def test_every_problem_has_its_page(aiohttp_client: AiohttpClient, sqlite: Database) -> None:
    client = await aiohttp_client(bare(sqlite, base="/notes"))
    listed = await (await client.get("/notes/problems")).text()
    for slug, (title, _) in SLUGS.items():
        response = await client.get(f"/notes/problems/{slug}")
        text = await response.text()
        assert response.status == 200
        assert f"<h1>{docs.inline(title)}</h1>" in text
        assert f'href="/notes/problems/{slug}"' in listed
    for kind in Problem.__subclasses__():
        assert kind.slug in SLUGS


async def test_an_unknown_problem_is_a_problem(aiohttp_client: AiohttpClient, sqlite: Database) -> None:
    client = await aiohttp_client(bare(sqlite, base="/notes"))
    response = await client.get("/notes/problems/unheard-of")
    problem = await response.json()
    assert response.status == 404
    assert problem["type"] == "http://notes.example.org/notes/problems/not-found"
    assert (await client.get("/notes/problems/not-found")).status == 200


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string"}, "string"),
        ({"type": "string", "format": "date-time"}, "string (date-time)"),
        ({"type": "integer", "minimum": 1, "maximum": 200}, "integer (≥ 1, ≤ 200)"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string or null"),
        ({"enum": ["owner", "admin"]}, '"owner" | "admin"'),
        ({"type": "array", "items": {"$ref": "#/components/schemas/Document"}}, "array of Document"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "object of integer"),
        ({}, "any"),
    ],
)
def test_types_in_words(schema: dict[str, Any], words: str) -> None:
    assert "".join(text for text, _ in docs.pieces(schema)) == words


def test_prose_is_escaped() -> None:
    assert docs.prose("a <b> `c<d>`\n\ne & f") == "<p>a &lt;b&gt; <code>c&lt;d&gt;</code></p>\n<p>e &amp; f</p>"


def test_every_curl_example_is_one_command(others: list[Route]) -> None:
    described = openapi.build(others)
    components = described["components"]
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            parameters = [
                components["parameters"][one["$ref"].rpartition("/")[2]] if "$ref" in one else one
                for one in operation.get("parameters", ())
            ]
            command = curl(method.upper(), path, operation, parameters, components["schemas"])
            words = shlex.split(command)
            assert words[0] == "curl"
            assert any(word.startswith("$SERVER/") for word in words)
            assert ("Authorization: Bearer $TOKEN" in words) == (operation.get("security") != [])


def test_the_start_does_not_wait_for_templates() -> None:
    code = "import sys, mdserver.web.docs, mdserver.web.pages; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
