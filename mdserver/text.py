"""Text that comes from people: checks, keys under which two texts are the same, portable file names. Floor 0."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from .errors import Invalid, TooLarge

EMAIL_BYTES = 254  # RFC 5321 §4.5.3.1.3: a path of 256 octets less its angle brackets
FILENAME_BYTES = 240  # file systems hold 255; the rest is room for " (2)" and the suffixes of temporary files

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_BUT_LINES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")

# WHATWG HTML "valid e-mail address" (what browsers accept), widened by letters beyond ASCII (RFC 6531).
# Compiled with their first use (re remembers them): over so wide a range it takes 30 ms of the server's start.
_EMAIL_LOCAL = r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~\-\u00a0-\U0010ffff]+"
_EMAIL_LABEL = r"[A-Za-z0-9\u00a0-\U0010ffff](?:[A-Za-z0-9\-\u00a0-\U0010ffff]*[A-Za-z0-9\u00a0-\U0010ffff])?"

# Windows refuses these as names, with any extension and in any case.
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])(?= *(?:\.|$))", re.IGNORECASE)
_AS_HYPHEN = re.compile(r"\s*[/\\|]+\s*|:(?=\S)")
# Marks that are refused by some file system, or that turn the reading direction of what stands around the name.
_LEFT_OUT = re.compile(r'[*?<>:"\ufeff\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]')
_EXTENSION = re.compile(r"(?<=[^.])\.(?=[0-9]*[A-Za-z])[A-Za-z0-9]{1,16}$")


def fold(text: str) -> str:
    """The key under which two file names, tags or titles are the same, whatever their case or Unicode form.

    Unicode's canonical caseless matching (The Unicode Standard §3.13, D145), kept in NFC. `fold(fold(x)) == fold(x)`.
    """
    if text.isascii():
        return text.lower()
    # Decomposed before folding: U+0345, a mark that folds to a letter, would otherwise change its place.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def email_key(text: str) -> str:
    """The key under which two e-mail addresses are the same: NFKC and case-fold. Never send mail to it."""
    if text.isascii():
        return text.lower()
    # Decomposed before folding, because some compatibility forms hold capitals.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", text).casefold())


def check_email(text: str, *, pointer: str = "/email") -> str:
    """The address without surrounding white space. Invalid when no mail could be sent to it.

    A domain of one label (`me@nas`) is taken: servers stand in small networks too.
    """
    email = text.strip()
    if not _is_email(email) or not _is_email(email_key(email)):
        raise Invalid("This is not an e-mail address.", pointer=pointer)
    return email


def clean(text: str, *, pointer: str, maximum: int, minimum: int = 0, lines: bool = False) -> str:
    """A name or title without surrounding white space. Lengths are code points; Invalid names the rule that is broken.

    With `lines`, line breaks (CRLF becomes LF) and tabs may stand inside; otherwise it is a single line.
    """
    if lines:
        text = text.replace("\r\n", "\n")
    text = text.strip()
    if (_CONTROL_BUT_LINES if lines else _CONTROL).search(text):
        raise Invalid("Control characters are not allowed here.", pointer=pointer)
    if _SURROGATE.search(text):
        raise Invalid("This is not valid Unicode: it holds half a surrogate pair.", pointer=pointer)
    if len(text) < minimum:
        raise Invalid(
            "This must not be empty." if minimum == 1 else f"Use at least {minimum:,} characters.", pointer=pointer
        )
    if len(text) > maximum:
        raise Invalid(f"Use at most {maximum:,} characters; these are {len(text):,}.", pointer=pointer)
    return text


def check_content(text: str, *, maximum_bytes: int, pointer: str = "/content") -> bytes:
    """The UTF-8 of a document's text, which is otherwise left as it is.

    Invalid when it holds NUL or lone surrogates, TooLarge when its UTF-8 is over `maximum_bytes`.
    """
    if len(text) > maximum_bytes:  # before encoding: a code point is at least one byte
        raise TooLarge(_too_large(maximum_bytes))
    if "\0" in text:
        raise Invalid("The text holds a NUL character, so it is not text.", pointer=pointer)
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise Invalid("The text is not valid Unicode: it holds half a surrogate pair.", pointer=pointer) from None
    if len(data) > maximum_bytes:
        raise TooLarge(_too_large(maximum_bytes))
    return data


def filename_for(title: str, *, extension: str) -> str:
    """A file name made from a title that every file system takes: NFC, at most FILENAME_BYTES with its extension.

    `extension` is `.md` or the like, or empty for a folder. A title that leaves nothing becomes `Untitled`.
    """
    text = " ".join(_CONTROL.sub(" ", unicodedata.normalize("NFC", title)).split())
    text = _LEFT_OUT.sub("", _AS_HYPHEN.sub("-", text))
    # Once more: what was taken out may have brought a letter and its mark together.
    text = " ".join(unicodedata.normalize("NFC", text).split()).lstrip(". ")
    text = _cut(text, FILENAME_BYTES - len(extension.encode()) - 1).rstrip(". ")  # one byte for the "_" below
    text = unreserved(text)
    return (text or "Untitled") + extension


def check_filename(name: str, *, pointer: str = "/filename") -> str:
    """The name as it is, when a real file could bear it. Invalid otherwise; what only Windows refuses is taken."""
    if name in ("", ".", ".."):
        raise Invalid("A file name must not be empty, “.” or “..”.", pointer=pointer)
    if "/" in name or "\\" in name:
        raise Invalid("A file name must not hold “/” or “\\”.", pointer=pointer)
    if _CONTROL.search(name):
        raise Invalid("A file name must not hold control characters.", pointer=pointer)
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise Invalid("The file name is not valid Unicode: it holds half a surrogate pair.", pointer=pointer) from None
    if size > FILENAME_BYTES:
        raise Invalid(f"Use a file name of at most {FILENAME_BYTES} bytes of UTF-8; this has {size}.", pointer=pointer)
    return name


def unreserved(name: str) -> str:
    """The name, with `_` behind what Windows keeps for devices: `con.md` → `con_.md`."""
    return _RESERVED.sub(r"\1_", name, count=1) if _RESERVED.match(name) else name


def free(name: str, taken: set[str]) -> str:
    """The name, or the first numbered one whose fold is not taken; it is taken then."""
    given, number = name, 1
    while fold(given) in taken:
        number += 1
        given = numbered(name, number)
    taken.add(fold(given))
    return given


def numbered(name: str, n: int) -> str:
    """The name for the n-th of its kind in one folder: `Name.md`, 2 → `Name (2).md`. Within FILENAME_BYTES."""
    found = _EXTENSION.search(name)
    stem, extension = (name[: found.start()], found[0]) if found else (name, "")
    end = f" ({n}){extension}"
    return _cut(stem, FILENAME_BYTES - len(end.encode())).rstrip(" ") + end


def sha256_hex(data: bytes) -> str:
    """SHA-256 as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def _is_email(email: str) -> bool:
    local, at, domain = email.partition("@")
    try:
        if not at or len(email.encode()) > EMAIL_BYTES or len(local.encode()) > 64:
            return False
    except UnicodeEncodeError:
        return False
    # isprintable is false for control, format, surrogate, unassigned characters and every space but U+0020.
    return (
        email.isprintable()
        and re.fullmatch(_EMAIL_LOCAL, local) is not None
        and all(len(label) <= 63 and re.fullmatch(_EMAIL_LABEL, label) for label in domain.split("."))
    )


