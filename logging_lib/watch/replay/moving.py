"""Metrics of windows that move over a column, from what is known of the column or the window before. Pure."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from logging_lib.store.metrics import Metric

_BLOCK: Final = 512


def differences(numbers: NDArray[Any], start: NDArray[Any], end: NDArray[Any]) -> NDArray[Any]:
    """The sums of ``numbers[start:end]`` for many starts and ends, from running totals."""
    # Wider than a double, so that what the rest of the column adds does not show in a window's sum.
    kind = np.int64 if numbers.dtype == bool else np.longdouble
    totals = np.concatenate([np.zeros(1, kind), np.cumsum(numbers, dtype=kind)])
    found: NDArray[Any] = totals[end] - totals[start]
    return found if kind is np.int64 else found.astype(np.float64)


def values(metric: Metric, numbers: NDArray[Any]) -> Any:
    """What ``Metric.answer`` takes, of these numbers."""
    count = len(numbers)
    if metric.kind == "cardinality":
        return (len(np.unique(numbers)),)
    if metric.kind == "value_count":
        return (count,)
    if metric.kind == "percentiles":
        return (
            (quantiles(np.sort(numbers), [percent / 100 for percent in metric.percents]),)
            if count
            else (None,)
        )
    if metric.kind == "percentile_ranks":
        return (numbers.tolist(),)
    total = float(np.sum(numbers, dtype=np.longdouble)) if count else None
    if metric.kind == "sum":
        return (total,)
    if metric.kind == "avg":
        return (count, total)
    least, most = (float(numbers.min()), float(numbers.max())) if count else (None, None)
    if metric.kind in ("min", "max"):
        return (least if metric.kind == "min" else most,)
    if metric.kind == "stats":
        return (count, least, most, total)
    squares = float(np.sum(numbers.astype(np.longdouble) ** 2)) if count else None
    return (count, least, most, total, squares)


def quantiles(ranked: NDArray[Any], shares: list[float]) -> list[float] | None:
    """Of numbers in ascending order, with linear interpolation between the two nearest, as DuckDB's
    ``quantile_cont``; None of none."""
    if not len(ranked):
        return None
    found = []
    for share in shares:
        place = (len(ranked) - 1) * share
        low = int(place)
        below = float(ranked[low])
        found.append(below + (float(ranked[min(low + 1, len(ranked) - 1)]) - below) * (place - low))
    return found


class Sliding:
    """The numbers of a window in ascending order; from one window to the next only what leaves and what comes
    is looked for."""

    def __init__(self, numbers: NDArray[Any]) -> None:
        self._numbers = numbers
        self._start = self._end = 0
        self._ranked = np.zeros(0)

    def quantiles(self, start: int, end: int, shares: list[float]) -> list[float] | None:
        """Of ``numbers[start:end]``."""
        self._move(start, end)
        return quantiles(self._ranked, shares)

    def _move(self, start: int, end: int) -> None:
        apart = start < self._start or end < self._end or start >= self._end
        if apart or (start - self._start) + (end - self._end) > (end - start) // 4:
            self._ranked = np.sort(self._numbers[start:end])
        else:
            gone, come = np.sort(self._numbers[self._start : start]), np.sort(self._numbers[self._end : end])
            # Of equal numbers, each that leaves takes the next place.
            places = np.searchsorted(self._ranked, gone) + np.arange(len(gone)) - np.searchsorted(gone, gone)
            ranked = np.delete(self._ranked, places)
            self._ranked = np.insert(ranked, np.searchsorted(ranked, come), come)
        self._start, self._end = start, end


class Extreme:
    """The least or the greatest number of a window, from those of blocks.

    Args:
        of: ``np.minimum`` or ``np.maximum``.
    """

    def __init__(self, numbers: NDArray[Any], of: np.ufunc) -> None:
        self._numbers = numbers
        self._of = of
        whole = len(numbers) // _BLOCK * _BLOCK
        self._blocks = of.reduce(numbers[:whole].reshape(-1, _BLOCK), axis=1)

    def over(self, start: int, end: int) -> float | None:
        """Of ``numbers[start:end]``; None of none."""
        if start >= end:
            return None
        first, last = -(-start // _BLOCK), end // _BLOCK
        if last <= first:
            return float(self._of.reduce(self._numbers[start:end]))
        parts = [
            self._numbers[start : first * _BLOCK],
            self._blocks[first:last],
            self._numbers[last * _BLOCK : end],
        ]
        found = [self._of.reduce(part) for part in parts if len(part)]
        return float(self._of.reduce(found))
