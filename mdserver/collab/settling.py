"""At a start: brings texts up to their logs where a server ended while people were writing."""

from __future__ import annotations

import logging
from functools import partial

from mdserver.errors import Conflict
from mdserver.model import live
from mdserver.store.db import Database, Reader
from mdserver.store.marker import Marker

log = logging.getLogger("mdserver.collab")


async def settle(database: Database, marker: Marker) -> int:
    """Give every unsettled document its text and a version, before anybody reads it; how many there were.

    One that cannot be replayed stays as it is, and is told of.
    """
    count, after = 0, ""
    while found := await database.read(partial(_unsettled, after=after)):
        for document_id in found:
            count += await _settle(database, marker, document_id)
        after = found[-1]
    if count:
        log.info("%s texts were brought up to what was written before the last end", count)
    return count


async def _settle(database: Database, marker: Marker, document_id: str) -> bool:
    try:
        with marker.loading(document_id):
            made = await database.read(partial(_replayed, document_id=document_id))
        return made is not None and await database.write(lambda tx: live.project(tx, made)) is not None
    except Conflict as closed:
        log.warning("document %s stays as it is: %s", document_id, closed.detail)
        return False
    except Exception:  # the other documents must not wait for it
        log.exception("a text could not be brought up to its log: document %s", document_id)
        return False


def _unsettled(db: Reader, *, after: str) -> list[str]:
    return live.unsettled(db, after=after)


def _replayed(db: Reader, *, document_id: str) -> live.Projection | None:
    return live.replayed(db, document_id)
