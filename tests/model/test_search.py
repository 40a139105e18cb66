"""Search on each engine: what is found, in which order, by whom; the same before the indexer was there and after."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from mdserver import ids
from mdserver import query as queries
from mdserver.errors import Busy, NotFound
from mdserver.model import documents, members, search, workspaces
from mdserver.model.access import EDITOR, Principal
from mdserver.model.documents import Document
from mdserver.model.search import Field, Filter, Found, finding, indexer, indexing, waiting
from mdserver.model.updates import Door
from mdserver.query import Query
from mdserver.store.db import Database, Engine, Reader
from mdserver.store.migrate import Migration, known, migrate_postgres, migrate_sqlite
from mdserver.store.postgres import Postgres
from mdserver.store.sqlite import SQLite
from mdserver.terms import Term, fold, tokens
from tests import engines

from .test_updates import person

MOST = 5_000_000


class Desk:
    """Somebody with a workspace, who makes, changes and looks for documents."""

    def __init__(self, database: Database, me: Principal, workspace_id: str) -> None:
        self.database, self.me, self.workspace_id = database, me, workspace_id
        self.door = Door(database, maximum_bytes=MOST)

    async def make(
        self,
        title: str,
        content: str = "",
        *,
        workspace_id: str | None = None,
        tags: Iterable[str] = (),
        id: str | None = None,
    ) -> Document:
        draft = documents.draft(content, maximum_bytes=MOST)
        place = workspace_id or self.workspace_id
        return await self.database.write(
            lambda tx: documents.create(
                tx,
                self.me,
                place,
                role=workspaces.enter(tx, self.me, place, need=EDITOR),
                title=title,
                kind="markdown",
                draft=draft,
                tags=list(tags),
                document_id=id,
            )
        )

    async def edit(self, id: str, content: str) -> None:
        await self.door.edit(self.me, id, base=lambda db, found: None, content=content)

    async def retitle(self, id: str, title: str) -> None:
        await self.database.write(lambda tx: documents.retitle(tx, self.me, documents.find(tx, self.me, id), title))

    async def trash(self, id: str) -> None:
        await self.database.write(lambda tx: documents.trash(tx, self.me, documents.find(tx, self.me, id)))

    async def restore(self, id: str) -> None:
        await self.database.write(lambda tx: documents.restore(tx, self.me, documents.find(tx, self.me, id)))

    async def purge(self, id: str) -> None:
        await self.database.write(lambda tx: documents.purge(tx, self.me, documents.find(tx, self.me, id)))

    async def ask(
        self,
        text: str | Query,
        *,
        workspace_id: str | None = None,
        fields: tuple[Field, ...] = search.FIELDS,
        only: Filter | None = None,
        after: search.Key | None = None,
        limit: int = 100,
        me: Principal | None = None,
    ) -> Found:
        query = queries.parse(text) if isinstance(text, str) else text
        return await self.database.read(
            lambda db: search.search(
                db,
                me or self.me,
                query,
                workspace_id=workspace_id,
                fields=fields,
                only=only or Filter(),
                after=after,
                limit=limit,
            )
        )

    async def titles(self, text: str, **options: object) -> list[str]:
        return [hit.title for hit in (await self.ask(text, **options)).matches]  # type: ignore[arg-type] # passed on


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    me, workspace_id = await person(database, "ada")
    yield Desk(database, me, workspace_id)
    assert await database.read(search.verify) == []


@pytest.fixture(params=["waiting", "indexed"])
def state(request: pytest.FixtureRequest) -> str:
    """Whether the indexer has been there."""
    return str(request.param)


async def ready(desk: Desk, state: str) -> None:
    if state == "indexed":
        await search.bring_up(desk.database)
        assert await desk.database.read(indexing.lagging) == []


LIBRARY = {
    "English": "The quick brown fox jumps over the lazy dog. A well-known pangram, version 3.14.",
    "German": "Die Straße führt über die Brücke; Ölpreise und Äpfel sind gestiegen.",
    "French": "Un café très agréable, déjà vu.",
    "Chinese": "我们在北京大学学习中文，天气很好。",
    "Japanese": "東京都の天気は晴れです。ﾀﾜｰに登った。",
    "Korean": "우리는 학교에서 한국어를 배운다.",
    "Mixed": "Tokyo東京tower和A型 and foo_bar(baz)",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fox", "English"),
        ("QUICK dog", "English"),
        ('"brown fox"', "English"),
        ('"fox brown"', ""),
        ("fox cat", ""),
        ("jum*", "English"),
        ("jum", ""),
        ("well-known 3.14", "English"),
        ("fox -lazy", ""),
        ("fox -cat", "English"),
        ('fox -"lazy cat"', "English"),
        ('fox -"lazy dog"', ""),
        ("strasse", "German"),
        ("STRASSE BRUCKE", "German"),
        ("brücke olpreise apfel", "German"),
        ("cafe tres deja", "French"),
        ("CAFÉ", "French"),
        ("北京", "Chinese"),
        ("大学", "Chinese"),
        ("北京大学", "Chinese"),
        ("北大", ""),
        ("中", "Chinese"),
        ("文", "Chinese"),
        ("天气 -北京", ""),
        ("東京", "Japanese Mixed"),
        ("東京都", "Japanese"),
        ("都", "Japanese"),
        ("タワー", "Japanese"),
        ("晴れ 天気", "Japanese"),
        ("학교", "Korean"),
        ("한국", "Korean"),
        ("한국 배운다 학교", "Korean"),
        ("배", "Korean"),
        ("tokyo 東京", "Mixed"),
        ("東京tower", "Mixed"),
        ("a型", "Mixed"),
        ("foo_bar baz", "Mixed"),
        ("title", ""),
        ("nowhere*", ""),
        ("和 天", ""),
    ],
)
async def test_what_is_found(desk: Desk, state: str, text: str, expected: str) -> None:
    for title, content in LIBRARY.items():
        await desk.make(title, content)
    await ready(desk, state)
    hits = (await desk.ask(text)).matches
    assert sorted(hit.title for hit in hits) == sorted(expected.split())
    for hit in hits:
        assert "<mark>" in hit.snippet
        assert hit.matched_in == ["content"]


async def test_a_title_weighs_more_and_a_word_more_often_too(desk: Desk, state: str) -> None:
    filler = "Other words that make the text a little longer than one line. " * 5
    for n in range(12):
        await desk.make(f"Other {n}", filler)
    await desk.make("Once", f"{filler} Harbour.")
    await desk.make("Often", f"{filler} Harbour, harbour and harbour.")
    await desk.make("Harbour", filler)
    await ready(desk, state)
    found = (await desk.ask("harbour")).matches
    assert [hit.title for hit in found] == ["Harbour", "Often", "Once"]
    assert [hit.matched_in for hit in found] == [["title"], ["content"], ["content"]]
    assert found[0].snippet == "<mark>Harbour</mark>"
    assert found[0].score > found[1].score > found[2].score > 0


async def test_fields_and_filters(desk: Desk, state: str) -> None:
    one = await desk.make("Alpha", "about beta", tags=["Größe"])
    await desk.make("Beta", "about alpha gamma")
    await ready(desk, state)
    assert await desk.titles("alpha", fields=("title",)) == ["Alpha"]
    assert await desk.titles("alpha", fields=("content",)) == ["Beta"]
    assert await desk.titles("alpha beta", fields=("content",)) == []
    assert await desk.titles('"about alpha"', fields=("title",)) == []
    assert sorted(await desk.titles("alpha beta")) == ["Alpha", "Beta"]
    assert await desk.titles("about -gamma", fields=("content",)) == ["Alpha"]
    assert await desk.titles("alpha", only=Filter(tag="GRÖSSE")) == ["Alpha"]
    assert await desk.titles("alpha", only=Filter(kind="folder")) == []
    assert sorted(await desk.titles("alpha", only=Filter(kind="markdown", author_id=desk.me.user_id))) == [
        "Alpha",
        "Beta",
    ]
    assert await desk.titles("alpha", only=Filter(author_id=one.id)) == []


async def test_the_live_rows_decide(desk: Desk, state: str) -> None:
    """Trash, titles, texts and purging are seen at once, whatever the index holds."""
    kept = await desk.make("Kept", "common words")
    gone = await desk.make("Gone", "common words")
    changed = await desk.make("Changed", "common words")
    renamed = await desk.make("Before", "common words")
    await ready(desk, state)
    await desk.trash(gone.id)
    await desk.edit(changed.id, "rare words")
    await desk.retitle(renamed.id, "After")
    assert sorted(await desk.titles("common")) == ["After", "Kept"]
    assert await desk.titles("rare") == ["Changed"]
    assert await desk.titles("before") == []
    assert await desk.titles("after") == ["After"]
    await desk.restore(gone.id)
    assert sorted(await desk.titles("common")) == ["After", "Gone", "Kept"]
    await desk.trash(kept.id)
    await desk.purge(kept.id)
    assert sorted(await desk.titles("common")) == ["After", "Gone"]
    await ready(desk, state)
    assert sorted(await desk.titles("common")) == ["After", "Gone"]
    await desk.database.write(
        lambda tx: documents.archive(tx, desk.me, documents.find(tx, desk.me, gone.id), archived=True)
    )
    assert sorted(await desk.titles("common")) == ["After", "Gone"]


async def test_only_what_the_asker_may_read(desk: Desk, state: str) -> None:
    database = desk.database
    bea, bea_own = await person(database, "bea")
    second = await database.write(lambda tx: workspaces.create(tx, desk.me, name="Second"))
    await desk.make("Mine", "secret word")
    await desk.make("Shared", "secret word", workspace_id=second)
    await Desk(database, bea, bea_own).make("Hers", "secret word")
    await ready(desk, state)
    assert sorted(await desk.titles("secret")) == ["Mine", "Shared"]
    assert await desk.titles("secret", workspace_id=second) == ["Shared"]
    assert await desk.titles("secret", me=bea) == ["Hers"]
    with pytest.raises(NotFound):
        await desk.ask("secret", workspace_id=second, me=bea)
    with pytest.raises(NotFound):
        await desk.ask("secret", workspace_id=desk.workspace_id, me=bea)

    await database.write(
        lambda tx: members.put(tx, desk.me, workspaces.find(tx, desk.me, second), bea.user_id, role="viewer")
    )
    assert sorted(await desk.titles("secret", me=bea)) == ["Hers", "Shared"]
    found = await desk.ask("secret", me=bea, workspace_id=second)
    assert [hit.role for hit in found.matches] == ["viewer"]
    narrow = Principal(**{**{one: getattr(bea, one) for one in bea.__struct_fields__}, "workspace_id": second})
    assert await desk.titles("secret", me=narrow) == ["Shared"]
    with pytest.raises(NotFound):
        await desk.ask("secret", me=narrow, workspace_id=bea_own)
    await database.write(lambda tx: members.remove(tx, desk.me, second, bea.user_id))
    assert await desk.titles("secret", me=bea) == ["Hers"]


async def test_many_workspaces_are_searched_together(desk: Desk, state: str) -> None:
    bea, bea_own = await person(desk.database, "bea")
    await Desk(desk.database, bea, bea_own).make("Hers", "needle")
    for n in range(finding.APART + 3):
        place = await desk.database.write(lambda tx, n=n: workspaces.create(tx, desk.me, name=f"Number {n}"))  # type: ignore[misc] # bound at once
        await desk.make(f"In {n:02d}", "needle", workspace_id=place)
    await ready(desk, state)
    assert sorted(await desk.titles("needle")) == [f"In {n:02d}" for n in range(finding.APART + 3)]


async def test_a_deleted_workspace_leaves_the_index(desk: Desk) -> None:
    place = await desk.database.write(lambda tx: workspaces.create(tx, desk.me, name="Doomed"))
    for n in range(120):
        await desk.make(f"Doomed {n}", "needle", workspace_id=place)
    await desk.make("Long and doomed", "needle and thread " * 6_000, workspace_id=place)
    await search.bring_up(desk.database)
    await desk.make("Kept", "needle")
    await desk.database.write(lambda tx: workspaces.delete(tx, desk.me, workspaces.find(tx, desk.me, place)))
    assert await desk.titles("needle") == ["Kept"]
    await search.bring_up(desk.database)
    assert await desk.titles("needle") == ["Kept"]
    for table, count in (("search_documents", 1), ("search_parts", 0), ("search_workspaces", 1)):
        assert await desk.database.read(lambda db, t=table: db.value(int, f"SELECT count(*) FROM {t}")) == count  # type: ignore[misc] # bound at once


async def test_pages_follow_one_another(desk: Desk, state: str) -> None:
    for n in range(25):
        await desk.make(f"Note {n:02d}", "needle " * (n % 5 + 1) + "hay " * 20)
    await ready(desk, state)
    whole = await desk.titles("needle")
    assert len(whole) == 25
    found: list[str] = []
    key: search.Key | None = None
    while True:
        page = await desk.ask("needle", after=key, limit=4)
        found += [hit.title for hit in page.matches]
        key = page.following
        if key is None:
            break
        assert len(page.matches) == 4
    assert found == whole


async def test_more_matches_than_are_ranked_and_the_newest_in_the_trash(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "RANKED", 10)
    monkeypatch.setattr(finding, "_SPARE", 1)
    made = [await desk.make(f"Note {n:02d}", "needle") for n in range(30)]
    await search.bring_up(desk.database)
    assert sorted(await desk.titles("needle")) == [f"Note {n:02d}" for n in range(20, 30)]
    for one in made[12:]:
        await desk.trash(one.id)
    assert sorted(await desk.titles("needle")) == [f"Note {n:02d}" for n in range(2, 12)]
    assert sorted(await desk.titles("needle", only=Filter(kind="markdown"))) == [f"Note {n:02d}" for n in range(2, 12)]
    first = await desk.ask("needle", limit=6)
    assert len(first.matches) == 6
    rest = await desk.ask("needle", limit=6, after=first.following)
    found = [hit.title for hit in (*first.matches, *rest.matches)]
    assert sorted(found) == [f"Note {n:02d}" for n in range(2, 12)]
    assert rest.following is None


async def test_a_long_document_is_found_by_what_stands_far_apart(desk: Desk, state: str) -> None:
    filler = "Words of many kinds stand here, one after the other. " * 3_000
    long = await desk.make("Long", f"alpha {filler} beta gamma {filler} 東京都 {filler} omega")
    await desk.make("Short", "alpha omega")
    await ready(desk, state)
    for text, expected in {
        "alpha omega": ["Long", "Short"],
        "alpha gamma omega": ["Long"],
        '"beta gamma" omega': ["Long"],
        '"gamma beta"': [],
        "long 京都": ["Long"],
        "alpha -gamma": ["Short"],
        "alpha -long": ["Short"],
        "gam* alp*": ["Long"],
        "gamma nowhere": [],
    }.items():
        assert sorted(await desk.titles(text)) == expected, text
    await desk.edit(long.id, f"{filler} delta")
    assert await desk.titles("alpha") == ["Short"]
    assert await desk.titles("delta") == ["Long"]
    await ready(desk, state)
    assert await desk.titles("alpha") == ["Short"]
    assert await desk.titles("delta") == ["Long"]
    await desk.edit(long.id, "short by now")
    await ready(desk, state)
    assert await desk.titles("short now") == ["Long"]
    assert await desk.titles("delta") == []
    await desk.edit(long.id, f"{filler} delta")
    await ready(desk, state)
    assert await desk.titles("delta") == ["Long"]
    await desk.trash(long.id)
    await desk.purge(long.id)
    assert await desk.titles("delta") == []
    await ready(desk, state)
    if state == "indexed":
        assert await desk.database.read(lambda db: db.value(int, "SELECT count(*) FROM search_parts")) == 0


async def test_a_text_of_many_different_words_is_indexed(desk: Desk) -> None:
    """More of them than one tsvector takes."""
    numbers = random.Random(7)
    content = " ".join(f"{numbers.getrandbits(60):x}" for _ in range(150_000))
    await desk.make("Numbers", content)
    await search.bring_up(desk.database)
    words = content.split()
    assert await desk.titles(f"{words[3]} {words[75_000]} {words[-1]}") == ["Numbers"]
    assert await desk.titles(f'"{words[75_000]} {words[75_001]}"') == ["Numbers"]
    assert await desk.titles(f'"{words[75_001]} {words[75_000]}"') == []


async def test_what_goes_beyond_the_scan_is_counted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MOST", 10)
    for n in range(15):
        await desk.make(f"Note {n:02d}", "needle")
    found = await desk.ask("needle")
    assert sorted(hit.title for hit in found.matches) == [f"Note {n:02d}" for n in range(5, 15)]
    assert found.indexing == 5
    assert (await desk.ask("needle", only=Filter(kind="folder"))).indexing == 0
    monkeypatch.setattr(waiting, "MOST_BYTES", 25)
    assert (await desk.ask("needle")).indexing == 11
    await search.bring_up(desk.database)
    found = await desk.ask("needle")
    assert (len(found.matches), found.indexing) == (15, 0)


async def test_a_stop_in_the_middle_loses_nothing(desk: Desk) -> None:
    """As if the process had ended after each single unit of work: the next one begins anew, searches are right."""
    filler = "Words of many kinds stand here. " * 5_000
    long = await desk.make("Long", f"alpha {filler} omega")
    short = await desk.make("Short", "alpha omega")
    stops = 0
    for content in ("alpha omega", f"{filler} gamma alpha {filler}", "alpha"):
        while True:
            batch = await desk.database.read(lambda db: indexing.prepare(db, desk.workspace_id))
            if batch is None:
                break
            for number, unit in enumerate(indexing.units(batch)):
                await desk.database.write(unit)
                assert sorted(await desk.titles("alpha")) == ["Long", "Short"]
                if stops < 30 and number == stops % 7:
                    stops += 1
                    break
        assert await desk.database.read(search.verify) == []
        await desk.edit(long.id, content)
        await desk.edit(short.id, f"alpha {stops}")
    assert stops > 5


def _index_of(db: Reader) -> list[tuple[str, str]]:
    """How SQLite's index is made and set."""
    if db.engine == "postgres":
        return []
    made = db.rows("SELECT name, sql FROM sqlite_schema WHERE name LIKE 'search_fts%' ORDER BY name")
    return made + db.rows("SELECT k, v FROM search_fts_config WHERE k <> 'version' ORDER BY k")


