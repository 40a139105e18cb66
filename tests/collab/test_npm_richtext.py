"""Real TipTap editors on the real server: what they open, type and undo, beside REST, kills and restored versions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from mdserver.crdt import richtext
from tests.npm import clients
from tests.npm.clients import Client, Driver

from . import houses, mixed
from .dying import Story
from .houses import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

MARKDOWN = """\
# Plan 計画

One line with **bold**, *italic, **both** 😀*, ~~struck~~, `code` and [a link](https://example.org "Title").\\
Broken, ![a picture](/picture.png "Picture") within, for [@Ben](mention:u1).

## Lists

- one
  - one in one
    - one in that

    and a paragraph
- two

3. three
4. four
   - [x] done
   - [ ] to do
     - [ ] later

> quoted
>
> > twice
> >
> > ```python
> > def f():
> >     return "*"
> > ```

| left | right |
| :--- | ---: |
| **1** | `2` |
| a<br>b | \\| |

---

```
plain

code
```

<div>kept</div>

The anchor is here: word.

Last line.
"""
WORD = "word"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with houses.running(tmp_path_factory.mktemp("rich")) as made:
        yield made
    assert await made.faults() == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[Driver]:
    async with clients.running() as driver:
        yield driver


async def both(house: House, node: Driver, document: str) -> tuple[Client, Client]:
    """Ada's editor and Ben's."""
    return (
        await house.open(node, "hocuspocus", document, field="tiptap"),
        await house.open(node, "y-websocket", document, "Ben", field="tiptap"),
    )


async def log(house: House, document: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await house.ask("GET", f"/documents/{document}/log")).json["items"]
    return found


async def write(one: Client, before: str, text: str) -> None:
    """Type some text right before another."""
    at = await one.find(before)
    assert at > 0
    await one.insert(at, text)


async def equal(house: House, node: Driver, document: str, *all_of_them: Client) -> None:
    """Wait until all have the same and REST says so, too; then editors show just that, as does one opened anew."""
    await node.same(*all_of_them)
    await mixed.follows(house, document, all_of_them[0])
    fresh = await house.open(node, "hocuspocus", document, field="tiptap")
    expected = await fresh.json()
    for one in all_of_them:
        assert await one.json() == expected
    await fresh.destroy()


async def test_all_that_markdown_says(node: Driver, house: House) -> None:
    """Opening it writes nothing; what one types the other sees, and REST gives the normal form of."""
    document = await house.document(MARKDOWN, kind="richtext")
    text = richtext.normal(MARKDOWN)
    assert await house.text(document) == text
    ada, ben = await both(house, node, document)
    before = await ada.state_vector()
    assert await ada.json() == await ben.json()
    for one, other in ((ada, ben), (ben, ada)):
        await one.set_awareness("opened", one.name)
        await other.sees("opened", one.name)  # it would come after what they write
    await ada.saved()
    assert await ada.state_vector() == await ben.state_vector() == before
    assert len(await log(house, document)) == 1

    await write(ada, "Last line", "Very 😀 *")
    await ben.shows("Very 😀 *Last line")
    await write(ben, "one in that", "number ")
    await ada.shows("number one in that")
    text = text.replace("Last", "Very 😀 \\*Last").replace("one in that", "number one in that")
    async with asyncio.timeout(10):
        await house.reads(document, text)
    await equal(house, node, document, ada, ben)
    assert richtext.normal(text) == text
    assert len(await log(house, document)) == 3


EDITS = [
    ("One line", "Another line"),
    ("| **1** |", "| **one** 🎉 |"),
    ("## Lists\n\n", ""),
    ("The anchor", "- new\n\nThe anchor"),
    ("here: word", "here: 🎉word"),
    ("The anchor", "The **anchor**"),
    ("is here: 🎉word", "was there, 世界: word"),
    ("word.", "word🎉."),
    ("世界: word", "世界: [word](https://example.org)"),
]
"""By REST, one after the other: elsewhere, in the same paragraph, and around the very word."""


async def anchored(one: Client) -> tuple[str, str]:
    """Behind the first letter of WORD, and behind its last: TipTap's places hold on to what stands before them."""
    at = await one.find(WORD)
    return await one.relative(at + 1), await one.relative(at + len(WORD))


async def holds(one: Client, anchors: tuple[str, str]) -> None:
    """The anchors stand in WORD."""
    at = await one.find(WORD)
    assert at > 0
    assert [await one.absolute(anchor) for anchor in anchors] == [at + 1, at + len(WORD)]


async def test_places_that_stay_at_their_words(node: Driver, house: House) -> None:
    """PUT, PATCH and versions that are restored write only what differs."""
    document = await house.document(MARKDOWN, kind="richtext")
    text = richtext.normal(MARKDOWN)
    ada, ben = await both(house, node, document)
    anchors = await anchored(ada)
    version = 1
    for number, (old, new) in enumerate(EDITS):
        changed = text.replace(old, new)
        assert richtext.normal(changed) == changed != text
        if number % 2:
            body = {"base_version": version, "content": changed}
            answer = await house.ask("PATCH", f"/documents/{document}/content", body)
            version = answer.json["document"]["version"]
        else:
            version = (await house.put(document, changed)).json["version"]
        assert await house.text(document) == changed
        text = changed
        if number % 4 == 3:
            await write(ben, "Last line", f"({number})")
            text = text.replace("Last line", f"({number})Last line")
            await house.reads(document, text)
        plain = new.replace("**", "").strip("|- \n").rpartition("\n")[2].partition("[")[0]
        for one in (ada, ben):
            await one.shows(plain)
            await holds(one, anchors)
    await equal(house, node, document, ada, ben)
    await house.ask("POST", f"/documents/{document}/versions/1/restore", headers={"If-Match": "*"})
    assert await house.text(document) == richtext.normal(MARKDOWN)
    await ada.shows("One line")
    for one in (ada, ben):
        await one.shows("\n\nLast line.")
        await holds(one, anchors)
    await equal(house, node, document, ada, ben)


@pytest.mark.parametrize("seed", [1, 2])
async def test_rest_edits_while_people_type(node: Driver, house: House, seed: int) -> None:
    assert await mixed.type_on(house, node, seed=seed, clients=2, edits=8, rich=True) == []


@pytest.mark.parametrize(("seed", "rest"), [(1, False), (2, True), (3, True)])
async def test_edits_and_lost_connections(node: Driver, house: House, seed: int, rest: bool) -> None:
    assert await mixed.converge(house, node, seed=seed, steps=60, rest=rest, rich=True) == []


async def test_killed_while_people_type(node: Driver, house: House) -> None:
    story = Story(house, node, seed=1, rich=True)
    assert await story.live(clients=2) == []
    assert story.typed > 0


async def test_a_version_that_is_restored_and_what_is_undone(node: Driver, house: House) -> None:
    """Undo after it brings back and takes away only what the editor itself did; all go on."""
    document = await house.document(MARKDOWN, kind="richtext")
    ada, ben = await both(house, node, document)
    await write(ada, "Last line", "(typed)")
    at = await ada.find("done")
    await ada.delete(at, 4)
    await ada.command("setTextSelection", {"from": await ada.find(WORD), "to": await ada.find(WORD) + 4})
    await ada.command("toggleBold")
    await ada.command("insertContentAt", 0, "<table><tr><td>new</td></tr></table><ul><li>new item</li></ul>")
    await ben.shows("(typed)", "new item")
    await ada.saved()
    await equal(house, node, document, ada, ben)

    await house.ask("POST", f"/documents/{document}/versions/1/restore", headers={"If-Match": "*"})
    assert await house.text(document) == richtext.normal(MARKDOWN)
    await ada.shows("done", "\n\nLast line.")
    await equal(house, node, document, ada, ben)
    undone = 0
    while await undo(ada):
        undone += 1
        await node.same(ada, ben)
        assert await ada.json() == await ben.json()
    await equal(house, node, document, ada, ben)
    assert undone > 0
    await write(ada, "Last line", "(more)")
    await write(ben, "anchor", "(also) ")
    for one in (ada, ben):
        await one.shows("(more)Last line", "(also) anchor")
    await equal(house, node, document, ada, ben)
    await ada.command("undo")
    await ada.command("redo")
    await equal(house, node, document, ada, ben)
    assert "(more)Last line" in await house.text(document)


async def undo(one: Client) -> bool:
    """Undo, if there is something to."""
    try:
        await one.command("undo")
    except clients.Failed:
        return False
    return True


async def test_who_wrote_what_and_a_copy(node: Driver, house: House) -> None:
    document = await house.document("begun\n", kind="richtext")
    ada, ben = await both(house, node, document)
    await ada.command(
        "insertContentAt", 0, "<h2>By <u>Ada</u> alone</h2><ul data-type='taskList'><li>her task</li></ul>"
    )
    await ben.shows("her task")
    await ben.command("insertContentAt", await ben.find("begun"), "said Ben: ")
    await ada.shows("said Ben: begun")
    await equal(house, node, document, ada, ben)
    found = (await house.ask("GET", f"/documents/{document}/attribution")).json["items"]
    written = {
        name: "".join(one["text"] for one in found if one["author"]["display_name"] == name) for name in ("Ada", "Ben")
    }
    assert "Ada alone" in written["Ada"]
    assert "begun" in written["Ada"]
    assert written["Ben"].strip() == "said Ben:"

    copied = (await house.ask("POST", f"/documents/{document}/copies", {}, status=201)).json["id"]
    one = await house.open(node, "hocuspocus", copied, field="tiptap")
    assert await one.json() == await ada.json()
    assert "<u>Ada</u>" in await one.html()
    assert await house.text(copied) == await house.text(document)
    await write(one, "her task", "(copy)")
    await mixed.follows(house, copied, one)
    assert "(copy)" not in await house.text(document)


async def test_an_editor_of_another_schema_may_only_read(node: Driver, house: House) -> None:
    document = await house.document(MARKDOWN, kind="richtext")
    ada = await house.open(node, "hocuspocus", document, field="tiptap")
    token = house.people["Ada"].token
    given = houses.credentials("hocuspocus", token)
    provider = await node.open("hocuspocus", url=f"{house.url}?schema=2", document=document, field="tiptap", **given)
    assert (await provider.status())["scope"] == "readonly"
    given = houses.credentials("y-websocket", token) | {"options": {"params": {"schema": "2"}}}
    other = await node.open("y-websocket", url=house.url, document=document, field="tiptap", **given)
    await write(ada, "Last line", "(good)")
    for one in (provider, other):
        await one.shows("(good)Last line")
        await write(one, "Last line", "(bad)")
        await one.set_awareness("wrote", one.name)
        await ada.sees("wrote", one.name)
    assert await provider.unsynced() == 1
    assert "(bad)" not in await ada.seen()
    await house.reads(document, richtext.normal(MARKDOWN).replace("Last line", "(good)Last line"))
