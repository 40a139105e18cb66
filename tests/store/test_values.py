"""One SQL text for both engines: every shape of parameter and result that model code uses."""

from __future__ import annotations

from operator import methodcaller
from typing import Any

import msgspec
import pytest

from mdserver.store import rows
from mdserver.store.db import Database, Reader, Tx, Value
from tests import engines

ROWS = [
    ("a", 1, b"\x00\xff", 0.5),
    ("B", None, None, None),
    ("é", 2**40, b"", -1.0),
]


@pytest.fixture
async def things(database: Database) -> Database:
    await engines.create(
        database,
        "CREATE TABLE things (s TEXT NOT NULL PRIMARY KEY, n INTEGER, b BLOB, f REAL) STRICT, WITHOUT ROWID",
        "CREATE TABLE numbered (id INTEGER PRIMARY KEY, s TEXT) STRICT",
    )

    def fill(tx: Tx) -> None:
        for row in ROWS:
            tx.run("INSERT INTO things (s, n, b, f) VALUES ($1, $2, $3, $4)", *row)

    await database.write(fill)
    return database


SHAPES: list[tuple[str, tuple[Value, ...], list[tuple[Any, ...]]]] = [
    # values come back as they went in
    ("SELECT s, n, b, f FROM things WHERE s = $1", ("a",), [ROWS[0]]),
    ("SELECT s, n, b, f FROM things WHERE s = $1", ("B",), [ROWS[1]]),
    ("SELECT s FROM things WHERE n = $1", (2**40,), [("é",)]),
    ("SELECT s FROM things WHERE b = $1", (b"",), [("é",)]),
    ("SELECT s FROM things WHERE f < $1", (0.25,), [("é",)]),
    # text is ordered by code point
    ("SELECT s FROM things ORDER BY s", (), [("B",), ("a",), ("é",)]),
    ("SELECT s FROM things WHERE s > $1 ORDER BY s DESC", ("B",), [("é",), ("a",)]),
    ("SELECT s FROM things ORDER BY n NULLS FIRST", (), [("B",), ("a",), ("é",)]),
    # a parameter stands in many places, and twice
    ("SELECT $1 FROM things WHERE s = $1", ("a",), [("a",)]),
    ("SELECT n FROM things WHERE ($1 IS NULL OR s = $1) AND n >= $2 AND n < $2 + $2", ("a", 1), [(1,)]),
    ("SELECT s FROM things WHERE n BETWEEN $1 AND $2", (-(2**63), 2**63 - 1), [("a",), ("é",)]),
    ("SELECT s FROM things WHERE s IN ($1, $2) ORDER BY s", ("a", "B"), [("B",), ("a",)]),
    ("SELECT COALESCE($1, s) FROM things WHERE s = $2", ("x", "a"), [("x",)]),
    ("SELECT COALESCE(n, $1) FROM things WHERE s = $2", (7, "B"), [(7,)]),
    ("SELECT $1 + 1, n + $1, $1 * n FROM things WHERE s = $2", (2**40, "a"), [(2**40 + 1, 2**40 + 1, 2**40)]),
    ("SELECT CASE WHEN n = $1 THEN $2 ELSE n END FROM things WHERE s = $3", (1, 9, "a"), [(9,)]),
    ("SELECT s || $1 || n FROM things WHERE s = $2", ("-", "a"), [("a-1",)]),
    ("SELECT s FROM things ORDER BY s LIMIT $1 OFFSET $2", (1, 1), [("a",)]),
    ("SELECT s FROM things WHERE (s, n) > ($1, $2) ORDER BY s", ("a", 0), [("a",), ("é",)]),
    ("SELECT s FROM things WHERE s >= $1 AND s < $1 || $2", ("a", "\U0010ffff"), [("a",)]),
    ("WITH given (x) AS (VALUES ($1), ($2)) SELECT x FROM given ORDER BY x", (2, 1), [(1,), (2,)]),
    ("SELECT SUBSTR(s, CAST($1 AS INTEGER)) FROM things WHERE s = $2", (1, "a"), [("a",)]),
    ("SELECT LENGTH($1), LENGTH($2)", ("ä", b"\x00\x01"), [(1, 2)]),
    ("SELECT s FROM things WHERE n = $1", (True,), [("a",)]),
    ("SELECT $11, $1", (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11), [(11, 1)]),
    # None, wherever a value may stand
    ("SELECT s FROM things WHERE $1 IS NULL AND s = $2", (None, "a"), [("a",)]),
    ("SELECT s FROM things WHERE ($1 IS NULL OR s = $1) AND n = $2", (None, 1), [("a",)]),
    ("SELECT s FROM things WHERE ($1 IS NULL OR n = $1) AND s = $2", (None, "a"), [("a",)]),
    ("SELECT COALESCE($1, s), COALESCE(n, $1) FROM things WHERE s = $2", (None, "a"), [("a", 1)]),
    ("SELECT s FROM things WHERE n IS NOT DISTINCT FROM $1", (None,), [("B",)]),
    ("SELECT $1, $2, $1", (None, 5), [(None, 5, None)]),
    ("SELECT CAST($1 AS BIGINT) + 1, CAST($1 AS TEXT) || 'x'", (None,), [(None, None)]),
    ("SELECT s FROM things WHERE n = $1", (None,), []),
    # what is counted is a whole number
    ("SELECT COUNT(*), SUM(n), MAX(n), MIN(s) FROM things", (), [(3, 2**40 + 1, 2**40, "B")]),
    ("SELECT COUNT(*) FILTER (WHERE n > $1) FROM things", (1,), [(1,)]),
    ("SELECT SUM(n) FROM things WHERE s = $1", ("B",), [(None,)]),
    ("SELECT AVG(n) FROM things WHERE n <= $1", (1,), [(1,)]),
    ("SELECT COALESCE(MAX(n), 0) + $1 FROM things WHERE s = $2", (1, "B"), [(1,)]),
    ("SELECT EXISTS (SELECT 1 FROM things WHERE s = $1)", ("a",), [(1,)]),
    # what only looks like a parameter
    ("SELECT '$1', $1 -- not $2", ("x",), [("$1", "x")]),
    ("SELECT 'it''s $2', $1 AS \"$2\" /* $3 */", (None,), [("it's $2", None)]),
    ("SELECT '%s %% ?', $1", ("x",), [("%s %% ?", "x")]),
]


