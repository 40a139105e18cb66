"""The API for people to read, without anything from elsewhere; its OpenAPI document; the pages of the problems."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from mdserver.errors import SLUGS, NotFound, Problem

from . import openapi
from .api import BASE_PATH, OPEN, PUBLIC_URL, ROUTES, Routes
from .examples import curl, example
from .render import html, once
from .schemas import REFERENCE, Json
from .wire import Answer

if TYPE_CHECKING:
    from markupsafe import Markup

Piece = tuple[str, str]
"""A piece of a type's description, and the name of the type that it links to or ""."""

routes = Routes("docs", prefix="")


@routes.get("/api/v1/openapi.json", policy=OPEN)
async def document(request: web.Request) -> Answer:
    """The OpenAPI 3.1 document of this server."""
    return once(request, "openapi", "application/json", lambda: msgspec.json.encode(describe(request.app)))


@routes.get("/docs", policy=OPEN, produces=("text/html",))
async def docs(request: web.Request) -> Answer:
    """The API as a page to read."""
    return once(request, "docs", "text/html; charset=utf-8", lambda: _docs(request).encode())


@routes.get("/problems", policy=OPEN, produces=("text/html",))
async def problems(request: web.Request) -> Answer:
    """Every problem that the server may answer with."""
    return once(request, "problems", "text/html; charset=utf-8", lambda: _problems(request, list(SLUGS)).encode())


@routes.get("/problems/{slug}", policy=OPEN, produces=("text/html",))
async def problem(request: web.Request, slug: str) -> Answer:
    """What a problem's `type` opens: what it means and what to do."""
    if slug not in SLUGS:
        raise NotFound("There is no problem of this name.")
    return once(request, f"problem {slug}", "text/html; charset=utf-8", lambda: _problems(request, [slug]).encode())


def describe(app: web.Application) -> Json:
    """The OpenAPI document of this application's routes."""
    every = app[ROUTES]
    return openapi.build(every, server=app[PUBLIC_URL] + app[BASE_PATH])


def prose(text: str) -> Markup:
    """Plain text with `code` and blank lines between paragraphs, as HTML."""
    from markupsafe import Markup

    paragraphs = re.split(r"\n\s*\n", text.strip())
    return Markup("\n").join(Markup("<p>{}</p>").format(inline(one)) for one in paragraphs)


def inline(text: str) -> Markup:
    """One line of text with `code`, as HTML."""
    from markupsafe import Markup, escape

    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts)
    )


def folding(path: str) -> Markup:
    """A path that narrow screens break at its slashes."""
    from markupsafe import Markup

    return Markup("<wbr>/").join(path.split("/"))


def pieces(schema: Json) -> list[Piece]:
    """A schema in words: `array of Document`, `string (date-time) or null`, `"a" | "b"`."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REFERENCE)
        return [(name, name)]
    if "enum" in schema:
        return [(" | ".join(msgspec.json.encode(one).decode() for one in schema["enum"]), "")]
    if "anyOf" in schema:
        found: list[Piece] = []
        for one in schema["anyOf"]:
            found += [(" or ", ""), *pieces(one)] if found else pieces(one)
        return found
    if schema.get("type") == "array":
        return [("array of ", ""), *pieces(schema.get("items", {}))]
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return [("object of ", ""), *pieces(schema["additionalProperties"])]
    kind = str(schema.get("type", "any"))
    limits = [
        *([schema["format"]] if "format" in schema else []),
        *[f"{sign} {schema[key]}" for key, sign in _SIGNS.items() if key in schema],
    ]
    return [(f"{kind} ({', '.join(limits)})" if limits else kind, "")]


_SIGNS = {
    "minimum": "≥",
    "maximum": "≤",
    "exclusiveMinimum": ">",
    "exclusiveMaximum": "<",
    "minLength": "length ≥",
    "maxLength": "length ≤",
    "minItems": "items ≥",
    "maxItems": "items ≤",
    "pattern": "matching",
}


def _docs(request: web.Request) -> str:
    described = describe(request.app)
    schemas: dict[str, Json] = described["components"]["schemas"]
    nouns: dict[str, list[Json]] = {tag["name"]: [] for tag in described["tags"]}
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            nouns[operation["tags"][0]].append(_operation(method.upper(), path, operation, described))
    return html(
        request,
        "docs.html",
        prose=prose,
        inline=inline,
        folding=folding,
        pieces=pieces,
        introduction=described["info"]["description"],
        schemes=described["components"]["securitySchemes"],
        nouns=nouns,
        types={name: {"description": "", "fields": _fields(schema), **schema} for name, schema in schemas.items()},
    )


def _operation(method: str, path: str, operation: Json, described: Json) -> Json:
    """One operation as the template reads it."""
    components = described["components"]
    parameters = [
        {
            "required": False,
            "description": "",
            **(components["parameters"][_last(one["$ref"])] if "$ref" in one else one),
        }
        for one in operation.get("parameters", ())
    ]
    bodies = [
        {"media": media, "pieces": pieces(content["schema"]), "example": _shown(media, content["schema"], components)}
        for media, content in operation.get("requestBody", {}).get("content", {}).items()
    ]
    answers, failures = [], []
    for status, response in operation["responses"].items():
        if "$ref" in response:
            name = _last(response["$ref"])
            slug = _SLUG_OF[name]
            failures.append({"status": status, "slug": slug, "title": SLUGS[slug][0]})
            continue
        contents = [
            {"media": media, "pieces": pieces(one["schema"]), "example": _shown(media, one["schema"], components)}
            for media, one in response.get("content", {}).items()
        ]
        headers = [name for name in response.get("headers", ()) if name in ("ETag", "Location", "Link")]
        answers.append({"status": status, "said": response["description"], "headers": headers, "contents": contents})
    return {
        "id": operation["operationId"],
        "method": method,
        "path": path,
        "summary": operation["summary"],
        "description": operation["description"],
        "open": operation.get("security") == [],
        "parameters": parameters,
        "bodies": bodies,
        "answers": answers,
        "failures": failures,
        "curl": curl(method, path, operation, parameters, components["schemas"]),
    }


def _shown(media: str, schema: Json, components: Json) -> str:
    """An example of JSON, indented; nothing for other media."""
    if media != "application/json" or not schema:
        return ""
    made = example(schema, components["schemas"])
    return msgspec.json.format(msgspec.json.encode(made), indent=2).decode()


def _fields(schema: Json) -> list[Json]:
    required = schema.get("required", ())
    return [
        {
            "name": name,
            "pieces": pieces(one),
            "required": name in required,
            "default": msgspec.json.encode(one["default"]).decode() if "default" in one else None,
            "description": one.get("description", ""),
        }
        for name, one in schema.get("properties", {}).items()
    ]


def _last(reference: str) -> str:
    return reference.rpartition("/")[2]


def _problems(request: web.Request, slugs: list[str]) -> str:
    statuses = {kind.slug: kind.status for kind in Problem.__subclasses__()}
    entries = [
        {"slug": slug, "title": SLUGS[slug][0], "meaning": SLUGS[slug][1], "status": statuses.get(slug)}
        for slug in slugs
    ]
    return html(request, "problems.html", prose=prose, entries=entries, whole=len(slugs) > 1)


_SLUG_OF = {kind.__name__: kind.slug for kind in openapi.PROBLEMS.values()}
