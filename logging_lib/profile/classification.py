"""Weighted measures of the probabilities of classes: areas under curves, Brier's score, log loss. There is no I/O.

Each equals scikit-learn's: ``roc_auc_score``, ``average_precision_score``, ``brier_score_loss``, ``log_loss``.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np

from logging_lib.profile.classifier import SMALLEST

Array = np.ndarray[Any, Any]
BINS: Final = 10


class CountsAbove(NamedTuple):
    """The weights of the rows at or above each distinct score, the highest score first; each of shape (n,)."""

    scores: Array
    true_positives: Array
    false_positives: Array


def count_above(scores: Array, positive: Array, weight: Array) -> CountsAbove:
    """Count actual positives and negatives at or above each distinct score.

    Args:
        scores: the probability of the positive class; shape (rows,).
        positive: whether it was the actual class; numbers between 0 and 1 are shares of a row. Shape (rows,).
        weight: the weight of each row; shape (rows,).
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    hits = np.cumsum(weight[order] * positive[order])[last]
    return CountsAbove(ordered[last], hits, np.cumsum(weight[order])[last] - hits)


def measure_roc_auc(scores: Array, positive: Array, weight: Array) -> float:
    """Measure the area under the ROC curve; NaN if there is only one class. Shapes are as in ``count_above``."""
    _, hits, misses = count_above(scores, positive, weight)
    if not len(hits) or hits[-1] <= 0 or misses[-1] <= 0:
        return math.nan
    rates = np.append(0.0, hits / hits[-1]), np.append(0.0, misses / misses[-1])
    return float(np.trapezoid(*rates))


def measure_average_precision(scores: Array, positive: Array, weight: Array) -> float:
    """Measure average precision, the area under the stepwise precision-recall curve; NaN without a positive row."""
    _, hits, misses = count_above(scores, positive, weight)
    if not len(hits) or hits[-1] <= 0:
        return math.nan
    return float(np.sum(np.diff(np.append(0.0, hits / hits[-1])) * hits / (hits + misses)))


def bound_roc_auc(area: float, positives: float, negatives: float, z: float = 1.96) -> tuple[float, float]:
    """Return the interval of an area under the ROC curve (Hanley and McNeil, Radiology 143, 1982)."""
    first, second = area / (2 - area), 2 * area * area / (1 + area)
    variance = (
        area * (1 - area) + (positives - 1) * (first - area * area) + (negatives - 1) * (second - area * area)
    ) / (positives * negatives)
    half = z * math.sqrt(max(variance, 0.0))
    return max(0.0, area - half), min(1.0, area + half)


def measure_rows(probabilities: Array, actual: Array) -> tuple[Array, Array]:
    """Return Brier's score and the log loss of each row, each of shape (rows,).

    Args:
        probabilities: shape (rows, classes).
        actual: the index of the actual class, or -1 if it is not one of the classes; shape (rows,).
    """
    target = np.arange(probabilities.shape[1]) == actual[:, None]
    squares = ((probabilities - target) ** 2).sum(axis=1)
    picked = (probabilities * target).sum(axis=1)
    brier = squares / 2 if probabilities.shape[1] == 2 else squares
    return brier, -np.log(np.clip(picked, SMALLEST, 1.0))


def measure_calibration_error(scores: Array, right: Array, weight: Array) -> float:
    """Measure the expected calibration error: the mean distance between the score and the share that was right,
    over bins of equal width (Guo et al., On Calibration of Modern Neural Networks, 2017, eq. 3)."""
    place = np.minimum((scores * BINS).astype(int), BINS - 1)
    gaps = np.bincount(place, weight * (scores - right), BINS)
    return float(np.abs(gaps).sum() / weight.sum())


def measure_probabilities(
    probabilities: Array, actual: Array, weight: Array, positive: int | None
) -> dict[str, float]:
    """Measure ``roc_auc``, ``average_precision``, ``log_loss``, ``brier`` and ``ece``.

    With more than two classes, the areas are means over the classes that occur, of each class against the others.
    The calibration error is that of the positive class or, with more than two classes, of the most probable one.

    Args:
        probabilities: shape (rows, classes).
        actual: the index of the actual class, or -1; shape (rows,).
        weight: the weight of each row; shape (rows,).
        positive: the index of the positive class; None if there are more than two classes.
    """
    brier, log_loss = measure_rows(probabilities, actual)
    places = range(probabilities.shape[1]) if positive is None else (positive,)
    areas = [
        (
            measure_roc_auc(probabilities[:, i], actual == i, weight),
            measure_average_precision(probabilities[:, i], actual == i, weight),
        )
        for i in places
        if (actual == i).any()
    ]
    roc_auc, precision = (
        (float(np.mean([pair[j] for pair in areas])) if areas else math.nan) for j in (0, 1)
    )
    top = probabilities.argmax(axis=1) if positive is None else np.full(len(actual), positive)
    scores = np.clip(probabilities[np.arange(len(top)), top], 0, 1)
    return {
        "roc_auc": roc_auc,
        "average_precision": precision,
        "log_loss": float(np.average(log_loss, weights=weight)),
        "brier": float(np.average(brier, weights=weight)),
        "ece": measure_calibration_error(scores, (top == actual).astype(float), weight),
    }
