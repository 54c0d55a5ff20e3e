"""What training looked like: the value object behind ``profile.json``. No pandas, no I/O."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from logging_lib.profile.coerce import NA_VALUES, format_epoch, number_text
from logging_lib.schema import tokens

FORMAT_VERSION = 1
MAX_BINS = 50

Kind = Literal["numeric", "category", "text", "boolean", "date"]
KINDS: tuple[Kind, ...] = ("numeric", "category", "text", "boolean", "date")
CHECKS = ("missing", "absent", "unseen", "out_of_range", "not_finite", "wrong_type", "oov")
OOV_EDGES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Expectation:
    """How often a check failed on held-out rows.

    ``dispersion`` is the intraclass correlation between blocks of time: 0 where the blocks differ no more than
    chance would have it, towards 1 where a block fails wholly or not at all.
    """

    count: int
    rows: int
    dispersion: float = 0.0

    @property
    def rate(self) -> float:
        return self.count / self.rows if self.rows else 0.0


@dataclass(frozen=True, slots=True)
class Moments:
    """Of the finite values: their number, mean, sample standard deviation, extremes and quantiles."""

    count: int
    mean: float
    std: float
    min: float
    max: float
    quantiles: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Feature:
    """One input (or the prediction) as training had it; which parts it has depends on ``kind``.

    Attributes:
        nullable: whether a missing value is allowed; False expects none at all.
        hidden: neither values nor words are kept; only presence and type are checked.
        values: category, boolean: each known value with its training count, the most frequent first.
        binned: category: so many of ``values`` have a bin of their own, the rest share ``!other``.
        edges: numeric, date (in epoch seconds): bin edges; the first and the last are the allowed range.
        counts: training rows in each bin between the edges.
        vocabulary: text: the known words, sorted.
        oov_threshold: text: a share of unknown words above this fails the check.
        oov_counts: text: held-out rows by share of unknown words, in the bins of ``OOV_EDGES``.
        moments: numeric, date: of the values; text: of the words a document.
        special: training rows in special bins: ``!missing`` and the like.
        expected: by check, what held-out rows showed.
        notes: what a person should know about this column.
    """

    name: str
    kind: Kind
    nullable: bool = True
    hidden: bool = False
    values: Mapping[str, int] = field(default_factory=dict)
    binned: int = 0
    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    vocabulary: tuple[str, ...] = ()
    oov_threshold: float = 0.0
    oov_counts: tuple[int, ...] = ()
    moments: Moments | None = None
    special: Mapping[str, int] = field(default_factory=dict)
    expected: Mapping[str, Expectation] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def range(self) -> tuple[float, float] | None:
        return (self.edges[0], self.edges[-1]) if self.edges else None

    def bin_labels(self) -> tuple[str, ...]:
        """The texts of the bins between ``edges`` (numeric, date) or of the shares of unknown words (text)."""
        if self.kind == "text":
            return tuple("oov:" + label for label in _format_intervals(OOV_EDGES, number_text))
        return _format_intervals(self.edges, format_epoch if self.kind == "date" else number_text)

    def bin_of(self, number: float) -> int:
        """Which of ``bin_labels`` a number within the range falls into."""
        return bisect_right(self.edges, number, 1, max(len(self.edges) - 1, 1)) - 1

    def expected_bins(self) -> dict[str, int]:
        """Training rows a bin; the keys are the bins' texts as in ``ml.input.bins`` behind the ``=``."""
        bins: dict[str, int] = {}
        if self.kind in ("category", "boolean"):
            for position, (value, count) in enumerate(self.values.items()):
                name = tokens.escape(value) if position < self.binned else tokens.OTHER
                bins[name] = bins.get(name, 0) + count
        elif not self.hidden:
            counts = self.oov_counts if self.kind == "text" else self.counts
            bins.update(zip(self.bin_labels(), counts, strict=True))
        for name, count in self.special.items():
            bins[name] = bins.get(name, 0) + count
        return bins


def _format_intervals(edges: tuple[float, ...], text: Any) -> tuple[str, ...]:
    if not edges:
        return ()
    if len(edges) == 1:
        return (f"[{text(edges[0])},{text(edges[0])}]",)
    shown = [text(edge) for edge in edges]
    last = len(edges) - 2
    return tuple(f"[{shown[i]},{shown[i + 1]}{']' if i == last else ')'}" for i in range(last + 1))


@dataclass(frozen=True, slots=True)
class Quality:
    """How well the model did on held-out rows whose truth and prediction were given.

    Attributes:
        errors: numbers: moments of the absolute error.
        confusion: classes: rows by true class and predicted class.
    """

    errors: Moments | None = None
    confusion: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Which rows the expected rates come from: how many, chosen how, in how many blocks."""

    rows: int
    method: str
    blocks: int


@dataclass(frozen=True, slots=True)
class Profile:
    """The profile of one model version. ``id`` is a hash of all the rest (``io.seal`` makes it)."""

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
    id: str = ""
