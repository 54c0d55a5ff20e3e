"""Messages as plain data, and how an action and a context become them. Pure but for fetched attachments."""

from logging_lib.watch.messages._compose import compose, recipients
from logging_lib.watch.messages._email import MAX_SUBJECT, Fetch
from logging_lib.watch.messages._types import (
    AnyMessage,
    Attached,
    Email,
    Index,
    Log,
    Message,
    MessageError,
    Slack,
    Stored,
    Webhook,
)

__all__ = [
    "MAX_SUBJECT",
    "AnyMessage",
    "Attached",
    "Email",
    "Fetch",
    "Index",
    "Log",
    "Message",
    "MessageError",
    "Slack",
    "Stored",
    "Webhook",
    "compose",
    "recipients",
]
