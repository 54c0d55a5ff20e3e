"""Render a report as one self-contained HTML page: the verdict, and sections of panels. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

import logging_lib
from logging_lib._util.formatting import (
    CHECK_LABELS,
    NOTHING,
    format_bin,
    format_count,
    format_milliseconds,
    format_number,
    format_percent,
    format_seconds,
    format_time,
    join_names,
)
from logging_lib._util.text import shorten
from logging_lib.html.charts import NARROW, WIDE, draw
from logging_lib.html.pages import PagePanel, Section, Table, render
from logging_lib.html.timeline import TimeAxis
from logging_lib.profile.model import CHECKS
from logging_lib.report import drawings, drift
from logging_lib.report.classifier_panels import show_classifier, show_estimate
from logging_lib.report.drawings import PERCENTS, variant_name
from logging_lib.report.model import (
    HEADLINES,
    SHOWN,
    STATUS_LABELS,
    FeatureReport,
    ModelReport,
    Output,
    QualityReport,
    Rate,
    ReportedAlert,
)

INPUTS_SHOWN: Final = 6
"""The number of rows of the table of inputs that are not folded."""
MAX_DRAWN: Final = 60
"""The number of inputs with a drawing: the most striking ones."""

View = dict[str, Any]


def render_page(report: ModelReport) -> str:
    """Render the page."""
    axis = TimeAxis(tuple(moment.time for moment in report.moments), report.interval, report.made_at.year)
    ranked = drift.rank(report.features)
    sections = [
        Section("predictions", "Predictions", list(_predictions(report, axis))),
        Section("latency", "Latency", [_latency(report, axis)]),
        Section("quality", "Quality", list(_quality(report))),
        Section("versions", "Versions, live and shadow", list(_versions(report)), "Versions"),
        *([Section("notes", "Notes", [PagePanel(lines=report.notes)])] if report.notes else []),
    ]
    return render(
        "report",
        subject=report.subject,
        made_at=report.made_at,
        library=logging_lib.__version__,
        headline=HEADLINES[report.verdict.level],
        verdict=report.verdict,
        figures=_figures(report),
        alert_source=report.alert_source,
        alerts_note=_alerts_note(report),
        shown=SHOWN,
        inputs_shown=INPUTS_SHOWN,
        training=report.training,
        traffic=draw(drawings.traffic(report, axis), "traffic"),
        alerts=[_alert(alert, report, axis) for alert in report.alerts],
        features=[_feature(feature, i if i < MAX_DRAWN else None) for i, feature in enumerate(ranked)],
        features_left=_describe_features_left(len(ranked)),
        checks=[CHECK_LABELS[check] for check in CHECKS],
        inputs_note=_inputs_note(report),
        sections=sections,
        runbooks=[
            {"id": _runbook_id(name), "html": Markup(_runbook(text))}  # noqa: S704 - its HTML is escaped
            for name, text in report.runbooks.items()
        ],
    )


def _alerts_note(report: ModelReport) -> str:
    merged = (
        f"{format_count(report.sent, 'alert')}, merged into {len(report.alerts):,}: alerts about the same input "
        "and cause, and their repeats, are shown as one. The most severe and longest come first. "
        if report.sent > len(report.alerts)
        else ""
    )
    return f"{merged}{report.alert_source.source}"


def _figures(report: ModelReport) -> list[tuple[str, str, str]]:
    main = report.main
    merged = f"merged into {len(report.alerts):,}" if report.sent > len(report.alerts) else ""
    alerts = ("alerts", f"{report.sent:,}", merged)
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
        comparison = f"training {format_number(trained)}" if trained is not None else ""
        figures.append(("mean prediction", format_number(main.mean), comparison))
    if report.estimate is not None:
        expected = format_percent(report.estimate.expected.get("accuracy"))
        source = "evaluation" if report.estimate.evaluated else "optimistic; training"
        accuracy = format_percent(report.estimate.metrics["accuracy"])
        figures.append(("estimated accuracy", accuracy, f"{source} {expected}"))
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


def _alert(alert: ReportedAlert, report: ModelReport, axis: TimeAxis) -> View:
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
                    drawings.rate(alert, finding.feature, rate, report, axis)
                    if rate and alert.number <= SHOWN
                    else None,
                    f"alert-{alert.number}-{number}",
                ),
            }
        )
    is_url = alert.runbook.startswith(("https://", "http://"))
    return {
        "alert": alert,
        "when": _describe_times(alert),
        "findings": findings,
        "runbook_id": _runbook_id(alert.runbook) if alert.runbook in report.runbooks else "",
        "runbook_url": alert.runbook if is_url else "",
    }


def _describe_times(alert: ReportedAlert) -> str:
    first, last = alert.times[0], alert.times[-1]
    if first == last:
        return format_time(first)
    return (
        f"{format_time(first)} to {format_time(last)} ({format_seconds((last - first).total_seconds())}), "
        f"{len(alert.times)} times"
    )


def _feature(feature: FeatureReport, place: int | None) -> View:
    rates = {rate.check: rate for rate in feature.rates}
    ident = f"input-{place}"
    panel = None
    if place is not None:
        title = f"{shorten(feature.name)}: share of predictions in each bin, training and served"
        drawing = draw(drawings.bins(title, feature.kind, feature.shares, (NARROW,)), ident)
        hidden = feature.kind == "hidden"
        panel = PagePanel(
            drawing=drawing and {**drawing, "title": ""},
            text=""
            if drawing
            else "Its values are hidden by the profile."
            if hidden
            else "No value was served.",
            table=_bin_table(feature),
            summary="Numbers",
        )
    return {
        "name": feature.name,
        "id": "" if place is None else ident,
        "kind": feature.kind,
        "status": feature.status,
        "label": STATUS_LABELS[feature.status],
        "why": _explain_feature(feature),
        "psi": NOTHING if feature.psi is None else f"{feature.psi:.3f}",
        "cells": [_cell(rates.get(check)) for check in CHECKS],
        "panel": panel,
    }


def _cell(rate: Rate | None) -> View:
    if rate is None or not rate.hits:
        return {"text": NOTHING if rate is None else "0 %", "expected": "", "high": False}
    expected = "" if rate.expected is None else format_percent(rate.expected)
    return {"text": format_percent(rate.rate), "expected": expected, "high": rate.elevated}


def _explain_feature(feature: FeatureReport) -> str:
    """Describe in words how a feature differs."""
    if feature.status == "not_evaluated":
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
    if feature.psi is not None and feature.psi - (feature.psi_by_chance or 0) >= drift.MIN_PSI:
        parts.append(f"PSI {feature.psi:.2f} (about {feature.psi_by_chance or 0:.2f} by chance).")
    if feature.alerts:
        parts.append(f"Alert {join_names([str(number) for number in feature.alerts], 5)}.")
    return " ".join(parts)


def _bin_table(feature: FeatureReport | Output) -> Table:
    trained = sum(share.trained for share in feature.shares)
    served = sum(share.served for share in feature.shares)
    if isinstance(feature, Output) and feature.rows is not None:
        trained, served = feature.rows
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


def _describe_features_left(features: int) -> str:
    if features <= MAX_DRAWN:
        return ""
    return (
        f"Of {features} inputs, the {MAX_DRAWN} with the largest differences are drawn; the table lists all."
    )


def _inputs_note(report: ModelReport) -> str:
    if not report.features:
        if report.training is None:
            return "There is no profile to compare the inputs with."
        return "The profile has no inputs."
    return (
        "Bars are shares of training rows and of predictions. The population stability index (PSI) measures "
        "how far the shares of the bins moved: below 0.1 is little, above 0.25 is a lot. "
        "Percentages are of the checked predictions."
    )


def _predictions(report: ModelReport, axis: TimeAxis) -> Iterable[PagePanel]:
    output = report.output
    if output is not None:
        drawing = drawings.bins(
            "Share of predictions in each bin", output.kind, output.shares, (WIDE, NARROW), output.rows
        )
        yield PagePanel(drawing=draw(drawing, "output"), table=_bin_table(output), summary="Numbers")
    mean = drawings.mean(report, axis)
    if mean is not None:
        rows = [
            (format_time(m.time), f"{m.predictions:,.0f}", format_number(m.mean), format_number(m.error))
            for m in report.moments
            if m.mean is not None
        ]
        table = _tabulate_over_time(report, ("predictions", "mean", "standard error"), rows)
        yield PagePanel(drawing=draw(mean, "mean"), table=table, summary="Numbers")
    if output is None and mean is None:
        yield PagePanel(text="No prediction with a value in this period.")


def _tabulate_over_time(report: ModelReport, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    return Table(f"Every {format_seconds(report.interval.total_seconds())}", ("from", *heads), rows)


def _latency(report: ModelReport, axis: TimeAxis) -> PagePanel:
    drawing = drawings.latency(report, axis)
    if drawing is None:
        return PagePanel(
            text="No event of this period carries event.duration; the logger measures it when the call is "
            "inside “with log.prediction(…)”."
        )
    rows = [
        (format_time(m.time), *(format_milliseconds(m.latency.get(percent)) for percent in PERCENTS))
        for m in report.moments
        if m.latency
    ]
    table = _tabulate_over_time(report, tuple(PERCENTS.values()), rows)
    return PagePanel(drawing=draw(drawing, "latency"), table=table, summary="Numbers")


def _measure(quality: QualityReport, value: float | None) -> str:
    return format_percent(value) if quality.measure == "accuracy" else format_number(value)


def _quality(report: ModelReport) -> Iterable[PagePanel]:
    yield from show_estimate(report)
    if report.classifier is not None:
        yield from show_classifier(report.classifier)
    if not report.quality:
        if report.classifier is not None:
            return
        yield PagePanel(
            text="No label of this period's predictions has arrived yet. Labels are logged with log.label(…)."
        )
        return
    heads = ("version", "labels", "measure", "value", "± 2 s.e.", "held-out rows", "RMSE", "bias", "delay")
    rows = [
        (
            variant_name(q.version, q.role), f"{q.labels:,.0f}", q.measure, _measure(q, q.value),
            _measure(q, 2 * q.error), NOTHING if q.trained is None else _measure(q, q.trained),
            format_number(q.rmse), format_number(q.bias), format_seconds(q.delay),
        )
        for q in report.quality
    ]  # fmt: skip
    yield PagePanel(table=Table("Labels joined with their predictions", heads, rows))
    for i, quality in enumerate(report.quality):
        name = variant_name(quality.version, quality.role)
        drawing = draw(drawings.quality(quality, report.interval, report.made_at.year), f"quality-{i}")
        if drawing is not None and len(report.quality) > 1:
            drawing["title"] += f", {name}"
        predicted = list(dict.fromkeys(label for row in quality.confusion.values() for label in row))[:30]
        table = Table(
            "Actual class by row, predicted class by column",
            ["actual", *(shorten(label, 30) for label in predicted)],
            [
                (shorten(actual, 30), *(f"{row.get(label, 0):,.0f}" for label in predicted))
                for actual, row in list(quality.confusion.items())[:30]
            ],
        )
        yield PagePanel(drawing=drawing, table=table, summary=f"Confusion matrix of {name}")


def _versions(report: ModelReport) -> Iterable[PagePanel]:
    heads = ("version", "predictions", "failed", "p50", "p95", "p99", "mean", "std", "first", "last")
    rows = [
        (
            variant_name(v.version, v.role), f"{v.predictions:,.0f}",
            format_percent(v.failures / v.predictions if v.predictions else 0.0),
            *(format_milliseconds(v.latency.get(percent)) for percent in PERCENTS),
            format_number(v.mean), format_number(v.std), format_time(v.first), format_time(v.last),
        )
        for v in report.variants
    ]  # fmt: skip
    if rows:
        yield PagePanel(table=Table("Every version and role of the model in this period", heads, rows))
    else:
        yield PagePanel(text="No version of this model predicted in this period.")
    yield from (PagePanel(lines=lines) for lines in report.shadows)


def _runbook_id(name: str) -> str:
    stem = name.rpartition("/")[2].removesuffix(".md")
    return "runbook-" + "".join(letter if letter.isalnum() else "-" for letter in stem)


def _runbook(text: str) -> str:
    """Render a runbook's Markdown as HTML: headings below the page's own, links only to the web."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    parsed = reader.parse(text)
    for token in parsed:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + 2, 6)}"
        if token.children:
            token.children = _drop_local_links(token.children)
    return str(reader.renderer.render(parsed, reader.options, {}))


def _drop_local_links(tokens: Sequence[Token]) -> list[Token]:
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
