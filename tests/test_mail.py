"""Mail, against a real SMTP server on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, cast

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from mdserver.mail import Mailer, MailError, Security

TEXT = "Zeile eins\n" + "ü" * 300 + "\nhttps://example.org/#code=1\n"
SENDER = "Our Notes <notes@example.org>"

# A certificate for localhost that signed itself, valid to the year 2120, with its key: worth nothing elsewhere.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgnKMkL5O5lszpgopN
xg5epjm1gTWXdaC4cU4FJ5XcSvGhRANCAARbu+KMWZKQSn1E9g12W7d545IGHGLp
gs/aGu7zBQT3cfBOHM0vXbqnqAOHlx6Hqrp5HphALOEQpfhzbkVvWoyu
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBeDCCAR6gAwIBAgICEAAwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJbG9jYWxo
b3N0MCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAUMRIwEAYDVQQD
DAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARbu+KMWZKQSn1E
9g12W7d545IGHGLpgs/aGu7zBQT3cfBOHM0vXbqnqAOHlx6Hqrp5HphALOEQpfhz
bkVvWoyuo14wXDAdBgNVHQ4EFgQUQD8nuhgX8D/nBq3v7vRhIIOrVJowDwYDVR0T
AQH/BAUwAwEB/zAOBgNVHQ8BAf8EBAMCAoQwGgYDVR0RBBMwEYIJbG9jYWxob3N0
hwR/AAABMAoGCCqGSM49BAMCA0gAMEUCIBB8Iio55IXmKQHRbcbegZLQ7j7xcKQG
3VV+lqQOn+7pAiEA1D/G5kpkDk4FXkN1LRtt38tF9pzyBBxp+jcIGe/3FwU=
-----END CERTIFICATE-----
"""


class Inbox:
    """What the mail server was given, and what it answers: each of `answers` once, then 250."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.envelopes: list[Envelope] = []
        self.sessions: list[Session] = []
        self.attempts = 0
        self.arrived = asyncio.Event()

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, to: str, options: Any) -> str:
        self.attempts += 1
        if self.answers:
            answer = self.answers.pop(0)
            if answer == "hang":
                await asyncio.sleep(30)
            if answer == "hang up":
                _cut(server)
            return answer
        envelope.rcpt_tos.append(to)
        return "250 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.envelopes.append(envelope)
        self.sessions.append(session)
        self.arrived.set()
        return "250 taken"

    def message(self, index: int = 0) -> EmailMessage:
        content = self.envelopes[index].original_content
        assert content is not None
        return message_from_bytes(content, policy=default)


@contextlib.asynccontextmanager
async def serving(inbox: Inbox, *, tls: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[int]:
    """A mail server on loopback; its port."""
    loop = asyncio.get_running_loop()
    protocols: list[SMTP] = []

    def accept() -> SMTP:
        protocols.append(SMTP(inbox, hostname="localhost", loop=loop, **options))
        return protocols[-1]

    server = await loop.create_server(accept, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for one in protocols:
            _cut(one)
        await server.wait_closed()
        await asyncio.sleep(0)


def _cut(server: SMTP) -> None:
    if server.transport is not None:
        cast(asyncio.Transport, server.transport).abort()


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not what():  # noqa: ASYNC110 (counters and logs have no event)
            await asyncio.sleep(0.01)


def mailer(port: int, *, security: Security = "none", **options: Any) -> Mailer:
    return Mailer(
        "127.0.0.1", port, security=security, sender=SENDER, **{"timeout": 5, "pauses": (0.01, 0.01), **options}
    )


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's side and the client's."""
    path: Path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_text(CERTIFICATE)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cafile=str(path))


async def test_a_message_arrives_with_proper_headers() -> None:
    inbox = Inbox()
    async with serving(inbox) as port:
        one = mailer(port)
        await one.send("ann@bücher.example", "Grüße 🌿", TEXT)
        await asyncio.wait_for(inbox.arrived.wait(), 5)
        await one.close()
    message = inbox.message()
    assert inbox.envelopes[0].mail_from == "notes@example.org"
    assert inbox.envelopes[0].rcpt_tos == ["ann@xn--bcher-kva.example"]
    assert message["From"] == "Our Notes <notes@example.org>"
    assert message["To"] == "ann@xn--bcher-kva.example"
    assert message["Subject"] == "Grüße 🌿"
    assert message["Date"].datetime.tzinfo is not None
    assert message["Message-ID"].endswith("@example.org>")
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content_type() == "text/plain"
    assert message.get_content().replace("\r\n", "\n") == TEXT
    content = inbox.envelopes[0].original_content
    assert content is not None
    assert max(map(len, content.split(b"\r\n"))) <= 78


