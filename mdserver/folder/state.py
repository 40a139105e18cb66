"""What the client knows between runs: an SQLite file in the folder, and the same rows in memory."""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec

from mdserver.store.sqlite import connect

from .rows import Clash, Local, Queued, Refusal, Remote, Retitle, Sig, Writing

SCHEMA = 2
_TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS remote (id TEXT PRIMARY KEY, row TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS local (id TEXT PRIMARY KEY, row TEXT NOT NULL, base BLOB) STRICT;
CREATE TABLE IF NOT EXISTS incoming (id TEXT PRIMARY KEY, hash TEXT NOT NULL, version INTEGER NOT NULL, text BLOB)
STRICT;
CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS expected (id TEXT PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS queue (seq INTEGER PRIMARY KEY, op BLOB NOT NULL, path TEXT NOT NULL, text BLOB, sig TEXT,
fingerprint TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS writing (temp TEXT PRIMARY KEY, local TEXT NOT NULL, base BLOB NOT NULL,
seen TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS refusal (fingerprint TEXT PRIMARY KEY, row TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS clash (id TEXT PRIMARY KEY, row TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS retitle (id TEXT PRIMARY KEY, row TEXT NOT NULL) STRICT;
"""


class Incompatible(Exception):
    """The state was written by another version of the program; the text is a sentence."""


class State:
    """Rows are changed inside `transaction`; when that fails, memory is read from the file again."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self.facts: dict[str, str] = {}
        self.remotes: dict[str, Remote] = {}
        self.locals: dict[str, Local] = {}
        self.refusals: dict[str, Refusal] = {}
        self.retitles: dict[str, Retitle] = {}

    @classmethod
    def open(cls, path: Path) -> Self:
        """The state in this file, which is made when it is not there."""
        state = cls._prepared(connect(path, read_only=False, synchronous="FULL"))
        if os.name == "posix":
            path.chmod(0o600)
        return state

    @classmethod
    def scratch(cls, path: Path) -> Self:
        """What the file holds, if it is there, in memory: what is changed is forgotten."""
        there = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        if path.exists():
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as file:
                file.backup(there)
        return cls._prepared(there)

    @classmethod
    def _prepared(cls, connection: sqlite3.Connection) -> Self:
        state = cls(connection)
        try:
            (version,) = state._db.execute("PRAGMA user_version").fetchone()
            if version > SCHEMA:
                raise Incompatible("The folder was kept by a newer version of mdserver: use that one.")
            with state.transaction():
                if version == 1:
                    state._db.execute("ALTER TABLE writing ADD COLUMN seen TEXT NOT NULL DEFAULT ''")
                for statement in _TABLES.split(";"):
                    state._db.execute(statement)
                state._db.execute(f"PRAGMA user_version = {SCHEMA}")
            state._load()
        except BaseException:
            state.close()
            raise
        return state

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside happens or nothing does; inside another one it is part of that."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._undo()
            raise

    def fact(self, name: str) -> str:
        return self.facts.get(name, "")

    def set_fact(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", (name, value))
        self.facts[name] = value

    def put_remote(self, row: Remote) -> None:
        self._db.execute("INSERT OR REPLACE INTO remote (id, row) VALUES (?, ?)", (row.id, _json(row)))
        self.remotes[row.id] = row

    def drop_remote(self, id: str) -> None:
        self._db.execute("DELETE FROM remote WHERE id = ?", (id,))
        self.remotes.pop(id, None)

    def see(self, id: str) -> None:
        """Note in a pull from the start that the server has this one."""
        self._db.execute("INSERT OR IGNORE INTO seen (id) VALUES (?)", (id,))

    def seen(self) -> set[str]:
        return {id for (id,) in self._db.execute("SELECT id FROM seen")}

    def forget_seen(self) -> None:
        self._db.execute("DELETE FROM seen")

    def expect(self, id: str) -> None:
        """Note that the server has told something of this one that the next pull has to tell, too."""
        self._db.execute("INSERT OR IGNORE INTO expected (id) VALUES (?)", (id,))

    def heard(self, id: str) -> None:
        """A pull has told of this one."""
        self._db.execute("DELETE FROM expected WHERE id = ?", (id,))

    def expected(self) -> set[str]:
        return {id for (id,) in self._db.execute("SELECT id FROM expected")}

    def forget_expected(self) -> None:
        self._db.execute("DELETE FROM expected")

    def put_local(self, row: Local, base: str | None = None) -> None:
        """Keep a row; its base text stays what it was unless one is given."""
        if base is None:
            self._db.execute(
                "INSERT INTO local (id, row) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET row = excluded.row",
                (row.id, _json(row)),
            )
        else:
            self._db.execute(
                "INSERT OR REPLACE INTO local (id, row, base) VALUES (?, ?, ?)", (row.id, _json(row), _packed(base))
            )
        self.locals[row.id] = row

    def drop_local(self, id: str) -> None:
        self._db.execute("DELETE FROM local WHERE id = ?", (id,))
        self.locals.pop(id, None)

    def base(self, id: str) -> str:
        """The text that both sides started from."""
        row = self._db.execute("SELECT base FROM local WHERE id = ?", (id,)).fetchone()
        return _unpacked(row[0]) if row and row[0] is not None else ""

    def put_incoming(self, id: str, *, hash: str, version: int, text: str) -> None:
        """Keep a text that came until it is on the disk."""
        self._db.execute(
            "INSERT OR REPLACE INTO incoming (id, hash, version, text) VALUES (?, ?, ?, ?)",
            (id, hash, version, _packed(text)),
        )

    def incoming(self, id: str, hash: str) -> tuple[int, str] | None:
        """(version, text) if the text of this hash has come."""
        row = self._db.execute("SELECT version, text FROM incoming WHERE id = ? AND hash = ?", (id, hash)).fetchone()
        return (row[0], _unpacked(row[1])) if row else None

    def drop_incoming(self, id: str) -> None:
        self._db.execute("DELETE FROM incoming WHERE id = ?", (id,))

    def enqueue(self, row: Queued) -> None:
        self._db.execute(
            "INSERT INTO queue (op, path, text, sig, fingerprint) VALUES (?, ?, ?, ?, ?)",
            (row.op, row.path, None if row.text is None else _packed(row.text), _json(row.sig), row.fingerprint),
        )

    def queue(self, *, most: int | None = None) -> list[Queued]:
        """What may have been sent and has no answer, in order; from the first on as many as have `most` bytes."""
        rows: list[tuple[Any, ...]] = []
        size = 0
        for row in self._db.execute("SELECT seq, op, path, text, sig, fingerprint FROM queue ORDER BY seq"):
            size += len(row[1])
            if rows and most is not None and size > most:
                break
            rows.append(row)
        return [
            Queued(
                seq=seq,
                op=op,
                path=path,
                text=None if text is None else _unpacked(text),
                sig=msgspec.json.decode(sig, type=Sig | None),
                fingerprint=fingerprint,
            )
            for seq, op, path, text, sig, fingerprint in rows
        ]

    def dequeue(self, seq: int) -> None:
        self._db.execute("DELETE FROM queue WHERE seq = ?", (seq,))

    def forget_queue(self) -> None:
        self._db.execute("DELETE FROM queue")

    def begin_writing(self, row: Writing) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO writing (temp, local, base, seen) VALUES (?, ?, ?, ?)",
            (row.temp, _json(row.local), _packed(row.base), row.seen),
        )

    def writings(self) -> list[Writing]:
        rows = self._db.execute("SELECT temp, local, base, seen FROM writing").fetchall()
        return [
            Writing(temp=temp, local=msgspec.json.decode(local, type=Local), base=_unpacked(base), seen=seen)
            for temp, local, base, seen in rows
        ]

    def end_writing(self, temp: str) -> None:
        self._db.execute("DELETE FROM writing WHERE temp = ?", (temp,))

    def refuse(self, row: Refusal) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO refusal (fingerprint, row) VALUES (?, ?)", (row.fingerprint, _json(row))
        )
        self.refusals[row.fingerprint] = row

    def forgive(self, fingerprint: str) -> None:
        self._db.execute("DELETE FROM refusal WHERE fingerprint = ?", (fingerprint,))
        self.refusals.pop(fingerprint, None)

    def put_clash(self, row: Clash) -> None:
        self._db.execute("INSERT OR REPLACE INTO clash (id, row) VALUES (?, ?)", (row.id, _json(row)))

    def drop_clash(self, id: str) -> None:
        self._db.execute("DELETE FROM clash WHERE id = ?", (id,))

    def clashes(self) -> list[Clash]:
        rows = self._db.execute("SELECT row FROM clash ORDER BY id").fetchall()
        return [msgspec.json.decode(row, type=Clash) for (row,) in rows]

    def put_retitle(self, row: Retitle) -> None:
        self._db.execute("INSERT OR REPLACE INTO retitle (id, row) VALUES (?, ?)", (row.id, _json(row)))
        self.retitles[row.id] = row

    def drop_retitle(self, id: str) -> None:
        self._db.execute("DELETE FROM retitle WHERE id = ?", (id,))
        self.retitles.pop(id, None)

    def _undo(self) -> None:
        if self._db.in_transaction:  # a full disk may have ended it
            self._db.execute("ROLLBACK")
        self._load()

    def _load(self) -> None:
        self.facts = dict(self._db.execute("SELECT name, value FROM facts").fetchall())
        self.remotes = {
            id: msgspec.json.decode(row, type=Remote) for id, row in self._db.execute("SELECT id, row FROM remote")
        }
        self.locals = {
            id: msgspec.json.decode(row, type=Local) for id, row in self._db.execute("SELECT id, row FROM local")
        }
        found = [msgspec.json.decode(row, type=Refusal) for (row,) in self._db.execute("SELECT row FROM refusal")]
        self.refusals = {one.fingerprint: one for one in found}
        self.retitles = {
            id: msgspec.json.decode(row, type=Retitle) for id, row in self._db.execute("SELECT id, row FROM retitle")
        }


def _json(row: object) -> str:
    return msgspec.json.encode(row).decode()


def _packed(text: str) -> bytes:
    return zlib.compress(text.encode(), 1)


def _unpacked(data: bytes) -> str:
    return zlib.decompress(data).decode()