async def test_segments_are_merged_when_there_is_nothing_else_to_do(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer, "MERGE_AFTER", 20)
    monkeypatch.setattr(indexer, "REST", 0)
    running = search.Indexer(desk.database, gather=0)
    for n in range(20):
        await desk.make(f"Note {n}", f"needle word{n}")
    task = asyncio.create_task(running.run())
    await running.settled()
    while desk.database.engine == "sqlite" and await desk.database.read(
        lambda db: (db.value(int, "SELECT count(DISTINCT segid) FROM search_fts_idx") or 0) > 1
    ):
        pass
    assert len(await desk.titles("needle")) == 20
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_documents_of_one_moment_are_all_found(desk: Desk) -> None:
    beginning = ids.new()[:18]
    for n in range(4):
        await desk.make(f"Note {n}", "needle", id=f"{beginning}-8{n:03x}-{0:012x}")
    assert sorted(await desk.titles("needle")) == [f"Note {n}" for n in range(4)]
    first = await desk.ask("needle", limit=2)
    assert first.following is not None
    rest = await desk.ask("needle", limit=2, after=first.following)
    assert {hit.title for hit in (*first.matches, *rest.matches)} == {f"Note {n}" for n in range(4)}


async def test_a_rebuilt_index_is_the_same(desk: Desk) -> None:
    for title, content in LIBRARY.items():
        await desk.make(title, content)
    await desk.make("Long", "東京 and more words " * 5_000)
    await search.bring_up(desk.database)
    before = await desk.titles("東京")
    made = await desk.database.read(_index_of)
    await search.rebuild(desk.database)
    assert await desk.database.read(_index_of) == made
    assert sorted(await desk.titles("東京")) == sorted(before)
    await search.bring_up(desk.database)
    assert await desk.titles("東京") == before
    assert await desk.database.read(lambda db: db.value(int, "SELECT count(*) FROM search_documents")) == 8
    assert await search.upkeep(desk.database) >= 1
    assert await desk.titles("東京") == before


