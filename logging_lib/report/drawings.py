"""The drawings of a report. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from logging_lib._util.formatting import CHECK_LABELS, format_bin, format_count
from logging_lib._util.text import shorten
from logging_lib.html import charts, timeline
from logging_lib.html.charts import Drawing
from logging_lib.html.theme import ALERT
from logging_lib.html.timeline import Mark, Point, TimeAxis
from logging_lib.report.model import SHOWN, ModelReport, Moment, QualityReport, Rate, ReportedAlert, Share
from logging_lib.schema.tokens import OTHER

MAX_BARS: Final = 16
PERCENTS: Final = {"50": "p50", "95": "p95", "99": "p99"}
"""Percentile → its name."""


def variant_name(version: str, role: str) -> str:
    """Name a version in a role."""
    return f"{shorten(version, 30)} {shorten(role, 12)}"


def traffic(report: ModelReport, axis: TimeAxis) -> Drawing | None:
    """Draw the predictions in each interval, failed ones separately, and the times of alerts."""
    if not report.moments:
        return None
    marks = [mark for mark in _marks(report.alerts[:SHOWN]) if axis.place(mark.time) is not None]
    return timeline.bars(
        axis,
        "Predictions over time, and alerts",
        f"{sum(m.predictions for m in report.moments):,.0f} predictions in {len(report.moments)} intervals; "
        f"{len(marks)} of {format_count(len(report.alerts), 'alert')} are marked.",
        {
            "answered": [moment.predictions - moment.failures for moment in report.moments],
            "failed": [moment.failures for moment in report.moments],
        },
        unit="predictions",
        marks=marks,
    )


def rate(
    alert: ReportedAlert, feature: str, measured: Rate, report: ModelReport, axis: TimeAxis
) -> Drawing | None:
    """Draw how often a check failed in each interval, with the rate expected from held-out rows."""
    pair = (measured.check, feature)
    if not any(pair in moment.checks for moment in report.moments):
        return None
    points = [
        Point(moment.time, moment.checks[pair] / moment.checked)
        for moment in report.moments
        if moment.checked and pair in moment.checks
    ]
    highest = max((point.value for point in points), default=0.0)
    usual = f"; {measured.expected:.1%} is expected" if measured.expected is not None else ""
    axis_format = ".0%" if not points or highest > 0.05 else ".1%"
    return timeline.lines(
        axis,
        f"{shorten(feature)}: {CHECK_LABELS[measured.check]}, over time",
        f"The highest rate is {highest:.1%}{usual}.",
        {"served": points},
        y_axis={"format": axis_format, "title": None, "tickCount": 4},
        y_scale={"domainMin": 0},
        height=110,
        level_at=None if measured.expected is None else (measured.expected, "training"),
        marks=_marks([alert]),
        color=ALERT,
    )


def bins(
    title: str,
    kind: str,
    shares: Sequence[Share],
    widths: Sequence[int],
    totals: tuple[float, float] | None = None,
) -> Drawing | None:
    """Draw bins as bars, training beside served data; categories beyond the largest share one bar.

    Args:
        totals: the totals of which the bars are shares, in training and served; default: all bins together.
    """
    trained, served = totals or (
        sum(share.trained for share in shares),
        sum(share.served for share in shares),
    )
    if not trained and not served:
        return None
    rows, small = _choose_bins(shares, kind)
    labels = [format_bin(share.name, kind, special=share.special) for share in rows]
    if small:
        labels.append(f"{len(small)} others")
        rows.append(Share("", sum(r.trained for r in small), sum(r.served for r in small), special=False))
    samples: dict[str, list[float | None]] = {}
    if trained:
        samples["training"] = [share.trained / trained for share in rows]
    samples["served"] = [share.served / served if served else None for share in rows]
    failed = {i for i, share in enumerate(rows) if share.special and share.name != OTHER and share.served}
    description = f"{len(rows)} bins as bars."
    if trained and served:
        i = max(
            range(len(rows)), key=lambda i: abs((samples["served"][i] or 0) - (samples["training"][i] or 0))
        )
        description += (
            f" The largest difference is at {labels[i]}: {samples['served'][i]:.1%} served, "
            f"{samples['training'][i]:.1%} in training."
        )
    specs = (charts.bins(labels, samples, failed=failed, width=width) for width in widths)
    return Drawing(title, description, tuple(specs))


def mean(report: ModelReport, axis: TimeAxis) -> Drawing | None:
    """Draw the prediction's mean in each interval with its standard-error band, and training's mean."""
    series = {"served": list(_means(report.moments))}
    if not series["served"]:
        return None
    if report.shadow_moments:
        series[_shadow_name(report)] = list(_means(report.shadow_moments))
    values = [point.value for points in series.values() for point in points]
    trained = report.output.trained_mean if report.output else None
    description = (
        f"The mean is between {min(values):.4g} and {max(values):.4g}; the band is two standard errors."
    )
    return timeline.lines(
        axis,
        "Mean of the prediction over time",
        description + ("" if trained is None else f" Training's mean is {trained:.4g}."),
        series,
        y_axis={"title": "mean of the prediction", "tickCount": 5},
        y_scale={"zero": False, "nice": True},
        height=150,
        level_at=None if trained is None else (trained, "training"),
    )


def latency(report: ModelReport, axis: TimeAxis) -> Drawing | None:
    """Draw the percentiles of the latency in each interval; None if none was measured."""
    series = {
        name: [Point(m.time, m.latency[percent]) for m in report.moments if percent in m.latency]
        for percent, name in PERCENTS.items()
    }
    values = [point.value for points in series.values() for point in points]
    if not values:
        return None
    return timeline.lines(
        axis,
        "Latency over time",
        f"The highest percentile is {max(values):.4g} ms.",
        series,
        y_axis={"title": "milliseconds", "tickCount": 4},
        height=130,
        dashed=True,
    )


def quality(measured: QualityReport, interval: timedelta, this_year: int) -> Drawing | None:
    """Draw the measure by prediction time, with its standard error, and that of held-out rows."""
    if not measured.moments:
        return None
    values = [moment.value for moment in measured.moments]
    return timeline.lines(
        TimeAxis(tuple(moment.time for moment in measured.moments), interval, this_year),
        f"{measured.measure.capitalize()} over time",
        f"The {measured.measure} is between {min(values):.4g} and {max(values):.4g}; "
        "the band is two standard errors.",
        {"served": [Point(moment.time, moment.value, 2 * moment.error) for moment in measured.moments]},
        y_axis={"title": measured.measure, "tickCount": 4},
        y_scale={"zero": False},
        height=130,
        level_at=None if measured.trained is None else (measured.trained, "held-out rows"),
    )


def _choose_bins(shares: Sequence[Share], kind: str) -> tuple[list[Share], list[Share]]:
    """Return the bins that have their own bar, in their order, and the rest."""
    ordinary = [share for share in shares if not share.special]
    if kind not in ("category", "boolean") or len(ordinary) <= MAX_BARS:
        return list(shares), []
    largest = sorted(ordinary, key=lambda share: -max(share.trained, share.served))[: MAX_BARS - 1]
    names = {share.name for share in largest}
    chosen = [share for share in shares if share.special or share.name in names]
    return chosen, [share for share in ordinary if share.name not in names]


def _means(moments: Iterable[Moment]) -> Iterable[Point]:
    return (Point(m.time, m.mean, 2 * (m.error or 0)) for m in moments if m.mean is not None)


def _shadow_name(report: ModelReport) -> str:
    subject = report.subject
    candidates = [v for v in report.variants if (v.version, v.role) != (subject.version, subject.role)]
    best = max(candidates, key=lambda v: (v.role != subject.role, v.predictions))
    return variant_name(best.version, best.role)


def _marks(alerts: Iterable[ReportedAlert]) -> list[Mark]:
    return [Mark(alert.times[0], alert.number) for alert in alerts]
