"""What the runner reports of its work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from logging_lib._util.times import format_instant
from logging_lib.watch.runner.incidents import key_of

Status = Literal[
    "executed",
    "throttled",
    "acknowledged",
    "muted",
    "condition_failed",
    "failed",
    "not_configured",
    "would_send",
]


@dataclass(frozen=True)
class ActionResult:
    """What became of one action, in the words of Watcher's watch record.

    ``not_configured``: the runner has no outlet of this kind; nothing was lost, the incident counts as not
    yet told. ``would_send``: of a dry run. ``features`` are those that the message is about, "" for the model or
    watch as a whole.
    """

    status: Status
    reason: str = ""
    subject: str = ""
    features: tuple[str, ...] = ()

    def with_status(self, status: Status, reason: str = "") -> ActionResult:
        return replace(self, status=status, reason=reason)


@dataclass(frozen=True)
class Alert:
    """One group of findings, those of one model version in one run, and what its actions did with it."""

    time: datetime
    watch: str
    title: str
    model: str
    version: str
    findings: tuple[dict[str, Any], ...]
    actions: Mapping[str, ActionResult]

    def with_actions(self, actions: Mapping[str, ActionResult]) -> Alert:
        return replace(self, actions=actions)

    @property
    def performed(self) -> bool:
        """Whether anybody was told, or should have been."""
        return any(result.status in ("executed", "failed", "would_send") for result in self.actions.values())

    @property
    def unheard(self) -> bool:
        """Whether nobody can hear of it: all its actions have no outlet."""
        return {r.status for r in self.actions.values()} - {"condition_failed"} == {"not_configured"}

    @property
    def features(self) -> tuple[str, ...]:
        """The features that any action told of; all of the group's when none did."""
        return tuple(dict.fromkeys(name for f in self.told if (name := key_of(f).feature)))

    @property
    def told(self) -> tuple[dict[str, Any], ...]:
        """The findings that any action told of; all of the group's when none did."""
        told = {name for result in self.actions.values() for name in result.features}
        return tuple(f for f in self.findings if key_of(f).feature in told) or self.findings

    @property
    def subject(self) -> str:
        return next((result.subject for result in self.actions.values() if result.subject), self.title)

    def document(self) -> dict[str, Any]:
        """The alert as JSON."""
        return {
            "time": format_instant(self.time),
            "watch": self.watch,
            "model": self.model,
            "version": self.version,
            "features": list(self.features),
            "subject": self.subject,
            "findings": list(self.told),
            "actions": {
                name: {"status": result.status, **({"reason": result.reason} if result.reason else {})}
                for name, result in self.actions.items()
            },
        }


@dataclass(frozen=True)
class Resolved:
    """A message that incidents are over, by one action; ``delivered``: it has arrived."""

    watch: str
    action: str
    model: str
    version: str
    features: tuple[str, ...]
    subject: str
    delivered: bool = False

    def with_result(self, delivered: bool) -> Resolved:
        return replace(self, delivered=delivered)


@dataclass(frozen=True)
class WatchRun:
    """One run of one watch. ``error`` is set when it could not be judged; then nothing is known of it.

    ``skipped`` are the model versions that could not be judged, ``judged`` whether anything else was;
    ``unwritten`` says why the alerts are not in the file of alerts. ``seconds`` are those of the evaluation.
    """

    watch: str
    time: datetime
    met: bool = False
    error: str | None = None
    alerts: tuple[Alert, ...] = ()
    skipped: tuple[dict[str, Any], ...] = ()
    judged: bool = True
    unwritten: str = ""
    resolved: tuple[Resolved, ...] = ()
    seconds: float = 0.0

    def finished(self, alerts: Iterable[Alert], resolved: Iterable[Resolved], seconds: float) -> WatchRun:
        return replace(self, alerts=tuple(alerts), resolved=tuple(resolved), seconds=seconds)

    def with_unwritten(self, reason: str) -> WatchRun:
        return replace(self, unwritten=reason)

    def document(self) -> dict[str, Any]:
        return {
            "watch": self.watch,
            "time": format_instant(self.time),
            "status": "failed" if self.error else "ok",
            **({"error": self.error} if self.error else {}),
            "condition_met": self.met,
            "alerts": [alert.document() for alert in self.alerts],
            "resolved": [vars(each) for each in self.resolved],
            "skipped": list(self.skipped),
            **({"unwritten": self.unwritten} if self.unwritten else {}),
        }


@dataclass(frozen=True)
class Retry:
    """A message of an earlier run that was tried again. ``reason`` says why it failed once more."""

    watch: str
    action: str
    subject: str
    delivered: bool
    attempts: int
    reason: str = ""


@dataclass(frozen=True)
class Report:
    """All that one call of the runner did."""

    time: datetime
    runs: tuple[WatchRun, ...] = ()
    retries: tuple[Retry, ...] = ()

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """The alerts that somebody was told of, or should have been."""
        return tuple(alert for run in self.runs for alert in run.alerts if alert.performed)

    @property
    def blind(self) -> bool:
        """Whether nothing was judged, since every model version was skipped."""
        return any(run.skipped for run in self.runs) and not any(run.judged for run in self.runs)

    @property
    def ok(self) -> bool:
        """No failed run or delivery, nothing unsaid for want of an outlet, and not blind."""
        every = [alert for run in self.runs for alert in run.alerts]
        failed = any(result.status == "failed" for alert in every for result in alert.actions.values())
        return not (
            failed
            or self.blind
            or any(run.unwritten for run in self.runs)
            or any(run.error for run in self.runs)
            or any(alert.unheard for alert in every)
            or any(not retry.delivered for retry in self.retries)
        )

    def document(self) -> dict[str, Any]:
        return {
            "time": format_instant(self.time),
            "ok": self.ok,
            "runs": [run.document() for run in self.runs],
            "retries": [vars(retry) for retry in self.retries],
        }
