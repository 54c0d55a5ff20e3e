"""The report as one HTML page that needs nothing else: no script, no network. Pure.

Whatever comes from logs is text: Jinja2 escapes it, and ``short`` takes control characters out and cuts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

import logging_lib
from logging_lib._util.times import format_instant
from logging_lib.dashboards.drawing import STYLE, svg
from logging_lib.report import bars, charts, judging, texts
from logging_lib.report.bars import Drawing
from logging_lib.report.charts import Clock
from logging_lib.report.model import Alert, Feature, Output, Quality, Rate, Report

DRAWN = 60
"""So many inputs have a drawing; of more, the most striking ones."""
WORDS = {"alert": "Needs attention", "notice": "Worth a look", "well": "All is well", "unknown": "Not judged"}
STATUS_WORDS = {
    "alerted": "alert",
    "moved": "moved",
    "as_trained": "as in training",
    "unjudged": "not judged",
}
_COLUMNS = ("missing", "absent", "unseen", "out_of_range", "oov")

View = dict[str, Any]


def render(report: Report) -> str:
    """The page."""
    subject = report.subject
    clock = Clock(tuple(moment.time for moment in report.moments), report.interval)
    ranked = judging.ranked(report.features)
    page = _environment().get_template("page.html.j2")
    return page.render(
        subject=subject,
        start=texts.day_and_hour(subject.start),
        end=texts.day_and_hour(subject.end),
        made_at=texts.day_and_hour(report.made_at),
        library=logging_lib.__version__,
        style=Markup(STYLE + files(__package__).joinpath("page.css").read_text("utf-8")),  # noqa: S704 - ours
        word=WORDS[report.verdict.level],
        verdict=report.verdict,
        figures=_figures(report),
        links=_links(report),
        judging=report.judging,
        training=report.training,
        traffic=_drawn("traffic", charts.traffic(clock, report.moments, report.alerts))
        if report.moments
        else None,
        alerts=[_alert(alert, report, clock) for alert in report.alerts],
        features=[_feature(feature, i if i < DRAWN else None) for i, feature in enumerate(ranked)],
        features_left=_left(len(ranked)),
        checks=[(check, texts.CHECK_WORDS[check]) for check in _COLUMNS],
        inputs_note=_inputs_note(report),
        notes=report.notes,
        versions=_versions(report),
        shadows=report.shadows,
        runbooks=[
            {"id": _runbook_id(name), "html": Markup(_runbook(text))}  # noqa: S704 - its HTML is escaped
            for name, text in report.runbooks.items()
        ],
        **_predictions(report, clock),
        **_latency(report, clock),
        **_quality(report),
    )


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("logging_lib.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {
        "evidence": texts.evidence, "said": texts.instant,
        "short": texts.short, "number": texts.number, "moment": texts.day_and_hour, "instant": format_instant,
    }  # fmt: skip
    return environment


def _drawn(ident: str, drawing: Drawing | None) -> View | None:
    if drawing is None:
        return None
    shown = [
        Markup(svg(spec, ident=f"{ident}-{i}", title=drawing.title, description=drawing.description))  # noqa: S704
        for i, spec in enumerate(drawing.specs)
    ]
    return {"title": drawing.title, "svgs": shown}


def _figures(report: Report) -> list[tuple[str, str, str]]:
    main = report.main
    if main is None:
        return [("predictions", "0", ""), ("alerts", str(len(report.alerts)), "")]
    figures = [("predictions", f"{main.predictions:,.0f}", "")]
    figures.append(("alerts", str(len(report.alerts)), ""))
    if report.features:
        moved = sum(feature.status in ("alerted", "moved") for feature in report.features)
        figures.append(("inputs that differ", f"{moved} of {len(report.features)}", ""))
    figures.append(
        ("failed", texts.percent(main.failures / main.predictions if main.predictions else 0.0), "")
    )
    if main.latency:
        beside = f"median {texts.milliseconds(main.latency.get('50'))}"
        figures.append(("latency p95", texts.milliseconds(main.latency.get("95")), beside))
    if main.mean is not None:
        trained = report.output.trained_mean if report.output else None
        beside = f"training {texts.number(trained)}" if trained is not None else ""
        figures.append(("mean prediction", texts.number(main.mean), beside))
    for one in _main_quality(report):
        beside = f"held-out rows {_measured(one, one.trained)}" if one.trained is not None else ""
        figures.append((one.measure, _measured(one, one.value), beside))
    return figures


def _links(report: Report) -> list[tuple[str, str]]:
    links = [
        ("alerts", "Alerts"), ("inputs", "Inputs"), ("predictions", "Predictions"), ("latency", "Latency"),
        ("quality", "Quality"), ("versions", "Versions"),
    ]  # fmt: skip
    if report.notes:
        links.append(("notes", "Good to know"))
    if report.runbooks:
        links.append(("runbooks", "Runbooks"))
    return links


def _alert(alert: Alert, report: Report, clock: Clock) -> View:
    findings = []
    for number, finding in enumerate(alert.findings):
        feature = report.feature(finding.feature)
        rate = next((r for r in feature.rates if r.check == finding.check), None) if feature else None
        pair = (finding.check, finding.feature)
        drawing = None
        if rate is not None and any(pair in moment.checks for moment in report.moments):
            points = [
                moment.checks[pair] / moment.checked if moment.checked and pair in moment.checks else None
                for moment in report.moments
            ]
            title = f"{texts.short(finding.feature)}: {texts.CHECK_WORDS[finding.check]}, over time"
            drawing = _drawn(
                f"alert-{alert.number}-{number}", charts.rate(clock, title, points, rate.expected, [alert])
            )
        findings.append(
            {
                "what": finding.what, "evidence": finding.evidence, "query": finding.query,
                "came": rate.values if rate else (), "drawing": drawing,
            }
        )  # fmt: skip
    is_url = alert.runbook.startswith(("https://", "http://"))
    return {
        "number": alert.number, "title": alert.title, "features": alert.features, "times": alert.times,
        "version": alert.version, "state": alert.state, "going_on": alert.going_on, "concern": alert.concern,
        "findings": findings, "runbook": alert.runbook,
        "runbook_id": _runbook_id(alert.runbook) if alert.runbook in report.runbooks else "",
        "runbook_url": alert.runbook if is_url else "",
    }  # fmt: skip


def _feature(feature: Feature, place: int | None) -> View:
    rates = {rate.check: rate for rate in feature.rates}
    title = f"{texts.short(feature.name)}: share of predictions in each bin, training and served"
    drawn = None
    if place is not None:
        drawing = bars.shares(title, feature.kind, feature.shares)
        drawn = _drawn(f"input-{place}", drawing)
        if drawn is not None:
            drawn["title"] = ""
    return {
        "name": feature.name,
        "id": f"input-{place}" if place is not None else "",
        "kind": feature.kind,
        "status": feature.status,
        "word": STATUS_WORDS[feature.status],
        "why": _why(feature),
        "psi": "—" if feature.psi is None else f"{feature.psi:.3f}",
        "cells": [_cell(rates.get(check)) for check in _COLUMNS],
        "drawing": drawn,
        "nothing": "Its values are hidden by the profile."
        if feature.kind == "hidden"
        else "Nothing was served.",
        "table": _shares_table(feature) if place is not None else None,
    }


def _cell(rate: Rate | None) -> View:
    if rate is None:
        return {"text": "—", "expected": "", "high": False}
    expected = (
        texts.percent(rate.expected) if rate.expected is not None and (rate.hits or rate.expected) else ""
    )
    if not rate.hits:
        return {"text": "0 %", "expected": "", "high": False}
    return {"text": texts.percent(rate.rate), "expected": expected, "high": rate.elevated}


def _why(feature: Feature) -> str:
    """What differs, in words."""
    if feature.status == "unjudged":
        return "No checked prediction in this period."
    parts = []
    for rate in feature.rates:
        if rate.elevated or rate.last is not None:
            peak = f", at most {texts.percent(rate.peak)} in one interval" if rate.peak is not None else ""
            values = "; ".join(f"“{texts.short(v, 30)}” {texts.number(n)}" for v, n in rate.values[:3])
            parts.append(
                f"{texts.percent(rate.rate)} {texts.CHECK_WORDS[rate.check]}, expected "
                f"{texts.percent(rate.expected)}{peak}{': ' + values if values else ''}."
            )
    if feature.psi is not None and feature.psi - (feature.psi_by_chance or 0) >= 0.1:
        parts.append(f"PSI {feature.psi:.2f}, by chance about {feature.psi_by_chance or 0:.2f}.")
    if feature.alerts:
        numbers = texts.listed([str(n) for n in feature.alerts], 5)
        parts.append(f"Alert {numbers}.")
    return " ".join(parts)


def _shares_table(feature: Feature | Output) -> View:
    trained = sum(share.trained for share in feature.shares)
    served = sum(share.served for share in feature.shares)
    return {
        "caption": "Training rows and predictions in each bin",
        "heads": ["bin", "training", "share", "served", "share"],
        "rows": [
            (
                texts.bin_label(share.name, feature.kind, special=share.special),
                f"{share.trained:,.0f}", texts.percent(share.trained / trained if trained else None),
                f"{share.served:,.0f}", texts.percent(share.served / served if served else None),
            )
            for share in feature.shares[:200]
        ],
    }  # fmt: skip


def _left(features: int) -> str:
    if features <= DRAWN:
        return ""
    return f"The {DRAWN} most striking of {features} inputs are drawn; the table above has all of them."


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


def _predictions(report: Report, clock: Clock) -> View:
    output = None
    output_table = None
    if report.output is not None:
        title = "Share of predictions in each bin"
        widths = (bars.WIDE, bars.NARROW)
        drawing = bars.shares(title, report.output.kind, report.output.shares, widths=widths)
        output = _drawn("output", drawing)
        output_table = _shares_table(report.output)
    other = report.shadow_moments
    name = ""
    if other:
        name = _variant_name(*_shadow_of(report))
    mean = _drawn("mean", charts.mean(clock, report.moments, report.output, other, name))
    rows = [
        (texts.day_and_hour(m.time), f"{m.predictions:,.0f}", texts.number(m.mean), texts.number(m.error))
        for m in report.moments
        if m.mean is not None
    ]
    return {
        "output": output,
        "output_table": output_table,
        "mean": mean,
        "mean_table": {
            "caption": f"Every {_interval(report.interval)}",
            "heads": ["from", "predictions", "mean", "standard error"],
            "rows": rows,
        },
    }


def _shadow_of(report: Report) -> tuple[str, str]:
    subject = report.subject
    others = [v for v in report.variants if (v.version, v.role) != (subject.version, subject.role)]
    best = max(others, key=lambda v: (v.role != subject.role, v.predictions))
    return best.version, best.role


def _variant_name(version: str, role: str) -> str:
    return f"{texts.short(version, 30)} {texts.short(role, 12)}"


def _latency(report: Report, clock: Clock) -> View:
    rows = [
        (texts.day_and_hour(m.time), *(texts.milliseconds(m.latency.get(p)) for p in ("50", "95", "99")))
        for m in report.moments
        if m.latency
    ]
    return {
        "latency": _drawn("latency", charts.latency(clock, report.moments)),
        "latency_table": {
            "caption": f"Every {_interval(report.interval)}",
            "heads": ["from", "p50", "p95", "p99"],
            "rows": rows,
        },
    }


def _main_quality(report: Report) -> list[Quality]:
    subject = report.subject
    return [q for q in report.quality if (q.version, q.role) == (subject.version, subject.role)]


def _measured(one: Quality, value: float | None) -> str:
    return texts.percent(value) if one.measure == "accuracy" else texts.number(value)


def _quality(report: Report) -> View:
    drawn = []
    for i, one in enumerate(report.quality):
        name = _variant_name(one.version, one.role)
        drawing = charts.quality(report.interval, one.measure, one.moments, one.trained)
        shown = _drawn(f"quality-{i}", drawing)
        if shown is not None and len(report.quality) > 1:
            shown["title"] += f", {name}"
        guesses = list(dict.fromkeys(guess for row in one.confusion.values() for guess in row))[:30]
        table = {
            "caption": "True class by row, predicted class by column",
            "heads": ["truth", *(texts.short(guess, 30) for guess in guesses)],
            "rows": [
                (texts.short(truth, 30), *(f"{row.get(guess, 0):,.0f}" for guess in guesses))
                for truth, row in list(one.confusion.items())[:30]
            ],
        }
        drawn.append({"drawing": shown, "table": table, "summary": f"Confusion matrix of {name}"})
    return {
        "quality": drawn,
        "quality_table": {
            "caption": "Late labels joined with their predictions",
            "heads": ["version", "labels", "measure", "value", "± 2 s.e.", "held-out rows", "RMSE", "bias",
                      "delay"],
            "rows": [
                (
                    _variant_name(one.version, one.role), f"{one.labels:,.0f}", one.measure,
                    _measured(one, one.value), _measured(one, 2 * one.error), _measured(one, one.trained)
                    if one.trained is not None else "—",
                    texts.number(one.rmse), texts.number(one.bias), texts.duration(one.delay),
                )
                for one in report.quality
            ],
        },
    }  # fmt: skip


def _versions(report: Report) -> View:
    return {
        "caption": "Every version and role of the model in this period",
        "heads": ["version", "predictions", "failed", "p50", "p95", "p99", "mean", "std", "first", "last"],
        "rows": [
            (
                _variant_name(v.version, v.role), f"{v.predictions:,.0f}",
                texts.percent(v.failures / v.predictions if v.predictions else 0.0),
                *(texts.milliseconds(v.latency.get(p)) for p in ("50", "95", "99")),
                texts.number(v.mean), texts.number(v.std), texts.day_and_hour(v.first), texts.day_and_hour(v.last),
            )
            for v in report.variants
        ],
    }  # fmt: skip


def _interval(interval: timedelta) -> str:
    return texts.duration(interval.total_seconds())


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
    kept: list[Token] = []
    local: list[bool] = []
    for token in tokens:
        if token.type == "link_open":
            local.append(not str(token.attrs.get("href", "")).startswith(("https://", "http://")))
            if local[-1]:
                continue
        elif token.type == "link_close" and local.pop():
            continue
        if token.type != "image":
            kept.append(token)
    return kept
