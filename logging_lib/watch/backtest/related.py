"""Drop those alerts of a backtest that another watch's incident about the same feature already reported.

A replay runs each watch separately, in its own process; live, all watches of a runner see each other's incidents
(``incidents.is_covered``). The alerts that are dropped here count as notified in the replay, so they are throttled:
if the other incident ends first, a live runner would notify at the next run, but the replay only after the throttle
period.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from logging_lib.watch.findings import Key, gravest_by_key
from logging_lib.watch.incidents import Incident, is_covered
from logging_lib.watch.notify.base import Notification
from logging_lib.watch.results import Alert

Courses = dict[tuple[str, Key], dict[datetime, datetime | None]]
"""The times at which incidents opened and the times at which they closed, by watch and key."""


Scheduled = tuple[datetime, Alert]
"""An alert with the scheduled time of its run."""


def drop_related(alerts: Iterable[Scheduled], courses: Courses) -> list[Scheduled]:
    """Return the alerts, which are in the order of time, without the covered ones."""
    notified = _Notified(courses)
    kept: list[Scheduled] = []
    for scheduled, alert in alerts:
        findings = gravest_by_key(alert.findings)
        uncovered = []
        for notification in alert.notifications:
            keys = [Key(alert.model, alert.version, feature) for feature in notification.features]
            incidents = {
                key: Incident(
                    key=key, opened_at=alert.time, severity=str(findings.get(key, {}).get("severity") or "")
                )
                for key in keys
            }
            left = [
                key
                for key in keys
                if not notified.covers(alert.watch, incidents[key], notification, alert.time)
            ]
            if left or not keys:
                uncovered.append(
                    notification.model_copy(update={"features": tuple(key.feature for key in left)})
                )
            for key in left:
                notified.add(alert.watch, incidents[key], notification)
        if uncovered:
            kept.append((scheduled, replace(alert, notifications=tuple(uncovered))))
    return kept


@dataclass
class _Notified:
    """The incidents that were notified, by feature and watch."""

    courses: Courses
    incidents: dict[Key, dict[str, Incident]] = field(default_factory=dict)

    def covers(self, watch: str, incident: Incident, notification: Notification, now: datetime) -> bool:
        by_watch = self.incidents.get(incident.key, {})
        own = by_watch.get(watch)
        if own is not None and self._is_open(watch, own, now):
            return False
        return any(
            is_covered(incident, other, [notification])
            for name, other in by_watch.items()
            if name != watch and self._is_open(name, other, now)
        )

    def add(self, watch: str, incident: Incident, notification: Notification) -> None:
        by_watch = self.incidents.setdefault(incident.key, {})
        before = by_watch.get(watch)
        receipts: Mapping[str, tuple[Notification, ...]] = before.notified if before is not None else {}
        latest = {**receipts, notification.action: (notification.receipt(),)}
        by_watch[watch] = incident.model_copy(update={"notified": latest})

    def _is_open(self, watch: str, incident: Incident, now: datetime) -> bool:
        """Return whether the incident that was open at its last alert is still open."""
        course = self.courses.get((watch, incident.key), {})
        began = max((opened for opened in course if opened <= incident.opened_at), default=None)
        closed = course[began] if began is not None else None
        return closed is None or now < closed
