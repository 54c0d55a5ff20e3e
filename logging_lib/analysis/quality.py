"""How well a model did, where the label is known: errors, calibration, delay of the label. Weighted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy import stats

from logging_lib.analysis.contingency import wilson
from logging_lib.analysis.results import finite

Array = np.ndarray[Any, Any]
BINS: Final = 10
FEW_LABELS: Final = 30


@dataclass(frozen=True, slots=True)
class Bin:
    """A bin of the reliability table: ``expected`` is the mean score or prediction, ``observed`` the share
    of right answers, or the mean actual value, with its interval."""

    rows: int
    expected: float
    observed: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class SegmentQuality:
    """Of one segment.

    Attributes:
        segment: its value; ``all`` for everything.
        labels: how many; ``weight`` what they stand for.
        kind: ``numeric`` or ``category``.
        metrics: numbers: ``mae``, ``rmse``, ``bias`` (prediction less actual), ``r2``; classes: ``accuracy``,
            ``macro_f1``, ``brier``, ``log_loss``, ``ece``, and of two classes ``auc``.
        intervals: 95 % intervals of ``mae``, ``bias`` and ``accuracy``.
        classes: class → precision, recall, f1, labels.
        reliability: calibration, from the lowest score or prediction to the highest.
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

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
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
        }


def measure(frame: pd.DataFrame, segment: str = "all") -> SegmentQuality:
    """Measure predictions whose label is known.

    Args:
        frame: a row a prediction; columns ``prediction``, ``actual`` and, where known, ``weight`` (1 unless
            sampled), ``score`` (probability of the predicted class) and ``scores`` (mapping class → probability).
        segment: what the rows are.

    Raises:
        ValueError: no row has both a prediction and an actual value.
    """
    frame = frame.dropna(subset=["prediction", "actual"])
    if frame.empty:
        raise ValueError(f"{segment}: no row has both a prediction and an actual value")
    weight = frame["weight"].to_numpy(dtype=float) if "weight" in frame else np.ones(len(frame))
    numeric = not any(
        isinstance(value, str | bool) for name in ("prediction", "actual") for value in frame[name]
    )
    notes = (f"only {len(frame)} labels",) if len(frame) < FEW_LABELS else ()
    measures = _measure_numbers(frame, weight) if numeric else _measure_classes(frame, weight)
    return SegmentQuality(
        segment, len(frame), float(weight.sum()), "numeric" if numeric else "category", *measures, notes
    )


def by_segment(frame: pd.DataFrame, *, max_segments: int = 50) -> list[SegmentQuality]:
    """Measure all rows, then each value of the column ``segment``, the largest first."""
    segments = [measure(frame)]
    if "segment" in frame:
        named = frame["segment"].fillna("(missing)").astype(str)
        segments += [
            measure(frame[named == value], str(value)) for value in named.value_counts().index[:max_segments]
        ]
    return segments


