"""The profile of a model version, the value object behind ``profile.json``. No pandas, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from logging_lib.profile.classifier import Classifier
from logging_lib.profile.coerce import MAX_CHECKED_TEXT, NA_VALUES, format_epoch, number_text
from logging_lib.schema import tokens

FORMAT_VERSION = 1
MAX_BINS = 50

Kind = Literal["numeric", "category", "text", "boolean", "date", "vector"]
KINDS: tuple[Kind, ...] = ("numeric", "category", "text", "boolean", "date", "vector")
CHECKS = ("missing", "absent", "unseen", "out_of_range", "not_finite", "wrong_type", "oov")
NEW_WORDS = "new_words"
"""The check whether a word that is not in training became common; it is not a check of one event."""
OOV_EDGES = (0.0, 0.25, 0.5, 0.75, 1.0)
MAX_WORDS = float(MAX_CHECKED_TEXT)
"""The maximum number of words of a text that count."""
LENGTH = "len:"
"""The prefix of the bins of a text's number of words."""
DIMENSION = "dim:"
"""The prefix of the only bin of a vector, which is the number of its dimensions."""
PREDICTION = "(prediction)"
PARTS_OF_WEEK = 48
DEFAULT_FEATURE = "*"
VARIATION_WINDOWS: Mapping[str, int] = {
    "15m": 900,
    "30m": 1800,
    "1h": 3600,
    "3h": 10_800,
    "6h": 21_600,
    "24h": 86_400,
    "7d": 604_800,
}
"""The lengths of the windows whose natural variation is measured, in seconds, the shortest first."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """The rate at which a check failed on held-out rows.

    Attributes:
        count: the number of rows that failed.
        rows: the number of held-out rows.
        dispersion: the intraclass correlation between blocks of time: 0 if the blocks differ no more than by
            chance, near 1 if each block fails completely or not at all.
    """

    count: int
    rows: int
    dispersion: float = 0.0

    @property
    def rate(self) -> float:
        """The share of rows that failed, 0 to 1."""
        return self.count / self.rows if self.rows else 0.0


@dataclass(frozen=True, slots=True)
class Moments:
    """The moments of a column's finite values, in the column's unit.

    Attributes:
        count: the number of values.
        mean: their mean.
        std: their sample standard deviation.
        min: the smallest.
        max: the largest.
        quantiles: quantile (``0.25``) → value.
    """

    count: int
    mean: float
    std: float
    min: float
    max: float
    quantiles: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Feature:
    """One input (or the prediction) in training; which fields are set depends on ``kind``.

    Attributes:
        name: the feature's name.
        kind: numeric, category, text, boolean, date or vector.
        nullable: whether missing values are allowed; if False, none at all is expected.
        hidden: whether values and words are not stored; only presence and type are checked then.
        multiple: prediction, target: whether each row has a list of ``values``; the counts are then numbers of rows
            with that label.
        values: category, boolean: each known value with its training count, the most frequent first.
        binned: category: how many of ``values`` have a bin of their own; the others share ``!other``.
        edges: numeric, date (in epoch seconds): bin edges; the first and the last are the allowed range. Text: bin
            edges of the number of words, from 0 to ``MAX_WORDS``; none in a profile of an earlier version.
        counts: training rows in each bin between the edges.
        vocabulary: text: the known words, sorted.
        oov_threshold: text: the check fails if the share of unknown words is above this.
        oov_counts: text: held-out rows by share of unknown words, in the bins of ``OOV_EDGES``.
        new_words: text: the number of held-out rows with the most frequent word that the other rows do not have;
            without times, in the block in which that number is highest. None in a profile of an earlier version.
        centroid: vector: the mean of training's vectors, with the same length.
        derived_from: the vector that this number is computed from (its norm, or its cosine to the centroid); empty
            for any other feature.
        moments: numeric, date: the moments of the values; text: those of the number of words in a text.
        special: training rows in special bins, such as ``!missing``.
        expected: check → how often it failed on held-out rows.
        notes: remarks about this column for people.
    """

    name: str
    kind: Kind
    nullable: bool = True
    hidden: bool = False
    multiple: bool = False
    values: Mapping[str, int] = field(default_factory=dict)
    binned: int = 0
    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    vocabulary: tuple[str, ...] = ()
    oov_threshold: float = 0.0
    oov_counts: tuple[int, ...] = ()
    new_words: Expectation | None = None
    centroid: tuple[float, ...] = ()
    derived_from: str = ""
    moments: Moments | None = None
    special: Mapping[str, int] = field(default_factory=dict)
    expected: Mapping[str, Expectation] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def range(self) -> tuple[float, float] | None:
        """The lowest and the highest allowed value of a number or a date (in epoch seconds), or None."""
        return (self.edges[0], self.edges[-1]) if self.edges else None

    def bin_labels(self) -> tuple[str, ...]:
        """Format the bins between ``edges``; the bins of a text without edges are its ``oov_labels``."""
        if self.kind == "text":
            lengths = tuple(LENGTH + label for label in _format_intervals(self.edges, number_text))
            return lengths or self.oov_labels()
        if self.kind == "vector":
            return (f"{DIMENSION}{len(self.centroid)}",) if self.centroid else ()
        return _format_intervals(self.edges, format_epoch if self.kind == "date" else number_text)

    def oov_labels(self) -> tuple[str, ...]:
        """Format the bins of ``oov_counts``."""
        return tuple("oov:" + label for label in _format_intervals(OOV_EDGES, number_text))

    def expected_bins(self) -> dict[str, int]:
        """Count the training rows per bin; the keys are the bins as in ``ml.input.bins`` after the ``=``."""
        bins: dict[str, int] = {}
        if self.multiple:  # `special` counts the rows with any other label
            bins = {tokens.escape(value): count for value, count in list(self.values.items())[: self.binned]}
        elif self.kind in ("category", "boolean"):
            for position, (value, count) in enumerate(self.values.items()):
                name = tokens.escape(value) if position < self.binned else tokens.OTHER
                bins[name] = bins.get(name, 0) + count
        elif not self.hidden:
            counts = self.counts if self.edges or self.kind != "text" else self.oov_counts
            bins.update(zip(self.bin_labels(), counts, strict=True))
        for name, count in self.special.items():
            bins[name] = bins.get(name, 0) + count
        return bins


def _format_intervals(edges: tuple[float, ...], text: Any) -> tuple[str, ...]:
    if not edges:
        return ()
    if len(edges) == 1:
        return (f"[{text(edges[0])},{text(edges[0])}]",)
    edge_texts = [text(edge) for edge in edges]
    last = len(edges) - 2
    return tuple(f"[{edge_texts[i]},{edge_texts[i + 1]}{']' if i == last else ')'}" for i in range(last + 1))


@dataclass(frozen=True, slots=True)
class Quality:
    """The model's quality on evaluation rows or, without any, on held-out rows with a target and a prediction.

    Attributes:
        errors: for numbers: moments of the absolute error.
        confusion: for classes: rows by true class and predicted class.
        brier, log_loss: for classes with probabilities: moments of Brier's score and the log loss of each row.
    """

    errors: Moments | None = None
    confusion: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    brier: Moments | None = None
    log_loss: Moments | None = None


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The held-out rows, on which the expected rates are measured.

    Attributes:
        rows: the number of held-out rows.
        method: how they were chosen.
        blocks: the number of blocks, in order of time, between which the dispersion is measured.
    """

    rows: int
    method: str
    blocks: int


