"""Show a classifier's quality on a report's page: metrics, calibration, classes, thresholds, slices. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from logging_lib._util.formatting import NOTHING, format_number
from logging_lib._util.text import shorten
from logging_lib.analysis.classification import list_thresholds
from logging_lib.html import charts
from logging_lib.html.charts import Drawing, draw
from logging_lib.html.pages import PagePanel, Table
from logging_lib.profile.words import METRIC_NAMES
from logging_lib.report.model import ClassifierReport

SHOWN: Final = 30
_BY_CLASS: Final = ("labels", "predicted", "precision", "recall", "f1", "roc_auc", "average_precision")


def show_classifier(report: ClassifierReport) -> Iterable[PagePanel]:
    """Yield the panels of a classifier, or the one that says why it could not be measured."""
    if report.problem:
        yield PagePanel(text=f"The quality was not measured: {report.problem}.")
        return
    overall = report.overall
    whose = "evaluation" if report.evaluated else "training, optimistic"
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
                "Probability, and how often it happened",
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


def draw_calibration(report: ClassifierReport) -> Drawing | None:
    """Draw probabilities against how often they happened, with that of the evaluation; None without any."""
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
        f"What thresholds of the probability of {shorten(overall['positive'], 40)} would give"
        if overall["positive"]
        else "Answers with at least a probability, and how many of them are right"
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
