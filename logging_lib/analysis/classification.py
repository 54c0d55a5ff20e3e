"""Measure a classifier with known labels: areas, log loss, calibration, thresholds. Weighted. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy import stats

from logging_lib._util.formatting import list_values
from logging_lib.analysis.contingency import wilson
from logging_lib.profile.classification import (
    BINS,
    Array,
    bound_roc_auc,
    measure_average_precision,
    measure_calibration_error,
    measure_probabilities,
    measure_roc_auc,
    measure_rows,
)
from logging_lib.profile.classifier import Classifier, find_probabilities
from logging_lib.profile.coerce import category_text, to_python

THRESHOLDS: Final = tuple(i / 20 for i in range(1, 20))
FEW_LABELS: Final = 30


class UnknownClasses(ValueError):  # noqa: N818 - the labels are wrong, not the program
    """No label is one of the model's classes; the message names both."""


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
class LabeledAnswers:
    """Answers of a classifier with their actual classes.

    Attributes:
        classes: all classes that were predicted, are known to the model, or occur as labels.
        actual, predicted: indices into ``classes``; shape (rows,).
        weight: shape (rows,).
        probabilities: the probability of each class; NaN in rows without any. Shape (rows, classes).
        confidence: the probability of the predicted class, NaN where unknown; shape (rows,).
        positive: for two classes, the index of the one that thresholds are about; None for several.
        threshold: the least probability at which it is predicted; None if unknown.
        notes: caveats for the reader.
    """

    classes: tuple[str, ...]
    actual: Array
    predicted: Array
    weight: Array
    probabilities: Array
    confidence: Array
    positive: int | None
    threshold: float | None
    notes: tuple[str, ...] = ()

    def select(self, rows: Array) -> LabeledAnswers:
        """Return the answers of some rows, given as a mask of shape (rows,)."""
        return replace(
            self,
            actual=self.actual[rows], predicted=self.predicted[rows], weight=self.weight[rows],
            probabilities=self.probabilities[rows], confidence=self.confidence[rows],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ClassMeasures:
    """The result of ``measure_classes``; see ``logging_lib.analysis.quality.SegmentQuality``."""

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    classes: dict[str, dict[str, float]]
    reliability: tuple[Bin, ...]
    confusion: dict[str, dict[str, float]]
    thresholds: tuple[dict[str, float], ...] = field(default=())


def recognize_answers(frame: pd.DataFrame) -> Classifier | None:
    """Recognize numbers that are probabilities of class 1: predictions between 0 and 1, labels 0 and 1.

    Args:
        frame: columns ``prediction`` and ``actual``, without nulls.
    """
    values = [frame[name].map(_to_number) for name in ("prediction", "actual")]
    if any(column.isna().any() for column in values) or not len(frame):
        return None
    predicted, actual = values
    if not set(actual.unique()) <= {0.0, 1.0} or not predicted.between(0, 1).all():
        return None
    return Classifier(("0", "1"), "value", "1", 0.5)


def read_labeled(frame: pd.DataFrame, classifier: Classifier | None) -> LabeledAnswers:
    """Read predicted and actual classes, and probabilities, of joined labels.

    Args:
        frame: columns ``prediction``, ``actual``, ``weight`` and, where known, ``score`` and ``scores``; every row
            has a prediction and an actual value.
        classifier: the profile's entry for the model; None: use the classes that occur.

    Raises:
        UnknownClasses: no label is one of the model's classes.
    """
    answers = [_read_answer(row, classifier) for row in frame.to_dict("records")]
    labels = [category_text(to_python(value)) or str(value) for value in frame["actual"]]
    predicted = [answer["label"] for answer in answers]
    scored = {name for answer in answers for name in answer.get("scores") or ()}
    known = {*(classifier.classes if classifier is not None else ()), *predicted, *scored}
    strange = sorted(set(labels) - known)
    notes = []
    if strange:
        hits = sum(label not in known for label in labels)
        what = (
            f"{list_values(map(repr, strange))}; the model's classes are {list_values(map(repr, known), 10)}"
        )
        if hits == len(labels) and (classifier is not None or len(known) > 1):
            raise UnknownClasses(
                f"none of the {len(labels):,} labels is a class of the model: {what}. Write labels as the model "
                "writes its classes, and ingest them again"
            )
        notes.append(
            f"{hits:,} of {len(labels):,} labels are of classes that the model does not have: {what}"
        )
    classes = tuple(sorted({*known, *labels}))
    model_classes = tuple(sorted(known))
    places = {name: i for i, name in enumerate(classes)}
    probabilities = np.full((len(answers), len(classes)), np.nan)
    confidence = np.full(len(answers), np.nan)
    for i, answer in enumerate(answers):
        shares = find_probabilities(answer, model_classes)
        if shares:
            probabilities[i] = [shares.get(name, 0.0) for name in classes]
        score = shares.get(answer["label"], answer.get("score"))
        confidence[i] = math.nan if score is None else min(max(score, 0.0), 1.0)
    is_binary = len(classes) == 2
    positive = (
        classifier.positive if classifier is not None and classifier.positive in classes else classes[-1]
    )
    return LabeledAnswers(
        classes,
        np.array([places[label] for label in labels], dtype=np.int64),
        np.array([places[label] for label in predicted], dtype=np.int64),
        frame["weight"].to_numpy(dtype=float) if "weight" in frame else np.ones(len(frame)),
        probabilities,
        confidence,
        places[positive] if is_binary else None,
        classifier.threshold if classifier is not None else None,
        tuple(notes),
    )


def measure_classes(answers: LabeledAnswers) -> ClassMeasures:
    """Measure at least one answer."""
    names, actual, predicted, weight = answers.classes, answers.actual, answers.predicted, answers.weight
    confusion = np.zeros((len(names), len(names)))
    np.add.at(confusion, (actual, predicted), weight)
    hits, labels, answered = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, precision = hits / labels, hits / answered
        f1 = 2 * hits / (labels + answered)
    share, size = float(hits.sum() / weight.sum()), effective_size(weight)
    metrics = {"accuracy": share, "macro_f1": float(np.nanmean(f1))}
    intervals = {"accuracy": wilson(share * size, size)}
    classes = {
        name: {
            "precision": float(precision[i]), "recall": float(recall[i]), "f1": float(f1[i]),
            "labels": float(labels[i]), "predicted": float(answered[i]),
        }
        for i, name in enumerate(names)
        if labels[i] or answered[i]
    }  # fmt: skip
    reliability, thresholds = _measure_probabilities(answers, metrics, intervals, classes)
    counts = {
        name: {other: float(confusion[i, j]) for j, other in enumerate(names) if confusion[i, j]}
        for i, name in enumerate(names)
        if labels[i]
    }
    return ClassMeasures(metrics, intervals, classes, reliability, counts, thresholds)


def _measure_probabilities(
    answers: LabeledAnswers,
    metrics: dict[str, float],
    intervals: dict[str, tuple[float, float]],
    classes: dict[str, dict[str, float]],
) -> tuple[tuple[Bin, ...], tuple[dict[str, float], ...]]:
    """Add the measures of probabilities; return the calibration and the results at other thresholds."""
    has_all = np.asarray(~np.isnan(answers.probabilities).any(axis=1))
    scored = answers.select(has_all if has_all.any() else ~np.isnan(answers.confidence))
    if not len(scored.actual):
        return (), ()
    weight, right = scored.weight, (scored.predicted == scored.actual).astype(float)
    if not has_all.any():  # only the predicted class has a known probability
        pair = np.stack([scored.confidence, 1 - scored.confidence], axis=1)
        rows = dict(zip(("brier", "log_loss"), measure_rows(pair, (right == 0).astype(int)), strict=True))
        metrics |= {name: float(np.average(values, weights=weight)) for name, values in rows.items()}
        metrics["ece"] = measure_calibration_error(scored.confidence, right, weight)
    else:
        metrics |= measure_probabilities(scored.probabilities, scored.actual, weight, scored.positive)
        rows = dict(
            zip(("brier", "log_loss"), measure_rows(scored.probabilities, scored.actual), strict=True)
        )
        for i, name in enumerate(answers.classes):
            if name in classes:
                of_class = scored.probabilities[:, i], scored.actual == i, weight
                classes[name] |= {
                    "roc_auc": measure_roc_auc(*of_class),
                    "average_precision": measure_average_precision(*of_class),
                }
        if scored.positive is not None and math.isfinite(metrics["roc_auc"]):
            share = float(weight[scored.actual == scored.positive].sum() / weight.sum())
            size = effective_size(weight)
            intervals["roc_auc"] = bound_roc_auc(metrics["roc_auc"], share * size, (1 - share) * size)
    intervals |= {name: bound_mean(values, weight) for name, values in rows.items()}
    if scored.positive is not None and has_all.any():
        score, happened = scored.probabilities[:, scored.positive], scored.actual == scored.positive
        return bin_reliability(score, happened.astype(float), weight), _try_thresholds(scored)
    confidence = scored.confidence if not has_all.any() else np.nan_to_num(scored.confidence)
    return bin_reliability(confidence, right, weight), _try_confidence(confidence, right, weight)


def _try_thresholds(answers: LabeledAnswers) -> tuple[dict[str, float], ...]:
    """Return precision, recall and the like of the positive class at each threshold, including the model's own."""
    score, happened = answers.probabilities[:, answers.positive or 0], answers.actual == answers.positive
    total, positives = answers.weight.sum(), answers.weight[happened].sum()
    rows = []
    for threshold in sorted({*THRESHOLDS, *(() if answers.threshold is None else (answers.threshold,))}):
        above = score >= threshold
        hits, found = float(answers.weight[above & happened].sum()), float(answers.weight[above].sum())
        missed = float(positives - hits)
        rows.append(
            {
                "threshold": threshold,
                "is_model": float(threshold == answers.threshold),
                "predicted": found / total,
                "precision": hits / found if found else math.nan,
                "recall": hits / positives if positives else math.nan,
                "f1": 2 * hits / (found + positives) if found + positives else math.nan,
                "false_positive_rate": (found - hits) / (total - positives)
                if total > positives
                else math.nan,
                "accuracy": float(1 - (missed + found - hits) / total),
            }
        )
    return tuple(rows)


def _try_confidence(confidence: Array, right: Array, weight: Array) -> tuple[dict[str, float], ...]:
    """Return, for several classes, how many answers reach each confidence, and how many of those are right."""
    rows = []
    for threshold in THRESHOLDS:
        above = confidence >= threshold
        if above.any():
            accuracy = float(np.average(right[above], weights=weight[above]))
            share = float(weight[above].sum() / weight.sum())
            rows.append({"threshold": threshold, "is_model": 0.0, "answered": share, "accuracy": accuracy})
    return tuple(rows)


def bin_reliability(score: Array, happened: Array, weight: Array) -> tuple[Bin, ...]:
    """Compare scores with outcomes in bins of equal width; both arguments have shape (rows,)."""
    place = np.minimum((score * BINS).astype(int), BINS - 1)
    bins = []
    for i in range(BINS):
        inside = place == i
        if inside.any():
            w = weight[inside]
            expected, observed = (
                float(np.average(values[inside], weights=w)) for values in (score, happened)
            )
            size = effective_size(w)
            bins.append(Bin(int(inside.sum()), expected, observed, *wilson(observed * size, size)))
    return tuple(bins)


def bound_mean(values: Array, weight: Array) -> tuple[float, float]:
    """Return the 95 % interval of a weighted mean by Student's t, with Kish's effective size (Σw)² / Σw²."""
    size = effective_size(weight)
    mean = float(np.average(values, weights=weight))
    if size <= 1:
        return -math.inf, math.inf
    spread = float(np.average((values - mean) ** 2, weights=weight)) * size / (size - 1)
    half = float(stats.t.isf(0.025, size - 1)) * math.sqrt(spread / size)
    return mean - half, mean + half


def effective_size(weight: Array) -> float:
    """Return Kish's effective size of a weighted sample."""
    return float(weight.sum() ** 2 / (weight**2).sum())


def _read_answer(row: Mapping[Any, Any], classifier: Classifier | None) -> dict[str, Any]:
    """Return an answer in the form of ``ml.prediction``; an answer that is a probability gets its class."""
    prediction = to_python(row["prediction"])
    answer: dict[str, Any] = {}
    if classifier is not None and classifier.source == "value" and _to_number(prediction) is not None:
        answer["value"] = float(prediction)
        classifier.complete(answer)
    if "label" not in answer:
        answer["label"] = category_text(prediction) or str(prediction)
    score, scores = _to_number(row.get("score")), row.get("scores")
    if score is not None and "score" not in answer:
        answer["score"] = score
    if isinstance(scores, Mapping):
        answer["scores"] = {str(name): float(value) for name, value in scores.items() if value is not None}
    return answer


def _to_number(value: Any) -> float | None:
    value = to_python(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def list_thresholds(rows: Sequence[Mapping[str, float]]) -> list[str]:
    """List the columns of a table of thresholds, without the one that marks the model's own."""
    return [name for name in rows[0] if name != "is_model"] if rows else []
