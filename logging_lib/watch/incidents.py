"""Incidents: what alerts are about, when they open and resolve, and whom an action may notify of them. Pure.

An incident is keyed by (watch, model, version, feature). It opens with its finding and is resolved once the finding
has been absent for a while. Throttling counts from its own last notification by each action and an acknowledgment
is its own, so one model's alert never holds back another's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from logging_lib._util.times import format_instant, parse_duration
from logging_lib.watch.notify.base import Notification

Finding = dict[str, Any]
Summarize = Callable[[list[Finding]], dict[str, Any]]
"""Makes the payload of a script that has found only these."""
KEPT_AFTER_CLOSING = timedelta(days=30)


class Key(NamedTuple):
    """``feature`` is empty for a finding about the whole model, all three are for one about the watch."""

    model: str = ""
    version: str = ""
    feature: str = ""


class Incident(BaseModel):
    """One thing that is, or was, wrong.

    Attributes:
        opened_at: when it was first found.
        absent_since: since when it is not found any more; it is open until it has been absent long enough.
        absent_runs: how many runs in succession did not find it.
        closed_at: when it was resolved; None while open.
        notified: by action, the last notifications of it, one an address: throttling counts from them, and there
            goes the notification that it is resolved.
        acked_at: since when someone is working on it, until it closes; ``acked_by`` says who.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: Key
    opened_at: datetime
    absent_since: datetime | None = None
    absent_runs: int = 0
    closed_at: datetime | None = None
    notified: dict[str, tuple[Notification, ...]] = {}
    acked_at: datetime | None = None
    acked_by: str = ""


Incidents = Mapping[Key, Incident]


# --- findings of a payload


def key_of(finding: Mapping[str, Any]) -> Key:
    """Return the incident that a finding belongs to, within its watch. Lone surrogates, which no store takes, are
    replaced."""
    parts = ("" if finding.get(part) is None else str(finding[part]) for part in Key._fields)
    return Key(*(part.encode("utf-8", "replace").decode() for part in parts))


def find(payload: Mapping[str, Any]) -> list[Finding] | None:
    """Find the findings of a payload, at ``findings`` or ``result.findings``; None when it has no such thing."""
    for place in (payload, payload.get("result")):
        if isinstance(place, Mapping) and isinstance(place.get("findings"), list):
            findings: list[Finding] = place["findings"]
            return findings
    return None


