"""The values that an update may hold, JSON and lib0's `any`: read past, within bounds, and not kept. Floor 0."""

from __future__ import annotations

import msgspec

from .lib0 import Reader, Unsound
from .links import MOST_DEPTH

_FIXED = {127: 0, 126: 0, 121: 0, 120: 0, 124: 4, 123: 8, 122: 8}  # bytes after the tag of an `any` without a length


class Values(Reader):
    """Goes past values. IndexError or Unsound at the end of the bytes, and for what is no value."""

    __slots__ = ()

    def json(self) -> None:
        raw = self.take()
        depth = deepest = 0
        for byte in raw:  # brackets within texts count, too: no honest value comes near the bound
            if byte in b"[{":
                depth += 1
                deepest = max(deepest, depth)
            elif byte in b"]}":
                depth -= 1
        if deepest > MOST_DEPTH:
            raise Unsound("a value is nested too deeply")
        try:
            msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Unsound("a value is no JSON") from None

    def any(self, depth: int) -> None:
        """lib0's `any`: a tag counting down from 127, and what belongs to it."""
        if depth > MOST_DEPTH:
            raise Unsound("a value is nested too deeply")
        tag = self.data[self.at]
        self.at += 1
        size = _FIXED.get(tag)
        if size is not None:
            self.at += size
            if self.at > len(self.data):
                raise Unsound("it ends too early")
        elif tag == 125:
            self.integer()
        elif tag == 119:
            self.text()
        elif tag == 118:
            for _ in range(self.count(2)):
                self.text()
                self.any(depth + 1)
        elif tag == 117:
            for _ in range(self.count(1)):
                self.any(depth + 1)
        elif tag == 116:
            self.take()
        else:
            raise Unsound("a value of a kind that is not known")

    def integer(self) -> None:
        """lib0's varInt: a sign and six bits, then seven bits a byte."""
        start = self.at
        while self.data[self.at] > 0x7F:
            self.at += 1
        self.at += 1
        if self.at - start > 8:
            raise Unsound("a number is too long")
