"""Notify PagerDuty through its Events API v2: Watcher's ``pagerduty`` action.

Each incident is one PagerDuty alert: it is triggered and, only by the runner, resolved under the same key. Its
severity is ``metadata.severity``, else that of the gravest finding: low is info, medium warning, high error.

Settings: ``LOGGING_LIB_PAGERDUTY_KEY``, the integration (routing) key; for an action that names an ``account``,
``LOGGING_LIB_PAGERDUTY_KEY_<ACCOUNT>``, the account in capitals with ``_`` for each other character than a letter
or digit. Keys are secrets and are never shown. ``LOGGING_LIB_PAGERDUTY_URL`` is for another region:
``https://events.eu.pagerduty.com/v2/enqueue``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import model_validator

from logging_lib.store.port import Store
from logging_lib.watch.http import Call, CallError, HttpClient
from logging_lib.watch.model import Model, fault
from logging_lib.watch.notify.base import (
    TIMEOUT,
    Channel,
    DeliveryError,
    Fetch,
    Notification,
    RenderError,
    Resolution,
    SettingsError,
    Template,
    excerpt,
    hash_id,
    one_line,
    refusal,
    require_https,
)
from logging_lib.watch.templating import Medium, render

ENQUEUE = "https://events.pagerduty.com/v2/enqueue"
KEY = "LOGGING_LIB_PAGERDUTY_KEY"
MAX_SUMMARY, MAX_DEDUP_KEY, MAX_DETAILS = 1024, 255, 256 * 1024
EVENT_TYPES = ("trigger", "resolve", "acknowledge")
SEVERITIES = ("critical", "error", "warning", "info")
_OF_FINDINGS = {"critical": "critical", "high": "error", "medium": "warning", "low": "info"}


class PagerDutyContext(Model):
    """A link or an image beside the alert."""

    type: Literal["link", "image"]
    href: str | None = None
    text: str | None = None
    src: str | None = None
    alt: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> PagerDutyContext:
        wanted, foreign = ("href", ("src", "alt")) if self.type == "link" else ("src", ("text",))
        if getattr(self, wanted) is None or any(getattr(self, name) is not None for name in foreign):
            others = " or ".join(map(repr, foreign))
            raise fault("context", f"of type {self.type}: give {wanted!r}, and no {others}")
        return self


class PagerDutyAction(Model):
    account: str | None = None
    description: str
    event_type: str = "trigger"
    incident_key: str | None = None
    client: str | None = None
    client_url: str | None = None
    attach_payload: bool = False
    contexts: tuple[PagerDutyContext, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _context(cls, value: Any) -> Any:
        if isinstance(value, dict) and "context" in value and "contexts" not in value:  # the key's older name
            return {("contexts" if name == "context" else name): item for name, item in value.items()}
        return value

    @model_validator(mode="after")
    def _known_type(self) -> PagerDutyAction:
        if "{{" not in self.event_type and self.event_type not in EVENT_TYPES:
            raise fault("event_type", f"{self.event_type!r}: write one of {', '.join(EVENT_TYPES)}")
        return self


@dataclass(frozen=True)
class PagerDutyChannel(Channel):
    """The channel of PagerDuty events. A notification's address has ``account`` and ``dedup_key``; its content is
    the event without the routing key.

    Args:
        keys: routing keys by account, as in the variables' names; "" is the default account.

    Raises:
        SettingsError: there is no key, or the address is not https (http only on this machine).
    """

    name = "pagerduty"
    action_type = "pagerduty"
    action_model = PagerDutyAction
    setting = KEY
    takes_text = True
    is_per_incident = True
    unsupported = {"proxy": "set HTTPS_PROXY in the runner's environment"}

    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    url: str = ENQUEUE

    def __post_init__(self) -> None:
        require_https(self.url, "LOGGING_LIB_PAGERDUTY_URL")
        if not self.keys:
            raise SettingsError(f"{KEY}: set it to the integration key of a service")

    # --- what it parses

    @classmethod
    def templates(cls, settings: PagerDutyAction) -> Iterator[Template]:
        for name in ("description", "event_type", "incident_key", "client", "client_url"):
            if (text := getattr(settings, name)) is not None:
                yield (name,), text, Medium.HEADER
        for index, context in enumerate(settings.contexts):
            for name in ("href", "text", "src", "alt"):
                if (text := getattr(context, name)) is not None:
                    yield ("contexts", index, name), text, Medium.HEADER

    @classmethod
    def recipients(cls, settings: PagerDutyAction) -> Sequence[str]:
        return [f"PagerDuty {settings.account or ''}".rstrip()]

    # --- what it renders

    @classmethod
    def render(
        cls, settings: PagerDutyAction, context: Mapping[str, Any], draft: Notification, fetch: Fetch | None
    ) -> list[Notification]:
        def rendered(template: str | None) -> str:
            return "" if template is None else one_line(render(template, context, Medium.HEADER)).strip()

        ctx = context["ctx"]
        action = rendered(settings.event_type)
        if action not in EVENT_TYPES:
            raise RenderError(f"event_type rendered to {action!r:.80}: it is one of {', '.join(EVENT_TYPES)}")
        summary = rendered(settings.description)
        if not summary:
            raise RenderError("the description rendered to nothing, and PagerDuty needs one")
        details = {"payload": ctx.get("payload")} if settings.attach_payload else {}
        severity = ctx.get("metadata", {}).get("severity") or _find_severity(ctx.get("payload"))
        event = _event(action, summary, draft.watch, severity, details)
        extras = [
            {
                name: rendered(getattr(extra, name))
                for name in ("href", "text", "src", "alt")
                if getattr(extra, name)
            }
            for extra in settings.contexts
        ]
        event |= {
            "client": rendered(settings.client),
            "client_url": rendered(settings.client_url),
            "links": [extra for extra in extras if "src" not in extra],
            "images": [extra for extra in extras if "src" in extra],
        }
        address = {"account": settings.account or "", "dedup_key": rendered(settings.incident_key)}
        return [cls._sent(draft, address, event, summary)]

    @classmethod
    def compose(
        cls, draft: Notification, address: Mapping[str, Any], subject: str, text: str
    ) -> Notification:
        event = _event("trigger", one_line(subject), draft.watch, address.get("severity"), {"text": text})
        return cls._sent(draft, address, event, text)

    @classmethod
    def resolve(cls, draft: Notification, address: Mapping[str, Any], resolution: Resolution) -> Notification:
        event = _event("resolve", one_line(resolution.subject), draft.watch, None, {})
        return cls._sent(draft, address, event, "\n".join([*resolution.lines, resolution.footer]))

    @classmethod
    def _sent(
        cls, draft: Notification, address: Mapping[str, Any], event: Mapping[str, Any], text: str
    ) -> Notification:
        account = address.get("account") or ""
        dedup_key = address.get("dedup_key") or incident_key(draft)
        if len(dedup_key) > MAX_DEDUP_KEY:
            dedup_key = hash_id(dedup_key)
        content = {name: value for name, value in event.items() if value} | {"dedup_key": dedup_key}
        return draft.model_copy(
            update={
                "channel": cls.name,
                "subject": event["payload"]["summary"],
                "text": text,
                "address": {"account": account, "dedup_key": dedup_key},
                "recipients": (account,),
                "content": content,
            }
        )

    @classmethod
    def address_of(cls, recipients: Iterable[str], like: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return {"account": next(iter(recipients), "")}

    @classmethod
    def test(cls, draft: Notification, recipient: str, subject: str, text: str) -> Notification:
        address = {"account": recipient, "dedup_key": "logging-lib-notify-test", "severity": "info"}
        return cls.compose(draft, address, subject, text)

    @classmethod
    def preview(cls, notification: Notification) -> str:
        event = notification.content
        head = f"pagerduty {event['event_action']} {event['dedup_key']}"
        return "\n".join([head, f"{event['payload']['severity']}: {notification.subject}"])

    # --- how it is configured, and delivers

    @classmethod
    def configure(cls, environ: Mapping[str, str], store: Store | None = None) -> PagerDutyChannel | None:
        keys = {
            name.removeprefix(KEY).removeprefix("_"): value
            for name, value in environ.items()
            if value and (name == KEY or name.startswith(f"{KEY}_"))
        }
        return cls(keys, environ.get("LOGGING_LIB_PAGERDUTY_URL") or ENQUEUE) if keys else None

    def deliver(self, notification: Notification) -> str:
        account = notification.address.get("account", "")
        variable = re.sub(r"[^A-Z0-9]", "_", account.upper())
        key = self.keys.get(variable)
        if key is None:
            setting = f"{KEY}_{variable}" if variable else KEY
            raise DeliveryError(f"there is no routing key for the account {account!r}: set {setting}")
        call = Call(
            method="POST",
            url=self.url,
            headers={"Content-Type": "application/json"},
            body=json.dumps({"routing_key": key, **notification.content}, default=str),
            connect_timeout=TIMEOUT,
            read_timeout=TIMEOUT,
        )
        try:
            answer = HttpClient.brief()(call)
        except CallError as error:
            raise DeliveryError(f"PagerDuty: {error}", down=True) from None
        if not 200 <= answer.status < 300:
            raise refusal("PagerDuty", answer, key, down=True)
        return f"{answer.status}{excerpt(answer.text, key)}"


def incident_key(draft: Notification) -> str:
    """Return the key of an incident if the watch names none: watch, model, version and feature."""
    parts = (draft.watch, draft.model, draft.version, *draft.features)
    return "/".join(part.replace("/", "%2F") for part in parts).rstrip("/")


def _find_severity(payload: Any) -> str | None:
    """Return the severity of a payload's gravest finding in PagerDuty's words; None if no finding has one."""
    result = payload.get("result", payload) if isinstance(payload, Mapping) else None
    findings = result.get("findings") if isinstance(result, Mapping) else None
    known = [finding.get("severity") for finding in findings or () if isinstance(finding, Mapping)]
    return next((word for name, word in _OF_FINDINGS.items() if name in known), None)


def _event(
    action: str, summary: str, source: str, severity: Any, details: Mapping[str, Any]
) -> dict[str, Any]:
    """Build an event of the API. A severity that PagerDuty does not know becomes critical, as in Watcher."""
    size = len(json.dumps(details, default=str))
    if size > MAX_DETAILS:
        details = {"payload": f"left out: {size} bytes"}
    payload = {
        "summary": summary if len(summary) <= MAX_SUMMARY else summary[: MAX_SUMMARY - 1] + "…",
        "source": source or "logging-lib",
        "severity": severity if severity in SEVERITIES else "critical",
        **({"custom_details": dict(details)} if details else {}),
    }
    return {"event_action": action, "payload": payload}