async def test_every_shape_of_question(things: Database) -> None:
    wrong: list[str] = []
    for sql, values, expected in SHAPES:
        try:
            found = await things.read(methodcaller("rows", sql, *values))
        except Exception as error:
            wrong.append(f"{sql} {values}: {error!r}")
            continue
        # PostgreSQL has booleans and whole averages: equal, if not of the same type. All else is exact.
        kinds = [[type(one) for one in row if not isinstance(one, bool | float)] for row in found]
        wanted = [
            [type(one) for one, given in zip(row, line, strict=False) if not isinstance(given, bool | float)]
            for row, line in zip(expected, found, strict=False)
        ]
        if found != expected or (kinds != wanted and "AVG" not in sql):
            wrong.append(f"{sql} {values}: {found} instead of {expected}")
    assert wrong == []


async def test_every_shape_of_change(things: Database) -> None:
    def change(tx: Tx) -> list[object]:
        seen: list[object] = [
            tx.run("UPDATE things SET n = COALESCE($1, n), b = $2 WHERE s = $3", None, None, "a"),
            tx.run("UPDATE things SET n = n + $1 WHERE n IS NOT NULL", 1),
            tx.run("DELETE FROM things WHERE s = $1", "nobody"),
            tx.run(
                "INSERT INTO things (s, n) VALUES ($1, $2) ON CONFLICT (s) DO UPDATE SET n = things.n + excluded.n",
                "a",
                5,
            ),
            tx.run("INSERT INTO things (s, n) VALUES ($1, $2) ON CONFLICT DO NOTHING", "a", 5),
            tx.rows("INSERT INTO things (s, n) VALUES ($1, $2), ($3, $2) RETURNING s, n", "y", None, "z"),
            tx.value(int, "UPDATE things SET n = $1 WHERE s = $2 RETURNING n", 3, "y"),
            tx.rows("INSERT INTO things (s) SELECT s || $1 FROM things WHERE n = $2 RETURNING s", "!", 3),
            tx.rows("DELETE FROM things WHERE s = $1", "z"),
            tx.value(int, "INSERT INTO numbered (s) VALUES ($1) RETURNING id", "first"),
            tx.value(int, "INSERT INTO numbered (id, s) VALUES ($1, $2) RETURNING id", 40, None),
        ]
        return seen

    assert await things.write(change) == [1, 2, 0, 1, 0, [("y", None), ("z", None)], 3, [("y!",)], [], 1, 40]
    assert await things.read(lambda db: db.rows("SELECT n, b FROM things WHERE s = 'a'")) == [(7, None)]


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
async def test_a_number_beyond_64_bits_is_refused(things: Database, number: int) -> None:
    with pytest.raises(OverflowError):
        await things.read(lambda db: db.rows("SELECT s FROM things WHERE n = $1", number))


