"""Who is in a document: said by the server, heard by all who are there, forged by nobody."""

from __future__ import annotations

import pytest

from .conftest import Server
from .editors import opened, y_websocket
from .test_live import document

pytestmark = pytest.mark.usefixtures("hurried")


async def test_who_comes_hears_of_those_who_are_there(server: Server) -> None:
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "viewer")
    id = await document(ada)
    async with opened(ada, id) as first:
        await first.announce(7, 1, {"cursor": 3})
        await first.until(lambda: 7 in first.awareness)  # its own comes back, which keeps a provider from reconnecting
        async with opened(bob, id) as second, y_websocket(bob, id) as third:
            for one in (second, third):
                await one.until(lambda one=one: 7 in one.awareness)  # type: ignore[misc]
                assert one.awareness[7]["cursor"] == 3
                assert one.awareness[7]["user"]["name"] == "Ada"
            await second.announce(8, 1, {})
            await first.until(lambda: 8 in first.awareness)
            items = (await ada.get(f"/documents/{id}/presence")).json["items"]
            assert sorted((one["user"]["display_name"], one["sessions"]) for one in items) == [("Ada", 1), ("Bob", 2)]
        await first.until(lambda: 8 not in first.awareness)


async def test_nobody_is_somebody_else(server: Server) -> None:
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "editor")
    id = await document(ada)
    async with opened(ada, id) as first, y_websocket(bob, id) as second:
        await first.announce(7, 1, {"user": {"name": "The boss", "id": bob.id, "color": "x" * 50}, "a": 1})
        await second.until(lambda: 7 in second.awareness)
        assert second.awareness[7]["user"]["name"] == "Ada"
        assert second.awareness[7]["user"]["id"] == ada.id
        await second.announce(7, 9, {"a": 2})
        await second.announce(7, 10, None)
        await second.announce(8, 1, {"b": 1})
        await second.announce(9, 1, {"b": 2})  # one is enough
        await first.until(lambda: 8 in first.awareness)
        await first.announce(7, 2, {"a": 3})
        await second.until(lambda: second.awareness[7]["a"] == 3)
        assert (sorted(first.awareness), sorted(second.awareness)) == ([7, 8], [7, 8])


async def test_a_new_name_shows_with_the_next_announcement(server: Server) -> None:
    ada = await server.person("Ada")
    id = await document(ada)
    async with opened(ada, id) as first, y_websocket(ada, id) as second:
        await first.announce(7, 1, {})
        await second.until(lambda: 7 in second.awareness)
        assert (await ada.patch("/me", {"display_name": "Countess"})).status == 200
        for clock in range(2, 200):
            await first.announce(7, clock, {"n": clock})
            await second.until(lambda: second.awareness[7].get("n") == clock)  # noqa: B023 (awaited here)
            if second.awareness[7]["user"]["name"] == "Countess":
                break
        assert second.awareness[7]["user"]["name"] == "Countess"


async def test_who_leaves_a_document_keeps_the_socket(server: Server) -> None:
    ada = await server.person("Ada")
    id = await document(ada)
    async with opened(ada, id) as first, y_websocket(ada, id) as second:
        await first.announce(7, 1, {})
        await second.until(lambda: 7 in second.awareness)
        await second.sync()
        await first.send(b"\x07")
        await second.until(lambda: 7 not in second.awareness)
        items = (await ada.get(f"/documents/{id}/presence")).json["items"]
        assert [one["sessions"] for one in items] == [1]
        await first.sign_in(ada.pair.access_token)
        first.synced = False
        await first.sync()
        await first.write("!")
        await second.until(lambda: second.text == "Hello!")


async def test_who_may_not_read_does_not_hear_who_does(server: Server) -> None:
    ada, eve = await server.person("Ada"), await server.person("Eve")
    id = await document(ada)
    assert (await eve.get(f"/documents/{id}/presence")).status == 404
    assert (await ada.get(f"/documents/{id}/presence")).json["items"] == []
