"""The OpenAPI document: valid, whole, and true to what routes declare."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Generic, TypeVar

import msgspec
import pytest
from aiohttp import web
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from pytest_aiohttp.plugin import AiohttpClient

from mdserver import app, errors
from mdserver.store.db import Database
from mdserver.store.rows import Time
from mdserver.web import openapi
from mdserver.web.api import OPEN, RECENT, SIGNED_IN, Policy, Reply, Route, Routes
from mdserver.web.examples import example
from tests import engines

from .bare import bare

T = TypeVar("T")


class Colour(msgspec.Struct):
    """One colour."""

    id: str
    name: str
    made_at: Time
    seen_at: Time | None
    tags: list[str] = []
    hint: str | msgspec.UnsetType = msgspec.UNSET


class Many(msgspec.Struct, Generic[T]):
    items: list[T]
    next_cursor: str | None


class NewColour(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(min_length=1, description="What it is called.")]
    tags: list[str] = []


class Text(msgspec.Struct, forbid_unknown_fields=True):
    content: str


class Filter(msgspec.Struct):
    near: Annotated[str | None, msgspec.Meta(description="A colour it resembles.")] = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50


colours = Routes("colours")
EDITORS = Policy("palette editor", of="palette", need="editor")


@colours.get("/palettes/{id}/colours", policy=Policy("palette viewer", of="palette", need="viewer"))
async def listing(request: web.Request, id: str, query: Filter) -> Reply[Many[Colour]]:
    """List colours.

    The `newest` come first.
    """
    raise NotImplementedError


@colours.post("/palettes/{id}/colours", policy=EDITORS, status=201, creates=True)
async def create(request: web.Request, id: str, body: NewColour) -> Reply[Colour]:
    """Make a colour."""
    raise NotImplementedError


@colours.get("/colours/{id}", policy=SIGNED_IN)
async def read(request: web.Request, id: str) -> Reply[Colour] | web.Response:
    """Read a colour."""
    raise NotImplementedError


@colours.get("/colours/{id}/text", policy=SIGNED_IN, produces=("text/markdown", "application/json"))
async def text(request: web.Request, id: str) -> Text | web.Response:
    """Read what is written about it."""
    raise NotImplementedError


@colours.put("/colours/{id}/text", policy=EDITORS, markdown=True, large=True, condition=True)
async def write(request: web.Request, id: str, body: Text) -> Reply[Colour]:
    """Write about it."""
    raise NotImplementedError


@colours.get(
    "/colours/{id}/rows/{number}", policy=OPEN, rate="none", produces=("image/png",), refuses=(errors.Conflict,)
)
async def row(request: web.Request, id: str, number: int) -> web.Response:
    """A picture of it."""
    raise NotImplementedError


@colours.delete("/colours/{id}", policy=RECENT)
async def remove(request: web.Request, id: str) -> None:
    """Remove it."""
    raise NotImplementedError


@pytest.fixture
async def sqlite() -> AsyncIterator[Database]:
    """These pages hardly touch the database: one engine is enough."""
    async with engines.fresh("sqlite") as made:
        yield made


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return openapi.build(colours.all, server="/notes")


@pytest.fixture(scope="module")
def routes() -> list[Route]:
    """Every route of the server."""
    return [route for resource in app.ROUTES for route in resource.all]


@pytest.fixture(scope="module")
def whole(routes: list[Route]) -> dict[str, Any]:
    return openapi.build(routes)


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def resolved(document: Any, reference: str) -> Any:
    for part in reference.removeprefix("#/").split("/"):
        document = document[part]
    return document


def headers(operation: dict[str, Any], status: int) -> set[str]:
    return set(operation["responses"][str(status)]["headers"]) - {"X-Request-Id", "RateLimit", "RateLimit-Policy"}


def test_the_document_is_valid(whole: dict[str, Any], described: dict[str, Any]) -> None:
    for document in (whole, described):
        OpenAPIV31SpecValidator(document).validate()
        for reference in references(document):
            assert resolved(document, reference)


def test_every_route_is_in_it(whole: dict[str, Any], routes: list[Route]) -> None:
    assert routes
    for route in routes:
        operation = whole["paths"][re.sub(r":[^}]+}", "}", route.path)][route.method.lower()]
        assert operation["x-policy"]["name"] == route.policy.name
        assert operation["summary"]
    assert len(routes) == sum(len(methods) for methods in whole["paths"].values())


def test_every_named_part_is_used(whole: dict[str, Any]) -> None:
    used = set(references(whole))
    for kind in ("schemas", "headers", "responses", "parameters"):
        for name in whole["components"][kind]:
            assert f"#/components/{kind}/{name}" in used


def test_names_are_plain_and_order_is_kept(whole: dict[str, Any], routes: list[Route]) -> None:
    for name in whole["components"]["schemas"]:
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]*", name), name
    assert msgspec.json.encode(openapi.build(routes)) == msgspec.json.encode(whole)


def test_examples_are_valid(whole: dict[str, Any], described: dict[str, Any]) -> None:
    for document in (whole, described):
        for name in document["components"]["schemas"]:
            schema = {"$ref": f"#/components/schemas/{name}"}
            for lean in (False, True):
                made = example(schema, document["components"]["schemas"], lean=lean)
                OAS31Validator({**schema, "components": document["components"]}).validate(made)


def test_types(described: dict[str, Any]) -> None:
    schemas = described["components"]["schemas"]
    assert sorted(schemas) == ["Colour", "ColourMany", "Fault", "NewColour", "Problem", "Text"]
    assert schemas["Colour"]["description"] == "One colour."
    assert schemas["Colour"]["required"] == ["id", "name", "made_at", "seen_at", "tags"]
    assert schemas["Colour"]["properties"]["made_at"] == {"type": "string", "format": "date-time"}
    assert {"type": "string", "format": "date-time"} in schemas["Colour"]["properties"]["seen_at"]["anyOf"]
    assert "default" not in schemas["Colour"]["properties"]["tags"]
    assert schemas["NewColour"]["required"] == ["name"]
    assert schemas["NewColour"]["properties"]["tags"]["default"] == []
    assert schemas["NewColour"]["additionalProperties"] is False
    assert schemas["ColourMany"]["properties"]["items"]["items"] == {"$ref": "#/components/schemas/Colour"}
    assert schemas["Problem"]["required"] == ["type", "title", "status", "detail", "instance", "request_id"]


def test_a_list(described: dict[str, Any]) -> None:
    operation = described["paths"]["/api/v1/palettes/{id}/colours"]["get"]
    assert operation["operationId"] == "colours.listing"
    assert operation["tags"] == ["colours"]
    assert operation["summary"] == "List colours"
    assert operation["description"].startswith("The `newest` come first.\n\nNeeds a viewer of the palette.")
    assert operation["x-policy"] == {
        "name": "palette viewer",
        "of": "palette",
        "need": "viewer",
        "scope": "read",
    }
    path, near, limit = operation["parameters"]
    assert path == {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "The palette's id.",
        "schema": {"type": "string", "format": "uuid"},
    }
    assert near["description"] == "A colour it resembles."
    assert near["schema"] == {"type": "string"}
    assert limit["schema"] == {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}
    assert headers(operation, 200) == {"Link"}
    assert set(operation["responses"]) == {"200", "400", "401", "403", "404", "429", "503"}
    assert "security" not in operation


def test_creating(described: dict[str, Any]) -> None:
    operation = described["paths"]["/api/v1/palettes/{id}/colours"]["post"]
    assert {"$ref": "#/components/parameters/Idempotency-Key"} in operation["parameters"]
    assert headers(operation, 201) == {"ETag", "Location"}
    assert list(operation["requestBody"]["content"]) == ["application/json"]
    problems = {"400", "401", "403", "404", "409", "413", "415", "422", "429", "503", "507"}
    assert set(operation["responses"]) == {"201", *problems}


def test_reading_with_etags(described: dict[str, Any]) -> None:
    operation = described["paths"]["/api/v1/colours/{id}"]["get"]
    assert {"$ref": "#/components/parameters/If-None-Match"} in operation["parameters"]
    assert headers(operation, 200) == headers(operation, 304) == {"ETag"}
    assert "content" not in operation["responses"]["304"]
    content = described["paths"]["/api/v1/colours/{id}/text"]["get"]["responses"]["200"]["content"]
    assert content == {
        "application/json": {"schema": {"$ref": "#/components/schemas/Text"}},
        "text/markdown": {"schema": {"type": "string"}},
    }


def test_writing_under_a_condition(described: dict[str, Any]) -> None:
    operation = described["paths"]["/api/v1/colours/{id}/text"]["put"]
    assert {"$ref": "#/components/parameters/If-Match"} in operation["parameters"]
    assert list(operation["requestBody"]["content"]) == ["application/json", "text/markdown"]
    assert {"412", "428"} <= set(operation["responses"])
    assert headers(operation, 200) == {"ETag"}


def test_what_is_open_and_what_is_guarded(described: dict[str, Any]) -> None:
    row = described["paths"]["/api/v1/colours/{id}/rows/{number}"]["get"]
    assert row["security"] == []
    assert row["parameters"][1]["schema"] == {"type": "integer", "minimum": 0}
    assert row["responses"]["200"]["content"] == {"image/png": {"schema": {"type": "string"}}}
    assert set(row["responses"]) == {"200", "404", "409"}
    assert set(row["responses"]["200"]["headers"]) == {"X-Request-Id"}
    removal = described["paths"]["/api/v1/colours/{id}"]["delete"]
    assert removal["security"] == [{"accessToken": []}, {"session": []}]
    assert "content" not in removal["responses"]["204"]


def test_problems(described: dict[str, Any]) -> None:
    for status, kind in openapi.PROBLEMS.items():
        assert issubclass(kind, errors.Problem)
        response = described["components"]["responses"][kind.__name__]
        assert response["content"] == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        assert ("Retry-After" in response["headers"]) == (status in (429, 503))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("get", "/api/v1/documents/{id}/content", "406"),
        ("get", "/api/v1/documents/{id}/content", "409"),  # a folder has none
        ("get", "/api/v1/documents/{id}/html", "409"),
        ("get", "/api/v1/documents/{id}/outline", "409"),
        ("get", "/api/v1/documents/{id}/versions/{version}", "406"),
        ("get", "/api/v1/documents/{id}/versions/{version}/diff", "406"),
        ("put", "/api/v1/documents/{id}/favourite", "412"),
        ("delete", "/api/v1/documents/{id}/favourite", "412"),
        ("post", "/api/v1/auth/signup", "404"),  # an invitation that is none
        ("post", "/api/v1/me/tokens", "404"),  # a workspace of somebody else's
        ("get", "/readyz", "503"),
    ],
)
def test_refusals_that_only_the_handler_knows(whole: dict[str, Any], method: str, path: str, status: str) -> None:
    assert status in whole["paths"][path][method]["responses"]


async def test_it_is_served_and_kept(aiohttp_client: AiohttpClient, sqlite: Database) -> None:
    client = await aiohttp_client(bare(sqlite, base="/notes", more=colours.all))
    response = await client.get("/notes/api/v1/openapi.json")
    document = await response.json()
    assert response.content_type == "application/json"
    assert document["openapi"].startswith("3.1.")
    assert document["servers"] == [{"url": "http://notes.example.org/notes"}]
    assert "/api/v1/palettes/{id}/colours" in document["paths"]
    assert "/healthz" in document["paths"]
    again = await client.get("/notes/api/v1/openapi.json", headers={"If-None-Match": response.headers["ETag"]})
    assert again.status == 304
    plain = await client.get("/notes/api/v1/openapi.json", headers={"Accept-Encoding": "identity"})
    assert await plain.json() == document
    assert plain.headers["ETag"] != response.headers["ETag"]
    assert plain.headers["Vary"] == "Accept-Encoding"
    packed = await client.get("/notes/api/v1/openapi.json", headers={"If-None-Match": plain.headers["ETag"]})
    assert packed.status == 304
