"""Incidents: what alerts are about, when they open and resolve, and whom an action may notify of them. Pure.

An incident is keyed by (watch, model, version, feature). It opens with its finding and is resolved once the finding
has been absent for a while. Throttling counts from its own last notification by each action, however often it was
resolved since, and an acknowledgment is its own, so one model's alert never holds back another's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, NonNegativeInt

from logging_lib._util.times import parse_duration, parse_instant
from logging_lib.watch.notify.base import Notification
from logging_lib.watch.scripts.common import SEVERITIES

Finding = dict[str, Any]
Summarize = Callable[[list[Finding]], dict[str, Any]]
"""Makes the payload of a script that has found only these."""
KEPT_AFTER_CLOSING = timedelta(days=30)
MIN_QUIET, MAX_QUIET = timedelta(hours=6), timedelta(hours=24)
DOUBLED, GREATER = 2.0, 1.5
"""By what an effect has to exceed the notified one within the throttle period: while open, and after its return.
An effect is measured on a sample: without a margin every second return would count as greater."""
CALM = timedelta(days=7)
"""After so long without a finding an incident that returns is a new one, as far as its throttle goes."""
SETTLING = timedelta(hours=1)
"""For so long after a notification an incident without a window is not compared with it: see ``_has_changed``."""
GRAVER = 2
"""By so many steps a severity has to exceed the notified one, such as from low to high."""
LEADING_RUNS, MAX_LEADING = 3, 3
"""For so many findings in succession a value has to lead before it counts; notified of are so many values."""


class Key(NamedTuple):
    """``feature`` is empty for a finding about the whole model, all three are for one about the watch."""

    model: str = ""
    version: str = ""
    feature: str = ""


def _check_window(window: str) -> str:
    """Return a window that is a duration or empty. Raises ValueError."""
    if window:
        parse_duration(window)
    return window


class Incident(BaseModel):
    """One thing that is, or was, wrong.

    Attributes:
        opened_at: when it was first found.
        absent_since: since when it is not found any more; it is open until it has been absent long enough.
        absent_runs: how many runs in succession did not find it.
        closed_at: when it was resolved; None while open.
        notified: by action, the last notifications of it, one an address: throttling counts from them, and there
            goes the notification that it is resolved; once that was sent their kind is ``resolved``.
        acked_at: since when someone is working on it, until it closes; ``acked_by`` says who.
        acked_actions: the actions that are acknowledged by themselves until it closes; the others go on.
        window, severity, effect: those of its last finding, where it says them.
        leading: the value or bin that leads, and in how many findings in succession it did: ``leading_runs``.
        times_notified: how often it was notified of, with no week of silence between: see ``lengthen_throttle``.
        notified_effect, notified_severity: those that were last notified of.
        notified_leading: the values that were notified of.
        related: the watch whose incident about the same feature said it already, as of the last finding.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: Key
    opened_at: AwareDatetime
    absent_since: AwareDatetime | None = None
    absent_runs: NonNegativeInt = 0
    closed_at: AwareDatetime | None = None
    notified: dict[str, tuple[Notification, ...]] = {}
    acked_at: AwareDatetime | None = None
    acked_by: str = ""
    acked_actions: tuple[str, ...] = ()
    window: Annotated[str, AfterValidator(_check_window)] = ""
    severity: str = ""
    effect: float | None = None
    leading: str = ""
    leading_runs: NonNegativeInt = 0
    times_notified: NonNegativeInt = 0
    notified_effect: float | None = None
    notified_severity: str = ""
    notified_leading: tuple[str, ...] = ()
    related: str = ""


Incidents = Mapping[Key, Incident]


# --- findings of a payload


def key_of(finding: Mapping[str, Any]) -> Key:
    """Return the incident that a finding belongs to, within its watch. Lone surrogates, which no store takes, are
    replaced."""
    parts = ("" if finding.get(part) is None else str(finding[part]) for part in Key._fields)
    return Key(*(part.encode("utf-8", "replace").decode() for part in parts))


def name_incident(watch: str, key: Key) -> str:
    """The incident as one word, for command lines: ``na-spike/loans/1/income``."""
    return "/".join(part.replace("/", "%2F") for part in (watch, *key))


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


