"""Define channels, and the notifications that they deliver.

A channel is one module of this package. It defines how it parses a watch's action, what it renders from that, how
it is configured, and how it delivers. Everything else (the queue with its retries, digests and fallbacks, the
runner, the checks of watches, the command line) uses channels only through ``Channel``.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, ClassVar, Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

from pydantic import AwareDatetime, BaseModel, ConfigDict, NonNegativeInt, PositiveInt

from logging_lib._util.errors import LoggingLibError
from logging_lib.store.port import Store
from logging_lib.watch.http import Call, HttpResponse
from logging_lib.watch.model import HttpRequest, Model
from logging_lib.watch.templating import Medium

TIMEOUT = 10.0
"""Seconds to wait for a server."""
RESOLVED = "#15703c"
"""The color of resolutions, where an alert has that of its severity; white text is readable on it."""
_MAX_LISTED = 200

Path = tuple[str | int, ...]
Template = tuple[Path, str, Medium]
"""A template in an action: its path, its text, and the medium that it is rendered for."""
Fetch = Callable[[Call], HttpResponse]

Status = Literal[
    "queued",
    "executed",
    "throttled",
    "related",
    "acknowledged",
    "muted",
    "condition_failed",
    "failed",
    "given_up",
    "not_configured",
    "would_send",
]
"""The status of a notification, in the words of Watcher's watch record where it has one. ``related``: another
watch's incident about the same feature is open, and the recipient was notified of that one. ``not_configured``: the
runner has no such channel, and the incident counts as not notified. ``would_send``: the run is a dry run.
``given_up``: the notification is too old to be retried."""


class RenderError(ValueError):
    """Raised if an action's notification cannot be rendered; the message says why."""


class SettingsError(LoggingLibError, ValueError):
    """Raised if a channel's setting is wrong or unsafe; the message names it and the remedy."""


