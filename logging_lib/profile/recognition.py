"""The recognition of a classifier in a training table, by its columns of targets, predictions and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd

from logging_lib._util.formatting import join_names
from logging_lib._util.suggestions import suggest
from logging_lib.profile.calibration import ClassifierColumns, read_answers, to_classes
from logging_lib.profile.classifier import CONFIDENCE, Classifier, Source
from logging_lib.profile.io import ProfileError
from logging_lib.profile.model import Kind

MAX_CLASSES: Final = 1000
_POSITIVE: Final = ("1", "true", "yes")


def parse_scores(scores: Sequence[str], columns: Sequence[str]) -> dict[str, str]:
    """Parse each ``COLUMN`` or ``CLASS=COLUMN`` into class → column; a column alone has the class ``""``.

    Raises:
        ProfileError: there is no such column, a class is given twice, or a column alone is given beside others.
    """
    parsed: dict[str, str] = {}
    for text in scores:
        name, sign, column = text.partition("=")
        if text in columns or not sign:
            name, column = CONFIDENCE, text
        if column not in columns:
            raise ProfileError(
                f"the score column {column!r} is not in the data"
                f"{suggest(column, columns) or '; columns: ' + join_names(columns, 20)}"
            )
        if name in parsed:
            raise ProfileError(f"the class {name!r} has two score columns" if name else _ALONE)
        parsed[name] = column
    if CONFIDENCE in parsed and len(parsed) > 1:
        raise ProfileError(_ALONE)
    return parsed


_ALONE: Final = "of several score columns each needs its class: --score CLASS=COLUMN"


def recognize_classifier(
    data: pd.DataFrame,
    columns: ClassifierColumns,
    kinds: Mapping[str, Kind],
    *,
    threshold: float | None = None,
    positive: str | None = None,
) -> Classifier | None:
    """Recognize a classifier by its columns; return None if target and prediction are numbers of a regression.

    Args:
        data: the training rows; shape (rows, columns).
        kinds: ``target`` and ``prediction`` → the kind of the column's values, if there is such a column.
        threshold: the lowest probability at which the positive class is predicted. Default: 0.5 if only a
            probability is logged, otherwise the threshold that the predictions show.
        positive: with two classes, the one whose probability is given. Default: ``1``, ``true`` or ``yes``, or the
            last one in alphabetical order.

    Returns:
        The classifier without calibration, with notes that say what was recognized.

    Raises:
        ProfileError: an argument needs a column that is not named, or numbers are not probabilities.
    """
    target, prediction, scores = columns.target, columns.prediction, columns.scores
    actual, answers = (_list_classes(data, column) for column in (target, prediction))
    is_class = {
        role: kinds[role] in ("category", "boolean") or (bool(classes) and set(classes) <= {"0", "1"})
        for role, classes in (("target", actual), ("prediction", answers))
        if role in kinds
    }
    if not scores:
        if is_class.get("target") and prediction is not None and _is_probability(data[prediction], answers):
            return _recognize_probability(columns, actual, threshold, positive)
        if threshold is not None or positive is not None:
            raise ProfileError(
                "--threshold and --positive are of classifiers: give --target with --prediction or --score"
            )
        if (
            not is_class
            or not all(is_class.values())
            or (set(kinds.values()) == {"numeric"} and len(kinds) == 1)
        ):
            return None
    _validate_scores(data, scores)
    named = {name for name in scores if name}
    classes = tuple(sorted({*actual, *answers, *named}))
    if len(classes) > MAX_CLASSES or len(classes) < 2:
        if scores:
            raise ProfileError(
                f"{target or prediction}: found {len(classes):,} classes; 2 to {MAX_CLASSES:,} are supported"
            )
        return None
    chosen = _choose_positive(classes, positive) if len(classes) == 2 else ""
    source: Source = "label" if not scores else "scores" if named else "score"
    return _describe_scores(data, Classifier(classes, source, chosen, threshold), columns)


def _recognize_probability(
    columns: ClassifierColumns, actual: tuple[str, ...], threshold: float | None, positive: str | None
) -> Classifier | None:
    if len(actual) != 2:
        return None
    chosen = _choose_positive(actual, positive)
    least = 0.5 if threshold is None else threshold
    note = (
        f"a classifier of two classes is recognized: {columns.prediction} is the probability of {chosen!r}, which "
        f"is predicted from {least:g} on, and {columns.target} is the class; --threshold and --positive change that"
    )
    return Classifier(actual, "value", chosen, least, notes=(note,))


def _describe_scores(data: pd.DataFrame, classifier: Classifier, columns: ClassifierColumns) -> Classifier:
    """Determine the meaning of the score columns, and the threshold that the predictions show."""
    prediction, scores = columns.prediction, columns.scores
    notes = [f"a classifier of {len(classifier.classes)} classes: {', '.join(classifier.classes[:10])}"]
    if classifier.source == "score" and classifier.positive and prediction is not None:
        column = scores[CONFIDENCE]
        probability = data[column].to_numpy(float)
        is_positive = to_classes(data[prediction]) == classifier.positive
        if is_positive.any() and not is_positive.all():
            above, below = probability[is_positive], probability[~is_positive]
            for name, separates in (
                (classifier.positive, np.nanmin(above) >= np.nanmax(below)),
                (classifier.negative, np.nanmin(below) >= np.nanmax(above)),
            ):
                if separates and min(np.nanmin(above), np.nanmin(below)) < 0.5:
                    raise ProfileError(
                        f"{column} is the probability of {name!r}, whichever class is predicted, and not that of "
                        f"the predicted class; say so: --score {name}={column}, and log scores={{{name!r}: ...}}"
                    )
    if classifier.positive and classifier.source in ("score", "scores"):
        notes.append(
            f"areas under curves are about the class {classifier.positive!r}; --positive changes that"
        )
        if prediction is not None and classifier.threshold is None:
            answers = read_answers(data, classifier, replace(columns, target=None))
            place = classifier.classes.index(classifier.positive)
            picked = answers.predicted == place
            if answers.probabilities is not None and picked.any():
                classifier = replace(
                    classifier, threshold=float(np.nanmin(answers.probabilities[picked, place]))
                )
    if prediction is None and scores:
        notes.append(
            "no --prediction column: the class with the highest probability is taken for the predicted one"
        )
    return replace(classifier, notes=tuple(notes))


def _list_classes(data: pd.DataFrame, column: str | None) -> tuple[str, ...]:
    """List the classes of a column in alphabetical order; if there are very many values, only the first ones."""
    if column is None:
        return ()
    try:
        values = pd.unique(data[column].dropna())[: MAX_CLASSES + 1]
    except TypeError:  # lists and objects are not classes
        return ()
    return tuple(sorted({text for text in to_classes(pd.Series(values, dtype=object)) if text is not None}))


def _is_named(column: pd.Series) -> bool:
    """Return whether a column has classes rather than numbers."""
    return not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)


def _is_probability(column: pd.Series, texts: tuple[str, ...]) -> bool:
    """Return whether all numbers of a column are between 0 and 1, with others than these two."""
    if _is_named(column) or not set(texts) - {"0", "1"}:
        return False
    return bool(column.dropna().between(0, 1).all())


def _choose_positive(classes: Sequence[str], positive: str | None) -> str:
    if positive is not None:
        if positive not in classes:
            raise ProfileError(
                f"the positive class {positive!r} is not among the classes: {', '.join(classes[:20])}"
            )
        return positive
    return next((name for name in classes if name.lower() in _POSITIVE), classes[-1])


def _validate_scores(data: pd.DataFrame, scores: Mapping[str, str]) -> None:
    for column in scores.values():
        if _is_named(data[column]):
            raise ProfileError(f"the score column {column!r} does not hold numbers")
        numbers = data[column].dropna().to_numpy(float)
        if len(numbers) and not (numbers.min() >= 0 and numbers.max() <= 1):
            raise ProfileError(
                f"the score column {column!r} holds {numbers.min():g} to {numbers.max():g}; "
                "probabilities are from 0 to 1"
            )
