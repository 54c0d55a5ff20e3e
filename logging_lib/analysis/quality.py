"""How well a model did, where the truth is known: errors, calibration, how late the truth comes. Weighted."""

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
    of right answers, or the mean truth, with its interval."""

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
        metrics: numbers: ``mae``, ``rmse``, ``bias`` (prediction less truth), ``r2``; classes: ``accuracy``,
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
        """As JSON has it."""
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
                    "rows": one.rows,
                    "expected": finite(one.expected),
                    "observed": finite(one.observed),
                    "low": finite(one.low),
                    "high": finite(one.high),
                }
                for one in self.reliability
            ],
            "notes": list(self.notes),
        }


def measure(frame: pd.DataFrame, segment: str = "all") -> SegmentQuality:
    """Judge predictions whose truth is known.

    Args:
        frame: a row a prediction; columns ``prediction``, ``truth`` and, where known, ``weight`` (1 unless
            sampled), ``score`` (probability of the predicted class) and ``scores`` (mapping class → probability).
        segment: what the rows are.

    Raises:
        ValueError: no row has both a prediction and a truth.
    """
    frame = frame.dropna(subset=["prediction", "truth"])
    if frame.empty:
        raise ValueError(f"{segment}: no row has both a prediction and a truth")
    weight = frame["weight"].to_numpy(dtype=float) if "weight" in frame else np.ones(len(frame))
    numeric = not any(
        isinstance(value, str | bool) for name in ("prediction", "truth") for value in frame[name]
    )
    notes = (f"only {len(frame)} labels",) if len(frame) < FEW_LABELS else ()
    made = _numbers(frame, weight) if numeric else _classes(frame, weight)
    return SegmentQuality(
        segment, len(frame), float(weight.sum()), "numeric" if numeric else "category", *made, notes
    )


def by_segment(frame: pd.DataFrame, *, most: int = 50) -> list[SegmentQuality]:
    """All rows, then each value of the column ``segment``, the largest first."""
    found = [measure(frame)]
    if "segment" in frame:
        named = frame["segment"].fillna("(missing)").astype(str)
        found += [measure(frame[named == value], str(value)) for value in named.value_counts().index[:most]]
    return found


def delays(frame: pd.DataFrame) -> dict[str, float]:
    """How long after its prediction the truth was known, in seconds: labels, mean, quantiles, weighted by none.

    Args:
        frame: a row a label; column ``delay``, in seconds, null where it is not known.
    """
    known = frame["delay"].dropna().to_numpy(dtype=float)
    if not len(known):
        return {"labels": 0}
    found = {f"p{q:02d}": float(np.quantile(known, q / 100)) for q in (5, 25, 50, 75, 95, 99)}
    return {
        "labels": len(known),
        "mean": float(known.mean()),
        "min": float(known.min()),
        **found,
        "max": float(known.max()),
    }


_Made = tuple[dict[str, float], dict[str, tuple[float, float]], dict[str, dict[str, float]], tuple[Bin, ...]]


def _numbers(frame: pd.DataFrame, weight: Array) -> _Made:
    guess, truth = (frame[name].to_numpy(dtype=float) for name in ("prediction", "truth"))
    error = guess - truth
    mean_truth = np.average(truth, weights=weight)
    total = float(np.average((truth - mean_truth) ** 2, weights=weight))
    mse = float(np.average(error**2, weights=weight))
    metrics = {
        "mae": float(np.average(np.abs(error), weights=weight)),
        "rmse": math.sqrt(mse),
        "bias": float(np.average(error, weights=weight)),
        "r2": 1 - mse / total if total > 0 else math.nan,
    }
    intervals = {"mae": _mean_interval(np.abs(error), weight), "bias": _mean_interval(error, weight)}
    bins = []
    if len(guess) >= 2 * BINS:
        order = np.argsort(guess, kind="stable")
        for part in np.array_split(order, BINS):
            low, high = _mean_interval(truth[part], weight[part])
            expected, observed = (
                float(np.average(one[part], weights=weight[part])) for one in (guess, truth)
            )
            bins.append(Bin(len(part), expected, observed, low, high))
    return metrics, intervals, {}, tuple(bins)


def _mean_interval(values: Array, weight: Array) -> tuple[float, float]:
    """The 95 % interval of a weighted mean by Student's t, with Kish's effective size (Σw)² / Σw²."""
    size = _effective(weight)
    mean = float(np.average(values, weights=weight))
    if size <= 1:
        return -math.inf, math.inf
    spread = float(np.average((values - mean) ** 2, weights=weight)) * size / (size - 1)
    half = float(stats.t.isf(0.025, size - 1)) * math.sqrt(spread / size)
    return mean - half, mean + half


def _effective(weight: Array) -> float:
    return float(weight.sum() ** 2 / (weight**2).sum())


def _classes(frame: pd.DataFrame, weight: Array) -> _Made:
    guess, truth = (frame[name].astype(str).to_numpy() for name in ("prediction", "truth"))
    names, coded = np.unique(np.concatenate([guess, truth]), return_inverse=True)
    g, t = coded[: len(guess)], coded[len(guess) :]
    confusion = np.zeros((len(names), len(names)))
    np.add.at(confusion, (t, g), weight)
    right = g == t
    hit = np.diag(confusion)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, precision = hit / confusion.sum(axis=1), hit / confusion.sum(axis=0)
        f1 = 2 * hit / (confusion.sum(axis=1) + confusion.sum(axis=0))
    share = float(weight[right].sum() / weight.sum())
    metrics = {"accuracy": share, "macro_f1": float(np.nanmean(f1))}
    size = _effective(weight)
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
        known = frame["score"].notna().to_numpy()
        score = np.clip(frame["score"].to_numpy(dtype=float)[known], 0, 1)
        metrics |= {"brier": float(np.average((score - right[known]) ** 2, weights=weight[known]))}
        bins, metrics["ece"] = _reliability(score, right[known], weight[known])
    if "scores" in frame and (given := frame["scores"].map(lambda one: isinstance(one, Mapping))).any():
        metrics |= _of_scores(frame["scores"][given], truth[given.to_numpy()], weight[given.to_numpy()])
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
            float(np.average(one[inside], weights=w)) for one in (score, right.astype(float))
        )
        size = _effective(w)
        bins.append(Bin(int(inside.sum()), expected, observed, *wilson(observed * size, size)))
        error += abs(expected - observed) * float(w.sum() / weight.sum())
    return tuple(bins), error


def _of_scores(scores: pd.Series, truth: Array, weight: Array) -> dict[str, float]:
    """Brier's score over all classes (1950), log loss and, of two classes, the area under the ROC curve."""
    names = sorted({str(name) for one in scores for name in one})
    matrix = np.array([[float(one.get(name) or 0.0) for name in names] for one in scores])
    target = np.array([[name == value for name in names] for value in truth], dtype=float)
    picked = np.clip((matrix * target).sum(axis=1), 1e-15, 1)
    found = {
        "brier": float(np.average(((matrix - target) ** 2).sum(axis=1), weights=weight)),
        "log_loss": float(np.average(-np.log(picked), weights=weight)),
    }
    if len(names) == 2 and 0 < target[:, 1].sum() < len(target):
        ranks = stats.rankdata(matrix[:, 1])
        positive = target[:, 1] == 1
        n, m = int(positive.sum()), int((~positive).sum())
        found["auc"] = float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))
    return found