def gravest_by_key(findings: Iterable[Finding]) -> dict[Key, Finding]:
    """By incident the finding with the largest effect; without findings an empty one is the watch's."""
    gravest: dict[Key, Finding] = {}
    for finding in findings:
        key = key_of(finding)
        if key not in gravest or (_effect_of(finding) or 0.0) > (_effect_of(gravest[key]) or 0.0):
            gravest[key] = finding
    return gravest or {Key(): {}}


def _effect_of(finding: Finding) -> float | None:
    effect = finding.get("effect")
    return float(effect) if isinstance(effect, int | float) and not isinstance(effect, bool) else None


# --- mutes


class Mute(BaseModel):
    """No notification of what it matches before ``until``. A part that is None matches all; ``*`` is a wildcard."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    until: AwareDatetime
    since: AwareDatetime
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
    """How long a finding must be absent before its incident is resolved: so many runs, or a time.

    Attributes:
        by_window: where the finding said which window flagged it, it must be absent for that window's length, at
            least 6 and at most 24 hours: so long the window can hold events of before.
    """

    runs: int = 3
    quiet: timedelta | None = None
    by_window: bool = True

    def is_resolved(self, runs: int, absent: timedelta, window: str) -> bool:
        quiet = self.quiet
        if quiet is None and self.by_window and window:
            quiet = min(MAX_QUIET, max(MIN_QUIET, parse_duration(window)))
        return runs >= self.runs if quiet is None else absent >= quiet


AT_ONCE = ResolvePolicy(runs=1, by_window=False)


def resolve_policy(metadata: Mapping[str, Any], default: ResolvePolicy) -> ResolvePolicy:
    """Parse ``metadata.recovery_after``: a number of runs, or a time such as ``30m``.

    Raises:
        ValueError: when it is neither.
    """
    value = metadata.get("recovery_after")
    if value is None:
        return default
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return ResolvePolicy(runs=value, by_window=False)
    if isinstance(value, str):
        return ResolvePolicy(quiet=parse_duration(value))
    raise ValueError(f"{value!r}: write a number of runs from 1 on, or a duration such as 30m")


def notifies_of_resolution(metadata: Mapping[str, Any]) -> bool:
    """Return true unless a watch says ``"recovery": false``."""
    return metadata.get("recovery") is not False


def observe(
    incidents: Incidents,
    seen: Mapping[Key, Finding],
    now: datetime,
    policy: ResolvePolicy = AT_ONCE,
    *,
    is_unknown: Callable[[Key], bool] = lambda key: False,
) -> dict[Key, Incident]:
    """Return the incidents after a run that found these: opened, absent, closed; those closed long ago are dropped.

    Args:
        is_unknown: whether the run could not evaluate this one; then it stays as it is.
    """
    after: dict[Key, Incident] = {}
    for key, incident in incidents.items():
        if key in seen:
            after[key] = _mark_present(incident, seen[key], now)
        elif incident.closed_at is not None:
            if now - incident.closed_at < KEPT_AFTER_CLOSING:
                after[key] = incident
        else:
            after[key] = incident if is_unknown(key) else _mark_absent(incident, now, policy)
    for key in seen.keys() - after.keys():
        after[key] = _mark_present(Incident(key=key, opened_at=now), seen[key], now)
    return after


def _mark_present(incident: Incident, finding: Finding, now: datetime) -> Incident:
    leading = str(finding.get("leading") or "")
    changes: dict[str, Any] = {
        "absent_since": None,
        "absent_runs": 0,
        "closed_at": None,
        "window": _window_of(finding),
        "severity": str(finding.get("severity") or ""),
        "effect": _effect_of(finding),
        "leading": leading,
        "leading_runs": incident.leading_runs + 1 if leading == incident.leading else 1,
        "related": "",
    }
    effect, before = changes["effect"], incident.notified_effect
    alerts = [
        receipts[0] for receipts in incident.notified.values() if receipts and receipts[0].kind == "alert"
    ]
    is_new = any(now - alert.created_at < _filling(incident) for alert in alerts)
    if is_new and effect is not None and before is not None:
        changes["notified_effect"] = max(before, effect)
    if incident.closed_at is not None:
        changes["opened_at"] = now
        if now - incident.closed_at >= CALM:
            changes["times_notified"] = 0
    return incident.model_copy(update=changes)


def _window_of(finding: Finding) -> str:
    """The window that flagged a finding; empty where it names none that is a duration."""
    window = finding.get("window")
    try:
        return _check_window(window) if isinstance(window, str) else ""
    except ValueError:
        return ""


def _mark_absent(incident: Incident, now: datetime, policy: ResolvePolicy) -> Incident:
    since, runs = incident.absent_since or now, incident.absent_runs + 1
    changes: dict[str, Any] = {"absent_since": since, "absent_runs": runs}
    if policy.is_resolved(runs, now - since, incident.window):
        changes |= {"closed_at": now, **_NOT_ACKED}
    return incident.model_copy(update=changes)


_NOT_ACKED: Mapping[str, Any] = {"acked_at": None, "acked_by": "", "acked_actions": ()}
Decision = Literal["notify", "muted", "acknowledged", "throttled", "related"]


def decide(
    incidents: Incidents,
    key: Key,
    *,
    watch: str,
    action: str,
    period: timedelta,
    now: datetime,
    longest: timedelta | None = None,
    mutes: Iterable[Mute] = (),
) -> Decision:
    """Return whether an action notifies of an incident, or why not.

    Args:
        period: the throttle period after the first notification.
        longest: that after many; None where it does not lengthen.
    """
    incident = incidents.get(key)
    if is_muted(mutes, now, watch=watch, model=key.model, version=key.version, feature=key.feature):
        return "muted"
    if incident is not None and (incident.acked_at is not None or action in incident.acked_actions):
        return "acknowledged"
    last = incident.notified.get(action) if incident else None
    if incident is None or not last:
        return "notify"
    if now - last[0].created_at >= lengthen_throttle(period, incident.times_notified, longest):
        return "notify"
    return "notify" if _has_changed(incident, last[0], now) else "throttled"


def lengthen_throttle(period: timedelta, times: int, longest: timedelta | None) -> timedelta:
    """Double the throttle period with each notification of the same incident, up to ``longest``.

    Nobody needs to hear every day of what lasts, or returns every afternoon, and has not changed.
    """
    if longest is None or times < 1:
        return period
    doubled: timedelta = period * 2 ** min(times - 1, 30)
    return min(doubled, max(period, longest))


def read_longest_throttle(metadata: Mapping[str, Any]) -> timedelta | None:
    """Parse ``metadata.max_throttle_period``, such as ``7d``; None where a watch has none.

    Raises:
        ValueError: it is no duration.
    """
    value = metadata.get("max_throttle_period")
    return None if value is None else parse_duration(str(value))


def _has_changed(incident: Incident, last: Notification, now: datetime) -> bool:
    """Whether an incident is no longer what was notified of: its effect has grown, or another value leads.

    That is asked only after the length of the window that flagged it, and an effect is compared with the largest of
    the first hours. A fault is found while its first events fill the window, in which its effect rises by itself.

    A value has to lead for some findings in succession, and counts once in an incident, so two that take turns do
    not notify each time; nor do the hundreds of a feature with many values, as only some count at all.
    """
    if now - last.created_at < (parse_duration(incident.window) if incident.window else SETTLING):
        return False
    if incident.notified_severity and _rank(incident.severity) >= _rank(incident.notified_severity) + GRAVER:
        return True
    effect, before = incident.effect, incident.notified_effect
    factor = GREATER if last.kind == "resolved" else DOUBLED
    if effect is not None and before is not None and effect >= before * factor:
        return True
    return (
        bool(incident.leading)
        and incident.leading_runs >= LEADING_RUNS
        and incident.leading not in incident.notified_leading
        and 0 < len(incident.notified_leading) < MAX_LEADING
    )


def _filling(incident: Incident) -> timedelta:
    """For how long after its notification an incident's effect rises as the longer windows fill with it."""
    return max(MIN_QUIET, parse_duration(incident.window)) if incident.window else SETTLING


