"""Who wrote what, the log, and any place in it, as clients see them."""

from __future__ import annotations

from .conftest import Server
from .editors import opened
from .test_live import document, shown


async def test_who_wrote_what(server: Server) -> None:
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "editor")
    id = await document(ada, "One \U0001f389 three")
    async with opened(bob, id) as editor:
        await editor.write("two ", 4)
        await editor.write(" four")
        await shown(ada, id, "One two \U0001f389 three four")
    answer = await ada.get(f"/documents/{id}/attribution")
    assert answer.status == 200, answer
    assert [(one["author"]["display_name"], one["text"]) for one in answer.json["items"]] == [
        ("Ada", "One "),
        ("Bob", "two "),
        ("Ada", "\U0001f389 three"),
        ("Bob", " four"),
    ]
    await ada.put(f"/documents/{id}/content", {"content": "One two \U0001f389 3 four"}, headers={"If-Match": "*"})
    answer = await ada.get(f"/documents/{id}/attribution")
    assert "".join(one["text"] for one in answer.json["items"]) == "One two \U0001f389 3 four"
    assert answer.json["items"][2]["text"] == "\U0001f389 3"


async def test_any_place_in_the_log(server: Server) -> None:
    ada = await server.person("Ada")
    id = await document(ada, "a")
    async with opened(ada, id) as editor:
        for letter in "bcd":
            await editor.write(letter)
        await shown(ada, id, "abcd")
    listed = (await ada.get(f"/documents/{id}/log?limit=2")).json
    assert [(one["seq"], one["first"], one["author"]["id"]) for one in listed["items"]] == [
        (4, 4, ada.id),
        (3, 3, ada.id),
    ]
    rest = (await ada.get(f"/documents/{id}/log?cursor={listed['next_cursor']}")).json
    assert [one["seq"] for one in rest["items"]] == [2, 1]
    texts = [(await ada.get(f"/documents/{id}/log/{seq}")).json["content"] for seq in range(1, 5)]
    assert texts == ["a", "ab", "abc", "abcd"]
    for seq in (0, 5, 10**14):
        answer = await ada.get(f"/documents/{id}/log/{seq}")
        assert (answer.status, answer.problem) == (404, "not-found")
    folder = (await ada.post(f"/workspaces/{ada.workspace_id}/documents", {"title": "F", "kind": "folder"})).json["id"]
    for path in ("attribution", "log/1"):
        assert (await ada.get(f"/documents/{folder}/{path}")).problem == "conflict"