class DeliveryError(Exception):
    """Raised if a notification was not delivered.

    Attributes:
        down: the server itself was not usable, so it is pointless to try further notifications now.
        remaining: the part that still has to be delivered, if another part was delivered.
        retry_after: the number of seconds that the server asked to wait.
    """

    def __init__(
        self,
        reason: str,
        *,
        down: bool = False,
        remaining: Notification | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.down = down
        self.remaining = remaining
        self.retry_after = retry_after


class Notification(BaseModel):
    """A notification of one action by one channel about one model version, from the decision to the delivery.

    It is plain data, so that an undelivered notification can be stored and sent later without a change.

    Attributes:
        id: the same if the same run is repeated, so that a receiver can recognize a repeated notification.
        kind: ``alert``, or ``resolved`` for the notification that incidents are resolved.
        features: the features of its incidents; "" for the model or the watch as a whole.
        subject, text: unformatted texts for people, which lists, digests and other channels show.
        recipients: those who still have to get it, as the channel names them; "" is the channel's own default.
        address: how the channel reaches the recipients, in the channel's own format. The incident keeps it.
        content: what the channel sends, in its own format.
        created_at: when it was rendered; a repeated delivery does not change it.
        attempts: the number of attempted deliveries; ``reason`` says why the last one failed.
        next_attempt_at: the earliest time of the next attempt by our own backoff; ``not_before``: the earliest time
            by the server's ``Retry-After``.
        fallback: the channel and the recipient that get it if its own channel fails.
        sent_by: the channel that delivered it, if that was its fallback's.
        digest_of: the number of notifications that were delivered together, including this one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    watch: str = ""
    action: str
    channel: str = ""
    kind: Literal["alert", "resolved"] = "alert"
    model: str = ""
    version: str = ""
    features: tuple[str, ...] = ()
    subject: str = ""
    text: str = ""
    recipients: tuple[str, ...] = ("",)
    address: dict[str, Any] = {}
    content: dict[str, Any] = {}
    created_at: AwareDatetime
    status: Status = "queued"
    reason: str = ""
    attempts: NonNegativeInt = 0
    next_attempt_at: AwareDatetime | None = None
    not_before: AwareDatetime | None = None
    fallback: tuple[str, str] | None = None
    sent_by: str = ""
    digest_of: PositiveInt = 1

    @property
    def is_delivered(self) -> bool:
        return self.status == "executed"

    @property
    def recipient(self) -> tuple[str, str]:
        """Return whom it reaches: its channel and address, without the key that a single incident has there."""
        address = {name: value for name, value in self.address.items() if name != "dedup_key"}
        return self.channel, str(sorted(address.items()))

    def part(self, number: int) -> Notification:
        """Return the draft of one of several notifications that an action sends, with a separate id."""
        return self.model_copy(update={"id": hash_id(self.id, str(number))})

    def with_content_id(self) -> Notification:
        """Return the notification with an id that is the same only for the same content."""
        content = self.model_dump_json(include={"subject", "address", "content"})
        return self.model_copy(update={"id": hash_id(self.id, content)})

    def with_status(self, status: Status, reason: str = "") -> Notification:
        return self.model_copy(update={"status": status, "reason": reason})

    def receipt(self) -> Notification:
        """Return the part that an incident remembers: who was notified, when, and with what subject."""
        empty: dict[str, Any] = {
            "text": "",
            "content": {},
            "features": (),
            "fallback": None,
            "recipients": ("",),
        }
        return self.model_copy(update=empty)


class ResolvedIncident(NamedTuple):
    """An incident's name, how long it was open, and the times of its beginning and end, all as text."""

    name: str
    duration: str
    since: str
    until: str

    @property
    def period(self) -> str:
        """Return ``open 26 days 22 h (2018-02-02 10:36:23 UTC to 2018-03-01 09:05:00 UTC)``."""
        return f"open {self.duration} ({self.since} to {self.until})"


@dataclass(frozen=True)
class Resolution:
    """What people are notified of when incidents of one model version are resolved.

    Attributes:
        title: the watch's title.
        model: the model's name and version; "" if the incidents are the watch's own.
        features: the names of the features; "" if the incidents are the model's own.
        alerts: the subjects of the alerts that were sent about them.
        footer: the watch, and when it was evaluated.
    """

    title: str
    model: str
    features: str
    incidents: Sequence[ResolvedIncident]
    alerts: Sequence[str]
    footer: str

    MAX_ALERTS: ClassVar[int] = 20

    @property
    def subject(self) -> str:
        """Return ``[Resolved] loans v3: income, age (NA spike)``."""
        about = ": ".join(part for part in (self.model, self.features) if part)
        return f"[Resolved] {about} ({self.title})" if about else f"[Resolved] {self.title}"

    @property
    def lines(self) -> list[str]:
        """Return a line for each incident."""
        return [f"{incident.name}: {incident.period}" for incident in self.incidents]


class Delivers(Protocol):
    """The part of a configured channel that the queue needs."""

    def deliver(self, notification: Notification, /) -> object:
        """Send to the notification's recipients, or raise DeliveryError."""
        ...


Channels = Mapping[str, Delivers]
"""The configured channels by name."""


class Channel(ABC):
    """One way to send notifications. The class parses and renders; an instance has the settings and also delivers.

    Attributes:
        name: the name in reports, in ``metadata.fallback`` and on the command line.
        action_type: the key of its actions in a watch. If two channels have the same, ``takes`` decides.
        action_model: the model of the settings below that key.
        setting: the environment variable that configures it; empty if it needs none.
        needs_store: it needs only the store as its configuration.
        takes_text: it can send any text, so it can notify of a resolution and be the fallback of another channel.
        takes_digests: several notifications for one recipient may be sent as one.
        shares_messages: one message can go to several recipients.
        is_per_incident: each incident has a separate notification, and those of one address are sent in order.
        text_limit: the largest number of characters in a digest. ``digest_has_texts``: a digest has the whole texts
            below the list.
        metadata_key: the key of a watch's metadata that names its recipients; ``metadata_remedy`` says what to
            write there where ``is_recipient`` is false. ``recipient_setting`` is the environment variable for
            watches that leave it empty.
        secret_pattern: a regular expression of its secrets, which do not belong in a watch.
        unsupported: Watcher's fields that it does not execute, each with the remedy.
        ignored: Watcher's fields without an effect here, each with the reason; they are omitted with a warning.
    """

    name: ClassVar[str]
    action_type: ClassVar[str]
    action_model: ClassVar[type[Model]]
    setting: ClassVar[str] = ""
    needs_store: ClassVar[bool] = False
    takes_text: ClassVar[bool] = False
    takes_digests: ClassVar[bool] = False
    shares_messages: ClassVar[bool] = False
    is_per_incident: ClassVar[bool] = False
    text_limit: ClassVar[int] = 200_000
    digest_has_texts: ClassVar[bool] = True
    metadata_key: ClassVar[str] = ""
    metadata_remedy: ClassVar[str] = ""
    recipient_setting: ClassVar[str] = ""
    secret_pattern: ClassVar[str] = ""
    unsupported: ClassVar[Mapping[str, str]] = {}
    ignored: ClassVar[Mapping[str, str]] = {}

    # --- what it parses

    @classmethod
    def takes(cls, settings: Any) -> bool:
        """Return whether this channel handles an action of its type."""
        return True

    @classmethod
    def templates(cls, settings: Any) -> Iterator[Template]:
        """Return the templates of an action, for the checks of a watch."""
        return iter(())

    @classmethod
    def element_templates(cls, settings: Any) -> Iterator[tuple[Path, str, list[Template]]]:
        """List the templates that are rendered for each element of a list: where the list is named, path,
        templates."""
        return iter(())

    @classmethod
    def requests(cls, settings: Any) -> Iterator[tuple[Path, HttpRequest]]:
        """Return the HTTP requests that an action makes."""
        return iter(())

    @classmethod
    def recipients(cls, settings: Any) -> Sequence[str]:
        """Return whom an action notifies, as templates, for lists and overviews."""
        return [cls.name]

    @classmethod
    def names_recipients(cls, template: str) -> bool:
        """Return whether a template of recipients is that of ``metadata_key``."""
        return bool(cls.metadata_key) and f"ctx.metadata.{cls.metadata_key}" in template

    @classmethod
    def is_recipient(cls, value: Any) -> bool:
        """Return whether ``metadata_key`` may have this value."""
        return True

    # --- what it renders

    @classmethod
    @abstractmethod
    def render(
        cls, settings: Any, context: Mapping[str, Any], draft: Notification, fetch: Fetch | None
    ) -> list[Notification]:
        """Render the notifications that an action sends.

        Args:
            context: ``{"ctx": {...}}``, the root of its templates.
            draft: a notification without the parts that the channel adds: its name, recipients, address, subject,
                text and content.
            fetch: sends the requests for attachments; without it, a note takes the place of the file.

        Raises:
            RenderError: an address is wrong or there is nothing to send.
            TemplateError: a template fails.
        """

    @classmethod
    def compose(
        cls, draft: Notification, address: Mapping[str, Any], subject: str, text: str
    ) -> Notification:
        """Compose a notification with a plain text for an address: that of a fallback, or a test.

        Raises:
            TypeError: the channel does not take texts.
        """
        raise TypeError(f"{cls.name} takes no texts")

    @classmethod
    def resolve(cls, draft: Notification, address: Mapping[str, Any], resolution: Resolution) -> Notification:
        """Compose the notification that incidents are resolved, for the address that was notified of them."""
        return cls.compose(draft, address, resolution.subject, format_resolution(resolution))

    @classmethod
    def combine(
        cls,
        draft: Notification,
        address: Mapping[str, Any],
        subject: str,
        notifications: Sequence[Notification],
    ) -> Notification:
        """Compose the digest of several notifications for one address."""
        return cls.compose(draft, address, subject, cls.format_digest(subject, notifications))

    @classmethod
    def format_digest(cls, subject: str, notifications: Sequence[Notification]) -> str:
        """Format a digest as plain text, within the channel's limit."""
        text = "\n".join(f"• {line}" for line in list_subjects(notifications, cls.text_limit))
        if cls.digest_has_texts:
            text = f"{subject}\n\n{text}\n" + "".join(_texts(notifications, cls.text_limit - len(text)))
        return text

    @classmethod
    def address_of(cls, recipients: Iterable[str], like: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the address of these recipients, with the sender, if any, of another address."""
        return {}

    @classmethod
    def test(cls, draft: Notification, recipient: str, subject: str, text: str) -> Notification:
        """Compose a notification that tests the channel.

        Args:
            recipient: a recipient as the channel names one; empty for its default.

        Raises:
            RenderError: there is no default.
        """
        return cls.compose(draft, cls.address_of([recipient] if recipient else []), subject, text)

    @classmethod
    @abstractmethod
    def preview(cls, notification: Notification) -> str:
        """Return the text that people would read, without possible secrets."""

    # --- how it is configured, and delivers

    @classmethod
    @abstractmethod
    def configure(cls, environ: Mapping[str, str], store: Store | None = None) -> Channel | None:
        """Configure the channel from the environment; return None if the environment does not configure it.

        Raises:
            SettingsError: a setting is wrong; the message names it.
        """

    @property
    def needs_recipient(self) -> bool:
        """Return whether the channel has no default recipients, so that a watch has to name some."""
        return False

    @abstractmethod
    def deliver(self, notification: Notification) -> str:
        """Send to the notification's recipients, and return the server's answer.

        Raises:
            DeliveryError: not all of them got it.
        """


def format_resolution(resolution: Resolution) -> str:
    """Format a resolution as plain text."""
    sent = [f"  {alert}" for alert in resolution.alerts[: Resolution.MAX_ALERTS]]
    return "\n".join([*resolution.lines, "", "Alerts sent:", *sent, "", resolution.footer, ""])


def list_subjects(notifications: Sequence[Notification], limit: int) -> list[str]:
    """List the subjects of notifications within a number of characters; the last line counts those left out."""
    lines: list[str] = []
    for notification in notifications[:_MAX_LISTED]:
        limit -= len(notification.subject) + 3
        if limit < 0:
            break
        lines.append(one_line(notification.subject))
    if len(lines) < len(notifications):
        lines.append(f"and {len(notifications) - len(lines)} more; see: logging-lib watch history")
    return lines


def _texts(notifications: Iterable[Notification], limit: int) -> Iterator[str]:
    for notification in notifications:
        part = "\n" + "-" * 72 + f"\n{notification.subject}\n\n{notification.text}"
        limit -= len(part)
        if limit < 0:
            return
        yield part


def hash_id(*parts: str) -> str:
    """Return an id that is the same for the same parts: 32 hexadecimal digits."""
    return hashlib.sha256("\x00".join(parts).encode("utf-8", "replace")).hexdigest()[:32]


def one_line(text: str) -> str:
    return Medium.HEADER.escape(text)


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_https(url: str, setting: str) -> None:
    """Raise SettingsError unless the URL is an https address, or http on this machine. The message does not repeat
    the URL, which may be secret."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        raise SettingsError(f"{setting}: is not an https:// address") from None
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))):
        raise SettingsError(f"{setting}: is not an https:// address")


def refusal(
    name: str, answer: HttpResponse, *secrets: str, down: bool = False, hint: str = ""
) -> DeliveryError:
    """Return the error for an HTTP response that is not a delivery.

    Args:
        name: the service that answered.
        secrets: an answer that repeats one of them is not shown.
        down: whether a server that is overloaded or broken makes all further attempts pointless.
    """
    wait = retry_after(answer)
    after = "" if wait is None else f", retry after {wait:.0f} s"
    return DeliveryError(
        f"{name} answered {answer.status}{after}{hint}{excerpt(answer.text, *secrets)}",
        down=down and (answer.status == 429 or answer.status >= 500),
        retry_after=wait,
    )


def retry_after(answer: HttpResponse) -> float | None:
    """Parse the seconds of a ``Retry-After``; None if there is none or it is a date."""
    text = next(iter(answer.headers.get("retry-after", ())), "").strip()
    return float(text) if text[:9].isdecimal() and len(text) <= 9 else None


def excerpt(text: str, *secrets: str) -> str:
    """Return the beginning of a server's answer, for an error; empty if the answer repeats a secret."""
    detail = "".join(c for c in text[:100] if c.isprintable()).strip()
    return f": {detail}" if detail and not any(secret in text for secret in secrets if secret) else ""
