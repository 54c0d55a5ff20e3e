"""The fitting of a column of numbers: bins, range, moments and the expected rate of values out of range. No I/O."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from logging_lib.profile.coerce import to_epoch
from logging_lib.profile.config import Config, FeatureConfig
from logging_lib.profile.encoding import Array, ColumnFit, EncodedColumn, HeldOutSplit
from logging_lib.profile.io import ProfileError
from logging_lib.profile.model import (
    Kind,
    Moments,
)
from logging_lib.profile.notes import Importance, Note

NUMERIC_BINS = 10
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def fit_numeric(
    numbers: Array,
    wrong_type: Array,
    name: str,
    kind: Kind,
    split: HeldOutSplit,
    feature_config: FeatureConfig,
) -> ColumnFit:
    finite = np.isfinite(numbers)
    infinite = np.isinf(numbers)
    ordered = np.sort(numbers[finite])
    notes: list[Note] = []
    feature: dict[str, Any] = {"name": name, "kind": kind}
    failed = {"not_finite": infinite, "out_of_range": np.zeros(len(numbers), bool)}
    if len(ordered) == 0 and feature_config.range is None:
        feature["special"] = {"!nonfinite": int(infinite.sum())}
        return ColumnFit(feature, failed, wrong_type, notes)
    bounds = _parse_range(feature_config, kind, name)
    low, high = bounds or (float(ordered[0]), float(ordered[-1]))
    if low == high:
        notes.append(Note(Importance.CONSTANT, "is constant in training: any other value is out of range"))
    edges = _choose_edges(ordered, low, high, feature_config, kind)
    feature["edges"] = edges
    inside = ordered[(ordered >= low) & (ordered <= high)]
    cuts = np.searchsorted(inside, edges[1:-1], side="left")
    feature["counts"] = tuple(int(c) for c in np.diff(np.concatenate(([0], cuts, [len(inside)]))))
    feature["special"] = {
        "!below": int((ordered < low).sum()),
        "!above": int((ordered > high).sum()),
        "!nonfinite": int(infinite.sum()),
    }
    if len(ordered):
        feature["moments"] = compute_moments(ordered)
    known_from = {}
    if bounds is None:  # use the range of the rows that are not held out
        scored = numbers[split.scoring & finite]
        low, high = (float(scored.min()), float(scored.max())) if len(scored) else (np.inf, -np.inf)
        if split.rank is not None:
            known_from["out_of_range"] = _find_range_known(numbers, finite, split.rank)
    with np.errstate(invalid="ignore"):
        failed["out_of_range"] = finite & ((numbers < low) | (numbers > high))
    if bounds is None and len(ordered):
        ends = np.where(numbers == ordered[0], 0, np.where(numbers == ordered[-1], 1, -1))
        failed["out_of_range"] |= (ends >= 0) & np.append(split.is_alone(ends, 2), False)[ends]
    bins = np.where(
        finite & ~failed["out_of_range"] if bounds else finite,
        np.searchsorted(edges[1:-1], numbers, "right"),
        -1,
    )
    return ColumnFit(feature, failed, wrong_type, notes, bins, known_from, np.where(finite, numbers, np.nan))


def _find_range_known(numbers: Array, finite: Array, rank: Array) -> Array:
    """Find the position in order of time from which each number is in the range of earlier ones; shape (rows,)."""
    by_rank = np.full(len(numbers), np.nan)
    by_rank[rank] = np.where(finite, numbers, np.nan)
    highest = np.fmax.accumulate(np.where(np.isnan(by_rank), -np.inf, by_rank))
    lowest = np.fmin.accumulate(np.where(np.isnan(by_rank), np.inf, by_rank))
    known = np.full(len(numbers), -1, dtype=np.int64)
    known[finite] = np.maximum(
        np.searchsorted(highest, numbers[finite]), np.searchsorted(-lowest, -numbers[finite])
    )
    return known


def _parse_range(feature_config: FeatureConfig, kind: Kind, name: str) -> tuple[float, float] | None:
    if feature_config.range is None:
        return None
    low, high = (to_epoch(str(bound)) if kind == "date" else bound for bound in feature_config.range)
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        expected = "dates" if kind == "date" else "numbers"
        raise ProfileError(f"features.{name}.range: {list(feature_config.range)!r} are not {expected}")
    return float(low), float(high)


def _choose_edges(
    ordered: Array, low: float, high: float, feature_config: FeatureConfig, kind: Kind
) -> tuple[float, ...]:
    if isinstance(feature_config.bins, tuple):
        inner = [edge for edge in feature_config.bins if low < edge < high]
    elif len(ordered):
        bin_count = feature_config.bins if isinstance(feature_config.bins, int) else NUMERIC_BINS
        quantiles = interpolate_quantiles(ordered, np.linspace(0, 1, bin_count + 1)[1:-1])
        if kind == "numeric" and _are_small_integers(ordered):
            inner = _choose_integer_edges(ordered, quantiles, bin_count)
        else:
            inner = [float(edge) for edge in quantiles] if kind == "date" else _round_edges(quantiles)
    else:
        inner = []
    return (low, *sorted({edge for edge in inner if low < edge < high}), *([high] if high > low else []))


def _are_small_integers(ordered: Array) -> bool:
    """Return whether all values are integers that are small enough for the midpoint of two of them to be exact."""
    return bool(max(abs(ordered[0]), abs(ordered[-1])) < 2**52 and (ordered == np.floor(ordered)).all())


def _choose_integer_edges(ordered: Array, quantiles: Array, bin_count: int) -> list[float]:
    """Choose edges between integers: between all neighbors if there are few, otherwise near the quantiles.

    Edges at integers would put the two highest ones into the same bin, and so all values of a 0/1 column.
    """
    distinct = np.unique(ordered)
    if len(distinct) <= bin_count:
        return [float(edge) for edge in (distinct[:-1] + distinct[1:]) / 2]
    if len(distinct) <= 100:
        return [float(edge) - 0.5 for edge in np.unique(np.ceil(quantiles))]
    return _round_edges(quantiles)


def interpolate_quantiles(ordered: Array, shares: Any) -> Array:
    """Compute quantiles of sorted numbers by linear interpolation (Hyndman and Fan's type 7, numpy's default)."""
    position = np.asarray(shares) * (len(ordered) - 1)
    lower = np.floor(position).astype(int)
    upper = np.minimum(lower + 1, len(ordered) - 1)
    weight = position - lower
    return np.asarray(ordered[lower] * (1 - weight) + ordered[upper] * weight)


def _round_edges(edges: Array) -> list[float]:
    """Round edges, for readability, to the fewest significant digits (at least three) that keep them distinct."""
    distinct = np.unique(edges)
    for digits in range(3, 17):
        rounded = [float(f"{edge:.{digits}g}") for edge in distinct]
        if len(set(rounded)) == len(distinct):
            return rounded
    return [float(edge) for edge in distinct]


def compute_moments(ordered: Array) -> Moments:
    """Compute the moments of one or more sorted finite numbers; shape (rows,)."""
    quantiles = interpolate_quantiles(ordered, QUANTILES)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = ordered.mean(), ordered.std(ddof=1) if len(ordered) > 1 else 0.0
    return Moments(
        count=len(ordered),
        mean=_round_digits(mean),
        std=_round_digits(std),
        min=float(ordered[0]),
        max=float(ordered[-1]),
        quantiles={f"{q:g}": _round_digits(v) for q, v in zip(QUANTILES, quantiles, strict=True)},
    )


def _round_digits(value: Any) -> float:
    """Round to twelve digits, because the last digits of a sum depend on the processor's vector width."""
    number = float(f"{float(value):.12g}")
    return number if np.isfinite(number) else float(np.finfo(float).max)


def numeric_fitter(kind: Kind, convert: Callable[[Any], float | None]) -> Any:
    def fit(
        column: EncodedColumn, name: str, split: HeldOutSplit, feature_config: FeatureConfig, _config: Config
    ) -> ColumnFit:
        converted = [convert(value) for value in column.uniques]
        table = np.array(
            [np.nan if number is None else number for number in converted] + [np.nan], dtype=float
        )
        is_wrong = np.array([number is None for number in converted] + [False])
        return fit_numeric(table[column.codes], is_wrong[column.codes], name, kind, split, feature_config)

    return fit


def to_number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf if value > 0 else -math.inf
