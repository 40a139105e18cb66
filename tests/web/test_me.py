"""One's own account."""

from __future__ import annotations

from .conftest import Server


async def test_show(server: Server) -> None:
    ada = await server.person("Ada")
    answer = await ada.get("/me")
    assert answer.status == 200
    assert set(answer.json) == {
        *("id", "email", "display_name", "avatar_url", "is_admin", "email_verified", "created_at"),
    }