async def test_single_values(things: Database) -> None:
    def question(db: Reader) -> tuple[object, ...]:
        return (
            db.value(int, "SELECT n FROM things WHERE s = $1", "a"),
            db.value(int, "SELECT n FROM things WHERE s = $1", "B"),
            db.value(int, "SELECT n FROM things WHERE s = $1", "nobody"),
            db.value(bool, "SELECT EXISTS (SELECT 1 FROM things)"),
            db.value(bool, "SELECT 0"),
            db.value(bytes, "SELECT b FROM things WHERE s = 'a'"),
            db.column(str, "SELECT s FROM things ORDER BY s"),
            db.column(bool, "SELECT n IS NULL FROM things ORDER BY s"),
        )

    found = await things.read(question)
    assert found == (1, None, None, True, False, b"\x00\xff", ["B", "a", "é"], [True, False, False])
    assert [type(one) for one in found[3:6]] == [bool, bool, bytes]
    assert all(type(one) is bool for one in found[7])


class Author(msgspec.Struct):
    id: str
    name: str = "?"


class Thing(msgspec.Struct):
    id: str
    made_at: rows.Time
    tags: list[str]
    public: bool
    size: int = 0
    data: bytes | None = None
    seen_at: rows.Time | None = None
    hidden: bool | None = None
    extra: dict[str, int] | None = None
    author: Author | None = None


FULL = (
    "SELECT 'x' AS id, CAST($1 AS BIGINT) AS made_at, '[\"a\",\"b\"]' AS tags, 1 AS public, 5 AS size, $2 AS data, "
    '$1 AS seen_at, 0 AS hidden, \'{"k":1}\' AS extra, $3 AS "author.id", \'Ada\' AS "author.name"'
)


async def test_rows_become_structs(things: Database) -> None:
    moment = 1_769_860_800_123

    def question(db: Reader) -> list[Thing | None]:
        return [
            db.first(Thing, FULL, moment, b"d", "u"),
            db.first(Thing, FULL, moment, None, None),
            db.first(Thing, "SELECT 'x' AS id, 0 AS made_at, '[]' AS tags, 1 = 0 AS public, $1 AS hidden", None),
            db.first(Thing, FULL + " WHERE 1 = 0", moment, b"", ""),
        ]

    full, bare, least, nothing = await things.read(question)
    time = "2026-01-31T12:00:00.123Z"
    assert full == Thing("x", time, ["a", "b"], True, 5, b"d", time, False, {"k": 1}, Author("u", "Ada"))
    assert bare is not None
    assert bare.author is None
    assert bare.data is None
    assert least == Thing("x", "1970-01-01T00:00:00.000Z", [], False)
    assert least.public is False
    assert nothing is None
    assert await things.read(lambda db: db.all(Author, "SELECT s AS id FROM things ORDER BY s")) == [
        Author("B"),
        Author("a"),
        Author("é"),
    ]
    assert await things.read(lambda db: db.all(Author, "SELECT s AS id FROM things WHERE 1 = 0")) == []


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT 'x' AS id, 1 AS age", "no field 'age'"),
        ("SELECT 'x' AS name", "lacks columns for id"),
        ("SELECT 'x' AS id, 'y' AS id", "twice"),
    ],
)
async def test_columns_that_do_not_fit(database: Database, sql: str, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        await database.read(lambda db: db.all(Author, sql))