def skipped_models(payload: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return the model versions that the script could not evaluate, each with the reason."""
    result = payload.get("result")
    return tuple(result.get("skipped") or ()) if isinstance(result, Mapping) else ()


def has_evaluated(payload: Mapping[str, Any]) -> bool:
    """Return whether anything was evaluated: a finding, or more model versions than were skipped."""
    window = payload.get("window")
    models = window.get("aggregations", {}).get("models", {}) if isinstance(window, Mapping) else {}
    buckets = models.get("buckets") if isinstance(models, Mapping) else None
    skipped = sum(["model" in reason for reason in skipped_models(payload)])
    if find(payload):
        return True
    if not isinstance(buckets, list):
        return not skipped
    return sum([len(model.get("versions", {}).get("buckets", ())) for model in buckets]) > skipped


def with_findings(
    payload: Mapping[str, Any], findings: Iterable[Finding], summarize: Summarize
) -> dict[str, Any]:
    """Build the payload as it would be had the script found only these; the note of what was skipped stays."""
    is_at_top = isinstance(payload.get("findings"), list)
    old: Mapping[str, Any] = payload if is_at_top else payload["result"]
    new = {**old, **summarize(list(findings))}
    if "skipped" in old:
        new["skipped"] = old["skipped"]
    return new if is_at_top else {**payload, "result": new}


def by_model_version(findings: Iterable[Finding] | None) -> dict[tuple[str, str], list[Finding]]:
    """Group the findings by (model, version), in their order; without findings there is one group, the watch."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings or ():
        key = key_of(finding)
        groups.setdefault((key.model, key.version), []).append(finding)
    return groups or {("", ""): []}


def keys_of(findings: Iterable[Finding]) -> list[Key]:
    """Return the incidents of one group; without findings it is the watch's."""
    return [key_of(finding) for finding in findings] or [Key()]


# --- mutes


class Mute(BaseModel):
    """No notification of what it matches before ``until``. A part that is None matches all; ``*`` is a wildcard."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    until: datetime
    since: datetime
    watch: str | None = None
    model: str | None = None
    version: str | None = None
    feature: str | None = None
    by: str = ""
    comment: str = ""

    def covers(self, *, watch: str, model: str, version: str, feature: str) -> bool:
        return (
            matches(self.watch, watch)
            and matches(self.model, model)
            and matches(self.version, version)
            and matches(self.feature, feature)
        )

    @property
    def where(self) -> str:
        """What it matches, for people."""
        parts = (("watch", self.watch), ("model", self.model), ("version", self.version))
        return ", ".join(f"{name} {value}" for name, value in (*parts, ("feature", self.feature)) if value)


def matches(pattern: str | None, value: str) -> bool:
    """Return whether a name is the wanted one; ``*`` in the pattern stands for any characters."""
    if pattern is None or pattern == value:
        return True
    # A feature may be called `a[1]`: only the star is a wildcard.
    return "*" in pattern and fnmatchcase(value, pattern.replace("[", "[[]").replace("?", "[?]"))


def is_muted(
    mutes: Iterable[Mute], now: datetime, *, watch: str, model: str, version: str, feature: str
) -> bool:
    return any(
        now < mute.until and mute.covers(watch=watch, model=model, version=version, feature=feature)
        for mute in mutes
    )


def active_mutes(mutes: Iterable[Mute], now: datetime) -> tuple[Mute, ...]:
    return tuple(mute for mute in mutes if now < mute.until)


# --- the course of an incident


@dataclass(frozen=True)
class ResolvePolicy:
    """How long a finding must be absent before its incident is resolved: so many runs, or a time."""

    runs: int = 3
    quiet: timedelta | None = None

    def is_resolved(self, runs: int, absent: timedelta) -> bool:
        return runs >= self.runs if self.quiet is None else absent >= self.quiet


AT_ONCE = ResolvePolicy(runs=1)


def resolve_policy(metadata: Mapping[str, Any], default: ResolvePolicy) -> ResolvePolicy:
    """Parse ``metadata.recovery_after``: a number of runs, or a time such as ``30m``.

    Raises:
        ValueError: when it is neither.
    """
    value = metadata.get("recovery_after")
    if value is None:
        return default
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return ResolvePolicy(runs=value)
    if isinstance(value, str):
        return ResolvePolicy(quiet=parse_duration(value))
    raise ValueError(f"{value!r}: write a number of runs from 1 on, or a duration such as 30m")


def notifies_of_resolution(metadata: Mapping[str, Any]) -> bool:
    """Return true unless a watch says ``"recovery": false``."""
    return metadata.get("recovery") is not False


def observe(
    incidents: Incidents,
    seen: Iterable[Key],
    now: datetime,
    policy: ResolvePolicy = AT_ONCE,
    *,
    is_unknown: Callable[[Key], bool] = lambda key: False,
) -> dict[Key, Incident]:
    """Return the incidents after a run that saw these: opened, absent, closed; those closed long ago are dropped.

    Args:
        is_unknown: whether the run could not evaluate this one; then it stays as it is.
    """
    seen = set(seen)
    after: dict[Key, Incident] = {}
    for key, incident in incidents.items():
        if key in seen:
            after[key] = _mark_present(incident, now)
        elif incident.closed_at is not None:
            if now - incident.closed_at < KEPT_AFTER_CLOSING:
                after[key] = incident
        else:
            after[key] = incident if is_unknown(key) else _mark_absent(incident, now, policy)
    for key in seen - after.keys():
        after[key] = Incident(key=key, opened_at=now)
    return after


def _mark_present(incident: Incident, now: datetime) -> Incident:
    if incident.absent_since is None and incident.closed_at is None:
        return incident
    present = {"absent_since": None, "absent_runs": 0, "closed_at": None}
    return incident.model_copy(update=present | ({"opened_at": now} if incident.closed_at else {}))


def _mark_absent(incident: Incident, now: datetime, policy: ResolvePolicy) -> Incident:
    since, runs = incident.absent_since or now, incident.absent_runs + 1
    changes: dict[str, Any] = {"absent_since": since, "absent_runs": runs}
    if policy.is_resolved(runs, now - since):
        changes |= {"closed_at": now, "acked_at": None, "acked_by": ""}
    return incident.model_copy(update=changes)


Decision = Literal["notify", "muted", "acknowledged", "throttled"]


def decide(
    incidents: Incidents,
    key: Key,
    *,
    watch: str,
    action: str,
    period: timedelta,
    now: datetime,
    mutes: Iterable[Mute] = (),
) -> Decision:
    """Return whether an action notifies of an incident, or why not."""
    incident = incidents.get(key)
    if is_muted(mutes, now, watch=watch, model=key.model, version=key.version, feature=key.feature):
        return "muted"
    if incident is not None and incident.acked_at is not None:
        return "acknowledged"
    last = incident.notified.get(action) if incident else None
    return "throttled" if last and now - last[0].created_at < period else "notify"


def record_notifications(incidents: Incidents, notifications: Iterable[Notification]) -> dict[Key, Incident]:
    """Return the incidents after these notifications were written down.

    Once an incident's resolution was sent it is as if nobody had been notified: should it return, its alert goes
    out however recent the last one is. Who heard that all is well must hear that it is not.
    """
    after = dict(incidents)
    receipts: dict[tuple[Key, str], list[Notification]] = {}
    for notification in notifications:
        receipt = notification.receipt()
        for feature in notification.features:
            key = Key(notification.model, notification.version, feature)
            receipts.setdefault((key, notification.action), []).append(receipt)
    for (key, action), latest in receipts.items():
        incident = after.get(key)
        if latest[0].kind == "resolved":
            if incident is not None:
                remaining = {name: earlier for name, earlier in incident.notified.items() if name != action}
                after[key] = incident.model_copy(update={"notified": remaining})
            continue
        incident = incident or Incident(key=key, opened_at=latest[0].created_at)
        distinct = {(receipt.channel, str(receipt.address)): receipt for receipt in reversed(latest)}
        notified = {**incident.notified, action: tuple(reversed(distinct.values()))}
        after[key] = incident.model_copy(update={"notified": notified})
    return after


def acknowledge(
    incidents: Incidents, is_chosen: Callable[[Key], bool], now: datetime, by: str = ""
) -> tuple[dict[Key, Incident], list[Key]]:
    """Return the incidents after someone took on the open ones that are chosen; and which these are.

    An incident that is not open cannot be acknowledged: nobody would be notified of the next one.
    """
    chosen = [key for key, incident in incidents.items() if incident.closed_at is None and is_chosen(key)]
    acked = {key: incidents[key].model_copy(update={"acked_at": now, "acked_by": by}) for key in chosen}
    return {**incidents, **acked}, chosen


# --- resolutions


def awaiting_resolution(
    incidents: Incidents, now: datetime, *, watch: str, mutes: Collection[Mute] = ()
) -> list[Incident]:
    """Return the closed incidents whose recipients were not notified of that; muted ones wait."""
    return [
        incident
        for key, incident in incidents.items()
        if incident.closed_at is not None
        and incident.notified
        and not is_muted(mutes, now, watch=watch, model=key.model, version=key.version, feature=key.feature)
    ]


def by_address(incidents: Iterable[Incident]) -> list[tuple[Notification, list[Incident]]]:
    """Group what one resolution is about: the incidents of one model version that one action sent to
    one address; with what it sent."""
    groups: dict[tuple[str, ...], tuple[Notification, list[Incident]]] = {}
    for incident in incidents:
        for action, receipts in incident.notified.items():
            for receipt in receipts:
                address = str(sorted(receipt.address.items()))
                key = (action, incident.key.model, incident.key.version, receipt.channel, address)
                groups.setdefault(key, (receipt, []))[1].append(incident)
    return list(groups.values())


def resolution_subject(title: str, incidents: Iterable[Incident]) -> str:
    """Write ``[Resolved] <the watch's title>: <model> <version>: <features>``."""
    keys = [incident.key for incident in incidents]
    about = title + (f": {keys[0].model} {keys[0].version}".rstrip() if keys[0].model else "")
    names = [key.feature for key in keys if key.feature]
    subject = f"[Resolved] {about}" + (f": {', '.join(names[:5])}" if names else "")
    return subject + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def resolution_line(incident: Incident) -> str:
    until = incident.absent_since or incident.closed_at or incident.opened_at
    name = incident.key.feature or incident.key.model or "the condition"
    span = f"since {format_instant(incident.opened_at)} until {format_instant(until)}"
    return f"{name}: {span}, for {format_span(until - incident.opened_at)}"


def format_span(span: timedelta) -> str:
    """Format a span for people: ``3 d 4 h``, ``2 h 5 min``, ``40 s``."""
    seconds = max(0, round(span.total_seconds()))
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds % 3600 // 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{seconds} s"
