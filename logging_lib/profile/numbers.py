"""Numbers and dates of training: range, bins, moments."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from logging_lib.profile.coerce import epoch
from logging_lib.profile.config import Config, FeatureConfig
from logging_lib.profile.encoding import Column, Fitted
from logging_lib.profile.fitting import Array, Split
from logging_lib.profile.io import ProfileError
from logging_lib.profile.model import Kind, Moments

NUMERIC_BINS = 10
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def numeric(
    numbers: Array, wrong_type: Array, name: str, kind: Kind, split: Split, own: FeatureConfig
) -> Fitted:
    finite = np.isfinite(numbers)
    infinite = np.isinf(numbers)
    ordered = np.sort(numbers[finite])
    notes: list[str] = []
    feature: dict[str, Any] = {"name": name, "kind": kind}
    failed = {"not_finite": infinite, "out_of_range": np.zeros(len(numbers), bool)}
    if len(ordered) == 0 and own.range is None:
        return Fitted(feature, failed, wrong_type, notes)
    bounds = _bounds(own, kind, name)
    low, high = bounds or (float(ordered[0]), float(ordered[-1]))
    if low == high:
        notes.append("is constant in training: any other value is out of range")
    edges = _edges(ordered, low, high, own, kind)
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
        feature["moments"] = moments(ordered)
    if bounds is None:  # the range without the held-out rows
        known = numbers[split.scoring & finite]
        low, high = (float(known.min()), float(known.max())) if len(known) else (np.inf, -np.inf)
    with np.errstate(invalid="ignore"):
        failed["out_of_range"] = finite & ((numbers < low) | (numbers > high))
    return Fitted(feature, failed, wrong_type, notes)


def _bounds(own: FeatureConfig, kind: Kind, name: str) -> tuple[float, float] | None:
    if own.range is None:
        return None
    low, high = (epoch(str(b)) if kind == "date" else b for b in own.range)
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        raise ProfileError(f"features.{name}.range: {list(own.range)!r} are no {kind} values")
    return float(low), float(high)


def _edges(ordered: Array, low: float, high: float, own: FeatureConfig, kind: Kind) -> tuple[float, ...]:
    if isinstance(own.bins, tuple):
        inner = [edge for edge in own.bins if low < edge < high]
    elif len(ordered):
        wanted = own.bins if isinstance(own.bins, int) else NUMERIC_BINS
        raw = _quantiles(ordered, np.linspace(0, 1, wanted + 1)[1:-1])
        inner = [float(edge) for edge in raw] if kind == "date" else _rounded(raw)
    else:
        inner = []
    return (low, *sorted({edge for edge in inner if low < edge < high}), *([high] if high > low else []))


def _quantiles(ordered: Array, at: Any) -> Array:
    """Quantiles of sorted numbers by linear interpolation (Hyndman and Fan's type 7, as numpy's default)."""
    position = np.asarray(at) * (len(ordered) - 1)
    lower = np.floor(position).astype(int)
    upper = np.minimum(lower + 1, len(ordered) - 1)
    share = position - lower
    return np.asarray(ordered[lower] * (1 - share) + ordered[upper] * share)


def _rounded(edges: Array) -> list[float]:
    """Edges with as few significant digits as keep them apart, three at least: people read them."""
    distinct = np.unique(edges)
    for digits in range(3, 17):
        rounded = [float(f"{edge:.{digits}g}") for edge in distinct]
        if len(set(rounded)) == len(distinct):
            return rounded
    return [float(edge) for edge in distinct]


def moments(ordered: Array) -> Moments:
    """Of finite numbers that are sorted, at least one; shape (rows,)."""
    quantiles = _quantiles(ordered, QUANTILES)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = ordered.mean(), ordered.std(ddof=1) if len(ordered) > 1 else 0.0
    return Moments(
        count=len(ordered),
        mean=_short(mean),
        std=_short(std),
        min=float(ordered[0]),
        max=float(ordered[-1]),
        quantiles={f"{q:g}": _short(v) for q, v in zip(QUANTILES, quantiles, strict=True)},
    )


def _short(value: Any) -> float:
    """Twelve digits: sums differ in the last ones with the processor's vector width."""
    number = float(f"{float(value):.12g}")
    return number if np.isfinite(number) else float(np.finfo(float).max)


def fit_numbers(kind: Kind, convert: Callable[[Any], float | None]) -> Any:
    def fit(column: Column, name: str, split: Split, own: FeatureConfig, _config: Config) -> Fitted:
        converted = [convert(value) for value in column.uniques]
        table = np.array([np.nan if c is None else c for c in converted] + [np.nan], dtype=float)
        wrong = np.array([c is None for c in converted] + [False])
        return numeric(table[column.codes], wrong[column.codes], name, kind, split, own)

    return fit


def to_number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf if value > 0 else -math.inf
