"""Sends mail, and for demonstrations and tests receives it on this machine.

A step that sends a mail may run twice: a worker can die after the server said yes and before the result is kept. So
the sender derives the Message-ID from a key that is the same for every attempt (``ctx.idempotency_key``), and a
receiver that drops a Message-ID it already has, as mail servers and this sink do, shows the mail once.

``python -m examples.mail_sink`` runs the sink by itself and prints what arrives.
"""

from __future__ import annotations

import asyncio
import hashlib
import smtplib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType

from aiosmtpd.smtp import SMTP, Envelope, Session

DEFAULT_PORT = 1025
_MESSAGE_ID_DOMAIN = "examples.invalid"


class Mailer:
    """Sends through one SMTP server, a connection for each mail.

    Args:
        host: the server.
        port: its port.
        sender: the From address.
        timeout_seconds: how long to wait for the server at each exchange.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        *,
        sender: str = f"examples@{_MESSAGE_ID_DOMAIN}",
        timeout_seconds: float = 10.0,
    ) -> None:
        self._host, self._port, self._sender, self._timeout_seconds = host, port, sender, timeout_seconds

    def send(self, to: str, subject: str, body: str = "", *, key: str) -> str:
        """Send one mail.

        Args:
            to: the recipient's address.
            subject: one line.
            body: plain text; the subject when empty.
            key: the same text for every attempt to send this mail, different for every other mail.
        Returns: the Message-ID.
        Raises:
            ConnectionError: nothing listens at the server's address.
            smtplib.SMTPException: the server refused the mail.
            ValueError: an address or the subject holds a line break.
        """
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self._sender, to, subject
        message["Message-ID"] = message_id_for(key)
        message.set_content(body or subject)
        try:
            with smtplib.SMTP(self._host, self._port, timeout=self._timeout_seconds) as server:
                server.send_message(message)
        except ConnectionRefusedError as error:
            raise ConnectionError(
                f"No mail server at {self._host}:{self._port}. Set EXAMPLES_SMTP_HOST and EXAMPLES_SMTP_PORT, "
                "or start one that prints what it gets: python -m examples.mail_sink"
            ) from error
        return str(message["Message-ID"])


def message_id_for(key: str) -> str:
    """The Message-ID that stands for this key, angle brackets included."""
    # Hashed, so that no key can break the header's grammar.
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"<{digest[:40]}@{_MESSAGE_ID_DOMAIN}>"


@dataclass(frozen=True)
class ReceivedMail:
    """A mail as the sink got it.

    Attributes:
        to: the recipients, separated by ", ".
        subject: one line.
        body: the text, without trailing line breaks.
        message_id: the Message-ID, angle brackets included.
    """

    to: str
    subject: str
    body: str
    message_id: str


class MailSink:
    """An SMTP server on the loopback interface that keeps each Message-ID once. A context manager.

    Args:
        port: where to listen; 0 takes a free port, see ``port``.
        on_mail: called with each mail that was not there before, in the server's thread.

    Attributes:
        port: where it listens, once entered.
    """

    def __init__(self, port: int = 0, *, on_mail: Callable[[ReceivedMail], None] | None = None) -> None:
        self.port = port
        self._on_mail = on_mail
        self._kept: dict[str, ReceivedMail] = {}
        self._deliveries = 0
        self._arrived = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def mails(self) -> list[ReceivedMail]:
        """The mails kept, in order of arrival."""
        with self._arrived:
            return list(self._kept.values())

    @property
    def deliveries(self) -> int:
        """How many mails arrived, repeated ones included."""
        with self._arrived:
            return self._deliveries

    def wait_for(self, to: str, subject: str, *, timeout_seconds: float = 10.0) -> ReceivedMail:
        """Wait until a mail with this recipient and subject is there.

        Raises:
            TimeoutError: it did not come in time.
        """

        def find() -> ReceivedMail | None:
            return next((mail for mail in self._kept.values() if (mail.to, mail.subject) == (to, subject)), None)

        with self._arrived:
            mail = self._arrived.wait_for(find, timeout_seconds)
        if mail is None:
            raise TimeoutError(f'No mail "{subject}" to {to} within {timeout_seconds} s')
        return mail

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Called by aiosmtpd, which chose the name, when a mail is complete."""
        content = envelope.content or b""
        parsed = message_from_bytes(
            content if isinstance(content, bytes) else content.encode(), _class=EmailMessage, policy=policy.SMTP
        )
        part = parsed.get_body(("plain",))
        mail = ReceivedMail(
            to=", ".join(envelope.rcpt_tos),
            subject=str(parsed["Subject"] or ""),
            body=str(part.get_content()).rstrip("\r\n") if part else "",
            message_id=str(parsed["Message-ID"] or ""),
        )
        with self._arrived:
            self._deliveries += 1
            is_new = mail.message_id not in self._kept
            self._kept.setdefault(mail.message_id, mail)
            self._arrived.notify_all()
        if is_new and self._on_mail:
            self._on_mail(mail)
        return "250 OK"

    def __enter__(self) -> MailSink:
        ready = threading.Event()
        failure: list[BaseException] = []

        def serve() -> None:
            try:
                asyncio.run(self._serve(ready))
            except BaseException as error:
                failure.append(error)
            finally:
                ready.set()

        self._thread = threading.Thread(target=serve, name="mail-sink", daemon=True)
        self._thread.start()
        ready.wait()
        if failure:
            self._thread.join()
            raise failure[0]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop and self._thread:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        # aiosmtpd's own Controller cannot take a free port (0), hence a plain asyncio server around its protocol.
        server = await self._loop.create_server(
            lambda: SMTP(self, hostname="localhost", enable_SMTPUTF8=True), "127.0.0.1", self.port
        )
        self.port = int(server.sockets[0].getsockname()[1])
        ready.set()
        async with server:
            await self._stopping.wait()
