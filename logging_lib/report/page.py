"""Turn a report into one HTML page that needs nothing else: the verdict, and sections of panels. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

import logging_lib
from logging_lib._util.formatting import (
    CHECK_LABELS,
    NOTHING,
    format_bin,
    format_milliseconds,
    format_number,
    format_percent,
    format_seconds,
    format_time,
    join_names,
)
from logging_lib._util.text import shorten
from logging_lib.html import charts, timeline
from logging_lib.html.charts import NARROW, WIDE, Drawing, draw
from logging_lib.html.pages import Panel, Section, Table, render
from logging_lib.html.theme import ALERT
from logging_lib.html.timeline import Mark, Point, TimeAxis
from logging_lib.report import judging
from logging_lib.report.model import (
    STATUS_LABELS,
    Alert,
    Feature,
    Moment,
    Output,
    Quality,
    Rate,
    Report,
    Share,
)
from logging_lib.schema.tokens import OTHER

MAX_DRAWN: Final = 60
"""Inputs with a drawing: of more, the most striking ones."""
MAX_BARS: Final = 16
HEADLINES: Final = {
    "alert": "Needs attention",
    "notice": "Worth a look",
    "well": "All is well",
    "unknown": "Not judged",
}
_CHECKS = ("missing", "absent", "unseen", "out_of_range", "oov")
_PERCENTS = {"50": "p50", "95": "p95", "99": "p99"}

View = dict[str, Any]


def render_page(report: Report) -> str:
    """Render the page."""
    axis = TimeAxis(tuple(moment.time for moment in report.moments), report.interval)
    ranked = judging.ranked(report.features)
    sections = [
        Section("predictions", "Predictions", list(_predictions(report, axis))),
        Section("latency", "Latency", [_latency(report, axis)]),
        Section("quality", "Quality", list(_quality(report))),
        Section("versions", "Versions, live and shadow", list(_versions(report)), "Versions"),
        *([Section("notes", "Good to know", [Panel(lines=report.notes)])] if report.notes else []),
    ]
    return render(
        "report",
        subject=report.subject,
        made_at=report.made_at,
        library=logging_lib.__version__,
        headline=HEADLINES[report.verdict.level],
        verdict=report.verdict,
        figures=_figures(report),
        judging=report.judging,
        training=report.training,
        traffic=draw(_traffic(report, axis), "traffic"),
        alerts=[_alert(alert, report, axis) for alert in report.alerts],
        features=[_feature(feature, i if i < MAX_DRAWN else None) for i, feature in enumerate(ranked)],
        features_left=_features_left(len(ranked)),
        checks=[CHECK_LABELS[check] for check in _CHECKS],
        inputs_note=_inputs_note(report),
        sections=sections,
        runbooks=[
            {"id": _runbook_id(name), "html": Markup(_runbook(text))}  # noqa: S704 - its HTML is escaped
            for name, text in report.runbooks.items()
        ],
    )


def _figures(report: Report) -> list[tuple[str, str, str]]:
    main = report.main
    alerts = ("alerts", str(len(report.alerts)), "")
    if main is None:
        return [("predictions", "0", ""), alerts]
    figures = [("predictions", f"{main.predictions:,.0f}", ""), alerts]
    if report.features:
        moved = sum(feature.status in ("alerted", "moved") for feature in report.features)
        figures.append(("inputs that differ", f"{moved} of {len(report.features)}", ""))
    figures.append(
        ("failed", format_percent(main.failures / main.predictions if main.predictions else 0.0), "")
    )
    if main.latency:
        median = f"median {format_milliseconds(main.latency.get('50'))}"
        figures.append(("latency p95", format_milliseconds(main.latency.get("95")), median))
    if main.mean is not None:
        trained = report.output.trained_mean if report.output else None
        beside = f"training {format_number(trained)}" if trained is not None else ""
        figures.append(("mean prediction", format_number(main.mean), beside))
    for quality in report.quality:
        if (quality.version, quality.role) == (report.subject.version, report.subject.role):
            expected = f"held-out rows {_measure(quality, quality.trained)}"
            figures.append(
                (
                    quality.measure,
                    _measure(quality, quality.value),
                    expected if quality.trained is not None else "",
                )
            )
    return figures


def _marks(alerts: Iterable[Alert]) -> list[Mark]:
    return [Mark(alert.times[0], alert.number) for alert in alerts]


def _traffic(report: Report, axis: TimeAxis) -> Drawing | None:
    if not report.moments:
        return None
    marks = [mark for mark in _marks(report.alerts) if axis.place(mark.time) is not None]
    return timeline.bars(
        axis,
        "Predictions over time, and alerts",
        f"{sum(m.predictions for m in report.moments):,.0f} predictions in {len(report.moments)} intervals; "
        f"{len(marks)} alerts are marked.",
        {
            "answered": [moment.predictions - moment.failures for moment in report.moments],
            "failed": [moment.failures for moment in report.moments],
        },
        unit="predictions",
        marks=marks,
    )


def _alert(alert: Alert, report: Report, axis: TimeAxis) -> View:
    findings = []
    for number, finding in enumerate(alert.findings):
        feature = report.feature(finding.feature)
        rate = next((r for r in feature.rates if r.check == finding.check), None) if feature else None
        findings.append(
            {
                "what": finding.what,
                "evidence": finding.evidence,
                "query": finding.query,
                "values": rate.values if rate else (),
                "drawing": draw(
                    _rate(alert, finding.feature, rate, report, axis) if rate else None,
                    f"alert-{alert.number}-{number}",
                ),
            }
        )
    is_url = alert.runbook.startswith(("https://", "http://"))
    return {
        "alert": alert,
        "findings": findings,
        "runbook_id": _runbook_id(alert.runbook) if alert.runbook in report.runbooks else "",
        "runbook_url": alert.runbook if is_url else "",
    }


def _rate(alert: Alert, feature: str, rate: Rate, report: Report, axis: TimeAxis) -> Drawing | None:
    """How often a check failed in each interval, with what held-out rows let expect."""
    pair = (rate.check, feature)
    if not any(pair in moment.checks for moment in report.moments):
        return None
    points = [
        Point(moment.time, moment.checks[pair] / moment.checked)
        for moment in report.moments
        if moment.checked and pair in moment.checks
    ]
    highest = max((point.value for point in points), default=0.0)
    usual = f"; {rate.expected:.1%} is expected" if rate.expected is not None else ""
    axis_format = ".0%" if not points or highest > 0.05 else ".1%"
    return timeline.lines(
        axis,
        f"{shorten(feature)}: {CHECK_LABELS[rate.check]}, over time",
        f"The highest rate is {highest:.1%}{usual}.",
        {"served": points},
        y_axis={"format": axis_format, "title": None, "tickCount": 4},
        y_scale={"domainMin": 0},
        height=110,
        level_at=None if rate.expected is None else (rate.expected, "training"),
        marks=_marks([alert]),
        color=ALERT,
    )


def _feature(feature: Feature, place: int | None) -> View:
    rates = {rate.check: rate for rate in feature.rates}
    ident = f"input-{place}"
    panel = None
    if place is not None:
        title = f"{shorten(feature.name)}: share of predictions in each bin, training and served"
        drawing = draw(_bins(title, feature.kind, feature.shares, (NARROW,)), ident)
        hidden = feature.kind == "hidden"
        panel = Panel(
            drawing=drawing and {**drawing, "title": ""},
            text=""
            if drawing
            else "Its values are hidden by the profile."
            if hidden
            else "Nothing was served.",
            table=_bin_table(feature),
            summary="Numbers",
        )
    return {
        "name": feature.name,
        "id": "" if place is None else ident,
        "kind": feature.kind,
        "status": feature.status,
        "label": STATUS_LABELS[feature.status],
        "why": _why(feature),
        "psi": NOTHING if feature.psi is None else f"{feature.psi:.3f}",
        "cells": [_cell(rates.get(check)) for check in _CHECKS],
        "panel": panel,
    }


def _cell(rate: Rate | None) -> View:
    if rate is None or not rate.hits:
        return {"text": NOTHING if rate is None else "0 %", "expected": "", "high": False}
    expected = "" if rate.expected is None else format_percent(rate.expected)
    return {"text": format_percent(rate.rate), "expected": expected, "high": rate.elevated}


def _why(feature: Feature) -> str:
    """What differs, in words."""
    if feature.status == "unjudged":
        return "No checked prediction in this period."
    parts = []
    for rate in feature.rates:
        if rate.elevated or rate.last is not None:
            peak = f", at most {format_percent(rate.peak)} in one interval" if rate.peak is not None else ""
            values = "; ".join(f"“{shorten(v, 30)}” {format_number(n)}" for v, n in rate.values[:3])
            parts.append(
                f"{format_percent(rate.rate)} {CHECK_LABELS[rate.check]}, expected "
                f"{format_percent(rate.expected)}{peak}{': ' + values if values else ''}."
            )
    if feature.psi is not None and feature.psi - (feature.psi_by_chance or 0) >= judging.MIN_PSI:
        parts.append(f"PSI {feature.psi:.2f}, by chance about {feature.psi_by_chance or 0:.2f}.")
    if feature.alerts:
        parts.append(f"Alert {join_names([str(number) for number in feature.alerts], 5)}.")
    return " ".join(parts)


def _bins(title: str, kind: str, shares: Sequence[Share], widths: Sequence[int]) -> Drawing | None:
    """Bins as bars, training beside what was served; categories beyond the largest share one bar."""
    trained = sum(share.trained for share in shares)
    served = sum(share.served for share in shares)
    if not trained and not served:
        return None
    rows, rest = _choose_bins(shares, kind)
    labels = [format_bin(share.name, kind, special=share.special) for share in rows]
    if rest:
        labels.append(f"{len(rest)} others")
        rows.append(Share("", sum(r.trained for r in rest), sum(r.served for r in rest), special=False))
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


def _choose_bins(shares: Sequence[Share], kind: str) -> tuple[list[Share], list[Share]]:
    """Those that have a bar of their own, in their order, and the rest."""
    ordinary = [share for share in shares if not share.special]
    if kind not in ("category", "boolean") or len(ordinary) <= MAX_BARS:
        return list(shares), []
    largest = sorted(ordinary, key=lambda share: -max(share.trained, share.served))[: MAX_BARS - 1]
    names = {share.name for share in largest}
    chosen = [share for share in shares if share.special or share.name in names]
    return chosen, [share for share in ordinary if share.name not in names]


def _bin_table(feature: Feature | Output) -> Table:
    trained = sum(share.trained for share in feature.shares)
    served = sum(share.served for share in feature.shares)
    return Table(
        "Training rows and predictions in each bin",
        ("bin", "training", "share", "served", "share"),
        [
            (
                format_bin(share.name, feature.kind, special=share.special),
                f"{share.trained:,.0f}",
                format_percent(share.trained / trained if trained else None),
                f"{share.served:,.0f}",
                format_percent(share.served / served if served else None),
            )
            for share in feature.shares[:200]
        ],
    )


def _features_left(features: int) -> str:
    if features <= MAX_DRAWN:
        return ""
    return f"The {MAX_DRAWN} most striking of {features} inputs are drawn; the table above has all of them."


def _inputs_note(report: Report) -> str:
    if not report.features:
        if report.training is None:
            return "Without a profile there is nothing to compare the inputs with."
        return "The profile has no inputs."
    return (
        "Bars are shares of training rows and of predictions. The population stability index (PSI) says "
        "how far the bins' shares moved: below 0.1 little, above 0.25 much. "
        "Percentages are of the checked predictions; what held-out training rows let expect is in brackets."
    )


def _predictions(report: Report, axis: TimeAxis) -> Iterable[Panel]:
    output = report.output
    if output is not None:
        drawing = _bins("Share of predictions in each bin", output.kind, output.shares, (WIDE, NARROW))
        yield Panel(drawing=draw(drawing, "output"), table=_bin_table(output), summary="Numbers")
    mean = _mean(report, axis)
    if mean is not None:
        rows = [
            (format_time(m.time), f"{m.predictions:,.0f}", format_number(m.mean), format_number(m.error))
            for m in report.moments
            if m.mean is not None
        ]
        table = _over_time(report, ("predictions", "mean", "standard error"), rows)
        yield Panel(drawing=draw(mean, "mean"), table=table, summary="Numbers")
    if output is None and mean is None:
        yield Panel(text="No prediction with a value in this period.")


def _mean(report: Report, axis: TimeAxis) -> Drawing | None:
    """The prediction's mean in each interval with its standard-error band, and training's mean."""
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


def _means(moments: Iterable[Moment]) -> Iterable[Point]:
    return (Point(m.time, m.mean, 2 * (m.error or 0)) for m in moments if m.mean is not None)


def _shadow_name(report: Report) -> str:
    subject = report.subject
    others = [v for v in report.variants if (v.version, v.role) != (subject.version, subject.role)]
    best = max(others, key=lambda v: (v.role != subject.role, v.predictions))
    return _variant_name(best.version, best.role)


def _variant_name(version: str, role: str) -> str:
    return f"{shorten(version, 30)} {shorten(role, 12)}"


def _over_time(report: Report, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    return Table(f"Every {format_seconds(report.interval.total_seconds())}", ("from", *heads), rows)


def _latency(report: Report, axis: TimeAxis) -> Panel:
    series = {
        name: [Point(m.time, m.latency[percent]) for m in report.moments if percent in m.latency]
        for percent, name in _PERCENTS.items()
    }
    values = [point.value for points in series.values() for point in points]
    if not values:
        return Panel(
            text="No event of this period carries event.duration; the logger measures it where "
            "“with log.prediction(…)” surrounds the call."
        )
    drawing = timeline.lines(
        axis,
        "Latency over time",
        f"The highest percentile is {max(values):.4g} ms.",
        series,
        y_axis={"title": "milliseconds", "tickCount": 4},
        height=130,
        dashed=True,
    )
    rows = [
        (format_time(m.time), *(format_milliseconds(m.latency.get(percent)) for percent in _PERCENTS))
        for m in report.moments
        if m.latency
    ]
    table = _over_time(report, tuple(_PERCENTS.values()), rows)
    return Panel(drawing=draw(drawing, "latency"), table=table, summary="Numbers")


def _measure(quality: Quality, value: float | None) -> str:
    return format_percent(value) if quality.measure == "accuracy" else format_number(value)


def _quality(report: Report) -> Iterable[Panel]:
    if not report.quality:
        yield Panel(
            text="No label of this period's predictions has arrived yet. Labels are logged with log.label(…)."
        )
        return
    heads = ("version", "labels", "measure", "value", "± 2 s.e.", "held-out rows", "RMSE", "bias", "delay")
    rows = [
        (
            _variant_name(q.version, q.role), f"{q.labels:,.0f}", q.measure, _measure(q, q.value),
            _measure(q, 2 * q.error), NOTHING if q.trained is None else _measure(q, q.trained),
            format_number(q.rmse), format_number(q.bias), format_seconds(q.delay),
        )
        for q in report.quality
    ]  # fmt: skip
    yield Panel(table=Table("Late labels joined with their predictions", heads, rows))
    for i, quality in enumerate(report.quality):
        name = _variant_name(quality.version, quality.role)
        drawing = draw(_quality_drawing(quality, report.interval), f"quality-{i}")
        if drawing is not None and len(report.quality) > 1:
            drawing["title"] += f", {name}"
        predicted = list(dict.fromkeys(label for row in quality.confusion.values() for label in row))[:30]
        table = Table(
            "True class by row, predicted class by column",
            ["actual", *(shorten(label, 30) for label in predicted)],
            [
                (shorten(actual, 30), *(f"{row.get(label, 0):,.0f}" for label in predicted))
                for actual, row in list(quality.confusion.items())[:30]
            ],
        )
        yield Panel(drawing=drawing, table=table, summary=f"Confusion matrix of {name}")


def _quality_drawing(quality: Quality, interval: timedelta) -> Drawing | None:
    """The measure by the time of the predictions, with its standard error, and that of held-out rows."""
    if not quality.moments:
        return None
    values = [moment.value for moment in quality.moments]
    return timeline.lines(
        TimeAxis(tuple(moment.time for moment in quality.moments), interval),
        f"{quality.measure.capitalize()} over time",
        f"The {quality.measure} is between {min(values):.4g} and {max(values):.4g}; "
        "the band is two standard errors.",
        {"served": [Point(moment.time, moment.value, 2 * moment.error) for moment in quality.moments]},
        y_axis={"title": quality.measure, "tickCount": 4},
        y_scale={"zero": False},
        height=130,
        level_at=None if quality.trained is None else (quality.trained, "held-out rows"),
    )


def _versions(report: Report) -> Iterable[Panel]:
    heads = ("version", "predictions", "failed", "p50", "p95", "p99", "mean", "std", "first", "last")
    rows = [
        (
            _variant_name(v.version, v.role), f"{v.predictions:,.0f}",
            format_percent(v.failures / v.predictions if v.predictions else 0.0),
            *(format_milliseconds(v.latency.get(percent)) for percent in _PERCENTS),
            format_number(v.mean), format_number(v.std), format_time(v.first), format_time(v.last),
        )
        for v in report.variants
    ]  # fmt: skip
    if rows:
        yield Panel(table=Table("Every version and role of the model in this period", heads, rows))
    else:
        yield Panel(text="No version of this model predicted in this period.")
    yield from (Panel(lines=lines) for lines in report.shadows)


def _runbook_id(name: str) -> str:
    stem = name.rpartition("/")[2].removesuffix(".md")
    return "runbook-" + "".join(letter if letter.isalnum() else "-" for letter in stem)


def _runbook(text: str) -> str:
    """A runbook's Markdown as HTML: headings below the page's own, links only to the web."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    parsed = reader.parse(text)
    for token in parsed:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + 2, 6)}"
        if token.children:
            token.children = _without_local_links(token.children)
    return str(reader.renderer.render(parsed, reader.options, {}))


def _without_local_links(tokens: Sequence[Token]) -> list[Token]:
    chosen: list[Token] = []
    local: list[bool] = []
    for token in tokens:
        if token.type == "link_open":
            local.append(not str(token.attrs.get("href", "")).startswith(("https://", "http://")))
            if local[-1]:
                continue
        elif token.type == "link_close" and local.pop():
            continue
        if token.type != "image":
            chosen.append(token)
    return chosen
