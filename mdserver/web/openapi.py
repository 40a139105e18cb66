"""The OpenAPI 3.1 document, written from the routes' own types and policies."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable
from typing import Any

import msgspec
from aiohttp import web

from mdserver import __version__, crypto, errors

from .api import OPEN, Route
from .schemas import REFERENCE, Json, Schemas, without_null
from .signin import SECURE_COOKIE
from .wire import Answer

# What clients may meet, by status: the class names the component, its page's title describes it.
PROBLEMS: dict[int, type[errors.Problem]] = {
    kind.status: kind
    for kind in (
        errors.Malformed,
        errors.SignedOut,
        errors.Forbidden,
        errors.NotFound,
        errors.NotAcceptable,
        errors.Conflict,
        errors.Gone,
        errors.Stale,
        errors.TooLarge,
        errors.UnsupportedMediaType,
        errors.Invalid,
        errors.PreconditionRequired,
        errors.TooMuch,
        errors.Busy,
        errors.StorageFull,
    )
}

_INTRODUCTION = """\
Everything the server can do, over HTTP. Bodies are JSON in snake_case; ids are UUIDv7 text; times are RFC 3339 in UTC \
with milliseconds; sizes are bytes of UTF-8.

Whatever goes wrong is answered as a problem (RFC 9457, `application/problem+json`), whose `type` opens a page that \
explains it; besides the ones listed with each operation these are 405 with `Allow`, and 500. `HEAD` works wherever \
`GET` does.

Lists come in pages: `next_cursor` of one page is the `cursor` of the next, and `Link` holds its address."""

_HEADERS: Json = {
    "X-Request-Id": ("Names this request in the server's log.", {"type": "string"}),
    "RateLimit": ("What is left of the limit, and seconds until there is more (IETF draft).", {"type": "string"}),
    "RateLimit-Policy": ("The limit that applies: amount and seconds (IETF draft).", {"type": "string"}),
    "Retry-After": ("Seconds to wait before trying again.", {"type": "integer"}),
    "WWW-Authenticate": ("How to sign in (RFC 9110 §11.6.1).", {"type": "string"}),
    "ETag": ("The state of what was answered, for If-Match and If-None-Match.", {"type": "string"}),
    "Location": ("The address of what was created.", {"type": "string", "format": "uri-reference"}),
    "Link": ('The address of the next page, with rel="next"; absent on the last.', {"type": "string"}),
}
_PARAMETERS: Json = {
    "If-Match": (
        "The ETag that you read; `*` if you mean it regardless of what others changed. 412 when it names an older "
        "state; 428 where it is required and absent."
    ),
    "If-None-Match": "An ETag that you hold: 304 without a body while it still names the present state.",
    "Idempotency-Key": (
        "Any text of yours, new for each request. Sent again within 24 hours, the request is answered alike without a "
        "second effect."
    ),
}
_QUERY = {"limit": "How many items, at most.", "cursor": "The `next_cursor` of the page before."}


class Fault(msgspec.Struct):
    """One value of the body that breaks a rule; `pointer` is a JSON Pointer (RFC 6901) to it."""

    pointer: str
    detail: str


class Problem(msgspec.Struct):
    """What went wrong (RFC 9457). `type` opens a page that explains it; `detail` is about this request.

    Some problems hold more, such as the version that is current.
    """

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: list[Fault] | msgspec.UnsetType = msgspec.UNSET


def build(routes: Iterable[Route], *, server: str = "/") -> Json:
    """The document. `server` is the address that the paths stand under, absolute or relative to the document's."""
    routes = list(routes)
    schemas = Schemas(
        asked=[kind for route in routes for kind in (route.body, route.query) if kind is not None],
        answered=[Problem, *(kind for route in routes for kind in _Answer(route).types)],
    )
    responses = {kind.__name__: _problem(kind) for kind in PROBLEMS.values()}
    paths: dict[str, Json] = {}
    operations: set[str] = set()
    for route in routes:
        operation = _operation(route, schemas)
        if operation["operationId"] in operations:  # one handler under two addresses
            operation["operationId"] += f".{len(operations)}"
        operations.add(operation["operationId"])
        paths.setdefault(_path(route), {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "mdserver",
            "version": __version__,
            "description": _INTRODUCTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": server or "/"}],
        "security": [{"accessToken": []}, {"personalToken": []}, {"session": []}],
        "tags": [{"name": noun} for noun in dict.fromkeys(route.noun for route in routes)],
        "paths": paths,
        "components": {
            "schemas": schemas.reachable([paths, responses]),
            "responses": responses,
            "headers": {
                name: {"description": description, "schema": schema} for name, (description, schema) in _HEADERS.items()
            },
            "parameters": {
                name: {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}
                for name, description in _PARAMETERS.items()
            },
            "securitySchemes": {
                "accessToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": f"{crypto.ACCESS}…",
                    "description": "The `access_token` of a sign-in. Short-lived; refresh it.",
                },
                "personalToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": f"{crypto.PERSONAL}…",
                    "description": "A personal access token with scopes, for scripts. Some operations want a sign-in.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": SECURE_COOKIE,
                    "description": "A browser's session; its name is `mdserver` without https. Methods that change "
                    "something also need the header `X-MDServer: 1`.",
                },
            },
        },
    }


