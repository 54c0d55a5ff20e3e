"""Incidents: what an alert is about. Pure.

An incident is keyed by (watch, model, version, feature). It opens with its finding and closes once the finding
has been absent for a while. Throttling counts from its own last notification by each action and an
acknowledgment is its own, so one model's alert never holds back another's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from logging_lib.watch.runner.mutes import Mute, is_muted

Finding = dict[str, Any]
Judged = Callable[[list[Finding]], dict[str, Any]]
KEPT_AFTER_CLOSING = timedelta(days=30)


class Key(NamedTuple):
    """``feature`` is empty for a finding about the whole model, all three are for one about the watch."""

    model: str = ""
    version: str = ""
    feature: str = ""


class Told(BaseModel):
    """Who got a message, and its subject: there goes the message that it is over.

    ``to``, ``cc`` and ``bcc`` are a mail's, ``channels`` are Slack's (None: the webhook's own).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["email", "slack"]
    subject: str
    sender: str | None = None
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    channels: tuple[str | None, ...] = ()


class Incident(BaseModel):
    """One thing that is, or was, wrong.

    Attributes:
        opened_at: when it was first found.
        absent_since: since when it is not found any more; it is open until it has been absent long enough.
        absent_runs: how many runs in succession did not find it.
        closed_at: when it closed; None while open.
        notified: by action, when that action last told of it.
        told: by action, who knows of it and has not been told that it is over.
        acked_at: since when somebody has it in hand, until it closes; ``acked_by`` says who.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: Key
    opened_at: datetime
    absent_since: datetime | None = None
    absent_runs: int = 0
    closed_at: datetime | None = None
    notified: dict[str, datetime] = {}
    told: dict[str, Told] = {}
    acked_at: datetime | None = None
    acked_by: str = ""


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
    """The incident that a finding belongs to, within its watch. Lone surrogates, which no store takes, are
    replaced."""
    parts = ("" if finding.get(part) is None else str(finding[part]) for part in Key._fields)
    return Key(*(part.encode("utf-8", "replace").decode() for part in parts))


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
    left_out = sum(["model" in each for each in skipped(payload)])
    if find(payload):
        return True
    if not isinstance(buckets, list):
        return not left_out
    return sum([len(model.get("versions", {}).get("buckets", ())) for model in buckets]) > left_out


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


@dataclass(frozen=True)
class Patience:
    """How long a finding must be absent before its incident closes: so many runs, or a time."""

    runs: int = 3
    quiet: timedelta | None = None

    def is_over(self, runs: int, absent: timedelta) -> bool:
        return runs >= self.runs if self.quiet is None else absent >= self.quiet


AT_ONCE = Patience(runs=1)


def observe(
    incidents: Incidents,
    seen: Iterable[Key],
    now: datetime,
    patience: Patience = AT_ONCE,
    *,
    is_unknown: Callable[[Key], bool] = lambda key: False,
) -> dict[Key, Incident]:
    """The incidents after a run that saw these: opened, absent, closed; those closed long ago are dropped.

    Args:
        is_unknown: whether the run could not judge this one; then it stays as it is.
    """
    seen = set(seen)
    after: dict[Key, Incident] = {}
    for key, incident in incidents.items():
        if key in seen:
            after[key] = _found_again(incident, now)
        elif incident.closed_at is not None:
            if now - incident.closed_at < KEPT_AFTER_CLOSING:
                after[key] = incident
        else:
            after[key] = incident if is_unknown(key) else _absent(incident, now, patience)
    for key in seen - after.keys():
        after[key] = Incident(key=key, opened_at=now)
    return after


def _found_again(incident: Incident, now: datetime) -> Incident:
    if incident.absent_since is None and incident.closed_at is None:
        return incident
    present = {"absent_since": None, "absent_runs": 0, "closed_at": None}
    return incident.model_copy(update=present | ({"opened_at": now} if incident.closed_at else {}))


def _absent(incident: Incident, now: datetime, patience: Patience) -> Incident:
    since, runs = incident.absent_since or now, incident.absent_runs + 1
    changes: dict[str, Any] = {"absent_since": since, "absent_runs": runs}
    if patience.is_over(runs, now - since):
        changes |= {"closed_at": now, "acked_at": None, "acked_by": ""}
    return incident.model_copy(update=changes)


Verdict = Literal["tell", "muted", "acknowledged", "throttled"]


def verdict(
    incidents: Incidents,
    key: Key,
    *,
    watch: str,
    action: str,
    period: timedelta,
    now: datetime,
    mutes: Iterable[Mute] = (),
) -> Verdict:
    """Whether an action tells of an incident, or why not."""
    incident = incidents.get(key)
    if is_muted(mutes, now, watch=watch, model=key.model, version=key.version, feature=key.feature):
        return "muted"
    if incident is not None and incident.acked_at is not None:
        return "acknowledged"
    last = incident.notified.get(action) if incident else None
    return "throttled" if last is not None and now - last < period else "tell"


def notify(
    incidents: Incidents, keys: Iterable[Key], action: str, now: datetime, told: Told | None = None
) -> dict[Key, Incident]:
    """The incidents after an action told of these keys.

    Args:
        told: who was told, where they are to hear of the recovery.
    """
    after = dict(incidents)
    for key in set(keys):
        incident = after.get(key) or Incident(key=key, opened_at=now)
        changes: dict[str, Any] = {"notified": {**incident.notified, action: now}}
        if told is not None:
            changes["told"] = {**incident.told, action: told}
        after[key] = incident.model_copy(update=changes)
    return after


def acknowledge(
    incidents: Incidents, matches: Callable[[Key], bool], now: datetime, by: str = ""
) -> tuple[dict[Key, Incident], list[Key]]:
    """The incidents after somebody took the open ones that match in hand; and which these are.

    An incident that is not open cannot be acknowledged: the next one would pass unheard.
    """
    chosen = [key for key, each in incidents.items() if each.closed_at is None and matches(key)]
    acked = {key: incidents[key].model_copy(update={"acked_at": now, "acked_by": by}) for key in chosen}
    return {**incidents, **acked}, chosen


def over(incidents: Incidents, now: datetime, *, watch: str, mutes: Iterable[Mute] = ()) -> list[Incident]:
    """The closed incidents of which somebody still has to hear that they are over; muted ones wait."""
    mutes = list(mutes)
    return [
        incident
        for key, incident in incidents.items()
        if incident.closed_at is not None
        and incident.told
        and not is_muted(mutes, now, watch=watch, model=key.model, version=key.version, feature=key.feature)
    ]


def recovered(incidents: Incidents, keys: Iterable[Key], action: str) -> dict[Key, Incident]:
    """The incidents after an action told that these are over. Should one return it is told anew, however
    lately it was told before: who heard that all is well must hear that it is not."""
    after = dict(incidents)
    for key in set(keys) & after.keys():
        incident = after[key]
        changes = {
            "told": {name: told for name, told in incident.told.items() if name != action},
            "notified": {name: at for name, at in incident.notified.items() if name != action},
        }
        after[key] = incident.model_copy(update=changes)
    return after
