"""Rich text through every door: made from Markdown, edited in place, live and over REST, copied whole."""

from __future__ import annotations

from typing import Any

from pycrdt import XmlElement, XmlFragment, XmlText

from mdserver.crdt import lib0

from .conftest import Person, Server
from .editors import Editor, opened
from .test_live import document, shown, text_of

MARKDOWN = "# Plan\n\n- one\n- two **bold**\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n"


async def rich(person: Person, content: str = MARKDOWN, **more: Any) -> str:
    answer = await person.post(
        f"/workspaces/{person.workspace_id}/documents", {"title": "Plan", "kind": "richtext", "content": content} | more
    )
    assert (answer.status, answer.json["kind"]) == (201, "richtext"), answer
    return str(answer.json["id"])


def fragment(editor: Editor) -> Any:
    return editor.doc.get("default", type=XmlFragment)


async def append(editor: Editor, words: str) -> None:
    """Write a paragraph at the end, as TipTap does."""

    def change(_: object) -> None:
        paragraph = XmlElement("paragraph", {}, [XmlText(words)])
        fragment(editor).children.append(paragraph)

    await editor.edit(change)


async def test_markdown_in_and_out(server: Server) -> None:
    ada = await server.person("Ada")
    id = await rich(ada)
    assert await text_of(ada, id) == MARKDOWN
    async with opened(ada, id) as editor:
        assert [child.tag for child in fragment(editor).children] == ["heading", "bulletList", "table"]
        await append(editor, "Live *words*")
        await shown(ada, id, MARKDOWN + "\nLive \\*words\\*\n")

        answer = await ada.put(
            f"/documents/{id}/content",
            {"content": MARKDOWN.replace("two", "2") + "\nLive \\*words\\*\n"},
            headers={"If-Match": "*"},
        )
        assert answer.status == 200, answer
        await editor.until(lambda: "2 " in str(fragment(editor)))
        await append(editor, "more")
        await shown(ada, id, MARKDOWN.replace("two", "2") + "\nLive \\*words\\*\n\nmore\n")
    found = (await ada.get(f"/documents/{id}/attribution")).json["items"]
    assert "".join(one["text"] for one in found) == "Plan\none\n2 bold\na\nb\n1\n2\nLive *words*\nmore\n"
    assert len((await ada.get(f"/documents/{id}/versions")).json["items"]) >= 3


async def test_what_is_written_is_shown_in_its_normal_form(server: Server) -> None:
    ada = await server.person("Ada")
    id = await rich(ada, "Plan\n====\n\n* one\n* two\n")
    assert await text_of(ada, id) == "# Plan\n\n- one\n- two\n"
    tag = (await ada.get(f"/documents/{id}/content")).headers["ETag"]
    answer = await ada.put(
        f"/documents/{id}/content", {"content": "Plan\n====\n\n* one\n* two\n"}, headers={"If-Match": tag}
    )
    assert (answer.status, answer.json["version"]) == (200, 1)  # it says the same
    answer = await ada.patch(f"/documents/{id}/content", {"content": "# Plan\n\n* one\n* 2\n", "base_version": 1})
    assert (answer.status, answer.json["document"]["version"]) == (200, 2)
    assert await text_of(ada, id) == "# Plan\n\n- one\n- 2\n"
    restored = await ada.post(f"/documents/{id}/versions/1/restore")
    assert (restored.status, await text_of(ada, id)) == (200, "# Plan\n\n- one\n- two\n")


async def test_a_copy_keeps_what_markdown_cannot_say(server: Server) -> None:
    ada = await server.person("Ada")
    id = await rich(ada, "some words")
    async with opened(ada, id) as editor:

        def underline(_: object) -> None:
            paragraph = fragment(editor).children[0]
            paragraph.children[0].format(0, 4, {"underline": {}})

        await editor.edit(underline)
        await editor.until(lambda: editor.saved >= 2)
    copied = await ada.post(f"/documents/{id}/copies", {})
    assert copied.status == 201, copied
    made = await ada.post(f"/workspaces/{ada.workspace_id}/documents", {"title": "From", "from": id})
    assert (made.status, made.json["kind"]) == (201, "richtext")
    async with opened(ada, copied.json["id"]) as editor:
        assert [(str(text), marks) for text, marks in fragment(editor).children[0].children[0].diff()] == [
            ("some", {"underline": {}}),
            (" words", None),
        ]


async def test_a_mind_map_is_a_text(server: Server) -> None:
    ada = await server.person("Ada")
    path = f"/workspaces/{ada.workspace_id}/documents"
    answer = await ada.post(path, {"title": "Map", "kind": "mindmap", "content": "# Root\n"})
    id = answer.json["id"]
    async with opened(ada, id) as editor:
        assert editor.text == "# Root\n"
        await editor.write("- leaf\n")
        await shown(ada, id, "# Root\n- leaf\n")


async def test_an_editor_of_another_schema_may_only_read(server: Server) -> None:
    ada = await server.person("Ada")
    id, plain = await rich(ada, "some words"), await document(ada)
    for schema, document_id, scope in (("1", id, "read-write"), ("2", id, "readonly"), ("2", plain, "read-write")):
        async with ada.http.ws_connect(f"/collab?schema={schema}", headers=ada.headers) as ws:
            editor = Editor(ws, address=lib0.text(document_id))
            await editor.sign_in("")
            await editor.until(lambda editor=editor: editor.scope)  # type: ignore[misc]
            assert editor.scope == scope
            await editor.leave()
