"""Conditional requests: ETags in both forms, what proxies make of them, and the order in which a request is judged."""

from __future__ import annotations

import itertools

import pytest

from mdserver.app import ROUTES
from mdserver.config import Limits
from mdserver.model import members
from mdserver.model.access import Scope

from .conftest import Answer, Client, Json, Server, Start
from .desk import NOWHERE, content, make, refused, unchanged, whole

# Every route that takes If-Match: its body, what has to be done to the document before, whether the field is required.
CONDITIONAL: dict[tuple[str, str], tuple[Json, str, bool]] = {
    ("PUT", ""): ({"title": "New", "content": "new", "tags": []}, "", True),
    ("PATCH", ""): ({"title": "New"}, "", False),
    ("DELETE", ""): (None, "trash", True),
    ("PUT", "/content"): ({"content": "new"}, "", True),
    ("PUT", "/title"): ({"title": "New"}, "", False),
    ("PUT", "/filename"): ({"filename": "new"}, "", False),
    ("PUT", "/tags"): ({"tags": ["new"]}, "", False),
    ("PUT", "/place"): ({"parent_id": None}, "", False),
    ("PUT", "/trash"): (None, "", False),
    ("DELETE", "/trash"): (None, "trash", False),
    ("PUT", "/archive"): (None, "", False),
    ("DELETE", "/archive"): (None, "archive", False),
    ("PUT", "/template"): (None, "", False),
    ("DELETE", "/template"): (None, "template", False),
    ("PUT", "/favourite"): (None, "", False),
    ("DELETE", "/favourite"): (None, "favourite", False),
}


def with_suffixes(tag: str) -> list[str]:
    """What compressing proxies make of an ETag."""
    bare = tag.strip('"')
    return [
        *(
            tag,
            f"W/{tag}",
            f'"{bare}-gzip"',
            f'W/"{bare}-gzip"',
            f'"{bare}-br"',
            f'W/"{bare}-zstd"',
        ),
        *(f'"other", {tag}', f'{tag},"other"', f'W/"a", W/"b" , {tag} ', f"  {tag}"),
    ]


def content_form(etag: str) -> str:
    return etag.partition(".")[0] + '"'


def test_every_conditional_route_is_here() -> None:
    found = {
        (one.method, one.path.removeprefix("/api/v1/documents/{id}"))
        for resource in ROUTES
        for one in resource.all
        if one.condition
    }
    assert found == set(CONDITIONAL)


@pytest.mark.parametrize("route", CONDITIONAL, ids=lambda it: f"{it[0]}{it[1].replace('/', ' ')}")
async def test_if_match(server: Server, route: tuple[str, str]) -> None:
    (method, way), (body, before, required) = route, CONDITIONAL[route]
    ada = await server.person("Ada")

    async def fresh() -> tuple[str, str]:
        folder = await make(ada, "Folder", kind="folder")
        made = await make(ada, content="one", tags=["x"], parent_id=folder["id"])
        path = f"/documents/{made['id']}"
        if before:
            assert (await ada.put(f"{path}/{before}")).status == 200
        return path, (await ada.get(path)).headers["ETag"]

    path, etag = await fresh()
    assert etag == (await ada.get(f"{path}/content")).headers["ETag"][:-1] + etag[etag.index(".") :]
    version, _, rest = etag.strip('"').partition("-")
    async with unchanged(server.database):
        stale = [
            *(f'"{int(version) + 1}-{rest}"', f'"{etag.strip(chr(34))}x"', '"x"', '""', f'"{version}"'),
            *(f'"{etag.strip(chr(34))}-html"', f'"{version}-{rest.partition(".")[0]}.99.o31"', 'W/"x", "y"', '"*"'),
            f'"{version}-0000000000000000"',
        ]
        for wrong in stale:
            answer = await ada.call(method, path + way, body, headers={"If-Match": wrong})
            refused(answer, 412)
            assert answer.json["version"] == 1
            assert answer.json["etag"] == answer.headers["ETag"] == etag
        for wrong in (
            "x",
            etag.strip('"'),
            f"{etag} {etag}",
            '"',
            f"{etag},x",
            "* *",
            f"w/{etag}",
            f"{etag};x",
            '"a b"',
        ):
            refused(await ada.call(method, path + way, body, headers={"If-Match": wrong}), 400)
        if required:
            refused(await ada.call(method, path + way, body), 428)
    for good in ("*", " * ", None, *with_suffixes(etag), *with_suffixes(content_form(etag))):
        if good is None and required:
            continue
        path, again = await fresh()
        assert content_form(again) == content_form(etag)
        headers = {} if good is None else {"If-Match": good.replace(etag.strip('"'), again.strip('"'))}
        answer = await ada.call(method, path + way, body, headers=headers)
        assert answer.status in (200, 204), (good, answer)
        if answer.status == 200:
            assert answer.headers["ETag"] == (await ada.get(path)).headers["ETag"] != again or way == "/place"
    await whole(server)


