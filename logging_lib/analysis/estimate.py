"""Estimate a classifier's quality before labels arrive, from calibrated probabilities: CBPE. Weighted. Pure.

This is confidence-based performance estimation as in NannyML. If four of five predictions with a calibrated
probability of 0.8 are right, the number of right predictions in a batch is known without labels. A row with the
calibrated probability c is an actual positive to the part c and a negative to the part 1 - c; every metric is
computed from these parts. The estimate holds as long as the calibration does. It sees inputs that moved to where
the model is less certain. It does not see that the same inputs have other outcomes (concept drift), nor that
probabilities are wrong for inputs that the evaluation did not have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from logging_lib.analysis.classification import LabeledAnswers
from logging_lib.profile.calibration import apply_calibration, calibrate_probabilities
from logging_lib.profile.classification import (
    Array,
    bound_roc_auc,
    measure_average_precision,
    measure_roc_auc,
)
from logging_lib.profile.classifier import CONFIDENCE, SMALLEST, Classifier

ASSUMPTIONS: Final = (
    "An estimate from calibrated probabilities holds while the same inputs have the same outcomes (no concept "
    "drift), and while probabilities are as right where inputs moved as they were on the rows of the evaluation."
)
Z: Final = 1.96


class ClassScores(NamedTuple):
    """The scores of one class, by row or by bin; each of shape (n,).

    Attributes:
        scores: the model's probability of the class.
        weight: the weight of the rows with that score.
        predicted: the weight of those rows for which the class was predicted.
    """

    scores: Array
    weight: Array
    predicted: Array


@dataclass(frozen=True, slots=True)
class ExpectedErrors:
    """Sums over the events with an expected error, from ``ml.prediction.expected_error``."""

    weight: float
    squared_weight: float
    errors: float
    squared_errors: float

    @property
    def size(self) -> float:
        """Return Kish's effective number of events."""
        return self.weight**2 / self.squared_weight if self.squared_weight > 0 else 0.0

    @property
    def accuracy(self) -> float:
        """Return the estimated share of right answers; needs at least one event."""
        return 1 - self.errors / self.weight


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate of what labels will show.

    Attributes:
        weight: the weight of the estimated predictions.
        metrics: by the names of ``logging_lib.analysis.quality``.
        intervals: contain the realized value for this many predictions 95 % of the time, if the assumptions hold.
        classes: class → estimated precision, recall and f1.
    """

    weight: float
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    classes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def bound_accuracy(errors: ExpectedErrors, classifier: Classifier) -> tuple[float, float]:
    """Bound the accuracy that labels will show, by chance at this size and by the evaluation's own error."""
    mean = errors.errors / errors.weight
    chance = max(mean - errors.squared_errors / errors.weight, 0.0) / errors.size
    realized = classifier.metrics.get("accuracy", errors.accuracy)
    evaluation = realized * (1 - realized) / classifier.rows if classifier.rows else 0.0
    half = Z * math.sqrt(chance + evaluation)
    return max(0.0, errors.accuracy - half), min(1.0, errors.accuracy + half)


def estimate_quality(
    classifier: Classifier,
    scores: Mapping[str, ClassScores],
    errors: Mapping[str, ExpectedErrors],
    calibrated: Mapping[str, Array] | None = None,
) -> Estimate | None:
    """Estimate the quality of predictions from their scores; None if there is nothing to estimate from.

    Args:
        classifier: the profile's entry for the classifier, with its calibration.
        scores: class → its scores; for two classes only the positive one's. May be empty.
        errors: predicted class → the expected errors of the predictions of that class.
        calibrated: class → calibrated probability of each row or bin; default: by the class's own curve. Several
            classes are scaled so that together they have as many actual rows as there are predictions.
    """
    total = _add_errors(list(errors.values()))
    if total.weight <= 0:
        return None
    metrics = {"accuracy": total.accuracy}
    intervals = {"accuracy": bound_accuracy(total, classifier)}
    if not scores:
        classes = {name: {"precision": part.accuracy} for name, part in errors.items() if part.weight > 0}
        return Estimate(total.weight, metrics, intervals, classes)
    shares = calibrated or _calibrate(classifier, scores)
    classes = {}
    if classifier.positive:
        of_class, share = scores[classifier.positive], shares[classifier.positive]
        hits = float((of_class.predicted * share).sum())
        actual, predicted = float((of_class.weight * share).sum()), float(of_class.predicted.sum())
        weight = float(of_class.weight.sum())
        misses = weight - predicted - (actual - hits)
        classes[classifier.positive] = _rate(hits, actual, predicted)
        classes[classifier.negative] = _rate(misses, weight - actual, weight - predicted)
    else:
        for name, of_class in scores.items():
            part = errors.get(name)
            hits = 0.0 if part is None else part.weight - part.errors
            predicted = 0.0 if part is None else part.weight
            classes[name] = _rate(hits, float((of_class.weight * shares[name]).sum()), predicted)
    areas = {
        name: (
            measure_roc_auc(of_class.scores, shares[name], of_class.weight),
            measure_average_precision(of_class.scores, shares[name], of_class.weight),
        )
        for name, of_class in scores.items()
    }
    for name, (area, precision) in areas.items():
        classes[name] |= {"roc_auc": area, "average_precision": precision}
    known = [pair for pair in areas.values() if not any(map(math.isnan, pair))]
    if known:
        metrics |= {
            "roc_auc": float(np.mean([area for area, _ in known])),
            "average_precision": float(np.mean([precision for _, precision in known])),
        }
    f1 = [row["f1"] for row in classes.values() if math.isfinite(row["f1"])]
    metrics |= {"macro_f1": float(np.mean(f1)), **_estimate_losses(classifier, scores, shares)}
    if classifier.positive and known:
        of_class, share = scores[classifier.positive], shares[classifier.positive]
        positives = float((of_class.weight * share).sum() / of_class.weight.sum())
        intervals["roc_auc"] = _bound_area(metrics["roc_auc"], positives, total.size, classifier.rows)
    return Estimate(total.weight, metrics, intervals, classes)