def _operation(route: Route, schemas: Schemas) -> Json:
    is_open = route.policy is OPEN
    operation: Json = {
        "operationId": route.operation,
        "tags": [route.noun],
        "summary": route.summary,
        "description": "\n\n".join(part for part in (route.description, needs(route)) if part),
        "x-policy": {
            "name": route.policy.name,
            **({"of": route.policy.of} if route.policy.of else {}),
            **({"need": route.policy.need} if route.policy.need else {}),
            **({} if is_open else {"scope": route.scope}),
        },
    }
    if parameters := _parameters(route, schemas):
        operation["parameters"] = parameters
    if route.body is not None:
        content: Json = {"application/json": {"schema": schemas.of(route.body)}}
        if route.markdown:
            content["text/markdown"] = {"schema": {"type": "string"}}
        operation["requestBody"] = {"required": True, "content": content}
    operation["responses"] = _responses(route, schemas)
    if is_open:
        operation["security"] = []
    elif route.policy.name == "recent sign-in":
        operation["security"] = [{"accessToken": []}, {"session": []}]
    return operation


def needs(route: Route) -> str:
    """The policy as a sentence."""
    policy = route.policy
    if policy is OPEN:
        return "Open to everybody."
    if policy.name == "recent sign-in":
        return "Needs a sign-in within the last ten minutes; personal tokens cannot do this."
    article = "an" if policy.need and policy.need[0] in "aeo" else "a"
    whom = f"Needs {article} {policy.need} of the {policy.of}" if policy.need else f"Needs to be {policy.name}"
    return f"{whom}. Tokens need the scope `{route.scope}`."


def _path(route: Route) -> str:
    return re.sub(r"{(\w+):[^}]*}", r"{\1}", route.path)


def _parameters(route: Route, schemas: Schemas) -> list[Json]:
    found: list[Json] = []
    for name, kind in route.parameters.items():
        before = re.search(r"/([^/{}]+)/{" + name + r"\b", route.path)
        noun = route.policy.of or (before[1].removesuffix("s") if before else route.noun)
        schema: Json = {"type": "integer", "minimum": 0} if kind is int else {"type": "string"}
        if name == "id":
            schema["format"] = "uuid"
        described = f"The {noun}'s id." if name == "id" else f"Which {name}."
        found.append({"name": name, "in": "path", "required": True, "description": described, "schema": schema})
    if route.query is not None:
        shape = schemas.shape(route.query)
        for name, schema in shape.get("properties", {}).items():
            schema = without_null(schema)
            described = schema.pop("description", _QUERY.get(name, ""))
            required = {"required": True} if name in shape.get("required", ()) else {}
            parameter = {"name": name, "in": "query", "description": described, **required, "schema": schema}
            found.append({key: value for key, value in parameter.items() if value != ""})
    headers = {
        "If-Match": route.condition and route.method != "GET",
        "If-None-Match": _Answer(route).tagged,
        "Idempotency-Key": route.creates,
    }
    return found + [{"$ref": f"#/components/parameters/{name}"} for name, takes in headers.items() if takes]


_READY = (Answer, web.StreamResponse)


