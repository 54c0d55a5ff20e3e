"""What the runner reports: its work, the lines of its history, and that incidents are resolved."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from logging_lib._util.formatting import join_names
from logging_lib._util.text import one_line, shorten
from logging_lib._util.times import format_duration, format_instant
from logging_lib.profile.model import PREDICTION
from logging_lib.watch.findings import Finding, Key, key_of
from logging_lib.watch.incidents import Decision, Incident, Incidents, Mute, is_muted
from logging_lib.watch.notify.base import Notification, Resolution, ResolvedIncident, Status
from logging_lib.watch.scripts.common import name_version
from logging_lib.watch.scripts.formatting import format_span, format_time
from logging_lib.watch.state.base import Record

_MAX_REASON = 1000
_PERFORMED = frozenset({"executed", "failed", "would_send"})


@dataclass(frozen=True)
class Alert:
    """The findings of one run about one model version, and the outcome of each of the watch's actions."""

    time: datetime
    watch: str
    title: str
    model: str
    version: str
    findings: tuple[Finding, ...]
    notifications: tuple[Notification, ...] = ()

    @property
    def actions(self) -> dict[str, Notification]:
        """Return the outcome of each action: its first notification, marked as failed if any of them failed."""
        groups: dict[str, list[Notification]] = {}
        for notification in self.notifications:
            groups.setdefault(notification.action, []).append(notification)
        return {name: _combined(group) for name, group in groups.items()}

    @property
    def is_performed(self) -> bool:
        """Return whether anybody was notified, or should have been."""
        return any(notification.status in _PERFORMED for notification in self.notifications)

    @property
    def is_unheard(self) -> bool:
        """Return whether nobody can be notified, because no channel of its actions is configured."""
        return {notification.status for notification in self.notifications} - {"condition_failed"} == {
            "not_configured"
        }

    @property
    def features(self) -> tuple[str, ...]:
        """Return the features that any action notified of, or all features of the group if none did."""
        return tuple(dict.fromkeys(name for f in self.findings_sent if (name := key_of(f).feature)))

    @property
    def findings_sent(self) -> tuple[Finding, ...]:
        """Return the findings that any action notified of, or all findings of the group if none did."""
        sent = {feature for notification in self.notifications for feature in notification.features}
        return tuple(f for f in self.findings if key_of(f).feature in sent) or self.findings

    @property
    def subject(self) -> str:
        return next((sent.subject for sent in self.notifications if sent.subject), self.title)

    def document(self) -> dict[str, Any]:
        """Return the alert as JSON."""
        return {
            "time": format_instant(self.time),
            "watch": self.watch,
            "model": self.model,
            "version": self.version,
            "features": list(self.features),
            "subject": self.subject,
            "findings": list(self.findings_sent),
            "actions": {
                name: {"status": result.status, **({"reason": result.reason} if result.reason else {})}
                for name, result in self.actions.items()
            },
        }

    def record(self) -> Record:
        return {
            "time": format_instant(self.time),
            "kind": "alert",
            "watch": self.watch,
            "model": self.model,
            "version": self.version,
            "features": list(self.features),
            "subject": self.subject,
            "actions": {name: result.status for name, result in self.actions.items()},
        }


def _combined(notifications: list[Notification]) -> Notification:
    failed = [notification for notification in notifications if notification.status == "failed"]
    if not failed:
        return notifications[0]
    return notifications[0].with_status(
        "failed", "; ".join(dict.fromkeys(notification.reason for notification in failed))
    )


def report_suppressed(
    watch_id: str, now: datetime, action: str, decisions: Mapping[Key, Decision], period: timedelta
) -> Notification:
    """Report that an action notifies of none of these incidents; the report is never stored and has no id."""
    reasons, reason = set(decisions.values()), ""
    status: Status = "acknowledged" if "acknowledged" in reasons else "muted"
    if "related" in reasons:
        status, reason = "related", "another watch notified of the same feature"
    if "throttled" in reasons:
        status, reason = "throttled", f"notified less than {format_duration(period)} ago"
    model, version, _ = next(iter(decisions))
    return Notification(
        id="",
        watch=watch_id,
        action=action,
        model=model,
        version=version,
        created_at=now,
        status=status,
        reason=reason,
    )


def report_unsent(draft: Notification, status: Status, reason: str = "") -> Notification:
    """Report that an action sends nothing; the report is about no feature."""
    return draft.model_copy(update={"status": status, "reason": reason, "features": ()})