async def test_what_each_form_compares(server: Server) -> None:
    ada = await server.person("Ada")
    made = await make(ada, content="one")
    path = f"/documents/{made['id']}"
    first = (await ada.get(path)).headers["ETag"]
    for change in ("title", "favourite"):
        before = (await ada.get(path)).headers["ETag"]
        body = {"title": "Other"} if change == "title" else None
        assert (await ada.put(f"{path}/{change}", body)).status == 200
        after = (await ada.get(path)).headers["ETag"]
        assert after != before
        assert content_form(after) == content_form(before) == content_form(first)
        new = {"content": f"after {change}"}
        refused(await ada.put(f"{path}/content", new, headers={"If-Match": before}), 412)
        answer = await ada.put(f"{path}/content", new, headers={"If-Match": content_form(before)})
        assert answer.status == 200
        await ada.put(f"{path}/content", {"content": "one"}, headers={"If-Match": content_form(answer.headers["ETag"])})
        first = (await ada.get(path)).headers["ETag"]
    # A role is part of what one sees; a person's name is not.
    bea = await server.member(ada, "Bea", "editor")
    hers = (await bea.get(path)).headers["ETag"]
    assert content_form(hers) == content_form(first)
    assert hers != first
    await server.database.write(lambda tx: members.set_role(tx, ada.principal, ada.workspace_id, bea.id, role="viewer"))
    assert (await bea.get(path)).headers["ETag"] != hers
    assert (await ada.get(path)).headers["ETag"] == first
    await ada.patch("/me", {"display_name": "Ada L."})
    assert (await ada.get(path)).headers["ETag"] == first
    # A token that may do less sees other permissions.
    reader = await server.token(ada, "read")
    assert (await reader.get(path)).headers["ETag"] != first


async def test_if_none_match(server: Server) -> None:
    ada = await server.person("Ada")
    made = await make(ada, content="one")
    path = f"/documents/{made['id']}"
    for way in ("", "/content", "/html"):
        read = await ada.get(path + way)
        etag = read.headers["ETag"]
        for method in ("GET", "HEAD"):
            for same in ("*", *with_suffixes(etag)):
                answer = await ada.call(method, path + way, headers={"If-None-Match": same})
                assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", etag), same
                assert "Content-Type" not in answer.headers
                assert answer.headers["Cache-Control"] == "private, no-cache"
                assert answer.headers.get("Vary") == read.headers.get("Vary")
            for other in ('"x"', f'"{etag.strip(chr(34))}x"', 'W/"1"', '""'):
                answer = await ada.call(method, path + way, headers={"If-None-Match": other})
                assert (answer.status, answer.headers["ETag"]) == (200, etag)
        refused(await ada.get(path + way, headers={"If-None-Match": "x"}), 400)
    # The content's tag is not the document's: a changed title must be seen.
    tag = (await ada.get(f"{path}/content")).headers["ETag"]
    assert (await ada.get(path, headers={"If-None-Match": tag})).status == 200
    await ada.put(f"{path}/title", {"title": "x"})
    assert (await ada.get(f"{path}/content", headers={"If-None-Match": tag})).status == 304
    await ada.put(f"{path}/content", {"content": "two"}, headers={"If-Match": "*"})
    assert (await ada.get(f"{path}/content", headers={"If-None-Match": tag})).status == 200
    # The same text again is another version.
    await ada.put(f"{path}/content", {"content": "one"}, headers={"If-Match": "*"})
    assert (await ada.get(f"{path}/content", headers={"If-None-Match": tag})).status == 200
    stranger = await server.person("Eve")
    for etag in (tag, "*"):
        refused(await stranger.get(path, headers={"If-None-Match": etag}), 404)
        refused(await stranger.get(f"{path}/content", headers={"If-None-Match": etag}), 404)


