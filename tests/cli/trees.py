"""Folders of Markdown to be imported, and what they hold."""

from __future__ import annotations

import os
from pathlib import Path

NASTY: dict[str, bytes] = {
    "README.md": b"# Read me\n",
    "readme.md": b"# read me too\n",
    "Caf\u00e9.md": "composed \u00e9\n".encode(),
    "Cafe\u0301.md": "decomposed e\u0301\n".encode(),
    "bom.md": b"\xef\xbb\xbf# With a mark\n",
    "crlf.md": b"# Windows\r\n\r\nline\r\n",
    "cr.md": b"# Old Mac\rline\r",
    "mixed.md": b"a\nb\r\nc\rd\n\n\n",
    "no newline.md": b"# Title",
    "empty.md": b"",
    "blank.md": b" \t\n \n",
    "front.md": b"---\ntitle: Front\ntags: [one, Two, two]\n---\n\nbody\n",
    "front crlf.md": b'---\r\ntitle: ""\r\ntags:\r\n  - x\r\n---\r\nbody',
    "broken front.md": b"---\ntitle: [unclosed\n---\n# Heading\n",
    "controls.md": b"\x01\x02 tab\tform\x0cfeed \x7f \xc2\x85 \xe2\x80\xa8 \xe2\x80\xa9 end",
    "astral \U0001f389.md": "\U0001f389\U0001f468\u200d\U0001f469\u200d\U0001f467 \ufeff inside\n".encode(),
    "noncharacters.md": "\uffff\ufdd0\U0010ffff".encode(),
    "rtl \u05d0\u05d1.md": "\u202eoverride\n".encode(),
    "Plan.md": b"# Plan\n",
    "Plan/first.md": b"# First\n",
    "Plan/first/deeper.markdown": b"# Deeper\n",
    "Plan/README.MD": b"upper\n",
    "folder/a.md": b"[b](b.md) [[Plan]]\n",
    "folder/sub folder/b c.md": b"x",
    "folder.md.d/x.md": b"y",
    "dots...md": b"z",
    " leading and trailing .md": b"s",
    "quotes '\"<>|?*.md": b"q",
    "CON.md": b"windows\n",
    "-rf.md": b"dash\n",
    "\u8a08\u753b/\u65e5\u8a18.md": "\u8a18\n".encode(),
    "long" + "g" * 230 + ".md": b"long\n",
    "/".join(["deep"] * 60) + "/end.md": b"deep\n",
    "large.md": b"0123456789abcdef\n" * 120_000,
}


def plant(root: Path, files: dict[str, bytes]) -> Path:
    """Write the files below a new folder."""
    for path, data in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return root


def harvest(root: Path) -> dict[str, bytes]:
    """Every file below a folder, whatever it is called."""
    return {
        os.path.relpath(os.path.join(folder, name), root): Path(folder, name).read_bytes()
        for folder, _, names in os.walk(root)
        for name in names
    }
