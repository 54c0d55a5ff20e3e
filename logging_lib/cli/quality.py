"""Print the quality of a model as tables, for ``logging-lib labels quality``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import typer
from rich.table import Table

from logging_lib._util.formatting import format_number
from logging_lib.analysis.classification import list_thresholds
from logging_lib.analysis.quality import SegmentQuality
from logging_lib.cli import output
from logging_lib.profile.words import METRIC_NAMES

SHOWN: Final = 20
"""The maximum number of classes shown."""
_CLASS_COLUMNS: Final = ("labels", "predicted", "precision", "recall", "f1", "roc_auc", "average_precision")


def show_quality(segments: Sequence[SegmentQuality], expected: Mapping[str, Any]) -> None:
    """Print the segments beside training, then for all rows classes, confusions, thresholds and calibration.

    Args:
        segments: the first one is all rows.
        expected: ``expected`` of the profile's document, with ``quality`` and ``classifier`` if it has them.
    """
    overall = segments[0]
    names = list(overall.metrics)
    table = Table(
        "segment", "labels", *(METRIC_NAMES.get(name, name) for name in names), box=None, pad_edge=False
    )
    trained = _list_trained(expected)
    if trained is not None:
        title, rows, metrics = trained
        cells = [format_number(metrics[name]) if name in metrics else "" for name in names]
        table.add_row(title, f"{rows:,}", *cells)
    for segment in segments:
        cells = []
        for name in names:
            low, high = segment.intervals.get(name, (None, None))
            interval = f" [{format_number(low)}, {format_number(high)}]" if low is not None else ""
            cells.append(output.safe(format_number(segment.metrics.get(name)) + interval))
        table.add_row(output.safe(segment.segment), f"{segment.labels:,}", *cells)
    output.console().print(table)
    for note in overall.notes:
        output.note(note)
    if overall.classes:
        _show_classes(overall)
    if overall.thresholds:
        _show_thresholds(overall)
    if overall.reliability:
        typer.echo(f"calibration, {describe_axes(overall)} [95 % interval] (labels):")
        for point in overall.reliability:
            interval = f"[{format_number(point.low)}, {format_number(point.high)}]"
            typer.echo(
                f"  {format_number(point.expected)} → {format_number(point.observed)} {interval} ({point.rows:,})"
            )


def describe_axes(quality: SegmentQuality) -> str:
    """Return what the calibration compares."""
    if quality.kind == "numeric":
        return "prediction → actual"
    return (
        f"probability of {output.plain(quality.positive)} → its share"
        if quality.positive
        else "score → share right"
    )


def _list_trained(expected: Mapping[str, Any]) -> tuple[str, int, Mapping[str, float]] | None:
    """Return the model's quality at the time its profile was fitted: a title, rows, and metrics."""
    quality, classifier = expected.get("quality") or {}, expected.get("classifier") or {}
    title = "(evaluation)" if classifier.get("evaluated") else "(training, held out)"
    if classifier.get("metrics"):
        return title, int(classifier["rows"]), classifier["metrics"]
    if quality.get("errors"):
        return title, int(quality["errors"]["count"]), {"mae": quality["errors"]["mean"]}
    if confusion := quality.get("confusion"):
        total = sum(count for row in confusion.values() for count in row.values())
        right = sum(row.get(name, 0) for name, row in confusion.items())
        return title, total, {"accuracy": right / total}
    return None


def _show_classes(overall: SegmentQuality) -> None:
    columns = [name for name in _CLASS_COLUMNS if any(name in row for row in overall.classes.values())]
    table = Table("class", *(METRIC_NAMES.get(name, name) for name in columns), box=None, pad_edge=False)
    ranked = sorted(overall.classes.items(), key=lambda item: -item[1]["labels"])[:SHOWN]
    for name, row in sorted(ranked):
        table.add_row(output.safe(name), *(format_number(row.get(key)) for key in columns))
    output.console().print(table)
    if len(overall.classes) > SHOWN:
        output.note(f"{len(overall.classes) - SHOWN} more classes; --json has them")
    if not overall.confusion:
        return
    predicted = sorted({label for row in overall.confusion.values() for label in row})[:SHOWN]
    matrix = Table("actual \\ predicted", *map(output.safe, predicted), box=None, pad_edge=False)
    for actual, counts in list(overall.confusion.items())[:SHOWN]:
        matrix.add_row(output.safe(actual), *(f"{counts.get(label, 0):,.0f}" for label in predicted))
    output.console().print(matrix)


def _show_thresholds(overall: SegmentQuality) -> None:
    columns = list_thresholds(overall.thresholds)
    table = Table(*(name.replace("_", " ") for name in columns), "", box=None, pad_edge=False)
    for row in overall.thresholds:
        table.add_row(
            *(format_number(row[name]) for name in columns), "the model's" if row["is_model"] else ""
        )
    output.console().print(table)