async def test_documents_from_before_the_index_get_into_it(engine: Engine, tmp_path: Path) -> None:
    old = [one for one in known(engine) if one.name not in ("search", "prefixes")]
    with engines.fresh_dsn() as dsn:
        database: SQLite | Postgres
        if engine == "sqlite":
            database = await SQLite.open(tmp_path / "old.sqlite3")
        else:
            database = await Postgres.open(dsn)

        async def migrate(migrations: list[Migration]) -> None:
            if isinstance(database, SQLite):
                await migrate_sqlite(database, backups=tmp_path, migrations=migrations)
            else:
                await migrate_postgres(database, migrations=migrations)

        try:
            await migrate(old)
            me, workspace_id = await person(database, "ada")
            desk = Desk(database, me, workspace_id)
            for title, content in LIBRARY.items():
                await desk.make(title, content)
            await migrate(known(engine))
            assert sorted(await desk.titles("東京")) == ["Japanese", "Mixed"]
            await search.bring_up(database)
            assert sorted(await desk.titles("東京")) == ["Japanese", "Mixed"]
            assert await database.read(lambda db: db.value(int, "SELECT count(*) FROM search_documents")) == 7
        finally:
            await database.close()


async def test_looking_an_index_over_holds_up_nobody(desk: Desk) -> None:
    """It only reads, beside a writer that is at work; and what others have changed since is not damage."""
    for title in ("One", "Two", "Three"):
        await desk.make(title, "word")
        await search.bring_up(desk.database)
        for _ in range(4):
            assert await desk.database.read(search.verify) == []


