"""Delivers messages: mail by SMTP, Slack by incoming webhook, the log, or print.

Settings come from the environment, so that no secret stands in a watch or on a command line:

LOGGING_LIB_SMTP_URL       smtp://127.0.0.1:2525, smtp+starttls://host:587 or smtps://host:465
LOGGING_LIB_SMTP_USER      with LOGGING_LIB_SMTP_PASSWORD, where the server wants a login
LOGGING_LIB_MAIL_FROM      the sender where a watch names none
LOGGING_LIB_SLACK_WEBHOOK  https://hooks.slack.com/services/...; it is a secret and never shown
"""

from __future__ import annotations

import contextlib
import logging
import smtplib
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import format_datetime, getaddresses, parseaddr
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import urlsplit

import requests

from logging_lib.watch.messages import Email, Log, Message, Slack

TIMEOUT = 10.0
_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
_PRIORITIES = {"highest": "1", "high": "2", "normal": "3", "low": "4", "lowest": "5"}
_LEVELS = {"error": 40, "warn": 30, "info": 20, "debug": 10, "trace": 5}


class SettingsError(ValueError):
    """A setting for deliveries is wrong or unsafe; the message names it and the remedy."""


class DeliveryError(Exception):
    """A message was not delivered.

    ``down``: the server itself was not usable, so that trying further messages in this run is pointless.
    ``remaining``: what still has to be delivered, where a part was.
    ``retry_after``: seconds for which the server asked to be left alone.
    """

    def __init__(
        self,
        reason: str,
        *,
        down: bool = False,
        remaining: Message | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.down = down
        self.remaining = remaining
        self.retry_after = retry_after


class Outlet(Protocol):
    """Takes messages of one kind."""

    def deliver(self, message: Message) -> None:
        """Deliver it, or raise DeliveryError."""
        ...


Outlets = Mapping[str, Outlet]
"""By kind of message: ``email``, ``slack``, ``logging``."""


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
        if self.user and parts.scheme == "smtp" and not _is_loopback(parts.hostname):
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
    return mail


@dataclass(frozen=True)
class SlackOutlet:
    """Posts to an incoming webhook; its address is a secret and appears in no message, repr or log.

    Raises:
        SettingsError: when it is no https URL (http only on this machine).
    """

    webhook: str = field(repr=False)
    timeout: float = TIMEOUT

    def __post_init__(self) -> None:
        parts = urlsplit(self.webhook)
        if parts.scheme == "https" and parts.hostname:
            return
        if not (parts.scheme == "http" and parts.hostname and _is_loopback(parts.hostname)):
            raise SettingsError("LOGGING_LIB_SLACK_WEBHOOK: is not an https:// address")

    def deliver(self, message: Message) -> None:
        if not isinstance(message, Slack):
            raise TypeError(message.kind)
        try:
            with _quiet_urllib3():
                response = requests.post(
                    self.webhook, json=slack_body(message), timeout=self.timeout, allow_redirects=False
                )
        except requests.RequestException as error:
            # The exception's text holds the webhook's address.
            raise DeliveryError(f"Slack was not reached: {type(error).__name__}", down=True) from None
        if response.status_code != 200:
            down = response.status_code == 429 or response.status_code >= 500
            wait = response.headers.get("Retry-After", "")
            seconds = float(wait[:10]) if wait[:10].isdecimal() else None
            after = f", retry after {wait[:10]} s" if seconds is not None else ""
            detail = "".join(c for c in response.text[:100] if c.isprintable()).strip()
            said = f": {detail}" if detail and self.webhook not in detail else ""
            reason = f"Slack answered {response.status_code}{after}{said}"
            raise DeliveryError(reason, down=down, retry_after=seconds)


def slack_body(message: Slack) -> dict[str, object]:
    """The JSON of a post; links in it are not unfolded, since a log may have brought them."""
    body: dict[str, object] = {"unfurl_links": False, "unfurl_media": False}
    icon = "icon_emoji" if (message.icon or "").startswith(":") else "icon_url"
    given = {"channel": message.channel, "username": message.sender, icon: message.icon, "text": message.text}
    body.update({key: value for key, value in given.items() if value is not None})
    if message.attachments:
        body["attachments"] = list(message.attachments)
    return body


class LogOutlet:
    """Python's logging, logger ``logging_lib.watch`` or the action's category below it."""

    def deliver(self, message: Message) -> None:
        if not isinstance(message, Log):
            raise TypeError(message.kind)
        name = "logging_lib.watch" + (f".{message.category}" if message.category else "")
        logging.getLogger(name).log(_LEVELS[message.level], "%s", message.text)


@dataclass(frozen=True)
class PrintOutlet:
    """Shows what would be sent. ``write`` takes one text."""

    write: Callable[[str], object]

    def deliver(self, message: Message) -> None:
        self.write(preview(message))


def preview(message: Message) -> str:
    """A message as people would read it."""
    if isinstance(message, Email):
        heads = {"To": message.to, "Cc": message.cc, "Bcc": message.bcc, "Reply-To": message.reply_to}
        lines = [f"{name}: {', '.join(found)}" for name, found in heads.items() if found]
        body = message.text if message.text is not None else message.html
        return "\n".join(["email", *lines, f"Subject: {message.subject}", "", body or ""])
    if isinstance(message, Slack):
        parts = [f"slack {message.channel or ''}".rstrip(), message.text or ""]
        return "\n".join([*parts, *(str(attachment) for attachment in message.attachments)])
    return f"log {message.level}: {message.text}"


def outlets_from(
    environ: Mapping[str, str], *, smtp_url: str | None = None, mail_from: str | None = None
) -> dict[str, Outlet]:
    """The outlets that the environment describes; arguments override it. ``logging`` is always there.

    Raises:
        SettingsError: naming the setting that is wrong.
    """
    outlets: dict[str, Outlet] = {"logging": LogOutlet()}
    url = smtp_url or environ.get("LOGGING_LIB_SMTP_URL")
    if url:
        outlets["email"] = SmtpOutlet(
            url,
            sender=mail_from or environ.get("LOGGING_LIB_MAIL_FROM") or SmtpOutlet.sender,
            user=environ.get("LOGGING_LIB_SMTP_USER") or None,
            password=environ.get("LOGGING_LIB_SMTP_PASSWORD") or None,
        )
    webhook = environ.get("LOGGING_LIB_SLACK_WEBHOOK")
    if webhook:
        outlets["slack"] = SlackOutlet(webhook)
    return outlets


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refusals(refused: Mapping[str, tuple[int, bytes]]) -> str:
    return "; ".join(
        f"{who}: {code} {text.decode('utf-8', 'replace')}" for who, (code, text) in refused.items()
    )


def _reason(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        return f"{error.smtp_code} {text.decode('utf-8', 'replace') if isinstance(text, bytes) else text}"
    return f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def _quiet_urllib3() -> Iterator[None]:
    """urllib3 logs the path of each request (retries as warnings), and here the path is the secret."""
    logger = logging.getLogger("urllib3.connectionpool")

    def errors_only(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    logger.addFilter(errors_only)
    try:
        yield
    finally:
        logger.removeFilter(errors_only)
