"""Show a classifier's quality on a report's page: metrics, calibration, classes, thresholds, slices. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from logging_lib._util.formatting import NOTHING, format_number
from logging_lib._util.text import shorten
from logging_lib.analysis.classification import list_thresholds
from logging_lib.analysis.estimate import ASSUMPTIONS
from logging_lib.html import charts, timeline
from logging_lib.html.charts import Drawing, draw
from logging_lib.html.pages import PagePanel, Table
from logging_lib.html.timeline import Point, TimeAxis
from logging_lib.profile.words import METRIC_NAMES
from logging_lib.report.model import ClassifierReport, EstimateReport, ModelReport

SHOWN: Final = 30
_BY_CLASS: Final = ("labels", "predicted", "precision", "recall", "f1", "roc_auc", "average_precision")


def show_classifier(report: ClassifierReport) -> Iterable[PagePanel]:
    """Yield the panels of a classifier, or one that says why it could not be measured."""
    if report.problem:
        yield PagePanel(text=f"The quality was not measured: {report.problem}.")
        return
    overall = report.overall
    whose = _name_source(evaluated=report.evaluated)
    metrics = [name for name in METRIC_NAMES if overall["metrics"].get(name) is not None]
    yield PagePanel(
        table=Table(
            f"Quality of the class {overall['positive']}"
            if overall["positive"]
            else "Quality of the classes",
            ("metric", "labels that have arrived", "95 % interval", whose),
            [
                (
                    METRIC_NAMES[name],
                    format_number(overall["metrics"][name]),
                    _format_interval(overall["intervals"].get(name)),
                    format_number(report.trained.get(name)),
                )
                for name in metrics
            ],
        ),
        lines=report.notes,
    )
    drawing = draw_calibration(report)
    if drawing is not None:
        yield PagePanel(
            drawing=draw(drawing, "calibration"),
            table=Table(
                "Predicted probability and observed share",
                ("mean probability", "share", "95 % interval", "labels"),
                [
                    (
                        format_number(point["expected"]), format_number(point["observed"]),
                        _format_interval((point["low"], point["high"])), f"{point['rows']:,}",
                    )
                    for point in overall["reliability"]
                ],
            ),
            summary="Numbers",
        )  # fmt: skip
    columns = [
        name for name in _BY_CLASS if any(row.get(name) is not None for row in overall["classes"].values())
    ]
    yield _show_rows(
        "Each class against the others",
        "class",
        [(name, row) for name, row in list(overall["classes"].items())[:SHOWN]],
        columns,
    )
    if overall["thresholds"]:
        yield _show_thresholds(overall)
    for title, heading, segments in (
        ("By the time of the prediction", "from", report.periods),
        (f"By {shorten(report.by, 40)}", shorten(report.by, 40), report.slices),
    ):
        if segments:
            rows = [
                (segment["segment"], {"labels": segment["labels"], **segment["metrics"]})
                for segment in segments
            ]
            yield _show_rows(title, heading, rows, ["labels", *metrics])


def show_estimate(report: ModelReport) -> Iterable[PagePanel]:
    """Yield the panels of a quality that was estimated without labels, with its assumptions."""
    estimate = report.estimate
    if estimate is None:
        return
    labeled = report.classifier if report.classifier is not None and report.classifier.estimated else None
    heads = ["metric", "estimated", "95 % interval", _name_source(evaluated=estimate.evaluated)]
    if labeled is not None:
        heads += [f"estimated, {labeled.labels:,} with labels", "by their labels"]
    rows = []
    for name in METRIC_NAMES:
        if estimate.metrics.get(name) is None:
            continue
        row = [
            METRIC_NAMES[name], format_number(estimate.metrics[name]),
            _format_interval(estimate.intervals.get(name)), format_number(estimate.expected.get(name)),
        ]  # fmt: skip
        if labeled is not None:
            row += [
                format_number(labeled.estimated.get(name)),
                format_number(labeled.overall["metrics"].get(name)),
            ]
        rows.append(row)
    yield PagePanel(
        text=describe_estimate(estimate),
        table=Table(
            f"Estimated before labels arrive, for {estimate.predictions:,.0f} predictions", heads, rows
        ),
    )
    drawing = draw_estimate(report, estimate)
    if drawing is not None:
        yield PagePanel(drawing=draw(drawing, "estimate"))
    columns = [
        name for name in _BY_CLASS if any(row.get(name) is not None for row in estimate.classes.values())
    ]
    if columns:
        yield replace(
            _show_rows("Estimated of each class", "class", list(estimate.classes.items())[:SHOWN], columns),
            summary="Estimated of each class",
        )


def describe_estimate(estimate: EstimateReport) -> str:
    """Describe the basis and the assumptions of an estimate."""
    source = (
        f"Calibrated on {estimate.rows:,} rows that the model was not trained on. "
        if estimate.evaluated
        else f"OPTIMISTIC: calibrated on {estimate.rows:,} training rows, because the profile was fitted without "
        "--evaluation. "
    )
    return source + ASSUMPTIONS


def draw_estimate(report: ModelReport, estimate: EstimateReport) -> Drawing | None:
    """Draw the estimated accuracy over time, beside the accuracy by labels; None for a single interval."""
    if len(estimate.moments) < 2:
        return None
    subject = report.subject
    realized = next(
        (q.moments for q in report.quality if (q.version, q.role) == (subject.version, subject.role)), ()
    )
    series = {
        "estimated": [Point(moment.time, moment.value, 2 * moment.error) for moment in estimate.moments]
    }
    if realized:
        series["labels"] = [Point(moment.time, moment.value) for moment in realized]
    values = [moment.value for moment in estimate.moments]
    trained = estimate.expected.get("accuracy")
    times = sorted({point.time for points in series.values() for point in points})
    return timeline.lines(
        TimeAxis(tuple(times), report.interval, report.made_at.year),
        "Estimated accuracy over time",
        f"The estimated accuracy is between {min(values):.1%} and {max(values):.1%}; "
        "the band is its 95 % interval.",
        series,
        y_axis={"title": "accuracy", "tickCount": 4, "format": ".0%"},
        y_scale={"zero": False},
        height=130,
        level_at=None if trained is None else (trained, _name_source(evaluated=estimate.evaluated)),
    )


def _name_source(*, evaluated: bool) -> str:
    return "evaluation" if evaluated else "training, optimistic"


def draw_calibration(report: ClassifierReport) -> Drawing | None:
    """Draw probabilities against observed shares, with those of the evaluation; None without any."""
    points = report.overall["reliability"]
    if not points:
        return None
    positive = report.overall["positive"]
    what = f"the class {shorten(positive, 40)}" if positive else "the predicted class"
    furthest = max(points, key=lambda point: abs(point["expected"] - point["observed"]))
    return Drawing(
        "Calibration",
        f"How often {what} was the actual one, by its probability, with 95 % intervals; on the dashed line both "
        f"are equal. The largest difference is at {furthest['expected']:.2f}: it happened in "
        f"{furthest['observed']:.0%} of {furthest['rows']:,} labels.",
        (charts.reliability(points, report.curve),),
    )


def _show_thresholds(overall: Mapping[str, Any]) -> PagePanel:
    columns = list_thresholds(overall["thresholds"])
    rows = [
        (
            format_number(row["threshold"]) + (" (the model's)" if row["is_model"] else ""),
            *(format_number(row[name]) for name in columns[1:]),
        )
        for row in overall["thresholds"]
    ]
    title = (
        f"Quality at thresholds on the probability of {shorten(overall['positive'], 40)}"
        if overall["positive"]
        else "Answers by their probability, and how many of them are correct"
    )
    table = Table(title, tuple(name.replace("_", " ") for name in columns), rows)
    return PagePanel(table=table, summary="Thresholds")


def _show_rows(
    title: str, heading: str, rows: Sequence[tuple[str, Mapping[str, Any]]], columns: Sequence[str]
) -> PagePanel:
    heads = (heading, *(METRIC_NAMES.get(name, name) for name in columns))
    cells = [
        (shorten(name, 40), *(format_number(row.get(column)) for column in columns)) for name, row in rows
    ]
    return PagePanel(table=Table(title, heads, cells))


def _format_interval(ends: Sequence[float | None] | None) -> str:
    if ends is None or ends[0] is None or ends[1] is None:
        return NOTHING
    return f"{format_number(ends[0])} to {format_number(ends[1])}"