async def test_a_damaged_index_is_told() -> None:
    async with engines.fresh("sqlite") as database:
        desk = Desk(database, *(await person(database, "ada")))
        await desk.make("One", "word")
        await search.bring_up(database)
        await database.write(lambda tx: tx.run("UPDATE search_fts_content SET c1 = 'other words'"))
        (told,) = await database.read(search.verify)
        assert "search_fts" in told
        await search.rebuild(database)
        await search.bring_up(database)
        assert await database.read(search.verify) == []


async def test_what_is_wrong_with_an_index_is_told(desk: Desk) -> None:
    made = await desk.make("One", "word")
    await search.bring_up(desk.database)
    await desk.database.write(lambda tx: tx.run("UPDATE search_documents SET content_hash = 'other'"))
    assert len(await desk.database.read(search.verify)) == 1
    await desk.database.write(lambda tx: tx.run("DELETE FROM search_documents"))
    assert len(await desk.database.read(search.verify)) == 2
    assert await desk.titles("word") == []
    await search.rebuild(desk.database)
    assert await desk.titles("word") == [made.title]
    await search.bring_up(desk.database)
    assert await desk.titles("word") == [made.title]


async def test_a_search_that_takes_too_long_is_given_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(40):
        await desk.make(f"Note {n}", f"word{n} " * 3_000)
    await search.bring_up(desk.database)
    monkeypatch.setattr(finding, "SECONDS", 0.001)

    slow = "WITH RECURSIVE t (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 30000000) SELECT max(n) FROM t"
    monkeypatch.setattr(waiting, "scan", lambda db, *_: db.rows(slow))
    with pytest.raises(Busy, match="too long"):
        await desk.ask("word1*")
    monkeypatch.undo()
    assert await desk.titles("word1") == ["Note 1"]  # the connection is as good as before


