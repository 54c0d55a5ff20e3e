"""Functions that read a classifier's answers from a table, calibrate its probabilities, and measure its quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import pandas as pd

from logging_lib.profile.classification import Array, measure_probabilities, measure_rows
from logging_lib.profile.classifier import CONFIDENCE, Calibration, Classifier
from logging_lib.profile.coerce import category_text, to_python
from logging_lib.profile.io import ProfileError
from logging_lib.profile.model import PREDICTION, Quality
from logging_lib.profile.number_columns import compute_moments

MIN_ROWS: Final = 100
"""The minimum number of rows for a calibration."""
POINTS: Final = 50
"""The maximum number of points of a calibration."""
POINT_ROWS: Final = 20
"""The minimum number of rows for each point."""


@dataclass(frozen=True, slots=True)
class ClassAnswers:
    """A classifier's answers for the rows that have an actual class.

    Attributes:
        actual: the index of the actual class in ``classes``; shape (rows,).
        predicted: the index of the predicted class; shape (rows,).
        probabilities: the probability of each class, shape (rows, classes); None if they are not known.
        confidence: the probability of the predicted class, shape (rows,); None if it is not known.
    """

    classes: tuple[str, ...]
    actual: Array
    predicted: Array
    probabilities: Array | None
    confidence: Array | None


@dataclass(frozen=True, slots=True)
class ClassifierColumns:
    """The columns with a classifier's answers; ``scores`` is class → column, as ``parse_scores`` returns it."""

    target: str | None
    prediction: str | None
    scores: Mapping[str, str] = field(default_factory=dict)


def to_classes(column: pd.Series) -> Array:
    """Convert a column to the texts of its classes, with None for a row without a class; shape (rows,)."""
    return np.asarray([category_text(to_python(value)) for value in column], dtype=object)


def with_predicted_class(
    data: pd.DataFrame, classifier: Classifier, columns: ClassifierColumns
) -> pd.DataFrame:
    """Add the predicted class in a column named ``PREDICTION`` if the columns have only probabilities."""
    if columns.prediction is not None or not columns.scores:
        return data
    known = np.isfinite(data[list(columns.scores.values())].to_numpy(float)).all(axis=1)
    answers = read_answers(data[known], classifier, replace(columns, target=None))
    names = np.full(len(data), None, dtype=object)
    names[known] = np.array(classifier.classes, dtype=object)[answers.predicted]
    return data.assign(**{PREDICTION: names})


def read_answers(data: pd.DataFrame, classifier: Classifier, columns: ClassifierColumns) -> ClassAnswers:
    """Read the columns of a classifier; rows without an actual or a predicted class are omitted.

    Without a target every row counts, and its actual class is unknown (-1).
    """
    classes, target, prediction, scores = (
        classifier.classes,
        columns.target,
        columns.prediction,
        columns.scores,
    )
    probabilities = _read_matrix(data, classifier, prediction, scores)
    if prediction is not None and classifier.source != "value":
        predicted = _find_places(to_classes(data[prediction]), classes)
    elif probabilities is None:
        raise ProfileError("neither a prediction nor a score column")
    elif classifier.positive:
        place = classes.index(classifier.positive)
        least = 0.5 if classifier.threshold is None else classifier.threshold
        predicted = np.where(probabilities[:, place] >= least, place, 1 - place)
    else:
        predicted = probabilities.argmax(axis=1)
    confidence = None
    if classifier.source == "score":
        confidence = data[scores[CONFIDENCE]].to_numpy(float)
        if classifier.positive:
            right = np.arange(2) == predicted[:, None]
            probabilities = np.where(right, confidence[:, None], 1 - confidence[:, None])
    elif probabilities is not None:
        confidence = probabilities[np.arange(len(predicted)), predicted]
    actual = np.full(len(data), -1) if target is None else _find_places(to_classes(data[target]), classes)
    usable = (predicted >= 0) & ((actual >= 0) if target is not None else True)
    if confidence is not None:
        usable &= np.isfinite(confidence)
    return ClassAnswers(
        classes,
        actual[usable],
        predicted[usable],
        None if probabilities is None else probabilities[usable],
        None if confidence is None else confidence[usable],
    )


def calibrate(
    classifier: Classifier, answers: ClassAnswers, *, evaluated: bool
) -> tuple[Classifier, Quality | None]:
    """Calibrate a classifier's probabilities on rows with an actual class, and measure its quality on them."""
    if not len(answers.actual):
        return classifier, None
    quality = Quality(confusion=_count_confusion(answers))
    rows, weight = len(answers.actual), np.ones(len(answers.actual))
    right = (answers.predicted == answers.actual).astype(float)
    metrics: dict[str, float] = {"accuracy": float(right.mean())}
    place = classifier.classes.index(classifier.positive) if classifier.positive else None
    if answers.probabilities is not None:
        metrics |= measure_probabilities(answers.probabilities, answers.actual, weight, place)
        brier, log_loss = measure_rows(answers.probabilities, answers.actual)
    elif answers.confidence is not None:
        pair = np.stack([answers.confidence, 1 - answers.confidence], axis=1)
        brier, log_loss = measure_rows(pair, (right == 0).astype(int))
        metrics |= {"brier": float(brier.mean()), "log_loss": float(log_loss.mean())}
    else:
        return _with_metrics(classifier, metrics, rows, evaluated), quality
    quality = replace(
        quality, brier=compute_moments(np.sort(brier)), log_loss=compute_moments(np.sort(log_loss))
    )
    classifier = _with_metrics(classifier, metrics, rows, evaluated)
    if rows < MIN_ROWS or len(np.unique(answers.actual)) < 2:
        return classifier, quality
    if answers.probabilities is None:
        assert answers.confidence is not None
        curves = {CONFIDENCE: fit_calibration(answers.confidence, right)}
    else:
        places = range(len(classifier.classes)) if place is None else (place,)
        curves = {
            classifier.classes[i]: fit_calibration(
                answers.probabilities[:, i], (answers.actual == i).astype(float)
            )
            for i in places
        }
    classifier = replace(classifier, calibration=curves)
    errors = np.sort(expect_errors(classifier, answers))
    return replace(classifier, expected_error=compute_moments(errors)), quality


