"""Log by Python's logging: Watcher's ``logging`` action. It needs no settings."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from logging_lib.store.port import Store
from logging_lib.watch.model import Model, lower_case
from logging_lib.watch.notify.base import Channel, Fetch, Notification, Template, one_line
from logging_lib.watch.templating import Medium, render

_LEVELS = {"error": 40, "warn": 30, "info": 20, "debug": 10, "trace": 5}


class LoggingAction(Model):
    text: str
    level: Annotated[Literal["error", "warn", "info", "debug", "trace"], BeforeValidator(lower_case)] = "info"
    category: str | None = None


class LogChannel(Channel):
    """The channel to the logger ``logging_lib.watch``, or the action's category below it.

    A notification's content has ``level`` and ``category``.
    """

    name = "logging"
    action_type = "logging"
    action_model = LoggingAction

    @classmethod
    def templates(cls, settings: LoggingAction) -> Iterator[Template]:
        yield ("text",), settings.text, Medium.HEADER

    @classmethod
    def recipients(cls, settings: LoggingAction) -> Sequence[str]:
        return ["log"]

    @classmethod
    def render(
        cls, settings: LoggingAction, context: Mapping[str, Any], draft: Notification, fetch: Fetch | None
    ) -> list[Notification]:
        text = one_line(render(settings.text, context, Medium.HEADER))
        return [cls.line(draft, text, settings.level, settings.category)]

    @classmethod
    def line(cls, draft: Notification, text: str, level: str, category: str | None = None) -> Notification:
        """Return the notification that writes this line."""
        content = {"level": level, "category": category}
        return draft.model_copy(
            update={"channel": cls.name, "subject": text, "text": text, "content": content}
        )

    @classmethod
    def test(cls, draft: Notification, recipient: str, subject: str, text: str) -> Notification:
        return cls.line(draft, one_line(f"{subject}: {text}"), "warn", recipient or None)

    @classmethod
    def preview(cls, notification: Notification) -> str:
        return f"log {notification.content['level']}: {notification.text}"

    @classmethod
    def configure(cls, environ: Mapping[str, str], store: Store | None = None) -> LogChannel:
        return cls()

    def deliver(self, notification: Notification) -> str:
        level, category = notification.content["level"], notification.content["category"]
        name = "logging_lib.watch" + (f".{category}" if category else "")
        logging.getLogger(name).log(_LEVELS[level], "%s", notification.text)
        return f"logged by {name}"