def estimate_answers(classifier: Classifier, answers: LabeledAnswers) -> Estimate | None:
    """Estimate the quality of answers as if their labels were unknown, to compare it with the measured quality."""
    names = answers.classes
    if not classifier.calibration or not set(classifier.classes) <= set(names):
        return None
    known = ~np.isnan(answers.confidence)
    places = [names.index(name) for name in classifier.classes]
    has_all = CONFIDENCE not in classifier.calibration
    if has_all:
        known &= ~np.isnan(answers.probabilities).any(axis=1)
    if not known.any():
        return None
    picked = answers.select(known)
    if not has_all:
        right = apply_calibration(classifier.calibration[CONFIDENCE], picked.confidence)
        return estimate_quality(classifier, {}, _group_errors(picked, 1 - right))
    probabilities = picked.probabilities[:, places]
    calibrated = calibrate_probabilities(classifier, probabilities)
    scores, shares = {}, {}
    for i, name in enumerate(classifier.classes):
        if not classifier.positive or name == classifier.positive:
            chosen = picked.weight * (picked.predicted == places[i])
            scores[name], shares[name] = (
                ClassScores(probabilities[:, i], picked.weight, chosen),
                calibrated[:, i],
            )
    full = np.zeros((len(calibrated), len(names)))
    full[:, places] = calibrated
    wrong = 1 - full[np.arange(len(full)), picked.predicted]
    return estimate_quality(classifier, scores, _group_errors(picked, wrong), shares)


def _group_errors(answers: LabeledAnswers, wrong: Array) -> dict[str, ExpectedErrors]:
    groups = {}
    for i, name in enumerate(answers.classes):
        rows = answers.predicted == i
        if rows.any():
            w, e = answers.weight[rows], wrong[rows]
            sums = (w.sum(), (w * w).sum(), (w * e).sum(), (w * e * e).sum())
            groups[name] = ExpectedErrors(*(float(number) for number in sums))
    return groups


def _add_errors(parts: Sequence[ExpectedErrors]) -> ExpectedErrors:
    return ExpectedErrors(
        sum(part.weight for part in parts),
        sum(part.squared_weight for part in parts),
        sum(part.errors for part in parts),
        sum(part.squared_errors for part in parts),
    )


def _calibrate(classifier: Classifier, scores: Mapping[str, ClassScores]) -> dict[str, Array]:
    """Calibrate each class by its own curve; scale several classes to sum to the number of predictions."""
    shares = {
        name: apply_calibration(classifier.calibration[name], of_class.scores)
        for name, of_class in scores.items()
    }
    if classifier.positive:
        return shares
    actual = sum(float((scores[name].weight * share).sum()) for name, share in shares.items())
    total = max(float(of_class.weight.sum()) for of_class in scores.values())
    return {name: share * total / actual for name, share in shares.items()} if actual > 0 else shares


def _rate(hits: float, actual: float, predicted: float) -> dict[str, float]:
    return {
        "precision": hits / predicted if predicted > 0 else math.nan,
        "recall": hits / actual if actual > 0 else math.nan,
        "f1": 2 * hits / (actual + predicted) if actual + predicted > 0 else math.nan,
    }


def _estimate_losses(
    classifier: Classifier, scores: Mapping[str, ClassScores], shares: Mapping[str, Array]
) -> dict[str, float]:
    """Estimate Brier's score and the log loss of the model's own probabilities."""
    brier = log_loss = 0.0
    for name, (score, weight, _) in scores.items():
        share, total = shares[name], weight.sum()
        brier += float((weight * (score * score * (1 - share) + (1 - score) ** 2 * share)).sum() / total)
        picked = -share * np.log(np.clip(score, SMALLEST, 1))
        if classifier.positive:
            picked -= (1 - share) * np.log(np.clip(1 - score, SMALLEST, 1))
        log_loss += float((weight * picked).sum() / total)
    return {"brier": brier, "log_loss": log_loss}


def _bound_area(area: float, share: float, size: float, rows: int) -> tuple[float, float]:
    """Bound an area by the numbers of predictions and of evaluation rows, each with the share of positives."""
    halves = [
        (high - low) / 2
        for number in (size, float(rows))
        if share * number >= 1 and (1 - share) * number >= 1
        for low, high in (bound_roc_auc(area, share * number, (1 - share) * number),)
    ]
    half = math.sqrt(sum(part * part for part in halves)) if halves else 0.5
    return max(0.0, area - half), min(1.0, area + half)