def _too_large(maximum_bytes: int) -> str:
    return f"The text is larger than {maximum_bytes:,} bytes, the most a document may hold."


def _cut(text: str, size: int) -> str:
    """The longest beginning of at most `size` bytes of UTF-8 that does not end inside what looks like one character."""
    data = text.encode()
    if len(data) <= size:
        return text
    short = data[:size].decode(errors="ignore")
    # The rules of UAX #29 that matter for names, for at most 32 steps: a longer cluster is not writing.
    for end in range(len(short), max(len(short) - 32, 0), -1):
        if not _joins(text, end):
            return text[:end]
    return short


def _joins(text: str, at: int) -> bool:
    """Whether the code points before and after the offset make one character to the reader."""
    before, after = text[at - 1], text[at]
    if unicodedata.category(after).startswith("M") or after == "\u200d" or before == "\u200d":
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":  # skin tones, flag tags
        return True
    if "\U0001f1e6" <= after <= "\U0001f1ff":  # flags are pairs: count the halves that stand before
        halves = 0
        while halves < at and "\U0001f1e6" <= text[at - 1 - halves] <= "\U0001f1ff":
            halves += 1
        return halves % 2 == 1
    return "\u1160" <= after <= "\u11ff"  # Hangul vowels and finals written as letters of their own
