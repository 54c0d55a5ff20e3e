"""Slack posts: one a channel, with attachments that are written out or made of a list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from logging_lib.watch.conditions import resolve_path
from logging_lib.watch.messages._email import one_line
from logging_lib.watch.messages._types import MessageError, Slack
from logging_lib.watch.model import DynamicAttachments, SlackAttachment, SlackMessage
from logging_lib.watch.templating import Medium, render

MAX_ATTACHMENTS = 100  # Slack's own limit
_MARKUP = {"fallback", "pretext", "author_name", "title", "text", "value", "footer"}


def slack(message: SlackMessage, context: Mapping[str, Any]) -> Iterator[Slack]:
    def plain(template: str | None) -> str | None:
        return None if template is None else one_line(render(template, context, Medium.HEADER)) or None

    text = None if message.text is None else render(message.text, context, Medium.SLACK)
    attachments = [_attachment(entry, context) for entry in message.attachments]
    if message.dynamic_attachments:
        attachments += _dynamic(message.dynamic_attachments, context)
    if text is None and not attachments:
        raise MessageError("the Slack message is empty: the list of its dynamic_attachments is")
    channels: list[str | None] = [name for channel in message.to if (name := plain(channel))]
    for channel in channels or [None]:
        yield Slack(
            channel=channel,
            sender=plain(message.sender),
            icon=plain(message.icon),
            text=text,
            attachments=_bounded(attachments),
        )


def _dynamic(given: DynamicAttachments, context: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    items = resolve_path(given.list_path, context)
    if not isinstance(items, list | tuple):
        raise MessageError(f"dynamic_attachments: {given.list_path} is no list")
    for item in items:
        # As in Watcher the element's own keys are the variables; ctx is there, too.
        own = item if isinstance(item, Mapping) else {"_value": item}
        yield _attachment(given.attachment_template, {**own, **context})


def _bounded(attachments: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    more = len(attachments) - MAX_ATTACHMENTS
    if more <= 0:
        return tuple(attachments)
    note = f"{more + 1} more are left out: Slack takes {MAX_ATTACHMENTS}"
    return (*attachments[: MAX_ATTACHMENTS - 1], {"text": note, "fallback": note})


def _attachment(attachment: SlackAttachment, context: Mapping[str, Any]) -> dict[str, Any]:
    def rendered(key: str, value: Any) -> Any:
        if isinstance(value, str):
            return render(value, context, Medium.SLACK if key in _MARKUP else Medium.HEADER)
        if isinstance(value, dict):
            return {name: rendered(name, item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [rendered(key, item) for item in value]
        return value

    given = attachment.model_dump(exclude_none=True)
    return {key: rendered(key, value) for key, value in given.items() if value != ()}
