"""Sessions, personal tokens, codes: what is good, until when, and that everybody hears of the end."""

from __future__ import annotations

import msgspec
import pytest

from mdserver import clock, crypto
from mdserver.errors import Gone, NotFound
from mdserver.model import codes, invitations, sessions, tokens, users
from mdserver.model.audit import Origin
from mdserver.model.sessions import Known, Lifetimes, Pair
from mdserver.model.users import User
from mdserver.model.workspaces import Workspace
from mdserver.store.db import Database
from tests.conftest import Clock

HERE = Origin(address="192.0.2.1", request_id="r", device="app/1")
ELSEWHERE = msgspec.structs.replace(HERE, address="198.51.100.7")
LIFETIMES = Lifetimes()


@pytest.fixture
async def ada(frozen: Clock, database: Database) -> User:
    return await database.write(
        lambda tx: users.create(tx, email="ada@example.org", display_name="Ada", password_hash=None)
    )


async def begin(database: Database, user: User) -> Pair:
    return await database.write(lambda tx: sessions.start_app(tx, user.id, origin=HERE, lifetimes=LIFETIMES))


async def refresh(database: Database, token: str, origin: Origin = HERE) -> Pair | None:
    return await database.write(lambda tx: sessions.refresh(tx, token, origin=origin, lifetimes=LIFETIMES))


async def known(database: Database, token: str) -> Known | None:
    hashed = crypto.token_hash(token)
    return await database.read(lambda db: sessions.look_up(db, hashed, "access"))


def told(database: Database, topic: str) -> list[str]:
    heard: list[str] = []
    database.listen(topic, heard.append)
    return heard


async def test_only_hashes_are_stored(database: Database, ada: User) -> None:
    pair = await begin(database, ada)
    await refresh(database, pair.refresh_token)
    everything = str(await database.read(lambda db: db.rows("SELECT * FROM tokens")))
    for token in (pair.access_token, pair.refresh_token):
        assert token not in everything
        assert token[7:] not in everything


async def test_a_token_is_of_one_kind(database: Database, ada: User) -> None:
    pair = await begin(database, ada)
    assert await known(database, pair.access_token)
    assert await known(database, pair.refresh_token) is None
    hashed = crypto.token_hash(pair.access_token)
    assert await database.read(lambda db: sessions.look_up(db, hashed, "cookie")) is None
    assert await refresh(database, pair.access_token) is None


async def test_what_is_known(frozen: Clock, database: Database, ada: User) -> None:
    pair = await begin(database, ada)
    found = await known(database, pair.access_token)
    assert found is not None
    assert found.expires_at == frozen.now + 10 * clock.MINUTE
    principal = found.principal
    assert (principal.user_id, principal.kind, principal.device) == (ada.id, "app", "app/1")
    assert (principal.credential_id, principal.authenticated_at) == (pair.session_id, frozen.now)
    assert principal.scopes == ("read", "write", "admin")


async def test_the_grace_is_for_the_same_client(frozen: Clock, database: Database, ada: User) -> None:
    pair = await begin(database, ada)
    first = await refresh(database, pair.refresh_token)
    assert first is not None
    assert await refresh(database, pair.refresh_token) == first
    second = await refresh(database, first.refresh_token)
    assert second is not None
    assert await refresh(database, pair.refresh_token) == first  # even when its successor was used
    heard = told(database, "session")
    assert await refresh(database, pair.refresh_token, ELSEWHERE) is None
    assert heard == [pair.session_id]
    assert await known(database, second.access_token) is None


async def test_a_client_may_move(database: Database, ada: User) -> None:
    pair = await begin(database, ada)
    moved = await refresh(database, pair.refresh_token, ELSEWHERE)
    assert moved is not None
    assert await refresh(database, pair.refresh_token, ELSEWHERE) == moved
    (listed,) = await database.read(lambda db: sessions.of_user(db, ada.id, current="", after="", limit=9))
    assert listed.address == ELSEWHERE.address
    assert await database.read(lambda db: sessions.knows(db, ada.id, ELSEWHERE.address))
    assert not await database.read(lambda db: sessions.knows(db, ada.id, HERE.address))


async def test_no_token_outlives_its_session(frozen: Clock, database: Database, ada: User) -> None:
    pair = await begin(database, ada)
    ends_at = frozen.now + LIFETIMES.absolute
    for _ in range(6):
        frozen.forward(29 * clock.DAY)
        following = await refresh(database, pair.refresh_token)
        assert following is not None
        pair = following
    frozen.now = ends_at - clock.MINUTE
    last = await refresh(database, pair.refresh_token)
    assert last is not None
    assert last.expires_at == ends_at
    frozen.forward(clock.MINUTE)
    assert await known(database, last.access_token) is None
    assert await refresh(database, last.refresh_token) is None


