"""The problems that a caller can meet: few, and named for the caller. Floor 0.

Each class fixes the HTTP status and the default problem type (RFC 9457 §3.1). `slug` names the page under
`/problems/`; a raise may give a narrower slug, which must be listed in `SLUGS` so that the page exists.
"""

from __future__ import annotations

from typing import Any, ClassVar

# slug → (title, what it means and what to do): the text of the page that the problem's `type` opens.
SLUGS: dict[str, tuple[str, str]] = {
    "invalid": (
        "The request is well-formed but not valid",
        "One or more values break a rule. `errors` lists each with a JSON Pointer to the value.",
    ),
    "malformed": (
        "The request cannot be read",
        "The body is not valid JSON or UTF-8, a header or a query parameter has the wrong form.",
    ),
    "signed-out": (
        "Sign in first",
        "The request carries no credentials, or unknown, expired or revoked ones. Sign in or refresh the token.",
    ),
    "wrong-credentials": (
        "These credentials are not right",
        "The e-mail address and password do not match an account that can sign in here.",
    ),
    "forbidden": ("Your role does not allow this", "You can see this object, but your role or token may not do this."),
    "recent-sign-in-required": (
        "Sign in again to do this",
        "This changes how the account is protected, so it needs a sign-in within the last ten minutes.",
    ),
    "not-found": (
        "There is no such thing here",
        "The address is wrong, the object was removed, or it is not visible to you: strangers are answered alike.",
    ),
    "method-not-allowed": ("This address does not take that method", "The `Allow` header lists the methods it takes."),
    "conflict": (
        "This does not fit the present state",
        "Another object or an earlier step is in the way; see `detail`.",
    ),
    "base-unknown": (
        "The base version is not known any more",
        "The text of `base_version` is gone or never existed. Send `base_content`, the text your edit started from.",
    ),
    "quarantined": (
        "This document is closed, for it has made the server fail",
        "Its last text can still be read. It is tried again, in a process of its own, whenever the server starts.",
    ),
    "last-owner": ("A workspace keeps at least one owner", "Make somebody else an owner first."),
    "gone": ("This was here and is gone", "The object was removed or the link has been used or has expired."),
    "resync-required": (
        "This cursor leads nowhere any more",
        "The server was restored, or what the cursor has missed is forgotten. Pull again without a cursor: it brings"
        " everything. What it does not bring is gone, unless it was edited on this device, which then sends it.",
    ),
    "stale": (
        "It has changed since you read it",
        "`If-Match` names an older state. Read again, or use `PATCH …/content`, which merges.",
    ),
    "precondition-required": (
        "Say which state you are changing",
        "Send `If-Match` with the ETag you read, or `*` if you mean it regardless.",
    ),
    "too-large": ("This is too large", "The body or the text is over the limit named in `detail`."),
    "unsupported-media-type": ("This media type is not read here", "See `detail` for the types that are."),
    "not-acceptable": ("None of the accepted media types can be given", "See `detail` for the types that can."),
    "idempotency-mismatch": (
        "This Idempotency-Key belongs to another request",
        "Within 24 hours a key repeats one request only. Use a new key for a new request.",
    ),
    "idempotency-secret": (
        "The first answer held a secret that is shown only once",
        "The request was carried out. The secret cannot be shown again: revoke it and make a new one.",
    ),
    "too-many-requests": ("Too many requests", "Wait as long as `Retry-After` says. The limits are configurable."),
    "busy": (
        "The server cannot do this right now",
        "Nothing was changed, unless `detail` says otherwise. Try again after a moment.",
    ),
    "storage-full": (
        "The server's disk is full",
        "Nothing was changed. Reading goes on; writing resumes when there is room.",
    ),
    "internal": ("Something broke in the server", "It was logged with the `request_id`. Nothing was half-done."),
}


class Problem(Exception):
    """What goes wrong for the caller. `detail` is one sentence that a person can act on."""

    status: ClassVar[int] = 500
    slug: str = "internal"

    def __init__(self, detail: str, *, slug: str | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.slug = slug or type(self).slug
        self.extra = extra
        self.headers: dict[str, str] = {}

    @property
    def title(self) -> str:
        return SLUGS[self.slug][0]


class Malformed(Problem):
    """Not JSON, not UTF-8, a header or parameter of the wrong form."""

    status, slug = 400, "malformed"


class Invalid(Problem):
    """Well-formed but against a rule. `pointer` is a JSON Pointer (RFC 6901) into the body."""

    status, slug = 422, "invalid"

    def __init__(self, detail: str, *, pointer: str | None = None, slug: str | None = None, **extra: Any) -> None:
        super().__init__(detail, slug=slug, **extra)
        if pointer is not None:
            self.extra["errors"] = [{"pointer": pointer, "detail": detail}]


class SignedOut(Problem):
    status, slug = 401, "signed-out"

    def __init__(self, detail: str = "Sign in to use this.", *, slug: str | None = None, **extra: Any) -> None:
        super().__init__(detail, slug=slug, **extra)
        self.headers["WWW-Authenticate"] = 'Bearer realm="mdserver"'


class Forbidden(Problem):
    status, slug = 403, "forbidden"


class NotFound(Problem):
    status, slug = 404, "not-found"


class MethodNotAllowed(Problem):
    status, slug = 405, "method-not-allowed"


class NotAcceptable(Problem):
    status, slug = 406, "not-acceptable"


class Conflict(Problem):
    status, slug = 409, "conflict"


class Gone(Problem):
    status, slug = 410, "gone"


class Stale(Problem):
    status, slug = 412, "stale"


class TooLarge(Problem):
    status, slug = 413, "too-large"


class UnsupportedMediaType(Problem):
    status, slug = 415, "unsupported-media-type"


class PreconditionRequired(Problem):
    status, slug = 428, "precondition-required"


class TooMuch(Problem):
    """A rate or a queue is full. `retry_after` in whole seconds becomes the Retry-After header (RFC 9110 §10.2.3)."""

    status, slug = 429, "too-many-requests"

    def __init__(self, detail: str, *, retry_after: int = 1, slug: str | None = None, **extra: Any) -> None:
        super().__init__(detail, slug=slug, **extra)
        self.headers["Retry-After"] = str(retry_after)


class Busy(Problem):
    status, slug = 503, "busy"

    def __init__(self, detail: str, *, retry_after: int = 1, slug: str | None = None, **extra: Any) -> None:
        super().__init__(detail, slug=slug, **extra)
        self.headers["Retry-After"] = str(retry_after)


class StorageFull(Problem):
    status, slug = 507, "storage-full"
