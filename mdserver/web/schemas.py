"""The JSON Schemas of the types that routes take and answer, as named components of the OpenAPI document."""

from __future__ import annotations

import re
from typing import Any

import msgspec

Json = dict[str, Any]

REFERENCE = "#/components/schemas/"


class Schemas:
    """The JSON Schemas of every type that the routes name, under names without brackets: Page[Document] is
    DocumentPage."""

    def __init__(self, asked: list[Any], answered: list[Any]) -> None:
        kinds = list({repr(kind): kind for kind in (*asked, *answered)}.values())
        made, components = msgspec.json.schema_components(kinds, ref_template=REFERENCE + "{name}")
        names = {name: _plain(name, schema.get("title", "")) for name, schema in components.items()}
        if len(set(names.values())) < len(names):
            raise TypeError("two types would share a name in the OpenAPI document")
        renamed = {REFERENCE + old: REFERENCE + new for old, new in names.items()}
        self._components: dict[str, Json] = {
            names[old]: _renamed({key: value for key, value in schema.items() if key != "title"}, renamed)
            for old, schema in components.items()
        }
        self._made: dict[str, Json] = {
            repr(kind): _renamed(schema, renamed) for kind, schema in zip(kinds, made, strict=True)
        }
        taken = self._closure([self._made[repr(kind)] for kind in asked])
        for name, schema in self._components.items():
            if name not in taken:
                _as_answered(schema)

    def of(self, kind: Any) -> Json:
        """The type's schema, as a reference where it has a name."""
        return self._made[repr(kind)]

    def shape(self, kind: Any) -> Json:
        """The type's schema itself."""
        schema = self.of(kind)
        return self._components[schema["$ref"].removeprefix(REFERENCE)] if "$ref" in schema else schema

    def reachable(self, document: Any) -> dict[str, Json]:
        """The named schemas that the document refers to, in order of name."""
        return {name: self._components[name] for name in sorted(self._closure([document]))}

    def _closure(self, roots: list[Any]) -> set[str]:
        found: set[str] = set()
        ahead = [name for root in roots for name in _references(root)]
        while ahead:
            name = ahead.pop()
            if name not in found:
                found.add(name)
                ahead += _references(self._components[name])
        return found


def without_null(schema: Json) -> Json:
    """Query parameters are absent rather than null."""
    kept = {key: value for key, value in schema.items() if key != "anyOf" and value is not None}
    variants = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(variants) == 1:
        return {**variants[0], **kept}
    return {**kept, "anyOf": variants} if variants else kept


def _plain(name: str, title: str) -> str:
    """`Page_Document_` (of `Page[Document]`) → `DocumentPage`."""
    matched = re.fullmatch(r"(\w+)\[([\w.]+)\]", title)
    return matched[2].rpartition(".")[2] + matched[1] if matched else name


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(names.get(one, one) if key == "$ref" else one, names) for key, one in value.items()}
    return [_renamed(one, names) for one in value] if isinstance(value, list) else value


def _references(value: Any) -> list[str]:
    """The names that a piece of the document refers to."""
    if isinstance(value, dict):
        own = [value["$ref"].removeprefix(REFERENCE)] if str(value.get("$ref", "")).startswith(REFERENCE) else []
        return own + [name for one in value.values() for name in _references(one)]
    return [name for one in value for name in _references(one)] if isinstance(value, list) else []


def _as_answered(schema: Json) -> None:
    """A default is for whoever sends; what the server answers always holds the field, but for those that may be
    unset, which have no default."""
    properties = schema.get("properties", {})
    given = [name for name, one in properties.items() if name in schema.get("required", ()) or "default" in one]
    for one in properties.values():
        one.pop("default", None)
    if given:
        schema["required"] = given