async def test_ending(database: Database, ada: User) -> None:
    pairs = [await begin(database, ada) for _ in range(3)]
    heard, everybody = told(database, "session"), told(database, "user")
    await database.write(lambda tx: sessions.end(tx, pairs[0].session_id))
    assert await database.write(lambda tx: sessions.end_all(tx, ada.id, but=pairs[1].session_id)) == 1
    assert heard == [pairs[0].session_id, pairs[2].session_id]
    assert everybody == []
    assert [await known(database, one.access_token) is not None for one in pairs] == [False, True, False]
    assert await database.write(lambda tx: sessions.end_all(tx, ada.id)) == 1
    assert everybody == [ada.id]
    with pytest.raises(NotFound):
        await database.write(lambda tx: sessions.end_of(tx, ada.id, pairs[1].session_id))


async def test_what_is_old_is_forgotten(frozen: Clock, database: Database, ada: User) -> None:
    pair = await begin(database, ada)
    await refresh(database, pair.refresh_token)
    assert await database.write(sessions.forget_old) == 0
    frozen.forward(10 * clock.MINUTE)
    assert await database.write(sessions.forget_old) == 2  # two access tokens
    frozen.forward(30 * clock.DAY)
    assert await database.write(sessions.forget_old) == 2  # two refresh tokens
    frozen.forward(90 * clock.DAY)
    assert await database.write(sessions.forget_old) == 1  # the session


async def test_personal_tokens(frozen: Clock, database: Database, ada: User) -> None:
    pair = await begin(database, ada)
    me = (await known(database, pair.access_token)).principal  # type: ignore[union-attr]

    made = await database.write(
        lambda tx: tokens.create(tx, me, name="x", scopes=["write", "read"], workspace_id=None, expires_at=None)
    )
    hashed, heard = crypto.token_hash(made.token), told(database, "token")
    found = await database.read(lambda db: tokens.look_up(db, hashed))
    assert found is not None
    assert (found.principal.scopes, found.principal.kind) == (("read", "write"), "token")
    assert found.principal.authenticated_at == 0
    await database.write(lambda tx: tokens.touch(tx, made.id))
    noted = await database.read(lambda db: tokens.find(db, ada.id, made.id))
    assert noted.used_at == clock.rfc3339(frozen.now)
    await database.write(lambda tx: users.disable(tx, ada))
    assert await database.read(lambda db: tokens.look_up(db, hashed)) is None
    await database.write(lambda tx: users.enable(tx, ada))
    assert await database.read(lambda db: tokens.look_up(db, hashed)) is not None
    await database.write(lambda tx: tokens.revoke(tx, noted))
    assert heard == [made.id]
    assert await database.read(lambda db: tokens.look_up(db, hashed)) is None
    frozen.forward(90 * clock.DAY)
    assert await database.write(tokens.forget_old) == 1


async def test_codes_are_used_once(frozen: Clock, database: Database, ada: User) -> None:
    code = await database.write(
        lambda tx: codes.issue(tx, "reset", email=ada.email, user_id=ada.id, lifetime=clock.HOUR, payload={"a": None})
    )
    for purposes in (("signup",), ("signup", "email")):
        with pytest.raises(Gone):
            await database.write(lambda tx, these=purposes: codes.use(tx, code, *these))  # type: ignore[misc]
    assert (await database.read(lambda db: codes.find(db, code, "reset"))).payload == {"a": None}
    assert (await database.write(lambda tx: codes.use(tx, code, "reset"))).user_id == ada.id
    for _ in range(2):
        with pytest.raises(Gone):
            await database.write(lambda tx: codes.use(tx, code, "reset"))
    with pytest.raises(Gone):
        await database.read(lambda db: codes.find(db, code, "reset"))
    frozen.forward(clock.HOUR)
    assert await database.write(codes.forget_old) == 1


async def test_one_code_at_a_time(database: Database, ada: User) -> None:
    async def issue(purpose: codes.Purpose, email: str, user_id: str | None) -> str:
        return await database.write(
            lambda tx: codes.issue(tx, purpose, email=email, user_id=user_id, lifetime=clock.HOUR)
        )

    async def good(code: str, purpose: codes.Purpose) -> bool:
        try:
            await database.read(lambda db: codes.find(db, code, purpose))
        except Gone:
            return False
        return True

    first = await issue("email", "one@example.org", ada.id)
    second = await issue("email", "two@example.org", ada.id)
    signup = await issue("signup", "two@example.org", None)
    assert [await good(first, "email"), await good(second, "email"), await good(signup, "signup")] == [
        False,
        True,
        True,
    ]
    again = await issue("signup", "TWO@example.org", None)
    assert [await good(signup, "signup"), await good(again, "signup")] == [False, True]
    await database.write(lambda tx: codes.end_all(tx, ada.id))
    assert not await good(second, "email")


async def test_invitations_of_operators_stand_by_themselves(database: Database, ada: User) -> None:
    place = await database.read(lambda db: db.value(str, "SELECT id FROM workspaces"))
    assert place is not None
    workspace = Workspace(
        id=place, name="", role="owner", member_count=1, document_count=0, storage_bytes=0, created_at="", updated_at=""
    )
    made = await database.write(
        lambda tx: invitations.invite(tx, workspace, invited_by=invitations.OPERATOR, role="admin")
    )
    found = await database.read(lambda db: invitations.standing(db, made.token))
    assert (found.inviter_name, found.role) == (None, "admin")
    assert made.invited_by is None