def fit_calibration(scores: Array, happened: Array) -> Calibration:
    """Fit how often a class was the actual one at each probability: means of groups of rows that never decrease.

    Args:
        scores: the probabilities of the class; shape (rows,).
        happened: 1 if it was the actual class, otherwise 0; shape (rows,).
    """
    from scipy.optimize import isotonic_regression

    order = np.argsort(scores, kind="stable")
    groups = max(2, min(POINTS, len(scores) // POINT_ROWS))
    # Rows with the same score form one group, whatever their number.
    place = np.searchsorted(
        np.unique(np.quantile(scores, np.linspace(0, 1, groups + 1)[1:-1])), scores[order], "right"
    )
    counts = np.bincount(place)
    filled = counts > 0
    x, y = (
        np.bincount(place, values[order])[filled] / counts[filled]
        for values in (scores.astype(float), happened)
    )
    rates = isotonic_regression(y, weights=counts[filled]).x
    x = np.array([float(f"{number:.12g}") for number in x])
    x, first = np.unique(x, return_index=True)
    return Calibration(
        tuple(x.tolist()), tuple(float(f"{rate:.12g}") for rate in np.clip(rates[first], 0, 1))
    )


def apply_calibration(curve: Calibration, scores: Array) -> Array:
    """Return the calibrated probabilities of an array, as if the calibration was called with each of them."""
    return np.asarray(np.interp(scores, curve.scores, curve.rates))


def calibrate_probabilities(classifier: Classifier, probabilities: Array) -> Array:
    """Calibrate the probabilities of each class and scale their sum to 1; shape (rows, classes)."""
    if classifier.positive:
        place = classifier.classes.index(classifier.positive)
        share = apply_calibration(classifier.calibration[classifier.positive], probabilities[:, place])
        return np.stack([share, 1 - share] if place == 0 else [1 - share, share], axis=1)
    calibrated = np.stack(
        [
            apply_calibration(classifier.calibration[name], probabilities[:, i])
            for i, name in enumerate(classifier.classes)
        ],
        axis=1,
    )
    total = calibrated.sum(axis=1, keepdims=True)
    equal = np.full_like(calibrated, 1 / len(classifier.classes))
    return np.asarray(np.divide(calibrated, total, out=equal, where=total > 0))


def expect_errors(classifier: Classifier, answers: ClassAnswers) -> Array:
    """Return the calibrated probability that each predicted class is wrong; shape (rows,)."""
    if CONFIDENCE in classifier.calibration:
        assert answers.confidence is not None
        return np.asarray(1 - apply_calibration(classifier.calibration[CONFIDENCE], answers.confidence))
    assert answers.probabilities is not None
    calibrated = calibrate_probabilities(classifier, answers.probabilities)
    return np.asarray(1 - calibrated[np.arange(len(calibrated)), answers.predicted])


def _with_metrics(
    classifier: Classifier, metrics: Mapping[str, float], rows: int, evaluated: bool
) -> Classifier:
    known = {name: float(f"{value:.12g}") for name, value in metrics.items() if np.isfinite(value)}
    return replace(classifier, metrics=known, rows=rows, evaluated=evaluated)


def _count_confusion(answers: ClassAnswers) -> dict[str, dict[str, int]]:
    confusion: dict[str, dict[str, int]] = {}
    pairs, counts = np.unique(np.stack([answers.actual, answers.predicted]), axis=1, return_counts=True)
    for (actual, predicted), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
        confusion.setdefault(answers.classes[actual], {})[answers.classes[predicted]] = count
    return confusion


def _read_matrix(
    data: pd.DataFrame, classifier: Classifier, prediction: str | None, scores: Mapping[str, str]
) -> Array | None:
    """Read the probability of each class, shape (rows, classes); return None if the columns do not have them."""
    classes = classifier.classes
    columns = {classifier.positive: prediction} if classifier.source == "value" else scores
    if classifier.source not in ("value", "scores"):
        return None
    given = {name: data[column].to_numpy(float) for name, column in columns.items() if column is not None}
    if len(classes) == 2 and len(given) == 1:
        ((name, numbers),) = given.items()
        given[classes[0] if classes[1] == name else classes[1]] = 1 - numbers
    return np.stack([given.get(name, np.zeros(len(data))) for name in classes], axis=1)


def _find_places(texts: Array, classes: Sequence[str]) -> Array:
    places = {name: i for i, name in enumerate(classes)}
    return np.array([places.get(text, -1) for text in texts], dtype=np.int64)
