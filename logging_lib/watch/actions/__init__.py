"""Delivers messages: mail by SMTP, Slack, requests over HTTP, documents into the store, the log, or print.

Settings come from the environment, so that no secret stands in a watch or on a command line:

LOGGING_LIB_SMTP_URL       smtp://127.0.0.1:2525, smtp+starttls://host:587 or smtps://host:465
LOGGING_LIB_SMTP_USER      with LOGGING_LIB_SMTP_PASSWORD, where the server wants a login
LOGGING_LIB_MAIL_FROM      the sender where a watch names none
LOGGING_LIB_SLACK_WEBHOOK  https://hooks.slack.com/services/...; it is a secret and never shown
LOGGING_LIB_SLACK_TOKEN    instead of it: a bot's token, xoxb-...; posts by chat.postMessage
LOGGING_LIB_SLACK_CHANNEL  where a bot posts what names no channel
LOGGING_LIB_AUTHORIZATION_<HOST>  the Authorization header of requests to that host; see ``calls``
"""

from __future__ import annotations

from collections.abc import Mapping

from logging_lib.store.port import Store
from logging_lib.watch.actions._email import SmtpOutlet, build_mail
from logging_lib.watch.actions._index import IndexOutlet
from logging_lib.watch.actions._log import LogOutlet, PrintOutlet, preview
from logging_lib.watch.actions._outlet import DeliveryError, Outlet, Outlets, SettingsError
from logging_lib.watch.actions._slack import POST_MESSAGE, SlackBotOutlet, SlackOutlet, slack_body
from logging_lib.watch.actions._webhook import WebhookOutlet
from logging_lib.watch.http import HttpClient

__all__ = [
    "DeliveryError",
    "IndexOutlet",
    "LogOutlet",
    "Outlet",
    "Outlets",
    "PrintOutlet",
    "SettingsError",
    "SlackBotOutlet",
    "SlackOutlet",
    "SmtpOutlet",
    "WebhookOutlet",
    "build_mail",
    "outlets_from",
    "preview",
    "slack_body",
]


def outlets_from(
    environ: Mapping[str, str],
    *,
    smtp_url: str | None = None,
    mail_from: str | None = None,
    store: Store | None = None,
) -> dict[str, Outlet]:
    """The outlets that the environment describes; arguments override it.

    ``logging`` and ``webhook`` are always there, ``index`` where there is a store.

    Raises:
        SettingsError: naming the setting that is wrong.
    """
    outlets: dict[str, Outlet] = {
        "logging": LogOutlet(),
        "webhook": WebhookOutlet(HttpClient.from_environ(environ)),
    }
    if store is not None:
        outlets["index"] = IndexOutlet(store)
    url = smtp_url or environ.get("LOGGING_LIB_SMTP_URL")
    if url:
        outlets["email"] = SmtpOutlet(
            url,
            sender=mail_from or environ.get("LOGGING_LIB_MAIL_FROM") or SmtpOutlet.sender,
            user=environ.get("LOGGING_LIB_SMTP_USER") or None,
            password=environ.get("LOGGING_LIB_SMTP_PASSWORD") or None,
        )
    webhook, token = environ.get("LOGGING_LIB_SLACK_WEBHOOK"), environ.get("LOGGING_LIB_SLACK_TOKEN")
    if webhook and token:
        raise SettingsError("set LOGGING_LIB_SLACK_WEBHOOK or LOGGING_LIB_SLACK_TOKEN, not both")
    if webhook:
        outlets["slack"] = SlackOutlet(webhook)
    elif token:
        channel = environ.get("LOGGING_LIB_SLACK_CHANNEL") or None
        outlets["slack"] = SlackBotOutlet(
            token, channel, environ.get("LOGGING_LIB_SLACK_API") or POST_MESSAGE
        )
    return outlets
