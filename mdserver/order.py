"""Places in an ordered list as text: between any two is room for a third, and appending keeps them short. Floor 0.

A key is an integer, whose first letter tells its length (`a0`…`az`, `b00`… upwards, `Zz`… downwards), and a fraction.
Keys compare as ASCII text. The scheme is known as fractional indexing (Greenspan, "Implementing Fractional Indexing").
"""

from __future__ import annotations

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FIRST = "a0"


def between(before: str | None, after: str | None) -> str:
    """A key above `before` and below `after`; None is the start or the end. ValueError unless before < after."""
    if before is not None and after is not None and before >= after:
        raise ValueError(f"{before!r} does not stand before {after!r}")
    if before is None:
        if after is None:
            return FIRST
        integer = _integer(after)
        fraction = after[len(integer) :]
        if fraction:
            return integer if integer < after else integer + _midpoint("", fraction)
        lower = _step(integer, -1)
        return lower if lower is not None else integer + _midpoint("", None)
    integer = _integer(before)
    fraction = before[len(integer) :]
    if after is not None and _integer(after) == integer:
        return integer + _midpoint(fraction, after[len(integer) :])
    upper = _step(integer, 1)
    if upper is None:
        return integer + _midpoint(fraction, None)
    if after is None or upper < after:
        return upper
    return integer + _midpoint(fraction, None)


def _integer(key: str) -> str:
    head = key[:1]
    if "a" <= head <= "z":
        length = ord(head) - ord("a") + 2
    elif "A" <= head <= "Z":
        length = ord("Z") - ord(head) + 2
    else:
        raise ValueError(f"{key!r} is not a place")
    if len(key) < length:
        raise ValueError(f"{key!r} is not a place")
    return key[:length]


def _step(integer: str, by: int) -> str | None:
    """The next integer up or down; None at the far end of what can be written."""
    head, digits = integer[0], [_DIGITS.index(one) for one in integer[1:]]
    wrap, last = (0, 61) if by > 0 else (61, 0)
    at = len(digits) - 1
    while at >= 0 and digits[at] == last:
        digits[at] = wrap
        at -= 1
    if at >= 0:
        digits[at] += by
        return head + "".join(_DIGITS[one] for one in digits)
    if head == ("z" if by > 0 else "A"):
        return None
    heads = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    head = heads[heads.index(head) + by]
    length = ord(head) - ord("a") + 1 if head >= "a" else ord("Z") - ord(head) + 1
    return head + _DIGITS[wrap] * length


def _midpoint(low: str, high: str | None) -> str:
    """A fraction strictly between two others; the empty one is zero, None is one. No fraction ends in 0."""
    made = ""
    while True:
        if high is not None:
            shared = 0
            while shared < len(high) and (low[shared : shared + 1] or "0") == high[shared]:
                shared += 1
            made, low, high = made + high[:shared], low[shared:], high[shared:]
        first = _DIGITS.index(low[0]) if low else 0
        last = _DIGITS.index(high[0]) if high else 62
        if last - first > 1:
            return made + _DIGITS[(first + last) // 2]
        if high is not None and len(high) > 1:
            return made + high[0]
        made, low, high = made + _DIGITS[first], low[1:], None
