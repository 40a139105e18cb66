"""Tokens, successors, passwords: what is stored says nothing, what is common is refused, no queue grows without end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from importlib import resources

import pytest

from mdserver import crypto
from mdserver.crypto import Passwords, Profile, check_password
from mdserver.errors import Invalid, TooMuch
from mdserver.text import fold

CHEAP = Profile(memory=8, passes=1, lanes=1)


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    made = Passwords(CHEAP)
    yield made
    made.close()


def test_tokens_are_unlike_and_say_what_they_are() -> None:
    made = {crypto.new_token(crypto.ACCESS) for _ in range(100)}
    assert len(made) == 100
    assert all(one.startswith("mds_at_") and len(one) == 7 + 43 for one in made)


def test_any_text_has_a_hash() -> None:
    for text in ("", "mds_at_é", "\ud800", "\0"):
        assert len(crypto.token_hash(text)) == 32


def test_a_successor_is_the_same_each_time_and_needs_the_old_token() -> None:
    old, salt = crypto.new_token(crypto.REFRESH), crypto.new_salt()
    made = crypto.successor(old, salt, crypto.REFRESH)
    assert made == crypto.successor(old, salt, crypto.REFRESH)
    assert made.startswith(crypto.REFRESH)
    assert len(made) == len(old)
    others = {
        crypto.successor(old, salt, crypto.ACCESS)[7:],
        crypto.successor(old, crypto.new_salt(), crypto.REFRESH)[7:],
        crypto.successor(crypto.new_token(crypto.REFRESH), salt, crypto.REFRESH)[7:],
        made[7:],
    }
    assert len(others) == 4


async def test_passwords_are_right_or_not(passwords: Passwords) -> None:
    known = await passwords.hash("correct horse")
    assert known.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert known != await passwords.hash("correct horse")
    assert await passwords.verify(known, "correct horse")
    assert not await passwords.verify(known, "Correct horse")
    assert not await passwords.verify(known, "")
    assert not await passwords.verify(known, "\ud800")
    assert not await passwords.verify("not a hash", "correct horse")


async def test_a_password_is_the_same_in_every_unicode_form(passwords: Passwords) -> None:
    assert await passwords.verify(await passwords.hash("cafe\u0301 au lait"), "café au lait")


async def test_nobody_has_a_password(passwords: Passwords) -> None:
    assert not await passwords.verify(None, "correct horse")


async def test_nobody_takes_as_long_as_somebody() -> None:
    passwords = Passwords(Profile(memory=16 << 10, passes=2, lanes=1))
    known = await passwords.hash("correct horse")

    async def least(hash: str | None) -> float:
        times = []
        for _ in range(5):
            started = time.perf_counter()
            await passwords.verify(hash, "wrong")
            times.append(time.perf_counter() - started)
        return min(times)

    assert 0.4 < await least(known) / await least(None) < 2.5
    passwords.close()


async def test_other_parameters_ask_for_a_rehash(passwords: Passwords) -> None:
    known = await passwords.hash("correct horse")
    assert not passwords.needs_rehash(known)
    stronger = Passwords(Profile(memory=16, passes=1, lanes=1))
    assert stronger.needs_rehash(known)
    assert await stronger.verify(known, "correct horse")
    stronger.close()


async def test_a_full_queue_is_too_much_and_empties_again() -> None:
    passwords, hold = Passwords(CHEAP, threads=1, queue=2), threading.Event()
    waiting = [asyncio.ensure_future(passwords._run(hold.wait)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(TooMuch):
        await passwords.hash("one too many")
    waiting[2].cancel()  # a caller who left while waiting makes room
    await asyncio.gather(waiting[2], return_exceptions=True)
    hold.set()
    await asyncio.gather(*waiting[:2])
    assert await passwords.hash("there is room")
    passwords.close()


async def test_a_cancelled_caller_does_not_make_room_while_the_thread_works() -> None:
    passwords, hold = Passwords(CHEAP, threads=1, queue=0), threading.Event()
    running = asyncio.ensure_future(passwords._run(hold.wait))
    await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    with pytest.raises(TooMuch):
        await passwords.hash("still busy")
    hold.set()
    passwords.close()


@pytest.mark.parametrize(
    "password",
    [
        "short7!",
        "x" * 129,
        "e\u0301" * 129,
        "\u0316\u0301" * 400_000,  # normalising this would take minutes
        "password",
        "PassWord123",
        "qwertyuiop",
        "aaaaaaaa",
        "12345678",
        "ada@example.org",
        "ADA@Example.org",
        "Ada Lovelace",
        "lovelace-ada",
        "\ud800longenough",
    ],
)
def test_bad_passwords(password: str) -> None:
    email = "lovelace-ada@example.org" if password.startswith("lovelace") else "Ada@example.org"
    with pytest.raises(Invalid) as caught:
        check_password(password, email=email, display_name="ada lovelace", pointer="/new_password")
    assert caught.value.extra["errors"][0]["pointer"] == "/new_password"


@pytest.mark.parametrize(
    "password",
    ["8 chars!", "x1" * 64, "tr0ub4dor&3", "пароль для Ады", "密码密码密码密码", "        ", "e\u0301x" * 64],
)
def test_good_passwords(password: str) -> None:
    check_password(password, email="ada@example.org", display_name="Ada")


def test_the_list_is_in_the_form_that_is_compared() -> None:
    lines = (resources.files("mdserver") / "data" / "common-passwords.txt").read_text("utf-8").splitlines()
    assert len(lines) > 3000
    assert lines == sorted(set(lines))
    assert all(len(one) >= 8 and one == fold(one) and " " not in one for one in lines)