@dataclass
class WatchRun:
    """One run of one watch. Its notifications are delivered later; ``finish`` then adds their outcomes.

    Attributes:
        scheduled: the scheduled time of the run; ``time`` is when it was run.
        error: set if the watch could not be evaluated; then nothing is known about its findings.
        skipped: the model versions that could not be evaluated. ``evaluated`` says whether any other was.
        resolved: notifications that incidents are resolved.
        warnings: possible errors in the findings of a run that did not fail.
        unwritten: why the alerts are not in the file of alerts.
        seconds: the duration of the evaluation.
    """

    watch: str
    time: datetime
    scheduled: datetime
    met: bool = False
    error: str | None = None
    alerts: tuple[Alert, ...] = ()
    skipped: tuple[dict[str, Any], ...] = ()
    evaluated: bool = True
    warnings: tuple[str, ...] = ()
    unwritten: str = ""
    resolved: tuple[Notification, ...] = ()
    seconds: float = 0.0
    queued: tuple[Notification, ...] = field(default=(), repr=False)

    def finish(self, outcomes: Mapping[str, Notification], executed: Status) -> None:
        """Replace the queued notifications by their outcomes, by id.

        Args:
            executed: the status of delivered notifications; ``would_send`` in a dry run.
        """
        waiting = {notification.id for notification in self.queued}

        def outcome(notification: Notification) -> Notification:
            if notification.id not in waiting:
                return notification
            result = outcomes.get(notification.id)
            if result is None:
                return notification.with_status("failed", "it waits to be delivered")
            if result.is_delivered:
                return notification.with_status(executed)
            return notification.with_status("failed", result.reason)

        self.alerts = tuple(
            replace(alert, notifications=tuple(map(outcome, alert.notifications))) for alert in self.alerts
        )
        self.resolved = tuple(map(outcome, self.resolved))

    def document(self) -> dict[str, Any]:
        return {
            "watch": self.watch,
            "time": format_instant(self.time),
            "status": "failed" if self.error else "ok",
            **({"error": self.error} if self.error else {}),
            "condition_met": self.met,
            "alerts": [alert.document() for alert in self.alerts],
            "resolved": [_resolved(self.watch, notification) for notification in self.resolved],
            "skipped": list(self.skipped),
            **({"warnings": list(self.warnings)} if self.warnings else {}),
            **({"unwritten": self.unwritten} if self.unwritten else {}),
        }

    def records(self) -> Iterator[Record]:
        """Yield the lines of the history about the run and its alerts."""
        yield {
            "time": format_instant(self.time),
            "kind": "run" if self.error or self.met else "quiet",
            "watch": self.watch,
            "status": "failed" if self.error else "met" if self.met else "quiet",
            "seconds": round(self.seconds, 3),
            **({"reason": self.error[:_MAX_REASON]} if self.error else {}),
        }
        yield from (alert.record() for alert in self.alerts if alert.is_performed)


def _resolved(watch: str, notification: Notification) -> dict[str, Any]:
    return {
        "watch": watch,
        "action": notification.action,
        "model": notification.model,
        "version": notification.version,
        "features": [feature for feature in notification.features if feature],
        "subject": notification.subject,
        "delivered": notification.status in ("executed", "would_send"),
    }


@dataclass(frozen=True)
class RunReport:
    """The work of one call of the runner. ``retries`` are notifications of earlier runs that were retried."""

    time: datetime
    runs: tuple[WatchRun, ...] = ()
    retries: tuple[Notification, ...] = ()

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """Return the alerts that somebody was notified of, or should have been."""
        return tuple(alert for run in self.runs for alert in run.alerts if alert.is_performed)

    @property
    def is_blind(self) -> bool:
        """Return whether nothing was evaluated, because every model version was skipped."""
        return any(run.skipped for run in self.runs) and not any(run.evaluated for run in self.runs)

    @property
    def ok(self) -> bool:
        """Return whether no run or delivery failed, no alert lacked a channel, and the call was not blind."""
        alerts = [alert for run in self.runs for alert in run.alerts]
        notifications = [notification for alert in alerts for notification in alert.notifications]
        return not (
            any(notification.status == "failed" for notification in notifications)
            or self.is_blind
            or any(run.unwritten for run in self.runs)
            or any(run.error for run in self.runs)
            or any(alert.is_unheard for alert in alerts)
            or any(not retry.is_delivered for retry in self.retries)
        )

    def document(self) -> dict[str, Any]:
        return {
            "time": format_instant(self.time),
            "ok": self.ok,
            "runs": [run.document() for run in self.runs],
            "retries": [
                {
                    "watch": retry.watch,
                    "action": retry.action,
                    "subject": retry.subject,
                    "delivered": retry.is_delivered,
                    "attempts": retry.attempts,
                    "reason": retry.reason,
                }
                for retry in self.retries
            ],
        }


