"""Slack, by an incoming webhook or as a bot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests

from logging_lib.watch.actions._outlet import (
    TIMEOUT,
    DeliveryError,
    SettingsError,
    is_loopback,
    shown,
    wait_of,
)
from logging_lib.watch.http import quiet_urllib3
from logging_lib.watch.messages import Message, Slack

POST_MESSAGE = "https://slack.com/api/chat.postMessage"
# Slack's own words for what concerns the service or our token, not this one message.
_DOWN = frozenset(
    {"ratelimited", "rate_limited", "fatal_error", "internal_error", "request_timeout", "service_unavailable"}
    | {"invalid_auth", "not_authed", "account_inactive", "token_expired", "token_revoked", "missing_scope"}
    | {"access_denied", "org_login_required", "ekm_access_denied", "team_access_not_granted", "no_permission"}
)
_REMEDIES = {
    "channel_not_found": "name a channel that exists, and invite the bot to a private one",
    "not_in_channel": "invite the bot to the channel",
    "is_archived": "name a channel that is not archived",
    "invalid_auth": "set LOGGING_LIB_SLACK_TOKEN to a valid bot token",
    "not_authed": "set LOGGING_LIB_SLACK_TOKEN to a valid bot token",
    "token_revoked": "set LOGGING_LIB_SLACK_TOKEN to a valid bot token",
    "missing_scope": "give the bot the scope chat:write",
}


@dataclass(frozen=True)
class SlackOutlet:
    """Posts to an incoming webhook; its address is a secret and appears in no message, repr or log.

    Raises:
        SettingsError: when it is no https URL (http only on this machine).
    """

    webhook: str = field(repr=False)
    timeout: float = TIMEOUT

    def __post_init__(self) -> None:
        _secure(self.webhook, "LOGGING_LIB_SLACK_WEBHOOK")

    def deliver(self, message: Message) -> None:
        if not isinstance(message, Slack):
            raise TypeError(message.kind)
        response = _post(self.webhook, slack_body(message), {}, self.timeout)
        if response.status_code != 200:
            raise _refused(response, self.webhook)


@dataclass(frozen=True)
class SlackBotOutlet:
    """Posts by ``chat.postMessage``; the token appears in no message, repr or log.

    Args:
        channel: where a message goes that names none.
    """

    token: str = field(repr=False)
    channel: str | None = None
    url: str = POST_MESSAGE
    timeout: float = TIMEOUT

    def __post_init__(self) -> None:
        _secure(self.url, "LOGGING_LIB_SLACK_API")
        if not self.token.startswith("xox"):
            raise SettingsError("LOGGING_LIB_SLACK_TOKEN: a bot token begins with xoxb-")

    def deliver(self, message: Message) -> None:
        if not isinstance(message, Slack):
            raise TypeError(message.kind)
        body = slack_body(message)
        channel = message.channel or self.channel
        if channel is None:
            raise DeliveryError(
                "the Slack message names no channel: write 'to', or set LOGGING_LIB_SLACK_CHANNEL"
            )
        body["channel"] = channel
        response = _post(self.url, body, {"Authorization": f"Bearer {self.token}"}, self.timeout)
        if response.status_code != 200:
            raise _refused(response, self.token)
        # A refusal is an answer of 200, too.
        answer = _json(response)
        if answer.get("ok") is True:
            return
        reason = str(answer.get("error") or "the answer is not Slack's")
        remedy = f"; {_REMEDIES[reason]}" if reason in _REMEDIES else ""
        raise DeliveryError(
            f"Slack refused the post to {channel}{shown(reason, self.token)}{remedy}",
            down=reason in _DOWN,
            retry_after=wait_of(response.headers.get("Retry-After")),
        )


def slack_body(message: Slack) -> dict[str, Any]:
    """The JSON of a post; links in it are not unfolded, since a log may have brought them."""
    body: dict[str, Any] = {"unfurl_links": False, "unfurl_media": False}
    icon = "icon_emoji" if (message.icon or "").startswith(":") else "icon_url"
    given = {"channel": message.channel, "username": message.sender, icon: message.icon, "text": message.text}
    body.update({key: value for key, value in given.items() if value is not None})
    if message.attachments:
        body["attachments"] = list(message.attachments)
    return body


def _secure(url: str, name: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if not (parts.scheme == "http" and parts.hostname and is_loopback(parts.hostname)):
        raise SettingsError(f"{name}: is not an https:// address")


def _post(url: str, body: Mapping[str, Any], headers: Mapping[str, str], timeout: float) -> requests.Response:
    content = json.dumps(body).encode()
    headers = {**headers, "Content-Type": "application/json; charset=utf-8"}
    try:
        with quiet_urllib3():
            return requests.post(
                url, data=content, headers=headers, timeout=timeout, allow_redirects=False, auth=_unchanged
            )
    except requests.RequestException as error:
        # The exception's text holds the webhook's address.
        raise DeliveryError(f"Slack was not reached: {type(error).__name__}", down=True) from None


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """In place of what a .netrc may say of the host."""
    return request


def _refused(response: requests.Response, secret: str) -> DeliveryError:
    wait = wait_of(response.headers.get("Retry-After"))
    after = "" if wait is None else f", retry after {wait:.0f} s"
    return DeliveryError(
        f"Slack answered {response.status_code}{after}{shown(response.text, secret)}",
        down=response.status_code == 429 or response.status_code >= 500,
        retry_after=wait,
    )


def _json(response: requests.Response) -> Mapping[str, Any]:
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, Mapping) else {}
