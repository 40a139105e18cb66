"""Two folders on one workspace of the real server: everything that people do to files arrives, byte for byte."""

from __future__ import annotations

import pytest

from mdserver.client import Client
from mdserver.folder import home as homes
from mdserver.folder.engine import Engine
from tests.engines import on_both

from .world import World


async def test_a_tree_there_and_back(world: World) -> None:
    a, b = world.folder("a"), world.folder("b")
    a.write("bom.md", b"\xef\xbb\xbf# X\r\nhello\r\n")
    a.write("Plan.md", "# The plan")
    a.write("Plan/sub.md", "---\ntags: [one, two]\n---\n[[Plan]] and [a](../Plan.md)")
    a.write("d/e/f.md", "f" * 100_000)
    a.write("no newline.markdown", "x")
    a.write("empty.md", "")
    (a.root / "nothing").mkdir()
    before = a.tree()
    assert await world.converge(a, b) == before
    found = await world.documents()
    assert set(found) == {
        "bom.md", "Plan.md", "Plan.md/sub.md", "d", "d/e", "d/e/f.md", "no newline.markdown", "empty.md", "nothing",
    }  # fmt: skip
    assert (found["Plan.md"]["title"], found["Plan.md/sub.md"]["tags"]) == ("The plan", ["one", "two"])
    assert (found["nothing"]["kind"], found["d"]["title"]) == ("folder", "d")


async def test_edits_in_different_places_both_land(world: World) -> None:
    a, b = world.folder("a"), world.folder("b")
    a.write("x.md", "# X\n\none two three\n")
    await world.converge(a, b)
    a.write("x.md", "# X\n\none two three four\n")
    b.write("x.md", "# Y\n\none two three\n")
    assert await world.converge(a, b) == {"x.md": b"# Y\n\none two three four\n"}
    assert (await world.documents())["x.md"]["title"] == "Y"


@on_both
async def test_the_same_words_rewritten_are_a_conflict_and_both_stay(world: World) -> None:
    a, b = world.folder("a"), world.folder("b")
    a.write("x.md", "we meet on Monday at noon\n")
    await world.converge(a, b)
    a.write("x.md", "we meet on Tuesday at noon\n")
    b.write("x.md", "we meet on Friday at noon\n")
    await a.sync()
    said = await b.sync()
    (conflict,) = [one for one in said.told if one.what == "conflict"]
    assert (conflict.path, conflict.more["yours"], conflict.more["theirs"]) == ("x.md", ["Friday"], ["Tuesday"])
    text = (await world.converge(a, b))["x.md"]
    assert text is not None
    assert b"Tuesday" in text
    assert b"Friday" in text


@on_both
async def test_moves_and_renames_keep_the_id(world: World) -> None:
    a, b = world.folder("a"), world.folder("b")
    a.write("d/x.md", "# X\n")
    a.write("d/y.md", "# Y\n")
    a.write("Plan.md", "plan")
    a.write("Plan/sub.md", "sub")
    await world.converge(a, b)
    ids = {path: one["id"] for path, one in (await world.documents()).items()}
    a.move("d", "e/d")
    a.move("e/d/x.md", "z.md")
    a.move("Plan", "Plot")
    a.move("Plan.md", "Plot.md")
    b.write("d/y.md", "# Y\nedited meanwhile\n")
    tree = await world.converge(a, b)
    assert set(tree) == {"e", "e/d", "e/d/y.md", "z.md", "Plot.md", "Plot", "Plot/sub.md"}
    assert tree["e/d/y.md"] == b"# Y\nedited meanwhile\n"
    now = {path: one["id"] for path, one in (await world.documents()).items()}
    assert (now["e/d/y.md"], now["z.md"], now["e/d"]) == (ids["d/y.md"], ids["d/x.md"], ids["d"])
    assert (now["Plot.md"], now["Plot.md/sub.md"]) == (ids["Plan.md"], ids["Plan.md/sub.md"])


async def test_a_rename_and_an_edit_in_one(world: World) -> None:
    a = world.folder("a")
    a.write("x.md", "# X\n\nlong enough to be known again\n")
    await a.sync()
    id = a.id("x.md")
    a.move("x.md", "y.md")
    a.write("y.md", "# X\n\nlong enough to be known again, and changed\n")
    await a.sync()
    assert a.id("y.md") == id
    assert await world.text(id) == a.read("y.md")


