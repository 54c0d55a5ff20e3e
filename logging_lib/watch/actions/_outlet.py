"""What all outlets share: the port, and the two ways in which they fail."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Protocol

from logging_lib._util.errors import LoggingLibError
from logging_lib.watch.messages import Message

TIMEOUT = 10.0


class SettingsError(LoggingLibError, ValueError):
    """A setting for deliveries is wrong or unsafe; the message names it and the remedy."""


class DeliveryError(Exception):
    """A message was not delivered.

    ``down``: the server itself was not usable, so that trying further messages in this run is pointless.
    ``remaining``: what still has to be delivered, where a part was.
    ``retry_after``: seconds that the server asked to wait.
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
"""By kind of message: ``email``, ``slack``, ``webhook``, ``index``, ``logging``."""


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def wait_of(header: str | None) -> float | None:
    """Seconds of a ``Retry-After``; None when there is none, or when it is a date."""
    text = (header or "").strip()
    return float(text) if text[:9].isdecimal() and len(text) <= 9 else None


def shown(text: str, *secrets: str) -> str:
    """The begin of what a server said, for an error; nothing when it repeats a secret."""
    detail = "".join(c for c in text[:100] if c.isprintable()).strip()
    return f": {detail}" if detail and not any(secret in text for secret in secrets if secret) else ""
