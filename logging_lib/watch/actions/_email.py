"""Mail over SMTP."""

from __future__ import annotations

import contextlib
import re
import smtplib
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import format_datetime, getaddresses, parseaddr
from urllib.parse import urlsplit

from logging_lib.watch.actions._outlet import TIMEOUT, DeliveryError, SettingsError, is_loopback
from logging_lib.watch.messages import Email, Message

_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
_PRIORITIES = {"highest": "1", "high": "2", "normal": "3", "low": "4", "lowest": "5"}
# Neither parts of a mail nor other mails are attached as such: a reader would show them as its own.
_CONTENT_TYPE = re.compile(r"(?!message|multipart)([a-z]+)/([A-Za-z0-9.+-]+)")


@dataclass(frozen=True)
class SmtpOutlet:
    """One connection a mail. TLS always checks the certificate and the host name.

    Raises:
        SettingsError: when the URL is wrong, holds a password, or would send one unencrypted.
    """

    url: str
    sender: str = "logging-lib@localhost"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout: float = TIMEOUT

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            unusable = parts.port == 0
        except ValueError as error:
            raise SettingsError(f"LOGGING_LIB_SMTP_URL: {error}; write such as smtp://host:25") from None
        if unusable:
            raise SettingsError(
                "LOGGING_LIB_SMTP_URL: port 0 cannot be reached; leave it out or name another"
            )
        if parts.scheme not in _PORTS or not parts.hostname:
            raise SettingsError(f"LOGGING_LIB_SMTP_URL: write one of {', '.join(_PORTS)} and ://host:port")
        if parts.username or parts.password:
            raise SettingsError(
                "LOGGING_LIB_SMTP_URL: leave user and password out; set LOGGING_LIB_SMTP_USER and "
                "LOGGING_LIB_SMTP_PASSWORD"
            )
        if (self.user is None) != (self.password is None):
            raise SettingsError("set both LOGGING_LIB_SMTP_USER and LOGGING_LIB_SMTP_PASSWORD, or neither")
        if self.user and parts.scheme == "smtp" and not is_loopback(parts.hostname):
            raise SettingsError("LOGGING_LIB_SMTP_URL: a login needs smtp+starttls:// or smtps://")
        if not parseaddr(self.sender)[1]:
            raise SettingsError(f"LOGGING_LIB_MAIL_FROM: {self.sender!r} is no mail address")

    def deliver(self, message: Message) -> None:
        if not isinstance(message, Email):
            raise TypeError(message.kind)
        mail = build_mail(message, self.sender)
        everyone = [*message.to, *message.cc, *message.bcc]
        recipients = message.recipients or [address for _, address in getaddresses(everyone)]
        try:
            with self._connection() as server:
                refused = server.send_message(mail, to_addrs=recipients)
        except smtplib.SMTPRecipientsRefused as error:
            raise DeliveryError(f"the mail server refused {_refusals(error.recipients)}") from None
        except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError, smtplib.SMTPNotSupportedError) as error:
            raise DeliveryError(f"the mail server refused the mail: {_reason(error)}") from None
        except (smtplib.SMTPException, OSError) as error:
            host = urlsplit(self.url).netloc
            raise DeliveryError(
                f"no delivery to the mail server {host}: {_reason(error)}", down=True
            ) from None
        if refused:
            remaining = message.model_copy(update={"recipients": tuple(refused)})
            raise DeliveryError(f"the mail server refused {_refusals(refused)}", remaining=remaining)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[smtplib.SMTP]:
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        server: smtplib.SMTP
        if parts.scheme == "smtps":
            context = ssl.create_default_context()
            server = smtplib.SMTP_SSL(host, port, timeout=self.timeout, context=context)
        else:
            server = smtplib.SMTP(host, port, timeout=self.timeout)
        with server:
            try:
                if parts.scheme == "smtp+starttls":
                    server.starttls(context=ssl.create_default_context())
                if self.user is not None and self.password is not None:
                    server.login(self.user, self.password)
            except smtplib.SMTPException as error:
                raise self._unusable(error) from None
            yield server

    def _unusable(self, error: Exception) -> DeliveryError:
        host = urlsplit(self.url).netloc
        return DeliveryError(f"no delivery to the mail server {host}: {_reason(error)}", down=True)


def build_mail(message: Email, sender: str) -> EmailMessage:
    """The mail as it goes over the wire, without Bcc; ``sender`` is used where the message names none."""
    sender = message.sender or sender
    mail = EmailMessage()
    mail["From"] = sender
    for name, addresses in (("To", message.to), ("Cc", message.cc), ("Reply-To", message.reply_to)):
        if addresses:
            mail[name] = ", ".join(addresses)
    mail["Subject"] = message.subject
    mail["Date"] = format_datetime(message.date)
    mail["Message-ID"] = f"<{message.id}@{parseaddr(sender)[1].rpartition('@')[2] or 'localhost'}>"
    mail["Auto-Submitted"] = "auto-generated"
    if message.priority:
        mail["X-Priority"] = _PRIORITIES[message.priority]
    if message.text is not None:
        mail.set_content(message.text)
        if message.html is not None:
            mail.add_alternative(message.html, subtype="html")
    elif message.html is not None:
        mail.set_content(message.html, subtype="html")
    for each in message.attachments:
        match = _CONTENT_TYPE.match(each.content_type)
        main, sub = (match[1], match[2]) if match else ("application", "octet-stream")
        place = "inline" if each.inline else "attachment"
        mail.add_attachment(
            each.bytes,
            maintype=main,
            subtype=sub,
            filename=each.name,
            disposition=place,
            # As in Watcher: HTML refers to it by its name, cid:<name>.
            cid=f"<{re.sub(r'[^A-Za-z0-9._-]', '_', each.name)}>" if each.inline else None,
        )
    return mail


def _refusals(refused: Mapping[str, tuple[int, bytes]]) -> str:
    return "; ".join(
        f"{who}: {code} {text.decode('utf-8', 'replace')}" for who, (code, text) in refused.items()
    )


def _reason(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        return f"{error.smtp_code} {text.decode('utf-8', 'replace') if isinstance(text, bytes) else text}"
    return f"{type(error).__name__}: {error}"