async def test_only_the_case_changes(world: World) -> None:
    a, b = world.folder("a"), world.folder("b")
    a.write("note.md", "n")
    await world.converge(a, b)
    a.move("note.md", "Note.md")
    assert await world.converge(a, b) == {"Note.md": b"n"}


@on_both
async def test_names_swapped_on_the_server(world: World) -> None:
    a, b = world.folder("a"), world.folder("b")
    a.write("1.md", "one")
    a.write("2.md", "two")
    await world.converge(a, b)
    one, two = a.id("1.md"), a.id("2.md")
    for id, name in ((one, "3.md"), (two, "1.md"), (one, "2.md")):
        assert (
            await world.owner.patch(f"/documents/{id}", {"filename": name}, headers={"If-Match": "*"})
        ).status == 200
    assert await world.converge(a, b) == {"1.md": b"two", "2.md": b"one"}


@on_both
async def test_deleting_folders_and_documents(world: World) -> None:
    a, b = world.folder("a"), world.folder("b")
    a.write("d/e/x.md", "x")
    a.write("Plan.md", "plan")
    a.write("Plan/sub.md", "sub")
    a.write("stays.md", "s")
    await world.converge(a, b)
    for path in ("d/e/x.md", "Plan/sub.md", "Plan.md"):
        (a.root / path).unlink()
    for path in ("d/e", "d", "Plan"):
        (a.root / path).rmdir()
    assert await world.converge(a, b) == {"stays.md": b"s"}


@on_both
async def test_a_document_alone_is_deleted_and_what_stood_below_stays(world: World) -> None:
    a, b = world.folder("a"), world.folder("b")
    a.write("Plan.md", "plan")
    a.write("Plan/sub.md", "sub")
    await world.converge(a, b)
    (a.root / "Plan.md").unlink()
    assert await world.converge(a, b) == {"Plan": None, "Plan/sub.md": b"sub"}
    assert (await world.documents())["Plan"]["kind"] == "folder"


@on_both
async def test_an_edit_wins_over_a_deletion_whoever_is_first(world: World) -> None:
    a, b = world.folder("a"), world.folder("b")
    a.write("x.md", "x")
    a.write("y.md", "y")
    await world.converge(a, b)
    (a.root / "x.md").unlink()
    b.write("x.md", "x, edited")
    (b.root / "y.md").unlink()
    a.write("y.md", "y, edited")
    assert await world.converge(a, b) == {"x.md": b"x, edited", "y.md": b"y, edited"}


async def test_what_is_purged_and_edited_is_made_anew(world: World) -> None:
    a, b = world.folder("a"), world.folder("b")
    a.write("x.md", "x")
    await world.converge(a, b)
    id = a.id("x.md")
    for method, path in (("PUT", "trash"), ("DELETE", "")):
        where = f"/documents/{id}/{path}".rstrip("/")
        answer = await world.owner.call(method, where, headers={"If-Match": "*"})
        assert answer.status in (200, 204), answer
    b.write("x.md", "x, edited")
    assert await world.converge(a, b) == {"x.md": b"x, edited"}
    assert a.id("x.md") != id


async def test_a_folder_deleted_there_and_filled_here(world: World) -> None:
    a, b = world.folder("a"), world.folder("b")
    a.write("d/x.md", "x")
    await world.converge(a, b)
    (a.root / "d/x.md").unlink()
    (a.root / "d").rmdir()
    b.write("d/new.md", "new")
    assert await world.converge(a, b) == {"d": None, "d/new.md": b"new"}


async def test_the_same_name_on_both_sides(world: World) -> None:
    a, b = world.folder("a"), world.folder("b")
    await world.converge(a, b)
    a.write("x.md", "from a")
    b.write("x.md", "from b")
    tree = await world.converge(a, b)
    assert set(tree) == {"x.md", "x (2).md"}
    assert {tree["x.md"], tree["x (2).md"]} == {b"from a", b"from b"}


