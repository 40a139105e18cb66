"""Cursors and comment anchors, as Yjs' relative positions, under edits that come by REST: they stay at their words."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.npm import clients
from tests.npm.clients import Client, Driver, Field, Kind

from . import houses
from .houses import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "# 計画 😀\n\nOne line, 東京タワー 🗼🗼 and *emphasis*.\n\nThe anchor 👩‍👩‍👧 is here: word.\n\nLast line.\n"
WORD = "word"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with houses.running(tmp_path_factory.mktemp("anchors")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[Driver]:
    async with clients.running() as driver:
        yield driver


def unit(text: str, word: str) -> int:
    """Where a word begins, in UTF-16 units as JavaScript counts."""
    return len(text[: text.index(word)].encode("utf-16-le")) // 2


async def anchored(one: Client, text: str) -> tuple[str, str]:
    """The beginning and the end of WORD."""
    start = unit(text, WORD)
    return await one.relative(start), await one.relative(start + len(WORD), -1)


async def holds(one: Client, anchors: tuple[str, str], text: str) -> None:
    """The anchors stand around WORD in this text, once the client has it."""
    await one.reads(text)
    start = unit(text, WORD)
    assert [await one.absolute(anchor) for anchor in anchors] == [start, start + len(WORD)]


EDITS = {
    "elsewhere": ("One line", "Another line"),
    "emoji before": ("😀", "😀👍🏽東"),
    "a paragraph gone": ("One line, 東京タワー 🗼🗼 and *emphasis*.\n\n", ""),
    "right before": ("here: word", "here: 🎉word"),
    "the letters before": ("is here: word", "was there, 世界: word"),
    "right behind": ("word.", "word🎉."),
    "all around": ("The anchor 👩‍👩‍👧 is here: word.", "No 👩‍👩‍👧: word!"),
    "a surrogate of another": ("🗼🗼", "🗽🗼"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize(("kind", "field"), [("hocuspocus", "codemirror"), ("y-websocket", "text")])
async def test_an_edit_by_rest(node: Driver, house: House, kind: Kind, field: Field, edit: tuple[str, str]) -> None:
    """PUT and PATCH make the smallest edit: what stands elsewhere keeps its identity."""
    document = await house.document(TEXT)
    one = await house.open(node, kind, document, field=field)
    anchors = await anchored(one, TEXT)
    changed = TEXT.replace(*edit)
    assert changed != TEXT
    await house.put(document, changed)
    await holds(one, anchors, changed)

    again = changed.replace("Last line", "The last 行 🏁")
    await house.ask("PATCH", f"/documents/{document}/content", {"base_version": 2, "content": again})
    await holds(one, anchors, again)


@pytest.mark.parametrize("kind", ["hocuspocus", "y-websocket"])
async def test_a_version_that_is_restored(node: Driver, house: House, kind: Kind) -> None:
    document = await house.document(TEXT)
    one = await house.open(node, kind, document)
    anchors = await anchored(one, TEXT)
    await house.put(document, TEXT.replace("One line", "Überschrift 🎈").replace("Last", "Very last"))
    await holds(one, anchors, TEXT.replace("One line", "Überschrift 🎈").replace("Last", "Very last"))
    await house.ask("POST", f"/documents/{document}/versions/1/restore", headers={"If-Match": "*"})
    await holds(one, anchors, TEXT)
    await one.insert(0, "😀 ")
    await holds(one, anchors, f"😀 {TEXT}")
    await house.reads(document, f"😀 {TEXT}")


async def test_a_place_of_somebody_else(node: Driver, house: House) -> None:
    """An anchor that one client has made means the same to every other, and to one that opens the document later."""
    document = await house.document(TEXT)
    ada = await house.open(node, "hocuspocus", document, field="codemirror")
    ben = await house.open(node, "y-websocket2", document, "Ben")
    await ada.insert(unit(TEXT, WORD), "東😀 ")
    text = TEXT.replace(WORD, f"東😀 {WORD}")
    await ben.reads(text)
    anchors = await anchored(ben, text)
    await house.reads(document, text)
    changed = text.replace("計画", "計画と予算").replace("東😀 ", "😀")
    await house.put(document, changed)
    late = await house.open(node, "hocuspocus3", document, "Eve")
    for one in (ada, ben, late):
        await holds(one, anchors, changed)


async def test_a_cursor_in_codemirror(node: Driver, house: House) -> None:
    """As y-codemirror.next tells of one: others find it at the same words after an edit by REST."""
    document = await house.document(TEXT)
    ada = await house.open(node, "hocuspocus", document, field="codemirror")
    ben = await house.open(node, "y-websocket", document, "Ben", field="codemirror")
    at = unit(TEXT, WORD)
    cursor = {"anchor": await ada.relative(at), "head": await ada.relative(at + 4)}
    await ada.set_awareness("cursor", cursor)
    await ben.sees("cursor", cursor)
    changed = TEXT.replace("One line", "😀😀😀 一行")
    await house.put(document, changed)
    await ben.reads(changed)
    state = (await ben.awareness())[(await ada.status())["client_id"]]
    assert state["user"]["name"] == "Ada"
    found = [await ben.absolute(state["cursor"][end]) for end in ("anchor", "head")]
    assert found == [unit(changed, WORD), unit(changed, WORD) + 4]
