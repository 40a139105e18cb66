"""How a document of each kind says its Markdown: the functions that make, read and edit it. Floor 0."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from . import text

if TYPE_CHECKING:
    from .text import Scratch

SCHEMA = "1"
"""The version of the nodes and marks of rich text. An editor that lacks some of them would delete them."""


class Form(NamedTuple):
    """What `crdt/text.py` does for texts and `crdt/richtext.py` for TipTap's documents.

    `normal` is what a document says that was made from a Markdown; `is_plain`: the same, letter for letter.
    """

    root: str
    is_plain: bool
    first_update: Callable[[str], bytes]
    text_of: Callable[[Scratch], str]
    edit: Callable[[Scratch, str], bytes | None]
    normal: Callable[[str], str]


_PLAIN = Form(text.NAME, True, text.first_update, text.text_of, text.edit, str)


def of(kind: str) -> Form:
    """The functions for a document's kind: `markdown`, `mindmap` or `richtext`."""
    return _rich() if kind == "richtext" else _PLAIN


@cache
def _rich() -> Form:
    from . import richtext  # its parser costs a start as much as a quarter of the rest

    return Form(richtext.NAME, False, richtext.first_update, richtext.text_of, richtext.edit, richtext.normal)