class NaturalVariation(NamedTuple):
    """The variation of windows of one length by themselves, for one feature and measure.

    Attributes:
        variance: the variance of the distance, beyond that due to chance.
        growth: the increase of the variance for each day since the end of training.
        factor: how many times as wide the tail of the standardized distance is as a normal one.
        design_effect: the number of events that carry as much information as one independent event.
    """

    variance: float
    growth: float = 0.0
    factor: float = 1.0
    design_effect: float = 1.0

    def compute_square(self, days: Any, noise: Any) -> Any:
        """Compute the mean square of the distance of windows, from numbers or arrays.

        Args:
            days: the days since the end of training.
            noise: the mean square by chance alone, if events are independent.
        """
        return self.variance + self.growth * days + self.design_effect * noise


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The distribution of training in each part of the week: an hour of a working day, or of a weekend day.

    Attributes:
        timezone: the time zone of the hours and days.
        traffic: the number of events in each hour of the week, beginning on Monday; 168 numbers.
        longest_gap: the number of events that ``traffic`` predicts for the longest time without any, after one
            exception per month.
        bins: feature → for each of the ``PARTS_OF_WEEK``, the rows in each of its ordinary bins. It has only the
            features whose bins follow the part of the week.
        measures: like those of ``Variation``, for windows that are compared with their own parts of the week.
    """

    timezone: str
    traffic: tuple[float, ...]
    longest_gap: float = 0.0
    bins: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    measures: Mapping[str, Mapping[str, Mapping[str, NaturalVariation]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Variation:
    """The natural variation of a model's traffic; see ``logging_lib.profile.variation``.

    Attributes:
        source: ``training``, ``default`` (assumed, because training had no times) or ``learned`` (from served
            traffic).
        since: the first time that it was measured on, ISO 8601 in UTC; empty for the default.
        until: the last time that it was measured on, from which the growth is counted.
        levels: window → the standardized distance from which a finding is beyond natural variation.
        measures: measure or check → feature → window → its variation; ``DEFAULT_FEATURE`` stands for any feature.
        rhythm: the distribution of training in each part of the week, if that explains anything.
        notes: the times that training does not cover, and what was unusual within it.
    """

    source: str
    since: str
    until: str
    levels: Mapping[str, float]
    measures: Mapping[str, Mapping[str, Mapping[str, NaturalVariation]]]
    rhythm: Rhythm | None = None
    notes: tuple[str, ...] = ()

    def compute_limit(self, numbers: NaturalVariation, window: str, days: float, noise: float) -> float:
        """Compute the distance from which a window is beyond natural variation, as the watches do.

        Args:
            numbers: the variation of the feature and measure, for this window.
            days: the days since the end of training.
            noise: the mean square of the distance by chance alone, if events are independent.
        """
        return float(self.levels[window] * numbers.factor * numbers.compute_square(days, noise) ** 0.5)


@dataclass(frozen=True, slots=True)
class Profile:
    """The profile of one model version.

    Attributes:
        model: the model's name.
        version: the model's version.
        rows: the number of training rows.
        held_out: the rows that the expected rates are measured on.
        features: the inputs by name.
        prediction: the outputs on the training rows, or the target's values if there are none.
        target: the true outcomes, if they were among the data.
        quality: the errors on held-out rows, if outcomes and outputs were among the data.
        trained_at: when the model was trained, ISO 8601 in UTC.
        training_seconds: how long the training took.
        libraries: name → version of the libraries that the model depends on.
        na_values: spellings of a missing value.
        variation: how much the traffic varies by itself; None in a profile of an earlier version.
        classifier: the classes and the calibration of their probabilities, if the model is a classifier.
        id: the first 16 hexadecimal digits of the SHA-256 of all other fields.
    """

    model: str
    version: str
    rows: int
    held_out: HeldOut
    features: Mapping[str, Feature]
    prediction: Feature | None = None
    target: Feature | None = None
    quality: Quality | None = None
    trained_at: str | None = None
    training_seconds: float | None = None
    libraries: Mapping[str, str] = field(default_factory=dict)
    na_values: tuple[str, ...] = NA_VALUES
    variation: Variation | None = None
    classifier: Classifier | None = None
    id: str = ""
