"""Measure how well a model did where the label is known: errors, calibration, delay of the label. Weighted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from logging_lib.analysis.classification import (
    FEW_LABELS,
    Bin,
    LabeledAnswers,
    bound_mean,
    measure_classes,
    read_labeled,
    recognize_answers,
)
from logging_lib.analysis.multilabel import NOTE, find_unknown_labels, has_label_lists, measure_labels
from logging_lib.analysis.results import finite
from logging_lib.profile.classification import BINS
from logging_lib.profile.classifier import Classifier


@dataclass(frozen=True, slots=True)
class SegmentQuality:
    """The measured quality of one segment.

    Attributes:
        segment: its value; ``all`` for all rows.
        labels: the number of labels; ``weight`` is the number they represent.
        kind: ``numeric``, ``category``, or ``labels`` for several labels in each row.
        metrics: for numbers: ``mae``, ``rmse``, ``bias`` (prediction minus actual), ``r2``; for classes:
            ``accuracy``, ``macro_f1`` and, with probabilities, ``roc_auc``, ``average_precision``, ``log_loss``,
            ``brier`` and ``ece``; for several labels: ``exact_match``, the share of rows of which all labels are
            right, ``micro_f1`` over all labels and ``macro_f1``, the mean of the labels'.
        intervals: 95 % intervals of ``mae``, ``bias``, ``accuracy``, ``exact_match``, ``roc_auc``, ``log_loss`` and
            ``brier``.
        classes: class → precision, recall, f1, labels, predicted and, with probabilities, its areas.
        reliability: calibration, from the lowest score or prediction to the highest; for two classes of the
            probability of the positive one, for several of the predicted one.
        confusion: actual class → predicted class → labels.
        thresholds: for two classes, precision, recall and the like at each threshold; for several, how many answers
            have a probability of at least the threshold, and how many of those are right. ``is_model`` is 1 at the
            model's own threshold.
        positive: for two classes, the one that areas, calibration and thresholds are about.
    """

    segment: str
    labels: int
    weight: float
    kind: str
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    classes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    reliability: tuple[Bin, ...] = ()
    notes: tuple[str, ...] = ()
    confusion: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    thresholds: tuple[Mapping[str, float], ...] = ()
    positive: str = ""

    def document(self) -> dict[str, Any]:
        """Return the measures as a JSON object."""
        return {
            "segment": self.segment,
            "labels": self.labels,
            "weight": self.weight,
            "kind": self.kind,
            "metrics": {name: finite(value) for name, value in self.metrics.items()},
            "intervals": {name: [finite(end) for end in ends] for name, ends in self.intervals.items()},
            "classes": {name: {k: finite(v) for k, v in row.items()} for name, row in self.classes.items()},
            "reliability": [
                {
                    "rows": entry.rows,
                    "expected": finite(entry.expected),
                    "observed": finite(entry.observed),
                    "low": finite(entry.low),
                    "high": finite(entry.high),
                }
                for entry in self.reliability
            ],
            "notes": list(self.notes),
            "confusion": {name: dict(row) for name, row in self.confusion.items()},
            "thresholds": [{name: finite(value) for name, value in row.items()} for row in self.thresholds],
            "positive": self.positive,
        }


def measure(
    frame: pd.DataFrame, segment: str = "all", *, classifier: Classifier | None = None
) -> SegmentQuality:
    """Measure predictions with a known label.

    Args:
        frame: one row per prediction; columns ``prediction``, ``actual`` (several labels are a list or tuple), and
            where known, ``weight`` (1 unless sampled), ``score`` (probability of the predicted class) and
            ``scores`` (mapping class → probability).
        segment: the name of the rows' segment.
        classifier: the profile's entry for the model's classes. Without it, predictions between 0 and 1
            whose labels are all 0 or 1 are taken as probabilities of class 1.

    Raises:
        UnknownClasses: no label is one of the model's classes, or, of several in a row, none was ever predicted.
        ValueError: no row has both a prediction and an actual value.
    """
    return _measure_segments(frame, {segment: None}, classifier)[0]


def by_segment(
    frame: pd.DataFrame, *, max_segments: int = 50, classifier: Classifier | None = None
) -> list[SegmentQuality]:
    """Measure all rows, then each value of the column ``segment``, the largest first; see ``measure``."""
    segments: dict[str, str | None] = {"all": None}
    if "segment" in frame:
        named = frame["segment"].fillna("(missing)").astype(str)
        segments |= {str(value): str(value) for value in named.value_counts().index[:max_segments]}
        frame = frame.assign(segment=named)
    return _measure_segments(frame, segments, classifier)


def by_period(
    frame: pd.DataFrame, every: timedelta, *, classifier: Classifier | None = None
) -> list[SegmentQuality]:
    """Measure all rows, then those of each period in the order of time, by the column ``predicted_at``.

    Args:
        every: the length of a period; periods begin at multiples of it since 1970, in UTC.
    """
    times = pd.to_datetime(frame["predicted_at"], utc=True, format="ISO8601")
    begins = times.dt.floor(every).dt.strftime("%Y-%m-%d %H:%M")
    segments: dict[str, str | None] = {"all": None}
    segments |= {str(begin): str(begin) for begin in sorted(begins.dropna().unique())}
    return _measure_segments(frame.assign(segment=begins), segments, classifier)


def _measure_segments(
    frame: pd.DataFrame, segments: Mapping[str, str | None], classifier: Classifier | None
) -> list[SegmentQuality]:
    """Measure segments by title; each is a value of the column ``segment``, or None for all rows."""
    frame = frame.dropna(subset=["prediction", "actual"])
    if frame.empty:
        raise ValueError(f"{next(iter(segments))}: no row has both a prediction and an actual value")
    notes: tuple[str, ...] = ()
    if has_label_lists(frame):
        notes = (*find_unknown_labels(frame), NOTE)
        parts = [
            (title, frame if value is None else frame[frame["segment"] == value], value is None)
            for title, value in segments.items()
        ]
        return [
            _measure_label_lists(part, title, notes if is_whole else ())
            for title, part, is_whole in parts
            if len(part)
        ]
    if classifier is None and (classifier := recognize_answers(frame)) is not None:
        notes = (
            "predictions are between 0 and 1 and labels 0 or 1, so predictions are taken for the probability of 1, "
            "which is predicted from 0.5 on; fit the profile with --target and --prediction to say so",
        )
    answers = None
    if classifier is not None or not _are_numbers(frame):
        answers = read_labeled(frame, classifier)
        notes = (*notes, *answers.notes)
    measured = []
    for title, value in segments.items():
        rows = np.ones(len(frame), dtype=bool) if value is None else (frame["segment"] == value).to_numpy()
        few = (f"only {rows.sum()} labels",) if rows.sum() < FEW_LABELS else ()
        if not rows.any():
            continue
        if answers is None:
            measured.append(_measure_numbers(frame[rows], title, few))
        else:
            measured.append(
                _measure_classes(answers.select(rows), title, (*(notes if value is None else ()), *few))
            )
    return measured


def _measure_label_lists(frame: pd.DataFrame, segment: str, notes: tuple[str, ...]) -> SegmentQuality:
    measures = measure_labels(frame)
    few = (f"only {len(frame)} labels",) if len(frame) < FEW_LABELS else ()
    weight = float(frame["weight"].sum()) if "weight" in frame else float(len(frame))
    return SegmentQuality(
        segment,
        len(frame),
        weight,
        "labels",
        measures.metrics,
        measures.intervals,
        measures.classes,
        notes=(*notes, *few),
    )


def _are_numbers(frame: pd.DataFrame) -> bool:
    return not any(
        isinstance(value, str | bool) for name in ("prediction", "actual") for value in frame[name]
    )


def _measure_classes(answers: LabeledAnswers, segment: str, notes: tuple[str, ...]) -> SegmentQuality:
    measures = measure_classes(answers)
    return SegmentQuality(
        segment,
        len(answers.actual),
        float(answers.weight.sum()),
        "category",
        measures.metrics,
        measures.intervals,
        measures.classes,
        measures.reliability,
        notes,
        measures.confusion,
        measures.thresholds,
        "" if answers.positive is None else answers.classes[answers.positive],
    )


def delays(frame: pd.DataFrame) -> dict[str, float]:
    """Measure the time from prediction to known label, in seconds: labels, mean, quantiles. Unweighted.

    Args:
        frame: one row per label; column ``delay``, in seconds, null if unknown.
    """
    seconds = frame["delay"].dropna().to_numpy(dtype=float)
    if not len(seconds):
        return {"labels": 0}
    quantiles = {f"p{q:02d}": float(np.quantile(seconds, q / 100)) for q in (5, 25, 50, 75, 95, 99)}
    return {
        "labels": len(seconds),
        "mean": float(seconds.mean()),
        "min": float(seconds.min()),
        **quantiles,
        "max": float(seconds.max()),
    }


def _measure_numbers(frame: pd.DataFrame, segment: str, notes: tuple[str, ...]) -> SegmentQuality:
    weight = frame["weight"].to_numpy(dtype=float) if "weight" in frame else np.ones(len(frame))
    predicted, actual = (frame[name].to_numpy(dtype=float) for name in ("prediction", "actual"))
    error = predicted - actual
    mean_actual = np.average(actual, weights=weight)
    total = float(np.average((actual - mean_actual) ** 2, weights=weight))
    mse = float(np.average(error**2, weights=weight))
    metrics = {
        "mae": float(np.average(np.abs(error), weights=weight)),
        "rmse": math.sqrt(mse),
        "bias": float(np.average(error, weights=weight)),
        "r2": 1 - mse / total if total > 0 else math.nan,
    }
    intervals = {"mae": bound_mean(np.abs(error), weight), "bias": bound_mean(error, weight)}
    bins = []
    if len(predicted) >= 2 * BINS:
        order = np.argsort(predicted, kind="stable")
        for part in np.array_split(order, BINS):
            low, high = bound_mean(actual[part], weight[part])
            expected, observed = (
                float(np.average(values[part], weights=weight[part])) for values in (predicted, actual)
            )
            bins.append(Bin(len(part), expected, observed, low, high))
    return SegmentQuality(
        segment, len(frame), float(weight.sum()), "numeric", metrics, intervals, {}, tuple(bins), notes
    )