class _Answer:
    """What a handler's return type says: the types of its bodies, a body of its own making, an ETag, a next page."""

    def __init__(self, route: Route) -> None:
        parts = _union(route.answer)
        self.raw = any(isinstance(part, type) and issubclass(part, _READY) for part in parts)
        self.types: list[Any] = []
        self.empty = False
        replies = False
        for part in parts:
            origin = typing.get_origin(part)
            inner = [part]
            if isinstance(origin, type) and origin.__name__ == "Reply":
                replies, inner = True, _union(typing.get_args(part)[0])
            for one in inner:
                if one is type(None):
                    self.empty = True
                elif not (isinstance(one, type) and issubclass(one, _READY)) and msgspec.Raw not in _within(one):
                    self.types.append(one)
        self.paged = any(hasattr(typing.get_origin(one) or one, "next_cursor") for one in self.types)
        # A ready response beside a type is the 304; a Reply of something else than a page carries an ETag.
        self.tagged = route.method == "GET" and bool(self.types) and (self.raw or (replies and not self.paged))


def _within(annotation: Any) -> tuple[Any, ...]:
    """The type and what it is of. `Raw` is JSON made before, of a type that stands beside it."""
    return (annotation, *typing.get_args(annotation))


def _union(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [part for one in typing.get_args(annotation) for part in _union(one)]
    return [annotation]


def _responses(route: Route, schemas: Schemas) -> Json:
    answer = _Answer(route)
    limited = route.rate != "none"
    headers = ["X-Request-Id", *(["RateLimit", "RateLimit-Policy"] if limited else [])]
    own = list(headers)
    if answer.tagged or route.creates or route.condition:
        own.append("ETag")
    if route.creates:
        own.append("Location")
    if answer.paged:
        own.append("Link")
    responses: Json = {}
    content: Json = {}
    if answer.types and "application/json" in route.produces:
        variants = [schemas.of(one) for one in answer.types]
        content["application/json"] = {"schema": variants[0] if len(variants) == 1 else {"anyOf": variants}}
    for media in route.produces:
        if media != "application/json" or (answer.raw and not answer.types):
            schema = {} if media.endswith(("json", "event-stream")) else {"type": "string"}
            content.setdefault(media, {"schema": schema})
    if content and (answer.types or answer.raw):
        described = "Created." if route.status == 201 else "Taken on." if route.status == 202 else "Done."
        responses[str(route.status)] = {"description": described, "headers": _headers(own), "content": content}
    if answer.empty or not responses:
        status = 204 if route.status == 200 else route.status
        responses[str(status)] = {"description": "Done; there is nothing to say.", "headers": _headers(own)}
    if answer.tagged:
        described = "Nothing has changed since the state that If-None-Match names."
        responses["304"] = {"description": described, "headers": _headers([*headers, "ETag"])}
    for status in sorted(_possible(route)):
        responses[str(status)] = {"$ref": f"#/components/responses/{PROBLEMS[status].__name__}"}
    return responses


def _possible(route: Route) -> set[int]:
    """The problems that may come of what the route takes and asks."""
    is_open, changes = route.policy is OPEN, route.method != "GET"
    found = {kind.status for kind in route.refuses}
    if route.body is not None:
        found |= {400, 413, 415, 422}
    if route.query is not None or _Answer(route).tagged:
        found |= {400}
    if not is_open or (route.noun == "auth" and changes):  # what signs in judges credentials and who may come at all
        found |= {401, 403}
    if "token" in route.parameters or (route.body is not None and "token" in route.body.__struct_fields__):
        found |= {410}
    if route.parameters:
        found |= {404}
    if len(route.produces) > 1:
        found |= {406}
    if changes:
        found |= {409, 507}
    if route.condition and changes:
        found |= {400, 412, 428}
    if route.creates:
        found |= {400, 422}
    if route.rate != "none":
        found |= {429, 503}
    return found


def _headers(names: list[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _problem(kind: type[errors.Problem]) -> Json:
    title, meaning = errors.SLUGS[kind.slug]
    more = {401: ["WWW-Authenticate"], 412: ["ETag"], 429: ["Retry-After", "RateLimit", "RateLimit-Policy"]}
    more[503] = ["Retry-After"]
    return {
        "description": f"{title}. {meaning}",
        "headers": _headers(["X-Request-Id", *more.get(kind.status, [])]),
        "content": {"application/problem+json": {"schema": {"$ref": f"{REFERENCE}Problem"}}},
    }
