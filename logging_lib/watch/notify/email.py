"""Mail over SMTP: Watcher's ``email`` action.

Settings: ``LOGGING_LIB_SMTP_URL`` (``smtp://127.0.0.1:2525``, ``smtp+starttls://host:587`` or
``smtps://host:465``), ``LOGGING_LIB_SMTP_USER`` with ``LOGGING_LIB_SMTP_PASSWORD`` if the server requires a login,
``LOGGING_LIB_MAIL_FROM``, the sender if a watch names none, and ``LOGGING_LIB_EMAIL_TO``, the recipients of the
mails of watches that leave ``metadata.email_to`` empty.
"""

from __future__ import annotations

import base64
import contextlib
import re
import smtplib
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, getaddresses, parseaddr
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from markupsafe import Markup
from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from logging_lib._util.network_errors import describe_network_error
from logging_lib.html.pages import MailCard, find_cards, render_mail
from logging_lib.store.port import Store
from logging_lib.watch.model import HttpRequest, Model, Strings, lower_case
from logging_lib.watch.notify.attachments import AttachedFile, Attachment, DataAttachment, attach_files
from logging_lib.watch.notify.base import (
    RESOLVED,
    TIMEOUT,
    Channel,
    DeliveryError,
    Fetch,
    Notification,
    Path,
    RenderError,
    Resolution,
    SettingsError,
    Template,
    format_resolution,
    is_loopback,
    list_subjects,
    one_line,
)
from logging_lib.watch.templating import Medium, render, to_text

MAX_SUBJECT = 250
MAX_CARDS = 80_000
"""The number of characters of a digest's cards: mail programs fold a longer mail, Gmail above 102 kB."""
_DIGEST = "#3f4a59"
_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
_PRIORITIES = {"highest": "1", "high": "2", "normal": "3", "low": "4", "lowest": "5"}
# Parts of a mail and other mails are not attached under their own types: a mail program would show them as its own.
_CONTENT_TYPE = re.compile(r"(?!message|multipart)([a-z]+)/([A-Za-z0-9.+-]+)")
_HEADERS = {"To": "to", "Cc": "cc", "Bcc": "bcc", "Reply-To": "reply_to"}