async def test_the_same_folder_and_the_same_text_on_both_sides_are_one(world: World) -> None:
    a, b = world.folder("a"), world.folder("b")
    await world.converge(a, b)
    for folder in (a, b):
        folder.write("d/e/same.md", "the same")
        folder.write(f"d/{folder.root.name}.md", "own")
    tree = await world.converge(a, b)
    assert set(tree) == {"d", "d/e", "d/e/same.md", "d/a.md", "d/b.md"}
    assert len(await world.documents()) == len(tree)


async def test_names_that_differ_in_case_or_form_only(world: World) -> None:
    a, b = world.folder("a"), world.folder("b")
    a.write("Readme.md", "1")
    a.write("readme.md", "2")
    a.write("caf\u00e9.md", "3")
    a.write("cafe\u0301.md", "4")
    tree = await world.converge(a, b)
    assert sorted(one for one in tree.values() if one) == [b"1", b"2", b"3", b"4"]
    assert len({one.casefold() for one in tree}) == 4


async def test_a_new_folder_client_on_a_full_folder_joins(world: World) -> None:
    a, b = world.folder("a"), world.folder("b")
    a.write("same.md", "the same\n")
    a.write("d/other.md", "one\n")
    a.write("theirs.md", "t\n")
    await a.sync()
    b.write("same.md", "the same\n")
    b.write("d/other.md", "two\n")
    b.write("mine.md", "m\n")
    said = await b.sync()
    assert said.of("same.md") == []
    assert "merged" in said.of("d/other.md")
    tree = await world.converge(a, b)
    assert tree["d/other.md"] == b"one\ntwo\n"
    assert set(tree) == {"same.md", "d", "d/other.md", "theirs.md", "mine.md"}
    assert len(await world.documents()) == 5


async def test_tags_and_title_follow_the_text_unless_others_set_them(world: World) -> None:
    a = world.folder("a")
    a.write("x.md", "---\ntitle: One\ntags: [a]\n---\n")
    a.write("y.md", "---\ntags: [a]\n---\n# One\n")
    await a.sync()
    assert (await world.owner.patch(f"/documents/{a.id('y.md')}", {"title": "Own", "tags": ["own"]})).status == 200
    await a.sync()
    a.write("x.md", "---\ntitle: Two\ntags: [a, b]\n---\n")
    a.write("y.md", "---\ntags: [a, b]\n---\n# Two\n")
    await a.sync()
    found = await world.documents()
    assert (found["x.md"]["title"], found["x.md"]["tags"]) == ("Two", ["a", "b"])
    assert (found["y.md"]["title"], found["y.md"]["tags"]) == ("Own", ["own"])


@on_both
async def test_a_first_push_in_parts(world: World) -> None:
    """More than is told at once: parents first, and nothing twice."""
    a, b = world.folder("a"), world.folder("b")
    for number in range(60):
        a.write(f"d{number % 7}/{number}.md", f"{number} and some words\n")
    for number in range(5):
        a.write(f"0{number}.md", f"---\ntags: [{'t' * 50}{number}]\n---\n")
    a.write("d1.md", "above the folder d1\n")

    def little(engine: Engine) -> None:
        engine.part = 100

    said = await a.sync(between=little)
    assert len([one for one in said.told if one.what == "pushed"]) == 60 + 5 + 1 + 6
    assert await world.converge(a, b) == a.tree()


@pytest.mark.parametrize("told", ["one/x.md", "two/x.md"])
async def test_a_move_of_which_one_end_was_told(world: World, told: str) -> None:
    """The disk tells of where a file was, and only then of where it is, or the other way round."""
    a = world.folder("a")
    a.write("one/x.md", "a text that somebody moves\n")
    a.write("two/y.md", "another\n")
    await a.sync()
    id = a.id("one/x.md")
    with homes.opened(a.root, token=a.token) as home:
        async with Client(a.url, home.token, device_id="a", attempts=1) as client:
            engine = Engine(home.state, home.disk, client, tell=lambda one: None)
            engine.begin()
            engine.look()
            a.move("one/x.md", "two/x.md")
            engine.look({told})
            await engine.turn()
            a.move("two", "three")
            engine.look({"three"})
            await engine.turn()
    assert a.id("three/x.md") == id
    found = await world.documents()
    assert sorted(found) == ["one", "three", "three/x.md", "three/y.md"]
    assert (found["three/x.md"]["id"], found["three/x.md"]["version"]) == (id, 1)
