"""From an action and a context to finished messages; ``actions`` delivers them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from logging_lib.watch.http import render_call
from logging_lib.watch.messages._email import Fetch, email, one_line
from logging_lib.watch.messages._identity import identity
from logging_lib.watch.messages._index import index
from logging_lib.watch.messages._slack import slack
from logging_lib.watch.messages._types import AnyMessage, Log, MessageError, Webhook
from logging_lib.watch.model import Action, HttpRequest, LoggingAction, Watch
from logging_lib.watch.templating import Medium, TemplateError, render


def compose(
    name: str, action: Action, context: Mapping[str, Any], now: datetime, *, fetch: Fetch | None = None
) -> list[AnyMessage]:
    """The messages that an action sends: one mail, one Slack post a channel, one request, documents, one log line.

    Args:
        name: the action's name in its watch; with the context it makes the message's id, which is the same
            when the same alert is sent again after a crash.
        fetch: brings a mail's attachments from elsewhere; without it a note stands in their place.

    Raises:
        MessageError: when a template fails or an address is none.
    """
    try:
        if action.email is not None:
            return [email(name, action.email, context, now, fetch)]
        if action.slack is not None:
            return list(slack(action.slack.message, context))
        if action.webhook is not None:
            return [_webhook(name, action.webhook, context)]
        if action.index is not None:
            return [index(name, action.index, context)]
        if action.logging is not None:
            return [_log(action.logging, context)]
    except TemplateError as error:
        raise MessageError(str(error)) from error
    raise MessageError("the action has nothing to send")


def _webhook(name: str, action: HttpRequest, context: Mapping[str, Any]) -> Webhook:
    call = render_call(action, context)
    return Webhook(id=identity(context, name, call.method, call.url, call.body or ""), call=call)


def _log(action: LoggingAction, context: Mapping[str, Any]) -> Log:
    text = one_line(render(action.text, context, Medium.HEADER))
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
        elif action.webhook is not None:
            templates = (action.webhook.host,)
        elif action.index is not None:
            templates = (action.index.index or "an index",)
        elif action.logging is not None:
            templates = ("log",)
        for template in templates:
            found[render(template, context, Medium.HEADER) or template] = None
    return list(found)
