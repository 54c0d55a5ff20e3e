"""Post to Microsoft Teams through the webhook of a workflow ("When a Teams webhook request is received").

In a watch this is Watcher's own ``webhook`` action, so that Watcher can send it as well. An action is recognized as
a Teams message by its body: an attachment of the type ``application/vnd.microsoft.card.adaptive``, which Teams
itself requires. A second mark beside it could be forgotten, or contradict it.

Settings: ``LOGGING_LIB_TEAMS_WEBHOOK``, the workflow's address. It is a secret (its ``sig``) and never shown; if it
is set, all cards go there, and the address in a watch is not used.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from logging_lib.store.port import Store
from logging_lib.watch.http import Call, CallError, HttpClient, render_call
from logging_lib.watch.model import HttpRequest
from logging_lib.watch.notify.base import (
    TIMEOUT,
    Channel,
    DeliveryError,
    Fetch,
    Notification,
    Path,
    RenderError,
    Resolution,
    excerpt,
    format_resolution,
    hash_id,
    one_line,
    refusal,
    require_https,
)
from logging_lib.watch.templating import Medium

CARD_TYPE = "application/vnd.microsoft.card.adaptive"
MAX_BYTES = 28_000  # Teams refuses larger messages
_READABLE = ("text", "title", "value")


def _escape(text: str) -> str:
    """Escape Markdown, which a card's text is: a value from a log must not become a link."""
    return Medium.TEXT.escape(text).replace("](", "] (")


CARD = Medium("card", lambda text: Medium.JSON.escape(_escape(text)), is_json=True)


@dataclass(frozen=True)
class TeamsChannel(Channel):
    """The channel of Adaptive Cards. A status from 200 to 299 is a delivery; a workflow answers 202.

    A notification's address has the ``url`` and ``headers`` of its watch; its content is the message with the card.

    Args:
        webhook: an address that replaces those in the watches.

    Raises:
        SettingsError: it is not an https address (http only on this machine).
    """

    name = "teams"
    action_type = "webhook"
    action_model = HttpRequest
    setting = "LOGGING_LIB_TEAMS_WEBHOOK"
    takes_text = True
    takes_digests = True
    text_limit = 10_000
    digest_has_texts = False

    webhook: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.webhook is not None:
            require_https(self.webhook, self.setting)

    # --- what it parses

    @classmethod
    def takes(cls, settings: HttpRequest) -> bool:
        return f'"{CARD_TYPE}"' in (settings.body or "")

    @classmethod
    def requests(cls, settings: HttpRequest) -> Iterator[tuple[Path, HttpRequest]]:
        yield (), settings

    @classmethod
    def recipients(cls, settings: HttpRequest) -> Sequence[str]:
        return ["Teams"]

    # --- what it renders

    @classmethod
    def render(
        cls, settings: HttpRequest, context: Mapping[str, Any], draft: Notification, fetch: Fetch | None
    ) -> list[Notification]:
        call = render_call(settings, context, json_medium=CARD)
        try:
            message = json.loads(call.body or "")
        except ValueError as error:
            raise RenderError(f"the rendered card is not JSON: {error}") from None
        if not isinstance(message, dict):
            raise RenderError("the rendered card is not a JSON object")
        lines = list(_texts(message)) or ["A card"]
        values = {"subject": one_line(lines[0]), "text": "\n".join(lines), "content": message}
        return [cls._card(draft, {"url": call.url, "headers": call.headers}, values)]

    @classmethod
    def compose(
        cls, draft: Notification, address: Mapping[str, Any], subject: str, text: str
    ) -> Notification:
        lines = [line for line in text[: cls.text_limit + 200].split("\n") if line.strip()]
        content = _message(subject, "emphasis", [_block(line, spacing="Small") for line in lines])
        return cls._card(draft, address, {"subject": subject, "text": text, "content": content})

    @classmethod
    def resolve(cls, draft: Notification, address: Mapping[str, Any], resolution: Resolution) -> Notification:
        facts = [
            {"title": _escape(incident.name), "value": incident.period} for incident in resolution.incidents
        ]
        alerts = resolution.alerts[: Resolution.MAX_ALERTS]
        blocks = [
            {"type": "FactSet", "facts": facts},
            _block("Alerts sent", weight="Bolder", spacing="Large"),
            *(_block(f"- {alert}", spacing="None") for alert in alerts),
            _block(resolution.footer, isSubtle=True, size="Small", spacing="Large"),
        ]
        content = _message(resolution.subject, "good", blocks)
        values = {"subject": resolution.subject, "text": format_resolution(resolution), "content": content}
        return cls._card(draft, address, values)

    @classmethod
    def _card(
        cls, draft: Notification, address: Mapping[str, Any], values: Mapping[str, Any]
    ) -> Notification:
        url = address.get("url", "")
        recipient = f"{urlsplit(url).hostname} {hash_id(url)[:8]}" if url else ""
        return draft.model_copy(
            update={**values, "channel": cls.name, "address": dict(address), "recipients": (recipient,)}
        )

    @classmethod
    def address_of(cls, recipients: Iterable[str], like: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return dict(like or {})

    @classmethod
    def preview(cls, notification: Notification) -> str:
        return f"teams\n{notification.text}"

    # --- how it is configured, and delivers

    @classmethod
    def configure(cls, environ: Mapping[str, str], store: Store | None = None) -> TeamsChannel:
        return cls(environ.get(cls.setting) or None)

    def deliver(self, notification: Notification) -> str:
        url = self.webhook or notification.address.get("url")
        if not url:
            raise DeliveryError(f"the card has no address: set {self.setting}")
        body = json.dumps(notification.content)
        if len(body) > MAX_BYTES:
            raise DeliveryError(f"the card has {len(body)} bytes, and Teams takes {MAX_BYTES}: shorten it")
        headers = {} if self.webhook else notification.address.get("headers", {})
        call = Call(
            method="POST",
            url=url,
            headers={**headers, "Content-Type": "application/json"},
            body=body,
            connect_timeout=TIMEOUT,
            read_timeout=TIMEOUT,
        )
        # The workflow of another watch may be available, unless all cards go to the same one.
        is_only = self.webhook is not None
        try:
            answer = HttpClient.brief()(call)
        except CallError as error:
            raise DeliveryError(f"Teams: {error}", down=is_only) from None
        secrets = (url, *(value for _, value in parse_qsl(urlsplit(url).query)))
        if 200 <= answer.status < 300:
            return f"{answer.status}{excerpt(answer.text, *secrets)}"
        raise refusal("Teams", answer, *secrets, down=is_only)


def _block(text: str, **looks: Any) -> dict[str, Any]:
    return {"type": "TextBlock", "text": _escape(text), "wrap": True, **looks}


def _message(subject: str, style: str, blocks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Build a message with one card: the subject on a ground in the style's color, and blocks below it."""
    head = {"type": "Container", "style": style, "bleed": True}
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": [{**head, "items": [_block(subject, weight="Bolder", size="Large")]}, *blocks],
    }
    attachment = {"contentType": CARD_TYPE, "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _texts(node: Any) -> Iterator[str]:
    """Yield the texts that people read in a card, in their order."""
    if isinstance(node, list):
        for item in node:
            yield from _texts(item)
    elif isinstance(node, dict):
        words = [str(node[key]) for key in _READABLE if isinstance(node.get(key), str | int | float)]
        if words:
            yield ": ".join(words)
        for value in node.values():
            if isinstance(value, dict | list):
                yield from _texts(value)
