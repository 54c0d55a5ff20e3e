"""Incidents: what an alert is about. Pure.

An incident is keyed by (watch, model, version, feature). It is open while its finding is there; throttling
counts from its own last notification by each action, so one model's alert never holds back another's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

Finding = dict[str, Any]
Judged = Callable[[list[Finding]], dict[str, Any]]
KEPT_AFTER_CLOSING = timedelta(days=30)


class Key(NamedTuple):
    """``feature`` is empty for a finding about the whole model, all three are for one about the watch."""

    model: str = ""
    version: str = ""
    feature: str = ""


class Incident(BaseModel):
    """``notified`` holds, by action, when that action last told of it; ``closed_at`` is None while open."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: Key
    opened_at: datetime
    closed_at: datetime | None = None
    notified: dict[str, datetime] = {}


Incidents = Mapping[Key, Incident]


@dataclass(frozen=True)
class Group:
    """The findings of one run about one model version: what one message is about."""

    model: str
    version: str
    findings: tuple[Finding, ...]

    @property
    def keys(self) -> list[Key]:
        return [key_of(finding) for finding in self.findings] or [Key()]


def key_of(finding: Mapping[str, Any]) -> Key:
    """The incident that a finding belongs to, within its watch."""
    return Key(*("" if finding.get(part) is None else str(finding[part]) for part in Key._fields))


def find(payload: Mapping[str, Any]) -> list[Finding] | None:
    """The findings of a payload, at ``findings`` or ``judged.findings``; None when it has no such thing."""
    for place in (payload, payload.get("judged")):
        if isinstance(place, Mapping) and isinstance(place.get("findings"), list):
            findings: list[Finding] = place["findings"]
            return findings
    return None


def skipped(payload: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The model versions that the script did not judge, each with the reason."""
    judged = payload.get("judged")
    return tuple(judged.get("skipped") or ()) if isinstance(judged, Mapping) else ()


def is_judged(payload: Mapping[str, Any]) -> bool:
    """Whether anything was judged: a finding, or more model versions than were skipped."""
    window = payload.get("window")
    models = window.get("aggregations", {}).get("models", {}) if isinstance(window, Mapping) else {}
    buckets = models.get("buckets") if isinstance(models, Mapping) else None
    left_out = sum("model" in each for each in skipped(payload))
    if find(payload) or not isinstance(buckets, list):
        return bool(find(payload)) or not left_out
    return sum(len(model.get("versions", {}).get("buckets", ())) for model in buckets) > left_out


def with_findings(payload: Mapping[str, Any], findings: Iterable[Finding], judged: Judged) -> dict[str, Any]:
    """The payload as it would be had the script found only these; the note of what was skipped stays."""
    at_top = isinstance(payload.get("findings"), list)
    old: Mapping[str, Any] = payload if at_top else payload["judged"]
    new = {**old, **judged(list(findings))}
    if "skipped" in old:
        new["skipped"] = old["skipped"]
    return new if at_top else {**payload, "judged": new}


def split(findings: Iterable[Finding] | None) -> list[Group]:
    """One group a (model, version), in the order of the findings; without findings one group, the watch."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings or ():
        key = key_of(finding)
        groups.setdefault((key.model, key.version), []).append(finding)
    return [Group(*key, tuple(found)) for key, found in groups.items()] or [Group("", "", ())]


def observe(incidents: Incidents, seen: Iterable[Key], now: datetime) -> dict[Key, Incident]:
    """The incidents after a run that saw these: new ones opened, absent ones closed, old closed ones dropped."""
    seen = set(seen)
    after: dict[Key, Incident] = {}
    for key, incident in incidents.items():
        if key in seen:
            reopened = {"opened_at": now, "closed_at": None} if incident.closed_at else {}
            after[key] = incident.model_copy(update=reopened) if reopened else incident
        elif incident.closed_at is None:
            after[key] = incident.model_copy(update={"closed_at": now})
        elif now - incident.closed_at < KEPT_AFTER_CLOSING:
            after[key] = incident
    for key in seen - after.keys():
        after[key] = Incident(key=key, opened_at=now)
    return after


def is_throttled(incidents: Incidents, key: Key, action: str, period: timedelta, now: datetime) -> bool:
    """Whether the action told of this incident less than ``period`` ago."""
    incident = incidents.get(key)
    last = incident.notified.get(action) if incident else None
    return last is not None and now - last < period


def notify(incidents: Incidents, keys: Iterable[Key], action: str, now: datetime) -> dict[Key, Incident]:
    """The incidents after an action told of these keys."""
    after = dict(incidents)
    for key in set(keys):
        incident = after.get(key) or Incident(key=key, opened_at=now)
        after[key] = incident.model_copy(update={"notified": {**incident.notified, action: now}})
    return after
