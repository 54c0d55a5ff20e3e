"""The log, and what only shows a message."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass

from logging_lib.watch.messages import Email, Index, Log, Message, Slack, Webhook

_LEVELS = {"error": 40, "warn": 30, "info": 20, "debug": 10, "trace": 5}


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
    """A message as people would read it; of a request neither query nor headers, which may hold secrets."""
    if isinstance(message, Email):
        heads = {"To": message.to, "Cc": message.cc, "Bcc": message.bcc, "Reply-To": message.reply_to}
        lines = [f"{name}: {', '.join(found)}" for name, found in heads.items() if found]
        lines.append(f"Subject: {message.subject}")
        lines += [f"Attached: {each.name}" for each in message.attachments]
        body = message.text if message.text is not None else message.html
        return "\n".join(["email", *lines, "", body or ""])
    if isinstance(message, Slack):
        parts = [f"slack {message.channel or ''}".rstrip(), message.text or ""]
        return "\n".join([*parts, *(str(attachment) for attachment in message.attachments)])
    if isinstance(message, Webhook):
        address = message.call.url.partition("?")[0]
        return "\n".join([f"webhook {message.call.method} {address}", message.call.body or ""]).rstrip("\n")
    if isinstance(message, Index):
        lines = [
            f"{each.index} {each.id}: {json.dumps(each.source, default=str)}" for each in message.documents
        ]
        return "\n".join(["index", *lines])
    return f"log {message.level}: {message.text}"