async def test_a_line_end_in_a_subject_makes_no_header() -> None:
    inbox = Inbox()
    async with serving(inbox) as port:
        await mailer(port).deliver("ann@example.org", "Hi\r\nBcc: eve@example.org\n\nbody", "text")
    assert inbox.envelopes[0].rcpt_tos == ["ann@example.org"]
    assert inbox.message()["Bcc"] is None
    assert inbox.message()["Subject"] == "Hi Bcc: eve@example.org body"


@pytest.mark.parametrize(
    "to",
    [
        "",
        "ann",
        "ann@",
        "@example.org",
        "ann@example.org\r\nBcc: eve@example.org",
        "ann@example.org, eve@example.org",
        "Ann <ann@example.org>",
        "ann@example.org\x00",
        "ann@exa mple.org",
        "ann@" + "x" * 64 + ".org",
    ],
)
async def test_what_is_not_one_address_is_refused(to: str) -> None:
    with pytest.raises(MailError, match="is not a mail address"):
        await mailer(1).send(to, "subject", "text")


def test_a_wrong_sender_is_refused_at_once() -> None:
    with pytest.raises(MailError, match="is not a mail address"):
        Mailer("localhost", 25, security="none", sender="nobody")


async def test_starttls_and_credentials(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"me", "pässword".encode())
        return AuthResult(success=right, handled=False)

    inbox = Inbox()
    async with serving(
        inbox, tls_context=tls[0], require_starttls=True, auth_required=True, authenticator=check
    ) as port:
        known: dict[str, Any] = {"security": "starttls", "trust": tls[1], "username": "me"}
        await mailer(port, **known, password="pässword").deliver("ann@example.org", "s", "t")
        assert inbox.sessions[0].ssl is not None
        with pytest.raises(MailError, match="refuses the user name and password: 535") as caught:
            await mailer(port, **known, password="wrong").deliver("ann@example.org", "s", "t")
        assert not caught.value.passing
    assert len(inbox.envelopes) == 1