class EmailBody(Model):
    text: str | None = None
    html: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return {"text": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _not_empty(self) -> EmailBody:
        if self.text is None and self.html is None:
            raise PydanticCustomError("body", "a mail's body has 'text', 'html' or both")
        return self


def _attach_data(value: Any) -> Any:
    if isinstance(value, bool):
        return {} if value else None
    return value


class EmailAction(Model):
    to: Strings = ()
    cc: Strings = ()
    bcc: Strings = ()
    reply_to: Strings = ()
    sender: str | None = Field(None, alias="from")
    subject: str = ""
    body: EmailBody = EmailBody(text="")
    priority: Annotated[
        Literal["lowest", "low", "normal", "high", "highest"] | None, BeforeValidator(lower_case)
    ] = None
    attachments: dict[str, Attachment] = {}
    attach_data: Annotated[DataAttachment | None, BeforeValidator(_attach_data)] = None

    @model_validator(mode="after")
    def _has_recipient(self) -> EmailAction:
        if not (self.to or self.cc or self.bcc):
            raise PydanticCustomError("recipient", "a mail needs a recipient in 'to', 'cc' or 'bcc'")
        return self


@dataclass(frozen=True)
class EmailChannel(Channel):
    """The channel of mails, with one connection per mail. TLS always checks the certificate and the host name.

    A notification's address has ``to``, ``cc``, ``bcc`` and ``sender``, as ``Name <local@domain>``; its content
    ``text``, ``html``, ``reply_to``, ``priority`` and ``attachments`` (their ``content`` is base64).

    Raises:
        SettingsError: the URL is wrong, contains a password, or would send one unencrypted.
    """

    name = "email"
    action_type = "email"
    action_model = EmailAction
    setting = "LOGGING_LIB_SMTP_URL"
    takes_text = True
    takes_digests = True
    shares_messages = True
    metadata_key = "email_to"
    metadata_remedy = "write at least one mail address, such as team@example.org"
    recipient_setting = "LOGGING_LIB_EMAIL_TO"
    ignored = {
        "account": "the account is the runner's setting, LOGGING_LIB_SMTP_URL",
        "profile": "all mail programs get the same form",
    }
    unsupported = {
        "reporting": "Kibana's reports are not made here; attach 'data', or fetch a file with 'http'",
    }

    url: str
    sender: str = "logging-lib@localhost"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout: float = TIMEOUT

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            is_unusable = parts.port == 0
        except ValueError as error:
            raise SettingsError(f"LOGGING_LIB_SMTP_URL: {error}; write such as smtp://host:25") from None
        if is_unusable:
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
            raise SettingsError(f"LOGGING_LIB_MAIL_FROM: {self.sender!r} is not a mail address")

    # --- what it parses

    @classmethod
    def templates(cls, settings: EmailAction) -> Iterator[Template]:
        for key in ("to", "cc", "bcc", "reply_to"):
            for index, template in enumerate(getattr(settings, key)):
                yield (key, index), template, Medium.HEADER
        yield ("subject",), settings.subject, Medium.HEADER
        if settings.sender is not None:
            yield ("from",), settings.sender, Medium.HEADER
        if settings.body.text is not None:
            yield ("body", "text"), settings.body.text, Medium.TEXT
        if settings.body.html is not None:
            yield ("body", "html"), settings.body.html, Medium.HTML

    @classmethod
    def requests(cls, settings: EmailAction) -> Iterator[tuple[Path, HttpRequest]]:
        for name, attachment in settings.attachments.items():
            if attachment.http:
                yield ("attachments", name, "http", "request"), attachment.http.request

    @classmethod
    def recipients(cls, settings: EmailAction) -> Sequence[str]:
        return (*settings.to, *settings.cc, *settings.bcc)

    @classmethod
    def is_recipient(cls, value: Any) -> bool:
        specs = [spec for _, spec in getaddresses([one_line(to_text(value))])]
        return any(name and domain for name, _, domain in (spec.rpartition("@") for spec in specs))

    # --- what it renders

    @classmethod
    def render(
        cls, settings: EmailAction, context: Mapping[str, Any], draft: Notification, fetch: Fetch | None
    ) -> list[Notification]:
        def addresses(templates: Iterable[str]) -> list[str]:
            return [a for t in templates for a in _addresses(render(t, context, Medium.HEADER))]

        to, cc, bcc = addresses(settings.to), addresses(settings.cc), addresses(settings.bcc)
        if not (to or cc or bcc):
            raise RenderError("the mail has no recipient: all addresses rendered to nothing")
        sender = addresses([settings.sender]) if settings.sender else []
        body = settings.body
        text = None if body.text is None else render(body.text, context, Medium.TEXT)
        html = None if body.html is None else render(body.html, context, Medium.HTML)
        subject = render(settings.subject, context, Medium.HEADER)
        attached: Iterable[AttachedFile] = ()
        if settings.attachments or settings.attach_data is not None:
            attached = attach_files(settings.attachments, settings.attach_data, context, fetch)
        address = {"to": to, "cc": cc, "bcc": bcc, "sender": sender[0] if sender else None}
        content = {
            "text": text,
            "html": html,
            "reply_to": addresses(settings.reply_to),
            "priority": settings.priority,
            "attachments": list(attached),
        }
        return [cls._mail(draft, address, subject, content)]

    @classmethod
    def compose(
        cls, draft: Notification, address: Mapping[str, Any], subject: str, text: str
    ) -> Notification:
        return cls._message(draft, address, subject, text, [MailCard(one_line(subject), text=_safe(text))])

    @classmethod
    def resolve(cls, draft: Notification, address: Mapping[str, Any], resolution: Resolution) -> Notification:
        card = MailCard(
            resolution.features or resolution.model or resolution.title,
            badge="Resolved",
            color=RESOLVED,
            kind=resolution.title,
            about=resolution.model if resolution.features else "",
            lead="The watch no longer finds what it sent alerts about.",
            rows=[
                (incident.name, f"Open {incident.duration}\nfrom {incident.since}\nto {incident.until}")
                for incident in resolution.incidents
            ],
            items_title="Alerts sent",
            items=resolution.alerts[: Resolution.MAX_ALERTS],
            footer=resolution.footer,
        )
        return cls._message(draft, address, resolution.subject, format_resolution(resolution), [card])

    @classmethod
    def combine(
        cls,
        draft: Notification,
        address: Mapping[str, Any],
        subject: str,
        notifications: Sequence[Notification],
    ) -> Notification:
        """Compose the digest: a card with the list, and below it the notifications' own cards."""
        head = MailCard(
            one_line(subject),
            badge="Digest",
            color=_DIGEST,
            kind="Several notifications in one mail",
            lead="These notifications were due at the same time, so they are sent together.",
            items_title="In this mail",
            items=list_subjects(notifications, cls.text_limit),
        )
        text = cls.format_digest(subject, notifications)
        cards = list(_take(map(_card, notifications), MAX_CARDS))
        if len(cards) < len(notifications):
            more = f"The {len(notifications) - len(cards)} others would make this mail too long."
            cards.append(MailCard("More notifications", text=more, footer="See: logging-lib watch history"))
        return cls._message(draft, address, subject, text, [head, *cards])

    @classmethod
    def _message(
        cls,
        draft: Notification,
        address: Mapping[str, Any],
        subject: str,
        text: str,
        cards: Sequence[MailCard | Markup],
    ) -> Notification:
        content = {"text": _safe(text), "html": render_mail(cards)}
        return cls._mail(draft, address, subject, content)

    @classmethod
    def _mail(
        cls, draft: Notification, address: Mapping[str, Any], subject: str, content: Mapping[str, Any]
    ) -> Notification:
        subject = " ".join(one_line(subject).split())
        if len(subject) > MAX_SUBJECT:
            subject = subject[: MAX_SUBJECT - 1] + "…"
        people = [person for key in ("to", "cc", "bcc") for person in address.get(key, ())]
        return draft.model_copy(
            update={
                "channel": cls.name,
                "subject": subject,
                "text": content["text"] or "",
                "recipients": tuple(dict.fromkeys(spec for _, spec in getaddresses(people) if spec)),
                "address": {name: value for name, value in address.items() if value},
                "content": {name: value for name, value in content.items() if value not in (None, [])},
            }
        )

    @classmethod
    def address_of(cls, recipients: Iterable[str], like: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return {"to": list(recipients), "sender": (like or {}).get("sender")}

    @classmethod
    def test(cls, draft: Notification, recipient: str, subject: str, text: str) -> Notification:
        if not recipient:
            raise RenderError("name a mail address: --recipient team@example.org")
        return cls.compose(draft, cls.address_of(_addresses(recipient)), subject, text)

    @classmethod
    def preview(cls, notification: Notification) -> str:
        address, content = notification.address, notification.content
        heads = {name: address.get(key) or content.get(key) for name, key in _HEADERS.items()}
        lines = [f"{name}: {', '.join(people)}" for name, people in heads.items() if people]
        lines.append(f"Subject: {notification.subject}")
        lines += [f"Attached: {attached['name']}" for attached in content.get("attachments", ())]
        body = content.get("text", content.get("html"))
        return "\n".join(["email", *lines, "", body or ""])

    # --- how it is configured, and delivers

    @classmethod
    def configure(cls, environ: Mapping[str, str], store: Store | None = None) -> EmailChannel | None:
        url = environ.get("LOGGING_LIB_SMTP_URL")
        if not url:
            return None
        return cls(
            url,
            sender=environ.get("LOGGING_LIB_MAIL_FROM") or cls.sender,
            user=environ.get("LOGGING_LIB_SMTP_USER") or None,
            password=environ.get("LOGGING_LIB_SMTP_PASSWORD") or None,
        )

    @property
    def needs_recipient(self) -> bool:
        return True

    def deliver(self, notification: Notification) -> str:
        mail = build_mail(notification, self.sender)
        server = None
        try:
            server = self._connect()
            refused = server.send_message(mail, to_addrs=list(notification.recipients))
        except smtplib.SMTPRecipientsRefused as error:
            raise DeliveryError(f"the mail server refused {_refusals(error.recipients)}") from None
        except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError, smtplib.SMTPNotSupportedError) as error:
            raise DeliveryError(f"the mail server refused the mail: {_reason(error)}") from None
        except OSError as error:  # also smtplib's own
            raise self._describe_failure(error) from None
        finally:
            if server is not None:
                _quit(server)
        if refused:
            remaining = notification.model_copy(update={"recipients": tuple(refused)})
            raise DeliveryError(f"the mail server refused {_refusals(refused)}", remaining=remaining)
        return f"{server.reply[0]} {server.reply[1].decode('utf-8', 'replace')}"

    def _connect(self) -> _Smtp | _SmtpOverTls:
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        server: _Smtp | _SmtpOverTls
        if parts.scheme == "smtps":
            context = ssl.create_default_context()
            server = _SmtpOverTls(host, port, timeout=self.timeout, context=context)
        else:
            server = _Smtp(host, port, timeout=self.timeout)
        try:
            if parts.scheme == "smtp+starttls":
                server.starttls(context=ssl.create_default_context())
            if self.user is not None and self.password is not None:
                server.login(self.user, self.password)
        except smtplib.SMTPException as error:
            _quit(server)
            raise self._describe_failure(error) from None
        except OSError:
            server.close()
            raise
        return server

    def _describe_failure(self, error: OSError) -> DeliveryError:
        """Return the error for a mail server that cannot be used for any mail."""
        place = f"mail server {self.url}"
        if isinstance(error, smtplib.SMTPResponseException | smtplib.SMTPNotSupportedError):
            return DeliveryError(f"{place}: {_reason(error)}", down=True)
        described = describe_network_error(
            place, error, server="a mail server", ca_setting="SSL_CERT_FILE", protocols=" or ".join(_PORTS)
        )
        return DeliveryError(described, down=True)


class _KeepsReply:
    """A mixin that keeps the server's answer to a mail, which smtplib does not return."""

    reply: tuple[int, bytes] = (0, b"")

    def data(self, msg: Any) -> tuple[int, bytes]:
        self.reply = super().data(msg)  # type: ignore[misc]
        return self.reply


class _Smtp(_KeepsReply, smtplib.SMTP):
    pass


class _SmtpOverTls(_KeepsReply, smtplib.SMTP_SSL):
    pass


def _quit(server: smtplib.SMTP) -> None:
    """End the connection. Errors are ignored: the mail was already accepted or refused, so it is not sent again."""
    with contextlib.suppress(smtplib.SMTPException, OSError):
        server.quit()
    server.close()


def build_mail(notification: Notification, sender: str) -> EmailMessage:
    """Build the mail as it is transmitted, without Bcc.

    Args:
        sender: the sender if the notification names none.
    """
    address, content = notification.address, notification.content
    sender = address.get("sender") or sender
    mail = EmailMessage()
    mail["From"] = sender
    for header, key in _HEADERS.items():
        people = address.get(key) or content.get(key)
        if people and key != "bcc":
            mail[header] = ", ".join(people)
    mail["Subject"] = notification.subject
    mail["Date"] = format_datetime(notification.created_at)
    mail["Message-ID"] = f"<{notification.id}@{parseaddr(sender)[1].rpartition('@')[2] or 'localhost'}>"
    mail["Auto-Submitted"] = "auto-generated"
    if content.get("priority"):
        mail["X-Priority"] = _PRIORITIES[content["priority"]]
    text, html = content.get("text"), content.get("html")
    if text is not None:
        mail.set_content(text)
        if html is not None:
            mail.add_alternative(html, subtype="html")
    elif html is not None:
        mail.set_content(html, subtype="html")
    for attached in content.get("attachments", ()):
        match = _CONTENT_TYPE.match(attached["content_type"])
        main, sub = (match[1], match[2]) if match else ("application", "octet-stream")
        is_inline = attached["inline"]
        mail.add_attachment(
            base64.b64decode(attached["content"]),
            maintype=main,
            subtype=sub,
            filename=attached["name"],
            disposition="inline" if is_inline else "attachment",
            # As in Watcher, HTML refers to it by its name, cid:<name>.
            cid=f"<{re.sub(r'[^A-Za-z0-9._-]', '_', attached['name'])}>" if is_inline else None,
        )
    return mail


def _safe(text: str) -> str:
    return "\n".join(map(Medium.TEXT.escape, text.split("\n")))


def _card(notification: Notification) -> MailCard | Markup:
    """Return a notification's card in a digest: its own, or its text if its mail looks different."""
    cards = find_cards(notification.content.get("html", ""))
    return cards or MailCard(one_line(notification.subject), text=_safe(notification.text))


def _take(cards: Iterable[MailCard | Markup], limit: int) -> Iterator[MailCard | Markup]:
    """Yield the first cards, as far as a number of characters reaches."""
    for card in cards:
        limit -= len(card if isinstance(card, str) else card.text)
        if limit < 0:
            return
        yield card


def _addresses(rendered: str) -> list[str]:
    """Return the addresses of one entry; it may have several, separated by commas, or render to nothing."""
    rendered = one_line(rendered).strip()
    addresses = []
    for display, spec in getaddresses([rendered]) if rendered else ():
        try:
            address = Address(display, addr_spec=spec)
        except (MessageError, ValueError, IndexError) as error:
            raise RenderError(f"{rendered!r} is not a mail address: {error}") from error
        if not (address.username and address.domain):
            raise RenderError(f"{rendered!r} is not a mail address")
        addresses.append(str(address))
    return addresses


def _refusals(refused: Mapping[str, tuple[int, bytes]]) -> str:
    return "; ".join(
        f"{who}: {code} {text.decode('utf-8', 'replace')}" for who, (code, text) in refused.items()
    )


def _reason(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        return f"{error.smtp_code} {text.decode('utf-8', 'replace') if isinstance(text, bytes) else text}"
    return str(error).rstrip(".")