async def test_two_writers(server: Server) -> None:
    """The second one is told, and nothing of the first is lost."""
    ada, bea = await server.person("Ada"), await server.person("Bea")
    await server.join(ada, bea, "editor")
    made = await make(ada, content="one")
    path = f"/documents/{made['id']}"
    etag = (await ada.get(f"{path}/content")).headers["ETag"]
    assert (await ada.put(f"{path}/content", {"content": "ada"}, headers={"If-Match": etag})).status == 200
    second = await bea.put(f"{path}/content", {"content": "bea"}, headers={"If-Match": etag})
    refused(second, 412, problem="stale")
    assert second.json["version"] == 2
    assert await content(bea, made["id"]) == "ada"
    again = await bea.put(f"{path}/content", {"content": "bea"}, headers={"If-Match": second.json["etag"]})
    assert again.status == 200  # the tag that the problem gives is Bea's own
    assert await content(ada, made["id"]) == "bea"


# What is wrong with a request, in the order in which it is said.
FAULTS = (
    "signed out",
    "stranger",
    "too low",
    "too large",
    "media",
    "not json",
    "bad header",
    "invalid",
    "no if-match",
    "stale",
)
STATUS = dict(zip(FAULTS, (401, 404, 403, 413, 415, 400, 400, 422, 428, 412), strict=True))
APART = [
    *({"signed out", "stranger"}, {"signed out", "too low"}, {"stranger", "too low"}),  # one caller has one of these
    *({"bad header", "no if-match"}, {"bad header", "stale"}, {"no if-match", "stale"}),  # one header, one fault
    {"too large", "media"},  # the one that costs less to see may come first
    {"not json", "invalid"},  # a body that cannot be read has no other fault
    {"media", "not json"},
    {"not json", "bad header"},  # the same status
]


@pytest.mark.parametrize("way", ["/content", "", "/title"])
async def test_order_of_judgement(start: Start, way: str) -> None:
    server = await start(limits=Limits(json_body=1_024, document=1_024))
    ada, eve = await server.person("Ada"), await server.person("Eve")
    bea = await server.member(ada, "Bea", "commenter")
    made = await make(ada, content="one")
    bodies = {
        "/content": b'{"content": "%s"}',
        "": b'{"title": "x", "tags": [], "content": "%s"}',
        "/title": b'{"title": "%s"}',
    }
    wrong = {"/content": b"a\\u0000", "": b"a\\u0000", "/title": b""}

    async def ask(*faults: str) -> Answer:
        who: Client = ada
        if "signed out" in faults:
            who = server.anonymous
        elif "stranger" in faults:
            who = eve
        elif "too low" in faults:
            who = bea
        inner = wrong[way] if "invalid" in faults else b"new"
        body = b"{" if "not json" in faults else bodies[way] % inner
        if "too large" in faults:
            body += b" " * 4_000
        headers = {"Content-Type": "text/html" if "media" in faults else "application/json", "If-Match": "*"}
        if "no if-match" in faults:
            del headers["If-Match"]
        if "stale" in faults:
            headers["If-Match"] = '"9-0"'
        if "bad header" in faults:
            headers["If-Match"] = "9-0"
        return await who.call("PUT", f"/documents/{made['id']}{way}", body, headers=headers)

    kept = [one for one in FAULTS if way != "/title" or one not in ("no if-match", "bad header")]
    async with unchanged(server.database):
        for one in kept:
            refused(await ask(one), STATUS[one])
        for first, second in itertools.combinations(kept, 2):
            if {first, second} not in APART:
                answer = await ask(first, second)
                assert answer.status == STATUS[first], (first, second, answer)
    assert (await ask()).status == 200


async def test_methods_are_judged_before_bodies(server: Server) -> None:
    ada = await server.person("Ada")
    made = await make(ada)
    for id in (made["id"], NOWHERE):
        answer = await ada.post(f"/documents/{id}/title", b"{", headers={"Content-Type": "text/html"})
        refused(answer, 405)
        assert answer.headers["Allow"] == "OPTIONS, PUT"


async def test_what_a_token_may_do_is_part_of_the_tag(server: Server) -> None:
    """`permissions` differ between tokens of one person, so what one has read is not what another would."""
    ada = await server.person()
    path = f"/documents/{(await make(ada, 'Plan', content='one'))['id']}"
    sets: list[tuple[Scope, ...]] = [("read",), ("read", "write"), ("read", "admin"), ("read", "write", "admin")]
    tags: dict[str, list[str]] = {}
    for scopes in sets:
        answer = await (await server.token(ada, *scopes)).get(path)
        tags[answer.headers["ETag"]] = answer.json["permissions"]
    assert len(tags) == len(sets)
    assert len({tuple(one) for one in tags.values()}) == len(sets)
