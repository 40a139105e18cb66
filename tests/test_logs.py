"""Log lines: one for each event, for people and as JSON, without secrets."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from mdserver import logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root, quiet = logging.getLogger(), logging.getLogger("asyncio")
    before = root.handlers[:], root.level, quiet.level
    yield
    root.handlers[:], root.level, quiet.level = before
    logging.captureWarnings(False)


def written(*, as_json: bool, level: str = "info") -> io.StringIO:
    out = io.StringIO()
    logs.set_up(level=level, as_json=as_json, out=out)
    return out


def test_for_people(frozen: object) -> None:
    out = written(as_json=False)
    logging.getLogger("mdserver.x").warning("three %s\nand a forged line", "things", extra={"request_id": "abc-1"})
    line = out.getvalue()
    assert line.endswith(r" warning mdserver.x: three things\nand a forged line request_id=abc-1" + "\n")
    assert line.count("\n") == 1


def test_as_json() -> None:
    out = written(as_json=True)
    try:
        raise ValueError("of mds_at_abcdefghijklmnop")
    except ValueError:
        logging.getLogger("mdserver.x").exception("it failed", extra={"count": 3, "thing": object()})
    line = json.loads(out.getvalue())
    assert (line["level"], line["logger"], line["event"], line["count"]) == ("error", "mdserver.x", "it failed", 3)
    assert "ValueError: of mds_at_…" in line["exception"]
    assert "thing" not in line


def test_levels() -> None:
    out = written(as_json=False, level="warning")
    logging.getLogger("mdserver").info("nobody asked")
    logging.getLogger("asyncio").debug("nor this")
    assert out.getvalue() == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("token mds_pat_hsKIdjXaolX56iAi1H9qoOfMS6ejvrFOPzvW7CyIUnc is bad", "token mds_pat_… is bad"),
        ("postgresql://notes:s3cret@db/notes", "postgresql://notes:…@db/notes"),
        ("see https://example.org/reset#code=mds_ot_abcdefgh12", "see https://example.org/reset#code=…"),
        ("https://example.org:8000/a@b", "https://example.org:8000/a@b"),
        ("a plain sentence: no secrets", "a plain sentence: no secrets"),
    ],
)
def test_secrets(text: str, shown: str) -> None:
    assert logs.redacted(text) == shown
    out = written(as_json=True)
    logging.getLogger("mdserver").info(text, extra={"said": text})
    line = json.loads(out.getvalue())
    assert (line["event"], line["said"]) == (shown, shown)