def delivery_records(outcomes: Iterable[Notification], now: datetime) -> Iterator[Record]:
    """Yield the lines of the history about each attempt at a delivery."""
    for outcome in outcomes:
        status = {"executed": "delivered", "given_up": "given up"}.get(outcome.status, "failed")
        yield {
            "time": format_instant(now),
            "kind": "delivery",
            "watch": outcome.watch,
            "model": outcome.model,
            "version": outcome.version,
            "action": outcome.action,
            "about": outcome.kind,
            "subject": outcome.subject,
            "status": status,
            "attempts": outcome.attempts,
            **({"reason": outcome.reason[:_MAX_REASON]} if outcome.reason and status != "delivered" else {}),
            **({"sent_by": outcome.sent_by} if outcome.sent_by else {}),
            **({"digest_of": outcome.digest_of} if outcome.digest_of > 1 else {}),
        }


# -- resolutions: who is still to be notified of the end of an incident, and what that notification says

MAX_FEATURES = 3


def awaiting_resolution(
    incidents: Incidents, now: datetime, *, watch: str, mutes: Collection[Mute] = ()
) -> list[Incident]:
    """Return the closed incidents whose recipients were not notified of the resolution; muted ones wait."""
    return [
        incident
        for key, incident in incidents.items()
        if incident.closed_at is not None
        and any(receipt.kind == "alert" for receipts in incident.notified.values() for receipt in receipts)
        and not is_muted(mutes, now, watch=watch, model=key.model, version=key.version, feature=key.feature)
    ]


def by_address(incidents: Iterable[Incident]) -> list[tuple[Notification, list[Incident]]]:
    """Group incidents into one group per resolution notification: those of one model version that one action sent
    to one address, with the notification that it sent."""
    groups: dict[tuple[str, ...], tuple[Notification, list[Incident]]] = {}
    for incident in incidents:
        for action, receipts in incident.notified.items():
            for receipt in receipts:
                if receipt.kind != "alert":
                    continue
                address = str(sorted(receipt.address.items()))
                key = (action, incident.key.model, incident.key.version, receipt.channel, address)
                groups.setdefault(key, (receipt, []))[1].append(incident)
    return list(groups.values())


def is_address_open(receipt: Notification, incidents: Iterable[Incident]) -> bool:
    """Return whether another incident at the same address is still open."""
    return any(
        sibling.channel == receipt.channel and sibling.address == receipt.address
        for incident in incidents
        if incident.closed_at is None
        for sibling in incident.notified.get(receipt.action, ())
        if sibling.kind == "alert"
    )


def build_resolution(
    title: str, watch_id: str, incidents: Iterable[Incident], alerts: Iterable[str], now: datetime
) -> Resolution:
    """Describe the end of incidents of one model version.

    Args:
        title: the watch's title.
        alerts: the subjects of the alerts that were sent about them.
    """
    incidents = list(incidents)
    keys = [incident.key for incident in incidents]
    return Resolution(
        title=title,
        model=one_line(name_version(keys[0].model, keys[0].version)),
        features=join_names([_name_feature(key.feature) for key in keys if key.feature], MAX_FEATURES),
        incidents=[_describe(incident) for incident in incidents],
        alerts=list(dict.fromkeys(map(one_line, alerts))),
        footer=f"Watch {watch_id}, checked at {format_time(format_instant(now))}",
    )


def _describe(incident: Incident) -> ResolvedIncident:
    until = incident.absent_since or incident.closed_at or incident.opened_at
    return ResolvedIncident(
        name=_name_feature(incident.key.feature) or shorten(incident.key.model) or "The condition",
        duration=format_span((until - incident.opened_at).total_seconds()),
        since=format_time(format_instant(incident.opened_at)),
        until=format_time(format_instant(until)),
    )


def _name_feature(feature: str) -> str:
    return "prediction" if feature == PREDICTION else shorten(feature)