async def test_the_indexer_follows_the_changes(desk: Desk) -> None:
    database = desk.database
    await desk.make("Before", "needle")
    follower = search.Indexer(database, gather=0)
    running = asyncio.create_task(follower.run())
    await follower.settled()
    known = await database.read(lambda db: db.column(str, "SELECT title FROM search_documents"))
    assert known == ["Before"]
    made = await desk.make("After", "needle")
    place = await database.write(lambda tx: workspaces.create(tx, desk.me, name="Second"))
    await desk.make("Elsewhere", "needle", workspace_id=place)
    await follower.settled()
    assert await database.read(indexing.lagging) == []
    assert sorted(await desk.titles("needle")) == ["After", "Before", "Elsewhere"]
    await desk.trash(made.id)
    await desk.purge(made.id)
    await follower.settled()
    assert await database.read(lambda db: db.value(int, "SELECT count(*) FROM search_documents")) == 2
    await search.rebuild(database)
    await follower.settled()
    assert await database.read(lambda db: db.value(int, "SELECT count(*) FROM search_documents")) == 2
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


ALPHABET = ("ab", "abc", "b", "Straße", "strasse", "é", "東京", "京都", "東京都", "都", "한국어", "x", "42")
JOINTS = (" ", " ", "\n", "", "-", ", ")


