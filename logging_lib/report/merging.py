"""Merge the alerts of a period that have one cause, and rank what is left. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from logging_lib._util.times import parse_instant
from logging_lib.report.model import SEVERITIES, Finding, ReportedAlert, Severity
from logging_lib.watch.model import Watch

REPEATED: Final = timedelta(hours=48)
"""Alerts further apart than this belong to two incidents: an open one notifies once per day."""
PREDICTION: Final = "(prediction)"
_NOT_THERE: Final = frozenset({"missing", "absent"})


class _Cause(NamedTuple):
    """The cause of alerts. ``kind``: ``values`` or ``missing`` for an input, otherwise the watch's id."""

    version: str
    kind: str
    feature: str


@dataclass
class _Incident:
    """The alerts with one cause, each within ``REPEATED`` of the one before."""

    cause: _Cause
    first: tuple[datetime, str]
    times: list[datetime] = field(default_factory=list)
    findings: dict[str, Finding] = field(default_factory=dict)
    subjects: dict[str, str] = field(default_factory=dict)

    def add(self, watch: str, moment: datetime, subject: str, finding: Finding) -> None:
        self.times.append(moment)
        self.subjects.setdefault(watch, subject)
        if watch not in self.findings or _weight(finding) > _weight(self.findings[watch]):
            self.findings[watch] = finding


def read_severity(finding: Mapping[str, Any]) -> Severity:
    """Return a finding's severity; ``medium`` if its watch gives none."""
    severity = finding.get("severity")
    return next((name for name in SEVERITIES if name == severity), "medium")


def merge(
    documents: Iterable[Mapping[str, Any]], watches: Mapping[str, Watch], inputs: Collection[str]
) -> tuple[ReportedAlert, ...]:
    """Merge alerts into one entry for each cause and incident.

    Alerts of any watch about the same input have one cause, but missing values have a different cause than changed
    values; alerts that are not about an input have one cause per watch. Repeats belong together until ``REPEATED``
    passes without one. Causes that first appeared in the same alert, such as the columns of a lost join, are one
    entry.

    Args:
        documents: alerts as the runner writes them, in the order of time.
        inputs: the names of the model's features.
    """
    latest: dict[_Cause, _Incident] = {}
    incidents: list[_Incident] = []
    for document in documents:
        watch, moment = str(document["watch"]), parse_instant(str(document["time"]))
        for finding in _list_findings(document):
            cause = _find_cause(str(document.get("version") or ""), watch, finding, inputs)
            incident = latest.get(cause)
            if incident is None or moment - incident.times[-1] > REPEATED:
                incident = latest[cause] = _Incident(cause, (moment, watch))
                incidents.append(incident)
            incident.add(watch, moment, str(document.get("subject") or watch), finding)
    together: dict[tuple[object, ...], list[_Incident]] = {}
    for incident in incidents:
        key = (incident.cause.version, incident.cause.kind, *incident.first)
        together.setdefault(key, []).append(incident)
    return tuple(_describe(group, watches) for group in together.values())


def _list_findings(document: Mapping[str, Any]) -> list[Finding]:
    findings = [_read_finding(finding) for finding in document.get("findings") or ()]
    if findings:
        return findings
    names = [str(name) for name in document.get("features") or ("",)]
    return [Finding(name, "", (), "", "", "medium") for name in names]


def _read_finding(document: Mapping[str, Any]) -> Finding:
    lines = document.get("lines") or ()
    effect = document.get("effect")
    return Finding(
        feature=str(document.get("feature") or ""),
        what=str(document.get("what") or ""),
        evidence=tuple((str(line["name"]), str(line["value"])) for line in lines),
        query=str(document.get("query") or ""),
        check=str(document.get("check") or ""),
        severity=read_severity(document),
        effect=float(effect) if isinstance(effect, int | float) else None,
    )


def _find_cause(version: str, watch: str, finding: Finding, inputs: Collection[str]) -> _Cause:
    if finding.feature != PREDICTION and finding.feature not in inputs:
        return _Cause(version, watch, finding.feature)
    return _Cause(version, "missing" if finding.check in _NOT_THERE else "values", finding.feature)


def _weight(finding: Finding) -> tuple[int, float]:
    return SEVERITIES.index(finding.severity), finding.effect or 0.0


def _describe(group: Sequence[_Incident], watches: Mapping[str, Watch]) -> ReportedAlert:
    """Describe incidents that began with the same alert; the watch with the gravest finding comes first."""
    findings = [(watch, finding) for incident in group for watch, finding in incident.findings.items()]
    findings.sort(key=lambda pair: -SEVERITIES.index(pair[1].severity))
    times = sorted({moment for incident in group for moment in incident.times})
    ids = list(dict.fromkeys(watch for watch, _ in findings))
    titles = [watches[one].title if one in watches else one for one in ids]
    main = watches.get(ids[0])
    metadata = main.metadata if main is not None else {}
    names = dict.fromkeys(incident.cause.feature for incident in group)
    return ReportedAlert(
        number=0,
        watch=ids[0],
        title=titles[0],
        concern=str(metadata.get("concern", "")),
        runbook=str(metadata.get("runbook", "")),
        version=group[0].cause.version,
        subject=next(one.subjects[ids[0]] for one in group if ids[0] in one.subjects),
        features=tuple(name for name in names if name),
        times=tuple(times),
        findings=tuple(finding for _, finding in findings),
        severity=findings[0][1].severity,
        also=tuple(titles[1:]),
        until=times[-1],
    )


def rank(alerts: Iterable[ReportedAlert]) -> tuple[ReportedAlert, ...]:
    """Number alerts from the gravest and longest on."""

    def place(alert: ReportedAlert) -> tuple[int, timedelta, datetime]:
        return -SEVERITIES.index(alert.severity), alert.times[0] - alert.until, alert.times[0]

    ranked = sorted(alerts, key=place)
    return tuple(replace(alert, number=number) for number, alert in enumerate(ranked, 1))