def is_covered(incident: Incident, other: Incident, notifications: Iterable[Notification]) -> bool:
    """Whether another watch's incident about the same feature says already what these notifications would say.

    So it is while that one is open, is as severe, and whoever would be notified was notified of it. An incident
    that was itself notified of goes on by itself; so does one of a script that says no severity.
    """
    if incident.notified or not incident.severity or not incident.key.feature or other.closed_at is not None:
        return False
    if _rank(other.severity) < _rank(incident.severity):
        return False
    receipts = [receipt for each in other.notified.values() for receipt in each if receipt.kind == "alert"]
    reached = {receipt.recipient for receipt in receipts}
    return all(notification.recipient in reached for notification in notifications)


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else -1


def mark_related(incidents: Incidents, related: Mapping[Key, str]) -> dict[Key, Incident]:
    """The incidents with those of other watches that they belong to, by watch."""
    return {
        **incidents,
        **{key: incidents[key].model_copy(update={"related": related[key]}) for key in related},
    }


def record_notifications(incidents: Incidents, notifications: Iterable[Notification]) -> dict[Key, Incident]:
    """Return the incidents after these notifications were written down.

    A resolution is sent once to whom an alert was sent, and again only after another alert. It ends no throttle.
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
                resolved = [
                    receipt.model_copy(update={"kind": "resolved"})
                    for receipt in incident.notified.get(action, ())
                ]
                after[key] = incident.model_copy(
                    update={"notified": {**incident.notified, action: tuple(resolved)}}
                )
            continue
        incident = incident or Incident(key=key, opened_at=latest[0].created_at)
        distinct = {(receipt.channel, str(receipt.address)): receipt for receipt in reversed(latest)}
        notified = {**incident.notified, action: tuple(reversed(distinct.values()))}
        leading = (incident.leading,) if incident.leading else ()
        moments = {receipt.created_at for receipts_ in incident.notified.values() for receipt in receipts_}
        is_first = latest[0].created_at not in moments  # and not that of another action of the same run
        after[key] = incident.model_copy(
            update={
                "notified": notified,
                "times_notified": incident.times_notified + is_first,
                "notified_effect": incident.effect,
                "notified_severity": incident.severity,
                "notified_leading": tuple(dict.fromkeys((*incident.notified_leading, *leading))),
            }
        )
    return after


def close(incidents: Incidents, key: Key, now: datetime) -> dict[Key, Incident]:
    """The incidents with this one resolved; nobody is notified of that."""
    incident = incidents[key]
    notified = {
        action: tuple(receipt.model_copy(update={"kind": "resolved"}) for receipt in receipts)
        for action, receipts in incident.notified.items()
    }
    closed = {"closed_at": now, **_NOT_ACKED, "notified": notified}
    return {**incidents, key: incident.model_copy(update=closed)}


def is_accepted(finding: Finding, watch: str, accepted: Iterable[Mapping[str, Any]], now: datetime) -> bool:
    """Whether someone accepted a finding, for a profile cannot say that it is expected. What has doubled is new."""
    effect = _effect_of(finding) or 1.0
    return any(
        entry["watch"] == watch
        and entry["feature"] == finding.get("feature")
        and not entry["part"]
        and parse_instant(entry["at"]) <= now
        and effect < DOUBLED * entry["effect"]
        for entry in accepted
    )


def acknowledge(
    incidents: Incidents,
    is_chosen: Callable[[Key], bool],
    now: datetime,
    by: str = "",
    actions: Iterable[str] = (),
) -> tuple[dict[Key, Incident], list[Key]]:
    """Return the incidents after someone took on the open ones that are chosen; and which these are.

    An incident that is not open cannot be acknowledged: nobody would be notified of the next one.

    Args:
        actions: acknowledge only these, of incidents that they notified of; none: all actions.
    """
    wanted = frozenset(actions)
    chosen = [
        key
        for key, incident in incidents.items()
        if incident.closed_at is None and is_chosen(key) and wanted <= incident.notified.keys()
    ]
    acked = {}
    for key in chosen:
        incident = incidents[key]
        change: dict[str, Any] = {"acked_at": now, "acked_by": by}
        if wanted:
            change = {"acked_actions": tuple(sorted(wanted.union(incident.acked_actions)))}
        acked[key] = incident.model_copy(update=change)
    return {**incidents, **acked}, chosen