def phrase(dice: random.Random, most: int) -> str:
    made = ""
    for _ in range(dice.randint(1, most)):
        made += dice.choice(ALPHABET) + dice.choice(JOINTS)
    return made


def stands(term: Term, text: str) -> bool:
    """The slow way: the term's tokens in a row among those of the text."""
    asked, there = term.tokens, tokens(fold(text))
    for at in range(len(there) - len(asked) + 1):
        last = there[at + len(asked) - 1]
        if there[at : at + len(asked) - 1] == asked[:-1] and (
            last.startswith(asked[-1]) if term.is_open else last == asked[-1]
        ):
            return True
    return False


@pytest.mark.parametrize("seed", range(4))
async def test_the_index_finds_what_a_scan_of_all_documents_finds(database: Database, seed: int) -> None:
    """Random documents and changes, the indexer now and then, random queries; judged by looking at every document."""
    dice = random.Random(seed)
    me, workspace_id = await person(database, "ada")
    desk = Desk(database, me, workspace_id)
    live: dict[str, tuple[str, str]] = {}
    trashed: dict[str, tuple[str, str]] = {}
    for _ in range(60):
        move = dice.choice(("make", "make", "make", "edit", "edit", "retitle", "trash", "restore", "purge", "index"))
        if move == "make":
            title, content = phrase(dice, 3).strip(" ,-\n").replace("\n", " "), phrase(dice, 12)
            made = await desk.make(title, content)
            live[made.id] = (title, content)
        elif move == "index":
            batch = await database.read(lambda db: indexing.prepare(db, workspace_id))
            for unit in indexing.units(batch) if batch is not None else ():
                await database.write(unit)
        elif move in ("edit", "retitle", "trash") and live:
            id = dice.choice(list(live))
            title, content = live[id]
            if move == "edit":
                content = phrase(dice, 12)
                await desk.edit(id, content)
            elif move == "retitle":
                title = f"title {phrase(dice, 2)}".strip(" ,-\n").replace("\n", " ")
                await desk.retitle(id, title)
            live[id] = (title, content)
            if move == "trash":
                await desk.trash(id)
                trashed[id] = live.pop(id)
        elif move in ("restore", "purge") and trashed:
            id = dice.choice(list(trashed))
            there = trashed.pop(id)
            if move == "restore":
                await desk.restore(id)
                live[id] = there
            else:
                await desk.purge(id)
        for _ in range(4):
            words = [phrase(dice, 2).strip() for _ in range(dice.randint(1, 3))]
            asked = " ".join(
                dice.choice(("", "", "", "-"))
                + (f'"{one}"' if dice.random() < 0.4 else one)
                + dice.choice(("", "", "*"))
                for one in words
            )
            query = queries.parse(asked)
            if not query.wanted:
                continue
            fields = dice.choice((search.FIELDS, search.FIELDS, ("title",), ("content",)))
            expected = {
                id
                for id, (title, content) in live.items()
                if all(
                    any(stands(term, {"title": title, "content": content}[one]) for one in fields)
                    for term in query.wanted
                )
                and not any(
                    stands(term, {"title": title, "content": content}[one]) for one in fields for term in query.unwanted
                )
            }
            found = await desk.ask(query, fields=fields)
            assert {hit.state.id for hit in found.matches} == expected, (asked, fields)
            assert found.indexing == 0
    assert await database.read(search.verify) == []