async def test_tls_from_the_first_byte(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    inbox = Inbox()
    async with serving(inbox, tls=tls[0]) as port:
        await mailer(port, security="tls", trust=tls[1]).deliver("ann@example.org", "s", "t")
    assert len(inbox.envelopes) == 1


async def test_a_certificate_that_nobody_vouches_for_is_refused(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    inbox = Inbox()
    async with serving(inbox, tls_context=tls[0]) as port:
        with pytest.raises(MailError, match="is not trusted: self-signed") as caught:
            await mailer(port, security="starttls").deliver("ann@example.org", "s", "t")
    assert not caught.value.passing
    assert not inbox.envelopes


async def test_starttls_is_not_given_up_when_the_server_has_none() -> None:
    inbox = Inbox()
    async with serving(inbox) as port:
        with pytest.raises(MailError, match="lacks something that is needed: STARTTLS"):
            await mailer(port, security="starttls").deliver("ann@example.org", "s", "t")
    assert not inbox.envelopes


async def test_deliver_says_what_is_wrong() -> None:
    inbox = Inbox("550 5.1.1 <ann@example.org> is unknown", "451 4.7.1 come back later", "hang up")
    async with serving(inbox) as port:
        one = mailer(port)
        with pytest.raises(
            MailError, match=r"refuses the recipient: 550 5\.1\.1 <ann@example.org> is unknown"
        ) as caught:
            await one.deliver("ann@example.org", "s", "t")
        assert not caught.value.passing
        assert caught.value.brief == "the mail server refuses the recipient (550 5.1.1)"
        with pytest.raises(MailError, match="451") as caught:
            await one.deliver("ann@example.org", "s", "t")
        assert caught.value.passing
        with pytest.raises(MailError, match="hung up") as caught:
            await one.deliver("ann@example.org", "s", "t")
        assert caught.value.passing
    with pytest.raises(MailError, match=f"127.0.0.1:{port} cannot be used: .*refused"):
        await one.deliver("ann@example.org", "s", "t")


async def test_checking_goes_as_far_as_a_message(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    inbox = Strict()
    async with serving(inbox) as port:
        await mailer(port).check()
        inbox.takes = False
        with pytest.raises(MailError, match=r"refuses the sender: 550 5\.7\.1 not yours"):
            await mailer(port).check()
        with pytest.raises(MailError, match="refuses the sender"):
            await mailer(port).deliver("ada@example.org", "Hello", TEXT)
    async with serving(Inbox(), tls=tls[0]) as port:
        await mailer(port, security="tls", trust=tls[1]).check()
        with pytest.raises(MailError, match="is not trusted"):
            await mailer(port, security="tls").check()
    with pytest.raises(MailError, match="cannot be used"):
        await mailer(port).check()
    assert inbox.envelopes == []


class Strict(Inbox):
    """A mail server that does not take mail from everybody."""

    takes = True

    async def handle_MAIL(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any) -> str:
        if not self.takes:
            return "550 5.7.1 not yours"
        envelope.mail_from = address
        return "250 ok"


async def test_greylisted_mail_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mdserver.mail")
    inbox = Inbox("451 4.7.1 ann@example.org: greylisted", "hang up")
    async with serving(inbox) as port:
        one = mailer(port)
        await one.send("ann@example.org", "The subject", "The text")
        await asyncio.wait_for(inbox.arrived.wait(), 5)
        await one.close()
    assert inbox.attempts == 3
    said = [record.getMessage() for record in caplog.records]
    assert [line.partition(" ")[2].partition(" ")[2] for line in said] == [
        "waits 0 s: the mail server refuses the recipient (451 4.7.1)",
        f"waits 0 s: The mail server 127.0.0.1:{port} hung up.",
        "delivered",
    ]
    assert not any(secret in line for line in said for secret in ("ann@", "The subject", "The text"))


async def test_a_refusal_is_logged_and_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    inbox = Inbox("550 5.1.1 no ann@example.org here")
    async with serving(inbox) as port:
        one = mailer(port)
        await one.send("ann@example.org", "s", "t")
        await one.send("bob@example.org", "s", "t")
        await asyncio.wait_for(inbox.arrived.wait(), 5)
        await one.close()
    assert inbox.attempts == 2
    assert [envelope.rcpt_tos for envelope in inbox.envelopes] == [["bob@example.org"]]
    [record] = caplog.records
    assert record.getMessage().endswith("given up: the mail server refuses the recipient (550 5.1.1)")


async def test_patience_ends(caplog: pytest.LogCaptureFixture) -> None:
    inbox = Inbox(*["451 later"] * 9)
    async with serving(inbox) as port:
        one = mailer(port)
        await one.send("ann@example.org", "s", "t")
        await until(lambda: "given up" in caplog.text)
        await one.close()
    assert inbox.attempts == 3


async def test_closing_delivers_what_waits() -> None:
    inbox = Inbox("451 later")
    async with serving(inbox) as port:
        one = mailer(port, pauses=(600.0,))
        for name in ("ann", "bob", "cyd"):
            await one.send(f"{name}@example.org", "s", "t")
        await until(lambda: len(inbox.envelopes) == 2)
        await one.close()
        await one.send("dan@example.org", "s", "t")
    assert [envelope.rcpt_tos for envelope in inbox.envelopes] == [
        [f"{name}@example.org"] for name in ("bob", "cyd", "ann")
    ]


async def test_closing_does_not_wait_for_a_server_that_stalls(caplog: pytest.LogCaptureFixture) -> None:
    inbox = Inbox("hang")
    async with serving(inbox) as port:
        one = mailer(port)
        await one.send("ann@example.org", "s", "t")
        await one.send("bob@example.org", "s", "t")
        await until(lambda: inbox.attempts)
        await one.close(patience=0.05)
    assert "stopping with 2 mail(s) not delivered" in caplog.text


async def test_a_full_outbox_drops_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    inbox = Inbox("hang")
    async with serving(inbox) as port:
        one = mailer(port, capacity=1)
        await one.send("ann@example.org", "s", "t")
        await until(lambda: inbox.attempts)
        await one.send("bob@example.org", "s", "t")
        await one.send("cyd@example.org", "s", "t")
        assert "dropped: the outbox is full" in caplog.text
        await one.close(patience=0.05)


async def test_closing_an_unused_mailer() -> None:
    await mailer(1).close()
