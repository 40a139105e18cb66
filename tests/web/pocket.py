"""A device in a pocket: what tests of sync do again and again."""

from __future__ import annotations

import base64
import uuid
from typing import Any

from mdserver import ids

from .conftest import Answer, Client, Json, Person


def operation(does: str, /, **fields: Any) -> Json:
    """An operation on a document, with an op_id of its own."""
    return {"op_id": str(uuid.uuid4()), "type": f"document.{does}", **fields}


def creation(who: Person, title: str | None = "Plan", **fields: Any) -> Json:
    """A document that is to be made in one's own workspace."""
    return operation("create", **{"id": ids.new(), "workspace_id": who.workspace_id, "title": title, **fields})


async def push(who: Client, *operations: Json, device: str = "pocket") -> list[Json]:
    """Bring operations; what came of each."""
    answer = await who.post("/sync", {"device_id": device, "operations": list(operations)})
    assert answer.status == 200, answer
    results: list[Json] = answer.json["results"]
    assert len(results) == len(operations)
    for result in results:
        assert (result["status"] == "refused") == (result["problem"] is not None), result
    return results


async def applied(who: Client, *operations: Json) -> list[Json]:
    """The same, of which all are applied."""
    results = await push(who, *operations)
    assert [one["status"] for one in results] == ["applied"] * len(operations), results
    return results


async def refused(who: Client, one: Json) -> tuple[int, str]:
    """Status and slug of what an operation is refused with."""
    (result,) = await push(who, one)
    assert result["status"] == "refused", result
    return result["problem"]["status"], result["problem"]["type"].rpartition("/")[2]


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Pocket:
    """A device that pulls: what it was told of each thing, and where it is."""

    def __init__(self, who: Client, **query: str) -> None:
        self.who, self.query = who, query
        self.cursor: str | None = None
        self.things: dict[tuple[str, str], Json] = {}
        self.revoked: list[str] = []

    async def page(self, limit: int = 200) -> Answer:
        """Ask for a page, and take it in when it comes."""
        query = {"limit": str(limit), **self.query}
        if self.cursor is not None:
            query["cursor"] = self.cursor
        answer = await self.who.get("/sync", params=query)
        if answer.status == 200:
            assert len(answer.json["changes"]) <= limit + 20  # besides what is revoked, and one's own workspace
            self.cursor = answer.json["next_cursor"]
            for one in answer.json["changes"]:
                self._take(one)
        return answer

    async def pull(self, limit: int = 200) -> list[Json]:
        """Pull to the end; everything that was told, in order."""
        told: list[Json] = []
        while True:
            answer = await self.page(limit)
            assert answer.status == 200, answer
            told += answer.json["changes"]
            if not answer.json["has_more"]:
                return told

    @property
    def documents(self) -> dict[str, Json]:
        """The documents that are there, by id."""
        return {id: one for (entity, id), one in self.things.items() if entity == "document"}

    def _take(self, one: Json) -> None:
        assert (one["object"] is None) == (one["action"] != "upsert"), one
        if one["action"] == "access_revoked":
            self.revoked.append(one["workspace_id"])
            for key in [key for key, thing in self.things.items() if thing["workspace_id"] == one["workspace_id"]]:
                del self.things[key]
        elif one["action"] == "delete":
            self.things.pop((one["entity"], one["id"]), None)
        else:
            self.things[one["entity"], one["id"]] = {"workspace_id": one["workspace_id"], **one["object"]}
