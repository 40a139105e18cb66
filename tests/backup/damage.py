"""Archives that are damaged or made to do harm: bytes changed, members swapped, sizes that lie, checksums made anew."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from mdserver.backup.format import BLOCK, CHECKSUM, HEADER, MANIFEST, checksum_line, entry, padding

Members = list[tuple[str, bytes]]

BAD_NAMES = ("../evil", "/etc/passwd", "tables/users/../evil", "mdserver.sqlite3", "blobs/" + "0" * 64, "a\\..\\b")


def members(data: bytes) -> Members:
    """Every member of an archive with its bytes."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return [(one.name, _read(archive, one)) for one in archive]


def seconds(data: bytes) -> int:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return int(archive.getmembers()[0].mtime)


def packed(found: Members, at: int) -> bytes:
    """An archive as mdserver packs it."""
    parts = [entry(name, len(data), at) + data + bytes(padding(len(data))) for name, data in found]
    return b"".join(parts) + bytes(2 * BLOCK)


def resealed(found: Members, at: int, change: Callable[[dict[str, Any]], None] = lambda manifest: None) -> bytes:
    """The members with a manifest and checksums that fit them: what somebody does who knows the format."""
    kept = dict(found)
    manifest = msgspec.json.decode(kept[MANIFEST])
    manifest["header"] = hashlib.sha256(kept[HEADER]).hexdigest()
    for table in manifest["tables"]:
        pieces = [name for name, _ in found if name.startswith(f"tables/{table['name']}/")]
        table["pieces"] = [_piece(name, kept[name]) for name in pieces]
        table["rows"] = sum(len(rows_of(name, kept[name])) for name in pieces)
    names = [(name.removeprefix("blobs/"), len(data)) for name, data in found if name.startswith("blobs/")]
    listed = "".join(f"{name} {size}\n" for name, size in names).encode()
    manifest["blobs"] = {
        "count": len(names),
        "bytes": sum(size for _, size in names),
        "sha256": hashlib.sha256(listed).hexdigest(),
        "missing": [],
    }
    change(manifest)
    data = msgspec.json.encode(manifest)
    last = {MANIFEST: data, CHECKSUM: checksum_line(data)}
    return packed([(name, last.get(name, old)) for name, old in found], at)


def rows_of(name: str, data: bytes) -> list[list[Any]]:
    """The rows of a piece; none of one that cannot be read."""
    try:
        found = msgspec.msgpack.decode(gzip.decompress(data) if name.endswith(".gz") else data)
    except (OSError, EOFError, zlib.error, RecursionError, msgspec.MsgspecError):
        return []
    return found if isinstance(found, list) else []


def changed(data: bytes, name: str, change: Callable[[list[list[Any]]], None]) -> bytes:
    """The archive with other rows in one piece, and every checksum made anew."""
    found = members(data)
    for place, (one, old) in enumerate(found):
        if one.split(".")[0] == name:
            rows = rows_of(one, old)
            change(rows)
            new = msgspec.msgpack.encode(rows)
            found[place] = (one, zlib.compress(new, 1, 31) if one.endswith(".gz") else new)
    return resealed(found, seconds(data))


def corruptions(data: bytes, count: int) -> Iterator[tuple[str, bytes]]:
    """So many damaged archives, the same ones each time, each with what was done to it."""
    chance = random.Random(3)
    kinds = (_flipped, _cut, _stretched, _swapped, _dropped, _doubled, _renamed, _resized, _overwritten)
    done, number = set[bytes](), 0
    while len(done) < count:
        kind = kinds[number % len(kinds)]
        number += 1
        what, made = kind(data, chance)
        digest = hashlib.sha256(made).digest()
        if made != data and digest not in done:
            done.add(digest)
            yield what, made


def _flipped(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    place, bit = chance.randrange(len(data)), chance.randrange(8)
    made = bytearray(data)
    made[place] ^= 1 << bit
    return f"bit {bit} of byte {place} flipped", bytes(made)


def _cut(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    size = chance.choice((chance.randrange(len(data)), len(data) - chance.randrange(1, 1025)))
    return f"cut to {size} bytes", data[:size]


def _stretched(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    more = chance.randbytes(chance.randrange(1, 600)) if chance.random() < 0.5 else bytes(chance.randrange(1, 10_000))
    place = chance.choice((len(data), chance.randrange(len(data))))
    return f"{len(more)} bytes more at {place}", data[:place] + more + data[place:]


def _swapped(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    found = members(data)
    one, two = chance.sample(range(len(found)), 2)
    found[one], found[two] = found[two], found[one]
    if chance.random() < 0.5:  # the bytes only, under the same names
        (a, x), (b, y) = found[one], found[two]
        found[one], found[two] = (b, x), (a, y)
    return f"members {one} and {two} swapped", packed(found, seconds(data))


def _dropped(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    found = members(data)
    name, _ = found.pop(chance.randrange(len(found)))
    return f"{name} left out", packed(found, seconds(data))


def _doubled(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    found = members(data)
    place = chance.randrange(len(found))
    found.insert(chance.randrange(len(found)), found[place])
    return f"{found[place][0]} twice", packed(found, seconds(data))


def _renamed(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    found = members(data)
    place = chance.randrange(len(found))
    name = chance.choice(
        (*BAD_NAMES, found[chance.randrange(len(found))][0], found[place][0].upper(), found[place][0] + "x")
    )
    old, found[place] = found[place][0], (name, found[place][1])
    return f"{old} called {name}", packed(found, seconds(data))


def _resized(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    """A header that lies about the size, with a checksum that fits."""
    places = _headers(data)
    place, name, size = places[chance.randrange(len(places))]
    lie = chance.choice((0, size + 1, size + 512, max(0, size - 1), 2**33, 2**62, chance.randrange(10**6)))
    return f"{name} said to have {lie} bytes", data[:place] + entry(name, lie, seconds(data)) + data[place + BLOCK :]


def _overwritten(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    place, length = chance.randrange(len(data)), chance.choice((1, 4, 100, 512, 4096))
    made = data[:place] + chance.randbytes(length) + data[place + length :]
    return f"{length} bytes at {place} overwritten", made[: len(data)]


def _headers(data: bytes) -> list[tuple[int, str, int]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return [(one.offset, one.name, one.size) for one in archive]


def _piece(name: str, data: bytes) -> dict[str, Any]:
    unpacked = len(data)
    if name.endswith(".gz"):
        try:
            unpacked = len(gzip.decompress(data))
        except (OSError, EOFError, zlib.error):
            unpacked = max(1, len(data))
    return {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "unpacked": unpacked}


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None
    return file.read()
