"""How calls of the API fail: one exception, and three kinds of it that callers tell apart."""

from __future__ import annotations

from .shapes import Problem


class ApiProblem(Exception):
    """The server said no. `detail` is a sentence for people, `slug` a word for programs."""

    def __init__(
        self, status: int, slug: str, detail: str, *, request_id: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(detail or slug or f"The server answered {status}.")
        self.status, self.slug, self.detail = status, slug, str(self)
        self.request_id, self.retry_after = request_id, retry_after


class ResyncRequired(ApiProblem):
    """The cursor is of no use any more: forget it, pull everything."""


class SignedOut(ApiProblem):
    """The token is unknown, expired or revoked."""


class Unreachable(ApiProblem):
    """The server was not reached, or did not answer in time; what was asked may have happened."""

    def __init__(self, detail: str) -> None:
        super().__init__(0, "unreachable", detail)


def from_answer(status: int, problem: Problem | None, *, retry_after: float | None) -> ApiProblem:
    """The exception for an answer that is not a success."""
    said = problem or Problem()
    slug = said.slug
    kind = ApiProblem
    if status == 401:
        kind = SignedOut
    elif status == 410 and slug == "resync-required":
        kind = ResyncRequired
    detail = said.detail or said.title or f"The server answered {status}."
    return kind(status, slug, detail, request_id=said.request_id, retry_after=retry_after)
