"""Many documents in a database in little time, by the functions that requests come to."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from mdserver.model import documents, workspaces
from mdserver.model.access import Principal
from mdserver.model.documents import Draft
from mdserver.store.db import Tx
from mdserver.store.sqlite import SQLite

from .corpus import paragraphs
from .servers import EMAIL

BATCH = 50


async def grow(path: Path, length: int, is_enough: Callable[[int], bool]) -> int:
    """Documents of some length (characters) in the first workspace, until so many are enough; how many."""
    chance, source = random.Random(4), paragraphs()
    database = await SQLite.open(path, synchronous="OFF")
    try:
        me, workspace_id = await database.read(
            lambda db: db.rows(
                "SELECT u.id, m.workspace_id FROM users u JOIN workspace_members m ON m.user_id = u.id"
                " WHERE u.email = $1",
                EMAIL,
            )[0]
        )
        actor = Principal(
            user_id=me,
            device="bench",
            display_name="",
            avatar_url=None,
            is_admin=False,
            kind="app",
            credential_id="",
            authenticated_at=0,
        )
        number = 0
        while not is_enough(number):
            drafts = []
            for _ in range(BATCH):
                body = [chance.choice(source)]
                while sum(map(len, body)) < length:
                    body.append(chance.choice(source))
                drafts.append(documents.draft("\n\n".join(body), maximum_bytes=1 << 24))
            number += BATCH

            def change(tx: Tx, drafts: list[Draft] = drafts, number: int = number) -> None:
                role = workspaces.enter(tx, actor, workspace_id)
                for place, draft in enumerate(drafts):
                    title = f"Long {number + place}"
                    documents.create(tx, actor, workspace_id, role=role, title=title, kind="markdown", draft=draft)

            await database.write(change)
        return number
    finally:
        await database.close()
