"""Mail over SMTP: messages wait in a bounded outbox in this process and are delivered in the background. Floor 0."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import re
import smtplib
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid, parseaddr
from typing import Literal, TypeVar

from . import clock

T = TypeVar("T")
Security = Literal["starttls", "tls", "none"]

PAUSES = (10.0, 60.0, 300.0, 900.0)
"""Seconds before each further attempt: greylisting servers want a minute at least (RFC 6647 §4.1)."""

log = logging.getLogger("mdserver.mail")

_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_numbers = itertools.count(1)


class MailError(Exception):
    """A message was not delivered. The text is a sentence for the operator and may hold what the mail server said.

    `passing`: trying again later may help. `brief` says as much without anybody's address, for the log.
    """

    def __init__(self, text: str, *, passing: bool, brief: str | None = None) -> None:
        super().__init__(text)
        self.passing = passing
        self.brief = brief or text


@dataclass(slots=True)
class _Letter:
    message: EmailMessage
    number: int = field(default_factory=lambda: next(_numbers))
    attempts: int = 0


class Mailer:
    """Sends plain text from `sender` (an address, or `Name <address>`). Make it and use it on one event loop.

    `timeout` is how many seconds the mail server may take for each step; `trust` replaces the system's certificates.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        security: Security,
        sender: str,
        username: str = "",
        password: str = "",
        timeout: float = 10.0,
        pauses: tuple[float, ...] = PAUSES,
        capacity: int = 1000,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        name, addressed = parseaddr(sender)
        self._sender = _address(addressed, name)
        self._host, self._port, self._security, self._timeout = host, port, security, timeout
        self._username, self._password = username, password
        self._pauses, self._capacity, self._trust = pauses, capacity, trust
        self._waiting: asyncio.Queue[_Letter] = asyncio.Queue()
        self._later: dict[int, tuple[asyncio.TimerHandle, _Letter]] = {}
        self._worker: asyncio.Task[None] | None = None
        self._closing = False

    async def send(self, to: str, subject: str, text: str) -> None:
        """Put a message into the outbox and return at once. MailError when the address cannot be one.

        A full outbox drops the message and says so in the log: whoever asked may ask again, and the answer they get
        must not depend on whether there was mail to send.
        """
        letter = _Letter(self._compose(to, subject, text))
        if self._closing or self._waiting.qsize() + len(self._later) >= self._capacity:
            log.error("mail %d dropped: %s", letter.number, "stopping" if self._closing else "the outbox is full")
            return
        self._waiting.put_nowait(letter)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(), name="mail")

    async def deliver(self, to: str, subject: str, text: str) -> None:
        """Hand a message to the mail server now. MailError says what went wrong."""
        message = self._compose(to, subject, text)
        await _on_a_thread(lambda: self._transmit(message))

    async def check(self) -> None:
        """Go as far as for a message and send none: connect, sign in, name the sender. MailError says what is wrong."""

        def ask(connection: smtplib.SMTP) -> None:
            connection.ehlo_or_helo_if_needed()
            code, said = connection.mail(self._sender.addr_spec)
            if code != 250:
                raise smtplib.SMTPSenderRefused(code, said, self._sender.addr_spec)
            connection.rset()

        await _on_a_thread(lambda: self._converse(ask))

    async def close(self, patience: float = 5.0) -> None:
        """Try what waits once more, for at most `patience` seconds; then let go of the rest and say how much it was."""
        self._closing = True
        for timer, letter in self._later.values():
            timer.cancel()
            self._waiting.put_nowait(letter)
        self._later.clear()
        if self._worker is None:
            return
        try:
            async with asyncio.timeout(patience):
                await self._waiting.join()
        except TimeoutError:
            log.error("stopping with %d mail(s) not delivered", self._waiting.qsize() + 1)
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)

    def _compose(self, to: str, subject: str, text: str) -> EmailMessage:
        message = EmailMessage(policy=SMTP)
        message["From"] = self._sender
        message["To"] = _address(to)
        # Subjects hold names that people chose: a line end there must not become a header.
        message["Subject"] = _UNFIT.sub(" ", subject).strip()
        message["Date"] = format_datetime(datetime.fromtimestamp(clock.now() / 1000, UTC))
        message["Message-ID"] = make_msgid(domain=self._sender.domain)
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834 §5: no holiday replies to this
        message.set_content(text, charset="utf-8", cte="quoted-printable")
        return message

    async def _work(self) -> None:
        while True:
            letter = await self._waiting.get()
            try:
                await self._attempt(letter)
            except Exception:
                log.exception("mail %d given up", letter.number)
            finally:
                self._waiting.task_done()

    async def _attempt(self, letter: _Letter) -> None:
        letter.attempts += 1
        try:
            await _on_a_thread(lambda: self._transmit(letter.message))
        except MailError as error:
            if not error.passing or letter.attempts > len(self._pauses):
                log.error("mail %d given up: %s", letter.number, error.brief)
            elif self._closing:
                log.error("mail %d not delivered before the stop: %s", letter.number, error.brief)
            else:
                pause = self._pauses[letter.attempts - 1]
                log.warning("mail %d waits %.0f s: %s", letter.number, pause, error.brief)
                timer = asyncio.get_running_loop().call_later(pause, self._again, letter)
                self._later[letter.number] = timer, letter
        else:
            log.info("mail %d delivered", letter.number)

    def _again(self, letter: _Letter) -> None:
        del self._later[letter.number]
        self._waiting.put_nowait(letter)

    def _transmit(self, message: EmailMessage) -> None:
        self._converse(lambda connection: connection.send_message(message))

    def _converse(self, say: Callable[[smtplib.SMTP], object]) -> None:
        """One conversation with the mail server, on a thread."""
        place = f"{self._host}:{self._port}"
        try:
            connection = self._connect()
            try:
                if self._security == "starttls":
                    connection.starttls(context=self._tls())
                if self._username:
                    self._sign_in(connection)
                say(connection)
                with contextlib.suppress(OSError, smtplib.SMTPException):  # it has the message: what follows is manners
                    connection.quit()
            finally:
                connection.close()
        except smtplib.SMTPNotSupportedError as error:
            text = f"The mail server {place} lacks something that is needed: {error}"
            raise MailError(text, passing=False) from error
        except smtplib.SMTPRecipientsRefused as error:
            raise _refused("refuses the recipient", *next(iter(error.recipients.values()))) from error
        except smtplib.SMTPAuthenticationError as error:
            raise _refused("refuses the user name and password", error.smtp_code, error.smtp_error) from error
        except smtplib.SMTPSenderRefused as error:
            raise _refused("refuses the sender", error.smtp_code, error.smtp_error) from error
        except smtplib.SMTPResponseException as error:
            raise _refused("refuses the message", error.smtp_code, error.smtp_error) from error
        except ssl.SSLCertVerificationError as error:
            text = f"The certificate of {place} is not trusted: {error.verify_message}."
            raise MailError(text, passing=False) from error
        except smtplib.SMTPServerDisconnected as error:
            raise MailError(f"The mail server {place} hung up.", passing=True) from error
        except (OSError, smtplib.SMTPException) as error:
            text = f"The mail server {place} cannot be used: {str(error) or type(error).__name__}."
            raise MailError(text, passing=True) from error

    def _connect(self) -> smtplib.SMTP:
        if self._security == "tls":
            return smtplib.SMTP_SSL(self._host, self._port, timeout=self._timeout, context=self._tls())
        return smtplib.SMTP(self._host, self._port, timeout=self._timeout)

    def _sign_in(self, connection: smtplib.SMTP) -> None:
        if (self._username + self._password).isascii():
            connection.login(self._username, self._password)
            return
        # smtplib encodes credentials as ASCII; PLAIN takes UTF-8 (RFC 4616 §2).
        connection.ehlo_or_helo_if_needed()
        plain = b64encode(f"\0{self._username}\0{self._password}".encode()).decode()
        code, said = connection.docmd("AUTH", f"PLAIN {plain}")
        if code != 235:
            raise smtplib.SMTPAuthenticationError(code, said)

    def _tls(self) -> ssl.SSLContext:
        return self._trust or ssl.create_default_context()


def _address(text: str, name: str = "") -> Address:
    """One address with its domain in ASCII, so that any mail server takes it. MailError when it is not one."""
    try:
        if _UNFIT.search(text + name):
            raise ValueError("control characters")
        parsed = Address(addr_spec=text)
        domain = parsed.domain.encode("idna").decode()
        return Address(name, parsed.username, domain)
    except (ValueError, IndexError, MessageError) as error:
        brief = "not a mail address"
        raise MailError(f"{text[:100]!r} is not a mail address.", passing=False, brief=brief) from error


def _refused(what: str, code: int, said: bytes | str) -> MailError:
    """What the server answered, in full for the operator; its text may repeat an address, so the log gets numbers."""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    enhanced = _ENHANCED.search(text)
    numbers = f"{code} {enhanced[0]}" if enhanced else str(code)
    return MailError(
        f"The mail server {what}: {code} {_UNFIT.sub(' ', text)}",
        passing=400 <= code < 500 or code < 0,
        brief=f"the mail server {what} ({numbers})",
    )


async def _on_a_thread(work: Callable[[], T]) -> T:
    """Run it on a daemon thread: a mail server that stalls must hold up neither the default pool nor the exit."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type] # T, when there is no error

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="mail", daemon=True).start()
    return await done
