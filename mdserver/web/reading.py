"""Reading what a request sends: bodies within limits, strict JSON, query strings; and what is wrong with them."""

from __future__ import annotations

import asyncio
import re
import typing
from functools import cache
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from mdserver.errors import Invalid, Malformed, TooLarge, TooMuch

T = TypeVar("T")

_AT = re.compile(r"(?s)(.*?)(?: - at `(key in )?\$(.*?)`)?")
_MISSING = re.compile(r"Object missing required field `(.*)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)


async def read_limited(request: web.Request, limit: int, *, seconds: float) -> bytes:
    """The whole body, at most `limit` bytes (after decompression), which must arrive within so many seconds.

    TooLarge, TooMuch for one that takes too long, Malformed for one that ends early or cannot be decompressed.
    """
    if (request.content_length or 0) > limit:
        raise TooLarge(f"The body may have {limit} bytes.", limit=limit)
    data = bytearray()
    try:
        if request.content.is_eof():  # a small body usually came with its headers
            data += request.content.read_nowait(-1)
            if len(data) > limit:
                raise TooLarge(f"The body may have {limit} bytes.", limit=limit)
            return bytes(data)
        async with asyncio.timeout(seconds):
            async for chunk in request.content.iter_any():
                data += chunk
                if len(data) > limit:
                    raise TooLarge(f"The body may have {limit} bytes.", limit=limit)
    except TimeoutError as error:
        raise TooMuch("The body took too long to arrive.", retry_after=5) from error
    except web.RequestPayloadError as error:
        raise Malformed("The body ended early or could not be decompressed.") from error
    return bytes(data)


def decode(data: bytes, kind: type[T]) -> T:
    """Strict JSON into a Struct. Malformed (400) when it is not JSON, Invalid (422) with a pointer when it is wrong."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"The body is not valid JSON: {error}.") from error
    except RecursionError as error:
        raise Malformed("The JSON is nested too deeply.") from error


def _invalid(message: str) -> Invalid:
    """msgspec's words and path → ours with a JSON Pointer (RFC 6901)."""
    matched = _AT.fullmatch(message)
    what, path = (matched[1], matched[3] or "") if matched else (message, "")
    pointer = "".join("/" + one.strip(".").replace("...", "*") for one in re.findall(r"\.[^.\[]+|\[[^\]]*\]", path))
    pointer = re.sub(r"\[([^\]]*)\]", r"\1", pointer)
    if unknown := _UNKNOWN.fullmatch(what):
        name = unknown[1][:100]
        return Invalid(f"There is no field {name!r} here.", pointer=f"{pointer}/{_escaped(name)}")
    if missing := _MISSING.fullmatch(what):
        return Invalid(f"The field {missing[1]!r} is required.", pointer=f"{pointer}/{_escaped(missing[1])}")
    return Invalid(what[:300] + ".", pointer=pointer)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def read_query(request: web.Request, kind: type[T]) -> T:
    """The query string as a Struct: unknown, repeated or wrong parameters are Malformed (400)."""
    given: dict[str, Any] = {}
    for name, value in request.query.items():
        if name in given:
            raise Malformed(f"The parameter {name[:40]!r} stands twice.")
        if "\0" in value or (not value.isprintable() and "\n" in value):
            raise Malformed(f"The parameter {name[:40]!r} holds a control character.")
        given[name] = value
    known = _field_names(typing.cast(Any, kind))
    for name in given:
        if name not in known:
            listed = ", ".join(sorted(known))
            raise Malformed(f"There is no parameter {name[:40]!r} here; known: {listed}.")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        matched = _AT.fullmatch(str(error))
        name = (matched[3] or "").strip(".") if matched else ""
        raise Malformed(f"The parameter {name!r} is not right: {matched[1] if matched else error}.") from error


@cache
def _field_names(kind: type) -> frozenset[str]:
    return frozenset(one.encode_name for one in msgspec.structs.fields(kind))
