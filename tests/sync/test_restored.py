"""A server that was restored from a backup counts versions anew: the same numbers, other texts."""

from __future__ import annotations

import hashlib

from tests.web.conftest import Server
from tests.web.pocket import operation, push


async def test_an_edit_of_a_version_that_the_server_has_lost(server: Server) -> None:
    """Version 2 here is another one than the device started from: it must not be merged as if it had been that."""
    ada = await server.person("Ada")
    answer = await ada.post(f"/workspaces/{ada.workspace_id}/documents", {"content": "one\n"})
    id = answer.json["id"]
    put = await ada.put(f"/documents/{id}/content", {"content": "one four\n"}, headers={"If-Match": "*"})
    assert put.json["version"] == 2
    lost = "one two\n"
    edit = operation(
        "edit",
        id=id,
        base_version=2,
        base_hash=hashlib.sha256(lost.encode()).hexdigest(),
        content="zero one two\n",
    )
    for version in (2, 3):  # the present one, and one of the history
        (refused,) = await push(ada, {**edit, "base_version": 2})
        assert refused["problem"]["type"].endswith("/base-unknown")
        await ada.put(f"/documents/{id}/content", {"content": f"one four {version}\n"}, headers={"If-Match": "*"})
    (merged,) = await push(ada, {**edit, "base_content": lost})
    assert merged["status"] in ("merged", "conflict")
    assert {"zero", "one", "four", "3"} <= set(merged["content"].split())


async def test_a_base_that_is_what_it_says(server: Server) -> None:
    ada = await server.person("Ada")
    answer = await ada.post(f"/workspaces/{ada.workspace_id}/documents", {"content": "one\n"})
    id, base_hash = answer.json["id"], answer.json["content_hash"]
    for number, text in enumerate(("zero one\n", "one two\n")):
        edit = operation("edit", id=id, base_version=1, base_hash=base_hash, content=text)
        (done,) = await push(ada, edit)
        assert done["status"] == ("applied", "merged")[number]
    assert done["content"] == "zero one two\n"
