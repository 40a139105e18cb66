"""Prose for documents: paragraphs from the descriptions of installed packages, put together anew."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import distributions
from random import Random
from typing import NamedTuple

SEED = 20260131
SIZE = 1500
"""About how many characters a text has; most are near it, some are much shorter or longer."""


class Text(NamedTuple):
    """What one document is made of."""

    title: str
    content: str


def paragraphs() -> list[str]:
    """Paragraphs of some length, each once, in an order that depends on nothing but the packages' texts."""
    found: set[str] = set()
    for package in distributions():
        described = (package.read_text("METADATA") or "").partition("\n\n")[2]
        for one in re.split(r"\n[ \t]*\n", described):
            paragraph = one.strip()
            if 60 < len(paragraph) < 1200 and len(paragraph.split()) > 8:
                found.add(paragraph)
    if len(found) < 100:
        raise RuntimeError("the installed packages describe themselves too shortly to make documents of")
    return sorted(found)


def texts(count: int) -> Iterator[Text]:
    """So many texts of prose under a heading, the same ones each time; titles are told apart by a number."""
    source, random = paragraphs(), Random(SEED)
    for number in range(1, count + 1):
        size = random.choice((SIZE // 4, SIZE // 2, SIZE, SIZE, SIZE, 2 * SIZE))
        body = [random.choice(source)]
        words = re.findall(r"\w[\w'-]*", body[0])[:6]
        title = f"{' '.join(words)[:60]} {number}"
        while sum(map(len, body)) < size:
            body.append(random.choice(source))
        yield Text(title, "\n\n".join((f"# {title}", *body)) + "\n")
