"""The report as Markdown, for a merge request, a wiki or a terminal. Pure."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from logging_lib._util.formatting import (
    CHECK_LABELS,
    format_evidence,
    format_milliseconds,
    format_number,
    format_percent,
    format_time,
    join_names,
)
from logging_lib._util.text import MAX_NAME, shorten
from logging_lib.profile.words import METRIC_NAMES
from logging_lib.report import drift
from logging_lib.report.classifier_panels import describe_estimate
from logging_lib.report.model import SHOWN, STATUS_LABELS, FeatureReport, ModelReport, Rate, ReportedAlert

_ACTIVE = re.compile(r"([\\`*_{}\[\]()#+!|~$@-])")


def render(report: ModelReport) -> str:
    """Render the report in GitHub's Markdown; names and values from the logs can neither format nor link."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: ModelReport) -> Iterable[str]:
    subject = report.subject
    yield f"# {_escape(subject.model)} {_escape(subject.version)} ({_escape(subject.role)})"
    yield ""
    yield f"**{_escape(report.verdict.sentence, 1000)}**"
    yield ""
    yield _escape(report.verdict.seen, 1000)
    yield ""
    yield "## Alerts"
    yield ""
    for alert in report.alerts[:SHOWN]:
        yield from _alert(alert)
    if len(report.alerts) > SHOWN:
        yield f"\n<details><summary>{len(report.alerts) - SHOWN} more, less severe or shorter</summary>\n"
        for alert in report.alerts[SHOWN:]:
            yield from _alert(alert)
        yield "\n</details>"
    if not report.alerts:
        yield "No alerts in this period."
    yield ""
    yield _escape(report.alert_source.source, 1000)
    yield from (f"\n{_escape(problem, 1000)}" for problem in report.alert_source.problems)
    yield ""
    yield "## Inputs: training and served"
    yield ""
    if report.features:
        rows = [_feature(feature) for feature in drift.rank(report.features)]
        yield from _table(["input", "kind", "state", "PSI", "checks above what is expected"], rows)
    else:
        yield "Nothing could be compared with training."
    yield ""
    yield "## Versions, live and shadow"
    for lines in report.shadows:
        yield ""
        yield from (f"- {_escape(line, 500)}" for line in lines)
    yield ""
    yield from _table(
        ["version", "role", "predictions", "failed", "p50", "p95", "p99", "mean"],
        [
            [
                _escape(v.version), _escape(v.role), f"{v.predictions:,.0f}", f"{v.failures:,.0f}",
                *(format_milliseconds(v.latency.get(p)) for p in ("50", "95", "99")), format_number(v.mean),
            ]
            for v in report.variants
        ],
    )  # fmt: skip
    if report.quality:
        yield ""
        yield "## Quality"
        yield ""
        yield from _table(
            ["version", "role", "labels", "measure", "value ± 2 s.e.", "held-out rows"],
            [
                [
                    _escape(q.version), _escape(q.role), f"{q.labels:,.0f}", q.measure,
                    f"{format_number(q.value)} ± {format_number(2 * q.error)}", format_number(q.trained),
                ]
                for q in report.quality
            ],
        )  # fmt: skip
    if report.estimate is not None:
        yield ""
        yield from _table(
            [
                "metric",
                "estimated before labels arrive",
                "evaluation" if report.estimate.evaluated else "training",
            ],
            [
                [
                    name,
                    format_number(report.estimate.metrics[key]),
                    format_number(report.estimate.expected.get(key)),
                ]
                for key, name in METRIC_NAMES.items()
                if report.estimate.metrics.get(key) is not None
            ],
        )
        yield ""
        yield _escape(describe_estimate(report.estimate), 1000)
    if report.classifier is not None:
        yield ""
        if report.classifier.problem:
            yield f"The quality was not measured: {_escape(report.classifier.problem, 1000)}."
        else:
            measured = report.classifier.overall["metrics"]
            yield from _table(
                ["metric", "labels", "evaluation" if report.classifier.evaluated else "training, optimistic"],
                [
                    [name, format_number(measured[key]), format_number(report.classifier.trained.get(key))]
                    for key, name in METRIC_NAMES.items()
                    if measured.get(key) is not None
                ],
            )
    if report.notes:
        yield ""
        yield "## Notes"
        yield ""
        yield from (f"- {_escape(note, 1000)}" for note in report.notes)
    yield ""
    yield f"Made {format_time(report.made_at)} UTC."


def _alert(alert: ReportedAlert) -> Iterable[str]:
    names = join_names([_escape(name) for name in alert.features], 6)
    yield (
        f"{alert.number}. **{_escape(alert.title)}{f': {names}' if names else ''}**, {alert.severity}, "
        + _describe_times(alert)
        + (f" ({_escape(alert.state)})" if alert.state else "")
    )
    for finding in alert.findings[:8]:
        evidence = "; ".join(
            f"{_escape(key)}: {_escape(format_evidence(value), 200)}" for key, value in finding.evidence
        )
        yield f"   - {_escape(finding.what, 300)}" + (f" ({evidence})" if evidence else "")
    if alert.runbook:
        yield f"   - what to do: {_escape(alert.runbook, 300)}"


def _describe_times(alert: ReportedAlert) -> str:
    first, last = (format_time(alert.times[end]) for end in (0, -1))
    return first if len(alert.times) == 1 else f"{first} to {last}, {len(alert.times)} times"


def _feature(feature: FeatureReport) -> list[str]:
    psi = "—" if feature.psi is None else f"{feature.psi:.3f}"
    rates = [_rate(rate) for rate in feature.rates if rate.elevated or rate.last is not None]
    return [_escape(feature.name), feature.kind, STATUS_LABELS[feature.status], psi, "; ".join(rates)]


def _rate(rate: Rate) -> str:
    peak = f", at most {format_percent(rate.peak)}" if rate.peak is not None else ""
    values = ", ".join(_escape(value, 30) for value, _ in rate.values[:3])
    return (
        f"{CHECK_LABELS[rate.check]} {format_percent(rate.rate)}, "
        f"expected {format_percent(rate.expected)}{peak}{': ' + values if values else ''}"
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _escape(text: str, max_length: int = MAX_NAME) -> str:
    """Escape text so that Markdown does not interpret it; a bare address does not become a link."""
    escaped = html.escape(_ACTIVE.sub(r"\\\1", shorten(text, max_length)), quote=False)
    return escaped.replace("://", ":\u200b//").replace("www.", "www\u200b.")
