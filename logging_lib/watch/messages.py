"""From an action and a context to finished messages. Pure; ``actions`` delivers them.

Messages are plain data, so that one that could not be delivered can be kept and sent as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from email.errors import MessageError as EmailError
from email.headerregistry import Address
from email.utils import getaddresses
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from logging_lib.watch.model import (
    Action,
    EmailAction,
    LoggingAction,
    SlackAttachment,
    SlackMessage,
    Watch,
)
from logging_lib.watch.templating import Medium, TemplateError, render

MAX_SUBJECT = 250
_MARKUP = {"fallback", "pretext", "author_name", "title", "text", "value"}


class MessageError(ValueError):
    """An action whose message cannot be made; the message says why."""


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Email(_Data):
    """Addresses are ``Name <local@domain>``. ``recipients``, where set, narrows who still has to get it."""

    kind: Literal["email"] = "email"
    id: str
    date: datetime
    sender: str | None
    to: tuple[str, ...]
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    reply_to: tuple[str, ...] = ()
    subject: str
    text: str | None = None
    html: str | None = None
    priority: str | None = None
    recipients: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        return self.subject


class Slack(_Data):
    """One post to one channel; ``channel`` None leaves the choice to the webhook."""

    kind: Literal["slack"] = "slack"
    channel: str | None
    sender: str | None = None
    icon: str | None = None
    text: str | None = None
    attachments: tuple[dict[str, Any], ...] = ()

    @property
    def summary(self) -> str:
        text = self.text or next((str(a.get("title") or a.get("text") or "") for a in self.attachments), "")
        return text.partition("\n")[0]


class Log(_Data):
    kind: Literal["logging"] = "logging"
    level: str
    category: str | None = None
    text: str

    @property
    def summary(self) -> str:
        return self.text


Message = Annotated[Email | Slack | Log, Field(discriminator="kind")]


def compose(
    name: str, action: Action, context: Mapping[str, Any], now: datetime
) -> list[Email | Slack | Log]:
    """The messages that an action sends: one mail, one Slack post a channel, one log line.

    Args:
        name: the action's name in its watch; with the context it makes the mail's id, which is the same
            when the same alert is sent again after a crash.

    Raises:
        MessageError: when a template fails or an address is none.
    """
    try:
        if action.email is not None:
            return [_email(name, action.email, context, now)]
        if action.slack is not None:
            return list(_slack(action.slack.message, context))
        if action.logging is not None:
            return [_log(action.logging, context)]
    except TemplateError as error:
        raise MessageError(str(error)) from error
    raise MessageError("the action has nothing to send")


def _email(name: str, action: EmailAction, context: Mapping[str, Any], now: datetime) -> Email:
    def addresses(templates: Iterable[str]) -> tuple[str, ...]:
        return tuple(a for t in templates for a in _addresses(render(t, context, Medium.HEADER)))

    to, cc, bcc = addresses(action.to), addresses(action.cc), addresses(action.bcc)
    if not (to or cc or bcc):
        raise MessageError("the mail has no recipient: all addresses rendered to nothing")
    sender = addresses([action.sender]) if action.sender else ()
    subject = " ".join(_one_line(render(action.subject, context, Medium.HEADER)).split())
    if len(subject) > MAX_SUBJECT:
        subject = subject[: MAX_SUBJECT - 1] + "…"
    body = action.body
    text = None if body.text is None else render(body.text, context, Medium.TEXT)
    html = None if body.html is None else render(body.html, context, Medium.HTML)
    identity = "\x00".join([context["ctx"]["id"], name, *to, *cc, *bcc, subject, text or "", html or ""])
    return Email(
        id=hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:32],
        date=now,
        sender=sender[0] if sender else None,
        to=to,
        cc=cc,
        bcc=bcc,
        reply_to=addresses(action.reply_to),
        subject=subject,
        text=text,
        html=html,
        priority=action.priority,
    )


def _addresses(rendered: str) -> list[str]:
    """The addresses of one entry; it may hold several, divided by commas, or render to nothing."""
    rendered = _one_line(rendered).strip()
    found = []
    for display, spec in getaddresses([rendered]) if rendered else ():
        try:
            address = Address(display, addr_spec=spec)
        except (EmailError, ValueError, IndexError) as error:
            raise MessageError(f"{rendered!r} is no mail address: {error}") from error
        if not (address.username and address.domain):
            raise MessageError(f"{rendered!r} is no mail address")
        found.append(str(address))
    return found


def _one_line(text: str) -> str:
    return Medium.HEADER.escape(text)


def _slack(message: SlackMessage, context: Mapping[str, Any]) -> Iterable[Slack]:
    def plain(template: str | None) -> str | None:
        return None if template is None else _one_line(render(template, context, Medium.HEADER)) or None

    text = None if message.text is None else render(message.text, context, Medium.SLACK)
    attachments = tuple(_attachment(entry, context) for entry in message.attachments)
    channels: list[str | None] = [name for channel in message.to if (name := plain(channel))]
    for channel in channels or [None]:
        yield Slack(
            channel=channel,
            sender=plain(message.sender),
            icon=plain(message.icon),
            text=text,
            attachments=attachments,
        )


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


def _log(action: LoggingAction, context: Mapping[str, Any]) -> Log:
    text = _one_line(render(action.text, context, Medium.HEADER))
    return Log(level=action.level, category=action.category, text=text)


def recipients(watch: Watch) -> list[str]:
    """Whom a watch's actions tell, as far as its metadata says it; for lists and overviews."""
    found: dict[str, None] = {}
    context = {"ctx": {"watch_id": watch.id, "metadata": watch.metadata}}
    for action in watch.actions.values():
        templates: Iterable[str] = ()
        if action.email is not None:
            templates = (*action.email.to, *action.email.cc, *action.email.bcc)
        elif action.slack is not None:
            templates = action.slack.message.to or ("Slack",)
        elif action.logging is not None:
            templates = ("log",)
        for template in templates:
            found[render(template, context, Medium.HEADER) or template] = None
    return list(found)