def delays(frame: pd.DataFrame) -> dict[str, float]:
    """Measure how long after its prediction a label was known, in seconds: labels, mean, quantiles. Unweighted.

    Args:
        frame: a row a label; column ``delay``, in seconds, null where it is not known.
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


_Measures = tuple[
    dict[str, float], dict[str, tuple[float, float]], dict[str, dict[str, float]], tuple[Bin, ...]
]


def _measure_numbers(frame: pd.DataFrame, weight: Array) -> _Measures:
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
    intervals = {"mae": _mean_interval(np.abs(error), weight), "bias": _mean_interval(error, weight)}
    bins = []
    if len(predicted) >= 2 * BINS:
        order = np.argsort(predicted, kind="stable")
        for part in np.array_split(order, BINS):
            low, high = _mean_interval(actual[part], weight[part])
            expected, observed = (
                float(np.average(values[part], weights=weight[part])) for values in (predicted, actual)
            )
            bins.append(Bin(len(part), expected, observed, low, high))
    return metrics, intervals, {}, tuple(bins)


def _mean_interval(values: Array, weight: Array) -> tuple[float, float]:
    """The 95 % interval of a weighted mean by Student's t, with Kish's effective size (Σw)² / Σw²."""
    size = _effective_size(weight)
    mean = float(np.average(values, weights=weight))
    if size <= 1:
        return -math.inf, math.inf
    spread = float(np.average((values - mean) ** 2, weights=weight)) * size / (size - 1)
    half = float(stats.t.isf(0.025, size - 1)) * math.sqrt(spread / size)
    return mean - half, mean + half


def _effective_size(weight: Array) -> float:
    return float(weight.sum() ** 2 / (weight**2).sum())


def _measure_classes(frame: pd.DataFrame, weight: Array) -> _Measures:
    predicted, actual = (frame[name].astype(str).to_numpy() for name in ("prediction", "actual"))
    names, coded = np.unique(np.concatenate([predicted, actual]), return_inverse=True)
    g, t = coded[: len(predicted)], coded[len(predicted) :]
    confusion = np.zeros((len(names), len(names)))
    np.add.at(confusion, (t, g), weight)
    right = g == t
    hit = np.diag(confusion)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, precision = hit / confusion.sum(axis=1), hit / confusion.sum(axis=0)
        f1 = 2 * hit / (confusion.sum(axis=1) + confusion.sum(axis=0))
    share = float(weight[right].sum() / weight.sum())
    metrics = {"accuracy": share, "macro_f1": float(np.nanmean(f1))}
    size = _effective_size(weight)
    intervals = {"accuracy": wilson(share * size, size)}
    classes = {
        str(name): {
            "precision": float(precision[i]), "recall": float(recall[i]), "f1": float(f1[i]),
            "labels": float(confusion[i].sum()),
        }
        for i, name in enumerate(names)
    }  # fmt: skip
    bins: tuple[Bin, ...] = ()
    if "score" in frame and frame["score"].notna().any():
        has_score = frame["score"].notna().to_numpy()
        score = np.clip(frame["score"].to_numpy(dtype=float)[has_score], 0, 1)
        metrics |= {"brier": float(np.average((score - right[has_score]) ** 2, weights=weight[has_score]))}
        bins, metrics["ece"] = _reliability(score, right[has_score], weight[has_score])
    if (
        "scores" in frame
        and (has_scores := frame["scores"].map(lambda value: isinstance(value, Mapping))).any()
    ):
        metrics |= _measure_scores(
            frame["scores"][has_scores], actual[has_scores.to_numpy()], weight[has_scores.to_numpy()]
        )
    return metrics, intervals, classes, bins


def _reliability(score: Array, right: Array, weight: Array) -> tuple[tuple[Bin, ...], float]:
    """Bins of equal width, and the expected calibration error: the mean distance between score and share of right
    answers (Guo et al., On Calibration of Modern Neural Networks, 2017, eq. 3)."""
    place = np.minimum((score * BINS).astype(int), BINS - 1)
    bins, error = [], 0.0
    for i in range(BINS):
        inside = place == i
        if not inside.any():
            continue
        w = weight[inside]
        expected, observed = (
            float(np.average(values[inside], weights=w)) for values in (score, right.astype(float))
        )
        size = _effective_size(w)
        bins.append(Bin(int(inside.sum()), expected, observed, *wilson(observed * size, size)))
        error += abs(expected - observed) * float(w.sum() / weight.sum())
    return tuple(bins), error


def _measure_scores(scores: pd.Series, actual: Array, weight: Array) -> dict[str, float]:
    """Brier's score over all classes (1950), log loss and, of two classes, the area under the ROC curve."""
    names = sorted({str(name) for row in scores for name in row})
    matrix = np.array([[float(row.get(name) or 0.0) for name in names] for row in scores])
    target = np.array([[name == value for name in names] for value in actual], dtype=float)
    picked = np.clip((matrix * target).sum(axis=1), 1e-15, 1)
    metrics = {
        "brier": float(np.average(((matrix - target) ** 2).sum(axis=1), weights=weight)),
        "log_loss": float(np.average(-np.log(picked), weights=weight)),
    }
    if len(names) == 2 and 0 < target[:, 1].sum() < len(target):
        ranks = stats.rankdata(matrix[:, 1])
        positive = target[:, 1] == 1
        n, m = int(positive.sum()), int((~positive).sum())
        metrics["auc"] = float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))
    return metrics
