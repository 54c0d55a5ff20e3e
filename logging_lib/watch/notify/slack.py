"""Post to Slack through an incoming webhook or as a bot: Watcher's ``slack`` action.

Settings: ``LOGGING_LIB_SLACK_WEBHOOK`` (``https://hooks.slack.com/services/...``; a secret, never shown), or
instead ``LOGGING_LIB_SLACK_TOKEN``, a bot's token (``xoxb-...``), which posts by chat.postMessage.
``LOGGING_LIB_SLACK_CHANNEL`` is the channel for a bot's messages that name none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from logging_lib.store.port import Store
from logging_lib.watch.conditions import resolve_path
from logging_lib.watch.http import Call, CallError, HttpClient, HttpResponse
from logging_lib.watch.model import Model, Strings
from logging_lib.watch.notify.base import (
    RESOLVED,
    TIMEOUT,
    Channel,
    DeliveryError,
    Fetch,
    Notification,
    Path,
    RenderError,
    Resolution,
    SettingsError,
    Template,
    excerpt,
    format_resolution,
    one_line,
    refusal,
    require_https,
    retry_after,
)
from logging_lib.watch.templating import Medium, render

POST_MESSAGE = "https://slack.com/api/chat.postMessage"
MAX_ATTACHMENTS = 100  # Slack's own limit
MAX_TEXT = 3_000
_MARKUP_KEYS = frozenset({"fallback", "pretext", "author_name", "title", "text", "value", "footer"})
_BOLD = re.compile(r"(?<!\w)\*(\S[^*\n]*)\*(?!\w)")
# Slack's names of errors that concern the service or our token, not this message alone.
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


def _escape(text: str) -> str:
    """Escape ``&``, ``<`` and ``>``, which can mention people or hide a link, and the backtick, which ends code."""
    text = Medium.TEXT.escape(text).replace("`", "'")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


MARKUP = Medium("slack", _escape)


class SlackField(Model):
    title: str
    value: str
    short: bool = False


class SlackAttachment(Model):
    fallback: str | None = None
    color: str | None = None
    pretext: str | None = None
    author_name: str | None = None
    author_link: str | None = None
    author_icon: str | None = None
    title: str | None = None
    title_link: str | None = None
    text: str | None = None
    fields: tuple[SlackField, ...] = ()
    image_url: str | None = None
    thumb_url: str | None = None
    footer: str | None = None
    footer_icon: str | None = None
    mrkdwn_in: tuple[str, ...] = ()


class DynamicAttachments(Model):
    """Attachments for each element of the list at ``list_path``; the template's variables are the element's
    keys."""

    list_path: str
    attachment_template: SlackAttachment


class SlackMessage(Model):
    sender: str | None = Field(None, alias="from")
    to: Strings = ()
    icon: str | None = None
    text: str | None = None
    attachments: tuple[SlackAttachment, ...] = ()
    dynamic_attachments: DynamicAttachments | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> SlackMessage:
        if self.text is None and not self.attachments and self.dynamic_attachments is None:
            raise PydanticCustomError("slack", "a Slack message has 'text', 'attachments' or both")
        return self


class SlackAction(Model):
    message: SlackMessage


@dataclass(frozen=True)
class SlackChannel(Channel):
    """The channel that posts to an incoming webhook, or with a token as a bot. Neither is in any error, repr or
    log.

    A notification's address has ``channel`` (None leaves the choice to the webhook, or the bot's default),
    ``sender`` and ``icon``; its content has ``text`` and ``attachments`` in Slack's markup.

    Args:
        webhook: the address of the webhook. Alternatively:
        token: a bot's token, with ``default_channel`` for messages that name no channel.

    Raises:
        SettingsError: an address is not https (http only on this machine), or the token is not a bot's token.
    """

    name = "slack"
    action_type = "slack"
    action_model = SlackAction
    setting = "LOGGING_LIB_SLACK_WEBHOOK"
    takes_text = True
    takes_digests = True
    text_limit = MAX_TEXT
    digest_has_texts = False
    metadata_key = "slack_to"
    metadata_remedy = "write a channel, such as #ml-alerts"
    recipient_setting = "LOGGING_LIB_SLACK_CHANNEL"
    secret_pattern = r"hooks\.slack\.com/services/\w|\bxox[abposr]-\w"  # noqa: S105 - it finds them
    ignored = {"account": "the account is the runner's setting, LOGGING_LIB_SLACK_WEBHOOK or ..._TOKEN"}
    unsupported = {
        "actions": "Slack's buttons are not sent; use links in the text",
        "dynamic_name_timeout": "leave it out",
    }

    webhook: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    default_channel: str | None = None
    api: str = POST_MESSAGE

    def __post_init__(self) -> None:
        if self.webhook and self.token:
            raise SettingsError("set LOGGING_LIB_SLACK_WEBHOOK or LOGGING_LIB_SLACK_TOKEN, not both")
        if self.token is None:
            require_https(self.webhook or "", "LOGGING_LIB_SLACK_WEBHOOK")
            return
        require_https(self.api, "LOGGING_LIB_SLACK_API")
        if not self.token.startswith("xox"):
            raise SettingsError("LOGGING_LIB_SLACK_TOKEN: a bot token begins with xoxb-")

    # --- what it parses

    @classmethod
    def templates(cls, settings: SlackAction) -> Iterator[Template]:
        message = settings.message.model_copy(update={"dynamic_attachments": None})
        for path, template in _strings(message.model_dump(by_alias=True, exclude_none=True), ("message",)):
            yield path, template, MARKUP

    @classmethod
    def element_templates(cls, settings: SlackAction) -> Iterator[tuple[Path, str, list[Template]]]:
        dynamic = settings.message.dynamic_attachments
        if dynamic is None:
            return
        path = ("message", "dynamic_attachments")
        template = dynamic.attachment_template.model_dump(by_alias=True, exclude_none=True)
        texts = _strings(template, (*path, "attachment_template"))
        yield (*path, "list_path"), dynamic.list_path, [(below, text, MARKUP) for below, text in texts]

    @classmethod
    def recipients(cls, settings: SlackAction) -> Sequence[str]:
        return settings.message.to or ("Slack",)

    @classmethod
    def is_recipient(cls, value: Any) -> bool:
        return isinstance(value, str) and bool(value.strip())

    # --- what it renders

    @classmethod
    def render(
        cls, settings: SlackAction, context: Mapping[str, Any], draft: Notification, fetch: Fetch | None
    ) -> list[Notification]:
        def plain(template: str | None) -> str | None:
            return None if template is None else one_line(render(template, context, Medium.HEADER)) or None

        message = settings.message
        text = None if message.text is None else render(message.text, context, MARKUP)
        attachments = [_attachment(entry, context) for entry in message.attachments]
        if message.dynamic_attachments:
            attachments += _dynamic(message.dynamic_attachments, context)
        if text is None and not attachments:
            raise RenderError("the Slack message is empty: the list of its dynamic_attachments is")
        content: dict[str, Any] = {"text": text} if text is not None else {}
        if attachments:
            content["attachments"] = _bounded(attachments)
        first = text or next((str(a.get("title") or a.get("text") or "") for a in attachments), "")
        parts = [text or "", *(part for attachment in attachments for part in _texts(attachment))]
        readable = {
            "subject": one_line(_unescape(_BOLD.sub(r"\1", first.partition("\n")[0]))),
            "text": _unescape("\n\n".join(part.strip("\n") for part in parts if part)),
        }
        address = {"sender": plain(message.sender), "icon": plain(message.icon)}
        channels: list[str | None] = [name for template in message.to if (name := plain(template))]
        return [
            cls._post(draft.part(number), {**address, "channel": channel}, {**readable, "content": content})
            for number, channel in enumerate(channels or [None])
        ]

    @classmethod
    def compose(
        cls, draft: Notification, address: Mapping[str, Any], subject: str, text: str
    ) -> Notification:
        lines = map(_escape, text[: MAX_TEXT + 100].rstrip("\n").split("\n"))
        content = {"text": "\n".join([f"*{_escape(subject)}*", *lines])}
        return cls._post(draft, address, {"subject": subject, "text": text, "content": content})

    @classmethod
    def resolve(cls, draft: Notification, address: Mapping[str, Any], resolution: Resolution) -> Notification:
        lines = [
            *(f"*{_escape(incident.name)}*: {incident.period}" for incident in resolution.incidents),
            "",
            "*Alerts sent*",
            *(f"• {_escape(alert)}" for alert in resolution.alerts[: Resolution.MAX_ALERTS]),
            _escape(resolution.footer),
        ]
        attachment = {
            "color": RESOLVED,
            "fallback": _escape(resolution.title),
            "mrkdwn_in": ["text"],
            "text": "\n".join(lines),
        }
        content = {"text": f"*{_escape(resolution.subject)}*", "attachments": [attachment]}
        values = {"subject": resolution.subject, "text": format_resolution(resolution), "content": content}
        return cls._post(draft, address, values)

    @classmethod
    def _post(
        cls, draft: Notification, address: Mapping[str, Any], values: Mapping[str, Any]
    ) -> Notification:
        known = {name: value for name, value in address.items() if value is not None}
        recipients = (known.get("channel", ""),)
        return draft.model_copy(
            update={**values, "channel": cls.name, "address": known, "recipients": recipients}
        )

    @classmethod
    def address_of(cls, recipients: Iterable[str], like: Mapping[str, Any] | None = None) -> dict[str, Any]:
        same = {name: value for name, value in (like or {}).items() if name != "channel"}
        return {**same, "channel": next(iter(recipients), "") or None}

    @classmethod
    def preview(cls, notification: Notification) -> str:
        head = f"slack {notification.address.get('channel', '')}".rstrip()
        return f"{head}\n{notification.text}"

    # --- how it is configured, and delivers

    @classmethod
    def configure(cls, environ: Mapping[str, str], store: Store | None = None) -> SlackChannel | None:
        webhook, token = environ.get("LOGGING_LIB_SLACK_WEBHOOK"), environ.get("LOGGING_LIB_SLACK_TOKEN")
        if not webhook and not token:
            return None
        default = environ.get("LOGGING_LIB_SLACK_CHANNEL") or None
        api = environ.get("LOGGING_LIB_SLACK_API") or POST_MESSAGE
        return cls(webhook or None, token or None, default, api)

    @property
    def needs_recipient(self) -> bool:
        return self.token is not None and self.default_channel is None

    def deliver(self, notification: Notification) -> str:
        body = post_body(notification)
        if self.token is None:
            answer = self._send(self.webhook or "", body, {})
            if answer.status != 200:
                raise refusal("Slack", answer, self.webhook or "", down=True)
            return f"200{excerpt(answer.text, self.webhook or '')}"
        body["channel"] = body.get("channel") or self.default_channel
        if body["channel"] is None:
            raise DeliveryError(
                "the Slack message names no channel: write 'to', or set LOGGING_LIB_SLACK_CHANNEL"
            )
        answer = self._send(self.api, body, {"Authorization": f"Bearer {self.token}"})
        if answer.status != 200:
            raise refusal("Slack", answer, self.token, down=True)
        # Slack refuses a message with status 200, too.
        said = _json(answer)
        if said.get("ok") is True:
            return f"200: ok, posted to {body['channel']}"
        reason = str(said.get("error") or "the answer is not Slack's")
        remedy = f"; {_REMEDIES[reason]}" if reason in _REMEDIES else ""
        raise DeliveryError(
            f"Slack refused the post to {body['channel']}{excerpt(reason, self.token)}{remedy}",
            down=reason in _DOWN,
            retry_after=retry_after(answer),
        )

    def _send(self, url: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> HttpResponse:
        call = Call(
            method="POST",
            url=url,
            headers={**headers, "Content-Type": "application/json; charset=utf-8"},
            body=json.dumps(body),
            connect_timeout=TIMEOUT,
            read_timeout=TIMEOUT,
        )
        try:
            return HttpClient.brief()(call)
        except CallError as error:
            raise DeliveryError(f"Slack: {error}", down=True) from None


def post_body(notification: Notification) -> dict[str, Any]:
    """Build the JSON of a post. Links in it are not unfurled, since they may come from a log."""
    address, content = notification.address, notification.content
    body: dict[str, Any] = {"unfurl_links": False, "unfurl_media": False}
    icon = address.get("icon") or ""
    values = {
        "channel": address.get("channel"),
        "username": address.get("sender"),
        "icon_emoji" if icon.startswith(":") else "icon_url": icon or None,
        "text": content.get("text"),
        "attachments": content.get("attachments"),
    }
    return body | {name: value for name, value in values.items() if value is not None}


def _unescape(text: str) -> str:
    """Return Slack's text as people read it."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _texts(attachment: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts that people read in an attachment, in their order."""
    for key in ("pretext", "author_name", "title", "text"):
        yield attachment.get(key, "")
    for entry in attachment.get("fields", ()):
        yield f"{entry['title']}: {entry['value']}"
    yield attachment.get("footer", "")


