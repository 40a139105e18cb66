"""Rich text as Yjs XML, the `Y.XmlFragment` named `default` that TipTap edits: making, reading, editing. Floor 0.

Its Markdown has one normal form, which is CommonMark with GFM's tables, strikethrough, task lists and footnotes:

- `-` for bullets (`*` where two lists stand side by side), `*italic*`, `**bold**`, `#` headings, fenced code, `---`,
  a backslash for a hard break (`<br>` in tables and headings), one line for each paragraph, backslashes only where a
  text would be read as markup.
- What TipTap's schema cannot hold stays as source, marked as Pandoc marks it: HTML blocks, footnotes of several
  blocks and unused definitions are code blocks of the language `{=html}` or `{=markdown}`; inline HTML and linked
  images are inline code with `{=html}` or `{=markdown}` after it; front matter, kept to the byte, is a first code
  block `{=yaml}`. A footnote of one paragraph is a paragraph that begins with `[^label]: `. References become links.
- `[@label](mention:id)` is a mention.
- Lost: whether a list is loose (it is when an item holds more than a paragraph and lists), how lines were wrapped,
  marks on images and mentions and on blanks at their ends, emphasis within the same emphasis, a break at the end of a
  block, which cells below the first row are headers.
- Not said in Markdown, but kept when it is edited: empty paragraphs, underline and other marks, attributes of cells,
  nodes of other kinds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rich import edit as editing
from .rich import encode, parse, read, write
from .text import as_new_client, new_client

if TYPE_CHECKING:
    from .text import Scratch

NAME = read.NAME


def first_update(markdown: str) -> bytes:
    """The Yjs v1 update that makes an empty document say the Markdown, by a fresh client id; two bytes for "".

    ValueError when the text holds half a surrogate pair.
    """
    markdown.encode()
    return encode.first_update(parse.blocks_of(markdown), new_client(), NAME)


def text_of(doc: Scratch) -> str:
    """The Markdown of the document as it stands."""
    with doc.transaction() as transaction:
        return write.document(read.read(doc, transaction._txn).blocks)


def normal(markdown: str) -> str:
    """The same Markdown as a rich text document says it."""
    return write.document(parse.blocks_of(markdown))


def edit(doc: Scratch, markdown: str) -> bytes | None:
    """Make the document say the Markdown by the smallest edit, under a client id that the document has not seen.

    Blocks that say the same stay untouched; in a changed one only what differs is written. Returns the update that
    holds exactly this edit, or None when nothing changes. ValueError, with the document as it was, when the Markdown
    holds half a surrogate pair.
    """
    markdown.encode()
    if text_of(doc) == markdown:
        return None
    blocks = parse.blocks_of(markdown)
    return as_new_client(doc, lambda fresh: editing.make(fresh, blocks))
