"""Rows become Structs by column name.

What a field's type says is done to its column: `Time` formats milliseconds as RFC 3339, `bool` reads 0/1, `list[…]`
and `dict[…]` read JSON text, and a Struct field `author` is built from the columns `author.id`, `author.…` (None when
its first column is NULL).
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, get_args, get_origin

import msgspec

from mdserver import clock

R = TypeVar("R", bound=msgspec.Struct)

TIME_MARK = {"format": "date-time"}
Time = Annotated[str, msgspec.Meta(extra_json_schema=TIME_MARK)]
"""A moment as clients see it; its column holds UTC milliseconds."""

_loads = msgspec.json.Decoder().decode


def _fields(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _unwrap(annotation: Any) -> Any:
    """`X | None` → X."""
    arguments = [one for one in get_args(annotation) if one is not type(None)]
    if get_origin(annotation) is not Annotated and type(None) in get_args(annotation) and len(arguments) == 1:
        return arguments[0]
    return annotation


def _expression(annotation: Any, source: str) -> str:
    """Python source that turns one column into the field's value."""
    inner = _unwrap(annotation)
    optional = inner is not annotation
    if get_origin(inner) is Annotated and any(
        isinstance(one, msgspec.Meta) and one.extra_json_schema == TIME_MARK for one in get_args(inner)[1:]
    ):
        made = f"_time({source})"
    elif inner is bool:
        made = f"({source} != 0)"
    elif (get_origin(inner) or inner) in (list, dict):
        made = f"_loads({source})"
    else:
        return source
    return f"({made} if {source} is not None else None)" if optional else made


@functools.cache
def maker(kind: type[R], columns: tuple[str, ...]) -> Callable[[tuple[Any, ...]], R]:
    """A function from a row with these columns to `kind`; compiled once, since lists make thousands of rows.

    TypeError when a column has no field, a field without default has no column, or two columns have one name.
    """
    if len(set(columns)) != len(columns):
        raise TypeError(f"{kind.__name__} gets a column twice: {', '.join(columns)}")
    scope: dict[str, Any] = {"_time": clock.rfc3339, "_loads": _loads}
    source = _construct(kind, {name: index for index, name in enumerate(columns)}, scope, kind.__name__)
    made: Callable[[tuple[Any, ...]], R] = eval(f"lambda r: {source}", scope)  # noqa: S307 (names of our own fields)
    return made


def _construct(kind: type[msgspec.Struct], columns: dict[str, int], scope: dict[str, Any], path: str) -> str:
    hints = _fields(kind)
    nested: dict[str, dict[str, int]] = {}
    arguments: list[str] = []
    for name, index in columns.items():
        head, dot, rest = name.partition(".")
        if head not in hints:
            raise TypeError(f"{path} has no field {head!r}")
        if dot:
            nested.setdefault(head, {})[rest] = index
        else:
            arguments.append(f"{name}={_expression(hints[name], f'r[{index}]')}")
    for head, inner in nested.items():
        child = _unwrap(hints[head])
        made = _construct(child, inner, scope, f"{path}.{head}")
        arguments.append(f"{head}=({made} if r[{next(iter(inner.values()))}] is not None else None)")
    given = {one.partition("=")[0] for one in arguments}
    lacking = [one.name for one in msgspec.structs.fields(kind) if one.required and one.name not in given]
    if lacking:
        raise TypeError(f"{path} lacks columns for {', '.join(lacking)}")
    label = "_" + path.replace(".", "_")
    scope[label] = kind
    return f"{label}({', '.join(arguments)})"
