"""Conditional requests (RFC 9110 §13): reading If-Match and If-None-Match, past what compressing proxies append."""

from __future__ import annotations

import re

from aiohttp import web

from mdserver.errors import Malformed, PreconditionRequired, Stale

from .wire import Answer

_TAG = re.compile(r'\s*(?:W/)?"([^\x00-\x20"\x7f]*)"\s*(?:,|$)')
_SUFFIXES = ("-gzip", "-br", "-zstd")


def tags(header: str) -> list[str]:
    """The opaque tags of a header field, without `W/` and without a proxy's suffix. Malformed when it is not a list."""
    found: list[str] = []
    at = 0
    while at < len(header):
        matched = _TAG.match(header, at)
        if matched is None:
            raise Malformed("If-Match and If-None-Match hold ETags in double quotes, or *.")
        tag = matched[1]
        for suffix in _SUFFIXES:
            tag = tag.removesuffix(suffix)
        found.append(tag)
        at = matched.end()
    return found


def matches(request: web.Request, etag: str) -> bool:
    """Whether If-None-Match names this state: the client has it already and 304 is the answer."""
    header = request.headers.get("If-None-Match")
    if header is None:
        return False
    if header == etag:  # the usual case, by the shortest way
        return True
    return header.strip() == "*" or etag.strip('"') in tags(header)


def not_modified(etag: str) -> Answer:
    """304 with the state's ETag (RFC 9110 §15.4.5)."""
    return Answer(304, {"ETag": etag})


def expected(request: web.Request, *, required: bool) -> list[str] | None:
    """The tags of If-Match; None when anything goes (`*`, or absent and not required)."""
    header = request.headers.get("If-Match")
    if header is None:
        if required:
            raise PreconditionRequired("Send If-Match with the ETag that you read, or * if you mean it regardless.")
        return None
    return None if header.strip() == "*" else tags(header)


def require(wanted: list[str] | None, *, version: int, content_tag: str, full_tag: str) -> None:
    """Stale unless one of the tags names the present state, in the content's form or the document's.

    The content's form `<version>-<hash>` compares the content alone; the document's adds `.<revision>.<mine>`.
    """
    if wanted is None or content_tag in wanted or full_tag in wanted:
        return
    problem = Stale("It has changed since you read it.", version=version, etag=f'"{full_tag}"')
    problem.headers["ETag"] = f'"{full_tag}"'
    raise problem
