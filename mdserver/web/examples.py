"""Examples for the documentation: a value for a schema, a curl command for an operation."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from .schemas import REFERENCE, Json

_ID = "019b76da-a800-7c3e-8f21-5d0c6a1b2e3f"
_DEPTH = 4

# What fields of these names look like, whatever object they stand in.
_TEXTS = {
    "email": "ann@example.org",
    "password": "a long and quiet sentence",
    "display_name": "Ann",
    "title": "Plan",
    "name": "Notes",
    "filename": "Plan.md",
    "path": "Notes/Plan.md",
    "position": "a0",
    "content": "# Plan\n\nFirst things first.\n",
    "base_content": "# Plan\n",
    "base_hash": "c3964bb3b70a957ec9b233c7dd3653f6ba17701ab00facf88ae1393dc6155577",
    "content_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "content_type": "text/markdown",
    "access_token": "mds_at_…",
    "refresh_token": "mds_rt_…",
    "token_type": "Bearer",
    "next_cursor": "WyIwMTliNzZkYSJd",
    "tags": "planning",
    "permissions": "read",
}


def example(schema: Json, schemas: dict[str, Json], *, name: str = "", depth: int = 0, lean: bool = False) -> Any:
    """A value that fits the schema. `lean` leaves out what need not be sent."""
    if "$ref" in schema:
        return example(schemas[schema["$ref"].removeprefix(REFERENCE)], schemas, name=name, depth=depth + 1, lean=lean)
    if schema.get("default") is not None:
        return schema["default"]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        variants = [one for one in schema["anyOf"] if one != {"type": "null"}]
        if depth >= _DEPTH and len(variants) < len(schema["anyOf"]):
            return None
        return example(variants[0], schemas, name=name, depth=depth, lean=lean)
    kind = schema.get("type")
    if kind == "object":
        return _object(schema, schemas, depth, lean)
    if kind == "array":
        if depth > _DEPTH:
            return []
        least = max(1, schema.get("minItems", 1))
        if "prefixItems" in schema:
            return [example(one, schemas, depth=depth + 1, lean=lean) for one in schema["prefixItems"]]
        return [example(schema.get("items", {}), schemas, name=name, depth=depth + 1, lean=lean)] * least
    if kind == "string":
        return _text(schema, name)
    if kind in ("integer", "number"):
        return _number(schema, name)
    return {"boolean": True, "null": None}.get(str(kind), "…")


def curl(method: str, path: str, operation: Json, parameters: list[Json], schemas: dict[str, Json]) -> str:
    """A command line that makes the request. SERVER and TOKEN are the shell's variables."""
    shown = re.sub(r"{(\w+)}", lambda matched: "$" + matched[1].upper(), path)
    asked = "&".join(f"{one['name']}=…" for one in parameters if one["in"] == "query" and one.get("required"))
    verb = "" if method == "GET" else f" -X {method}"
    parts = [f'curl{verb} "$SERVER{shown}{"?" + asked if asked else ""}"']
    if operation.get("security") != []:
        parts.append('-H "Authorization: Bearer $TOKEN"')
    names = [one["name"] for one in parameters if one["in"] == "header"]
    if "If-Match" in names:
        parts.append("-H 'If-Match: \"…\"'")
    if "Idempotency-Key" in names:
        parts.append('-H "Idempotency-Key: $(uuidgen)"')
    content = operation.get("requestBody", {}).get("content", {})
    if "text/markdown" in content:
        parts += ["-H 'Content-Type: text/markdown'", "--data-binary @Plan.md"]
    elif "application/json" in content:
        made = example(content["application/json"]["schema"], schemas, lean=True)
        text = msgspec.json.format(msgspec.json.encode(made), indent=0).decode().replace("'", "'\\''")
        parts += ["-H 'Content-Type: application/json'", f"-d '{text}'"]
    return " \\\n  ".join(parts)


def _object(schema: Json, schemas: dict[str, Json], depth: int, lean: bool) -> Any:
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        return {"…": example(values, schemas, depth=depth + 1, lean=lean)}
    properties = schema.get("properties", {})
    required = schema.get("required", ())
    # Something has to be sent: where nothing is required, everything is shown.
    kept = [name for name in properties if not lean or not required or name in required]
    return {name: example(properties[name], schemas, name=name, depth=depth, lean=lean) for name in kept}


def _text(schema: Json, name: str) -> str:
    if schema.get("format") == "date-time":
        return "2026-01-31T12:00:00.000Z"
    if schema.get("format") == "uuid" or name == "id" or name.endswith("_id") or name == "from":
        return _ID
    if name in ("token", "code") or name.endswith("_token"):
        return _TEXTS.get(name, "…")
    return _TEXTS.get(name, "/…" if name.endswith("_url") else "…")


def _number(schema: Json, name: str) -> int:
    if name == "expires_in":
        return 600
    least: int = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
    return max(least, 1)
