"""Those who leave a workspace and come back, with devices that have not looked in between."""

from __future__ import annotations

from mdserver.model import changes
from tests.web.conftest import Person, Server


async def made(who: Person, title: str) -> str:
    answer = await who.post(f"/workspaces/{who.workspace_id}/documents", {"title": title})
    assert answer.status == 201, answer
    return str(answer.json["id"])


async def purge(who: Person, id: str) -> None:
    assert (await who.put(f"/documents/{id}/trash")).status == 200
    assert (await who.delete(f"/documents/{id}", headers={"If-Match": "*"})).status == 204


async def test_what_was_purged_meanwhile_is_told(server: Server) -> None:
    """The device still has it: it was never told that its person was away."""
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "editor")
    kept, gone = await made(ada, "Kept"), await made(ada, "Gone")
    before = (await bob.get("/sync")).json
    assert {kept, gone} <= {one["id"] for one in before["changes"]}
    assert (await ada.delete(f"/workspaces/{ada.workspace_id}/members/{bob.id}")).status == 204
    await purge(ada, gone)
    await server.join(ada, bob, "editor")
    told: dict[str, str] = {}
    page = before
    while True:
        page = (await bob.get(f"/sync?limit=1&cursor={page['next_cursor']}")).json
        told.update({one["id"]: one["action"] for one in page["changes"]})
        if not page["has_more"]:
            break
    assert (told[kept], told[gone]) == ("upsert", "delete")
    assert (await bob.get(f"/sync?cursor={page['next_cursor']}")).json["changes"] == []


async def test_what_was_purged_meanwhile_and_is_forgotten(server: Server) -> None:
    """Then they have to begin anew."""
    ada = await server.person("Ada")
    bob = await server.member(ada, "Bob", "editor")
    gone = await made(ada, "Gone")
    before = (await bob.get("/sync")).json
    assert (await ada.delete(f"/workspaces/{ada.workspace_id}/members/{bob.id}")).status == 204
    await purge(ada, gone)
    await server.join(ada, bob, "editor")
    assert await server.database.write(lambda tx: changes.forget_deletions(tx, kept=-1)) > 0
    answer = await bob.get(f"/sync?cursor={before['next_cursor']}")
    assert (answer.status, answer.problem) == (410, "resync-required")
