"""The part of a profile about a classifier: classes, probabilities and their calibration. No numpy, no I/O.

An event holds a classifier's answer in one of four forms, the ``source``:

- ``label``: the predicted class alone;
- ``score``: the class, and the probability that it is right;
- ``scores``: the class, and the probability of each class (for two classes, one is enough);
- ``value``: the probability of the ``positive`` class; the logger adds the class and its score.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from logging_lib.profile.coerce import is_number

if TYPE_CHECKING:
    from logging_lib.profile.model import Moments

Source = Literal["label", "score", "scores", "value"]
SOURCES: tuple[Source, ...] = ("label", "score", "scores", "value")
CONFIDENCE = ""
"""The key, in place of a class, for the probability of the predicted class, whichever that is."""
SMALLEST = 1e-15
"""The smallest probability in a log loss, which would be infinite for 0."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A map from a model's probability to how often it was right, linear between points.

    Attributes:
        scores: increasing probabilities.
        rates: the share of evaluated rows with that probability whose actual class it was; it never decreases.
    """

    scores: tuple[float, ...]
    rates: tuple[float, ...]

    def __call__(self, score: float) -> float:
        """Return the calibrated probability; before the first and after the last point, it is constant."""
        scores, rates = self.scores, self.rates
        place = bisect_right(scores, score)
        if place == 0:
            return rates[0]
        if place == len(scores):
            return rates[-1]
        low, high = scores[place - 1], scores[place]
        share = (score - low) / (high - low)
        return rates[place - 1] + share * (rates[place] - rates[place - 1])


@dataclass(frozen=True, slots=True)
class Classifier:
    """A model whose answers are classes.

    Attributes:
        classes: the model's classes, in alphabetical order.
        source: which of the probabilities an event holds.
        positive: with two classes, the one that ``threshold`` and the areas under the curves refer to.
        threshold: the lowest probability at which the positive class is predicted; None if unknown.
        calibration: class → calibration of its probability. With two classes it has only the positive one. With
            more it has, under ``CONFIDENCE``, that of the predicted class, if no other probability is known.
        expected_error: moments of the expected error of the evaluation's rows.
        metrics: the model's quality on these rows, by the names of ``logging_lib.analysis.quality``.
        rows: the number of rows that calibration and quality were measured on.
        evaluated: whether the model was not trained on those rows. If it was, all estimates are optimistic.
        notes: sentences that say what was recognized.
    """

    classes: tuple[str, ...]
    source: Source = "label"
    positive: str = ""
    threshold: float | None = None
    calibration: Mapping[str, Calibration] = field(default_factory=dict)
    expected_error: Moments | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    rows: int = 0
    evaluated: bool = False
    notes: tuple[str, ...] = ()

    @property
    def negative(self) -> str:
        """The other one of two classes."""
        return _find_other(self.classes, self.positive)

    def complete(self, prediction: dict[str, Any]) -> None:
        """Add the class and its score to ``ml.prediction`` if only a probability was logged, and add the expected
        error, which is the calibrated probability that the class is wrong."""
        value = prediction.get("value")
        if self.source == "value" and is_number(value) and 0 <= value <= 1:
            is_positive = value >= (0.5 if self.threshold is None else self.threshold)
            prediction["label"] = self.positive if is_positive else self.negative
            prediction["score"] = value if is_positive else 1 - value
            if self.calibration:
                share = self.calibration[self.positive](value)
                prediction["expected_error"] = 1 - share if is_positive else share
        elif self.calibration:
            error = self._expect_error(prediction)
            if error is not None:
                prediction["expected_error"] = error

    def _expect_error(self, prediction: Mapping[str, Any]) -> float | None:
        label = prediction.get("label")
        if label not in self.classes:
            return None
        if CONFIDENCE in self.calibration:
            score = prediction.get("score")
            return 1 - self.calibration[CONFIDENCE](score) if is_number(score) else None
        probabilities = find_probabilities(prediction, self.classes)
        if not probabilities:
            return None
        if self.positive:
            right = self.calibration[self.positive](probabilities[self.positive])
            return 1 - right if label == self.positive else right
        calibrated = {name: curve(probabilities.get(name, 0.0)) for name, curve in self.calibration.items()}
        total = sum(calibrated.values())
        return 1 - calibrated.get(label, 0.0) / total if total > 0 else None


def _find_other(classes: tuple[str, ...], name: str) -> str:
    """Return the other one of two classes."""
    return classes[0] if classes[-1] == name else classes[-1]


def find_probabilities(prediction: Mapping[str, Any], classes: tuple[str, ...]) -> dict[str, float]:
    """Return class → probability from ``ml.prediction``; the result is empty if it has no probabilities."""
    scores = prediction.get("scores")
    if isinstance(scores, Mapping):
        numbers = {name: score for name, score in scores.items() if is_number(score) and math.isfinite(score)}
        if len(classes) == 2 and len(numbers) == 1:
            (name,) = numbers
            if name in classes:
                return {name: numbers[name], _find_other(classes, name): 1 - numbers[name]}
        if not set(classes).isdisjoint(numbers):
            return {name: numbers.get(name, 0.0) for name in classes}
    label, score = prediction.get("label"), prediction.get("score")
    if len(classes) == 2 and label in classes and is_number(score):
        return {label: score, _find_other(classes, label): 1 - score}
    return {}


def measure_answer(prediction: Mapping[str, Any], actual: str) -> dict[str, float]:
    """Return ``brier`` and ``log_loss`` of one answer whose actual class is known; empty without probabilities.

    With ``scores``, they are Brier's score over all classes (half of it for two classes, as in scikit-learn) and
    minus the logarithm of the actual class's probability. With a ``score`` alone, they are those of the two
    outcomes that the predicted class is right or wrong; for a model with two classes the numbers are the same.
    """
    scores = prediction.get("scores")
    if isinstance(scores, Mapping):
        numbers = {name: score for name, score in scores.items() if is_number(score)}
        if len(numbers) == 1:
            ((name, number),) = numbers.items()
            return _measure_share(number, actual == name)
        if actual in numbers:
            squares = sum((number - (name == actual)) ** 2 for name, number in numbers.items())
            picked = min(max(numbers[actual], SMALLEST), 1.0)
            return {"brier": squares / 2 if len(numbers) == 2 else squares, "log_loss": -math.log(picked)}
    label, score = prediction.get("label"), prediction.get("score")
    return _measure_share(score, label == actual) if label is not None and is_number(score) else {}


def _measure_share(share: float, happened: bool) -> dict[str, float]:
    if not 0 <= share <= 1:
        return {}
    picked = max(share if happened else 1 - share, SMALLEST)
    return {"brier": (share - happened) ** 2, "log_loss": -math.log(picked)}