def _dynamic(dynamic: DynamicAttachments, context: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    items = resolve_path(dynamic.list_path, context)
    if not isinstance(items, list | tuple):
        raise RenderError(f"dynamic_attachments: {dynamic.list_path} is not a list")
    for item in items:
        # As in Watcher, the element's own keys are the variables, and ctx is available, too.
        variables = item if isinstance(item, Mapping) else {"_value": item}
        yield _attachment(dynamic.attachment_template, {**variables, **context})


def _bounded(attachments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    more = len(attachments) - MAX_ATTACHMENTS
    if more <= 0:
        return attachments
    note = f"{more + 1} more are omitted: Slack accepts {MAX_ATTACHMENTS}"
    return [*attachments[: MAX_ATTACHMENTS - 1], {"text": note, "fallback": note}]


def _attachment(attachment: SlackAttachment, context: Mapping[str, Any]) -> dict[str, Any]:
    def rendered(key: str, value: Any) -> Any:
        if isinstance(value, str):
            return render(value, context, MARKUP if key in _MARKUP_KEYS else Medium.HEADER)
        if isinstance(value, dict):
            return {name: rendered(name, item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [rendered(key, item) for item in value]
        return value

    values = attachment.model_dump(exclude_none=True)
    return {key: rendered(key, value) for key, value in values.items() if value != ()}


def _strings(node: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(node, str):
        yield path, node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _strings(value, (*path, key))
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _strings(value, (*path, index))


def _json(answer: HttpResponse) -> Mapping[str, Any]:
    try:
        document = json.loads(answer.content)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, Mapping) else {}
