"""lib0's encoding, in which Yjs and its protocols are written: reading what comes from outside; writing. Floor 0."""

from __future__ import annotations


class Unsound(ValueError):
    """These bytes are not what they should be, or not let in. The text is for the log."""


class Reader:
    """Goes through bytes once. IndexError or Unsound at their end; `finished` when all has been read."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    @property
    def finished(self) -> bool:
        return self.at == len(self.data)

    def number(self) -> int:
        """A varUint: seven bits a byte, the lowest first."""
        data, at = self.data, self.at
        byte = data[at]
        at += 1
        if byte > 0x7F:
            value, shift = byte & 0x7F, 7
            while True:
                byte = data[at]
                at += 1
                value |= (byte & 0x7F) << shift
                if byte < 0x80:
                    break
                shift += 7
                if shift > 49:
                    raise Unsound("a number is too long")
            if not byte:
                raise Unsound("a number is longer than it needs to be")
            byte = value
        self.at = at
        return byte

    def count(self, least: int) -> int:
        """How many things of at least so many bytes follow."""
        found = self.number()
        if found * least > len(self.data) - self.at:
            raise Unsound("it counts more than it holds")
        return found

    def take(self, most: int | None = None) -> bytes:
        """Bytes with their length before them: a varUint8Array."""
        size = self.number()
        start = self.at
        end = start + size
        if end > len(self.data):
            raise Unsound("it ends too early")
        if most is not None and size > most:
            raise Unsound("a part is too long")
        self.at = end
        return self.data[start:end]

    def text(self, most: int | None = None) -> str:
        """A varString; `most` counts its bytes."""
        try:
            return self.take(most).decode()
        except UnicodeDecodeError:
            raise Unsound("a text is not UTF-8") from None


def number(value: int) -> bytes:
    """A varUint."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def counted(data: bytes) -> bytes:
    """A varUint8Array."""
    return number(len(data)) + data


def text(value: str) -> bytes:
    """A varString. ValueError when the text holds half a surrogate pair."""
    return counted(value.encode())
