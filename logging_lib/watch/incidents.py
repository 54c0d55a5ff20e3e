"""Decide when incidents open and resolve, and whom an action may notify of them. All functions are pure.

An incident is keyed by (watch, model, version, feature). It opens with its finding and is resolved once the finding
has been absent for a while. For each action, throttling counts from the incident's own last notification, however
often it has been resolved since. Acknowledgments are also per incident, so one model's alert never holds back
another's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, NonNegativeInt

from logging_lib._util.times import parse_duration
from logging_lib.watch.findings import DOUBLED, Finding, Key, effect_of
from logging_lib.watch.notify.base import Notification
from logging_lib.watch.scripts.common import SEVERITIES

KEPT_AFTER_CLOSING = timedelta(days=30)
MIN_QUIET, MAX_QUIET = timedelta(hours=6), timedelta(hours=24)
GREATER = 1.5
"""The factor by which an effect has to exceed the notified one within the throttle period, after its incident has
returned. An effect is measured on a sample, so without a margin every second return would count as greater."""
CALM = timedelta(days=7)
"""An incident that returns after this time without a finding is throttled like a new one."""
SETTLING = timedelta(hours=1)
"""For this time after a notification, an incident without a window is not compared with it: see
``_has_changed``."""
GRAVER = 2
"""The number of steps by which a severity has to exceed the notified one, such as from low to high."""
LEADING_RUNS, MAX_LEADING = 3, 3
"""The number of consecutive findings in which a value has to lead before it counts, and the largest number of such
values that are notified."""


def _check_window(window: str) -> str:
    """Return a window that is a duration or empty. Raises ValueError."""
    if window:
        parse_duration(window)
    return window


class Incident(BaseModel):
    """A fault that exists or existed.

    Attributes:
        opened_at: when it was first found.
        absent_since: when it was first no longer found; it stays open until it has been absent long enough.
        absent_runs: how many consecutive runs have not found it.
        closed_at: when it was resolved; None while open.
        notified: by action, the last notifications of it, one per address: throttling counts from them, and the
            resolution is sent to them; once it has been sent, their kind is ``resolved``.
        acked_at: when someone started to work on it; kept until it closes. ``acked_by`` says who.
        acked_actions: the actions that are acknowledged individually until it closes; the others continue.
        window, severity, effect: those of its last finding, if it states them.
        leading: the leading value or bin; ``leading_runs`` is the number of consecutive findings that it has led.
        times_notified: the number of notifications without a week of silence between: see ``lengthen_throttle``.
        notified_effect, notified_severity: those of the last notification.
        notified_leading: the values of which a notification was sent.
        related: the watch whose incident about the same feature already reported it, as of the last finding.
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


# --- mutes


class Mute(BaseModel):
    """A mute: incidents that match it do not notify before ``until``. None matches all; ``*`` is a wildcard."""

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
        """Describe what the mute matches, for people."""
        parts = (("watch", self.watch), ("model", self.model), ("version", self.version))
        return ", ".join(f"{name} {value}" for name, value in (*parts, ("feature", self.feature)) if value)


def matches(pattern: str | None, value: str) -> bool:
    """Return whether a name matches a pattern, in which ``*`` stands for any characters."""
    if pattern is None or pattern == value:
        return True
    # A feature may be called `a[1]`, so only the star is a wildcard.
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
    """How long a finding must be absent before its incident is resolved: a number of runs, or a duration.

    Attributes:
        by_window: if the finding names the window that flagged it, it must be absent for that window's length, but
            for at least 6 and at most 24 hours: until then the window may contain events from before the fix.
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
    """Parse ``metadata.recovery_after``: a number of runs, or a duration such as ``30m``.

    Raises:
        ValueError: it is neither.
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
    """Return the incidents after a run with these findings: opened, absent or closed; drop those closed long ago.

    Args:
        is_unknown: whether the run could not evaluate an incident, which then stays unchanged.
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
        "effect": effect_of(finding),
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
    """Return the window that flagged a finding; empty if the finding names none that is a duration."""
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
        longest: the throttle period after many notifications; None if it does not lengthen.
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

    Nobody needs a daily notification of an incident that lasts, or returns every afternoon, and has not changed.
    """
    if longest is None or times < 1:
        return period
    doubled: timedelta = period * 2 ** min(times - 1, 30)
    return min(doubled, max(period, longest))


def read_longest_throttle(metadata: Mapping[str, Any]) -> timedelta | None:
    """Parse ``metadata.max_throttle_period``, such as ``7d``; None if a watch has none.

    Raises:
        ValueError: it is not a duration.
    """
    value = metadata.get("max_throttle_period")
    return None if value is None else parse_duration(str(value))


def _has_changed(incident: Incident, last: Notification, now: datetime) -> bool:
    """Return whether an incident has changed since its last notification: its effect has grown, or another value
    leads.

    A change counts only after the length of the window that flagged the incident, and the effect is compared with
    the largest of the first hours. A fault is found while its first events fill the window, and meanwhile its
    effect rises by itself.

    A value has to lead in several consecutive findings, and it counts once per incident, so two values that take
    turns do not notify each time. Neither do the hundreds of values of a feature with many, because only some of
    them count.
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
    """Return for how long after its notification an incident's effect rises because longer windows fill with it."""
    return max(MIN_QUIET, parse_duration(incident.window)) if incident.window else SETTLING


def is_covered(incident: Incident, other: Incident, notifications: Iterable[Notification]) -> bool:
    """Return whether another watch's incident about the same feature already says what these notifications would
    say.

    This holds while the other incident is open and at least as severe, and everyone who would be notified was
    notified of it. An incident that has itself notified someone is not covered; nor is one whose script reports no
    severity.
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
    """Return the incidents, marked with the watches whose incidents they belong to."""
    return {
        **incidents,
        **{key: incidents[key].model_copy(update={"related": related[key]}) for key in related},
    }


def record_notifications(incidents: Incidents, notifications: Iterable[Notification]) -> dict[Key, Incident]:
    """Return the incidents after these notifications were recorded.

    A resolution is sent once to each recipient of an alert, and again only after another alert. It does not end the
    throttle period.
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
        is_first = latest[0].created_at not in moments  # not another action's, of the same run
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
    """Return the incidents with this one resolved, without notifying anyone."""
    incident = incidents[key]
    notified = {
        action: tuple(receipt.model_copy(update={"kind": "resolved"}) for receipt in receipts)
        for action, receipts in incident.notified.items()
    }
    closed = {"closed_at": now, **_NOT_ACKED, "notified": notified}
    return {**incidents, key: incident.model_copy(update=closed)}


def acknowledge(
    incidents: Incidents,
    is_chosen: Callable[[Key], bool],
    now: datetime,
    by: str = "",
    actions: Iterable[str] = (),
) -> tuple[dict[Key, Incident], list[Key]]:
    """Acknowledge the chosen open incidents; return all incidents after that, and the keys of the acknowledged
    ones.

    An incident that is not open cannot be acknowledged: nobody would be notified of the next one.

    Args:
        actions: acknowledge only these actions, for incidents that they notified of; if empty, all actions.
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
