"""Define what a profile knows of a classifier: classes, probabilities and their calibration. No numpy, no I/O.

An event says a classifier's answer in one of four ways, the ``source``:

- ``label``: the predicted class alone;
- ``score``: the class, and the probability that it is right;
- ``scores``: the class, and the probability of each class (of two classes, one is enough);
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
"""In place of a class: the probability of the predicted class, whichever it is."""
SMALLEST = 1e-15
"""A smaller probability counts as this one in a log loss, which would be infinite."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A map from a model's probability to how often it was right, linear between points.

    Attributes:
        scores: rising probabilities.
        rates: the share of evaluated rows with that probability whose actual class it was; never falling.
    """

    scores: tuple[float, ...]
    rates: tuple[float, ...]

    def __call__(self, score: float) -> float:
        """Return the calibrated probability; beyond the first and the last point it is theirs."""
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
        source: what an event has of the probabilities.
        positive: of two classes, the one that ``threshold``, and the areas under the curves, are about.
        threshold: the least probability of the positive class with which it is predicted; None where unknown.
        calibration: class → calibration of its probability; of two classes only the positive one's, and under
            ``CONFIDENCE`` that of the predicted class where no more is known of several classes.
        expected_error: moments of the expected error of the rows of the evaluation.
        metrics: how well the model did on them, by the names of ``logging_lib.analysis.quality``.
        rows: the rows that calibration and quality were measured on.
        evaluated: whether the model was not trained on those rows. If it was, all estimates are optimistic.
        notes: what was recognized, in words.
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
        """Add to ``ml.prediction`` the class and its score where only a probability was logged, and the expected
        error: the calibrated probability that the class is wrong."""
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
    """Return class → probability as ``ml.prediction`` has them; empty where it does not say them."""
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

    From ``scores``: Brier's score over all classes, of two classes half of it, as in scikit-learn, and minus the
    logarithm of the actual class's probability. From a ``score`` alone: the same of the answer that the predicted
    class is right, or wrong; of two classes it is the same number.
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
